//! Both sides of a link, without a network between them: from a queue into frames, and from frames to a reader.

use std::sync::Arc;

use parking_lot::Mutex;
use senza_core::fanout::{Fanout, Outbox, Watchers};
use senza_core::history::Sample;
use senza_core::subscription::{Contract, Subscription, Taken, Want};
use senza_core::{Filter, Micros, Seq, Series, Value, codec};
use senza_mesh::clock::Clock;
use senza_mesh::latency::ClockOffset;
use senza_mesh::relay::{Incoming, Local, Moves, Outgoing, Relay, everything};

use crate::{Case, life, series};

/// Always the same time.
struct Still;

const NOW: Micros = 1_795_000_000_000_000;

impl Clock for Still {
    fn now(&self) -> Micros {
        NOW
    }

    fn steady(&self) -> Micros {
        NOW
    }
}

/// The owner of series, and the link to a node that watches all of them.
struct Owner {
    fanout: Fanout,
    link: Arc<Outgoing>,
    series: Vec<(Arc<Series>, Watchers)>,
    outbox: Outbox,
    seq: Seq,
}

/// A node that hears frames, and its reader.
struct Hearer {
    owner: Owner,
    link: Arc<Mutex<Incoming>>,
    fanout: Fanout,
    moves: Moves,
    reader: (Arc<Subscription>, Taken),
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::prepared("relay: send what is queued", Owner::new, Owner::queue, |owner, ()| owner.pump()),
        Case::prepared("relay: take frames in for a reader", Hearer::new, Hearer::frames, Hearer::hear),
    ]
}

impl Owner {
    fn new() -> Self {
        let fanout = Fanout::default();
        let link = Relay::default().open(&life("b"), NOW);
        link.set_interest(1, everything(), &fanout);
        link.grant(u64::MAX);
        let series = series(|_| "imu").into_iter().map(|series| (series, Watchers::default())).collect();
        Self { fanout, link, series, outbox: Outbox::default(), seq: 0 }
    }

    fn queue(&mut self) {
        self.seq += 1;
        self.outbox.begin(NOW);
        let sample = Sample { value: Value::F64(0.5), source_time: NOW - 20, received_time: NOW - 10, seq: self.seq };
        for (series, watchers) in &mut self.series {
            self.fanout.collect(series, &sample, watchers, &mut self.outbox);
        }
        self.outbox.flush();
    }

    fn pump(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::with_capacity(1);
        self.link.pump(1, &Still, &mut |message| sent.push(message));
        sent
    }
}

impl Hearer {
    fn new() -> Self {
        let (owner, relay, fanout) = (Owner::new(), Relay::default(), Fanout::default());
        let subscription = Arc::new(Subscription::new(Contract::default()));
        fanout.add(vec![(Filter::all(), Want::EVERY)], subscription.clone()).expect("there is room");
        let (link, moves) = (relay.incoming(&life("a")), Moves::default());
        let mut hearer = Self { owner, link, fanout, moves, reader: (subscription, Taken::default()) };
        let frames = hearer.frames();
        hearer.hear(frames);
        hearer
    }

    fn frames(&mut self) -> Vec<Vec<u8>> {
        let (subscription, taken) = &mut self.reader;
        subscription.take(taken, usize::MAX);
        taken.drain(|_| {});
        self.owner.queue();
        self.owner.pump()
    }

    fn hear(&mut self, frames: Vec<Vec<u8>>) {
        let clock = ClockOffset::default();
        let local = Local { fanout: &self.fanout, moves: &self.moves, fenced: &|_| false, time: NOW, clock };
        for frame in frames {
            let after = self.link.lock().frame(&frame[codec::HEADER..], &local, NOW).expect("it was written here");
            assert!(!after.reset, "no frame is missing");
        }
    }
}

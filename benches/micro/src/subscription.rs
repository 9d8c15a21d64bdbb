//! A queue: offering rows under a contract, and reading them.

use std::hint::black_box;

use senza_core::history::Sample;
use senza_core::row::Row;
use senza_core::subscription::{Contract, Deadband, Pace, Subscription, Taken, Want};
use senza_core::{Delivery, Seq, Value};

use crate::{Case, OPERATIONS, RUN, series};

/// A queue of many series, a row of each, and a reader.
struct Queue {
    subscription: Subscription,
    taken: Taken,
    rows: Vec<Row>,
    values: Vec<Value>,
    seq: Seq,
}

pub(crate) fn cases() -> Vec<Case> {
    let every = || Queue::new(Contract::default());
    let of_all = |want| Contract { want, ..Contract::default() };
    let latest = move || Queue::new(of_all(Want { pace: Pace::Latest, ..Want::EVERY }));
    let still = move || Queue::new(of_all(Want { deadband: Deadband::Absolute(1.0), ..Want::EVERY }));
    let short = || Queue::new(Contract { queue_max: OPERATIONS, ..Contract::default() });
    vec![
        Case::prepared("subscription: offer in runs", every, Queue::emptied, |queue, ()| queue.offer()),
        Case::prepared("subscription: offer singly", every, Queue::emptied, |queue, ()| queue.offer_singly()),
        Case::prepared("subscription: take and read", every, Queue::filled, |queue, ()| queue.read()),
        Case::prepared("subscription: take as deliveries", every, Queue::filled, |queue, ()| queue.deliveries()),
        Case::prepared("subscription: offer to a full queue", short, Queue::filled, |queue, ()| queue.offer()),
        Case::prepared("subscription: read behind gaps", short, Queue::overflown, |queue, ()| queue.read()),
        Case::prepared("subscription: offer, the latest takes its place", latest, Queue::filled, |queue, ()| {
            queue.offer();
        }),
        Case::prepared("subscription: offer, too small a change", still, Queue::emptied, |queue, ()| queue.offer()),
    ]
}

impl Queue {
    fn new(contract: Contract) -> Self {
        let (subscription, series) = (Subscription::new(contract), series(|_| "imu"));
        let sample = Sample { value: Value::F64(0.5), source_time: 1, received_time: 2, seq: 0 };
        let row = |series| Row::reading(subscription.enroll(series, contract.want), &sample);
        let rows = series.iter().map(row).collect();
        Self { subscription, taken: Taken::default(), rows, values: Vec::new(), seq: 0 }
    }

    fn next(&mut self) {
        self.seq += 1;
        self.rows.iter_mut().for_each(|row| row.seq = self.seq);
    }

    fn emptied(&mut self) {
        self.read();
        self.next();
    }

    fn filled(&mut self) {
        self.emptied();
        self.offer();
        self.next();
    }

    fn overflown(&mut self) {
        self.filled();
        self.offer();
        self.next();
    }

    fn offer(&mut self) {
        self.rows.chunks(RUN).for_each(|run| self.subscription.offer(run, &mut self.values, 1));
    }

    fn offer_singly(&mut self) {
        self.rows.chunks(1).for_each(|row| self.subscription.offer(row, &mut self.values, 1));
    }

    fn read(&mut self) -> Seq {
        let mut sum = 0;
        self.subscription.take(&mut self.taken, usize::MAX);
        self.taken.drain(|item| sum += black_box(item).row.seq);
        sum
    }

    fn deliveries(&mut self) -> Vec<Delivery> {
        let mut out = Vec::with_capacity(OPERATIONS);
        self.subscription.take(&mut self.taken, usize::MAX);
        self.taken.deliveries(&mut out);
        out
    }
}

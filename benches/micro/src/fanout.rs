//! Fanout: handing readings to the subscriptions of their series, and finding out which these are.

use std::sync::Arc;

use senza_core::fanout::{Fanout, Outbox, Watchers};
use senza_core::history::Sample;
use senza_core::subscription::{Contract, Subscription, Taken, Want};
use senza_core::{Filter, Series, Value};

use crate::{Case, RUN, sensor, series};

/// Series, and subscriptions to all of them.
struct Watched {
    fanout: Fanout,
    series: Vec<(Arc<Series>, Watchers)>,
    readers: Vec<(Arc<Subscription>, Taken)>,
    sample: Sample,
    outbox: Outbox,
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::prepared("fanout: deliver to nobody", || Watched::new(0), Watched::read, |watched, ()| watched.deliver()),
        Case::prepared("fanout: deliver to 1", || Watched::new(1), Watched::read, |watched, ()| watched.deliver()),
        Case::prepared("fanout: deliver to 10", || Watched::new(10), Watched::read, |watched, ()| watched.deliver()),
        Case::prepared("fanout: deliver a run to 1", || Watched::new(1), Watched::read, |watched, ()| watched.run()),
        Case::prepared("fanout: deliver a run to 10", || Watched::new(10), Watched::read, |watched, ()| watched.run()),
        Case::prepared("fanout: resolve a series", Watched::by_many, Watched::unresolved, Watched::resolve),
    ]
}

impl Watched {
    fn new(readers: usize) -> Self {
        let fanout = Fanout::default();
        let reader = |_| {
            let subscription = Arc::new(Subscription::new(Contract::default()));
            fanout.add(vec![(Filter::all(), Want::EVERY)], subscription.clone()).expect("there is room");
            (subscription, Taken::default())
        };
        let readers = (0..readers).map(reader).collect();
        let series = series(|_| "imu").into_iter().map(|series| (series, Watchers::default())).collect();
        let sample = Sample { value: Value::F64(0.5), source_time: 1, received_time: 2, seq: 0 };
        Self { fanout, series, readers, sample, outbox: Outbox::default() }
    }

    /// Ten patterns, of which one fits each series, and a subscription by name for each.
    fn by_many() -> Self {
        let watched = Self::new(0);
        let patterns = (0..10).map(|last| Filter::pattern(&format!("building%2Fsensor$*{last}/*")).expect("it is one"));
        let names = watched.series.iter().map(|(series, _)| Filter::sensor(sensor(series.sensor.as_str())));
        for filter in patterns.chain(names) {
            let subscription = Arc::new(Subscription::new(Contract::default()));
            watched.fanout.add(vec![(filter, Want::EVERY)], subscription).expect("there is room");
        }
        watched
    }

    /// Empties the queues, so that a turn finds room for all.
    fn read(&mut self) {
        self.sample.seq += 1;
        for (subscription, taken) in &mut self.readers {
            subscription.take(taken, usize::MAX);
            taken.drain(|_| {});
        }
    }

    fn deliver(&mut self) {
        for (series, watchers) in &mut self.series {
            self.fanout.deliver(series, &self.sample, watchers, 1);
        }
    }

    fn run(&mut self) {
        self.outbox.begin(1);
        for run in self.series.chunks_mut(RUN) {
            for (series, watchers) in run {
                self.fanout.collect(series, &self.sample, watchers, &mut self.outbox);
            }
            self.outbox.flush();
        }
    }

    fn unresolved(&mut self) -> Vec<Watchers> {
        self.series.iter().map(|_| Watchers::default()).collect()
    }

    fn resolve(&mut self, mut watchers: Vec<Watchers>) -> Vec<Watchers> {
        for ((series, _), watchers) in self.series.iter().zip(&mut watchers) {
            self.fanout.resolve(series, watchers);
        }
        watchers
    }
}

//! Fanout: readings put in batches to local subscribers who read in batches, against channels that carry one message
//! per reading.
//!
//! The channels know no series, no history, no order per sensor and no filter, and tell no loss; ours does all of it.
//! `cargo bench -p senza-micro --bench fanout`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use senza_core::fanout::{Fanout, Outbox, Watchers};
use senza_core::history::Sample;
use senza_core::subscription::{Contract, Subscription, Taken, Want};
use senza_core::table::{Deliver, Point, Registration, Table, TableLimits};
use senza_core::{Filter, NodeName, SensorId, SensorType, Series, Value};

const SENSORS: usize = 1_000;
const BATCH: usize = 4_096;

struct Delivering<'a> {
    fanout: &'a Fanout,
    outbox: &'a mut Outbox,
}

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.fanout.collect(series, sample, watchers, self.outbox);
    }

    fn run_ended(&mut self) {
        self.outbox.flush();
    }
}

/// A table of sensors, a batch for it sorted by shard, and subscribers to everything.
struct Fleet {
    table: Table<Watchers>,
    fanout: Fanout,
    batch: Vec<Point>,
    readers: Vec<(Arc<Subscription>, Taken)>,
}

impl Fleet {
    fn new(readers: usize) -> Self {
        let table = Table::new(TableLimits::default(), 1);
        let node = NodeName::from_host("bench");
        let mut batch: Vec<Point> = (0..BATCH).map(|number| point(&table, &node, number % SENSORS)).collect();
        batch.sort_by_key(|point| format!("{:?}", point.handle));
        let fanout = Fanout::default();
        let reader = |_| {
            let subscription = Arc::new(Subscription::new(Contract::default()));
            fanout.add(vec![(Filter::all(), Want::EVERY)], subscription.clone()).expect("there is room");
            (subscription, Taken::default())
        };
        let readers = (0..readers).map(reader).collect();
        Self { table, fanout, batch, readers }
    }

    /// Puts one batch, and has every reader read it.
    fn round(&mut self, outbox: &mut Outbox) -> u64 {
        outbox.begin(1);
        self.table.put_runs(&self.batch, 2, &mut Delivering { fanout: &self.fanout, outbox });
        let mut sum = 0;
        for (subscription, taken) in &mut self.readers {
            subscription.take(taken, usize::MAX);
            taken.drain(|item| sum += item.row.seq);
        }
        sum
    }
}

fn point(table: &Table<Watchers>, node: &NodeName, number: usize) -> Point {
    let sensor = SensorId::new(format!("building/sensor-{number:08}")).expect("ids here are short");
    let sensor_type = SensorType::default();
    let registration = Registration { sensor, sensor_type, epoch: 1, node: node.clone(), meta: "{}".into() };
    let handle = table.register(registration, 0).expect("the table has room");
    let attribute = table.attribute(handle, "value").expect("the sensor has room");
    Point { handle, attribute, value: Value::F64(number as f64), source_time: 1 }
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>, readers: usize) {
    let (mut fleet, mut outbox) = (Fleet::new(readers), Outbox::default());
    group.throughput(Throughput::Elements((BATCH * readers.max(1)) as u64));
    group.bench_function(format!("1 → {readers}, put to read"), |bencher| {
        bencher.iter(|| black_box(fleet.round(&mut outbox)));
    });
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout, deliveries");
    for readers in [0, 1, 10, 100] {
        ours(&mut group, readers);
    }
    group.throughput(Throughput::Elements(BATCH as u64));
    let (sender, receiver) = crossbeam_channel::bounded::<(u32, u64, f64)>(BATCH);
    group.bench_function("rival: crossbeam channel, 1 → 1", |bencher| {
        bencher.iter(|| {
            (0..BATCH as u64).for_each(|seq| {
                let _sent = sender.try_send((1, seq, 0.5));
            });
            receiver.try_iter().map(|message| message.1).sum::<u64>()
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64 * 10));
    let (sender, first) = tokio::sync::broadcast::channel::<(u32, u64, f64)>(BATCH);
    let mut receivers: Vec<_> = (1..10).map(|_| sender.subscribe()).chain([first]).collect();
    group.bench_function("rival: tokio broadcast, 1 → 10", |bencher| {
        bencher.iter(|| {
            (0..BATCH as u64).for_each(|seq| {
                let _sent = sender.send((1, seq, 0.5));
            });
            let mut sum = 0;
            for receiver in &mut receivers {
                while let Ok(message) = receiver.try_recv() {
                    sum += message.1;
                }
            }
            sum
        });
    });
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);

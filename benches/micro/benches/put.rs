//! Puts into the table, by handle and by id, against a concurrent map that keeps only the latest value.
//!
//! The map does less: no history, no numbers, no subscriptions. `cargo bench -p senza-micro --bench put`.
//!
//! Sensors come in random order. Batches of points are as a caller has them that collects per shard: all points of one
//! shard, in random order, then those of the next, cut at 4,096. "Scattered" ones are the worst such a caller can
//! have: 4,096 random sensors of all, grouped by shard, about 64 to each. Batches by id are not grouped: as a door has
//! them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use senza_core::fanout::{Fanout, Watchers};
use senza_core::history::Sample;
use senza_core::table::{Deliver, NamedPoint, Point, Registration, Table, TableLimits};
use senza_core::{NodeName, SensorId, SensorType, Series, Value};

const BATCH: usize = 4096;

fn id(number: usize) -> String {
    format!("building/sensor-{number:08}")
}

/// What is measured: the table with full histories, its points in random order, and the ids in another.
struct Fleet {
    table: Table<Watchers>,
    fanout: Fanout,
    points: Vec<Point>,
    ids: Vec<String>,
}

/// Hands readings to the fanout.
struct Delivering<'a>(&'a Fanout);

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.0.deliver(series, sample, watchers, 2);
    }
}

fn named(ids: &[String]) -> Vec<NamedPoint<'_>> {
    let point = |id| NamedPoint { sensor: id, attribute: "value", value: Value::F64(1.0), source_time: 1 };
    ids.iter().map(|id| point(id.as_str())).collect()
}

impl Fleet {
    fn new(sensors: usize) -> Self {
        let limits = TableLimits::default();
        let table = Table::new(limits, 1);
        let node = NodeName::from_host("bench");
        let point = |number| {
            let sensor = SensorId::new(id(number)).expect("ids here are short");
            let sensor_type = SensorType::default();
            let registration = Registration { sensor, sensor_type, epoch: 1, node: node.clone(), meta: "{}".into() };
            let handle = table.register(registration, 0).expect("the table has room");
            let attribute = table.attribute(handle, "value").expect("the sensor has room");
            Point { handle, attribute, value: Value::F64(number as f64), source_time: 1 }
        };
        let mut points: Vec<Point> = (0..sensors).map(point).collect();
        let mut ids: Vec<String> = (0..sensors).map(id).collect();
        let mut random = StdRng::seed_from_u64(1);
        points.shuffle(&mut random);
        ids.shuffle(&mut random);
        let fleet = Self { table, fanout: Fanout::default(), points, ids };
        for _ in 0..limits.history_max {
            fleet.put_many(&fleet.points);
        }
        fleet
    }

    fn put_many(&self, points: &[Point]) -> usize {
        self.table.put_many(points, 2, |series, sample, watchers| self.fanout.deliver(series, sample, watchers, 2))
    }

    fn put(&self, point: &Point) {
        let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, 2);
        let _seq = black_box(self.table.put(point.clone(), 2, deliver));
    }

    fn put_many_by_id(&self, points: &[NamedPoint<'_>]) {
        black_box(self.table.put_many_by_id(points, 2, &mut Delivering(&self.fanout)));
    }

    fn put_by_id(&self, id: &str) {
        let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, 2);
        let _seq = black_box(self.table.put_by_id(id, "value", Value::F64(1.0), 1, 2, deliver));
    }
}

/// Which shard a point goes to: its handle shows it first.
fn shard(point: &Point) -> u32 {
    let shown = format!("{:?}", point.handle);
    let digits = shown.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("a handle shows its shard")
}

/// Measures `work` on one batch after the other.
fn measure<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, all: &[T], mut work: impl FnMut(&[T])) {
    let mut batches = all.chunks_exact(BATCH).cycle();
    group.bench_function(name, |bencher| {
        bencher.iter_batched(|| batches.next().unwrap_or_default(), &mut work, BatchSize::SmallInput);
    });
}

fn put(criterion: &mut Criterion) {
    for (sensors, name) in [(100_000, "put, 100,000 sensors"), (1_000_000, "put, 1,000,000 sensors")] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(BATCH as u64));
        let fleet = Fleet::new(sensors);
        let mut by_shard = fleet.points.clone();
        by_shard.sort_by_cached_key(shard);
        measure(&mut group, "by handle, in batches", &by_shard, |batch| {
            black_box(fleet.put_many(batch));
        });
        let mut scattered = fleet.points.clone();
        scattered.chunks_mut(BATCH).for_each(|batch| batch.sort_by_cached_key(shard));
        measure(&mut group, "by handle, in scattered batches", &scattered, |batch| {
            black_box(fleet.put_many(batch));
        });
        measure(&mut group, "by handle, singly", &fleet.points, |batch| batch.iter().for_each(|p| fleet.put(p)));
        measure(&mut group, "by id", &fleet.ids, |batch| batch.iter().for_each(|id| fleet.put_by_id(id)));
        let in_order: Vec<String> = (0..sensors).map(id).collect();
        measure(&mut group, "by id, as registered", &in_order, |batch| batch.iter().for_each(|id| fleet.put_by_id(id)));
        measure(&mut group, "by id, in batches", &named(&fleet.ids), |batch| fleet.put_many_by_id(batch));
        measure(&mut group, "by id, in batches, as registered", &named(&in_order), |batch| {
            fleet.put_many_by_id(batch);
        });
        let map: DashMap<String, (f64, i64)> = in_order.iter().map(|id| (id.clone(), (0.0, 0))).collect();
        let set = |id: &String| {
            if let Some(mut entry) = map.get_mut(id) {
                *entry = (1.0, 2);
            }
        };
        measure(&mut group, "rival: DashMap, latest only, by id", &fleet.ids, |batch| batch.iter().for_each(set));
        measure(&mut group, "rival: DashMap, latest only, by id, as inserted", &in_order, |batch| {
            batch.iter().for_each(set);
        });
        group.finish();
    }
}

criterion_group!(benches, put);
criterion_main!(benches);

//! Puts into the table, by handle and by id, against a concurrent map that keeps only the latest value.
//!
//! The map does less: no history, no numbers, no subscriptions. `cargo bench -p senza-benches --bench put`.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use senza_core::fanout::{Fanout, Watchers};
use senza_core::table::{Point, Registration, Table, TableLimits};
use senza_core::{NodeName, SensorId, SensorType, Value};

const SENSORS: usize = 100_000;
const BATCH: usize = 4096;

fn id(number: usize) -> String {
    format!("building/sensor-{number:08}")
}

fn table() -> (Table<Watchers>, Vec<Point>) {
    let table = Table::new(TableLimits::default(), 1);
    let node = NodeName::from_host("bench");
    let point = |number| {
        let sensor = SensorId::new(id(number)).expect("ids here are short");
        let sensor_type = SensorType::default();
        let registration = Registration { sensor, sensor_type, epoch: 1, node: node.clone(), meta: "{}".into() };
        let handle = table.register(registration, 0).expect("the table has room");
        let attribute = table.attribute(handle, "value").expect("the sensor has room");
        Point { handle, attribute, value: Value::F64(number as f64), source_time: 1 }
    };
    let mut points: Vec<Point> = (0..SENSORS).map(point).collect();
    // In order of shards, as a caller that groups by shard has them.
    points.sort_by_key(|point| format!("{:?}", point.handle));
    (table, points)
}

fn put(criterion: &mut Criterion) {
    let (table, points) = table();
    let fanout = Fanout::default();
    let mut group = criterion.benchmark_group("put");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut batches = points.chunks(BATCH).cycle();
    group.bench_function("table, by handle, in batches", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| table.put_many(batch, 2, |series, sample, watchers| fanout.deliver(series, sample, watchers)),
            BatchSize::SmallInput,
        );
    });
    let ids: Vec<String> = (0..SENSORS).map(id).collect();
    let mut batches = ids.chunks(BATCH).cycle();
    group.bench_function("table, by id", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| {
                for id in batch {
                    let deliver = |series: &_, sample: &_, watchers: &mut _| fanout.deliver(series, sample, watchers);
                    let _seq = black_box(table.put_by_id(id, "value", Value::F64(1.0), 1, 2, deliver));
                }
            },
            BatchSize::SmallInput,
        );
    });
    let map: DashMap<String, (f64, i64)> = ids.iter().map(|id| (id.clone(), (0.0, 0))).collect();
    let mut batches = ids.chunks(BATCH).cycle();
    group.bench_function("rival: DashMap, latest only, by id", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| {
                for id in batch {
                    if let Some(mut entry) = map.get_mut(id) {
                        *entry = (1.0, 2);
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    let mut plain: HashMap<String, (f64, i64)> = ids.iter().map(|id| (id.clone(), (0.0, 0))).collect();
    let mut batches = ids.chunks(BATCH).cycle();
    group.bench_function("rival: HashMap, one thread, latest only, by id", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| {
                for id in batch {
                    if let Some(entry) = plain.get_mut(id) {
                        *entry = (1.0, 2);
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, put);
criterion_main!(benches);

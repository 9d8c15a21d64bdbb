//! Ownership: look-ups, registrations, and what a peer does with them, against a concurrent map.
//!
//! The map knows no versions, digests or lives. `cargo bench -p senza-micro --bench directory`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use senza_core::codec::{Message, decode, encode_deltas};
use senza_core::directory::Directory;
use senza_core::{Life, NodeName, SensorId, SensorType};

const SENSORS: usize = 1_000_000;
const BATCH: usize = 4096;

fn id(number: usize) -> String {
    format!("building/sensor-{number:08}")
}

fn life(name: &str) -> Life {
    Life { node: NodeName::from_host(name), incarnation: 1 }
}

fn claim(directory: &Directory, ids: &[SensorId]) {
    let sensor_type = SensorType::default();
    for id in ids {
        let _claimed = black_box(directory.claim(id, &sensor_type, true, 1, &mut |_| {}));
    }
}

fn whereis(criterion: &mut Criterion) {
    let ids: Vec<String> = (0..SENSORS).map(id).collect();
    let sensors: Vec<SensorId> = ids.iter().filter_map(|id| SensorId::new(id).ok()).collect();
    let directory = Directory::new(life("a"), 1);
    claim(&directory, &sensors);
    // Not in the order they were registered in.
    let scattered: Vec<&String> = (0..SENSORS).map(|at| &ids[at * 611_953 % SENSORS]).collect();
    let mut group = criterion.benchmark_group("whereis of 1 M");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut batches = scattered.chunks(BATCH).cycle();
    group.bench_function("directory", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| batch.iter().filter(|id| directory.owner_of(id).is_some()).count(),
            BatchSize::SmallInput,
        );
    });
    let map: DashMap<String, (u32, u64)> = ids.iter().map(|id| (id.clone(), (0, 0))).collect();
    let mut batches = scattered.chunks(BATCH).cycle();
    group.bench_function("rival: DashMap", |bencher| {
        bencher.iter_batched(
            || batches.next().unwrap_or_default(),
            |batch| batch.iter().filter(|id| map.get(**id).is_some()).count(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn register(criterion: &mut Criterion) {
    const COUNT: usize = 100_000;
    let sensors: Vec<SensorId> = (0..COUNT).filter_map(|number| SensorId::new(id(number)).ok()).collect();
    let mut group = criterion.benchmark_group("register 100 k");
    group.sample_size(10).throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("claim", |bencher| {
        bencher.iter_batched(
            || Directory::new(life("a"), 1),
            |directory| claim(&directory, &sensors),
            BatchSize::LargeInput,
        );
    });
    let owner = Directory::new(life("a"), 1);
    claim(&owner, &sensors);
    let message = encode_deltas(1, &owner.flush());
    let peer = || {
        let peer = Directory::new(life("b"), 2);
        let _new = peer.up(&life("a"));
        peer
    };
    group.bench_function("hear of it: decode and apply", |bencher| {
        bencher.iter_batched(
            peer,
            |peer| {
                let Ok((_, Message::Deltas(deltas))) = decode(&message) else { return };
                for delta in &deltas {
                    let _applied = black_box(peer.apply_delta(&life("a"), delta, &mut |_| {}));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("rival: DashMap insert", |bencher| {
        bencher.iter_batched(
            DashMap::<SensorId, u64>::new,
            |map| {
                for sensor in &sensors {
                    map.insert(sensor.clone(), 1);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, whereis, register);
criterion_main!(benches);

//! Every hot function by time, in the cache, one thread. `cargo bench -p senza-micro --bench functions [-- <part of a
//! name>]`; what it does stands in `src`, its instructions and allocations in `benches/baseline.json`.

#![expect(clippy::disallowed_methods, reason = "benchmarks read the clock")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use senza_micro::{OPERATIONS, Turns, cases};

fn functions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("functions");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    for case in cases() {
        let mut ready: Option<Box<dyn Turns>> = None;
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            let turns = ready.get_or_insert_with(|| case.ready());
            bencher.iter_custom(|iterations| (0..iterations).map(|_| time(turns.as_mut())).sum());
        });
    }
    group.finish();
}

/// How long one turn takes, what prepares it left out.
fn time(turns: &mut dyn Turns) -> Duration {
    let mut took = Duration::ZERO;
    turns.turn(&mut |work| {
        let begin = Instant::now();
        work();
        took = begin.elapsed();
    });
    took
}

criterion_group!(benches, functions);
criterion_main!(benches);

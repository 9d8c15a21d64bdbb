//! Random schedules end in agreement.
//!
//! `SCHEDULES=5000` runs so many seeds (default 100); `SCHEDULE_SEED=17` runs one. A failure names its seed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: a panic is its failure, seeds are printed")]

mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind};

use schedule::Schedule;

#[test]
fn random_schedules_end_in_agreement() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SCHEDULE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCHEDULES").unwrap_or(100),
    };
    println!("seeds {seeds:?}");
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| Schedule::new(seed).run()));
        assert!(
            run.is_ok(),
            "seed {seed}; again: SCHEDULE_SEED={seed} cargo test -p senza-mesh --no-default-features --test schedules"
        );
    }
}

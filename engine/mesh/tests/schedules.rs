//! Random schedules end in agreement.
//!
//! `SCHEDULES=5000` runs so many seeds (default 100); `SCHEDULE_SEED=17` runs one. A failure names its seed.

#![expect(clippy::print_stdout, reason = "seeds are printed")]

use senza_mesh::sim::Schedule;

#[test]
fn random_schedules_end_in_agreement() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SCHEDULE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCHEDULES").unwrap_or(100),
    };
    println!("seeds {seeds:?}");
    for seed in seeds {
        if let Err(broken) = Schedule::seed(seed).run() {
            panic!(
                "{broken}\nagain: SCHEDULE_SEED={seed} cargo test -p senza-mesh --no-default-features --test schedules"
            );
        }
    }
}

//! Table, fanout and subscriptions under many interleavings, chosen by a scheduler and the same again by its seed.
//!
//! `SCHEDULES=20000` explores so many per test (default 200), half of them at random, half by few preemptions (PCT:
//! Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs", 2010);
//! `SCHEDULE_SEED=17` takes others. What is smallest is explored to its end. Every lock, wait and atomic of the crate is
//! a point where tasks may change; reorderings that a weaker memory than the sequentially consistent one allows are not
//! explored here: `engine/orderings` does so for look-ups.
//!
//! `cargo test --release -p senza-core --features shuttle --test interleavings`

#![expect(clippy::print_stdout, reason = "seeds are printed")]
#![expect(clippy::unwrap_used, reason = "all of it is tests")]

mod exhaustive;
#[cfg(feature = "faults")]
mod faults;
mod lookups;
mod node;
mod reader;
mod readings;
mod waiting;

use std::sync::OnceLock;

use shuttle::rand::Rng;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// Most preemptions of a PCT schedule.
const PREEMPTIONS: usize = 3;
/// Of a task: tables and directories are made on it.
const STACK_BYTES: usize = 256 * 1024;

/// Runs a test under the schedules that the environment asks for.
fn explore(test: fn()) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SCHEDULE_SEED").unwrap_or_default();
    let schedules = number("SCHEDULES").unwrap_or(200) as usize;
    println!("SCHEDULES={schedules} SCHEDULE_SEED={seed}");
    explore_some(test, seed, schedules, FailurePersistence::Print);
}

fn explore_some(test: fn(), seed: u64, schedules: usize, failures: FailurePersistence) {
    let mut config = config();
    config.failure_persistence = failures;
    sensors();
    Runner::new(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), config.clone()).run(test);
    Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules.div_ceil(2)), config).run(test);
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    // That weak memory is not modelled is said above.
    config.silence_warnings = true;
    config
}

/// Runs a small test under every schedule there is.
fn exhaust(test: fn()) {
    let schedules = Runner::new(DfsScheduler::new(None, false), config()).run(test);
    println!("{schedules} schedules");
}

/// A sensor of each shard: which that is differs from process to process, but not what is scheduled.
fn sensors() -> &'static [String; 2] {
    static SENSORS: OnceLock<[String; 2]> = OnceLock::new();
    SENSORS.get_or_init(|| {
        let (found, answer) = std::sync::mpsc::sync_channel(1);
        let find = move || found.send(node::sensor_of_each_shard()).expect("somebody waits for it");
        Runner::new(RandomScheduler::new_from_seed(0, 1), config()).run(find);
        answer.recv().expect("it ran")
    })
}

/// One of several, as the schedule's seed says.
fn pick<T: Clone>(of: &[T]) -> T {
    of[shuttle::rand::thread_rng().gen_range(0..of.len())].clone()
}

//! The simulation can find bugs: each known one, switched on, is caught by random schedules.
//!
//! `cargo test -p senza-mesh --no-default-features --features faults --test faults`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: a panic is its failure, seeds are printed")]

mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use schedule::Schedule;
use senza_core::fault::{self, Fault};

/// Seeds within which a bug has to show.
const SEEDS: u64 = 1000;

#[test]
fn random_schedules_catch_every_known_bug() {
    let faults = [
        Fault::ZombieEntry,
        Fault::UnscopedDelete,
        Fault::LostLastDelta,
        Fault::StaleInterest,
        Fault::EpochGoesBack,
        Fault::PartialCut,
    ];
    // What is caught here panics by design; its story is not for the reader.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let found = faults.map(|bug| {
        fault::set(Some(bug));
        let fails = |seed: &u64| catch_unwind(AssertUnwindSafe(|| Schedule::new(*seed).run())).is_err();
        (bug, (0..SEEDS).find(fails))
    });
    fault::set(None);
    set_hook(hook);
    for (bug, seed) in found {
        println!("{bug:?}: {}", seed.map_or("not caught".to_owned(), |seed| format!("caught by seed {seed}")));
    }
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "a bug was not caught within {SEEDS} seeds");
}

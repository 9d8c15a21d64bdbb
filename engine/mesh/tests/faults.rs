//! The simulation can find bugs: each known one, switched on, is caught by random schedules.
//!
//! `cargo test -p senza-mesh --no-default-features --features faults --test faults`

#![expect(clippy::print_stdout, reason = "seeds are printed")]

use std::panic::{catch_unwind, set_hook, take_hook};

use senza_core::fault::{self, Fault};
use senza_mesh::sim::Schedule;

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
    // A bug may also show as a broken assertion; its story is not for the reader.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let found = faults.map(|bug| {
        fault::set(Some(bug));
        let fails = |seed: &u64| !matches!(catch_unwind(|| Schedule::seed(*seed).run()), Ok(Ok(())));
        (bug, (0..SEEDS).find(fails))
    });
    fault::set(None);
    set_hook(hook);
    for (bug, seed) in found {
        println!("{bug:?}: {}", seed.map_or("not caught".to_owned(), |seed| format!("caught by seed {seed}")));
    }
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "a bug was not caught within {SEEDS} seeds");
}

//! The interleavings can find bugs: each known one, switched on, is caught.
//!
//! `cargo test -p senza-core --features shuttle,faults --test interleavings faults`

use std::panic::{catch_unwind, set_hook, take_hook};

use senza_core::fault::{self, Fault};
use shuttle::FailurePersistence;

use crate::{exhaustive, explore_some, readings};

/// Schedules within which a bug has to show.
const SCHEDULES: u64 = 1000;
/// Taken one after the other, so that the first that shows it is told.
const STEP: usize = 20;

#[test]
fn known_bugs_are_caught() {
    let tests: [(Fault, fn()); 3] = [
        (Fault::LookThenWait, exhaustive::an_offer_wakes),
        (Fault::NumberGivenEarly, readings::numbers_are_used_again),
        (Fault::StartTwice, readings::comes_in_the_middle),
    ];
    // A bug shows as a broken assertion or as a deadlock; its story is not for the reader.
    let hook = take_hook();
    let found = tests.map(|(bug, test)| {
        let fails = |seed: &u64| {
            set_hook(Box::new(|_| {}));
            catch_unwind(|| explore_some(test, *seed, STEP, FailurePersistence::None)).is_err()
        };
        fault::set(Some(bug));
        let seed = (0..SCHEDULES / STEP as u64).find(fails);
        fault::set(None);
        let seed_without = (0..SCHEDULES / STEP as u64).find(fails);
        (bug, seed, seed_without)
    });
    set_hook(hook);
    for (bug, seed, seed_without) in found {
        println!("{bug:?}: {}", seed.map_or("not caught".to_owned(), |seed| format!("caught by seed {seed}")));
        assert_eq!(seed_without, None, "the test of {bug:?} fails without it");
    }
    assert!(found.iter().all(|(_, seed, _)| seed.is_some()), "a bug was not caught within {SCHEDULES} schedules");
}

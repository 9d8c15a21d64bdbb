//! A few turns of one case, for valgrind to count: what `counts` starts. Nothing is linked here that counts itself.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::ExitCode;

use senza_micro::{COUNTED_TURNS, WARM_TURNS, cases};

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(case) = cases().into_iter().find(|case| case.name == name) else { return ExitCode::from(2) };
    let mut turns = case.ready();
    (0..WARM_TURNS).for_each(|_| turns.turn(&mut |work| work()));
    (0..COUNTED_TURNS).for_each(|_| turns.turn(&mut counted_turn));
    ExitCode::SUCCESS
}

/// The one function whose instructions are counted, with all that it calls. Valgrind knows it by name.
#[inline(never)]
fn counted_turn(work: &mut dyn FnMut()) {
    work();
    // Behind the call, so that it is none to jump to.
    black_box(());
}

//! Instructions and allocations of every case against what is committed; `benches/counts` builds and starts it.
//!
//! ```text
//! counts [--accept] [<part of a name> …]
//! ```
//!
//! Unlike times, they are the same on a busy machine. Instructions are counted by valgrind, one process per case, so
//! that no case finds another's heap.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};

use senza_micro::{COUNTED_TURNS, Case, OPERATIONS, WARM_TURNS, cases};

mod baseline;

use baseline::{Baseline, Counts, Report};

/// What is committed.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../baseline.json");
/// The program that valgrind runs, beside this one, and the function in it that is counted.
const COUNTED: &str = "counted";
const COUNTED_FUNCTION: &str = "*counted_turn*";
/// Leaves the C library its plainest copies, whatever the processor can do: with wider ones some functions here take a
/// third fewer instructions, and on another machine they do not. Names that it does not know are ignored.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-SSSE3,\
                            -SSE4_1,-SSE4_2,-ERMS,-FSRM";

fn main() -> ExitCode {
    let (flags, parts): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    if flags.iter().any(|flag| flag != "--accept") {
        return fail("counts [--accept] [<part of a name> …]");
    }
    match run(!flags.is_empty(), &parts) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why),
    }
}

/// Answers whether all is as it was, or was accepted.
fn run(accepts: bool, parts: &[String]) -> Result<bool, String> {
    let mut chosen = cases();
    chosen.retain(|case| parts.is_empty() || parts.iter().any(|part| case.name.contains(part.as_str())));
    if chosen.is_empty() {
        return Err("no function has such a name".to_owned());
    }
    let mut baseline = Baseline::read(Path::new(BASELINE))?;
    let counts = count(&chosen, can_count(&baseline))?;
    let report = Report::new(&baseline, &counts, parts.is_empty());
    say(&report.to_string());
    if !accepts {
        return Ok(report.differing == 0);
    }
    baseline.accept(&counts, parts.is_empty());
    std::fs::write(BASELINE, baseline.to_string()).map_err(|error| format!("{BASELINE}: {error}"))?;
    Ok(true)
}

/// Whether instructions can be counted here, and mean the same as in the baseline.
fn can_count(baseline: &Baseline) -> bool {
    let found = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        say("!!! SKIPPED: instructions are not counted: valgrind is missing");
    } else if !baseline.is_of_this_machine() {
        say("!!! SKIPPED: instructions are not counted: the baseline is of another kind of processor");
    }
    found && baseline.is_of_this_machine()
}

/// Counts all cases, as many at a time as there are cores.
fn count(cases: &[Case], instructions: bool) -> Result<Vec<(&'static str, Counts)>, String> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Counts)>, String> {
        let mut counted = Vec::new();
        while let Some((at, case)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, cases.get(at)?)))
        {
            let instructions = instructions.then(|| instructions_of(case.name)).transpose()?;
            let (allocations, bytes) = allocations_of(case);
            counted.push((at, Counts { instructions, allocations, bytes }));
        }
        Ok(counted)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let counted = threads.into_iter().map(|thread| thread.join().map_err(|_| "a case panicked".to_owned())?);
        counted.collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    counted.sort_unstable_by_key(|(at, _)| *at);
    Ok(counted.into_iter().map(|(at, counts)| (cases[at].name, counts)).collect())
}

/// Instructions of one operation.
fn instructions_of(name: &str) -> Result<f64, String> {
    let told = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COUNTED_FUNCTION}"))
        .arg(beside_this_one(COUNTED)?)
        .arg(name)
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .env_remove("VALGRIND_OPTS")
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&told.stderr);
    // `==<process>== Collected : <instructions>`
    let total = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match total.filter(|total| told.status.success() && *total > 0) {
        Some(total) => Ok(total as f64 / (COUNTED_TURNS * OPERATIONS) as f64),
        None => Err(format!("{name}: valgrind ended with {} and counted nothing:\n{said}", told.status)),
    }
}

/// Allocations of one turn, and their bytes.
fn allocations_of(case: &Case) -> (u64, u64) {
    let mut turns = case.ready();
    (0..WARM_TURNS).for_each(|_| turns.turn(&mut |work| work()));
    let mut counted = (0, 0);
    turns.turn(&mut |work| {
        let info = allocation_counter::measure(work);
        counted = (info.count_total, info.bytes_total);
    });
    counted
}

fn beside_this_one(program: &str) -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let program = this.with_file_name(program);
    if program.exists() { Ok(program) } else { Err(format!("{} is not built", program.display())) }
}

#[expect(clippy::print_stdout, reason = "the answer is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a program says why it ends")]
fn fail(why: &str) -> ExitCode {
    eprintln!("counts: {why}");
    ExitCode::from(2)
}

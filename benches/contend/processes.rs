//! What this process and all that it started use: processor time and memory, as Linux tells them under `/proc`.
//!
//! Knows nothing of what the processes do.

use std::fs;

/// This process and its descendants, as they are now.
pub(crate) fn family() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let mut at = 0;
    while at < found.len() {
        found.extend(children(found[at]));
        at += 1;
    }
    found
}

/// Processor time of all their threads that still run, nanoseconds. A thread that ended took its time with it.
pub(crate) fn processor_ns(processes: &[u32]) -> u64 {
    // The first number is the time on a processor; the clock ticks of `stat` are too coarse.
    let of_thread = |thread: &String| first_number(&fs::read_to_string(format!("{thread}/schedstat")).ok()?);
    processes.iter().flat_map(|process| threads(*process)).filter_map(|thread| of_thread(&thread)).sum()
}

/// Memory of a process that is in RAM, bytes; 0 of one that is gone.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(first_number);
    kilobytes.unwrap_or(0) * 1024
}

fn children(process: u32) -> Vec<u32> {
    let of_thread = |thread: String| fs::read_to_string(format!("{thread}/children")).unwrap_or_default();
    let words = threads(process).into_iter().map(of_thread).collect::<Vec<_>>().join(" ");
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path().display().to_string()).collect()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

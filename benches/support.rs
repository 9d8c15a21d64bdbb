//! What the benchmarks share: processes of their own that answer by lines, waiting for a condition, memory,
//! percentiles, ratios of pairs, and an account of the numbers that a reader saw.
//!
//! Knows nothing of nodes; what is measured stands in each benchmark.

#![expect(clippy::disallowed_methods, reason = "benchmarks read the clock and wait by it")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(300);
/// The first argument of a process that a benchmark starts of itself.
const CHILD: &str = "--child";

// === arguments, waiting, memory ===

/// Whether numbers are wanted. `cargo test` runs benchmarks too, without this flag: then they are only to work.
pub fn is_measured() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// The numbers of the command line, in order.
pub fn numbers() -> Vec<f64> {
    std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect()
}

/// What this process is to do, where a benchmark started it.
pub fn child_args() -> Option<Vec<String>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    (args.first()? == CHILD).then(|| args[1..].to_vec())
}

/// Looks every millisecond until the condition holds. Answers false after five minutes.
pub fn until(condition: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Memory of this process that is in RAM.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// A loopback endpoint that is free now.
pub fn free_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    format!("tcp/{}", listener.local_addr().expect("it is bound"))
}

// === processes ===

/// A process of this program that answers every line it is told with one line. Dropping it kills it, stopped or not.
pub struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Child {
    /// Starts one and waits until it says that it is ready.
    pub fn start(args: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.arg(CHILD).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a process");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (sender, lines) = crossbeam_channel::bounded(16);
        // A thread, so that one that stands still is waited for no longer than the limit.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let child = Self { process, lines };
        assert_eq!(child.line(), "ready", "{args:?}");
        child
    }

    /// Tells it a line, and answers its answer.
    pub fn ask(&mut self, line: &str) -> Json {
        let stdin = self.process.stdin.as_mut().expect("it was piped");
        writeln!(stdin, "{line}").expect("it reads");
        serde_json::from_str(&self.line()).expect("it answers in JSON")
    }

    /// Sends a signal, like `STOP`, to this process alone.
    pub fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &process]).status().expect("kill is there");
        assert!(status.success(), "{name} to {process}");
    }

    /// Tells it that it is wanted no more, and waits for its end.
    pub fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("it ends").success());
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("it answers")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

/// The other side of [`Child`]: says that it is ready, and answers lines until nobody can tell any more.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub fn answer_lines(mut answer: impl FnMut(&[&str]) -> Json) {
    println!("ready");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", answer(&words));
    }
}

// === percentiles and ratios ===

/// An empty histogram of nanoseconds or microseconds, up to an hour of these, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("its bounds are in order")
}

/// The percentiles that are told of every histogram.
pub fn percentiles(histogram: &Histogram<u64>) -> Json {
    let at = |quantile: f64| histogram.value_at_quantile(quantile);
    json!({ "count": histogram.len(), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() })
}

/// The middle of some numbers; 0 of none.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Interleaved pairs of one number, before and after something: their ratio, and how sure that is.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Pairs {
    /// Adds a pair.
    pub fn add(&mut self, before: f64, after: f64) {
        self.before.push(before);
        self.after.push(after);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.before.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// The median ratio with its 95 % interval by rank, which asks nothing of how the ratios are spread; and whether it
    /// is at most `goal`, where the interval does not straddle that.
    pub fn told(&self, goal: Option<f64>) -> Json {
        let mut ratios: Vec<f64> = self.before.iter().zip(&self.after).map(|(before, after)| after / before).collect();
        ratios.sort_by(f64::total_cmp);
        let interval = interval_rank(ratios.len()).map(|rank| (ratios[rank], ratios[ratios.len() - 1 - rank]));
        let verdict = goal.map(|goal| match interval {
            Some((_, high)) if high <= goal => "met",
            Some((low, _)) if low > goal => "missed",
            _ => "unresolved",
        });
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        json!({
            "before": rounded(median(&self.before)),
            "after": rounded(median(&self.after)),
            "ratio": rounded(median(&ratios)),
            "interval_95": interval.map(|(low, high)| [rounded(low), rounded(high)]),
            "goal": goal,
            "verdict": verdict,
        })
    }
}

/// The rank, counted from 0 at both ends, between which the median lies in 95 of 100 cases; `None` of too few numbers.
fn interval_rank(count: usize) -> Option<usize> {
    let (mut outside, mut term, mut rank) = (0.0, 0.5_f64.powi(i32::try_from(count).ok()?), None);
    for at in 0..count / 2 {
        outside += 2.0 * term;
        if outside > 0.05 {
            break;
        }
        rank = Some(at);
        term *= (count - at) as f64 / (at + 1) as f64;
    }
    rank
}

// === numbers of readings ===

/// What one reader saw of every series: each number comes once, or lies in a told gap, or is missing without a word.
#[derive(Debug, Default)]
pub struct Numbers {
    series: Vec<Seen>,
    /// Readings that came.
    pub received: u64,
    /// Numbers inside told gaps, of which the end was told too.
    pub told: u64,
    /// Numbers missing behind a gap that was told without an end.
    pub told_open: u64,
    /// Numbers missing without a word.
    pub untold: u64,
    /// Numbers that came again, or although they were told as lost.
    pub again: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    last: u64,
    open: bool,
}

impl Numbers {
    /// Notes a reading. What was before the first of its series is of no account.
    pub fn reading(&mut self, series: usize, seq: u64) {
        let Seen { last, open } = *self.seen(series);
        self.received += 1;
        if seq <= last {
            self.again += 1;
            return;
        }
        let missing = if last == 0 { 0 } else { seq - last - 1 };
        match open {
            true => self.told_open += missing,
            false => self.untold += missing,
        }
        *self.seen(series) = Seen { last: seq, open: false };
    }

    /// Notes a told gap; one without an end says that what comes next is behind a loss.
    pub fn gap(&mut self, series: usize, from: u64, to: u64) {
        let seen = self.seen(series);
        let last = seen.last;
        if to == u64::MAX {
            seen.open = true;
        } else if to > last {
            seen.last = to;
            let open = seen.open;
            let missing = if last == 0 { 0 } else { from.saturating_sub(last + 1) };
            self.told += to + 1 - from.max(last + 1);
            match open {
                true => self.told_open += missing,
                false => self.untold += missing,
            }
        }
    }

    /// The sum of the last numbers of all series.
    pub fn last(&self) -> u64 {
        self.series.iter().map(|seen| seen.last).sum()
    }

    /// The account as JSON.
    pub fn told(&self) -> Json {
        let Self { received, told, told_open, untold, again, .. } = self;
        json!({
            "received": received, "told": told, "told_open": told_open, "untold": untold, "again": again,
            "last": self.last(),
        })
    }

    fn seen(&mut self, series: usize) -> &mut Seen {
        if series >= self.series.len() {
            self.series.resize(series + 1, Seen::default());
        }
        &mut self.series[series]
    }
}

/// The digits at the end of a sensor's id, as the benchmarks name sensors.
pub fn index_of(sensor: &str) -> usize {
    let digits = sensor.len() - sensor.bytes().rev().take_while(u8::is_ascii_digit).count();
    sensor[digits..].parse().expect("ids of benchmarks end with a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_median_is_the_tables() {
        // Ranks of the sign test's tables, there counted from 1.
        for (count, rank) in [(5, None), (6, Some(0)), (10, Some(1)), (21, Some(5)), (25, Some(7)), (50, Some(17))] {
            assert_eq!(interval_rank(count), rank, "{count}");
        }
    }

    #[test]
    fn a_ratio_is_resolved_where_its_interval_is_on_one_side() {
        let pairs = |after: &dyn Fn(usize) -> f64| {
            let mut pairs = Pairs::default();
            (0..21).for_each(|at| pairs.add(10.0, after(at)));
            pairs.told(Some(1.1))["verdict"].clone()
        };
        assert_eq!(pairs(&|_| 10.5), "met");
        assert_eq!(pairs(&|_| 11.5), "missed");
        assert_eq!(pairs(&|at| 10.0 + at as f64 / 10.0), "unresolved");
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0]), median(&[])), (2.0, 1.5, 0.0));
    }

    #[test]
    fn every_number_is_accounted_for() {
        let mut numbers = Numbers::default();
        [3, 4, 7].into_iter().for_each(|seq| numbers.reading(1, seq));
        numbers.gap(1, 8, 10);
        numbers.reading(1, 11);
        numbers.gap(1, 12, u64::MAX);
        numbers.gap(1, 14, 15);
        numbers.reading(1, 16);
        numbers.reading(1, 16);
        let Numbers { received, told, told_open, untold, again, .. } = numbers;
        assert_eq!((received, told, told_open, untold, again, numbers.last()), (6, 5, 2, 2, 1, 16));
        assert_eq!(index_of("building/sensor-00000042"), 42);
    }
}

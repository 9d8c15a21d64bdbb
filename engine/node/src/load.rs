//! `senza load`: offers readings at a rate and measures how long each takes to its subscribers, with none forgotten.
//!
//! Open loop: reading k is due k/rate after the begin, whatever became of those before, and its latency counts from
//! then on. A sender that was held up is thus part of what is measured, instead of silently asking less while the
//! system is slow (coordinated omission). It is a client of the library like any other.

#![expect(clippy::print_stdout, reason = "a measurement is made to be read")]

mod account;
mod reader;
mod report;
mod schedule;
mod sender;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use crossbeam_channel::Receiver;
use senza_core::{Filter, Micros, NodeName};
use senza_mesh::clock::{Clock, SystemClock};

use crate::cli::{Failure, Outcome, duration, stop_signal};
use crate::{Config, Contract, Node};
use account::Counts;
use reader::Reader;
use report::Report;
use sender::Work;
use source::Source;
pub(crate) use source::serve;

/// Differences between two clocks up to so many microseconds are their reading's, not of a clock that was set.
const CLOCK_US: Micros = 1_000;

/// Where readings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// One node in this process: put to local subscriber
    Process,
    /// Two nodes in two processes on this machine: put on one, subscribed on the other
    Cluster,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Process => "process",
            Place::Cluster => "cluster",
        }
    }
}

/// Arguments of `senza load`.
///
/// Latency is arrival less intended time, each by the clock of this machine, on which all processes run.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// Where readings go. All on this machine, so that one clock times both ends
    #[arg(long = "where", value_enum, default_value_t = Place::Cluster)]
    place: Place,
    #[command(flatten)]
    work: Work,
    /// Subscribers, each of which gets every reading
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    subscribers: u32,
    /// Measure for so long, like 10s
    #[arg(long = "for", default_value = "10s", value_parser = duration)]
    length: Duration,
    /// Offer the same load for so long before, unmeasured
    #[arg(long, default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// Print one JSON object for scripts
    #[arg(long)]
    json: bool,
    /// Save the latencies, in microseconds, as an HdrHistogram percentile distribution
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

/// Arguments of the process that puts.
#[derive(Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    work: Work,
    /// Endpoints of the node that subscribes
    #[arg(long)]
    connect: Vec<String>,
}

/// Measures, and says what was measured. Fails where anything offered is unaccounted for.
pub(crate) fn run(args: &LoadArgs) -> Outcome {
    let stopped = stop_signal()?;
    let name = NodeName::new("load-b").map_err(Failure::usage)?;
    let node = Node::start(Config::loopback(name)).map_err(Failure::usage)?;
    let report = measure(args, &node, &stopped);
    node.stop();
    let report = report?;
    if let Some(path) = &args.hgrm {
        let saved = std::fs::write(path, report::hgrm(&report.latency));
        saved.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    }
    if args.json {
        println!("{}", report.json(args));
    } else {
        print!("{}", report.text(args));
    }
    if report.is_exact() {
        return Ok(());
    }
    Err(Failure::not_found("not every reading offered came exactly once, in order, or was told as lost"))
}

fn measure(args: &LoadArgs, node: &Node, stopped: &Receiver<()>) -> Result<Report, Failure> {
    let sensors = args.work.sensors as usize;
    let filter = Filter::pattern(&format!("load%20$*/{}", sender::ATTRIBUTE)).map_err(Failure::usage)?;
    let start = |_| {
        let subscriber = node.subscribe(&filter, Contract::default()).map_err(Failure::usage)?;
        Reader::start(subscriber, sensors)
    };
    let readers = (0..args.subscribers).map(start).collect::<Result<Vec<Reader>, Failure>>()?;
    let mut source = match args.place {
        Place::Process => Source::here(node, &args.work)?,
        Place::Cluster => Source::elsewhere(node, &args.work)?,
    };
    source.wait_ready(stopped)?;
    if !args.warm_up.is_zero() {
        span(&mut source, &readers, args.warm_up, stopped)?;
    }
    span(&mut source, &readers, args.length, stopped)
}

/// Has one span put, and waits until its readings are accounted for.
fn span(source: &mut Source, readers: &[Reader], length: Duration, stopped: &Receiver<()>) -> Result<Report, Failure> {
    let before = ahead();
    let length_us = Micros::try_from(length.as_micros()).map_err(Failure::usage)?;
    let span = source.put_span(length_us, stopped)?;
    readers.iter().for_each(|reader| reader.end_span(span.put));
    let (mut counts, mut latency, mut last) = (Counts::default(), reader::histogram()?, span.began);
    for reader in readers {
        let seen = reader.seen()?;
        counts.add(&seen.counts);
        latency.add(&seen.latency).map_err(Failure::usage)?;
        last = last.max(seen.last_arrival);
    }
    let clock_set_us = Some(ahead() - before).filter(|set| set.abs() > CLOCK_US).unwrap_or(0);
    Ok(Report { arrived_us: last - span.began, span, counts, latency, clock_set_us })
}

/// How far the time of day is ahead of the time that never goes back, microseconds.
fn ahead() -> Micros {
    let clock = SystemClock;
    // A thread that is held up between the two reads sees less.
    (0..8).map(|_| clock.now() - clock.steady()).max().unwrap_or(0)
}

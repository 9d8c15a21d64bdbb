//! The open loop: readings are due by a schedule, whatever becomes of those before them.
//!
//! A process that puts ([`Writer`]) sleeps until the next readings are due, and puts them. What is late because it or
//! its contender stood still is put at once with the time at which it was *due*: so every wait counts in the latency
//! of all readings that it held up. It sleeps and does not spin, for a writer that spins takes one of the cores from
//! the contender; how late it wakes is part of every contender's latency, and told beside it. What it could not put by
//! the end of the schedule is told as not put. The process that reads ([`Seen`]) checks every number and times every
//! reading. Knows nothing of any contender: see [`crate::wires`].

mod schedule;
mod seen;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use senza_benches::{Child, answer_lines, histogram, percentiles};
use senza_mesh::clock::{Clock, SystemClock};
use serde_json::{Value as Json, json};

pub(crate) use self::schedule::{Kind, Schedule};
pub(crate) use self::seen::Seen;
use crate::answer::Answer;
use crate::wires::{self, Shape, Sink, Source};

/// A writer goes on so long after the end of its schedule with what is due before it gives up.
const GRACE_US: i64 = 20_000;
/// A writer that does not come back from a put so long after the end of its schedule ends itself.
const STUCK_US: i64 = 30_000_000;
/// After so long without anything, what is missing does not come any more.
const QUIET_US: i64 = 1_000_000;
/// What is on its way may take so long to come after the last put.
const ARREARS_US: i64 = 20_000_000;
/// A reader waits at most so long for the next readings.
const LOOK: Duration = Duration::from_millis(20);

// === the process that puts ===

/// A process that puts by a schedule, seen from the one that reads.
pub(crate) struct Writer {
    child: Child,
    schedule: Schedule,
}

/// What was put in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// When it began, microseconds since 1970.
    pub begin_us: i64,
    /// How long the schedule was, microseconds.
    pub span_us: i64,
    /// Readings that were put.
    pub put: u64,
    /// Readings that were due and could not be put by the end of the schedule.
    pub not_put: u64,
    /// By how much the writer was behind when it came to each tick, microseconds: percentiles.
    pub late: Json,
}

impl Writer {
    /// Starts one and waits until it is connected.
    pub(crate) fn start(family: &str, contender: &str, endpoint: &str, shape: &Shape, schedule: Schedule) -> Self {
        let Shape { sensors, bytes, batch, express, .. } = *shape;
        let told = json!({
            "contender": contender, "endpoint": endpoint, "schedule": schedule.told(),
            "sensors": sensors, "bytes": bytes, "batch": batch, "express": express,
        });
        Self { child: Child::start(&[family, "put", &told.to_string()]), schedule }
    }

    /// What it has put.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Has it put for so many seconds.
    fn run(&mut self, seconds: f64) -> Run {
        let span_us = (seconds * 1e6) as i64;
        let told = self.child.ask(&format!("run {span_us}"));
        let put_before = self.schedule.put();
        let number = |json: &Json| json.as_u64().expect("a number");
        self.schedule.set_put(told["put"].as_array().expect("numbers").iter().map(number).collect());
        let put = self.schedule.put() - put_before;
        Run {
            begin_us: told["begin_us"].as_i64().expect("a time"),
            span_us,
            put,
            not_put: self.schedule.due_within(span_us).saturating_sub(put),
            late: told["late_us"].clone(),
        }
    }

    /// Lets it end by itself.
    pub(crate) fn end(self) {
        self.child.end();
    }
}

/// The work of that process; `words` are behind `put`.
pub(crate) fn write(words: &[String]) {
    sharpen_sleep();
    let told: Json = serde_json::from_str(&words[0]).expect("what a writer was told");
    let number = |name: &str| told[name].as_u64().expect("a number");
    let shape = Shape {
        first: 0,
        sensors: number("sensors") as u32,
        bytes: number("bytes") as usize,
        batch: number("batch") as usize,
        express: told["express"] == true,
    };
    let word = |name: &str| told[name].as_str().expect("a word");
    let mut schedule = Schedule::of(&told["schedule"]);
    let stuck_at = watched();
    let mut source = wires::source(word("contender"), word("endpoint"), &shape);
    stuck_at.store(i64::MAX, Ordering::Relaxed);
    answer_lines(|words| {
        let span_us: i64 = words[1].parse().expect("a time");
        stuck_at.store(SystemClock.steady() + span_us + STUCK_US, Ordering::Relaxed);
        let told = put_due(&mut *source, &mut schedule, span_us);
        stuck_at.store(i64::MAX, Ordering::Relaxed);
        told
    });
}

#[expect(clippy::disallowed_methods, reason = "an open loop is paced by the clock")]
fn put_due(source: &mut dyn Source, schedule: &mut Schedule, span_us: i64) -> Json {
    let (begin, before) = (SystemClock.now() + 1_000, schedule.put_by_kind().to_vec());
    let (mut late, mut puts) = (histogram(), Vec::new());
    for since in (0..span_us).step_by(schedule.tick_us() as usize) {
        let due = begin + since;
        let ahead = due - SystemClock.now();
        if ahead > 0 {
            std::thread::sleep(Duration::from_micros(ahead.unsigned_abs()));
        }
        let now = SystemClock.now();
        if now > begin + span_us + GRACE_US {
            break;
        }
        late.saturating_record((now - due).max(1).unsigned_abs());
        puts.clear();
        schedule.at_tick(since, begin, &before, &mut puts);
        source.put(&puts);
        source.flush();
    }
    json!({ "put": schedule.put_by_kind(), "begin_us": begin, "late_us": percentiles(&late) })
}

/// Has sleeps of this process's first thread end when they are to, and not up to 50 µs later, where the system lets.
fn sharpen_sleep() {
    let _as_it_was = std::fs::write("/proc/self/timerslack_ns", "1000");
}

/// When this process is to be ended since it is stuck, by the steady clock; first of all in the time it has to connect.
#[expect(clippy::disallowed_methods, reason = "a look at the clock now and then")]
fn watched() -> Arc<AtomicI64> {
    let stuck_at = Arc::new(AtomicI64::new(SystemClock.steady() + STUCK_US));
    let watched = stuck_at.clone();
    std::thread::spawn(move || {
        while SystemClock.steady() < watched.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(500));
        }
        // Nothing that is stuck can be asked to end.
        eprintln!("contend: the process that puts is stuck");
        std::process::abort();
    });
    stuck_at
}

// === the process that reads ===

/// Has the writer put for so many seconds, while all that comes is taken; then takes what is still on its way, until
/// everything is accounted for or nothing comes any more. `of_put` says how many of so many put readings are for this
/// sink.
pub(crate) fn follow(
    writer: &mut Writer,
    seconds: f64,
    sink: &mut dyn Sink,
    seen: &mut Seen,
    of_put: impl Fn(&Schedule) -> u64,
) -> Run {
    seen.begin(&writer.schedule);
    let before = of_put(&writer.schedule);
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| writer.run(seconds));
        while !run.is_finished() {
            if seen.is_cut_off() {
                break;
            }
            seen.take(sink, LOOK);
        }
        run.join().expect("it puts")
    });
    drain(sink, seen, of_put(&writer.schedule) - before);
    run
}

/// Takes until so many readings came or were told as missing, or nothing comes any more.
pub(crate) fn drain(sink: &mut dyn Sink, seen: &mut Seen, offered: u64) {
    let begin = SystemClock.now();
    while !seen.is_cut_off() && seen.known() < offered {
        let now = SystemClock.now();
        if now - seen.last_came_us().max(begin) > QUIET_US || now - begin > ARREARS_US {
            break;
        }
        seen.take(sink, LOOK);
    }
}

/// What every open loop tells: how much was due, put and came, and how long that took.
pub(crate) fn told(answer: Answer, run: &Run, seen: &mut Seen, offered: u64) -> Answer {
    let (arrived, cut_off) = (seen.arrived(), seen.is_cut_off());
    let took_us = (seen.last_came_us() - run.begin_us).max(run.span_us);
    let latency = seen.latency();
    let at = |quantile: f64| latency.value_at_quantile(quantile) as f64;
    answer
        .metric("p50_us", at(0.5))
        .metric("p90_us", at(0.9))
        .metric("p99_us", at(0.99))
        .metric("p999_us", at(0.999))
        .metric("max_us", latency.max() as f64)
        .metric("achieved_per_s", arrived as f64 * 1e6 / took_us as f64)
        .metric("not_put_readings", run.not_put as f64)
        .detail("writer_late_us", run.late.clone())
        .detail("cut_off", cut_off)
        .account(seen.account(offered))
}

//! The open loop: readings are due by a schedule, whatever becomes of those before them.
//!
//! A process that puts ([`Writer`]) sleeps until the next readings are due, and puts them. What is late because it or
//! its contender stood still is put at once with the time at which it was *due*: so every wait counts in the latency
//! of all readings that it held up. It sleeps and does not spin, for a writer that spins takes one of the cores from
//! the contender; how late it wakes is part of every contender's latency, and told beside it. What it could not put by
//! the end of the schedule is told as not put. The process that reads ([`Seen`]) checks every number and times every
//! reading. Knows nothing of any contender: see [`crate::wires`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use senza_benches::{Child, answer_lines, histogram, percentiles};
use senza_mesh::clock::{Clock, SystemClock};
use serde_json::{Value as Json, json};

use crate::answer::{Account, Answer};
use crate::trucks;
use crate::wires::{self, Came, Put, Shape, Sink, Source};

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
/// Readings that come together are timed by the same look at the clock, up to so many.
const TIMED_TOGETHER: u32 = 64;

// === what is due ===

/// Series that are due equally often, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// The first of them.
    pub first: u32,
    /// How many there are.
    pub series: u32,
    /// Readings a second of all of them together.
    pub per_s: f64,
}

/// Which readings are due when: at every tick, all those of the time up to the next.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    kinds: Vec<Kind>,
    tick_us: i64,
    /// Readings of each kind that were put so far.
    put: Vec<u64>,
    /// What the readings are stamped with.
    stamps: Stamps,
}

/// What a reading is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// When it was due.
    Due,
    /// What [`trucks::recorded_us`] says of a device that began at this time: late ones among them.
    Recorded { begin_us: i64 },
}

impl Schedule {
    /// Nothing was put yet.
    pub(crate) fn new(kinds: Vec<Kind>, tick_us: i64) -> Self {
        Self { put: vec![0; kinds.len()], kinds, tick_us, stamps: Stamps::Due }
    }

    /// The same of devices that keep what they recorded when they have no connection.
    pub(crate) fn recorded(self, begin_us: i64) -> Self {
        Self { stamps: Stamps::Recorded { begin_us }, ..self }
    }

    /// One kind of series at one rate: each alone as long as that is at most one a millisecond, then as many as are due
    /// in a millisecond together.
    pub(crate) fn even(sensors: u32, per_s: u64) -> Self {
        let tick_us = (1_000_000 / per_s.max(1)).max(1_000) as i64;
        Self::new(vec![Kind { first: 0, series: sensors, per_s: per_s as f64 }], tick_us)
    }

    /// How many are due in the first so many microseconds.
    pub(crate) fn due_within(&self, us: i64) -> u64 {
        self.kinds.iter().map(|kind| due_of(kind, us)).sum()
    }

    /// So many were put of the one kind.
    pub(crate) fn set_put(&mut self, count: u64) {
        self.put = vec![count];
    }

    /// How many were put so far of the series below a number, at which a kind begins.
    pub(crate) fn put_below(&self, series: u32) -> u64 {
        let kinds = self.kinds.iter().zip(&self.put);
        kinds.filter(|(kind, _)| kind.first < series).map(|(_, put)| put).sum()
    }

    /// How many were put so far.
    pub(crate) fn put(&self) -> u64 {
        self.put.iter().sum()
    }

    /// What is due at the tick that begins so many microseconds after `begin`, numbered on from those put before it; of
    /// each kind so many were put before this run.
    fn at_tick(&mut self, since_us: i64, begin: i64, before: &[u64], out: &mut Vec<Put>) {
        for ((kind, put), before) in self.kinds.iter().zip(&mut self.put).zip(before) {
            let due = before + due_of(kind, since_us + self.tick_us);
            let series = u64::from(kind.series);
            let (mut at, mut seq) = ((*put % series) as u32, *put / series + 1);
            for _ in *put..due {
                let sensor = kind.first + at;
                let at_us = match self.stamps {
                    Stamps::Due => begin + since_us,
                    Stamps::Recorded { begin_us } => begin_us + trucks::recorded_us(sensor, seq),
                };
                out.push(Put { sensor, seq, at_us });
                at += 1;
                if at == kind.series {
                    (at, seq) = (0, seq + 1);
                }
            }
            *put = due.max(*put);
        }
    }

    /// The last number that was put of each series.
    pub(crate) fn last_numbers(&self) -> impl Iterator<Item = (u32, u64)> {
        self.kinds.iter().zip(&self.put).flat_map(|(kind, put)| {
            let (rounds, rest) = (put / u64::from(kind.series), put % u64::from(kind.series));
            (0..kind.series).map(move |at| (kind.first + at, rounds + u64::from(u64::from(at) < rest)))
        })
    }

    fn told(&self) -> Json {
        let kinds = self.kinds.iter().map(|kind| json!([kind.first, kind.series, kind.per_s])).collect::<Vec<_>>();
        let recorded = match self.stamps {
            Stamps::Due => None,
            Stamps::Recorded { begin_us } => Some(begin_us),
        };
        json!({ "kinds": kinds, "tick_us": self.tick_us, "recorded": recorded })
    }

    fn of(told: &Json) -> Self {
        let number = |json: &Json| json.as_u64().expect("a number");
        let kind = |kind: &Json| Kind {
            first: number(&kind[0]) as u32,
            series: number(&kind[1]) as u32,
            per_s: kind[2].as_f64().expect("a rate"),
        };
        let kinds = told["kinds"].as_array().expect("kinds").iter().map(kind).collect();
        let stamps = told["recorded"].as_i64().map_or(Stamps::Due, |begin_us| Stamps::Recorded { begin_us });
        Self { stamps, ..Self::new(kinds, number(&told["tick_us"]) as i64) }
    }
}

fn due_of(kind: &Kind, us: i64) -> u64 {
    // A hair more, so that a whole number is not missed by rounding.
    (us as f64 * kind.per_s / 1e6 + 1e-6) as u64
}

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
        self.schedule.put = told["put"].as_array().expect("numbers").iter().map(number).collect();
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
    let (begin, before) = (SystemClock.now() + 1_000, schedule.put.clone());
    let (mut late, mut puts) = (histogram(), Vec::new());
    for since in (0..span_us).step_by(schedule.tick_us as usize) {
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
    json!({ "put": schedule.put, "begin_us": begin, "late_us": percentiles(&late) })
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
        std::process::abort();
    });
    stuck_at
}

// === the process that reads ===

/// What a reader saw: each number comes once, in order, or lies in a told gap, or is missing without a word.
pub(crate) struct Seen {
    /// The last number of each series that came or was told.
    last: Vec<u64>,
    /// The last number of each series that is of no account.
    before: Vec<u64>,
    /// Whether what is missing before a series' next number was told, without saying where it ends.
    open: Vec<bool>,
    arrived: u64,
    told: u64,
    /// Numbers that came again, or behind later ones.
    again: u64,
    /// When the last one came, microseconds since 1970.
    last_came_us: i64,
    /// From due to here, microseconds.
    latency: Histogram<u64>,
    /// So many readings in a row took so long, and are not in the histogram yet.
    alike: (u64, u64),
    /// Whether the contender closed the sink.
    cut_off: bool,
}

impl Seen {
    /// Nothing, of so many series.
    pub(crate) fn new(sensors: u32) -> Self {
        Self {
            last: vec![0; sensors as usize],
            before: vec![0; sensors as usize],
            open: vec![false; sensors as usize],
            arrived: 0,
            told: 0,
            again: 0,
            last_came_us: 0,
            latency: histogram(),
            alike: (0, 0),
            cut_off: false,
        }
    }

    /// From here on, nothing of what was put before counts.
    pub(crate) fn begin(&mut self, schedule: &Schedule) {
        for (sensor, number) in schedule.last_numbers() {
            let last = &mut self.last[sensor as usize];
            *last = (*last).max(number);
            self.before[sensor as usize] = number;
        }
        self.open.fill(false);
        (self.arrived, self.told, self.again, self.last_came_us, self.alike) = (0, 0, 0, 0, (0, 0));
        self.latency.reset();
    }

    /// Takes what has come.
    pub(crate) fn take(&mut self, sink: &mut dyn Sink, wait: Duration) {
        let (mut now, mut timed, mut came) = (0, 0, false);
        let goes_on = sink.take(wait, &mut |item| {
            if timed == 0 {
                (now, timed, came) = (SystemClock.now(), TIMED_TOGETHER, true);
            }
            timed -= 1;
            self.note(item, now);
        });
        if came {
            self.last_came_us = SystemClock.now();
        }
        self.cut_off |= !goes_on;
    }

    fn note(&mut self, item: Came, now: i64) {
        match item {
            Came::Reading { sensor, seq, at_us } => {
                let (last, open) = (&mut self.last[sensor as usize], &mut self.open[sensor as usize]);
                if seq <= *last {
                    self.again += u64::from(seq > self.before[sensor as usize]);
                    return;
                }
                if *open {
                    self.told += seq - *last - 1;
                    *open = false;
                }
                *last = seq;
                self.arrived += 1;
                let took = (now - at_us).max(1).unsigned_abs();
                if took != self.alike.0 {
                    self.settle();
                    self.alike.0 = took;
                }
                self.alike.1 += 1;
            }
            Came::Gap { sensor, to: u64::MAX, .. } => self.open[sensor as usize] = true,
            Came::Gap { sensor, from, to } => {
                let last = &mut self.last[sensor as usize];
                if to > *last {
                    self.told += to + 1 - from.max(*last + 1);
                    *last = to;
                }
            }
        }
    }

    /// Puts what was counted as alike into the histogram.
    fn settle(&mut self) {
        let (took, count) = std::mem::take(&mut self.alike);
        if count > 0 {
            self.latency.saturating_record_n(took, count);
        }
    }

    /// The last number of each series that came or was told.
    pub(crate) fn last(&self) -> &[u64] {
        &self.last
    }

    /// Of how many readings since the begin it is known what became of them.
    pub(crate) fn known(&self) -> u64 {
        self.arrived + self.told
    }

    /// Readings that came since the begin.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Whether the contender closed the sink.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// When the last one came, microseconds since 1970; 0 if none did.
    pub(crate) fn last_came_us(&self) -> i64 {
        self.last_came_us
    }

    /// The latencies since the begin.
    pub(crate) fn latency(&mut self) -> &Histogram<u64> {
        self.settle();
        &self.latency
    }

    /// What became of so many readings that were put for it.
    ///
    /// # Panics
    ///
    /// Where one came that never was put, or came twice.
    pub(crate) fn account(&self, offered: u64) -> Account {
        let Self { arrived, told, again, .. } = *self;
        assert_eq!(again, 0, "readings came again, or behind later ones");
        let known = arrived + told;
        assert!(known <= offered, "{arrived} came and {told} were told as missing of {offered}");
        Account { offered, arrived, told, lost: offered - known }
    }
}

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
            if seen.cut_off {
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
    while !seen.cut_off && seen.known() < offered {
        let now = SystemClock.now();
        if now - seen.last_came_us.max(begin) > QUIET_US || now - begin > ARREARS_US {
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

//! Isolation: what a subscriber that stops does to all others.
//!
//! `cargo bench -p senza-benches --profile release --bench isolation [-- <pairs> <seconds> <readings/s>]` prints one JSON
//! object; by default 21 pairs of 3 s windows at 10,000 readings/s, eight minutes.
//!
//! One node puts readings by an open loop, a batch every millisecond. Two subscribers in its process, one on a node in
//! another process and one plain Zenoh client in a third take them, and time each from when it was due to its arrival. In
//! each pair all is well in the first window; at the begin of the second a *victim* stops: a subscriber in the process
//! that reads no more, a node (SIGSTOP), a plain client (SIGSTOP). Then it goes on, and must say what it missed. Told are
//! the ratios of the others' percentiles, per kind of victim and kind of subscriber. Three seconds of standing still hold
//! both the time in which nobody knows and the one in which the node is down.
//!
//! All processes share the machine's cores, so that a victim that stops also leaves the others its part of them.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and keeps time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use senza::{Config, Contract, Filter, Ledger, Node, NodeName, Sensor, SensorHandle, Subscriber, Value};
use senza_benches::{Child, Numbers, Pairs, answer_lines, child_args, histogram, index_of, is_measured, median, until};
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::zenoh_client::{Client, Update};
use serde_json::{Value as Json, json};

const SENSORS: usize = 1_000;
/// A batch is due so often, microseconds.
const BEAT_US: i64 = 1_000;
/// Sleeping ends so long before a batch is due; the rest is spun.
const SPIN_US: i64 = 100;
/// Readings that the victim in the process may have waiting: what comes on top overflows.
const VICTIM_QUEUE: usize = 4_096;
const GOAL: f64 = 1.1;
const LOOK: Duration = Duration::from_millis(10);
/// After so long without a word, what is missing of a window is missing.
const SETTLE_US: i64 = 5_000_000;

fn main() {
    match child_args() {
        Some(args) => child(&args[0], &args[1], &args[2]),
        None => parent(),
    }
}

// === what a subscriber saw ===

/// Latencies by window, and the account of all numbers. A reading's value is the window in which it was put; 0 is between
/// windows.
#[derive(Default)]
struct Seen {
    windows: BTreeMap<i64, Histogram<u64>>,
    numbers: Numbers,
    /// When the reading put last was put.
    newest: i64,
}

impl Seen {
    fn reading(&mut self, series: usize, seq: u64, window: i64, due: i64, arrived: i64) {
        self.numbers.reading(series, seq);
        self.newest = self.newest.max(due);
        if window > 0 {
            let latency = u64::try_from(arrived - due).unwrap_or(0);
            self.windows.entry(window).or_insert_with(histogram).saturating_record(latency.max(1));
        }
    }
}

/// A subscriber's thread, and what it saw.
#[derive(Clone, Default)]
struct Watch {
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
    /// Held by whoever wants the reader to stand still.
    gate: Arc<Mutex<()>>,
}

impl Watch {
    fn read(&self, mut subscriber: Subscriber) -> JoinHandle<()> {
        let Self { seen, ended, gate } = self.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                drop(gate.lock());
                subscriber.read_batch(LOOK, |item| {
                    let series = index_of(item.series.sensor.as_str());
                    let (arrived, row) = (SystemClock.now(), item.row);
                    match item.value {
                        Some(Value::I64(window)) => {
                            seen.lock().reading(series, row.seq, window, row.source_time, arrived);
                        }
                        _ => seen.lock().numbers.gap(series, row.seq, row.slot),
                    }
                });
            }
        })
    }

    fn read_plain(&self, next: impl Fn() -> Option<Update> + Send + 'static) -> JoinHandle<()> {
        let Self { seen, ended, .. } = self.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Some(update) = next() else { continue };
                let arrived = SystemClock.now();
                let sensor = update.key.split('/').nth(1).unwrap_or_default();
                let reading: Json = serde_json::from_slice(&update.payload.unwrap_or_default()).expect("JSON");
                let number = |name: &str| reading[name].as_i64().expect("a number");
                let seq = number("seq").unsigned_abs();
                seen.lock().reading(index_of(sensor), seq, number("value"), number("time_us"), arrived);
            }
        })
    }

    /// The latencies of a window of so many readings, once they are all there or nothing comes any more.
    fn window(&self, window: i64, readings: u64) -> Json {
        let count = || self.seen.lock().windows.get(&window).map_or(0, Histogram::len);
        let (last, since) = (AtomicU64::new(0), AtomicI64::new(SystemClock.now()));
        until(|| {
            let (count, now) = (count(), SystemClock.now());
            if count != last.swap(count, Ordering::Relaxed) {
                since.store(now, Ordering::Relaxed);
            }
            count >= readings || now - since.load(Ordering::Relaxed) > SETTLE_US
        });
        senza_benches::percentiles(&self.seen.lock().windows.remove(&window).unwrap_or_else(histogram))
    }

    /// The account, once a reading put after that time has come.
    fn account(&self, after: i64) -> Json {
        assert!(until(|| self.seen.lock().newest > after), "nothing comes");
        self.seen.lock().numbers.told()
    }

    fn answer(&self, words: &[&str]) -> Json {
        let number = |at: usize| words[at].parse().expect("a number");
        match words[0] {
            "window" => self.window(number(1), number(2).unsigned_abs()),
            _ => self.account(number(1)),
        }
    }
}

// === the process of a remote node, and of a plain client ===

fn child(role: &str, name: &str, endpoint: &str) {
    let watch = Watch::default();
    let connect = vec![endpoint.to_owned()];
    if role == "node" {
        let config = Config { connect, ..Config::loopback(NodeName::from_host(name)) };
        let node = Node::start(config).expect("a node");
        let subscriber = node.subscribe(&Filter::all(), Contract::default()).expect("a subscription");
        let reader = watch.read(subscriber);
        answer_lines(|words| watch.answer(words));
        watch.ended.store(true, Ordering::Relaxed);
        reader.join().expect("it read");
        node.stop();
    } else {
        let client = Client::connect(&connect, "senza").expect("a node");
        let updates = client.subscribe("readings/**").expect("a subscription");
        let reader = watch.read_plain(move || updates.recv_timeout(LOOK));
        answer_lines(|words| watch.answer(words));
        watch.ended.store(true, Ordering::Relaxed);
        reader.join().expect("it read");
        client.close();
    }
}

// === the process that puts ===

/// The open loop: how much of what was put.
#[derive(Default)]
struct Stream {
    window: AtomicI64,
    offered: AtomicU64,
    put: AtomicU64,
    batches: AtomicU64,
    ended: AtomicBool,
}

impl Stream {
    fn run(&self, node: &Node, held: &[SensorHandle], batch: usize) {
        let engine = node.engine();
        let places: Vec<_> = held.iter().map(|handle| handle.attribute("value").expect("a place")).collect();
        let mut due = SystemClock.now();
        let mut points = Vec::with_capacity(batch);
        let mut next = 0;
        while !self.ended.load(Ordering::Relaxed) {
            due += BEAT_US;
            wait_until(due);
            let window = self.window.load(Ordering::SeqCst);
            points.clear();
            for _ in 0..batch {
                points.push(held[next].point(places[next], Value::I64(window), due));
                next = (next + 1) % held.len();
            }
            assert_eq!(engine.put_many(&points), 0, "none is refused");
            self.put.fetch_add(batch as u64, Ordering::Relaxed);
            if window > 0 {
                self.offered.fetch_add(batch as u64, Ordering::SeqCst);
            }
            self.batches.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Marks what is put from now on, until what is done has been done.
    fn window(&self, window: i64, during: impl FnOnce()) -> u64 {
        let before = self.offered.load(Ordering::SeqCst);
        self.window.store(window, Ordering::SeqCst);
        during();
        self.window.store(0, Ordering::SeqCst);
        let batches = self.batches.load(Ordering::SeqCst);
        // The batch under way may be of the window still.
        assert!(until(|| self.batches.load(Ordering::SeqCst) >= batches + 2), "the stream goes on");
        self.offered.load(Ordering::SeqCst) - before
    }
}

fn wait_until(due: i64) {
    loop {
        let left = due - SystemClock.now();
        if left <= 0 {
            return;
        }
        match left - SPIN_US {
            sleep if sleep > 0 => std::thread::sleep(Duration::from_micros(sleep.unsigned_abs())),
            _ => std::hint::spin_loop(),
        }
    }
}

/// A subscriber, wherever it is.
enum Other {
    Here(Watch),
    There(Child),
}

impl Other {
    fn ask(&mut self, line: &str) -> Json {
        match self {
            Other::Here(watch) => watch.answer(&line.split_whitespace().collect::<Vec<_>>()),
            Other::There(child) => child.ask(line),
        }
    }

    /// Stands still while that is done.
    fn stopped(&self, during: impl FnOnce()) {
        match self {
            Other::Here(watch) => {
                let _held = watch.gate.lock();
                during();
            }
            Other::There(child) => {
                child.signal("STOP");
                during();
                child.signal("CONT");
            }
        }
    }
}

fn parent() {
    let given = senza_benches::numbers();
    let default = if is_measured() { [21.0, 3.0, 10_000.0] } else { [1.0, 0.3, 1_000.0] };
    let [pairs, seconds, rate] = [0, 1, 2].map(|at| given.get(at).copied().unwrap_or(default[at]));
    let node = Node::start(Config::loopback(NodeName::from_host("owner"))).expect("a node");
    let register = |number: usize| {
        let sensor = Sensor::new(&format!("sensor-{number:08}")).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..SENSORS).map(register).collect();
    held.iter().for_each(|handle| assert!(handle.attribute("value").is_ok()));
    let endpoint = node.listening()[0].clone();
    let mut threads = Vec::new();
    let mut here = |queue_max: usize| {
        let watch = Watch::default();
        let contract = Contract { queue_max, ..Contract::default() };
        threads.push((watch.clone(), watch.read(node.subscribe(&Filter::all(), contract).expect("a subscription"))));
        Other::Here(watch)
    };
    let there = |role: &str, name: &str| Other::There(Child::start(&[role, name, &endpoint]));
    let mut healthy = [
        ("in process 1", here(Contract::default().queue_max)),
        ("in process 2", here(Contract::default().queue_max)),
        ("node", there("node", "healthy")),
        ("plain client", there("client", "healthy")),
    ];
    let mut victims = [
        ("in process", here(VICTIM_QUEUE)),
        ("node", there("node", "victim")),
        ("plain client", there("client", "victim")),
    ];
    let stream = Stream::default();
    let batch = (rate * BEAT_US as f64 / 1e6).round().max(1.0) as usize;
    let rows = std::thread::scope(|scope| {
        scope.spawn(|| stream.run(&node, &held, batch));
        // A panic must end the stream too, or its thread would be waited for without an end.
        let ends = Ends(&stream);
        let begun = SystemClock.now();
        for (_, other) in healthy.iter_mut().chain(&mut victims) {
            other.ask(&format!("account {begun}"));
        }
        let mut window = 0;
        let mut rows = Vec::new();
        for victim in &mut victims {
            rows.push(stop_often(&node, &stream, &mut healthy, victim, (pairs as usize, seconds), &mut window));
        }
        drop(ends);
        rows
    });
    let mut lost = 0;
    for (name, other) in &mut healthy {
        let account = other.ask("account 0");
        lost += account["told"].as_u64().unwrap_or(0);
        assert_eq!([&account["untold"], &account["again"]], [0, 0], "{name}: {account}");
    }
    let told = json!({
        "rate": batch as f64 * 1e6 / BEAT_US as f64, "seconds": seconds, "pairs": pairs, "sensors": SENSORS,
        "put": stream.put.load(Ordering::Relaxed), "others_told_lost": lost, "victims": rows,
    });
    println!("{told}");
    for (_, other) in healthy.into_iter().chain(victims) {
        if let Other::There(child) = other {
            child.end();
        }
    }
    for (watch, thread) in threads {
        watch.ended.store(true, Ordering::Relaxed);
        thread.join().expect("it read");
    }
    node.stop();
}

struct Ends<'a>(&'a Stream);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

const PERCENTILES: [&str; 3] = ["p50", "p99", "p999"];

/// Stops one victim as often as there are pairs, and answers what became of the others and of it.
fn stop_often(
    node: &Node,
    stream: &Stream,
    healthy: &mut [(&str, Other)],
    (kind, victim): &mut (&str, Other),
    (pairs, seconds): (usize, f64),
    window: &mut i64,
) -> Json {
    let span = Duration::from_secs_f64(seconds);
    let mut ratios: BTreeMap<(usize, &str), Pairs> = BTreeMap::new();
    let mut worst = vec![[0_u64; 2]; healthy.len()];
    let mut resumed = Vec::new();
    let (before, dropped_before) = (victim.ask("account 0"), dropped(node, kind));
    for _ in 0..pairs {
        *window += 2;
        let well = measure(healthy, *window, stream.window(*window, || std::thread::sleep(span)));
        let mut ill = Vec::new();
        // That nobody knows yet is a part of it.
        victim.stopped(|| {
            let offered = stream.window(*window + 1, || std::thread::sleep(span));
            ill = measure(healthy, *window + 1, offered);
        });
        let continued = SystemClock.now();
        victim.ask(&format!("account {continued}"));
        resumed.push((SystemClock.now() - continued) as f64 / 1e3);
        for (at, (well, ill)) in well.iter().zip(&ill).enumerate() {
            let number = |told: &Json, name: &str| told[name].as_f64().unwrap_or(0.0);
            for name in PERCENTILES {
                ratios.entry((at, name)).or_default().add(number(well, name), number(ill, name));
            }
            let most = |told: &Json, worst: &mut u64| *worst = (*worst).max(told["max"].as_u64().unwrap_or(0));
            most(well, &mut worst[at][0]);
            most(ill, &mut worst[at][1]);
        }
    }
    let after = victim.ask(&format!("account {}", SystemClock.now()));
    let grown = |name: &str| after[name].as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0);
    let lost = grown("told") + grown("told_open") + grown("untold");
    assert_eq!(grown("again"), 0, "{kind}: {after}");
    assert_eq!(grown("received") + lost, grown("last"), "{kind}: {after}");
    if *kind != "plain client" {
        // A plain client sees a loss in the numbers, and is told nothing beside.
        assert_eq!(grown("untold"), 0, "{kind}: {after}");
    }
    let others: Vec<Json> = healthy
        .iter()
        .enumerate()
        .map(|(at, (name, _))| {
            let told = |name: &'static str| ratios[&(at, name)].told((name == "p99").then_some(GOAL));
            let [before, during] = worst[at];
            json!({
                "subscriber": name, "p50_us": told("p50"), "p99_us": told("p99"), "p999_us": told("p999"),
                "max_us": { "before": before, "during": during },
            })
        })
        .collect();
    json!({
        "stopped": kind,
        "others": others,
        "victim": {
            "received": grown("received"), "told_lost": grown("told"), "told_lost_without_end": grown("told_open"),
            "seen_in_numbers_alone": grown("untold"),
            "dropped_in_its_queue": dropped(node, kind).saturating_sub(dropped_before),
            "fresh_after_ms": median(&resumed),
        },
    })
}

/// The latencies of all others in a window: each got all of it.
fn measure(healthy: &mut [(&str, Other)], window: i64, offered: u64) -> Vec<Json> {
    let ask = |(name, other): &mut (&str, Other)| {
        let told = other.ask(&format!("window {window} {offered}"));
        assert_eq!(told["count"], offered, "{name} in window {window}: {told}");
        told
    };
    healthy.iter_mut().map(ask).collect()
}

/// What the ledger of a victim's queue says of readings dropped; a link closed meanwhile begins a new one.
fn dropped(node: &Node, kind: &str) -> u64 {
    let accounts = node.engine().accounts();
    let ledgers = accounts.iter().filter(|account| match kind {
        "in process" => account.contract.queue_max == VICTIM_QUEUE,
        "node" => account.to.as_ref().is_some_and(|to| to.as_str() == "victim"),
        _ => false,
    });
    let exact = |ledger: Ledger| {
        assert!(ledger.is_exact(), "{ledger:?}");
        ledger.dropped
    };
    ledgers.map(|account| exact(account.ledger)).sum()
}

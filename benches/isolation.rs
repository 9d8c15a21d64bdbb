//! Isolation: what a subscriber that stops does to all others.
//!
//! `cargo bench -p senza-benches --profile release --bench isolation [-- <pairs> <seconds> <readings/s>]` prints one
//! JSON object; by default 21 pairs of 3 s windows at 10,000 readings/s, ten minutes.
//!
//! One node puts readings by an open loop, a batch every millisecond. Two subscribers in its process, one on a node in
//! another process and one plain Zenoh client in a third take them, and time each from when it was due to its arrival.
//! In each pair all is well in the first window; from the begin of the second on a *victim* stands still: a subscriber
//! in the process that reads no more, a node (SIGSTOP), a plain client (SIGSTOP). Then it goes on, and must say what
//! it missed. Told are the ratios of the others' percentiles, per kind of victim and kind of subscriber. Three seconds
//! of standing still hold both the time in which nobody knows and the one in which the node is down.
//!
//! The rivals, in the same run: Zenoh with one key for all and as many bytes a reading as plain clients get, once
//! where what does not fit is dropped and once where nothing is. They keep no history and tell no loss. All processes
//! share the machine's cores, so that a victim that stops also leaves the others its part of them.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and keeps time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use senza::{Config, Contract, Filter, Ledger, Node, NodeName, Sensor, Subscriber, Value};
use senza_benches::{
    Child, Numbers, Pairs, answer_lines, child_args, free_endpoint, histogram, index_of, is_measured, median, until,
};
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::relay::LinkCounts;
use senza_mesh::zenoh_client::{Client, Update};
use serde_json::{Value as Json, json};
use zenoh::Wait;
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;

const SENSORS: usize = 1_000;
/// A batch is due so often, microseconds.
const BEAT_US: i64 = 1_000;
/// Sleeping ends so long before a batch is due; the rest is spun.
const SPIN_US: i64 = 100;
/// Readings that the victim in the process may have waiting: what comes on top overflows.
const VICTIM_QUEUE: usize = 4_096;
const GOAL: f64 = 1.1;
const PERCENTILES: [&str; 3] = ["p50", "p99", "p999"];
const HERE: &str = "in process";
const PLAIN: &str = "plain client";
const RIVAL_KEY: &str = "rival/readings";
/// About what a reading has as JSON.
const RIVAL_BYTES: usize = 150;
/// A rival that holds everybody up shows so at once.
const RIVAL_PAIRS: usize = 7;
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

/// Latencies by window, and the account of all numbers. A reading's value is the window in which it was put; 0 is
/// between windows.
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
        answer_lines(|words| {
            let mut told = watch.answer(words);
            let links = node.engine().links();
            let sum = |of: fn(&LinkCounts) -> u64| links.iter().map(|link| of(&link.received)).sum::<u64>();
            told["frames_lost"] = sum(|link| link.frames_lost).into();
            told["resets"] = sum(|link| link.resets).into();
            told
        });
        watch.ended.store(true, Ordering::Relaxed);
        reader.join().expect("it read");
        node.stop();
    } else if role == "client" {
        let client = Client::connect(&connect, "senza").expect("a node");
        let updates = client.subscribe("readings/**").expect("a subscription");
        let reader = watch.read_plain(move || updates.recv_timeout(LOOK));
        answer_lines(|words| watch.answer(words));
        watch.ended.store(true, Ordering::Relaxed);
        reader.join().expect("it read");
        client.close();
    } else {
        let session = open_session(&[("connect/endpoints", format!("{connect:?}"))]);
        let seen = watch.seen.clone();
        let take = move |sample: Sample| {
            let bytes = sample.payload().to_bytes();
            let number = |at: usize| bytes[at * 8..].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
            seen.lock().reading(0, number(0).unsigned_abs(), number(1), number(2), SystemClock.now());
        };
        let _subscriber = session.declare_subscriber(RIVAL_KEY).callback(take).wait().expect("a subscriber");
        answer_lines(|words| watch.answer(words));
        session.close().wait().expect("it closes");
    }
}

// === the process that puts ===

/// The open loop: how much of what was put.
#[derive(Default)]
struct Stream {
    /// The window under way, and the time from which on readings are not of it any more; 0 while it is open.
    window: AtomicI64,
    closed: AtomicI64,
    offered: AtomicU64,
    put: AtomicU64,
    /// When the batch put last was due.
    due: AtomicI64,
    ended: AtomicBool,
}

impl Stream {
    /// Hands on each batch when it is due, as its window and its time. One that comes late, since the one before was
    /// held up, still belongs where it was due.
    fn run(&self, batch: u64, mut put: impl FnMut(i64, i64)) {
        let mut due = SystemClock.now();
        while !self.ended.load(Ordering::Relaxed) {
            due += BEAT_US;
            wait_until(due);
            let closed = self.closed.load(Ordering::SeqCst);
            let window = if closed != 0 && due >= closed { 0 } else { self.window.load(Ordering::SeqCst) };
            put(window, due);
            self.put.fetch_add(batch, Ordering::Relaxed);
            self.offered.fetch_add(if window > 0 { batch } else { 0 }, Ordering::SeqCst);
            self.due.store(due, Ordering::SeqCst);
        }
    }

    fn open(&self, window: i64) {
        self.offered.store(0, Ordering::SeqCst);
        self.closed.store(0, Ordering::SeqCst);
        self.window.store(window, Ordering::SeqCst);
    }

    fn close(&self) {
        self.closed.store(SystemClock.now(), Ordering::SeqCst);
    }

    /// How many readings the closed window has, once they were put.
    fn offered(&self) -> u64 {
        let closed = self.closed.load(Ordering::SeqCst);
        assert!(until(|| self.due.load(Ordering::SeqCst) >= closed), "the stream goes on");
        self.window.store(0, Ordering::SeqCst);
        self.offered.load(Ordering::SeqCst)
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
    let plan = Plan {
        pairs: pairs as usize,
        span: Duration::from_secs_f64(seconds),
        batch: (rate * BEAT_US as f64 / 1e6).round().max(1.0) as u64,
    };
    let ours = ours(plan);
    let few = Plan { pairs: plan.pairs.min(RIVAL_PAIRS), ..plan };
    let rivals: Vec<Json> = [CongestionControl::Drop, CongestionControl::Block].map(|mode| rival(few, mode)).into();
    let told = json!({
        "rate": plan.batch as f64 * 1e6 / BEAT_US as f64, "seconds": seconds, "pairs": plan.pairs,
        "senza": ours, "rivals": rivals,
    });
    println!("{told}");
}

#[derive(Clone, Copy)]
struct Plan {
    pairs: usize,
    span: Duration,
    /// Readings put together.
    batch: u64,
}

fn ours(plan: Plan) -> Json {
    let node = Node::start(Config::loopback(NodeName::from_host("owner"))).expect("a node");
    let register = |number: usize| {
        let sensor = Sensor::new(&format!("sensor-{number:08}")).expect("ids here are short");
        let handle = node.register(&sensor).expect("the node has room");
        let place = handle.attribute("value").expect("a place");
        (handle, place)
    };
    let held: Vec<_> = (0..SENSORS).map(register).collect();
    let mut threads = Vec::new();
    let mut here = |queue_max: usize| {
        let watch = Watch::default();
        let contract = Contract { queue_max, ..Contract::default() };
        threads.push((watch.clone(), watch.read(node.subscribe(&Filter::all(), contract).expect("a subscription"))));
        Other::Here(watch)
    };
    let there = |role: &str, name: &str| Other::There(Child::start(&[role, name, &node.listening()[0]]));
    let healthy = vec![
        ("in process 1", here(Contract::default().queue_max)),
        ("in process 2", here(Contract::default().queue_max)),
        ("node", there("node", "healthy")),
        (PLAIN, there("client", "healthy")),
    ];
    let victims =
        vec![(HERE, here(VICTIM_QUEUE)), ("node", there("node", "victim")), (PLAIN, there("client", "victim"))];
    let (mut next, mut points) = (0, Vec::new());
    let put = |window: i64, due: i64| {
        points.clear();
        for _ in 0..plan.batch {
            let (handle, place) = &held[next];
            points.push(handle.point(*place, Value::I64(window), due));
            next = (next + 1) % SENSORS;
        }
        assert_eq!(node.engine().put_many(&points), 0, "none is refused");
    };
    let told = run(plan, healthy, victims, put, &|kind| dropped(&node, kind));
    for (watch, thread) in threads {
        watch.ended.store(true, Ordering::Relaxed);
        thread.join().expect("it read");
    }
    drop(held);
    node.stop();
    told
}

/// Zenoh alone, one key for all: what is put waits for a stopped subscriber, or is dropped for it, as its mode says.
fn rival(plan: Plan, mode: CongestionControl) -> Json {
    let endpoint = free_endpoint();
    let session = open_session(&[("listen/endpoints", format!("[{endpoint:?}]"))]);
    let publisher = session.declare_publisher(RIVAL_KEY).congestion_control(mode).wait().expect("a publisher");
    let there = |name: &str| Other::There(Child::start(&["zenoh", name, &endpoint]));
    let (healthy, victims) = (vec![("zenoh", there("healthy"))], vec![("zenoh", there("victim"))]);
    let mut seq = 0_i64;
    let put = |window: i64, due: i64| {
        for _ in 0..plan.batch {
            seq += 1;
            let mut payload = [seq, window, due].map(i64::to_le_bytes).concat();
            payload.resize(RIVAL_BYTES, 0);
            publisher.put(payload).wait().expect("a put");
        }
    };
    let mut told = run(plan, healthy, victims, put, &|_| 0);
    told["mode"] = format!("{mode:?}").into();
    told
}

fn open_session(settings: &[(&str, String)]) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let ours = [("mode", "\"peer\"".to_owned()), ("scouting/multicast/enabled", "false".to_owned())];
    for (path, value) in ours.iter().chain(settings) {
        config.insert_json5(path, value).expect("a setting of Zenoh's");
    }
    zenoh::open(config).wait().expect("a session")
}

/// Stops every victim in turn, as often as there are pairs, while the stream goes on.
fn run(
    plan: Plan,
    mut healthy: Vec<(&'static str, Other)>,
    mut victims: Vec<(&'static str, Other)>,
    put: impl FnMut(i64, i64) + Send,
    dropped: &dyn Fn(&str) -> u64,
) -> Json {
    let stream = Stream::default();
    let rows: Vec<Json> = std::thread::scope(|scope| {
        scope.spawn(|| stream.run(plan.batch, put));
        // A panic must end the stream too, or its thread would be waited for without an end.
        let _ends = Ends(&stream);
        let begun = SystemClock.now();
        for (_, other) in healthy.iter_mut().chain(&mut victims) {
            other.ask(&format!("account {begun}"));
        }
        let mut window = 0;
        let mut stop = |victim| stop_often(&stream, &mut healthy, victim, plan, &mut window, dropped);
        victims.iter_mut().map(&mut stop).collect()
    });
    let whole_run: Vec<Json> = healthy.iter_mut().map(account).collect();
    for (_, other) in healthy.into_iter().chain(victims) {
        if let Other::There(child) = other {
            child.end();
        }
    }
    json!({ "put": stream.put.load(Ordering::Relaxed), "victims": rows, "others_in_the_whole_run": whole_run })
}

/// What one who never stood still missed all the same: on a machine that is busy otherwise links lose too, and tell it.
fn account((name, other): &mut (&'static str, Other)) -> Json {
    let account = other.ask("account 0");
    let tells = name.starts_with(HERE) || *name == "node";
    assert!(account["again"] == 0 && (account["untold"] == 0 || !tells), "{name}: {account}");
    json!({
        "subscriber": name, "received": account["received"], "told_lost": account["told"],
        "told_lost_without_end": account["told_open"], "seen_in_numbers_alone": account["untold"],
        "frames_lost": account["frames_lost"], "resets": account["resets"],
    })
}

struct Ends<'a>(&'a Stream);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// Stops one victim as often as there are pairs, and answers what became of the others and of it.
fn stop_often(
    stream: &Stream,
    healthy: &mut [(&'static str, Other)],
    (kind, victim): &mut (&'static str, Other),
    plan: Plan,
    window: &mut i64,
    dropped: &dyn Fn(&str) -> u64,
) -> Json {
    let mut others = vec![Suffered::default(); healthy.len()];
    let mut resumed = Vec::new();
    let (before, dropped_before) = (victim.ask("account 0"), dropped(kind));
    for _ in 0..plan.pairs {
        *window += 2;
        stream.open(*window);
        std::thread::sleep(plan.span);
        stream.close();
        let well = measure(stream, healthy, *window);
        // That nobody knows yet is a part of it.
        stream.open(*window + 1);
        victim.stopped(|| std::thread::sleep(plan.span));
        stream.close();
        let continued = SystemClock.now();
        victim.ask(&format!("account {continued}"));
        resumed.push((SystemClock.now() - continued) as f64 / 1e3);
        let ill = measure(stream, healthy, *window + 1);
        others.iter_mut().zip(well.iter().zip(&ill)).for_each(|(other, (well, ill))| other.add(well, ill));
    }
    let after = victim.ask(&format!("account {}", SystemClock.now()));
    let grown = |name: &str| after[name].as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0);
    let lost = grown("told") + grown("told_open") + grown("untold");
    assert_eq!(grown("again"), 0, "{kind}: {after}");
    assert_eq!(grown("received") + lost, grown("last"), "{kind}: {after}");
    // Zenoh tells no loss; our plain clients see one in the numbers.
    assert!(grown("untold") == 0 || ![HERE, "node"].contains(kind), "{kind}: {after}");
    let others = others.iter().zip(healthy).map(|(other, (name, _))| other.told(name));
    json!({
        "stopped": kind,
        "others": others.collect::<Vec<Json>>(),
        "victim": {
            "received": grown("received"), "told_lost": grown("told"), "told_lost_without_end": grown("told_open"),
            "seen_in_numbers_alone": grown("untold"), "dropped_in_its_queue": dropped(kind) - dropped_before,
            "fresh_after_ms": median(&resumed).round(),
        },
    })
}

/// The latencies of all others in the closed window.
fn measure(stream: &Stream, healthy: &mut [(&'static str, Other)], window: i64) -> Vec<Json> {
    let offered = stream.offered();
    let ask = |(name, other): &mut (&'static str, Other)| {
        let mut told = other.ask(&format!("window {window} {offered}"));
        let missed = offered - told["count"].as_u64().unwrap_or(0);
        assert!(missed == 0 || !name.starts_with(HERE), "{name} in window {window}: {told}");
        told["missed"] = missed.into();
        told
    };
    healthy.iter_mut().map(ask).collect()
}

/// What became of one subscriber while another stood still.
#[derive(Clone, Default)]
struct Suffered {
    ratios: [Pairs; 3],
    max: [u64; 2],
    missed: [u64; 2],
}

impl Suffered {
    fn add(&mut self, well: &Json, ill: &Json) {
        for (pairs, name) in self.ratios.iter_mut().zip(PERCENTILES) {
            pairs.add(well[name].as_f64().unwrap_or(0.0), ill[name].as_f64().unwrap_or(0.0));
        }
        for (at, told) in [well, ill].into_iter().enumerate() {
            self.max[at] = self.max[at].max(told["max"].as_u64().unwrap_or(0));
            self.missed[at] += told["missed"].as_u64().unwrap_or(0);
        }
    }

    fn told(&self, name: &str) -> Json {
        let [p50, p99, p999] = &self.ratios;
        json!({
            "subscriber": name, "p50_us": p50.told(None), "p99_us": p99.told(Some(GOAL)), "p999_us": p999.told(None),
            "max_us": { "before": self.max[0], "after": self.max[1] },
            "missed": { "before": self.missed[0], "after": self.missed[1] },
        })
    }
}

/// What the ledger of a victim's queue says of readings dropped; a link closed meanwhile begins a new one.
fn dropped(node: &Node, kind: &str) -> u64 {
    let accounts = node.engine().accounts();
    let ledgers = accounts.iter().filter(|account| match kind {
        HERE => account.contract.queue_max == VICTIM_QUEUE,
        "node" => account.to.as_ref().is_some_and(|to| to.as_str() == "victim"),
        _ => false,
    });
    let exact = |ledger: Ledger| {
        assert!(ledger.is_exact(), "{ledger:?}");
        ledger.dropped
    };
    ledgers.map(|account| exact(account.ledger)).sum()
}

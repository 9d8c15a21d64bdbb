//! Latency one way between two processes: from a put on one node to a subscriber on another.
//!
//! `cargo bench -p senza-benches --profile release --bench latency [-- <seconds> <rounds>]` prints one JSON object; by
//! default five rounds of 3 s of each. The writer puts one reading a millisecond (*quiet*), then a thousand (*loaded*,
//! a million a second); each carries when it was put, and `per_second` says how many were. The rival in the same run,
//! between the same kind of processes: Zenoh with one message of 8 bytes per reading from a declared publisher, express
//! when quiet, taken in its callback, that is on the thread that received it; there is no table, no queue and no reader
//! of its own behind that. Percentiles are the medians of the rounds, microseconds.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and waits by the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use senza::{Config, Contract, Filter, Node, NodeName, Overflow, Sensor, SensorHandle, Value};
use senza_benches::{
    Child, LIMIT, answer_lines, child_args, free_endpoint, histogram, is_measured, median, numbers, until,
};
use senza_mesh::clock::{Clock, SystemClock};
use serde_json::{Value as Json, json};
use zenoh::Wait;

/// Readings put each millisecond, by name.
const LOADS: [(&str, usize); 2] = [("quiet", 1), ("loaded", 1_000)];
const SENSORS: usize = 10_000;
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn main() {
    match child_args() {
        Some(args) if args[0] == "senza" => put_senza(&args[1]),
        Some(args) => put_zenoh(&args[1]),
        None => parent(),
    }
}

// === the process that puts ===

/// Puts so many each millisecond for so long, and says how many that were, and in how many microseconds.
fn paced(words: &[&str], mut put: impl FnMut(usize)) -> Json {
    let (each, millis) = (words[0].parse().expect("a number"), words[1].parse().expect("a number"));
    let (begin, mut count) = (Instant::now(), 0);
    for due in (0..millis).map(Duration::from_millis) {
        if begin.elapsed() > Duration::from_millis(millis) {
            break;
        }
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        put(each);
        count += each as u64;
    }
    json!([count, begin.elapsed().as_micros() as u64])
}

fn put_senza(endpoint: &str) {
    let name = NodeName::from_host("writer");
    let node = Node::start(Config { connect: vec![endpoint.to_owned()], ..Config::loopback(name) }).expect("a node");
    let register = |number| {
        let sensor = Sensor::new(&format!("building/sensor-{number:08}")).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..SENSORS).map(register).collect();
    let attribute = held[0].attribute("value").expect("a place");
    held.iter().for_each(|handle| assert_eq!(handle.attribute("value").expect("a place"), attribute));
    let mut next = 0;
    answer_lines(|words| {
        paced(words, |each| {
            let now = SystemClock.now();
            let points: Vec<_> =
                (next..next + each).map(|at| held[at % SENSORS].point(attribute, Value::I64(now), now)).collect();
            next += each;
            assert_eq!(node.engine().put_many(&points), 0);
        })
    });
    held.into_iter().for_each(SensorHandle::leave);
    node.stop();
}

fn put_zenoh(endpoint: &str) {
    let session = session("connect/endpoints", endpoint);
    let declare = |express| session.declare_publisher("rival/readings").express(express).wait().expect("a publisher");
    let (quick, batching) = (declare(true), declare(false));
    let matches = || quick.matching_status().wait().is_ok_and(|status| status.matching());
    assert!(until(matches), "nobody subscribes");
    answer_lines(|words| {
        paced(words, |each| {
            let publisher = if each == 1 { &quick } else { &batching };
            for _ in 0..each {
                publisher.put(SystemClock.now().to_le_bytes().as_slice()).wait().expect("a put");
            }
        })
    });
}

fn session(setting: &str, endpoint: &str) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let listens = format!("[{endpoint:?}]");
    let settings = [("scouting/multicast/enabled", "false"), ("listen/endpoints", "[]"), (setting, listens.as_str())];
    for (path, value) in settings {
        config.insert_json5(path, value).expect("a setting that Zenoh knows");
    }
    zenoh::open(config).wait().expect("a session")
}

// === the process that reads ===

fn parent() {
    let told = numbers();
    let seconds = told.first().copied().unwrap_or(if is_measured() { 3.0 } else { 0.2 });
    let rounds = told.get(1).map_or(if is_measured() { 5 } else { 1 }, |rounds| *rounds as usize);
    let mut came: Vec<(String, Seen)> = Vec::new();
    for _ in 0..rounds {
        came.extend(read_senza(seconds).into_iter().map(|(load, seen)| (format!("senza {load}"), seen)));
        came.extend(read_zenoh(seconds).into_iter().map(|(load, seen)| (format!("zenoh {load}"), seen)));
    }
    let mut report = json!({ "rounds": rounds, "seconds": seconds, "sensors": SENSORS });
    for name in ["senza quiet", "zenoh quiet", "senza loaded", "zenoh loaded"] {
        let of_name: Vec<&Seen> = came.iter().filter(|(other, _)| other == name).map(|(_, seen)| seen).collect();
        for (quantile, at) in QUANTILES {
            let values: Vec<f64> = of_name.iter().map(|seen| seen.latency.value_at_quantile(at) as f64).collect();
            report[name][quantile] = json!(median(&values));
        }
        let (put, micros) = of_name.iter().fold((0, 0), |sum, seen| (sum.0 + seen.put, sum.1 + seen.micros));
        report[name]["per_second"] = json!((put as f64 * 1e6 / micros.max(1) as f64).round());
        report[name]["lost"] = json!(put.saturating_sub(of_name.iter().map(|seen| seen.latency.len()).sum::<u64>()));
    }
    println!("{report}");
}

/// What came of what was put in so many microseconds.
struct Seen {
    latency: Histogram<u64>,
    put: u64,
    micros: u64,
}

/// Has so many put each millisecond; how many that were, and in how many microseconds.
fn tell(child: &mut Child, each: usize, seconds: f64) -> (u64, u64) {
    let answer = child.ask(&format!("{each} {}", (seconds * 1e3) as u64));
    (answer[0].as_u64().expect("a count"), answer[1].as_u64().expect("a time"))
}

fn read_senza(seconds: f64) -> Vec<(&'static str, Seen)> {
    let node = Node::start(Config::loopback(NodeName::from_host("reader"))).expect("a node");
    let contract = Contract { overflow: Overflow::DropOldest, queue_max: 1_000_000, ..Contract::default() };
    let mut reader = node.subscribe(&Filter::all(), contract).expect("a subscription");
    let mut child = Child::start(&["senza", &node.listening()[0]]);
    assert!(until(|| node.engine().sensors(&Filter::all()).len() == SENSORS), "the sensors are seen");
    let mut told = Vec::new();
    // The first readings are of the link's beginning.
    tell(&mut child, 1_000, 0.2);
    while take(&mut reader, &mut histogram()) > 0 {}
    for (load, each) in LOADS {
        let mut latency = histogram();
        let ((put, micros), mut quiet) = std::thread::scope(|scope| {
            let put = scope.spawn(|| tell(&mut child, each, seconds));
            while !put.is_finished() {
                take(&mut reader, &mut latency);
            }
            (put.join().expect("it puts"), Instant::now())
        });
        // What is on its way still comes; what does not was lost.
        while quiet.elapsed() < Duration::from_secs(1) && latency.len() < put {
            if take(&mut reader, &mut latency) > 0 {
                quiet = Instant::now();
            }
        }
        assert!(latency.len() >= put * 9 / 10, "{load}: {} of {put} came", latency.len());
        told.push((load, Seen { latency, put, micros }));
    }
    child.end();
    drop(reader);
    node.stop();
    told
}

fn take(reader: &mut senza::Subscriber, latency: &mut Histogram<u64>) -> usize {
    let mut now = 0;
    reader.read_batch(Duration::from_millis(50), |item| {
        if item.row.is_reading() {
            now = if now == 0 { SystemClock.now() } else { now };
            latency.saturating_record((now - item.row.source_time).max(0).unsigned_abs());
        }
    })
}

fn read_zenoh(seconds: f64) -> Vec<(&'static str, Seen)> {
    let endpoint = free_endpoint();
    let session = session("listen/endpoints", &endpoint);
    let latency = Arc::new((Mutex::new(histogram()), AtomicU64::new(0)));
    let seen = latency.clone();
    let subscriber = session.declare_subscriber("rival/readings").callback(move |sample| {
        let bytes: [u8; 8] = sample.payload().to_bytes().as_ref().try_into().expect("a time");
        let micros = SystemClock.now() - i64::from_le_bytes(bytes);
        seen.0.lock().saturating_record(micros.max(0).unsigned_abs());
        seen.1.fetch_add(1, Ordering::Relaxed);
    });
    let subscriber = subscriber.wait().expect("a subscriber");
    let mut child = Child::start(&["zenoh", &endpoint]);
    tell(&mut child, 1_000, 0.2);
    let mut told = Vec::new();
    for (load, each) in LOADS {
        *latency.0.lock() = histogram();
        latency.1.store(0, Ordering::Relaxed);
        let (put, micros) = tell(&mut child, each, seconds);
        let begin = Instant::now();
        // It drops where it cannot keep up, and tells nobody.
        while latency.1.load(Ordering::Relaxed) < put && begin.elapsed() < Duration::from_secs(1).min(LIMIT) {
            std::thread::sleep(Duration::from_millis(1));
        }
        told.push((load, Seen { latency: latency.0.lock().clone(), put, micros }));
    }
    child.end();
    subscriber.undeclare().wait().expect("it ends");
    told
}

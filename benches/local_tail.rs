//! Local tails: what a peer that stands still costs those who put here.
//!
//! `cargo bench -p senza-benches --profile release --bench local-tail [-- <pairs> <seconds> <sensors>]` prints one JSON
//! object; by default 21 pairs of 1 s windows and 10,000 sensors, two minutes.
//!
//! One node puts by handle, one by one, as fast as puts return; 256 of them are timed together. In each pair the node
//! is first in mode `local`, then in the cluster again with a peer in another process that subscribed to everything
//! and stands still (SIGSTOP): first while nobody knows, when every put is also queued for it and the queue overflows,
//! then when the peer is known to be down. Same node, same table, same sensors. Then the peer goes on, and has to be
//! told every number that it missed.
//!
//! There is no rival: the goal is that the cluster costs local sensors nothing.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use senza::{Config, Contract, Filter, Mode, Node, NodeName, Sensor, SensorHandle, Value};
use senza_benches::{
    Child, Numbers, Pairs, answer_lines, child_args, histogram, index_of, is_measured, numbers, until,
};
use senza_core::table::Point;
use serde_json::json;

/// Puts timed together.
const BATCH: usize = 256;
const GOAL: f64 = 1.05;
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];

fn main() {
    match child_args() {
        Some(args) => child(&args[0]),
        None => parent(),
    }
}

/// The peer: subscribes to everything, and tells what it saw.
fn child(endpoint: &str) {
    let config = Config { connect: vec![endpoint.to_owned()], ..Config::loopback(NodeName::from_host("peer")) };
    let node = Node::start(config).expect("a node");
    let mut subscriber = node.subscribe(&Filter::all(), Contract::default()).expect("a subscription");
    let (seen, ended) = (Arc::new(Mutex::new(Numbers::default())), Arc::new(AtomicBool::new(false)));
    let (noted, until_ended) = (seen.clone(), ended.clone());
    let reader = std::thread::spawn(move || {
        while !until_ended.load(Ordering::Relaxed) {
            subscriber.read_batch(Duration::from_millis(10), |item| {
                let series = index_of(item.series.sensor.as_str());
                match item.value {
                    Some(_) => noted.lock().reading(series, item.row.seq),
                    None => noted.lock().gap(series, item.row.seq, item.row.slot),
                }
            });
        }
    });
    answer_lines(|words| {
        let last = words[1].parse().expect("a number");
        // Told or come: every number up to the last.
        let _complete = until(|| seen.lock().last() >= last);
        seen.lock().told()
    });
    ended.store(true, Ordering::Relaxed);
    reader.join().expect("it read");
    node.stop();
}

fn parent() {
    let default = if is_measured() { [21.0, 1.0, 10_000.0] } else { [1.0, 0.05, 1_000.0] };
    let [pairs, seconds, sensors] = [0, 1, 2].map(|at| numbers().get(at).copied().unwrap_or(default[at]));
    let node = Node::start(Config::loopback(NodeName::from_host("here"))).expect("a node");
    let register = |number: usize| {
        let sensor = Sensor::new(&format!("sensor-{number:08}")).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..sensors as usize).map(register).collect();
    let points: Vec<Point> =
        held.iter().map(|handle| handle.point(handle.attribute("x").expect("a place"), Value::F64(0.5), 0)).collect();
    let mut peer = Child::start(&[&node.listening()[0]]);
    let mut put = 0;
    let mut windows = Windows { node: &node, points: &points, span: Duration::from_secs_f64(seconds), put: &mut put };
    let (mut unnoticed, mut down) = ([(); 3].map(|()| Pairs::default()), [(); 3].map(|()| Pairs::default()));
    // Windows that were meant to be over before anybody knows; 1.6 s is the soonest.
    let mut noticed_early = 0;
    windows.meet();
    for _ in 0..pairs as usize {
        node.switch(Mode::Local);
        let local = windows.measure();
        node.switch(Mode::Cluster);
        windows.meet();
        peer.signal("STOP");
        let stalled = windows.measure();
        noticed_early += u64::from(node.nodes().len() == 1);
        assert!(until(|| node.nodes().len() == 1), "the peer is silent");
        let alone = windows.measure();
        peer.signal("CONT");
        windows.meet();
        for (at, (_, quantile)) in PERCENTILES.into_iter().enumerate() {
            let of = |latency: &Histogram<u64>| latency.value_at_quantile(quantile) as f64;
            unnoticed[at].add(of(&local), of(&stalled));
            down[at].add(of(&local), of(&alone));
        }
    }
    // One more of each, behind which every loss has to be told.
    for point in &points {
        node.engine().put(point.clone()).expect("it is here");
    }
    put += points.len() as u64;
    let account = peer.ask(&format!("account {put}"));
    assert_eq!([&account["last"], &account["again"], &account["untold"]], [put, 0, 0], "{account}");
    let told = |pairs: &[Pairs; 3]| {
        let mut told = json!({});
        for ((name, _), pairs) in PERCENTILES.iter().zip(pairs) {
            told[*name] = pairs.told((*name == "p999").then_some(GOAL));
        }
        told
    };
    let result = json!({
        "pairs": pairs, "seconds": seconds, "sensors": sensors, "puts_timed_together": BATCH, "put": put,
        "noticed_early": noticed_early,
        "ns_local_against_stalled_and_unnoticed": told(&unnoticed), "ns_local_against_stalled_and_down": told(&down),
        "peer": account,
    });
    println!("{result}");
    peer.end();
    drop(held);
    node.stop();
}

struct Windows<'a> {
    node: &'a Node,
    points: &'a [Point],
    span: Duration,
    put: &'a mut u64,
}

impl Windows<'_> {
    /// Waits until the peer is there and has asked for everything.
    fn meet(&self) {
        let first = &self.node.sensors(&Filter::all())[0].sensor;
        let met = || self.node.nodes().len() == 2 && self.node.engine().demand(first.as_str()).is_some();
        assert!(until(met), "the peer never asked");
    }

    /// How long batches of puts take, nanoseconds.
    fn measure(&mut self) -> Histogram<u64> {
        let engine = self.node.engine();
        let mut latency = histogram();
        let begin = Instant::now();
        for batch in self.points.chunks_exact(BATCH).cycle() {
            let before = Instant::now();
            if before - begin >= self.span {
                break;
            }
            for point in batch {
                engine.put(point.clone()).expect("it is here");
            }
            latency.saturating_record(before.elapsed().as_nanos() as u64);
            *self.put += BATCH as u64;
        }
        latency
    }
}

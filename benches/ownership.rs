//! Ownership as a user meets it: nodes on real Zenoh sessions over loopback, in one process.
//!
//! `cargo bench -p senza-benches --bench ownership [-- <sensors>…]` prints one JSON object: how fast sensors are
//! registered, when a peer sees them all, what a late joiner and a death cost, what idle nodes say, and what a remote
//! sensor costs in memory. `whereis_ns` are single look-ups, each timed, less the clock's own time. Two cores carry
//! all nodes, so that the nodes of this run compete.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use senza::{Config, Filter, Node, NodeName, Sensor, SensorHandle, Whereis};
use senza_benches::{histogram, is_measured, numbers, percentiles, resident_bytes, until};
use serde_json::Value as Json;

fn main() {
    let mut sizes: Vec<usize> = numbers().into_iter().map(|number| number as usize).collect();
    if !is_measured() {
        sizes = vec![1_000];
    } else if sizes.is_empty() {
        sizes = vec![10_000, 100_000, 1_000_000];
    }
    let rows: Vec<String> = sizes.into_iter().map(run).collect();
    println!("[{}]", rows.join(",\n"));
}

/// One row: everything with so many sensors.
fn run(count: usize) -> String {
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let sensors: Vec<Sensor> =
        (0..count).filter_map(|number| Sensor::new(&format!("building/sensor-{number:08}")).ok()).collect();
    let before = resident_bytes();
    let begin = Instant::now();
    let held: Vec<SensorHandle> = sensors.iter().filter_map(|sensor| a.register(sensor).ok()).collect();
    let registered = begin.elapsed();
    assert!(until(|| sees(&b, count)), "b never saw all");
    let visible = begin.elapsed();
    let both = resident_bytes() - before;
    let whereis = whereis_per_second(&b, &sensors);
    let whereis_ns = whereis_ns(&b, &sensors);
    let (locate, locate_many) = locate_per_second(&b, &sensors);
    let idle = idle_bytes_per_second(&a);
    let (held, churn_bytes) = churn(&a, &sensors, held);
    assert!(until(|| sees(&b, count)), "b never saw all again");
    let (join, remote_bytes) = join(&a, &b, count);
    let both_visible = both_ways(&a, &b, count);
    let begin = Instant::now();
    drop(held);
    assert!(until(|| sees(&b, 0)), "b never saw them go");
    let unregistered = begin.elapsed();
    let death = death(&b, &sensors);
    format!(
        "{{\"sensors\":{count},\"register_per_s\":{:.0},\"visible_s\":{:.3},\"unregistered_s\":{:.3},\
         \"join_s\":{join:.3},\"death_ms\":{death:.1},\"whereis_per_s\":{whereis:.0},\"whereis_ns\":{whereis_ns},\
         \"locate_per_s\":{locate:.0},\"locate_many_per_s\":{locate_many:.0},\"idle_bytes_per_s\":{idle:.0},\
         \"churn_bytes_per_change\":{churn_bytes:.0},\"as_many_on_the_other_visible_s\":{both_visible:.3},\
         \"bytes_per_sensor_owner_and_peer\":{:.0},\"bytes_per_remote_sensor\":{remote_bytes:.0}}}",
        count as f64 / registered.as_secs_f64(),
        visible.as_secs_f64(),
        unregistered.as_secs_f64(),
        both as f64 / count as f64,
    )
}

fn start(name: &str, others: &[&Node]) -> Node {
    let connect = others.iter().flat_map(|node| node.listening()).cloned().collect();
    let config = Config { connect, ..Config::loopback(NodeName::from_host(name)) };
    Node::start(config).expect("loopback has room for a node")
}

fn sees(node: &Node, count: usize) -> bool {
    node.nodes().iter().map(|node| node.sensors).sum::<u64>() == count as u64
}

/// Seconds until a third node sees everything, and what a sensor costs it in memory.
fn join(a: &Node, b: &Node, count: usize) -> (f64, f64) {
    let before = resident_bytes();
    let begin = Instant::now();
    let c = start("c", &[a, b]);
    assert!(until(|| sees(&c, count)), "c never saw all");
    let join = begin.elapsed().as_secs_f64();
    let bytes = resident_bytes().saturating_sub(before) as f64 / count as f64;
    assert!(c.engine().synced());
    (join, bytes)
}

/// Seconds until `a` sees as many sensors of `b`, registered while it holds its own: each then knows twice as many.
fn both_ways(a: &Node, b: &Node, count: usize) -> f64 {
    let sensors: Vec<Sensor> =
        (0..count).filter_map(|number| Sensor::new(&format!("field/sensor-{number:08}")).ok()).collect();
    let begin = Instant::now();
    let held: Vec<SensorHandle> = sensors.iter().filter_map(|sensor| b.register(sensor).ok()).collect();
    assert!(until(|| sees(a, 2 * count) && sees(b, 2 * count)), "not both see all");
    let visible = begin.elapsed().as_secs_f64();
    assert!(sensors.iter().all(|sensor| matches!(a.whereis(sensor.id.as_str()), Whereis::Remote { .. })));
    drop(held);
    assert!(until(|| sees(a, count)), "a never saw them go");
    visible
}

/// Milliseconds from the end of an owner's session to its last sensor being gone for `b`.
fn death(b: &Node, sensors: &[Sensor]) -> f64 {
    let d = start("d", &[b]);
    let held: Vec<SensorHandle> = sensors.iter().filter_map(|sensor| d.register(sensor).ok()).collect();
    assert!(until(|| sees(b, sensors.len())), "b never saw d's");
    held.into_iter().for_each(SensorHandle::leave);
    let last = sensors.last().map_or("", |sensor| sensor.id.as_str()).to_owned();
    let begin = Instant::now();
    let stopping = std::thread::spawn(move || d.stop());
    assert!(until(|| b.whereis(&last) == Whereis::NotFound), "b never saw d gone");
    let death = begin.elapsed().as_secs_f64() * 1e3;
    assert!(b.sensors(&Filter::all()).is_empty());
    stopping.join().expect("d stops");
    death
}

/// Look-ups of remote sensors per second on one thread, not in the order of registration.
fn whereis_per_second(node: &Node, sensors: &[Sensor]) -> f64 {
    let looked_up = 2_000_000;
    let begin = Instant::now();
    for at in 0..looked_up {
        black_box(node.whereis(sensors[at * 611_953 % sensors.len()].id.as_str()));
    }
    f64::from(looked_up as u32) / begin.elapsed().as_secs_f64()
}

/// Percentiles of single look-ups of remote sensors, nanoseconds, less what reading the clock takes.
fn whereis_ns(node: &Node, sensors: &[Sensor]) -> Json {
    let mut clock = histogram();
    // Of two million, 2,000 lie above the percentile that matters.
    let timed = if is_measured() { 2_000_000 } else { 20_000 };
    for _ in 0..timed / 20 {
        let begin = Instant::now();
        clock.saturating_record(begin.elapsed().as_nanos() as u64);
    }
    let overhead = clock.value_at_quantile(0.5);
    let mut latency = histogram();
    for at in 0..timed {
        let id = sensors[at * 611_953 % sensors.len()].id.as_str();
        let begin = Instant::now();
        black_box(node.whereis(black_box(id)));
        let took = begin.elapsed().as_nanos() as u64;
        latency.saturating_record(took.saturating_sub(overhead).max(1));
    }
    let mut told = percentiles(&latency);
    told["clock"] = overhead.into();
    told
}

/// The same without names: one by one, and in groups of 256.
fn locate_per_second(node: &Node, sensors: &[Sensor]) -> (f64, f64) {
    let ids: Vec<&str> = (0..2_000_000).map(|at| sensors[at * 611_953 % sensors.len()].id.as_str()).collect();
    let begin = Instant::now();
    ids.iter().for_each(|id| {
        black_box(node.engine().locate(id));
    });
    let singly = begin.elapsed();
    let (begin, mut out) = (Instant::now(), Vec::new());
    for group in ids.chunks(256) {
        node.engine().locate_many(group, &mut out);
        black_box(&out);
    }
    (ids.len() as f64 / singly.as_secs_f64(), ids.len() as f64 / begin.elapsed().as_secs_f64())
}

/// Ten percent of 100,000 a minute for six seconds: 500 sensors end and come again, and what that costs on the wire,
/// per change and receiver, beacons included.
fn churn(node: &Node, sensors: &[Sensor], mut held: Vec<SensorHandle>) -> (Vec<SensorHandle>, f64) {
    let sent = || node.engine().traffic().iter().map(|link| link.sent.1).sum::<u64>();
    let before = sent();
    let rounds = 500.min(held.len());
    assert_eq!(held.len(), sensors.len(), "all were registered, in this order");
    for round in 0..rounds {
        let at = round * 7919 % held.len();
        drop(held.swap_remove(at));
        std::thread::sleep(Duration::from_millis(6));
        held.push(node.register(&sensors[at]).expect("it was here"));
        // Back where it was, so that places say which sensor it is.
        let last = held.len() - 1;
        held.swap(at, last);
        std::thread::sleep(Duration::from_millis(6));
    }
    let bytes = sent() - before;
    (held, bytes as f64 / (2 * rounds) as f64)
}

/// What a node sends per second while nothing happens.
fn idle_bytes_per_second(node: &Node) -> f64 {
    let sent = || node.engine().traffic().iter().map(|link| link.sent.1).sum::<u64>();
    std::thread::sleep(Duration::from_secs(1));
    let before = sent();
    std::thread::sleep(Duration::from_secs(4));
    (sent() - before) as f64 / 4.0
}

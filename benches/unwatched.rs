//! Unwatched sensors: what they cost on a link.
//!
//! `cargo bench -p senza-benches --profile release --bench unwatched [-- <seconds> <sensors>]` prints one JSON object;
//! by default three times 3 s and 100,000 sensors.
//!
//! Two nodes on loopback. First nothing is put; then readings of sensors that nobody watches, as fast as puts return;
//! then the same while the other node watches one more sensor, put to 10,000 times a second. Told is what the link's
//! counters say: frames and readings in them, and apart from these the bytes of all else, which are beacons and
//! credits. A reading that nobody asked for in any frame fails the benchmark. What it replaces sends every reading to
//! every node.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::time::{Duration, Instant};

use senza::{Config, Contract, Filter, Node, NodeName, Sensor, SensorHandle, SensorId, Value};
use senza_benches::{is_measured, numbers, until};
use senza_core::table::Point;
use serde_json::{Value as Json, json};

const BATCH: usize = 1_000;
/// The watched sensor is put to so many times a second.
const WATCHED_PER_S: f64 = 10_000.0;
/// Bytes of a frame's message before its body.
const HEADER: u64 = senza_core::codec::HEADER as u64;

fn main() {
    let default = if is_measured() { [3.0, 100_000.0] } else { [0.2, 1_000.0] };
    let [seconds, sensors] = [0, 1].map(|at| numbers().get(at).copied().unwrap_or(default[at]));
    let a = Node::start(Config::loopback(NodeName::from_host("a"))).expect("a node");
    let config = Config { connect: a.listening().to_vec(), ..Config::loopback(NodeName::from_host("b")) };
    let b = Node::start(config).expect("a node");
    let register = |number: usize| {
        let sensor = Sensor::new(&format!("sensor-{number:08}")).expect("ids here are short");
        a.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..=sensors as usize).map(register).collect();
    let mut points: Vec<Point> =
        held.iter().map(|handle| handle.point(handle.attribute("x").expect("a place"), Value::F64(0.5), 0)).collect();
    let watched = points.pop().expect("at least one");
    let id = held.last().expect("at least one").sensor().clone();
    assert!(until(|| b.nodes().iter().map(|node| node.sensors).sum::<u64>() == held.len() as u64), "b never saw all");

    let span = Duration::from_secs_f64(seconds);
    let idle = phase(&a, || {
        std::thread::sleep(span);
        (0, 0)
    });
    let unwatched = phase(&a, || put(&a, &points, None, span));
    assert_eq!([&unwatched["frames"], &unwatched["readings"]], [0, 0], "{unwatched}");
    let beside = beside(&a, &b, &id, || put(&a, &points, Some(&watched), span));
    println!(
        "{}",
        json!({ "sensors": points.len(), "seconds": seconds, "idle": idle, "unwatched": unwatched,
        "unwatched_beside_one_watched": beside })
    );
    b.stop();
    drop(held);
    a.stop();
}

/// Has `b` watch one sensor meanwhile; every reading of it arrives, and nothing else does.
fn beside(a: &Node, b: &Node, id: &SensorId, put: impl FnOnce() -> (u64, u64)) -> Json {
    let filter = Filter { sensors: vec![id.clone()], ..Filter::default() };
    let mut reader = b.subscribe(&filter, Contract { queue_max: 1 << 22, ..Contract::default() }).expect("it is small");
    assert!(until(|| a.engine().demand(id.as_str()).is_some()), "a never heard of it");
    let mut told = phase(a, || {
        let (unwatched, watched) = put();
        let (mut came, begin) = (0, Instant::now());
        // What came was sent and counted.
        while came < watched && begin.elapsed() < senza_benches::LIMIT {
            reader.read_batch(Duration::from_millis(10), |item| {
                came += 1;
                assert!(item.series.sensor == *id && !item.row.is_gap() && item.row.seq == came, "{item:?}");
            });
        }
        assert_eq!(came, watched, "each once");
        (unwatched, watched)
    });
    let number = |name: &str| told[name].as_u64().expect("a number");
    let (carried, put) = (number("readings"), number("put_watched"));
    let bytes = number("frame_bytes") as f64 / put as f64;
    // The link may begin after the first put: then a start of one row comes before what is live.
    assert!(carried == put || carried == put + 1, "something else was in the frames: {told}");
    assert_eq!(b.engine().relayed_series(), 1);
    told["frame_bytes_per_watched_reading"] = bytes.into();
    told
}

/// Puts for so long. Answers how many readings of unwatched sensors, and of the watched one, by its rate.
fn put(node: &Node, points: &[Point], watched: Option<&Point>, span: Duration) -> (u64, u64) {
    let engine = node.engine();
    let begin = Instant::now();
    let (mut unwatched, mut of_watched) = (0, 0);
    for batch in points.chunks(BATCH).cycle() {
        let elapsed = begin.elapsed();
        if elapsed >= span {
            break;
        }
        unwatched += (batch.len() - engine.put_many(batch)) as u64;
        if let Some(point) = watched {
            while (of_watched as f64) < elapsed.as_secs_f64() * WATCHED_PER_S {
                engine.put(point.clone()).expect("it is here");
                of_watched += 1;
            }
        }
    }
    (unwatched, of_watched)
}

/// What the link carried while that was done.
fn phase(node: &Node, run: impl FnOnce() -> (u64, u64)) -> Json {
    let before = carried(node);
    let begin = Instant::now();
    let (put, put_watched) = run();
    // What is queued for the link belongs to it.
    assert!(until(|| node
        .engine()
        .accounts()
        .iter()
        .all(|account| account.to.is_none() || account.ledger.queued == 0)));
    let seconds = begin.elapsed().as_secs_f64();
    let after = carried(node);
    let [frames, readings, bytes, all, back] = [0, 1, 2, 3, 4].map(|at| after[at] - before[at]);
    let frame_bytes = bytes + frames * HEADER;
    let beside = all - frame_bytes;
    json!({
        "put": put, "put_watched": put_watched, "put_per_s": (put as f64 / seconds).round(), "frames": frames,
        "readings": readings, "frame_bytes": frame_bytes, "bytes_beside_frames": beside,
        "bytes_beside_frames_per_s": (beside as f64 / seconds).round(), "bytes_back": back,
    })
}

/// Frames, readings in them, bytes of their bodies, and bytes of all messages, sent so far; and bytes received.
fn carried(node: &Node) -> [u64; 5] {
    let links = node.engine().links();
    let sum = |of: fn(&senza_mesh::engine::LinkView) -> u64| links.iter().map(of).sum::<u64>();
    let traffic = node.engine().traffic();
    let all = traffic.iter().map(|link| link.sent.1).sum();
    let back = traffic.iter().map(|link| link.received.1).sum();
    [sum(|link| link.sent.frames), sum(|link| link.sent.readings), sum(|link| link.sent.bytes), all, back]
}

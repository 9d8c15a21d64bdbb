//! The relay between two nodes in two processes: put → table → relay → subscriber, every number checked on arrival.
//!
//! `cargo bench -p senza-benches --bench relay [-- <seconds>]` prints one JSON object. Rivals in the same run, between
//! the same two processes: Zenoh with one message of 8 bytes per reading from a declared publisher, checked by its
//! number alone. Zenoh keeps no history, knows no owner, and tells no loss; ours does all of it. Both ends wait for the
//! other side by what they see of it (a queue, a sample), so that nothing is dropped.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use senza::{Config, Contract, Filter, Node, NodeName, Overflow, Sensor, SensorHandle, Value};
use zenoh::Wait;

const BATCH: usize = 4_096;
/// Readings that may wait for the link before the writer waits.
const AHEAD: u64 = 131_072;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--child") => child(&args[1], &args[2], args.get(3).and_then(|text| text.parse().ok()).unwrap_or(1)),
        _ => parent(&args),
    }
}

// === the process that puts ===

fn child(role: &str, endpoint: &str, sensors: usize) {
    match role {
        "senza" => put_senza(endpoint, sensors),
        _ => put_zenoh(endpoint),
    }
}

/// Ends when the parent goes.
fn parent_is_there() -> impl Fn() -> bool {
    let (gone, there) = std::sync::mpsc::sync_channel::<()>(0);
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _read = std::io::stdin().read_line(&mut rest);
        drop(gone);
    });
    move || there.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty)
}

fn put_senza(endpoint: &str, sensors: usize) {
    let name = NodeName::from_host("writer");
    let node = Node::start(Config { connect: vec![endpoint.to_owned()], ..Config::loopback(name) }).expect("a node");
    let register = |number| {
        let sensor = Sensor::new(&format!("building/sensor-{number:08}")).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..sensors).map(register).collect();
    let mut points: Vec<_> = held
        .iter()
        .map(|handle| handle.point(handle.attribute("value").expect("a place"), Value::F64(0.5), 0))
        .collect();
    points.sort_by_key(|point| format!("{:?}", point.handle));
    let there = parent_is_there();
    let engine = node.engine();
    let queued = || engine.accounts().iter().map(|account| account.ledger.queued).sum::<u64>();
    println!("ready");
    while there() {
        for batch in points.chunks(BATCH) {
            while queued() > AHEAD && there() {
                std::thread::yield_now();
            }
            engine.put_many(batch);
        }
    }
    held.into_iter().for_each(SensorHandle::leave);
    node.stop();
}

fn put_zenoh(endpoint: &str) {
    let session = session("connect", &[("connect/endpoints", format!("[{endpoint:?}]"))]);
    let publisher = session
        .declare_publisher("rival/readings")
        .congestion_control(zenoh::qos::CongestionControl::Block)
        .wait()
        .expect("a publisher");
    let there = parent_is_there();
    println!("ready");
    let mut seq = 0u64;
    while there() {
        for _ in 0..BATCH {
            seq += 1;
            publisher.put(seq.to_le_bytes().as_slice()).wait().expect("a put");
        }
    }
}

fn session(what: &str, settings: &[(&str, String)]) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let ours = [("mode", "\"peer\"".to_owned()), ("scouting/multicast/enabled", "false".to_owned())];
    for (path, value) in ours.iter().chain(settings) {
        config.insert_json5(path, value).unwrap_or_else(|error| panic!("{what}: {path}: {error}"));
    }
    zenoh::open(config).wait().unwrap_or_else(|error| panic!("{what}: {error}"))
}

// === the process that reads ===

fn parent(args: &[String]) {
    let test = args.iter().any(|arg| arg == "--test");
    let seconds = args.iter().find_map(|arg| arg.parse::<f64>().ok()).unwrap_or(if test { 0.2 } else { 3.0 });
    let rounds = if test { 1 } else { 3 };
    let mut rows = Vec::new();
    for round in 0..rounds {
        let sizes: &[usize] = if test { &[100] } else { &[1_000, 100_000] };
        for sensors in sizes {
            let (rate, lost) = read_senza(*sensors, seconds);
            rows.push(format!("{{\"round\":{round},\"what\":\"senza, {sensors} sensors\",\"readings_per_s\":{rate:.0},\"lost\":{lost}}}"));
        }
        let (rate, lost) = read_zenoh(seconds);
        rows.push(format!("{{\"round\":{round},\"what\":\"zenoh, one message per reading\",\"readings_per_s\":{rate:.0},\"lost\":{lost}}}"));
    }
    println!("[{}]", rows.join(",\n"));
}

fn start(role: &str, endpoint: &str, sensors: usize) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--child", role, endpoint, &sensors.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "ready");
    child
}

fn stop(mut child: Child) {
    if let Some(mut stdin) = child.stdin.take() {
        let _written = stdin.write_all(b"\n");
    }
    child.wait().expect("it ends");
}

/// Readings per second, and how many numbers did not come.
fn read_senza(sensors: usize, seconds: f64) -> (f64, u64) {
    let node = Node::start(Config::loopback(NodeName::from_host("reader"))).expect("a node");
    let contract = Contract { overflow: Overflow::DropOldest, queue_max: 16_777_216, ..Contract::default() };
    let mut reader = node.subscribe(&Filter::all(), contract).expect("a subscription");
    let child = start("senza", &node.listening()[0], sensors);
    let mut last = vec![0u64; 2 * sensors + 16];
    let mut lost = 0u64;
    let mut count = |until: Duration| {
        let (begin, mut counted) = (Instant::now(), 0u64);
        while begin.elapsed() < until {
            reader.read_batch(Duration::from_millis(100), |item| {
                let row = item.row;
                let known = &mut last[row.series as usize];
                let to = if row.is_gap() { row.slot } else { row.seq };
                if row.is_gap() || (*known != 0 && row.seq != *known + 1) {
                    lost += to - *known - u64::from(!row.is_gap());
                }
                *known = to;
                counted += u64::from(!row.is_gap());
            });
        }
        counted
    };
    count(Duration::from_secs_f64(seconds / 3.0));
    let begin = Instant::now();
    let read = count(Duration::from_secs_f64(seconds));
    let rate = read as f64 / begin.elapsed().as_secs_f64();
    stop(child);
    node.stop();
    (rate, lost)
}

fn read_zenoh(seconds: f64) -> (f64, u64) {
    let endpoint = format!("tcp/{}", free_port());
    let session = session("listen", &[("listen/endpoints", format!("[{endpoint:?}]"))]);
    let (sender, receiver) = crossbeam_channel::bounded::<u64>(1 << 20);
    let _subscriber = session
        .declare_subscriber("rival/readings")
        .callback(move |sample| {
            let bytes = sample.payload().to_bytes();
            let seq = <[u8; 8]>::try_from(&*bytes).map(u64::from_le_bytes).unwrap_or_default();
            // The writer blocks where this does not keep up.
            let _sent = sender.send(seq);
        })
        .wait()
        .expect("a subscriber");
    let child = start("zenoh", &endpoint, 1);
    let (mut last, mut lost, mut counted) = (0, 0, 0u64);
    let mut count = |until: Duration| {
        let begin = Instant::now();
        let before = counted;
        while begin.elapsed() < until {
            for seq in receiver.try_iter().take(BATCH) {
                lost += if last == 0 { 0 } else { seq - last - 1 };
                last = seq;
                counted += 1;
            }
        }
        counted - before
    };
    count(Duration::from_secs_f64(seconds / 3.0));
    let read = count(Duration::from_secs_f64(seconds));
    stop(child);
    (read as f64 / seconds, lost)
}

fn free_port() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("it has an address")
}

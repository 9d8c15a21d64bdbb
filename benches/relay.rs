//! The relay between two nodes in two processes: put → table → relay → subscriber, every number checked on arrival; and
//! what of that is frames alone.
//!
//! `cargo bench -p senza-benches --profile release --bench relay [-- <seconds> senza|frames|zenoh …]` prints one JSON
//! object, by default three rounds of all. `frames` is the row *relay-wire*: rows are written as frames, sent through
//! the transport against credit, parsed and checked, with no table and no subscription. Rivals in the same run,
//! between the same two processes: Zenoh with one message of 8 bytes per reading from a declared publisher, checked by
//! its number alone. Zenoh keeps no history, knows no owner, and tells no loss; ours does all of it. Both ends wait
//! for the other side by what they see of it (a queue, credit, a sample), so that nothing is dropped.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use senza::{
    AttributeId, Config, Contract, Filter, Node, NodeName, Overflow, Sensor, SensorHandle, SensorId, SensorType, Value,
};
use senza_benches::{Child, child_args, free_endpoint, is_measured, numbers};
use senza_core::codec::{self, Message};
use senza_core::frame::{Frame, FrameWriter};
use senza_core::reading::{Series, SeriesKind};
use senza_core::row::{KIND_F64, Row};
use senza_core::subscription::Item;
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::relay::{CREDIT_WINDOW, FRAME_BYTES};
use senza_mesh::transport::{Class, Event, Inbox, Transport};
use senza_mesh::zenoh_transport::{ZenohOptions, ZenohTransport};
use serde_json::{Value as Json, json};
use zenoh::Wait;

/// What can be measured alone.
const KINDS: [&str; 3] = ["senza", "frames", "zenoh"];
const BATCH: usize = 4_096;
/// Readings that may wait for the link before the writer waits.
const AHEAD: u64 = 131_072;

/// A side that hears nothing for so long says again where it stands.
const SILENCE: Duration = Duration::from_millis(50);

fn main() {
    match child_args() {
        Some(args) => child(&args[0], &args[1], args[2].parse().expect("a number")),
        None => parent(),
    }
}

// === the process that puts ===

fn child(role: &str, endpoint: &str, sensors: usize) {
    match role {
        "senza" => put_senza(endpoint, sensors),
        "frames" => put_frames(endpoint, sensors),
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

fn put_frames(endpoint: &str, sensors: usize) {
    let (transport, mail) = open_wire("writer", &[endpoint]);
    let kind = Arc::new(SeriesKind {
        attribute: AttributeId::new("value").expect("it is short"),
        sensor_type: SensorType::default(),
        node: transport.me().node.clone(),
        lossless: false,
    });
    let name = |number: usize| SensorId::new(format!("building/sensor-{number:08}")).expect("ids here are short");
    let series: Vec<Arc<Series>> =
        (0..sensors).map(|number| Arc::new(Series::new(name(number), 1, kind.clone()))).collect();
    let reader = NodeName::from_host("reader");
    let (mut writer, mut credit, mut now) = (FrameWriter::starting_at(1), 0, SystemClock.now());
    let there = parent_is_there();
    println!("ready");
    for seq in 1.. {
        for (number, series) in series.iter().enumerate() {
            if number % BATCH == 0 {
                now = SystemClock.now();
            }
            // Devices have clocks of their own: each reading carries its time.
            let times = (now - (number % 1_000) as i64, now);
            let row = Row::from_parts(number as u32, KIND_F64, seq, times, seq);
            let item = Item { series, row, value: None, position: None };
            if !writer.is_full(FRAME_BYTES) && writer.fits(&item) {
                writer.add(&item);
                continue;
            }
            while writer.number() >= credit {
                match mail.recv_timeout(SILENCE) {
                    Ok(message) => credit = credit.max(u64_of(&message)),
                    // Also how the two find each other.
                    Err(_) if there() => _ = transport.send(&reader, Class::Control, Bytes::new()),
                    Err(_) => return transport.close(),
                }
            }
            let mut message = Vec::with_capacity(FRAME_BYTES + 1024);
            codec::begin(codec::KIND_FRAME, 1, &mut message);
            writer.finish(1, &mut message);
            transport.send(&reader, Class::Frame, Bytes::from(message));
            writer.add(&item);
        }
    }
}

/// Hands on what comes, as it comes.
struct Wire(Sender<Bytes>);

impl Inbox for Wire {
    fn deliver(&self, event: Event) {
        if let Event::Message { bytes, .. } = event {
            // Credit keeps it from being full.
            let _sent = self.0.try_send(bytes);
        }
    }
}

fn open_wire(name: &str, connect: &[&str]) -> (Arc<ZenohTransport>, Receiver<Bytes>) {
    let (sender, mail) = crossbeam_channel::bounded(4 * CREDIT_WINDOW as usize);
    let options = ZenohOptions {
        node: NodeName::from_host(name),
        incarnation: 1,
        root: "senza".to_owned(),
        listen: vec!["tcp/127.0.0.1:0".to_owned()],
        connect: connect.iter().map(ToString::to_string).collect(),
        lease_ms: 10_000,
        settings: Vec::new(),
    };
    (ZenohTransport::open(options, Arc::new(Wire(sender))).expect("a transport"), mail)
}

fn u64_of(message: &[u8]) -> u64 {
    message.try_into().map(u64::from_le_bytes).unwrap_or_default()
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

fn parent() {
    let seconds = numbers().first().copied().unwrap_or(if is_measured() { 3.0 } else { 0.2 });
    let (rounds, sizes): (_, &[usize]) = if is_measured() { (3, &[1_000, 100_000]) } else { (1, &[100]) };
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| KINDS.contains(&arg.as_str())).collect();
    let wanted = |kind: &str| named.is_empty() || named.iter().any(|name| name == kind);
    let mut rows: Vec<Json> = Vec::new();
    for round in 0..rounds {
        let mut row = |what: String, mut row: Json| {
            (row["round"], row["what"]) = (round.into(), what.into());
            // A number that comes again would be as a loss without an end.
            let [read, lost] = ["readings_per_s", "lost"].map(|name| row[name].as_f64().expect("a number"));
            assert!(read > 0.0 && lost < read * seconds, "{row}");
            rows.push(row);
        };
        for sensors in sizes {
            if wanted("senza") {
                row(format!("senza, {sensors} sensors"), read_senza(*sensors, seconds));
            }
            if wanted("frames") {
                row(format!("frames alone, {sensors} series"), read_frames(*sensors, seconds));
            }
        }
        if wanted("zenoh") {
            row("zenoh, one message per reading".to_owned(), read_zenoh(seconds));
        }
    }
    println!("{}", json!({ "seconds": seconds, "runs": rows }));
}

fn start(role: &str, endpoint: &str, sensors: usize) -> Child {
    Child::start(&[role, endpoint, &sensors.to_string()])
}

/// Readings per second, and how many numbers did not come.
fn read_senza(sensors: usize, seconds: f64) -> Json {
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
    child.end();
    node.stop();
    json!({ "readings_per_s": rate.round(), "lost": lost })
}

/// The same for frames alone.
fn read_frames(sensors: usize, seconds: f64) -> Json {
    let (transport, mail) = open_wire("reader", &[]);
    let child = start("frames", &transport.listening()[0], sensors);
    let writer = NodeName::from_host("writer");
    let (mut last, mut bases) = (vec![0u64; sensors], vec![0u64; sensors]);
    let (lost, mut granted, mut came) = (Cell::new(0_u64), 0, 0);
    let mut take = |message: &Bytes| {
        let mut counted = 0u64;
        if !message.is_empty() {
            let Ok((_, Message::Frame(body))) = codec::decode(message) else { panic!("not a frame") };
            let frame = Frame::parse(body, &writer).expect("a frame");
            came = frame.number;
            frame.entries.iter().for_each(|entry| bases[entry.number as usize] = entry.base);
            let rows = frame.rows(|row, _| {
                let at = row.series as usize;
                let seq = bases[at].wrapping_add(row.seq);
                lost.set(lost.get().saturating_add(seq.wrapping_sub(last[at] + 1)));
                last[at] = seq;
                counted += 1;
            });
            rows.expect("rows");
        }
        // An empty message asks where the credit stands. At first a connection's buffers hold no whole window.
        if message.is_empty() || came + CREDIT_WINDOW / 2 >= granted {
            granted = came + if came == 0 { CREDIT_WINDOW / 4 } else { CREDIT_WINDOW };
            transport.send(&writer, Class::Control, Bytes::copy_from_slice(&u64::to_le_bytes(granted)));
        }
        counted
    };
    let mut count = |until: Duration| {
        let (begin, mut counted) = (Instant::now(), 0);
        while begin.elapsed() < until {
            counted += mail.recv_timeout(SILENCE).map_or(0, |message| take(&message));
        }
        counted
    };
    count(Duration::from_secs_f64(seconds / 3.0));
    let (begin, lost_at_first) = (Instant::now(), lost.get());
    let read = count(Duration::from_secs_f64(seconds));
    let rate = read as f64 / begin.elapsed().as_secs_f64();
    child.end();
    transport.close();
    // A new connection's buffers are small, and a busy machine may leave them full for long enough to lose frames.
    json!({ "readings_per_s": rate.round(), "lost": lost.get() - lost_at_first, "lost_at_first": lost_at_first })
}

fn read_zenoh(seconds: f64) -> Json {
    let endpoint = free_endpoint();
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
    child.end();
    json!({ "readings_per_s": (read as f64 / seconds).round(), "lost": lost })
}

//! What a plain Zenoh client that follows one sensor costs the puts of all others.
//!
//! `cargo bench -p senza-benches --profile release --bench plain-gate [-- <seconds>]` prints one JSON object; it runs tiny
//! under `cargo test`. Three processes: a node that puts readings of 100,000 sensors in turn, a plain client
//! without code of ours, and this one, which asks for the rates before, while, and after the client follows one of the
//! sensors: at a million readings offered a second, and flat out. Rivals in the same run: the same node while the client
//! follows all sensors, so that every reading is encoded and put; and Zenoh alone, with one undeclared put per reading
//! of the same keys to the same client. `published` is what the node encoded in that time.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use senza::{Config, Node, NodeName, Sensor, SensorHandle, Value};
use zenoh::Wait;

const BATCH: usize = 1_024;
/// Readings offered a second where it is not flat out.
const OFFERED: f64 = 1e6;
const FOLLOWED: &str = "senza/readings/building%2Fsensor-00000042/value";
const ALL: &str = "senza/readings/**";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let sensors = |at: usize| args[at].parse().expect("a number of sensors");
    match args.first().map(String::as_str) {
        Some("--node") => put_senza(sensors(1)),
        Some("--zenoh") => put_zenoh(sensors(1), &args[2]),
        Some("--client") => follow(&args[1], &args[2]),
        _ => parent(&args),
    }
}

// === the process that puts ===

/// Puts for ever, some readings at a time, by the commands on its input: `offer`, `flat`, and `measure <seconds>`, which
/// it answers with a rate.
fn put_on_command(mut put: impl FnMut() -> usize) {
    let (sender, commands) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let (mut begin, mut puts, mut flat) = (Instant::now(), 0u64, false);
    let mut until = None;
    loop {
        match commands.try_recv() {
            Ok(command) if command == "offer" || command == "flat" => {
                flat = command == "flat";
                (begin, puts) = (Instant::now(), 0);
            }
            Ok(command) => {
                let seconds = command.strip_prefix("measure ").and_then(|text| text.parse().ok()).expect("a command");
                until = Some(Duration::from_secs_f64(seconds));
                (begin, puts) = (Instant::now(), 0);
            }
            Err(crossbeam_channel::TryRecvError::Empty) => {}
            Err(crossbeam_channel::TryRecvError::Disconnected) => return,
        }
        if flat || (puts as f64) < begin.elapsed().as_secs_f64() * OFFERED {
            puts += put() as u64;
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
        if until.is_some_and(|until| begin.elapsed() >= until) {
            println!("{:.0}", puts as f64 / begin.elapsed().as_secs_f64());
            until = None;
        }
    }
}

fn put_senza(sensors: usize) {
    let node = Node::start(Config::loopback(NodeName::from_host("node"))).expect("a node");
    let register = |number| {
        let sensor = Sensor::new(&format!("building/sensor-{number:08}")).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (0..sensors).map(register).collect();
    let place = |handle: &SensorHandle| handle.attribute("value").expect("a place");
    let points: Vec<_> = held.iter().map(|handle| handle.point(place(handle), Value::F64(21.5), 0)).collect();
    println!("ready {} {}", node.listening()[0], node.name());
    let (engine, mut at) = (node.engine(), 0);
    put_on_command(|| {
        let batch = &points[at..points.len().min(at + BATCH)];
        engine.put_many(batch);
        at = if at + BATCH >= points.len() { 0 } else { at + BATCH };
        batch.len()
    });
    held.into_iter().for_each(SensorHandle::leave);
    node.stop();
}

fn put_zenoh(sensors: usize, endpoint: &str) {
    let session = session("peer", &[("listen/endpoints", format!("[{endpoint:?}]"))]);
    let keys: Vec<String> =
        (0..sensors).map(|number| format!("senza/readings/building%2Fsensor-{number:08}/value")).collect();
    println!("ready {endpoint} zenoh");
    let (mut at, mut seq, mut payload) = (0, 0u64, String::new());
    put_on_command(|| {
        for _ in 0..BATCH {
            seq += 1;
            payload.clear();
            let written =
                write!(payload, "{{\"value\":21.5,\"time_us\":0,\"received_us\":0,\"seq\":{seq},\"epoch\":1}}");
            written.expect("text takes text");
            let put = session.put(keys[at].as_str(), payload.as_str());
            put.congestion_control(zenoh::qos::CongestionControl::Drop)
                .allowed_destination(zenoh::sample::Locality::Remote)
                .wait()
                .expect("a put");
            at = (at + 1) % keys.len();
        }
        BATCH
    });
}

fn session(mode: &str, settings: &[(&str, String)]) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let ours = [("mode", format!("{mode:?}")), ("scouting/multicast/enabled", "false".to_owned())];
    for (path, value) in ours.iter().chain(settings) {
        config.insert_json5(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    zenoh::open(config).wait().unwrap_or_else(|error| panic!("{mode}: {error}"))
}

// === the process that follows ===

fn follow(endpoint: &str, expression: &str) {
    let session = session("client", &[("connect/endpoints", format!("[{endpoint:?}]"))]);
    let (sender, first) = crossbeam_channel::bounded(1);
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = heard.clone();
    let subscriber = session.declare_subscriber(expression).callback(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Only the first one is waited for.
        let _told = sender.try_send(());
    });
    let subscriber = subscriber.wait().expect("a subscriber");
    first.recv().expect("a reading");
    println!("follows");
    let mut line = String::new();
    let _read = std::io::stdin().read_line(&mut line);
    subscriber.undeclare().wait().expect("it ends");
    println!("{}", heard.load(std::sync::atomic::Ordering::Relaxed));
}

// === the process that asks ===

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

fn parent(args: &[String]) {
    let tiny = !args.iter().any(|arg| arg == "--bench");
    let seconds = args.iter().find_map(|arg| arg.parse::<f64>().ok()).unwrap_or(if tiny { 0.2 } else { 3.0 });
    let sensors = if tiny { "1000" } else { "100000" };
    let mut node = Process::start(&["--node", sensors]);
    let ready = node.line();
    let [_, endpoint, name] = ready.split(' ').collect::<Vec<_>>()[..] else { panic!("{ready:?}") };
    let asker = session("client", &[("connect/endpoints", format!("[{endpoint:?}]"))]);
    let rates = |node: &mut Process| {
        let before = published(&asker, name);
        let (offered, flat) = (node.rate("offer", seconds), node.rate("flat", seconds));
        (offered, flat, published(&asker, name) - before)
    };
    let before = rates(&mut node);
    let while_one = node.while_followed(endpoint, FOLLOWED, |node| rates(node));
    await_quiet(&asker, name);
    let after = rates(&mut node);
    let while_all = node.while_followed(endpoint, ALL, |node| rates(node));
    node.end();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let free = format!("tcp/{free}");
    let mut rival = Process::start(&["--zenoh", sensors, &free]);
    rival.line();
    let alone = rival.rate("flat", seconds);
    let (zenoh, heard) = rival.while_followed(&free, FOLLOWED, |rival| rival.rate("flat", seconds));
    rival.end();
    let row = |(offered, flat, published): (f64, f64, u64)| {
        format!("{{\"offered_1m_per_s\":{offered:.0},\"flat_per_s\":{flat:.0},\"published\":{published}}}")
    };
    let ratio = |rates: (f64, f64, u64)| {
        format!("{{\"offered_1m\":{:.3},\"flat\":{:.3}}}", rates.0 / before.0, rates.1 / before.1)
    };
    println!(
        "{{\"sensors\":{sensors},\"seconds\":{seconds},\"before\":{},\"one_followed\":{},\"after\":{},\
         \"all_followed\":{},\"ratio_one\":{},\"ratio_after\":{},\"ratio_all\":{},\"heard_one\":{},\"heard_all\":{},\
         \"zenoh_undeclared\":{{\"unfollowed_per_s\":{alone:.0},\"one_followed_per_s\":{zenoh:.0},\
         \"heard\":{heard}}}}}",
        row(before),
        row(while_one.0),
        row(after),
        row(while_all.0),
        ratio(while_one.0),
        ratio(after),
        ratio(while_all.0),
        while_one.1,
        while_all.1,
    );
}

/// What a node has published so far.
fn published(asker: &zenoh::Session, name: &str) -> u64 {
    let replies = asker.get(format!("senza/nodes/{name}/stats")).wait().expect("a query");
    let reply = replies.recv().expect("an answer");
    let payload = reply.result().expect("statistics").payload().to_bytes();
    let text = String::from_utf8_lossy(&payload);
    let (_, rest) = text.split_once("\"published\":").expect("a count");
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().expect("a number")
}

/// Waits until the node publishes nothing more.
fn await_quiet(asker: &zenoh::Session, name: &str) {
    let mut last = published(asker, name);
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = published(asker, name);
        if now == last {
            return;
        }
        last = now;
    }
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("its output"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().expect("it runs"), "{text}").expect("it listens");
    }

    fn rate(&mut self, mode: &str, seconds: f64) -> f64 {
        self.say(mode);
        self.say(&format!("measure {seconds}"));
        self.line().parse().expect("a rate")
    }

    /// What is measured while a client follows an expression, and how many readings it heard.
    fn while_followed<T>(
        &mut self,
        endpoint: &str,
        expression: &str,
        measure: impl FnOnce(&mut Self) -> T,
    ) -> (T, u64) {
        self.say("offer");
        let mut client = Self::start(&["--client", endpoint, expression]);
        assert_eq!(client.line(), "follows");
        let measured = measure(self);
        client.say("end");
        let heard = client.line().parse().expect("a count");
        client.end();
        (measured, heard)
    }

    fn end(mut self) {
        drop(self.input.take());
        self.child.wait().expect("it ends");
    }
}

//! `senza demo`: three nodes as three processes on this machine, with real readings, shown live.
//!
//! Node `a` carries this machine's own sensors, node `b` replays recordings, node `c` (this process) carries none and
//! shows them all. What it claims at the end was seen: it asks every node for its own view.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is made to be looked at")]

mod children;
mod screen;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use senza_core::reading::Micros;
use senza_core::subscription::Ledger;
use senza_core::table::Point;
use senza_core::{Delivery, Filter, NodeName, Reading, SensorType};
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::zenoh_client::Client;
use serde_json::{Value as Json, json};

use crate::cli::{Failure, Outcome, duration, stop_signal};
use crate::config::{Config, DEFAULT_ROOT};
use crate::feed::recording::Recording;
use crate::feed::system::SystemFeed;
use crate::feed::{Feed, FeedReading};
use crate::{Contract, Node, Sensor, Start, Subscriber, Value};
use children::Child;

/// Real readings that a node can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeedName {
    /// This machine's own sensors.
    System,
    /// The recordings that ship with the project.
    Recordings,
}

/// Arguments of `senza demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// End by itself after so long, like 10s; status 0 only if everything it shows was seen to work
    #[arg(long = "for", value_parser = duration)]
    duration: Option<Duration>,
    /// Print nothing but a summary as JSON at the end
    #[arg(long)]
    json: bool,
}

/// How often the screen is drawn anew.
const DRAW_US: Micros = 250_000;
/// How long the nodes may take to see each other's sensors.
const MEET: Duration = Duration::from_secs(10);
/// How long a node may take to answer what it sees.
const ASK: Duration = Duration::from_secs(2);

/// What was seen of one series.
struct Seen {
    latest: Reading,
    /// Readings since the demo began.
    count: u64,
    /// Readings and time at the last drawing, and the rate from them.
    rate: f64,
    before: (u64, Micros),
}

/// The criteria, as they were seen to hold.
#[derive(Clone, Debug, Default)]
struct Criteria {
    /// A sensor of `b` that `a` sees.
    a_sees_b: Option<String>,
    /// A sensor of `a` that `b` sees.
    b_sees_a: Option<String>,
    /// Readings of `a` and of `b` that reached `c`.
    flowed: (u64, u64),
}

impl Criteria {
    fn hold(&self) -> bool {
        self.a_sees_b.is_some() && self.b_sees_a.is_some() && self.flowed.0 > 0 && self.flowed.1 > 0
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Outcome {
    let stopped = stop_signal()?;
    let mut demo = Demo::start()?;
    if !args.json {
        demo.introduce();
    }
    let clock = SystemClock;
    let began = clock.now();
    let until = args.duration.map_or(Micros::MAX, |duration| began + micros(duration));
    let mut next_draw = began + DRAW_US;
    while clock.now() < until && !closed(&stopped) {
        demo.take(Duration::from_millis(50));
        demo.check_children()?;
        if clock.now() >= next_draw {
            next_draw = clock.now() + DRAW_US;
            demo.look(clock.now());
            if !args.json {
                screen::draw(&demo.table(clock.now()));
            }
        }
    }
    demo.finish(args, clock.now() - began)
}

// === impl Demo ===

/// The running demo.
struct Demo {
    node: Node,
    reader: Subscriber,
    children: [Child; 2],
    clients: [Client; 2],
    seen: BTreeMap<(String, String), Seen>,
    gaps: u64,
    criteria: Criteria,
    next_look: Micros,
}

impl Demo {
    fn start() -> Result<Self, Failure> {
        let a = Child::start("a", FeedName::System, &[])?;
        let b = Child::start("b", FeedName::Recordings, &[&a.endpoint])?;
        let name = NodeName::new("c").map_err(Failure::usage)?;
        let connect = vec![a.endpoint.clone(), b.endpoint.clone()];
        let node = Node::start(Config { connect, ..Config::loopback(name) }).map_err(Failure::usage)?;
        let contract = Contract { start: Start::Latest, ..Contract::default() };
        let reader = node.subscribe(&Filter::all(), contract).map_err(Failure::usage)?;
        let client = |child: &Child| Client::connect(std::slice::from_ref(&child.endpoint), DEFAULT_ROOT);
        let clients = [client(&a).map_err(Failure::usage)?, client(&b).map_err(Failure::usage)?];
        let (seen, criteria) = (BTreeMap::new(), Criteria::default());
        Ok(Self { node, reader, children: [a, b], clients, seen, gaps: 0, criteria, next_look: 0 })
    }

    fn introduce(&self) {
        println!("senza demo: three nodes on this machine");
        for child in &self.children {
            println!("  {}  {}  {}", child.name, child.endpoint, child.about);
        }
        println!("  c  {}  carries none, shows all", self.node.listening().join(" "));
        println!(
            "try in another terminal: senza ls --connect {0}; senza watch --connect {0}",
            self.children[1].endpoint
        );
    }

    /// Takes what came.
    fn take(&mut self, wait: Duration) {
        let mut taken: Vec<Delivery> = self.reader.recv_timeout(wait).into_iter().collect();
        self.reader.take(&mut taken, usize::MAX);
        for delivery in taken {
            match delivery {
                Delivery::Reading(reading) | Delivery::Start(reading, _) => self.note(reading),
                Delivery::Gap(gap) => self.gaps += gap.count().unwrap_or(1),
                Delivery::End(_) => {}
            }
        }
    }

    fn note(&mut self, reading: Reading) {
        let series = &reading.series;
        match series.node.as_str() {
            "a" => self.criteria.flowed.0 += 1,
            "b" => self.criteria.flowed.1 += 1,
            _ => {}
        }
        let key = (series.sensor.to_string(), series.attribute.to_string());
        match self.seen.get_mut(&key) {
            Some(seen) => {
                seen.count += 1;
                seen.latest = reading;
            }
            None => {
                let before = (1, reading.received_time);
                self.seen.insert(key, Seen { latest: reading, count: 1, rate: 0.0, before });
            }
        }
    }

    /// Takes rates, and asks `a` and `b` whom they see, until both were seen to.
    fn look(&mut self, now: Micros) {
        for seen in self.seen.values_mut() {
            let (count, at) = seen.before;
            if now - at >= 1_000_000 {
                seen.rate = (seen.count - count) as f64 * 1e6 / (now - at) as f64;
                seen.before = (seen.count, now);
            }
        }
        if now < self.next_look {
            return;
        }
        self.next_look = now + 500_000;
        if self.criteria.a_sees_b.is_none() {
            self.criteria.a_sees_b = self.seen_by(0, "b");
        }
        if self.criteria.b_sees_a.is_none() {
            self.criteria.b_sees_a = self.seen_by(1, "a");
        }
    }

    /// A sensor of `owner` that the child sees as owned by it, in the child's own directory.
    fn seen_by(&self, child: usize, owner: &str) -> Option<String> {
        let sensor = self.seen.values().find(|seen| seen.latest.series.node.as_str() == owner)?;
        let sensor = sensor.latest.series.sensor.to_string();
        let payload = json!({ "sensor": sensor }).to_string().into_bytes();
        let key = format!("do/{}/whereis", self.children[child].name);
        let replies = self.clients[child].get(&key, "", Some(("application/json", payload)), ASK).ok()?;
        let answer: Json = serde_json::from_slice(replies.first()?.payload.as_ref().ok()?).ok()?;
        (answer["found"] == "remote" && answer["node"] == owner).then_some(sensor)
    }

    fn check_children(&mut self) -> Outcome {
        for child in &mut self.children {
            if let Some(why) = child.ended() {
                return Err(Failure::usage(format!("node {} ended: {why}", child.name)));
            }
        }
        Ok(())
    }

    fn table(&self, now: Micros) -> screen::Table {
        let row = |((sensor, attribute), seen): (&(String, String), &Seen)| screen::Row {
            sensor: sensor.clone(),
            attribute: attribute.clone(),
            node: seen.latest.series.node.to_string(),
            value: seen.latest.value.clone(),
            rate: seen.rate,
            age_us: now - seen.latest.source_time,
        };
        let link = |link: &senza_mesh::engine::LinkView| screen::Link {
            from: link.node.to_string(),
            readings: link.received.readings,
            frames: link.received.frames,
            bytes: link.received.bytes,
        };
        screen::Table {
            rows: self.seen.iter().map(row).collect(),
            links: self.node.engine().links().iter().map(link).collect(),
            sensors: self.node.sensors(&Filter::all()).len(),
            gaps: self.gaps,
        }
    }

    /// Looks once more, stops everything, and says what was seen.
    fn finish(mut self, args: &DemoArgs, ran: Micros) -> Outcome {
        let clock = SystemClock;
        let meet_until = clock.now() + if args.duration.is_some() { micros(MEET) } else { 0 };
        while !self.criteria.hold() && clock.now() < meet_until {
            self.take(Duration::from_millis(50));
            self.next_look = 0;
            self.look(clock.now());
        }
        let table = self.table(clock.now());
        let (ledger, criteria) = (self.reader.ledger(), self.criteria.clone());
        let Self { node, reader, children, clients, .. } = self;
        drop(reader);
        clients.into_iter().for_each(Client::close);
        node.stop();
        let stopped = children.into_iter().map(Child::stop).collect::<Result<Vec<()>, String>>();
        summary(args, &criteria, &table, (ledger, ran));
        if let Err(left) = stopped {
            return Err(Failure::usage(left));
        }
        if args.duration.is_some() && !criteria.hold() {
            return Err(Failure::not_found("not every criterion was seen to hold"));
        }
        Ok(())
    }
}

fn summary(args: &DemoArgs, criteria: &Criteria, table: &screen::Table, (ledger, ran): (Ledger, Micros)) {
    let readings = criteria.flowed.0 + criteria.flowed.1;
    if args.json {
        let links: Vec<Json> = table.links.iter().map(screen::Link::json).collect();
        let summary = json!({
            "ok": criteria.hold(),
            "a_sees_sensor_of_b": criteria.a_sees_b,
            "b_sees_sensor_of_a": criteria.b_sees_a,
            "readings_from_a": criteria.flowed.0,
            "readings_from_b": criteria.flowed.1,
            "sensors": table.sensors,
            "series": table.rows.len(),
            "seconds": ran as f64 / 1e6,
            "lost": table.gaps,
            "links": links,
            "ledger": { "offered": ledger.offered, "delivered": ledger.delivered, "dropped": ledger.dropped, "queued": ledger.queued },
        });
        println!("{summary}");
        return;
    }
    let seen = |criterion: &Option<String>| match criterion {
        Some(sensor) => format!("yes ({sensor:?})"),
        None => "not seen".to_owned(),
    };
    println!();
    println!("a sees a sensor of b:        {}", seen(&criteria.a_sees_b));
    println!("b sees a sensor of a:        {}", seen(&criteria.b_sees_a));
    println!("readings flowed to c:        {} from a, {} from b", criteria.flowed.0, criteria.flowed.1);
    println!("told as lost:                {}", table.gaps);
    println!("{readings} readings of {} sensors in {:.1} s", table.sensors, ran as f64 / 1e6);
}

fn micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

fn closed(channel: &crossbeam_channel::Receiver<()>) -> bool {
    matches!(channel.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
}

// === feeding a node ===

/// A thread that puts a feed's readings into a node. Dropping it ends it and unregisters its sensors.
pub struct FeedThread {
    stop: Option<crossbeam_channel::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Registers a feed's sensors on the node and starts putting their readings.
///
/// # Errors
/// Those of registering.
pub fn feed_thread(node: &Node, name: FeedName) -> senza_core::Result<FeedThread> {
    let feeds: Vec<Box<dyn Feed>> = match name {
        FeedName::System => vec![Box::new(SystemFeed::new())],
        FeedName::Recordings => vec![Box::new(Recording::watches()), Box::new(Recording::weather())],
    };
    let mut sources = Vec::new();
    for feed in feeds {
        let register = |sensor: &crate::feed::FeedSensor| {
            let sensor_type = SensorType::new(sensor.sensor_type)?;
            let meta = sensor.meta.to_string().into();
            node.register(&Sensor { sensor_type, meta, ..Sensor::new(&sensor.id)? })
        };
        let handles = feed.sensors().iter().map(register).collect::<senza_core::Result<Vec<_>>>()?;
        tracing::info!(feed = feed.about(), sensors = handles.len(), "feeding");
        sources.push((feed, handles));
    }
    let engine = node.engine().clone();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let feeding = move || {
        let (clock, mut due) = (SystemClock, Vec::new());
        loop {
            let mut next = Micros::MAX;
            for (feed, handles) in &mut sources {
                next = next.min(feed.poll(clock.now(), &mut due));
                let point = |reading: FeedReading| {
                    let handle = &handles[reading.sensor];
                    let attribute = handle.attribute(&reading.attribute).ok()?;
                    Some(handle.point(attribute, Value::F64(reading.value), reading.source_time))
                };
                // A sensor that another node took over drops out here; the others go on.
                let points: Vec<Point> = due.drain(..).filter_map(point).collect();
                engine.put_many(&points);
            }
            let wait = Duration::from_micros((next - clock.now()).clamp(0, 1_000_000).unsigned_abs());
            if stopped.recv_timeout(wait) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("senza-feed".to_owned()).spawn(feeding);
    let thread = Some(thread.expect("the system has room for a thread"));
    Ok(FeedThread { stop: Some(stop), thread })
}

impl Drop for FeedThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the feed had panicked");
        }
    }
}

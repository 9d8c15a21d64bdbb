//! The ways readings travel from one process to others: senza, and each rival, behind the same traits.
//!
//! A [`Host`] is what a reading process starts first: its own node or session to listen on, or a broker. [`Sink`]s read
//! there. A [`Source`] puts, in a process of its own. The work that is done with them (closed loop, open loop, fleets,
//! who stands still) stands in the families; nothing here counts or times.
//!
//! Every contender carries the same of a reading: its sensor, its number, when it was put, and a value. senza numbers
//! by itself and has the rest in its data model; for the others number and time stand before the value in the message,
//! and the sensor is the topic where a message carries one reading (`batch` 1), or stands in it where it carries many.
//!
//! Brokers are spoken to by the least code that their protocol allows, so that no client library is charged to them:
//! one buffer out, one buffer in, no allocation per message.

mod message;
mod mosquitto;
mod nats;
mod redis;
mod senza;
mod server;
mod sockets;
mod zenoh;

use std::time::{Duration, Instant};

/// How long two ends may take to find each other.
const DEADLINE: Duration = Duration::from_secs(30);

/// Who can carry readings.
pub(crate) const WIRES: &[&str] = &["senza", "zenoh", "nats", "redis", "mosquitto"];

/// What is common to both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The number of the first sensor: not 0 where several sources put, each its own sensors.
    pub first: u32,
    /// Sensors, numbered from `first`; each has one attribute.
    pub sensors: u32,
    /// Bytes of a value: 8 is a number, more is opaque.
    pub bytes: usize,
    /// Readings that the application packs into one message or one call; 1 puts each by itself.
    pub batch: usize,
    /// Whether what is put is to leave at once (open loop, latency), where a contender knows the difference. Otherwise
    /// it leaves when a buffer is full, and with [`Source::flush`].
    pub express: bool,
}

/// One reading on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// Which sensor of the [`Shape`].
    pub sensor: u32,
    /// Its number within its sensor, from 1, without a hole.
    pub seq: u64,
    /// When it was put or due, microseconds since 1970.
    pub at_us: i64,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// A reading.
    Reading { sensor: u32, seq: u64, at_us: i64 },
    /// The receiver is told that these numbers, both included, will not come; `u64::MAX` is an end that is not known,
    /// then what comes next is behind the gap.
    Gap { sensor: u32, from: u64, to: u64 },
}

/// What a sink asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Readings of all sensors.
    All,
    /// Those of one, by its own topic: only where a message carries one reading, as topics know no more.
    One(u32),
    /// Those of all below a number, by the topic of each; otherwise as [`Wants::One`].
    Below(u32),
}

/// The end that puts. One that waits in `put` is held up by its own transport.
pub(crate) trait Source {
    /// All its sensors in the order in which it takes them most cheaply, for whoever goes over all of them.
    fn order(&self) -> Vec<u32>;
    /// Puts these readings, as `Shape::batch` says. May leave a part of a message open.
    fn put(&mut self, readings: &[Put]);
    /// Sends what is open: after it nothing waits in this process for more to come.
    fn flush(&mut self);
}

/// The end that reads.
pub(crate) trait Sink: Send {
    /// Hands over what has come, after waiting at most so long for the first; answers false once it was cut off for
    /// good (some brokers close who reads too slowly).
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(Came)) -> bool;
}

/// Many sinks that one thread reads, each told by its place in the order in which they were asked for.
pub(crate) trait Sinks: Send {
    /// As [`Sink::take`] of all of them together; false once any was cut off.
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(usize, Came)) -> bool;
}

/// What the sources and sinks of one measurement meet at. Dropping it ends it.
pub(crate) trait Host {
    /// Where a source connects. Asked for when the sinks are there: it may say for what a source has to wait.
    fn endpoint(&self) -> String;
    /// A sink that is ready: what is put after this is seen by it.
    fn sink(&self, shape: &Shape, wants: Wants) -> Box<dyn Sink>;
    /// Many sinks, each with a subscription of its own, and a connection of its own where it is a broker's client.
    fn sinks(&self, shape: &Shape, wants: &[Wants]) -> Box<dyn Sinks>;
    /// Waits, once the sources are connected, until so many sensors are known here. Only who knows sensors has to wait.
    fn met(&self, sensors: u32);
    /// The numbers of the newest readings that are kept of a sensor, oldest first, by the time that they carry; `None`
    /// where nothing is kept.
    fn kept(&self, _sensor: u32, _last: u32) -> Option<Vec<u64>> {
        None
    }
    /// How it is configured, for whoever reads the numbers.
    fn configuration(&self) -> &'static str;
}

/// Starts the host of a contender.
pub(crate) fn host(contender: &str) -> Box<dyn Host> {
    match contender {
        "senza" => senza::host(None),
        "zenoh" => zenoh::host(None),
        "nats" => nats::host(None),
        "redis" => redis::host(None),
        "mosquitto" => mosquitto::host(None),
        _ => panic!("no wire {contender}"),
    }
}

/// Joins a host from another process, to read there. Its sinks are no concern of [`source`]: whoever starts guests lets
/// the sources put for a while before it counts.
pub(crate) fn guest(contender: &str, endpoint: &str) -> Box<dyn Host> {
    let endpoint = Some(endpoint);
    match contender {
        "senza" => senza::host(endpoint),
        "zenoh" => zenoh::host(endpoint),
        "nats" => nats::host(endpoint),
        "redis" => redis::host(endpoint),
        "mosquitto" => mosquitto::host(endpoint),
        _ => panic!("no wire {contender}"),
    }
}

/// Connects a source, and waits until all sinks of its host will see what it puts.
pub(crate) fn source(contender: &str, endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    match contender {
        "senza" => senza::source(endpoint, shape),
        "zenoh" => zenoh::source(endpoint, shape),
        "nats" => nats::source(endpoint, shape),
        "redis" => redis::source(endpoint, shape),
        "mosquitto" => mosquitto::source(endpoint, shape),
        _ => panic!("no wire {contender}"),
    }
}

/// Looks every millisecond until the condition holds; answers false at the deadline.
#[expect(clippy::disallowed_methods, reason = "it waits by the clock")]
fn soon(mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// What the sinks of a host want, told to sources with its endpoint: `tcp/127.0.0.1:7447#all`, `…#0,1,2`.
#[derive(Debug, Default)]
struct Wanted {
    all: bool,
    ones: std::collections::BTreeSet<u32>,
}

impl Wanted {
    fn note(&mut self, wants: Wants) {
        match wants {
            Wants::All => self.all = true,
            Wants::One(sensor) => _ = self.ones.insert(sensor),
            // They are subscribed to in this order: where the last is seen, all are.
            Wants::Below(sensors) => self.ones.extend(sensors.checked_sub(1)),
        }
    }

    fn told_with(&self, endpoint: &str) -> String {
        let ones: Vec<String> = self.ones.iter().map(u32::to_string).collect();
        format!("{endpoint}#{}", if self.all { "all".to_owned() } else { ones.join(",") })
    }

    /// The endpoint, and those sensors of a source that somebody has to see before it begins: the first of all, where
    /// all are wanted in one.
    fn split<'a>(endpoint: &'a str, shape: &Shape) -> (&'a str, Vec<u32>) {
        let (endpoint, wanted) = endpoint.split_once('#').unwrap_or((endpoint, ""));
        let own = |sensor: &u32| (shape.first..shape.first + shape.sensors).contains(sensor);
        let first = (wanted == "all").then_some(shape.first);
        let ones = wanted.split(',').filter_map(|word| word.parse().ok()).filter(own);
        (endpoint, first.into_iter().chain(ones).collect())
    }
}

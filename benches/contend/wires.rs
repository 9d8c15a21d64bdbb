//! The ways readings travel from one process to others: senza, and each rival, behind the same two traits.
//!
//! A [`Host`] is what a reading process starts first: its own node or session to listen on, or a broker. [`Sink`]s read
//! there. A [`Source`] puts, in a process of its own. The work that is done with them (closed loop, open loop, fleets,
//! who stands still) stands in the families; nothing here counts or times.
//!
//! Every contender carries the same of a reading: its sensor, its number, when it was put, and a value. senza numbers
//! by itself and has the rest in its data model; for the others number and time stand before the value in the message,
//! and the sensor is the topic where a message carries one reading (`batch` 1), or stands in it where it carries many.

use std::time::Duration;

/// Who can carry readings.
pub(crate) const WIRES: &[&str] = &["senza", "zenoh", "nats", "redis", "mosquitto"];

/// What is common to both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Sensors, numbered from 0; each has one attribute.
    pub sensors: u32,
    /// Bytes of a value: 8 is a number, more is opaque.
    pub bytes: usize,
    /// Readings that the application packs into one message or one call; 1 puts each by itself.
    pub batch: usize,
    /// Whether each message is to leave at once (open loop, latency), where a contender knows the difference.
    pub express: bool,
}

/// One reading on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// Which sensor, below [`Shape::sensors`].
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
    /// The receiver is told that these numbers, both included, will not come.
    Gap { sensor: u32, from: u64, to: u64 },
}

/// What a sink asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Readings of all sensors.
    All,
    /// Those of one, by its own topic.
    One(u32),
}

/// The end that puts. One that waits in `put` is held up by its own transport.
pub(crate) trait Source {
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

/// What the sources and sinks of one measurement meet at. Dropping it ends it.
pub(crate) trait Host {
    /// Where a source connects.
    fn endpoint(&self) -> String;
    /// A sink that is ready: what is put after this is seen by it.
    fn sink(&self, shape: &Shape, wants: Wants) -> Box<dyn Sink>;
}

/// Starts the host of a contender.
pub(crate) fn host(_contender: &str, _shape: &Shape) -> Box<dyn Host> {
    unimplemented!("no wire yet")
}

/// Connects a source, and waits until all sinks of its host will see what it puts.
pub(crate) fn source(_contender: &str, _endpoint: &str, _shape: &Shape) -> Box<dyn Source> {
    unimplemented!("no wire yet")
}

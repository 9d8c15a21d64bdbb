//! Feeds: real readings for a node without devices. A feed reads no clock; it is told the time.

pub mod recording;
pub mod system;

use std::sync::Arc;

use senza_core::Micros;

/// One sensor that a feed carries.
#[derive(Clone, Debug)]
pub struct FeedSensor {
    /// Its id.
    pub id: String,
    /// What kind of thing it is.
    pub sensor_type: &'static str,
    /// A JSON object for people: name, units.
    pub meta: serde_json::Value,
}

/// One value that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedReading {
    /// Its place in [`Feed::sensors`].
    pub sensor: usize,
    /// The attribute.
    pub attribute: Arc<str>,
    /// What was read.
    pub value: f64,
    /// When.
    pub source_time: Micros,
}

/// A source of real readings.
pub trait Feed: Send {
    /// The sensors it carries; they do not change.
    fn sensors(&self) -> &[FeedSensor];

    /// Appends what is due by `now` and answers when more is. Bounded however long the pause was.
    fn poll(&mut self, now: Micros, out: &mut Vec<FeedReading>) -> Micros;

    /// One line for people: what it is, how fast, whose.
    fn about(&self) -> String;
}

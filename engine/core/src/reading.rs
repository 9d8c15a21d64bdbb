//! The words everything else is made of: ids, values, times, readings.
//!
//! Nothing here knows a table, a network or a clock. Times are microseconds since 1970 (UTC) in an `i64`;
//! they fit a JavaScript number until the year 2255.

mod text;

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::{Error, Result};
use text::Text;

/// Longest sensor id, in bytes.
pub const SENSOR_ID_MAX: usize = 256;
/// Longest attribute id, in bytes.
pub const ATTRIBUTE_ID_MAX: usize = 64;
/// Longest node name, in bytes.
pub const NODE_NAME_MAX: usize = 63;
/// Longest sensor type, in bytes.
pub const SENSOR_TYPE_MAX: usize = 64;
/// Longest text, bytes or JSON value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most elements of a vector value.
pub const VECTOR_MAX: usize = 4096;

/// Microseconds since 1970-01-01 UTC.
pub type Micros = i64;
/// The owner's counter per (sensor, attribute, epoch): from 1, without a hole. How loss shows.
pub type Seq = u64;
/// The number that each new claim of a sensor raises: microseconds of a hybrid clock.
pub type Epoch = u64;
/// One life of a node; a restart is a new, higher one.
pub type Incarnation = u64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($text:ty), $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($text);

        impl $name {
            /// Checks the length rule and makes the id. Allocates at most once.
            ///
            /// # Errors
            /// [`Error::Id`] when the text is empty or longer than the rule allows.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                if text.is_empty() || text.len() > $max {
                    return Err(Error::Id { what: $what, length: text.len(), max: $max });
                }
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

id!(
    /// Names a sensor: any UTF-8 of 1 to 256 bytes; real ids hold `:`, spaces and `/`.
    ///
    /// 32 bytes. An id of up to 30 bytes lies in them, so that neither making nor cloning it allocates or counts; a
    /// longer one is shared, and a clone is one reference count.
    SensorId(Text), "sensor id", SENSOR_ID_MAX
);
id!(
    /// Names one quantity of a sensor: any UTF-8 of 1 to 64 bytes. Cheap to clone (one reference count).
    AttributeId(Arc<str>), "attribute id", ATTRIBUTE_ID_MAX
);
id!(
    /// Names what kind of thing a sensor is (`imu`, `ecg`, …): any UTF-8 of 1 to 64 bytes. Cheap to clone (one reference
    /// count).
    SensorType(Arc<str>), "sensor type", SENSOR_TYPE_MAX
);

impl SensorId {
    /// The id's bytes: what [`as_str`](Self::as_str) looks over once more before it is text again.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl AttributeId {
    /// The id of no attribute, which no reading has: what a sensor's own record holds until its first attribute.
    pub(crate) fn none() -> Self {
        Self("".into())
    }
}

impl Default for SensorType {
    /// `generic`: what a sensor is that never said.
    fn default() -> Self {
        Self("generic".into())
    }
}

/// Names a node: `[a-z0-9][a-z0-9-]{0,62}`. Up to 30 bytes lie in the value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Text);

impl NodeName {
    /// Checks the rule and makes the name.
    ///
    /// # Errors
    /// [`Error::NodeName`] with the text that does not fit.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ok = !text.is_empty() && text.len() <= NODE_NAME_MAX && text.bytes().all(fits) && !text.starts_with('-');
        if ok { Ok(Self(Text::from(text))) } else { Err(Error::NodeName { name: text.chars().take(80).collect() }) }
    }

    /// Makes a name of any text: upper case falls, whatever else does not fit becomes `-`.
    pub fn from_host(text: &str) -> Self {
        let mapped: String = text
            .bytes()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { char::from(c) } else { '-' })
            .take(NODE_NAME_MAX)
            .collect();
        let trimmed = mapped.trim_start_matches('-');
        Self(Text::from(if trimmed.is_empty() { "node" } else { trimmed }))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of one node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Life {
    /// The node's name.
    pub node: NodeName,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// The payload of a reading. Cheap to clone; nothing but text, bytes, vectors and JSON allocates.
#[derive(Clone, Debug)]
pub enum Value {
    /// A floating-point number, NaN and infinities included.
    F64(f64),
    /// An integer.
    I64(i64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text, at most 64 KiB.
    Text(Arc<str>),
    /// Bytes, at most 64 KiB.
    Bytes(Arc<[u8]>),
    /// At most 4,096 numbers.
    Vector(Arc<[f32]>),
    /// A JSON object or array as text, at most 64 KiB. Who makes one has checked that it parses.
    Json(Arc<str>),
}

impl Value {
    /// Holds the value to its size limit.
    ///
    /// # Errors
    /// [`Error::ValueTooLarge`] with the size and the limit.
    pub fn check(&self) -> Result<()> {
        let (size, max) = match self {
            Value::F64(_) | Value::I64(_) | Value::Bool(_) => return Ok(()),
            Value::Text(text) | Value::Json(text) => (text.len(), VALUE_BYTES_MAX),
            Value::Bytes(bytes) => (bytes.len(), VALUE_BYTES_MAX),
            Value::Vector(vector) => (vector.len(), VECTOR_MAX),
        };
        if size > max { Err(Error::ValueTooLarge { size, max }) } else { Ok(()) }
    }

    /// Bytes of what does not fit a slot of eight.
    pub fn bytes_beside(&self) -> usize {
        match self {
            Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Vector(vector) => vector.len() * 4,
        }
    }

    /// The value as a number, where it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F64(value) => Some(*value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a view for people and charts; the value itself stays exact"
            )]
            Value::I64(value) => Some(*value as f64),
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    /// Bitwise for floating-point numbers: NaN equals itself, -0 differs from 0.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
            (Value::I64(a), Value::I64(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) | (Value::Json(a), Value::Json(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Vector(a), Value::Vector(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| x.to_bits() == y.to_bits())
            }
            _ => false,
        }
    }
}

/// What all readings of one attribute under one claim share; a reading points to it instead of copying ids.
///
/// Reads like one struct: `series.attribute`, `series.sensor_type` and `series.node` are those of its [`SeriesKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The sensor.
    pub sensor: SensorId,
    /// The claim under which the owner numbers its readings.
    pub epoch: Epoch,
    kind: Arc<SeriesKind>,
}

/// What the series of a fleet of like sensors share. Who holds many series holds few of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKind {
    /// The attribute.
    pub attribute: AttributeId,
    /// What kind of thing the sensor is.
    pub sensor_type: SensorType,
    /// The owner.
    pub node: NodeName,
    /// Whether none of its readings may be conflated, rate-limited or left out by a deadband: an ECG, a button.
    pub lossless: bool,
}

impl Series {
    /// A series of that kind. Allocates nothing.
    pub fn new(sensor: SensorId, epoch: Epoch, kind: Arc<SeriesKind>) -> Self {
        Self { sensor, epoch, kind }
    }

    /// What it shares with the series of like sensors.
    pub fn kind(&self) -> &Arc<SeriesKind> {
        &self.kind
    }
}

impl Deref for Series {
    type Target = SeriesKind;

    fn deref(&self) -> &SeriesKind {
        &self.kind
    }
}

/// One data point: one value of one attribute of one sensor at one time. `(series.epoch, seq)` names it for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Whose reading it is.
    pub series: Arc<Series>,
    /// What was read.
    pub value: Value,
    /// When, as the device says.
    pub source_time: Micros,
    /// When the owner took it.
    pub received_time: Micros,
    /// Its number in the series.
    pub seq: Seq,
}

/// Why readings did not reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum GapReason {
    /// The subscription's own queue was full.
    Overflow = 0,
    /// The queue towards another node was full.
    Relay = 1,
    /// A frame between two nodes was lost.
    Link = 2,
    /// They came under a claim that was beaten already, and were refused.
    Beaten = 3,
}

impl GapReason {
    /// Every reason, by its wire byte.
    pub const ALL: [Self; 4] = [Self::Overflow, Self::Relay, Self::Link, Self::Beaten];

    /// The reason that a wire byte names, if it names one.
    pub fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }

    /// The reason as a word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Overflow => "overflow",
            GapReason::Relay => "relay",
            GapReason::Link => "link",
            GapReason::Beaten => "beaten",
        }
    }
}

/// Why no more readings of a series come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// The sensor was unregistered.
    Unregistered = 0,
    /// Another node owns the sensor now; its readings go on under another epoch.
    Moved = 1,
}

impl EndReason {
    /// The reason that a wire number names, if it names one.
    pub fn from_wire(number: u64) -> Option<Self> {
        [Self::Unregistered, Self::Moved].into_iter().find(|reason| *reason as u64 == number)
    }

    /// The reason as a word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Moved => "moved",
        }
    }
}

/// A series is over at its owner, which said how far its numbers go: all up to there were delivered or told.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Which series.
    pub series: Arc<Series>,
    /// The number of its last reading.
    pub last: Seq,
    /// Why.
    pub reason: EndReason,
}

/// Told loss: these readings of a series will not come.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Whose readings were lost.
    pub series: Arc<Series>,
    /// The first lost number.
    pub from: Seq,
    /// The last lost number; [`Seq::MAX`] where nobody knows it: the owner went down and was given up.
    pub to: Seq,
    /// Where they were lost.
    pub reason: GapReason,
}

impl Gap {
    /// How many readings are lost, where that is known.
    pub fn count(&self) -> Option<u64> {
        (self.to != Seq::MAX).then(|| self.to.saturating_sub(self.from) + 1)
    }
}

/// What a subscription yields, in order per series.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// A live reading.
    Reading(Reading),
    /// The latest reading at the moment of subscribing, and the series' counter then: the next live one is the one
    /// after that number. Of several that are kept the last one says so, those before it their own number.
    Start(Reading, Seq),
    /// Readings that were lost, told before the next one of their series.
    Gap(Gap),
    /// No more of a series comes. A node that crashes tells none.
    End(End),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_to_their_lengths() {
        assert!(SensorId::new("").is_err());
        assert!(SensorId::new("x".repeat(256)).is_ok());
        assert!(SensorId::new("x".repeat(257)).is_err());
        assert!(AttributeId::new("x".repeat(65)).is_err());
        let error = SensorId::new("x".repeat(300)).unwrap_err().to_string();
        assert!(error.contains("sensor id") && error.contains("300") && error.contains("256"), "{error}");
    }

    #[test]
    fn node_names_hold_to_their_rule() {
        for good in ["a", "node-7", "0", &"x".repeat(63)] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a/b", "ä", &"x".repeat(64)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(NodeName::from_host("My_Host.local").as_str(), "my-host-local");
        assert_eq!(NodeName::from_host("---").as_str(), "node");
        assert!(NodeName::new(NodeName::from_host("ÄÖ weird").as_str()).is_ok());
    }

    #[test]
    fn values_hold_to_their_sizes() {
        assert!(Value::Text("x".repeat(VALUE_BYTES_MAX).into()).check().is_ok());
        assert!(Value::Text("x".repeat(VALUE_BYTES_MAX + 1).into()).check().is_err());
        assert!(Value::Vector(vec![0.0; VECTOR_MAX + 1].into()).check().is_err());
    }

    #[test]
    fn values_compare_bit_for_bit() {
        assert_eq!(Value::F64(f64::NAN), Value::F64(f64::NAN));
        assert_ne!(Value::F64(0.0), Value::F64(-0.0));
        assert_ne!(Value::F64(1.0), Value::I64(1));
    }
}

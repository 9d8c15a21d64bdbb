//! The one error enum of this crate. An expected outcome (refused, fenced, full) is a return value, not an error.

use crate::reading::NodeName;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with what comes in. No variant leaves anything changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An id is empty or too long.
    #[error("{what} must have 1 to {max} bytes, this one has {length}")]
    Id {
        /// Which id.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A node name does not fit its rule.
    #[error("node name {name:?} does not fit [a-z0-9][a-z0-9-]{{0,62}}")]
    NodeName {
        /// The text, cut to 80 characters.
        name: String,
    },
    /// A value is larger than its type allows.
    #[error("value has a size of {size}, at most {max} is allowed")]
    ValueTooLarge {
        /// Bytes, or elements of a vector.
        size: usize,
        /// The most allowed.
        max: usize,
    },
    /// A percent-encoded chunk of a key does not decode.
    #[error("key chunk {chunk:?}: {rule}")]
    Key {
        /// The chunk, cut to 80 characters.
        chunk: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A filter pattern is not one.
    #[error("pattern {pattern:?}: {rule}")]
    Pattern {
        /// The pattern, cut to 80 characters.
        pattern: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A message from another node does not decode; it was refused whole.
    #[error("message: {rule} (at byte {at})")]
    Wire {
        /// Where in the message.
        at: usize,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The handle's sensor was unregistered since.
    #[error("the sensor of this handle is no longer registered here")]
    Unregistered,
    /// The sensor is not registered here, nor known elsewhere.
    #[error("sensor {sensor:?} is not known")]
    NotFound {
        /// The sensor.
        sensor: String,
    },
    /// The sensor is owned by another node.
    #[error("sensor {sensor:?} is owned by node {node}")]
    NotOwner {
        /// The sensor.
        sensor: String,
        /// Its owner.
        node: NodeName,
    },
    /// Another node took the sensor over a moment ago: its readings here are late ones.
    #[error("sensor {sensor:?} was taken over by node {node} just now; it can be taken back in {left_ms} ms")]
    HeldOff {
        /// The sensor.
        sensor: String,
        /// Its owner.
        node: NodeName,
        /// Milliseconds until it can be taken over again.
        left_ms: u64,
    },
    /// A contract that makes no sense.
    #[error("contract: {field} = {value}: {rule}")]
    Contract {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A bound was reached.
    #[error("{what}: the limit of {max} is reached")]
    Full {
        /// What is full.
        what: &'static str,
        /// Its bound.
        max: usize,
    },
}

//! The data structures of senza: no sockets, files, environment, runtime or clock.
//!
//! In order of reading:
//!
//! - [`reading`]: the words: sensor, attribute, value, reading, series, gap, life.
//! - [`error`]: what can be wrong with what comes in.
//! - [`key`]: ids in keys, patterns, filters.
//! - [`hash`]: hashes that two nodes must agree on.
//! - [`history`]: latest and a short ring of one attribute.
//! - [`table`]: the lock-sharded store of a node's own sensors.
//! - [`row`]: a reading in motion.
//! - [`subscription`]: one bounded queue under a contract, with told gaps.
//! - [`fanout`]: which subscriptions want a series.
//! - [`codec`]: control messages ⇄ bytes.
//! - [`frame`]: batches of readings ⇄ bytes.
//! - [`directory`]: who owns what, in the whole cluster.
//! - [`fault`]: known bugs, for tests.

pub mod codec;
pub mod directory;
pub mod error;
pub mod fanout;
pub mod fault;
pub mod frame;
pub mod hash;
pub mod history;
pub mod key;
pub mod reading;
pub mod row;
pub mod subscription;
mod sync;
pub mod table;

pub use error::{Error, Result};
pub use key::Filter;
pub use reading::{
    AttributeId, Delivery, End, EndReason, Epoch, Gap, GapReason, Incarnation, Life, Micros, NodeName, Reading,
    SensorId, SensorType, Seq, Series, SeriesKind, Value,
};

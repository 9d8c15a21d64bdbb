//! The seam to other nodes: opaque messages, and hints of who is there.
//!
//! What a transport promises:
//!
//! - Messages of one class from one node to another arrive in order, once, or not at all. Across classes there is no
//!   order. A message may be lost at any time, and nobody is told; what is above numbers what it sends.
//! - [`send`](Transport::send) and [`broadcast`](Transport::broadcast) never wait for the other side. A link that is
//!   stuck may cost their caller some milliseconds once, and costs messages to other nodes nothing.
//! - A token is a hint that a life is there, its end a hint that it is gone. Both may be late or missing.
//!
//! One suite of tests holds every implementation to this.

use bytes::Bytes;
use senza_core::{Life, NodeName};

/// Largest message that a transport carries, in bytes.
pub const MESSAGE_MAX: usize = 8 * 1024 * 1024;

/// Which queue a message travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Small and urgent: beacons, deltas, credits.
    Control,
    /// Readings.
    Frame,
    /// Large and patient: cuts.
    Bulk,
}

/// What a link carried since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkTraffic {
    /// The other node; `None` for broadcasts, counted once however many heard them.
    pub node: Option<NodeName>,
    /// Messages and bytes sent.
    pub sent: (u64, u64),
    /// Messages and bytes received.
    pub received: (u64, u64),
}

/// A way to other nodes.
pub trait Transport: Send + Sync {
    /// Sends to the node of that name. Answers false where it is certain that nobody got it.
    fn send(&self, to: &NodeName, class: Class, message: Bytes) -> bool;

    /// Sends a [`Class::Control`] message to every node that listens.
    fn broadcast(&self, message: Bytes);

    /// Shows this life's token to others, or hides it.
    fn announce(&self, shown: bool);

    /// What every link carried.
    fn traffic(&self) -> Vec<LinkTraffic>;

    /// Takes the token back and stops. Afterwards nothing is sent or delivered.
    fn close(&self);
}

/// What a transport tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The token of a life is there.
    Token(Life),
    /// The token of a life is gone.
    TokenGone(Life),
    /// A message arrived.
    Message {
        /// Its sender, as the transport knows it.
        from: NodeName,
        /// Its class.
        class: Class,
        /// The message.
        bytes: Bytes,
    },
}

/// Whoever takes a transport's events. Called on the transport's own threads: it must return at once.
pub trait Inbox: Send + Sync {
    /// Takes one event, or loses and counts it where its bound is reached.
    fn deliver(&self, event: Event);
}

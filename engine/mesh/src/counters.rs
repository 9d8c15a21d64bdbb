//! What an engine counts beside its ledgers: one relaxed atomic each, read all at once.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one engine, as they run.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The counters of one engine, as they stood.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Reads every counter; they run on meanwhile.
            pub fn read(&self) -> CounterValues {
                CounterValues { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl CounterValues {
            /// Names and numbers, for people and JSON.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Readings taken from devices.
    readings_in,
    /// Readings refused: a value too large, a stale handle, a bound.
    readings_refused,
    /// Readings for sensors that another node owns.
    readings_not_owner,
    /// Readings for sensors that another node took over from here.
    readings_late,
    /// Takeovers refused because the sensor was lost just before.
    takeovers_held_off,
    /// Sensors that began to go to and fro between nodes.
    flapping,
    /// Sensors claimed here.
    registered,
    /// Claims ended here.
    unregistered,
    /// Claims taken from another node.
    taken_over,
    /// Claims lost to another node.
    lost,
    /// Messages of other nodes that did not decode.
    messages_refused,
    /// Frames of other nodes that did not decode.
    frames_refused,
    /// Starts at other nodes that were not answered in time: those series began with what was live.
    starts_given_up,
    /// Events lost because a queue of events was full.
    events_lost,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

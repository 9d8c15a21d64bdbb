//! How long readings take, hop by hop, and by how much the clocks of two nodes differ.
//!
//! ```text
//!  device ──source──▶ owner's table ──owner──▶ frame ──link──▶ other node ──queue──▶ reader
//!                     └────────────────────── local, remote ─────────────────────▶
//! ```
//!
//! Times are stamped where they are cheap: a reading carries its source and its received time, a frame when it was
//! sent, a queue notes when a run was offered. What crossed to another node is corrected by the estimated difference of
//! the clocks, where that is more than its own error; what comes out before it began is counted as impossible.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use senza_core::Micros;

/// Latencies above are recorded as this, microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Decimal digits that a recorded latency keeps.
const DIGITS: u8 = 2;
/// Readings looked at per frame that is sent and per batch that a reader takes; each stands for as many as there are to
/// one of them.
pub const SAMPLES: usize = 64;
/// Exchanges that an offset is chosen from.
const EXCHANGES: usize = 8;

/// A part of a reading's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// From the device's time to the owner's table: the device's clock and its queue are in it.
    Source,
    /// From the owner's table until a frame to another node was sent.
    Owner,
    /// From the owner's sending until the frame was taken in.
    Link,
    /// In the queue of a reader.
    Queue,
    /// From the table to a reader on the same node.
    Local,
    /// From the owner's table to a reader on another node.
    Remote,
}

impl Hop {
    /// Its name, for people and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Owner => "owner",
            Self::Link => "link",
            Self::Queue => "queue",
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// Latencies of one hop, microseconds. 27 kB.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    impossible: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("bounds and digits that it allows");
        Self { histogram, impossible: 0 }
    }
}

impl Latency {
    /// Records that so many readings took so long, as measured by clocks that may differ by `error`. Less than nothing
    /// beyond that error is counted as impossible; within it, as nothing. No allocation.
    pub fn record(&mut self, micros: Micros, error: Micros, count: u64) {
        if micros < -error {
            self.impossible += count;
        } else {
            self.histogram.saturating_record_n(micros.max(0).unsigned_abs(), count);
        }
    }

    /// What was recorded.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Readings that arrived before they were sent, by the clocks and what is known of their difference.
    pub fn impossible(&self) -> u64 {
        self.impossible
    }
}

/// By how much another node's time of day differs from ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    /// Its clock less ours, microseconds.
    pub micros: Micros,
    /// The estimate is off by so much at most: half of what the exchange took on its way.
    pub error: Micros,
}

impl ClockOffset {
    /// A time of the other's as one of ours, and how far off that may be. Clocks that may be equal are taken as equal:
    /// the network below may be better at setting them than an estimate is.
    pub fn ours(self, theirs: Micros) -> (Micros, Micros) {
        let differs = self.micros.saturating_abs() > self.error;
        (if differs { theirs.saturating_sub(self.micros) } else { theirs }, self.error)
    }
}

/// Estimates an offset from the last exchanges of beacons: the one that was shortest on its way is off least, as the
/// clock filter of NTP has it (RFC 5905, section 10).
#[derive(Clone, Debug, Default)]
pub struct OffsetFilter {
    /// How long an exchange was on its way, both ways together, and the offset that it shows.
    exchanges: VecDeque<(Micros, Micros)>,
}

impl OffsetFilter {
    /// Takes one exchange: what we sent at `sent` was with the other for `held` microseconds; the other's answer left at
    /// `answered`, by its own clock, and came at `came`. Answers the best estimate.
    pub fn exchange(&mut self, sent: Micros, held: Micros, answered: Micros, came: Micros) -> Option<ClockOffset> {
        let way = came.saturating_sub(sent).saturating_sub(held);
        if way < 0 {
            // A clock was set meanwhile: what was known before says nothing any more.
            self.exchanges.clear();
            return None;
        }
        let arrived = answered.saturating_sub(held);
        let offset = arrived.saturating_sub(sent).saturating_add(answered.saturating_sub(came)) / 2;
        if self.exchanges.len() >= EXCHANGES {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back((way, offset));
        self.exchanges.iter().min().map(|(way, offset)| ClockOffset { micros: *offset, error: way / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_found_whatever_the_others_held_and_is_within_its_error() {
        // The other is 5 s ahead; the way there takes 300, back 100, and it held ours for 40,000.
        let offset = 5_000_000;
        let mut filter = OffsetFilter::default();
        let came = 1_000 + 300 + 40_000 + 100;
        let answered = 1_000 + 300 + 40_000 + offset;
        let found = filter.exchange(1_000, 40_000, answered, came).unwrap();
        assert_eq!(found.error, 200);
        assert!((found.micros - offset).abs() <= found.error, "{found:?}");
        assert_eq!(found.ours(answered).0, answered - found.micros);
        // A worse exchange later does not spoil it, a better one mends it.
        let worse = filter.exchange(2_000, 0, 2_000 + 9_000 + offset, 2_000 + 9_100).unwrap();
        assert_eq!(worse, found);
        let better = filter.exchange(3_000, 0, 3_000 + 10 + offset, 3_000 + 20).unwrap();
        assert_eq!(better, ClockOffset { micros: offset, error: 10 });
    }

    #[test]
    fn clocks_that_may_be_equal_are_taken_as_equal() {
        assert_eq!(ClockOffset { micros: 90, error: 100 }.ours(7), (7, 100));
        assert_eq!(ClockOffset { micros: -110, error: 100 }.ours(7), (117, 100));
    }

    #[test]
    fn a_clock_that_was_set_voids_what_was_known() {
        let mut filter = OffsetFilter::default();
        assert!(filter.exchange(1_000, 0, 1_010, 1_020).is_some());
        assert_eq!(filter.exchange(5_000, 100, 1_000, 900), None);
        let after = filter.exchange(1_000, 0, 9_010, 1_020).unwrap();
        assert_eq!((after.micros, after.error), (8_000, 10));
    }

    #[test]
    fn what_cannot_be_is_counted_and_not_hidden() {
        let mut latency = Latency::default();
        latency.record(-500, 100, 3);
        latency.record(-50, 100, 2);
        latency.record(7, 100, 5);
        latency.record(i64::MAX, 0, 1);
        assert_eq!((latency.impossible(), latency.histogram().len()), (3, 8));
        assert!(latency.histogram().max() >= LATENCY_MAX_US);
    }
}

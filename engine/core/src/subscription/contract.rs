//! What a subscription asks for beside its filter, and the account it keeps.

use crate::error::{Error, Result};
use crate::reading::{GapReason, Micros};

/// Smallest and largest queue bound, in readings.
pub const QUEUE_RANGE: std::ops::RangeInclusive<usize> = 1..=16_777_216;
/// Longest heartbeat and longest wait of a writer, microseconds: an hour.
pub const TIME_MAX: Micros = 3_600_000_000;
/// Slowest and fastest rate, in readings of one series per second.
pub const RATE_RANGE: std::ops::RangeInclusive<f64> = 0.001..=100_000.0;
/// Most readings of one series that a start may ask for.
pub const START_LAST_MAX: usize = 100_000;

/// How often a series' readings are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// Every reading.
    #[default]
    Every,
    /// The newest reading of each series that the reader has not taken yet; older ones are conflated.
    Latest,
    /// At most one reading of each series in so many microseconds: the newest, when its time has come.
    Interval(u32),
}

/// Which changes of a number are too small to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Deadband {
    /// None.
    #[default]
    None,
    /// Those of at most so much from the last number delivered.
    Absolute(f64),
    /// Those of at most so many percent of the last number delivered.
    Percent(f64),
}

/// What is wanted of one series: the part of a contract that its owner can already keep.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Want {
    /// How often.
    pub pace: Pace,
    /// What is left out.
    pub deadband: Deadband,
    /// Where readings were left out by the deadband, the newest is delivered all the same after so many microseconds
    /// without a delivery; 0: never.
    pub heartbeat_us: u32,
}

impl Want {
    /// Every reading.
    pub const EVERY: Self = Self { pace: Pace::Every, deadband: Deadband::None, heartbeat_us: 0 };

    /// Whether every reading is wanted.
    pub fn is_every(&self) -> bool {
        self.pace == Pace::Every && self.deadband == Deadband::None
    }

    /// Whether readings may be held back until they are due.
    pub fn may_hold_back(&self) -> bool {
        matches!(self.pace, Pace::Interval(_)) || (self.heartbeat_us > 0 && self.deadband != Deadband::None)
    }

    /// The least that satisfies both.
    pub fn join(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let pace = match (self.pace, other.pace) {
            (Pace::Interval(a), Pace::Interval(b)) => Pace::Interval(a.min(b)),
            (a, b) if a == b => a,
            (Pace::Every, _) | (_, Pace::Every) => Pace::Every,
            // As fast as the reader takes them, but not all: the link's own queue conflates.
            _ => Pace::Latest,
        };
        let deadband = if self.deadband == other.deadband { self.deadband } else { Deadband::None };
        let heartbeat_us = match (self.heartbeat_us, other.heartbeat_us) {
            (0, beat) | (beat, 0) => beat,
            (a, b) => a.min(b),
        };
        Self { pace, deadband, heartbeat_us }
    }
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest reading gives way to the new one.
    #[default]
    DropOldest,
    /// The new reading is not taken.
    DropNewest,
    /// The new reading takes the place of its series' one that waits; where none waits, the oldest gives way.
    Conflate,
    /// Writers who can wait (`put_wait`) do, at most so many microseconds; for others the new reading is not taken.
    Block {
        /// Longest wait, microseconds.
        wait_us: u32,
    },
    /// The subscription ends, and its reader sees that.
    Close,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next reading.
    #[default]
    Live,
    /// With the latest reading of every series, then live, without a gap or a duplicate between.
    Latest,
    /// With the newest so many readings of every series that are kept, of another node's 4,096 at most, then live,
    /// without a gap or a duplicate between. What is live waits until the owner's answer is here. Sensors of nodes that
    /// come later begin with the latest.
    Last(u32),
    /// With the readings of every series that are kept since then, microseconds since 1970, of another node's the
    /// newest 4,096 at most; else the same.
    Since(Micros),
}

/// What a subscription asks for beside its filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contract {
    /// What is delivered of each series.
    pub want: Want,
    /// What a full queue does.
    pub overflow: Overflow,
    /// Most queued readings, within [`QUEUE_RANGE`].
    pub queue_max: usize,
    /// Where it begins.
    pub start: Start,
    /// Why readings dropped here are gone, as its reader is told.
    pub reason: GapReason,
}

impl Default for Contract {
    fn default() -> Self {
        Self {
            want: Want::EVERY,
            overflow: Overflow::DropOldest,
            queue_max: 65_536,
            start: Start::Live,
            reason: GapReason::Overflow,
        }
    }
}

impl Contract {
    /// Holds every field to its range.
    ///
    /// # Errors
    /// [`Error::Contract`] names the field, its value and the range.
    pub fn check(&self) -> Result<()> {
        let refuse = |field, value: String, rule| Err(Error::Contract { field, value, rule });
        if !QUEUE_RANGE.contains(&self.queue_max) {
            return refuse("queue_max", self.queue_max.to_string(), "must be 1 to 16777216 readings");
        }
        self.want.check()?;
        match (self.overflow, self.start) {
            (Overflow::Block { wait_us }, _) if i64::from(wait_us) > TIME_MAX => {
                refuse("overflow.block", wait_us.to_string(), "must be at most an hour in microseconds")
            }
            (_, Start::Last(last)) if last as usize > START_LAST_MAX || last == 0 => {
                refuse("start.last", last.to_string(), "must be 1 to 100000 readings")
            }
            _ => Ok(()),
        }
    }

    /// The contract that will be kept: a pace that cannot overflow keeps no more than its series.
    pub fn revised(self) -> Self {
        let heartbeat_us = if self.want.deadband == Deadband::None { 0 } else { self.want.heartbeat_us };
        Self { want: Want { heartbeat_us, ..self.want }, ..self }
    }
}

impl Want {
    /// Holds every field to its range.
    ///
    /// # Errors
    /// As [`Contract::check`].
    pub fn check(&self) -> Result<()> {
        let refuse = |field, value: String, rule| Err(Error::Contract { field, value, rule });
        if let Pace::Interval(interval) = self.pace
            && !RATE_RANGE.contains(&(1e6 / f64::from(interval.max(1))))
        {
            return refuse("pace.interval", interval.to_string(), "must be 10 to 1000000000 microseconds");
        }
        match self.deadband {
            Deadband::Absolute(width) if !(width.is_finite() && width >= 0.0) => {
                return refuse("deadband.absolute", width.to_string(), "must be a finite number, at least 0");
            }
            Deadband::Percent(percent) if !(0.0..=100.0).contains(&percent) => {
                return refuse("deadband.percent", percent.to_string(), "must be 0 to 100");
            }
            _ => {}
        }
        if i64::from(self.heartbeat_us) > TIME_MAX {
            return refuse("heartbeat", self.heartbeat_us.to_string(), "must be at most an hour in microseconds");
        }
        Ok(())
    }
}

/// What became of every reading offered: `offered = delivered + conflated + filtered + dropped + queued`, exactly, at any
/// time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Readings that matched.
    pub offered: u64,
    /// Readings that the reader took.
    pub delivered: u64,
    /// Readings that gave way to a newer one of their series, by contract.
    pub conflated: u64,
    /// Readings that changed too little, by contract.
    pub filtered: u64,
    /// Readings that overflowed, each inside a told gap.
    pub dropped: u64,
    /// Readings waiting.
    pub queued: u64,
}

impl Ledger {
    /// Whether it adds up.
    pub fn is_exact(&self) -> bool {
        self.offered == self.delivered + self.conflated + self.filtered + self.dropped + self.queued
    }
}

//! What a subscription asks for beside its filter, and the account it keeps.

use senza::{Contract, Deadband, Ledger, Overflow, Pace, Start, Want};

use crate::error::{Outcome, refuse, senza_code};

/// How often a series' readings are delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_pace {
    /// Every reading.
    SENZA_EVERY = 0,
    /// The newest reading of each series that was not taken yet; older ones are conflated.
    SENZA_LATEST = 1,
    /// At most one reading of each series in `interval_us`: the newest, when its time has come.
    SENZA_INTERVAL = 2,
}

/// Which changes of a number are too small to be delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_deadband {
    /// None.
    SENZA_NO_DEADBAND = 0,
    /// Those of at most `deadband_width` from the last number delivered.
    SENZA_ABSOLUTE = 1,
    /// Those of at most `deadband_width` percent of the last number delivered.
    SENZA_PERCENT = 2,
}

/// What a full queue does.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_overflow {
    /// The oldest reading gives way to the new one.
    SENZA_DROP_OLDEST = 0,
    /// The new reading is not taken.
    SENZA_DROP_NEWEST = 1,
    /// The new reading takes the place of its series' one that waits; where none waits, the oldest gives way.
    SENZA_CONFLATE = 2,
    /// Writers who can wait (senza_sensor_put_wait()) do, at most `block_us`; for others the new reading is not taken.
    SENZA_BLOCK = 3,
    /// The subscription ends.
    SENZA_CLOSE = 4,
}

/// Where a subscription begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_start {
    /// With the next reading.
    SENZA_START_LIVE = 0,
    /// With the latest reading of every series, then live, without a gap or a duplicate between.
    SENZA_START_LATEST = 1,
    /// With the newest `start_last` readings of every series that are kept, then live; of another node's series with
    /// 4,096 at most.
    SENZA_START_LAST = 2,
    /// With the readings of every series that are kept since `start_since_us`, then live; of another node's series with
    /// the newest 4,096 at most.
    SENZA_START_SINCE = 3,
}

/// What is wanted of one series.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_want {
    /// A senza_pace.
    pub pace: u32,
    /// Of SENZA_INTERVAL: 10 to 1,000,000,000 microseconds.
    pub interval_us: u32,
    /// A senza_deadband.
    pub deadband: u32,
    /// Where readings were left out by the deadband, the newest is delivered all the same after so many microseconds;
    /// 0: never. At most an hour.
    pub heartbeat_us: u32,
    /// Of SENZA_ABSOLUTE, at least 0; of SENZA_PERCENT, 0 to 100.
    pub deadband_width: f64,
}

/// What a subscription asks for. All zeros (SENZA_ZERO) is every reading, live, in a queue of 65,536 whose oldest give
/// way. A contract out of its range is refused with the field and the range, not adjusted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_contract {
    /// What is delivered of each series.
    pub want: senza_want,
    /// A senza_overflow.
    pub overflow: u32,
    /// Of SENZA_BLOCK: the longest wait of a writer, at most an hour.
    pub block_us: u32,
    /// Most queued readings, 1 to 16,777,216; 0 is 65,536.
    pub queue_max: u64,
    /// A senza_start.
    pub start: u32,
    /// Of SENZA_START_LAST: 1 to 100,000 readings.
    pub start_last: u32,
    /// Of SENZA_START_SINCE: microseconds since 1970.
    pub start_since_us: i64,
}

/// What became of every reading offered: offered = delivered + conflated + filtered + dropped + queued, exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_ledger {
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

fn unknown<T>(field: &str, value: u32) -> Outcome<T> {
    Err(refuse(senza_code::SENZA_ARGUMENT, format!("contract: {field} = {value}: does not exist")))
}

impl senza_want {
    /// The want for C.
    pub(crate) fn of(want: Want) -> Self {
        let (pace, interval_us) = match want.pace {
            Pace::Every => (senza_pace::SENZA_EVERY, 0),
            Pace::Latest => (senza_pace::SENZA_LATEST, 0),
            Pace::Interval(interval_us) => (senza_pace::SENZA_INTERVAL, interval_us),
        };
        let (deadband, deadband_width) = match want.deadband {
            Deadband::None => (senza_deadband::SENZA_NO_DEADBAND, 0.0),
            Deadband::Absolute(width) => (senza_deadband::SENZA_ABSOLUTE, width),
            Deadband::Percent(width) => (senza_deadband::SENZA_PERCENT, width),
        };
        let (pace, deadband, heartbeat_us) = (pace as u32, deadband as u32, want.heartbeat_us);
        Self { pace, interval_us, deadband, heartbeat_us, deadband_width }
    }

    fn want(&self) -> Outcome<Want> {
        let pace = match self.pace {
            0 => Pace::Every,
            1 => Pace::Latest,
            2 => Pace::Interval(self.interval_us),
            other => return unknown("want.pace", other),
        };
        let deadband = match self.deadband {
            0 => Deadband::None,
            1 => Deadband::Absolute(self.deadband_width),
            2 => Deadband::Percent(self.deadband_width),
            other => return unknown("want.deadband", other),
        };
        Ok(Want { pace, deadband, heartbeat_us: self.heartbeat_us })
    }
}

impl senza_contract {
    /// The engine's contract, held to its ranges.
    pub(crate) fn contract(&self) -> Outcome<Contract> {
        let overflow = match self.overflow {
            0 => Overflow::DropOldest,
            1 => Overflow::DropNewest,
            2 => Overflow::Conflate,
            3 => Overflow::Block { wait_us: self.block_us },
            4 => Overflow::Close,
            other => return unknown("overflow", other),
        };
        let start = match self.start {
            0 => Start::Live,
            1 => Start::Latest,
            2 => Start::Last(self.start_last),
            3 => Start::Since(self.start_since_us),
            other => return unknown("start", other),
        };
        let mut contract = Contract { want: self.want.want()?, overflow, start, ..Contract::default() };
        if self.queue_max != 0 {
            contract.queue_max = usize::try_from(self.queue_max).unwrap_or(usize::MAX);
        }
        contract.check()?;
        Ok(contract)
    }

    /// The contract for C.
    pub(crate) fn of(contract: &Contract) -> Self {
        let (overflow, block_us) = match contract.overflow {
            Overflow::DropOldest => (senza_overflow::SENZA_DROP_OLDEST, 0),
            Overflow::DropNewest => (senza_overflow::SENZA_DROP_NEWEST, 0),
            Overflow::Conflate => (senza_overflow::SENZA_CONFLATE, 0),
            Overflow::Block { wait_us } => (senza_overflow::SENZA_BLOCK, wait_us),
            Overflow::Close => (senza_overflow::SENZA_CLOSE, 0),
        };
        let (start, start_last, start_since_us) = match contract.start {
            Start::Live => (senza_start::SENZA_START_LIVE, 0, 0),
            Start::Latest => (senza_start::SENZA_START_LATEST, 0, 0),
            Start::Last(last) => (senza_start::SENZA_START_LAST, last, 0),
            Start::Since(since) => (senza_start::SENZA_START_SINCE, 0, since),
        };
        Self {
            want: senza_want::of(contract.want),
            overflow: overflow as u32,
            block_us,
            queue_max: contract.queue_max as u64,
            start: start as u32,
            start_last,
            start_since_us,
        }
    }
}

impl From<Ledger> for senza_ledger {
    fn from(ledger: Ledger) -> Self {
        let Ledger { offered, delivered, conflated, filtered, dropped, queued } = ledger;
        Self { offered, delivered, conflated, filtered, dropped, queued }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_comes_back_as_it_went() {
        let deadbands = [Deadband::None, Deadband::Absolute(0.5), Deadband::Percent(3.0)];
        let paces = [Pace::Every, Pace::Latest, Pace::Interval(1000)];
        for (pace, deadband) in paces.into_iter().zip(deadbands) {
            for overflow in [Overflow::DropNewest, Overflow::Conflate, Overflow::Block { wait_us: 7 }, Overflow::Close]
            {
                for start in [Start::Live, Start::Latest, Start::Last(9), Start::Since(-1)] {
                    let want = Want { pace, deadband, heartbeat_us: 5 };
                    let contract = Contract { want, overflow, start, queue_max: 12, ..Contract::default() };
                    assert_eq!(senza_contract::of(&contract).contract().unwrap(), contract);
                }
            }
        }
    }
}

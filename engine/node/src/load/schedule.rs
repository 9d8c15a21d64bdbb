//! When readings are due: the schedule of an open loop, which nothing but time decides.

use senza_core::Micros;

/// How many readings per second are offered, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// Open loop: so many, whatever becomes of them.
    PerSecond(u64),
    /// Closed loop: each put begins when the one before has returned.
    Max,
}

impl Rate {
    /// A rate like 2000, 2k, 1.5M; `0` or `max` for as fast as it goes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no rate like 2000, 2k, 1.5M or max");
        if text == "max" {
            return Ok(Rate::Max);
        }
        let (number, scale) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 1e6),
            _ => (text, 1.0),
        };
        let rate = number.parse::<f64>().map_err(|_| refuse())? * scale;
        match rate {
            0.0 => Ok(Rate::Max),
            1.0..=1e9 => Ok(Rate::PerSecond(rate.round() as u64)),
            _ => Err(format!("{text:?}: 1 to 1000M readings per second, or max")),
        }
    }
}

impl std::fmt::Display for Rate {
    /// As [`Rate::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}"),
            Rate::Max => write!(f, "max"),
        }
    }
}

/// The due times of one span of readings at a constant rate, put together in batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Readings per second.
    rate: u64,
    /// Readings put together; the last batch may be smaller.
    batch: u64,
    /// Readings in all.
    pub(super) readings: u64,
}

impl Schedule {
    /// As many readings as fall into so many microseconds, at least one.
    pub(super) fn new(rate: u64, batch: u64, length_us: Micros) -> Self {
        let readings = u128::from(rate) * u128::from(length_us.unsigned_abs()) / 1_000_000;
        Self { rate, batch, readings: u64::try_from(readings).unwrap_or(u64::MAX).max(1) }
    }

    /// When a reading, counted from 0, is due: microseconds from the start.
    fn due_us(&self, reading: u64) -> Micros {
        let micros = u128::from(reading) * 1_000_000 / u128::from(self.rate);
        Micros::try_from(micros).unwrap_or(Micros::MAX / 2)
    }

    /// The batch that begins with a reading: how many readings, and when it is due, microseconds from the start. It is
    /// due when its last reading is: nobody can put together what is not there yet.
    pub(super) fn batch(&self, first: u64) -> (u64, Micros) {
        let count = self.batch.min(self.readings - first);
        (count, self.due_us(first + count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_has_its_own_time() {
        let schedule = Schedule::new(2_000, 1, 1_000_000);
        assert_eq!(schedule.readings, 2_000);
        assert_eq!([0, 1, 2, 1_999].map(|first| schedule.batch(first)), [(1, 0), (1, 500), (1, 1_000), (1, 999_500)]);
        // A rate that no microsecond divides does not drift: each time is rounded by itself.
        let thirds = Schedule::new(3, 1, 10_000_000);
        assert_eq!([1, 2, 3, 29].map(|first| thirds.batch(first).1), [333_333, 666_666, 1_000_000, 9_666_666]);
    }

    #[test]
    fn a_batch_is_due_with_its_last_reading() {
        let schedule = Schedule::new(1_000, 4, 10_000);
        assert_eq!(schedule.readings, 10);
        assert_eq!([0, 4, 8].map(|first| schedule.batch(first)), [(4, 3_000), (4, 7_000), (2, 9_000)]);
        assert_eq!(Schedule::new(1, 1, 10_000).readings, 1, "something is always offered");
    }

    #[test]
    fn rates_read_as_people_write_them() {
        let rates = ["2000", "2k", "1.5M", "0", "max"].map(|text| Rate::parse(text).unwrap());
        let per_second = |rate| Rate::PerSecond(rate);
        assert_eq!(rates, [per_second(2_000), per_second(2_000), per_second(1_500_000), Rate::Max, Rate::Max]);
        for bad in ["", "k", "-1", "0.1", "fast", "2G", "inf", "NaN"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}

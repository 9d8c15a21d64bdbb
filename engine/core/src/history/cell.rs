//! One reading of the past in 16 bytes: its value in full, its times and number as steps to the next reading.
//!
//! ```text
//!  value   64 bits   f64 bits, i64, 0 or 1; of a spilled sample its place
//!  kind     3 bits   f64, i64, bool, or spilled
//!  step    33 bits   next source time − this one, 0 to 2.4 hours, µs
//!  jitter  28 bits   (next received − this one) − step, ± 134 s, µs
//!  number            the one before the next
//! ```
//!
//! What does not fit so, in whole and exactly, is spilled: kept as a [`Sample`] aside, and the cell says where. Steps
//! wrap at 64 bits both ways, so that no pair of times is out of reach of the check for what fits.

use crate::history::Sample;
use crate::reading::{Micros, Seq, Value};

/// What a cell or a history's newest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Empty,
    F64,
    I64,
    Bool,
    /// The place of a sample kept aside.
    Spilled,
}

/// Times and number of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) source_time: Micros,
    pub(crate) received_time: Micros,
    pub(crate) seq: Seq,
}

/// See the file's header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) value: u64,
    steps: u64,
}

const KIND_BITS: u32 = 3;
const STEP_BITS: u32 = 33;
const JITTER_BITS: u32 = 64 - KIND_BITS - STEP_BITS;

impl Kind {
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        match bits & ((1 << KIND_BITS) - 1) {
            0 => Kind::Empty,
            1 => Kind::F64,
            2 => Kind::I64,
            3 => Kind::Bool,
            _ => Kind::Spilled,
        }
    }

    /// Kind and bits of a value that fits a word.
    #[inline]
    pub(crate) fn of(value: &Value) -> Option<(Self, u64)> {
        match value {
            Value::F64(value) => Some((Kind::F64, value.to_bits())),
            Value::I64(value) => Some((Kind::I64, value.cast_unsigned())),
            Value::Bool(value) => Some((Kind::Bool, u64::from(*value))),
            _ => None,
        }
    }

    /// The value that [`of`](Self::of) took apart.
    pub(crate) fn value(self, bits: u64) -> Value {
        match self {
            Kind::F64 => Value::F64(f64::from_bits(bits)),
            Kind::I64 => Value::I64(bits.cast_signed()),
            _ => Value::Bool(bits != 0),
        }
    }
}

impl Moment {
    pub(crate) fn of(sample: &Sample) -> Self {
        Self { source_time: sample.source_time, received_time: sample.received_time, seq: sample.seq }
    }
}

impl Cell {
    /// The cell of a plain value read at `this`, where it fits before `next`.
    #[inline]
    pub(crate) fn plain(kind: Kind, value: u64, this: &Moment, next: &Moment) -> Option<Self> {
        Self::of_bits(kind as u64, value, this, next)
    }

    /// [`plain`](Self::plain) with the kind as its number.
    #[inline]
    pub(crate) fn of_bits(kind: u64, value: u64, this: &Moment, next: &Moment) -> Option<Self> {
        let step = next.source_time.wrapping_sub(this.source_time).cast_unsigned();
        let lag = next.received_time.wrapping_sub(this.received_time).cast_unsigned();
        let jitter = lag.wrapping_sub(step).wrapping_add(1 << (JITTER_BITS - 1));
        let fits = (step >> STEP_BITS) | (jitter >> JITTER_BITS) == 0 && next.seq == this.seq.wrapping_add(1);
        fits.then_some(Self { value, steps: kind | (step << KIND_BITS) | (jitter << (KIND_BITS + STEP_BITS)) })
    }

    /// The cell of a sample that is kept aside.
    pub(crate) fn spilled(place: u32) -> Self {
        Self { value: u64::from(place), steps: Kind::Spilled as u64 }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::from_bits(self.steps)
    }

    /// When a cell that is not spilled was read, from the moment of the one after it.
    pub(crate) fn moment(self, next: &Moment) -> Moment {
        let step = (self.steps >> KIND_BITS) & ((1 << STEP_BITS) - 1);
        let jitter = (self.steps >> (KIND_BITS + STEP_BITS)).wrapping_sub(1 << (JITTER_BITS - 1));
        Moment {
            source_time: next.source_time.wrapping_sub(step.cast_signed()),
            received_time: next.received_time.wrapping_sub(step.wrapping_add(jitter).cast_signed()),
            seq: next.seq.wrapping_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Times near each other, at the edges of what fits, and anywhere.
    fn time() -> impl Strategy<Value = Micros> {
        let edge = (1i64 << 33) - 2..(1 << 33) + 2;
        prop_oneof![0i64..1000, edge, (1i64 << 27) - 2..(1 << 27) + 2, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn what_fits_comes_back_exactly(source in time(), received in time(), step in time(), lag in time(), bits: u64) {
            let this = Moment { source_time: source, received_time: received, seq: 6 };
            let next = Moment {
                source_time: source.saturating_add(step.max(0)),
                received_time: received.saturating_add(lag),
                seq: 7,
            };
            let (step, lag) = (
                i128::from(next.source_time) - i128::from(source),
                i128::from(next.received_time) - i128::from(received),
            );
            let fits = step < 1 << 33 && (-(1 << 27)..1 << 27).contains(&(lag - step));
            let cell = Cell::plain(Kind::F64, bits, &this, &next);
            prop_assert_eq!(cell.is_some(), fits);
            if let Some(cell) = cell {
                prop_assert_eq!((cell.kind(), cell.value, cell.moment(&next)), (Kind::F64, bits, this));
            }
            let after_a_gap = Moment { seq: 8, ..next };
            prop_assert!(Cell::plain(Kind::I64, bits, &this, &after_a_gap).is_none());
        }
    }
}

//! The readings kept of one attribute: a short bounded ring ordered by source time; its newest is *latest*.
//!
//! Plain values: no lock, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::reading::{Micros, Reading, Seq, Series, Value};

/// A reading without its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was read.
    pub value: Value,
    /// When, as the device says.
    pub source_time: Micros,
    /// When the owner took it.
    pub received_time: Micros,
    /// Its number in the series.
    pub seq: Seq,
}

impl Sample {
    /// The reading that it is in its series. One reference count, and one more for values that are not plain.
    pub fn reading(&self, series: &Arc<Series>) -> Reading {
        Reading {
            series: series.clone(),
            value: self.value.clone(),
            source_time: self.source_time,
            received_time: self.received_time,
            seq: self.seq,
        }
    }
}

/// A ring of samples in order of (source time, seq). Allocates only while it grows towards its bound.
#[derive(Debug, Default)]
pub struct History {
    ring: VecDeque<Sample>,
}

impl History {
    /// Files a sample at its source time and evicts the oldest beyond `bound`. A sample older than all of a full
    /// ring is not kept. O(1) for samples that come in order, O(how late) for late ones.
    pub fn insert(&mut self, sample: Sample, bound: usize) {
        let late_by = self
            .ring
            .iter()
            .rev()
            .take_while(|kept| (kept.source_time, kept.seq) > (sample.source_time, sample.seq))
            .count();
        let at = self.ring.len() - late_by;
        if self.ring.len() >= bound.max(1) {
            if at == 0 {
                return;
            }
            self.ring.pop_front();
            self.ring.insert(at - 1, sample);
        } else {
            self.ring.insert(at, sample);
        }
    }

    /// The newest by source time, ties by seq.
    pub fn latest(&self) -> Option<&Sample> {
        self.ring.back()
    }

    /// The newest `last` samples whose source time is within `from..=to`, oldest first.
    pub fn range(&self, from: Micros, to: Micros, last: usize) -> impl Iterator<Item = &Sample> {
        let start = self.ring.partition_point(|sample| sample.source_time < from);
        let end = self.ring.partition_point(|sample| sample.source_time <= to).max(start);
        self.ring.range(start.max(end.saturating_sub(last))..end)
    }

    /// How many samples are kept.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing was kept yet.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(source_time: Micros, seq: Seq) -> Sample {
        Sample { value: Value::I64(source_time), source_time, received_time: 0, seq }
    }

    proptest! {
        #[test]
        fn keeps_the_newest_in_order(times in prop::collection::vec(0i64..40, 1..60), bound in 1usize..12) {
            let mut history = History::default();
            let mut model: Vec<(Micros, Seq)> = Vec::new();
            for (index, time) in times.iter().enumerate() {
                let seq = index as Seq + 1;
                history.insert(sample(*time, seq), bound);
                model.push((*time, seq));
                model.sort_unstable();
                if model.len() > bound {
                    model.remove(0);
                }
            }
            let kept: Vec<_> = history.range(Micros::MIN, Micros::MAX, usize::MAX).map(|s| (s.source_time, s.seq)).collect();
            prop_assert_eq!(&kept, &model);
            prop_assert_eq!(history.latest().map(|s| s.seq), model.last().map(|m| m.1));
            let some: Vec<_> = history.range(10, 20, 3).map(|s| s.source_time).collect();
            let mut expected: Vec<_> = model.iter().map(|m| m.0).filter(|t| (10..=20).contains(t)).collect();
            expected.drain(..expected.len().saturating_sub(3));
            prop_assert_eq!(some, expected);
        }
    }
}

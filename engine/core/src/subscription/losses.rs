//! What a queue lost and has not told yet: one gap per series, in the order of their first loss, and the ends that come
//! after them.

use std::collections::{BTreeMap, VecDeque};

use crate::row::Row;

/// Gaps, removed ones included, that are not worth to be compacted.
const COMPACT_MIN: usize = 64;

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct Losses {
    gaps: Vec<Option<Row>>,
    /// How many of them still stand.
    standing: usize,
    /// By series' number, which are dense: the place of its gap, and one; 0 where it has none.
    places: Vec<u32>,
    ends: BTreeMap<u32, Row>,
}

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.standing == 0 && self.ends.is_empty()
    }

    /// How many ends are kept.
    pub(super) fn ends(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn holds(&self, series: u32) -> bool {
        self.place(series).is_some() || self.ends.contains_key(&series)
    }

    /// Joins a loss to what its series lost already; keeps an end.
    pub(super) fn add(&mut self, gap: Row) {
        if !gap.is_gap() {
            self.ends.insert(gap.series, gap);
            return;
        }
        if let Some(Some(known)) = self.place(gap.series).and_then(|at| self.gaps.get_mut(at)) {
            known.seq = known.seq.min(gap.seq);
            known.slot = known.slot.max(gap.slot);
            return;
        }
        if self.gaps.len() >= (2 * self.standing).max(COMPACT_MIN) {
            self.compact();
        }
        let series = gap.series as usize;
        if series >= self.places.len() {
            self.places.resize(series + 1, 0);
        }
        self.gaps.push(Some(gap));
        self.places[series] = self.gaps.len() as u32;
        self.standing += 1;
    }

    pub(super) fn remove(&mut self, series: u32) -> Option<Row> {
        let at = self.place(series)?;
        self.places[series as usize] = 0;
        let gap = self.gaps[at].take();
        self.standing -= 1;
        if self.standing == 0 {
            self.gaps.clear();
        }
        gap
    }

    pub(super) fn drain(&mut self, out: &mut VecDeque<Row>) {
        for gap in self.gaps.drain(..).flatten() {
            self.places[gap.series as usize] = 0;
            out.push_back(gap);
        }
        self.standing = 0;
        out.extend(std::mem::take(&mut self.ends).into_values());
    }

    /// Drops the places of removed gaps: some may stand for as long as their series is silent.
    fn compact(&mut self) {
        self.gaps.retain(Option::is_some);
        for (at, gap) in (1..).zip(self.gaps.iter().flatten()) {
            self.places[gap.series as usize] = at;
        }
    }

    fn place(&self, series: u32) -> Option<usize> {
        self.places.get(series as usize).and_then(|place| place.checked_sub(1)).map(|at| at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::GapReason;

    #[test]
    fn a_loss_that_stands_for_long_keeps_no_others() {
        let mut losses = Losses::default();
        let gap = |series, seq| Row::gap(series, seq, seq, GapReason::Overflow);
        losses.add(gap(0, 1));
        for seq in 1..10_000 {
            losses.add(gap(1 + seq as u32 % 7, seq));
            losses.add(gap(1 + seq as u32 % 7, seq + 1));
            let removed = losses.remove(1 + seq as u32 % 7).unwrap();
            assert_eq!((removed.seq, removed.slot), (seq, seq + 1));
            assert!(losses.gaps.len() <= COMPACT_MIN + 1, "{}", losses.gaps.len());
        }
        let mut out = VecDeque::new();
        losses.drain(&mut out);
        assert_eq!((out.len(), out[0].series, losses.is_empty(), losses.holds(0)), (1, 0, true, false));
    }
}

//! What a queue knows while its start is copied: which series began, and what came too early of the others.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::reading::{Micros, Seq, Value};
use crate::row::Row;

/// Live rows, gaps and the end of one series, in order, with the values beside them.
pub(super) type Early = Vec<(Row, Option<Value>)>;

/// While the start is copied. A series begins with its start; what comes of it live before that is kept back, since the
/// start will hold it as well.
#[derive(Debug, Default)]
pub(super) struct Starting {
    begun: HashSet<u32, RandomState>,
    /// Of series that have not begun; in order, so that one seed is one run.
    early: BTreeMap<u32, Early>,
    /// How many are in there.
    count: usize,
    /// When the last of them came.
    pub(super) now: Micros,
}

impl Starting {
    /// Whether what comes of a series live is to be kept back.
    pub(super) fn is_early(&self, series: u32) -> bool {
        !self.begun.contains(&series)
    }

    /// Keeps one row or gap back. Answers how many are kept.
    pub(super) fn keep(&mut self, row: Row, value: Option<Value>) -> usize {
        self.early.entry(row.series).or_default().push((row, value));
        self.count += 1;
        self.count
    }

    /// Begins a series with a start up to `position`, unless it began; what was kept back of it and is not in the start.
    pub(super) fn begin(&mut self, series: u32, position: Seq) -> Option<Early> {
        if !self.begun.insert(series) {
            return None;
        }
        let mut early = self.early.remove(&series).unwrap_or_default();
        self.count -= early.len();
        let is_held =
            |row: &Row| row.end_reason().is_none() && position >= if row.is_gap() { row.slot } else { row.seq };
        early.retain(|(row, _)| !is_held(row));
        // Of a gap the start may hold a part.
        let gaps = early.iter_mut().filter(|(row, _)| row.is_gap());
        gaps.for_each(|(row, _)| row.seq = row.seq.max(position + 1));
        Some(early)
    }

    /// Forgets that a series began: another may have its number next.
    pub(super) fn end(&mut self, series: u32) {
        self.begun.remove(&series);
    }

    /// Begins all series of which something was kept back; answers that.
    pub(super) fn begin_early(&mut self) -> Early {
        self.count = 0;
        self.begun.extend(self.early.keys());
        std::mem::take(&mut self.early).into_values().flatten().collect()
    }
}

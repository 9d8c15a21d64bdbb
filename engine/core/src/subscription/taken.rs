//! What a reader took from a queue: rows, the values beside them, and the series behind their numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::reading::{Delivery, End, Gap, Micros, Reading, Seq, Series, Value};
use crate::row::{self, Row};

/// A reader's side of a queue. It keeps the series' numbers from one take to the next: use one for all takes of a
/// subscription, and for no other.
#[derive(Debug, Default)]
pub struct Taken {
    /// Gaps that come before all rows.
    pub(super) before: VecDeque<Row>,
    pub(super) rows: VecDeque<Row>,
    /// Gaps that come after all rows.
    pub(super) after: VecDeque<Row>,
    pub(super) values: VecDeque<Value>,
    pub(super) waits: Vec<Wait>,
    dictionary: Vec<Option<Arc<Series>>>,
    /// Numbers that stand for another series since the take before.
    defined: Vec<u32>,
}

/// Live readings that were offered to the queue at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When: the time that the writer gave.
    pub since: Micros,
    /// How many of them were taken.
    pub count: u64,
}

/// One thing taken, by reference.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Whose it is.
    pub series: &'a Arc<Series>,
    /// The row: numbers, times, whether it is a gap, an end, a start, behind a skip.
    pub row: Row,
    /// The value; `None` of a gap or an end.
    pub value: Option<Value>,
    /// A start's counter: the next live reading is the one after it.
    pub position: Option<Seq>,
}

impl Taken {
    /// How many rows were taken, gaps included.
    pub fn len(&self) -> usize {
        self.before.len() + self.rows.len() + self.after.len()
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands out everything in order, and forgets it. No allocation, no lock.
    pub fn drain(&mut self, mut visit: impl FnMut(Item<'_>)) {
        let Self { before, rows, after, values, dictionary, .. } = self;
        for part in [before, rows, after] {
            let (first, second) = part.as_slices();
            for row in first.iter().chain(second) {
                let Some(Some(series)) = dictionary.get(row.series as usize) else { continue };
                if let Some(value) = row.plain_live_value() {
                    visit(Item { series, row: *row, value: Some(value), position: None });
                    continue;
                }
                let position = if row.is_start() { values.pop_front().as_ref().and_then(row::position) } else { None };
                let value = if row.has_value_beside() { values.pop_front() } else { row.plain_value() };
                if !row.is_hole() {
                    visit(Item { series, row: *row, value, position });
                }
            }
            part.clear();
        }
    }

    /// Hands out what was taken in order until `visit` answers false; that item and those after it stay.
    pub fn drain_while(&mut self, mut visit: impl FnMut(Item<'_>) -> bool) {
        let Self { before, rows, after, values, dictionary, .. } = self;
        let mut beside = 0;
        for part in [before, rows, after] {
            let (mut seen, mut ended) = (0, false);
            let (first, second) = part.as_slices();
            for row in first.iter().chain(second) {
                let series = dictionary.get(row.series as usize).and_then(Option::as_ref);
                if let Some(series) = series.filter(|_| !row.is_hole()) {
                    let position = if row.is_start() { values.get(beside).and_then(row::position) } else { None };
                    let value = match row.has_value_beside() {
                        true => values.get(beside + usize::from(row.is_start())).cloned(),
                        false => row.plain_value(),
                    };
                    if !visit(Item { series, row: *row, value, position }) {
                        ended = true;
                        break;
                    }
                }
                seen += 1;
                beside += row.beside();
            }
            part.drain(..seen);
            if ended {
                break;
            }
        }
        values.drain(..beside);
    }

    /// Since when what was taken had waited. Where a newer reading took an older one's place, since the older one came.
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// Looks at about `max` live readings, evenly chosen, or at all where there are fewer: each with the number of
    /// readings that it stands for.
    pub fn sample(&self, max: usize, mut visit: impl FnMut(&Arc<Series>, &Row, u64)) {
        let stride = self.rows.len().div_ceil(max.max(1)).max(1);
        let mut left = self.rows.len();
        for row in self.rows.iter().step_by(stride) {
            let stands_for = left.min(stride);
            left -= stands_for;
            if row.is_reading()
                && !row.is_start()
                && !row.is_hole()
                && let Some(series) = self.series(row.series)
            {
                visit(series, row, stands_for as u64);
            }
        }
    }

    /// Numbers that stand for another series than in the take before.
    pub fn defined(&self) -> impl Iterator<Item = u32> {
        self.defined.iter().copied()
    }

    /// [`drain`](Self::drain) into deliveries of their own. One reference count each.
    pub fn deliveries(&mut self, out: &mut impl Extend<Delivery>) {
        self.drain(|item| out.extend(item.delivery()));
    }

    /// The series behind a number, while rows of this take are read.
    pub fn series(&self, number: u32) -> Option<&Arc<Series>> {
        self.dictionary.get(number as usize).and_then(Option::as_ref)
    }

    pub(super) fn clear(&mut self) {
        self.before.clear();
        self.rows.clear();
        self.after.clear();
        self.values.clear();
        self.waits.clear();
    }

    pub(super) fn define(&mut self, series: impl Iterator<Item = (u32, Arc<Series>)>) {
        self.defined.clear();
        for (number, series) in series {
            self.defined.push(number);
            let at = number as usize;
            if at >= self.dictionary.len() {
                self.dictionary.resize(at + 1, None);
            }
            self.dictionary[at] = Some(series);
        }
    }
}

impl Item<'_> {
    /// The delivery that it is.
    pub fn delivery(self) -> Option<Delivery> {
        let (row, series) = (self.row, self.series.clone());
        if let Some(reason) = row.gap_reason() {
            return Some(Delivery::Gap(Gap { series, from: row.seq, to: row.slot, reason }));
        }
        if let Some(reason) = row.end_reason() {
            return Some(Delivery::End(End { series, last: row.seq, reason }));
        }
        let (source_time, received_time) = (row.source_time, row.received_time);
        let reading = Reading { series, value: self.value?, source_time, received_time, seq: row.seq };
        Some(match self.position {
            Some(position) => Delivery::Start(reading, position),
            None => Delivery::Reading(reading),
        })
    }
}

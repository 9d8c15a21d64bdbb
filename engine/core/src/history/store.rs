//! Where the histories of one shard keep what is not their newest: cells in one array, odd samples aside.

use crate::history::Sample;
use crate::history::cell::{Cell, Kind, Moment};
use crate::history::chunks::Chunks;
use crate::history::ranges::Ranges;
use crate::reading::Value;

/// Cells of one line of the cache.
pub(crate) const LINE: u32 = 4;

/// The newest cells of a ring, until they fill a line. Also such a line: of the cache, so that no cell lies across two.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Stage(pub(super) [Cell; LINE as usize]);

impl Stage {
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        self.0[0].value
    }
}

/// The samples of many histories, each of at most the same length. See the file's header.
#[derive(Debug)]
pub struct Store {
    lines: Chunks<Stage>,
    ranges: Ranges,
    /// What does not fit a cell: values that are not plain, times far apart, numbers out of order.
    spilled: Vec<Sample>,
    spilled_free: Vec<u32>,
    /// Most samples of a history beside its newest.
    pub(crate) older_max: u32,
}

impl Store {
    /// Whether its histories need no stage.
    pub fn keeps_latest_alone(&self) -> bool {
        self.older_max == 0
    }

    /// For histories of at most `bound` samples, at least 1, at most 2^30.
    pub fn new(bound: usize) -> Self {
        let older_max = bound.clamp(1, 1 << 30) as u32 - 1;
        Self {
            lines: Chunks::default(),
            ranges: Ranges::default(),
            spilled: Vec::new(),
            spilled_free: Vec::new(),
            older_max,
        }
    }

    /// Loads a line that a history is about to write, so that the misses of many histories overlap.
    #[inline]
    pub(crate) fn peek(&self, line: usize) -> u64 {
        self.lines.get(line).map_or(0, Stage::peek)
    }

    #[inline]
    pub(crate) fn cell(&self, block: u32, at: u32) -> Cell {
        self.lines[(block + at / LINE) as usize].0[(at % LINE) as usize]
    }

    #[inline]
    pub(crate) fn set_cell(&mut self, block: u32, at: u32, cell: Cell) {
        self.lines[(block + at / LINE) as usize].0[(at % LINE) as usize] = cell;
    }

    #[inline]
    pub(crate) fn set_line(&mut self, block: u32, line: u32, stage: &Stage) {
        self.lines[(block + line) as usize] = *stage;
    }

    /// Moves the block of a full ring of `cells` into one of twice that, which it answers. 0 cells are no block yet.
    pub(crate) fn double(&mut self, block: u32, cells: u32) -> u32 {
        let lines = cells / LINE;
        let order = if lines == 0 { 0 } else { lines.trailing_zeros() + 1 };
        let grown = self.ranges.take(order);
        self.lines.grow(self.ranges.end());
        for at in 0..lines {
            self.lines[(grown + at) as usize] = self.lines[(block + at) as usize];
        }
        self.give(block, cells);
        grown
    }

    /// Takes the block of a ring back.
    pub(crate) fn give(&mut self, block: u32, cells: u32) {
        if cells > 0 {
            self.ranges.give(block, (cells / LINE).trailing_zeros());
        }
    }

    /// Keeps a sample aside and answers its place. Allocates when more are spilled than ever.
    pub(crate) fn spill(&mut self, sample: Sample) -> u32 {
        if let Some(place) = self.spilled_free.pop() {
            self.spilled[place as usize] = sample;
            return place;
        }
        self.spilled.push(sample);
        self.spilled.len() as u32 - 1
    }

    pub(crate) fn spilled(&self, place: u64) -> &Sample {
        &self.spilled[place as usize]
    }

    /// Takes a spilled sample out of its place.
    pub(crate) fn unspill(&mut self, place: u64) -> Sample {
        self.spilled_free.push(place as u32);
        std::mem::replace(&mut self.spilled[place as usize], Sample::at(Value::Bool(false), &Moment::default()))
    }

    /// The cell of a sample that is followed by `next`, spilled where it does not fit.
    pub(crate) fn encode(&mut self, sample: Sample, next: &Moment) -> Cell {
        let plain = Kind::of(&sample.value);
        let fitting = plain.and_then(|(kind, bits)| Cell::plain(kind, bits, &Moment::of(&sample), next));
        fitting.unwrap_or_else(|| Cell::spilled(self.spill(sample)))
    }

    /// The sample of a cell that is followed by `next`.
    pub(crate) fn decode(&self, cell: Cell, next: &Moment) -> Sample {
        match cell.kind() {
            Kind::Spilled => self.spilled(cell.value).clone(),
            kind => Sample::at(kind.value(cell.value), &cell.moment(next)),
        }
    }

    /// When the reading of a cell that is followed by `next` was read.
    pub(crate) fn moment(&self, cell: Cell, next: &Moment) -> Moment {
        match cell.kind() {
            Kind::Spilled => Moment::of(self.spilled(cell.value)),
            _ => cell.moment(next),
        }
    }

    /// How many samples are kept aside now.
    #[cfg(test)]
    pub(crate) fn spilled_now(&self) -> usize {
        self.spilled.len() - self.spilled_free.len()
    }
}

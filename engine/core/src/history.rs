//! The readings kept of one attribute: its newest, which is *latest*, and a short bounded ring of older ones.
//!
//! A history is 40 bytes and lies in its series' line. The readings before the newest are cells of 16 bytes: up to
//! three in the series' [`Stage`], beside it, and the others in the [`Store`] that many series share, which so is
//! written once in four readings. Times, numbers and values come back exactly, whatever they are. Plain values: no
//! lock, no clock.
//!
//! ```text
//!  History, 40 bytes                                           Stage, 64     Store: blocks of 4, 8, 16, … cells
//!  ┌───────┬─────────────┬─────────┬───────────┬───────┬──────┐ ┌────┬────┬─    ┌────┬────┬────┬────┬────
//!  │ value │ source time │ touched │ last seq, │ block │ head │ │cell│cell│  ──▶ │cell│cell│cell│cell│ …
//!  │       │             │         │ bits      │       │      │ │    │    │      │    │    │    │    │
//!  └───────┴─────────────┴─────────┴───────────┴───────┴──────┘ └────┴────┴─    └────┴────┴────┴────┴────
//! ```
//!
//! Touched and last seq are those of the last reading taken. It is also the newest, unless it came late; then the newest
//! is spilled, with its own.

mod cell;
pub(crate) mod chunks;
pub(crate) mod ranges;
mod store;

use std::sync::Arc;

use self::cell::{Cell, Kind, Moment};
use self::store::LINE;
use crate::reading::{Micros, Reading, Seq, Series, Value};

pub use self::store::{Stage, Store};

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

/// The samples of one series in order of (source time, seq), oldest first. See the file's header.
///
/// Every call names the [`Stage`] and the [`Store`] that the first one named; a store for one sample per history needs
/// no stage, and an empty one does. [`clear`](Self::clear) gives back what is kept there;
/// a history that is dropped instead leaves it behind.
#[derive(Debug)]
pub struct History {
    /// Bits of the newest value, or where it is spilled.
    value: u64,
    /// The newest's.
    source_time: Micros,
    /// When the last reading was taken, or the sensor was registered.
    touched: Micros,
    /// The last seq, the bits below, the newest's kind.
    counter: u64,
    /// The first line of the ring, where it has any.
    block: u32,
    /// Where the next older sample goes. Until the ring is full, that is its length.
    head: u32,
}

const KIND: u64 = 0b111;
/// The ring has its full length, and wraps.
const FULL: u64 = 0b1000;
/// Some cell of the ring may be spilled.
const SPILLS: u64 = 0b1_0000;
/// Bits below the last seq, which has 56: enough for 2,000 years of a reading per microsecond.
const SEQ_SHIFT: u32 = 8;

impl Sample {
    fn at(value: Value, moment: &Moment) -> Self {
        let Moment { source_time, received_time, seq } = *moment;
        Self { value, source_time, received_time, seq }
    }

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

impl Default for History {
    fn default() -> Self {
        let (source_time, touched) = (Micros::MIN, Micros::MIN);
        Self { value: 0, source_time, touched, counter: Kind::Empty as u64, block: 0, head: 0 }
    }
}

/// Cells of the block of a ring that holds `length`.
#[inline]
fn cells(length: u32) -> u32 {
    if length == 0 { 0 } else { length.next_power_of_two().max(LINE) }
}

impl History {
    /// The number of the last sample inserted; 0 before the first.
    #[inline]
    pub fn last_seq(&self) -> Seq {
        self.counter >> SEQ_SHIFT
    }

    /// When the last sample was inserted, or [`touch`](Self::touch) was called, whichever is later.
    pub fn touched(&self) -> Micros {
        self.touched
    }

    /// Notes that the series was heard of, without a sample.
    pub fn touch(&mut self, now: Micros, store: &mut Store) {
        self.set_newest_aside(store);
        self.touched = now;
    }

    /// Files a sample of a higher seq than any before at its source time, and evicts the oldest beyond the store's
    /// bound. A sample older than all of a full history is not kept. O(1) for samples that come in order, O(how late)
    /// for late ones. Allocates while the history grows, and for what fits no cell.
    #[inline(always)]
    pub fn insert(&mut self, sample: &Sample, stage: &mut Stage, store: &mut Store) {
        if !self.insert_next(sample, stage, store) {
            self.insert_any(sample, stage, store);
        }
    }

    /// [`insert`](Self::insert) where all is as it mostly is: a plain value after a plain value, the next number, in order and
    /// soon, in a full ring that has nothing spilled. Else nothing is done, and false answered.
    #[inline(always)]
    fn insert_next(&mut self, sample: &Sample, stage: &mut Stage, store: &mut Store) -> bool {
        const PLAIN_IN_FULL: u64 = FULL | Kind::F64 as u64;
        let Some((kind, value)) = Kind::of(&sample.value) else { return false };
        let flags = self.counter & ((1 << SEQ_SHIFT) - 1);
        let is_usual = flags.wrapping_sub(PLAIN_IN_FULL) <= Kind::Bool as u64 - Kind::F64 as u64;
        if !is_usual || sample.source_time < self.source_time {
            return false;
        }
        let was = flags & KIND;
        let Some(cell) = Cell::of_bits(was, self.value, &self.last_moment(), &Moment::of(sample)) else { return false };
        self.overwrite(cell, stage, store);
        (self.value, self.source_time, self.touched) = (value, sample.source_time, sample.received_time);
        self.counter = (sample.seq << SEQ_SHIFT) | FULL | kind as u64;
        true
    }

    #[inline(never)]
    fn insert_any(&mut self, sample: &Sample, stage: &mut Stage, store: &mut Store) {
        if sample.source_time < self.source_time {
            return self.insert_late(sample.clone(), stage, store);
        }
        match self.kind() {
            Kind::Empty => {}
            Kind::Spilled => self.displace_spilled(&Moment::of(sample), stage, store),
            _ if store.older_max == 0 => {}
            kind => {
                let (this, next) = (self.last_moment(), Moment::of(sample));
                let cell = Cell::plain(kind, self.value, &this, &next);
                let cell = cell.unwrap_or_else(|| self.spill_newest(store));
                self.push(cell, stage, store);
            }
        }
        let (kind, value) = match Kind::of(&sample.value) {
            Some(plain) => plain,
            None => (Kind::Spilled, u64::from(store.spill(sample.clone()))),
        };
        self.value = value;
        self.source_time = sample.source_time;
        self.touched = sample.received_time;
        self.counter = (sample.seq << SEQ_SHIFT) | (self.counter & (FULL | SPILLS)) | kind as u64;
    }

    /// The newest by source time, ties by seq.
    pub fn latest(&self, store: &Store) -> Option<Sample> {
        match self.kind() {
            Kind::Empty => None,
            Kind::Spilled => Some(store.spilled(self.value).clone()),
            kind => Some(Sample::at(kind.value(self.value), &self.last_moment())),
        }
    }

    /// All samples, newest first.
    pub fn newest_first<'a>(&'a self, stage: &'a Stage, store: &'a Store) -> impl Iterator<Item = Sample> + 'a {
        let newest = self.latest(store);
        let next = newest.as_ref().map(Moment::of);
        let older = (0..self.older(store)).scan(next, move |next, back| {
            let sample = store.decode(self.cell(back, stage, store), &(*next)?);
            *next = Some(Moment::of(&sample));
            Some(sample)
        });
        newest.into_iter().chain(older)
    }

    /// The newest `last` samples whose source time is within `from..=to`, oldest first. O(how old `from` is).
    pub fn range(&self, from: Micros, to: Micros, last: usize, stage: &Stage, store: &Store) -> Vec<Sample> {
        let newest_first = self.newest_first(stage, store).skip_while(|sample| sample.source_time > to);
        let mut found: Vec<_> = newest_first.take_while(|sample| sample.source_time >= from).take(last).collect();
        found.reverse();
        found
    }

    /// Forgets everything and gives back what it has in the store.
    pub fn clear(&mut self, stage: &mut Stage, store: &mut Store) {
        if self.kind() == Kind::Spilled {
            store.unspill(self.value);
        }
        if self.counter & SPILLS != 0 {
            (0..self.older(store)).for_each(|back| self.release(back, stage, store));
        }
        store.give(self.block, self.capacity(store));
        *self = Self::default();
    }

    /// The line of the store that the next sample in order will write, where it fills the stage.
    #[inline]
    pub(crate) fn next_line(&self) -> Option<usize> {
        (self.head % LINE == LINE - 1).then_some((self.block + self.head / LINE) as usize)
    }

    #[inline]
    fn kind(&self) -> Kind {
        Kind::from_bits(self.counter & KIND)
    }

    /// The moment of the newest where it is not spilled: then it is the last one.
    #[inline]
    fn last_moment(&self) -> Moment {
        Moment { source_time: self.source_time, received_time: self.touched, seq: self.last_seq() }
    }
}

// === The ring of older samples ===

impl History {
    /// How many there are.
    fn older(&self, store: &Store) -> u32 {
        if self.counter & FULL != 0 { store.older_max } else { self.head }
    }

    /// Cells of its block: room for what left the stage, and once it is full for the whole ring.
    fn capacity(&self, store: &Store) -> u32 {
        cells(if self.counter & FULL != 0 { store.older_max } else { self.head - self.head % LINE })
    }

    /// Where the cell lies that is `back` before the newest of the ring, and whether it is on the stage.
    fn place(&self, back: u32, store: &Store) -> (u32, bool) {
        let mask = if self.counter & FULL != 0 { cells(store.older_max) - 1 } else { u32::MAX };
        let at = self.head.wrapping_sub(back + 1) & mask;
        (at, at / LINE == self.head / LINE && at < self.head)
    }

    fn cell(&self, back: u32, stage: &Stage, store: &Store) -> Cell {
        match self.place(back, store) {
            (at, true) => stage.0[(at % LINE) as usize],
            (at, false) => store.cell(self.block, at),
        }
    }

    fn set_cell(&self, back: u32, cell: Cell, stage: &mut Stage, store: &mut Store) {
        match self.place(back, store) {
            (at, true) => stage.0[(at % LINE) as usize] = cell,
            (at, false) => store.set_cell(self.block, at, cell),
        }
    }

    /// Gives up what a cell has aside.
    fn release(&self, back: u32, stage: &Stage, store: &mut Store) {
        let cell = self.cell(back, stage, store);
        if cell.kind() == Kind::Spilled {
            store.unspill(cell.value);
        }
    }

    /// Appends the cell of the newest of the ring; of a full one, the oldest gives way.
    #[inline]
    fn push(&mut self, cell: Cell, stage: &mut Stage, store: &mut Store) {
        if self.counter & (FULL | SPILLS) == FULL | SPILLS {
            self.release_oldest(stage, store);
        }
        if cell.kind() == Kind::Spilled {
            self.counter |= SPILLS;
        }
        if self.counter & FULL == 0 {
            stage.0[(self.head % LINE) as usize] = cell;
            self.head += 1;
            self.grow(stage, store);
        } else {
            self.overwrite(cell, stage, store);
        }
    }

    /// Appends a cell to a full ring, over the oldest.
    #[inline]
    fn overwrite(&mut self, cell: Cell, stage: &mut Stage, store: &mut Store) {
        stage.0[(self.head % LINE) as usize] = cell;
        self.head += 1;
        if self.head.is_multiple_of(LINE) {
            store.set_line(self.block, self.head / LINE - 1, stage);
            self.head &= cells(store.older_max) - 1;
        }
    }

    /// After a push to a ring that was not full.
    #[cold]
    fn grow(&mut self, stage: &Stage, store: &mut Store) {
        let is_full = self.head == store.older_max;
        let had = cells((self.head - 1) / LINE * LINE);
        let needs = cells(if is_full { self.head } else { self.head / LINE * LINE });
        if needs > had {
            self.block = store.double(self.block, had);
        }
        if self.head.is_multiple_of(LINE) {
            store.set_line(self.block, self.head / LINE - 1, stage);
        }
        if is_full {
            self.counter |= FULL;
            self.head &= cells(store.older_max) - 1;
        }
    }

    /// Before a push to a full ring that may have spilled cells.
    #[cold]
    fn release_oldest(&mut self, stage: &Stage, store: &mut Store) {
        self.release(store.older_max - 1, stage, store);
        let is_plain = |back| self.cell(back, stage, store).kind() != Kind::Spilled;
        if self.head == 0 && (0..store.older_max - 1).all(is_plain) {
            self.counter &= !SPILLS;
        }
    }

    /// Puts the newest aside; answers the cell that says where.
    #[cold]
    fn spill_newest(&self, store: &mut Store) -> Cell {
        Cell::spilled(store.spill(Sample::at(self.kind().value(self.value), &self.last_moment())))
    }

    /// Makes a spilled newest one of the older.
    #[cold]
    fn displace_spilled(&mut self, next: &Moment, stage: &mut Stage, store: &mut Store) {
        let newest = store.unspill(self.value);
        if store.older_max == 0 {
            return;
        }
        let cell = store.encode(newest, next);
        self.push(cell, stage, store);
    }

    /// Where the newest is about to differ from the last, spills it with its own time and number.
    fn set_newest_aside(&mut self, store: &mut Store) {
        if let Some(newest) = self.latest(store).filter(|_| self.kind() != Kind::Spilled) {
            self.value = u64::from(store.spill(newest));
            self.counter = (self.counter & !KIND) | Kind::Spilled as u64;
        }
    }

    #[cold]
    fn insert_late(&mut self, sample: Sample, stage: &mut Stage, store: &mut Store) {
        self.set_newest_aside(store);
        self.touched = sample.received_time;
        self.counter = (sample.seq << SEQ_SHIFT) | (self.counter & ((1 << SEQ_SHIFT) - 1));
        let older = self.older(store);
        let mut next = Moment::of(store.spilled(self.value));
        let mut before = None;
        let mut later = 0;
        while later < older {
            let moment = store.moment(self.cell(later, stage, store), &next);
            if moment.source_time <= sample.source_time {
                before = Some(moment);
                break;
            }
            (next, later) = (moment, later + 1);
        }
        // Here also where nothing older than the newest is kept at all.
        if later < store.older_max {
            self.file(sample, later, &next, before, stage, store);
        }
    }

    /// Files a late sample: `later` of the ring come after it, the first of them at `next`; one at `before` comes
    /// before it.
    fn file(
        &mut self,
        sample: Sample,
        later: u32,
        next: &Moment,
        before: Option<Moment>,
        stage: &mut Stage,
        store: &mut Store,
    ) {
        let moment = Moment::of(&sample);
        self.push(Cell::default(), stage, store);
        for back in 0..later {
            let cell = self.cell(back + 1, stage, store);
            self.set_cell(back, cell, stage, store);
        }
        self.counter |= SPILLS;
        let cell = store.encode(sample, next);
        self.set_cell(later, cell, stage, store);
        let Some(before) = before.filter(|_| later + 1 < self.older(store)) else { return };
        // Its neighbour is another now: it may fit where it did not, or the other way round.
        let cell = self.cell(later + 1, stage, store);
        let sample = match cell.kind() {
            Kind::Spilled => store.unspill(cell.value),
            kind => Sample::at(kind.value(cell.value), &before),
        };
        let cell = store.encode(sample, &moment);
        self.set_cell(later + 1, cell, stage, store);
    }
}

#[cfg(test)]
mod tests;

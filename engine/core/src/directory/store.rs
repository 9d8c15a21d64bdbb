//! The claims of one partition: records in an arena, found by an open-addressed index; readers take no lock.
//!
//! ```text
//! index   u32 a slot       tag (8 bits of the hash) | where in the arena (24 bits, in words); linear probing
//! record  word 0           epoch (53 bits) | length of the id, less one (8 bits)
//!         word 1           life (16 bits) | type (16 bits) | the id's first 4 bytes
//!         words 2…         the rest of the id, padded with zeros
//! ```
//!
//! A look-up of a typical id touches two lines of memory that depend on each other: a slot and its record.
//!
//! Readers and the writer meet by a sequence lock (Lameter, "Effective synchronization on Linux/NUMA systems", 2005;
//! Boehm, "Can seqlocks get along with programming language memory models?", 2012): the writer makes the sequence odd,
//! changes words, makes it even; a reader that saw an odd or another sequence reads again, and after some tries takes
//! the writer's lock. Every word is atomic and every place is checked, so that what a reader sees in between is wrong
//! at worst, never out of bounds. Memory that readers may be in is never freed: an index that doubled stays (all of
//! them together are as large as the present one), records are used again.

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::reading::{Epoch, SENSOR_ID_MAX};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::{LOOKS_MAX, Mutex, MutexGuard};

/// Slots of the first index.
const SLOTS_FIRST: usize = 16;
/// Indexes of one partition at most; each has twice the slots of the one before.
const INDEXES: usize = 22;
/// Words of one partition: what a slot can name.
const WORDS_MAX: u32 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 24;
const PLACE: u32 = WORDS_MAX - 1;
/// A slot that was never used.
const EMPTY: u32 = 0;
/// A slot whose claim is gone; probing goes on behind it.
const GONE: u32 = 1;
const EPOCH_BITS: u32 = 53;
/// Words of a record before the rest of its id.
const RECORD_HEAD: usize = 2;
/// Bytes of an id in a record's head.
const ID_IN_HEAD: usize = 4;
/// Most words of a record.
const RECORD_WORDS_MAX: usize = RECORD_HEAD + (SENSOR_ID_MAX - ID_IN_HEAD).div_ceil(8);

/// One claim: a life says that it owns a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) epoch: Epoch,
    pub(super) life: u16,
    pub(super) kind: u16,
}

/// A claim and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) claim: Claim,
    at: u32,
    length: usize,
}

/// The claims of one partition, and `T`: what belongs to them and changes under the same lock.
#[derive(Debug)]
pub(super) struct Store<T> {
    /// Odd while the words change.
    sequence: AtomicU64,
    index: Index,
    arena: Arena,
    /// Who holds this may change the words.
    writer: Mutex<Writer<T>>,
}

/// What only the writer needs.
#[derive(Debug, Default)]
pub(super) struct Writer<T> {
    pub(super) books: T,
    /// The first word that was never used.
    next: u32,
    /// Records to be used again, by their words.
    free: Vec<Vec<u32>>,
    live: usize,
    /// Slots that are not [`EMPTY`].
    used: usize,
}

/// An id's bytes, copied out of a record.
pub(super) struct IdBuffer {
    bytes: [u8; SENSOR_ID_MAX],
    length: usize,
}

impl Default for IdBuffer {
    fn default() -> Self {
        Self { bytes: [0; SENSOR_ID_MAX], length: 0 }
    }
}

impl IdBuffer {
    pub(super) fn as_str(&self) -> &str {
        // Only whole ids of checked UTF-8 are written to records.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

// === impl Store: readers ===

impl<T: Default> Store<T> {
    pub(super) fn new(books: T) -> Self {
        // Places 0 and 1 would look like EMPTY and GONE.
        let writer = Writer { books, next: 2, free: vec![Vec::new(); RECORD_WORDS_MAX + 1], live: 0, used: 0 };
        Self {
            sequence: AtomicU64::new(0),
            index: Index::default(),
            arena: Arena::default(),
            writer: Mutex::new(writer),
        }
    }

    /// Reads without a lock. `read` may be called several times and see words that do not belong together; its last
    /// answer is from words that do.
    pub(super) fn read<R>(&self, mut read: impl FnMut(&Self) -> R) -> R {
        for _ in 0..LOOKS_MAX {
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence & 1 == 0 {
                let answer = read(self);
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == sequence {
                    return answer;
                }
            }
            std::hint::spin_loop();
        }
        let _writer = self.writer.lock();
        read(self)
    }

    /// Visits the claims of one sensor; mostly there is one.
    pub(super) fn visit(&self, hash: u64, id: &[u8], mut visit: impl FnMut(Record)) {
        self.index.probe(hash, |place| {
            if let Some(record) = self.arena.record_of(place, id) {
                visit(record);
            }
            false
        });
    }

    /// Brings the first line that a look-up of this hash needs into the cache, and tells the place it names.
    pub(super) fn touch_slot(&self, hash: u64) -> u32 {
        self.index.first_slot(hash) & PLACE
    }

    /// Brings the record at a place into the cache, where it has the words of an id of that length.
    pub(super) fn touch_record(&self, place: u32, id_length: usize) -> u64 {
        let ends =
            |words: &[AtomicU64]| Some(words.first()?.load(Ordering::Relaxed) ^ words.last()?.load(Ordering::Relaxed));
        self.arena.words(place, words_of(id_length)).and_then(ends).unwrap_or_default()
    }
}

// === impl Store: the writer ===

impl<T: Default> Store<T> {
    /// The lock of whoever changes claims or reads all of them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Writer<T>> {
        self.writer.lock()
    }

    /// All claims, in no order. `_writer` shows that they cannot change meanwhile.
    pub(super) fn records(&self, _writer: &Writer<T>) -> impl Iterator<Item = Record> {
        self.index.places().filter_map(|place| self.arena.record(place))
    }

    /// Copies a record's id.
    pub(super) fn id<'a>(&self, record: Record, buffer: &'a mut IdBuffer) -> &'a str {
        self.arena.id(record, buffer);
        buffer.as_str()
    }

    /// Puts a claim of a sensor in place of an earlier one of the same life; answers that one.
    ///
    /// # Errors
    /// [`Error::Full`] when the partition's arena is used up; nothing changed then.
    pub(super) fn set(
        &self,
        writer: &mut Writer<T>,
        (hash, id): (u64, &[u8]),
        claim: Claim,
        hash_of: impl Fn(&[u8]) -> u64,
    ) -> Result<Option<Claim>> {
        debug_assert!(!id.is_empty() && id.len() <= SENSOR_ID_MAX, "ids were checked where they came in");
        if let Some(record) = self.find(hash, id, claim.life) {
            let _changing = self.change();
            self.arena.write_head(record.at, id, claim);
            return Ok(Some(record.claim));
        }
        let place = writer.place(words_of(id.len()))?;
        if (writer.used + 1) * 4 > self.index.len() * 3 {
            self.grow(writer, hash_of);
        }
        self.arena.make_room(place, words_of(id.len()));
        let _changing = self.change();
        self.arena.write(place, id, claim);
        writer.used += usize::from(self.index.insert(hash, place));
        writer.live += 1;
        Ok(None)
    }

    /// Removes one life's claim of a sensor; answers it, if there was one.
    pub(super) fn unset(&self, writer: &mut Writer<T>, (hash, id): (u64, &[u8]), life: u16) -> Option<Claim> {
        let record = self.find(hash, id, life)?;
        let changing = self.change();
        self.index.remove(hash, record.at);
        drop(changing);
        writer.live -= 1;
        writer.free[words_of(record.length)].push(record.at);
        Some(record.claim)
    }

    fn find(&self, hash: u64, id: &[u8], life: u16) -> Option<Record> {
        let mut found = None;
        self.index.probe(hash, |place| {
            found = self.arena.record_of(place, id).filter(|record| record.claim.life == life);
            found.is_some()
        });
        found
    }

    /// Makes the index anew: larger, or of the same size without the slots that are gone.
    fn grow(&self, writer: &mut Writer<T>, hash_of: impl Fn(&[u8]) -> u64) {
        let mut buffer = IdBuffer::default();
        let mut hashed = |record: Record| {
            self.arena.id(record, &mut buffer);
            (hash_of(&buffer.bytes[..buffer.length]), record.at)
        };
        let entries: Vec<(u64, u32)> = self.records(writer).map(&mut hashed).collect();
        writer.used = entries.len();
        if (writer.live + 1) * 8 > self.index.len() * 3 {
            // Readers stay in the old index until the new one is whole.
            self.index.fill_next(&entries);
            let _changing = self.change();
            self.index.step();
        } else {
            let _changing = self.change();
            self.index.refill(&entries);
        }
    }

    fn change(&self) -> Change<'_> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        Change { sequence: &self.sequence, next: sequence + 2 }
    }
}

/// While it lives, readers know that words change.
struct Change<'a> {
    sequence: &'a AtomicU64,
    next: u64,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.sequence.store(self.next, Ordering::Release);
    }
}

// === impl Writer ===

impl<T> Writer<T> {
    /// A place for a record of so many words, within one segment of the arena.
    fn place(&mut self, words: usize) -> Result<u32> {
        if let Some(place) = self.free[words].pop() {
            return Ok(place);
        }
        let (_, offset, size) = segment_of(self.next);
        if offset + words > size {
            self.next += (size - offset) as u32;
        }
        if self.next as usize + words > WORDS_MAX as usize {
            return Err(Error::Full { what: "claims of one directory partition, in words", max: WORDS_MAX as usize });
        }
        let place = self.next;
        self.next += words as u32;
        Ok(place)
    }
}

// === Index ===

/// Which index is read now, and all of them.
#[derive(Debug, Default)]
struct Index {
    now: AtomicU32,
    all: [OnceLock<Box<[AtomicU32]>>; INDEXES],
}

impl Index {
    fn slots(&self) -> &[AtomicU32] {
        let now = self.now.load(Ordering::Relaxed) as usize;
        self.all.get(now).and_then(OnceLock::get).map(|slots| &**slots).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.slots().len()
    }

    fn first_slot(&self, hash: u64) -> u32 {
        let slots = self.slots();
        slots.get(hash as usize & slots.len().wrapping_sub(1)).map_or(EMPTY, |slot| slot.load(Ordering::Relaxed))
    }

    /// Visits the places that a hash may stand at, until `visit` answers true.
    fn probe(&self, hash: u64, mut visit: impl FnMut(u32) -> bool) {
        let slots = self.slots();
        let mask = slots.len().wrapping_sub(1);
        for step in 0..slots.len() {
            let slot = slots[(hash as usize).wrapping_add(step) & mask].load(Ordering::Relaxed);
            if slot == EMPTY {
                return;
            }
            if slot & !PLACE == tag(hash) && slot != GONE && visit(slot & PLACE) {
                return;
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = u32> {
        let slots = self.slots().iter().map(|slot| slot.load(Ordering::Relaxed));
        slots.filter(|slot| *slot > GONE).map(|slot| slot & PLACE)
    }

    /// Answers whether a slot was used that was [`EMPTY`].
    fn insert(&self, hash: u64, place: u32) -> bool {
        let slots = self.slots();
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = slots[at].load(Ordering::Relaxed);
            if slot <= GONE {
                slots[at].store(tag(hash) | place, Ordering::Relaxed);
                return slot == EMPTY;
            }
            at = (at + 1) & mask;
        }
    }

    fn remove(&self, hash: u64, place: u32) {
        let slots = self.slots();
        let mask = slots.len() - 1;
        for step in 0..slots.len() {
            let slot = &slots[(hash as usize).wrapping_add(step) & mask];
            if slot.load(Ordering::Relaxed) == tag(hash) | place {
                return slot.store(GONE, Ordering::Relaxed);
            }
        }
    }

    /// Fills the index after the present one.
    fn fill_next(&self, entries: &[(u64, u32)]) {
        let (next, size) = match self.len() {
            0 => (0, SLOTS_FIRST),
            size => (self.now.load(Ordering::Relaxed) as usize + 1, size * 2),
        };
        let mut slots = vec![EMPTY; size];
        fill(&mut slots, entries);
        let slots = slots.into_iter().map(AtomicU32::new).collect();
        self.all[next].set(slots).expect("an index is filled once, before it is read");
    }

    fn step(&self) {
        let now = self.now.load(Ordering::Relaxed) as usize;
        let filled = if self.all.get(now + 1).is_some_and(|next| next.get().is_some()) { now + 1 } else { now };
        self.now.store(filled as u32, Ordering::Relaxed);
    }

    fn refill(&self, entries: &[(u64, u32)]) {
        let slots = self.slots();
        let mut filled = vec![EMPTY; slots.len()];
        fill(&mut filled, entries);
        slots.iter().zip(filled).for_each(|(slot, value)| slot.store(value, Ordering::Relaxed));
    }
}

fn fill(slots: &mut [u32], entries: &[(u64, u32)]) {
    let mask = slots.len() - 1;
    for (hash, place) in entries {
        let mut at = *hash as usize & mask;
        while slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        slots[at] = tag(*hash) | place;
    }
}

/// Bits that the first slot's place does not use, in front of the place.
fn tag(hash: u64) -> u32 {
    ((hash >> 56) as u32) << PLACE_BITS
}

// === Arena ===

/// Segments double in size with every eighth, so that at most an eighth of the arena is unused.
const SEGMENTS: usize = 128;
const SEGMENTS_PER_SIZE: u32 = 8;
const SEGMENT_WORDS_FIRST: u32 = 64;

#[derive(Debug)]
struct Arena {
    segments: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Default for Arena {
    fn default() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect() }
    }
}

/// The segment that a word lies in, where in it, and the segment's size in words.
fn segment_of(place: u32) -> (usize, usize, usize) {
    let block = place / SEGMENT_WORDS_FIRST + SEGMENTS_PER_SIZE;
    let size_class = block.ilog2() - SEGMENTS_PER_SIZE.ilog2();
    let in_class = (block >> size_class) - SEGMENTS_PER_SIZE;
    let begin =
        ((SEGMENTS_PER_SIZE << size_class) - SEGMENTS_PER_SIZE + (in_class << size_class)) * SEGMENT_WORDS_FIRST;
    let segment = size_class * SEGMENTS_PER_SIZE + in_class;
    (segment as usize, (place - begin) as usize, (SEGMENT_WORDS_FIRST << size_class) as usize)
}

fn words_of(id_length: usize) -> usize {
    RECORD_HEAD + id_length.saturating_sub(ID_IN_HEAD).div_ceil(8)
}

/// The id's bytes from `at` on, eight of them, padded with zeros.
fn word_at(id: &[u8], at: usize, bytes: usize) -> u64 {
    let rest = id.get(at..).unwrap_or_default();
    let rest = &rest[..rest.len().min(bytes)];
    if let Ok(whole) = <[u8; 8]>::try_from(rest) {
        return u64::from_le_bytes(whole);
    }
    if let Ok(half) = <[u8; 4]>::try_from(rest) {
        return u64::from(u32::from_le_bytes(half));
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// An id's last bytes, fewer than eight, padded with zeros: as [`word_at`], without a loop where the id is long enough.
#[inline]
fn last_word(id: &[u8], rest: &[u8]) -> u64 {
    match id.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => word_at(rest, 0, 8),
    }
}

impl Arena {
    fn head(&self, place: u32) -> Option<&[AtomicU64]> {
        let (segment, offset, _) = segment_of(place);
        self.segments.get(segment)?.get()?.get(offset..)?.get(..RECORD_HEAD)
    }

    fn words(&self, place: u32, words: usize) -> Option<&[AtomicU64]> {
        let (segment, offset, _) = segment_of(place);
        self.segments.get(segment)?.get()?.get(offset..offset + words)
    }

    fn record(&self, place: u32) -> Option<Record> {
        let head = self.head(place)?;
        Some(decode(place, head[0].load(Ordering::Relaxed), head[1].load(Ordering::Relaxed)))
    }

    /// The record at a place, if its id is this one.
    fn record_of(&self, place: u32, id: &[u8]) -> Option<Record> {
        let words = self.words(place, words_of(id.len()))?;
        let (first, second) = (words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed));
        let record = decode(place, first, second);
        let mut same = record.length == id.len() && second >> 32 == word_at(id, 0, ID_IN_HEAD);
        let (whole, rest) = id.get(ID_IN_HEAD..).unwrap_or_default().as_chunks::<8>();
        let mut words = words[RECORD_HEAD..].iter().map(|word| word.load(Ordering::Relaxed));
        for bytes in whole {
            same &= words.next() == Some(u64::from_le_bytes(*bytes));
        }
        if !rest.is_empty() {
            same &= words.next() == Some(last_word(id, rest));
        }
        same.then_some(record)
    }

    fn id(&self, record: Record, buffer: &mut IdBuffer) {
        buffer.length = 0;
        let Some(words) = self.words(record.at, words_of(record.length)) else { return };
        let head = (words[1].load(Ordering::Relaxed) >> 32) as u32;
        buffer.bytes[..ID_IN_HEAD].copy_from_slice(&head.to_le_bytes());
        for (word, bytes) in words[RECORD_HEAD..].iter().zip(buffer.bytes[ID_IN_HEAD..].chunks_mut(8)) {
            let word = word.load(Ordering::Relaxed).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        buffer.length = record.length;
    }

    fn make_room(&self, place: u32, words: usize) {
        let (segment, offset, size) = segment_of(place);
        debug_assert!(offset + words <= size, "a record lies in one segment");
        self.segments[segment].get_or_init(|| (0..size).map(|_| AtomicU64::new(0)).collect());
    }

    fn write(&self, place: u32, id: &[u8], claim: Claim) {
        self.write_head(place, id, claim);
        let words = self.words(place, words_of(id.len())).unwrap_or_default();
        for (at, word) in words.iter().skip(RECORD_HEAD).enumerate() {
            word.store(word_at(id, ID_IN_HEAD + at * 8, 8), Ordering::Relaxed);
        }
    }

    fn write_head(&self, place: u32, id: &[u8], claim: Claim) {
        let Some(head) = self.head(place) else { return };
        let length = (id.len() - 1) as u64;
        let ends = u64::from(claim.life) | u64::from(claim.kind) << 16 | word_at(id, 0, ID_IN_HEAD) << 32;
        head[0].store(claim.epoch | length << EPOCH_BITS, Ordering::Relaxed);
        head[1].store(ends, Ordering::Relaxed);
    }
}

fn decode(at: u32, first: u64, second: u64) -> Record {
    let claim = Claim { epoch: first & ((1 << EPOCH_BITS) - 1), life: second as u16, kind: (second >> 16) as u16 };
    Record { claim, at, length: usize::from((first >> EPOCH_BITS) as u8) + 1 }
}

#[cfg(test)]
mod tests;

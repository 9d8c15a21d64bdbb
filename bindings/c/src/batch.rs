//! What answers are made of, and the memory they lie in: copies, so that nothing of the engine is held by a caller.
//!
//! Memory is named by a handle and used again from one answer to the next; its pointers are good until then.

use std::ffi::c_char;
use std::sync::Arc;

use parking_lot::Mutex;
use senza_core::Reading;
use senza_core::reading::Series;
use senza_core::row::Row;
use senza_core::subscription::Item;

use crate::border;
use crate::error::{Outcome, refuse, senza_code};
use crate::handles::{Handles, Kind};
use crate::text::senza_str;
use crate::value::senza_value;

/// What an item of a batch is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_what {
    /// A live reading; of latest and history, any reading.
    SENZA_READING = 0,
    /// A reading that was there before the subscription began.
    SENZA_STARTING = 1,
    /// Told loss: readings of this series that will not come, told before the next one.
    SENZA_GAP = 2,
    /// No more of this series comes. A node that crashes tells none.
    SENZA_END = 3,
}

/// Why readings were lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_gap_reason {
    /// The subscription's own queue was full.
    SENZA_GAP_OVERFLOW = 0,
    /// The queue towards another node was full.
    SENZA_GAP_RELAY = 1,
    /// A frame between two nodes was lost.
    SENZA_GAP_LINK = 2,
    /// They came under a claim that was beaten already, and were refused.
    SENZA_GAP_BEATEN = 3,
}

/// Why a series ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_end_reason {
    /// The sensor was unregistered.
    SENZA_END_UNREGISTERED = 0,
    /// Another node owns the sensor now; its readings go on under another epoch.
    SENZA_END_MOVED = 1,
}

/// What all readings of one attribute under one claim share. Within a batch, items of one series point to the same one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_series {
    /// The sensor's id.
    pub sensor: senza_str,
    /// The attribute's id.
    pub attribute: senza_str,
    /// The sensor's type.
    pub sensor_type: senza_str,
    /// The name of the node that owns it.
    pub node: senza_str,
    /// The claim under which its readings are numbered; (epoch, seq) names a reading for ever.
    pub epoch: u64,
}

/// One reading, told gap, or end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct senza_item {
    /// A senza_what.
    pub what: u32,
    /// Of a gap a senza_gap_reason, of an end a senza_end_reason, else 0.
    pub reason: u32,
    /// Whose it is.
    pub series: *const senza_series,
    /// The reading's number in its series: from 1, without a hole. Of a gap the first lost number, of an end the last.
    pub seq: u64,
    /// Of a gap the last lost number, UINT64_MAX where nobody knows it. Of SENZA_STARTING the number after which live
    /// readings go on. Else `seq`.
    pub to: u64,
    /// When it was read, as the device says: microseconds since 1970.
    pub time_us: i64,
    /// When the owner took it: microseconds since 1970.
    pub received_us: i64,
    /// What was read.
    pub value: senza_value,
}

/// Memory that a batch or page lies in. Only senza looks into it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_memory {
    /// Its number; 0 for none.
    pub id: u64,
}

/// Readings, gaps and ends. Begin with all zeros (SENZA_ZERO); every call that fills it uses its memory again, so that
/// `items`, and all that they point to, are good until the next one or senza_batch_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_batch {
    /// The first.
    pub items: *const senza_item,
    /// How many.
    pub count: usize,
    /// Where they lie.
    pub memory: senza_memory,
}

/// Most readings that one call answers; gaps and ends come on top.
pub(crate) const ITEMS_MAX: usize = 1_000_000;
/// Batches and pages that are in use at a time.
const MEMORIES_MAX: usize = 1_000_000;
/// Bytes of one block of texts, and entries of one block of anything else.
const TEXT_BLOCK: usize = 16 * 1024;
const BLOCK: usize = 256;
/// Blocks kept for the next answer.
const BLOCKS_KEPT: usize = 16;

static MEMORIES: Handles<Mutex<Pile>> = Handles::new(Kind::Memory, 32, 28, MEMORIES_MAX);

/// Copies that stay where they are until all of them are cleared.
pub(crate) struct Arena<T> {
    blocks: Vec<Vec<T>>,
    block: usize,
    at: usize,
}

impl<T: Copy> Arena<T> {
    const fn new(block: usize) -> Self {
        Self { blocks: Vec::new(), block, at: 0 }
    }

    /// Copies `all`, and `last` behind it.
    pub(crate) fn put(&mut self, all: &[T], last: Option<T>) -> *const T {
        let needed = all.len() + usize::from(last.is_some());
        while self.blocks.get(self.at).is_some_and(|block| block.capacity() - block.len() < needed) {
            self.at += 1;
        }
        if self.at == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(needed.max(self.block)));
        }
        let block = &mut self.blocks[self.at];
        let begin = block.len();
        // Within the capacity, so that nothing moves.
        block.extend_from_slice(all);
        block.extend(last);
        block.as_ptr().wrapping_add(begin)
    }

    fn clear(&mut self) {
        self.blocks.truncate(BLOCKS_KEPT);
        self.blocks.iter_mut().for_each(Vec::clear);
        self.at = 0;
    }
}

/// Copies of texts and numbers.
pub(crate) struct Texts {
    bytes: Arena<u8>,
    floats: Arena<f32>,
}

impl Texts {
    /// A copy with a NUL behind it.
    pub(crate) fn text(&mut self, text: &[u8]) -> senza_str {
        senza_str { data: self.bytes.put(text, Some(0)).cast::<c_char>(), length: text.len() }
    }

    /// A copy.
    pub(crate) fn numbers(&mut self, numbers: &[f32]) -> *const f32 {
        self.floats.put(numbers, None)
    }
}

/// The memory of one answer: its entries, and what they point to.
pub(crate) struct Pile {
    pub(crate) texts: Texts,
    series: Arena<senza_series>,
    pub(crate) items: Vec<senza_item>,
    pub(crate) listed: Vec<crate::directory::senza_listed>,
    pub(crate) nodes: Vec<crate::directory::senza_node_view>,
    pub(crate) events: Vec<crate::events::senza_event>,
    pub(crate) heals: Arena<crate::events::senza_heal>,
    pub(crate) settled: Arena<crate::events::senza_settled>,
    pub(crate) latencies: Vec<crate::latency::senza_latency>,
    pub(crate) clocks: Vec<crate::latency::senza_clock>,
    pub(crate) buckets: Arena<crate::latency::senza_bucket>,
    pub(crate) strings: Vec<senza_str>,
    /// Where a listing goes on.
    pub(crate) cursor: Option<senza::Cursor>,
    /// Which series of a subscription were copied already, by their numbers there, and in which filling.
    copied: Vec<(u64, *const senza_series)>,
    filling: u64,
}

// SAFETY: its pointers point into its own blocks, or are of static texts.
unsafe impl Send for Pile {}

impl Default for Pile {
    fn default() -> Self {
        Self {
            texts: Texts { bytes: Arena::new(TEXT_BLOCK), floats: Arena::new(BLOCK) },
            series: Arena::new(BLOCK),
            items: Vec::new(),
            listed: Vec::new(),
            nodes: Vec::new(),
            events: Vec::new(),
            heals: Arena::new(1),
            settled: Arena::new(1),
            latencies: Vec::new(),
            clocks: Vec::new(),
            buckets: Arena::new(BLOCK),
            strings: Vec::new(),
            cursor: None,
            copied: Vec::new(),
            filling: 0,
        }
    }
}

impl Pile {
    /// Forgets what it holds, and keeps some room for what comes.
    pub(crate) fn clear(&mut self) {
        self.texts.bytes.clear();
        self.texts.floats.clear();
        self.series.clear();
        self.heals.clear();
        self.settled.clear();
        self.buckets.clear();
        clear(&mut self.items);
        clear(&mut self.listed);
        clear(&mut self.nodes);
        clear(&mut self.events);
        clear(&mut self.latencies);
        clear(&mut self.clocks);
        clear(&mut self.strings);
        self.filling += 1;
    }

    /// Adds one thing taken from a subscription.
    #[inline]
    pub(crate) fn add_item(&mut self, item: Item<'_>) {
        let number = item.row.series as usize;
        let series = match self.copied.get(number) {
            Some((filling, series)) if *filling == self.filling => *series,
            _ => self.copy_of(number, item.series),
        };
        let Row { seq, source_time: time_us, received_time: received_us, slot, .. } = item.row;
        let plain = senza_item {
            what: senza_what::SENZA_READING as u32,
            reason: 0,
            series,
            seq,
            to: seq,
            time_us,
            received_us,
            value: senza_value::NONE,
        };
        self.items.push(if let Some(reason) = item.row.gap_reason() {
            senza_item { what: senza_what::SENZA_GAP as u32, reason: reason as u32, to: slot, ..plain }
        } else if let Some(reason) = item.row.end_reason() {
            senza_item { what: senza_what::SENZA_END as u32, reason: reason as u32, ..plain }
        } else {
            let value = item.value.as_ref().map_or(senza_value::NONE, |value| senza_value::of(value, &mut self.texts));
            match item.position {
                Some(to) => senza_item { what: senza_what::SENZA_STARTING as u32, to, value, ..plain },
                None => senza_item { value, ..plain },
            }
        });
    }

    /// Adds readings of one attribute.
    pub(crate) fn add_readings(&mut self, readings: &[Reading]) {
        for run in readings.chunk_by(|a, b| Arc::ptr_eq(&a.series, &b.series)) {
            let series = self.series_of(&run[0].series);
            for reading in run {
                let value = senza_value::of(&reading.value, &mut self.texts);
                self.items.push(senza_item {
                    what: senza_what::SENZA_READING as u32,
                    reason: 0,
                    series,
                    seq: reading.seq,
                    to: reading.seq,
                    time_us: reading.source_time,
                    received_us: reading.received_time,
                    value,
                });
            }
        }
    }

    #[cold]
    fn copy_of(&mut self, number: usize, series: &Arc<Series>) -> *const senza_series {
        if number >= self.copied.len() {
            self.copied.resize(number + 1, (0, std::ptr::null()));
        }
        let copy = self.series_of(series);
        self.copied[number] = (self.filling, copy);
        copy
    }

    fn series_of(&mut self, series: &Arc<Series>) -> *const senza_series {
        let texts = &mut self.texts;
        let copy = senza_series {
            sensor: texts.text(series.sensor.as_str().as_bytes()),
            attribute: texts.text(series.attribute.as_str().as_bytes()),
            sensor_type: texts.text(series.sensor_type.as_str().as_bytes()),
            node: texts.text(series.node.as_str().as_bytes()),
            epoch: series.epoch,
        };
        self.series.put(&[copy], None)
    }
}

/// Empties a list, and gives back memory that one large answer needed.
fn clear<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(65_536);
}

/// Has an answer's memory emptied and filled, new memory where it has none yet. It stays the answer's also where
/// filling fails.
pub(crate) fn fill<T>(memory: &mut senza_memory, fill: impl FnOnce(&mut Pile) -> Outcome<T>) -> Outcome<T> {
    let held = if memory.id == 0 { MEMORIES.insert(|_| Mutex::default()) } else { MEMORIES.hold(memory.id) }?;
    memory.id = held.id;
    let mut pile = held.try_lock().ok_or_else(|| {
        refuse(senza_code::SENZA_BUSY, "another thread fills this batch or page: each thread needs its own")
    })?;
    pile.clear();
    fill(&mut pile)
}

impl senza_batch {
    /// Has the batch filled.
    pub(crate) fn fill(&mut self, with: impl FnOnce(&mut Pile) -> Outcome<()>) -> Outcome<()> {
        let Self { items, count, memory } = self;
        (*items, *count) = (std::ptr::null(), 0);
        fill(memory, |pile| {
            with(pile)?;
            (*items, *count) = (pile.items.as_ptr(), pile.items.len());
            Ok(())
        })
    }
}

/// Gives memory back; none is fine.
pub(crate) fn free(memory: senza_memory) -> Outcome<()> {
    if memory.id != 0 {
        MEMORIES.remove(memory.id)?;
    }
    Ok(())
}

/// Gives a batch's memory back and sets it to all zeros; one of all zeros is fine.
///
/// Thread-safe; a batch itself is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_batch_free(batch: *mut senza_batch) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        let memory = batch.memory;
        *batch = senza_batch { items: std::ptr::null(), count: 0, memory: senza_memory { id: 0 } };
        free(memory)
    })
}

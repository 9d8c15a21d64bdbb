//! Frames: batches of rows between two nodes ⇄ bytes.
//!
//! A frame is columnar. Series are named by the number they have in the sender's queue for that link; the first frame of
//! a generation that needs a series carries its entry. Everything a receiver needs to notice a lost frame is inside
//! (frame number, generation, entries so far, counters per series). Drawn byte for byte in docs/PROTOCOL.md.
//!
//! Writing and reading are pure; neither knows a link, a table or a directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::codec::{Reader, text8, text16};
use crate::error::{Error, Result};
use crate::reading::{
    AttributeId, Delivery, EndReason, Epoch, GapReason, Micros, NodeName, Reading, SensorId, SensorType, Seq, Series,
    SeriesKind, Value,
};
use crate::row::{
    FLAG_SKIPPED, FLAG_START, KIND_BOOL, KIND_BYTES, KIND_END, KIND_F64, KIND_GAP, KIND_I64, KIND_JSON, KIND_TEXT,
    KIND_VECTOR, Row, encode,
};
use crate::subscription::Item;

/// Series of one link at most: numbers above are refused.
pub const DICTIONARY_MAX: usize = 16_000_000;
/// The highest number of a frame, and of a reading before its series' first in a frame: what counting never reaches.
pub const NUMBER_MAX: u64 = 1 << 62;
/// Rows of one frame at most.
pub const ROWS_MAX: usize = 65_536;

/// Times take eight bytes instead of four.
const WIDE_TIMES: u8 = 1;
/// A kind for each row; else one for all.
const MIXED_KINDS: u8 = 2;
/// No received times: all are the base time.
const SAME_RECEIVED: u8 = 4;
/// No source times: each is the received time.
const SOURCE_IS_RECEIVED: u8 = 8;
const FLAGS: u8 = WIDE_TIMES | MIXED_KINDS | SAME_RECEIVED | SOURCE_IS_RECEIVED;

/// The sending side of one link: numbers frames and knows what the receiver was told of each series.
#[derive(Debug)]
pub struct FrameWriter {
    number: u64,
    generation: u64,
    /// Counts generations of this writer, from 1.
    era: u32,
    /// Series whose last entry was sent before this era have no gap told from their first number on.
    replay_from: u32,
    /// By the series' number.
    sent: Vec<Sent>,
    /// Entries sent in this generation.
    entries: u64,
    columns: Columns,
}

/// What the receiver was told of a series.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// The era of its entry; 0: none.
    era: u32,
    base: Seq,
    /// The base of its first entry since somebody last asked for it.
    first: Seq,
    /// The number of the last frame with a row of this number: a new entry waits for the next.
    frame: u64,
}

/// Scratch space, used again for every frame.
#[derive(Debug, Default)]
struct Columns {
    entries: Vec<u8>,
    entry_count: u32,
    entries_before: u64,
    series: Vec<u8>,
    seqs: Vec<u8>,
    source_times: Vec<Micros>,
    received_times: Vec<Micros>,
    kinds: Vec<u8>,
    values: Vec<u8>,
    blob: Vec<u8>,
}

// === impl FrameWriter ===

impl FrameWriter {
    /// A writer whose first generation is the given one, so that a link opened again is told from the one before.
    pub fn starting_at(generation: u64) -> Self {
        let (sent, columns) = (Vec::new(), Columns::default());
        Self { number: 0, generation, era: 1, replay_from: 0, sent, entries: 0, columns }
    }

    /// Starts a new generation, at least the given one, as a receiver asks after a loss.
    ///
    /// A series that was sent is introduced again behind a gap from its first number on; whoever heard some of them
    /// knows which are missing, and whoever heard none is told of all.
    pub fn reset(&mut self, generation: u64) {
        self.generation = generation.max(self.generation.saturating_add(1));
        self.era += 1;
        self.entries = 0;
        debug_assert!(self.is_empty(), "a frame is of one generation");
        self.columns.entries_before = 0;
    }

    /// Forgets what was sent before the last reset, as another interest of the receiver asks.
    pub fn forget_replay(&mut self) {
        self.replay_from = self.era - 1;
    }

    /// Says that a number stands for another series from now on.
    pub fn redefine(&mut self, series: u32) {
        if let Some(sent) = self.sent.get_mut(series as usize) {
            *sent = Sent { frame: sent.frame, ..Sent::default() };
        }
    }

    /// Whether an item can go into the frame under way: not where it needs an entry and that has rows of its number
    /// already, which would be read by it.
    pub fn fits(&self, item: &Item<'_>) -> bool {
        let Some(sent) = self.sent.get(item.row.series as usize) else { return true };
        sent.frame != self.number + 1 || !self.needs_entry(sent, &item.row, item.position)
    }

    /// A start's counter is its entry's base.
    fn needs_entry(&self, sent: &Sent, row: &Row, position: Option<Seq>) -> bool {
        let is_moved = position.is_some_and(|position| position != sent.base);
        sent.era != self.era || is_moved || i32::try_from(row.seq.wrapping_sub(sent.base) as i64).is_err()
    }

    /// The number of the last frame written.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes the frame under way has, about.
    pub fn size(&self) -> usize {
        self.columns.size()
    }

    /// Whether the frame under way has as many bytes as that.
    pub fn is_full(&self, budget: usize) -> bool {
        self.size() >= budget || self.columns.kinds.len() >= ROWS_MAX - 1
    }

    /// How many rows the frame under way has.
    pub fn rows(&self) -> usize {
        self.columns.kinds.len()
    }

    /// Whether nothing was added since the last frame.
    pub fn is_empty(&self) -> bool {
        self.columns.kinds.is_empty()
    }

    /// Adds what was taken from a queue to the frame under way, which it has to [fit](Self::fits).
    pub fn add(&mut self, item: &Item<'_>) {
        let row = &item.row;
        let base = self.base(item.series, row, item.position);
        let (kind, slot) = match &item.value {
            Some(value) if row.has_value_beside() => (row.kind_and_flags(), self.columns.beside(value)),
            _ => (row.kind_and_flags(), row.slot),
        };
        self.columns.push(
            row.series,
            row.seq.wrapping_sub(base) as u32,
            (row.source_time, row.received_time),
            kind,
            slot,
        );
    }

    /// When the owner took the live readings of the frame under way: about `max` of them, evenly chosen, each with the number
    /// of readings that it stands for.
    pub fn sample(&self, max: usize, mut visit: impl FnMut(Micros, u64)) {
        let Columns { kinds, received_times, .. } = &self.columns;
        let stride = kinds.len().div_ceil(max.max(1)).max(1);
        for (kinds, times) in kinds.chunks(stride).zip(received_times.chunks(stride)) {
            let is_live = |kind: u8| kind & FLAG_START == 0 && kind & !FLAG_SKIPPED < KIND_GAP;
            if let (Some(kind), Some(time)) = (kinds.first(), times.first())
                && is_live(*kind)
            {
                visit(*time, kinds.len() as u64);
            }
        }
    }

    /// Appends the body of the frame under way to `out`, and begins the next one. `sent` is the time of day.
    pub fn finish(&mut self, sent: Micros, out: &mut Vec<u8>) {
        self.number += 1;
        self.columns.write((self.number, self.generation, sent), out);
        self.columns.clear(self.entries);
    }

    /// The base of a series' entry; a new entry where there is none, where a start's counter is another, or where the
    /// number would not fit behind the old base.
    fn base(&mut self, series: &Arc<Series>, row: &Row, position: Option<Seq>) -> Seq {
        let base = position.unwrap_or(row.seq.wrapping_sub(1));
        let at = row.series as usize;
        if at >= self.sent.len() {
            self.sent.resize(at + 1, Sent::default());
        }
        let known = self.sent[at];
        let is_told = known.era == self.era;
        if !self.needs_entry(&known, row, position) {
            self.sent[at].frame = self.number + 1;
            return known.base;
        }
        let replayed = (!is_told && known.era > self.replay_from && known.era > 0).then_some(known.first);
        // An entry renewed only because numbers outgrew it has the first of the one before.
        let first = replayed.or((is_told && position.is_none()).then_some(known.first)).unwrap_or(base);
        self.sent[at] = Sent { era: self.era, base, first, frame: self.number + 1 };
        self.entries += 1;
        self.columns.entry(row.series, series, base);
        // The reading itself comes next: whoever missed it gets it. A gap that is empty then still says what was sent; none
        // can say that nothing was heard before the number 1.
        let to = if row.seq > 1 { base.min(row.seq - 1) } else { base };
        if replayed.is_some_and(|first| first < base) && i32::try_from(base.wrapping_sub(first)).is_ok() {
            let seq = (first + 1).wrapping_sub(base) as u32;
            let times = (row.source_time, row.received_time);
            self.columns.push(row.series, seq, times, KIND_GAP + GapReason::Link as u8, to);
        }
        base
    }
}

/// Writes deliveries as frames, numbering their series as they come: for answers to questions, and for tests.
#[derive(Debug)]
pub struct DeliveryWriter {
    writer: FrameWriter,
    /// By address of the series, which is kept alive.
    numbers: HashMap<usize, (u32, Arc<Series>), RandomState>,
}

impl Default for DeliveryWriter {
    fn default() -> Self {
        Self { writer: FrameWriter::starting_at(0), numbers: HashMap::default() }
    }
}

impl DeliveryWriter {
    /// The number of the last frame written.
    pub fn number(&self) -> u64 {
        self.writer.number()
    }

    /// As [`FrameWriter::reset`].
    pub fn reset(&mut self, generation: u64) {
        self.writer.reset(generation);
    }

    /// Appends the body of one frame to `out` with as many of the deliveries as `budget` bytes and one frame hold, at
    /// least one. Answers how many it took.
    pub fn write(&mut self, deliveries: &[Delivery], budget: usize, out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        for delivery in deliveries {
            let (row, value, position) = self.row(delivery);
            let item = Item { series: series_of(delivery), row, value, position };
            if taken > 0 && (self.writer.is_full(budget) || !self.writer.fits(&item)) {
                break;
            }
            self.writer.add(&item);
            taken += 1;
        }
        self.writer.finish(0, out);
        taken
    }

    fn row(&mut self, delivery: &Delivery) -> (Row, Option<Value>, Option<Seq>) {
        let (series, next) = (series_of(delivery), self.numbers.len() as u32);
        let number = self.numbers.entry(Arc::as_ptr(series) as usize).or_insert_with(|| (next, series.clone())).0;
        let reading_row = |reading: &Reading| {
            let (kind, slot) = encode(&reading.value);
            Row::from_parts(number, kind, reading.seq, (reading.source_time, reading.received_time), slot)
        };
        match delivery {
            Delivery::Reading(reading) => (reading_row(reading), Some(reading.value.clone()), None),
            Delivery::Start(reading, at) => (reading_row(reading).start(), Some(reading.value.clone()), Some(*at)),
            Delivery::Gap(gap) => (Row::gap(number, gap.from, gap.to, gap.reason), None, None),
            Delivery::End(end) => (Row::end(number, end.last, end.reason), None, None),
        }
    }
}

fn series_of(delivery: &Delivery) -> &Arc<Series> {
    match delivery {
        Delivery::Reading(reading) | Delivery::Start(reading, _) => &reading.series,
        Delivery::Gap(gap) => &gap.series,
        Delivery::End(end) => &end.series,
    }
}

// === impl Columns ===

impl Columns {
    fn clear(&mut self, entries_before: u64) {
        self.entries.clear();
        self.entry_count = 0;
        self.entries_before = entries_before;
        self.series.clear();
        self.seqs.clear();
        self.source_times.clear();
        self.received_times.clear();
        self.kinds.clear();
        self.values.clear();
        self.blob.clear();
    }

    fn size(&self) -> usize {
        self.entries.len() + self.blob.len() + self.kinds.len() * 24
    }

    fn entry(&mut self, number: u32, series: &Series, base: Seq) {
        self.entries.extend_from_slice(&number.to_le_bytes());
        text16(series.sensor.as_str(), &mut self.entries);
        text8(series.attribute.as_str(), &mut self.entries);
        text8(series.sensor_type.as_str(), &mut self.entries);
        self.entries.push(u8::from(series.lossless));
        self.entries.extend_from_slice(&series.epoch.to_le_bytes());
        self.entries.extend_from_slice(&base.to_le_bytes());
        self.entry_count += 1;
    }

    /// Keeps a value that does not fit a slot; answers its length.
    fn beside(&mut self, value: &Value) -> u64 {
        let bytes: &[u8] = match value {
            Value::Text(text) | Value::Json(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            Value::Vector(vector) => {
                self.blob.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
                return vector.len() as u64 * 4;
            }
            Value::F64(_) | Value::I64(_) | Value::Bool(_) => &[],
        };
        self.blob.extend_from_slice(bytes);
        bytes.len() as u64
    }

    fn push(&mut self, series: u32, seq: u32, times: (Micros, Micros), kind: u8, slot: u64) {
        self.series.extend_from_slice(&series.to_le_bytes());
        self.seqs.extend_from_slice(&seq.to_le_bytes());
        self.source_times.push(times.0);
        self.received_times.push(times.1);
        self.kinds.push(kind);
        self.values.extend_from_slice(&slot.to_le_bytes());
    }

    fn write(&self, (number, generation, sent): (u64, u64, Micros), out: &mut Vec<u8>) {
        // Gaps have no time.
        let base_time = self.received_times.iter().copied().find(|time| *time != 0).unwrap_or_default();
        let same = self.received_times.iter().all(|time| *time == base_time);
        let source_is = self.source_times == self.received_times;
        let narrow = |times: &[Micros]| times.iter().all(|time| i32::try_from(time.wrapping_sub(base_time)).is_ok());
        let wide = !(narrow(&self.source_times) && narrow(&self.received_times));
        let kind = self.kinds.first().copied().unwrap_or(KIND_F64);
        let mixed = self.kinds.iter().any(|other| *other != kind);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.reserve(64 + self.size() + flag(wide, 1) as usize * self.kinds.len() * 8);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&sent.to_le_bytes());
        out.push(
            flag(wide, WIDE_TIMES)
                | flag(mixed, MIXED_KINDS)
                | flag(same, SAME_RECEIVED)
                | flag(source_is, SOURCE_IS_RECEIVED),
        );
        out.extend_from_slice(&self.entries_before.to_le_bytes());
        out.extend_from_slice(&self.entry_count.to_le_bytes());
        out.extend_from_slice(&self.entries);
        out.extend_from_slice(&(self.kinds.len() as u32).to_le_bytes());
        out.extend_from_slice(&base_time.to_le_bytes());
        out.extend_from_slice(&self.series);
        out.extend_from_slice(&self.seqs);
        if !source_is {
            put_times(&self.source_times, base_time, wide, out);
        }
        if !same {
            put_times(&self.received_times, base_time, wide, out);
        }
        out.extend_from_slice(if mixed { &self.kinds } else { std::slice::from_ref(&kind) });
        out.extend_from_slice(&self.values);
        out.extend_from_slice(&self.blob);
    }
}

fn put_times(times: &[Micros], base: Micros, wide: bool, out: &mut Vec<u8>) {
    if wide {
        out.extend(times.iter().flat_map(|time| time.wrapping_sub(base).to_le_bytes()));
    } else {
        out.extend(times.iter().flat_map(|time| (time.wrapping_sub(base) as i32).to_le_bytes()));
    }
}

// === reading frames ===

/// What a frame says of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number on the link.
    pub number: u32,
    /// The series, owned by the frame's sender.
    pub series: Arc<Series>,
    /// The number before the first live reading that follows.
    pub base: Seq,
}

/// A frame whose outline was checked; its rows are read one by one.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Counts up by one per link.
    pub number: u64,
    /// A later one is higher.
    pub generation: u64,
    /// When it was sent, by its sender's time of day; 0 where nobody says.
    pub sent: Micros,
    /// How many entries were sent before it in this generation.
    pub entries_before: u64,
    /// What it says of series.
    pub entries: Vec<Entry>,
    rows: Rows<'a>,
}

#[derive(Debug)]
struct Rows<'a> {
    base_time: Micros,
    wide: bool,
    series: &'a [[u8; 4]],
    seqs: &'a [[u8; 4]],
    source_times: Option<&'a [u8]>,
    received_times: Option<&'a [u8]>,
    kinds: &'a [u8],
    values: &'a [[u8; 8]],
    blob: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks a frame's outline. `node` is its sender, the owner of every series in it. Allocates for the new entries
    /// alone, never by a length that the bytes do not hold.
    ///
    /// # Errors
    /// [`Error::Wire`] with the rule that is broken.
    pub fn parse(body: &'a [u8], node: &NodeName) -> Result<Self> {
        let mut input = Reader::new(body);
        let (number, generation, sent, flags) = (input.u64()?, input.u64()?, input.i64()?, input.u8()?);
        if number > NUMBER_MAX {
            return Err(input.refuse("a frame number larger than allowed"));
        }
        if flags & !FLAGS != 0 {
            return Err(input.refuse("unknown flags of a frame"));
        }
        let entries_before = input.u64()?;
        let count = input.u32()? as usize;
        let entries = input.list(count, 27, |input| entry(input, node))?;
        let rows = Rows::parse(&mut input, flags)?;
        Ok(Self { number, generation, sent, entries_before, entries, rows })
    }

    /// The generation of a body, read alone; `None` where it is too short.
    pub fn generation_of(body: &[u8]) -> Option<u64> {
        let (_number, rest) = body.split_first_chunk::<8>()?;
        rest.first_chunk().map(|generation| u64::from_le_bytes(*generation))
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.series.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the rows in order and hands each to `visit`, with the value that does not fit it. A row's seq is relative
    /// to its entry's base, as an `i32`.
    ///
    /// # Errors
    /// At the first row that breaks a rule; the rows before it were visited.
    pub fn rows(&self, mut visit: impl FnMut(Row, Option<Value>)) -> Result<()> {
        let rows = &self.rows;
        let mut blob = Reader::new(rows.blob);
        for at in 0..rows.series.len() {
            let kind = rows.kinds.get(at).or(rows.kinds.first()).copied().unwrap_or(KIND_F64);
            let slot = u64::from_le_bytes(rows.values[at]);
            let value = match kind & !(FLAG_START | FLAG_SKIPPED) {
                KIND_F64 | KIND_I64 => None,
                KIND_BOOL if slot <= 1 => None,
                KIND_TEXT | KIND_JSON | KIND_BYTES | KIND_VECTOR => Some(beside(kind, slot, &mut blob)?),
                KIND_END if EndReason::from_wire(slot).is_some() => None,
                gap if gap >= KIND_GAP && GapReason::from_wire(gap - KIND_GAP).is_some() => None,
                _ => return Err(blob.refuse("an unknown kind of row")),
            };
            let seq = i64::from(i32::from_le_bytes(rows.seqs[at])) as u64;
            let received = rows.received_times.map_or(rows.base_time, |column| rows.time(column, at));
            let source = rows.source_times.map_or(received, |column| rows.time(column, at));
            visit(Row::from_parts(u32::from_le_bytes(rows.series[at]), kind, seq, (source, received), slot), value);
        }
        blob.end()
    }
}

fn entry(input: &mut Reader<'_>, node: &NodeName) -> Result<Entry> {
    let number = input.u32()?;
    if number as usize >= DICTIONARY_MAX {
        return Err(input.refuse("a series' number larger than allowed"));
    }
    let sensor: SensorId = input.sensor()?;
    let attribute = input.text8()?;
    let attribute = AttributeId::new(attribute).map_err(|_| input.refuse("not an attribute id"))?;
    let sensor_type = input.text8()?;
    let sensor_type = SensorType::new(sensor_type).map_err(|_| input.refuse("not a sensor type"))?;
    let lossless = match input.u8()? {
        0 => false,
        1 => true,
        _ => return Err(input.refuse("unknown flags of a series")),
    };
    let epoch: Epoch = input.u64()?;
    let base = input.u64()?;
    if base > NUMBER_MAX {
        return Err(input.refuse("a reading's number larger than allowed"));
    }
    let kind = SeriesKind { attribute, sensor_type, node: node.clone(), lossless };
    Ok(Entry { number, series: Arc::new(Series::new(sensor, epoch, Arc::new(kind))), base })
}

fn beside(kind: u8, length: u64, blob: &mut Reader<'_>) -> Result<Value> {
    let length = usize::try_from(length).map_err(|_| blob.refuse("a value larger than its frame"))?;
    let bytes = blob.take(length)?;
    let text = || std::str::from_utf8(bytes).map_err(|_| Error::Wire { at: 0, rule: "text that is not UTF-8" });
    let value = match kind & !(FLAG_START | FLAG_SKIPPED) {
        KIND_TEXT => Value::Text(text()?.into()),
        KIND_JSON => Value::Json(text()?.into()),
        KIND_BYTES => Value::Bytes(bytes.into()),
        _ => {
            let (numbers, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(blob.refuse("a vector of broken numbers"));
            }
            Value::Vector(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
        }
    };
    value.check().map_err(|_| blob.refuse("a value larger than its limit"))?;
    Ok(value)
}

impl<'a> Rows<'a> {
    fn parse(input: &mut Reader<'a>, flags: u8) -> Result<Self> {
        let count = input.u32()? as usize;
        if count > ROWS_MAX {
            return Err(input.refuse("more rows than a frame may have"));
        }
        let base_time = input.i64()?;
        let wide = flags & WIDE_TIMES != 0;
        let time_size = if wide { 8 } else { 4 };
        let (series, seqs) = (input.take(count * 4)?.as_chunks().0, input.take(count * 4)?.as_chunks().0);
        let mut times = |left_out: u8| match flags & left_out {
            0 => input.take(count * time_size).map(Some),
            _ => Ok(None),
        };
        let (source_times, received_times) = (times(SOURCE_IS_RECEIVED)?, times(SAME_RECEIVED)?);
        let kinds = input.take(if flags & MIXED_KINDS != 0 { count } else { 1 })?;
        let values = input.take(count * 8)?.as_chunks().0;
        Ok(Self { base_time, wide, series, seqs, source_times, received_times, kinds, values, blob: input.rest() })
    }

    fn time(&self, column: &[u8], at: usize) -> Micros {
        let offset = if self.wide {
            column.as_chunks().0.get(at).map_or(0, |bytes| i64::from_le_bytes(*bytes))
        } else {
            column.as_chunks().0.get(at).map_or(0, |bytes| i64::from(i32::from_le_bytes(*bytes)))
        };
        self.base_time.wrapping_add(offset)
    }
}

/// The entries of one link's generation, by number.
pub type Dictionary = BTreeMap<u32, Entry>;

/// Rebuilds what was written, for a reader that has the whole dictionary: the answer to a question, a test.
///
/// # Errors
/// [`Error::Wire`] for bytes that are no frame, or rows outside `dictionary`.
pub fn read_all(body: &[u8], node: &NodeName, dictionary: &mut Dictionary) -> Result<Vec<Delivery>> {
    let frame = Frame::parse(body, node)?;
    dictionary.extend(frame.entries.iter().map(|entry| (entry.number, entry.clone())));
    let mut out = Vec::new();
    let mut outside = false;
    frame.rows(|row, value| {
        let Some(entry) = dictionary.get(&row.series) else {
            outside = true;
            return;
        };
        let value = value.or(row.plain_value());
        let position = row.is_start().then_some(entry.base);
        let mut row = row;
        row.seq = entry.base.wrapping_add(row.seq);
        out.extend(Item { series: &entry.series, row, value, position }.delivery());
    })?;
    if outside {
        return Err(Error::Wire { at: 0, rule: "a row without an entry in the dictionary" });
    }
    Ok(out)
}

#[cfg(test)]
mod tests;

//! Frames: batches of readings between two nodes ⇄ bytes.
//!
//! A frame is columnar. Series are named by a number from a dictionary that both ends build as they go: the first
//! frame that needs an entry carries it. Everything a receiver needs to notice a lost frame is inside (frame number,
//! generation of the dictionary, counters per series). Drawn byte for byte in docs/PROTOCOL.md.
//!
//! Writing and reading are pure; neither knows a link, a table or a directory.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::codec::{Reader, text8, text16};
use crate::error::Result;
use crate::reading::{
    AttributeId, Delivery, Epoch, Gap, GapReason, Micros, NodeName, Reading, SensorId, SensorType, Seq, Series, Value,
};

/// Entries of one generation of a dictionary; the writer starts a new generation beyond.
pub const DICTIONARY_MAX: usize = 4_000_000;
/// Rows of one frame at most.
pub const ROWS_MAX: usize = 65_536;

const WIDE_TIMES: u8 = 1;
const MIXED_KINDS: u8 = 2;

const KIND_F64: u8 = 0;
const KIND_I64: u8 = 1;
const KIND_BOOL: u8 = 2;
const KIND_TEXT: u8 = 3;
const KIND_BYTES: u8 = 4;
const KIND_VECTOR: u8 = 5;
const KIND_JSON: u8 = 6;
const KIND_GAP: u8 = 16;
const START: u8 = 0x80;

/// The sending side of one link: numbers frames and keeps the dictionary.
#[derive(Debug, Default)]
pub struct FrameWriter {
    number: u64,
    generation: u64,
    /// By address of the series, which `held` keeps alive.
    by_series: HashMap<usize, Slot, RandomState>,
    held: Vec<Arc<Series>>,
    /// What the generation before a reset had: a receiver may have heard nothing of it.
    replay: HashMap<usize, (Arc<Series>, Seq), RandomState>,
    columns: Columns,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u32,
    base: Seq,
    /// The base of its series' first entry since somebody last asked for it.
    first: Seq,
}

/// Scratch space, used again for every frame.
#[derive(Debug, Default)]
struct Columns {
    entries: Vec<u8>,
    entry_count: u32,
    first_entry: u32,
    series: Vec<u32>,
    seqs: Vec<i32>,
    source_times: Vec<Micros>,
    received_times: Vec<Micros>,
    kinds: Vec<u8>,
    values: Vec<u64>,
    blob: Vec<u8>,
}

// === impl FrameWriter ===

impl FrameWriter {
    /// A writer whose first generation is the given one, so that a link opened again is told from the one before.
    pub fn starting_at(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Starts a new generation of the dictionary, at least the given one, as a receiver asks after a loss.
    ///
    /// A series that it had is introduced again behind a gap from its first number on; whoever heard some of them knows
    /// which are missing, and whoever heard none is told of all.
    pub fn reset(&mut self, generation: u64) {
        self.generation = generation.max(self.generation.saturating_add(1));
        for series in self.held.drain(..) {
            if let Some(slot) = self.by_series.remove(&address(&series)) {
                self.replay.entry(address(&series)).or_insert((series, slot.first));
            }
        }
        self.by_series.clear();
    }

    /// Forgets what was sent before the last reset, as another interest of the receiver asks.
    pub fn forget_replay(&mut self) {
        self.replay.clear();
    }

    /// The number of the last frame written.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the series is in the present generation.
    pub fn knows(&self, series: &Arc<Series>) -> bool {
        self.by_series.contains_key(&address(series))
    }

    /// Appends the body of one frame to `out` with as many of the deliveries as `budget` bytes hold, at least one.
    /// Answers how many it took.
    pub fn write(&mut self, deliveries: &[Delivery], budget: usize, out: &mut Vec<u8>) -> usize {
        if self.held.len() >= DICTIONARY_MAX {
            self.reset(0);
        }
        self.number += 1;
        self.columns.clear(self.held.len() as u32);
        let mut taken = 0;
        for delivery in deliveries.iter().take(ROWS_MAX) {
            if taken > 0 && self.columns.size() >= budget {
                break;
            }
            self.row(delivery);
            taken += 1;
        }
        self.columns.write(self.number, self.generation, out);
        taken
    }

    fn row(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Reading(reading) => self.reading(reading, 0, reading.seq.wrapping_sub(1), false),
            Delivery::Start(reading, position) => self.reading(reading, START, *position, true),
            Delivery::Gap(gap) => {
                let slot = self.slot(&gap.series, gap.from, gap.from.wrapping_sub(1), false);
                self.columns.push(slot, gap.from, (0, 0), KIND_GAP + gap.reason as u8, gap.to);
            }
        }
    }

    fn reading(&mut self, reading: &Reading, flags: u8, base: Seq, fresh: bool) {
        let slot = self.slot(&reading.series, reading.seq, base, fresh);
        let times = (reading.source_time, reading.received_time);
        let (kind, value) = self.columns.value(&reading.value);
        self.columns.push(slot, reading.seq, times, kind | flags, value);
    }

    /// The dictionary's entry of a series; a new one where there is none, where `fresh` asks for it, or where the
    /// number would not fit behind the old base.
    fn slot(&mut self, series: &Arc<Series>, seq: Seq, base: Seq, fresh: bool) -> Slot {
        let known = self.by_series.get(&address(series)).copied();
        if let Some(slot) = known.filter(|slot| !fresh && i32::try_from(seq.wrapping_sub(slot.base) as i64).is_ok()) {
            return slot;
        }
        let replayed = self.replay.remove(&address(series)).map(|(_, first)| first);
        // An entry renewed only because numbers outgrew it has the first of the one before.
        let first = replayed.or(known.filter(|_| !fresh).map(|slot| slot.first)).unwrap_or(base);
        let slot = Slot { index: self.held.len() as u32, base, first };
        self.held.push(series.clone());
        self.by_series.insert(address(series), slot);
        self.columns.entry(series, base);
        if replayed.is_some_and(|first| first < base) && i32::try_from(base - first).is_ok() {
            self.columns.push(slot, first + 1, (0, 0), KIND_GAP + GapReason::Link as u8, base);
        }
        slot
    }
}

fn address(series: &Arc<Series>) -> usize {
    Arc::as_ptr(series) as usize
}

// === impl Columns ===

impl Columns {
    fn clear(&mut self, first_entry: u32) {
        self.entries.clear();
        self.entry_count = 0;
        self.first_entry = first_entry;
        self.series.clear();
        self.seqs.clear();
        self.source_times.clear();
        self.received_times.clear();
        self.kinds.clear();
        self.values.clear();
        self.blob.clear();
    }

    fn size(&self) -> usize {
        self.entries.len() + self.blob.len() + self.series.len() * 25
    }

    fn entry(&mut self, series: &Series, base: Seq) {
        text16(series.sensor.as_str(), &mut self.entries);
        text8(series.attribute.as_str(), &mut self.entries);
        text8(series.sensor_type.as_str(), &mut self.entries);
        self.entries.extend_from_slice(&series.epoch.to_le_bytes());
        self.entries.extend_from_slice(&base.to_le_bytes());
        self.entry_count += 1;
    }

    fn value(&mut self, value: &Value) -> (u8, u64) {
        let (kind, bytes): (u8, &[u8]) = match value {
            Value::F64(number) => return (KIND_F64, number.to_bits()),
            Value::I64(number) => return (KIND_I64, *number as u64),
            Value::Bool(truth) => return (KIND_BOOL, u64::from(*truth)),
            Value::Text(text) => (KIND_TEXT, text.as_bytes()),
            Value::Json(text) => (KIND_JSON, text.as_bytes()),
            Value::Bytes(bytes) => (KIND_BYTES, bytes),
            Value::Vector(vector) => {
                self.blob.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
                return (KIND_VECTOR, vector.len() as u64 * 4);
            }
        };
        self.blob.extend_from_slice(bytes);
        (kind, bytes.len() as u64)
    }

    fn push(&mut self, slot: Slot, seq: Seq, times: (Micros, Micros), kind: u8, value: u64) {
        self.series.push(slot.index);
        self.seqs.push(seq.wrapping_sub(slot.base) as i32);
        self.source_times.push(times.0);
        self.received_times.push(times.1);
        self.kinds.push(kind);
        self.values.push(value);
    }

    fn write(&self, number: u64, generation: u64, out: &mut Vec<u8>) {
        let base_time = self.received_times.iter().copied().find(|time| *time != 0).unwrap_or_default();
        let narrow = |times: &[Micros]| times.iter().all(|time| i32::try_from(time.wrapping_sub(base_time)).is_ok());
        let wide = !(narrow(&self.source_times) && narrow(&self.received_times));
        let mixed = self.kinds.iter().any(|kind| *kind != KIND_F64);
        out.reserve(64 + self.size() + if wide { self.series.len() * 8 } else { 0 });
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        out.push(if wide { WIDE_TIMES } else { 0 } | if mixed { MIXED_KINDS } else { 0 });
        out.extend_from_slice(&self.first_entry.to_le_bytes());
        out.extend_from_slice(&self.entry_count.to_le_bytes());
        out.extend_from_slice(&self.entries);
        out.extend_from_slice(&(self.series.len() as u32).to_le_bytes());
        out.extend_from_slice(&base_time.to_le_bytes());
        out.extend(self.series.iter().flat_map(|index| index.to_le_bytes()));
        out.extend(self.seqs.iter().flat_map(|seq| seq.to_le_bytes()));
        for times in [&self.source_times, &self.received_times] {
            if wide {
                out.extend(times.iter().flat_map(|time| time.wrapping_sub(base_time).to_le_bytes()));
            } else {
                out.extend(times.iter().flat_map(|time| (time.wrapping_sub(base_time) as i32).to_le_bytes()));
            }
        }
        if mixed {
            out.extend_from_slice(&self.kinds);
        }
        out.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        out.extend_from_slice(&self.blob);
    }
}

// === reading frames ===

/// An entry that a frame adds to the dictionary.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The series, owned by the frame's sender.
    pub series: Arc<Series>,
    /// The number before the first live one that follows.
    pub base: Seq,
}

/// One row of a frame; `index` is the dictionary's.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which entry of the dictionary.
    pub index: u32,
    /// The reading's number less the entry's base; of a gap its first number.
    pub seq: i32,
    /// What it is.
    pub what: What,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A reading: value, source time, received time, and whether it is a start.
    Reading(Value, Micros, Micros, bool),
    /// A gap up to this number.
    Gap(Seq, GapReason),
}

/// A frame whose outline was checked; its rows are read one by one.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Counts up by one per link.
    pub number: u64,
    /// The dictionary's generation; a later one is higher.
    pub generation: u64,
    /// Where its entries go in the dictionary.
    pub first_entry: u32,
    /// What it adds to the dictionary.
    pub entries: Vec<Entry>,
    rows: Rows<'a>,
}

#[derive(Debug)]
struct Rows<'a> {
    base_time: Micros,
    wide: bool,
    series: &'a [[u8; 4]],
    seqs: &'a [[u8; 4]],
    source_times: &'a [u8],
    received_times: &'a [u8],
    kinds: Option<&'a [u8]>,
    values: &'a [[u8; 8]],
    blob: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks a frame's outline. `node` is its sender, the owner of every series in it. Allocates for the new entries
    /// alone, never by a length that the bytes do not hold.
    ///
    /// # Errors
    /// [`Error::Wire`](crate::error::Error::Wire) with the rule that is broken.
    pub fn parse(body: &'a [u8], node: &NodeName) -> Result<Self> {
        let mut input = Reader::new(body);
        let (number, generation, flags) = (input.u64()?, input.u64()?, input.u8()?);
        if flags & !(WIDE_TIMES | MIXED_KINDS) != 0 {
            return Err(input.refuse("unknown flags of a frame"));
        }
        let first_entry = input.u32()?;
        let count = input.u32()? as usize;
        let entries = input.list(count, 22, |input| entry(input, node))?;
        let rows = Rows::parse(&mut input, flags)?;
        if first_entry as usize + entries.len() > DICTIONARY_MAX + ROWS_MAX {
            return Err(input.refuse("a dictionary larger than allowed"));
        }
        Ok(Self { number, generation, first_entry, entries, rows })
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.series.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the rows in order and hands each to `visit`.
    ///
    /// # Errors
    /// At the first row that breaks a rule; the rows before it were visited.
    pub fn rows(&self, mut visit: impl FnMut(Row)) -> Result<()> {
        let rows = &self.rows;
        let mut blob = Reader::new(rows.blob);
        for at in 0..rows.series.len() {
            let kind = rows.kinds.map_or(KIND_F64, |kinds| kinds[at]);
            let slot = u64::from_le_bytes(rows.values[at]);
            let what = match kind & !START {
                KIND_F64 => rows.reading(at, Value::F64(f64::from_bits(slot)), kind),
                gap if gap >= KIND_GAP => {
                    let reason = GapReason::from_wire(gap - KIND_GAP);
                    What::Gap(slot, reason.ok_or_else(|| blob.refuse("an unknown reason of a gap"))?)
                }
                other => rows.reading(at, value(other, slot, &mut blob)?, kind),
            };
            visit(Row { index: u32::from_le_bytes(rows.series[at]), seq: i32::from_le_bytes(rows.seqs[at]), what });
        }
        blob.end()
    }
}

fn entry(input: &mut Reader<'_>, node: &NodeName) -> Result<Entry> {
    let sensor: SensorId = input.sensor()?;
    let attribute = input.text8()?;
    let attribute = AttributeId::new(attribute).map_err(|_| input.refuse("not an attribute id"))?;
    let sensor_type = input.text8()?;
    let sensor_type = SensorType::new(sensor_type).map_err(|_| input.refuse("not a sensor type"))?;
    let epoch: Epoch = input.u64()?;
    let base = input.u64()?;
    Ok(Entry { series: Arc::new(Series { sensor, attribute, sensor_type, node: node.clone(), epoch }), base })
}

fn value(kind: u8, slot: u64, blob: &mut Reader<'_>) -> Result<Value> {
    match kind {
        KIND_I64 => return Ok(Value::I64(slot as i64)),
        KIND_BOOL if slot <= 1 => return Ok(Value::Bool(slot == 1)),
        KIND_TEXT | KIND_JSON | KIND_BYTES | KIND_VECTOR => {}
        _ => return Err(blob.refuse("an unknown kind of value")),
    }
    let length = usize::try_from(slot).map_err(|_| blob.refuse("a value larger than its frame"))?;
    let bytes = blob.take(length)?;
    let text =
        || std::str::from_utf8(bytes).map_err(|_| crate::error::Error::Wire { at: 0, rule: "text that is not UTF-8" });
    let value = match kind {
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
        Ok(Self {
            base_time,
            wide,
            series: input.take(count * 4)?.as_chunks().0,
            seqs: input.take(count * 4)?.as_chunks().0,
            source_times: input.take(count * time_size)?,
            received_times: input.take(count * time_size)?,
            kinds: if flags & MIXED_KINDS != 0 { Some(input.take(count)?) } else { None },
            values: input.take(count * 8)?.as_chunks().0,
            blob: input.rest(),
        })
    }

    fn reading(&self, at: usize, value: Value, kind: u8) -> What {
        let source_time = self.time(self.source_times, at);
        What::Reading(value, source_time, self.time(self.received_times, at), kind & START != 0)
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

/// Rebuilds what was written, for a reader that has the whole dictionary: the answer to a question, a test.
///
/// # Errors
/// [`Error::Wire`](crate::error::Error::Wire) for bytes that are no frame, or rows outside `dictionary`.
pub fn read_all(body: &[u8], node: &NodeName, dictionary: &mut Vec<Entry>) -> Result<Vec<Delivery>> {
    let frame = Frame::parse(body, node)?;
    dictionary.extend(frame.entries.iter().cloned());
    let mut out = Vec::new();
    let mut outside = false;
    frame.rows(|row| match dictionary.get(row.index as usize) {
        Some(entry) => out.push(row.delivery(entry)),
        None => outside = true,
    })?;
    if outside {
        return Err(crate::error::Error::Wire { at: 0, rule: "a row without an entry in the dictionary" });
    }
    Ok(out)
}

impl Row {
    /// The delivery that the row stands for.
    pub fn delivery(self, entry: &Entry) -> Delivery {
        let seq = entry.base.wrapping_add_signed(i64::from(self.seq));
        let series = entry.series.clone();
        match self.what {
            What::Gap(to, reason) => Delivery::Gap(Gap { series, from: seq, to, reason }),
            What::Reading(value, source_time, received_time, start) => {
                let reading = Reading { series, value, source_time, received_time, seq };
                if start { Delivery::Start(reading, entry.base) } else { Delivery::Reading(reading) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> NodeName {
        NodeName::new("a").unwrap()
    }

    fn series(at: usize) -> Arc<Series> {
        Arc::new(Series {
            sensor: SensorId::new(format!("sensor/{at} ü")).unwrap(),
            attribute: AttributeId::new("x").unwrap(),
            sensor_type: SensorType::default(),
            node: node(),
            epoch: 7 + at as u64,
        })
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<f64>().prop_map(Value::F64),
            any::<i64>().prop_map(Value::I64),
            any::<bool>().prop_map(Value::Bool),
            "\\PC{0,20}".prop_map(|text| Value::Text(text.into())),
            "[a-z]{0,20}".prop_map(|text| Value::Json(format!("[\"{text}\"]").into())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
            prop::collection::vec(any::<f32>(), 0..8).prop_map(|vector| Value::Vector(vector.into())),
        ]
    }

    type Step = (usize, u8, Value, Seq, i64);

    fn deliveries(steps: Vec<Step>) -> Vec<Delivery> {
        let all: Vec<_> = (0..4).map(series).collect();
        let delivery = |(at, kind, value, seq, time): Step| {
            let reading =
                Reading { series: all[at].clone(), value, source_time: time, received_time: time / 2 + 1, seq };
            match kind {
                0 => Delivery::Start(reading, seq + 3),
                1 => Delivery::Gap(Gap { series: all[at].clone(), from: seq, to: seq + 9, reason: GapReason::Relay }),
                _ => Delivery::Reading(reading),
            }
        };
        steps.into_iter().map(delivery).collect()
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let time =
            prop_oneof![Just(1_795_000_000_000_000i64), 1_795_000_000_000_000i64..1_795_000_001_000_000, any::<i64>()];
        let seq = prop_oneof![1u64..100, 0..u64::MAX / 2];
        prop::collection::vec((0usize..4, 0u8..12, value(), seq, time), 1..60)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(steps in steps(), budget in 1usize..2000, reset_at in 0usize..20) {
            let deliveries = deliveries(steps);
            let (mut writer, mut dictionary, mut read) = (FrameWriter::default(), Vec::new(), Vec::new());
            let mut rest = deliveries.as_slice();
            while !rest.is_empty() {
                if writer.number() as usize == reset_at {
                    writer.reset(0);
                    dictionary.clear();
                }
                let mut body = Vec::new();
                let taken = writer.write(rest, budget, &mut body);
                prop_assert!(taken > 0);
                rest = &rest[taken..];
                read.extend(read_all(&body, &node(), &mut dictionary).unwrap());
            }
            // Behind a reset stand gaps of what came before it; they are a test of their own.
            let replayed = |delivery: &Delivery| matches!(delivery, Delivery::Gap(gap) if gap.reason == GapReason::Link);
            read.retain(|delivery| !replayed(delivery));
            prop_assert_eq!(read, deliveries);
        }

        #[test]
        fn damage_is_never_a_panic(steps in steps(), at: usize, byte: u8, cut: usize) {
            let mut body = Vec::new();
            FrameWriter::default().write(&deliveries(steps), 4000, &mut body);
            let place = at % body.len();
            body[place] = byte;
            let _ = read_all(&body, &node(), &mut Vec::new());
            body.truncate(cut % (body.len() + 1));
            let _ = read_all(&body, &node(), &mut Vec::new());
        }
    }

    #[test]
    fn after_a_reset_a_series_stands_behind_a_gap_from_its_first_number() {
        let series = series(0);
        let reading =
            |seq| Reading { series: series.clone(), value: Value::F64(1.5), source_time: 9, received_time: 9, seq };
        let mut writer = FrameWriter::default();
        let mut body = Vec::new();
        writer.write(&[Delivery::Start(reading(4), 5), Delivery::Reading(reading(6))], 1 << 20, &mut body);
        writer.reset(0);
        body.clear();
        writer.write(&[Delivery::Reading(reading(7)), Delivery::Start(reading(7), 7)], 1 << 20, &mut body);
        let read = read_all(&body, &node(), &mut Vec::new()).unwrap();
        let gap = Delivery::Gap(Gap { series: series.clone(), from: 6, to: 6, reason: GapReason::Link });
        assert_eq!(read, [gap, Delivery::Reading(reading(7)), Delivery::Start(reading(7), 7)]);
    }

    #[test]
    fn numbers_of_one_series_cost_24_bytes_each() {
        let series = series(0);
        let reading =
            |seq| Reading { series: series.clone(), value: Value::F64(1.5), source_time: 9, received_time: 9, seq };
        let batch: Vec<_> = (1..=1000).map(|seq| Delivery::Reading(reading(seq))).collect();
        let mut body = Vec::new();
        assert_eq!(FrameWriter::default().write(&batch, 1 << 20, &mut body), 1000);
        assert!(body.len() < 24 * 1000 + 100, "{}", body.len());
    }
}

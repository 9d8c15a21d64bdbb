//! A reading in motion: what queues and frames hold, with its series by number and its value in eight bytes.
//!
//! A row costs no reference count and no allocation. Values that do not fit (text, bytes, vectors, JSON) travel beside
//! their rows, in the order of the rows.

use crate::history::Sample;
use crate::reading::{EndReason, GapReason, Micros, Seq, Value};

/// Kinds of rows: values as in `docs/PROTOCOL.md`; from [`KIND_GAP`] on gaps, by their reason.
pub const KIND_F64: u8 = 0;
/// An `i64` in the slot.
pub const KIND_I64: u8 = 1;
/// A truth value, 0 or 1, in the slot.
pub const KIND_BOOL: u8 = 2;
/// Text beside the row; the slot is unused in queues, a length in frames.
pub const KIND_TEXT: u8 = 3;
/// Bytes beside the row.
pub const KIND_BYTES: u8 = 4;
/// A vector beside the row.
pub const KIND_VECTOR: u8 = 5;
/// JSON beside the row.
pub const KIND_JSON: u8 = 6;
/// A gap: `seq` is its first number, the slot its last. The reason is added.
pub const KIND_GAP: u8 = 16;
/// The end of a series: `seq` is its last number, the slot says why it ended.
pub const KIND_END: u8 = 24;

/// Set on a row that is a start: the latest reading when somebody began to listen. The series' counter then travels
/// beside it in a queue, as its dictionary entry's base in a frame.
pub const FLAG_START: u8 = 0x80;
/// Set on a row before which numbers were left out as the contract says: conflated, rate-limited, filtered. No loss.
pub const FLAG_SKIPPED: u8 = 0x40;
/// Set in queues on a row that gave way to a newer one of its series.
const FLAG_HOLE: u8 = 0x20;
const FLAGS: u8 = FLAG_START | FLAG_SKIPPED | FLAG_HOLE;

/// One reading or gap of a numbered series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The series' number in the queue's or link's dictionary.
    pub series: u32,
    /// What it is, with flags.
    kind: u8,
    /// The reading's number; of a gap its first.
    pub seq: Seq,
    /// When, as the device says.
    pub source_time: Micros,
    /// When the owner took it.
    pub received_time: Micros,
    /// The value's bits; of a gap its last number.
    pub slot: u64,
}

impl Row {
    /// The row of a reading.
    pub fn reading(series: u32, sample: &Sample) -> Self {
        let (kind, slot) = encode(&sample.value);
        Self {
            series,
            kind,
            seq: sample.seq,
            source_time: sample.source_time,
            received_time: sample.received_time,
            slot,
        }
    }

    /// The row of a gap.
    pub fn gap(series: u32, from: Seq, to: Seq, reason: GapReason) -> Self {
        Self { series, kind: KIND_GAP + reason as u8, seq: from, slot: to, ..Self::default() }
    }

    /// The row of a series' end.
    pub fn end(series: u32, last: Seq, reason: EndReason) -> Self {
        Self { series, kind: KIND_END, seq: last, slot: reason as u64, ..Self::default() }
    }

    /// A row from its parts, as a frame holds them.
    pub fn from_parts(series: u32, kind: u8, seq: Seq, times: (Micros, Micros), slot: u64) -> Self {
        Self { series, kind, seq, source_time: times.0, received_time: times.1, slot }
    }

    /// The kind without flags.
    pub fn kind(&self) -> u8 {
        self.kind & !FLAGS
    }

    /// The kind with its flags, as a frame holds it.
    pub fn kind_and_flags(&self) -> u8 {
        self.kind
    }

    /// Whether it is a reading: neither a gap nor an end.
    pub fn is_reading(&self) -> bool {
        self.kind() < KIND_GAP
    }

    /// Whether it is a gap; its reason.
    pub fn gap_reason(&self) -> Option<GapReason> {
        self.kind().checked_sub(KIND_GAP).and_then(GapReason::from_wire)
    }

    /// Whether it is a gap.
    pub fn is_gap(&self) -> bool {
        (KIND_GAP..KIND_END).contains(&self.kind())
    }

    /// Whether it is a series' end; why.
    pub fn end_reason(&self) -> Option<EndReason> {
        (self.kind() == KIND_END).then(|| EndReason::from_wire(self.slot)).flatten()
    }

    /// Whether its value travels beside it.
    pub fn has_value_beside(&self) -> bool {
        (KIND_TEXT..=KIND_JSON).contains(&self.kind())
    }

    /// How many values travel beside it in a queue: a start's counter, then what does not fit the slot.
    pub fn beside(&self) -> usize {
        usize::from(self.is_start()) + usize::from(self.has_value_beside())
    }

    /// Whether it is a start.
    pub fn is_start(&self) -> bool {
        self.kind & FLAG_START != 0
    }

    /// Whether numbers before it were left out by contract.
    pub fn is_after_skip(&self) -> bool {
        self.kind & FLAG_SKIPPED != 0
    }

    /// The same, as a start.
    pub fn start(self) -> Self {
        Self { kind: self.kind | FLAG_START, ..self }
    }

    /// The same, without flags.
    pub fn plain(self) -> Self {
        Self { kind: self.kind(), ..self }
    }

    /// The same, behind numbers that were left out by contract.
    pub fn after_skip(self) -> Self {
        Self { kind: self.kind | FLAG_SKIPPED, ..self }
    }

    /// The same, as a place that gave way: whoever reads passes over it.
    pub(crate) fn hole(self) -> Self {
        Self { kind: self.kind | FLAG_HOLE, ..self }
    }

    /// Whether it gave way to a newer one.
    pub fn is_hole(&self) -> bool {
        self.kind & FLAG_HOLE != 0
    }

    /// The same, of another series.
    pub fn of(self, series: u32) -> Self {
        Self { series, ..self }
    }

    /// The value, where it is not one that travels beside the row.
    pub fn plain_value(&self) -> Option<Value> {
        match self.kind() {
            KIND_F64 => Some(Value::F64(f64::from_bits(self.slot))),
            KIND_I64 => Some(Value::I64(self.slot as i64)),
            KIND_BOOL => Some(Value::Bool(self.slot != 0)),
            _ => None,
        }
    }

    /// The value of a row without flags or anything beside it: by far the most.
    #[inline]
    pub(crate) fn plain_live_value(&self) -> Option<Value> {
        match self.kind {
            KIND_F64 => Some(Value::F64(f64::from_bits(self.slot))),
            KIND_I64 => Some(Value::I64(self.slot as i64)),
            KIND_BOOL => Some(Value::Bool(self.slot != 0)),
            _ => None,
        }
    }

    /// The value as a number, where it is one.
    pub fn as_f64(&self) -> Option<f64> {
        self.plain_value().and_then(|value| value.as_f64())
    }
}

/// A start's counter, as it travels beside its row.
pub(crate) fn counter(position: Seq) -> Value {
    Value::I64(position as i64)
}

/// The counter that [`counter`] made.
pub(crate) fn position(beside: &Value) -> Option<Seq> {
    match beside {
        Value::I64(position) => Some(*position as Seq),
        _ => None,
    }
}

/// The kind of a value, and its bits where they fit.
pub fn encode(value: &Value) -> (u8, u64) {
    match value {
        Value::F64(number) => (KIND_F64, number.to_bits()),
        Value::I64(number) => (KIND_I64, *number as u64),
        Value::Bool(truth) => (KIND_BOOL, u64::from(*truth)),
        Value::Text(_) => (KIND_TEXT, 0),
        Value::Bytes(_) => (KIND_BYTES, 0),
        Value::Vector(_) => (KIND_VECTOR, 0),
        Value::Json(_) => (KIND_JSON, 0),
    }
}

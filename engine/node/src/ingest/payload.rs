//! Payloads ⇄ values: JSON, CBOR, text, bytes, and the public JSON envelope of a reading. Pure: no clock, no socket.
//!
//! What a device may send, by encoding (what follows a `;` in it is ignored):
//!
//! - `application/json`, `text/json`, `…+json`: a number, a truth value, a string, or an object or array kept as JSON.
//!   Integers that fit become i64, other numbers f64. An object that has `value` and no field but the envelope's is the
//!   envelope: `value`, `kind` and `time_us` are read from it. Any other object is a value.
//! - `application/cbor`, `…+cbor`: the same in CBOR, NaN and byte strings included.
//! - `application/senml+json`, `application/senml+cbor`: a pack, on a sensor's key only.
//! - `zenoh/string`, `text/…`: text that is a number or `true`/`false` is that, other text is text.
//! - none, `zenoh/bytes`: as text where it is UTF-8, else bytes. Any other encoding: bytes.
//!
//! Nothing is allocated by a length that the wire names, only by bytes that have come.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use minicbor::data::{Tag, Type};
use minicbor::decode::Decoder;
use senza_core::reading::VALUE_BYTES_MAX;
use senza_core::{AttributeId, Error, Micros, Reading, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::senml;

/// Longest payload that is read, in bytes: the largest value, each of its bytes escaped, has room. A longer one is
/// refused before it is parsed.
pub const PAYLOAD_MAX: usize = 8 * VALUE_BYTES_MAX;
/// Deepest nesting of a CBOR payload, tags included.
const CBOR_DEPTH_MAX: usize = 32;
/// Deepest nesting of a JSON value. JSON parsers commonly stop at 128; an envelope in an array around it must fit.
const JSON_DEPTH_MAX: usize = 120;
/// Bytes that an envelope takes without its value, roughly.
const ENVELOPE_BYTES: usize = 144;
/// The fields of the public envelope.
const ENVELOPE: [&str; 7] = ["value", "kind", "time_us", "received_us", "seq", "epoch", "node"];
/// Writes padding, reads with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One value as a device said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// What was read.
    pub value: Value,
    /// When, if the device says.
    pub source_time: Option<Micros>,
}

/// A public envelope read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// What was read.
    pub value: Value,
    /// When, as the device says.
    pub time_us: Micros,
    /// When the owner took it.
    pub received_us: Micros,
    /// Its number in the series.
    pub seq: u64,
    /// The claim's number.
    pub epoch: u64,
    /// The owner.
    pub node: String,
}

/// Why a payload is refused. Nothing of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Nothing in it.
    #[error("the payload is empty")]
    Empty,
    /// It is longer than what is read; it was not parsed.
    #[error("the payload has {size} bytes, at most {max} are read")]
    TooLong {
        /// Its bytes.
        size: usize,
        /// The most allowed.
        max: usize,
    },
    /// It does not parse as what its encoding says.
    #[error("not {format}: {reason}")]
    Syntax {
        /// The format.
        format: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// It parses, and breaks a rule.
    #[error("{what}: {rule}")]
    Rule {
        /// Whose rule, to count by.
        label: &'static str,
        /// The part of the payload.
        what: String,
        /// The rule.
        rule: &'static str,
    },
    /// An id or a size outside its bounds.
    #[error(transparent)]
    Bounds(#[from] Error),
    /// One entry of several is wrong; none was taken.
    #[error("{what}: {error}")]
    Within {
        /// Which entry.
        what: String,
        /// What is wrong with it.
        error: Box<PayloadError>,
    },
}

type Result<T> = std::result::Result<T, PayloadError>;

/// A parsed payload, of JSON and CBOR alike. Fields keep their order; of those with one name the last counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Null,
    Bool(bool),
    Integer(i64),
    /// An integer above `i64::MAX`.
    Large(u64),
    Number(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Item>),
    Fields(Vec<(String, Item)>),
}

/// What an encoding means here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Cbor,
    SenmlJson,
    SenmlCbor,
    Text,
    TextOrBytes,
    Bytes,
}

/// An object or array as a value, for whoever has it as text: as the same payload of a device, were it no envelope.
///
/// # Errors
/// [`PayloadError`] names what is wrong: a number or text alone has a kind of its own.
pub fn json_value(text: &str) -> Result<Value> {
    if text.len() > PAYLOAD_MAX {
        return Err(PayloadError::TooLong { size: text.len(), max: PAYLOAD_MAX });
    }
    match parse_json(text.as_bytes())? {
        item @ (Item::List(_) | Item::Fields(_)) => {
            let value = value_of(item, Some("json"))?;
            value.check()?;
            Ok(value)
        }
        _ => Err(PayloadError::rule("json", "must be an object or an array")),
    }
}

/// Reads the payload of a put that names sensor and attribute in its key. Cost: one pass and the value's own memory.
///
/// # Errors
/// [`PayloadError`] names what is wrong; a SenML pack is refused, because it names attributes itself.
pub fn decode_one(encoding: &str, bytes: &[u8]) -> Result<Incoming> {
    check_size(bytes)?;
    let plain = |value| Incoming { value, source_time: None };
    let incoming = match format_of(encoding) {
        Format::Json => incoming(parse_json(bytes)?)?,
        Format::Cbor => incoming(parse_cbor(bytes, plain_label)?)?,
        Format::Text => plain(from_text(utf8(bytes)?)),
        Format::TextOrBytes => plain(std::str::from_utf8(bytes).map_or_else(|_| Value::Bytes(bytes.into()), from_text)),
        Format::Bytes => plain(Value::Bytes(bytes.into())),
        Format::SenmlJson | Format::SenmlCbor => {
            return Err(PayloadError::senml("pack", "goes to the sensor's key, not to an attribute's"));
        }
    };
    incoming.value.check()?;
    Ok(incoming)
}

/// Reads the payload of a put that names a sensor only: a SenML pack, or an object `{attribute: value or envelope, …}`
/// in CBOR, or in JSON whatever else its encoding says. `now` resolves SenML's relative times.
///
/// # Errors
/// [`PayloadError`]; one bad entry refuses the whole payload. A lone envelope is refused: it names no attribute.
pub fn decode_many(encoding: &str, sensor: &str, bytes: &[u8], now: Micros) -> Result<Vec<(AttributeId, Incoming)>> {
    check_size(bytes)?;
    let item = match format_of(encoding) {
        Format::SenmlJson => return senml::resolve(&parse_json(bytes)?, sensor, now),
        Format::SenmlCbor => return senml::resolve(&parse_cbor(bytes, senml::label)?, sensor, now),
        Format::Cbor => parse_cbor(bytes, plain_label)?,
        _ => parse_json(bytes)?,
    };
    match item {
        Item::Fields(fields) if fields.is_empty() => Err(PayloadError::Empty),
        Item::Fields(fields) if is_envelope(&fields) => {
            Err(PayloadError::rule("envelope", "names no attribute; put it on <sensor>/<attribute>"))
        }
        Item::Fields(fields) => fields.into_iter().map(attribute).collect(),
        _ => Err(PayloadError::rule("payload", "must be an object {attribute: value} or a SenML pack")),
    }
}

/// Text that is a number or a truth value is that; other text is text, its spaces kept. `nan`, `inf` and `infinity`
/// are numbers in either case of letters; digits that overflow an f64 stay text.
pub fn from_text(text: &str) -> Value {
    let trimmed = text.trim();
    match (trimmed, trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
        ("true", ..) => Value::Bool(true),
        ("false", ..) => Value::Bool(false),
        (_, Ok(number), _) => Value::I64(number),
        (_, _, Ok(number)) if !(number.is_infinite() && trimmed.contains(|c: char| c.is_ascii_digit())) => {
            Value::F64(number)
        }
        _ => Value::Text(text.into()),
    }
}

/// A reading as the public JSON envelope. Cost: one allocation, more only for a long value.
pub fn reading_json(reading: &Reading) -> String {
    let mut out = String::with_capacity(ENVELOPE_BYTES + json_length(&reading.value));
    out.push_str("{\"value\":");
    value_json(&reading.value, &mut out);
    let (time, received, seq) = (reading.source_time, reading.received_time, reading.seq);
    // A node name needs no escape.
    let (epoch, node) = (reading.series.epoch, &reading.series.node);
    append(
        &mut out,
        format_args!(
            ",\"time_us\":{time},\"received_us\":{received},\"seq\":{seq},\"epoch\":{epoch},\"node\":\"{node}\"}}"
        ),
    );
    out
}

/// Appends a value as it stands in an envelope: with its `kind` beside it where JSON alone would not tell. Numbers of a
/// vector that are not finite are the strings `"NaN"`, `"Infinity"`, `"-Infinity"` in it.
pub fn value_json(value: &Value, out: &mut String) {
    match value {
        Value::F64(number) => {
            f64_json(*number, out);
            if !number.is_finite() {
                out.push_str(",\"kind\":\"f64\"");
            }
        }
        Value::I64(number) => append(out, format_args!("{number}")),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Text(text) => text_json(text, out),
        Value::Json(json) => out.push_str(json),
        Value::Bytes(bytes) => {
            out.push('"');
            BASE64.encode_string(bytes, out);
            out.push_str("\",\"kind\":\"bytes\"");
        }
        Value::Vector(vector) => {
            for (at, number) in vector.iter().enumerate() {
                out.push(if at == 0 { '[' } else { ',' });
                f32_json(*number, out);
            }
            out.push_str(if vector.is_empty() { "[],\"kind\":\"vector\"" } else { "],\"kind\":\"vector\"" });
        }
    }
}

/// Reads a public envelope.
///
/// # Errors
/// [`PayloadError`] names the field that is missing or does not fit.
pub fn parse_envelope(json: &Json) -> Result<Envelope> {
    let item = Item::deserialize(json).map_err(|error| PayloadError::syntax("json", error))?;
    let Item::Fields(mut fields) = item else {
        return Err(PayloadError::rule("envelope", "must be an object"));
    };
    let value = enveloped(&mut fields)?;
    let mut field = |name| take(&mut fields, name).ok_or_else(|| PayloadError::rule(name, "is missing"));
    let [time_us, received_us] = [micros(field("time_us")?, "time_us")?, micros(field("received_us")?, "received_us")?];
    let [seq, epoch] = [count(field("seq")?, "seq")?, count(field("epoch")?, "epoch")?];
    let Item::Text(node) = field("node")? else {
        return Err(PayloadError::rule("node", "must be text"));
    };
    Ok(Envelope { value, time_us, received_us, seq, epoch, node })
}

// === impl PayloadError ===

impl PayloadError {
    /// A short label to count by: `empty`, `too_large`, `utf8`, `json`, `cbor`, `base64`, `senml`, `rule` or `bounds`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong { .. } | Self::Bounds(Error::ValueTooLarge { .. }) => "too_large",
            Self::Syntax { format, .. } => format,
            Self::Rule { label, .. } => label,
            Self::Bounds(Error::HeldOff { .. } | Error::NotOwner { .. }) => "late",
            Self::Bounds(_) => "bounds",
            Self::Within { error, .. } => error.reason(),
        }
    }

    pub(super) fn syntax(format: &'static str, reason: impl ToString) -> Self {
        Self::Syntax { format, reason: reason.to_string() }
    }

    /// A rule of payloads and doors.
    pub(crate) fn rule(what: impl AsRef<str>, rule: &'static str) -> Self {
        Self::Rule { label: "rule", what: cut(what.as_ref()), rule }
    }

    /// A rule of SenML.
    pub(super) fn senml(what: impl AsRef<str>, rule: &'static str) -> Self {
        Self::Rule { label: "senml", what: cut(what.as_ref()), rule }
    }

    pub(super) fn within(self, what: impl AsRef<str>) -> Self {
        Self::Within { what: cut(what.as_ref()), error: Box::new(self) }
    }
}

/// What a message repeats of a payload is bounded.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

// === from items to values ===

fn check_size(bytes: &[u8]) -> Result<()> {
    match bytes.len() {
        0 => Err(PayloadError::Empty),
        size if size > PAYLOAD_MAX => Err(PayloadError::TooLong { size, max: PAYLOAD_MAX }),
        _ => Ok(()),
    }
}

fn format_of(encoding: &str) -> Format {
    match encoding.split(';').next().unwrap_or_default().trim() {
        "application/senml+json" | "application/sensml+json" => Format::SenmlJson,
        "application/senml+cbor" | "application/sensml+cbor" => Format::SenmlCbor,
        "application/json" | "text/json" => Format::Json,
        "application/cbor" => Format::Cbor,
        "zenoh/string" => Format::Text,
        "" | "zenoh/bytes" => Format::TextOrBytes,
        json if json.ends_with("+json") => Format::Json,
        cbor if cbor.ends_with("+cbor") => Format::Cbor,
        text if text.starts_with("text/") => Format::Text,
        _ => Format::Bytes,
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| PayloadError::syntax("utf8", error))
}

/// One field of an object of attributes.
fn attribute((name, item): (String, Item)) -> Result<(AttributeId, Incoming)> {
    let id = AttributeId::new(&name)?;
    let incoming = incoming(item).and_then(|incoming| {
        incoming.value.check()?;
        Ok(incoming)
    });
    Ok((id, incoming.map_err(|error| error.within(name))?))
}

/// An item as a device means it: an envelope or a value.
fn incoming(item: Item) -> Result<Incoming> {
    match item {
        Item::Fields(mut fields) if is_envelope(&fields) => {
            let source_time = match take(&mut fields, "time_us") {
                None | Some(Item::Null) => None,
                Some(time) => Some(micros(time, "time_us")?),
            };
            Ok(Incoming { value: enveloped(&mut fields)?, source_time })
        }
        plain => Ok(Incoming { value: value_of(plain, None)?, source_time: None }),
    }
}

fn is_envelope(fields: &[(String, Item)]) -> bool {
    fields.iter().any(|(name, _)| name == "value") && fields.iter().all(|(name, _)| ENVELOPE.contains(&name.as_str()))
}

fn take(fields: &mut Vec<(String, Item)>, name: &str) -> Option<Item> {
    fields.iter().rposition(|(field, _)| field == name).map(|at| fields.remove(at).1)
}

/// The value of an envelope, as its `kind` says.
fn enveloped(fields: &mut Vec<(String, Item)>) -> Result<Value> {
    let value = take(fields, "value").ok_or_else(|| PayloadError::rule("value", "is missing"))?;
    match take(fields, "kind") {
        None | Some(Item::Null) => value_of(value, None),
        Some(Item::Text(kind)) => value_of(value, Some(&kind)),
        Some(_) => Err(PayloadError::rule("kind", "must be text")),
    }
}

fn micros(item: Item, name: &str) -> Result<Micros> {
    match item {
        Item::Integer(time) => Ok(time),
        _ => Err(PayloadError::rule(name, "must be an integer, microseconds since 1970")),
    }
}

fn count(item: Item, name: &str) -> Result<u64> {
    match item {
        Item::Integer(count) => u64::try_from(count).ok(),
        Item::Large(count) => Some(count),
        _ => None,
    }
    .ok_or_else(|| PayloadError::rule(name, "must be an integer from 0"))
}

/// An item as a value; `kind` tells apart what JSON cannot, and is checked where JSON can.
fn value_of(item: Item, kind: Option<&str>) -> Result<Value> {
    let value = match (kind, item) {
        (None | Some("bool"), Item::Bool(truth)) => Value::Bool(truth),
        (None | Some("i64"), Item::Integer(number)) => Value::I64(number),
        (None | Some("text"), Item::Text(text)) => Value::Text(text.into()),
        (None | Some("bytes"), Item::Bytes(bytes)) => Value::Bytes(bytes.into()),
        (Some("bytes"), Item::Text(text)) => Value::Bytes(from_base64(&text)?.into()),
        (Some("vector"), Item::List(items)) => Value::Vector(items.iter().map(f32_of).collect::<Result<_>>()?),
        (None | Some("json"), item @ (Item::List(_) | Item::Fields(_))) => {
            let mut json = String::new();
            item.write_json(1, &mut json)?;
            Value::Json(json.into())
        }
        (Some("f64"), Item::Text(text)) => Value::F64(named_number(&text)?),
        (None | Some("f64"), Item::Number(number)) => Value::F64(number),
        (None | Some("f64"), Item::Large(number)) => Value::F64(number as f64),
        (Some("f64"), Item::Integer(number)) => Value::F64(number as f64),
        (None, Item::Null) => return Err(PayloadError::rule("value", "null is no reading")),
        (Some(kind), _) => return Err(PayloadError::rule(kind, "is no kind that fits the value beside it")),
    };
    Ok(value)
}

/// A number that JSON has no digits for.
fn named_number(text: &str) -> Result<f64> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(PayloadError::rule(text, "a number as text is NaN, Infinity or -Infinity")),
    }
}

/// One element of a vector.
fn f32_of(item: &Item) -> Result<f32> {
    let number = match item {
        Item::Text(text) => named_number(text)?,
        _ => item.as_f64().ok_or_else(|| PayloadError::rule("vector", "holds numbers only"))?,
    };
    let narrow = number as f32;
    match narrow.is_infinite() && number.is_finite() {
        true => Err(PayloadError::rule("vector", "a number in it is larger than an f32 can be")),
        false => Ok(narrow),
    }
}

/// Base64 of either alphabet, with or without padding.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>> {
    let decoded = match text.contains(['-', '_']) {
        true => BASE64.decode(text.replace('-', "+").replace('_', "/")),
        false => BASE64.decode(text),
    };
    decoded.map_err(|error| PayloadError::syntax("base64", error))
}

// === JSON in ===

fn parse_json(bytes: &[u8]) -> Result<Item> {
    serde_json::from_slice(bytes).map_err(|error| PayloadError::syntax("json", error))
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

/// Takes whatever JSON holds. Its parser bounds the depth.
struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Item, E> {
        Ok(Item::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> std::result::Result<Item, E> {
        Ok(Item::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Item, E> {
        Ok(Item::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Item, E> {
        Ok(integer(number))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Item, E> {
        Ok(Item::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Item, E> {
        Ok(Item::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Item, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Item::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Item, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Item::Fields(fields))
    }
}

fn integer(number: u64) -> Item {
    i64::try_from(number).map_or(Item::Large(number), Item::Integer)
}

// === CBOR in ===

/// Parses one CBOR item, and nothing behind it; keys that are integers are named by `label`.
fn parse_cbor(bytes: &[u8], label: fn(i64) -> String) -> Result<Item> {
    let mut input = Decoder::new(bytes);
    let item = Cbor { input: &mut input, label }.item(0)?;
    match input.position() == bytes.len() {
        true => Ok(item),
        false => Err(PayloadError::syntax("cbor", "bytes are left over")),
    }
}

fn plain_label(label: i64) -> String {
    label.to_string()
}

fn bad_cbor(error: minicbor::decode::Error) -> PayloadError {
    PayloadError::syntax("cbor", error)
}

struct Cbor<'a, 'b> {
    input: &'a mut Decoder<'b>,
    label: fn(i64) -> String,
}

impl Cbor<'_, '_> {
    fn item(&mut self, depth: usize) -> Result<Item> {
        if depth > CBOR_DEPTH_MAX {
            return Err(PayloadError::syntax("cbor", "it is nested deeper than 32"));
        }
        match self.input.datatype().map_err(bad_cbor)? {
            Type::Array | Type::ArrayIndef => self.list(depth),
            Type::Map | Type::MapIndef => self.fields(depth),
            Type::Tag => self.tagged(depth),
            leaf => self.leaf(leaf).map_err(bad_cbor),
        }
    }

    fn leaf(&mut self, leaf: Type) -> std::result::Result<Item, minicbor::decode::Error> {
        let input = &mut *self.input;
        Ok(match leaf {
            Type::Bool => Item::Bool(input.bool()?),
            Type::Null => input.null().map(|()| Item::Null)?,
            Type::Undefined => input.undefined().map(|()| Item::Null)?,
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => integer(input.u64()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Item::Integer(input.i64()?),
            // A negative integer below i64::MIN.
            Type::Int => Item::Number(i128::from(input.int()?) as f64),
            Type::F16 => Item::Number(f64::from(input.f16()?)),
            Type::F32 => Item::Number(f64::from(input.f32()?)),
            Type::F64 => Item::Number(input.f64()?),
            Type::String => Item::Text(input.str()?.to_owned()),
            Type::StringIndef => Item::Text(input.str_iter()?.collect::<std::result::Result<_, _>>()?),
            Type::Bytes => Item::Bytes(input.bytes()?.to_owned()),
            Type::BytesIndef => Item::Bytes(input.bytes_iter()?.collect::<std::result::Result<Vec<_>, _>>()?.concat()),
            other => return Err(minicbor::decode::Error::message(format!("{other} is not taken here"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Item> {
        let length = self.input.array().map_err(bad_cbor)?;
        let mut items = Vec::new();
        while self.goes_on(length, items.len())? {
            items.push(self.item(depth + 1)?);
        }
        Ok(Item::List(items))
    }

    fn fields(&mut self, depth: usize) -> Result<Item> {
        let length = self.input.map().map_err(bad_cbor)?;
        let mut fields = Vec::new();
        while self.goes_on(length, fields.len())? {
            let name = match self.input.datatype().map_err(bad_cbor)? {
                Type::String => self.input.str().map_err(bad_cbor)?.to_owned(),
                _ => (self.label)(self.input.i64().map_err(bad_cbor)?),
            };
            fields.push((name, self.item(depth + 1)?));
        }
        Ok(Item::Fields(fields))
    }

    /// Whether a list or map goes on; takes the break that ends one of unknown length.
    fn goes_on(&mut self, length: Option<u64>, read: usize) -> Result<bool> {
        match length {
            Some(length) => Ok((read as u64) < length),
            None if self.input.datatype().map_err(bad_cbor)? == Type::Break => {
                self.input.skip().map_err(bad_cbor)?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Sees through tags, except those that change what the item is: of numbers, decimal fractions are read (SenML may
    /// use them), big ones are refused.
    fn tagged(&mut self, depth: usize) -> Result<Item> {
        let tag = self.input.tag().map_err(bad_cbor)?;
        let item = self.item(depth + 1)?;
        match (tag, item) {
            (DECIMAL, Item::List(parts)) => match parts.as_slice() {
                // Through text, because a power of ten and a product would round twice.
                [Item::Integer(exponent), Item::Integer(mantissa)] => {
                    let number =
                        format!("{mantissa}e{exponent}").parse().ok().filter(|number: &f64| number.is_finite());
                    let too_large = || PayloadError::syntax("cbor", "a decimal fraction is larger than an f64 can be");
                    Ok(Item::Number(number.ok_or_else(too_large)?))
                }
                _ => Err(PayloadError::syntax("cbor", "a decimal fraction is an array of two integers")),
            },
            (DECIMAL | BIG_POSITIVE | BIG_NEGATIVE | BIG_FLOAT, _) => {
                Err(PayloadError::syntax("cbor", "big numbers are not taken here"))
            }
            (_, item) => Ok(item),
        }
    }
}

/// Tags of numbers (RFC 8949, 3.4).
const BIG_POSITIVE: Tag = Tag::new(2);
const BIG_NEGATIVE: Tag = Tag::new(3);
const DECIMAL: Tag = Tag::new(4);
const BIG_FLOAT: Tag = Tag::new(5);

// === JSON out ===

impl Item {
    /// The item as a number, where it is one.
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Item::Integer(number) => Some(*number as f64),
            Item::Large(number) => Some(*number as f64),
            Item::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Appends the item as JSON; byte strings become base64.
    fn write_json(&self, depth: usize, out: &mut String) -> Result<()> {
        if depth > JSON_DEPTH_MAX {
            return Err(PayloadError::rule("json", "is nested deeper than 120"));
        }
        match self {
            Item::Null => out.push_str("null"),
            Item::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Item::Integer(number) => append(out, format_args!("{number}")),
            Item::Large(number) => append(out, format_args!("{number}")),
            Item::Number(number) if number.is_finite() => f64_json(*number, out),
            Item::Number(_) => return Err(PayloadError::rule("json", "numbers in an object or array must be finite")),
            Item::Text(text) => text_json(text, out),
            Item::Bytes(bytes) => append(out, format_args!("\"{}\"", BASE64.encode(bytes))),
            Item::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    item.write_json(depth + 1, out)?;
                }
                out.push(']');
            }
            Item::Fields(fields) => {
                out.push('{');
                for (at, (name, item)) in fields.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    text_json(name, out);
                    out.push(':');
                    item.write_json(depth + 1, out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn append(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = out.write_fmt(text);
}

/// How many bytes a value may take as JSON, roughly: what a String starts with.
fn json_length(value: &Value) -> usize {
    match value {
        Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len() / 3 * 4,
        Value::Vector(vector) => vector.len() * 12,
    }
}

/// The shortest digits that read back as the same number, always with a fraction or an exponent, so that it reads back
/// as floating-point.
fn f64_json(number: f64, out: &mut String) {
    match without_digits(number) {
        Some(name) => out.push_str(name),
        None => append(out, format_args!("{number:?}")),
    }
}

/// As [`f64_json`], for readers that parse an f64 and round it: for very few numbers (7.038531e-26 is one) the shortest
/// digits would round to a neighbour on that way, so those get all of the f64's.
fn f32_json(number: f32, out: &mut String) {
    let wide = f64::from(number);
    if let Some(name) = without_digits(wide) {
        return out.push_str(name);
    }
    let start = out.len();
    append(out, format_args!("{number:?}"));
    if out[start..].parse().map(|read: f64| read as f32) != Ok(number) {
        out.truncate(start);
        f64_json(wide, out);
    }
}

fn without_digits(number: f64) -> Option<&'static str> {
    match number {
        f64::INFINITY => Some("\"Infinity\""),
        f64::NEG_INFINITY => Some("\"-Infinity\""),
        _ if number.is_nan() => Some("\"NaN\""),
        _ => None,
    }
}

/// Appends a JSON string; runs of characters that need no escape are copied whole.
fn text_json(text: &str, out: &mut String) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        // Every byte escaped is ASCII, so both ends of the run are character boundaries.
        out.push_str(&text[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => append(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[copied..]);
    out.push('"');
}

#[cfg(test)]
mod tests;

//! Payloads ⇄ values: JSON, CBOR, text, bytes, and the public JSON envelope of a reading. Pure.
//!
//! What a device may send, by encoding:
//!
//! - `application/json`: a number, a truth value, a string, or an object or array kept as JSON. An object that has
//!   `value` and no field but the envelope's is the envelope: value with `time_us`, `kind`.
//! - `application/cbor`: the same in CBOR, byte strings included.
//! - `text/…`, `zenoh/string`: text that is a number or `true`/`false` is that, other text is text.
//! - none, `zenoh/bytes`: text as above where it is UTF-8, else bytes. Any other encoding: bytes.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minicbor::data::Type;
use minicbor::decode::Decoder;
use senza_core::{AttributeId, Micros, Reading, Value};
use serde_json::Value as Json;

use super::senml;

/// Deepest nesting of a CBOR payload; JSON has its parser's own, 128.
const CBOR_DEPTH_MAX: usize = 32;
/// The fields of the public envelope.
const ENVELOPE: [&str; 7] = ["value", "kind", "time_us", "received_us", "seq", "epoch", "node"];

/// One value as a device said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// What was read.
    pub value: Value,
    /// When, if the device says.
    pub source_time: Option<Micros>,
}

/// Why a payload is refused. Nothing of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Nothing in it.
    #[error("the payload is empty")]
    Empty,
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
        /// The part of the payload.
        what: String,
        /// The rule.
        rule: &'static str,
    },
    /// An id or a size outside its bounds.
    #[error(transparent)]
    Bounds(#[from] senza_core::Error),
}

impl PayloadError {
    /// A short label to count by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Syntax { format, .. } => format,
            Self::Rule { .. } => "rule",
            Self::Bounds(_) => "bounds",
        }
    }

    pub(crate) fn syntax(format: &'static str, reason: impl ToString) -> Self {
        Self::Syntax { format, reason: reason.to_string() }
    }

    pub(crate) fn rule(what: impl Into<String>, rule: &'static str) -> Self {
        let what: String = what.into();
        Self::Rule { what: what.chars().take(80).collect(), rule }
    }
}

type Result<T> = std::result::Result<T, PayloadError>;

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

fn format_of(encoding: &str) -> Format {
    match encoding.split(';').next().unwrap_or_default().trim() {
        "application/senml+json" | "application/sensml+json" => Format::SenmlJson,
        "application/senml+cbor" | "application/sensml+cbor" => Format::SenmlCbor,
        "application/json" | "text/json" => Format::Json,
        "application/cbor" => Format::Cbor,
        "zenoh/string" => Format::Text,
        "" | "zenoh/bytes" => Format::TextOrBytes,
        json if json.ends_with("+json") => Format::Json,
        text if text.starts_with("text/") => Format::Text,
        _ => Format::Bytes,
    }
}

/// Reads the payload of a put that names sensor and attribute in its key.
///
/// # Errors
/// [`PayloadError`] names what is wrong.
pub fn decode_one(encoding: &str, bytes: &[u8]) -> Result<Incoming> {
    let plain = |value| Incoming { value, source_time: None };
    if bytes.is_empty() {
        return Err(PayloadError::Empty);
    }
    let incoming = match format_of(encoding) {
        Format::Json => from_json(parse_json(bytes)?)?,
        Format::Cbor => match cbor_scalar(bytes)? {
            Some(value) => plain(value),
            None => from_json(parse_cbor(bytes, &|label| label.to_string())?)?,
        },
        Format::Text => plain(from_text(utf8(bytes)?)),
        Format::TextOrBytes => plain(std::str::from_utf8(bytes).map_or_else(|_| Value::Bytes(bytes.into()), from_text)),
        Format::Bytes => plain(Value::Bytes(bytes.into())),
        Format::SenmlJson | Format::SenmlCbor => {
            return Err(PayloadError::rule("SenML", "a pack goes to the sensor's key, not to an attribute's"));
        }
    };
    incoming.value.check()?;
    Ok(incoming)
}

/// Reads the payload of a put that names a sensor only: a SenML pack, or an object `{attribute: value, …}` in JSON or
/// CBOR. `now` resolves SenML's relative times.
///
/// # Errors
/// [`PayloadError`]; one bad entry refuses the whole payload.
pub fn decode_many(encoding: &str, sensor: &str, bytes: &[u8], now: Micros) -> Result<Vec<(AttributeId, Incoming)>> {
    if bytes.is_empty() {
        return Err(PayloadError::Empty);
    }
    let json = match format_of(encoding) {
        Format::SenmlJson => return senml::resolve(&parse_json(bytes)?, sensor, now),
        Format::SenmlCbor => return senml::resolve(&parse_cbor(bytes, &senml::label)?, sensor, now),
        Format::Cbor => parse_cbor(bytes, &|label| label.to_string())?,
        _ => parse_json(bytes)?,
    };
    let Json::Object(fields) = json else {
        return Err(PayloadError::rule("payload", "must be an object {attribute: value} or a SenML pack"));
    };
    let mut readings = Vec::with_capacity(fields.len());
    for (attribute, value) in fields {
        let incoming = from_json(value)?;
        incoming.value.check()?;
        readings.push((AttributeId::new(attribute)?, incoming));
    }
    if readings.is_empty() { Err(PayloadError::Empty) } else { Ok(readings) }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| PayloadError::syntax("utf8", error))
}

fn parse_json(bytes: &[u8]) -> Result<Json> {
    serde_json::from_slice(bytes).map_err(|error| PayloadError::syntax("json", error))
}

/// Text that is a number or a truth value is that; other text is text.
pub fn from_text(text: &str) -> Value {
    match text.trim() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        trimmed => match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
            (Ok(number), _) => Value::I64(number),
            (_, Ok(number)) => Value::F64(number),
            _ => Value::Text(text.into()),
        },
    }
}

/// A JSON value as a device means it, envelope included.
fn from_json(json: Json) -> Result<Incoming> {
    if let Json::Object(fields) = &json
        && fields.contains_key("value")
        && fields.keys().all(|field| ENVELOPE.contains(&field.as_str()))
    {
        let kind = fields.get("kind").and_then(Json::as_str);
        let source_time = match fields.get("time_us") {
            None | Some(Json::Null) => None,
            Some(time) => Some(
                time.as_i64()
                    .ok_or_else(|| PayloadError::rule("time_us", "must be an integer, microseconds since 1970"))?,
            ),
        };
        return Ok(Incoming { value: value_of(&fields["value"], kind)?, source_time });
    }
    Ok(Incoming { value: value_of(&json, None)?, source_time: None })
}

/// A JSON value as ours; `kind` tells apart what JSON cannot.
fn value_of(json: &Json, kind: Option<&str>) -> Result<Value> {
    let value = match (kind, json) {
        (Some("f64"), Json::String(text)) => Value::F64(match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(PayloadError::rule(text, "a number as text is NaN, Infinity or -Infinity")),
        }),
        (Some("bytes"), Json::String(text)) => {
            Value::Bytes(BASE64.decode(text).map_err(|error| PayloadError::syntax("base64", error))?.into())
        }
        (Some("vector"), Json::Array(items)) => {
            let number = |item: &Json| item.as_f64().map(|number| number as f32);
            let numbers: Option<Vec<f32>> = items.iter().map(number).collect();
            Value::Vector(numbers.ok_or_else(|| PayloadError::rule("value", "a vector holds numbers only"))?.into())
        }
        (Some("f64"), Json::Number(number)) => Value::F64(number.as_f64().unwrap_or(f64::NAN)),
        (None, _) => match json {
            Json::Null => return Err(PayloadError::rule("value", "null is no reading")),
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::I64(integer),
                None => Value::F64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.as_str().into()),
            Json::Array(_) | Json::Object(_) => Value::Json(json.to_string().into()),
        },
        (Some(kind), _) => return Err(PayloadError::rule(kind, "does not fit the value beside it")),
    };
    Ok(value)
}

// === CBOR ===

/// A payload that is one number, truth value, text or byte string; `None` for maps and arrays.
fn cbor_scalar(bytes: &[u8]) -> Result<Option<Value>> {
    let bad = |error: minicbor::decode::Error| PayloadError::syntax("cbor", error);
    let mut input = Decoder::new(bytes);
    let value = match input.datatype().map_err(bad)? {
        Type::Map | Type::MapIndef | Type::Array | Type::ArrayIndef => return Ok(None),
        Type::Bytes => Value::Bytes(input.bytes().map_err(bad)?.into()),
        _ => value_of(&cbor_json(&mut input, 0, &|label| label.to_string())?, None)?,
    };
    ended(&input)?;
    Ok(Some(value))
}

/// A CBOR item as JSON. Integer keys are named by `label`; byte strings become base64 text.
fn parse_cbor(bytes: &[u8], label: &dyn Fn(i64) -> String) -> Result<Json> {
    let mut input = Decoder::new(bytes);
    let json = cbor_json(&mut input, 0, label)?;
    ended(&input)?;
    Ok(json)
}

fn ended(input: &Decoder<'_>) -> Result<()> {
    if input.position() == input.input().len() {
        Ok(())
    } else {
        Err(PayloadError::syntax("cbor", "bytes are left over"))
    }
}

fn cbor_json(input: &mut Decoder<'_>, depth: usize, label: &dyn Fn(i64) -> String) -> Result<Json> {
    let bad = |error: minicbor::decode::Error| PayloadError::syntax("cbor", error);
    if depth > CBOR_DEPTH_MAX {
        return Err(PayloadError::rule("cbor", "is nested deeper than 32"));
    }
    Ok(match input.datatype().map_err(bad)? {
        Type::Bool => Json::Bool(input.bool().map_err(bad)?),
        Type::Null | Type::Undefined => {
            input.skip().map_err(bad)?;
            Json::Null
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => input.u64().map_err(bad)?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => input.i64().map_err(bad)?.into(),
        Type::F16 => float(f64::from(input.f16().map_err(bad)?))?,
        Type::F32 => float(f64::from(input.f32().map_err(bad)?))?,
        Type::F64 => float(input.f64().map_err(bad)?)?,
        Type::String => Json::String(input.str().map_err(bad)?.to_owned()),
        Type::Bytes => Json::String(BASE64.encode(input.bytes().map_err(bad)?)),
        Type::Array | Type::ArrayIndef => {
            let count = input.array().map_err(bad)?;
            let mut items = Vec::new();
            while more(input, count, items.len())? {
                items.push(cbor_json(input, depth + 1, label)?);
            }
            Json::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let count = input.map().map_err(bad)?;
            let (mut fields, mut read) = (serde_json::Map::new(), 0);
            while more(input, count, read)? {
                let key = match input.datatype().map_err(bad)? {
                    Type::String => input.str().map_err(bad)?.to_owned(),
                    _ => label(input.i64().map_err(bad)?),
                };
                fields.insert(key, cbor_json(input, depth + 1, label)?);
                read += 1;
            }
            Json::Object(fields)
        }
        Type::Tag => {
            input.tag().map_err(bad)?;
            cbor_json(input, depth + 1, label)?
        }
        other => return Err(PayloadError::syntax("cbor", format!("{other} is not taken here"))),
    })
}

/// Whether a list goes on; takes the break that ends one of unknown length.
fn more(input: &mut Decoder<'_>, count: Option<u64>, read: usize) -> Result<bool> {
    match count {
        Some(count) => Ok((read as u64) < count),
        None if matches!(input.datatype(), Ok(Type::Break)) => {
            input.skip().map_err(|error| PayloadError::syntax("cbor", error))?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn float(number: f64) -> Result<Json> {
    let json = serde_json::Number::from_f64(number).map(Json::Number);
    json.ok_or_else(|| PayloadError::rule("cbor", "a number must be finite here; send NaN in a JSON envelope"))
}

// === the public envelope ===

/// A reading as the public JSON envelope.
pub fn reading_json(reading: &Reading) -> String {
    let mut out = String::with_capacity(144);
    out.push_str("{\"value\":");
    value_json(&reading.value, &mut out);
    let (time, received, seq) = (reading.source_time, reading.received_time, reading.seq);
    let (epoch, node) = (reading.series.epoch, &reading.series.node);
    // Writing to a String cannot fail.
    let _written = write!(
        out,
        ",\"time_us\":{time},\"received_us\":{received},\"seq\":{seq},\"epoch\":{epoch},\"node\":\"{node}\"}}"
    );
    out
}

/// Appends a value, and the `kind` beside it where JSON alone would not tell.
fn value_json(value: &Value, out: &mut String) {
    let _written = match value {
        Value::F64(number) if number.is_nan() => write!(out, "\"NaN\",\"kind\":\"f64\""),
        Value::F64(number) if number.is_infinite() && *number > 0.0 => write!(out, "\"Infinity\",\"kind\":\"f64\""),
        Value::F64(number) if number.is_infinite() => write!(out, "\"-Infinity\",\"kind\":\"f64\""),
        // {:?} keeps the fraction of a whole number, so that it reads back as floating-point.
        Value::F64(number) => write!(out, "{number:?}"),
        Value::I64(number) => write!(out, "{number}"),
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Text(text) => write!(out, "{}", Json::String(text.to_string())),
        Value::Json(json) => write!(out, "{json}"),
        Value::Bytes(bytes) => write!(out, "\"{}\",\"kind\":\"bytes\"", BASE64.encode(bytes)),
        Value::Vector(vector) => {
            let numbers: Vec<String> = vector.iter().map(|number| format!("{number:?}")).collect();
            write!(out, "[{}],\"kind\":\"vector\"", numbers.join(","))
        }
    };
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

/// Reads a public envelope.
///
/// # Errors
/// [`PayloadError`] for anything else.
pub fn parse_envelope(json: &Json) -> Result<Envelope> {
    let field = |name: &'static str| json.get(name).ok_or_else(|| PayloadError::rule(name, "is missing"));
    let micros = |name| field(name)?.as_i64().ok_or_else(|| PayloadError::rule(name, "must be an integer"));
    let count = |name| field(name)?.as_u64().ok_or_else(|| PayloadError::rule(name, "must be a count"));
    Ok(Envelope {
        value: value_of(field("value")?, json.get("kind").and_then(Json::as_str))?,
        time_us: micros("time_us")?,
        received_us: micros("received_us")?,
        seq: count("seq")?,
        epoch: count("epoch")?,
        node: field("node")?.as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use senza_core::{NodeName, SensorId, SensorType, Series};

    use super::*;

    fn one(encoding: &str, payload: &[u8]) -> Value {
        decode_one(encoding, payload).unwrap().value
    }

    #[test]
    fn text_is_what_it_looks_like() {
        for encoding in ["", "zenoh/bytes", "zenoh/string", "text/plain"] {
            assert_eq!(one(encoding, b"72"), Value::I64(72));
            assert_eq!(one(encoding, b" 72.5\n"), Value::F64(72.5));
            assert_eq!(one(encoding, b"true"), Value::Bool(true));
            assert_eq!(one(encoding, "grün".as_bytes()), Value::Text("grün".into()));
        }
        assert_eq!(one("", &[0xff, 0]), Value::Bytes([0xff, 0].as_slice().into()));
        assert_eq!(decode_one("text/plain", &[0xff]).unwrap_err().reason(), "utf8");
        assert_eq!(one("application/octet-stream", b"72"), Value::Bytes(b"72".as_slice().into()));
    }

    #[test]
    fn json_is_a_value_or_an_envelope() {
        let json = "application/json";
        assert_eq!(one(json, b"9007199254740993"), Value::I64(9_007_199_254_740_993));
        assert_eq!(one(json, b"1.0"), Value::F64(1.0));
        assert_eq!(one(json, br#"{"x":1,"y":2}"#), Value::Json(r#"{"x":1,"y":2}"#.into()));
        let envelope = decode_one(json, br#"{"value":5,"time_us":1700000000000000}"#).unwrap();
        assert_eq!(envelope, Incoming { value: Value::I64(5), source_time: Some(1_700_000_000_000_000) });
        assert_eq!(one(json, br#"{"value":5,"unit":"C"}"#), Value::Json(r#"{"unit":"C","value":5}"#.into()));
        assert_eq!(one(json, br#"{"value":"AAE=","kind":"bytes"}"#), Value::Bytes([0, 1].as_slice().into()));
        for (bad, reason) in [
            (&b"{"[..], "json"),
            (b"null", "rule"),
            (b"", "empty"),
            (br#"{"value":1,"time_us":"now"}"#, "rule"),
            (br#"{"value":"x","kind":"f64"}"#, "rule"),
        ] {
            assert_eq!(decode_one(json, bad).unwrap_err().reason(), reason, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn cbor_is_the_same_in_cbor() {
        let cbor = "application/cbor";
        assert_eq!(one(cbor, &[0x18, 0x48]), Value::I64(72));
        assert_eq!(
            one(cbor, &[0xfb, 0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18]),
            Value::F64(std::f64::consts::PI)
        );
        assert_eq!(one(cbor, &[0x42, 1, 2]), Value::Bytes([1, 2].as_slice().into()));
        assert_eq!(one(cbor, &[0xa1, 0x61, b'x', 0x01]), Value::Json(r#"{"x":1}"#.into()));
        assert_eq!(one(cbor, &[0x9f, 0x01, 0x02, 0xff]), Value::Json("[1,2]".into()));
        assert!(decode_one(cbor, &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]).is_err(), "a length alone");
        assert!(decode_one(cbor, &[0x81; 100]).is_err(), "too deep");
        assert!(decode_one(cbor, &[0x01, 0x01]).is_err(), "left over");
    }

    #[test]
    fn an_object_carries_several_attributes() {
        let many = decode_many("application/json", "s", br#"{"a":1,"b":{"value":2.5,"time_us":7}}"#, 0).unwrap();
        let said: Vec<_> = many.iter().map(|(id, incoming)| (id.as_str(), incoming.source_time)).collect();
        assert_eq!(said, [("a", None), ("b", Some(7))]);
        assert_eq!(many[1].1.value, Value::F64(2.5));
        assert!(decode_many("application/json", "s", b"{}", 0).is_err());
        assert!(decode_many("application/json", "s", b"[1]", 0).is_err());
        assert!(decode_many("application/json", "s", br#"{"a":1,"":2}"#, 0).is_err(), "one bad entry refuses all");
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<f64>().prop_map(Value::F64),
            any::<i64>().prop_map(Value::I64),
            any::<bool>().prop_map(Value::Bool),
            "\\PC{0,20}".prop_map(|text| Value::Text(text.into())),
            Just(Value::Json(r#"{"a":[1,null]}"#.into())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
            prop::collection::vec(-1e6f32..1e6, 0..8).prop_map(|vector| Value::Vector(vector.into())),
        ]
    }

    proptest! {
        #[test]
        fn an_envelope_reads_back_as_it_was_written(value in value(), time: i64, seq: u64) {
            let series = Arc::new(Series {
                sensor: SensorId::new("s").unwrap(),
                attribute: AttributeId::new("x").unwrap(),
                sensor_type: SensorType::default(),
                node: NodeName::new("a").unwrap(),
                epoch: 7,
            });
            // One NaN stands for all: JSON keeps no payload of it.
            let value = if matches!(value, Value::F64(n) if n.is_nan()) { Value::F64(f64::NAN) } else { value };
            let reading = Reading { series, value, source_time: time, received_time: 2, seq };
            let json: Json = serde_json::from_str(&reading_json(&reading)).unwrap();
            let read = parse_envelope(&json).unwrap();
            prop_assert_eq!(read, Envelope { value: reading.value, time_us: time, received_us: 2, seq, epoch: 7, node: "a".into() });
        }

        #[test]
        fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0usize..6) {
            let encodings = ["application/json", "application/cbor", "application/senml+json", "application/senml+cbor", "", "text/plain"];
            let _ = decode_one(encodings[which], &bytes);
            let _ = decode_many(encodings[which], "s", &bytes, 0);
        }
    }
}

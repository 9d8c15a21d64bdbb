//! SenML packs → readings of one sensor. Pure. Source: RFC 8428.
//!
//! A record's resolved name (base name and name) is the attribute; where it starts with the sensor's id and `/` or
//! `:`, the rest is. Units are not kept. A record with nothing but a sum is a reading of that sum.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use senza_core::{AttributeId, Micros, Value};
use serde_json::{Map, Value as Json};

use super::payload::{Incoming, PayloadError};

/// Times below are relative to now, in seconds (RFC 8428, 4.5.3).
const RELATIVE_BELOW: f64 = 268_435_456.0;
/// The version of SenML that is read.
const VERSION: u64 = 10;

/// The name of a CBOR label (RFC 8428, 6).
pub fn label(label: i64) -> String {
    let name = match label {
        -6 => "bs",
        -5 => "bv",
        -4 => "bu",
        -3 => "bt",
        -2 => "bn",
        -1 => "bver",
        0 => "n",
        1 => "u",
        2 => "v",
        3 => "vs",
        4 => "vb",
        5 => "s",
        6 => "t",
        7 => "ut",
        8 => "vd",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Resolves a pack (an array of records) into readings of `sensor`.
///
/// # Errors
/// [`PayloadError`] names the first record's field that breaks a rule; nothing is taken then.
pub fn resolve(pack: &Json, sensor: &str, now: Micros) -> Result<Vec<(AttributeId, Incoming)>, PayloadError> {
    let Json::Array(records) = pack else {
        return Err(PayloadError::rule("SenML", "a pack is an array of records"));
    };
    let mut base = Base::default();
    let mut readings = Vec::new();
    for record in records {
        let Json::Object(record) = record else {
            return Err(PayloadError::rule("SenML", "a record is an object"));
        };
        base.take(record)?;
        if let Some(value) = base.value(record)? {
            value.check()?;
            let source_time = base.time(record, now)?;
            readings.push((base.attribute(record, sensor)?, Incoming { value, source_time }));
        }
    }
    if readings.is_empty() { Err(PayloadError::Empty) } else { Ok(readings) }
}

/// What base fields add to the records from theirs on.
#[derive(Default)]
struct Base {
    name: String,
    time: f64,
    value: f64,
    sum: f64,
}

impl Base {
    fn take(&mut self, record: &Map<String, Json>) -> Result<(), PayloadError> {
        if let Some(field) = record.keys().find(|field| field.ends_with('_')) {
            return Err(PayloadError::rule(field.as_str(), "a field that ends in _ must be understood, and is not"));
        }
        if let Some(version) = record.get("bver")
            && version.as_u64().is_none_or(|version| version > VERSION)
        {
            return Err(PayloadError::rule("bver", "only SenML up to version 10 is read"));
        }
        if let Some(name) = record.get("bn") {
            self.name = name.as_str().ok_or_else(|| PayloadError::rule("bn", "must be text"))?.to_owned();
        }
        for (field, place) in [("bt", &mut self.time), ("bv", &mut self.value), ("bs", &mut self.sum)] {
            if let Some(number) = number(record, field)? {
                *place = number;
            }
        }
        Ok(())
    }

    fn value(&self, record: &Map<String, Json>) -> Result<Option<Value>, PayloadError> {
        let text = |field: &'static str| match record.get(field) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| PayloadError::rule(field, "must be text")),
        };
        let values = ["v", "vs", "vb", "vd"].into_iter().filter(|field| record.contains_key(*field)).count();
        if values > 1 {
            return Err(PayloadError::rule("SenML", "a record has at most one of v, vs, vb, vd"));
        }
        if let Some(number) = number(record, "v")? {
            return Ok(Some(Value::F64(self.value + number)));
        }
        if let Some(text) = text("vs")? {
            return Ok(Some(Value::Text(text.into())));
        }
        if let Some(truth) = record.get("vb") {
            let truth = truth.as_bool().ok_or_else(|| PayloadError::rule("vb", "must be true or false"))?;
            return Ok(Some(Value::Bool(truth)));
        }
        if let Some(data) = text("vd")? {
            let data = data.trim_end_matches('=').replace('+', "-").replace('/', "_");
            let bytes = URL_SAFE_NO_PAD.decode(data).map_err(|error| PayloadError::syntax("base64", error))?;
            return Ok(Some(Value::Bytes(bytes.into())));
        }
        Ok(number(record, "s")?.map(|sum| Value::F64(self.sum + sum)))
    }

    fn time(&self, record: &Map<String, Json>, now: Micros) -> Result<Option<Micros>, PayloadError> {
        let seconds = self.time + number(record, "t")?.unwrap_or_default();
        if seconds == 0.0 {
            return Ok(None);
        }
        let micros = (seconds * 1e6).round();
        if !(-9e18..9e18).contains(&micros) {
            return Err(PayloadError::rule("t", "is no time of this age"));
        }
        let micros = micros as Micros;
        Ok(Some(if seconds < RELATIVE_BELOW { now.saturating_add(micros) } else { micros }))
    }

    fn attribute(&self, record: &Map<String, Json>, sensor: &str) -> Result<AttributeId, PayloadError> {
        let name = match record.get("n") {
            None => "",
            Some(name) => name.as_str().ok_or_else(|| PayloadError::rule("n", "must be text"))?,
        };
        let name = format!("{}{name}", self.name);
        let behind = name.strip_prefix(sensor).and_then(|rest| rest.strip_prefix(['/', ':']));
        Ok(AttributeId::new(behind.unwrap_or(&name))?)
    }
}

fn number(record: &Map<String, Json>, field: &'static str) -> Result<Option<f64>, PayloadError> {
    match record.get(field) {
        None => Ok(None),
        Some(number) => number.as_f64().map(Some).ok_or_else(|| PayloadError::rule(field, "must be a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_795_000_000_000_000;

    fn pack(json: &str, sensor: &str) -> Vec<(String, Option<Micros>, Value)> {
        let resolved = resolve(&serde_json::from_str(json).unwrap(), sensor, NOW).unwrap();
        resolved.into_iter().map(|(id, incoming)| (id.to_string(), incoming.source_time, incoming.value)).collect()
    }

    #[test]
    fn the_rfcs_example_of_one_reading() {
        let read = pack(r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#, "urn:dev:ow");
        assert_eq!(read, [("10e2073a01080063".into(), None, Value::F64(23.1))]);
    }

    #[test]
    fn the_rfcs_example_of_base_fields_and_relative_times() {
        let read = pack(
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
                {"n":"current","t":-5,"v":1.2},{"n":"current","v":1.7}]"#,
            "urn:dev:ow:10e2073a0108006",
        );
        assert_eq!(read[0], ("voltage".into(), Some(1_276_020_076_001_000), Value::F64(120.1)));
        assert_eq!(read[1], ("current".into(), Some(1_276_020_071_001_000), Value::F64(1.2)));
        assert_eq!(read[2], ("current".into(), Some(1_276_020_076_001_000), Value::F64(1.7)));
        let relative = pack(r#"[{"n":"x","t":-2,"v":1}]"#, "s");
        assert_eq!(relative, [("x".into(), Some(NOW - 2_000_000), Value::F64(1.0))]);
    }

    #[test]
    fn every_kind_of_value() {
        let read = pack(
            r#"[{"bn":"s/","bv":10,"n":"v","v":1},{"n":"vs","vs":"text"},{"n":"vb","vb":false},{"n":"vd","vd":"aGkgCg"},{"n":"s","s":3}]"#,
            "s",
        );
        let values: Vec<Value> = read.into_iter().map(|(_, _, value)| value).collect();
        let bytes = Value::Bytes(b"hi \n".as_slice().into());
        assert_eq!(values, [Value::F64(11.0), Value::Text("text".into()), Value::Bool(false), bytes, Value::F64(3.0)]);
    }

    #[test]
    fn rules_are_refused_by_name() {
        for (json, named) in [
            (r#"{"n":"x","v":1}"#, "array"),
            (r#"[{"n":"x","v":1,"must_":2}]"#, "must_"),
            (r#"[{"bver":11,"n":"x","v":1}]"#, "bver"),
            (r#"[{"n":"x","v":1,"vs":"y"}]"#, "at most one"),
            (r#"[{"n":"x","v":"1"}]"#, "v: must be a number"),
            (r#"[{"n":"","v":1}]"#, "attribute id"),
            ("[]", "empty"),
        ] {
            let error = resolve(&serde_json::from_str(json).unwrap(), "s", NOW).unwrap_err().to_string();
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}

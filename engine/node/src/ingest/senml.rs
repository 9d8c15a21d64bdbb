//! SenML packs → readings of one sensor. Pure; the time now is an argument. Source: RFC 8428.
//!
//! A record's resolved name (base name and name) is the attribute; where it starts with the sensor's id and `/` or
//! `:`, the rest is. Numbers are f64, as the RFC has them. A record with nothing but a sum is a reading of that sum; a
//! sum beside a value is not kept, nor are units and update times. One bad record refuses its pack.

use senza_core::{AttributeId, Micros, Value};

use super::payload::{Incoming, Item, PayloadError, from_base64};

/// Times below are relative to now, in seconds (RFC 8428, 4.5.3).
const RELATIVE_BELOW: f64 = 268_435_456.0;
/// Absolute times end here, in seconds: what microseconds can say, roughly the year 294000.
const SECONDS_MAX: f64 = 9.2e12;
/// The version of SenML that is read (RFC 8428, 4.4).
const VERSION: i64 = 10;

type Fields = [(String, Item)];
type Result<T> = std::result::Result<T, PayloadError>;

/// The field that a CBOR label stands for (RFC 8428, 6); other labels are named by their digits.
pub(super) fn label(label: i64) -> String {
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

/// Resolves a pack (an array of records) into readings of `sensor`, in the pack's order. Cost: one pass.
///
/// # Errors
/// [`PayloadError`] names the record, counted from 0, and the field that breaks a rule; nothing is taken then.
pub(super) fn resolve(pack: &Item, sensor: &str, now: Micros) -> Result<Vec<(AttributeId, Incoming)>> {
    let Item::List(records) = pack else {
        return Err(PayloadError::senml("pack", "must be an array of records"));
    };
    let mut base = Base::default();
    let mut readings = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let reading = base.resolve(record, sensor, now).map_err(|error| error.within(format!("record {at}")))?;
        readings.extend(reading);
    }
    if readings.is_empty() { Err(PayloadError::Empty) } else { Ok(readings) }
}

/// What base fields add to their own record and those behind it.
#[derive(Default)]
struct Base<'a> {
    name: &'a str,
    time: f64,
    value: f64,
    sum: f64,
}

impl<'a> Base<'a> {
    /// Takes one record. `None` when it has base fields only.
    fn resolve(&mut self, record: &'a Item, sensor: &str, now: Micros) -> Result<Option<(AttributeId, Incoming)>> {
        let Item::Fields(record) = record else {
            return Err(PayloadError::senml("record", "must be an object"));
        };
        understood(record)?;
        self.take(record)?;
        let Some(value) = self.value(record)? else {
            return match ["n", "u", "t", "ut"].into_iter().find(|name| field(record, name).is_some()) {
                Some(name) => Err(PayloadError::senml(name, "stands in a record that has neither value nor sum")),
                None => Ok(None),
            };
        };
        value.check()?;
        Ok(Some((self.attribute(record, sensor)?, Incoming { value, source_time: self.time(record, now)? })))
    }

    fn take(&mut self, record: &'a Fields) -> Result<()> {
        if let Some(name) = text(record, "bn")? {
            self.name = name;
        }
        for (name, place) in [("bt", &mut self.time), ("bv", &mut self.value), ("bs", &mut self.sum)] {
            if let Some(number) = number(record, name)? {
                *place = number;
            }
        }
        Ok(())
    }

    fn value(&self, record: &Fields) -> Result<Option<Value>> {
        let mut values = ["v", "vs", "vb", "vd"].into_iter().filter(|name| field(record, name).is_some());
        let (value, another) = (values.next(), values.next());
        if another.is_some() {
            return Err(PayloadError::senml("record", "has at most one of v, vs, vb, vd"));
        }
        Ok(match value {
            Some("v") => number(record, "v")?.map(|number| Value::F64(self.value + number)),
            Some("vs") => text(record, "vs")?.map(|text| Value::Text(text.into())),
            Some("vb") => Some(Value::Bool(truth(record, "vb")?)),
            Some(_) => Some(Value::Bytes(data(record, "vd")?.into())),
            None => number(record, "s")?.map(|sum| Value::F64(self.sum + sum)),
        })
    }

    /// A time of 0, said or not, is unknown: the reading is of now.
    fn time(&self, record: &Fields, now: Micros) -> Result<Option<Micros>> {
        let seconds = self.time + number(record, "t")?.unwrap_or_default();
        if !(-SECONDS_MAX..SECONDS_MAX).contains(&seconds) {
            return Err(PayloadError::senml("t", "is a time out of range"));
        }
        let micros = (seconds * 1e6).round() as Micros;
        Ok(match seconds {
            0.0 => None,
            _ if seconds < RELATIVE_BELOW => Some(now.saturating_add(micros)),
            _ => Some(micros),
        })
    }

    fn attribute(&self, record: &Fields, sensor: &str) -> Result<AttributeId> {
        let name = format!("{}{}", self.name, text(record, "n")?.unwrap_or_default());
        let behind = name.strip_prefix(sensor).and_then(|rest| rest.strip_prefix(['/', ':']));
        Ok(AttributeId::new(behind.unwrap_or(&name))?)
    }
}

/// Refuses what the RFC says must not be read by those who do not understand it.
fn understood(record: &Fields) -> Result<()> {
    if let Some((name, _)) = record.iter().find(|(name, _)| name.ends_with('_')) {
        return Err(PayloadError::senml(name, "a field that ends in _ must be understood, and is not"));
    }
    match field(record, "bver") {
        None | Some(Item::Integer(1..=VERSION)) => Ok(()),
        Some(_) => Err(PayloadError::senml("bver", "must be a version from 1 to 10")),
    }
}

fn field<'a>(record: &'a Fields, name: &str) -> Option<&'a Item> {
    record.iter().rev().find(|(field, _)| field == name).map(|(_, item)| item)
}

fn number(record: &Fields, name: &'static str) -> Result<Option<f64>> {
    match field(record, name) {
        None => Ok(None),
        Some(item) => item.as_f64().map(Some).ok_or_else(|| PayloadError::senml(name, "must be a number")),
    }
}

fn text<'a>(record: &'a Fields, name: &'static str) -> Result<Option<&'a str>> {
    match field(record, name) {
        None => Ok(None),
        Some(Item::Text(text)) => Ok(Some(text)),
        Some(_) => Err(PayloadError::senml(name, "must be text")),
    }
}

fn truth(record: &Fields, name: &'static str) -> Result<bool> {
    match field(record, name) {
        Some(Item::Bool(truth)) => Ok(*truth),
        _ => Err(PayloadError::senml(name, "must be true or false")),
    }
}

/// A byte string in CBOR, base64 in JSON.
fn data(record: &Fields, name: &'static str) -> Result<Vec<u8>> {
    match field(record, name) {
        Some(Item::Bytes(bytes)) => Ok(bytes.clone()),
        Some(Item::Text(text)) => from_base64(text),
        _ => Err(PayloadError::senml(name, "must be bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::payload::decode_many;

    const NOW: Micros = 1_795_000_000_000_000;
    const DEVICE: &str = "urn:dev:ow:10e2073a01080063";

    type Said = (String, Option<Micros>, Value);

    fn said(encoding: &str, pack: &[u8], sensor: &str) -> Vec<Said> {
        let readings = decode_many(encoding, sensor, pack, NOW).unwrap();
        readings.into_iter().map(|(id, incoming)| (id.to_string(), incoming.source_time, incoming.value)).collect()
    }

    fn json(pack: &str, sensor: &str) -> Vec<Said> {
        said("application/senml+json", pack.as_bytes(), sensor)
    }

    fn one(name: &str, time: Option<Micros>, value: f64) -> Said {
        (name.to_owned(), time, Value::F64(value))
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    // === RFC 8428, section 5.1 ===

    #[test]
    fn rfc_5_1_1_single_data_point() {
        let pack = r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
        assert_eq!(json(pack, "another"), [one(DEVICE, None, 23.1)]);
        assert_eq!(
            json(pack, DEVICE),
            [one(DEVICE, None, 23.1)],
            "the name is the sensor's: it is the attribute's too"
        );
        assert_eq!(json(pack, "urn:dev:ow"), [one("10e2073a01080063", None, 23.1)]);
    }

    #[test]
    fn rfc_5_1_2_multiple_data_points() {
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
                       {"n":"current","u":"A","v":1.2}]"#;
        assert_eq!(json(pack, DEVICE), [one("voltage", None, 120.1), one("current", None, 1.2)]);
    }

    /// Tue Jun 8 18:01:16.001 UTC 2010 is 1,276,020,076.001 s.
    #[test]
    fn rfc_5_1_2_with_times_and_rfc_6_the_same_in_cbor() {
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
                        "n":"voltage","u":"V","v":120.1},
                       {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
                       {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#;
        let expected = [
            one("voltage", Some(1_276_020_076_001_000), 120.1),
            one("current", Some(1_276_020_071_001_000), 1.2),
            one("current", Some(1_276_020_072_001_000), 1.3),
            one("current", Some(1_276_020_073_001_000), 1.4),
            one("current", Some(1_276_020_074_001_000), 1.5),
            one("current", Some(1_276_020_075_001_000), 1.6),
            one("current", Some(1_276_020_076_001_000), 1.7),
        ];
        assert_eq!(json(pack, "urn:dev:ow:10e2073a0108006"), expected);
        let cbor = unhex(
            "87 a7 21 78 1b 75 72 6e 3a 64 65 76 3a 6f 77 3a 31 30 65 32 30 37 33 61 30 31 30 38 30 30 36 3a
             22 fb 41 d3 03 a1 5b 00 10 62 23 61 41 20 05 00 67 76 6f 6c 74 61 67 65 01 61 56 02 fb 40 5e 06
             66 66 66 66 66 a3 00 67 63 75 72 72 65 6e 74 06 24 02 fb 3f f3 33 33 33 33 33 33 a3 00 67 63 75
             72 72 65 6e 74 06 23 02 fb 3f f4 cc cc cc cc cc cd a3 00 67 63 75 72 72 65 6e 74 06 22 02 fb 3f
             f6 66 66 66 66 66 66 a3 00 67 63 75 72 72 65 6e 74 06 21 02 f9 3e 00 a3 00 67 63 75 72 72 65 6e
             74 06 20 02 fb 3f f9 99 99 99 99 99 9a a3 00 67 63 75 72 72 65 6e 74 06 00 02 fb 3f fb 33 33 33
             33 33 33",
        );
        assert_eq!(said("application/senml+cbor", &cbor, "urn:dev:ow:10e2073a0108006"), expected);
    }

    /// Mon Oct 31 13:24:24 UTC 2011 is 1,320,067,464 s. The resolved form (5.1.4) reads the same.
    #[test]
    fn rfc_5_1_3_multiple_measurements_and_5_1_4_resolved() {
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
                       {"u":"lon","v":24.30621},{"u":"lat","v":60.07965},{"t":60,"v":20.3},
                       {"u":"%EL","t":150,"v":98}]"#;
        let resolved = r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067464e+09,"v":20},
                           {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067464e+09,"v":24.30621},
                           {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067464e+09,"v":60.07965},
                           {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067524e+09,"v":20.3},
                           {"n":"urn:dev:ow:10e2073a01080063","u":"%EL","t":1.320067614e+09,"v":98}]"#;
        let expected = [
            one(DEVICE, Some(1_320_067_464_000_000), 20.0),
            one(DEVICE, Some(1_320_067_464_000_000), 24.30621),
            one(DEVICE, Some(1_320_067_464_000_000), 60.07965),
            one(DEVICE, Some(1_320_067_524_000_000), 20.3),
            one(DEVICE, Some(1_320_067_614_000_000), 98.0),
        ];
        assert_eq!(json(pack, "s"), expected);
        assert_eq!(json(resolved, "s"), expected);
    }

    #[test]
    fn rfc_5_1_5_multiple_data_types() {
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
                       {"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#;
        let expected = [
            one("temp", None, 23.1),
            ("label".into(), None, Value::Text("Machine Room".into())),
            ("open".into(), None, Value::Bool(false)),
            ("nfc-reader".into(), None, Value::Bytes(b"hi \n".as_slice().into())),
        ];
        assert_eq!(json(pack, DEVICE), expected);
    }

    /// The last record has the base name of the third and the base time of the first.
    #[test]
    fn rfc_5_1_6_collection_of_resources() {
        let pack = r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
                       {"n":"humidity","u":"%RH","v":30},
                       {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
                       {"n":"humidity","u":"%RH","v":67}]"#;
        let time = Some(1_320_078_429_000_000);
        let expected = [
            one("temperature", time, 25.2),
            one("humidity", time, 30.0),
            one("2001:db8::1/temperature", time, 12.3),
            one("2001:db8::1/humidity", time, 67.0),
        ];
        assert_eq!(json(pack, "2001:db8::2"), expected);
    }

    /// The first record has a base name only. The second pack's last time is 0.1 s later.
    #[test]
    fn rfc_5_1_7_setting_an_actuator() {
        let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"temp","u":"Cel","v":23.1},
                       {"n":"heat","u":"/","v":1},{"n":"fan","u":"/","v":0}]"#;
        assert_eq!(json(pack, DEVICE), [one("temp", None, 23.1), one("heat", None, 1.0), one("fan", None, 0.0)]);
        let pack = r#"[{"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},{"n":"2001:db8::3","t":0.1,"v":0}]"#;
        let expected = [
            one("2001:db8::3", Some(1_320_078_429_000_000), 0.5),
            one("2001:db8::3", Some(1_320_078_429_100_000), 0.0),
        ];
        assert_eq!(json(pack, "lights"), expected);
    }

    // === rules ===

    #[test]
    fn times_below_two_to_the_28_are_relative() {
        for (time, expected) in [
            ("-2", Some(NOW - 2_000_000)),
            ("0", None),
            ("0.5", Some(NOW + 500_000)),
            ("268435455", Some(NOW + 268_435_455_000_000)),
            ("268435456", Some(268_435_456_000_000)),
        ] {
            assert_eq!(json(&format!(r#"[{{"n":"x","t":{time},"v":1}}]"#), "s"), [one("x", expected, 1.0)]);
        }
        // The rule is on the sum of base time and time.
        assert_eq!(json(r#"[{"n":"x","bt":268435457,"t":-2,"v":1}]"#, "s")[0].1, Some(NOW + 268_435_455_000_000));
    }

    #[test]
    fn base_values_and_sums_are_added() {
        let pack = r#"[{"bn":"s/","bv":10,"bs":100,"n":"v","v":1,"s":7},{"n":"s","s":3},{"n":"t","vs":"x"},
                       {"bv":0.5,"n":"v","v":-1}]"#;
        let text = ("t".into(), None, Value::Text("x".into()));
        assert_eq!(json(pack, "s"), [one("v", None, 11.0), one("s", None, 103.0), text, one("v", None, -0.5)]);
    }

    #[test]
    fn cbor_may_use_byte_strings_and_decimal_fractions() {
        // [{0: "d", 8: h'0102'}, {0: "v", 2: 4([-1, 15])}, {0: "n", 2: NaN}]
        let pack = unhex("83 a2 00 61 64 08 42 01 02 a2 00 61 76 02 c4 82 20 0f a2 00 61 6e 02 f9 7e 00");
        let expected =
            [("d".into(), None, Value::Bytes([1, 2].as_slice().into())), one("v", None, 1.5), one("n", None, f64::NAN)];
        assert_eq!(said("application/sensml+cbor", &pack, "s"), expected);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        assert_eq!(json(r#"[{"n":"x","v":1,"ut":5,"extra":{"a":[1]}}]"#, "s"), [one("x", None, 1.0)]);
    }

    #[test]
    fn rules_are_refused_by_name() {
        let long = format!(r#"[{{"n":"{}","v":1}}]"#, "x".repeat(65));
        for (pack, reason, named) in [
            (r#"{"n":"x","v":1}"#, "senml", "pack: must be an array"),
            (r#"[1]"#, "senml", "record 0: record: must be an object"),
            (r#"[{"n":"x","v":1},{"n":"x","v":1,"must_":2}]"#, "senml", "record 1: must_"),
            (r#"[{"bver":11,"n":"x","v":1}]"#, "senml", "bver"),
            (r#"[{"bver":0,"n":"x","v":1}]"#, "senml", "bver"),
            (r#"[{"n":"x","v":1,"vs":"y"}]"#, "senml", "at most one"),
            (r#"[{"n":"x","v":"1"}]"#, "senml", "v: must be a number"),
            (r#"[{"n":"x","v":null}]"#, "senml", "v: must be a number"),
            (r#"[{"n":7,"v":1}]"#, "senml", "n: must be text"),
            (r#"[{"n":"x","vb":1}]"#, "senml", "vb"),
            (r#"[{"n":"x","vd":"!"}]"#, "base64", "base64"),
            (r#"[{"n":"x","t":1e300,"v":1}]"#, "senml", "out of range"),
            (r#"[{"n":"x","t":5}]"#, "senml", "neither value nor sum"),
            (r#"[{"v":1}]"#, "bounds", "attribute id"),
            (&long, "bounds", "attribute id"),
            ("[]", "empty", "empty"),
            (r#"[{"bn":"x"}]"#, "empty", "empty"),
            ("[", "json", "json"),
        ] {
            let error = decode_many("application/senml+json", "s", pack.as_bytes(), NOW).unwrap_err();
            assert_eq!(error.reason(), reason, "{pack}: {error}");
            assert!(error.to_string().contains(named), "{pack}: {error}");
        }
    }
}

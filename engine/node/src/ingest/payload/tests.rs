//! What payloads mean, and that no bytes can do harm.

use std::sync::Arc;

use proptest::prelude::*;
use senza_core::{NodeName, SensorId, SensorType, Series, SeriesKind};

use super::*;

const JSON: &str = "application/json";
const CBOR: &str = "application/cbor";
const ENCODINGS: [&str; 9] = [
    "",
    "zenoh/string",
    "text/plain",
    "application/octet-stream",
    JSON,
    CBOR,
    "application/senml+json",
    "application/senml+cbor",
    "image/png",
];

fn one(encoding: &str, payload: &[u8]) -> Value {
    decode_one(encoding, payload).unwrap().value
}

fn reason(encoding: &str, payload: &[u8]) -> &'static str {
    decode_one(encoding, payload).unwrap_err().reason()
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.into())
}

fn json(text: &str) -> Value {
    Value::Json(text.into())
}

fn reading(value: Value) -> Reading {
    let kind = SeriesKind {
        attribute: AttributeId::new("x").unwrap(),
        sensor_type: SensorType::default(),
        node: NodeName::new("a").unwrap(),
        lossless: false,
    };
    let series = Series::new(SensorId::new("s").unwrap(), 1_795_478_852_114_109, kind.into());
    Reading { series: Arc::new(series), value, source_time: 1, received_time: 2, seq: 17 }
}

fn read_back(envelope: &str) -> Envelope {
    parse_envelope(&serde_json::from_str(envelope).unwrap()).unwrap()
}

// === by encoding ===

#[test]
fn text_is_what_it_looks_like() {
    for encoding in ["", "zenoh/bytes", "zenoh/string", "zenoh/string;utf-8", "text/plain", "text/plain; charset=utf-8"]
    {
        assert_eq!(one(encoding, b"72"), Value::I64(72));
        assert_eq!(one(encoding, b"-9223372036854775808"), Value::I64(i64::MIN));
        assert_eq!(one(encoding, b"9223372036854775808"), Value::F64(9_223_372_036_854_775_808.0));
        assert_eq!(one(encoding, b" 72.5\r\n"), Value::F64(72.5));
        assert_eq!(one(encoding, b"1e3"), Value::F64(1000.0));
        assert_eq!(one(encoding, b"-inf"), Value::F64(f64::NEG_INFINITY));
        assert!(matches!(one(encoding, b"nan"), Value::F64(number) if number.is_nan()));
        assert_eq!(one(encoding, b"true"), Value::Bool(true));
        assert_eq!(one(encoding, b"false\n"), Value::Bool(false));
        assert_eq!(one(encoding, " grün\n".as_bytes()), Value::Text(" grün\n".into()));
        assert_eq!(one(encoding, b"1e999"), Value::Text("1e999".into()), "no finite number becomes infinite");
        assert_eq!(one(encoding, b"12 V"), Value::Text("12 V".into()));
    }
    assert_eq!(one("", &[0xff, 0]), bytes(&[0xff, 0]));
    assert_eq!(one("zenoh/bytes", &[0xff]), bytes(&[0xff]));
    assert_eq!(reason("text/plain", &[0xff]), "utf8");
}

#[test]
fn json_of_an_embedder_is_an_object_or_an_array() {
    assert_eq!(json_value(" {\"value\": [1, 2.5]} ").unwrap(), json("{\"value\":[1,2.5]}"));
    let deep = "[".repeat(121) + &"]".repeat(121);
    let large = format!("[\"{}\"]", "x".repeat(VALUE_BYTES_MAX));
    for bad in ["", "1", "\"text\"", "[1", &deep, &large, &"x".repeat(PAYLOAD_MAX + 1)] {
        assert!(json_value(bad).is_err(), "{}", bad.chars().take(20).collect::<String>());
    }
}

#[test]
fn unknown_encodings_have_a_default() {
    assert_eq!(one("application/octet-stream", b"72"), bytes(b"72"));
    assert_eq!(one("image/png", b"72"), bytes(b"72"));
    assert_eq!(one("text/csv", b"1,2"), Value::Text("1,2".into()));
    assert_eq!(one("application/vnd.acme+json", b"[1]"), json("[1]"));
    assert_eq!(one("application/vnd.acme+cbor", &[0x81, 1]), json("[1]"));
    assert_eq!(one("text/json", b"7.5"), Value::F64(7.5));
}

#[test]
fn json_is_a_value() {
    assert_eq!(one(JSON, b"9007199254740993"), Value::I64(9_007_199_254_740_993));
    assert_eq!(one(JSON, b"9223372036854775807"), Value::I64(i64::MAX));
    assert_eq!(one(JSON, b"18446744073709551615"), Value::F64(18_446_744_073_709_551_615.0));
    assert_eq!(one(JSON, b"1.0"), Value::F64(1.0));
    assert_eq!(one(JSON, b" true "), Value::Bool(true));
    assert_eq!(one(JSON, br#""NaN""#), Value::Text("NaN".into()), "a string is text unless kind says otherwise");
    assert_eq!(one("application/json;v=1", br#""a\u00fc\n""#), Value::Text("aü\n".into()));
    assert_eq!(one(JSON, br#"{ "y": 1, "x": [2.50, null] }"#), json(r#"{"y":1,"x":[2.5,null]}"#), "in its own order");
    assert_eq!(one(JSON, br#"{"id":18446744073709551615}"#), json(r#"{"id":18446744073709551615}"#));
    for (bad, label) in [(&b"{"[..], "json"), (b"1 2", "json"), (b"\xff", "json"), (b"null", "rule"), (b"", "empty")] {
        assert_eq!(reason(JSON, bad), label, "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn json_may_be_the_envelope() {
    let full = br#"{"value":5,"time_us":1700000000000000,"received_us":1,"seq":2,"epoch":3,"node":"a"}"#;
    let expected = Incoming { value: Value::I64(5), source_time: Some(1_700_000_000_000_000) };
    assert_eq!(decode_one(JSON, full).unwrap(), expected);
    assert_eq!(decode_one(JSON, br#"{"value":5}"#).unwrap(), Incoming { value: Value::I64(5), source_time: None });
    assert_eq!(one(JSON, br#"{"value":5,"unit":"C"}"#), json(r#"{"value":5,"unit":"C"}"#), "another object is a value");
    assert_eq!(one(JSON, br#"{"time_us":5}"#), json(r#"{"time_us":5}"#));
    assert_eq!(one(JSON, br#"{"value":{"value":5}}"#), json(r#"{"value":5}"#));
    for (envelope, expected) in [
        (r#"{"value":"AAE=","kind":"bytes"}"#, bytes(&[0, 1])),
        (r#"{"value":"AAE","kind":"bytes"}"#, bytes(&[0, 1])),
        (r#"{"value":"_-8","kind":"bytes"}"#, bytes(&[0xff, 0xef])),
        (r#"{"value":"-Infinity","kind":"f64"}"#, Value::F64(f64::NEG_INFINITY)),
        (r#"{"value":5,"kind":"f64"}"#, Value::F64(5.0)),
        (r#"{"value":5,"kind":"i64"}"#, Value::I64(5)),
        (r#"{"value":[1,"NaN"],"kind":"vector"}"#, Value::Vector([1.0, f32::NAN].into())),
        (r#"{"value":[1],"kind":"json"}"#, json("[1]")),
        (r#"{"value":"x","kind":"text"}"#, Value::Text("x".into())),
        (r#"{"value":true,"kind":"bool","time_us":null}"#, Value::Bool(true)),
    ] {
        assert_eq!(one(JSON, envelope.as_bytes()), expected, "{envelope}");
    }
}

#[test]
fn envelopes_are_refused_by_name() {
    for (envelope, label, named) in [
        (r#"{"value":1,"time_us":"now"}"#, "rule", "time_us"),
        (r#"{"value":1,"time_us":1.5}"#, "rule", "time_us"),
        (r#"{"value":null}"#, "rule", "null"),
        (r#"{"value":"x","kind":"f64"}"#, "rule", "x: a number as text"),
        (r#"{"value":1,"kind":"bytes"}"#, "rule", "bytes"),
        (r#"{"value":1.5,"kind":"i64"}"#, "rule", "i64"),
        (r#"{"value":1,"kind":"double"}"#, "rule", "double"),
        (r#"{"value":1,"kind":7}"#, "rule", "kind"),
        (r#"{"value":"!","kind":"bytes"}"#, "base64", "base64"),
        (r#"{"value":[true],"kind":"vector"}"#, "rule", "vector"),
        (r#"{"value":[1e39],"kind":"vector"}"#, "rule", "vector"),
    ] {
        let error = decode_one(JSON, envelope.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), label, "{envelope}: {error}");
        assert!(error.to_string().contains(named), "{envelope}: {error}");
    }
}

#[test]
fn cbor_is_the_same_in_cbor() {
    assert_eq!(one(CBOR, &[0x18, 0x48]), Value::I64(72));
    assert_eq!(one(CBOR, &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255]), Value::F64(u64::MAX as f64));
    assert_eq!(one(CBOR, &[0x3b, 255, 255, 255, 255, 255, 255, 255, 255]), Value::F64(-18_446_744_073_709_551_616.0));
    assert_eq!(one(CBOR, &[0x3b, 127, 255, 255, 255, 255, 255, 255, 255]), Value::I64(i64::MIN));
    assert_eq!(one(CBOR, &[0xfb, 0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18]), Value::F64(std::f64::consts::PI));
    assert_eq!(one(CBOR, &[0xf9, 0x7c, 0x00]), Value::F64(f64::INFINITY));
    assert!(matches!(one(CBOR, &[0xf9, 0x7e, 0x00]), Value::F64(number) if number.is_nan()));
    assert_eq!(one(CBOR, &[0xf5]), Value::Bool(true));
    assert_eq!(one(CBOR, &[0x62, 0xc3, 0xbc]), Value::Text("ü".into()));
    assert_eq!(one(CBOR, &[0x7f, 0x61, b'a', 0x61, b'b', 0xff]), Value::Text("ab".into()));
    assert_eq!(one(CBOR, &[0x42, 1, 2]), bytes(&[1, 2]));
    assert_eq!(one(CBOR, &[0x5f, 0x41, 1, 0x41, 2, 0xff]), bytes(&[1, 2]));
    assert_eq!(one(CBOR, &[0xa2, 0x61, b'x', 0x01, 0x05, 0x41, 0xff]), json(r#"{"x":1,"5":"/w=="}"#));
    assert_eq!(one(CBOR, &[0x9f, 0x01, 0x02, 0xff]), json("[1,2]"));
    assert_eq!(one(CBOR, &[0xbf, 0x61, b'x', 0xf6, 0xff]), json(r#"{"x":null}"#));
    assert_eq!(one(CBOR, &[0xc1, 0x01]), Value::I64(1), "a tag is seen through");
    assert_eq!(one(CBOR, &[0xc4, 0x82, 0x21, 0x19, 0x6a, 0xb3]), Value::F64(273.15), "RFC 8949, 3.4.4");
}

#[test]
fn a_cbor_map_may_be_the_envelope() {
    let mut envelope = vec![0xa2, 0x65];
    envelope.extend(b"value");
    envelope.extend([0x42, 1, 2, 0x67]);
    envelope.extend(b"time_us");
    envelope.push(0x07);
    assert_eq!(decode_one(CBOR, &envelope).unwrap(), Incoming { value: bytes(&[1, 2]), source_time: Some(7) });
}

#[test]
fn bad_cbor_is_refused() {
    for (bad, why) in [
        (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255][..], "an array's length alone"),
        (&[0xbb, 127, 255, 255, 255, 255, 255, 255, 255], "a map's length alone"),
        (&[0x5b, 127, 255, 255, 255, 255, 255, 255, 255], "a string's length alone"),
        (&[0x01, 0x01], "left over"),
        (&[0xff], "a break alone"),
        (&[0x9f, 0x01], "no end"),
        (&[0xe0], "a simple value"),
        (&[0xc2, 0x41, 0x01], "a big number"),
        (&[0xc4, 0x01], "no decimal fraction"),
        (&[0xc4, 0x82, 0x19, 0x03, 0xe8, 0x01], "1e1000"),
        (&[0xa1, 0xf5, 0x01], "a key that is no text or integer"),
        (&[0x61, 0xff], "text that is not UTF-8"),
        (&[0x81; 100], "deep arrays"),
        (&[0xc1; 100_000], "deep tags"),
    ] {
        assert_eq!(reason(CBOR, bad), "cbor", "{why}");
    }
    assert_eq!(reason(CBOR, &[0xf6]), "rule", "null");
    assert_eq!(reason(CBOR, &[0x81, 0xf9, 0x7e, 0x00]), "rule", "JSON has no NaN");
}

#[test]
fn packs_go_to_the_sensors_key() {
    assert_eq!(reason("application/senml+json", br#"[{"n":"x","v":1}]"#), "senml");
}

// === bounds ===

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    for (encoding, payload) in [
        ("text/plain", long.clone()),
        ("application/octet-stream", long.clone()),
        (JSON, format!("\"{long}\"")),
        (JSON, format!("[\"{long}\"]")),
        (JSON, format!(r#"{{"value":{:?},"kind":"vector"}}"#, vec![0; senza_core::reading::VECTOR_MAX + 1])),
        (JSON, " ".repeat(PAYLOAD_MAX + 1)),
    ] {
        assert_eq!(reason(encoding, payload.as_bytes()), "too_large", "{encoding}");
    }
    let escaped = format!("\"{}\"", "\\u0001".repeat(VALUE_BYTES_MAX));
    assert_eq!(one(JSON, escaped.as_bytes()), Value::Text("\u{1}".repeat(VALUE_BYTES_MAX).into()));
    let error = decode_many(JSON, "s", format!(r#"{{"a":1,"b":"{long}"}}"#).as_bytes(), 0).unwrap_err();
    assert_eq!(error.reason(), "too_large");
    assert!(error.to_string().starts_with("b: value has a size"), "{error}");
}

#[test]
fn an_array_of_envelopes_of_the_deepest_value_still_parses() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let value = one(JSON, nested(JSON_DEPTH_MAX).as_bytes());
    let history = format!("[{}]", reading_json(&reading(value)));
    assert!(serde_json::from_str::<Json>(&history).is_ok());
    assert_eq!(reason(JSON, nested(JSON_DEPTH_MAX + 1).as_bytes()), "rule");
    assert_eq!(reason(JSON, nested(100_000).as_bytes()), "json");
    assert_eq!(reason(JSON, "[".repeat(PAYLOAD_MAX).as_bytes()), "json");
}

// === several attributes ===

#[test]
fn an_object_carries_several_attributes() {
    let payload = br#"{"b":1,"a":{"value":2.5,"time_us":7},"c":{"x":1}}"#;
    let expected = [("b", Value::I64(1), None), ("a", Value::F64(2.5), Some(7)), ("c", json(r#"{"x":1}"#), None)];
    for encoding in [JSON, "", "zenoh/string"] {
        let many = decode_many(encoding, "s", payload, 0).unwrap();
        let said: Vec<_> =
            many.iter().map(|(id, incoming)| (id.as_str(), incoming.value.clone(), incoming.source_time)).collect();
        assert_eq!(said, expected);
    }
    let many = decode_many(CBOR, "s", &[0xa2, 0x61, b'x', 0xf9, 0x7c, 0x00, 0x61, b'y', 0x41, 9], 0).unwrap();
    assert_eq!((many[0].0.as_str(), &many[0].1.value), ("x", &Value::F64(f64::INFINITY)));
    assert_eq!((many[1].0.as_str(), &many[1].1.value), ("y", &bytes(&[9])));
}

#[test]
fn one_bad_attribute_refuses_all() {
    for (payload, label, named) in [
        (r#"{}"#, "empty", "empty"),
        (r#"[1]"#, "rule", "object"),
        (r#"{"a":1,"":2}"#, "bounds", "attribute id"),
        (r#"{"a":1,"b":null}"#, "rule", "b: value: null"),
        (r#"{"value":1,"time_us":5}"#, "rule", "names no attribute"),
        ("7", "rule", "object"),
        ("x", "json", "json"),
    ] {
        let error = decode_many(JSON, "s", payload.as_bytes(), 0).unwrap_err();
        assert_eq!(error.reason(), label, "{payload}: {error}");
        assert!(error.to_string().contains(named), "{payload}: {error}");
    }
}

// === the envelope ===

#[test]
fn the_envelope_is_as_published() {
    let tail = r#","time_us":1,"received_us":2,"seq":17,"epoch":1795478852114109,"node":"a"}"#;
    for (value, expected) in [
        (Value::F64(72.0), r#"72.0"#),
        (Value::F64(-0.0), r#"-0.0"#),
        (Value::F64(0.1), r#"0.1"#),
        (Value::F64(1e300), r#"1e300"#),
        (Value::F64(f64::NAN), r#""NaN","kind":"f64""#),
        (Value::F64(f64::INFINITY), r#""Infinity","kind":"f64""#),
        (Value::F64(f64::NEG_INFINITY), r#""-Infinity","kind":"f64""#),
        (Value::I64(i64::MIN), "-9223372036854775808"),
        (Value::I64(9_007_199_254_740_993), "9007199254740993"),
        (Value::Bool(true), "true"),
        (Value::Text("a\"\\\n\r\t\u{1}\u{7f}ü\u{2028}😀".into()), "\"a\\\"\\\\\\n\\r\\t\\u0001\u{7f}ü\u{2028}😀\""),
        (bytes(&[0, 1]), r#""AAE=","kind":"bytes""#),
        (bytes(&[]), r#""","kind":"bytes""#),
        (Value::Vector([0.1, -0.0, f32::NAN].into()), r#"[0.1,-0.0,"NaN"],"kind":"vector""#),
        (Value::Vector([].into()), r#"[],"kind":"vector""#),
        (json(r#"{"x":[1]}"#), r#"{"x":[1]}"#),
    ] {
        assert_eq!(reading_json(&reading(value)), format!("{{\"value\":{expected}{tail}"));
    }
}

/// Found by trying every f32: its shortest digits, read as f64 and rounded, are its neighbour.
#[test]
fn a_vector_survives_rounding_twice() {
    let value = Value::Vector([f32::from_bits(0x15ae_43fd)].into());
    assert_eq!(read_back(&reading_json(&reading(value.clone()))).value, value);
}

#[test]
fn an_envelope_lacks_no_field() {
    let json: Json = serde_json::from_str(&reading_json(&reading(Value::I64(5)))).unwrap();
    for name in ["value", "time_us", "received_us", "seq", "epoch", "node"] {
        let mut lacking = json.clone();
        lacking.as_object_mut().unwrap().remove(name);
        assert!(parse_envelope(&lacking).unwrap_err().to_string().contains(name));
    }
    assert!(parse_envelope(&serde_json::json!([1])).is_err());
}

// === properties ===

fn f64s() -> impl Strategy<Value = f64> {
    use proptest::num::f64 as num;
    prop_oneof![
        num::ANY.prop_map(|number| if number.is_nan() { f64::NAN } else { number }),
        any::<u64>().prop_map(f64::from_bits).prop_filter("one NaN stands for all", |number| !number.is_nan()),
        Just(f64::NAN),
        Just(f64::MIN_POSITIVE / 2.0),
    ]
}

fn f32s() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_map(|number| if number.is_nan() { f32::NAN } else { number })
}

fn jsons() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn nested_jsons() -> impl Strategy<Value = Json> {
    jsons().prop_filter("an object or array", |json| json.is_object() || json.is_array())
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        f64s().prop_map(Value::F64),
        any::<i64>().prop_map(Value::I64),
        prop_oneof![Just(i64::MAX), Just(i64::MIN), Just((1 << 53) + 1)].prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(|text| Value::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
        prop::collection::vec(f32s(), 0..8).prop_map(|vector| Value::Vector(vector.into())),
        nested_jsons().prop_map(|json| {
            let mut text = String::new();
            Item::deserialize(&json).unwrap().write_json(1, &mut text).unwrap();
            Value::Json(text.into())
        }),
    ]
}

/// Bytes that get further than noise does: payloads of every format, then damaged.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        values().prop_map(|value| reading_json(&reading(value)).into_bytes()),
        jsons().prop_map(|json| json.to_string().into_bytes()),
        Just(br#"[{"bn":"s/","bt":1.2e9,"bver":5,"n":"x","v":1},{"n":"y","t":-5,"vd":"aGk"}]"#.to_vec()),
        Just(
            b"\x82\xa3\x21\x62s/\x22\xfb\x41\xd3\x03\xa1\x5b\x00\x10\x62\x02\x01\xa2\x00\x61x\x08\x42\x01\x02".to_vec()
        ),
        Just(b"\xbf\x65value\xc4\x82\x21\x19\x6a\xb3\x67time_us\x1b\x00\x01\x02\x03\x04\x05\x06\x07\xff".to_vec()),
    ];
    (whole, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(mut bytes, damage)| {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    /// Needs serde_json's `float_roundtrip`: without it a number may be off by one in its last bit.
    #[test]
    fn an_envelope_reads_back_as_it_was_written(value in values(), time: i64, received: i64, seq: u64) {
        let mut reading = reading(value);
        (reading.source_time, reading.received_time, reading.seq) = (time, received, seq);
        let written = reading_json(&reading);
        let expected = Envelope {
            value: reading.value.clone(),
            time_us: time,
            received_us: received,
            seq,
            epoch: reading.series.epoch,
            node: "a".into(),
        };
        prop_assert_eq!(read_back(&written), expected);
        let incoming = Incoming { value: reading.value, source_time: Some(time) };
        prop_assert_eq!(decode_one(JSON, written.as_bytes()), Ok(incoming));
    }

    #[test]
    fn json_keeps_its_meaning(json in nested_jsons()) {
        if let Value::Json(text) = one(JSON, json.to_string().as_bytes()) {
            prop_assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), json);
        }
    }

    #[test]
    fn cbor_numbers_are_exact(number in f64s(), integer: i64) {
        prop_assert_eq!(one(CBOR, &minicbor::to_vec(number).unwrap()), Value::F64(number));
        prop_assert_eq!(one(CBOR, &minicbor::to_vec(integer).unwrap()), Value::I64(integer));
    }

    #[test]
    fn text_numbers_are_exact(number in f64s(), integer: i64) {
        prop_assert_eq!(from_text(&format!("{number:?}")), Value::F64(number));
        prop_assert_eq!(from_text(&integer.to_string()), Value::I64(integer));
    }

    #[test]
    fn noise_is_never_a_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), damaged()], now: i64) {
        for encoding in ENCODINGS {
            let one = decode_one(encoding, &bytes).map(|incoming| vec![incoming]);
            let many = decode_many(encoding, "s", &bytes, now);
            let many = many.map(|readings| readings.into_iter().map(|(_, incoming)| incoming).collect());
            for incoming in [one, many].into_iter().flatten().flatten() {
                // What is taken can be told.
                prop_assert!(incoming.value.check().is_ok());
                prop_assert_eq!(read_back(&reading_json(&reading(incoming.value.clone()))).value.check(), Ok(()));
            }
        }
    }

    #[test]
    fn any_encoding_is_some_format(encoding: String, bytes in prop::collection::vec(any::<u8>(), 1..20)) {
        let _taken = decode_one(&encoding, &bytes);
    }
}

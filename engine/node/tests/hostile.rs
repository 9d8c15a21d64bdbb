//! Damaged payloads of every format: never a panic, never more memory than a small multiple of what came, and what is
//! taken can be told. The damage is that of `engine/core/tests/hostile.rs`, with the same variables.

#[path = "../../core/tests/damage/mod.rs"]
mod damage;

use std::fs;
use std::path::Path;

use damage::{assert_small, damaged, run};
use senza::ingest::payload::{decode_many, decode_one};

/// Bytes held per byte that came. A CBOR array of small numbers is the worst: an item of 32 bytes for one, in a list
/// that doubles while the old one is still there.
const PAYLOAD_TIMES: usize = 100;

const ENCODINGS: [&str; 7] = [
    "",
    "zenoh/string",
    "application/octet-stream",
    "application/json",
    "application/cbor",
    "application/senml+json",
    "application/senml+cbor",
];

/// Payloads of every format, whole.
fn samples() -> Vec<Vec<u8>> {
    let texts: &[&str] = &[
        "72.5",
        "-9007199254740993",
        "true",
        "warm, ü",
        "\"text \\u00fc \\ud83d\\ude00\"",
        "[1,2.5,-3e300,\"NaN\",null,{\"a\":[]}]",
        "{\"value\":72.0,\"time_us\":1795478852114109,\"received_us\":2,\"seq\":17,\"epoch\":3,\"node\":\"a\"}",
        "{\"value\":[0.1,\"NaN\",\"-Infinity\"],\"kind\":\"vector\"}",
        "{\"value\":\"AAEC\",\"kind\":\"bytes\"}",
        "{\"value\":\"Infinity\",\"kind\":\"f64\"}",
        "{\"pulse\":72,\"position\":{\"value\":[1,2],\"kind\":\"vector\",\"time_us\":5},\"note\":\"x\"}",
        "[{\"bn\":\"s/\",\"bt\":1.2e9,\"bver\":5,\"n\":\"x\",\"v\":1},{\"n\":\"y\",\"t\":-5,\"vd\":\"aGk\"},{\"n\":\"z\",\"vb\":true}]",
    ];
    let cbor: &[&[u8]] = &[
        b"\xf9\x7e\x00",
        b"\xfb\x40\x52\x20\x00\x00\x00\x00\x00",
        b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x83\x01\x9f\x02\x63abc\xff\xa1\x61a\x80",
        b"\x7f\x62ab\x62cd\xff",
        b"\x5f\x42\x01\x02\x41\x03\xff",
        b"\xbf\x65value\xc4\x82\x21\x19\x6a\xb3\x67time_us\x1b\x00\x01\x02\x03\x04\x05\x06\x07\xff",
        b"\xa2\x65pulse\x18\x48\x65bytes\x44\x00\x01\x02\x03",
        b"\x82\xa3\x21\x62s/\x22\xfb\x41\xd3\x03\xa1\x5b\x00\x10\x62\x02\x01\xa2\x00\x61x\x08\x42\x01\x02",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(cbor.iter().map(|bytes| bytes.to_vec())).collect()
}

fn check(encoding: &str, bytes: &[u8]) {
    let one = assert_small(bytes.len(), PAYLOAD_TIMES, || decode_one(encoding, bytes));
    let many = assert_small(bytes.len(), PAYLOAD_TIMES, || decode_many(encoding, "s", bytes, 1_795_000_000_000_000));
    let many = many.into_iter().flatten().map(|(_, incoming)| incoming);
    for incoming in one.into_iter().chain(many) {
        assert!(incoming.value.check().is_ok(), "{encoding}: {incoming:?}");
    }
}

#[test]
fn whole_payloads_pass_in_some_format() {
    for bytes in samples() {
        ENCODINGS.iter().for_each(|encoding| check(encoding, &bytes));
        let taken =
            |encoding: &&str| decode_one(encoding, &bytes).is_ok() || decode_many(encoding, "s", &bytes, 0).is_ok();
        assert!(ENCODINGS[3..].iter().any(taken) || std::str::from_utf8(&bytes).is_ok());
    }
}

#[test]
fn damaged_payloads_are_harmless() {
    let samples = samples();
    run("senza", "damaged_payloads_are_harmless", 150_000, |random| {
        let bytes = damaged(&samples, random);
        let encoding: &&str = random.pick(&ENCODINGS);
        check(encoding, &bytes);
    });
}

/// Long ones of the shortest items, and as deep as they go.
#[test]
fn long_and_deep_payloads_cost_a_small_multiple() {
    let many = 100_000;
    let repeated = |head: &str, item: &str, tail: &str| format!("{head}{}{tail}", item.repeat(many)).into_bytes();
    for (encoding, bytes) in [
        ("application/json", repeated("[0", ",0", "]")),
        ("application/json", repeated("[\"\"", ",\"\"", "]")),
        ("application/json", repeated("{\"\":0", ",\"\":0", "}")),
        ("application/json", repeated("", "[", "")),
        ("application/json", repeated("\"", "\\u0001", "\"")),
        ("application/senml+json", repeated("[{\"n\":\"x\",\"v\":1}", ",{\"v\":1}", "]")),
        ("application/cbor", [&[0x9a, 0, 1, 0x86, 0xa0][..], &vec![0; many]].concat()),
        ("application/cbor", [&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255][..], &vec![0; many]].concat()),
        ("application/cbor", vec![0x81; many]),
        ("application/cbor", vec![0xbf; many]),
        ("application/cbor", [&[0x5f][..], &vec![0x40; many], &[0xff]].concat()),
        ("application/senml+cbor", [&[0x9f][..], &vec![0xa0; many], &[0xff]].concat()),
    ] {
        check(encoding, &bytes);
    }
}

/// Written only where somebody asks, as in core's.
#[test]
fn samples_are_written_for_the_fuzzer() {
    let Ok(folder) = std::env::var("SEEDS") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).join("payloads");
    fs::create_dir_all(&folder).unwrap();
    for (number, bytes) in samples().iter().enumerate() {
        // The fuzzer's first byte picks the encoding.
        for encoding in 0..ENCODINGS.len() as u8 {
            let name = format!("sample-{number:02}-{encoding}");
            fs::write(folder.join(name), [&[encoding], bytes.as_slice()].concat()).unwrap();
        }
    }
}

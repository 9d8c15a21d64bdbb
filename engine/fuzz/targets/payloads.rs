//! Payloads of devices in every format; the first byte picks it. What is taken can be told, and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The node's own files: its crate brings Zenoh, which takes minutes to build with coverage.
#[allow(dead_code, unreachable_pub, reason = "the node uses the rest")]
#[path = "../../node/src/ingest"]
mod ingest {
    pub(crate) mod payload;
    pub(crate) mod senml;
}

use ingest::payload::{decode_many, decode_one, value_json};

/// As in `engine/node/tests/hostile.rs`, which writes the samples.
const ENCODINGS: [&str; 7] = [
    "",
    "zenoh/string",
    "application/octet-stream",
    "application/json",
    "application/cbor",
    "application/senml+json",
    "application/senml+cbor",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((encoding, bytes)) = bytes.split_first() else { return };
    let encoding = ENCODINGS[usize::from(*encoding) % ENCODINGS.len()];
    let one = decode_one(encoding, bytes);
    let many = decode_many(encoding, "s", bytes, 1_795_000_000_000_000);
    let many = many.into_iter().flatten().map(|(_, incoming)| incoming);
    for incoming in one.into_iter().chain(many) {
        assert_eq!(incoming.value.check(), Ok(()));
        let mut told = String::from("{\"value\":");
        value_json(&incoming.value, &mut told);
        told.push('}');
        let again = decode_one("application/json", told.as_bytes()).expect("what is told is an envelope");
        let mut told_again = String::from("{\"value\":");
        value_json(&again.value, &mut told_again);
        told_again.push('}');
        assert_eq!(told_again, told);
    }
});

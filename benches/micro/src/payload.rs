//! What devices send ⇄ readings. The node's own two files, compiled in here: its crate brings Zenoh.

use std::hint::black_box;
use std::sync::Arc;

use senza_core::{Micros, Reading, Series, Value};

use crate::{Case, OPERATIONS, series};

#[allow(dead_code, unreachable_pub, reason = "the node uses the rest")]
#[path = "../../../engine/node/src/ingest"]
mod ingest {
    pub(crate) mod payload;
    pub(crate) mod senml;
}

use ingest::payload::{decode_many, decode_one, reading_json};

const NOW: Micros = 1_795_000_000_000_000;
/// Records of one pack.
const RECORDS: usize = 10;

pub(crate) fn cases() -> Vec<Case> {
    let number = || "21.5".to_owned();
    let envelope = || r#"{"value":21.5,"time_us":1795000000000000}"#.to_owned();
    vec![
        Case::new("payload: decode a JSON number", number, |text| decode_each("application/json", text)),
        Case::new("payload: decode a JSON envelope", envelope, |text| decode_each("application/json", text)),
        Case::new("payload: decode plain text", number, |text| decode_each("", text)),
        Case::new("payload: decode SenML, per record", pack, decode_packs),
        Case::new("payload: write an envelope", readings, |readings| {
            readings.iter().for_each(|reading| {
                black_box(reading_json(reading));
            })
        }),
    ]
}

fn decode_each(encoding: &str, text: &str) {
    for _ in 0..OPERATIONS {
        black_box(decode_one(encoding, black_box(text).as_bytes()).expect("it is well-formed"));
    }
}

/// A pack of several records of one device.
fn pack() -> String {
    let first = r#"{"bn":"imu:","bt":1795000000,"n":"axis-0","v":0.25}"#.to_owned();
    let others = (1..RECORDS).map(|axis| format!(r#"{{"n":"axis-{axis}","t":{axis},"v":{axis}.25}}"#));
    let records: Vec<String> = std::iter::once(first).chain(others).collect();
    format!("[{}]", records.join(","))
}

fn decode_packs(pack: &mut String) {
    for _ in 0..OPERATIONS / RECORDS {
        let readings = decode_many("application/senml+json", "imu", black_box(pack.as_bytes()), NOW);
        assert_eq!(black_box(readings).expect("it is well-formed").len(), RECORDS);
    }
}

fn readings() -> Vec<Reading> {
    let reading = |series: Arc<Series>| Reading {
        series,
        value: Value::F64(21.5),
        source_time: NOW,
        received_time: NOW + 1,
        seq: 1,
    };
    series(|_| "imu").into_iter().map(reading).collect()
}

//! Damaged messages and frames: never a panic, never more memory than a small multiple of what came, and what is
//! accepted is written again as it was.
//!
//! `SEEDS=engine/fuzz/corpus cargo test -p senza-core --test hostile` also writes the whole samples there, for
//! cargo-fuzz to start from.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

mod damage;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use damage::{Random, assert_small, damaged, run};
use senza_core::codec::{self, Beacon, ClaimOp, Delta, Digest, Heard, Message, Question, StartAsk, StartPart};
use senza_core::frame::{DeliveryWriter, Dictionary, read_all};
use senza_core::key::Pattern;
use senza_core::subscription::{Deadband, Pace, Want};
use senza_core::{
    AttributeId, Delivery, End, EndReason, Filter, Gap, GapReason, Life, NodeName, Reading, SensorId, SensorType,
    Series, SeriesKind, Value,
};

/// Bytes held per byte that came: a list of filters is the worst, 150 for each 28, while the list grows.
const MESSAGE_TIMES: usize = 32;
/// The same for a list of the shortest rows, whose deliveries are longer than they.
const FRAME_TIMES: usize = 12;

fn life(node: &str) -> Life {
    Life { node: NodeName::new(node).unwrap(), incarnation: 7 }
}

fn filter() -> Filter {
    Filter {
        sensors: vec![SensorId::new("s 1").unwrap(), SensorId::new("halle/ü").unwrap()],
        patterns: vec![Pattern::new("cpu$*/**").unwrap(), Pattern::new("*/x").unwrap()],
        attributes: vec![AttributeId::new("x").unwrap()],
        types: vec![SensorType::new("imu").unwrap()],
        nodes: vec![NodeName::new("a").unwrap()],
    }
}

/// Every kind of message, the long ones also with many entries.
fn messages() -> Vec<Vec<u8>> {
    let ids: Vec<String> = (0..20).map(|number| format!("sensor/{number:04} ü")).collect();
    let op = |(at, id): (usize, &'static str)| match at % 3 {
        0 => ClaimOp::Release { sensor: id },
        _ => ClaimOp::Claim { sensor: id, sensor_type: "imu", epoch: 1 << (at + 20) },
    };
    let ids: Vec<&'static str> = ids.into_iter().map(|id| &*id.leak()).collect();
    let ops: Vec<ClaimOp<'static>> = ids.into_iter().enumerate().map(op).collect();
    let delta = |partition| Delta { partition, base: 4, new: 5, ops: ops.clone() };
    let question = Question {
        sensor: SensorId::new("s").unwrap(),
        attribute: AttributeId::new("x").unwrap(),
        from: i64::MIN,
        to: i64::MAX,
        last: 9,
    };
    let beacon = |nodes: &[&str]| {
        let heard =
            nodes.iter().map(|node| Heard { life: life(node), credit: 64, interest: 3, echo: 9, held_us: 1 }).collect();
        Message::Beacon(Beacon { number: 1, sensors: 2, set_hash: 3, sent: 4, heard })
    };
    let slow = Want { pace: Pace::Interval(40_000), deadband: Deadband::Absolute(0.5), heartbeat_us: 9 };
    let messages = [
        beacon(&[]),
        beacon(&["a", "b", "node-3"]),
        Message::Deltas(vec![delta(0), delta(255)]),
        Message::DigestAsk,
        Message::Digests((0..256).map(|i| Digest { version: i, count: 1, sum: i * 3 }).collect()),
        Message::Pull((0..=255).collect()),
        Message::Cut { partition: 9, version: 8, chunk: 0, chunks: 2, ops: ops.clone() },
        Message::Interest { version: 3, wanted: vec![(Filter::all(), Want::EVERY); 9] },
        Message::Interest {
            version: 3,
            wanted: vec![(filter(), slow), (Filter::all(), Want::EVERY), (filter(), Want::EVERY)],
        },
        Message::Notice { sensor: SensorId::new("s").unwrap(), epoch: 5, winner: life("c") },
        Message::Frame(b"inside"),
        Message::Credit(99),
        Message::Reset,
        Message::Ask(4, question),
        Message::Answer(4, b"inside"),
        Message::StartAsk(StartAsk { id: 1, shard: 2, interest: 3, from: -4, last: 5, filter: filter() }),
        Message::StartPart(StartPart { id: 1, answer: 9, shard: 2, shards: 3, part: 4, parts: 5, body: b"inside" }),
        Message::Bye,
        Message::Leave,
    ];
    messages.iter().map(|message| codec::encode(42, message)).collect()
}

/// Frames of one link in order: every kind of value, starts and gaps, a dictionary that grows, narrow and wide times.
fn frames() -> Vec<Vec<u8>> {
    let values = [
        Value::F64(1.5),
        Value::I64(-9),
        Value::Bool(true),
        Value::Text("warm, ü".into()),
        Value::Json("{\"a\":[1]}".into()),
        Value::Bytes(vec![0, 255, 7].into()),
        Value::Vector(vec![1.0, 2.5, -3.0].into()),
    ];
    let series: Vec<Arc<Series>> = (0..12)
        .map(|number| {
            let attribute = AttributeId::new("temperature").unwrap();
            let kind = SeriesKind { attribute, sensor_type: SensorType::default(), node: node(), lossless: false };
            Arc::new(Series::new(SensorId::new(format!("sensor/{number} ü")).unwrap(), 7 + number, kind.into()))
        })
        .collect();
    let mut writer = DeliveryWriter::default();
    let mut frames = Vec::new();
    for frame in 0..6u64 {
        let mut rows = Vec::new();
        for (at, series) in series.iter().enumerate().take(2 + 2 * frame as usize) {
            // The first frame holds nothing but numbers, the narrow form.
            let value = if frame == 0 { &values[0] } else { &values[at % values.len()] };
            let time = 1_795_000_000_000_000 + if frame == 3 { i64::MAX / 4 } else { at as i64 };
            let reading = Reading {
                series: series.clone(),
                value: value.clone(),
                source_time: time,
                received_time: time + 1,
                seq: frame + 1,
            };
            rows.push(match (frame, at % 5) {
                (0, _) => Delivery::Reading(reading),
                (5, 3) => Delivery::End(End { series: series.clone(), last: frame, reason: EndReason::Moved }),
                (_, 3) => Delivery::Gap(Gap { series: series.clone(), from: frame, to: 90, reason: GapReason::Relay }),
                (_, 4) => Delivery::Start(reading, frame + 3),
                _ => Delivery::Reading(reading),
            });
        }
        if frame == 4 {
            writer.reset(0);
        }
        let mut body = Vec::new();
        assert_eq!(writer.write(&rows, 1 << 20, &mut body), rows.len());
        frames.push(body);
    }
    frames
}

fn node() -> NodeName {
    NodeName::new("a").unwrap()
}

fn check_message(bytes: &[u8]) {
    let decoded = assert_small(bytes.len(), MESSAGE_TIMES, || codec::decode(bytes));
    if let Ok((incarnation, message)) = decoded {
        assert_eq!(codec::encode(incarnation, &message), bytes, "{message:?}");
    }
}

#[test]
fn whole_messages_pass() {
    for bytes in messages() {
        assert!(codec::decode(&bytes).is_ok());
        check_message(&bytes);
    }
}

#[test]
fn damaged_messages_are_harmless() {
    let samples = messages();
    run("senza-core", "damaged_messages_are_harmless", 300_000, |random| check_message(&damaged(&samples, random)));
}

/// The worst that a length may claim: lists of the smallest entries, as many as fit.
#[test]
fn long_lists_of_the_smallest_entries_cost_a_small_multiple() {
    let many = 50_000;
    let wanted = vec![(Filter::all(), Want::EVERY); many / 28];
    let releases = vec![ClaimOp::Release { sensor: "s" }; many / 4];
    for message in [
        Message::Interest { version: 1, wanted },
        Message::Cut { partition: 0, version: 1, chunk: 0, chunks: 1, ops: releases.clone() },
        Message::Deltas(vec![Delta { partition: 0, base: 0, new: 1, ops: releases }; 3]),
        Message::Deltas(vec![Delta { partition: 0, base: 0, new: 1, ops: Vec::new() }; many / 21]),
    ] {
        check_message(&codec::encode(1, &message));
    }
}

#[test]
fn whole_frames_pass() {
    let mut dictionary = Dictionary::new();
    for (number, body) in frames().iter().enumerate() {
        if number == 4 {
            dictionary.clear();
        }
        let read = assert_small(body.len(), FRAME_TIMES, || read_all(body, &node(), &mut dictionary));
        assert!(!read.unwrap().is_empty());
    }
}

/// The same of frames: as many rows as may be of the fewest bytes, and as many entries.
#[test]
fn long_frames_of_the_smallest_rows_cost_a_small_multiple() {
    let series = |number: u32| {
        let sensor = SensorId::new(format!("{number:x}")).unwrap();
        let attribute = AttributeId::new("x").unwrap();
        let kind = SeriesKind { attribute, sensor_type: SensorType::default(), node: node(), lossless: false };
        Arc::new(Series::new(sensor, 1, kind.into()))
    };
    let reading = |series: &Arc<Series>, seq| {
        Delivery::Reading(Reading {
            series: series.clone(),
            value: Value::F64(0.5),
            source_time: 1,
            received_time: 1,
            seq,
        })
    };
    let one = series(0);
    for rows in [
        (1..=40_000).map(|seq| reading(&one, seq)).collect::<Vec<_>>(),
        (0..40_000).map(|number| reading(&series(number), 1)).collect(),
    ] {
        let mut body = Vec::new();
        assert_eq!(DeliveryWriter::default().write(&rows, 1 << 24, &mut body), rows.len());
        let mut dictionary = Dictionary::new();
        let read = assert_small(body.len(), FRAME_TIMES, || read_all(&body, &node(), &mut dictionary));
        assert_eq!(read.unwrap(), rows);
    }
}

#[test]
fn damaged_frames_are_harmless_to_a_dictionary_that_lives_on() {
    let samples = frames();
    let test = "damaged_frames_are_harmless_to_a_dictionary_that_lives_on";
    let node = node();
    run("senza-core", test, 50_000, |random: &mut Random| {
        let mut dictionary = Dictionary::new();
        for body in &samples {
            let body = if random.below(3) == 0 { body.clone() } else { damaged(&samples, random) };
            let read = assert_small(body.len(), FRAME_TIMES, || read_all(&body, &node, &mut dictionary));
            for delivery in read.unwrap_or_default() {
                if let Delivery::Reading(reading) | Delivery::Start(reading, _) = delivery {
                    assert!(reading.value.check().is_ok());
                }
            }
        }
    });
}

/// Written only where somebody asks.
#[test]
fn samples_are_written_for_the_fuzzer() {
    let Ok(folder) = std::env::var("SEEDS") else { return };
    // Tests run in their package's folder; the variable is meant from the repository's.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut stream = Vec::new();
    for body in frames() {
        stream.extend_from_slice(&u16::try_from(body.len()).unwrap().to_le_bytes());
        stream.extend_from_slice(&body);
    }
    for (target, samples) in [("messages", messages()), ("frames", vec![stream])] {
        let folder = root.join(target);
        fs::create_dir_all(&folder).unwrap();
        for (number, bytes) in samples.iter().enumerate() {
            fs::write(folder.join(format!("sample-{number:02}")), bytes).unwrap();
        }
    }
}

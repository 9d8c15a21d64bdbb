//! What is written is read, whatever is written; damage is an error.

use super::*;
use crate::reading::{End, Gap};
use proptest::prelude::*;

fn node() -> NodeName {
    NodeName::new("a").unwrap()
}

fn series(at: usize) -> Arc<Series> {
    let attribute = AttributeId::new("x").unwrap();
    let kind = SeriesKind { attribute, sensor_type: SensorType::default(), node: node(), lossless: at == 3 };
    Arc::new(Series::new(SensorId::new(format!("sensor/{at} ü")).unwrap(), 7 + at as u64, Arc::new(kind)))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(Value::F64),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        "\\PC{0,20}".prop_map(|text| Value::Text(text.into())),
        "[a-z]{0,20}".prop_map(|text| Value::Json(format!("[\"{text}\"]").into())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
        prop::collection::vec(any::<f32>(), 0..8).prop_map(|vector| Value::Vector(vector.into())),
    ]
}

type Step = (usize, u8, Value, Seq, i64);

fn deliveries(steps: Vec<Step>) -> Vec<Delivery> {
    let all: Vec<_> = (0..4).map(series).collect();
    let delivery = |(at, kind, value, seq, time): Step| {
        let reading = Reading { series: all[at].clone(), value, source_time: time, received_time: time / 2 + 1, seq };
        match kind {
            0 => Delivery::Start(reading, seq + 3),
            11 => Delivery::End(End { series: all[at].clone(), last: seq, reason: EndReason::Moved }),
            1 => Delivery::Gap(Gap { series: all[at].clone(), from: seq, to: seq + 9, reason: GapReason::Relay }),
            _ => Delivery::Reading(reading),
        }
    };
    steps.into_iter().map(delivery).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time =
        prop_oneof![Just(1_795_000_000_000_000i64), 1_795_000_000_000_000i64..1_795_000_001_000_000, any::<i64>()];
    let seq = prop_oneof![1u64..100, 1..NUMBER_MAX - 100];
    prop::collection::vec((0usize..4, 0u8..12, value(), seq, time), 1..60)
}

proptest! {
    #[test]
    fn what_is_written_is_read(steps in steps(), budget in 1usize..2000, reset_at in 0usize..20) {
        let deliveries = deliveries(steps);
        let (mut writer, mut dictionary, mut read) = (DeliveryWriter::default(), Dictionary::new(), Vec::new());
        let mut rest = deliveries.as_slice();
        while !rest.is_empty() {
            if writer.number() as usize == reset_at {
                writer.reset(0);
                dictionary.clear();
            }
            let mut body = Vec::new();
            let taken = writer.write(rest, budget, &mut body);
            prop_assert!(taken > 0);
            rest = &rest[taken..];
            read.extend(read_all(&body, &node(), &mut dictionary).unwrap());
        }
        // Behind a reset stand gaps of what came before it; they are a test of their own.
        let replayed = |delivery: &Delivery| matches!(delivery, Delivery::Gap(gap) if gap.reason == GapReason::Link);
        read.retain(|delivery| !replayed(delivery));
        prop_assert_eq!(read, deliveries);
    }

    #[test]
    fn damage_is_never_a_panic(steps in steps(), at: usize, byte: u8, cut: usize) {
        let mut body = Vec::new();
        DeliveryWriter::default().write(&deliveries(steps), 4000, &mut body);
        let place = at % body.len();
        body[place] = byte;
        let _ = read_all(&body, &node(), &mut Dictionary::new());
        body.truncate(cut % (body.len() + 1));
        let _ = read_all(&body, &node(), &mut Dictionary::new());
    }
}

#[test]
fn after_a_reset_a_series_stands_behind_a_gap_from_its_first_number() {
    let series = series(0);
    let reading =
        |seq| Reading { series: series.clone(), value: Value::F64(1.5), source_time: 9, received_time: 9, seq };
    let mut writer = DeliveryWriter::default();
    let mut body = Vec::new();
    writer.write(&[Delivery::Start(reading(4), 5), Delivery::Reading(reading(6))], 1 << 20, &mut body);
    writer.reset(0);
    body.clear();
    let again = [Delivery::Reading(reading(7)), Delivery::Start(reading(7), 7)];
    assert_eq!(writer.write(&again, 1 << 20, &mut body), 1, "a start is an entry of its own");
    let read = read_all(&body, &node(), &mut Dictionary::new()).unwrap();
    let gap = Delivery::Gap(Gap { series: series.clone(), from: 6, to: 6, reason: GapReason::Link });
    assert_eq!(read, [gap, Delivery::Reading(reading(7))]);
}

#[test]
fn numbers_taken_together_cost_16_bytes_each() {
    let series = series(0);
    let reading = |seq| Reading {
        series: series.clone(),
        value: Value::F64(1.5),
        source_time: 1_795_000_000_000_000,
        received_time: 1_795_000_000_000_000,
        seq,
    };
    let batch: Vec<_> = (1..=1000).map(|seq| Delivery::Reading(reading(seq))).collect();
    let mut body = Vec::new();
    let mut writer = DeliveryWriter::default();
    assert_eq!(writer.write(&batch, 1 << 20, &mut body), 1000);
    assert!(body.len() < 16 * 1000 + 120, "{}", body.len());
}

//! Every message survives the round trip, damaged ones are refused, and one is held byte for byte.

use super::*;
use proptest::prelude::*;

fn life_of(node: &str, incarnation: u64) -> Life {
    Life { node: NodeName::new(node).unwrap(), incarnation }
}

fn samples() -> Vec<Message<'static>> {
    let ops = vec![
        ClaimOp::Claim { sensor: "watch 1/ü", sensor_type: "imu", epoch: 77 },
        ClaimOp::Release { sensor: "gone" },
    ];
    let filter = Filter {
        sensors: vec![SensorId::new("s 1").unwrap()],
        patterns: vec![Pattern::new("cpu$*/**").unwrap()],
        attributes: vec![AttributeId::new("x").unwrap()],
        types: vec![SensorType::new("imu").unwrap()],
        nodes: vec![NodeName::new("a").unwrap()],
    };
    let question = Question {
        sensor: SensorId::new("s").unwrap(),
        attribute: AttributeId::new("x").unwrap(),
        from: -1,
        to: 9,
        last: 3,
    };
    vec![
        Message::Beacon(Beacon {
            number: 1,
            sensors: 2,
            set_hash: 3,
            sent: -4,
            heard: vec![Heard { life: life_of("b", 9), credit: 5, interest: 6, echo: 7, held_us: 8 }],
        }),
        Message::Deltas(vec![Delta { partition: 7, base: 1, new: 2, ops: ops.clone() }]),
        Message::DigestAsk,
        Message::Digests((0..256).map(|i| Digest { version: i, count: 1, sum: i * 3 }).collect()),
        Message::Pull(vec![0, 255]),
        Message::Cut { partition: 255, version: 8, chunk: 0, chunks: 1, ops },
        Message::Interest {
            version: 3,
            wanted: vec![
                (Filter::all(), Want::EVERY),
                (
                    filter.clone(),
                    Want { pace: Pace::Interval(50_000), deadband: Deadband::Percent(1.5), heartbeat_us: 9 },
                ),
            ],
        },
        Message::Notice { sensor: SensorId::new("s").unwrap(), epoch: 5, winner: life_of("c", 1) },
        Message::Frame(b"inside"),
        Message::Credit(99),
        Message::Reset,
        Message::Ask(4, question),
        Message::Answer(4, b"inside"),
        Message::StartAsk(StartAsk { id: 1, shard: 2, interest: 3, from: -4, last: 5, filter }),
        Message::StartPart(StartPart { id: 1, answer: 9, shard: 2, shards: 3, part: 4, parts: 5, body: b"inside" }),
        Message::Bye,
        Message::Leave,
    ]
}

#[test]
fn every_message_survives_the_round_trip() {
    for message in samples() {
        let bytes = encode(42, &message);
        assert_eq!(decode(&bytes), Ok((42, message)));
    }
}

#[test]
fn cut_short_or_lengthened_messages_are_refused() {
    for message in samples() {
        let open_ended = matches!(message, Message::Frame(_) | Message::Answer(..) | Message::StartPart(_));
        let mut bytes = encode(42, &message);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err() || open_ended && end >= HEADER, "{message:?} cut at {end}");
        }
        bytes.push(0);
        assert!(decode(&bytes).is_err() || open_ended, "{message:?} lengthened");
    }
}

#[test]
fn foreign_magic_version_and_kind_are_refused_by_name() {
    let good = encode(1, &Message::Bye);
    for (at, value, rule) in [(0, b'x', "not a senza"), (2, 9, "version"), (3, 200, "kind")] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let refused = decode(&bytes).unwrap_err().to_string();
        assert!(refused.contains(rule), "{refused}");
    }
}

#[test]
fn a_length_on_the_wire_allocates_nothing_by_itself() {
    let mut bytes = Vec::new();
    begin(7, 1, &mut bytes);
    bytes.extend_from_slice(&1u64.to_le_bytes());
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(&bytes), Err(Error::Wire { rule: "a count larger than what follows", .. })));
}

#[test]
fn a_delta_is_laid_out_as_documented() {
    let mut ops = Vec::new();
    encode_op(ClaimOp::Claim { sensor: "s1", sensor_type: "t", epoch: 0x0102 }, &mut ops);
    let bytes = encode_deltas(3, &[EncodedDelta { partition: 9, base: 4, new: 5, count: 1, ops }]);
    let expected: Vec<u8> = [
        b"sz\x01\x02".as_slice(),     // magic, version 1, kind 2
        &[3, 0, 0, 0, 0, 0, 0, 0],    // incarnation
        &[1, 0],                      // one delta
        &[9],                         // partition
        &[4, 0, 0, 0, 0, 0, 0, 0],    // base
        &[5, 0, 0, 0, 0, 0, 0, 0],    // new
        &[1, 0, 0, 0],                // one change
        &[1, 2, 1, 0, 0, 0, 0, 0, 0], // claim, epoch
        b"\x01t",                     // type
        b"\x02\x00s1",                // id
    ]
    .concat();
    assert_eq!(bytes, expected);
}

proptest! {
    #[test]
    fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..18) {
        let _ = decode(&bytes);
        let mut framed = Vec::new();
        begin(kind, 1, &mut framed);
        framed.extend_from_slice(&bytes);
        let _ = decode(&framed);
    }

    #[test]
    fn a_flipped_byte_is_never_a_panic(at in 0usize..400, value: u8) {
        for message in samples() {
            let mut bytes = encode(42, &message);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }
}

//! Control messages ⇄ bytes.

use std::hint::black_box;

use senza_core::codec::{
    Beacon, ClaimOp, Delta, Digest, EncodedDelta, Heard, Message, decode, encode, encode_deltas, encode_op,
};
use senza_core::subscription::Want;
use senza_core::{Filter, SensorId};

use crate::{Case, OPERATIONS, ids, life, sensor};

/// Changes of one delta.
const CHANGES: usize = 4;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("codec: encode a change", ops, encode_ops),
        Case::new("codec: encode deltas, per change", encoded_deltas, |deltas| encode_deltas(1, deltas)),
        Case::new("codec: decode deltas, per change", || encode(1, &Message::Deltas(deltas())), |bytes| read(bytes)),
        Case::new("codec: encode a beacon of 10 nodes", || Message::Beacon(beacon()), write_each),
        Case::new(
            "codec: decode a beacon of 10 nodes",
            || encode(1, &Message::Beacon(beacon())),
            |bytes| read_each(bytes),
        ),
        Case::new("codec: encode an interest, per sensor", interest, |message| encode(1, message)),
        Case::new("codec: decode an interest, per sensor", || encode(1, &interest()), |bytes| read(bytes)),
        Case::new("codec: encode digests", digests, write_each),
        Case::new("codec: decode digests", || encode(1, &digests()), |bytes| read_each(bytes)),
    ]
}

fn ops() -> Vec<ClaimOp<'static>> {
    ids()
        .into_iter()
        .map(|sensor| ClaimOp::Claim { sensor, sensor_type: "imu", epoch: 1_795_000_000_000_000 })
        .collect()
}

fn deltas() -> Vec<Delta<'static>> {
    let delta = |ops: &[ClaimOp<'static>]| Delta { partition: 7, base: 1, new: 2, ops: ops.to_vec() };
    ops().chunks(CHANGES).map(delta).collect()
}

fn encoded_deltas() -> Vec<EncodedDelta> {
    let encoded = |delta: Delta<'_>| {
        let mut ops = Vec::new();
        delta.ops.iter().for_each(|op| encode_op(*op, &mut ops));
        EncodedDelta { partition: delta.partition, base: 1, new: 2, count: CHANGES as u32, ops }
    };
    deltas().into_iter().map(encoded).collect()
}

fn beacon() -> Beacon {
    let node = |number| life(&format!("node-{number}"));
    let heard = |number| Heard { life: node(number), credit: 48, interest: 3, echo: 1_795_000_000_000_000, held_us: 9 };
    let sent = 1_795_000_000_000_000;
    Beacon { number: 1, sensors: 100_000, set_hash: 1, sent, heard: (0..10).map(heard).collect() }
}

/// All sensors of a turn in one filter.
fn interest() -> Message<'static> {
    let sensors: Vec<SensorId> = ids().into_iter().map(sensor).collect();
    Message::Interest { version: 1, wanted: vec![(Filter { sensors, ..Filter::default() }, Want::EVERY)] }
}

fn digests() -> Message<'static> {
    Message::Digests((0..256).map(|number| Digest { version: number, count: 400, sum: number << 40 }).collect())
}

fn encode_ops(ops: &mut Vec<ClaimOp<'static>>) -> Vec<u8> {
    let mut out = Vec::new();
    ops.iter().for_each(|op| encode_op(*op, &mut out));
    out
}

fn write_each(message: &mut Message<'static>) {
    for _ in 0..OPERATIONS {
        black_box(encode(1, message));
    }
}

fn read(bytes: &[u8]) {
    black_box(decode(bytes).expect("it was encoded here"));
}

fn read_each(bytes: &[u8]) {
    (0..OPERATIONS).for_each(|_| read(bytes));
}

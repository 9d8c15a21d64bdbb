//! Control messages between nodes ⇄ bytes. Pure; every byte is doubted, and nothing is allocated by a length that
//! the wire names before that many bytes are there.
//!
//! All integers are little-endian. Texts are a length (u8 or u16) and UTF-8. The layout is drawn in docs/PROTOCOL.md;
//! the tests at the end of this file hold one byte for byte.

use crate::error::{Error, Result};
use crate::key::{FILTER_ENTRIES_MAX, Filter, Pattern};
use crate::reading::{AttributeId, Epoch, Incarnation, Life, Micros, NodeName, SensorId, SensorType};
use crate::subscription::{Deadband, Pace, Want};

/// First two bytes of every message.
pub const MAGIC: [u8; 2] = *b"sz";
/// The version of everything after the magic; a node refuses others.
pub const VERSION: u8 = 1;
/// The highest epoch: what a JavaScript number holds exactly. A claim above it would never be beaten.
pub const EPOCH_MAX: Epoch = (1 << 53) - 1;
/// Bytes before a message's body: magic, version, kind, the sender's incarnation.
pub const HEADER: usize = 12;

/// Version, count and order-free sum of one partition of one node's own set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Raised by every flushed delta.
    pub version: u64,
    /// How many claims the partition holds.
    pub count: u32,
    /// Wrapping sum of [`claim_hash`](crate::hash::claim_hash) over them.
    pub sum: u64,
}

/// One change of a node's own set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOp<'a> {
    /// The sensor is claimed.
    Claim {
        /// Its id.
        sensor: &'a str,
        /// What kind of thing it is.
        sensor_type: &'a str,
        /// The claim's number.
        epoch: Epoch,
    },
    /// The sensor is claimed no more.
    Release {
        /// Its id.
        sensor: &'a str,
    },
}

/// The changes that take one partition from version `base` to version `new`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta<'a> {
    /// Which partition.
    pub partition: u8,
    /// The version it changes.
    pub base: u64,
    /// The version it makes.
    pub new: u64,
    /// The changes in order.
    pub ops: Vec<ClaimOp<'a>>,
}

/// What a beacon says of one life that its sender hears.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The life.
    pub life: Life,
    /// Frames up to this number may be sent to the beacon's sender.
    pub credit: u64,
    /// The version of that life's interest that the beacon's sender holds.
    pub interest: u64,
    /// What that life's last beacon said of when it was sent.
    pub echo: Micros,
    /// For how long the beacon's sender has had that one, microseconds.
    pub held_us: u32,
}

/// What every node says of itself, every 0.8 s.
#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    /// Counts up by one.
    pub number: u64,
    /// How many sensors the sender owns.
    pub sensors: u64,
    /// Hash over the digests of all its partitions.
    pub set_hash: u64,
    /// When it was sent, by the sender's time of day. Echoed, it tells by how much two clocks differ.
    pub sent: Micros,
    /// Whom the sender hears.
    pub heard: Vec<Heard>,
}

/// A question one node puts to another about a series the other owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which sensor.
    pub sensor: SensorId,
    /// Which attribute.
    pub attribute: AttributeId,
    /// Source times from.
    pub from: Micros,
    /// Source times to.
    pub to: Micros,
    /// At most so many, the newest.
    pub last: u32,
}

/// Asks for what is kept of the series that match, one shard of the owner's table at a time: how a subscription begins.
#[derive(Clone, Debug, PartialEq)]
pub struct StartAsk {
    /// The answer has the same.
    pub id: u64,
    /// Which shard, from 0.
    pub shard: u16,
    /// The version of the asker's interest that has to be held before it is answered.
    pub interest: u64,
    /// Readings with source times from here on.
    pub from: Micros,
    /// At most so many of a series, the newest.
    pub last: u32,
    /// Which series.
    pub filter: Filter,
}

/// A part of an answer: starts of whole series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartPart<'a> {
    /// The question's.
    pub id: u64,
    /// Tells two answers to one question apart.
    pub answer: u64,
    /// The question's.
    pub shard: u16,
    /// How many shards there are to be asked for.
    pub shards: u16,
    /// This part's number, from 0.
    pub part: u16,
    /// How many parts this shard has.
    pub parts: u16,
    /// A frame that decodes by itself.
    pub body: &'a [u8],
}

/// Every message but the frame's inside, which [`frame`](crate::frame) reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// A sign of life with digests.
    Beacon(Beacon),
    /// Changes of the sender's own set.
    Deltas(Vec<Delta<'a>>),
    /// Asks for the digests of all partitions.
    DigestAsk,
    /// The digests of all 256 partitions.
    Digests(Vec<Digest>),
    /// Asks for whole partitions.
    Pull(Vec<u8>),
    /// One chunk of one partition at one version; applied when all its chunks are there.
    Cut {
        /// Which partition.
        partition: u8,
        /// At which version it was cut.
        version: u64,
        /// This chunk's number, from 0.
        chunk: u16,
        /// How many chunks there are.
        chunks: u16,
        /// Claims only.
        ops: Vec<ClaimOp<'a>>,
    },
    /// All that the sender wants relayed.
    Interest {
        /// Raised by every change.
        version: u64,
        /// Any of these.
        wanted: Vec<(Filter, Want)>,
    },
    /// Tells a node that its claim is beaten.
    Notice {
        /// Whose claim.
        sensor: SensorId,
        /// The winning epoch.
        epoch: Epoch,
        /// The winner.
        winner: Life,
    },
    /// Readings; the body is read by the frame decoder of the link.
    Frame(&'a [u8]),
    /// Frames up to this number may be sent.
    Credit(u64),
    /// The dictionary is lost: start a new generation.
    Reset,
    /// A question, to be answered with the same number.
    Ask(u64, Question),
    /// An answer; the body is a frame that decodes by itself, or empty when the series is not here.
    Answer(u64, &'a [u8]),
    /// Asks for what is kept.
    StartAsk(StartAsk),
    /// What is kept.
    StartPart(StartPart<'a>),
    /// The sender withdraws everything and leaves.
    Bye,
    /// The sender withdraws and may come back in the same life; forget its set.
    Leave,
}

// === writing ===

/// Appends the header of a message.
pub fn begin(kind: u8, incarnation: Incarnation, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    out.push(kind);
    out.extend_from_slice(&incarnation.to_le_bytes());
}

/// The wire's name of a frame message.
pub const KIND_FRAME: u8 = 9;
/// The wire's name of an answer.
pub const KIND_ANSWER: u8 = 13;
const KIND_DELTAS: u8 = 2;
const KIND_CUT: u8 = 6;

/// Appends one change; [`encode_deltas`] and [`encode_cut`] take changes in this form.
pub fn encode_op(op: ClaimOp<'_>, out: &mut Vec<u8>) {
    match op {
        ClaimOp::Claim { sensor, sensor_type, epoch } => {
            out.push(1);
            out.extend_from_slice(&epoch.to_le_bytes());
            text8(sensor_type, out);
            text16(sensor, out);
        }
        ClaimOp::Release { sensor } => {
            out.push(2);
            text16(sensor, out);
        }
    }
}

/// One delta whose changes are encoded already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedDelta {
    /// Which partition.
    pub partition: u8,
    /// The version it changes.
    pub base: u64,
    /// The version it makes.
    pub new: u64,
    /// How many changes.
    pub count: u32,
    /// The changes, each by [`encode_op`].
    pub ops: Vec<u8>,
}

/// Encodes a message of deltas.
pub fn encode_deltas(incarnation: Incarnation, deltas: &[EncodedDelta]) -> Vec<u8> {
    let size: usize = deltas.iter().map(|delta| delta.ops.len() + 21).sum();
    let mut out = Vec::with_capacity(HEADER + 2 + size);
    begin(KIND_DELTAS, incarnation, &mut out);
    put16(deltas.len(), &mut out);
    for delta in deltas {
        out.push(delta.partition);
        out.extend_from_slice(&delta.base.to_le_bytes());
        out.extend_from_slice(&delta.new.to_le_bytes());
        out.extend_from_slice(&delta.count.to_le_bytes());
        out.extend_from_slice(&delta.ops);
    }
    out
}

/// Encodes one chunk of a cut.
pub fn encode_cut(
    incarnation: Incarnation,
    (partition, version): (u8, u64),
    (chunk, chunks): (u16, u16),
    (count, ops): (u32, &[u8]),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 17 + ops.len());
    begin(KIND_CUT, incarnation, &mut out);
    out.push(partition);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&chunk.to_le_bytes());
    out.extend_from_slice(&chunks.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(ops);
    out
}

/// Encodes any message. Deltas and cuts have faster ways for changes that are encoded already.
pub fn encode(incarnation: Incarnation, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    begin(kind_of(message), incarnation, &mut out);
    match message {
        Message::Beacon(beacon) => put_beacon(beacon, &mut out),
        Message::Deltas(deltas) => {
            put16(deltas.len(), &mut out);
            for delta in deltas {
                out.push(delta.partition);
                out.extend_from_slice(&delta.base.to_le_bytes());
                out.extend_from_slice(&delta.new.to_le_bytes());
                put_ops(&delta.ops, &mut out);
            }
        }
        Message::Digests(digests) => digests.iter().for_each(|digest| put_digest(*digest, &mut out)),
        Message::Pull(partitions) => {
            put16(partitions.len(), &mut out);
            out.extend_from_slice(partitions);
        }
        Message::Cut { partition, version, chunk, chunks, ops } => {
            out.push(*partition);
            out.extend_from_slice(&version.to_le_bytes());
            out.extend_from_slice(&chunk.to_le_bytes());
            out.extend_from_slice(&chunks.to_le_bytes());
            put_ops(ops, &mut out);
        }
        Message::Interest { version, wanted } => {
            out.extend_from_slice(&version.to_le_bytes());
            put32(wanted.len(), &mut out);
            for (filter, want) in wanted {
                put_filter(filter, &mut out);
                put_want(*want, &mut out);
            }
        }
        Message::Notice { sensor, epoch, winner } => {
            text16(sensor.as_str(), &mut out);
            out.extend_from_slice(&epoch.to_le_bytes());
            put_life(winner, &mut out);
        }
        Message::Frame(body) => out.extend_from_slice(body),
        Message::Credit(up_to) => out.extend_from_slice(&up_to.to_le_bytes()),
        Message::Ask(id, question) => {
            out.extend_from_slice(&id.to_le_bytes());
            put_question(question, &mut out);
        }
        Message::Answer(id, body) => {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(body);
        }
        Message::StartAsk(ask) => {
            out.extend_from_slice(&ask.id.to_le_bytes());
            out.extend_from_slice(&ask.shard.to_le_bytes());
            out.extend_from_slice(&ask.interest.to_le_bytes());
            out.extend_from_slice(&ask.from.to_le_bytes());
            out.extend_from_slice(&ask.last.to_le_bytes());
            put_filter(&ask.filter, &mut out);
        }
        Message::StartPart(part) => {
            out.extend_from_slice(&part.id.to_le_bytes());
            out.extend_from_slice(&part.answer.to_le_bytes());
            for number in [part.shard, part.shards, part.part, part.parts] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(part.body);
        }
        Message::DigestAsk | Message::Reset | Message::Bye | Message::Leave => {}
    }
    out
}

fn kind_of(message: &Message<'_>) -> u8 {
    match message {
        Message::Beacon(_) => 1,
        Message::Deltas(_) => KIND_DELTAS,
        Message::DigestAsk => 3,
        Message::Digests(_) => 4,
        Message::Pull(_) => 5,
        Message::Cut { .. } => KIND_CUT,
        Message::Interest { .. } => 7,
        Message::Notice { .. } => 8,
        Message::Frame(_) => KIND_FRAME,
        Message::Credit(_) => 10,
        Message::Reset => 11,
        Message::Ask(..) => 12,
        Message::Answer(..) => KIND_ANSWER,
        Message::Bye => 14,
        Message::Leave => 15,
        Message::StartAsk(_) => 16,
        Message::StartPart(_) => 17,
    }
}

fn put_beacon(beacon: &Beacon, out: &mut Vec<u8>) {
    for number in [beacon.number, beacon.sensors, beacon.set_hash] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&beacon.sent.to_le_bytes());
    put16(beacon.heard.len(), out);
    for heard in &beacon.heard {
        put_life(&heard.life, out);
        out.extend_from_slice(&heard.credit.to_le_bytes());
        out.extend_from_slice(&heard.interest.to_le_bytes());
        out.extend_from_slice(&heard.echo.to_le_bytes());
        out.extend_from_slice(&heard.held_us.to_le_bytes());
    }
}

fn put_ops(ops: &[ClaimOp<'_>], out: &mut Vec<u8>) {
    put32(ops.len(), out);
    ops.iter().for_each(|op| encode_op(*op, out));
}

fn put_digest(digest: Digest, out: &mut Vec<u8>) {
    out.extend_from_slice(&digest.version.to_le_bytes());
    out.extend_from_slice(&digest.count.to_le_bytes());
    out.extend_from_slice(&digest.sum.to_le_bytes());
}

/// Hash over the digests of all partitions, as a beacon carries it.
pub fn set_hash(digests: impl Iterator<Item = Digest>) -> u64 {
    let mut bytes = Vec::with_capacity(256 * 20);
    digests.for_each(|digest| put_digest(digest, &mut bytes));
    crate::hash::xxh64(&bytes)
}

fn put_life(life: &Life, out: &mut Vec<u8>) {
    text8(life.node.as_str(), out);
    out.extend_from_slice(&life.incarnation.to_le_bytes());
}

fn put_question(question: &Question, out: &mut Vec<u8>) {
    text16(question.sensor.as_str(), out);
    text8(question.attribute.as_str(), out);
    out.extend_from_slice(&question.from.to_le_bytes());
    out.extend_from_slice(&question.to.to_le_bytes());
    out.extend_from_slice(&question.last.to_le_bytes());
}

fn put_filter(filter: &Filter, out: &mut Vec<u8>) {
    put16(filter.sensors.len(), out);
    filter.sensors.iter().for_each(|id| text16(id.as_str(), out));
    put16(filter.patterns.len(), out);
    filter.patterns.iter().for_each(|pattern| text16(pattern.as_str(), out));
    put16(filter.attributes.len(), out);
    filter.attributes.iter().for_each(|id| text8(id.as_str(), out));
    put16(filter.types.len(), out);
    filter.types.iter().for_each(|kind| text8(kind.as_str(), out));
    put16(filter.nodes.len(), out);
    filter.nodes.iter().for_each(|node| text8(node.as_str(), out));
}

fn put_want(want: Want, out: &mut Vec<u8>) {
    let (pace, interval) = match want.pace {
        Pace::Every => (0, 0),
        Pace::Latest => (1, 0),
        Pace::Interval(interval) => (2, interval),
    };
    let (deadband, width) = match want.deadband {
        Deadband::None => (0, 0.0),
        Deadband::Absolute(width) => (1, width),
        Deadband::Percent(percent) => (2, percent),
    };
    out.push(pace);
    out.extend_from_slice(&u32::to_le_bytes(interval));
    out.push(deadband);
    out.extend_from_slice(&f64::to_le_bytes(width));
    out.extend_from_slice(&want.heartbeat_us.to_le_bytes());
}

fn put16(number: usize, out: &mut Vec<u8>) {
    let number = u16::try_from(number).expect("writers keep their lists within 65,535 entries");
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(number: usize, out: &mut Vec<u8>) {
    let number = u32::try_from(number).expect("no list here outgrows memory");
    out.extend_from_slice(&number.to_le_bytes());
}

/// Appends a text of at most 255 bytes.
pub(crate) fn text8(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("names of this kind have at most 255 bytes"));
    out.extend_from_slice(text.as_bytes());
}

/// Appends a text of at most 65,535 bytes.
pub(crate) fn text16(text: &str, out: &mut Vec<u8>) {
    put16(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

// === reading ===

/// Reads the header and the body of one message.
///
/// # Errors
/// [`Error::Wire`] names the first byte that breaks a rule; nothing of the message is to be used then.
pub fn decode(bytes: &[u8]) -> Result<(Incarnation, Message<'_>)> {
    let mut input = Reader::new(bytes);
    if input.take(2)? != MAGIC {
        return Err(input.refuse("not a senza message"));
    }
    if input.u8()? != VERSION {
        return Err(input.refuse("a version this node does not speak"));
    }
    let kind = input.u8()?;
    let incarnation = input.u64()?;
    let message = body(kind, &mut input)?;
    input.end()?;
    Ok((incarnation, message))
}

fn body<'a>(kind: u8, input: &mut Reader<'a>) -> Result<Message<'a>> {
    Ok(match kind {
        1 => Message::Beacon(beacon(input)?),
        KIND_DELTAS => {
            let count = usize::from(input.u16()?);
            Message::Deltas(input.list(count, 21, delta)?)
        }
        3 => Message::DigestAsk,
        4 => Message::Digests(
            input
                .list(256, 20, |input| Ok(Digest { version: input.u64()?, count: input.u32()?, sum: input.u64()? }))?,
        ),
        5 => {
            let count = usize::from(input.u16()?);
            Message::Pull(input.take(count)?.to_vec())
        }
        KIND_CUT => Message::Cut {
            partition: input.u8()?,
            version: input.u64()?,
            chunk: input.u16()?,
            chunks: input.u16()?,
            ops: ops(input)?,
        },
        7 => {
            let version = input.u64()?;
            let count = input.u32()? as usize;
            Message::Interest { version, wanted: input.list(count, 28, |input| Ok((filter(input)?, want(input)?)))? }
        }
        8 => Message::Notice { sensor: input.sensor()?, epoch: input.u64()?, winner: life(input)? },
        KIND_FRAME => Message::Frame(input.rest()),
        10 => Message::Credit(input.u64()?),
        11 => Message::Reset,
        12 => Message::Ask(input.u64()?, question(input)?),
        KIND_ANSWER => Message::Answer(input.u64()?, input.rest()),
        14 => Message::Bye,
        15 => Message::Leave,
        16 => Message::StartAsk(StartAsk {
            id: input.u64()?,
            shard: input.u16()?,
            interest: input.u64()?,
            from: input.i64()?,
            last: input.u32()?,
            filter: filter(input)?,
        }),
        17 => Message::StartPart(StartPart {
            id: input.u64()?,
            answer: input.u64()?,
            shard: input.u16()?,
            shards: input.u16()?,
            part: input.u16()?,
            parts: input.u16()?,
            body: input.rest(),
        }),
        _ => return Err(input.refuse("an unknown kind of message")),
    })
}

fn beacon(input: &mut Reader<'_>) -> Result<Beacon> {
    let (number, sensors, set_hash) = (input.u64()?, input.u64()?, input.u64()?);
    let sent = input.i64()?;
    let count = usize::from(input.u16()?);
    let heard = input.list(count, 38, |input| {
        let (life, credit, interest) = (life(input)?, input.u64()?, input.u64()?);
        Ok(Heard { life, credit, interest, echo: input.i64()?, held_us: input.u32()? })
    })?;
    Ok(Beacon { number, sensors, set_hash, sent, heard })
}

fn delta<'a>(input: &mut Reader<'a>) -> Result<Delta<'a>> {
    Ok(Delta { partition: input.u8()?, base: input.u64()?, new: input.u64()?, ops: ops(input)? })
}

fn ops<'a>(input: &mut Reader<'a>) -> Result<Vec<ClaimOp<'a>>> {
    let count = input.u32()? as usize;
    input.list(count, 4, |input| match input.u8()? {
        1 => {
            let epoch = input.u64()?;
            let sensor_type = input.text8()?;
            let sensor = input.text16()?;
            if epoch > EPOCH_MAX {
                return Err(input.refuse("an epoch must be below 2^53"));
            }
            if sensor_type.is_empty() || sensor_type.len() > crate::reading::SENSOR_TYPE_MAX {
                return Err(input.refuse("a sensor type must have 1 to 64 bytes"));
            }
            input.sensor_length(sensor)?;
            Ok(ClaimOp::Claim { sensor, sensor_type, epoch })
        }
        2 => {
            let sensor = input.text16()?;
            input.sensor_length(sensor)?;
            Ok(ClaimOp::Release { sensor })
        }
        _ => Err(input.refuse("an unknown change")),
    })
}

fn life(input: &mut Reader<'_>) -> Result<Life> {
    Ok(Life { node: node(input)?, incarnation: input.u64()? })
}

fn node(input: &mut Reader<'_>) -> Result<NodeName> {
    let text = input.text8()?;
    NodeName::new(text).map_err(|_| input.refuse("not a node name"))
}

fn question(input: &mut Reader<'_>) -> Result<Question> {
    let sensor = input.sensor()?;
    let attribute = input.text8()?;
    let attribute = AttributeId::new(attribute).map_err(|_| input.refuse("not an attribute id"))?;
    Ok(Question { sensor, attribute, from: input.i64()?, to: input.i64()?, last: input.u32()? })
}

fn filter(input: &mut Reader<'_>) -> Result<Filter> {
    let sensors = input.list16(3, Reader::sensor)?;
    let patterns = input.list16(3, |input| {
        let text = input.text16()?;
        Pattern::new(text).map_err(|_| input.refuse("not a pattern"))
    })?;
    let attributes = input.list16(2, |input| {
        let text = input.text8()?;
        AttributeId::new(text).map_err(|_| input.refuse("not an attribute id"))
    })?;
    let types = input.list16(2, |input| {
        let text = input.text8()?;
        SensorType::new(text).map_err(|_| input.refuse("not a sensor type"))
    })?;
    let filter = Filter { sensors, patterns, attributes, types, nodes: input.list16(2, node)? };
    filter.check().map_err(|_| input.refuse("a filter with too many entries"))?;
    Ok(filter)
}

fn want(input: &mut Reader<'_>) -> Result<Want> {
    let (pace, interval) = (input.u8()?, input.u32()?);
    let (deadband, width) = (input.u8()?, f64::from_bits(input.u64()?));
    let want = Want {
        pace: match pace {
            0 if interval == 0 => Pace::Every,
            1 if interval == 0 => Pace::Latest,
            2 => Pace::Interval(interval),
            _ => return Err(input.refuse("an unknown pace")),
        },
        deadband: match deadband {
            0 if width.to_bits() == 0 => Deadband::None,
            1 => Deadband::Absolute(width),
            2 => Deadband::Percent(width),
            _ => return Err(input.refuse("an unknown deadband")),
        },
        heartbeat_us: input.u32()?,
    };
    want.check().map_err(|_| input.refuse("what is wanted is out of its range"))?;
    Ok(want)
}

const _: () = assert!(FILTER_ENTRIES_MAX <= u16::MAX as usize, "a filter's lists are counted in 16 bits");

/// A cursor over bytes that refuses to leave them.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn refuse(&self, rule: &'static str) -> Error {
        Error::Wire { at: self.at, rule }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.refuse("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.refuse("bytes are left over")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A list whose entries have at least `least` bytes each: a count that cannot fit is refused before allocating.
    pub(crate) fn list<T>(
        &mut self,
        count: usize,
        least: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        if count.saturating_mul(least) > self.bytes.len() - self.at {
            return Err(self.refuse("a count larger than what follows"));
        }
        (0..count).map(|_| entry(self)).collect()
    }

    fn list16<T>(&mut self, least: usize, entry: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = usize::from(self.u16()?);
        self.list(count, least, entry)
    }

    pub(crate) fn text8(&mut self) -> Result<&'a str> {
        let length = usize::from(self.u8()?);
        self.text(length)
    }

    pub(crate) fn text16(&mut self) -> Result<&'a str> {
        let length = usize::from(self.u16()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.refuse("text that is not UTF-8"))
    }

    pub(crate) fn sensor(&mut self) -> Result<SensorId> {
        let text = self.text16()?;
        SensorId::new(text).map_err(|_| self.refuse("a sensor id must have 1 to 256 bytes"))
    }

    fn sensor_length(&self, sensor: &str) -> Result<()> {
        if sensor.is_empty() || sensor.len() > crate::reading::SENSOR_ID_MAX {
            return Err(self.refuse("a sensor id must have 1 to 256 bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Starts with what other nodes keep: the last readings, or those since a time, then what is live.
//!
//! A subscription that begins so keeps back what comes live of a series until the series' start is here. It asks every
//! other node, shard by shard of that one's table; an answer holds, per series, what is kept and the counter at that
//! moment. An owner answers only when it holds the interest that the subscription is part of: whatever it takes after
//! the counter was read then comes live, so that the seam has no gap and no duplicate. Lost messages are asked for
//! again; a node that does not answer holds up the rest for so long only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use senza_core::codec::{self, Message, StartAsk, StartPart};
use senza_core::frame::{DeliveryWriter, Dictionary, read_all};
use senza_core::history::Sample;
use senza_core::subscription::{Start, Subscription};
use senza_core::table::Table;
use senza_core::{Delivery, Filter, Life, Micros, Reading, Seq, Series};

use super::{Engine, Mode};
use crate::counters::count;
use crate::transport::Class;

/// Readings of one series that a start has of another node at most, the newest.
pub const REMOTE_START_MAX: u32 = 4096;
/// Starts at other nodes that are waited for at a time; one more has what is live alone.
const STARTS_MAX: usize = 4096;
/// An unanswered question is put again after so long.
const RETRY_US: Micros = 300_000;
/// A node that has not answered all after so long is given up: its series begin with what is live.
const GIVE_UP_US: Micros = 10_000_000;
/// Readings of one part of an answer, about.
const PART_ROWS: usize = 8192;
/// Bytes of one part, about.
const PART_BYTES: usize = 1024 * 1024;
/// Bytes of one series at most; its oldest readings are left out beyond.
const SERIES_BYTES_MAX: usize = 4 * PART_BYTES;

/// What is waited for.
#[derive(Default)]
pub(super) struct Starts {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

/// One subscription's start at one node.
struct Waiting {
    subscription: Arc<Subscription>,
    life: Life,
    filter: Filter,
    from: Micros,
    last: u32,
    /// The shard that is asked for.
    shard: u16,
    /// The parts of it that came of one answer.
    came: BTreeSet<u16>,
    answer: u64,
    asked: Option<Micros>,
    /// When anything of it came last, at first when it began.
    begun: Micros,
}

/// A series, its counter, and what is kept of it.
type Kept = (Arc<Series>, Seq, Vec<Sample>);

// === impl Engine: who asks ===

impl Engine {
    /// Begins to ask all other nodes. Answers whether there is anything to wait for.
    pub(super) fn await_starts(&self, subscription: &Arc<Subscription>, filter: &Filter) -> bool {
        let (from, last) = match subscription.contract().start {
            Start::Last(last) => (Micros::MIN, last.min(REMOTE_START_MAX)),
            Start::Since(from) => (from, REMOTE_START_MAX),
            Start::Live | Start::Latest => return false,
        };
        let lives = self.directory.lives_up();
        let others: Vec<Life> =
            lives.into_iter().filter(|life| *life != self.me && filter.may_match_node(&life.node)).collect();
        let begun = self.clock.steady();
        let mut starts = self.starts.lock();
        // Under the lock: a node that leaves ends all that waits after it left.
        if self.mode() == Mode::Local || others.is_empty() || starts.waiting.len() + others.len() > STARTS_MAX {
            return false;
        }
        for life in others {
            starts.next += 1;
            let id = starts.next;
            let waiting = Waiting {
                subscription: subscription.clone(),
                life,
                filter: filter.clone(),
                from,
                last,
                shard: 0,
                came: BTreeSet::new(),
                answer: 0,
                asked: None,
                begun,
            };
            starts.waiting.insert(id, waiting);
        }
        true
    }

    /// Puts questions, those that are not answered again, and gives up what nobody answers. Call it after the interest
    /// was told. Answers when it wants to be called again.
    pub(super) fn ask_starts(&self, now: Micros) -> Micros {
        let mut starts = self.starts.lock();
        if starts.waiting.is_empty() {
            return Micros::MAX;
        }
        if self.interest_changed.load(Ordering::Acquire) {
            // The next tick tells it first.
            return now;
        }
        let interest = self.interest.lock().version;
        let mut ended = Vec::new();
        starts.waiting.retain(|id, waiting| {
            let given_up = now - waiting.begun >= GIVE_UP_US || !self.directory.is_up(&waiting.life);
            if given_up || waiting.subscription.is_closed() {
                ended.push(waiting.subscription.clone());
                if given_up {
                    count(&self.counters.starts_given_up);
                }
                return false;
            }
            if waiting.asked.is_none_or(|asked| now - asked >= RETRY_US) {
                waiting.asked = Some(now);
                let ask = waiting.ask(*id, interest);
                self.send(&waiting.life.node, Class::Control, &Message::StartAsk(ask));
            }
            true
        });
        starts.end(ended);
        if starts.waiting.is_empty() { Micros::MAX } else { now + RETRY_US }
    }

    /// Takes one part of an answer: hands its series to the subscription, and asks for the next shard after the last
    /// part of one.
    pub(super) fn start_part(&self, life: &Life, part: &StartPart<'_>, now: Micros) {
        let awaited = |starts: &Starts| {
            let waiting = starts.waiting.get(&part.id);
            waiting
                .filter(|waiting| waiting.life == *life && waiting.shard == part.shard)
                .map(|w| w.subscription.clone())
        };
        let Some(subscription) = awaited(&self.starts.lock()) else { return };
        let Ok(deliveries) = read_all(part.body, &life.node, &mut Dictionary::new()) else {
            return count(&self.counters.frames_refused);
        };
        self.with_local(life, |local| {
            self.relay.incoming(life).lock().begin(groups(&deliveries), &subscription, local);
        });
        let mut starts = self.starts.lock();
        let Some(waiting) = starts.waiting.get_mut(&part.id).filter(|waiting| waiting.shard == part.shard) else {
            return;
        };
        if waiting.answer != part.answer {
            // Another answer may be cut at other series.
            (waiting.answer, waiting.came) = (part.answer, BTreeSet::new());
        }
        waiting.came.insert(part.part);
        (waiting.asked, waiting.begun) = (Some(now), now);
        if waiting.came.len() < usize::from(part.parts) {
            return;
        }
        if part.shard + 1 < part.shards {
            waiting.shard += 1;
            waiting.came.clear();
            let ask = waiting.ask(part.id, self.interest.lock().version);
            self.send(&life.node, Class::Control, &Message::StartAsk(ask));
        } else {
            starts.waiting.remove(&part.id);
            starts.end(vec![subscription]);
        }
    }

    /// Waits for no other node any more: this one leaves.
    pub(super) fn end_starts(&self) {
        let mut starts = self.starts.lock();
        let waiting = std::mem::take(&mut starts.waiting);
        starts.end(waiting.into_values().map(|waiting| waiting.subscription).collect());
    }
}

impl Waiting {
    fn ask(&self, id: u64, interest: u64) -> StartAsk {
        let Self { shard, from, last, .. } = *self;
        StartAsk { id, shard, interest, from, last, filter: self.filter.clone() }
    }
}

impl Starts {
    /// Lets subscriptions go live that wait for no other node any more.
    fn end(&self, ended: Vec<Arc<Subscription>>) {
        for subscription in ended {
            if !self.waiting.values().any(|other| Arc::ptr_eq(&other.subscription, &subscription)) {
                subscription.started();
            }
        }
    }
}

// === impl Engine: who answers ===

impl Engine {
    /// Answers what is kept of the series that match, where the asker's interest is held here; else it asks again.
    pub(super) fn answer_start(&self, life: &Life, ask: &StartAsk) {
        let held = self.relay.outgoing(&life.node).filter(|link| link.life == *life).map_or(0, |link| link.interest());
        if held < ask.interest.max(1) {
            return;
        }
        let (kept, shards) = self.kept(ask);
        let answer = self.clock.steady().unsigned_abs();
        for (part, parts, body) in parts_of(&kept) {
            let part = StartPart { id: ask.id, answer, shard: ask.shard, shards, part, parts, body: &body };
            let message = codec::encode(self.me.incarnation, &Message::StartPart(part));
            self.transport.send(&life.node, Class::Bulk, Bytes::from(message));
        }
    }

    /// What one shard keeps of the series that match, each as it is under its lock, and how many shards there are; of a
    /// filter that names its sensors all is answered as one.
    fn kept(&self, ask: &StartAsk) -> (Vec<Kept>, u16) {
        let (mut kept, span) = (Vec::new(), (ask.from, ask.last.min(REMOTE_START_MAX) as usize));
        let mut keep = |series: &Arc<Series>, last_seq: Seq, samples: &[Sample], _: &mut _| {
            if ask.filter.matches(series) && !samples.is_empty() {
                kept.push((series.clone(), last_seq, samples.to_vec()));
            }
        };
        let table: &Table<_> = &self.table;
        if ask.filter.is_narrow() {
            ask.filter.sensors.iter().for_each(|sensor| table.visit_kept_of(sensor.as_str(), span, &mut keep));
            return (kept, 1);
        }
        let shards = u16::try_from(table.shard_count()).unwrap_or(u16::MAX);
        if ask.shard < shards {
            table.visit_kept(usize::from(ask.shard), span, &mut keep);
        }
        (kept, shards)
    }
}

/// An answer in parts, each with its number and how many there are; a series is never cut apart.
fn parts_of(kept: &[Kept]) -> Vec<(u16, u16, Vec<u8>)> {
    let mut bodies = Vec::new();
    let (mut deliveries, mut bytes) = (Vec::new(), 0);
    let mut write = |deliveries: &mut Vec<Delivery>| {
        let mut body = Vec::new();
        DeliveryWriter::default().write(deliveries, usize::MAX, &mut body);
        deliveries.clear();
        bodies.push(body);
    };
    for (series, position, samples) in kept {
        let (samples, size) = newest(samples);
        if !deliveries.is_empty() && (deliveries.len() + samples.len() > PART_ROWS || bytes + size > PART_BYTES) {
            write(&mut deliveries);
            bytes = 0;
        }
        bytes += size;
        let starts = samples.iter().map(|sample| Delivery::Start(sample.reading(series), *position));
        deliveries.extend(starts);
    }
    if !deliveries.is_empty() || kept.is_empty() {
        write(&mut deliveries);
    }
    let parts = u16::try_from(bodies.len()).unwrap_or(u16::MAX);
    (0..parts).zip(bodies).map(|(part, body)| (part, parts, body)).collect()
}

/// The newest samples of a series that one part holds, and their bytes.
fn newest(samples: &[Sample]) -> (&[Sample], usize) {
    let (mut from, mut bytes) = (samples.len(), 0);
    for sample in samples.iter().rev() {
        let size = 24 + sample.value.bytes_beside();
        if bytes + size > SERIES_BYTES_MAX {
            break;
        }
        (from, bytes) = (from - 1, bytes + size);
    }
    (&samples[from..], bytes)
}

/// The series of a part with their counters and samples, as they stand side by side.
fn groups(deliveries: &[Delivery]) -> impl Iterator<Item = (&Arc<Series>, Seq, Vec<Sample>)> {
    let of = |delivery: &'_ Delivery| match delivery {
        Delivery::Start(reading, position) => Some((Arc::as_ptr(&reading.series), *position)),
        _ => None,
    };
    deliveries.chunk_by(move |a, b| of(a) == of(b)).filter_map(|group| {
        let Some(Delivery::Start(first, position)) = group.first() else { return None };
        let samples = group.iter().filter_map(|delivery| match delivery {
            Delivery::Start(reading, _) => Some(sample_of(reading)),
            _ => None,
        });
        Some((&first.series, *position, samples.collect()))
    })
}

fn sample_of(reading: &Reading) -> Sample {
    let Reading { value, source_time, received_time, seq, .. } = reading.clone();
    Sample { value, source_time, received_time, seq }
}

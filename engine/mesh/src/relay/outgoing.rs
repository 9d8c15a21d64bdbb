//! The sending side of one link: a subscription of the other node's, drained into frames against credit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use senza_core::codec;
use senza_core::fanout::{Fanout, SubscriptionId, Wanted};
use senza_core::frame::FrameWriter;
use senza_core::subscription::{Contract, Ledger, Subscription, Taken};
use senza_core::{GapReason, Incarnation, Life, Micros, SensorId, Series};

use super::{CREDIT_WINDOW, FRAME_BYTES, OUT_QUEUE_MAX};
use crate::clock::Clock;
use crate::latency::{Latency, SAMPLES};

/// A link without credit sends a frame all the same after so long: all that were on their way may be lost, and then
/// nobody would ever grant more.
const PROBE_US: Micros = 200_000;
/// A link that fell quiet sends an empty frame after so long, and again after four times as long, and so on up to
/// [`PROOF_MAX_US`]: its number shows whether the last frame with rows came, which nothing else would.
const PROOF_US: Micros = 250_000;
const PROOF_MAX_US: Micros = 64_000_000;
/// Room for a frame's head and its message's, made at once; where rows need more, writing them makes it.
const FRAME_HEAD: usize = 128;
/// Who puts a reading sends it itself where the link sent nothing for so long: that spares a thread's wake-up. Where more
/// comes, the link's thread gathers it into larger frames.
const QUIET_US: Micros = 500;
/// Who puts sends no more rows than this.
const RUN_ROWS_MAX: usize = 1024;
/// Where a send held up who puts for so long, the link's thread sends for the next ten seconds.
const SLOW_US: Micros = 500;
const SLOW_PAUSE_US: Micros = 10_000_000;
/// Where another reading came so soon after who put one had sent it, more come at a time: gathering them is cheaper, and
/// the link's thread does for a while, unless a run of puts has gathered so many rows already.
const BURST_US: Micros = 100;
const BURST_PAUSE_US: Micros = 100_000;
const RUN_ROWS: usize = 32;

/// The sending side of one link.
pub struct Outgoing {
    /// Who receives.
    pub life: Life,
    subscription: Arc<Subscription>,
    pub(super) state: Mutex<OutState>,
}

pub(super) struct OutState {
    /// Its place in the fanout, once it is there.
    id: Option<SubscriptionId>,
    /// The version of the receiver's interest.
    pub(super) interest: u64,
    wanted: Vec<Wanted>,
    writer: FrameWriter,
    /// Frames up to this number may be sent.
    credit: u64,
    /// When a frame was sent last.
    sent_at: Micros,
    /// After so much quiet an empty frame follows; 0: none does.
    proof_us: Micros,
    /// When who put sent last.
    relieved_at: Micros,
    /// Who puts sends nothing itself until then; and no single readings until then.
    slow_until: Micros,
    burst_until: Micros,
    /// Series still to be started: from this shard on, those that these filters did not match before.
    start: Option<StartStep>,
    taken: Taken,
    sent: LinkCounts,
    /// From the table until they were sent.
    latency: Latency,
}

/// Where the start of an interest stands.
#[derive(Clone, Debug)]
pub struct StartStep {
    /// The next shard of the table; not used where sensors are named.
    pub shard: usize,
    /// The sensors to start, where the interest names all of its sensors.
    pub sensors: Option<Arc<[SensorId]>>,
    /// What is wanted.
    wanted: Arc<[Wanted]>,
    /// What was wanted before and needs no start; empty after a loss.
    before: Arc<[Wanted]>,
}

impl StartStep {
    fn new(wanted: Vec<Wanted>, before: &[Wanted]) -> Self {
        let narrow = wanted.iter().all(|(filter, _)| filter.is_narrow());
        let sensors = narrow.then(|| {
            let named =
                |wanted: &[Wanted]| wanted.iter().flat_map(|(filter, _)| filter.sensors.iter().cloned()).collect();
            let known: std::collections::BTreeSet<SensorId> = named(before);
            let names: std::collections::BTreeSet<SensorId> = named(&wanted);
            // A sensor named before may be wanted with more attributes now; only plain names tell that it is not.
            let plain = before.iter().all(|(filter, _)| filter.attributes.is_empty() && filter.types.is_empty());
            names.into_iter().filter(|sensor| !plain || !known.contains(sensor)).collect()
        });
        Self { shard: 0, sensors, wanted: wanted.into(), before: before.into() }
    }

    /// Whether a series is to be started.
    pub fn starts(&self, series: &Series) -> bool {
        let any = |wanted: &[Wanted]| wanted.iter().any(|(filter, _)| filter.matches(series));
        any(&self.wanted) && !any(&self.before)
    }
}

/// What one side of a link did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Frames written or taken.
    pub frames: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Readings in them.
    pub readings: u64,
    /// Frames that did not arrive, as their numbers tell.
    pub frames_lost: u64,
    /// Readings dropped at the receiver: of a beaten claim, or not wanted any more.
    pub refused: u64,
    /// New generations asked for.
    pub resets: u64,
}

impl Outgoing {
    pub(super) fn new(life: Life, now: Micros, bell: Arc<AtomicBool>) -> Self {
        let contract = Contract { queue_max: OUT_QUEUE_MAX, reason: GapReason::Relay, ..Contract::default() };
        let state = OutState {
            id: None,
            interest: 0,
            wanted: Vec::new(),
            writer: FrameWriter::starting_at(now.unsigned_abs()),
            credit: CREDIT_WINDOW / 4,
            sent_at: now,
            proof_us: 0,
            relieved_at: Micros::MIN / 2,
            slow_until: Micros::MIN,
            burst_until: Micros::MIN,
            start: None,
            taken: Taken::default(),
            sent: LinkCounts::default(),
            latency: Latency::default(),
        };
        Self { life, subscription: Arc::new(Subscription::relieved(contract, bell)), state: Mutex::new(state) }
    }

    /// Takes a newer interest of the receiver. Answers the sensors whose series are to be reset in the table.
    pub fn set_interest(&self, version: u64, wanted: Vec<Wanted>, fanout: &Fanout) -> Vec<SensorId> {
        let mut state = self.state.lock();
        if version <= state.interest {
            return Vec::new();
        }
        state.interest = version;
        state.writer.forget_replay();
        let mut touched = state.id.map(|id| fanout.named_sensors(id)).unwrap_or_default();
        state.id = match state.id {
            Some(id) => Some(id).filter(|id| fanout.replace(*id, wanted.clone())),
            None => fanout.add(wanted.clone(), self.subscription.clone()).ok(),
        };
        touched.extend(state.id.map(|id| fanout.named_sensors(id)).unwrap_or_default());
        let before = std::mem::replace(&mut state.wanted, wanted.clone());
        // A start still under way is taken up by the new one: what it did not reach was never started.
        let before = if state.start.is_some() { Vec::new() } else { before };
        state.start = Some(StartStep::new(wanted, &before));
        touched
    }

    /// The version of the receiver's interest that is held.
    pub fn interest(&self) -> u64 {
        self.state.lock().interest
    }

    /// Frames up to this number may be sent.
    pub fn grant(&self, up_to: u64) {
        let mut state = self.state.lock();
        state.credit = state.credit.max(up_to);
        drop(state);
        self.subscription.nudge();
    }

    /// Starts a new generation: the receiver lost the dictionary.
    pub fn reset(&self, now: Micros) {
        let mut state = self.state.lock();
        state.writer.reset(now.unsigned_abs());
        state.start = Some(StartStep::new(state.wanted.clone(), &[]));
        drop(state);
        self.subscription.nudge();
    }

    /// The next step of a start, where one is under way and the queue has room for it.
    pub fn start_step(&self) -> Option<StartStep> {
        let room = self.subscription.ledger().queued < OUT_QUEUE_MAX as u64 / 2;
        self.state.lock().start.clone().filter(|_| room)
    }

    /// Says that a step was done, of so many shards. Another interest or a reset may have begun a start anew meanwhile.
    pub fn stepped(&self, done: &StartStep, shards: usize) {
        let mut state = self.state.lock();
        let is_it = |step: &&mut StartStep| step.shard == done.shard && Arc::ptr_eq(&step.wanted, &done.wanted);
        if let Some(step) = state.start.as_mut().filter(is_it) {
            step.shard += 1;
            if step.shard >= shards || step.sensors.is_some() {
                state.start = None;
            }
        }
    }

    /// The queue, in which series are enrolled.
    pub fn subscription(&self) -> &Arc<Subscription> {
        &self.subscription
    }

    /// Has the pump look again.
    pub fn nudge(&self) {
        self.subscription.nudge();
    }

    /// Waits for something to send. Answers false when the link is closed.
    pub fn wait(&self, timeout: Duration) -> bool {
        let state = self.state.lock();
        let blocked = state.writer.number() >= state.credit;
        let has_more = state.start.is_some() || !state.taken.is_empty() || !state.writer.is_empty();
        drop(state);
        if blocked || !has_more {
            self.subscription.wait(timeout, blocked);
        }
        // What is still queued then is for nobody.
        !self.subscription.is_closed()
    }

    /// Whether something was queued while the link's thread sleeps, since this was asked last: then
    /// [`relieve`](Self::relieve) or [`nudge`](Self::nudge) it.
    pub fn is_left(&self) -> bool {
        self.subscription.is_left()
    }

    /// What was queued while the link's thread sleeps is sent by the one who queued it, where that is little and the link
    /// is at ease; else the thread is woken. Waits for nobody but the transport.
    pub fn relieve(&self, incarnation: Incarnation, clock: &dyn Clock, send: &mut dyn FnMut(Vec<u8>)) {
        let now = clock.steady();
        let queued = self.subscription.ready();
        let Some(mut state) = self.state.try_lock() else { return self.subscription.nudge() };
        if now - state.relieved_at < BURST_US {
            state.burst_until = now + BURST_PAUSE_US;
        }
        if !state.is_at_ease(queued, now) {
            drop(state);
            return self.subscription.nudge();
        }
        state.pump(&self.subscription, (incarnation, 1), clock, send);
        state.relieved_at = clock.steady();
        if state.relieved_at - now >= SLOW_US {
            state.slow_until = now + SLOW_PAUSE_US;
        }
        let more = !state.taken.is_empty() || !state.writer.is_empty();
        drop(state);
        if more || self.subscription.ready() > 0 {
            self.subscription.nudge();
        }
    }

    /// Writes what is queued into frames, as far as credit goes, and hands each to `send`.
    pub fn pump(&self, incarnation: Incarnation, clock: &dyn Clock, send: &mut dyn FnMut(Vec<u8>)) {
        self.state.lock().pump(&self.subscription, (incarnation, usize::MAX), clock, send);
    }

    /// Ends the link.
    pub fn close(&self, fanout: &Fanout) -> Vec<SensorId> {
        let mut state = self.state.lock();
        let id = state.id.take();
        let touched = id.map(|id| fanout.named_sensors(id)).unwrap_or_default();
        id.map(|id| fanout.remove(id));
        self.subscription.close();
        touched
    }

    /// What was sent.
    pub fn counts(&self) -> LinkCounts {
        self.state.lock().sent
    }

    /// How long readings took from the table until they were sent.
    pub fn latency(&self) -> Latency {
        self.state.lock().latency.clone()
    }

    /// What became of the readings offered to the link.
    pub fn ledger(&self) -> Ledger {
        self.subscription.ledger()
    }
}

impl OutState {
    /// Whether it may be sent by who puts: nothing was sent a short while ago, nothing else is under way, and what was
    /// sent before was mostly received.
    fn is_at_ease(&self, queued: usize, now: Micros) -> bool {
        let allowed =
            now >= self.slow_until && (now >= self.burst_until || queued >= RUN_ROWS) && queued <= RUN_ROWS_MAX;
        let under_way = self.start.is_some() || !self.taken.is_empty() || !self.writer.is_empty();
        let received = self.writer.number() + CREDIT_WINDOW / 4 < self.credit;
        allowed && now - self.sent_at >= QUIET_US && received && !under_way
    }

    /// Writes what is queued into at most so many frames.
    fn pump(
        &mut self,
        subscription: &Subscription,
        (incarnation, frames): (Incarnation, usize),
        clock: &dyn Clock,
        send: &mut dyn FnMut(Vec<u8>),
    ) {
        let now = clock.steady();
        let state = self;
        // Without a place in the fanout the link is closed: what is still queued is for nobody.
        let frames = if state.id.is_some() { frames } else { 0 };
        for _ in 0..frames {
            if state.writer.number() >= state.credit && now - state.sent_at < PROBE_US {
                return;
            }
            if state.taken.is_empty() {
                subscription.take(&mut state.taken, usize::MAX);
                state.taken.defined().for_each(|series| state.writer.redefine(series));
            }
            if state.taken.is_empty() && state.writer.is_empty() && !state.owes_proof(now) {
                return;
            }
            let writer = &mut state.writer;
            state.taken.drain_while(|item| {
                if writer.is_full(FRAME_BYTES) || !writer.fits(&item) {
                    return false;
                }
                writer.add(&item);
                true
            });
            let mut message = Vec::with_capacity(state.writer.size() + FRAME_HEAD);
            codec::begin(codec::KIND_FRAME, incarnation, &mut message);
            let (rows, sent) = (state.writer.rows(), clock.now());
            let latency = &mut state.latency;
            state.writer.sample(SAMPLES, |received, count| latency.record(sent.saturating_sub(received), 0, count));
            state.writer.finish(sent, &mut message);
            state.sent_at = now;
            state.proof_us = match rows {
                0 => Some(state.proof_us * 4).filter(|next| *next <= PROOF_MAX_US).unwrap_or_default(),
                _ => PROOF_US,
            };
            state.sent.frames += 1;
            state.sent.readings += rows as u64;
            state.sent.bytes += (message.len() - codec::HEADER) as u64;
            send(message);
        }
    }

    /// Whether the link has been quiet for so long that an empty frame is to show where its numbers stand.
    fn owes_proof(&self, now: Micros) -> bool {
        self.proof_us > 0 && now - self.sent_at >= self.proof_us
    }
}

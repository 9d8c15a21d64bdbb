//! The relay: readings from their owner to every node that asked, and nothing else on any link.
//!
//! A node tells its *interest*, the union of its local filters, to every other node. An owner keeps one subscription
//! per interested node (an [`Outgoing`]), drains it into frames, and sends no more frames than the receiver granted.
//! The receiver (an [`Incoming`]) checks numbers, tells what is missing as gaps, and hands readings to the
//! subscriptions resolved per series. A lost frame costs a new generation of the dictionary: the owner then starts
//! every series with its counter, and the receiver knows from it what it missed.
//!
//! Knows fanout and frames; neither table, directory nor sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use senza_core::codec;
use senza_core::error::Result;
use senza_core::fanout::{Fanout, SubscriptionId, Watchers};
use senza_core::frame::{Entry, Frame, FrameWriter, Row, What};
use senza_core::key::FILTER_ENTRIES_MAX;
use senza_core::subscription::{Contract, Overflow, Start, Subscription};
use senza_core::{
    Delivery, Filter, Gap, GapReason, Incarnation, Life, Micros, NodeName, Reading, SensorId, Seq, Series,
};

/// Frames a receiver lets its sender be ahead of it.
pub const CREDIT_WINDOW: u64 = 256;
/// Bytes of one frame, about: small enough for one batch of the network, large enough to spread its cost.
pub const FRAME_BYTES: usize = 8 * 1024;
/// Readings queued for one destination; the oldest give way and are told as gaps.
pub const OUT_QUEUE_MAX: usize = 262_144;
/// Most filters of one node's interest, after merging.
pub const INTEREST_MAX: usize = 16_384;
/// Readings taken from the queue at a time.
const TAKE: usize = 4096;
/// A new generation is asked for at most this often per link.
const RESET_US: Micros = 100_000;

/// All links of one node.
#[derive(Default)]
pub struct Relay {
    outgoing: RwLock<BTreeMap<NodeName, Arc<Outgoing>>>,
    incoming: RwLock<BTreeMap<NodeName, Arc<Mutex<Incoming>>>>,
}

/// What this node wants relayed to it.
#[derive(Debug, Default)]
pub struct Interest {
    /// Raised by every change; 0 before the first.
    pub version: u64,
    /// Any of these.
    pub filters: Vec<Filter>,
}

// === impl Interest ===

impl Interest {
    /// Takes the filters of all local subscriptions. Answers whether the interest changed.
    pub fn update(&mut self, filters: Vec<Filter>) -> bool {
        let merged = merge(filters);
        if merged == self.filters {
            return false;
        }
        self.filters = merged;
        self.version += 1;
        true
    }
}

/// Drops duplicates and joins filters that name nothing but sensors. Beyond [`INTEREST_MAX`] everything is asked for:
/// the receiver's own filters still hold.
fn merge(mut filters: Vec<Filter>) -> Vec<Filter> {
    let names_sensors_only = |filter: &Filter| {
        filter.is_narrow() && filter.attributes.is_empty() && filter.types.is_empty() && filter.nodes.is_empty()
    };
    let mut sensors: Vec<SensorId> = Vec::new();
    filters.retain_mut(|filter| {
        let narrow = names_sensors_only(filter);
        if narrow {
            sensors.append(&mut filter.sensors);
        }
        !narrow
    });
    sensors.sort_unstable();
    sensors.dedup();
    let joined =
        sensors.chunks(FILTER_ENTRIES_MAX).map(|chunk| Filter { sensors: chunk.to_vec(), ..Filter::default() });
    filters.extend(joined);
    filters.sort_unstable();
    filters.dedup();
    if filters.contains(&Filter::all()) || filters.len() > INTEREST_MAX {
        return vec![Filter::all()];
    }
    filters
}

/// The filters of another node's interest, held to the series that this node owns.
pub fn own_only(filters: Vec<Filter>, me: &NodeName) -> Vec<Filter> {
    let own = |filter: Filter| filter.may_match_node(me).then(|| Filter { nodes: vec![me.clone()], ..filter });
    filters.into_iter().filter_map(own).collect()
}

// === impl Relay ===

impl Relay {
    /// The link to a node, where it asked for something.
    pub fn outgoing(&self, node: &NodeName) -> Option<Arc<Outgoing>> {
        self.outgoing.read().get(node).cloned()
    }

    /// All links to others.
    pub fn all_outgoing(&self) -> Vec<Arc<Outgoing>> {
        self.outgoing.read().values().cloned().collect()
    }

    /// Opens the link to a life, in place of one to an earlier life.
    pub fn open(&self, life: &Life, now: Micros) -> Arc<Outgoing> {
        let link = Arc::new(Outgoing::new(life.clone(), now));
        self.outgoing.write().insert(life.node.clone(), link.clone());
        link
    }

    /// Closes the link to a node: its watchers are gone.
    pub fn shut(&self, node: &NodeName) -> Option<Arc<Outgoing>> {
        self.outgoing.write().remove(node)
    }

    /// The receiving side of the link from a life.
    pub fn incoming(&self, life: &Life) -> Arc<Mutex<Incoming>> {
        if let Some(link) = self.incoming.read().get(&life.node)
            && link.lock().life == *life
        {
            return link.clone();
        }
        let link = Arc::new(Mutex::new(Incoming::new(life.clone())));
        self.incoming.write().insert(life.node.clone(), link.clone());
        link
    }

    /// All receiving sides.
    pub fn all_incoming(&self) -> Vec<Arc<Mutex<Incoming>>> {
        self.incoming.read().values().cloned().collect()
    }

    /// Drops the receiving side of a life that is given up, and tells its readers that they may have lost readings.
    pub fn forget(&self, life: &Life, fanout: &Fanout) {
        self.incoming.write().retain(|_, link| {
            let mut link = link.lock();
            let given_up = link.life == *life;
            if given_up {
                link.visit(&[], |state| state.give_up(fanout));
            }
            !given_up
        });
    }

    /// When a frame of a life came last; 0 before the first.
    pub fn heard_at(&self, life: &Life) -> Micros {
        let incoming = self.incoming.read();
        incoming
            .get(&life.node)
            .map(|link| link.lock())
            .filter(|link| link.life == *life)
            .map_or(0, |link| link.heard_at)
    }

    /// What a beacon says to a node: the credit granted to it, and the version of its interest held here.
    pub fn link(&self, node: &NodeName) -> (u64, u64) {
        let interest = self.outgoing(node).map_or(0, |link| link.state.lock().interest);
        let credit = self.incoming.read().get(node).map_or(0, |link| link.lock().granted);
        (credit, interest)
    }
}

// === outgoing ===

/// The sending side of one link.
pub struct Outgoing {
    /// Who receives.
    pub life: Life,
    subscription: Arc<Subscription>,
    state: Mutex<OutState>,
}

struct OutState {
    /// Its place in the fanout, once it is there.
    id: Option<SubscriptionId>,
    /// The version of the receiver's interest.
    interest: u64,
    filters: Vec<Filter>,
    writer: FrameWriter,
    /// Frames up to this number may be sent.
    credit: u64,
    /// Series still to be started: from this shard on, those that these filters did not match before.
    start: Option<StartStep>,
    taken: Vec<Delivery>,
    sent: LinkCounts,
}

/// Where the start of an interest stands.
#[derive(Clone, Debug)]
pub struct StartStep {
    /// The next shard of the table; not used where sensors are named.
    pub shard: usize,
    /// The sensors to start, where the interest names all of its sensors.
    pub sensors: Option<Arc<[SensorId]>>,
    /// What is wanted.
    filters: Arc<[Filter]>,
    /// What was wanted before and needs no start; empty after a loss.
    before: Arc<[Filter]>,
}

impl StartStep {
    fn new(filters: Vec<Filter>, before: &[Filter]) -> Self {
        let narrow = filters.iter().all(Filter::is_narrow);
        let sensors = narrow.then(|| {
            let named = |filters: &[Filter]| filters.iter().flat_map(|filter| filter.sensors.iter().cloned()).collect();
            let known: std::collections::BTreeSet<SensorId> = named(before);
            let wanted: std::collections::BTreeSet<SensorId> = named(&filters);
            // A sensor named before may be wanted with more attributes now; only plain names tell that it is not.
            let plain = before.iter().all(|filter| filter.attributes.is_empty() && filter.types.is_empty());
            wanted.into_iter().filter(|sensor| !plain || !known.contains(sensor)).collect()
        });
        Self { shard: 0, sensors, filters: filters.into(), before: before.into() }
    }

    /// Whether a series is to be started.
    pub fn starts(&self, series: &Series) -> bool {
        let any = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(series));
        any(&self.filters) && !any(&self.before)
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
    fn new(life: Life, now: Micros) -> Self {
        let contract = Contract {
            overflow: Overflow::DropOldest,
            queue_max: OUT_QUEUE_MAX,
            start: Start::Live,
            reason: GapReason::Relay,
        };
        let state = OutState {
            id: None,
            interest: 0,
            filters: Vec::new(),
            writer: FrameWriter::starting_at(now.unsigned_abs()),
            credit: CREDIT_WINDOW / 4,
            start: None,
            taken: Vec::new(),
            sent: LinkCounts::default(),
        };
        Self { life, subscription: Arc::new(Subscription::new(contract)), state: Mutex::new(state) }
    }

    /// Takes a newer interest of the receiver. Answers the sensors whose series are to be reset in the table.
    pub fn set_interest(&self, version: u64, filters: Vec<Filter>, fanout: &Fanout) -> Vec<SensorId> {
        let mut state = self.state.lock();
        if version <= state.interest {
            return Vec::new();
        }
        state.interest = version;
        state.writer.forget_replay();
        let mut touched = state.id.map(|id| fanout.named_sensors(id)).unwrap_or_default();
        state.id = match state.id {
            Some(id) => Some(id).filter(|id| fanout.replace(*id, filters.clone())),
            None => fanout.add(filters.clone(), self.subscription.clone()).ok(),
        };
        touched.extend(state.id.map(|id| fanout.named_sensors(id)).unwrap_or_default());
        let before = std::mem::replace(&mut state.filters, filters.clone());
        // A start still under way is taken up by the new one: what it did not reach was never started.
        let before = if state.start.is_some() { Vec::new() } else { before };
        state.start = Some(StartStep::new(filters, &before));
        touched
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
        state.start = Some(StartStep::new(state.filters.clone(), &[]));
        drop(state);
        self.subscription.nudge();
    }

    /// The next step of a start, where one is under way and the queue has room for it.
    pub fn start_step(&self) -> Option<StartStep> {
        let room = self.subscription.ledger().queued < OUT_QUEUE_MAX as u64 / 2;
        self.state.lock().start.clone().filter(|_| room)
    }

    /// Says that the step at `shard` of `shards` was done.
    pub fn stepped(&self, shard: usize, shards: usize) {
        let mut state = self.state.lock();
        if let Some(step) = state.start.as_mut().filter(|step| step.shard == shard) {
            step.shard += 1;
            if step.shard >= shards || step.sensors.is_some() {
                state.start = None;
            }
        }
    }

    /// Offers the start of one series.
    pub fn offer_start(&self, reading: Reading, position: Seq) {
        self.subscription.offer_start(reading, position);
    }

    /// Has the pump look again.
    pub fn nudge(&self) {
        self.subscription.nudge();
    }

    /// Waits for something to send. Answers false when the link is closed.
    pub fn wait(&self, timeout: Duration) -> bool {
        let state = self.state.lock();
        let blocked = state.writer.number() >= state.credit;
        if !blocked && (state.start.is_some() || !state.taken.is_empty()) {
            return !self.subscription.is_closed();
        }
        drop(state);
        self.subscription.wait(timeout, blocked)
    }

    /// Writes what is queued into frames, as far as credit goes, and hands each to `send`.
    pub fn pump(&self, incarnation: Incarnation, send: &mut dyn FnMut(Vec<u8>)) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        while state.writer.number() < state.credit {
            if state.taken.is_empty() {
                self.subscription.take(&mut state.taken, TAKE);
            }
            if state.taken.is_empty() {
                return;
            }
            let mut at = 0;
            while at < state.taken.len() && state.writer.number() < state.credit {
                let mut message = Vec::with_capacity(FRAME_BYTES + 1024);
                codec::begin(codec::KIND_FRAME, incarnation, &mut message);
                let count = state.writer.write(&state.taken[at..], FRAME_BYTES, &mut message);
                at += count;
                state.sent.frames += 1;
                state.sent.readings += count as u64;
                state.sent.bytes += (message.len() - codec::HEADER) as u64;
                send(message);
            }
            state.taken.drain(..at);
        }
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

    /// What became of the readings offered to the link.
    pub fn ledger(&self) -> senza_core::subscription::Ledger {
        self.subscription.ledger()
    }
}

// === incoming ===

/// The receiving side of one link.
pub struct Incoming {
    /// Who sends.
    pub life: Life,
    generation: Option<u64>,
    /// The number of the last frame taken.
    number: u64,
    granted: u64,
    reset_asked: Micros,
    heard_at: Micros,
    dictionary: Vec<Slot>,
    states: Vec<State>,
    by_sensor: HashMap<SensorId, Vec<u32>, RandomState>,
    counts: LinkCounts,
}

struct Slot {
    /// Its place in `states`; `None` for a series of an older claim than one heard on this link.
    state: Option<u32>,
    base: Seq,
}

/// What is known of one relayed series.
struct State {
    series: Arc<Series>,
    /// The last number heard of, while somebody here watches.
    last: Option<Seq>,
    latest: Option<Reading>,
    watchers: Watchers,
    /// The fanout's generation at which the watchers were resolved.
    resolved_at: u64,
    /// The directory's count of moves at which the claim was held against it.
    checked_at: u64,
    fenced: bool,
}

/// What a receiver does after a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct After {
    /// Ask for a new generation.
    pub reset: bool,
    /// Grant frames up to this number.
    pub credit: Option<u64>,
}

/// What an incoming frame is held against.
pub struct Local<'a> {
    /// The local subscriptions.
    pub fanout: &'a Fanout,
    /// How many moves the directory has seen.
    pub moves: u64,
    /// Whether a series stands under a beaten claim.
    pub fenced: &'a dyn Fn(&Series) -> bool,
}

impl Incoming {
    fn new(life: Life) -> Self {
        Self {
            life,
            generation: None,
            number: 0,
            granted: 0,
            reset_asked: Micros::MIN / 2,
            heard_at: 0,
            dictionary: Vec::new(),
            states: Vec::new(),
            by_sensor: HashMap::default(),
            counts: LinkCounts::default(),
        }
    }

    /// Takes one frame: checks its number, keeps its entries, and delivers its rows.
    ///
    /// # Errors
    /// As [`Frame::parse`] and [`Frame::rows`]; rows before the damage were delivered.
    pub fn frame(&mut self, body: &[u8], local: &Local<'_>, now: Micros) -> Result<After> {
        let frame = Frame::parse(body, &self.life.node)?;
        self.heard_at = now;
        if !self.place(&frame) {
            let older = self.generation.is_some_and(|known| known > frame.generation);
            return Ok(self.after(older, now));
        }
        if frame.number <= self.number {
            return Ok(self.after(true, now));
        }
        self.counts.frames_lost += frame.number - self.number - 1;
        let whole = frame.number == self.number + 1;
        self.number = frame.number;
        self.counts.frames += 1;
        self.counts.bytes += body.len() as u64;
        self.counts.readings += frame.len() as u64;
        if frame.first_entry as usize != self.dictionary.len() {
            self.counts.refused += frame.len() as u64;
            return Ok(self.after(false, now));
        }
        for entry in &frame.entries {
            self.enter(entry);
        }
        let mut unknown = false;
        frame.rows(|row| unknown |= !self.row(row, local))?;
        Ok(self.after(whole && !unknown, now))
    }

    /// Starts a new generation where the frame begins one. Answers whether the frame belongs to the present one.
    fn place(&mut self, frame: &Frame<'_>) -> bool {
        if self.generation == Some(frame.generation) {
            return true;
        }
        if frame.first_entry != 0 || self.generation.is_some_and(|known| known > frame.generation) {
            return false;
        }
        if self.generation.is_none() || frame.number <= self.number {
            // A link opened anew counts its frames from 1 again.
            self.granted = 0;
        }
        self.generation = Some(frame.generation);
        self.number = frame.number.saturating_sub(1);
        self.dictionary.clear();
        true
    }

    fn after(&mut self, whole: bool, now: Micros) -> After {
        let reset = !whole && now - self.reset_asked >= RESET_US;
        if reset {
            self.reset_asked = now;
            self.counts.resets += 1;
        }
        let credit = (self.number + CREDIT_WINDOW / 2 >= self.granted).then_some(self.number + CREDIT_WINDOW);
        self.granted = credit.unwrap_or(self.granted);
        After { reset, credit }
    }

    fn enter(&mut self, entry: &Entry) {
        let series = &entry.series;
        let same = |states: &[State], at: &u32| states[*at as usize].series.attribute == series.attribute;
        let known = self.by_sensor.get(&series.sensor).and_then(|list| list.iter().find(|at| same(&self.states, at)));
        let state = match known.copied() {
            None => {
                let at = self.states.len() as u32;
                self.states.push(State::new(series.clone()));
                self.by_sensor.entry(series.sensor.clone()).or_default().push(at);
                Some(at)
            }
            Some(at) => {
                let state = &mut self.states[at as usize];
                if state.series.epoch < series.epoch {
                    *state = State::new(series.clone());
                }
                (state.series.epoch == series.epoch).then_some(at)
            }
        };
        self.dictionary.push(Slot { state, base: entry.base });
    }

    /// Delivers one row. Answers false where the dictionary does not know it.
    fn row(&mut self, row: Row, local: &Local<'_>) -> bool {
        let Some(slot) = self.dictionary.get(row.index as usize) else { return false };
        let Some(state) = slot.state.map(|at| &mut self.states[at as usize]) else {
            self.counts.refused += 1;
            return true;
        };
        let seq = slot.base.wrapping_add_signed(i64::from(row.seq));
        if !state.ready(local) {
            self.counts.refused += 1;
            return true;
        }
        match row.what {
            What::Gap(to, reason) => state.gap(seq, to, reason),
            What::Reading(value, source_time, received_time, start) => {
                let reading = Reading { series: state.series.clone(), value, source_time, received_time, seq };
                if start { state.start(reading, slot.base) } else { state.live(reading) }
            }
        }
        true
    }

    /// After a subscription ended: series that nobody here watches any more are forgotten, so that their numbers are
    /// not taken for a loss when somebody asks again. `sensors` narrows the walk; none means all.
    pub fn unwatch(&mut self, sensors: &[SensorId], fanout: &Fanout) {
        self.visit(sensors, |state| {
            state.resolve(fanout);
        });
    }

    /// Offers what is known as latest to a subscription that begins with it.
    pub fn start(&mut self, sensors: &[SensorId], filter: &Filter, subscription: &Subscription) {
        self.visit(sensors, |state| {
            if let (Some(latest), Some(last)) = (&state.latest, state.last)
                && !state.fenced
                && filter.matches(&state.series)
            {
                subscription.offer_start(latest.clone(), last);
            }
        });
    }

    /// What was received.
    pub fn counts(&self) -> LinkCounts {
        self.counts
    }

    fn visit(&mut self, sensors: &[SensorId], mut visit: impl FnMut(&mut State)) {
        if sensors.is_empty() {
            return self.states.iter_mut().for_each(visit);
        }
        for at in sensors.iter().filter_map(|sensor| self.by_sensor.get(sensor)).flatten() {
            visit(&mut self.states[*at as usize]);
        }
    }
}

// === impl State ===

impl State {
    fn new(series: Arc<Series>) -> Self {
        Self {
            series,
            last: None,
            latest: None,
            watchers: Watchers::default(),
            resolved_at: 0,
            checked_at: u64::MAX,
            fenced: false,
        }
    }

    /// Whether rows are to be delivered: somebody watches, and the claim is not beaten.
    fn ready(&mut self, local: &Local<'_>) -> bool {
        if self.resolved_at != local.fanout.generation() {
            self.resolve(local.fanout);
        }
        if self.checked_at != local.moves {
            self.checked_at = local.moves;
            self.fenced = (local.fenced)(&self.series);
        }
        !self.fenced && !self.watchers.list().is_empty()
    }

    fn resolve(&mut self, fanout: &Fanout) {
        self.resolved_at = fanout.generation();
        self.watchers = fanout.resolve(&self.series);
        if self.watchers.list().is_empty() {
            self.last = None;
            self.latest = None;
        }
    }

    fn live(&mut self, reading: Reading) {
        match self.last {
            Some(last) if reading.seq <= last => return,
            Some(last) => self.tell_between(last, reading.seq),
            None => {}
        }
        self.last = Some(reading.seq);
        for subscription in self.watchers.list() {
            subscription.offer(reading.clone());
        }
        self.keep(reading);
    }

    fn start(&mut self, reading: Reading, position: Seq) {
        match self.last {
            None => {
                self.last = Some(position);
                self.deliver_start(reading, position);
            }
            Some(last) if position <= last => {
                // After a loss before anything was heard, the gap came first.
                if self.latest.is_none() {
                    self.deliver_start(reading, position);
                }
            }
            Some(last) if reading.seq <= last => {
                self.tell_between(last, position + 1);
                self.last = Some(position);
            }
            Some(_) => {
                let seq = reading.seq;
                self.live(reading);
                self.tell_between(seq, position + 1);
                self.last = Some(position);
            }
        }
    }

    fn deliver_start(&mut self, reading: Reading, position: Seq) {
        for subscription in self.watchers.list().iter().filter(|s| s.contract().start == Start::Latest) {
            subscription.offer_start(reading.clone(), position);
        }
        self.keep(reading);
    }

    fn gap(&mut self, from: Seq, to: Seq, reason: GapReason) {
        let from = self.last.map_or(from, |last| from.max(last + 1));
        if from > to {
            return;
        }
        if let Some(last) = self.last {
            self.tell_between(last, from);
        }
        self.last = Some(to);
        self.tell(from, to, reason);
    }

    /// Whatever comes of the series after this, its readers have missed an unknown part.
    fn give_up(&mut self, fanout: &Fanout) {
        self.resolve(fanout);
        if let Some(last) = self.last {
            self.tell(last + 1, Seq::MAX, GapReason::Link);
        }
    }

    /// Tells the numbers between `last` and `next` as lost on the link, if there are any.
    fn tell_between(&self, last: Seq, next: Seq) {
        if next > last + 1 {
            self.tell(last + 1, next - 1, GapReason::Link);
        }
    }

    fn tell(&self, from: Seq, to: Seq, reason: GapReason) {
        for subscription in self.watchers.list() {
            let gap = Gap { series: self.series.clone(), from, to, reason };
            subscription.offer_many([Delivery::Gap(gap)]);
        }
    }

    fn keep(&mut self, reading: Reading) {
        let newer = |kept: &Reading| (kept.source_time, kept.seq) <= (reading.source_time, reading.seq);
        if self.latest.as_ref().is_none_or(newer) {
            self.latest = Some(reading);
        }
    }
}

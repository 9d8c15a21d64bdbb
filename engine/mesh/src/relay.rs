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
use senza_core::fanout::{Fanout, Outbox, SubscriptionId, Wanted, Watchers};
use senza_core::frame::{Entry, Frame, FrameWriter};
use senza_core::key::FILTER_ENTRIES_MAX;
use senza_core::row::Row;
use senza_core::subscription::{Contract, Ledger, Start, Subscription, Taken, Want};
use senza_core::{Filter, GapReason, Incarnation, Life, Micros, NodeName, SensorId, Seq, Series, Value};

/// Frames a receiver lets its sender be ahead of it: no more than the buffers of one connection hold, so that nothing is
/// dropped between where a busy receiver reads late.
pub const CREDIT_WINDOW: u64 = 48;
/// Bytes of one frame, about: small enough for one batch of the network, large enough that a wake-up of every thread on
/// the way costs little per reading.
pub const FRAME_BYTES: usize = 48 * 1024;
/// Readings queued for one destination; the oldest give way and are told as gaps.
pub const OUT_QUEUE_MAX: usize = 262_144;
/// Most filters of one node's interest, after merging.
pub const INTEREST_MAX: usize = 16_384;
/// A link without credit sends a frame all the same after so long: all that were on their way may be lost, and then
/// nobody would ever grant more.
const PROBE_US: Micros = 200_000;
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
    pub wanted: Vec<Wanted>,
}

// === impl Interest ===

impl Interest {
    /// Takes what all local subscriptions want. Answers whether the interest changed.
    pub fn update(&mut self, wanted: Vec<Wanted>) -> bool {
        let merged = merge(wanted);
        if merged == self.wanted {
            return false;
        }
        self.wanted = merged;
        self.version += 1;
        true
    }
}

/// Every reading of every sensor.
pub fn everything() -> Vec<Wanted> {
    vec![(Filter::all(), Want::EVERY)]
}

/// Drops duplicates and joins filters that name nothing but sensors and want the same of them. Beyond [`INTEREST_MAX`]
/// everything is asked for: the receiver's own filters still hold.
fn merge(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    let names_sensors_only = |filter: &Filter| {
        filter.is_narrow() && filter.attributes.is_empty() && filter.types.is_empty() && filter.nodes.is_empty()
    };
    let mut named: Vec<(Want, Vec<SensorId>)> = Vec::new();
    wanted.retain_mut(|(filter, want)| {
        let narrow = names_sensors_only(filter);
        if narrow {
            let at = named.iter().position(|(other, _)| other == want).unwrap_or_else(|| {
                named.push((*want, Vec::new()));
                named.len() - 1
            });
            named[at].1.append(&mut filter.sensors);
        }
        !narrow
    });
    for (want, mut sensors) in named {
        sensors.sort_unstable();
        sensors.dedup();
        let chunks = sensors.chunks(FILTER_ENTRIES_MAX);
        wanted.extend(chunks.map(|chunk| (Filter { sensors: chunk.to_vec(), ..Filter::default() }, want)));
    }
    // Equal filters stand together; what they want is joined.
    wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
    wanted.dedup_by(|(later, want), (filter, kept)| {
        let same = later == filter;
        if same {
            *kept = kept.join(*want);
        }
        same
    });
    if wanted.contains(&(Filter::all(), Want::EVERY)) || wanted.len() > INTEREST_MAX {
        return everything();
    }
    wanted
}

/// Another node's interest, held to the series that this node owns.
pub fn own_only(wanted: Vec<Wanted>, me: &NodeName) -> Vec<Wanted> {
    let own = |(filter, want): Wanted| {
        filter.may_match_node(me).then(|| (Filter { nodes: vec![me.clone()], ..filter }, want))
    };
    wanted.into_iter().filter_map(own).collect()
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
    wanted: Vec<Wanted>,
    writer: FrameWriter,
    /// Frames up to this number may be sent.
    credit: u64,
    /// When a frame was sent last.
    sent_at: Micros,
    /// Series still to be started: from this shard on, those that these filters did not match before.
    start: Option<StartStep>,
    taken: Taken,
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
    fn new(life: Life, now: Micros) -> Self {
        let contract = Contract { queue_max: OUT_QUEUE_MAX, reason: GapReason::Relay, ..Contract::default() };
        let state = OutState {
            id: None,
            interest: 0,
            wanted: Vec::new(),
            writer: FrameWriter::starting_at(now.unsigned_abs()),
            credit: CREDIT_WINDOW / 4,
            sent_at: now,
            start: None,
            taken: Taken::default(),
            sent: LinkCounts::default(),
        };
        Self { life, subscription: Arc::new(Subscription::new(contract)), state: Mutex::new(state) }
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

    /// Writes what is queued into frames, as far as credit goes, and hands each to `send`. `now` is a time that never
    /// goes back.
    pub fn pump(&self, incarnation: Incarnation, now: Micros, send: &mut dyn FnMut(Vec<u8>)) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        while state.writer.number() < state.credit || now - state.sent_at >= PROBE_US {
            if state.taken.is_empty() {
                self.subscription.take(&mut state.taken, usize::MAX);
                state.taken.defined().for_each(|series| state.writer.redefine(series));
            }
            if state.taken.is_empty() && state.writer.is_empty() {
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
            let mut message = Vec::with_capacity(FRAME_BYTES + 1024);
            codec::begin(codec::KIND_FRAME, incarnation, &mut message);
            let rows = state.writer.rows();
            state.writer.finish(&mut message);
            state.sent_at = now;
            state.sent.frames += 1;
            state.sent.readings += rows as u64;
            state.sent.bytes += (message.len() - codec::HEADER) as u64;
            send(message);
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
    pub fn ledger(&self) -> Ledger {
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
    /// The number of the last frame that came, whether it could be taken or not: what credit follows.
    came: u64,
    granted: u64,
    reset_asked: Micros,
    heard_at: Micros,
    /// Entries taken in this generation.
    entries: u64,
    /// Whether a frame of this generation was lost: numbers that a row leaves out may have been in it.
    lossy: bool,
    /// By the series' number on the link.
    dictionary: Vec<Slot>,
    states: Vec<State>,
    by_sensor: HashMap<SensorId, Vec<u32>, RandomState>,
    outbox: Outbox,
    counts: LinkCounts,
}

/// What a number on the link stands for.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Its place in `states`, less one; 0: nothing, or a series of an older claim than one heard on this link.
    state: u32,
    /// Whether an entry told it in this generation.
    told: bool,
    base: Seq,
}

/// What is known of one relayed series.
struct State {
    series: Arc<Series>,
    /// The last number heard of, while somebody here watches; 0 else.
    last: Seq,
    /// The latest reading, with the value that does not fit the row, while somebody here watches.
    latest: Option<(Row, Option<Value>)>,
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
            came: 0,
            granted: 0,
            reset_asked: Micros::MIN / 2,
            heard_at: 0,
            entries: 0,
            lossy: false,
            dictionary: Vec::new(),
            states: Vec::new(),
            by_sensor: HashMap::default(),
            outbox: Outbox::default(),
            counts: LinkCounts::default(),
        }
    }

    /// Takes one frame: checks its number, keeps its entries, and delivers its rows. `now` is a time that never goes
    /// back.
    ///
    /// # Errors
    /// As [`Frame::parse`] and [`Frame::rows`]; rows before the damage were delivered.
    pub fn frame(&mut self, body: &[u8], local: &Local<'_>, now: Micros) -> Result<After> {
        let frame = Frame::parse(body, &self.life.node)?;
        self.heard_at = now;
        self.came = self.came.max(frame.number);
        if !self.place(&frame) {
            let older = self.generation.is_some_and(|known| known > frame.generation);
            return Ok(self.after(older, now));
        }
        if frame.number <= self.number {
            return Ok(self.after(true, now));
        }
        self.counts.frames_lost += frame.number - self.number - 1;
        self.lossy |= frame.number != self.number + 1;
        self.number = frame.number;
        self.counts.frames += 1;
        self.counts.bytes += body.len() as u64;
        self.counts.readings += frame.len() as u64;
        if frame.entries_before != self.entries {
            // An entry was lost: any number may stand for another series now.
            self.counts.refused += frame.len() as u64;
            return Ok(self.after(false, now));
        }
        frame.entries.iter().for_each(|entry| self.enter(entry));
        self.outbox.begin(now);
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut unknown = false;
        let read = frame.rows(|row, value| unknown |= !self.row(row, value, local, &mut outbox));
        outbox.flush();
        self.outbox = outbox;
        read?;
        Ok(self.after(!self.lossy && !unknown, now))
    }

    /// Starts a new generation where the frame begins one. Answers whether the frame belongs to the present one.
    fn place(&mut self, frame: &Frame<'_>) -> bool {
        if self.generation == Some(frame.generation) {
            return true;
        }
        if frame.entries_before != 0 || self.generation.is_some_and(|known| known > frame.generation) {
            return false;
        }
        if self.generation.is_none() || frame.number <= self.number {
            // A link opened anew counts its frames from 1 again.
            self.granted = 0;
            self.came = frame.number;
        }
        self.generation = Some(frame.generation);
        self.number = frame.number.saturating_sub(1);
        self.entries = 0;
        self.lossy = false;
        self.dictionary.iter_mut().for_each(|slot| slot.told = false);
        true
    }

    fn after(&mut self, whole: bool, now: Micros) -> After {
        let reset = !whole && now - self.reset_asked >= RESET_US;
        if reset {
            self.reset_asked = now;
            self.counts.resets += 1;
        }
        let credit = (self.came + CREDIT_WINDOW / 2 >= self.granted).then_some(self.came + CREDIT_WINDOW);
        self.granted = credit.unwrap_or(self.granted);
        After { reset, credit }
    }

    fn enter(&mut self, entry: &Entry) {
        self.entries += 1;
        let series = &entry.series;
        let same = |states: &[State], at: &u32| states[*at as usize].series.attribute == series.attribute;
        let known = self.by_sensor.get(&series.sensor).and_then(|list| list.iter().find(|at| same(&self.states, at)));
        let state = match known.copied() {
            None => {
                let at = self.states.len() as u32;
                self.states.push(State::new(series.clone()));
                self.by_sensor.entry(series.sensor.clone()).or_default().push(at);
                at + 1
            }
            Some(at) => {
                let state = &mut self.states[at as usize];
                if state.series.epoch < series.epoch {
                    *state = State::new(series.clone());
                }
                if state.series.epoch == series.epoch { at + 1 } else { 0 }
            }
        };
        let at = entry.number as usize;
        if at >= self.dictionary.len() {
            self.dictionary.resize(at + 1, Slot::default());
        }
        self.dictionary[at] = Slot { state, told: true, base: entry.base };
    }

    /// Delivers one row. Answers false where the dictionary does not know it.
    fn row(&mut self, mut row: Row, value: Option<Value>, local: &Local<'_>, outbox: &mut Outbox) -> bool {
        let slot = self.dictionary.get(row.series as usize).copied().unwrap_or_default();
        if !slot.told {
            self.counts.refused += 1;
            return false;
        }
        row.seq = slot.base.wrapping_add(row.seq);
        let state = slot.state.checked_sub(1).map(|at| &mut self.states[at as usize]);
        let Some(state) = state.and_then(|state| state.ready(local).then_some(state)) else {
            self.counts.refused += 1;
            return true;
        };
        if row.is_gap() {
            state.gap(row, outbox);
        } else if row.is_start() {
            state.start(row, value, slot.base, outbox);
        } else {
            state.live(row, value, self.lossy, outbox);
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
    pub fn start(&mut self, sensors: &[SensorId], filter: &Filter, subscription: &Arc<Subscription>, fanout: &Fanout) {
        self.visit(sensors, |state| {
            if state.latest.is_none() || state.fenced || !filter.matches(&state.series) {
                return;
            }
            state.resolve(fanout);
            if let (Some((row, value)), Some(number)) = (&state.latest, state.watchers.number_in(subscription)) {
                subscription.offer_start(row.of(number), value.clone(), state.last);
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
            last: 0,
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
        // A narrow subscription leaves no trace in the fanout's log.
        self.watchers.reset();
        fanout.resolve(&self.series, &mut self.watchers);
        if self.watchers.list().is_empty() {
            self.last = 0;
            self.latest = None;
        }
    }

    /// `lossy`: numbers that the row leaves out by contract may have been in a lost frame as well.
    fn live(&mut self, row: Row, value: Option<Value>, lossy: bool, outbox: &mut Outbox) {
        if self.last != 0 {
            if row.seq <= self.last {
                return;
            }
            if !row.is_after_skip() || lossy {
                self.tell_between(self.last, row.seq, outbox);
            }
        }
        self.last = row.seq;
        for target in self.watchers.list() {
            outbox.add_row(target.subscription(), row.of(target.series()), value.as_ref());
        }
        self.keep(row, value);
    }

    fn start(&mut self, row: Row, value: Option<Value>, position: Seq, outbox: &mut Outbox) {
        if self.last == 0 {
            self.last = position;
            self.deliver_start(row, value, position, outbox);
        } else if position <= self.last {
            // After a loss before anything was heard, the gap came first.
            if self.latest.is_none() {
                self.deliver_start(row, value, position, outbox);
            }
        } else {
            if row.seq > self.last {
                self.live(row.plain(), value, true, outbox);
            }
            self.tell_between(self.last, position + 1, outbox);
            self.last = position;
        }
    }

    fn deliver_start(&mut self, row: Row, value: Option<Value>, position: Seq, outbox: &mut Outbox) {
        // What was gathered for these queues came before.
        outbox.flush();
        for target in self.watchers.list().iter().filter(|target| target.subscription().contract().start != Start::Live)
        {
            target.subscription().offer_start(row.of(target.series()), value.clone(), position);
        }
        self.keep(row.plain(), value);
    }

    fn gap(&mut self, row: Row, outbox: &mut Outbox) {
        let (mut from, to) = (row.seq, row.slot);
        if self.last != 0 {
            from = from.max(self.last + 1);
        }
        if from > to {
            return;
        }
        if self.last != 0 && !row.is_after_skip() {
            self.tell_between(self.last, from, outbox);
        }
        self.last = to;
        self.tell(from, to, row.gap_reason().unwrap_or(GapReason::Link), outbox);
    }

    /// Whatever comes of the series after this, its readers have missed an unknown part.
    fn give_up(&mut self, fanout: &Fanout) {
        self.resolve(fanout);
        if self.last != 0 {
            self.tell(self.last + 1, Seq::MAX, GapReason::Link, &mut Outbox::default());
        }
    }

    /// Tells the numbers between `last` and `next` as lost on the link, if there are any.
    fn tell_between(&self, last: Seq, next: Seq, outbox: &mut Outbox) {
        if next > last + 1 {
            self.tell(last + 1, next - 1, GapReason::Link, outbox);
        }
    }

    fn tell(&self, from: Seq, to: Seq, reason: GapReason, outbox: &mut Outbox) {
        outbox.flush();
        for target in self.watchers.list() {
            target.subscription().tell(target.series(), from, to, reason);
        }
    }

    fn keep(&mut self, row: Row, value: Option<Value>) {
        let newer = |kept: &Row| (kept.source_time, kept.seq) <= (row.source_time, row.seq);
        if self.latest.as_ref().is_none_or(|(kept, _)| newer(kept)) {
            self.latest = Some((row, value));
        }
    }
}

//! The receiving side of one link: checks numbers, tells what is missing, hands on what came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use senza_core::directory::PARTITIONS;
use senza_core::error::Result;
use senza_core::fanout::{Fanout, Outbox, Target, Watchers};
use senza_core::frame::{Entry, Frame, NUMBER_MAX};
use senza_core::hash::partition_of;
use senza_core::history::Sample;
use senza_core::reading::EndReason;
use senza_core::row::Row;
use senza_core::subscription::{Start, Subscription};
use senza_core::{Filter, GapReason, Life, Micros, SensorId, Seq, Series, Value};

use super::CREDIT_WINDOW;
use super::numbers::{Numbers, Slot};
use super::outgoing::LinkCounts;
use crate::latency::{ClockOffset, Latency};

/// A generation of so long named every series that its sender still has.
const STALE_US: Micros = 60_000_000;
/// A new generation is asked for at most this often per link.
const RESET_US: Micros = 100_000;

/// The receiving side of one link.
pub struct Incoming {
    /// Who sends.
    pub life: Life,
    generation: Option<u64>,
    generation_at: Micros,
    /// Whether series that this generation has not named yet are to be looked for when it is old.
    has_stale: bool,
    /// The number of the last frame taken.
    number: u64,
    /// The number of the last frame that came, whether it could be taken or not: what credit follows.
    came: u64,
    pub(super) granted: u64,
    reset_asked: Micros,
    pub(super) heard_at: Micros,
    /// Entries taken in this generation.
    entries: u64,
    /// Whether a frame of this generation was lost: numbers that a row leaves out may have been in it.
    lossy: bool,
    numbers: Numbers,
    states: Vec<Option<State>>,
    /// Places in `states` to be used again.
    free: Vec<u32>,
    by_sensor: HashMap<SensorId, Vec<u32>, RandomState>,
    outbox: Outbox,
    counts: LinkCounts,
    /// From the other's sending until frames were taken in.
    latency: Latency,
}

/// What is known of one relayed series.
struct State {
    series: Arc<Series>,
    /// How many numbers of the link stand for it; without any it is forgotten.
    numbers: u32,
    /// Whether this generation has not named it yet.
    stale: bool,
    /// The last number heard of, while somebody here watches; 0 else.
    last: Seq,
    /// The latest reading, with the value that does not fit the row, while somebody here watches.
    latest: Option<(Row, Option<Value>)>,
    watchers: Watchers,
    /// Who began with what the owner keeps, up to which number, while rows up to there may still be on their way.
    begun: Vec<(Arc<Subscription>, Seq)>,
    /// The fanout's generation at which the watchers were resolved.
    resolved_at: u64,
    /// The sensor's partition of the directory, and its count of moves when the claim was held against it.
    partition: u8,
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
    /// What the directory has seen.
    pub moves: &'a Moves,
    /// Whether a series stands under a beaten claim.
    pub fenced: &'a dyn Fn(&Series) -> bool,
    /// The time of day.
    pub time: Micros,
    /// By how much the sender's differs.
    pub clock: ClockOffset,
}

/// Counts changes of owners, by partition of the directory, and of lives: what a series was held against stands while
/// its count does.
#[derive(Debug)]
pub struct Moves {
    partitions: Box<[AtomicU64]>,
    lives: AtomicU64,
}

impl Default for Moves {
    fn default() -> Self {
        Self { partitions: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(), lives: AtomicU64::new(0) }
    }
}

impl Moves {
    /// A sensor has another owner, has one now, or has none any more.
    pub fn moved(&self, sensor: &str) {
        self.partitions[usize::from(partition_of(sensor))].fetch_add(1, Ordering::AcqRel);
    }

    /// A node came or went.
    pub fn life_changed(&self) {
        self.lives.fetch_add(1, Ordering::AcqRel);
    }

    fn of(&self, partition: u8) -> u64 {
        let of_partition = self.partitions[usize::from(partition)].load(Ordering::Acquire);
        of_partition.wrapping_add(self.lives.load(Ordering::Acquire))
    }
}

impl Incoming {
    pub(super) fn new(life: Life) -> Self {
        Self {
            life,
            generation: None,
            generation_at: 0,
            has_stale: false,
            number: 0,
            came: 0,
            granted: 0,
            reset_asked: Micros::MIN / 2,
            heard_at: 0,
            entries: 0,
            lossy: false,
            numbers: Numbers::default(),
            states: Vec::new(),
            free: Vec::new(),
            by_sensor: HashMap::default(),
            outbox: Outbox::default(),
            counts: LinkCounts::default(),
            latency: Latency::default(),
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
        self.drop_stale(now, local.fanout);
        if !self.place(&frame, now) {
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
        if frame.sent != 0 && !frame.is_empty() {
            let (sent, error) = local.clock.ours(frame.sent);
            self.latency.record(local.time.saturating_sub(sent), error, frame.len() as u64);
        }
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

    /// Whether a frame is of the present generation, and no walk over all series is due: then it costs its rows.
    pub fn goes_on_with(&self, body: &[u8], now: Micros) -> bool {
        let is_present = self.generation.is_some() && Frame::generation_of(body) == self.generation;
        is_present && !(self.has_stale && now - self.generation_at >= STALE_US)
    }

    /// Starts a new generation where the frame begins one. Answers whether the frame belongs to the present one.
    fn place(&mut self, frame: &Frame<'_>, now: Micros) -> bool {
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
        self.generation_at = now;
        self.has_stale = !self.by_sensor.is_empty();
        // A number of an earlier generation says nothing: its series may come again under another.
        self.states.iter_mut().flatten().for_each(|state| (state.numbers, state.stale) = (0, true));
        self.generation = Some(frame.generation);
        self.number = frame.number.saturating_sub(1);
        self.entries = 0;
        self.lossy = false;
        self.numbers.forget();
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
        let state = self.state_of(&entry.series);
        let before = self.numbers.get(entry.number).state;
        if let Some(known) = self.state_at(state) {
            known.numbers += u32::from(before != state);
            known.stale = false;
        }
        if before != state {
            self.let_go(before);
        }
        self.numbers.set(entry.number, Slot { state, told: true, base: entry.base });
    }

    /// The place of a series in `states`, and one; 0 where it is of an older claim than one heard on this link.
    fn state_of(&mut self, series: &Arc<Series>) -> u32 {
        let states = &self.states;
        let is_it =
            |at: &&u32| states[**at as usize].as_ref().is_some_and(|state| state.series.attribute == series.attribute);
        let known = self.by_sensor.get(&series.sensor).and_then(|list| list.iter().find(is_it)).copied();
        let Some(at) = known else { return self.new_state(series) };
        let Some(state) = self.state_at(at + 1) else { return 0 };
        match state.series.epoch.cmp(&series.epoch) {
            std::cmp::Ordering::Equal => at + 1,
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Less => {
                // Rows of the older claim may still come under their number: its state goes with that.
                if state.numbers == 0 {
                    self.drop_state(at);
                } else if let Some(list) = self.by_sensor.get_mut(&series.sensor) {
                    list.retain(|other| *other != at);
                }
                self.new_state(series)
            }
        }
    }

    fn new_state(&mut self, series: &Arc<Series>) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.states.push(None);
            (self.states.len() - 1) as u32
        });
        self.states[at as usize] = Some(State::new(series.clone()));
        self.by_sensor.entry(series.sensor.clone()).or_default().push(at);
        at + 1
    }

    fn state_at(&mut self, place: u32) -> Option<&mut State> {
        self.states.get_mut(place.checked_sub(1)? as usize)?.as_mut()
    }

    /// One number less stands for a series: without any, it ended at its owner, and is forgotten here.
    fn let_go(&mut self, place: u32) {
        let Some(state) = self.state_at(place) else { return };
        state.numbers -= 1;
        if state.numbers == 0 {
            self.drop_state(place - 1);
        }
    }

    /// Drops series that a generation, long enough to begin every series, never named: they ended while frames were lost,
    /// and with these their last readings may have been.
    fn drop_stale(&mut self, now: Micros, fanout: &Fanout) {
        if !self.has_stale || now - self.generation_at < STALE_US {
            return;
        }
        self.has_stale = false;
        let stale = |(at, state): (u32, &Option<State>)| state.as_ref().filter(|state| state.stale).map(|_| at);
        let stale: Vec<u32> = (0..).zip(&self.states).filter_map(stale).collect();
        for at in stale {
            self.states[at as usize].iter_mut().for_each(|state| state.give_up(fanout));
            self.drop_state(at);
        }
    }

    fn drop_state(&mut self, at: u32) {
        let Some(state) = self.states[at as usize].take() else { return };
        let sensor = state.series.sensor.clone();
        self.free.push(at);
        let emptied = self.by_sensor.get_mut(&sensor).is_some_and(|list| {
            list.retain(|other| *other != at);
            list.is_empty()
        });
        if emptied {
            self.by_sensor.remove(&sensor);
        }
    }

    /// Delivers one row. Answers false where the dictionary does not know it.
    fn row(&mut self, mut row: Row, value: Option<Value>, local: &Local<'_>, outbox: &mut Outbox) -> bool {
        let slot = self.numbers.get(row.series);
        if !slot.told {
            self.counts.refused += 1;
            return false;
        }
        row.seq = slot.base.wrapping_add(row.seq);
        if row.seq > NUMBER_MAX {
            self.counts.refused += 1;
            return true;
        }
        let state = slot.state.checked_sub(1).and_then(|at| self.states.get_mut(at as usize)?.as_mut());
        let mut ready = |state: &mut State| state.ready(local, outbox) || row.end_reason().is_some();
        let Some(state) = state.and_then(|state| ready(state).then_some(state)) else {
            self.counts.refused += 1;
            return true;
        };
        if row.is_gap() {
            state.gap(row, outbox);
        } else if let Some(reason) = row.end_reason() {
            state.end(row, reason, self.lossy, outbox);
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

    /// Begins series with what their owner keeps, in one subscription that waits for it; not those of beaten claims.
    pub fn begin<'a>(
        &mut self,
        starts: impl Iterator<Item = (&'a Arc<Series>, Seq, Vec<Sample>)>,
        subscription: &Arc<Subscription>,
        local: &Local<'_>,
    ) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for (series, position, samples) in starts {
            let place = self.state_of(series);
            let Some(state) = self.state_at(place) else { continue };
            if state.ready(local, &mut outbox)
                && let Some(number) = state.watchers.number_in(subscription)
            {
                let began = subscription.offer_history(number, &samples, position);
                if began && position > state.last {
                    state.begun.push((subscription.clone(), position));
                }
            }
        }
        outbox.flush();
        self.outbox = outbox;
    }

    /// Tells the readers of every series that an unknown part of it was lost.
    pub(super) fn give_up(&mut self, fanout: &Fanout) {
        self.visit(&[], |state| state.give_up(fanout));
    }

    /// How many series of the other node are known here: those that it sends, and those that ended and whose numbers were
    /// not used again yet.
    pub fn series(&self) -> usize {
        self.states.len() - self.free.len()
    }

    /// How long frames took from the other's sending until they were taken in, by their readings.
    pub fn latency(&self) -> Latency {
        self.latency.clone()
    }

    /// What was received.
    pub fn counts(&self) -> LinkCounts {
        self.counts
    }

    fn visit(&mut self, sensors: &[SensorId], mut visit: impl FnMut(&mut State)) {
        if sensors.is_empty() {
            return self.states.iter_mut().flatten().for_each(visit);
        }
        for at in sensors.iter().filter_map(|sensor| self.by_sensor.get(sensor)).flatten() {
            self.states[*at as usize].iter_mut().for_each(&mut visit);
        }
    }
}

// === impl State ===

impl State {
    fn new(series: Arc<Series>) -> Self {
        Self {
            partition: partition_of(series.sensor.as_str()),
            series,
            numbers: 0,
            stale: false,
            last: 0,
            latest: None,
            watchers: Watchers::default(),
            begun: Vec::new(),
            resolved_at: 0,
            checked_at: u64::MAX,
            fenced: false,
        }
    }

    /// Whether rows are to be delivered: somebody watches, and the claim is not beaten.
    fn ready(&mut self, local: &Local<'_>, outbox: &mut Outbox) -> bool {
        if self.resolved_at != local.fanout.generation() {
            // A number given back in resolving may still be in the outbox.
            outbox.flush();
            self.resolve(local.fanout);
        }
        let moves = local.moves.of(self.partition);
        if self.checked_at != moves {
            self.checked_at = moves;
            self.fenced = (local.fenced)(&self.series);
        }
        !self.fenced && !self.watchers.list().is_empty()
    }

    fn resolve(&mut self, fanout: &Fanout) {
        self.resolved_at = fanout.generation();
        // A narrow subscription leaves no trace in the fanout's log.
        self.watchers.reset();
        fanout.resolve(&self.series, &mut self.watchers);
        self.begun.retain(|(subscription, _)| self.watchers.number_in(subscription).is_some());
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
            self.tell_missing(row.seq, row.is_after_skip() && !lossy, GapReason::Link, outbox);
        } else if !row.is_after_skip() || lossy {
            self.tell_begun(row.seq, outbox);
        }
        self.last = row.seq;
        for target in self.watchers.list().iter().filter(|target| row.seq > self.begun_at(target)) {
            outbox.add_row(target.subscription(), row.of(target.series()), value.as_ref());
        }
        if !self.begun.is_empty() {
            self.begun.retain(|(_, position)| *position > row.seq);
        }
        self.keep(row, value);
    }

    /// The number up to which a subscription had all at its start.
    fn begun_at(&self, target: &Target) -> Seq {
        let begun = self.begun.iter().find(|(subscription, _)| Arc::ptr_eq(subscription, target.subscription()));
        begun.map_or(0, |(_, position)| *position)
    }

    /// Before the first row that is heard: tells who began already what is missing since.
    fn tell_begun(&self, next: Seq, outbox: &mut Outbox) {
        for (subscription, position) in &self.begun {
            if let Some(number) = self.watchers.number_in(subscription).filter(|_| next > position + 1) {
                outbox.flush();
                // The highest number stands for an end that nobody knows.
                let to = if next == Seq::MAX { next } else { next - 1 };
                subscription.tell(number, position + 1, to, GapReason::Link);
            }
        }
    }

    fn start(&mut self, row: Row, value: Option<Value>, position: Seq, outbox: &mut Outbox) {
        if self.last == 0 {
            self.tell_begun(position + 1, outbox);
            self.last = position;
            self.deliver_start(row, value, position, outbox);
            self.begun.retain(|(_, begun)| *begun > position);
        } else if position <= self.last {
            // After a loss before anything was heard, the gap came first.
            if self.latest.is_none() {
                self.deliver_start(row, value, position, outbox);
            }
        } else {
            if row.seq > self.last {
                self.live(row.plain(), value, true, outbox);
            }
            self.tell_missing(position + 1, false, GapReason::Link, outbox);
            self.last = position;
        }
    }

    fn deliver_start(&mut self, row: Row, value: Option<Value>, position: Seq, outbox: &mut Outbox) {
        // What was gathered for these queues came before.
        outbox.flush();
        let takes = |target: &&Target| match target.subscription().contract().start {
            Start::Live => false,
            Start::Latest => true,
            // Who began with what is kept has it; who asked nobody, as the owner was not there yet, begins with this.
            Start::Last(_) => self.begun_at(target) == 0,
            Start::Since(from) => self.begun_at(target) == 0 && row.source_time >= from,
        };
        for target in self.watchers.list().iter().filter(takes) {
            target.subscription().offer_start(row.of(target.series()), value.clone(), position);
        }
        self.keep(row.plain(), value);
    }

    fn gap(&mut self, row: Row, outbox: &mut Outbox) {
        let (mut from, to) = (row.seq, row.slot);
        if self.last != 0 {
            from = from.max(self.last.saturating_add(1));
        }
        if from > to {
            if self.last == 0 {
                self.last = to;
            }
            return;
        }
        if self.last != 0 {
            self.tell_missing(from, row.is_after_skip(), GapReason::Link, outbox);
        }
        self.last = to;
        self.tell(from, to, row.gap_reason().unwrap_or(GapReason::Link), outbox);
        self.begun.retain(|(_, position)| *position > to);
    }

    /// Nothing more of the series comes. What was refused of it, or lost, is told before.
    fn end(&mut self, row: Row, reason: EndReason, lossy: bool, outbox: &mut Outbox) {
        // Who begins to read now gets nothing of it.
        self.latest = None;
        if self.last == 0 {
            return self.end_begun(row.seq, reason, outbox);
        }
        if row.seq < self.last {
            return;
        }
        let why = if self.fenced { GapReason::Beaten } else { GapReason::Link };
        self.tell_missing(row.seq + 1, row.is_after_skip() && !self.fenced && !lossy, why, outbox);
        self.last = 0;
        outbox.flush();
        self.watchers.end(row.seq, reason);
    }

    /// The end, where nothing was heard but starts.
    fn end_begun(&mut self, last: Seq, reason: EndReason, outbox: &mut Outbox) {
        self.tell_begun(last + 1, outbox);
        for (subscription, _) in self.begun.drain(..) {
            if let Some(number) = self.watchers.number_in(&subscription) {
                subscription.end(number, last, reason);
            }
        }
    }

    /// Whatever comes of the series after this, its readers have missed an unknown part.
    fn give_up(&mut self, fanout: &Fanout) {
        self.resolve(fanout);
        if self.last == 0 {
            self.tell_begun(Seq::MAX, &mut Outbox::default());
        } else if self.last != Seq::MAX {
            self.tell(self.last + 1, Seq::MAX, GapReason::Link, &mut Outbox::default());
        }
    }

    /// Tells the numbers between the last one heard and `next` as lost, if there are any. What was left out by contract
    /// is a loss only to who wants every reading: its interest came to the owner after that.
    fn tell_missing(&self, next: Seq, left_out: bool, reason: GapReason, outbox: &mut Outbox) {
        if next <= self.last.saturating_add(1) {
            return;
        }
        if !left_out {
            return self.tell(self.last + 1, next - 1, reason, outbox);
        }
        for target in self.watchers.list().iter().filter(|target| target.wants_every()) {
            let from = self.last.max(self.begun_at(target)) + 1;
            if from < next {
                outbox.flush();
                target.subscription().tell(target.series(), from, next - 1, GapReason::Relay);
            }
        }
    }

    fn tell(&self, from: Seq, to: Seq, reason: GapReason, outbox: &mut Outbox) {
        outbox.flush();
        for target in self.watchers.list() {
            let from = from.max(self.begun_at(target).saturating_add(1));
            if from <= to {
                target.subscription().tell(target.series(), from, to, reason);
            }
        }
    }

    fn keep(&mut self, row: Row, value: Option<Value>) {
        let newer = |kept: &Row| (kept.source_time, kept.seq) <= (row.source_time, row.seq);
        if self.latest.as_ref().is_none_or(|(kept, _)| newer(kept)) {
            self.latest = Some((row, value));
        }
    }
}

#[cfg(test)]
mod tests;

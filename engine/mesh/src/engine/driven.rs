//! What drives an engine from outside: events of the transport, ticks, links to be pumped; and what ownership asks of
//! the engine around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use senza_core::codec::{Message, Question};
use senza_core::directory::{Change, Listed, Owner};
use senza_core::fanout::{SubscriptionId, Wanted, Watchers};
use senza_core::fault::Fault;
use senza_core::frame::{DeliveryWriter, Dictionary, ROWS_MAX};
use senza_core::history::Sample;
use senza_core::reading::EndReason;
use senza_core::{
    Delivery, Epoch, Life, Micros, NodeName, Reading, Result, SensorId, Seq, Series, codec, fault, frame,
};

use super::losses::FLAPPING_LOSSES;
use super::mode::Mode;
use super::sensors::tell_end;
use super::{Engine, HEALS_MAX, Happening, PACE_US};
use crate::counters::count;
use crate::ownership::contest::HealReport;
use crate::ownership::{Effect, Host};
use crate::relay::{After, Local, Outgoing, everything, own_only};
use crate::transport::{Class, Event, MESSAGE_MAX};
/// Who puts sends to so many links at most, and to no other once it took so long; the others' threads are woken.
const RELIEVED_MAX: usize = 4;
const RELIEVING_US: Micros = 200;

/// A frame has to be taken by a thread that may wait.
#[derive(Debug)]
pub struct Busy;

/// How many readings of an answer one message holds, the newest: they are asked for.
fn fitting(readings: &[Reading]) -> usize {
    let mut bytes = 0;
    let fits = |reading: &&Reading| {
        bytes += 24 + reading.value.bytes_beside();
        bytes <= MESSAGE_MAX / 2
    };
    readings.iter().rev().take(ROWS_MAX - 1).take_while(fits).count()
}

impl Engine {
    /// Has `wake` called whenever a [`tick`](Self::tick) is wanted soon. It must return at once.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.wake.write() = Some(Box::new(wake));
    }

    /// Takes one event of the transport. Answers the link that wants to be pumped from now on, where one was opened.
    pub fn handle(&self, event: &Event) -> Option<Arc<Outgoing>> {
        let now = self.clock.steady();
        if self.mode() == Mode::Local {
            return None;
        }
        let effects = match event {
            Event::Token(life) => self.ownership.lock().token(life, &self.directory, now, self),
            Event::TokenGone(life) => self.ownership.lock().token_gone(life, &self.directory, now, self),
            Event::Message { class: Class::Frame, .. } => {
                if let Some((life, after)) = self.take_frame(event) {
                    self.answer_frame(&life, &after);
                }
                return None;
            }
            Event::Message { from, bytes, .. } => return self.message(from, bytes, now),
        };
        self.effects(effects);
        None
    }

    /// Flushes changes, sends what is due, notices silence. Answers when it wants to be called again at the latest, in
    /// [steady](crate::clock::Clock::steady) time.
    pub fn tick(&self) -> Micros {
        let next = self.tick_ownership();
        // After the effects: a node that is down takes its watchers with it.
        let more = self.followers.any() && self.followers.look(|sensor, epoch| self.see(sensor, epoch));
        if more { self.clock.steady() } else { next }
    }

    pub(super) fn tick_ownership(&self) -> Micros {
        let now = self.clock.steady();
        self.dirty.store(false, Ordering::Release);
        let mut ownership = self.ownership.lock();
        if self.mode() == Mode::Local {
            return ownership.tick_alone(&self.directory, now).min(self.release_due(now));
        }
        let effects = ownership.tick(&self.directory, now, self);
        let next = ownership.next_tick(now).min(self.release_due(now));
        drop(ownership);
        self.effects(effects);
        if self.interest_changed.swap(false, Ordering::AcqRel) {
            self.update_interest();
        }
        next.min(self.ask_starts(now))
    }

    /// Hands out readings that contracts held back until now. Answers when the next ones will be due, if they are known
    /// to be, within a while.
    pub(super) fn release_due(&self, now: Micros) -> Micros {
        if !self.paces.load(Ordering::Acquire) {
            return Micros::MAX;
        }
        // A subscription that is added meanwhile sets it again.
        self.paces.store(false, Ordering::Release);
        let paced = self.fanout.paced();
        self.paces.fetch_or(!paced.is_empty(), Ordering::AcqRel);
        let due = paced.iter().filter_map(|subscription| subscription.release_due(now)).min();
        // What is put meanwhile may be due sooner.
        due.unwrap_or(Micros::MAX).clamp(now + PACE_US, now + 20 * PACE_US)
    }

    /// Sends what is queued for one link, as far as its credit goes.
    pub fn pump(&self, link: &Outgoing) {
        let node = &link.life.node;
        while let Some(step) = link.start_step() {
            let mut start = |series: &Arc<Series>, last_seq: Seq, latest: Option<&Sample>, watchers: &mut Watchers| {
                if step.starts(series) {
                    watchers.reset();
                    self.start_series(link.subscription(), series, (last_seq, latest), watchers);
                }
            };
            match &step.sensors {
                Some(sensors) => sensors.iter().for_each(|sensor| self.table.visit_sensor(sensor.as_str(), &mut start)),
                None => self.table.visit_series(step.shard, &mut start),
            }
            link.stepped(&step, self.table.shard_count());
        }
        link.pump(self.me.incarnation, self.clock.as_ref(), &mut |message| {
            self.transport.send(node, Class::Frame, Bytes::from(message));
        });
    }

    /// After a put: what it queued for links whose threads sleep is sent, or they are woken. One load where there is none.
    #[inline]
    pub(super) fn relieve_links(&self) {
        if self.relay.is_rung() {
            self.relieve_rung();
        }
    }

    #[cold]
    fn relieve_rung(&self) {
        let left: Vec<_> = self.relay.all_outgoing().into_iter().filter(|link| link.is_left()).collect();
        let (own, others) = left.split_at(left.len().min(RELIEVED_MAX));
        others.iter().for_each(|link| link.nudge());
        let begin = self.clock.steady();
        for link in own {
            if self.clock.steady() - begin > RELIEVING_US {
                link.nudge();
                continue;
            }
            link.relieve(self.me.incarnation, self.clock.as_ref(), &mut |message| {
                self.transport.send(&link.life.node, Class::Frame, Bytes::from(message));
            });
        }
    }

    /// The links that want to be pumped.
    pub fn outgoing(&self) -> Vec<Arc<Outgoing>> {
        self.relay.all_outgoing()
    }

    /// Says farewell to all nodes and closes the transport.
    pub fn close(&self) {
        let bye = self.ownership.lock().bye();
        self.transport.broadcast(Bytes::from(bye));
        for link in self.relay.all_outgoing() {
            link.close(&self.fanout);
        }
        self.transport.close();
    }

    pub(super) fn message(&self, from: &NodeName, bytes: &Bytes, now: Micros) -> Option<Arc<Outgoing>> {
        let Ok((incarnation, message)) = codec::decode(bytes) else {
            count(&self.counters.messages_refused);
            return None;
        };
        let life = Life { node: from.clone(), incarnation };
        match message {
            Message::Frame(_) => count(&self.counters.messages_refused),
            Message::Credit(up_to) => self.relay.outgoing(from).filter(|link| link.life == life)?.grant(up_to),
            Message::Reset => self.relay.outgoing(from).filter(|link| link.life == life)?.reset(now),
            Message::Interest { version, wanted } => return self.interest(&life, version, wanted, now),
            Message::Ask(id, question) => self.answer_to(from, id, &question),
            Message::Answer(id, body) => self.answered(from, id, body),
            Message::StartAsk(ask) => self.answer_start(&life, &ask),
            Message::StartPart(part) => self.start_part(&life, &part, now),
            message => {
                let mut ownership = self.ownership.lock();
                if self.mode() == Mode::Local {
                    return None;
                }
                let effects = ownership.message(&life, message, bytes, &self.directory, now, self);
                drop(ownership);
                self.effects(effects);
            }
        }
        None
    }

    /// What comes from another node is held against this.
    pub(super) fn with_local<T>(&self, life: &Life, take: impl FnOnce(&Local<'_>) -> T) -> T {
        let fences = self.mode() == Mode::Cluster;
        let fenced = |series: &Series| {
            let owner = self.directory.owner_of(series.sensor.as_str());
            fences
                && owner.is_some_and(|owner| {
                    senza_core::directory::beats((owner.epoch, &owner.life.node), (series.epoch, &series.node))
                })
        };
        let (time, clock) = (self.clock.now(), self.clock_of(&life.node));
        let local = Local { fanout: &self.fanout, moves: &self.moves, fenced: &fenced, time, clock };
        take(&local)
    }

    /// Takes a frame of readings, and nothing else. Answers its sender, where that is to be told something
    /// ([`answer_frame`](Self::answer_frame)). Sends nothing; may wait for whoever walks all series of the link.
    pub fn take_frame(&self, event: &Event) -> Option<(Life, After)> {
        let (life, body) = self.frame_of(event)?;
        let (link, now) = (self.relay.incoming(&life), self.clock.steady());
        let taken = self.with_local(&life, |local| link.lock().frame(body, local, now));
        self.after_frame(life, taken)
    }

    /// [`take_frame`](Self::take_frame) for a thread that must not wait: [`Busy`] where it would have to, or where the
    /// frame is one of the few that cost more than their rows.
    pub fn try_take_frame(&self, event: &Event) -> std::result::Result<Option<(Life, After)>, Busy> {
        let Some((life, body)) = self.frame_of(event) else { return Ok(None) };
        let (link, now) = (self.relay.try_incoming(&life.node).ok_or(Busy)?, self.clock.steady());
        let taken = self.with_local(&life, |local| {
            let mut link = link.try_lock().filter(|link| link.life == life && link.goes_on_with(body, now))?;
            Some(link.frame(body, local, now))
        });
        Ok(self.after_frame(life, taken.ok_or(Busy)?))
    }

    fn frame_of<'a>(&self, event: &'a Event) -> Option<(Life, &'a [u8])> {
        let Event::Message { from, class: Class::Frame, bytes } = event else { return None };
        if self.mode() == Mode::Local {
            return None;
        }
        let Ok((incarnation, Message::Frame(body))) = codec::decode(bytes) else {
            count(&self.counters.messages_refused);
            return None;
        };
        Some((Life { node: from.clone(), incarnation }, body))
    }

    fn after_frame(&self, life: Life, taken: Result<After>) -> Option<(Life, After)> {
        if taken.is_err() {
            count(&self.counters.frames_refused);
        }
        taken.ok().filter(|after| *after != After::default()).map(|after| (life, after))
    }

    /// Tells the sender of a frame what is wanted of it after that.
    pub fn answer_frame(&self, life: &Life, after: &After) {
        if after.reset {
            self.send(&life.node, Class::Control, &Message::Reset);
        }
        if let Some(up_to) = after.credit {
            self.send(&life.node, Class::Control, &Message::Credit(up_to));
        }
    }

    pub(super) fn interest(
        &self,
        life: &Life,
        version: u64,
        wanted: Vec<Wanted>,
        now: Micros,
    ) -> Option<Arc<Outgoing>> {
        if !self.directory.is_up(life) {
            return None;
        }
        let known = self.relay.outgoing(&life.node).filter(|link| link.life == *life);
        let link = known.clone().unwrap_or_else(|| self.relay.open(life, now));
        self.paces.fetch_or(wanted.iter().any(|(_, want)| want.may_hold_back()), Ordering::AcqRel);
        let touched = link.set_interest(version, own_only(wanted, &self.me.node), &self.fanout);
        self.visit(&touched, &mut |_, _, _, watchers| watchers.reset());
        self.demands_may_differ();
        link.nudge();
        known.is_none().then_some(link)
    }

    pub(super) fn answer_to(&self, from: &NodeName, id: u64, question: &Question) {
        let mut readings = self.answer(question);
        let readings = readings.split_off(readings.len() - fitting(&readings));
        let readings: Vec<Delivery> = readings.into_iter().map(Delivery::Reading).collect();
        let mut message = Vec::new();
        codec::begin(codec::KIND_ANSWER, self.me.incarnation, &mut message);
        message.extend_from_slice(&id.to_le_bytes());
        if !readings.is_empty() {
            DeliveryWriter::default().write(&readings, usize::MAX, &mut message);
        }
        self.transport.send(from, Class::Bulk, Bytes::from(message));
    }

    pub(super) fn answered(&self, from: &NodeName, id: u64, body: &[u8]) {
        let Some(answer) = self.questions.lock().waiting.remove(&id) else { return };
        let deliveries =
            if body.is_empty() { Ok(Vec::new()) } else { frame::read_all(body, from, &mut Dictionary::new()) };
        let Ok(deliveries) = deliveries else { return count(&self.counters.frames_refused) };
        let readings = deliveries.into_iter().filter_map(|delivery| match delivery {
            Delivery::Reading(reading) => Some(reading),
            _ => None,
        });
        // Whoever asked may have given up meanwhile.
        let _sent = answer.send(readings.collect());
    }

    pub(super) fn effects(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(node, class, message) => {
                    self.transport.send(&node, class, Bytes::from(message));
                }
                Effect::Broadcast(message) => self.transport.broadcast(Bytes::from(message)),
                Effect::Up(life) => {
                    tracing::info!(node = %life.node, incarnation = life.incarnation, "node up");
                    self.send_interest_again(&life.node);
                }
                Effect::Clock(life, offset) => self.set_clock_of(&life, offset),
                Effect::Down(life) => {
                    tracing::info!(node = %life.node, incarnation = life.incarnation, "node down");
                    self.set_clock_of(&life, None);
                    self.shut(&life.node);
                }
                Effect::Forgotten(life) => self.relay.forget(&life, &self.fanout),
                Effect::Lost { sensor, epoch, winner } => self.lose(&sensor, epoch, &winner),
                Effect::Healed(report) => self.healed(report),
                Effect::Twin(rival) => *self.rival.lock() = Some(rival),
                Effect::Link { life, credit, interest } => {
                    if let Some(link) = self.relay.outgoing(&life.node).filter(|link| link.life == life) {
                        link.grant(credit);
                    }
                    if self.interest.lock().version != interest {
                        self.send_interest_again(&life.node);
                    }
                }
            }
        }
    }

    pub(super) fn shut(&self, node: &NodeName) {
        if let Some(link) = self.relay.shut(node) {
            let touched = link.close(&self.fanout);
            self.visit(&touched, &mut |_, _, _, watchers| watchers.reset());
            self.demands_may_differ();
        }
    }

    /// Drops this node's copy of a sensor whose claim is beaten.
    pub(super) fn lose(&self, sensor: &SensorId, epoch: Epoch, winner: &Owner) {
        let _stripe = self.stripe(sensor.as_str());
        self.table.remove_with(sensor.as_str(), epoch, tell_end(EndReason::Moved));
        if self.directory.release(sensor.as_str(), epoch, &mut |change| self.changed(&change)) {
            count(&self.counters.lost);
            tracing::info!(%sensor, winner = %winner.life.node, "sensor moved to another node");
            self.wake_for(&self.dirty);
            self.remember_loss(sensor, epoch, &winner.life.node);
        }
        self.demands_may_differ();
    }

    pub(super) fn remember_loss(&self, sensor: &SensorId, epoch: Epoch, winner: &NodeName) {
        let lost = self.losses.lock().add(sensor, (epoch, winner), self.clock.now(), self.clock.steady());
        if lost.times == FLAPPING_LOSSES {
            count(&self.counters.flapping);
            tracing::warn!(%sensor, %winner, times = lost.times, "sensor goes to and fro: do two devices use one id?");
        }
        if let Some(sender) = self.tell_lost.read().as_ref()
            && let Err(crossbeam_channel::TrySendError::Full(_)) = sender.try_send(lost)
        {
            count(&self.counters.events_lost);
        }
    }

    pub(super) fn healed(&self, report: Arc<HealReport>) {
        let (node, total) = (&report.node.node, report.total);
        if total > 0 {
            tracing::warn!(%node, total, "sensors were claimed by two nodes; each has one owner now");
        }
        let mut heals = self.heals.lock();
        if heals.len() >= HEALS_MAX {
            heals.pop_front();
        }
        heals.push_back(report.clone());
        drop(heals);
        self.tell(&Happening::Healed(report));
    }

    pub(super) fn update_interest(&self) {
        let readers: Vec<SubscriptionId> = self.readers.lock().iter().copied().collect();
        let mut wanted = self.fanout.wanted_by(readers.into_iter());
        wanted.retain(|(filter, _)| filter.nodes.is_empty() || filter.nodes.iter().any(|node| *node != self.me.node));
        if self.interest.lock().update(wanted) {
            for life in self.directory.lives_up().into_iter().filter(|life| *life != self.me) {
                self.send_interest(&life.node);
            }
        }
    }

    pub(super) fn send_interest_again(&self, node: &NodeName) {
        if !fault::is_on(Fault::StaleInterest) {
            self.send_interest(node);
        }
    }

    pub(super) fn send_interest(&self, node: &NodeName) {
        let interest = self.interest.lock();
        if interest.version == 0 {
            return;
        }
        let encode = |wanted: &[Wanted]| {
            let message = Message::Interest { version: interest.version, wanted: wanted.to_vec() };
            codec::encode(self.me.incarnation, &message)
        };
        let mut message = encode(&interest.wanted);
        if message.len() > MESSAGE_MAX {
            // What does not fit is asked for as a whole: the receiver's own filters still hold.
            message = encode(&everything());
        }
        drop(interest);
        self.transport.send(node, Class::Control, Bytes::from(message));
    }

    pub(super) fn send(&self, node: &NodeName, class: Class, message: &Message<'_>) {
        self.transport.send(node, class, Bytes::from(codec::encode(self.me.incarnation, message)));
    }

    pub(super) fn wake_for(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::AcqRel)
            && let Some(wake) = self.wake.read().as_ref()
        {
            wake();
        }
    }
}

impl Host for Engine {
    fn link(&self, node: &NodeName) -> (u64, u64) {
        self.relay.link(node)
    }

    fn heard_at(&self, life: &Life) -> Micros {
        self.relay.heard_at(life)
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    fn came_or_went(&self, life: &Life, up: bool) {
        self.moves.life_changed();
        self.tell(&if up { Happening::NodeUp(life.clone()) } else { Happening::NodeDown(life.clone()) });
    }

    fn changed(&self, change: &Change<'_>) {
        if change.is_other_owner() {
            self.moves.moved(change.sensor);
        }
        if self.happenings.read().is_empty() {
            return;
        }
        let Ok(sensor) = SensorId::new(change.sensor) else { return };
        let listed = |owner| Listed { sensor, sensor_type: change.sensor_type(), owner };
        match (change.before(), change.after()) {
            (None, Some(owner)) => self.tell(&Happening::Registered(listed(owner))),
            (Some(owner), None) => self.tell(&Happening::Unregistered(listed(owner))),
            (Some(previous), Some(after)) if change.is_move() => {
                self.tell(&Happening::Moved { now: listed(after), previous });
            }
            _ => {}
        }
    }
}

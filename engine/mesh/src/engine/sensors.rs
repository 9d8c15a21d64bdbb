//! What an engine does to sensors of its own node: register, put, end, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use senza_core::codec::{Message, Question};
use senza_core::directory::{Change, Claimed};
use senza_core::fanout::{Fanout, Outbox, Watchers};
use senza_core::history::Sample;
use senza_core::reading::{EndReason, Reading};
use senza_core::subscription::{Overflow, Subscription};
use senza_core::table::{AttributeIndex, Deliver, Handle, NamedPoint, Point, Registration, SensorView};
use senza_core::{AttributeId, Epoch, Error, Micros, Result, SensorId, Seq, Series, Value};
use tokio::sync::oneshot;

use super::mode::Mode;
use super::{Engine, OnConflict, QUESTIONS_MAX, STRIPES, Sensor};
use crate::counters::count;
use crate::ownership::Host;
use crate::transport::Class;
/// Gathers what a run of puts delivers.
struct Delivering<'a> {
    fanout: &'a Fanout,
    outbox: &'a mut Outbox,
}

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.fanout.collect(series, sample, watchers, self.outbox);
    }

    fn run_ended(&mut self) {
        self.outbox.flush();
    }
}

impl Engine {
    /// Registers a sensor here, or adds one registration where it is here already. Table and directory change under
    /// one lock per sensor; allocates; awaits nothing.
    ///
    /// # Errors
    /// [`Error::NotOwner`] where another node owns it and the policy is to refuse; [`Error::HeldOff`] where it took it
    /// from here just now; [`Error::Full`] at a bound.
    pub fn claim(&self, sensor: &Sensor, on_conflict: OnConflict) -> Result<(Handle, Epoch)> {
        let _stripe = self.stripe(sensor.id.as_str());
        let now = self.clock.now();
        let shadow = self.mode() == Mode::Shadow;
        if on_conflict == OnConflict::Takeover && !shadow {
            self.check_holdoff(sensor.id.as_str())?;
        }
        let takeover = on_conflict != OnConflict::Refuse || shadow;
        let changed = &mut |change: Change<'_>| self.changed(&change);
        let claimed = self.directory.claim(&sensor.id, &sensor.sensor_type, takeover, now.unsigned_abs(), changed)?;
        let (epoch, fresh) = match claimed {
            Claimed::Held(epoch) => (epoch, false),
            Claimed::New { epoch, from } => {
                if from.is_some() {
                    count(&self.counters.taken_over);
                    self.drop_beaten_copy(sensor.id.as_str());
                }
                (epoch, true)
            }
            Claimed::Refused(owner) => {
                return Err(Error::NotOwner { sensor: sensor.id.to_string(), node: owner.life.node });
            }
        };
        let registration = Registration {
            sensor: sensor.id.clone(),
            sensor_type: sensor.sensor_type.clone(),
            epoch,
            node: self.me.node.clone(),
            meta: sensor.meta.clone(),
        };
        let registered = self.table.register(registration, now);
        if registered.is_err() && fresh {
            self.directory.release(sensor.id.as_str(), epoch, &mut |change| self.changed(&change));
        }
        if fresh {
            count(&self.counters.registered);
            self.wake_for(&self.dirty);
            self.demands_may_differ();
        }
        registered.map(|handle| (handle, epoch))
    }

    /// Ends one registration of a claim; the last one's end unregisters the sensor.
    pub fn release(&self, sensor: &str, epoch: Epoch) -> bool {
        let _stripe = self.stripe(sensor);
        let ended = self.table.release_with(sensor, epoch, tell_end(EndReason::Unregistered));
        ended && self.end_claim(sensor, epoch)
    }

    /// Unregisters a sensor of this node, whatever its registrations. Answers whether it was here.
    pub fn unregister(&self, sensor: &str) -> bool {
        let _stripe = self.stripe(sensor);
        let Some(view) = self.table.view(sensor) else { return false };
        let ended = self.table.remove_with(sensor, view.epoch, tell_end(EndReason::Unregistered));
        ended && self.end_claim(sensor, view.epoch)
    }

    /// A claim of ours that was beaten may have left its copy, where nothing is fenced or the loss was not carried out
    /// yet: a new claim begins anew.
    pub(super) fn drop_beaten_copy(&self, sensor: &str) {
        if let Some(view) = self.table.view(sensor) {
            self.table.remove_with(sensor, view.epoch, tell_end(EndReason::Moved));
        }
    }

    /// Refuses to take a sensor back from the node that took it over just now.
    pub(super) fn check_holdoff(&self, sensor: &str) -> Result<()> {
        let Some(lost_at) = self.losses.lock().lost_at(sensor) else { return Ok(()) };
        let left = lost_at + self.takeover_holdoff_us - self.clock.steady();
        let owner = self.directory.owner_of(sensor).filter(|owner| left > 0 && !owner.local);
        let Some(owner) = owner else { return Ok(()) };
        count(&self.counters.takeovers_held_off);
        let left_ms = left.unsigned_abs().div_ceil(1000);
        Err(Error::HeldOff { sensor: sensor.to_owned(), node: owner.life.node, left_ms })
    }

    /// What a reading for a claim that ended is to be told, counted where it comes late: another node took the sensor
    /// over.
    pub fn late(&self, sensor: &str) -> Error {
        match self.directory.owner_of(sensor).filter(|owner| !owner.local) {
            Some(owner) => {
                count(&self.counters.readings_late);
                Error::NotOwner { sensor: sensor.to_owned(), node: owner.life.node }
            }
            None => Error::Unregistered,
        }
    }

    pub(super) fn end_claim(&self, sensor: &str, epoch: Epoch) -> bool {
        let ended = self.directory.release(sensor, epoch, &mut |change| self.changed(&change));
        count(&self.counters.unregistered);
        self.wake_for(&self.dirty);
        self.demands_may_differ();
        ended
    }

    pub(super) fn stripe(&self, sensor: &str) -> parking_lot::MutexGuard<'_, ()> {
        self.registrations[senza_core::hash::xxh64(sensor.as_bytes()) as usize % STRIPES].lock()
    }

    /// Marks attributes, of all sensors, of which no reading may be conflated, rate-limited or left out by a deadband: an
    /// ECG, a button. Series that are there already stay as they are: call it first.
    pub fn mark_lossless(&self, attributes: impl IntoIterator<Item = AttributeId>) {
        self.table.mark_lossless(attributes);
    }

    /// The place of an attribute of a registered sensor; made at its first use.
    ///
    /// # Errors
    /// As [`Table::attribute`](senza_core::table::Table::attribute).
    pub fn attribute(&self, handle: Handle, attribute: &str) -> Result<AttributeIndex> {
        let place = self.table.attribute(handle, attribute);
        self.note_attributes();
        place
    }

    /// Takes one reading by handle. One shard lock, and one queue lock per subscription of its series; for numbers and
    /// truth values no allocation.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle, [`Error::ValueTooLarge`].
    pub fn put(&self, point: Point) -> Result<Seq> {
        let deliver = |series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers| {
            self.deliver(series, sample, watchers);
        };
        let taken = point.value.check().and_then(|()| self.table.put(point, self.clock.now(), deliver));
        self.relieve_links();
        self.count_put(taken)
    }

    /// [`put`](Self::put) with the attribute's id, which is made at its first use, at that time, or now. One shard lock for
    /// both, and queue locks as there.
    ///
    /// # Errors
    /// As [`put`](Self::put), and as [`attribute`](Self::attribute).
    pub fn put_named(&self, handle: Handle, attribute: &str, value: Value, source_time: Option<Micros>) -> Result<Seq> {
        let taken = value.check().and_then(|()| {
            let now = self.clock.now();
            let deliver = |series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers| {
                self.deliver(series, sample, watchers);
            };
            self.table.put_named((handle, attribute), value, source_time.unwrap_or(now), now, deliver)
        });
        self.relieve_links();
        self.note_attributes();
        self.count_put(taken)
    }

    /// Hands on what was put. The clock is read where somebody wants it.
    #[inline]
    fn deliver(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        if !self.fanout.is_unwatched(watchers) {
            self.fanout.deliver(series, sample, watchers, self.clock.steady());
        }
    }

    /// [`put`](Self::put) that waits for the readers of this node whose contract asks writers to
    /// ([`Overflow::Block`]), each at most as long as it says. Blocks the thread; nobody else.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_wait(&self, point: Point) -> Result<Seq> {
        let mut blocking: Vec<(Arc<Subscription>, u32)> = Vec::new();
        self.table.visit_handle(point.handle, point.attribute, |series, watchers| {
            for target in self.fanout.targets(series, watchers) {
                if let Overflow::Block { wait_us } = target.subscription().contract().overflow {
                    blocking.push((target.subscription().clone(), wait_us));
                }
            }
        })?;
        for (subscription, wait_us) in blocking {
            subscription.wait_for_room(std::time::Duration::from_micros(u64::from(wait_us)));
        }
        self.put(point)
    }

    /// Takes many readings by handle. The clock is read once; a run of points of one shard costs one lock, and one of
    /// every queue that it goes to: scattered points are sorted by shard first. Order is kept per sensor. Answers how
    /// many were refused: stale handles.
    pub fn put_many(&self, points: &[Point]) -> usize {
        let refused = self.delivering(|now, delivering| self.table.put_runs(points, now, delivering));
        self.count_puts(points.len(), refused);
        refused
    }

    /// Takes many readings by ids, for whoever has no handles: sorted by shard, so that it costs about half of putting
    /// them singly. Answers those that were refused, by their place in `points`; order is kept per series. Otherwise as
    /// [`put_many`](Self::put_many).
    pub fn put_many_by_id(&self, points: &[NamedPoint<'_>]) -> Vec<(usize, Error)> {
        if points.iter().any(|point| point.value.check().is_err()) {
            let put = |point: &NamedPoint<'_>| {
                self.put_by_id(point.sensor, point.attribute, point.value.clone(), Some(point.source_time))
            };
            return points.iter().enumerate().filter_map(|(at, point)| Some((at, put(point).err()?))).collect();
        }
        let refused = self.delivering(|now, delivering| self.table.put_many_by_id(points, now, delivering));
        self.note_attributes();
        self.count_puts(points.len(), refused.len());
        let reason = |(at, error): (usize, Error)| (at, self.why_not_here(error, points[at].sensor));
        refused.into_iter().map(reason).collect()
    }

    /// Has readings put and hands on what they deliver, one lock of a queue per run.
    fn delivering<T>(&self, put: impl FnOnce(Micros, &mut Delivering<'_>) -> T) -> T {
        let mut outbox = self.outboxes.lock().pop().unwrap_or_default();
        outbox.begin(self.clock.steady());
        let done = put(self.clock.now(), &mut Delivering { fanout: &self.fanout, outbox: &mut outbox });
        self.outboxes.lock().push(outbox);
        self.relieve_links();
        done
    }

    fn count_puts(&self, all: usize, refused: usize) {
        self.counters.readings_in.fetch_add((all - refused) as u64, Ordering::Relaxed);
        self.counters.readings_refused.fetch_add(refused as u64, Ordering::Relaxed);
    }

    /// Takes one reading by ids. One hash, one shard lock.
    ///
    /// # Errors
    /// [`Error::NotOwner`] where another node owns the sensor, [`Error::NotFound`] where nobody does.
    pub fn put_by_id(&self, sensor: &str, attribute: &str, value: Value, source_time: Option<Micros>) -> Result<Seq> {
        let taken = value.check().and_then(|()| {
            let now = self.clock.now();
            let source_time = source_time.unwrap_or(now);
            self.table.put_by_id(sensor, attribute, value, source_time, now, |series, sample, watchers| {
                self.deliver(series, sample, watchers);
            })
        });
        self.relieve_links();
        let taken = taken.map_err(|error| self.why_not_here(error, sensor));
        self.note_attributes();
        self.count_put(taken)
    }

    /// What is to be told of a reading for a sensor that is not here, counted where another node owns it.
    fn why_not_here(&self, error: Error, sensor: &str) -> Error {
        match (error, self.directory.owner_of(sensor)) {
            (Error::NotFound { sensor }, Some(owner)) if !owner.local => {
                let late = self.losses.lock().lost_at(&sensor).is_some();
                count(if late { &self.counters.readings_late } else { &self.counters.readings_not_owner });
                Error::NotOwner { sensor, node: owner.life.node }
            }
            (error, _) => error,
        }
    }

    pub(super) fn count_put(&self, taken: Result<Seq>) -> Result<Seq> {
        count(if taken.is_ok() { &self.counters.readings_in } else { &self.counters.readings_refused });
        taken
    }

    /// The latest reading of an attribute of a sensor of this node.
    pub fn latest(&self, sensor: &str, attribute: &str) -> Option<Reading> {
        self.table.latest(sensor, attribute)
    }

    /// [`latest`](Self::latest) without its series: spares a reference count.
    pub fn latest_sample(&self, sensor: &str, attribute: &str) -> Option<Sample> {
        self.table.latest_sample(sensor, attribute)
    }

    /// The newest readings of an attribute of a sensor of this node, oldest first.
    pub fn history(&self, sensor: &str, attribute: &str, from: Micros, to: Micros, last: usize) -> Vec<Reading> {
        self.table.history(sensor, attribute, from, to, last)
    }

    /// What this node knows of a sensor of its own.
    pub fn view(&self, sensor: &str) -> Option<SensorView> {
        self.table.view(sensor)
    }

    /// Sensors of this node that had neither a registration nor a reading since `before`, and their epochs.
    pub fn silent_since(&self, before: Micros) -> Vec<(SensorId, Epoch)> {
        let shards = 0..self.table.shard_count();
        let views = shards.flat_map(|shard| self.table.scan(shard));
        views.filter(|view| view.touched < before).map(|view| (view.sensor, view.epoch)).collect()
    }

    /// Asks a sensor's owner for readings of one attribute, oldest first; of this node's own it answers at once.
    /// The answer may never come: bound the wait.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nobody owns the sensor, [`Error::Full`] with too many questions on their way.
    pub fn ask(&self, question: Question) -> Result<oneshot::Receiver<Vec<Reading>>> {
        let (answer, receiver) = oneshot::channel();
        let sensor = question.sensor.as_str();
        let owner = self.directory.owner_of(sensor).ok_or_else(|| Error::NotFound { sensor: sensor.to_owned() })?;
        if owner.local {
            // The receiver is at hand; it cannot be gone.
            let _sent = answer.send(self.answer(&question));
            return Ok(receiver);
        }
        let mut questions = self.questions.lock();
        questions.waiting.retain(|_, answer| !answer.is_closed());
        if questions.waiting.len() >= QUESTIONS_MAX {
            return Err(Error::Full { what: "questions to other nodes", max: QUESTIONS_MAX });
        }
        questions.next += 1;
        let id = questions.next;
        questions.waiting.insert(id, answer);
        drop(questions);
        self.send(&owner.life.node, Class::Control, &Message::Ask(id, question));
        Ok(receiver)
    }

    pub(super) fn answer(&self, question: &Question) -> Vec<Reading> {
        let (sensor, attribute) = (question.sensor.as_str(), question.attribute.as_str());
        self.table.history(sensor, attribute, question.from, question.to, question.last as usize)
    }
}

/// Tells the readers of a sensor's series where its numbers end.
pub(super) fn tell_end(reason: EndReason) -> impl FnMut(&Arc<Series>, Seq, &mut Watchers) {
    move |_, last, watchers| {
        if last > 0 {
            watchers.end(last, reason);
        }
    }
}

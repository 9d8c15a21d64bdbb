//! What an embedder holds: a registered sensor that unregisters on drop, and a subscription that ends on drop.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use senza_core::fanout::SubscriptionId;
use senza_core::subscription::{Contract, Item, Ledger, Subscription, Taken, Want};
use senza_core::table::{AttributeIndex, Handle, Point};
use senza_core::{Delivery, Epoch, Error, Filter, Micros, Result, SensorId, Seq, Value};

use crate::engine::{Engine, FollowerId, Latest, OnConflict, Sensor};

/// A sensor registered on this node. Dropping the last handle of a sensor unregisters it.
pub struct SensorHandle {
    engine: Arc<Engine>,
    sensor: SensorId,
    handle: Handle,
    epoch: Epoch,
    left: bool,
}

impl SensorHandle {
    /// Registers a sensor; see [`Engine::claim`].
    ///
    /// # Errors
    /// As [`Engine::claim`].
    pub fn register(engine: &Arc<Engine>, sensor: &Sensor, on_conflict: OnConflict) -> Result<Self> {
        let (handle, epoch) = engine.claim(sensor, on_conflict)?;
        Ok(Self { engine: engine.clone(), sensor: sensor.id.clone(), handle, epoch, left: false })
    }

    /// Which sensor it is.
    pub fn sensor(&self) -> &SensorId {
        &self.sensor
    }

    /// The claim's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The place of an attribute, made at its first use: what [`point`](Self::point) needs.
    ///
    /// # Errors
    /// `Unregistered` when the claim ended, `Full` beyond the attributes of one sensor.
    pub fn attribute(&self, attribute: &str) -> Result<AttributeIndex> {
        self.engine.attribute(self.handle, attribute)
    }

    /// Puts one reading stamped now. Looks the attribute up by name among the sensor's own.
    ///
    /// # Errors
    /// `NotOwner` when another node took the sensor over; else as [`attribute`](Self::attribute), and `ValueTooLarge`.
    pub fn put(&self, attribute: &str, value: Value) -> Result<Seq> {
        self.put_named(attribute, value, None)
    }

    /// Puts one reading with the device's time, microseconds since 1970.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_at(&self, attribute: &str, value: Value, source_time: Micros) -> Result<Seq> {
        self.put_named(attribute, value, Some(source_time))
    }

    fn put_named(&self, attribute: &str, value: Value, source_time: Option<Micros>) -> Result<Seq> {
        self.engine.put_named(self.handle, attribute, value, source_time).map_err(|error| match error {
            Error::Unregistered => self.engine.late(self.sensor.as_str()),
            other => other,
        })
    }

    /// [`put_at`](Self::put_at) that waits for readers whose contract asks writers to; see [`Engine::put_wait`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_wait(&self, attribute: &str, value: Value, source_time: Micros) -> Result<Seq> {
        let attribute = self.attribute(attribute)?;
        self.engine.put_wait(self.point(attribute, value, source_time))
    }

    /// What all subscriptions of the cluster together want of this sensor; `None` where nobody watches it.
    pub fn demand(&self) -> Option<Want> {
        self.engine.demand(self.sensor.as_str())
    }

    /// The demand as it is, and then whenever it is another: what a device that sends no more than is wanted follows. In
    /// force within milliseconds of a subscription on any node, and `None` when the sensor is no longer this node's.
    ///
    /// A subscription is to attributes: one that the sensor does not have yet is in no demand, so a device that waits to
    /// be watched makes its [`attribute`](Self::attribute)s first.
    ///
    /// # Errors
    /// `Full` beyond [`FOLLOWED_MAX`](crate::engine::FOLLOWED_MAX).
    pub fn demands(&self) -> Result<Demands> {
        Demands::follow(&self.engine, &self.sensor, self.epoch)
    }

    /// One reading for [`Engine::put_many`], which takes points of many sensors at once.
    pub fn point(&self, attribute: AttributeIndex, value: Value, source_time: Micros) -> Point {
        Point { handle: self.handle, attribute, value, source_time }
    }

    /// Leaves the sensor registered when the handle is dropped; it then ends with its node or by unregistering.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for SensorHandle {
    fn drop(&mut self) {
        if !self.left {
            self.engine.release(self.sensor.as_str(), self.epoch);
        }
    }
}

/// The demand of one sensor as it changes. It keeps the latest alone: who looks seldom misses what was between, and is
/// told nothing where it is as it was. Dropping it ends it.
pub struct Demands {
    engine: Arc<Engine>,
    id: FollowerId,
    latest: Arc<Latest>,
}

impl Demands {
    /// Follows the demand of a sensor under a claim of this node, whoever registered it; see [`SensorHandle::demands`].
    ///
    /// # Errors
    /// As [`SensorHandle::demands`].
    pub fn follow(engine: &Arc<Engine>, sensor: &SensorId, epoch: Epoch) -> Result<Self> {
        let (id, latest) = engine.follow(sensor, epoch)?;
        Ok(Self { engine: engine.clone(), id, latest })
    }

    /// Whether the claim stands no more: the sensor was unregistered, or another node took it over. Whoever was
    /// [polled](Stream::poll_next) is woken for that too.
    pub fn is_over(&self) -> bool {
        self.latest.is_over()
    }

    /// The demand, where it is another than was told before, the first time in any case; `Some(None)` is a sensor that
    /// nobody watches. Waits up to `timeout` for a change, blocking the thread.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Option<Want>> {
        self.latest.wait(timeout)
    }
}

impl Stream for Demands {
    type Item = Option<Want>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.latest.poll(context).map(Some)
    }
}

impl Drop for Demands {
    fn drop(&mut self) {
        self.engine.unfollow(self.id);
    }
}

/// A subscription of this node: a bounded queue of deliveries. Dropping it ends it.
pub struct Subscriber {
    view: SubscriberView,
    taken: Taken,
    deliveries: VecDeque<Delivery>,
}

/// A subscription as others than its reader hold it: what became of its readings, other filters, its end. Cheap to
/// clone; does not keep it subscribed.
#[derive(Clone)]
pub struct SubscriberView {
    engine: Arc<Engine>,
    id: SubscriptionId,
    subscription: Arc<Subscription>,
}

/// Deliveries taken from the queue at a time.
const TAKE: usize = 1024;

impl SubscriberView {
    /// The contract that is kept.
    pub fn contract(&self) -> Contract {
        self.subscription.contract()
    }

    /// Asks for what matches any of these filters from now on; see [`Engine::rewatch`].
    ///
    /// # Errors
    /// As [`Engine::rewatch`].
    pub fn change(&self, filters: &[Filter]) -> Result<()> {
        self.engine.rewatch(self.id, filters, self.contract().want)
    }

    /// What became of every reading so far.
    pub fn ledger(&self) -> Ledger {
        self.subscription.ledger()
    }

    /// Waits until there is something to read, the end, or the time-out, blocking the thread. Answers false when it ended
    /// and everything was read. For a reader that others share: wait without it, then take it.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.subscription.wait(timeout, false)
    }

    /// Whether it ended: its contract closed it, or [`close`](Self::close).
    pub fn is_closed(&self) -> bool {
        self.subscription.is_closed()
    }

    /// Takes nothing more in, and wakes its reader, who still gets what is queued.
    pub fn close(&self) {
        self.subscription.close();
    }
}

impl Subscriber {
    /// Subscribes; see [`Engine::watch`].
    ///
    /// # Errors
    /// As [`Engine::watch`].
    pub fn subscribe(engine: &Arc<Engine>, filter: &Filter, contract: Contract) -> Result<Self> {
        let (id, subscription) = engine.watch(filter, contract)?;
        let view = SubscriberView { engine: engine.clone(), id, subscription };
        Ok(Self { view, taken: Taken::default(), deliveries: VecDeque::new() })
    }

    /// What others than the reader hold of it, on any thread, while the reader waits.
    pub fn view(&self) -> SubscriberView {
        self.view.clone()
    }

    /// The contract that is kept.
    pub fn contract(&self) -> Contract {
        self.view.contract()
    }

    /// Asks for what matches any of these filters from now on; see [`Engine::rewatch`].
    ///
    /// # Errors
    /// As [`Engine::rewatch`].
    pub fn change(&self, filters: &[Filter]) -> Result<()> {
        self.view.change(filters)
    }

    /// What became of every reading so far.
    pub fn ledger(&self) -> Ledger {
        self.view.ledger()
    }

    /// Whether it ended: its contract closed it, or [`SubscriberView::close`].
    pub fn is_closed(&self) -> bool {
        self.view.is_closed()
    }

    /// Reads what is queued by reference, in order; waits up to `timeout` for something, blocking the thread. The
    /// fastest way: no reference count and no allocation per reading. Answers how many items came.
    pub fn read_batch(&mut self, timeout: Duration, visit: impl FnMut(Item<'_>)) -> usize {
        self.read_some(usize::MAX, timeout, visit)
    }

    /// [`read_batch`](Self::read_batch) of at most `max` readings, for whoever keeps them: what else is queued stays
    /// there. Told gaps and ends come on top.
    pub fn read_some(&mut self, max: usize, timeout: Duration, mut visit: impl FnMut(Item<'_>)) -> usize {
        self.view.subscription.wait(timeout, false);
        self.view.subscription.take(&mut self.taken, max);
        self.view.engine.note_taken(&self.taken);
        let mut count = 0;
        self.taken.drain(|item| {
            count += 1;
            visit(item);
        });
        count
    }

    /// [`read_batch`](Self::read_batch) for a task, of at most `max` readings: `Ready` with how many items came, which
    /// may be none where all were left out, and always is when the subscription ended.
    pub fn poll_batch(
        &mut self,
        context: &mut Context<'_>,
        max: usize,
        mut visit: impl FnMut(Item<'_>),
    ) -> Poll<usize> {
        if self.view.subscription.poll_take(context, &mut self.taken, max).is_pending() {
            return Poll::Pending;
        }
        self.view.engine.note_taken(&self.taken);
        let mut count = 0;
        self.taken.drain(|item| {
            count += 1;
            visit(item);
        });
        Poll::Ready(count)
    }

    /// The next delivery; waits up to `timeout`, blocking the thread.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Delivery> {
        if self.deliveries.is_empty() {
            self.view.subscription.wait(timeout, false);
            self.refill(TAKE);
        }
        self.deliveries.pop_front()
    }

    /// Takes what is queued, at most `max` readings, without waiting.
    pub fn take(&mut self, out: &mut Vec<Delivery>, max: usize) {
        out.extend(self.deliveries.drain(..));
        self.refill(max);
        out.extend(self.deliveries.drain(..));
    }

    fn refill(&mut self, max: usize) {
        self.view.subscription.take(&mut self.taken, max);
        self.view.engine.note_taken(&self.taken);
        self.taken.deliveries(&mut self.deliveries);
    }
}

impl Stream for Subscriber {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        if self.deliveries.is_empty() {
            let Self { view, taken, deliveries } = &mut *self;
            if view.subscription.poll_take(context, taken, TAKE).is_pending() {
                return Poll::Pending;
            }
            view.engine.note_taken(taken);
            taken.deliveries(deliveries);
        }
        Poll::Ready(self.deliveries.pop_front())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.view.engine.unwatch(self.view.id);
    }
}

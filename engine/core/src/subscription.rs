//! A subscription's bounded queue: what overflows is counted and told as a gap before the next reading of its series.
//!
//! Writers never wait; they hold the queue's lock for as long as it takes to append. Readers take batches, by polling,
//! by blocking, or as a future.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use crate::reading::{Delivery, Gap, GapReason, Reading, Seq, Series};

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest reading gives way to the new one.
    #[default]
    DropOldest,
    /// The new reading is not taken.
    DropNewest,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next reading.
    #[default]
    Live,
    /// With the latest reading of every series, then live, without a gap or a duplicate between.
    Latest,
}

/// Smallest and largest queue bound, in readings.
pub const QUEUE_RANGE: std::ops::RangeInclusive<usize> = 1..=16_777_216;

/// What a subscription asks for beside its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// What a full queue does.
    pub overflow: Overflow,
    /// Most queued readings; held to [`QUEUE_RANGE`].
    pub queue_max: usize,
    /// Where it begins.
    pub start: Start,
    /// Why readings dropped here are gone, as its reader is told.
    pub reason: GapReason,
}

impl Default for Contract {
    fn default() -> Self {
        Self { overflow: Overflow::DropOldest, queue_max: 65_536, start: Start::Live, reason: GapReason::Overflow }
    }
}

impl Contract {
    /// The contract that will be kept: every bound held to its range.
    pub fn revised(self) -> Self {
        Self { queue_max: self.queue_max.clamp(*QUEUE_RANGE.start(), *QUEUE_RANGE.end()), ..self }
    }
}

/// What became of every reading offered: `offered = delivered + dropped + queued`, exactly, at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Readings that matched.
    pub offered: u64,
    /// Readings that the reader took.
    pub delivered: u64,
    /// Readings that overflowed, each inside a told gap.
    pub dropped: u64,
    /// Readings waiting.
    pub queued: u64,
}

/// One bounded queue between writers and one reader.
#[derive(Debug)]
pub struct Subscription {
    contract: Contract,
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Delivery>,
    ledger: Ledger,
    /// What was lost and not told yet. Under drop-oldest it is older than all that is queued, under drop-newest
    /// younger than what is queued of its series.
    losses: Losses,
    /// While the start is copied: series that were delivered live already, by address.
    starting: Option<HashMap<usize, Arc<Series>, RandomState>>,
    closed: bool,
    /// Whether a waiter is to look again though nothing was offered.
    nudged: bool,
    waker: Option<Waker>,
}

/// One gap per series, in the order of their first loss.
#[derive(Debug, Default)]
struct Losses {
    gaps: Vec<Option<Gap>>,
    by_series: HashMap<usize, usize, RandomState>,
}

// === impl Subscription ===

impl Subscription {
    /// An empty queue under the revised contract.
    pub fn new(contract: Contract) -> Self {
        let contract = contract.revised();
        let inner = Inner { starting: (contract.start == Start::Latest).then(HashMap::default), ..Inner::default() };
        Self { contract, inner: Mutex::new(inner), ready: Condvar::new() }
    }

    /// The contract that is kept.
    pub fn contract(&self) -> Contract {
        self.contract
    }

    /// Offers one live reading. Never waits for the reader.
    pub fn offer(&self, reading: Reading) {
        let mut inner = self.inner.lock();
        if let Some(seen) = &mut inner.starting {
            seen.entry(address(&reading.series)).or_insert_with(|| reading.series.clone());
        }
        inner.enqueue(Delivery::Reading(reading), self.contract);
        self.wake(inner);
    }

    /// Offers what another queue yielded: readings, starts and gaps, in order.
    pub fn offer_many(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut inner = self.inner.lock();
        for delivery in deliveries {
            match delivery {
                Delivery::Gap(gap) => inner.tell(gap, self.contract),
                other => inner.enqueue(other, self.contract),
            }
        }
        self.wake(inner);
    }

    /// Offers the latest reading of a series as a start, unless the series came live already. `position` is the
    /// series' counter: the next live reading is the one after it.
    pub fn offer_start(&self, reading: Reading, position: Seq) {
        let mut inner = self.inner.lock();
        if let Some(seen) = &mut inner.starting
            && seen.insert(address(&reading.series), reading.series.clone()).is_some()
        {
            return;
        }
        inner.enqueue(Delivery::Start(reading, position), self.contract);
        self.wake(inner);
    }

    /// Says that all starts were offered.
    pub fn started(&self) {
        self.inner.lock().starting = None;
    }

    /// Ends the subscription: nothing more is taken in; what is queued can still be read.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.wake(inner);
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// What became of every reading so far.
    pub fn ledger(&self) -> Ledger {
        self.inner.lock().ledger
    }

    /// Takes up to `max` deliveries (gaps come on top) into `out`. Answers false when closed and drained.
    pub fn take(&self, out: &mut Vec<Delivery>, max: usize) -> bool {
        self.inner.lock().take(out, max, self.contract)
    }

    /// [`take`](Self::take), blocking the thread until there is something, the end, or the time-out.
    pub fn take_timeout(&self, out: &mut Vec<Delivery>, max: usize, timeout: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.is_idle() {
            self.ready.wait_for(&mut inner, timeout);
        }
        inner.take(out, max, self.contract)
    }

    /// Waits until something is queued (with `blocked`: until [`nudge`](Self::nudge), whatever is queued), the end, or
    /// the time-out. Answers false when closed and drained.
    pub fn wait(&self, timeout: Duration, blocked: bool) -> bool {
        let mut inner = self.inner.lock();
        if !inner.closed && !inner.nudged && (blocked || inner.is_idle()) {
            self.ready.wait_for(&mut inner, timeout);
        }
        inner.nudged = false;
        !(inner.closed && inner.queue.is_empty() && inner.losses.is_empty())
    }

    /// Ends a [`wait`](Self::wait) without offering anything.
    pub fn nudge(&self) {
        let mut inner = self.inner.lock();
        inner.nudged = true;
        self.wake(inner);
    }

    /// [`take`](Self::take) as a future's poll: `Ready(false)` at the end.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<Delivery>, max: usize) -> Poll<bool> {
        let mut inner = self.inner.lock();
        if inner.is_idle() {
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(inner.take(out, max, self.contract))
    }

    fn wake(&self, mut inner: parking_lot::MutexGuard<'_, Inner>) {
        let waker = inner.waker.take();
        drop(inner);
        self.ready.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

// === impl Inner ===

impl Inner {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.losses.is_empty() && !self.closed
    }

    fn enqueue(&mut self, delivery: Delivery, contract: Contract) {
        if self.closed {
            return;
        }
        self.ledger.offered += 1;
        if self.ledger.queued >= contract.queue_max as u64 {
            match contract.overflow {
                Overflow::DropOldest => self.drop_oldest(contract.reason),
                Overflow::DropNewest => return self.lose(delivery, contract.reason),
            }
        } else if contract.overflow == Overflow::DropNewest
            && let Some(gap) = series_of(&delivery).and_then(|series| self.losses.remove(series))
        {
            self.queue.push_back(Delivery::Gap(gap));
        }
        self.queue.push_back(delivery);
        self.ledger.queued += 1;
    }

    /// Makes room for one reading. A gap on the way is kept for its series' next reading.
    fn drop_oldest(&mut self, reason: GapReason) {
        while let Some(delivery) = self.queue.pop_front() {
            match delivery {
                Delivery::Gap(gap) => self.losses.add(gap),
                reading => {
                    self.ledger.queued -= 1;
                    return self.lose(reading, reason);
                }
            }
        }
    }

    fn lose(&mut self, delivery: Delivery, reason: GapReason) {
        let (reading, to) = match delivery {
            Delivery::Reading(reading) => {
                let seq = reading.seq;
                (reading, seq)
            }
            // What follows a start follows its position.
            Delivery::Start(reading, position) => {
                let to = position.max(reading.seq);
                (reading, to)
            }
            Delivery::Gap(_) => return,
        };
        self.ledger.dropped += 1;
        self.losses.add(Gap { from: reading.seq, to, series: reading.series, reason });
    }

    /// Takes a gap that the hop before told into the order of the queue. Gaps have the same bound as readings.
    fn tell(&mut self, gap: Gap, contract: Contract) {
        if self.closed {
            return;
        }
        let full = |inner: &Self| inner.queue.len() as u64 - inner.ledger.queued >= contract.queue_max as u64;
        match contract.overflow {
            // What was lost and not told yet is younger than the queue and older than this.
            Overflow::DropNewest if full(self) || self.losses.holds(&gap.series) => return self.losses.add(gap),
            Overflow::DropNewest => {}
            Overflow::DropOldest => {
                while full(self) {
                    match self.queue.pop_front() {
                        Some(Delivery::Gap(older)) => self.losses.add(older),
                        Some(reading) => {
                            self.ledger.queued -= 1;
                            self.lose(reading, contract.reason);
                        }
                        None => break,
                    }
                }
            }
        }
        self.queue.push_back(Delivery::Gap(gap));
    }

    fn take(&mut self, out: &mut Vec<Delivery>, max: usize, contract: Contract) -> bool {
        let before = out.len();
        if contract.overflow == Overflow::DropOldest {
            self.losses.drain(out);
        }
        let mut taken = 0;
        while taken < max {
            let Some(delivery) = self.queue.pop_front() else { break };
            taken += usize::from(!matches!(delivery, Delivery::Gap(_)));
            out.push(delivery);
        }
        self.ledger.queued -= taken as u64;
        self.ledger.delivered += taken as u64;
        if self.queue.is_empty() {
            self.losses.drain(out);
        }
        !self.closed || out.len() > before
    }
}

fn series_of(delivery: &Delivery) -> Option<&Arc<Series>> {
    match delivery {
        Delivery::Reading(reading) | Delivery::Start(reading, _) => Some(&reading.series),
        Delivery::Gap(_) => None,
    }
}

fn address(series: &Arc<Series>) -> usize {
    Arc::as_ptr(series) as usize
}

// === impl Losses ===

impl Losses {
    fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    fn holds(&self, series: &Arc<Series>) -> bool {
        self.by_series.contains_key(&address(series))
    }

    /// Joins a loss to what its series lost already.
    fn add(&mut self, gap: Gap) {
        let next = self.gaps.len();
        let at = *self.by_series.entry(address(&gap.series)).or_insert(next);
        match self.gaps.get_mut(at) {
            Some(Some(known)) => {
                known.from = known.from.min(gap.from);
                known.to = known.to.max(gap.to);
            }
            _ => self.gaps.push(Some(gap)),
        }
    }

    fn remove(&mut self, series: &Arc<Series>) -> Option<Gap> {
        let at = self.by_series.remove(&address(series))?;
        let gap = self.gaps[at].take();
        if self.by_series.is_empty() {
            self.gaps.clear();
        }
        gap
    }

    fn drain(&mut self, out: &mut Vec<Delivery>) {
        self.by_series.clear();
        out.extend(self.gaps.drain(..).flatten().map(Delivery::Gap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{AttributeId, NodeName, SensorId, SensorType, Value};
    use proptest::prelude::*;

    fn series(attribute: &str) -> Arc<Series> {
        Arc::new(Series {
            sensor: SensorId::new("s").unwrap(),
            attribute: AttributeId::new(attribute).unwrap(),
            sensor_type: SensorType::default(),
            node: NodeName::new("a").unwrap(),
            epoch: 1,
        })
    }

    fn reading(series: &Arc<Series>, seq: Seq) -> Reading {
        Reading { series: series.clone(), value: Value::I64(seq as i64), source_time: 0, received_time: 0, seq }
    }

    fn contract(overflow: Overflow, queue_max: usize) -> Contract {
        Contract { overflow, queue_max, ..Contract::default() }
    }

    proptest! {
        /// Whatever is offered and taken: every number of every series is delivered or lies in exactly one gap told
        /// before the next reading of its series, and the ledger adds up after every step.
        #[test]
        fn every_number_is_delivered_or_told(
            newest: bool,
            bound in 1usize..6,
            steps in prop::collection::vec((0usize..5, 0usize..5), 1..80),
        ) {
            let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
            let subscription = Subscription::new(contract(overflow, bound));
            let all = [series("x"), series("y")];
            let (mut offered, mut expected) = ([0; 2], [1; 2]);
            let mut out = Vec::new();
            for (step, count) in steps.into_iter().chain([(4, 1000)]) {
                if (2..4).contains(&step) {
                    // The hop before tells a gap of its own.
                    let (series, from) = (all[step - 2].clone(), offered[step - 2] + 1);
                    offered[step - 2] += count as u64 + 1;
                    let gap = Gap { series, from, to: offered[step - 2], reason: GapReason::Link };
                    subscription.offer_many([Delivery::Gap(gap)]);
                } else if step < 2 {
                    for _ in 0..count {
                        offered[step] += 1;
                        subscription.offer(reading(&all[step], offered[step]));
                    }
                } else {
                    subscription.take(&mut out, count);
                }
                let ledger = subscription.ledger();
                prop_assert_eq!(ledger.offered, ledger.delivered + ledger.dropped + ledger.queued);
                prop_assert!(ledger.queued <= bound as u64);
                for delivery in out.drain(..) {
                    let (series, from, to) = match delivery {
                        Delivery::Reading(r) | Delivery::Start(r, _) => (r.series, r.seq, r.seq),
                        Delivery::Gap(g) => (g.series, g.from, g.to),
                    };
                    let at = usize::from(series.attribute.as_str() == "y");
                    prop_assert_eq!(from, expected[at]);
                    expected[at] = to + 1;
                }
            }
            prop_assert_eq!(expected.map(|next| next - 1), offered);
        }
    }

    #[test]
    fn a_start_gives_way_to_a_live_reading_of_its_series() {
        let subscription = Subscription::new(Contract { start: Start::Latest, ..Contract::default() });
        let (x, y) = (series("x"), series("y"));
        subscription.offer(reading(&x, 5));
        subscription.offer_start(reading(&x, 5), 5);
        subscription.offer_start(reading(&y, 7), 9);
        subscription.started();
        let mut out = Vec::new();
        assert!(subscription.take(&mut out, 10));
        assert_eq!(out, [Delivery::Reading(reading(&x, 5)), Delivery::Start(reading(&y, 7), 9)]);
    }

    #[test]
    fn a_closed_subscription_yields_what_it_holds_and_then_ends() {
        let subscription = Subscription::new(Contract::default());
        let x = series("x");
        subscription.offer(reading(&x, 1));
        subscription.close();
        subscription.offer(reading(&x, 2));
        let mut out = Vec::new();
        assert!(subscription.take(&mut out, 10));
        assert_eq!(out.len(), 1);
        assert!(!subscription.take(&mut out, 10));
        assert!(!subscription.take_timeout(&mut out, 10, Duration::from_secs(60)));
    }

    #[test]
    fn gaps_alone_do_not_grow_the_queue() {
        let subscription = Subscription::new(contract(Overflow::DropOldest, 4));
        let x = series("x");
        for seq in 1..1000 {
            subscription.offer_many([Delivery::Gap(Gap {
                series: x.clone(),
                from: seq,
                to: seq,
                reason: GapReason::Link,
            })]);
        }
        assert!(subscription.inner.lock().queue.len() <= 4);
        let mut out = Vec::new();
        subscription.take(&mut out, 10);
        let told: Vec<_> = out.iter().map(|d| if let Delivery::Gap(g) = d { (g.from, g.to) } else { (0, 0) }).collect();
        assert_eq!(told.iter().map(|(from, to)| to - from + 1).sum::<u64>(), 999, "{told:?}");
    }
}

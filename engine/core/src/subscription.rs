//! A subscription: a bounded queue between writers and one reader, under a contract.
//!
//! Writers never wait; they hold the queue's lock for as long as it takes to append a run of rows. Series are numbered:
//! a series is enrolled once, when it is found to match, and its readings are rows of 40 bytes from then on. What the
//! contract leaves out is counted; what overflows is counted and told as a gap before the next reading of its series.
//! The reader takes everything at once, by exchanging its empty buffer for the full one.

pub mod contract;
mod losses;
mod queue;
mod starting;
mod taken;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::fault::{self, Fault};
use crate::history::Sample;
use crate::reading::{EndReason, GapReason, Micros, Seq, Series, Value};
use crate::row::Row;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
pub use contract::{Contract, Deadband, Ledger, Overflow, Pace, QUEUE_RANGE, Start, Want};
use queue::{Queue, Waiter};
pub use taken::{Item, Taken, Wait};

/// One bounded queue between writers and one reader.
#[derive(Debug)]
pub struct Subscription {
    contract: Contract,
    queue: Mutex<Queue>,
    ready: Condvar,
    /// Signalled when the reader made room, for writers that wait.
    room: Condvar,
    /// Whether the queue holds readings that become due by time alone.
    paced: AtomicBool,
    /// Where writers take over from a reader that sleeps: see [`Subscription::relieved`].
    relief: Option<Relief>,
}

#[derive(Debug)]
struct Relief {
    /// Rung for the writers.
    bell: Arc<AtomicBool>,
    /// Whether rows were left without waking the reader.
    left: AtomicBool,
}

// === impl Subscription: the writers' side ===

impl Subscription {
    /// An empty queue under the contract; [`Contract::check`] it first.
    pub fn new(contract: Contract) -> Self {
        let queue = Mutex::new(Queue::new(contract));
        let (ready, room) = (Condvar::new(), Condvar::new());
        Self { contract, queue, ready, room, paced: AtomicBool::new(false), relief: None }
    }

    /// A queue whose writers may do its reader's work: an [`offer`](Self::offer) does not wake a reader that sleeps, but
    /// rings the bell. Whoever offered, and sees the bell, either takes what is queued or [nudges](Self::nudge) the
    /// reader, where [`is_left`](Self::is_left) says so.
    pub fn relieved(contract: Contract, bell: Arc<AtomicBool>) -> Self {
        Self { relief: Some(Relief { bell, left: AtomicBool::new(false) }), ..Self::new(contract) }
    }

    /// Whether rows were offered without waking the reader since this was asked last.
    pub fn is_left(&self) -> bool {
        self.relief.as_ref().is_some_and(|relief| relief.left.swap(false, Ordering::AcqRel))
    }

    /// The contract that is kept.
    pub fn contract(&self) -> Contract {
        self.contract
    }

    /// Numbers a series for this queue. One lock; allocates now and then.
    pub fn enroll(&self, series: &Arc<Series>, want: Want) -> u32 {
        self.queue.lock().enroll(series, want)
    }

    /// Changes what is wanted of a series.
    pub fn want(&self, series: u32, want: Want) {
        self.queue.lock().want(series, want);
    }

    /// Ends a series: its number is used again once its last row was taken.
    pub fn retire(&self, series: u32) {
        let mut queue = self.queue.lock();
        queue.retire(series);
        self.wake(queue);
    }

    /// Offers live rows in order, with the values that travel beside them. `now` is a time that never goes back. Never
    /// waits for the reader; one lock.
    pub fn offer(&self, rows: &[Row], values: &mut Vec<Value>, now: Micros) {
        let mut queue = self.queue.lock();
        queue.offer(rows, values, now);
        let Some(relief) = &self.relief else { return self.wake(queue) };
        self.paced.store(queue.is_paced(), Ordering::Relaxed);
        // A reader that was nudged is on its way.
        if !queue.is_nudged() && queue.has_waiter() {
            drop(queue);
            // Swaps, so that whoever hears the bell sees all that was left before it rang, whoever rang it.
            relief.left.swap(true, Ordering::AcqRel);
            relief.bell.swap(true, Ordering::AcqRel);
        }
    }

    /// Offers the latest reading of a series as a start, unless the series began already. `position` is the series'
    /// counter: the next live reading is the one after it. What came live before it was kept back, as the start holds it.
    pub fn offer_start(&self, row: Row, value: Option<Value>, position: Seq) {
        let mut queue = self.queue.lock();
        queue.offer_start(row, value, position);
        self.wake(queue);
    }

    /// Offers what is kept of a series as starts, oldest first; else as [`offer_start`](Self::offer_start). Answers
    /// whether the series begins with it: not where it began before.
    pub fn offer_history(&self, series: u32, samples: &[Sample], position: Seq) -> bool {
        let mut queue = self.queue.lock();
        let began = queue.offer_history(series, samples, position);
        self.wake(queue);
        began
    }

    /// Tells that numbers of a series were lost before they came here.
    pub fn tell(&self, series: u32, from: Seq, to: Seq, reason: GapReason) {
        let mut queue = self.queue.lock();
        queue.tell(Row::gap(series, from, to, reason));
        self.wake(queue);
    }

    /// Tells that no more of a series comes, and the number of its last reading. What is held back of it comes before.
    pub fn end(&self, series: u32, last: Seq, reason: EndReason) {
        let mut queue = self.queue.lock();
        queue.end(Row::end(series, last, reason));
        self.wake(queue);
    }

    /// Says that all starts were offered: series without one begin with what came live.
    pub fn started(&self) {
        let mut queue = self.queue.lock();
        queue.started();
        self.wake(queue);
    }

    /// Hands out what became due by time: readings held back by a rate, and heartbeats. Answers when the next one will
    /// be due, if there is one.
    pub fn release_due(&self, now: Micros) -> Option<Micros> {
        if !self.paced.load(Ordering::Relaxed) {
            return None;
        }
        let mut queue = self.queue.lock();
        let released = queue.release_due(now);
        let next = queue.next_due();
        self.paced.store(next.is_some(), Ordering::Relaxed);
        if released {
            self.wake(queue);
        }
        next
    }

    /// Waits until the queue has room for another reading, at most so long, where the contract says that writers who
    /// can wait do. Answers whether there is room.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let Overflow::Block { .. } = self.contract.overflow else { return true };
        let mut queue = self.queue.lock();
        self.room.wait_while_for(&mut queue, |queue| queue.is_full() && !queue.is_closed(), timeout);
        !queue.is_full()
    }

    /// Ends the subscription: nothing more is taken in; what is queued can still be read.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.close();
        self.wake(queue);
        self.room.notify_all();
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        self.paced.store(queue.is_paced(), Ordering::Relaxed);
        let waker = queue.take_waker();
        let has_waiter = queue.has_waiter();
        drop(queue);
        if has_waiter {
            self.ready.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

// === impl Subscription: the reader's side ===

impl Subscription {
    /// Whether it was closed, by its reader or by its contract.
    pub fn is_closed(&self) -> bool {
        self.queue.lock().is_closed()
    }

    /// What became of every reading so far.
    pub fn ledger(&self) -> Ledger {
        self.queue.lock().ledger()
    }

    /// How much could be taken now, about; 0 where nothing could. What is held back for later is not counted.
    pub fn ready(&self) -> usize {
        self.queue.lock().ready()
    }

    /// Takes what is queued, at most `max` readings (gaps come on top), into `taken`, whose rows have been read. Answers
    /// false when closed and drained. Where all of it is taken, two buffers are exchanged: O(1).
    pub fn take(&self, taken: &mut Taken, max: usize) -> bool {
        let more = self.queue.lock().take(taken, max);
        if matches!(self.contract.overflow, Overflow::Block { .. }) {
            self.room.notify_all();
        }
        more
    }

    /// Waits until something is queued (with `blocked`: until [`nudge`](Self::nudge), whatever is queued), the end, or
    /// the time-out. Answers false when closed and drained.
    pub fn wait(&self, timeout: Duration, blocked: bool) -> bool {
        let mut queue = self.queue.lock();
        if queue.must_wait(blocked) {
            if fault::is_on(Fault::LookThenWait) {
                drop(queue);
                queue = self.queue.lock();
                self.ready.wait_for(&mut queue, timeout);
            }
            queue.set_waiter(if blocked { Waiter::ForNudge } else { Waiter::ForAny });
            // Of two writers that wake a reader, the second may find it in its next wait.
            self.ready.wait_while_for(&mut queue, |queue| queue.must_wait(blocked), timeout);
            queue.set_waiter(Waiter::None);
        }
        queue.waited()
    }

    /// Ends a [`wait`](Self::wait) without offering anything.
    pub fn nudge(&self) {
        let mut queue = self.queue.lock();
        queue.nudge();
        self.wake(queue);
    }

    /// [`take`](Self::take) as a future's poll: `Ready(false)` at the end.
    pub fn poll_take(&self, context: &mut Context<'_>, taken: &mut Taken, max: usize) -> Poll<bool> {
        let mut queue = self.queue.lock();
        if queue.must_wait(false) {
            queue.set_waker(context.waker().clone());
            return Poll::Pending;
        }
        let more = queue.take(taken, max);
        drop(queue);
        if matches!(self.contract.overflow, Overflow::Block { .. }) {
            self.room.notify_all();
        }
        Poll::Ready(more)
    }
}

#[cfg(test)]
mod tests;

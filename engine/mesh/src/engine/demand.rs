//! Who follows the demand of which sensor, and what each was told last.
//!
//! Subscriptions change far more often than anybody asks what that did to one sensor: a change raises a flag, and the
//! next ticks look at the followed sensors, so many at a time that no beacon waits for them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use senza_core::subscription::Want;
use senza_core::{Epoch, Error, Result, SensorId};

/// Sensors whose demand is followed on one node.
pub const FOLLOWED_MAX: usize = 1_000_000;
/// Followed sensors looked at in one tick.
const LOOK_MAX: usize = 4096;

/// Names one follower of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FollowerId(u64);

/// The followers of one node.
#[derive(Default)]
pub(super) struct Followers {
    /// Whether something happened that may have changed a demand.
    pub(super) differ: AtomicBool,
    /// How many there are: without any, nothing is noted.
    count: AtomicU64,
    /// The table's attributes when one was last noted as new.
    attributes: AtomicU64,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    next: u64,
    by_id: BTreeMap<FollowerId, Follower>,
    /// The last one looked at, and how many are still to be looked at in this round.
    at: Option<FollowerId>,
    left: usize,
}

struct Follower {
    sensor: SensorId,
    epoch: Epoch,
    latest: Arc<Latest>,
}

/// One sensor's demand as it is, and as its follower was told: a channel that keeps the latest value alone.
#[derive(Debug)]
pub(crate) struct Latest {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug)]
struct State {
    now: Option<Want>,
    /// `None` before the first.
    told: Option<Option<Want>>,
    /// The claim that was followed stands no more.
    over: bool,
    waker: Option<Waker>,
}

/// What a look at a claim finds.
pub(super) struct Seen {
    pub(super) demand: Option<Want>,
    /// It stands no more.
    pub(super) over: bool,
}

// === impl Followers ===

impl Followers {
    /// Whether anybody follows anything.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether attributes were made that nobody noted yet: a new series has watchers of its own.
    pub(super) fn notes(&self, attributes: u64) -> bool {
        self.any() && self.attributes.swap(attributes, Ordering::AcqRel) != attributes
    }

    /// Follows a sensor under a claim. `see` looks at it, after whatever changes from now on will be noted.
    pub(super) fn add(
        &self,
        sensor: SensorId,
        epoch: Epoch,
        see: impl FnOnce(&SensorId, Epoch) -> Seen,
    ) -> Result<(FollowerId, Arc<Latest>)> {
        let mut list = self.list.lock();
        if list.by_id.len() >= FOLLOWED_MAX {
            return Err(Error::Full { what: "followed demands of this node", max: FOLLOWED_MAX });
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        // Whoever changes something from here on sees the count, or what it changed is seen here.
        std::sync::atomic::fence(Ordering::SeqCst);
        let latest = Arc::new(Latest::new(see(&sensor, epoch)));
        let id = FollowerId(list.next);
        list.next += 1;
        list.by_id.insert(id, Follower { sensor, epoch, latest: latest.clone() });
        Ok((id, latest))
    }

    pub(super) fn remove(&self, id: FollowerId) {
        if self.list.lock().by_id.remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Looks at some of the followed sensors where something may have changed, and tells what did. Answers whether more
    /// are to be looked at.
    pub(super) fn look(&self, see: impl Fn(&SensorId, Epoch) -> Seen) -> bool {
        let mut list = self.list.lock();
        if self.differ.swap(false, Ordering::AcqRel) {
            // All from here on, the ones looked at just now last: none is forgotten where changes never end.
            list.left = list.by_id.len();
        }
        let looked = list.left.min(LOOK_MAX);
        let mut wakers = Vec::new();
        let mut at = list.at;
        let after = list.at.map_or(Bound::Unbounded, Bound::Excluded);
        let cyclic = list.by_id.range((after, Bound::Unbounded)).chain(&list.by_id);
        for (id, follower) in cyclic.take(looked) {
            at = Some(*id);
            wakers.extend(follower.latest.tell(&see(&follower.sensor, follower.epoch)));
        }
        list.at = at;
        list.left -= looked;
        let more = list.left > 0;
        drop(list);
        // A waker is others' code; it may come back here.
        wakers.into_iter().for_each(Waker::wake);
        more
    }
}

// === impl Latest ===

impl Latest {
    fn new(seen: Seen) -> Self {
        let state = State { now: seen.demand, told: None, over: seen.over, waker: None };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// Takes the demand as it is now. Answers who waits for another than it was told, or for the end.
    fn tell(&self, seen: &Seen) -> Option<Waker> {
        let mut state = self.state.lock();
        state.now = seen.demand;
        let ends = seen.over && !state.over;
        state.over |= seen.over;
        if state.told == Some(state.now) && !ends {
            return None;
        }
        self.ready.notify_all();
        state.waker.take()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// The demand, where it is another than was told last; waits for one up to `timeout`, blocking the thread.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Option<Want>> {
        let mut state = self.state.lock();
        self.ready.wait_while_for(&mut state, |state| state.told == Some(state.now), timeout);
        state.take()
    }

    /// [`wait`](Self::wait) for a task.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Option<Want>> {
        let mut state = self.state.lock();
        match state.take() {
            Some(demand) => Poll::Ready(demand),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl State {
    fn take(&mut self) -> Option<Option<Want>> {
        let differs = self.told != Some(self.now);
        self.told = Some(self.now);
        differs.then_some(self.now)
    }
}

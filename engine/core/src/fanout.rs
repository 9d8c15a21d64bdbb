//! Fanout: which subscriptions want a series, resolved once and kept with the series.
//!
//! A change of subscriptions visits no series. A broad one (a filter that any series may match) raises a generation and
//! stands in a log; a series looks at its next reading what changed since it was resolved, and holds just that against
//! itself. A narrow one (exact sensor ids) has only its sensors' series reset.

mod outbox;

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::fault::{self, Fault};
use crate::history::Sample;
use crate::key::{Filter, SeriesPath};
use crate::reading::{EndReason, Micros, SensorId, Seq, Series};
use crate::row::Row;
use crate::subscription::{Pace, Subscription, Want};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};
pub use outbox::Outbox;

/// Most subscriptions of one node.
pub const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Changes of broad subscriptions remembered; a series that was resolved before them is resolved anew.
const LOG_MAX: usize = 4096;

/// Names a subscription of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// Its number, for people: none is used again while the node runs.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a subscription wants of what matches a filter.
pub type Wanted = (Filter, Want);

/// The resolved subscriptions of one series, kept where its readings pass. 24 bytes.
#[derive(Debug, Default)]
pub struct Watchers {
    targets: Option<Box<[Target]>>,
    /// The generation it was resolved at; 0: not yet.
    generation: u64,
}

/// A series' place in one subscription. Dropping it ends that.
#[derive(Debug)]
pub struct Target {
    subscription: Arc<Subscription>,
    id: SubscriptionId,
    series: u32,
    want: Want,
}

/// All subscriptions of a node, local readers and relays to other nodes alike.
#[derive(Debug)]
pub struct Fanout {
    members: RwLock<Members>,
    /// Raised by every change that can concern any series.
    broad: AtomicU64,
    /// Raised by every change.
    any: AtomicU64,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    by_id: HashMap<SubscriptionId, Member, RandomState>,
    /// Members whose filters name exact sensors only, by sensor.
    narrow: HashMap<SensorId, Vec<SubscriptionId>, RandomState>,
    /// The others, in order of their ids.
    broad: std::collections::BTreeSet<SubscriptionId>,
    /// Which broad member changed with each generation, the last one's last.
    log: VecDeque<SubscriptionId>,
}

#[derive(Debug)]
struct Member {
    wanted: Vec<Wanted>,
    subscription: Arc<Subscription>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self { members: RwLock::default(), broad: AtomicU64::new(1), any: AtomicU64::new(1) }
    }
}

// === impl Fanout: subscriptions ===

impl Fanout {
    /// Adds a subscription to what matches any of the filters. Narrow ones reach a series after its [`Watchers`] were
    /// reset, which the joiner of table and fanout does for the sensors they name.
    ///
    /// # Errors
    /// [`Error::Full`] beyond [`SUBSCRIPTIONS_MAX`], or from a filter that is too large.
    pub fn add(&self, wanted: Vec<Wanted>, subscription: Arc<Subscription>) -> Result<SubscriptionId> {
        wanted.iter().try_for_each(|(filter, _)| filter.check())?;
        let mut members = self.members.write();
        if members.by_id.len() >= SUBSCRIPTIONS_MAX {
            return Err(Error::Full { what: "subscriptions of this node", max: SUBSCRIPTIONS_MAX });
        }
        let id = SubscriptionId(members.next);
        members.next += 1;
        members.insert(id, Member { wanted, subscription });
        let broad = members.is_broad(id);
        self.raise(&mut members, id, broad);
        Ok(id)
    }

    /// Gives a subscription other filters. Answers whether it is known.
    pub fn replace(&self, id: SubscriptionId, wanted: Vec<Wanted>) -> bool {
        let mut members = self.members.write();
        let was_broad = members.is_broad(id);
        let Some(member) = members.remove(id) else { return false };
        members.insert(id, Member { wanted, subscription: member.subscription });
        let broad = was_broad || members.is_broad(id);
        self.raise(&mut members, id, broad);
        true
    }

    /// Ends a subscription and closes its queue. Answers whether it was known.
    pub fn remove(&self, id: SubscriptionId) -> bool {
        let mut members = self.members.write();
        let was_broad = members.is_broad(id);
        let Some(member) = members.remove(id) else { return false };
        member.subscription.close();
        self.raise(&mut members, id, was_broad);
        true
    }

    /// The sensors that a narrow subscription names; none for a broad one.
    pub fn named_sensors(&self, id: SubscriptionId) -> Vec<SensorId> {
        let members = self.members.read();
        let member = members.by_id.get(&id).filter(|_| !members.is_broad(id));
        let filters = member.into_iter().flat_map(|member| &member.wanted);
        filters.flat_map(|(filter, _)| filter.sensors.iter().cloned()).collect()
    }

    /// A number that changes with every change of subscriptions.
    pub fn generation(&self) -> u64 {
        self.any.load(Ordering::Acquire)
    }

    /// What the given subscriptions want.
    pub fn wanted_by(&self, ids: impl Iterator<Item = SubscriptionId>) -> Vec<Wanted> {
        let members = self.members.read();
        ids.filter_map(|id| members.by_id.get(&id)).flat_map(|member| member.wanted.iter().cloned()).collect()
    }

    /// The subscriptions that may hold readings back until they are due.
    pub fn paced(&self) -> Vec<Arc<Subscription>> {
        let members = self.members.read();
        let may = |member: &&Member| member.wanted.iter().any(|(_, want)| want.may_hold_back());
        members.by_id.values().filter(may).map(|member| member.subscription.clone()).collect()
    }

    /// All subscriptions with their filters, for people.
    pub fn all(&self) -> Vec<(SubscriptionId, Vec<Wanted>, Arc<Subscription>)> {
        let members = self.members.read();
        let all = members.by_id.iter();
        let mut all: Vec<_> = all.map(|(id, m)| (*id, m.wanted.clone(), m.subscription.clone())).collect();
        all.sort_unstable_by_key(|(id, ..)| *id);
        all
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.members.read().by_id.len()
    }

    /// Whether nobody subscribes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn raise(&self, members: &mut Members, id: SubscriptionId, broad: bool) {
        if broad {
            if members.log.len() >= LOG_MAX {
                members.log.pop_front();
            }
            members.log.push_back(id);
            self.broad.fetch_add(1, Ordering::AcqRel);
        }
        self.any.fetch_add(1, Ordering::AcqRel);
    }
}

// === impl Fanout: readings ===

impl Fanout {
    /// Hands a reading to every subscription of its series. Called under the series' lock, so that order holds. Costs
    /// one atomic load when nobody watches; per subscription one queue lock. `now` is a time that never goes back.
    #[inline]
    pub fn deliver(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers, now: Micros) {
        if !self.is_unwatched(watchers) {
            self.deliver_to_all(series, sample, watchers, now);
        }
    }

    #[inline(never)]
    fn deliver_to_all(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers, now: Micros) {
        for target in self.targets(series, watchers) {
            target.offer(sample, now);
        }
    }

    /// [`deliver`](Self::deliver) by way of an outbox: the queues are locked when it is flushed, once each. Flush it
    /// before the series' lock is given up.
    #[inline]
    pub fn collect(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers, outbox: &mut Outbox) {
        if !self.is_unwatched(watchers) {
            self.collect_for_all(series, sample, watchers, outbox);
        }
    }

    #[inline(never)]
    fn collect_for_all(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers, outbox: &mut Outbox) {
        // Asked once: a change that comes between two looks would be resolved without the flush.
        if watchers.generation != self.broad.load(Ordering::Acquire) {
            // A number given back in resolving may still be in the outbox.
            if !fault::is_on(Fault::NumberGivenEarly) {
                outbox.flush();
            }
            self.resolve(series, watchers);
        }
        for target in watchers.list() {
            outbox.add(&target.subscription, Row::reading(target.series, sample), &sample.value);
        }
    }

    /// Whether nobody wants a series, as far as it was resolved last, and nothing changed since. One atomic load.
    #[inline]
    pub fn is_unwatched(&self, watchers: &Watchers) -> bool {
        watchers.targets.is_none() && watchers.generation == self.broad.load(Ordering::Acquire)
    }

    /// The subscriptions of a series as they are now.
    pub fn targets<'a>(&self, series: &Arc<Series>, watchers: &'a mut Watchers) -> &'a [Target] {
        if watchers.generation != self.broad.load(Ordering::Acquire) {
            self.resolve(series, watchers);
        }
        watchers.targets.as_deref().unwrap_or_default()
    }

    /// Brings the subscriptions of a series up to date. Costs what changed since it was resolved, at first every broad
    /// subscription's filters; two series of one sensor resolve apart.
    #[cold]
    pub fn resolve(&self, series: &Arc<Series>, watchers: &mut Watchers) {
        let members = self.members.read();
        let generation = self.broad.load(Ordering::Acquire);
        let missed = generation - watchers.generation.min(generation);
        let path = SeriesPath::new(series);
        if watchers.generation == 0 || missed as usize > members.log.len() {
            let narrow = members.narrow.get(&series.sensor).map(Vec::as_slice).unwrap_or_default();
            let ids: Vec<SubscriptionId> = members.broad.iter().chain(narrow).copied().collect();
            watchers.keep(|target| ids.contains(&target.id));
            ids.into_iter().for_each(|id| watchers.hold_against(&members, id, series, &path));
        } else {
            let changed = members.log.iter().rev().take(missed as usize);
            changed.for_each(|id| watchers.hold_against(&members, *id, series, &path));
        }
        watchers.generation = generation;
    }

    /// What all subscriptions together want of a series; nothing where nobody watches.
    pub fn demand(&self, series: &Arc<Series>, watchers: &mut Watchers) -> Option<Want> {
        self.targets(series, watchers).iter().map(|target| target.want).reduce(Want::join)
    }
}

// === impl Members ===

impl Members {
    fn is_broad(&self, id: SubscriptionId) -> bool {
        self.broad.contains(&id)
    }

    fn insert(&mut self, id: SubscriptionId, member: Member) {
        if member.wanted.iter().all(|(filter, _)| filter.is_narrow()) {
            for sensor in member.wanted.iter().flat_map(|(filter, _)| &filter.sensors) {
                let ids = self.narrow.entry(sensor.clone()).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        } else {
            self.broad.insert(id);
        }
        self.by_id.insert(id, member);
    }

    fn remove(&mut self, id: SubscriptionId) -> Option<Member> {
        let member = self.by_id.remove(&id)?;
        if self.broad.remove(&id) {
            return Some(member);
        }
        for sensor in member.wanted.iter().flat_map(|(filter, _)| &filter.sensors) {
            let emptied = self.narrow.get_mut(sensor).is_some_and(|ids| {
                ids.retain(|entry| *entry != id);
                ids.is_empty()
            });
            if emptied {
                self.narrow.remove(sensor);
            }
        }
        Some(member)
    }

    /// What a subscription wants of a series, if anything.
    fn want(&self, id: SubscriptionId, series: &Series, path: &SeriesPath) -> Option<(&Arc<Subscription>, Want)> {
        let member = self.by_id.get(&id)?;
        let fitting = member.wanted.iter().filter(|(filter, _)| filter.matches_path(series, path));
        fitting.map(|(_, want)| *want).reduce(Want::join).map(|want| (&member.subscription, want))
    }
}

// === impl Watchers ===

impl Watchers {
    /// Forgets when it was resolved: the next reading resolves anew.
    pub fn reset(&mut self) {
        self.generation = 0;
    }

    /// The subscriptions as last resolved.
    pub fn list(&self) -> &[Target] {
        self.targets.as_deref().unwrap_or_default()
    }

    /// Tells those who have had readings of the series that it is over, and the number of its last reading. Called under
    /// the series' lock.
    pub fn end(&self, last: Seq, reason: EndReason) {
        for target in self.list() {
            target.subscription.end(target.series, last, reason);
        }
    }

    /// The series' number in a subscription's queue, where it is resolved there.
    pub fn number_in(&self, subscription: &Arc<Subscription>) -> Option<u32> {
        self.list().iter().find(|target| Arc::ptr_eq(&target.subscription, subscription)).map(|target| target.series)
    }

    /// Adds, changes or ends the place of a series in one subscription.
    fn hold_against(&mut self, members: &Members, id: SubscriptionId, series: &Arc<Series>, path: &SeriesPath) {
        let known = self.targets.iter_mut().flatten().find(|target| target.id == id);
        match (known, members.want(id, series, path)) {
            (Some(target), Some((_, want))) => target.change(want, series.lossless),
            (Some(_), None) => self.keep(|target| target.id != id),
            (None, Some((subscription, want))) => {
                let number = subscription.enroll(series, want);
                let target = Target { subscription: subscription.clone(), id, series: number, want };
                let mut targets = std::mem::take(&mut self.targets).map(Vec::from).unwrap_or_default();
                targets.push(target);
                targets.sort_unstable_by_key(|target| target.id);
                self.targets = Some(targets.into());
            }
            (None, None) => {}
        }
    }

    fn keep(&mut self, keep: impl FnMut(&Target) -> bool) {
        let Some(targets) = self.targets.take() else { return };
        let mut targets = Vec::from(targets);
        targets.retain(keep);
        self.targets = (!targets.is_empty()).then(|| targets.into());
    }
}

// === impl Target ===

impl Target {
    /// The subscription.
    pub fn subscription(&self) -> &Arc<Subscription> {
        &self.subscription
    }

    /// The series' number there.
    pub fn series(&self) -> u32 {
        self.series
    }

    /// Whether the newest reading alone is enough here.
    pub fn takes_latest(&self) -> bool {
        self.want.pace != Pace::Every
    }

    /// Whether nothing may be left out here.
    pub fn wants_every(&self) -> bool {
        self.want.is_every()
    }

    fn offer(&self, sample: &Sample, now: Micros) {
        let row = Row::reading(self.series, sample);
        let mut values = Vec::new();
        if row.has_value_beside() {
            values.push(sample.value.clone());
        }
        self.subscription.offer(&[row], &mut values, now);
    }

    fn change(&mut self, want: Want, lossless: bool) {
        if self.want != want {
            self.want = want;
            if !lossless {
                self.subscription.want(self.series, want);
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.subscription.retire(self.series);
    }
}

#[cfg(test)]
mod tests;

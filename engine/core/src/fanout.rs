//! Fanout: which subscriptions want a series, resolved once and kept with the series.
//!
//! A change of subscriptions costs nothing per sensor when it happens: a broad one raises a generation, and every
//! series resolves anew at its next reading; a narrow one (exact sensor ids) has only its sensors' series reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::history::Sample;
use crate::key::Filter;
use crate::reading::{SensorId, Series};
use crate::subscription::Subscription;

/// Most subscriptions of one node.
pub const SUBSCRIPTIONS_MAX: usize = 1_000_000;

/// Names a subscription of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// The resolved subscriptions of one series, kept where its readings pass.
#[derive(Clone, Debug, Default)]
pub struct Watchers {
    list: Option<Arc<[Arc<Subscription>]>>,
    /// The generation it was resolved at; 0: not yet.
    generation: u64,
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
    broad: Vec<SubscriptionId>,
}

#[derive(Debug)]
struct Member {
    filters: Vec<Filter>,
    subscription: Arc<Subscription>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self { members: RwLock::default(), broad: AtomicU64::new(1), any: AtomicU64::new(1) }
    }
}

// === impl Fanout ===

impl Fanout {
    /// Adds a subscription to what matches any of the filters. Narrow ones reach a series after its [`Watchers`] were
    /// reset, which the joiner of table and fanout does for the sensors they name.
    ///
    /// # Errors
    /// [`Error::Full`] beyond [`SUBSCRIPTIONS_MAX`], or from a filter that is too large.
    pub fn add(&self, filters: Vec<Filter>, subscription: Arc<Subscription>) -> Result<SubscriptionId> {
        filters.iter().try_for_each(Filter::check)?;
        let mut members = self.members.write();
        if members.by_id.len() >= SUBSCRIPTIONS_MAX {
            return Err(Error::Full { what: "subscriptions of this node", max: SUBSCRIPTIONS_MAX });
        }
        let id = SubscriptionId(members.next);
        members.next += 1;
        members.insert(id, Member { filters, subscription });
        self.raise(members.is_broad(id));
        Ok(id)
    }

    /// Gives a subscription other filters. Answers whether it is known.
    pub fn replace(&self, id: SubscriptionId, filters: Vec<Filter>) -> bool {
        let mut members = self.members.write();
        let was_broad = members.is_broad(id);
        let Some(member) = members.remove(id) else { return false };
        members.insert(id, Member { filters, subscription: member.subscription });
        self.raise(was_broad || members.is_broad(id));
        true
    }

    /// Ends a subscription and closes its queue. Answers whether it was known.
    pub fn remove(&self, id: SubscriptionId) -> bool {
        let mut members = self.members.write();
        let was_broad = members.is_broad(id);
        let Some(member) = members.remove(id) else { return false };
        member.subscription.close();
        self.raise(was_broad);
        true
    }

    /// The sensors that a narrow subscription names; none for a broad one.
    pub fn named_sensors(&self, id: SubscriptionId) -> Vec<SensorId> {
        let members = self.members.read();
        let member = members.by_id.get(&id).filter(|_| !members.is_broad(id));
        member
            .into_iter()
            .flat_map(|member| &member.filters)
            .flat_map(|filter| filter.sensors.iter().cloned())
            .collect()
    }

    /// Hands a reading to every subscription of its series. Called under the series' lock, so that order holds.
    /// Costs one atomic load when nobody watches; per subscription one queue lock.
    pub fn deliver(&self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        if watchers.generation != self.broad.load(Ordering::Acquire) {
            *watchers = self.resolve(series);
        }
        let Some(list) = &watchers.list else { return };
        for subscription in list.iter() {
            subscription.offer(sample.reading(series));
        }
    }

    /// The subscriptions of a series as they are now. Cost: the broad subscriptions' filters and one lookup.
    pub fn resolve(&self, series: &Series) -> Watchers {
        let members = self.members.read();
        let generation = self.broad.load(Ordering::Acquire);
        let narrow = members.narrow.get(&series.sensor).map(Vec::as_slice).unwrap_or_default();
        let mut list: Vec<Arc<Subscription>> = Vec::new();
        for id in members.broad.iter().chain(narrow) {
            let member = &members.by_id[id];
            if member.filters.iter().any(|filter| filter.matches(series)) {
                list.push(member.subscription.clone());
            }
        }
        Watchers { list: (!list.is_empty()).then(|| list.into()), generation }
    }

    /// A number that changes with every change of subscriptions.
    pub fn generation(&self) -> u64 {
        self.any.load(Ordering::Acquire)
    }

    /// The filters of the given subscriptions.
    pub fn filters_of(&self, ids: impl Iterator<Item = SubscriptionId>) -> Vec<Filter> {
        let members = self.members.read();
        ids.filter_map(|id| members.by_id.get(&id)).flat_map(|member| member.filters.iter().cloned()).collect()
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.members.read().by_id.len()
    }

    /// Whether nobody subscribes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn raise(&self, broad: bool) {
        if broad {
            self.broad.fetch_add(1, Ordering::AcqRel);
        }
        self.any.fetch_add(1, Ordering::AcqRel);
    }
}

// === impl Members ===

impl Members {
    fn is_broad(&self, id: SubscriptionId) -> bool {
        self.by_id.get(&id).is_some_and(|member| !member.filters.iter().all(Filter::is_narrow))
    }

    fn insert(&mut self, id: SubscriptionId, member: Member) {
        if member.filters.iter().all(Filter::is_narrow) {
            for sensor in member.filters.iter().flat_map(|filter| &filter.sensors) {
                let ids = self.narrow.entry(sensor.clone()).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        } else {
            self.broad.push(id);
        }
        self.by_id.insert(id, member);
    }

    fn remove(&mut self, id: SubscriptionId) -> Option<Member> {
        let member = self.by_id.remove(&id)?;
        self.broad.retain(|entry| *entry != id);
        for sensor in member.filters.iter().flat_map(|filter| &filter.sensors) {
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
}

// === impl Watchers ===

impl Watchers {
    /// Forgets what was resolved: the next reading resolves anew.
    pub fn reset(&mut self) {
        self.generation = 0;
    }

    /// The resolved subscriptions.
    pub fn list(&self) -> &[Arc<Subscription>] {
        self.list.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{AttributeId, Delivery, NodeName, SensorType, Value};
    use crate::subscription::Contract;

    fn series(sensor: &str) -> Arc<Series> {
        Arc::new(Series {
            sensor: SensorId::new(sensor).unwrap(),
            attribute: AttributeId::new("x").unwrap(),
            sensor_type: SensorType::default(),
            node: NodeName::new("a").unwrap(),
            epoch: 1,
        })
    }

    fn sample(seq: u64) -> Sample {
        Sample { value: Value::I64(0), source_time: 0, received_time: 0, seq }
    }

    fn subscription() -> Arc<Subscription> {
        Arc::new(Subscription::new(Contract::default()))
    }

    fn taken(subscription: &Subscription) -> Vec<u64> {
        let mut out = Vec::new();
        subscription.take(&mut out, 100);
        out.iter().map(|d| if let Delivery::Reading(r) = d { r.seq } else { 0 }).collect()
    }

    #[test]
    fn broad_subscriptions_reach_series_resolved_before_them() {
        let fanout = Fanout::default();
        let (series, mut watchers) = (series("s"), Watchers::default());
        fanout.deliver(&series, &sample(1), &mut watchers);
        let reader = subscription();
        let id = fanout.add(vec![Filter::all()], reader.clone()).unwrap();
        fanout.deliver(&series, &sample(2), &mut watchers);
        assert!(fanout.remove(id));
        fanout.deliver(&series, &sample(3), &mut watchers);
        assert_eq!(taken(&reader), [2]);
        assert!(reader.is_closed() && fanout.is_empty() && !fanout.remove(id));
    }

    #[test]
    fn narrow_subscriptions_disturb_no_other_series() {
        let fanout = Fanout::default();
        let (s, t) = (series("s"), series("t"));
        let (mut ws, mut wt) = (Watchers::default(), Watchers::default());
        fanout.deliver(&s, &sample(1), &mut ws);
        fanout.deliver(&t, &sample(1), &mut wt);
        let resolved_at = wt.generation;
        let reader = subscription();
        let id = fanout.add(vec![Filter::sensor(s.sensor.clone())], reader.clone()).unwrap();
        assert_eq!(fanout.named_sensors(id), vec![s.sensor.clone()]);
        ws.reset();
        fanout.deliver(&s, &sample(2), &mut ws);
        fanout.deliver(&t, &sample(2), &mut wt);
        assert_eq!(wt.generation, resolved_at);
        assert_eq!(taken(&reader), [2]);
        assert!(fanout.replace(id, vec![Filter::sensor(t.sensor.clone())]));
        ws.reset();
        wt.reset();
        fanout.deliver(&s, &sample(3), &mut ws);
        fanout.deliver(&t, &sample(3), &mut wt);
        assert_eq!(taken(&reader), [3]);
    }

    #[test]
    fn a_subscription_with_overlapping_filters_gets_a_reading_once() {
        let fanout = Fanout::default();
        let (series, reader) = (series("s"), subscription());
        fanout.add(vec![Filter::all(), Filter::sensor(series.sensor.clone())], reader.clone()).unwrap();
        fanout.deliver(&series, &sample(1), &mut Watchers::default());
        assert_eq!(taken(&reader), [1]);
    }
}

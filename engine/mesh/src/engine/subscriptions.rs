//! Subscriptions of this node's readers: their start, their end, what they want, what became of their readings.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use senza_core::fanout::{SubscriptionId, Wanted, Watchers};
use senza_core::history::Sample;
use senza_core::row::Row;
use senza_core::subscription::{Contract, Start, Subscription, Want};
use senza_core::{Epoch, Filter, Micros, NodeName, Result, SensorId, Seq, Series};

use super::demand::{FollowerId, Latest, Seen};
use super::{Account, Engine, VisitSeries};
impl Engine {
    /// Subscribes to what matches, on every node, sensors that come later included. The queue answers the revised
    /// contract. A live subscription visits no series.
    ///
    /// # Errors
    /// [`Error::Contract`](senza_core::Error::Contract) for a contract that makes no sense, [`Error::Full`](senza_core::Error::Full) at the bound of subscriptions or of a
    /// filter's entries.
    pub fn watch(&self, filter: &Filter, contract: Contract) -> Result<(SubscriptionId, Arc<Subscription>)> {
        contract.check()?;
        let contract = contract.revised();
        let subscription = Arc::new(Subscription::new(contract));
        let id = self.fanout.add(vec![(filter.clone(), contract.want)], subscription.clone())?;
        let named = self.fanout.named_sensors(id);
        match contract.start {
            Start::Live => self.visit(&named, &mut |_, _, _, watchers| watchers.reset()),
            Start::Latest => self.start_kept(&subscription, filter, &named, (Micros::MIN, 1)),
            Start::Last(last) => self.start_kept(&subscription, filter, &named, (Micros::MIN, last as usize)),
            Start::Since(from) => self.start_kept(&subscription, filter, &named, (from, usize::MAX)),
        }
        if contract.start == Start::Latest {
            for link in self.relay.all_incoming() {
                link.lock().start(&named, filter, &subscription, &self.fanout);
            }
        }
        self.readers.lock().insert(id);
        self.paces.fetch_or(contract.want.may_hold_back(), Ordering::AcqRel);
        // Before a start is waited for: it is asked for under an interest that this is part of.
        self.wake_for(&self.interest_changed);
        if !self.await_starts(&subscription, filter) {
            subscription.started();
        }
        self.demands_may_differ();
        Ok((id, subscription))
    }

    /// Offers what is kept of this node's series that match, each under its lock, so that the seam to what is live is
    /// exact.
    pub(super) fn start_kept(
        &self,
        subscription: &Arc<Subscription>,
        filter: &Filter,
        named: &[SensorId],
        span: (Micros, usize),
    ) {
        let mut start = |series: &Arc<Series>, last_seq: Seq, kept: &[Sample], watchers: &mut Watchers| {
            watchers.reset();
            if filter.matches(series) && !kept.is_empty() {
                self.fanout.resolve(series, watchers);
                if let Some(number) = watchers.number_in(subscription) {
                    subscription.offer_history(number, kept, last_seq);
                }
            }
        };
        if named.is_empty() {
            (0..self.table.shard_count()).for_each(|shard| self.table.visit_kept(shard, span, &mut start));
        }
        named.iter().for_each(|sensor| self.table.visit_kept_of(sensor.as_str(), span, &mut start));
    }

    /// Offers the latest reading of a series; called under the series' lock, so that the seam to what is live is exact.
    pub(super) fn start_series(
        &self,
        subscription: &Arc<Subscription>,
        series: &Arc<Series>,
        (last_seq, latest): (Seq, Option<&Sample>),
        watchers: &mut Watchers,
    ) {
        self.fanout.resolve(series, watchers);
        let (Some(sample), Some(number)) = (latest, watchers.number_in(subscription)) else { return };
        let row = Row::reading(number, sample);
        let value = row.has_value_beside().then(|| sample.value.clone());
        subscription.offer_start(row, value, last_seq);
    }

    /// Gives a subscription other filters, each wanted as its contract says. What matched before and still does goes on
    /// without gap or duplicate; what matches only now begins live. Narrow filters visit the series they name, before
    /// and after; others none.
    ///
    /// # Errors
    /// [`Error::Full`](senza_core::Error::Full) at the bound of a filter's entries: the subscription then stays as it is.
    pub fn rewatch(&self, id: SubscriptionId, filters: &[Filter], want: Want) -> Result<()> {
        filters.iter().try_for_each(Filter::check)?;
        let (before, wanted) = (self.fanout.named_sensors(id), self.fanout.wanted_by([id].into_iter()));
        if !self.fanout.replace(id, filters.iter().map(|filter| (filter.clone(), want)).collect()) {
            return Ok(());
        }
        let after = self.fanout.named_sensors(id);
        // Names none where it is broad: then every series looks again.
        let all = before.is_empty() || after.is_empty();
        let named = [before, after].concat();
        self.visit(&named, &mut |_, _, _, watchers| watchers.reset());
        let is_own = |filter: &Filter| filter.nodes == [self.me().node.clone()];
        if !(filters.iter().all(is_own) && wanted.iter().all(|(filter, _)| is_own(filter))) {
            let named = if all { &[] } else { named.as_slice() };
            self.relay.all_incoming().iter().for_each(|link| link.lock().unwatch(named, &self.fanout));
        }
        self.wake_for(&self.interest_changed);
        self.demands_may_differ();
        Ok(())
    }

    /// Ends a subscription.
    pub fn unwatch(&self, id: SubscriptionId) {
        let named = self.fanout.named_sensors(id);
        self.readers.lock().remove(&id);
        if self.fanout.remove(id) {
            self.visit(&named, &mut |_, _, _, watchers| watchers.reset());
            for link in self.relay.all_incoming() {
                link.lock().unwatch(&named, &self.fanout);
            }
            self.wake_for(&self.interest_changed);
            self.demands_may_differ();
        }
    }

    /// What all subscriptions of the cluster that this node knows of want of a sensor of this node, attribute by
    /// attribute joined; `None` where nobody watches, or the sensor is not here.
    pub fn demand(&self, sensor: &str) -> Option<Want> {
        let mut demand: Option<Want> = None;
        self.table.visit_sensor(sensor, |series, _, _, watchers| {
            let wanted = self.fanout.demand(series, watchers);
            demand = match (demand, wanted) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            };
        });
        demand
    }

    /// Follows the demand of a sensor of this node; see [`SensorHandle::demands`](crate::handle::SensorHandle::demands).
    pub(crate) fn follow(&self, sensor: &SensorId, epoch: Epoch) -> Result<(FollowerId, Arc<Latest>)> {
        self.followers.add(sensor.clone(), epoch, |sensor, epoch| self.see(sensor, epoch))
    }

    /// What is wanted of a sensor, and whether a claim to it is over: one that is beaten stands until it is given up,
    /// which in [`Mode::Shadow`](super::Mode::Shadow) no claim is.
    pub(super) fn see(&self, sensor: &SensorId, epoch: Epoch) -> Seen {
        let over = self.table.epoch(sensor.as_str()) != Some(epoch);
        Seen { demand: self.demand(sensor.as_str()), over }
    }

    pub(crate) fn unfollow(&self, id: FollowerId) {
        self.followers.remove(id);
    }

    /// Has the next tick look at followed demands. Called after a change is whole: what was looked at before a series
    /// was reset is looked at again.
    pub(super) fn demands_may_differ(&self) {
        // Who begins to follow is counted before it looks: of the two, one sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.followers.any() {
            self.wake_for(&self.followers.differ);
        }
    }

    /// The same, where an attribute was made: its series may be watched though no other of the sensor is.
    pub(super) fn note_attributes(&self) {
        if self.followers.notes(self.table.attributes_made()) {
            self.wake_for(&self.followers.differ);
        }
    }

    /// Every subscription of this node, and every link to another one that asked for something: what it wants, and what
    /// became of every reading offered to it.
    pub fn accounts(&self) -> Vec<Account> {
        let readers = self.readers.lock().clone();
        let links: Vec<(NodeName, Arc<Subscription>)> = self
            .relay
            .all_outgoing()
            .iter()
            .map(|link| (link.life.node.clone(), link.subscription().clone()))
            .collect();
        let account = |(id, wanted, subscription): (SubscriptionId, Vec<Wanted>, Arc<Subscription>)| {
            let link = links.iter().find(|(_, queue)| Arc::ptr_eq(queue, &subscription));
            let to = link.map(|(node, _)| node.clone());
            let known = to.is_some() || readers.contains(&id);
            known.then(|| Account { id, to, wanted, contract: subscription.contract(), ledger: subscription.ledger() })
        };
        self.fanout.all().into_iter().filter_map(account).collect()
    }

    /// Visits the series of the named sensors.
    pub(super) fn visit(&self, named: &[SensorId], visit: VisitSeries<'_>) {
        named.iter().for_each(|sensor| self.table.visit_sensor(sensor.as_str(), &mut *visit));
    }
}

//! What an engine knows of the cluster: where sensors are, listings, nodes, links, what happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;
use senza_core::directory::{Listed, Located, PARTITIONS};
use senza_core::{Filter, Life, NodeName, SensorId};

use super::mode::Mode;
use super::{Cursor, Engine, HAPPENINGS_MAX, Happening, LinkView, Listener, NodeView, Page, Whereis};
use crate::counters::{CounterValues, count};
use crate::ownership::OwnershipCounts;
use crate::relay::LinkCounts;
use crate::transport::LinkTraffic;
impl Engine {
    /// Where a sensor is. No allocation, awaits nothing; no lock, but for another node's name one for an instant where
    /// nodes came or were forgotten since this thread last asked. In [`Mode::Shadow`] the registry in charge answers, and
    /// is compared.
    pub fn whereis(&self, sensor: &str) -> Whereis {
        let answer = match self.directory.locate(sensor) {
            None => Whereis::NotFound,
            Some(located) if located.is_local() => Whereis::Local { epoch: located.epoch },
            Some(located) => Whereis::Remote { node: self.directory.node_of(located.life), epoch: located.epoch },
        };
        if self.mode() == Mode::Shadow { self.compared(sensor, answer) } else { answer }
    }

    /// Where a sensor is, without names: the fewest steps. Not compared in [`Mode::Shadow`].
    pub fn locate(&self, sensor: &str) -> Option<Located> {
        self.directory.locate(sensor)
    }

    /// [`locate`](Self::locate) for many sensors, whose waits for memory overlap: `answer` is told in their order.
    pub fn locate_many<S: AsRef<str>>(&self, sensors: &[S], answer: impl FnMut(Option<Located>)) {
        self.directory.locate_many(sensors, answer);
    }

    /// The life behind a number that [`locate`](Self::locate) answered.
    pub fn life(&self, number: u16) -> Option<Life> {
        self.directory.life(number)
    }

    /// What the directory says of a sensor.
    pub fn listed(&self, sensor: &str) -> Option<Listed> {
        let owner = self.directory.owner_of(sensor)?;
        let sensor_type = self.directory.type_of(sensor)?;
        Some(Listed { sensor: SensorId::new(sensor).ok()?, sensor_type, owner })
    }

    /// One page of the sensors that match, from where the page before ended. Each partition of the directory is read
    /// as one consistent view; the last page says that it is the last.
    pub fn page(&self, from: &Cursor, filter: &Filter, limit: usize) -> Page {
        let mut sensors = Vec::new();
        let (mut partition, mut after) = (from.partition, from.after.clone());
        while usize::from(partition) < PARTITIONS {
            let left = limit.max(1) - sensors.len();
            let found = self.directory.page(partition as u8, after.as_ref().map(SensorId::as_str), filter, left + 1);
            let more = found.len() > left;
            for listed in found.into_iter().take(left) {
                after = Some(listed.sensor.clone());
                sensors.push(listed);
            }
            if more {
                return Page { sensors, next: Some(Cursor { partition, after }) };
            }
            (partition, after) = (partition + 1, None);
        }
        Page { sensors, next: None }
    }

    /// All sensors that match, partition by partition.
    pub fn sensors(&self, filter: &Filter) -> Vec<Listed> {
        (0..=255).flat_map(|partition| self.directory.page(partition, None, filter, usize::MAX)).collect()
    }

    /// The nodes that are up, this one first.
    pub fn nodes(&self) -> Vec<NodeView> {
        let view = |life: Life| NodeView { sensors: self.directory.count(&life), local: life == self.me, life };
        self.directory.lives_up().into_iter().map(view).collect()
    }

    /// Whether the sets of all nodes heard of were fetched.
    pub fn synced(&self) -> bool {
        self.ownership.lock().synced()
    }

    /// Claims held in the directory, and claims that the sets of all lives say there are.
    pub fn audit(&self) -> (u64, u64) {
        self.directory.audit()
    }

    /// Partitions on their way and claims still contested: 0 after quiet.
    pub fn backlog(&self) -> usize {
        self.ownership.lock().backlog()
    }

    /// The sensors that live in this node's table. Walks it.
    pub fn held(&self) -> Vec<SensorId> {
        (0..self.table.shard_count()).flat_map(|shard| self.table.scan(shard)).map(|view| view.sensor).collect()
    }

    /// What the links carried, frames first.
    pub fn links(&self) -> Vec<LinkView> {
        let mut links: BTreeMap<NodeName, LinkView> = BTreeMap::new();
        let empty = |node: &NodeName| LinkView {
            node: node.clone(),
            sent: LinkCounts::default(),
            received: LinkCounts::default(),
        };
        for out in self.relay.all_outgoing() {
            let node = &out.life.node;
            links.entry(node.clone()).or_insert_with(|| empty(node)).sent = out.counts();
        }
        for incoming in self.relay.all_incoming() {
            let incoming = incoming.lock();
            let node = &incoming.life.node;
            links.entry(node.clone()).or_insert_with(|| empty(node)).received = incoming.counts();
        }
        links.into_values().collect()
    }

    /// How many series of other nodes are relayed to this one.
    pub fn relayed_series(&self) -> usize {
        self.relay.all_incoming().iter().map(|link| link.lock().series()).sum()
    }

    /// What the transport carried.
    pub fn traffic(&self) -> Vec<LinkTraffic> {
        self.transport.traffic()
    }

    /// What was counted.
    pub fn counters(&self) -> (CounterValues, OwnershipCounts) {
        (self.counters.read(), self.ownership.lock().counts())
    }

    /// What happens from now on, in order per sensor, on a queue of [`HAPPENINGS_MAX`]. Dropping it ends it.
    pub fn happenings(&self) -> Receiver<Happening> {
        self.listen(|| {}).0
    }

    /// [`happenings`](Self::happenings) for whoever waits for other things too: `bell` is rung after something was
    /// queued, in the thread that it happens in, so it must neither wait nor come back here. With it comes the number of
    /// those that found the queue full.
    pub fn listen(&self, bell: impl Fn() + Send + Sync + 'static) -> (Receiver<Happening>, Arc<AtomicU64>) {
        let (queue, receiver) = crossbeam_channel::bounded(HAPPENINGS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        self.happenings.write().push(Listener { queue, lost: lost.clone(), bell: Box::new(bell) });
        (receiver, lost)
    }

    /// Another life of this node's name that was heard, the last one.
    pub fn rival(&self) -> Option<Life> {
        self.rival.lock().clone()
    }

    /// Hash of one life's set as this node holds it: what two nodes compare to agree.
    pub fn set_hash(&self, life: &Life) -> Option<u64> {
        self.directory.set_hash(life)
    }

    pub(super) fn tell(&self, happening: &Happening) {
        let mut ended: Vec<Arc<AtomicU64>> = Vec::new();
        for listener in self.happenings.read().iter() {
            match listener.queue.try_send(happening.clone()) {
                Ok(()) => {}
                Err(crossbeam_channel::TrySendError::Full(_)) => {
                    count(&self.counters.events_lost);
                    listener.lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => ended.push(listener.lost.clone()),
            }
            (listener.bell)();
        }
        if !ended.is_empty() {
            let is_ended = |listener: &Listener| ended.iter().any(|lost| Arc::ptr_eq(lost, &listener.lost));
            self.happenings.write().retain(|listener| !is_ended(listener));
        }
    }
}

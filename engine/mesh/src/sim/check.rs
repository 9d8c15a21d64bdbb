//! What must be true of a cluster: after quiet, and of what its nodes tell at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crossbeam_channel::Receiver;
use senza_core::directory::{Listed, Owner};
use senza_core::{Filter, Life, NodeName, SensorId};

use super::Cluster;
use crate::engine::{Engine, Happening};

/// What a run broke, and how to run it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    /// The cluster's seed.
    pub seed: u64,
    /// One sentence each.
    pub found: Vec<String>,
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.found.join("; "))
    }
}

impl std::error::Error for Violations {}

// === after quiet ===

/// The first pair of running nodes of which one holds the other's set otherwise.
pub(super) fn disagreement(cluster: &Cluster) -> Option<(NodeName, NodeName)> {
    for (owner, node) in &cluster.nodes {
        let own = node.engine.set_hash(node.engine.me());
        let differs = |other: &Engine| other.set_hash(node.engine.me()) != own;
        if let Some((holder, _)) = cluster.nodes.iter().find(|(_, other)| differs(&other.engine)) {
            return Some((holder.clone(), owner.clone()));
        }
    }
    None
}

pub(super) fn quiet(cluster: &Cluster, found: &mut Vec<String>) {
    if let Some((holder, owner)) = disagreement(cluster) {
        found.push(format!("{holder} holds another set of {owner} than {owner} itself"));
    }
    let running: BTreeSet<&Life> = cluster.nodes.values().map(|node| node.engine.me()).collect();
    let mut sensors: BTreeSet<SensorId> = BTreeSet::new();
    for (name, node) in &cluster.nodes {
        let seen: Vec<Life> = node.engine.nodes().into_iter().map(|view| view.life).collect();
        if seen.iter().collect::<BTreeSet<_>>() != running {
            found.push(format!("{name} sees {seen:?}"));
        }
        if node.engine.backlog() > 0 {
            found.push(format!("{name} still has {} partitions or contests open", node.engine.backlog()));
        }
        let (held, said) = node.engine.audit();
        if held != said {
            found.push(format!("{name} holds {held} claims, but its views count {said}"));
        }
        let listed = node.engine.sensors(&Filter::all());
        node.observer.compare(name, &listed, found);
        sensors.extend(listed.into_iter().map(|listed| listed.sensor));
        sensors.extend(node.engine.held());
    }
    for sensor in &sensors {
        one_home(cluster, sensor, found);
    }
}

/// One owner by every directory, and a home on that node alone.
fn one_home(cluster: &Cluster, sensor: &SensorId, found: &mut Vec<String>) {
    let owners: BTreeSet<Option<(NodeName, u64)>> = cluster
        .nodes
        .values()
        .map(|node| node.engine.listed(sensor.as_str()).map(|listed| (listed.owner.life.node, listed.owner.epoch)))
        .collect();
    let homes: BTreeSet<Option<(NodeName, u64)>> = cluster
        .nodes
        .iter()
        .filter_map(|(name, node)| Some(Some((name.clone(), node.engine.view(sensor.as_str())?.epoch))))
        .collect();
    if owners.len() != 1 {
        found.push(format!("{sensor} has several owners: {owners:?}"));
    } else if homes.len() > 1 {
        found.push(format!("{sensor} has several homes: {homes:?}"));
    } else if homes != owners && !(homes.is_empty() && owners.contains(&None)) {
        found.push(format!("{sensor} is a ghost or hidden: owned by {owners:?}, at home on {homes:?}"));
    }
}

// === at any time ===

/// Follows what one node tells.
pub(super) struct Observer {
    told: Receiver<Happening>,
    node: NodeName,
    /// How many nodes came or went: told once for all their sensors, so that what was told of a sensor before no longer
    /// says who owns it.
    comings: u64,
    /// The last owner told of each sensor (`None`: none), and after which coming.
    owners: BTreeMap<SensorId, (Option<Owner>, u64)>,
}

impl Observer {
    pub(super) fn new(engine: &Engine) -> Self {
        let node = engine.me().node.clone();
        Self { told: engine.happenings(), node, comings: 0, owners: BTreeMap::new() }
    }

    pub(super) fn look(&mut self, found: &mut Vec<String>) {
        while let Ok(happening) = self.told.try_recv() {
            match happening {
                Happening::Registered(listed) => self.step(&listed.sensor, None, Some(listed.owner), found),
                Happening::Moved { now, previous } => self.step(&now.sensor, Some(&previous), Some(now.owner), found),
                Happening::Unregistered(listed) => self.step(&listed.sensor, Some(&listed.owner), None, found),
                Happening::NodeUp(_) | Happening::NodeDown(_) => self.comings += 1,
                Happening::Healed(_) => {}
            }
        }
    }

    fn step(&mut self, sensor: &SensorId, before: Option<&Owner>, after: Option<Owner>, found: &mut Vec<String>) {
        let known = self.owners.get(sensor).filter(|(_, coming)| *coming == self.comings);
        if let Some((known, _)) = known.filter(|(known, _)| known.as_ref() != before) {
            let node = &self.node;
            found.push(format!("{node} told {sensor} out of order: {before:?} -> {after:?} after {known:?}"));
        }
        self.owners.insert(sensor.clone(), (after, self.comings));
    }

    /// Whether what was told adds up to what the directory lists.
    fn compare(&self, node: &NodeName, listed: &[Listed], found: &mut Vec<String>) {
        let listed: BTreeMap<&SensorId, &Owner> = listed.iter().map(|listed| (&listed.sensor, &listed.owner)).collect();
        for (sensor, (owner, _)) in self.owners.iter().filter(|(_, (_, coming))| *coming == self.comings) {
            if listed.get(sensor).copied() != owner.as_ref() {
                found.push(format!("{node} told {owner:?} of {sensor}, but lists {:?}", listed.get(sensor)));
            }
        }
    }
}

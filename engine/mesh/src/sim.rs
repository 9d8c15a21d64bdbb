//! A cluster in one thread: real engines on a simulated network in virtual time, for tests of this project and yours.
//!
//! ```
//! use senza_core::Value;
//! use senza_mesh::sim::Cluster;
//!
//! let mut cluster = Cluster::seed(42).nodes(5);
//! let watch = cluster.register("a", "watch 1");
//! cluster.settle();
//! assert_eq!(cluster.owner("e", "watch 1").as_deref(), Some("a"));
//!
//! cluster.partition(&[&["a", "b"], &["c", "d", "e"]]);
//! cluster.settle();
//! assert_eq!(cluster.owner("e", "watch 1"), None);
//! let taken = cluster.register("e", "watch 1");
//! cluster.heal_all();
//! cluster.settle();
//! assert_eq!(cluster.owner("a", "watch 1").as_deref(), Some("e"));
//! assert!(watch.put("pulse", Value::I64(72)).is_err(), "the loser's late readings are refused");
//!
//! cluster.skew("b", -3_600_000_000);
//! cluster.crash("b");
//! cluster.start("b");
//! cluster.settle();
//! cluster.check().unwrap();
//! # drop(taken);
//! ```
//!
//! The same seed and the same calls give the same run, to the byte. [`Cluster::check`] holds what must be true of every
//! cluster after quiet; [`Schedule`] makes random scripts of what can go wrong and checks them.

mod check;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use senza_core::codec::{self, Beacon, Message};
use senza_core::subscription::Contract;
use senza_core::table::TableLimits;
use senza_core::{Filter, Incarnation, Life, Micros, NodeName, Result};

use crate::clock::Clock;
use crate::engine::{Engine, EngineConfig, Mode, OnConflict, Sensor, TAKEOVER_HOLDOFF_US, Whereis};
use crate::handle::{SensorHandle, Subscriber};
pub use crate::network::{LinkRules, Network, SimClock};
use crate::ownership::Timing;
use crate::transport::Event;
use check::Observer;
pub use check::Violations;
pub use schedule::Schedule;

/// How long after a change the next flush comes.
const FLUSH_US: Micros = 2_000;

/// Engines on a simulated network. Nodes are called `a`, `b`, `c`, ….
pub struct Cluster {
    seed: u64,
    network: Arc<Network>,
    timing: Timing,
    nodes: BTreeMap<NodeName, SimNode>,
    /// The last life of every name: its incarnation, and the skew of its clock.
    lives: BTreeMap<NodeName, (Incarnation, Micros)>,
    /// Folds what happened, in order: equal for equal runs.
    trace: u64,
    violations: Vec<String>,
}

struct SimNode {
    engine: Arc<Engine>,
    clock: Arc<SimClock>,
    next_tick: Micros,
    woken: Arc<AtomicBool>,
    observer: Observer,
}

/// A cluster about to start.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    seed: u64,
    links: LinkRules,
    timing: Timing,
}

impl Builder {
    /// How links behave from the start; well by default.
    pub fn links(self, links: LinkRules) -> Self {
        Self { links, ..self }
    }

    /// When the ownership protocol does what.
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Starts so many nodes, and lets them hear of each other.
    ///
    /// # Panics
    /// With more than 26 nodes.
    pub fn nodes(self, count: usize) -> Cluster {
        assert!(count <= 26, "nodes are named by one letter");
        let mut cluster = Cluster {
            seed: self.seed,
            network: Network::new(self.seed, self.links),
            timing: self.timing,
            nodes: BTreeMap::new(),
            lives: BTreeMap::new(),
            trace: self.seed,
            violations: Vec::new(),
        };
        for letter in ('a'..='z').take(count) {
            cluster.start(&letter.to_string());
        }
        cluster.settle();
        cluster
    }
}

impl Cluster {
    /// A cluster whose every delay and loss is drawn from this seed.
    pub fn seed(seed: u64) -> Builder {
        Builder { seed, links: LinkRules::default(), timing: Timing::default() }
    }

    /// Starts a node, or starts it anew after a crash: a new life.
    ///
    /// # Panics
    /// When it runs already, or `node` is no node name.
    pub fn start(&mut self, node: &str) {
        let name = name(node);
        assert!(!self.nodes.contains_key(&name), "{node} runs already");
        let (last, skew) = self.lives.get(&name).copied().unwrap_or_default();
        let clock = self.network.clock();
        clock.set_skew(skew);
        let incarnation = clock.now().unsigned_abs().max(last + 1);
        self.lives.insert(name.clone(), (incarnation, skew));
        let me = Life { node: name.clone(), incarnation };
        let transport = self.network.attach(&me);
        let table = TableLimits { shards: 8, ..TableLimits::default() };
        let (takeover_holdoff_us, mode) = (TAKEOVER_HOLDOFF_US, Mode::Cluster);
        let config = EngineConfig { me, table, timing: self.timing, takeover_holdoff_us, mode, seed: self.seed };
        let engine = Engine::new(config, transport, clock.clone());
        let woken = Arc::new(AtomicBool::new(true));
        let flag = woken.clone();
        engine.on_wake(move || flag.store(true, Ordering::Relaxed));
        let observer = Observer::new(&engine);
        self.nodes.insert(name, SimNode { engine, clock, next_tick: self.network.now(), woken, observer });
    }

    /// Kills a node without a word.
    pub fn crash(&mut self, node: &str) {
        if let Some(gone) = self.nodes.remove(&name(node)) {
            self.network.detach(gone.engine.me());
        }
    }

    /// Stops a node in good order.
    pub fn stop(&mut self, node: &str) {
        if let Some(gone) = self.nodes.remove(&name(node)) {
            gone.engine.close();
        }
    }

    /// Has another life of a running node's name, higher than its own, speak to all for so long and say farewell.
    ///
    /// # Panics
    /// When the node does not run.
    pub fn rival(&mut self, node: &str, micros: Micros) {
        let me = self.engine(node).me().clone();
        let rival = Life { incarnation: me.incarnation + 1, ..me };
        let beacon = Beacon { number: 1, sensors: 0, set_hash: 0, sent: 0, heard: Vec::new() };
        self.network.speak(&rival.node, &codec::encode(rival.incarnation, &Message::Beacon(beacon)));
        self.run_for(micros);
        self.network.speak(&rival.node, &codec::encode(rival.incarnation, &Message::Bye));
    }

    /// Sets a node's clock ahead of the others; it keeps that after a restart.
    pub fn skew(&mut self, node: &str, skew: Micros) {
        let name = name(node);
        if let Some(node) = self.nodes.get(&name) {
            node.clock.set_skew(skew);
        }
        self.lives.entry(name).or_default().1 = skew;
    }

    /// Cuts the link between two nodes, both ways.
    pub fn cut(&mut self, a: &str, b: &str) {
        self.network.cut(&name(a), &name(b));
        self.network.cut(&name(b), &name(a));
    }

    /// Cuts one direction of a link.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        self.network.cut(&name(from), &name(to));
    }

    /// Cuts every link between nodes of different groups, both ways, and mends those within a group. Nodes that stand in
    /// no group keep their links.
    pub fn partition(&mut self, groups: &[&[&str]]) {
        for (at, group) in groups.iter().enumerate() {
            for node in *group {
                for (other_at, other_group) in groups.iter().enumerate().skip(at) {
                    for other in other_group.iter().filter(|other| *other != node) {
                        if other_at == at { self.heal(node, other) } else { self.cut(node, other) }
                    }
                }
            }
        }
    }

    /// Mends all links.
    pub fn heal_all(&mut self) {
        self.network.heal_all();
    }

    /// Takes a node's token from another's sight, as a transport may at any time, though its messages still come.
    pub fn lose_token(&mut self, of: &str, at: &str) {
        let (of, at) = (name(of), name(at));
        if let (Some(of), Some(at)) = (self.nodes.get(&of), self.nodes.get(&at)) {
            let gone = Event::TokenGone(of.engine.me().clone());
            at.engine.handle(&gone);
        }
    }

    /// Mends the link between two nodes.
    pub fn heal(&mut self, a: &str, b: &str) {
        self.network.heal(&name(a), &name(b));
    }

    /// Changes how links behave from now on.
    pub fn set_rules(&mut self, rules: LinkRules) {
        self.network.set_rules(rules);
    }

    /// The engine of a running node.
    ///
    /// # Panics
    /// When it does not run.
    pub fn engine(&self, node: &str) -> &Arc<Engine> {
        &self.nodes.get(&name(node)).unwrap_or_else(|| panic!("{node} does not run")).engine
    }

    /// The names of the running nodes.
    pub fn running(&self) -> Vec<String> {
        self.nodes.keys().map(ToString::to_string).collect()
    }

    /// Registers a sensor on a node, taking it over where another owns it, also from one that took it just now.
    ///
    /// # Panics
    /// When the node refuses, or `sensor` is no id.
    pub fn register(&self, node: &str, sensor: &str) -> SensorHandle {
        self.try_register(node, sensor, OnConflict::Force).expect("a script stays within bounds")
    }

    /// Registers a sensor on a node under a policy.
    ///
    /// # Errors
    /// As [`Engine::claim`].
    pub fn try_register(&self, node: &str, sensor: &str, on_conflict: OnConflict) -> Result<SensorHandle> {
        SensorHandle::register(self.engine(node), &Sensor::new(sensor)?, on_conflict)
    }

    /// Subscribes on a node.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn subscribe(&self, node: &str, filter: &Filter, contract: Contract) -> Subscriber {
        Subscriber::subscribe(self.engine(node), filter, contract).expect("a script stays within bounds")
    }

    /// Who owns a sensor, as a node sees it.
    pub fn owner(&self, node: &str, sensor: &str) -> Option<String> {
        match self.engine(node).whereis(sensor) {
            Whereis::Local { .. } => Some(node.to_owned()),
            Whereis::Remote { node, .. } => Some(node.to_string()),
            Whereis::NotFound => None,
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Micros {
        self.network.now()
    }

    /// A number that is equal for runs in which the same happened in the same order.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, micros: Micros) {
        let until = self.network.now() + micros;
        while self.step(until) {}
        self.network.advance_to(until);
    }

    /// Lets time pass until the condition holds, at most `limit` microseconds. Answers whether it did.
    pub fn run_until(&mut self, limit: Micros, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let until = self.network.now() + limit;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(until) {
                return false;
            }
        }
    }

    /// Lets time pass until all is told and healed: silence noticed, beacons exchanged, partitions pulled.
    pub fn settle(&mut self) {
        self.run_for(self.timing.silence_us + 4 * self.timing.beacon_us);
    }

    /// Whether all running nodes hold every running node's set alike.
    pub fn agree(&self) -> bool {
        check::disagreement(self).is_none()
    }

    /// Holds what must be true of every cluster whose links are whole and that was quiet for a while
    /// ([`settle`](Self::settle), twice after long silences), and what its nodes told meanwhile:
    ///
    /// - all nodes that run see each other, and hold equal sets;
    /// - every sensor has one owner everywhere, lives on that node and on no other; nothing that was unregistered is
    ///   owned by anybody;
    /// - no node told an event out of order: each fits what it told of that sensor before;
    /// - nothing is left over: no partition on its way, no claim still contested, no
    ///   claim in memory that no set counts.
    ///
    /// # Errors
    /// All that was found.
    pub fn check(&self) -> std::result::Result<(), Violations> {
        let mut found = self.violations.clone();
        check::quiet(self, &mut found);
        if found.is_empty() { Ok(()) } else { Err(Violations { seed: self.seed, found }) }
    }

    /// One event or tick, if there is one by `until`.
    fn step(&mut self, until: Micros) -> bool {
        let now = self.network.now();
        for node in self.nodes.values_mut() {
            if node.woken.swap(false, Ordering::Relaxed) {
                node.next_tick = node.next_tick.min(now + FLUSH_US);
            }
            for link in node.engine.outgoing() {
                node.engine.pump(&link);
            }
        }
        let (tick_at, node) = match self.nodes.iter().map(|(name, node)| (node.next_tick, name)).min() {
            Some((at, name)) => (at, Some(name.clone())),
            None => (Micros::MAX, None),
        };
        let event_at = self.network.next_at().unwrap_or(Micros::MAX);
        if tick_at.min(event_at) > until {
            return false;
        }
        match node.filter(|_| tick_at <= event_at) {
            Some(node) => {
                self.network.advance_to(tick_at);
                self.tick(&node);
            }
            // What is due may not happen: its link was cut, its node is gone.
            None => {
                if let Some((to, event)) = self.network.next(event_at) {
                    self.deliver(&to, &event);
                }
            }
        }
        true
    }

    fn tick(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let wanted = node.engine.tick();
        node.next_tick = wanted.max(self.network.now() + 1);
        node.observer.look(&mut self.violations);
        self.fold(name, b"tick");
    }

    fn deliver(&mut self, to: &Life, event: &Event) {
        let Some(node) = self.nodes.get_mut(&to.node).filter(|node| node.engine.me() == to) else { return };
        node.engine.handle(event);
        node.observer.look(&mut self.violations);
        if let Event::Message { bytes, .. } = event {
            self.fold(&to.node, bytes);
        }
    }

    fn fold(&mut self, node: &NodeName, bytes: &[u8]) {
        let now = self.network.now().unsigned_abs();
        let hashed = senza_core::hash::xxh64(bytes) ^ senza_core::hash::xxh64(node.as_str().as_bytes()) ^ now;
        self.trace = self.trace.rotate_left(7).wrapping_mul(0x9E37_79B1_85EB_CA87).wrapping_add(hashed);
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a script's nodes are named by letters")
}

//! The simulated network: an in-process [`Transport`] with virtual time and links that misbehave as told.
//!
//! Everything follows from the seed and the calls made: messages are really encoded bytes, every delay and loss is
//! drawn from one generator, and nothing reads the machine's clock or starts a thread. It knows no engine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use senza_core::{Life, Micros, NodeName};

use crate::clock::Clock;
use crate::transport::{Class, Event, LinkTraffic, MESSAGE_MAX, Transport};

/// When virtual time begins: a moment in November 2026.
pub const BEGIN: Micros = 1_795_000_000_000_000;

/// How links behave.
#[derive(Clone, Copy, Debug)]
pub struct LinkRules {
    /// Shortest and longest delay of a message, microseconds.
    pub delay_us: (Micros, Micros),
    /// Of 1,000 messages, so many are lost.
    pub loss_per_mille: u32,
    /// Of 1,000 messages, so many arrive twice.
    pub duplicate_per_mille: u32,
    /// Of 1,000 messages, so many may overtake others of their class: more than a transport may do.
    pub reorder_per_mille: u32,
    /// After so long a cut link takes the tokens behind it with it.
    pub lease_us: Micros,
}

impl Default for LinkRules {
    fn default() -> Self {
        Self {
            delay_us: (50, 500),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            lease_us: 2_000_000,
        }
    }
}

/// A virtual clock, possibly wrong by a constant.
pub struct SimClock {
    now: Arc<AtomicI64>,
    skew: AtomicI64,
}

impl SimClock {
    /// Sets how far this clock is ahead of the virtual time.
    pub fn set_skew(&self, skew: Micros) {
        self.skew.store(skew, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        self.now.load(Ordering::Relaxed) + self.skew.load(Ordering::Relaxed)
    }

    fn steady(&self) -> Micros {
        self.now.load(Ordering::Relaxed)
    }
}

/// The network that all simulated nodes share.
pub struct Network {
    now: Arc<AtomicI64>,
    inner: Mutex<Inner>,
}

struct Inner {
    rules: LinkRules,
    random: StdRng,
    /// The lives that are attached, by name.
    lives: BTreeMap<NodeName, Life>,
    /// Lives whose token is not shown.
    hidden: BTreeSet<Life>,
    /// Directions that carry nothing.
    cut: BTreeSet<(NodeName, NodeName)>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// When the last message of a (from, to, class) arrives: later ones must not overtake it.
    last: BTreeMap<(NodeName, NodeName, Class), Micros>,
    traffic: BTreeMap<(NodeName, NodeName), (u64, u64)>,
    broadcasts: BTreeMap<NodeName, (u64, u64)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    at: Micros,
    /// Keeps the order of what happens at one time.
    order: u64,
    to: Life,
    event: EventKey,
}

/// An event in a form that has an order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum EventKey {
    Token(Life),
    TokenGone(Life),
    Message(NodeName, Class, Bytes),
}

impl Network {
    /// A network of no nodes.
    pub fn new(seed: u64, rules: LinkRules) -> Arc<Self> {
        let inner = Inner {
            rules,
            random: StdRng::seed_from_u64(seed),
            lives: BTreeMap::new(),
            hidden: BTreeSet::new(),
            cut: BTreeSet::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            last: BTreeMap::new(),
            traffic: BTreeMap::new(),
            broadcasts: BTreeMap::new(),
        };
        Arc::new(Self { now: Arc::new(AtomicI64::new(BEGIN)), inner: Mutex::new(inner) })
    }

    /// The virtual time.
    pub fn now(&self) -> Micros {
        self.now.load(Ordering::Relaxed)
    }

    /// Lets time pass; it never goes back.
    pub fn advance_to(&self, at: Micros) {
        self.now.fetch_max(at, Ordering::Relaxed);
    }

    /// A clock that shows the virtual time.
    pub fn clock(&self) -> Arc<SimClock> {
        Arc::new(SimClock { now: self.now.clone(), skew: AtomicI64::new(0) })
    }

    /// Attaches a life: every other node it has a link with sees its token, and it theirs.
    pub fn attach(self: &Arc<Self>, life: &Life) -> Arc<SimTransport> {
        let mut inner = self.inner.lock();
        let others: Vec<Life> = inner.lives.values().filter(|other| other.node != life.node).cloned().collect();
        inner.lives.insert(life.node.clone(), life.clone());
        for other in others {
            inner.tokens(&other, life, self.now());
        }
        Arc::new(SimTransport { network: self.clone(), me: life.clone() })
    }

    /// Takes a life away without a word, as a crash does; its token goes with it.
    pub fn detach(&self, life: &Life) {
        let mut inner = self.inner.lock();
        if inner.lives.get(&life.node) != Some(life) {
            return;
        }
        inner.lives.remove(&life.node);
        inner.hidden.remove(life);
        let linked = |other: &&Life| !inner.is_cut(&life.node, &other.node);
        let others: Vec<Life> = inner.lives.values().filter(linked).cloned().collect();
        for other in others {
            let at = self.now() + inner.delay();
            inner.schedule(at, other, EventKey::TokenGone(life.clone()));
        }
    }

    /// Cuts one direction. When both are cut, the tokens behind the link are gone after the lease.
    pub fn cut(&self, from: &NodeName, to: &NodeName) {
        let mut inner = self.inner.lock();
        inner.cut.insert((from.clone(), to.clone()));
        if inner.is_cut(from, to) && inner.is_cut(to, from) {
            let at = self.now() + inner.rules.lease_us;
            let lives = [from, to].map(|node| inner.lives.get(node).cloned());
            if let [Some(a), Some(b)] = lives {
                inner.schedule(at, a.clone(), EventKey::TokenGone(b.clone()));
                inner.schedule(at, b, EventKey::TokenGone(a));
            }
        }
    }

    /// Mends both directions; tokens are seen again.
    pub fn heal(&self, a: &NodeName, b: &NodeName) {
        let mut inner = self.inner.lock();
        let mended = inner.cut.remove(&(a.clone(), b.clone())) | inner.cut.remove(&(b.clone(), a.clone()));
        if let (true, Some(a), Some(b)) = (mended, inner.lives.get(a).cloned(), inner.lives.get(b).cloned()) {
            inner.tokens(&a, &b, self.now());
        }
    }

    /// Mends everything.
    pub fn heal_all(&self) {
        let mut inner = self.inner.lock();
        let cut = std::mem::take(&mut inner.cut);
        for (from, to) in cut {
            if let (Some(from), Some(to)) = (inner.lives.get(&from).cloned(), inner.lives.get(&to).cloned()) {
                inner.tokens(&from, &to, self.now());
            }
        }
    }

    /// Sends a message to every node as if it came from that name, the bearer of the name included.
    pub fn speak(&self, name: &NodeName, message: &[u8]) {
        let mut inner = self.inner.lock();
        let all: Vec<NodeName> = inner.lives.keys().cloned().collect();
        for to in all {
            inner.post(name, &to, Class::Control, &Bytes::copy_from_slice(message), self.now());
        }
    }

    /// Changes how links behave from now on.
    pub fn set_rules(&self, rules: LinkRules) {
        self.inner.lock().rules = rules;
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Micros> {
        self.inner.lock().queue.peek().map(|Reverse(next)| next.at)
    }

    /// The next event, if it happens by `until`; time passes up to it. Events for lives that are gone, and messages
    /// over links that were cut meanwhile, do not happen.
    pub fn next(&self, until: Micros) -> Option<(Life, Event)> {
        let mut inner = self.inner.lock();
        loop {
            if inner.queue.peek().is_none_or(|Reverse(next)| next.at > until) {
                return None;
            }
            let Reverse(next) = inner.queue.pop()?;
            self.advance_to(next.at);
            if inner.lives.get(&next.to.node) != Some(&next.to) {
                continue;
            }
            let event = match next.event {
                EventKey::Token(life) => Event::Token(life),
                // The link may have been mended, or the token moved on to another life.
                EventKey::TokenGone(life) if inner.sees(&next.to.node, &life) => continue,
                EventKey::TokenGone(life) => Event::TokenGone(life),
                EventKey::Message(from, ..) if inner.is_cut(&from, &next.to.node) => continue,
                EventKey::Message(from, class, bytes) => Event::Message { from, class, bytes },
            };
            return Some((next.to, event));
        }
    }
}

impl Inner {
    fn is_cut(&self, from: &NodeName, to: &NodeName) -> bool {
        self.cut.contains(&(from.clone(), to.clone()))
    }

    fn sees(&self, node: &NodeName, life: &Life) -> bool {
        let linked = !(self.is_cut(node, &life.node) && self.is_cut(&life.node, node));
        linked && self.lives.get(&life.node) == Some(life) && !self.hidden.contains(life)
    }

    fn delay(&mut self) -> Micros {
        let (shortest, longest) = self.rules.delay_us;
        self.random.random_range(shortest..=longest.max(shortest))
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.random_range(0..1000) < per_mille
    }

    fn schedule(&mut self, at: Micros, to: Life, event: EventKey) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.scheduled, to, event }));
    }

    fn tokens(&mut self, a: &Life, b: &Life, now: Micros) {
        if self.is_cut(&a.node, &b.node) && self.is_cut(&b.node, &a.node) {
            return;
        }
        for (to, of) in [(a, b), (b, a)] {
            if self.hidden.contains(of) {
                continue;
            }
            let at = now + self.delay();
            self.schedule(at, to.clone(), EventKey::Token(of.clone()));
        }
    }

    fn post(&mut self, from: &NodeName, to: &NodeName, class: Class, bytes: &Bytes, now: Micros) {
        let Some(life) = self.lives.get(to).cloned() else { return };
        if self.is_cut(from, to) || self.chance(self.rules.loss_per_mille) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.rules.duplicate_per_mille));
        for _ in 0..copies {
            let key = (from.clone(), to.clone(), class);
            let mut at = now + self.delay();
            if !self.chance(self.rules.reorder_per_mille) {
                at = at.max(self.last.get(&key).copied().unwrap_or_default());
                self.last.insert(key, at);
            }
            self.schedule(at, life.clone(), EventKey::Message(from.clone(), class, bytes.clone()));
        }
        let traffic = self.traffic.entry((from.clone(), to.clone())).or_default();
        traffic.0 += 1;
        traffic.1 += bytes.len() as u64;
    }
}

/// One life's way into the simulated network.
pub struct SimTransport {
    network: Arc<Network>,
    me: Life,
}

impl SimTransport {
    fn attached(&self, inner: &Inner) -> bool {
        inner.lives.get(&self.me.node) == Some(&self.me)
    }
}

impl Transport for SimTransport {
    fn send(&self, to: &NodeName, class: Class, message: Bytes) -> bool {
        let mut inner = self.network.inner.lock();
        if !self.attached(&inner) || message.len() > MESSAGE_MAX || !inner.lives.contains_key(to) {
            return false;
        }
        inner.post(&self.me.node, to, class, &message, self.network.now());
        true
    }

    fn broadcast(&self, message: Bytes) {
        let mut inner = self.network.inner.lock();
        if !self.attached(&inner) || message.len() > MESSAGE_MAX {
            return;
        }
        let sent = inner.broadcasts.entry(self.me.node.clone()).or_default();
        sent.0 += 1;
        sent.1 += message.len() as u64;
        let others: Vec<NodeName> = inner.lives.keys().filter(|node| **node != self.me.node).cloned().collect();
        for to in others {
            inner.post(&self.me.node, &to, Class::Control, &message, self.network.now());
        }
    }

    fn announce(&self, shown: bool) {
        let mut inner = self.network.inner.lock();
        if !self.attached(&inner) {
            return;
        }
        let now = self.network.now();
        let others: Vec<Life> = inner.lives.values().filter(|other| other.node != self.me.node).cloned().collect();
        if shown {
            inner.hidden.remove(&self.me);
            others.iter().for_each(|other| inner.tokens(other, &self.me, now));
        } else {
            inner.hidden.insert(self.me.clone());
            for other in others {
                let at = now + inner.delay();
                inner.schedule(at, other, EventKey::TokenGone(self.me.clone()));
            }
        }
    }

    fn traffic(&self) -> Vec<LinkTraffic> {
        let inner = self.network.inner.lock();
        let me = &self.me.node;
        let count = |from: &NodeName, to: &NodeName| {
            inner.traffic.get(&(from.clone(), to.clone())).copied().unwrap_or_default()
        };
        let links = inner.lives.keys().filter(|node| *node != me).map(|node| LinkTraffic {
            node: Some(node.clone()),
            sent: count(me, node),
            received: count(node, me),
        });
        let broadcasts =
            LinkTraffic { node: None, sent: inner.broadcasts.get(me).copied().unwrap_or_default(), received: (0, 0) };
        links.chain([broadcasts]).collect()
    }

    fn close(&self) {
        self.network.detach(&self.me);
    }
}

//! Ownership between nodes: what to send when, and what to make of what others say.
//!
//! Every node tells its own set: changes as deltas to everybody, and a beacon every 0.8 s with a hash over its whole
//! set. Who holds another hash asks for the digests of all partitions and pulls those that differ, each as one cut at
//! one version. So a late joiner, a lost message and a healed split are one case.
//!
//! A state machine: (event, now) → effects, where `now` is a time that never goes back. It knows the directory, but no socket, no table and no relay.

pub mod contest;
mod peer;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use senza_core::codec::{self, Beacon, Delta, Digest, EncodedDelta, Heard, Message};
use senza_core::directory::{Applied, Change, Directory, Owner, beats};
use senza_core::fault::{self, Fault};
use senza_core::{Epoch, Incarnation, Life, Micros, NodeName, SensorId};

use crate::latency::ClockOffset;
use crate::transport::Class;
use contest::{Beaten, Contests, HealReport, note, notice};
use peer::{Peer, Pull, Sweep};

/// When things happen, in microseconds unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two beacons.
    pub beacon_us: Micros,
    /// Between two beacons while changes go out.
    pub soon_us: Micros,
    /// A node not heard, or not hearing us, for so long is down.
    pub silence_us: Micros,
    /// An unanswered question is put again after so long.
    pub retry_us: Micros,
    /// A node whose claim stands beaten is told again after so long.
    pub notice_us: Micros,
    /// The set of a node that is down is kept so long, so that its return costs what changed.
    pub keep_us: Micros,
    /// Partitions pulled from one node at a time.
    pub pulls_max: usize,
    /// Bytes of one chunk of a cut.
    pub chunk_bytes: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beacon_us: 800_000,
            soon_us: 100_000,
            silence_us: 2_400_000,
            retry_us: 300_000,
            notice_us: 1_000_000,
            keep_us: 60_000_000,
            pulls_max: 16,
            chunk_bytes: 32 * 1024,
        }
    }
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this to that node.
    Send(NodeName, Class, Vec<u8>),
    /// Send this to everybody.
    Broadcast(Vec<u8>),
    /// That life is up.
    Up(Life),
    /// That life is down, with all its sensors.
    Down(Life),
    /// That life is given up for good.
    Forgotten(Life),
    /// This node's claim is beaten: its copy is to be dropped.
    Lost {
        /// Whose claim.
        sensor: SensorId,
        /// The lost claim's epoch.
        epoch: Epoch,
        /// Who won.
        winner: Owner,
    },
    /// A node came (back) and its set was fetched: what that settled.
    Healed(Arc<HealReport>),
    /// Another life of this node's name speaks.
    Twin(Life),
    /// By how much that life's clock differs from ours; nothing where a clock was set.
    Clock(Life, Option<ClockOffset>),
    /// What a beacon says of the link to its sender.
    Link {
        /// Who says it.
        life: Life,
        /// Frames up to this number may be sent to it.
        credit: u64,
        /// The version of our interest that it holds.
        interest: u64,
    },
}

/// What the protocol needs of the engine around it.
pub trait Host {
    /// Microseconds since 1970, as epochs are.
    fn now(&self) -> Micros;
    /// What a beacon says to a node: the credit granted to it, and the version of its interest held here.
    fn link(&self, node: &NodeName) -> (u64, u64);
    /// When a frame of that life came last; frames are signs of life too.
    fn heard_at(&self, life: &Life) -> Micros;
    /// A life is up, or down with all its sensors; what is told of its sensors from now on comes after this.
    fn came_or_went(&self, life: &Life, up: bool);
    /// A sensor's owner changed. Called under a lock of the directory: it must not come back to it.
    fn changed(&self, change: &Change<'_>);
}

/// Counts of what went another way than planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnershipCounts {
    /// Messages of an earlier life of their sender.
    pub stale: u64,
    /// Partitions pulled.
    pub pulled: u64,
    /// Nodes that came back.
    pub returned: u64,
    /// Notices of beaten claims sent.
    pub noticed: u64,
    /// Changes refused because a bound was reached.
    pub refused: u64,
    /// Claims with an epoch far ahead of the clock.
    pub ahead: u64,
}

/// One node's part of the ownership protocol.
pub struct Ownership {
    timing: Timing,
    me: Life,
    peers: BTreeMap<NodeName, Peer>,
    beacon_number: u64,
    next_beacon: Micros,
    last_beacon: Micros,
    sweep: Sweep,
    /// Lives that said farewell: a late message of theirs does not bring them back.
    left: BTreeMap<NodeName, Incarnation>,
    contests: Contests,
    /// Whether beaten claims are settled: not where somebody else's registry decides.
    fences: bool,
    counts: OwnershipCounts,
}

/// Bytes of one message of deltas, about: what fits one batch of the network.
const DELTAS_BYTES: usize = 48 * 1024;
/// Farewells remembered.
const LEFT_MAX: usize = 4096;
/// An epoch further ahead of the clock than this is counted.
const AHEAD_US: u64 = 500_000;

// === impl Ownership ===

impl Ownership {
    /// The part of this life.
    pub fn new(me: Life, timing: Timing) -> Self {
        let counts = OwnershipCounts::default();
        Self {
            timing,
            me,
            peers: BTreeMap::new(),
            beacon_number: 0,
            next_beacon: 0,
            last_beacon: 0,
            sweep: Sweep::default(),
            left: BTreeMap::new(),
            contests: Contests::default(),
            fences: true,
            counts,
        }
    }

    /// What went another way than planned.
    pub fn counts(&self) -> OwnershipCounts {
        self.counts
    }

    /// What is not finished: partitions wanted or on their way, and contested claims of others. 0 after quiet.
    pub fn backlog(&self) -> usize {
        let peers = self.peers.values().map(|peer| peer.wanted.len() + peer.pulls.len()).sum::<usize>();
        peers + self.contests.len()
    }

    /// Whether the sets of all nodes that are up were fetched.
    pub fn synced(&self) -> bool {
        self.peers.values().filter(|peer| peer.up).all(|peer| peer.synced)
    }

    /// A token was seen: a hint to introduce oneself.
    pub fn token(&mut self, life: &Life, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<Effect> {
        if life.node == self.me.node {
            return Vec::new();
        }
        let beacon = self.beacon(directory, now, host);
        let ask = codec::encode(self.me.incarnation, &Message::DigestAsk);
        [beacon, ask].map(|message| Effect::Send(life.node.clone(), Class::Control, message)).into()
    }

    /// A token is gone: that life is down at once. If it lives on, its next beacon brings it back.
    pub fn token_gone(&mut self, life: &Life, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(peer) = self.peers.get_mut(&life.node).filter(|peer| peer.life == *life) {
            peer.go_down(directory, (now, host), &mut effects);
        }
        effects
    }

    /// Flushes changes, sends a due beacon, notices silence, and puts unanswered questions again.
    pub fn tick(&mut self, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<Effect> {
        let mut effects = self.flush(directory);
        if !effects.is_empty() {
            // The last delta of a burst has nothing behind it that would show its loss: a beacon soon does.
            self.next_beacon = self.next_beacon.min(now.max(self.last_beacon + self.timing.soon_us));
        }
        if now >= self.next_beacon {
            self.last_beacon = now;
            self.next_beacon = now + self.timing.beacon_us;
            effects.push(Effect::Broadcast(self.beacon(directory, now, host)));
        }
        self.watch_silence(directory, now, host, &mut effects);
        self.retry(now, &mut effects);
        if self.fences {
            let standing = self.contests.again(directory, now, self.timing.notice_us);
            self.counts.noticed += standing.len() as u64;
            let me = self.me.incarnation;
            effects.extend(standing.into_iter().map(|(sensor, loser, winner)| notice(me, sensor, &loser, winner)));
        }
        self.sweep.step(directory);
        effects
    }

    /// A tick without a network: what changes is told to nobody.
    pub fn tick_alone(&mut self, directory: &Directory, now: Micros) -> Micros {
        directory.flush();
        self.sweep.step(directory);
        self.next_beacon = now;
        now + 100_000
    }

    /// Whether beaten claims are settled from now on. Where they are and were not, what stands beaten is settled.
    pub fn set_fences(&mut self, fences: bool, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<Effect> {
        let before = std::mem::replace(&mut self.fences, fences);
        let (mut beaten, mut effects) = (Vec::new(), Vec::new());
        if fences && !before {
            directory.conflicts(&self.me, &mut |change| note(&change, host, &mut beaten));
            self.settle(beaten, now, &mut effects);
        }
        effects
    }

    /// Withdraws: says that this life is not there for now, and gives up all others.
    pub fn leave(&mut self, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<Effect> {
        let mut effects = vec![Effect::Broadcast(codec::encode(self.me.incarnation, &Message::Leave))];
        let nodes: Vec<NodeName> = self.peers.keys().cloned().collect();
        for node in nodes {
            self.retire(&node, directory, (now, host), &mut effects);
        }
        effects
    }

    /// When the next tick is due, if nothing happens before.
    pub fn next_tick(&self, now: Micros) -> Micros {
        let busy = !self.sweep.running.is_empty() || !self.sweep.waiting.is_empty();
        if busy { now + 1_000 } else { self.next_beacon.min(now + 100_000) }
    }

    /// Takes one message of another node. Frames and what else belongs to the relay are not looked at.
    pub fn message(
        &mut self,
        from: &Life,
        message: Message<'_>,
        bytes: &Bytes,
        directory: &Directory,
        now: Micros,
        host: &dyn Host,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if from.node == self.me.node {
            return vec![Effect::Twin(from.clone())];
        }
        if !self.hear(from, directory, now, host, &mut effects) {
            self.counts.stale += 1;
            return effects;
        }
        match message {
            Message::Beacon(beacon) => self.on_beacon(from, beacon, directory, (now, host), &mut effects),
            Message::Deltas(deltas) => self.on_deltas(from, &deltas, bytes, directory, (now, host), &mut effects),
            Message::DigestAsk => {
                effects.extend(self.flush(directory));
                let digests = directory.digests(&self.me).unwrap_or_default();
                let answer = codec::encode(self.me.incarnation, &Message::Digests(digests));
                effects.push(Effect::Send(from.node.clone(), Class::Control, answer));
            }
            Message::Digests(digests) => self.on_digests(from, &digests, directory, (now, host), &mut effects),
            Message::Pull(partitions) => self.on_pull(from, &partitions, directory, &mut effects),
            Message::Cut { partition, version, chunk, chunks, .. } => {
                self.on_cut(from, (partition, version), (chunk, chunks), bytes, directory, (now, host), &mut effects);
            }
            Message::Notice { sensor, epoch, winner } if self.fences => {
                self.on_notice(from, (sensor, epoch, winner), directory, &mut effects);
            }
            Message::Leave => self.retire(&from.node, directory, (now, host), &mut effects),
            Message::Bye => {
                self.retire(&from.node, directory, (now, host), &mut effects);
                self.left.insert(from.node.clone(), from.incarnation);
                if self.left.len() > LEFT_MAX {
                    self.left.pop_first();
                }
            }
            _ => {}
        }
        effects
    }

    /// The farewell to everybody.
    pub fn bye(&self) -> Vec<u8> {
        codec::encode(self.me.incarnation, &Message::Bye)
    }

    fn flush(&mut self, directory: &Directory) -> Vec<Effect> {
        in_messages(self.me.incarnation, directory.flush())
    }

    fn beacon(&mut self, directory: &Directory, now: Micros, host: &dyn Host) -> Vec<u8> {
        self.beacon_number += 1;
        let heard = self.peers.values().filter(|peer| now - peer.heard_at < self.timing.silence_us).map(|peer| {
            let (credit, interest) = host.link(&peer.life.node);
            let (echo, at) = peer.beacon_of.unwrap_or_default();
            let held_us = u32::try_from(now - at).unwrap_or(u32::MAX);
            Heard { life: peer.life.clone(), credit, interest, echo, held_us }
        });
        let beacon = Beacon {
            number: self.beacon_number,
            sensors: directory.count(&self.me),
            set_hash: directory.set_hash(&self.me).unwrap_or_default(),
            sent: host.now(),
            heard: heard.collect(),
        };
        codec::encode(self.me.incarnation, &Message::Beacon(beacon))
    }
}

// === lives ===

impl Ownership {
    /// Notes a sign of life. A new life is met with a beacon and a question; a message of an earlier life is refused.
    fn hear(
        &mut self,
        from: &Life,
        directory: &Directory,
        now: Micros,
        host: &dyn Host,
        effects: &mut Vec<Effect>,
    ) -> bool {
        match self.peers.get_mut(&from.node) {
            Some(peer) if peer.life == *from => {
                peer.heard_at = now;
                return true;
            }
            Some(peer) if peer.life.incarnation > from.incarnation => return false,
            _ => {}
        }
        if self.left.get(&from.node) == Some(&from.incarnation) {
            return false;
        }
        self.retire(&from.node, directory, (now, host), effects);
        if directory.up(from).is_err() {
            self.counts.refused += 1;
            return false;
        }
        host.came_or_went(from, true);
        self.peers.insert(from.node.clone(), Peer::new(from.clone(), now));
        effects.push(Effect::Up(from.clone()));
        let ask = codec::encode(self.me.incarnation, &Message::DigestAsk);
        for message in [self.beacon(directory, now, host), ask] {
            effects.push(Effect::Send(from.node.clone(), Class::Control, message));
        }
        true
    }

    fn on_beacon(
        &mut self,
        from: &Life,
        beacon: Beacon,
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        let me = &self.me;
        let Some(peer) = self.peers.get_mut(&from.node) else { return };
        let mut beaten = Vec::new();
        peer.beacon_of = Some((beacon.sent, now));
        let of_us = beacon.heard.iter().find(|heard| heard.life == *me);
        if of_us.is_some() {
            peer.named_at = now;
            if !peer.up {
                peer.up = true;
                peer.synced = false;
                peer.heal.get_or_insert_default().returned = true;
                self.counts.returned += 1;
                let _known = directory.up(from);
                host.came_or_went(from, true);
                effects.push(Effect::Up(from.clone()));
                directory.conflicts(from, &mut |change| note(&change, host, &mut beaten));
            }
        }
        if let Some(heard) = of_us {
            effects.push(Effect::Link { life: from.clone(), credit: heard.credit, interest: heard.interest });
            if heard.echo != 0 {
                let held = Micros::from(heard.held_us);
                let offset = peer.offsets.exchange(heard.echo, held, beacon.sent, host.now());
                effects.push(Effect::Clock(from.clone(), offset));
            }
        }
        let whole = directory.set_hash(from) == Some(beacon.set_hash) || fault::is_on(Fault::LostLastDelta);
        if !whole && peer.pulls.is_empty() && peer.may_ask(now, self.timing.retry_us) {
            effects.push(peer.ask_digests(me, now));
        }
        self.settle(beaten, now, effects);
        self.complete(&from.node, whole, host, effects);
    }

    fn watch_silence(&mut self, directory: &Directory, now: Micros, host: &dyn Host, effects: &mut Vec<Effect>) {
        let mut gone = Vec::new();
        for peer in self.peers.values_mut() {
            peer.heard_at = peer.heard_at.max(host.heard_at(&peer.life));
            if peer.up && now - peer.heard_at.min(peer.named_at) >= self.timing.silence_us {
                peer.go_down(directory, (now, host), effects);
            }
            if !peer.up && now - peer.down_at >= self.timing.keep_us {
                gone.push(peer.life.node.clone());
            }
        }
        for node in gone {
            self.retire(&node, directory, (now, host), effects);
        }
    }

    fn retire(
        &mut self,
        node: &NodeName,
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut peer) = self.peers.remove(node) else { return };
        peer.go_down(directory, (now, host), effects);
        directory.forget(&peer.life);
        self.sweep.waiting.push(peer.life.clone());
        effects.push(Effect::Forgotten(peer.life));
    }
}

// === sets ===

impl Ownership {
    fn on_deltas(
        &mut self,
        from: &Life,
        deltas: &[Delta<'_>],
        bytes: &Bytes,
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        let mut beaten = Vec::new();
        for delta in deltas {
            self.count_ahead(delta, host.now());
            let applied = directory.apply_delta(from, delta, &mut |change| note(&change, host, &mut beaten));
            let Some(peer) = self.peers.get_mut(&from.node) else { return };
            match applied {
                Ok(Applied::Done | Applied::Old) => {}
                Ok(Applied::Behind) => peer.behind(delta.partition, bytes),
                Err(_) => {
                    self.counts.refused += 1;
                    peer.behind(delta.partition, bytes);
                }
            }
        }
        self.ask_pulls(&from.node, now, effects);
        self.settle(beaten, now, effects);
    }

    fn on_digests(
        &mut self,
        from: &Life,
        digests: &[Digest],
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = directory.digests(from) else { return };
        let Some(peer) = self.peers.get_mut(&from.node).filter(|peer| peer.up) else { return };
        peer.digest_asked = None;
        for (partition, (said, held)) in (0..=255u8).zip(digests.iter().zip(&held)) {
            // What is held may be newer than what was said: the delta overtook the answer.
            let differs = said != held && !fault::is_on(Fault::ZombieEntry);
            let is_behind = said.version > held.version || said.version == held.version && differs;
            // One that is on its way already is compared again by the next beacon.
            if is_behind && !peer.pulls.contains_key(&partition) {
                peer.wanted.insert(partition);
            }
        }
        let whole = peer.is_whole();
        peer.synced &= whole;
        self.complete(&from.node, whole, host, effects);
        self.ask_pulls(&from.node, now, effects);
    }

    fn on_pull(&mut self, from: &Life, partitions: &[u8], directory: &Directory, effects: &mut Vec<Effect>) {
        for partition in partitions.iter().take(self.timing.pulls_max) {
            let cut = directory.cut(*partition, self.timing.chunk_bytes);
            effects.extend(in_messages(self.me.incarnation, cut.delta.into_iter().collect()));
            let Ok(chunks) = u16::try_from(cut.chunks.len()) else { continue };
            for (chunk, (count, ops)) in (0..).zip(&cut.chunks) {
                let place = (*partition, cut.version);
                let message = codec::encode_cut(self.me.incarnation, place, (chunk, chunks), (*count, ops));
                effects.push(Effect::Send(from.node.clone(), Class::Bulk, message));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one message's fields and the state machine's three")]
    fn on_cut(
        &mut self,
        from: &Life,
        (partition, version): (u8, u64),
        (chunk, chunks): (u16, u16),
        bytes: &Bytes,
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&from.node) else { return };
        let Some(pull) = peer.pulls.get_mut(&partition) else { return };
        if pull.chunks.is_empty() || version > pull.version {
            pull.version = version;
            pull.chunks.clear();
        }
        if version != pull.version || chunk >= chunks {
            return;
        }
        pull.asked = now;
        pull.chunks.insert(chunk, bytes.clone());
        if pull.chunks.len() < usize::from(chunks) && !fault::is_on(Fault::PartialCut) {
            return;
        }
        let Some(pull) = peer.pulls.remove(&partition) else { return };
        self.counts.pulled += 1;
        let mut beaten = Vec::new();
        if !apply_pull(from, partition, &pull, directory, host, &mut beaten) {
            self.counts.refused += 1;
        }
        for delta in pull.later {
            self.apply_later((from, partition), &delta, directory, host, &mut beaten);
        }
        self.ask_pulls(&from.node, now, effects);
        self.settle(beaten, now, effects);
        let whole = self.peers.get(&from.node).is_some_and(Peer::is_whole);
        self.complete(&from.node, whole, host, effects);
    }

    /// Where all of a node's set was fetched: tells what its coming settled.
    fn complete(&mut self, node: &NodeName, whole: bool, host: &dyn Host, effects: &mut Vec<Effect>) {
        if let Some(peer) = self.peers.get_mut(node).filter(|peer| whole && peer.up)
            && let Some(heal) = peer.complete()
        {
            effects.push(heal.report(&peer.life, host.now()));
        }
    }

    /// Tells every loser of its loss: ourselves by an effect, others by a notice.
    fn settle(&mut self, beaten: Vec<Beaten>, now: Micros, effects: &mut Vec<Effect>) {
        if !self.fences {
            return;
        }
        for beaten in beaten {
            self.add_to_heals(&[&beaten.loser.life, &beaten.winner.life], &beaten);
            let Beaten { sensor, loser, winner } = beaten;
            if loser.local {
                effects.push(Effect::Lost { sensor, epoch: loser.epoch, winner });
            } else if loser.life != winner.life
                && self.contests.is_due(&sensor, &loser.life, now, self.timing.notice_us)
            {
                self.counts.noticed += 1;
                effects.push(notice(self.me.incarnation, sensor, &loser.life, winner));
            }
        }
    }

    fn apply_later(
        &mut self,
        (from, partition): (&Life, u8),
        bytes: &Bytes,
        directory: &Directory,
        host: &dyn Host,
        beaten: &mut Vec<Beaten>,
    ) {
        let Ok((_, Message::Deltas(deltas))) = codec::decode(bytes) else { return };
        for delta in deltas.iter().filter(|delta| delta.partition == partition) {
            let applied = directory.apply_delta(from, delta, &mut |change| note(&change, host, beaten));
            if applied == Ok(Applied::Behind)
                && let Some(peer) = self.peers.get_mut(&from.node)
            {
                peer.wanted.insert(partition);
            }
        }
    }

    fn on_notice(
        &mut self,
        from: &Life,
        (sensor, epoch, winner): (SensorId, Epoch, Life),
        directory: &Directory,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mine) = directory.owner_of(sensor.as_str()).filter(|owner| owner.local) else { return };
        if !beats((epoch, &winner.node), (mine.epoch, &self.me.node)) {
            return;
        }
        let winner = Owner { life: winner, epoch, local: false };
        effects.push(Effect::Lost { sensor: sensor.clone(), epoch: mine.epoch, winner: winner.clone() });
        let of_winner = winner.life.clone();
        self.add_to_heals(&[&of_winner, from], &Beaten { sensor, loser: mine, winner });
    }

    /// Notes a settled duplicate with those of the given lives whose coming is being worked off.
    fn add_to_heals(&mut self, lives: &[&Life], beaten: &Beaten) {
        for life in lives {
            let peer = self.peers.get_mut(&life.node).filter(|peer| peer.life == **life);
            if let Some(heal) = peer.and_then(|peer| peer.heal.as_mut()) {
                heal.add(beaten);
            }
        }
    }

    fn ask_pulls(&mut self, node: &NodeName, now: Micros, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let mut asked = Vec::new();
        while peer.pulls.len() < self.timing.pulls_max {
            let waiting = peer.wanted.iter().copied().find(|partition| !peer.pulls.contains_key(partition));
            let Some(partition) = waiting else { break };
            peer.wanted.remove(&partition);
            peer.pulls.insert(partition, Pull::new(now));
            asked.push(partition);
        }
        if !asked.is_empty() {
            let message = codec::encode(self.me.incarnation, &Message::Pull(asked));
            effects.push(Effect::Send(node.clone(), Class::Control, message));
        }
    }

    fn retry(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        let (me, retry) = (&self.me, self.timing.retry_us);
        for peer in self.peers.values_mut().filter(|peer| peer.up) {
            if peer.digest_asked.is_some_and(|asked| now - asked >= retry) {
                effects.push(peer.ask_digests(me, now));
            }
            let mut late = Vec::new();
            for (partition, pull) in &mut peer.pulls {
                if now - pull.asked >= retry {
                    *pull = Pull::new(now);
                    late.push(*partition);
                }
            }
            if !late.is_empty() {
                let message = codec::encode(me.incarnation, &Message::Pull(late));
                effects.push(Effect::Send(peer.life.node.clone(), Class::Control, message));
            }
        }
    }

    fn count_ahead(&mut self, delta: &Delta<'_>, now: Micros) {
        let limit = u64::try_from(now).unwrap_or(0) + AHEAD_US;
        let ahead = |op: &&codec::ClaimOp<'_>| matches!(op, codec::ClaimOp::Claim { epoch, .. } if *epoch > limit);
        self.counts.ahead += delta.ops.iter().filter(ahead).count() as u64;
    }
}

/// Applies a complete cut; false where it does not decode or a bound is reached.
fn apply_pull(
    from: &Life,
    partition: u8,
    pull: &Pull,
    directory: &Directory,
    host: &dyn Host,
    beaten: &mut Vec<Beaten>,
) -> bool {
    let mut claims = Vec::new();
    for bytes in pull.chunks.values() {
        let Ok((_, Message::Cut { ops, .. })) = codec::decode(bytes) else { return false };
        claims.extend(ops);
    }
    directory.apply_cut(from, partition, pull.version, &claims, &mut |change| note(&change, host, beaten)).is_ok()
}

fn in_messages(incarnation: u64, deltas: Vec<EncodedDelta>) -> Vec<Effect> {
    let mut effects = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for delta in deltas {
        bytes += delta.ops.len() + 21;
        group.push(delta);
        if bytes >= DELTAS_BYTES {
            effects.push(Effect::Broadcast(codec::encode_deltas(incarnation, &group)));
            group.clear();
            bytes = 0;
        }
    }
    if !group.is_empty() {
        effects.push(Effect::Broadcast(codec::encode_deltas(incarnation, &group)));
    }
    effects
}

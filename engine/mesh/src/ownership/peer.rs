//! What is known of one other life, and of what is on its way from it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use senza_core::codec::{self, Message};
use senza_core::directory::Directory;
use senza_core::{Life, Micros};

use super::contest::Heal;
use super::{Effect, Host};
use crate::latency::OffsetFilter;
use crate::transport::Class;

pub(super) struct Peer {
    pub(super) life: Life,
    pub(super) up: bool,
    /// When it went down, or the start of time.
    pub(super) down_at: Micros,
    pub(super) heard_at: Micros,
    /// When it last said that it hears us; at first when it was first heard.
    pub(super) named_at: Micros,
    /// When its last beacon was sent, by its clock, and when that came.
    pub(super) beacon_of: Option<(Micros, Micros)>,
    pub(super) offsets: OffsetFilter,
    pub(super) digest_asked: Option<Micros>,
    pub(super) synced: bool,
    pub(super) wanted: BTreeSet<u8>,
    pub(super) pulls: BTreeMap<u8, Pull>,
    /// Duplicates found since it came or came back, until its set was fetched.
    pub(super) heal: Option<Heal>,
}

/// A partition on its way.
pub(super) struct Pull {
    pub(super) asked: Micros,
    pub(super) version: u64,
    pub(super) chunks: BTreeMap<u16, Bytes>,
    /// Deltas that came while the cut was on its way.
    pub(super) later: Vec<Bytes>,
}

/// Deltas kept per pulled partition; one more and the partition is pulled again instead.
const LATER_MAX: usize = 256;

/// Lives whose claims are being removed, some partitions per tick.
#[derive(Default)]
pub(super) struct Sweep {
    next: usize,
    pub(super) running: Vec<Life>,
    pub(super) waiting: Vec<Life>,
}

// === impl Peer ===

impl Peer {
    pub(super) fn new(life: Life, now: Micros) -> Self {
        Self {
            life,
            up: true,
            down_at: 0,
            heard_at: now,
            named_at: now,
            beacon_of: None,
            offsets: OffsetFilter::default(),
            digest_asked: Some(now),
            synced: false,
            wanted: BTreeSet::new(),
            pulls: BTreeMap::new(),
            heal: Some(Heal::default()),
        }
    }

    pub(super) fn go_down(
        &mut self,
        directory: &Directory,
        (now, host): (Micros, &dyn Host),
        effects: &mut Vec<Effect>,
    ) {
        if self.up {
            self.up = false;
            self.down_at = now;
            self.pulls.clear();
            self.wanted.clear();
            self.digest_asked = None;
            // A third node's notice may come before the return that it is about.
            self.heal = Some(Heal::default());
            directory.down(&self.life);
            host.came_or_went(&self.life, false);
            effects.push(Effect::Down(self.life.clone()));
        }
    }

    /// Notes that a delta came whose base is not held. Of a life that is down nothing is fetched: its return compares.
    pub(super) fn behind(&mut self, partition: u8, bytes: &Bytes) {
        if !self.up {
            return;
        }
        match self.pulls.get_mut(&partition) {
            Some(pull) if pull.later.len() < LATER_MAX => pull.later.push(bytes.clone()),
            _ => {
                self.wanted.insert(partition);
            }
        }
    }

    /// Whether nothing of its set is missing or on its way.
    pub(super) fn is_whole(&self) -> bool {
        self.wanted.is_empty() && self.pulls.is_empty()
    }

    pub(super) fn may_ask(&self, now: Micros, retry: Micros) -> bool {
        self.digest_asked.is_none_or(|asked| now - asked >= retry)
    }

    /// Says that the whole set is here. Answers what was settled since the life came, where that is news.
    pub(super) fn complete(&mut self) -> Option<Heal> {
        self.synced = true;
        self.heal.take().filter(Heal::is_news)
    }

    pub(super) fn ask_digests(&mut self, me: &Life, now: Micros) -> Effect {
        self.digest_asked = Some(now);
        Effect::Send(self.life.node.clone(), Class::Control, codec::encode(me.incarnation, &Message::DigestAsk))
    }
}

impl Pull {
    pub(super) fn new(now: Micros) -> Self {
        Self { asked: now, version: 0, chunks: BTreeMap::new(), later: Vec::new() }
    }
}

// === impl Sweep ===

impl Sweep {
    pub(super) fn step(&mut self, directory: &Directory) {
        if self.running.is_empty() {
            self.running = std::mem::take(&mut self.waiting);
            self.next = 0;
        }
        if self.running.is_empty() {
            return;
        }
        let end = (self.next + 16).min(256);
        (self.next..end).for_each(|partition| directory.sweep(partition as u8));
        self.next = end;
        if end == 256 {
            directory.reuse(&self.running);
            self.running.clear();
        }
    }
}

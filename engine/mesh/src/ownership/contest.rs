//! Claims that are found beaten: who is told, until they stand no more, and what a heal settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use senza_core::codec::{self, Message};
use senza_core::directory::{Change, Directory, Owner};
use senza_core::{Life, Micros, SensorId};

use super::{Effect, Host};
use crate::transport::Class;

/// Beaten claims of others that are told again until they are gone; of more, each is told once.
pub const CONTESTS_MAX: usize = 65_536;
/// Duplicates that a heal report lists one by one; all are counted.
pub const HEAL_LISTED_MAX: usize = 10_000;
/// Beaten claims told again per tick.
const NOTICES_PER_TICK: usize = 256;

/// A claim that was found beaten.
pub(super) struct Beaten {
    pub(super) sensor: SensorId,
    pub(super) loser: Owner,
    pub(super) winner: Owner,
}

/// A sensor that two nodes claimed, and who owns it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which sensor.
    pub sensor: SensorId,
    /// Whose claim won.
    pub winner: Owner,
    /// Whose claim lost.
    pub loser: Owner,
}

/// What came to light when a node came (back) into reach and its set had been fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealReport {
    /// The node that came.
    pub node: Life,
    /// Whether it had been here before in this life.
    pub returned: bool,
    /// When its set was complete here.
    pub at: Micros,
    /// Sensors that it and another node claimed, at most [`HEAL_LISTED_MAX`].
    pub duplicates: Vec<Settled>,
    /// How many there were.
    pub total: u64,
}

/// A heal under way.
#[derive(Debug, Default)]
pub(super) struct Heal {
    pub(super) returned: bool,
    found: BTreeMap<SensorId, (Owner, Owner)>,
    unlisted: u64,
}

/// Beaten claims of other nodes that stood when last looked at, and when their node was told.
#[derive(Default)]
pub(super) struct Contests {
    told: BTreeMap<(SensorId, Life), Micros>,
}

/// Passes a change on, and notes the claim that it found beaten.
pub(super) fn note(change: &Change<'_>, host: &dyn Host, beaten: &mut Vec<Beaten>) {
    host.changed(change);
    if !change.is_contested() {
        return;
    }
    if let (Some(loser), Some(winner), Ok(sensor)) = (change.beaten(), change.after(), SensorId::new(change.sensor)) {
        beaten.push(Beaten { sensor, loser, winner });
    }
}

// === impl Heal ===

impl Heal {
    pub(super) fn add(&mut self, beaten: &Beaten) {
        if self.found.len() >= HEAL_LISTED_MAX && !self.found.contains_key(&beaten.sensor) {
            self.unlisted += 1;
            return;
        }
        self.found.insert(beaten.sensor.clone(), (beaten.winner.clone(), beaten.loser.clone()));
    }

    pub(super) fn is_news(&self) -> bool {
        self.returned || !self.found.is_empty()
    }

    pub(super) fn report(self, node: &Life, at: Micros) -> Effect {
        let total = self.found.len() as u64 + self.unlisted;
        let settled = |(sensor, (winner, loser))| Settled { sensor, winner, loser };
        let duplicates = self.found.into_iter().map(settled).collect();
        Effect::Healed(Arc::new(HealReport { node: node.clone(), returned: self.returned, at, duplicates, total }))
    }
}

// === impl Contests ===

impl Contests {
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// Whether the node of a beaten claim is to be told now: not where it was within `pause`.
    pub(super) fn is_due(&mut self, sensor: &SensorId, loser: &Life, now: Micros, pause: Micros) -> bool {
        let key = (sensor.clone(), loser.clone());
        if let Some(told) = self.told.get_mut(&key) {
            let due = now - *told >= pause;
            if due {
                *told = now;
            }
            return due;
        }
        if self.told.len() < CONTESTS_MAX {
            self.told.insert(key, now);
        }
        true
    }

    /// Looks at what was told some time ago: forgets what stands no more, and tells the rest again.
    pub(super) fn again(&mut self, directory: &Directory, now: Micros, pause: Micros) -> Vec<(SensorId, Life, Owner)> {
        let due = self.told.iter().filter(|(_, told)| now - **told >= pause).take(NOTICES_PER_TICK);
        let due: Vec<(SensorId, Life)> = due.map(|(key, _)| key.clone()).collect();
        let mut standing = Vec::new();
        for (sensor, loser) in due {
            match directory.beaten(sensor.as_str(), &loser) {
                Some((_, winner)) => {
                    self.told.insert((sensor.clone(), loser.clone()), now);
                    standing.push((sensor, loser, winner));
                }
                None => {
                    self.told.remove(&(sensor, loser));
                }
            }
        }
        standing
    }
}

/// The message that tells a node that its claim is beaten.
pub(super) fn notice(me: u64, sensor: SensorId, loser: &Life, winner: Owner) -> Effect {
    let notice = Message::Notice { sensor, epoch: winner.epoch, winner: winner.life };
    Effect::Send(loser.node.clone(), Class::Control, codec::encode(me, &notice))
}

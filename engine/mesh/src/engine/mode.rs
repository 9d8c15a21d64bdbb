//! How far a node takes part in the cluster, and what it makes of another registry that is still in charge.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use senza_core::{Filter, Micros, NodeName, SensorId};

use super::losses::Lost;
use super::{Engine, HAPPENINGS_MAX, Whereis};
use crate::ownership::contest::HealReport;

/// How far a node takes part in the cluster. Switchable at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Says nothing to other nodes and hears nothing of them; its own sensors and subscriptions work on.
    Local = 0,
    /// Takes part, but an embedder's own registry stays in charge: every look-up is answered by it and compared;
    /// nothing is refused, fenced or taken away.
    Shadow = 1,
    /// Takes part.
    #[default]
    Cluster = 2,
}

impl Mode {
    /// The mode as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Shadow => "shadow",
            Mode::Cluster => "cluster",
        }
    }

    /// The mode that a word names.
    pub fn named(word: &str) -> Option<Self> {
        [Mode::Local, Mode::Shadow, Mode::Cluster].into_iter().find(|mode| mode.as_str() == word)
    }

    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Mode::Local,
            1 => Mode::Shadow,
            _ => Mode::Cluster,
        }
    }
}

/// An embedder's registry that stays in charge in [`Mode::Shadow`]. Both methods are called on the caller's thread.
pub trait Existing: Send + Sync {
    /// The node that owns a sensor, as the registry knows it.
    fn whereis(&self, sensor: &str) -> Option<NodeName>;
    /// All sensors it knows.
    fn ids(&self) -> Vec<SensorId>;
}

/// A look-up that the registry in charge and senza answered differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Which sensor.
    pub sensor: String,
    /// Its owner by the registry in charge.
    pub existing: Option<NodeName>,
    /// Its owner by senza.
    pub senza: Option<NodeName>,
    /// When, microseconds since 1970.
    pub at: Micros,
}

/// Samples of disagreements kept; the oldest give way.
pub const DISAGREEMENTS_MAX: usize = 256;

/// What comparing found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Answers compared.
    pub compared: u64,
    /// senza did not know a sensor that the registry knew.
    pub missing: u64,
    /// senza knew a sensor that the registry did not know.
    pub extra: u64,
    /// Both knew it, as different nodes'.
    pub other_node: u64,
    /// The newest disagreements, oldest first.
    pub samples: VecDeque<Disagreement>,
}

impl Comparison {
    pub(super) fn add(&mut self, sensor: &str, existing: Option<&NodeName>, senza: Option<&NodeName>, at: Micros) {
        self.compared += 1;
        match (existing, senza) {
            (existing, senza) if existing == senza => return,
            (Some(_), None) => self.missing += 1,
            (None, _) => self.extra += 1,
            (Some(_), Some(_)) => self.other_node += 1,
        }
        if self.samples.len() >= DISAGREEMENTS_MAX {
            self.samples.pop_front();
        }
        let (existing, senza) = (existing.cloned(), senza.cloned());
        self.samples.push_back(Disagreement { sensor: sensor.to_owned(), existing, senza, at });
    }

    /// How many answers differed.
    pub fn disagreements(&self) -> u64 {
        self.missing + self.extra + self.other_node
    }
}

/// The registry in charge, while there is one.
pub(super) type InCharge = Option<Arc<dyn Existing>>;

// === impl Engine ===

impl Engine {
    /// Sensors that this node loses to others from now on, on a queue of [`HAPPENINGS_MAX`]: a door lets go of the
    /// device that carries them. One receiver at a time.
    pub fn losses(&self) -> Receiver<Lost> {
        let (sender, receiver) = crossbeam_channel::bounded(HAPPENINGS_MAX);
        *self.tell_lost.write() = Some(sender);
        receiver
    }

    /// Sensors that were lost here at least [`FLAPPING_LOSSES`](super::FLAPPING_LOSSES) times within a minute: devices seem to fight over them.
    pub fn flapping(&self) -> Vec<Lost> {
        self.losses.lock().flapping(self.clock.steady())
    }

    /// The last heals, oldest first, at most [`HEALS_MAX`](super::HEALS_MAX).
    pub fn heals(&self) -> Vec<Arc<HealReport>> {
        self.heals.lock().iter().cloned().collect()
    }

    /// How far this node takes part.
    pub fn mode(&self) -> Mode {
        Mode::from_byte(self.mode.load(Ordering::Acquire))
    }

    /// Gives the look-ups of [`Mode::Shadow`] into the hands of an embedder's registry, and switches to that mode.
    pub fn shadow(&self, existing: Arc<dyn Existing>) {
        let before = self.in_charge.write().replace(existing);
        self.switch(Mode::Shadow);
        // Under no lock: its end is others' code, and may look up.
        drop(before);
    }

    /// Lets go of the registry in charge, if there is one: a node that ends asks it no more.
    pub fn dismiss(&self) {
        let before = self.in_charge.write().take();
        drop(before);
    }

    /// Switches the mode. Leaving the cluster withdraws everything and forgets the others; coming back announces this
    /// node's sensors under the claims they have, so that whoever registered a sensor last owns it. Answers the mode
    /// before.
    pub fn switch(&self, mode: Mode) -> Mode {
        let _switching = self.switching.lock();
        let before = self.mode();
        if mode == before {
            return before;
        }
        let now = self.clock.steady();
        let mut ownership = self.ownership.lock();
        if mode == Mode::Local {
            // Under the lock: nothing that is heard meanwhile is taken after the farewell.
            self.mode.store(mode as u8, Ordering::Release);
        }
        let mut effects = ownership.set_fences(mode == Mode::Cluster, &self.directory, now, self);
        if mode == Mode::Local {
            effects.extend(ownership.leave(&self.directory, now, self));
        }
        drop(ownership);
        self.effects(effects);
        self.mode.store(mode as u8, Ordering::Release);
        if mode == Mode::Local {
            self.end_starts();
        }
        if (mode == Mode::Local) != (before == Mode::Local) {
            self.transport.announce(mode != Mode::Local);
        }
        tracing::info!(from = before.as_str(), to = mode.as_str(), "mode switched");
        self.wake_for(&self.dirty);
        before
    }

    /// What comparing with the registry in charge found so far.
    pub fn comparison(&self) -> Comparison {
        self.comparison.lock().clone()
    }

    /// Compares all that the registry in charge and senza know. Answers what differed, and counts it. Walks both.
    pub fn compare(&self) -> Vec<Disagreement> {
        let Some(existing) = self.in_charge.read().clone() else { return Vec::new() };
        let before = self.comparison.lock().disagreements();
        let ids = existing.ids();
        let known: BTreeSet<&str> = ids.iter().map(SensorId::as_str).collect();
        for sensor in &ids {
            self.whereis(sensor.as_str());
        }
        for listed in self.sensors(&Filter::all()) {
            if !known.contains(listed.sensor.as_str()) {
                self.whereis(listed.sensor.as_str());
            }
        }
        let comparison = self.comparison.lock();
        let differed = (comparison.disagreements() - before) as usize;
        let skipped = comparison.samples.len().saturating_sub(differed);
        comparison.samples.iter().skip(skipped).cloned().collect()
    }

    /// The answer of the registry in charge, compared with ours.
    pub(super) fn compared(&self, sensor: &str, ours: Whereis) -> Whereis {
        let Some(existing) = self.in_charge.read().clone() else { return ours };
        let theirs = existing.whereis(sensor);
        let (node, epoch) = match &ours {
            Whereis::Local { epoch } => (Some(&self.me.node), *epoch),
            Whereis::Remote { node, epoch } => (Some(node), *epoch),
            Whereis::NotFound => (None, 0),
        };
        self.comparison.lock().add(sensor, theirs.as_ref(), node, self.clock.now());
        match theirs {
            None => Whereis::NotFound,
            Some(node) if node == self.me.node => Whereis::Local { epoch },
            Some(node) => Whereis::Remote { node, epoch },
        }
    }
}

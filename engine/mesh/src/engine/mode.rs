//! How far a node takes part in the cluster, and what it makes of another registry that is still in charge.

use std::collections::VecDeque;
use std::sync::Arc;

use senza_core::{Micros, NodeName, SensorId};

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

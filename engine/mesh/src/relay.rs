//! The relay: readings from their owner to every node that asked, and nothing else on any link.
//!
//! A node tells its *interest*, the union of its local filters, to every other node. An owner keeps one subscription
//! per interested node (an [`Outgoing`]), drains it into frames, and sends no more frames than the receiver granted.
//! The receiver (an [`Incoming`]) checks numbers, tells what is missing as gaps, and hands readings to the
//! subscriptions resolved per series. A lost frame costs a new generation of the dictionary: the owner then starts
//! every series with its counter, and the receiver knows from it what it missed.
//!
//! Knows fanout and frames; neither table, directory nor sockets.

mod incoming;
mod numbers;
mod outgoing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use senza_core::fanout::{Fanout, Wanted};
use senza_core::key::FILTER_ENTRIES_MAX;
use senza_core::subscription::Want;
use senza_core::{Filter, Life, Micros, NodeName, SensorId};

pub use incoming::{After, Incoming, Local, Moves};
pub use outgoing::{LinkCounts, Outgoing, StartStep};

/// Frames a receiver lets its sender be ahead of it: no more than the buffers of one connection hold, so that nothing is
/// dropped between where a busy receiver reads late.
pub const CREDIT_WINDOW: u64 = 48;
/// Bytes of one frame, about: small enough for one batch of the network, large enough that a wake-up of every thread on
/// the way costs little per reading.
pub const FRAME_BYTES: usize = 48 * 1024;
/// Readings queued for one destination; the oldest give way and are told as gaps.
pub const OUT_QUEUE_MAX: usize = 262_144;
/// Most filters of one node's interest, after merging.
pub const INTEREST_MAX: usize = 16_384;
/// All links of one node.
#[derive(Default)]
pub struct Relay {
    /// Rung where readings were queued for a link whose thread sleeps.
    bell: Arc<AtomicBool>,
    outgoing: RwLock<BTreeMap<NodeName, Arc<Outgoing>>>,
    incoming: RwLock<BTreeMap<NodeName, Arc<Mutex<Incoming>>>>,
}

/// What this node wants relayed to it.
#[derive(Debug, Default)]
pub struct Interest {
    /// Raised by every change; 0 before the first.
    pub version: u64,
    /// Any of these.
    pub wanted: Vec<Wanted>,
}

// === impl Interest ===

impl Interest {
    /// Takes what all local subscriptions want. Answers whether the interest changed.
    pub fn update(&mut self, wanted: Vec<Wanted>) -> bool {
        let merged = merge(wanted);
        if merged == self.wanted {
            return false;
        }
        self.wanted = merged;
        self.version += 1;
        true
    }
}

/// Every reading of every sensor.
pub fn everything() -> Vec<Wanted> {
    vec![(Filter::all(), Want::EVERY)]
}

/// Drops duplicates and joins filters that name nothing but sensors and want the same of them. Beyond [`INTEREST_MAX`]
/// everything is asked for: the receiver's own filters still hold.
fn merge(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    let names_sensors_only = |filter: &Filter| {
        filter.is_narrow() && filter.attributes.is_empty() && filter.types.is_empty() && filter.nodes.is_empty()
    };
    let mut named: Vec<(Want, Vec<SensorId>)> = Vec::new();
    wanted.retain_mut(|(filter, want)| {
        let narrow = names_sensors_only(filter);
        if narrow {
            let at = named.iter().position(|(other, _)| other == want).unwrap_or_else(|| {
                named.push((*want, Vec::new()));
                named.len() - 1
            });
            named[at].1.append(&mut filter.sensors);
        }
        !narrow
    });
    for (want, mut sensors) in named {
        sensors.sort_unstable();
        sensors.dedup();
        let chunks = sensors.chunks(FILTER_ENTRIES_MAX);
        wanted.extend(chunks.map(|chunk| (Filter { sensors: chunk.to_vec(), ..Filter::default() }, want)));
    }
    // Equal filters stand together; what they want is joined.
    wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
    wanted.dedup_by(|(later, want), (filter, kept)| {
        let same = later == filter;
        if same {
            *kept = kept.join(*want);
        }
        same
    });
    if wanted.contains(&(Filter::all(), Want::EVERY)) || wanted.len() > INTEREST_MAX {
        return everything();
    }
    wanted
}

/// Another node's interest, held to the series that this node owns.
pub fn own_only(wanted: Vec<Wanted>, me: &NodeName) -> Vec<Wanted> {
    let own = |(filter, want): Wanted| {
        filter.may_match_node(me).then(|| (Filter { nodes: vec![me.clone()], ..filter }, want))
    };
    wanted.into_iter().filter_map(own).collect()
}

// === impl Relay ===

impl Relay {
    /// The link to a node, where it asked for something.
    pub fn outgoing(&self, node: &NodeName) -> Option<Arc<Outgoing>> {
        self.outgoing.read().get(node).cloned()
    }

    /// Whether readings were queued for links whose threads sleep, since this was asked last. One load where not.
    pub fn is_rung(&self) -> bool {
        self.bell.load(Ordering::Relaxed) && self.bell.swap(false, Ordering::AcqRel)
    }

    /// All links to others.
    pub fn all_outgoing(&self) -> Vec<Arc<Outgoing>> {
        self.outgoing.read().values().cloned().collect()
    }

    /// Opens the link to a life, in place of one to an earlier life.
    pub fn open(&self, life: &Life, now: Micros) -> Arc<Outgoing> {
        let link = Arc::new(Outgoing::new(life.clone(), now, self.bell.clone()));
        self.outgoing.write().insert(life.node.clone(), link.clone());
        link
    }

    /// Closes the link to a node: its watchers are gone.
    pub fn shut(&self, node: &NodeName) -> Option<Arc<Outgoing>> {
        self.outgoing.write().remove(node)
    }

    /// The receiving side of the link from a life.
    pub fn incoming(&self, life: &Life) -> Arc<Mutex<Incoming>> {
        if let Some(link) = self.incoming.read().get(&life.node)
            && link.lock().life == *life
        {
            return link.clone();
        }
        let mut incoming = self.incoming.write();
        // Another thread may have made it meanwhile.
        if let Some(link) = incoming.get(&life.node).filter(|link| link.lock().life == *life) {
            return link.clone();
        }
        let link = Arc::new(Mutex::new(Incoming::new(life.clone())));
        incoming.insert(life.node.clone(), link.clone());
        link
    }

    /// The receiving side of the link from a node, where there is one and nobody changes which there are.
    pub fn try_incoming(&self, node: &NodeName) -> Option<Arc<Mutex<Incoming>>> {
        self.incoming.try_read()?.get(node).cloned()
    }

    /// All receiving sides.
    pub fn all_incoming(&self) -> Vec<Arc<Mutex<Incoming>>> {
        self.incoming.read().values().cloned().collect()
    }

    /// Drops the receiving side of a life that is given up, and tells its readers that they may have lost readings.
    pub fn forget(&self, life: &Life, fanout: &Fanout) {
        self.incoming.write().retain(|_, link| {
            let mut link = link.lock();
            let given_up = link.life == *life;
            if given_up {
                link.give_up(fanout);
            }
            !given_up
        });
    }

    /// When a frame of a life came last; 0 before the first.
    pub fn heard_at(&self, life: &Life) -> Micros {
        let incoming = self.incoming.read();
        incoming
            .get(&life.node)
            .map(|link| link.lock())
            .filter(|link| link.life == *life)
            .map_or(0, |link| link.heard_at)
    }

    /// What a beacon says to a node: the credit granted to it, and the version of its interest held here.
    pub fn link(&self, node: &NodeName) -> (u64, u64) {
        let interest = self.outgoing(node).map_or(0, |link| link.state.lock().interest);
        let credit = self.incoming.read().get(node).map_or(0, |link| link.lock().granted);
        (credit, interest)
    }
}

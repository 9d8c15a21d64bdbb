//! How long readings took on their way through this node.

use std::collections::BTreeMap;

use parking_lot::{Mutex, RwLock};
use senza_core::subscription::Taken;
use senza_core::{Life, NodeName};

use super::Engine;
use crate::latency::{ClockOffset, Hop, Latency, SAMPLES};

/// What the readers of a node saw, and what is known of the other nodes' clocks.
#[derive(Default)]
pub(super) struct Latencies {
    readers: Mutex<Readers>,
    clocks: RwLock<BTreeMap<NodeName, ClockOffset>>,
}

#[derive(Default)]
struct Readers {
    source: Latency,
    queue: Latency,
    local: Latency,
    remote: Latency,
}

/// One hop as this node saw it.
#[derive(Clone, Debug)]
pub struct HopView {
    /// Which part of the way.
    pub hop: Hop,
    /// The other node, of a hop on a link.
    pub node: Option<NodeName>,
    /// How long it took.
    pub latency: Latency,
}

impl Engine {
    /// How long readings took, hop by hop: those of this node's links, and those that its readers took. Counts since the
    /// node started, of a link since it was opened. Copies 27 kB per hop.
    pub fn latencies(&self) -> Vec<HopView> {
        let of = |hop, latency: &Latency| HopView { hop, node: None, latency: latency.clone() };
        let readers = self.latencies.readers.lock();
        let mut views = vec![
            of(Hop::Source, &readers.source),
            of(Hop::Queue, &readers.queue),
            of(Hop::Local, &readers.local),
            of(Hop::Remote, &readers.remote),
        ];
        drop(readers);
        for link in self.relay.all_outgoing() {
            views.push(HopView { hop: Hop::Owner, node: Some(link.life.node.clone()), latency: link.latency() });
        }
        for link in self.relay.all_incoming() {
            let link = link.lock();
            views.push(HopView { hop: Hop::Link, node: Some(link.life.node.clone()), latency: link.latency() });
        }
        views
    }

    /// By how much the clocks of the nodes that are up differ from this one's, as far as is known.
    pub fn clocks(&self) -> BTreeMap<NodeName, ClockOffset> {
        self.latencies.clocks.read().clone()
    }

    pub(super) fn clock_of(&self, node: &NodeName) -> ClockOffset {
        self.latencies.clocks.read().get(node).copied().unwrap_or_default()
    }

    pub(super) fn set_clock_of(&self, life: &Life, offset: Option<ClockOffset>) {
        let mut clocks = self.latencies.clocks.write();
        match offset {
            Some(offset) => clocks.insert(life.node.clone(), offset),
            None => clocks.remove(&life.node),
        };
    }

    /// Records how long what a reader took had been on its way. Two clock reads and one lock per batch.
    pub(crate) fn note_taken(&self, taken: &Taken) {
        if taken.waits().is_empty() {
            return;
        }
        let (now, steady) = (self.clock.now(), self.clock.steady());
        let mut readers = self.latencies.readers.lock();
        for wait in taken.waits() {
            readers.queue.record(steady - wait.since, 0, wait.count);
        }
        taken.sample(SAMPLES, |series, row, count| {
            readers.source.record(row.received_time.saturating_sub(row.source_time), 0, count);
            if series.node == self.me.node {
                return readers.local.record(now.saturating_sub(row.received_time), 0, count);
            }
            let (received, error) = self.clock_of(&series.node).ours(row.received_time);
            readers.remote.record(now.saturating_sub(received), error, count);
        });
    }
}

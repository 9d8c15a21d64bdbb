//! How long readings take on their way through a node, and by how much clocks differ.

use senza_mesh::engine::HopView;
use senza_mesh::latency::Hop;

use crate::batch::{self, Pile, senza_memory};
use crate::border;
use crate::error::senza_code;
use crate::node::{self, senza_node};
use crate::text::senza_str;

/// A part of a reading's way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_hop {
    /// From the device's time to the owner's table: the device's clock and its queue are in it.
    SENZA_HOP_SOURCE = 0,
    /// From the owner's table until a frame to another node was sent.
    SENZA_HOP_OWNER = 1,
    /// From the owner's sending until the frame was taken in.
    SENZA_HOP_LINK = 2,
    /// In the queue of a reader.
    SENZA_HOP_QUEUE = 3,
    /// From the table to a reader on the same node.
    SENZA_HOP_LOCAL = 4,
    /// From the owner's table to a reader on another node.
    SENZA_HOP_REMOTE = 5,
}

/// Latencies of one bucket of a histogram.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_bucket {
    /// The longest that it counts, microseconds; the shortest is above the bucket before.
    pub up_to_us: u64,
    /// How many readings took so long.
    pub readings: u64,
}

/// How long one part of the way took, as a node saw it. Microseconds, within one per cent; an hour is the most.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_latency {
    /// A senza_hop.
    pub hop: u32,
    /// 0.
    pub reserved: u32,
    /// Of SENZA_HOP_OWNER and SENZA_HOP_LINK the other node, else empty.
    pub node: senza_str,
    /// How many readings took it.
    pub readings: u64,
    /// How many others arrived before they were sent, by the clocks and what is known of them: no latency.
    pub impossible: u64,
    /// Half of the readings took at most so long.
    pub p50_us: u64,
    /// 90 of 100.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// All.
    pub max_us: u64,
    /// The histogram: buckets that are not empty, shortest first. They add up over nodes, and of two answers the
    /// difference is what came between.
    pub buckets: *const senza_bucket,
    /// How many.
    pub buckets_count: usize,
}

/// By how much another node's clock differs from this one's. Latencies that cross clocks are corrected by it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_clock {
    /// The other node.
    pub node: senza_str,
    /// Its clock less this one's, microseconds.
    pub offset_us: i64,
    /// The estimate is off by so much at most.
    pub error_us: i64,
}

/// Latencies and clocks. Begin with all zeros (SENZA_ZERO); give their memory back by senza_latencies_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_latencies {
    /// The first.
    pub items: *const senza_latency,
    /// How many.
    pub count: usize,
    /// The first clock, of the nodes that are up and whose clock is known.
    pub clocks: *const senza_clock,
    /// How many.
    pub clocks_count: usize,
    /// Where they lie.
    pub memory: senza_memory,
}

/// How long readings took, hop by hop: those of this node's links, and those that its readers took. Counts since the
/// node started, of a link since it was opened; always on. Thread-safe; the answer is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_latencies(node: senza_node, latencies: *mut senza_latencies) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let latencies = unsafe { border::kept(latencies, "latencies") }?;
        let running = node::node(node)?;
        let engine = &running.shared.engine;
        let senza_latencies { items, count, clocks, clocks_count, memory } = latencies;
        (*items, *count) = (std::ptr::null(), 0);
        (*clocks, *clocks_count) = (std::ptr::null(), 0);
        batch::fill(memory, |pile| {
            for view in engine.latencies() {
                let latency = pile.latency(&view);
                pile.latencies.push(latency);
            }
            for (node, offset) in engine.clocks() {
                let node = pile.texts.text(node.as_str().as_bytes());
                pile.clocks.push(senza_clock { node, offset_us: offset.micros, error_us: offset.error });
            }
            (*items, *count) = (pile.latencies.as_ptr(), pile.latencies.len());
            (*clocks, *clocks_count) = (pile.clocks.as_ptr(), pile.clocks.len());
            Ok(())
        })
    })
}

/// Gives the memory of latencies back and sets them to all zeros; those of all zeros are fine. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_latencies_free(latencies: *mut senza_latencies) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let latencies = unsafe { border::kept(latencies, "latencies") }?;
        let memory = latencies.memory;
        *latencies = senza_latencies {
            items: std::ptr::null(),
            count: 0,
            clocks: std::ptr::null(),
            clocks_count: 0,
            memory: senza_memory { id: 0 },
        };
        batch::free(memory)
    })
}

impl Pile {
    fn latency(&mut self, view: &HopView) -> senza_latency {
        let histogram = view.latency.histogram();
        let buckets = histogram
            .iter_recorded()
            .map(|bucket| senza_bucket { up_to_us: bucket.value_iterated_to(), readings: bucket.count_at_value() });
        let buckets: Vec<senza_bucket> = buckets.collect();
        let at = |quantile| histogram.value_at_quantile(quantile);
        senza_latency {
            hop: hop(view.hop) as u32,
            reserved: 0,
            node: view.node.as_ref().map_or(senza_str::NONE, |node| self.texts.text(node.as_str().as_bytes())),
            readings: histogram.len(),
            impossible: view.latency.impossible(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
            buckets: self.buckets.put(&buckets, None),
            buckets_count: buckets.len(),
        }
    }
}

fn hop(hop: Hop) -> senza_hop {
    match hop {
        Hop::Source => senza_hop::SENZA_HOP_SOURCE,
        Hop::Owner => senza_hop::SENZA_HOP_OWNER,
        Hop::Link => senza_hop::SENZA_HOP_LINK,
        Hop::Queue => senza_hop::SENZA_HOP_QUEUE,
        Hop::Local => senza_hop::SENZA_HOP_LOCAL,
        Hop::Remote => senza_hop::SENZA_HOP_REMOTE,
    }
}

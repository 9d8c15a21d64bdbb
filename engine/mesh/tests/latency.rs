//! What a node can say of how long readings take, also where clocks differ. Time is virtual.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use senza_core::subscription::Contract;
use senza_core::{Filter, NodeName, Value};
use senza_mesh::handle::{SensorHandle, Subscriber};
use senza_mesh::latency::{Hop, Latency};
use senza_mesh::sim::Cluster;

/// The longest delay of a simulated link, with what a histogram of two digits rounds up to.
const LINK_US: u64 = 510;
const ROUNDS: u64 = 200;

/// Puts one by one, each read a millisecond later.
fn play(cluster: &mut Cluster, handle: &SensorHandle, readers: &mut [&mut Subscriber]) {
    for round in 0..ROUNDS {
        handle.put("x", Value::I64(round as i64)).unwrap();
        cluster.run_for(1_000);
        for reader in &mut *readers {
            let mut out = Vec::new();
            reader.take(&mut out, usize::MAX);
        }
    }
}

fn hop(cluster: &Cluster, node: &str, hop: Hop) -> Latency {
    let views = cluster.engine(node).latencies();
    views.into_iter().find(|view| view.hop == hop).expect("the hop is there").latency
}

#[test]
fn every_hop_counts_every_reading() {
    let mut cluster = Cluster::seed(31).nodes(2);
    let handle = cluster.register("a", "s");
    let mut near = cluster.subscribe("a", &Filter::all(), Contract::default());
    let mut far = cluster.subscribe("b", &Filter::all(), Contract::default());
    cluster.settle();
    play(&mut cluster, &handle, &mut [&mut near, &mut far]);
    for (node, part) in [("a", Hop::Local), ("a", Hop::Queue), ("a", Hop::Owner), ("b", Hop::Link), ("b", Hop::Remote)]
    {
        let latency = hop(&cluster, node, part);
        assert_eq!((latency.histogram().len(), latency.impossible()), (ROUNDS, 0), "{node} {part:?}");
    }
    let link = hop(&cluster, "b", Hop::Link);
    assert!((50..=LINK_US).contains(&link.histogram().max()), "{}", link.histogram().max());
    // Read a millisecond after it was put.
    let local = hop(&cluster, "a", Hop::Local);
    assert!((990..=1_020).contains(&local.histogram().value_at_quantile(0.5)));
}

#[test]
fn clocks_that_differ_are_found_out_and_latencies_corrected() {
    for skew in [7_000_000, -3_000_000] {
        let mut cluster = Cluster::seed(32).nodes(2);
        cluster.skew("b", skew);
        // The estimate of before is gone after eight beacons.
        (0..3).for_each(|_| cluster.settle());
        let clocks = cluster.engine("a").clocks();
        let offset = clocks[&NodeName::new("b").unwrap()];
        assert!((offset.micros - skew).abs() <= offset.error, "{offset:?} of {skew}");
        assert!(offset.error <= 500, "{offset:?}");
        let handle = cluster.register("a", "s");
        let mut far = cluster.subscribe("b", &Filter::all(), Contract::default());
        cluster.settle();
        play(&mut cluster, &handle, &mut [&mut far]);
        let remote = hop(&cluster, "b", Hop::Remote);
        let (max, impossible) = (remote.histogram().max(), remote.impossible());
        assert_eq!((remote.histogram().len(), impossible), (ROUNDS, 0));
        assert!(max <= 1_010 + 500, "{max}: skew {skew} is not in it");
    }
}

#[test]
fn a_latency_that_cannot_be_is_counted_and_not_hidden() {
    let mut cluster = Cluster::seed(33).nodes(2);
    let handle = cluster.register("a", "s");
    let mut far = cluster.subscribe("b", &Filter::all(), Contract::default());
    cluster.settle();
    // Set back by five seconds just now: no beacon has shown it yet.
    cluster.skew("b", -5_000_000);
    handle.put("x", Value::I64(1)).unwrap();
    cluster.run_for(5_000);
    let mut out = Vec::new();
    far.take(&mut out, usize::MAX);
    assert_eq!(out.len(), 1);
    for part in [Hop::Link, Hop::Remote] {
        let latency = hop(&cluster, "b", part);
        assert_eq!((latency.histogram().len(), latency.impossible()), (0, 1), "{part:?}");
    }
}

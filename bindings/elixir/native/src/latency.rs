//! How long readings took on their way through this node, and by how much the other nodes' clocks differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustler::{Atom, Encoder, Env, Term};
use senza::NodeName;
use senza::accounts::PERCENTILES;
use senza_mesh::engine::HopView;
use senza_mesh::latency::ClockOffset;

use crate::atoms;
use crate::faults::answer;
use crate::node::{Running, running};
use crate::value::{map, record};

/// What was seen of each hop since the node, or the link, began. Copies all histograms.
#[rustler::nif(schedule = "DirtyCpu")]
fn latencies<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let told = |running: &Arc<Running>| {
        let hops = running.engine().latencies();
        hops.iter().map(|view| hop(env, view)).collect::<Vec<_>>().encode(env)
    };
    answer(env, running(node).map(told))
}

fn hop<'a>(env: Env<'a>, view: &HopView) -> Term<'a> {
    let histogram = view.latency.histogram();
    let name = |name: &str| Atom::from_str(env, name).unwrap_or_else(|_| atoms::nil());
    let mut fields = vec![
        (atoms::hop(), name(view.hop.as_str()).to_term(env)),
        (atoms::node(), view.node.as_ref().map(NodeName::as_str).encode(env)),
        (atoms::readings(), histogram.len().encode(env)),
        (atoms::impossible(), view.latency.impossible().encode(env)),
        (atoms::max_us(), histogram.max().encode(env)),
    ];
    let percentile = |(of, quantile)| (name(of), histogram.value_at_quantile(quantile).encode(env));
    fields.extend(PERCENTILES.map(percentile));
    record(env, &fields)
}

/// The clocks of the nodes that are up, less this one's, by the nodes' names.
#[rustler::nif(schedule = "DirtyCpu")]
fn clocks<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let told = |running: &Arc<Running>| by_node(env, &running.engine().clocks());
    answer(env, running(node).map(told))
}

fn by_node<'a>(env: Env<'a>, clocks: &BTreeMap<NodeName, ClockOffset>) -> Term<'a> {
    let offset = |clock: &ClockOffset| {
        let fields = [(atoms::offset_us(), clock.micros.encode(env)), (atoms::error_us(), clock.error.encode(env))];
        record(env, &fields)
    };
    let nodes: Vec<Term<'a>> = clocks.keys().map(|node| node.as_str().encode(env)).collect();
    let offsets: Vec<Term<'a>> = clocks.values().map(offset).collect();
    map(env, &nodes, &offsets)
}

//! How long readings took on their way through a node, and by how much the other nodes' clocks differ.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use senza::Engine;
use senza::accounts::PERCENTILES;
use senza_mesh::engine::HopView;

use crate::columns::Column;

/// A hop, the other node, readings, impossible ones, percentiles, the longest, and the histogram as two columns.
pub(crate) type RawLatency<'py> =
    (&'static str, Option<String>, u64, u64, (u64, u64, u64, u64), u64, Bound<'py, PyBytes>, Bound<'py, PyBytes>);
/// The other node, its clock less this one's, and by how much that is off at most.
pub(crate) type RawClock = (String, i64, i64);

/// What was seen of each hop. Copies all histograms, while the interpreter is free.
pub(crate) fn raw_latencies<'py>(py: Python<'py>, engine: &Engine) -> Vec<RawLatency<'py>> {
    let hops = py.detach(|| engine.latencies());
    hops.iter().map(|view| raw_latency(py, view)).collect()
}

fn raw_latency<'py>(py: Python<'py>, view: &HopView) -> RawLatency<'py> {
    let histogram = view.latency.histogram();
    let (mut up_to, mut readings) = (Column::default(), Column::default());
    for bucket in histogram.iter_recorded() {
        up_to.push(bucket.value_iterated_to().to_ne_bytes());
        readings.push(bucket.count_at_value().to_ne_bytes());
    }
    let percentiles = PERCENTILES.map(|(_, quantile)| histogram.value_at_quantile(quantile)).into();
    let (node, counts) = (view.node.as_ref().map(ToString::to_string), (histogram.len(), view.latency.impossible()));
    let (up_to, readings) = (up_to.take(py), readings.take(py));
    (view.hop.as_str(), node, counts.0, counts.1, percentiles, histogram.max(), up_to, readings)
}

pub(crate) fn raw_clocks(engine: &Engine) -> Vec<RawClock> {
    engine.clocks().into_iter().map(|(node, clock)| (node.to_string(), clock.micros, clock.error)).collect()
}

//! senza's member: one node, with the settings it has by default.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use senza::{Config, Node, NodeName, Sensor, SensorHandle, Whereis};
use senza_benches::{histogram, percentiles};
use serde_json::{Value as Json, json};

use super::member::{Entry, Member, View, id};

pub(crate) fn start(entry: &Entry) -> Box<dyn Member> {
    let name = NodeName::new(&entry.name).expect("members are called by letters");
    let zenoh = if entry.gossip { Vec::new() } else { vec![("scouting/gossip/enabled".into(), "false".into())] };
    let config = Config { connect: entry.connect.clone(), zenoh, ..Config::loopback(name) };
    let node = Arc::new(Node::start(config).expect("loopback has room for a node"));
    Box::new(NodeMember { node, sensors: Vec::new(), held: Vec::new() })
}

struct NodeMember {
    node: Arc<Node>,
    sensors: Vec<Sensor>,
    /// By the sensor's number.
    held: Vec<Option<SensorHandle>>,
}

impl NodeMember {
    fn hold(&self, sensor: usize) -> Option<SensorHandle> {
        Some(self.node.register(&self.sensors[sensor]).expect("there is room"))
    }
}

impl Member for NodeMember {
    fn endpoint(&self) -> String {
        self.node.listening()[0].clone()
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(NodeView(self.node.clone()))
    }

    fn prepare(&mut self, sensors: usize) {
        self.sensors = (0..sensors).map(|at| Sensor::new(&id(at)).expect("an id")).collect();
    }

    fn register(&mut self, sensors: Range<usize>) {
        self.held.resize_with(sensors.end, || None);
        for at in sensors {
            self.held[at] = self.hold(at);
        }
    }

    fn end(&mut self, sensor: usize) {
        self.held[sensor] = None;
    }

    fn again(&mut self, sensor: usize) {
        self.held[sensor] = self.hold(sensor);
    }

    fn unregister(&mut self) {
        self.held.clear();
    }

    fn look_up(&self, sensors: usize, look_ups: usize) -> Json {
        look_up(&self.node, &self.sensors[..sensors], look_ups)
    }

    fn sent_bytes(&self) -> u64 {
        // A broadcast is counted once, and goes to each.
        let others = self.node.nodes().len() as u64 - 1;
        let links = self.node.engine().traffic().into_iter();
        links.map(|link| link.sent.1 * if link.node.is_some() { 1 } else { others }).sum()
    }

    fn leave(self: Box<Self>) {
        self.held.into_iter().flatten().for_each(SensorHandle::leave);
        drop(self.node);
    }
}

struct NodeView(Arc<Node>);

impl View for NodeView {
    fn others(&self) -> usize {
        self.0.nodes().len() - 1
    }

    fn sees(&self) -> usize {
        self.0.nodes().iter().map(|node| node.sensors).sum::<u64>() as usize
    }

    fn owner(&self, sensor: usize) -> Option<String> {
        match self.0.whereis(&id(sensor)) {
            Whereis::Local { .. } => Some(self.0.name().to_string()),
            Whereis::Remote { node, .. } => Some(node.to_string()),
            Whereis::NotFound => None,
        }
    }
}

// === look-ups ===

/// Which sensors are looked up, one id behind the other as they come in a stream of messages: not in the order of
/// registration.
fn scattered(sensors: &[Sensor], look_ups: usize) -> String {
    let ids = (0..look_ups).map(|at| sensors[at * 611_953 % sensors.len()].id.as_str());
    ids.flat_map(|id| [id, "\n"]).collect()
}

/// Look-ups of remote sensors on one thread: by name, without names singly and in groups of 256, and by name each
/// timed, less what reading the clock takes. All were looked up once before. Every one has to find its sensor.
fn look_up(node: &Node, sensors: &[Sensor], look_ups: usize) -> Json {
    let is_remote = |place: &Whereis| matches!(place, Whereis::Remote { .. });
    let stream = scattered(sensors, look_ups);
    let ids: Vec<&str> = stream.lines().collect();
    // What was written since the last look-up lies in memory alone: that is no state that a system stays in.
    ids.iter().for_each(|id| drop(black_box(node.whereis(id))));
    let begin = Instant::now();
    let by_name = ids.iter().filter(|id| is_remote(&black_box(node.whereis(id)))).count();
    let whereis = begin.elapsed();
    let begin = Instant::now();
    let located = ids.iter().filter(|id| black_box(node.engine().locate(id)).is_some()).count();
    let locate = begin.elapsed();
    let mut together = 0;
    let begin = Instant::now();
    for group in ids.chunks(256) {
        node.engine().locate_many(group, |located| together += usize::from(black_box(located).is_some()));
    }
    let locate_many = begin.elapsed();
    assert_eq!([by_name, located, together], [look_ups; 3], "every look-up finds its sensor");
    let (latency, clock) = timed(node, &ids);
    let per_s = |elapsed: std::time::Duration| look_ups as f64 / elapsed.as_secs_f64();
    json!({
        "whereis_per_s": per_s(whereis), "locate_per_s": per_s(locate), "locate_many_per_s": per_s(locate_many),
        "latency_ns": latency, "clock_ns": clock,
    })
}

fn timed(node: &Node, ids: &[&str]) -> (Json, u64) {
    let mut clock = histogram();
    for _ in 0..ids.len() / 20 + 1 {
        let begin = Instant::now();
        clock.saturating_record(begin.elapsed().as_nanos() as u64);
    }
    let overhead = clock.value_at_quantile(0.5);
    let mut latency = histogram();
    for id in ids {
        let begin = Instant::now();
        black_box(node.whereis(black_box(id)));
        let took = begin.elapsed().as_nanos() as u64;
        latency.saturating_record(took.saturating_sub(overhead).max(1));
    }
    (percentiles(&latency), overhead)
}

//! The engine, where table, directory, fanout and ownership meet: what an embedder calls. A node of two on a simulated
//! network, whose clock stands still.

use std::hint::black_box;
use std::time::Duration;

use senza_core::subscription::Contract;
use senza_core::table::{NamedPoint, Point};
use senza_core::{Filter, Value};
use senza_mesh::handle::{SensorHandle, Subscriber};
use senza_mesh::sim::Cluster;

use crate::{Case, OPERATIONS, ids};

/// A cluster of `a` and `b`, sensors of `a`, and who reads there.
struct Node {
    cluster: Cluster,
    ids: Vec<&'static str>,
    handles: Vec<SensorHandle>,
    points: Vec<Point>,
    reader: Option<Subscriber>,
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("engine: put by handle", || Node::new(false), Node::put),
        Case::new("engine: put by id", || Node::new(false), Node::put_by_id),
        Case::new("engine: put many by handle", || Node::new(false), Node::put_many),
        Case::new("engine: put many by id", || Node::new(false), Node::put_many_by_id),
        Case::prepared(
            "engine: put many by handle, one reads",
            || Node::new(true),
            Node::read,
            |node, ()| node.put_many(),
        ),
        Case::prepared("engine: read a batch", || Node::new(true), Node::put_many, |node, ()| node.read()),
        Case::new("engine: whereis, from another node", || Node::new(false), Node::whereis),
        Case::prepared("engine: register", || Node::new(false), Node::unregistered, |node, ()| node.register()),
        Case::prepared("engine: unregister", || Node::new(false), Node::registered, |_, handles| drop(handles)),
    ]
}

impl Node {
    fn new(read: bool) -> Self {
        let cluster = Cluster::seed(1).nodes(2);
        let reader = read.then(|| cluster.subscribe("a", &Filter::all(), Contract::default()));
        let mut node = Self { cluster, ids: ids(), handles: Vec::new(), points: Vec::new(), reader };
        node.register();
        let point = |handle: &SensorHandle| {
            handle.point(handle.attribute("value").expect("there is room"), Value::F64(0.5), 1_795_000_000_000_000)
        };
        node.points = node.handles.iter().map(point).collect();
        // A handle shows its shard first.
        node.points.sort_by_cached_key(|point| format!("{:?}", point.handle));
        node.cluster.settle();
        for _ in 0..16 {
            node.put_many();
        }
        node
    }

    fn put(&mut self) {
        for handle in &self.handles {
            let _seq = black_box(handle.put("value", Value::F64(0.5)));
        }
    }

    fn put_by_id(&mut self) {
        let engine = self.cluster.engine("a");
        for id in &self.ids {
            let _seq = black_box(engine.put_by_id(id, "value", Value::F64(0.5), None));
        }
    }

    fn put_many(&mut self) {
        assert_eq!(self.cluster.engine("a").put_many(&self.points), 0);
    }

    fn put_many_by_id(&mut self) {
        let (value, source_time) = (Value::F64(0.5), 1_795_000_000_000_000);
        let point =
            |id: &&'static str| NamedPoint { sensor: id, attribute: "value", value: value.clone(), source_time };
        let points: Vec<NamedPoint<'_>> = self.ids.iter().map(point).collect();
        assert!(self.cluster.engine("a").put_many_by_id(&points).is_empty());
    }

    fn read(&mut self) {
        if let Some(reader) = &mut self.reader {
            let read = reader.read_batch(Duration::ZERO, |item| {
                black_box(item);
            });
            black_box(read);
        }
    }

    fn whereis(&mut self) {
        let engine = self.cluster.engine("b");
        for id in &self.ids {
            black_box(engine.whereis(id));
        }
    }

    fn register(&mut self) {
        self.handles.extend(self.ids.iter().map(|id| self.cluster.register("a", id)));
    }

    fn unregistered(&mut self) {
        self.handles.clear();
        self.cluster.settle();
    }

    fn registered(&mut self) -> Vec<SensorHandle> {
        if self.handles.is_empty() {
            self.register();
        }
        self.cluster.settle();
        let handles = std::mem::take(&mut self.handles);
        assert_eq!(handles.len(), OPERATIONS);
        handles
    }
}

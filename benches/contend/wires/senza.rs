//! senza as a wire: a node that reads, subscriptions on it, and a node in the process that puts.
//!
//! Sensors are registered and put by handle. Numbers, times and told gaps are the engine's own: a reading's number is
//! checked as it comes out, not one that travels in the value.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use senza::{
    AttributeId, Config, Contract, Filter, Node, NodeName, Overflow, Sensor, SensorHandle, SensorId, Subscriber, Value,
};
use senza_benches::index_of;
use senza_core::Series;
use senza_core::table::{AttributeIndex, Point};

use super::{Came, Host, Put, Shape, Sink, Sinks, Source, Wanted, Wants, soon};

/// Readings that a sink may have waiting before the oldest give way, told as a gap.
const QUEUE_MAX: usize = 4_194_304;
/// How long one of many sinks is waited for before the others are looked at again.
const LOOK: Duration = Duration::from_millis(1);

/// What every sensor here measures.
const ATTRIBUTE: &str = "value";

const CONFIGURATION: &str = "nodes with the defaults of an embedder on loopback; 16 readings kept per sensor; \
     queues of 4,194,304 readings that drop the oldest and tell it; puts by handle";

struct Reading {
    node: Node,
    wanted: RefCell<Wanted>,
}

/// A node to read on; one that joins another where it is told an endpoint.
pub(super) fn host(joins: Option<&str>) -> Box<dyn Host> {
    let name = NodeName::from_host(&format!("reader-{}", std::process::id()));
    let connect = joins.map(|endpoint| endpoint.split('#').next().unwrap_or_default().to_owned());
    let config = Config { connect: connect.into_iter().collect(), ..Config::loopback(name) };
    let node = Node::start(config).expect("a node");
    Box::new(Reading { node, wanted: RefCell::default() })
}

impl Reading {
    fn subscribe(&self, shape: &Shape, wants: Wants) -> Subscription {
        self.wanted.borrow_mut().note(wants);
        let filter = match wants {
            Wants::All => Filter::all(),
            Wants::One(sensor) => Filter::sensor(id_of(sensor)),
            Wants::Below(sensors) => Filter { sensors: (0..sensors).map(id_of).collect(), ..Filter::default() },
        };
        let contract = Contract { overflow: Overflow::DropOldest, queue_max: QUEUE_MAX, ..Contract::default() };
        let reader = self.node.subscribe(&filter, contract).expect("a subscription");
        Subscription { reader, known: Vec::new(), opaque: (shape.bytes > 8).then_some(shape.bytes) }
    }
}

impl Host for Reading {
    fn endpoint(&self) -> String {
        self.wanted.borrow().told_with(&self.node.listening()[0])
    }

    fn sink(&self, shape: &Shape, wants: Wants) -> Box<dyn Sink> {
        Box::new(self.subscribe(shape, wants))
    }

    fn sinks(&self, shape: &Shape, wants: &[Wants]) -> Box<dyn Sinks> {
        let sinks = wants.iter().map(|wants| self.subscribe(shape, *wants)).collect();
        Box::new(Subscriptions { sinks, waited_for: 0 })
    }

    fn met(&self, sensors: u32) {
        let known = || self.node.nodes().iter().map(|node| node.sensors).sum::<u64>();
        assert!(soon(|| known() >= u64::from(sensors)), "{} of {sensors} sensors are known", known());
    }

    fn kept(&self, sensor: u32, last: u32) -> Option<Vec<u64>> {
        let attribute = AttributeId::new(ATTRIBUTE).expect("it is short");
        let kept = self.node.history(&id_of(sensor), &attribute, last).expect("its owner is there");
        Some(kept.expect("its owner answers").iter().map(|reading| reading.seq).collect())
    }

    fn configuration(&self) -> &'static str {
        CONFIGURATION
    }
}

/// One subscription, and which sensor each of its series is.
struct Subscription {
    reader: Subscriber,
    known: Vec<Option<(Arc<Series>, u32)>>,
    /// The length of values that are no number.
    opaque: Option<usize>,
}

impl Subscription {
    fn read(&mut self, wait: Duration, mut each: impl FnMut(Came)) -> usize {
        let Self { reader, known, opaque } = self;
        reader.read_batch(wait, |item| {
            let row = item.row;
            let at = row.series as usize;
            let sensor = match known.get(at) {
                Some(Some((series, sensor))) if Arc::ptr_eq(series, item.series) => *sensor,
                _ => learn(known, at, item.series),
            };
            if row.is_reading() {
                if let Some(bytes) = opaque {
                    let whole = matches!(&item.value, Some(Value::Bytes(value)) if value.len() == *bytes);
                    assert!(whole, "a value of sensor {sensor} has another length");
                }
                each(Came::Reading { sensor, seq: row.seq, at_us: row.source_time });
            } else if row.is_gap() {
                each(Came::Gap { sensor, from: row.seq, to: row.slot });
            }
        })
    }
}

/// Notes which sensor a number of the queue's dictionary stands for now.
#[cold]
fn learn(known: &mut Vec<Option<(Arc<Series>, u32)>>, at: usize, series: &Arc<Series>) -> u32 {
    let sensor = index_of(series.sensor.as_str()) as u32;
    known.resize(known.len().max(at + 1), None);
    known[at] = Some((series.clone(), sensor));
    sensor
}

impl Sink for Subscription {
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(Came)) -> bool {
        self.read(wait, each);
        !self.reader.is_closed()
    }
}

/// Many, looked at in turn.
struct Subscriptions {
    sinks: Vec<Subscription>,
    waited_for: usize,
}

impl Sinks for Subscriptions {
    #[expect(clippy::disallowed_methods, reason = "it waits by the clock")]
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(usize, Came)) -> bool {
        let begin = Instant::now();
        loop {
            let mut count = 0;
            for (at, sink) in self.sinks.iter_mut().enumerate() {
                count += sink.read(Duration::ZERO, |came| each(at, came));
            }
            let left = wait.saturating_sub(begin.elapsed());
            if count > 0 || left.is_zero() {
                return !self.sinks.iter().any(|sink| sink.reader.is_closed());
            }
            // What one of them gets is the beginning of what the others get.
            let at = self.waited_for % self.sinks.len().max(1);
            self.waited_for += 1;
            if self.sinks[at].read(left.min(LOOK), |came| each(at, came)) > 0 {
                return true;
            }
        }
    }
}

// === the end that puts ===

struct Writing {
    /// By sensor, from `first` on.
    held: Vec<SensorHandle>,
    attribute: AttributeIndex,
    shape: Shape,
    points: Vec<Point>,
    opaque: Vec<u8>,
    node: Node,
}

/// A node with all sensors registered, and what is wanted of them known to it.
pub(super) fn source(endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    let (endpoint, awaited) = Wanted::split(endpoint, shape);
    let name = NodeName::from_host(&format!("writer-{}", std::process::id()));
    let node = Node::start(Config { connect: vec![endpoint.to_owned()], ..Config::loopback(name) }).expect("a node");
    let register = |number| {
        let sensor = Sensor::new(&name_of(number)).expect("ids here are short");
        node.register(&sensor).expect("the node has room")
    };
    let held: Vec<SensorHandle> = (shape.first..shape.first + shape.sensors).map(register).collect();
    let attribute = held[0].attribute(ATTRIBUTE).expect("a place");
    held.iter().for_each(|handle| assert_eq!(handle.attribute(ATTRIBUTE).expect("a place"), attribute));
    let handle = |sensor: &u32| &held[(sensor - shape.first) as usize];
    assert!(soon(|| awaited.iter().all(|sensor| handle(sensor).demand().is_some())), "nobody subscribes");
    Box::new(Writing { held, attribute, shape: *shape, points: Vec::new(), opaque: vec![0x5a; shape.bytes], node })
}

impl Writing {
    fn point(&mut self, put: &Put) -> Point {
        let value = match self.shape.bytes {
            8 => Value::F64(put.seq as f64),
            // Every reading has bytes of its own, as it would have from a device.
            _ => Value::Bytes(self.opaque.as_slice().into()),
        };
        self.held[(put.sensor - self.shape.first) as usize].point(self.attribute, value, put.at_us)
    }
}

impl Source for Writing {
    /// By shard of the table: a run of readings of one shard costs one lock.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (self.shape.first..self.shape.first + self.shape.sensors).collect();
        let handle = |sensor: u32| {
            self.held[(sensor - self.shape.first) as usize].point(self.attribute, Value::Bool(true), 0).handle
        };
        order.sort_by_cached_key(|sensor| format!("{:?}", handle(*sensor)));
        order
    }

    fn put(&mut self, readings: &[Put]) {
        if self.shape.batch == 1 {
            for reading in readings {
                let point = self.point(reading);
                self.node.engine().put(point).expect("it is ours");
            }
            return;
        }
        for batch in readings.chunks(self.shape.batch) {
            let mut points = std::mem::take(&mut self.points);
            points.extend(batch.iter().map(|reading| self.point(reading)));
            assert_eq!(self.node.engine().put_many(&points), 0, "all are ours");
            points.clear();
            self.points = points;
        }
    }

    /// Nothing ever waits here for more.
    fn flush(&mut self) {}
}

impl Drop for Writing {
    fn drop(&mut self) {
        // They end with their node, all at once.
        self.held.drain(..).for_each(SensorHandle::leave);
    }
}

fn id_of(sensor: u32) -> SensorId {
    SensorId::new(name_of(sensor)).expect("ids here are short")
}

fn name_of(sensor: u32) -> String {
    format!("building/sensor-{sensor:08}")
}

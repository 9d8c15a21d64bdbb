//! Table and fanout joined as the engine of a node joins them, with a record of what was put.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use senza_core::fanout::{Fanout, Outbox, SubscriptionId, Watchers};
use senza_core::history::Sample;
use senza_core::subscription::{Contract, Overflow, Start, Subscription, Want};
use senza_core::table::{AttributeIndex, Deliver, Handle, Point, Registration, Table, TableLimits};
use senza_core::{AttributeId, Epoch, Filter, Micros, NodeName, Result, SensorId, SensorType, Seq, Series, Value};

/// The attribute of which no reading may be left out by contract.
pub(crate) const LOSSLESS: &str = "button";
/// Readings kept of a series.
pub(crate) const HISTORY: usize = 4;

/// A series by name: sensor, epoch, attribute.
pub(crate) type Name = (SensorId, Epoch, AttributeId);

pub(crate) fn name(series: &Series) -> Name {
    (series.sensor.clone(), series.epoch, series.attribute.clone())
}

/// Where a registered sensor's readings go.
pub(crate) type Place = (Handle, AttributeIndex);

pub(crate) struct Node {
    pub(crate) table: Table<Watchers>,
    pub(crate) fanout: Fanout,
    /// Every reading taken, by series, in order. No task is changed while it is held.
    taken: Mutex<BTreeMap<Name, Vec<Value>>>,
    /// A time that never goes back: every look at it takes five microseconds.
    time: AtomicI64,
}

/// Gathers what a run of puts delivers, and records it.
struct Delivering<'a> {
    node: &'a Node,
    outbox: &'a mut Outbox,
}

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.node.record(series, sample);
        self.node.fanout.collect(series, sample, watchers, self.outbox);
    }

    fn run_ended(&mut self) {
        self.outbox.flush();
    }
}

// === impl Node: sensors ===

impl Node {
    pub(crate) fn new() -> Arc<Self> {
        let limits = TableLimits { shards: 2, history_max: HISTORY, ..TableLimits::default() };
        let table = Table::new(limits, 7);
        table.mark_lossless([AttributeId::new(LOSSLESS).unwrap()]);
        Arc::new(Self { table, fanout: Fanout::default(), taken: Mutex::default(), time: AtomicI64::new(1_000) })
    }

    pub(crate) fn register(&self, sensor: &str, epoch: Epoch) -> Handle {
        let registration = Registration {
            sensor: SensorId::new(sensor).unwrap(),
            sensor_type: SensorType::default(),
            epoch,
            node: NodeName::new("a").unwrap(),
            meta: "{}".into(),
        };
        self.table.register(registration, self.now()).unwrap()
    }

    /// Registers a sensor with one attribute.
    pub(crate) fn series(&self, sensor: &str, attribute: &str) -> Place {
        let handle = self.register(sensor, 1);
        (handle, self.table.attribute(handle, attribute).unwrap())
    }

    pub(crate) fn now(&self) -> Micros {
        self.time.fetch_add(5, Ordering::Relaxed)
    }

    fn record(&self, series: &Series, sample: &Sample) {
        let mut taken = self.taken.lock();
        let values = taken.entry(name(series)).or_default();
        values.push(sample.value.clone());
        assert_eq!(values.len() as Seq, sample.seq, "numbers follow each other");
    }

    /// How many readings a series took.
    pub(crate) fn count(&self, name: &Name) -> Seq {
        self.taken.lock().get(name).map_or(0, |values| values.len() as Seq)
    }

    /// What a series' reading of that number was.
    pub(crate) fn value(&self, name: &Name, seq: Seq) -> Option<Value> {
        self.taken.lock().get(name).and_then(|values| values.get(seq as usize - 1).cloned())
    }

    /// Every series that took readings, and how many.
    pub(crate) fn counts(&self) -> Vec<(Name, Seq)> {
        self.taken.lock().iter().map(|(name, values)| (name.clone(), values.len() as Seq)).collect()
    }

    /// Asserts that each writer's readings were taken in its order.
    pub(crate) fn assert_writers_in_order(&self) {
        for values in self.taken.lock().values() {
            let mut last: BTreeMap<i64, i64> = BTreeMap::new();
            for (writer, number) in values.iter().map(parts) {
                assert!(last.insert(writer, number).is_none_or(|before| before < number), "a writer overtook itself");
            }
        }
    }
}

/// The value that a writer puts as its `number`-th: every third does not fit a row and travels beside it.
pub(crate) fn value(writer: i64, number: i64) -> Value {
    let bits = writer * 1_000 + number;
    if number % 3 == 2 { Value::Text(bits.to_string().as_str().into()) } else { Value::I64(bits) }
}

fn parts(value: &Value) -> (i64, i64) {
    let bits = match value {
        Value::Text(text) => text.parse().expect("made by `value`"),
        other => other.as_f64().expect("made by `value`") as i64,
    };
    (bits / 1_000, bits % 1_000)
}

// === impl Node: puts ===

impl Node {
    pub(crate) fn put(&self, place: Place, value: Value) -> Result<Seq> {
        let now = self.now();
        self.table.put(point(place, value), now, |series, sample, watchers| {
            self.record(series, sample);
            self.fanout.deliver(series, sample, watchers, now);
        })
    }

    pub(crate) fn put_many(&self, points: &[Point]) -> usize {
        let mut outbox = Outbox::default();
        let now = self.now();
        outbox.begin(now);
        self.table.put_runs(points, now, &mut Delivering { node: self, outbox: &mut outbox })
    }

    /// Answers also whether every reader who asks writers to wait had room.
    pub(crate) fn put_wait(&self, place: Place, value: Value) -> (Result<Seq>, bool) {
        let mut blocking: Vec<(Arc<Subscription>, u32)> = Vec::new();
        let visited = self.table.visit_handle(place.0, place.1, |series, watchers| {
            for target in self.fanout.targets(series, watchers) {
                if let Overflow::Block { wait_us } = target.subscription().contract().overflow {
                    blocking.push((target.subscription().clone(), wait_us));
                }
            }
        });
        let mut had_room = true;
        for (subscription, wait_us) in blocking {
            had_room &= subscription.wait_for_room(Duration::from_micros(wait_us.into()));
        }
        (visited.and_then(|()| self.put(place, value)), had_room)
    }
}

pub(crate) fn point((handle, attribute): Place, value: Value) -> Point {
    Point { handle, attribute, value, source_time: 0 }
}

// === impl Node: subscriptions ===

impl Node {
    pub(crate) fn watch(&self, filter: &Filter, contract: Contract) -> (SubscriptionId, Arc<Subscription>) {
        contract.check().unwrap();
        let subscription = Arc::new(Subscription::new(contract));
        let id = self.fanout.add(vec![(filter.clone(), contract.want)], subscription.clone()).unwrap();
        let named = self.fanout.named_sensors(id);
        match contract.start {
            Start::Live => self.reset(&named),
            Start::Latest => self.start(&subscription, filter, &named, (Micros::MIN, 1)),
            Start::Last(last) => self.start(&subscription, filter, &named, (Micros::MIN, last as usize)),
            Start::Since(from) => self.start(&subscription, filter, &named, (from, usize::MAX)),
        }
        subscription.started();
        (id, subscription)
    }

    fn start(&self, to: &Arc<Subscription>, filter: &Filter, named: &[SensorId], span: (Micros, usize)) {
        let mut start = |series: &Arc<Series>, last_seq: Seq, kept: &[Sample], watchers: &mut Watchers| {
            watchers.reset();
            if filter.matches(series) && !kept.is_empty() {
                self.fanout.resolve(series, watchers);
                if let Some(number) = watchers.number_in(to) {
                    to.offer_history(number, kept, last_seq);
                }
            }
        };
        if named.is_empty() {
            (0..self.table.shard_count()).for_each(|shard| self.table.visit_kept(shard, span, &mut start));
        }
        named.iter().for_each(|sensor| self.table.visit_kept_of(sensor.as_str(), span, &mut start));
    }

    /// Gives a subscription another filter, as another node does when its interest changed.
    pub(crate) fn revise(&self, id: SubscriptionId, filter: &Filter, want: Want) {
        let mut named = self.fanout.named_sensors(id);
        self.fanout.replace(id, vec![(filter.clone(), want)]);
        named.extend(self.fanout.named_sensors(id));
        self.reset(&named);
    }

    pub(crate) fn unwatch(&self, id: SubscriptionId) {
        let named = self.fanout.named_sensors(id);
        if self.fanout.remove(id) {
            self.reset(&named);
        }
    }

    fn reset(&self, named: &[SensorId]) {
        for sensor in named {
            self.table.visit_sensor(sensor.as_str(), |_, _, _, watchers| watchers.reset());
        }
    }
}

/// The first and the second shard's sensor.
pub(crate) fn sensor_of_each_shard() -> [String; 2] {
    let node = Node::new();
    let first_of = |shard: usize| {
        let mut names = (0..).map(|number| format!("s{number}"));
        let name = names.find(|name| {
            node.register(name, 1);
            let is_there = node.table.scan(shard).iter().any(|view| view.sensor.as_str() == name);
            node.table.release(name, 1);
            is_there
        });
        name.expect("some name falls into each shard")
    };
    [first_of(0), first_of(1)]
}

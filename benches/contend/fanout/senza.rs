//! senza as a contender of the fanout: table, fanout, subscriptions, with all that a put does on a node.

use std::sync::Arc;

use senza_core::fanout::Outbox;
use senza_core::subscription::{Contract, QUEUE_RANGE, Subscription, Taken, Want};
use senza_core::table::{Point, TableLimits};
use senza_core::{Filter, SensorId, Value};

use super::{Fan, Puts, Reader, Reads, Seen, Shape, group};
use crate::table::senza::Fleet;
use crate::table::stream::{Stream, write_id};

const CONFIGURATION: &str = "64 shards, a full ring of 16 readings per sensor; put as Engine::put_many and put do; one \
                             queue per subscriber, every reading wanted";

/// A table, its subscribers, and writers whose points are grouped by shard where they put in batches.
pub(super) fn fan(shape: &Shape, streams: &mut [Stream]) -> Fan {
    let fleet = Arc::new(Fleet::new(shape.sensors, TableLimits::default()));
    let queue_max = Contract::default().queue_max.max(shape.waiting_max()).min(*QUEUE_RANGE.end());
    let reader = |filter| {
        let subscription = Arc::new(Subscription::new(Contract { queue_max, ..Contract::default() }));
        fleet.fanout.add(vec![(filter, Want::EVERY)], subscription.clone()).expect("there is room");
        Reader::new(shape, Box::new(Reading { subscription, taken: Taken::default() }))
    };
    let mut id = String::new();
    let named = (0..shape.subscriptions).map(|subscription| {
        write_id(shape.sensor_of(subscription), &mut id);
        Filter::sensor(SensorId::new(&id).expect("ids here are short"))
    });
    let readers = (0..shape.subscribers).map(|_| Filter::all()).chain(named).map(reader).collect();
    if !shape.is_single {
        group(streams, shape.block, fleet.shards());
    }
    let writer = |stream: &Stream| -> Box<dyn Puts> {
        let point =
            |number: &u32| Point { value: Value::F64(f64::from(*number)), ..fleet.points[*number as usize].clone() };
        let points = stream.numbers().iter().map(point).collect();
        Box::new(Putting { fleet: fleet.clone(), points, is_single: shape.is_single, outbox: Outbox::default() })
    };
    Fan { writers: streams.iter().map(writer).collect(), readers, configuration: CONFIGURATION }
}

struct Putting {
    fleet: Arc<Fleet>,
    points: Vec<Point>,
    is_single: bool,
    outbox: Outbox,
}

impl Puts for Putting {
    fn put(&mut self, from: usize, to: usize, now: i64) {
        let Self { fleet, points, is_single, outbox } = self;
        let points = &points[from..to];
        let refused = match is_single {
            true => points.iter().filter(|point| !fleet.put(point, now)).count(),
            false => fleet.put_many(points, now, outbox),
        };
        assert_eq!(refused, 0, "all sensors are there");
    }
}

struct Reading {
    subscription: Arc<Subscription>,
    taken: Taken,
}

impl Reads for Reading {
    fn read(&mut self, seen: &mut Seen) {
        self.subscription.take(&mut self.taken, usize::MAX);
        self.taken.drain(|item| match item.value {
            Some(Value::F64(value)) => seen.reading(item.row.series, item.row.seq, value),
            _ if item.row.is_gap() => seen.gap(item.row.series, item.row.seq, item.row.slot),
            _ => {}
        });
    }
}

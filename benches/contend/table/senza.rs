//! senza's table as a contender, with all that a put does on a node: the shard lock, the number, the ring of 16 in
//! order of source time, and the look at the subscriptions of the series, of which there is none.

use std::hint::black_box;
use std::sync::Arc;

use senza_core::fanout::{Fanout, Outbox, Watchers};
use senza_core::history::Sample;
use senza_core::table::{Deliver, Handle, NamedPoint, Point, Registration, Table, TableLimits};
use senza_core::{NodeName, SensorId, SensorType, Series, Value};

use super::stream::{Stream, write_id};
use super::{Hand, Store, Work};

/// The one attribute of every sensor.
pub(crate) const ATTRIBUTE: &str = "value";
/// What [`Fleet::warm`] makes.
pub(super) const CONFIGURATION: &str =
    "64 shards, full rings of 16, foldhash (quality); puts as the engine's put, put_many, put_by_id, put_many_by_id";

/// A table, who subscribes to it, and its sensors by number.
pub(crate) struct Fleet {
    pub(crate) table: Table<Watchers>,
    pub(crate) fanout: Fanout,
    /// A point of each sensor.
    pub(crate) points: Vec<Point>,
    shards: Vec<u32>,
}

/// Registers sensors, and makes their attribute.
pub(crate) struct Registering {
    registration: Registration,
    id: String,
}

/// Hands readings to the fanout by way of an outbox, as the engine does for batches.
pub(crate) struct Delivering<'a> {
    pub(crate) fanout: &'a Fanout,
    pub(crate) outbox: &'a mut Outbox,
}

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.fanout.collect(series, sample, watchers, self.outbox);
    }

    fn run_ended(&mut self) {
        self.outbox.flush();
    }
}

impl Default for Registering {
    fn default() -> Self {
        let sensor = SensorId::new("none yet").expect("it is short");
        let (sensor_type, node) = (SensorType::default(), NodeName::from_host("bench"));
        Self {
            registration: Registration { sensor, sensor_type, epoch: 1, node, meta: "{}".into() },
            id: String::new(),
        }
    }
}

impl Registering {
    /// Registers the sensor of a number; answers a point of it that says 0, of a time before all others.
    pub(crate) fn register(&mut self, table: &Table<Watchers>, number: u32) -> Point {
        write_id(number, &mut self.id);
        self.registration.sensor = SensorId::new(&self.id).expect("ids here are short");
        let handle = table.register(self.registration.clone(), 0).expect("the table has room");
        let attribute = table.attribute(handle, ATTRIBUTE).expect("the sensor has room");
        Point { handle, attribute, value: Value::F64(0.0), source_time: 1 }
    }
}

impl Fleet {
    /// A table of sensors that have no reading yet.
    pub(crate) fn new(sensors: u32, limits: TableLimits) -> Self {
        let table = Table::new(limits, 1);
        let mut registering = Registering::default();
        let points: Vec<Point> = (0..sensors).map(|number| registering.register(&table, number)).collect();
        let shards = points.iter().map(|point| shard(point.handle)).collect();
        Self { table, fanout: Fanout::default(), points, shards }
    }

    /// A table of sensors whose histories are full.
    pub(super) fn warm(sensors: u32) -> Self {
        let limits = TableLimits::default();
        let fleet = Self::new(sensors, limits);
        let mut outbox = Outbox::default();
        let mut by_shard: Vec<u32> = (0..sensors).collect();
        by_shard.sort_by_key(|number| fleet.shards[*number as usize]);
        let points: Vec<Point> = by_shard.iter().map(|number| fleet.points[*number as usize].clone()).collect();
        for _ in 0..limits.history_max {
            let missing = fleet.put_many(&points, 1, &mut outbox);
            assert_eq!(missing, 0, "a fresh handle is not stale");
        }
        fleet
    }

    /// The shard of each sensor.
    pub(crate) fn shards(&self) -> &[u32] {
        &self.shards
    }

    /// Puts as `Engine::put` does; answers whether its sensor is there.
    pub(crate) fn put(&self, point: &Point, now: i64) -> bool {
        let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, now);
        self.table.put(point.clone(), now, deliver).is_ok()
    }

    /// Puts as `Engine::put_many` does; answers how many were refused.
    pub(crate) fn put_many(&self, points: &[Point], now: i64, outbox: &mut Outbox) -> usize {
        outbox.begin(now);
        self.table.put_runs(points, now, &mut Delivering { fanout: &self.fanout, outbox })
    }
}

/// Which shard a handle goes to: it shows that first.
fn shard(handle: Handle) -> u32 {
    let shown = format!("{handle:?}");
    let digits = shown.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("a handle shows its shard")
}

impl Store for Fleet {
    fn hand<'a>(&'a self, work: &Work, stream: &'a Stream) -> Box<dyn Hand + 'a> {
        let (mut points, mut named, ids) = (Vec::new(), Vec::new(), stream.ids());
        if work.by_handle {
            let of = |(place, number): (usize, &u32)| Point {
                value: Value::F64(stream.value(place)),
                ..self.points[*number as usize].clone()
            };
            points = stream.numbers().iter().enumerate().map(of).collect();
        } else if work.batch.is_some() {
            let of = |(place, id): (usize, &&'a str)| NamedPoint {
                sensor: id,
                attribute: ATTRIBUTE,
                value: Value::F64(stream.value(place)),
                source_time: 1,
            };
            named = ids.iter().enumerate().map(of).collect();
        }
        let is_single = work.batch.is_none();
        Box::new(FleetHand { fleet: self, stream, is_single, points, named, ids, outbox: Outbox::default() })
    }

    fn shards(&self) -> Option<&[u32]> {
        Some(&self.shards)
    }

    fn taken(&self) -> Option<u64> {
        let mut taken = 0;
        (0..self.table.shard_count())
            .for_each(|shard| self.table.visit_series(shard, |_, last_seq, _, _| taken += last_seq));
        Some(taken)
    }

    fn latest(&self, id: &str) -> Option<f64> {
        self.table.latest_sample(id, ATTRIBUTE).and_then(|sample| sample.value.as_f64())
    }
}

struct FleetHand<'a> {
    fleet: &'a Fleet,
    stream: &'a Stream,
    is_single: bool,
    /// By handle.
    points: Vec<Point>,
    /// By id, in batches.
    named: Vec<NamedPoint<'a>>,
    ids: Vec<&'a str>,
    outbox: Outbox,
}

impl Hand for FleetHand<'_> {
    fn put(&mut self, from: usize, to: usize, now: i64) -> usize {
        let Self { fleet, stream, is_single, points, named, ids, outbox } = self;
        match (*is_single, points.is_empty()) {
            (true, false) => points[from..to].iter().filter(|point| fleet.put(point, now)).count(),
            (true, true) => {
                let put = |(place, id): (usize, &&str)| {
                    let deliver =
                        |series: &_, sample: &_, watchers: &mut _| fleet.fanout.deliver(series, sample, watchers, now);
                    let value = Value::F64(stream.value(place));
                    fleet.table.put_by_id(id, ATTRIBUTE, value, 1, now, deliver).is_ok()
                };
                (from..to).zip(&ids[from..to]).filter(|reading| put(*reading)).count()
            }
            (false, false) => to - from - fleet.put_many(&points[from..to], now, outbox),
            (false, true) => {
                outbox.begin(now);
                let mut delivering = Delivering { fanout: &fleet.fanout, outbox };
                to - from - fleet.table.put_many_by_id(&named[from..to], now, &mut delivering).len()
            }
        }
    }

    fn get(&mut self, from: usize, to: usize) -> usize {
        self.ids[from..to].iter().filter(|id| black_box(self.fleet.latest(id)).is_some()).count()
    }
}

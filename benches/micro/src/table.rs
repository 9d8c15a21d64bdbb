//! The table: putting, reading, registering. Nobody watches.

use std::hint::black_box;
use std::sync::Arc;

use senza_core::fanout::{Fanout, Watchers};
use senza_core::history::Sample;
use senza_core::table::{Deliver, NamedPoint, Point, Registration, Table};
use senza_core::{Micros, SensorType, Series, Value};

use crate::{Case, ids, life, limits, sensor};

/// A table of sensors whose histories are full, and a point of each.
struct Fleet {
    table: Table<Watchers>,
    fanout: Fanout,
    points: Vec<Point>,
    ids: Vec<&'static str>,
    now: Micros,
}

/// Hands readings to the fanout.
struct Delivering<'a>(&'a Fanout);

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.0.deliver(series, sample, watchers, 1);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let numbers = || Fleet::new(Value::F64(0.5));
    let texts = || Fleet::new(Value::Text("in order".into()));
    let (unknown, registered) = (|| Registry::new(false), || Registry::new(true));
    vec![
        Case::prepared("table: put by handle", numbers, Fleet::tick, |fleet, ()| fleet.put()),
        Case::prepared("table: put a text by handle", texts, Fleet::tick, |fleet, ()| fleet.put()),
        Case::prepared("table: put many by handle", numbers, Fleet::tick, |fleet, ()| fleet.put_many()),
        Case::prepared("table: put by id", numbers, Fleet::tick, |fleet, ()| fleet.put_by_id()),
        Case::prepared("table: put many by id", numbers, Fleet::named, Fleet::put_many_by_id),
        Case::new("table: find a handle", numbers, |fleet| fleet.each(|table, id| table.find(id))),
        Case::new("table: latest", numbers, |fleet| fleet.each(|table, id| table.latest(id, "value"))),
        Case::new("table: history of 16", numbers, |fleet| {
            fleet.each(|table, id| table.history(id, "value", Micros::MIN, Micros::MAX, 16));
        }),
        Case::prepared("table: register, sensors that are new", unknown, Registry::empty, Registry::register),
        Case::prepared("table: register, sensors that were here", registered, Registry::emptied, Registry::register),
        Case::prepared("table: release", registered, Registry::full, Registry::release),
    ]
}

// === impl Fleet ===

impl Fleet {
    fn new(value: Value) -> Self {
        let table = Table::new(limits(), 1);
        let (ids, limits) = (ids(), *table.limits());
        let point = |id: &&str| {
            let handle = table.register(registration(id), 0).expect("the table has room");
            let attribute = table.attribute(handle, "value").expect("the sensor has room");
            Point { handle, attribute, value: value.clone(), source_time: 0 }
        };
        let points = ids.iter().map(point).collect();
        let mut fleet = Self { table, fanout: Fanout::default(), points, ids, now: 0 };
        for _ in 0..limits.history_max {
            fleet.tick();
            fleet.put_many();
        }
        fleet
    }

    fn tick(&mut self) {
        self.now += 1;
        self.points.iter_mut().for_each(|point| point.source_time = self.now);
    }

    fn put(&mut self) {
        for point in &self.points {
            let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, 1);
            let _seq = black_box(self.table.put(point.clone(), self.now, deliver));
        }
    }

    fn put_many(&mut self) {
        let refused = self.table.put_runs(&self.points, self.now, &mut Delivering(&self.fanout));
        assert_eq!(refused, 0);
    }

    fn put_by_id(&mut self) {
        for id in &self.ids {
            let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, 1);
            let _seq = black_box(self.table.put_by_id(id, "value", Value::F64(0.5), self.now, self.now, deliver));
        }
    }

    fn named(&mut self) -> Vec<NamedPoint<'static>> {
        self.tick();
        let (value, source_time) = (Value::F64(0.5), self.now);
        let point =
            |id: &&'static str| NamedPoint { sensor: id, attribute: "value", value: value.clone(), source_time };
        self.ids.iter().map(point).collect()
    }

    fn put_many_by_id(&mut self, points: Vec<NamedPoint<'static>>) {
        let refused = self.table.put_many_by_id(&points, self.now, &mut Delivering(&self.fanout));
        assert!(refused.is_empty());
    }

    fn each<T>(&mut self, ask: impl Fn(&Table<Watchers>, &str) -> T) {
        for id in &self.ids {
            black_box(ask(&self.table, id));
        }
    }
}

// === registering ===

fn registration(id: &str) -> Registration {
    Registration {
        sensor: sensor(id),
        sensor_type: SensorType::default(),
        epoch: 1,
        node: life("a").node,
        meta: "{}".into(),
    }
}

/// A table, and what is registered there.
struct Registry {
    table: Table<Watchers>,
    registrations: Vec<Registration>,
}

impl Registry {
    fn new(full: bool) -> Self {
        let registrations = ids().into_iter().map(registration).collect();
        let mut registry = Self { table: Table::new(limits(), 1), registrations };
        if full {
            let all = registry.registrations.clone();
            registry.register(all);
        }
        registry
    }

    fn empty(&mut self) -> Vec<Registration> {
        self.table = Table::new(limits(), 1);
        self.registrations.clone()
    }

    fn emptied(&mut self) -> Vec<Registration> {
        self.registrations.iter().for_each(|known| assert!(self.table.remove(known.sensor.as_str(), known.epoch)));
        self.registrations.clone()
    }

    fn full(&mut self) {
        if self.table.is_empty() {
            self.register(self.registrations.clone());
        }
    }

    fn register(&mut self, registrations: Vec<Registration>) {
        for registration in registrations {
            let _handle = black_box(self.table.register(registration, 0));
        }
    }

    fn release(&mut self, (): ()) {
        for known in &self.registrations {
            assert!(self.table.release(known.sensor.as_str(), known.epoch));
        }
    }
}

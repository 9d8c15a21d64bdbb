//! A table against a map of sorted lists, under random registrations, puts of all kinds, and ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::history::Sample;

const SENSORS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ATTRIBUTES: [&str; 6] = ["u", "v", "w", "x", "y", "z"];
const ATTRIBUTES_MAX: usize = 5;
const HISTORY_MAX: usize = 7;

#[derive(Clone, Debug)]
enum Step {
    Register(usize),
    Release(usize, u64),
    Remove(usize),
    /// Sensor, attribute, value, how far source time and clock go on, how it is put.
    Put(usize, usize, Value, i64, i64, How),
}

#[derive(Clone, Copy, Debug)]
enum How {
    ByHandle,
    ById,
    Many,
    ManyById,
}

/// Takes what is told, as attribute, sample and how often it was.
struct Told<'a>(&'a mut Vec<(String, Sample, u64)>);

impl Deliver<u32> for Told<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, hung: &mut u32) {
        *hung += 1;
        self.0.push((series.attribute.to_string(), sample.clone(), u64::from(*hung)));
    }
}

#[derive(Clone, Debug, Default)]
struct ModelSensor {
    handle: Option<Handle>,
    epoch: Epoch,
    meta: String,
    registrations: u32,
    touched: Micros,
    /// In order of first use: name, last seq, samples in order.
    attributes: Vec<(String, Seq, Vec<Sample>)>,
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        2 => any::<i64>().prop_map(Value::I64),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[a-z]{0,3}".prop_map(|text| Value::Text(text.into())),
        1 => Just(Value::Json("{}".into())),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| Value::Bytes(bytes.into())),
        1 => prop::collection::vec(any::<f32>(), 0..3).prop_map(|vector| Value::Vector(vector.into())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let on = || prop_oneof![3 => 0i64..5_000_000, 2 => -9_000_000i64..0, 6 => -4i64..6, 1 => -(1i64 << 40)..1 << 40];
    let how = prop_oneof![Just(How::ByHandle), Just(How::ById), Just(How::Many), Just(How::ManyById)];
    let put = (0..SENSORS.len(), 0..ATTRIBUTES.len(), value(), on(), 0i64..2_000_000, how);
    prop_oneof![
        2 => (0..SENSORS.len()).prop_map(Step::Register),
        1 => (0..SENSORS.len(), 0u64..2).prop_map(|(sensor, off)| Step::Release(sensor, off)),
        1 => (0..SENSORS.len()).prop_map(Step::Remove),
        16 => put.prop_map(|(sensor, attribute, value, on, lag, how)| Step::Put(sensor, attribute, value, on, lag, how)),
    ]
}

type Checked = std::result::Result<(), TestCaseError>;

/// Table and model, side by side.
struct Pair {
    table: Table<u32>,
    model: BTreeMap<&'static str, ModelSensor>,
    /// Handles of sensors that are no more.
    stale: Vec<Handle>,
    epoch: Epoch,
    source: Micros,
    now: Micros,
}

impl Pair {
    fn apply(&mut self, step: Step) -> Checked {
        match step {
            Step::Register(at) => self.register(SENSORS[at]),
            Step::Release(at, off) => self.end(SENSORS[at], off, false),
            Step::Remove(at) => self.end(SENSORS[at], 0, true),
            Step::Put(sensor, attribute, value, on, lag, how) => {
                (self.source, self.now) = (self.source + on, self.now + lag);
                self.put(SENSORS[sensor], ATTRIBUTES[attribute], value, how)
            }
        }
    }

    fn register(&mut self, id: &'static str) -> Checked {
        self.epoch += 1;
        let meta = format!("{{\"n\":{}}}", self.epoch % 3);
        let new = Registration { meta: meta.as_str().into(), ..registration(id, self.epoch) };
        let handle = self.table.register(new, self.now).unwrap();
        let epoch = self.epoch;
        let sensor = self.model.entry(id).or_insert_with(|| ModelSensor { epoch, ..ModelSensor::default() });
        prop_assert_eq!(*sensor.handle.get_or_insert(handle), handle);
        (sensor.meta, sensor.touched) = (meta, self.now);
        sensor.registrations += 1;
        Ok(())
    }

    fn end(&mut self, id: &'static str, off: u64, all: bool) -> Checked {
        let epoch = self.model.get(id).map_or(1, |sensor| sensor.epoch + off);
        let ended = if all { self.table.remove(id, epoch) } else { self.table.release(id, epoch) };
        let Some(sensor) = self.model.get_mut(id).filter(|_| off == 0) else {
            prop_assert!(!ended);
            return Ok(());
        };
        sensor.registrations -= 1;
        let expected = all || sensor.registrations == 0;
        if expected {
            self.stale.extend(self.model.remove(id).and_then(|sensor| sensor.handle));
        }
        prop_assert_eq!(ended, expected);
        Ok(())
    }

    fn put(&mut self, id: &'static str, name: &str, value: Value, how: How) -> Checked {
        let (source_time, now) = (self.source, self.now);
        let Some(sensor) = self.model.get_mut(id) else {
            let refused = self.table.put_by_id(id, name, value, source_time, now, |_, _, _| {});
            prop_assert_eq!(refused, Err(Error::NotFound { sensor: id.to_owned() }));
            return Ok(());
        };
        let handle = sensor.handle.unwrap();
        let at = sensor.attributes.iter().position(|(known, ..)| known == name);
        if at.is_none() && sensor.attributes.len() == ATTRIBUTES_MAX {
            let full = Error::Full { what: "attributes of one sensor", max: ATTRIBUTES_MAX };
            prop_assert_eq!(self.table.attribute(handle, name), Err(full));
            return Ok(());
        }
        let at = at.unwrap_or_else(|| {
            sensor.attributes.push((name.to_owned(), 0, Vec::new()));
            sensor.attributes.len() - 1
        });
        let (_, last, samples) = &mut sensor.attributes[at];
        *last += 1;
        let sample = Sample { value: value.clone(), source_time, received_time: now, seq: *last };
        let mut told = Vec::new();
        if matches!(how, How::ById) {
            let deliver = |series: &Arc<Series>, sample: &Sample, hung: &mut u32| {
                Told(&mut told).reading(series, sample, hung);
            };
            prop_assert_eq!(self.table.put_by_id(id, name, value, source_time, now, deliver), Ok(*last));
        } else if matches!(how, How::ManyById) {
            let point = NamedPoint { sensor: id, attribute: name, value, source_time };
            let points = [NamedPoint { sensor: "f", ..point.clone() }, point];
            let refused = self.table.put_many_by_id(&points, now, &mut Told(&mut told));
            prop_assert_eq!(refused, [(0, Error::NotFound { sensor: "f".to_owned() })]);
        } else {
            let attribute = self.table.attribute(handle, name).unwrap();
            let point = Point { handle, attribute, value, source_time };
            if matches!(how, How::ByHandle) {
                let deliver = |series: &Arc<Series>, sample: &Sample, hung: &mut u32| {
                    Told(&mut told).reading(series, sample, hung);
                };
                prop_assert_eq!(self.table.put(point, now, deliver), Ok(*last));
            } else {
                let stale = self.stale.iter().map(|handle| Point { handle: *handle, ..point.clone() });
                let points: Vec<Point> = stale.chain([point.clone()]).collect();
                prop_assert_eq!(self.table.put_runs(&points, now, &mut Told(&mut told)), self.stale.len());
            }
        }
        prop_assert_eq!(told, [(name.to_owned(), sample.clone(), *last)], "told once, and W stays with its series");
        samples.push(sample);
        samples.sort_by_key(|sample| (sample.source_time, sample.seq));
        samples.drain(..samples.len().saturating_sub(HISTORY_MAX));
        sensor.touched = now;
        Ok(())
    }

    fn check(&self) -> Checked {
        prop_assert_eq!(self.table.len(), self.model.len());
        let scanned: usize = (0..self.table.shard_count()).map(|shard| self.table.scan(shard).len()).sum();
        prop_assert_eq!(scanned, self.model.len());
        for id in SENSORS {
            prop_assert_eq!(self.table.find(id), self.model.get(id).and_then(|sensor| sensor.handle));
            let Some(sensor) = self.model.get(id) else { continue };
            let view = self.table.view(id).unwrap();
            let names: Vec<&str> = sensor.attributes.iter().map(|(name, ..)| name.as_str()).collect();
            prop_assert_eq!(view.attributes.iter().map(AttributeId::as_str).collect::<Vec<_>>(), names);
            prop_assert_eq!((view.epoch, &*view.meta), (sensor.epoch, sensor.meta.as_str()));
            prop_assert_eq!((view.registrations, view.touched), (sensor.registrations, sensor.touched));
            let mut visited = Vec::new();
            self.table.visit_sensor(id, |series, last, latest, _| {
                visited.push((series.attribute.to_string(), last, latest.cloned()));
            });
            for ((name, last, samples), visited) in sensor.attributes.iter().zip(&visited) {
                prop_assert_eq!(visited, &(name.clone(), *last, samples.last().cloned()));
                let kept = self.table.history(id, name, Micros::MIN, Micros::MAX, usize::MAX);
                prop_assert!(kept.iter().all(|reading| reading.series.sensor.as_str() == id));
                let plain = |r: Reading| (r.value, r.source_time, r.received_time, r.seq);
                let expected = samples.iter().map(|s| (s.value.clone(), s.source_time, s.received_time, s.seq));
                prop_assert_eq!(kept.into_iter().map(plain).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn does_as_a_map_of_sorted_lists(steps in prop::collection::vec(step(), 1..250), shards in 1usize..3) {
        let limits =
            TableLimits { shards, sensors_max: 1000, attributes_max: ATTRIBUTES_MAX, history_max: HISTORY_MAX };
        let (table, model) = (Table::new(limits, 7), BTreeMap::new());
        let mut pair = Pair { table, model, stale: Vec::new(), epoch: 0, source: 0, now: 0 };
        for step in steps {
            pair.apply(step)?;
            pair.check()?;
        }
    }
}

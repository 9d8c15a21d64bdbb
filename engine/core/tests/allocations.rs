//! What a put of a number allocates once its series is warm: nothing.

use senza_core::history::Sample;
use senza_core::table::{Deliver, NamedPoint, Point, Registration, Table, TableLimits};
use senza_core::{Micros, NodeName, SensorId, SensorType, Series, Value};
use std::sync::Arc;

const SENSORS: i64 = 1000;
const HISTORY_MAX: i64 = 16;

/// A table whose histories are full, a point of each sensor, and the time of the last.
fn warm() -> (Table<[u64; 3]>, Vec<Point>, Micros) {
    let table = Table::new(TableLimits { history_max: HISTORY_MAX as usize, ..TableLimits::default() }, 1);
    let point = |number: i64| {
        let (sensor, node) =
            (SensorId::new(format!("building/sensor-{number:08}")).expect("the id fits"), NodeName::from_host("a"));
        let sensor_type = SensorType::default();
        let handle = table
            .register(Registration { sensor, sensor_type, epoch: 1, node, meta: "{}".into() }, 0)
            .expect("there is room");
        let attribute = table.attribute(handle, "value").expect("there is room");
        let value = match number % 3 {
            0 => Value::F64(number as f64),
            1 => Value::I64(number),
            _ => Value::Bool(true),
        };
        Point { handle, attribute, value, source_time: 0 }
    };
    let mut points: Vec<Point> = (0..SENSORS).map(point).collect();
    for time in 1..=HISTORY_MAX {
        points.iter_mut().for_each(|point| point.source_time = time);
        assert_eq!(table.put_many(&points, time, |_, _, _| {}), 0);
    }
    (table, points, HISTORY_MAX)
}

/// Counts what it is told.
struct Counting;

impl Deliver<[u64; 3]> for Counting {
    fn reading(&mut self, _: &Arc<Series>, _: &Sample, hung: &mut [u64; 3]) {
        hung[0] += 1;
    }
}

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn a_warm_put_allocates_nothing() {
    let (table, mut points, mut time) = warm();
    let ids: Vec<String> = (0..SENSORS).map(|number| format!("building/sensor-{number:08}")).collect();
    let named = |id| NamedPoint { sensor: id, attribute: "value", value: Value::F64(0.5), source_time: 1000 };
    let named: Vec<NamedPoint<'_>> = ids.iter().map(|id| named(id.as_str())).collect();
    let found = allocations(|| {
        for _ in 0..3 * HISTORY_MAX {
            time += 1;
            points.iter_mut().for_each(|point| point.source_time = time);
            assert_eq!(table.put_many(&points, time, |_, _, hung| hung[0] += 1), 0);
        }
        for point in &points {
            table.put(point.clone(), time, |_, _, hung| hung[0] += 1).unwrap();
        }
        for id in &ids {
            table.put_by_id(id, "value", Value::F64(0.5), time, time, |_, _, hung| hung[0] += 1).unwrap();
        }
        for few in [named.as_slice(), &named[..10]] {
            assert_eq!(table.put_many_by_id(few, time, &mut Counting), []);
        }
    });
    assert_eq!(found, 0);
}

#[test]
fn the_counter_counts() {
    let (table, points, time) = warm();
    let text = Value::Text("text".into());
    let found = allocations(|| {
        let point = Point { value: text.clone(), source_time: time, ..points[0].clone() };
        table.put(point.clone(), time, |_, _, _| {}).unwrap();
    });
    assert!(found > 0, "a text is kept aside, and the first one makes room for those");
}

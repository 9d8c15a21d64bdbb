//! What a put of a number allocates once its series is warm: nothing.

use senza_core::table::{Point, Registration, Table, TableLimits};
use senza_core::{Micros, NodeName, SensorId, SensorType, Value};

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

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn a_warm_put_allocates_nothing() {
    let (table, mut points, mut time) = warm();
    let ids: Vec<String> = (0..SENSORS).map(|number| format!("building/sensor-{number:08}")).collect();
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

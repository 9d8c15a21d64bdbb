//! What a table promises, by example and against a simple model.

mod model;

use super::*;

fn table() -> Table<()> {
    Table::new(TableLimits { shards: 4, sensors_max: 1000, attributes_max: 2, history_max: 3 }, 7)
}

fn registration(id: &str, epoch: Epoch) -> Registration {
    Registration {
        sensor: SensorId::new(id).unwrap(),
        sensor_type: SensorType::default(),
        epoch,
        node: NodeName::new("a").unwrap(),
        meta: "{}".into(),
    }
}

fn put(table: &Table<()>, handle: Handle, name: &str, value: i64, time: Micros) -> Result<Seq> {
    table.put_named((handle, name), Value::I64(value), time, time, |_, _, ()| {})
}

#[test]
fn readings_are_numbered_and_the_latest_is_the_newest_by_source_time() {
    let table = table();
    let handle = table.register(registration("s", 5), 0).unwrap();
    assert_eq!(put(&table, handle, "x", 1, 100).unwrap(), 1);
    assert_eq!(put(&table, handle, "x", 2, 50).unwrap(), 2);
    assert_eq!(table.latest("s", "x").unwrap().value, Value::I64(1));
    let attribute = table.attribute(handle, "x").unwrap();
    let by_place = Point { handle, attribute, value: Value::I64(3), source_time: 100 };
    assert_eq!(table.put(by_place, 100, |_, _, ()| {}).unwrap(), 3);
    assert_eq!(table.latest("s", "x").unwrap().seq, 3, "ties go to the later seq");
    let times: Vec<_> = table.history("s", "x", 0, 1000, 10).iter().map(|r| r.source_time).collect();
    assert_eq!(times, [50, 100, 100]);
    assert_eq!(table.latest("s", "nope"), None);
    let without_series = table.latest_sample("s", "x").unwrap();
    assert_eq!(without_series.reading(&table.latest("s", "x").unwrap().series), table.latest("s", "x").unwrap());
    assert_eq!((table.latest_sample("s", "nope"), table.latest_sample("t", "x")), (None, None));
}

#[test]
fn a_stale_handle_never_reaches_the_slots_next_sensor() {
    let table = Table::<()>::new(TableLimits { shards: 1, ..TableLimits::default() }, 7);
    let old = table.register(registration("old", 1), 0).unwrap();
    put(&table, old, "x", 1, 1).unwrap();
    assert!(table.release("old", 1));
    let new = table.register(registration("new", 2), 0).unwrap();
    assert_eq!(put(&table, old, "x", 9, 2).unwrap_err(), Error::Unregistered);
    put(&table, new, "x", 2, 2).unwrap();
    assert_eq!(table.latest("new", "x").unwrap().value, Value::I64(2));
    assert!(table.find("old").is_none());
}

#[test]
fn a_handle_made_of_any_numbers_is_stale() {
    let table = table();
    let handle = table.register(registration("s", 1), 0).unwrap();
    let attribute = table.attribute(handle, "x").unwrap();
    assert_eq!(Handle::from_parts(handle.parts()), handle);
    assert_eq!(AttributeIndex::from_number(attribute.number()), attribute);
    let [shard, slot, generation] = handle.parts();
    for parts in [[shard + 4, slot, generation], [u32::MAX; 3], [shard, u32::MAX, generation], [shard, slot, 77]] {
        let made_up = Handle::from_parts(parts);
        assert_eq!(put(&table, made_up, "x", 1, 1).unwrap_err(), Error::Unregistered);
        let point = Point { handle: made_up, attribute, value: Value::I64(1), source_time: 1 };
        assert_eq!(table.put_many(&[point.clone(), point.clone()], 1, |_, _, ()| {}), 2);
        assert_eq!(table.put(point, 1, |_, _, ()| {}).unwrap_err(), Error::Unregistered);
        assert_eq!(table.visit_handle(made_up, attribute, |_, ()| {}).unwrap_err(), Error::Unregistered);
    }
    let beyond = AttributeIndex::from_number(u16::MAX);
    let point = Point { handle, attribute: beyond, value: Value::I64(1), source_time: 1 };
    assert_eq!(table.put(point, 1, |_, _, ()| {}).unwrap_err(), Error::Unregistered);
    assert_eq!(table.latest("s", "x"), None);
}

#[test]
fn registrations_are_counted_and_ended_by_their_claim_alone() {
    let table = table();
    table.register(registration("s", 5), 0).unwrap();
    table.register(registration("s", 5), 0).unwrap();
    assert!(!table.release("s", 4), "another claim's end changes nothing");
    assert!(!table.release("s", 5));
    assert!(table.find("s").is_some());
    assert!(table.release("s", 5));
    assert!(table.find("s").is_none() && table.is_empty());
    assert!(!table.remove("s", 5));
}

#[test]
fn bounds_are_refusals_that_name_them() {
    let table = Table::<()>::new(TableLimits { shards: 1, sensors_max: 0, attributes_max: 2, history_max: 1 }, 7);
    for i in 0..64 {
        table.register(registration(&format!("s{i}"), 1), 0).unwrap();
    }
    let refused = table.register(registration("one more", 1), 0).unwrap_err();
    assert!(refused.to_string().contains("limit"), "{refused}");
    let handle = table.find("s0").unwrap();
    put(&table, handle, "x", 1, 1).unwrap();
    put(&table, handle, "y", 1, 1).unwrap();
    assert!(matches!(put(&table, handle, "z", 1, 1), Err(Error::Full { max: 2, .. })));
}

#[test]
fn many_points_cost_one_pass_and_keep_their_order() {
    let table = table();
    let mut points = Vec::new();
    for i in 0..20 {
        let handle = table.register(registration(&format!("s{i}"), 1), 0).unwrap();
        let attribute = table.attribute(handle, "x").unwrap();
        for n in 0..3 {
            points.push(Point { handle, attribute, value: Value::I64(n), source_time: n });
        }
    }
    table.release("s3", 1);
    let mut seen = 0;
    let refused = table.put_many(&points, 9, |_, sample, ()| {
        assert_eq!(sample.value, Value::I64(sample.seq as i64 - 1));
        seen += 1;
    });
    assert_eq!((seen, refused), (57, 3));
}

#[test]
fn ids_of_any_length_are_told_apart() {
    let table = Table::<()>::new(TableLimits { shards: 2, ..TableLimits::default() }, 7);
    let id = |length: usize, end: char| format!("{}{end}", "é".repeat(length / 2 - 1) + &"-".repeat(1 + length % 2));
    for (number, length) in (2..=256).enumerate() {
        for end in ['a', 'b'] {
            table.register(registration(&id(length, end), 1), 0).unwrap();
            let value = Value::I64(number as i64 * 2 + i64::from(end == 'b'));
            table.put_by_id(&id(length, end), "x", value, 1, 1, |_, _, ()| {}).unwrap();
        }
        assert_eq!(table.find(&id(length, 'c')), None);
    }
    for (number, length) in (2..=256).enumerate() {
        assert_eq!(table.latest(&id(length, 'a'), "x").unwrap().value, Value::I64(number as i64 * 2));
        assert_eq!(table.view(&id(length, 'b')).unwrap().sensor.as_str(), id(length, 'b'));
    }
}

#[test]
fn attributes_are_found_where_a_shard_knows_no_more_names() {
    let table = Table::<()>::new(TableLimits { shards: 1, ..TableLimits::default() }, 7);
    for round in 1..3 {
        for number in 0..400 {
            let (id, attribute) = (format!("s{number}"), format!("x{number}"));
            table.release(&id, round - 1);
            table.register(registration(&id, round), 0).unwrap();
            let put = |name: &str| table.put_by_id(&id, name, Value::Bool(true), 1, 1, |_, _, ()| {}).unwrap();
            assert_eq!((put(&attribute), put("other"), put(&attribute), put("other")), (1, 1, 2, 2));
            assert_eq!(table.latest(&id, &attribute).unwrap().series.attribute.as_str(), attribute);
        }
    }
}

/// Takes what is handed on, as "sensor attribute value", and counts the runs.
#[derive(Default)]
struct Told(Vec<String>, usize);

impl Deliver<()> for Told {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, (): &mut ()) {
        self.0.push(format!("{} {} {}", series.sensor, series.attribute, sample.value.as_f64().unwrap()));
        assert_eq!(sample.value, Value::I64(sample.seq as i64), "in the order in which they were given");
    }

    fn run_ended(&mut self) {
        self.1 += 1;
    }
}

#[test]
fn many_points_by_id_keep_their_order_and_refusals_their_place() {
    for (shards, sensors) in [(1, 3), (64, 700), (1024, 700)] {
        let limits = TableLimits { shards, attributes_max: 2, ..TableLimits::default() };
        let table = Table::<()>::new(limits, 7);
        let ids: Vec<String> = (0..sensors).map(|number| format!("s{number}")).collect();
        ids.iter().for_each(|id| assert!(table.register(registration(id, 1), 0).is_ok()));
        let point =
            |sensor, attribute, value| NamedPoint { sensor, attribute, value: Value::I64(value), source_time: value };
        let mut points = Vec::new();
        for value in 1..4 {
            points.extend(ids.iter().flat_map(|id| [point(id, "x", value), point(id, "y", value)]));
            points.extend([point("nobody", "x", value), point("s1", "z", value)]);
        }
        let mut told = Told::default();
        let refused = table.put_many_by_id(&points, 9, &mut told);
        let not_found = Error::NotFound { sensor: "nobody".into() };
        let full = Error::Full { what: "attributes of one sensor", max: 2 };
        let round = sensors * 2 + 2;
        let expected = (1..4).flat_map(|n| [(n * round - 2, not_found.clone()), (n * round - 1, full.clone())]);
        assert_eq!(refused, expected.collect::<Vec<_>>());
        let mut taken: Vec<String> = points
            .iter()
            .filter(|point| point.sensor != "nobody" && point.attribute != "z")
            .map(|point| format!("{} {} {}", point.sensor, point.attribute, point.value.as_f64().unwrap()))
            .collect();
        taken.sort();
        told.0.sort();
        assert_eq!(told.0, taken);
        assert!(told.1 <= shards * points.len().div_ceil(1024), "a shard's are taken together: {}", told.1);
    }
}

#[test]
fn scattered_points_are_taken_by_shard_and_keep_a_sensors_order() {
    for (shards, sensors) in [(1, 60), (64, 700), (1024, 700)] {
        let table = Table::<()>::new(TableLimits { shards, ..TableLimits::default() }, 7);
        let made: Vec<(String, [(Handle, AttributeIndex); 2])> = (0..sensors)
            .map(|number| {
                let handle = table.register(registration(&format!("s{number}"), 1), 0).unwrap();
                let [x, y] = ["x", "y"].map(|name| (handle, table.attribute(handle, name).unwrap()));
                (format!("s{number}"), [x, y])
            })
            .collect();
        table.release("s5", 1);
        let (mut points, mut expected) = (Vec::new(), Vec::new());
        for value in 1..4 {
            for (id, [x, y]) in &made {
                for ((handle, attribute), name) in [(*x, "x"), (*y, "y")] {
                    points.push(Point { handle, attribute, value: Value::I64(value), source_time: value });
                    expected.extend((id != "s5").then(|| format!("{id} {name} {value}")));
                }
            }
        }
        let foreign = Handle::from_parts([u32::MAX, 0, 0]);
        points.push(Point { handle: foreign, attribute: AttributeIndex(0), value: Value::I64(1), source_time: 1 });
        let mut told = Told::default();
        assert_eq!(table.put_runs(&points, 9, &mut told), 7, "the points of s5, and the one of no table");
        assert!(told.1 <= shards * points.len().div_ceil(1024), "a shard's are taken together: {}", told.1);
        let of = |list: &[String], id: &str| -> Vec<String> {
            list.iter().filter(|one| one.starts_with(&format!("{id} "))).cloned().collect()
        };
        for (id, _) in &made {
            assert_eq!(of(&told.0, id), of(&expected, id), "in the order in which they were given");
        }
        assert_eq!(told.0.len(), expected.len());
    }
}

//! Many subscriptions on one node: what one more costs, and that each gets what it asked for and nothing else.
//!
//! `cargo bench -p senza-benches --profile release --bench subscriptions [-- <sensors> <narrow> <broad>]` prints one JSON
//! object; by default a million sensors, 100,000 subscriptions that each name one sensor, 1,000 that ask by a pattern or
//! a type of sensor, and one to all. Single calls are timed, in nanoseconds: `first` with nobody else there, `last` the
//! last hundred of their kind. Then every sensor is put to twice, and every delivery is counted. There is no rival.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::time::Instant;

use senza::{Config, Contract, Filter, Node, NodeName, Sensor, SensorHandle, SensorId, SensorType, Subscriber, Value};
use senza_benches::{is_measured, median, numbers};
use senza_core::key::Pattern;
use serde_json::json;

/// Kinds of sensors, and places that patterns name.
const TYPES: usize = 500;
const PLACES: usize = 500;
const LAST: usize = 100;

fn main() {
    let default = if is_measured() { [1e6, 1e5, 1e3] } else { [2e3, 2e2, 2e1] };
    let [sensors, narrow, broad] = [0, 1, 2].map(|at| numbers().get(at).copied().unwrap_or(default[at]) as usize);
    let node = Node::start(Config::loopback(NodeName::from_host("a"))).expect("a node");
    let held: Vec<SensorHandle> = (0..sensors).map(|number| register(&node, number)).collect();
    let points: Vec<_> =
        held.iter().map(|handle| handle.point(handle.attribute("x").expect("a place"), Value::F64(0.5), 0)).collect();
    let put = || {
        let begin = Instant::now();
        points.chunks(4_096).for_each(|batch| assert_eq!(node.engine().put_many(batch), 0));
        (points.len() as f64 / begin.elapsed().as_secs_f64()).round()
    };
    put();
    let unwatched = put();
    let mut readers = Vec::new();
    let named = |at: usize| Filter::sensor(SensorId::new(id(at * (sensors / narrow) % sensors)).expect("it is short"));
    let (first_narrow, last_narrow) = add(&node, &mut readers, (0..narrow).map(named));
    let narrow_puts = put();
    let (first_broad, last_broad) = add(&node, &mut readers, (0..broad).map(by_kind));
    let (all, _) = add(&node, &mut readers, [Filter::all()].into_iter());
    // The first put after a change has every series look once.
    let [changed, steady] = [put(), put()];
    let delivered: u64 = readers.iter().map(|reader| reader.ledger().offered).sum();
    let expected = expected(sensors, narrow, broad);
    assert_eq!(delivered, expected, "each got what it asked for, and nothing else");
    let (one_more, _) = add(&node, &mut readers, [named(7), named(8), named(9)].into_iter());
    println!(
        "{}",
        json!({
            "sensors": sensors, "narrow": narrow, "broad": broad,
            "subscribe_ns": {
                "narrow_first": first_narrow, "narrow_last": last_narrow, "broad_first": first_broad,
                "broad_last": last_broad, "all": all, "one_more_narrow_beside_all": one_more,
            },
            "put_per_s": {
                "unwatched": unwatched, "narrow": narrow_puts, "all_looked_at_once": changed, "all": steady,
            },
            "delivered": delivered,
        })
    );
    drop(readers);
    held.into_iter().for_each(SensorHandle::leave);
    node.stop();
}

fn id(number: usize) -> String {
    format!("place-{:03}/sensor-{number:08}", number % PLACES)
}

fn register(node: &Node, number: usize) -> SensorHandle {
    let sensor_type = SensorType::new(format!("type-{:03}", number % TYPES)).expect("it is short");
    let sensor = Sensor { sensor_type, ..Sensor::new(&id(number)).expect("it is short") };
    node.register(&sensor).expect("the node has room")
}

/// Half of them by a pattern over ids, half by a type: each asks for a five-hundredth of all sensors.
fn by_kind(at: usize) -> Filter {
    let kind = at / 2;
    match at % 2 {
        0 => Filter {
            patterns: vec![Pattern::new(&format!("place-{:03}%2F$*/**", kind % PLACES)).expect("a pattern")],
            ..Filter::all()
        },
        _ => Filter {
            types: vec![SensorType::new(format!("type-{:03}", kind % TYPES)).expect("it is short")],
            ..Filter::all()
        },
    }
}

/// Subscribes, and answers what one call took at first and at last, nanoseconds.
fn add(node: &Node, readers: &mut Vec<Subscriber>, filters: impl Iterator<Item = Filter>) -> (f64, f64) {
    let mut took = Vec::new();
    for filter in filters {
        let begin = Instant::now();
        readers.push(node.subscribe(&filter, Contract::default()).expect("there is room"));
        took.push(begin.elapsed().as_nanos() as f64);
    }
    (median(&took[..took.len().min(LAST)]), median(&took[took.len().saturating_sub(LAST)..]))
}

/// What all of them get of three puts to all: the first with the narrow ones alone, two with all.
fn expected(sensors: usize, narrow: usize, broad: usize) -> u64 {
    let of_kind = |kinds: usize, kind: usize| (0..sensors).filter(|number| number % kinds == kind % kinds).count();
    let broad: usize = (0..broad).map(|at| of_kind(if at % 2 == 0 { PLACES } else { TYPES }, at / 2)).sum();
    (3 * narrow + 2 * broad + 2 * sensors) as u64
}

//! What plain clients follow is published, and nothing else: nodes in this process, clients without code of ours.

use std::time::Duration;

use senza::{Config, Node, NodeName, Sensor, SensorHandle, Value};
use senza_mesh::zenoh_client::{Client, Update, Updates};
use serde_json::Value as Json;

use crate::support::{LIMIT, wait_for};

const SENSORS: usize = 50;
/// Few enough that a busy machine's link takes all readings of all sensors at once: it drops what it cannot take.
const ROUNDS: usize = 4;
/// How long nothing has to come before it counts as absent.
const QUIET: Duration = Duration::from_millis(100);

/// A node with sensors, and a client of another node.
struct Fleet {
    // Ends before its node.
    client: Client,
    held: Vec<SensorHandle>,
    a: Node,
    b: Node,
}

impl Fleet {
    fn start() -> Self {
        let start = |name: &str, connect: &[String]| {
            let config = Config::loopback(NodeName::new(name).unwrap());
            Node::start(Config { connect: connect.to_vec(), ..config }).unwrap()
        };
        let a = start("a", &[]);
        let b = start("b", a.listening());
        let held = (0..SENSORS).map(|number| register(&a, &format!("s{number}"))).collect();
        let client = Client::connect(b.listening(), "senza").unwrap();
        Self { client, held, a, b }
    }

    /// One reading of every sensor.
    fn put_all(&self) {
        for handle in &self.held {
            handle.put("x", Value::I64(1)).unwrap();
            handle.put("y", Value::I64(2)).unwrap();
        }
    }

    fn plain(&self) -> Json {
        let replies = self.client.get("nodes/a/stats", "", None, LIMIT).unwrap();
        let stats: Json = serde_json::from_slice(replies[0].payload.as_ref().unwrap()).unwrap();
        stats["plain"].clone()
    }

    fn count(&self, name: &str) -> u64 {
        self.plain()[name].as_u64().unwrap()
    }

    /// Waits until so many filters and lists of sensors stand in the one account of readings for plain clients.
    fn wait_followed(&self, wanted: &[&str]) {
        Self::wait_followed_at(&self.a, wanted);
    }

    fn wait_followed_at(node: &Node, wanted: &[&str]) {
        let mut expected: Vec<String> = wanted.iter().map(|&text| text.to_owned()).collect();
        expected.sort_unstable();
        wait_for(&format!("{wanted:?} is followed"), || {
            let accounts = node.engine().accounts();
            let own = accounts.iter().filter(|account| account.to.is_none());
            let filters = own.flat_map(|account| account.wanted.iter().map(|(filter, _)| filter));
            let mut followed: Vec<String> = filters
                .flat_map(|filter| {
                    let attribute = filter.attributes.first().map_or("*", |attribute| attribute.as_str());
                    let exact = filter.sensors.iter().map(move |sensor| format!("{sensor}/{attribute}"));
                    let any = filter.sensors.is_empty() && filter.patterns.is_empty();
                    let patterns = filter.patterns.iter().map(|pattern| pattern.as_str().to_owned());
                    exact.chain(patterns).chain(any.then(|| format!("*/{attribute}"))).collect::<Vec<_>>()
                })
                .collect();
            followed.sort_unstable();
            (followed == expected).then_some(())
        });
    }
}

fn register(node: &Node, sensor: &str) -> SensorHandle {
    node.register(&Sensor::new(sensor).unwrap()).unwrap()
}

fn next(updates: &Updates) -> (String, u64) {
    let Update { key, payload } = updates.recv_timeout(LIMIT).unwrap();
    let reading: Json = serde_json::from_slice(&payload.unwrap()).unwrap();
    (key, reading["seq"].as_u64().unwrap())
}

fn quiet(updates: &Updates) -> bool {
    updates.recv_timeout(QUIET).is_none()
}

#[test]
fn readings_of_other_sensors_are_not_encoded() {
    let fleet = Fleet::start();
    fleet.put_all();
    let updates = fleet.client.subscribe("readings/s7/*").unwrap();
    fleet.wait_followed(&["s7/*"]);
    for seq in 2..=11 {
        fleet.put_all();
        assert_eq!(next(&updates), ("readings/s7/x".to_owned(), seq));
        assert_eq!(next(&updates), ("readings/s7/y".to_owned(), seq));
    }
    assert_eq!(fleet.count("published"), 20, "nobody else's");
    assert_eq!((fleet.count("taps"), fleet.count("followed"), fleet.count("publish_lost")), (1, 1, 0));
    drop(updates);
    fleet.wait_followed(&[]);
    fleet.put_all();
    assert!(fleet.count("published") == 20 && fleet.plain()["follow_blind"] == false);
}

#[test]
fn who_joins_and_who_leaves_costs_those_who_stay_nothing() {
    let fleet = Fleet::start();
    let stays = fleet.client.subscribe("readings/s1/x").unwrap();
    fleet.wait_followed(&["s1/x"]);
    let mut seq = 0;
    let mut go_on = |fleet: &Fleet| {
        (0..ROUNDS).for_each(|_| fleet.put_all());
        for _ in 0..ROUNDS {
            seq += 1;
            assert_eq!(next(&stays), ("readings/s1/x".to_owned(), seq), "without a hole, and once");
        }
    };
    go_on(&fleet);
    let near = Client::connect(fleet.a.listening(), "senza").unwrap();
    let other = near.subscribe("readings/s2/**").unwrap();
    fleet.wait_followed(&["s1/x", "s2/*"]);
    go_on(&fleet);
    assert_eq!(next(&other).0, "readings/s2/x");
    let all = near.subscribe("readings/**").unwrap();
    fleet.wait_followed(&["*/*"]);
    go_on(&fleet);
    while next(&all).0 != "readings/s49/y" {}
    drop(all);
    fleet.wait_followed(&["s1/x", "s2/*"]);
    go_on(&fleet);
    let pattern = near.subscribe("readings/s1$*/y").unwrap();
    fleet.wait_followed(&["s1/x", "s2/*", "s1$*/y"]);
    go_on(&fleet);
    assert_eq!(next(&pattern).0, "readings/s1/y");
    drop((other, pattern));
    fleet.wait_followed(&["s1/x"]);
    go_on(&fleet);
    assert!(quiet(&stays));
    near.close();
}

#[test]
fn one_attribute_of_all_sensors_is_followed_alone() {
    let fleet = Fleet::start();
    let updates = fleet.client.subscribe("readings/*/x").unwrap();
    fleet.wait_followed(&["*/x"]);
    fleet.put_all();
    for number in 0..SENSORS {
        assert_eq!(next(&updates), (format!("readings/s{number}/x"), 1));
    }
    assert_eq!(fleet.count("published"), SENSORS as u64);
}

#[test]
fn a_sensor_that_comes_later_is_followed_from_its_first_reading() {
    let fleet = Fleet::start();
    let ids = ["late/1", "späte Ü%", "*$?#"];
    let chunks = ["late%2F1", "sp%C3%A4te%20%C3%9C%25", "%2A%24%3F%23"];
    let updates = chunks.map(|chunk| fleet.client.subscribe(&format!("readings/{chunk}/x")).unwrap());
    let under = fleet.client.subscribe("readings/late$*/**").unwrap();
    fleet.wait_followed(&["late/1/x", "späte Ü%/x", "*$?#/x", "late$*/*"]);
    fleet.put_all();
    for ((id, chunk), updates) in ids.iter().zip(chunks).zip(&updates) {
        let late = register(&fleet.a, id);
        late.put("x", Value::Bool(true)).unwrap();
        late.put("y", Value::Bool(true)).unwrap();
        assert_eq!(next(updates), (format!("readings/{chunk}/x"), 1));
    }
    assert_eq!((next(&under).0.as_str(), next(&under).0.as_str()), ("readings/late%2F1/x", "readings/late%2F1/y"));
    Fleet::wait_followed_at(&fleet.b, &["late/1/x", "späte Ü%/x", "*$?#/x", "late$*/*"]);
    let moved = register(&fleet.b, "late/1");
    moved.put("x", Value::Bool(false)).unwrap();
    assert_eq!(next(&updates[0]).0, "readings/late%2F1/x", "from its next owner too");
    assert_eq!(fleet.count("published"), 4);
}

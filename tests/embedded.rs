//! Nodes in this process, through the library, over real Zenoh sessions.

use std::time::Duration;

use senza::{Config, Contract, Delivery, Error, Filter, Node, NodeName, Sensor, SensorId, Start, Value, Whereis};

use crate::support::{LIMIT, wait_for};

fn start(name: &str, others: &[&Node]) -> Node {
    let connect = others.iter().flat_map(|node| node.listening()).cloned().collect();
    let config = Config { connect, ..Config::loopback(NodeName::new(name).unwrap()) };
    Node::start(config).unwrap()
}

fn sensor(id: &str) -> Sensor {
    Sensor::new(id).unwrap()
}

fn only(id: &str) -> Filter {
    Filter::sensor(SensorId::new(id).unwrap())
}

fn owner(node: &Node, sensor: &str) -> Option<String> {
    match node.whereis(sensor) {
        Whereis::Local { .. } => Some(node.name().to_string()),
        Whereis::Remote { node, .. } => Some(node.to_string()),
        Whereis::NotFound => None,
    }
}

#[test]
fn a_reading_put_on_one_node_is_read_on_another() {
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let watch = a.register(&sensor("watch 1")).unwrap();
    watch.put("pulse", Value::I64(71)).unwrap();
    wait_for("b sees it", || owner(&b, "watch 1").filter(|owner| owner == "a"));
    let contract = Contract { start: Start::Latest, ..Contract::default() };
    let mut reader = b.subscribe(&only("watch 1"), contract).unwrap();
    let first = reader.recv_timeout(LIMIT).unwrap();
    assert!(matches!(&first, Delivery::Start(reading, 1) if reading.value == Value::I64(71)), "{first:?}");
    for pulse in 72..1072 {
        watch.put("pulse", Value::I64(pulse)).unwrap();
    }
    for pulse in 72..1072 {
        let next = reader.recv_timeout(LIMIT).unwrap();
        assert!(
            matches!(&next, Delivery::Reading(reading) if reading.value == Value::I64(pulse)),
            "{next:?} for {pulse}"
        );
    }
    let ledger = reader.ledger();
    assert_eq!((ledger.offered, ledger.delivered, ledger.dropped), (1001, 1001, 0));
}

#[test]
fn singly_and_in_bursts_readings_keep_their_order_on_one_link() {
    const ROUNDS: u64 = 200;
    const BURST: u64 = 64;
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let (single, burst) = (a.register(&sensor("single")).unwrap(), a.register(&sensor("burst")).unwrap());
    wait_for("b sees both", || owner(&b, "burst").and(owner(&b, "single")));
    [&single, &burst].into_iter().for_each(|sensor| _ = sensor.put("x", Value::I64(0)).unwrap());
    let mut reader = b.subscribe(&Filter::all(), Contract { start: Start::Latest, ..Contract::default() }).unwrap();
    let starts = [0; 2].map(|_| reader.recv_timeout(LIMIT).unwrap());
    assert!(starts.iter().all(|start| matches!(start, Delivery::Start(_, 1))), "{starts:?}");
    let long: std::sync::Arc<str> = "long ".repeat(100).into();
    let mut heard = [1; 2];
    for round in 1..=ROUNDS {
        // By turns: a link at rest is sent to by who puts, a busy one by its own thread.
        single.put("x", Value::I64(round.cast_signed())).unwrap();
        if round % 2 == 0 {
            (0..BURST).for_each(|_| _ = burst.put("x", Value::Text(long.clone())).unwrap());
        }
        let due = [1 + round, 1 + round / 2 * BURST];
        while heard != due {
            let delivery = reader.recv_timeout(LIMIT).unwrap();
            let Delivery::Reading(reading) = delivery else { panic!("{delivery:?} in round {round}") };
            let of = usize::from(reading.series.sensor.as_str() == "burst");
            heard[of] += 1;
            assert_eq!(reading.seq, heard[of], "{of} in round {round}");
        }
        let more = reader.recv_timeout(Duration::from_millis(1));
        assert!(more.is_none(), "{more:?} after round {round}");
    }
}

#[test]
fn many_writers_at_odd_times_leave_nothing_behind() {
    const WRITERS: u64 = 4;
    const PUTS: i64 = 3_000;
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let sensors: Vec<_> = (0..WRITERS).map(|number| a.register(&sensor(&format!("s{number}"))).unwrap()).collect();
    sensors.iter().for_each(|sensor| _ = sensor.put("x", Value::I64(0)).unwrap());
    wait_for("b sees all", || (b.sensors(&Filter::all()).len() == sensors.len()).then_some(()));
    let mut reader = b.subscribe(&Filter::all(), Contract { start: Start::Latest, ..Contract::default() }).unwrap();
    for _ in &sensors {
        let start = reader.recv_timeout(LIMIT).unwrap();
        assert!(matches!(start, Delivery::Start(_, 1)), "{start:?}");
    }
    let seed = u64::from(std::process::id());
    std::thread::scope(|scope| {
        for (number, sensor) in (0..).zip(&sensors) {
            scope.spawn(move || {
                let mut random = seed + number;
                let (_keeps, never) = std::sync::mpsc::sync_channel::<()>(1);
                for put in 1..=PUTS {
                    // From a rush to a rest that is longer than a link needs to be at ease.
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let pause = [0, 0, 50, 600, 900][(random >> 33) as usize % 5];
                    _ = never.recv_timeout(Duration::from_micros(pause));
                    sensor.put("x", Value::I64(put)).unwrap();
                }
            });
        }
        let mut heard = vec![1; sensors.len()];
        while heard.iter().any(|seq| *seq <= PUTS.cast_unsigned()) {
            let delivery = reader.recv_timeout(LIMIT).unwrap_or_else(|| panic!("{heard:?}, seed {seed}"));
            let Delivery::Reading(reading) = delivery else { panic!("{delivery:?}, seed {seed}") };
            let number: usize = reading.series.sensor.as_str()[1..].parse().unwrap();
            heard[number] += 1;
            assert_eq!(reading.seq, heard[number], "of {number}, seed {seed}");
        }
    });
}

#[test]
fn a_put_elsewhere_names_the_owner_and_a_dropped_handle_unregisters() {
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let held = a.register(&sensor("s")).unwrap();
    wait_for("b sees it", || owner(&b, "s"));
    let refused = b.put("s", "x", Value::Bool(true)).unwrap_err();
    assert_eq!(refused.to_string(), "sensor \"s\" is owned by node a");
    assert!(
        matches!(b.register_or_refuse(&sensor("s")).err(), Some(Error::NotOwner { node, .. }) if node.as_str() == "a")
    );
    assert!(matches!(b.put("nobody's", "x", Value::Bool(true)), Err(Error::NotFound { .. })));
    drop(held);
    wait_for("b sees it gone", || owner(&b, "s").is_none().then_some(()));
}

#[test]
fn history_is_the_same_on_every_node() {
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let held = a.register(&sensor("s")).unwrap();
    for number in 0..5 {
        held.put_at("x", Value::F64(f64::from(number)), i64::from(number)).unwrap();
    }
    wait_for("b sees it", || owner(&b, "s"));
    let (sensor, attribute) = (SensorId::new("s").unwrap(), senza::AttributeId::new("x").unwrap());
    let values = |node: &Node| {
        let readings = node.history(&sensor, &attribute, 3).unwrap().unwrap();
        readings.into_iter().map(|reading| (reading.seq, reading.value)).collect::<Vec<_>>()
    };
    assert_eq!(values(&a), [(3, Value::F64(2.0)), (4, Value::F64(3.0)), (5, Value::F64(4.0))]);
    assert_eq!(values(&a), values(&b));
    let question = senza::Question { sensor: sensor.clone(), attribute: attribute.clone(), from: 1, to: 3, last: 2 };
    let numbers = |node: &Node| {
        let readings = node.ask(question.clone(), Duration::MAX).unwrap().unwrap();
        readings.iter().map(|reading| reading.seq).collect::<Vec<_>>()
    };
    assert_eq!((numbers(&a), numbers(&b)), (vec![3, 4], vec![3, 4]), "the newest two of those at 1 to 3");
}

#[test]
fn an_answer_that_is_too_long_for_a_message_has_the_newest() {
    let mut config = Config::loopback(NodeName::new("a").unwrap());
    config.table.history_max = 100_000;
    let a = Node::start(config).unwrap();
    let b = start("b", &[&a]);
    let held = a.register(&sensor("s")).unwrap();
    for number in 0..70_000 {
        held.put_at("many", Value::I64(number), number).unwrap();
    }
    for number in 0..100 {
        held.put_at("large", Value::Bytes(vec![0; 65_536].into()), number).unwrap();
    }
    wait_for("b sees it", || owner(&b, "s"));
    let seqs = |attribute: &str| {
        let attribute = senza::AttributeId::new(attribute).unwrap();
        let readings = b.history(&SensorId::new("s").unwrap(), &attribute, 70_000).unwrap().unwrap();
        (readings.first().unwrap().seq, readings.last().unwrap().seq)
    };
    assert_eq!((seqs("many"), seqs("large")), ((4_466, 70_000), (38, 100)));
}

#[test]
fn a_subscription_is_read_in_parts_and_closed_by_another_thread() {
    let a = start("a", &[]);
    let held = a.register(&sensor("s")).unwrap();
    let mut reader = a.subscribe(&only("s"), Contract::default()).unwrap();
    let view = reader.view();
    for number in 0..10 {
        held.put("x", Value::I64(number)).unwrap();
    }
    let mut numbers = Vec::new();
    assert_eq!(reader.read_some(4, LIMIT, |item| numbers.push(item.row.seq)), 4);
    assert_eq!((view.ledger().delivered, view.ledger().queued), (4, 6));
    assert_eq!(reader.read_some(100, LIMIT, |item| numbers.push(item.row.seq)), 6);
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    view.change(&[only("t")]).unwrap();
    held.put("x", Value::I64(10)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.read_some(100, LIMIT, |_| {}));
        view.close();
        assert_eq!(waiting.join().unwrap(), 0);
    });
    assert!(reader.is_closed() && view.ledger().offered == 10);
}

/// One declaration per sensor would end at 65,535 and be quadratic long before; here there is none.
#[test]
fn more_sensors_than_zenoh_has_declarations() {
    const SENSORS: usize = 70_000;
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let held: Vec<_> = (0..SENSORS).map(|n| a.register(&sensor(&format!("sensor number {n}"))).unwrap()).collect();
    wait_for("b sees all", || (b.nodes().iter().map(|node| node.sensors).sum::<u64>() == SENSORS as u64).then_some(()));
    assert_eq!(owner(&b, "sensor number 69999").as_deref(), Some("a"));
    let late = start("c", &[&a, &b]);
    wait_for("c sees all", || (late.sensors(&Filter::all()).len() == SENSORS).then_some(()));
    drop(held);
    wait_for("all are gone", || b.sensors(&Filter::all()).is_empty().then_some(()));
}

#[test]
fn three_nodes_relay_to_whoever_asked_and_to_nobody_else() {
    let a = start("a", &[]);
    let b = start("b", &[&a]);
    let c = start("c", &[&a, &b]);
    let held: Vec<_> = (0..10).map(|n| a.register(&sensor(&format!("s{n}"))).unwrap()).collect();
    let mut reader = c.subscribe(&only("s3"), Contract::default()).unwrap();
    wait_for("the interest is known", || a.engine().links().iter().any(|link| link.node.as_str() == "c").then_some(()));
    for round in 0..100 {
        held.iter().for_each(|handle| {
            handle.put("x", Value::I64(round)).unwrap();
        });
    }
    let mut last = 0;
    while last < 100 {
        match reader.recv_timeout(LIMIT).unwrap() {
            Delivery::Reading(reading) => last = reading.seq,
            other => panic!("{other:?}"),
        }
    }
    assert!(reader.recv_timeout(Duration::ZERO).is_none());
    let links = a.engine().links();
    let sent: Vec<_> = links.iter().map(|link| (link.node.as_str(), link.sent.readings)).collect();
    assert_eq!(sent, [("c", 100)], "b asked for nothing and got nothing");
}

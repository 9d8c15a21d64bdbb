//! Starts with what is kept, also on other nodes: no gap, no duplicate, whatever happens meanwhile. Time is virtual.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: a panic is its failure, seeds are printed")]

use std::collections::BTreeMap;

use senza_core::subscription::{Contract, Start};
use senza_core::{Delivery, Filter, SensorId, Seq, Value};
use senza_mesh::engine::Mode;
use senza_mesh::handle::{SensorHandle, Subscriber};
use senza_mesh::network::LinkRules;
use senza_mesh::sim::Cluster;

fn with(start: Start) -> Contract {
    Contract { start, ..Contract::default() }
}

fn put(handle: &SensorHandle, count: usize) {
    (0..count).for_each(|n| {
        handle.put("x", Value::I64(n as i64)).unwrap();
    });
}

/// What came of each sensor: `=7` a reading of the start, `7` a live one, `3-5!` a gap.
fn got(reader: &mut Subscriber) -> BTreeMap<String, Vec<String>> {
    let (mut out, mut came) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    reader.take(&mut out, usize::MAX);
    for delivery in out {
        let (series, told) = match delivery {
            Delivery::Reading(reading) => (reading.series, reading.seq.to_string()),
            Delivery::Start(reading, _) => (reading.series, format!("={}", reading.seq)),
            Delivery::Gap(gap) => (gap.series, format!("{}-{}!", gap.from, gap.to)),
            Delivery::End(end) => (end.series, format!("{}.", end.last)),
        };
        came.entry(series.sensor.to_string()).or_default().push(told);
    }
    came
}

/// Whether a series came as its last so many kept readings and then every live one up to `last`, each once.
fn is_whole(told: &[String], kept: u64, last: Seq) -> bool {
    let starts = told.iter().take_while(|told| told.starts_with('=')).count() as u64;
    let numbers: Vec<u64> = told.iter().filter_map(|told| told.trim_start_matches('=').parse().ok()).collect();
    let follow = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    starts == kept && follow && numbers.len() == told.len() && numbers.last() == Some(&last)
}

#[test]
fn the_last_readings_then_live_also_from_afar() {
    for seed in 0..50 {
        println!("seed {seed}");
        let mut cluster = Cluster::seed(seed).nodes(3);
        let sensors = [("a", "near"), ("b", "far"), ("c", "farther"), ("b", "quiet")];
        let handles = sensors.map(|(node, id)| cluster.register(node, id));
        handles.iter().for_each(|handle| put(handle, 12));
        cluster.settle();
        let mut reader = cluster.subscribe("a", &Filter::all(), with(Start::Last(5)));
        // Puts go on while the start is fetched; a sensor comes that nobody knew.
        let late = cluster.register("b", "late");
        for _ in 0..40 {
            handles[..3].iter().for_each(|handle| put(handle, 1));
            put(&late, 1);
            cluster.run_for(100);
        }
        cluster.settle();
        let came = got(&mut reader);
        for id in ["near", "far", "farther"] {
            assert!(is_whole(&came[id], 5, 52), "{id}: {:?}", came[id]);
        }
        assert_eq!(came["quiet"], ["=8", "=9", "=10", "=11", "=12"]);
        // It may be there before its node is asked, or come live with its first.
        let starts = came["late"].iter().take_while(|told| told.starts_with('=')).count() as u64;
        assert!(is_whole(&came["late"], starts, 40) && (starts == 5 || came["late"].len() == 40), "{came:?}");
        assert!(reader.ledger().is_exact());
    }
}

#[test]
fn what_is_relayed_already_starts_from_its_owner_too_and_others_get_nothing_twice() {
    let mut cluster = Cluster::seed(3).nodes(2);
    let handle = cluster.register("b", "s");
    let mut first = cluster.subscribe("a", &Filter::all(), with(Start::Live));
    cluster.settle();
    put(&handle, 9);
    cluster.run_for(10_000);
    let only = Filter::sensor(SensorId::new("s").unwrap());
    let mut second = cluster.subscribe("a", &only, with(Start::Last(4)));
    for _ in 0..20 {
        put(&handle, 1);
        cluster.run_for(100);
    }
    cluster.settle();
    assert_eq!(got(&mut first)["s"], (1..=29).map(|seq| seq.to_string()).collect::<Vec<_>>());
    let came = got(&mut second);
    assert!(is_whole(&came["s"], 4, 29), "{came:?}");
}

#[test]
fn since_a_time_holds_for_other_nodes_and_nothing_since_is_nothing() {
    let mut cluster = Cluster::seed(4).nodes(2);
    let [busy, idle] = ["busy", "idle"].map(|id| cluster.register("b", id));
    put(&busy, 3);
    put(&idle, 3);
    cluster.run_for(1_000_000);
    let since = cluster.now();
    put(&busy, 2);
    cluster.settle();
    let mut reader = cluster.subscribe("a", &Filter::all(), with(Start::Since(since)));
    cluster.settle();
    assert_eq!(got(&mut reader), [("busy".to_owned(), vec!["=4".to_owned(), "=5".to_owned()])].into());
    put(&idle, 1);
    cluster.settle();
    assert_eq!(got(&mut reader)["idle"], ["4"], "it begins with what is live");
}

#[test]
fn lost_messages_are_asked_for_again_and_every_number_is_told() {
    for seed in 0..50 {
        println!("seed {seed}");
        let lossy = LinkRules { loss_per_mille: 200, ..LinkRules::default() };
        let mut cluster = Cluster::seed(seed).nodes(2);
        let handles: Vec<_> = (0..20).map(|n| cluster.register("b", &format!("s{n}"))).collect();
        handles.iter().for_each(|handle| put(handle, 12));
        cluster.settle();
        cluster.set_rules(lossy);
        let mut reader = cluster.subscribe("a", &Filter::all(), with(Start::Last(5)));
        for _ in 0..30 {
            handles.iter().for_each(|handle| put(handle, 1));
            cluster.run_for(20_000);
        }
        cluster.set_rules(LinkRules::default());
        // Longer than it is waited for.
        (0..4).for_each(|_| cluster.settle());
        for (id, told) in got(&mut reader) {
            let starts = told.iter().take_while(|told| told.starts_with('=')).count();
            assert!(starts == 5 || starts == 0, "{id}: {told:?}");
            assert!(told.iter().skip(starts).all(|told| !told.starts_with('=')), "{id}: {told:?}");
            let last = told.last().unwrap().trim_start_matches('=');
            assert!(last == "42" || last.ends_with("-42!"), "{id}: {told:?}");
        }
        assert!(reader.ledger().is_exact());
    }
}

#[test]
fn a_node_that_does_not_answer_holds_up_the_others_for_so_long_only() {
    let mut cluster = Cluster::seed(6).nodes(3);
    let handles = [("b", "there"), ("c", "gone")].map(|(node, id)| cluster.register(node, id));
    handles.iter().for_each(|handle| put(handle, 3));
    cluster.settle();
    cluster.cut_one_way("a", "c");
    let mut reader = cluster.subscribe("a", &Filter::all(), with(Start::Last(2)));
    cluster.run_for(100_000);
    assert_eq!(got(&mut reader)["there"], ["=2", "=3"], "what answers begins at once");
    let new = cluster.register("b", "new");
    put(&new, 1);
    cluster.run_for(4_000_000);
    assert_eq!(got(&mut reader)["new"], ["1"], "c is down by now and nothing is waited for");
    assert_eq!(cluster.engine("a").counters().0.starts_given_up, 1);
}

#[test]
fn who_names_a_sensor_of_a_node_that_sent_nothing_yet_gets_nothing_twice() {
    for seed in 0..100 {
        println!("seed {seed}");
        let mut cluster = Cluster::seed(seed).nodes(2);
        let handle = cluster.register("b", "s");
        put(&handle, 7);
        cluster.settle();
        let only = Filter::sensor(SensorId::new("s").unwrap());
        let mut last = cluster.subscribe("a", &only, with(Start::Last(2)));
        let mut since = cluster.subscribe("a", &only, with(Start::Since(cluster.now())));
        cluster.run_for(i64::try_from(seed).unwrap() * 10);
        put(&handle, 1);
        cluster.settle();
        put(&handle, 1);
        drop(handle);
        cluster.settle();
        let came = got(&mut last).remove("s").unwrap();
        let numbers = [["=6", "=7", "8", "9", "9."].as_slice(), &["=7", "=8", "9", "9."]];
        assert!(numbers.contains(&&*came.iter().map(String::as_str).collect::<Vec<_>>()), "{came:?}");
        let came = got(&mut since).remove("s").unwrap();
        assert_eq!(came.iter().map(|told| told.trim_start_matches('=')).collect::<Vec<_>>(), ["8", "9", "9."]);
        assert!(last.ledger().is_exact() && since.ledger().is_exact());
    }
}

#[test]
fn a_node_that_leaves_the_cluster_waits_for_no_start() {
    let mut cluster = Cluster::seed(8).nodes(2);
    let own = cluster.register("a", "own");
    cluster.settle();
    cluster.cut("a", "b");
    let mut reader = cluster.subscribe("a", &Filter::all(), with(Start::Last(2)));
    put(&own, 1);
    cluster.run_for(1_000);
    assert!(got(&mut reader).is_empty(), "b was asked");
    cluster.engine("a").switch(Mode::Local);
    assert_eq!(got(&mut reader)["own"], ["1"]);
}

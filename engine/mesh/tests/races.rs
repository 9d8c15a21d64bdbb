//! The races that ownership has to win, each by its name. Time is virtual; seeds are printed.

#![expect(clippy::print_stdout, reason = "seeds are printed")]

use senza_core::{Error, NodeName, SensorId, Value};
use senza_mesh::engine::{Engine, Existing, Happening, Mode, OnConflict};
use senza_mesh::network::LinkRules;
use senza_mesh::ownership::Timing;
use senza_mesh::sim::Cluster;

const SECOND: i64 = 1_000_000;

fn owner_everywhere(cluster: &Cluster, sensor: &str, owner: Option<&str>) {
    for node in cluster.running() {
        assert_eq!(cluster.owner(&node, sensor).as_deref(), owner, "as {node} sees it");
    }
}

#[test]
fn registered_and_unregistered_within_one_flush_leaves_no_ghost() {
    let mut cluster = Cluster::seed(1).nodes(2);
    drop(cluster.register("a", "s"));
    cluster.settle();
    owner_everywhere(&cluster, "s", None);
    drop(cluster.register("a", "s"));
    let again = cluster.register("a", "s");
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("a"));
    assert_eq!(again.put("x", Value::I64(1)), Ok(1));
    cluster.check().unwrap();
}

/// Syn's zombie (found by its TLA+ model): a joiner's snapshot and a delta cross; the older one must not bring back what
/// the newer one removed. Here both are on their way at once, in any order, many times.
#[test]
fn a_snapshot_that_crosses_a_delta_brings_nothing_back() {
    for seed in 0..60 {
        println!("seed {seed}");
        let rules = LinkRules { reorder_per_mille: 500, delay_us: (50, 40_000), ..LinkRules::default() };
        let mut cluster = Cluster::seed(seed).timing(Timing { chunk_bytes: 1, ..Timing::default() }).nodes(2);
        let mut held: Vec<_> = (0..40).map(|n| cluster.register("a", &format!("s{n}"))).collect();
        cluster.settle();
        cluster.set_rules(rules);
        cluster.start("c");
        while let Some(handle) = held.pop() {
            drop(handle);
            cluster.run_for(1_000 + (seed as i64 % 7) * 700);
        }
        cluster.set_rules(LinkRules::default());
        cluster.settle();
        (0..40).for_each(|n| owner_everywhere(&cluster, &format!("s{n}"), None));
        cluster.check().unwrap();
    }
}

#[test]
fn a_delete_by_a_node_that_is_not_the_owner_deletes_nothing() {
    let mut cluster = Cluster::seed(3).nodes(3);
    let old = cluster.register("a", "s");
    cluster.settle();
    let _new = cluster.register("b", "s");
    // a still believes that it owns the sensor, and lets go of it.
    drop(old);
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("b"));
    assert!(!cluster.engine("a").unregister("s"));
    cluster.check().unwrap();
}

#[test]
fn what_moves_in_a_split_has_one_owner_after_the_heal_and_the_report_says_who() {
    let mut cluster = Cluster::seed(4).nodes(3);
    let old = cluster.register("a", "moved");
    let _quiet = cluster.register("a", "untouched");
    cluster.settle();
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.settle();
    let new = cluster.register("b", "moved");
    let happenings = cluster.engine("a").happenings();
    cluster.heal_all();
    cluster.settle();
    owner_everywhere(&cluster, "moved", Some("b"));
    owner_everywhere(&cluster, "untouched", Some("a"));
    assert!(matches!(old.put("x", Value::I64(1)), Err(Error::NotOwner { node, .. }) if node.as_str() == "b"));
    assert_eq!(new.put("x", Value::I64(1)), Ok(1));
    let report = happenings.try_iter().find_map(|told| match told {
        Happening::Healed(report) if report.total > 0 => Some(report),
        _ => None,
    });
    let report = report.expect("the loser tells what it lost");
    assert_eq!((report.returned, report.total), (true, 1));
    let settled = &report.duplicates[0];
    let names = (settled.sensor.as_str(), settled.winner.life.node.as_str(), settled.loser.life.node.as_str());
    assert_eq!(names, ("moved", "b", "a"));
    assert_eq!(cluster.engine("a").heals().len(), 2, "b came back, and so did c");
    cluster.check().unwrap();
}

#[test]
fn a_heal_costs_what_changed() {
    let mut cluster = Cluster::seed(5).nodes(2);
    let _held: Vec<_> = (0..5000).map(|n| cluster.register("a", &format!("s{n}"))).collect();
    cluster.settle();
    let pulled = |cluster: &Cluster| cluster.engine("b").counters().1.pulled;
    let before = pulled(&cluster);
    cluster.cut("a", "b");
    cluster.settle();
    let _one = cluster.register("a", "one more");
    cluster.run_for(10_000);
    cluster.heal_all();
    cluster.settle();
    assert_eq!(pulled(&cluster) - before, 1, "one partition differs, one is fetched");
    cluster.check().unwrap();
}

#[test]
fn a_restart_within_the_lease_is_a_new_life() {
    let mut cluster = Cluster::seed(6).nodes(3);
    let _old = cluster.register("a", "old");
    cluster.settle();
    // Both ways cut: nobody hears that the token is gone before the new life speaks.
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.crash("a");
    cluster.start("a");
    cluster.heal_all();
    let _new = cluster.register("a", "new");
    cluster.settle();
    owner_everywhere(&cluster, "old", None);
    owner_everywhere(&cluster, "new", Some("a"));
    cluster.check().unwrap();
}

#[test]
fn a_one_way_link_is_no_link() {
    let mut cluster = Cluster::seed(7).nodes(3);
    let _held = cluster.register("a", "s");
    cluster.settle();
    cluster.cut_one_way("b", "a");
    cluster.settle();
    assert_eq!(cluster.owner("b", "s"), None, "a does not hear b, and b knows");
    assert_eq!(cluster.owner("c", "s").as_deref(), Some("a"));
    cluster.heal_all();
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("a"));
    cluster.check().unwrap();
}

#[test]
fn a_token_that_is_lost_while_beacons_come_takes_a_node_down_for_a_beacon_at_most() {
    let mut cluster = Cluster::seed(8).nodes(2);
    let _held = cluster.register("a", "s");
    cluster.settle();
    cluster.lose_token("a", "b");
    assert_eq!(cluster.owner("b", "s"), None, "a token's end is believed at once");
    assert!(cluster.run_until(SECOND, |cluster| cluster.owner("b", "s").is_some()), "the next beacon brings it back");
    assert_eq!(cluster.engine("b").counters().1.returned, 1);
    cluster.settle();
    cluster.check().unwrap();
}

#[test]
fn owners_without_a_link_settle_through_a_third_though_its_word_is_lost() {
    let mut cluster = Cluster::seed(9).nodes(3);
    cluster.cut("a", "b");
    cluster.settle();
    let old = cluster.register("a", "s");
    cluster.run_for(10_000);
    let _new = cluster.register("b", "s");
    // c tells a at once; that message is lost.
    cluster.cut_one_way("c", "a");
    cluster.run_for(500_000);
    cluster.heal("c", "a");
    assert_eq!(old.put("x", Value::I64(1)), Ok(1), "a has not heard of it");
    cluster.settle();
    assert!(old.put("x", Value::I64(2)).is_err(), "c told it again");
    assert_eq!(cluster.owner("c", "s").as_deref(), Some("b"));
    let settled = cluster.engine("c").counters().1.noticed;
    cluster.run_for(20 * SECOND);
    assert_eq!(cluster.engine("c").counters().1.noticed, settled, "what is settled is told no more");
}

#[test]
fn a_clock_set_back_before_a_restart_hides_no_new_life() {
    let mut cluster = Cluster::seed(10).nodes(2);
    let _old = cluster.register("a", "s");
    cluster.settle();
    cluster.crash("a");
    cluster.skew("a", -3600 * SECOND);
    cluster.start("a");
    let _new = cluster.register("a", "s");
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("a"));
    cluster.check().unwrap();
}

#[test]
fn a_clock_set_back_while_a_node_runs_silences_nothing() {
    let mut cluster = Cluster::seed(11).nodes(2);
    let held = cluster.register("a", "s");
    cluster.settle();
    cluster.skew("a", -3600 * SECOND);
    cluster.run_for(10 * SECOND);
    owner_everywhere(&cluster, "s", Some("a"));
    drop(held);
    let again = cluster.register("a", "s");
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("a"));
    assert_eq!(again.put("x", Value::I64(1)), Ok(1));
    cluster.check().unwrap();
}

#[test]
fn two_devices_that_fight_over_one_id_take_turns_slowly_and_are_shown() {
    let mut cluster = Cluster::seed(12).nodes(2);
    let mut taken = 0;
    let mut handles = Vec::new();
    for _ in 0..200 {
        for node in ["a", "b"] {
            match cluster.try_register(node, "s", OnConflict::Takeover) {
                Ok(handle)
                    if handles.iter().all(|held: &senza_mesh::handle::SensorHandle| held.epoch() != handle.epoch()) =>
                {
                    taken += 1;
                    handles.push(handle);
                }
                Ok(_) => {}
                Err(error) => assert!(matches!(error, Error::HeldOff { .. }), "{error}"),
            }
            cluster.run_for(50_000);
        }
    }
    assert!((4..=6).contains(&taken), "20 s of fighting cost {taken} takeovers");
    let flapping = [cluster.engine("a").flapping(), cluster.engine("b").flapping()].concat();
    assert!(cluster.engine("a").counters().0.takeovers_held_off > 50);
    cluster.run_for(5 * SECOND);
    for _ in 0..4 {
        for node in ["a", "b"] {
            handles.push(cluster.register(node, "s"));
            cluster.run_for(100_000);
        }
    }
    assert!(flapping.len() <= 2 && cluster.engine("a").flapping()[0].times >= 3);
    assert_eq!(cluster.engine("a").counters().0.flapping, 1, "counted when it begins");
}

#[test]
fn a_door_hears_which_devices_to_let_go() {
    let mut cluster = Cluster::seed(13).nodes(2);
    let _old = cluster.register("a", "s");
    cluster.settle();
    let losses = cluster.engine("a").losses();
    let _new = cluster.register("b", "s");
    cluster.settle();
    let lost: Vec<_> = losses.try_iter().collect();
    assert_eq!((lost[0].sensor.as_str(), lost[0].winner.as_str(), lost.len()), ("s", "b", 1));
    let late = cluster.engine("a").put_by_id("s", "x", Value::I64(1), None);
    assert!(matches!(late, Err(Error::NotOwner { .. })));
    assert_eq!(cluster.engine("a").counters().0.readings_late, 1);
}

// === modes ===

#[test]
fn a_local_node_says_nothing_and_returns_with_its_sensors() {
    let mut cluster = Cluster::seed(14).nodes(2);
    let held = cluster.register("a", "on a");
    let _other = cluster.register("b", "on b");
    cluster.settle();
    assert_eq!(cluster.engine("a").switch(Mode::Local), Mode::Cluster);
    cluster.run_for(10_000);
    assert_eq!(cluster.owner("b", "on a"), None, "withdrawn at once");
    assert_eq!(cluster.owner("a", "on b"), None);
    let sent = |cluster: &Cluster| cluster.engine("a").traffic().iter().map(|link| link.sent.0).sum::<u64>();
    let before = sent(&cluster);
    let alone = cluster.register("a", "alone");
    assert_eq!(held.put("x", Value::I64(1)), Ok(1), "its own sensors work on");
    cluster.run_for(20 * SECOND);
    assert_eq!(sent(&cluster), before, "not a byte");
    cluster.engine("a").switch(Mode::Cluster);
    cluster.settle();
    owner_everywhere(&cluster, "on a", Some("a"));
    owner_everywhere(&cluster, "alone", Some("a"));
    owner_everywhere(&cluster, "on b", Some("b"));
    cluster.check().unwrap();
    drop(alone);
}

#[test]
fn what_another_node_registered_meanwhile_stays_there() {
    let mut cluster = Cluster::seed(15).nodes(2);
    let _old = cluster.register("a", "s");
    cluster.settle();
    cluster.engine("a").switch(Mode::Local);
    cluster.settle();
    let _new = cluster.register("b", "s");
    cluster.engine("a").switch(Mode::Cluster);
    cluster.settle();
    owner_everywhere(&cluster, "s", Some("b"));
    cluster.check().unwrap();
}

struct Table(Vec<(&'static str, &'static str)>);

impl Existing for Table {
    fn whereis(&self, sensor: &str) -> Option<NodeName> {
        self.0.iter().find(|(id, _)| *id == sensor).and_then(|(_, node)| NodeName::new(node).ok())
    }

    fn ids(&self) -> Vec<SensorId> {
        self.0.iter().filter_map(|(id, _)| SensorId::new(id).ok()).collect()
    }
}

#[test]
fn in_shadow_the_registry_in_charge_answers_and_every_difference_is_counted() {
    let mut cluster = Cluster::seed(16).nodes(2);
    let on_a = cluster.register("a", "twice");
    let _same = cluster.register("b", "same");
    let _extra = cluster.register("b", "extra");
    cluster.settle();
    let existing = Table(vec![("same", "b"), ("twice", "a"), ("missing", "b")]);
    cluster.engine("a").shadow(std::sync::Arc::new(existing));
    let _on_b = cluster.register("b", "twice");
    cluster.settle();
    assert_eq!(on_a.put("x", Value::I64(1)), Ok(1), "nothing is fenced");
    assert_eq!(cluster.owner("a", "twice").as_deref(), Some("a"), "the registry in charge answers");
    assert_eq!(cluster.owner("a", "extra"), None);
    let before = cluster.engine("a").comparison();
    assert_eq!((before.compared, before.missing, before.extra, before.other_node), (2, 0, 1, 1));
    let differed = cluster.engine("a").compare();
    let sensors: Vec<&str> = differed.iter().map(|sample| sample.sensor.as_str()).collect();
    assert_eq!(sensors, ["twice", "missing", "extra"]);
    let refused = cluster.try_register("a", "same", OnConflict::Refuse);
    assert!(refused.is_ok(), "nothing is refused");
    cluster.engine("a").switch(Mode::Cluster);
    cluster.settle();
    assert!(on_a.put("x", Value::I64(1)).is_err(), "back in the cluster, the later claim counts");
    owner_everywhere(&cluster, "twice", Some("b"));
}

#[test]
fn a_registry_that_is_let_go_of_may_look_up() {
    struct Asks(std::sync::Arc<Engine>, std::sync::mpsc::SyncSender<()>);
    impl Existing for Asks {
        fn whereis(&self, _: &str) -> Option<NodeName> {
            None
        }
        fn ids(&self) -> Vec<SensorId> {
            Vec::new()
        }
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.whereis("s");
            self.1.send(()).unwrap();
        }
    }
    let cluster = Cluster::seed(18).nodes(1);
    let (engine, (told, let_go)) = (cluster.engine("a").clone(), std::sync::mpsc::sync_channel(2));
    std::thread::spawn(move || {
        engine.shadow(std::sync::Arc::new(Asks(engine.clone(), told)));
        engine.shadow(std::sync::Arc::new(Table(Vec::new())));
    });
    let_go.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
}

// === listings ===

#[test]
fn pages_are_complete_and_say_where_they_end() {
    let mut cluster = Cluster::seed(17).nodes(2);
    let _held: Vec<_> =
        (0..1000).map(|n| cluster.register(if n % 3 == 0 { "a" } else { "b" }, &format!("s{n}"))).collect();
    cluster.settle();
    let (mut cursor, mut seen, mut pages) = (Default::default(), Vec::new(), 0);
    loop {
        let page = cluster.engine("a").page(&cursor, &senza_core::Filter::all(), 7);
        assert!(page.sensors.len() <= 7);
        seen.extend(page.sensors.into_iter().map(|listed| listed.sensor));
        pages += 1;
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), pages), (1000, 143));
}

//! Scripts against real engines on the simulated network. Time is virtual; every seed is printed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: a panic is its failure, seeds are printed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use senza_core::subscription::{Contract, Pace, Start, Want};
use senza_core::table::NamedPoint;
use senza_core::{AttributeId, Delivery, Error, Filter, SensorId, Seq, Value};
use senza_mesh::engine::{Happening, OnConflict, Sensor};
use senza_mesh::handle::{SensorHandle, Subscriber};
use senza_mesh::network::LinkRules;
use senza_mesh::sim::Cluster;

const SECOND: i64 = 1_000_000;

fn sensor(id: &str) -> Filter {
    Filter::sensor(SensorId::new(id).unwrap())
}

fn latest() -> Contract {
    Contract { start: Start::Latest, ..Contract::default() }
}

/// What a subscriber got: `7` a live reading, `=7` a start, `3-5!` a gap.
fn got(subscriber: &mut Subscriber) -> Vec<String> {
    let mut out = Vec::new();
    subscriber.take(&mut out, usize::MAX);
    out.into_iter()
        .map(|delivery| match delivery {
            Delivery::Reading(reading) => reading.seq.to_string(),
            Delivery::Start(reading, _) => format!("={}", reading.seq),
            Delivery::Gap(gap) => format!("{}-{}!", gap.from, gap.to),
            Delivery::End(end) => format!("{}.", end.last),
        })
        .collect()
}

fn put(handle: &SensorHandle, count: usize) -> Seq {
    (0..count).fold(0, |_, n| handle.put("x", Value::I64(n as i64)).unwrap())
}

#[test]
fn both_nodes_see_each_others_sensors() {
    let mut cluster = Cluster::seed(1).nodes(2);
    let _on_a = cluster.register("a", "deviceId:Some_BLE Name");
    let _on_b = cluster.register("b", "a/b@c%d*ü");
    cluster.settle();
    for node in ["a", "b"] {
        assert_eq!(cluster.owner(node, "deviceId:Some_BLE Name").as_deref(), Some("a"));
        assert_eq!(cluster.owner(node, "a/b@c%d*ü").as_deref(), Some("b"));
        assert_eq!(cluster.engine(node).sensors(&Filter::all()).len(), 2);
    }
    assert!(cluster.agree());
}

#[test]
fn a_listener_is_rung_and_hears_everything_once_whoever_else_leaves() {
    let cluster = Cluster::seed(21).nodes(1);
    let rings = Arc::new(AtomicUsize::new(0));
    let bell = rings.clone();
    let ring = move || {
        bell.fetch_add(1, Ordering::Relaxed);
    };
    let leaves = cluster.engine("a").happenings();
    let (stays, lost) = cluster.engine("a").listen(ring);
    let _first = cluster.register("a", "first");
    drop(leaves);
    let _second = cluster.register("a", "second");
    let _third = cluster.register("a", "third");
    let told: Vec<_> = stays.try_iter().collect();
    assert!(matches!(told.as_slice(), [Happening::Registered(_), Happening::Registered(_), Happening::Registered(_)]));
    assert_eq!((rings.load(Ordering::Relaxed), lost.load(Ordering::Relaxed)), (3, 0));
}

#[test]
fn an_attribute_marked_lossless_is_not_conflated() {
    let cluster = Cluster::seed(22).nodes(1);
    cluster.engine("a").mark_lossless([AttributeId::new("button").unwrap()]);
    let want = Want { pace: Pace::Latest, ..Want::EVERY };
    let contract = Contract { want, ..Contract::default() };
    let mut reader = Subscriber::subscribe(cluster.engine("a"), &Filter::all(), contract).unwrap();
    let handle = cluster.register("a", "s");
    for press in 0..3 {
        handle.put("button", Value::I64(press)).unwrap();
        handle.put("pulse", Value::I64(press)).unwrap();
    }
    let mut out = Vec::new();
    reader.take(&mut out, usize::MAX);
    let seqs_of = |attribute: &str| -> Vec<Seq> {
        let reading = |delivery: &Delivery| match delivery {
            Delivery::Reading(reading) if reading.series.attribute.as_str() == attribute => Some(reading.seq),
            _ => None,
        };
        out.iter().filter_map(reading).collect()
    };
    assert_eq!((seqs_of("button"), seqs_of("pulse")), (vec![1, 2, 3], vec![3]));
}

#[test]
fn a_task_reads_batches_and_is_woken_for_the_next() {
    let cluster = Cluster::seed(23).nodes(1);
    let mut reader = Subscriber::subscribe(cluster.engine("a"), &Filter::all(), Contract::default()).unwrap();
    let handle = cluster.register("a", "s");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut seqs = Vec::new();
    let mut read = |reader: &mut Subscriber| reader.poll_batch(&mut context, 2, |item| seqs.push(item.row.seq));
    assert!(read(&mut reader).is_pending());
    put(&handle, 3);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!((read(&mut reader), read(&mut reader)), (Poll::Ready(2), Poll::Ready(1)));
    assert!(read(&mut reader).is_pending());
    reader.view().close();
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    assert_eq!(read(&mut reader), Poll::Ready(0));
    assert_eq!(seqs, [1, 2, 3]);
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_change_is_seen_within_milliseconds() {
    let mut cluster = Cluster::seed(2).nodes(2);
    let handle = cluster.register("a", "s");
    assert!(cluster.run_until(5_000, |cluster| cluster.owner("b", "s").is_some()));
    drop(handle);
    assert!(cluster.run_until(5_000, |cluster| cluster.owner("b", "s").is_none()));
}

#[test]
fn readings_flow_to_whoever_asked_in_order_and_once() {
    let mut cluster = Cluster::seed(3).nodes(3);
    let (watched, other) = (cluster.register("a", "watched"), cluster.register("a", "other"));
    let mut on_b = cluster.subscribe("b", &sensor("watched"), Contract::default());
    let mut second_on_b = cluster.subscribe("b", &Filter::pattern("watched/$*").unwrap(), Contract::default());
    cluster.settle();
    put(&watched, 1000);
    put(&other, 1000);
    cluster.settle();
    let expected: Vec<String> = (1..=1000).map(|seq| seq.to_string()).collect();
    assert_eq!(got(&mut on_b), expected);
    assert_eq!(got(&mut second_on_b), expected);
    let links = cluster.engine("a").links();
    let to_b = links.iter().find(|link| link.node.as_str() == "b").unwrap();
    assert_eq!(to_b.sent.readings, 1000, "each reading crosses the link once, an unwatched one never");
    assert!(links.iter().all(|link| link.node.as_str() != "c" || link.sent.readings == 0));
}

#[test]
fn nothing_crosses_a_link_that_nobody_asked_for() {
    let mut cluster = Cluster::seed(4).nodes(2);
    let handle = cluster.register("a", "s");
    cluster.settle();
    put(&handle, 10_000);
    cluster.settle();
    assert!(cluster.engine("a").links().is_empty());
}

#[test]
fn a_subscription_is_met_by_sensors_that_come_later() {
    let mut cluster = Cluster::seed(5).nodes(2);
    let mut reader = cluster.subscribe("b", &Filter::all(), Contract::default());
    cluster.settle();
    let handle = cluster.register("a", "late");
    put(&handle, 3);
    let local = cluster.register("b", "local");
    put(&local, 2);
    cluster.settle();
    let mut all = got(&mut reader);
    all.sort();
    assert_eq!(all, ["1", "1", "2", "2", "3"]);
}

#[test]
fn filters_that_change_cost_a_reader_nothing_of_what_it_keeps() {
    let pattern = |text: &str| Filter::pattern(text).unwrap();
    let x = Filter { attributes: vec![AttributeId::new("x").unwrap()], ..Filter::default() };
    let steps: [(Vec<Filter>, &[&str]); 8] = [
        (vec![sensor("kept")], &[]),
        (vec![sensor("kept"), sensor("one")], &["one"]),
        (vec![pattern("k$*/**"), sensor("two")], &["two"]),
        (vec![sensor("one"), sensor("kept")], &["one"]),
        (vec![Filter::all()], &["one", "two"]),
        (vec![x], &["one", "two"]),
        (vec![pattern("*/y"), sensor("kept")], &[]),
        (vec![sensor("kept")], &[]),
    ];
    // At the owner, and from afar.
    for node in ["a", "b"] {
        let mut cluster = Cluster::seed(17).nodes(2);
        let held = ["kept", "one", "two"].map(|id| cluster.register("a", id));
        cluster.settle();
        let mut reader = cluster.subscribe(node, &sensor("kept"), Contract::default());
        cluster.run_for(SECOND);
        let mut last = 0;
        for (filters, others) in &steps {
            // What is still queued as the filters change is not lost either.
            put(&held[0], 2);
            reader.change(filters).unwrap();
            put(&held[0], 2);
            cluster.run_for(SECOND);
            held.iter().for_each(|handle| _ = put(handle, 3));
            cluster.run_for(SECOND);
            let mut taken = Vec::new();
            reader.take(&mut taken, usize::MAX);
            let mut heard = std::collections::BTreeSet::new();
            for delivery in taken {
                match delivery {
                    Delivery::Reading(reading) if reading.series.sensor.as_str() == "kept" => {
                        last += 1;
                        assert_eq!(reading.seq, last, "{node} {filters:?}");
                    }
                    Delivery::Reading(reading) => _ = heard.insert(reading.series.sensor.to_string()),
                    other => panic!("{node} {filters:?}: {other:?}"),
                }
            }
            assert_eq!(heard.iter().map(String::as_str).collect::<Vec<_>>(), *others, "{node} {filters:?}");
        }
        assert_eq!(last, 7 * steps.len() as u64, "{node}");
    }
}

#[test]
fn latest_then_live_has_no_gap_and_no_duplicate_also_from_afar() {
    let mut cluster = Cluster::seed(6).nodes(2);
    let handle = cluster.register("a", "s");
    put(&handle, 5);
    cluster.settle();
    let mut first = cluster.subscribe("b", &sensor("s"), latest());
    let mut at_home = cluster.subscribe("a", &sensor("s"), latest());
    put(&handle, 2);
    cluster.settle();
    assert_eq!(got(&mut at_home), ["=5", "6", "7"]);
    assert_eq!(got(&mut first), ["=7"], "the start is where the interest met the sensor");
    put(&handle, 1);
    cluster.settle();
    let mut second = cluster.subscribe("b", &sensor("s"), latest());
    put(&handle, 1);
    cluster.settle();
    assert_eq!(got(&mut first), ["8", "9"]);
    assert_eq!(got(&mut second), ["=8", "9"], "what the node holds already starts at once");
}

#[test]
fn a_subscription_that_ended_and_returned_is_told_no_loss() {
    let mut cluster = Cluster::seed(7).nodes(2);
    let handle = cluster.register("a", "s");
    let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    put(&handle, 3);
    cluster.settle();
    assert_eq!(got(&mut reader), ["1", "2", "3"]);
    drop(reader);
    cluster.settle();
    put(&handle, 5);
    let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    put(&handle, 1);
    cluster.settle();
    assert_eq!(got(&mut reader), ["9"]);
}

#[test]
fn lost_frames_are_told_as_gaps_and_the_stream_goes_on() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut cluster = Cluster::seed(seed).nodes(2);
        let handle = cluster.register("a", "s");
        let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
        cluster.settle();
        cluster.set_rules(LinkRules { loss_per_mille: 200, duplicate_per_mille: 100, ..LinkRules::default() });
        let mut last = 0;
        for _ in 0..200 {
            last = put(&handle, 3);
            cluster.run_for(5_000);
        }
        cluster.set_rules(LinkRules::default());
        cluster.settle();
        last = put(&handle, 1).max(last);
        cluster.settle();
        let mut next = 1;
        let mut out = Vec::new();
        reader.take(&mut out, usize::MAX);
        for delivery in out {
            let (from, to) = match delivery {
                Delivery::Reading(reading) | Delivery::Start(reading, _) => (reading.seq, reading.seq),
                Delivery::Gap(gap) => (gap.from, gap.to),
                Delivery::End(end) => panic!("{end:?}"),
            };
            // The first reading may have been lost before anything was heard of the series.
            assert!(from == next || next == 1, "{from}-{to} after {}", next - 1);
            next = to + 1;
        }
        assert_eq!(next, last + 1);
    }
}

#[test]
fn a_link_whose_frames_were_all_lost_goes_on_by_itself() {
    let mut cluster = Cluster::seed(19).nodes(2);
    let handle = cluster.register("a", "s");
    let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    put(&handle, 1);
    cluster.run_for(10_000);
    // Shorter than any silence that counts: nobody is down, and all that credit allows is lost.
    cluster.cut_one_way("a", "b");
    for _ in 0..200 {
        put(&handle, 1);
        cluster.run_for(2_000);
    }
    cluster.heal("a", "b");
    cluster.settle();
    put(&handle, 1);
    cluster.settle();
    let told = got(&mut reader);
    assert_eq!(told.first().map(String::as_str), Some("1"));
    assert_eq!(told.last().map(String::as_str), Some("202"));
    assert!(told.iter().any(|told| told.ends_with('!')), "{told:?}");
}

#[test]
fn a_last_frame_that_is_lost_is_told_while_the_link_is_quiet() {
    let mut cluster = Cluster::seed(21).nodes(2);
    let handle = cluster.register("a", "s");
    let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    put(&handle, 1);
    cluster.run_for(10_000);
    assert_eq!(got(&mut reader), ["1"]);
    cluster.cut_one_way("a", "b");
    put(&handle, 2);
    cluster.run_for(10_000);
    cluster.heal("a", "b");
    cluster.run_for(600_000);
    assert_eq!(got(&mut reader), ["2-2!", "3"], "though nothing was put since");
    let frames = |cluster: &Cluster| cluster.engine("a").links()[0].sent.frames;
    let before = frames(&cluster);
    cluster.settle();
    cluster.settle();
    let more = frames(&cluster) - before;
    assert!((1..=3).contains(&more), "a quiet link falls silent: {more} frames more");
}

#[test]
fn sensors_that_come_and_go_leave_nothing_behind_where_they_were_watched() {
    let mut cluster = Cluster::seed(20).nodes(2);
    let mut reader = cluster.subscribe("b", &Filter::all(), Contract::default());
    cluster.settle();
    for round in 0..500 {
        let handle = cluster.register("a", &format!("s{round}"));
        put(&handle, 2);
        cluster.run_for(5_000);
        assert_eq!(got(&mut reader), ["1", "2"], "round {round}");
        drop(handle);
        cluster.run_for(5_000);
        assert_eq!(got(&mut reader), ["2."], "round {round}");
    }
    assert!(cluster.engine("b").relayed_series() <= 8, "{} series are known", cluster.engine("b").relayed_series());
    cluster.settle();
    cluster.check().unwrap();
}

#[test]
fn a_dead_nodes_sensors_are_gone_at_once_and_return_under_a_new_life() {
    let mut cluster = Cluster::seed(8).nodes(3);
    let handles: Vec<_> = (0..1000).map(|n| cluster.register("a", &format!("s{n}"))).collect();
    cluster.settle();
    let happenings = cluster.engine("b").happenings();
    cluster.crash("a");
    assert!(cluster.run_until(2_000, |cluster| cluster.owner("b", "s7").is_none()));
    assert!(cluster.engine("b").sensors(&Filter::all()).is_empty());
    let told: Vec<_> = happenings.try_iter().collect();
    assert!(matches!(told.as_slice(), [Happening::NodeDown(life)] if life.node.as_str() == "a"), "one event: {told:?}");
    drop(handles);
    cluster.start("a");
    let _again = cluster.register("a", "s7");
    cluster.settle();
    assert_eq!(cluster.owner("c", "s7").as_deref(), Some("a"));
    assert_eq!(cluster.owner("c", "s8"), None, "a new life owns only what it registered");
    assert!(cluster.agree());
}

#[test]
fn a_node_that_stops_in_good_order_is_gone_for_good() {
    let mut cluster = Cluster::seed(9).nodes(2);
    let handle = cluster.register("a", "s");
    cluster.settle();
    drop(handle);
    cluster.stop("a");
    cluster.settle();
    assert_eq!(cluster.engine("b").nodes().len(), 1);
}

#[test]
fn a_late_joiner_learns_everything() {
    let mut cluster = Cluster::seed(10).nodes(2);
    let _handles: Vec<_> =
        (0..5000).map(|n| cluster.register(if n % 2 == 0 { "a" } else { "b" }, &format!("sensor {n}"))).collect();
    cluster.settle();
    cluster.start("c");
    assert!(cluster.run_until(2 * SECOND, |cluster| cluster.engine("c").sensors(&Filter::all()).len() == 5000));
    assert!(cluster.run_until(2 * SECOND, |cluster| cluster.engine("c").synced() && cluster.agree()));
}

#[test]
fn a_sensor_that_moves_has_one_owner_and_the_old_one_lets_go() {
    let mut cluster = Cluster::seed(11).nodes(3);
    let old = cluster.register("a", "s");
    put(&old, 3);
    let mut reader = cluster.subscribe("c", &sensor("s"), Contract::default());
    cluster.settle();
    let new = cluster.register("b", "s");
    assert!(new.epoch() > old.epoch());
    cluster.settle();
    for node in ["a", "b", "c"] {
        assert_eq!(cluster.owner(node, "s").as_deref(), Some("b"));
    }
    let late = old.put("x", Value::I64(1));
    assert!(matches!(late, Err(Error::NotOwner { node, .. }) if node.as_str() == "b"), "late readings are refused");
    assert_eq!(cluster.engine("a").counters().0.readings_late, 1, "and counted");
    let refused = cluster.engine("a").put_by_id("s", "x", Value::I64(1), None);
    assert!(matches!(refused, Err(Error::NotOwner { node, .. }) if node.as_str() == "b"));
    put(&new, 2);
    cluster.settle();
    assert_eq!(got(&mut reader), ["3.", "1", "2"], "where the old claim ended, though it had no live reading");
    drop(old);
    cluster.settle();
    assert_eq!(cluster.owner("a", "s").as_deref(), Some("b"), "a late end of the old claim ends nothing");
}

/// What a reader of `c` is told when `s` goes from `a` to `b` while the frames from `a` come as told.
fn moved(seed: u64, while_it_moves: impl FnOnce(&mut Cluster, &SensorHandle) -> SensorHandle) -> Vec<String> {
    let mut cluster = Cluster::seed(seed).nodes(3);
    let old = cluster.register("a", "s");
    let mut reader = cluster.subscribe("c", &sensor("s"), Contract::default());
    let mut at_home = cluster.subscribe("a", &sensor("s"), Contract::default());
    cluster.settle();
    put(&old, 2);
    cluster.run_for(10_000);
    let new = while_it_moves(&mut cluster, &old);
    cluster.settle();
    put(&new, 1);
    cluster.settle();
    let last = got(&mut at_home);
    assert!(last.iter().any(|told| told.ends_with('.')) && last.last().unwrap() == "1", "{last:?}");
    got(&mut reader)
}

#[test]
fn who_reads_a_sensor_that_moves_is_told_where_its_old_numbers_end() {
    let told = moved(41, |cluster, _| cluster.register("b", "s"));
    assert_eq!(told, ["1", "2", "2.", "1"]);
}

#[test]
fn readings_refused_because_a_newer_claim_was_heard_first_are_told() {
    let told = moved(42, |cluster, old| {
        // c hears of the new claim, a does not yet: what a still sends is of a beaten claim.
        cluster.cut_one_way("b", "a");
        cluster.cut_one_way("c", "a");
        let new = cluster.register("b", "s");
        cluster.run_for(20_000);
        put(old, 3);
        cluster.run_for(20_000);
        cluster.heal_all();
        new
    });
    assert_eq!(told, ["1", "2", "3-5!", "5.", "1"]);
}

#[test]
fn a_series_that_ended_while_its_last_frames_were_lost_is_told_within_minutes() {
    let mut cluster = Cluster::seed(43).nodes(2);
    let handle = cluster.register("a", "s");
    let other = cluster.register("a", "other");
    let mut reader = cluster.subscribe("b", &Filter::all(), Contract::default());
    cluster.settle();
    put(&other, 1);
    put(&handle, 2);
    cluster.run_for(10_000);
    assert_eq!(got(&mut reader), ["1", "1", "2"]);
    cluster.cut_one_way("a", "b");
    put(&handle, 2);
    drop(handle);
    cluster.run_for(10_000);
    cluster.heal("a", "b");
    cluster.settle();
    assert!(got(&mut reader).is_empty(), "nobody knows yet");
    cluster.run_for(120_000_000);
    assert_eq!(got(&mut reader), [format!("3-{}!", Seq::MAX)]);
    cluster.check().unwrap();
}

#[test]
fn a_refusal_names_the_owner() {
    let mut cluster = Cluster::seed(12).nodes(2);
    let _held = cluster.register("a", "s");
    cluster.settle();
    let refused = SensorHandle::register(cluster.engine("b"), &Sensor::new("s").unwrap(), OnConflict::Refuse);
    assert!(matches!(refused.err(), Some(Error::NotOwner { node, .. }) if node.as_str() == "a"));
    assert_eq!(cluster.owner("b", "s").as_deref(), Some("a"));
}

#[test]
fn a_split_heals_to_one_owner_and_equal_views() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut cluster = Cluster::seed(seed).nodes(3);
        let _a = cluster.register("a", "both");
        let kept = cluster.register("a", "kept");
        cluster.settle();
        cluster.cut("a", "b");
        cluster.cut("a", "c");
        assert!(cluster.run_until(5 * SECOND, |cluster| cluster.owner("b", "kept").is_none()));
        let _b = cluster.register("b", "both");
        let during = cluster.register("a", "during");
        drop(kept);
        cluster.settle();
        cluster.heal("a", "b");
        cluster.heal("a", "c");
        cluster.settle();
        for node in ["a", "b", "c"] {
            assert_eq!(cluster.owner(node, "both").as_deref(), Some("b"), "{node}");
            assert_eq!(cluster.owner(node, "during").as_deref(), Some("a"), "{node}");
            assert_eq!(cluster.owner(node, "kept"), None, "{node}: what ended in the split stays ended");
        }
        assert!(cluster.agree());
        drop(during);
    }
}

#[test]
fn owners_without_a_link_between_them_settle_through_a_third() {
    let mut cluster = Cluster::seed(13).nodes(3);
    cluster.cut("a", "b");
    cluster.settle();
    let old = cluster.register("a", "s");
    cluster.run_for(1_000);
    let _new = cluster.register("b", "s");
    cluster.settle();
    assert_eq!(cluster.owner("c", "s").as_deref(), Some("b"));
    let late = old.put("x", Value::I64(1));
    assert_eq!(late, Err(Error::Unregistered), "a heard of it from c, though b is not up for it");
}

#[test]
fn a_one_way_link_counts_as_none() {
    let mut cluster = Cluster::seed(14).nodes(2);
    let _a = cluster.register("a", "on a");
    let _b = cluster.register("b", "on b");
    cluster.settle();
    cluster.cut_one_way("a", "b");
    cluster.settle();
    assert_eq!((cluster.owner("b", "on a"), cluster.owner("a", "on b")), (None, None));
    cluster.heal("a", "b");
    cluster.settle();
    assert_eq!(cluster.owner("b", "on a").as_deref(), Some("a"));
    assert_eq!(cluster.owner("a", "on b").as_deref(), Some("b"));
}

#[test]
fn messages_lost_doubled_and_overtaking_end_in_equal_views() {
    for seed in 0..30 {
        println!("seed {seed}");
        let rules = LinkRules {
            loss_per_mille: 150,
            duplicate_per_mille: 150,
            reorder_per_mille: 300,
            delay_us: (50, 30_000),
            ..LinkRules::default()
        };
        let mut cluster = Cluster::seed(seed).links(rules).nodes(3);
        let mut held = Vec::new();
        for round in 0..60 {
            let node = ["a", "b", "c"][round % 3];
            held.push(cluster.register(node, &format!("s{}", round % 17)));
            if round % 4 == 3 {
                held.remove(round % held.len());
            }
            cluster.run_for(3_000);
        }
        cluster.set_rules(LinkRules::default());
        cluster.settle();
        assert!(cluster.agree(), "views differ after quiet");
        for n in 0..17 {
            let owners: Vec<_> = ["a", "b", "c"].map(|node| cluster.owner(node, &format!("s{n}"))).into();
            assert!(owners.windows(2).all(|pair| pair[0] == pair[1]), "s{n}: {owners:?}");
            let local =
                ["a", "b", "c"].iter().filter(|node| cluster.engine(node).view(&format!("s{n}")).is_some()).count();
            assert!(local <= 1, "s{n} lives on {local} nodes");
        }
    }
}

#[test]
fn a_clock_set_back_before_a_restart_does_not_hide_the_new_life() {
    let mut cluster = Cluster::seed(15).nodes(2);
    let _old = cluster.register("a", "s");
    cluster.settle();
    cluster.crash("a");
    cluster.skew("a", -3600 * SECOND);
    cluster.start("a");
    let _new = cluster.register("a", "s");
    cluster.settle();
    assert_eq!(cluster.owner("b", "s").as_deref(), Some("a"));
    assert!(cluster.agree());
}

#[test]
fn many_readings_by_id_are_taken_and_each_refused_one_is_named() {
    let mut cluster = Cluster::seed(22).nodes(2);
    let _held = [("a", "s"), ("a", "t"), ("b", "elsewhere")].map(|(node, id)| cluster.register(node, id));
    let mut reader = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    let point = |sensor, value| NamedPoint { sensor, attribute: "x", value, source_time: 1 };
    let number = Value::I64(1);
    for large in [false, true] {
        let value = if large { Value::Text("x".repeat(100_000).into()) } else { number.clone() };
        let points = [
            point("s", number.clone()),
            point("nowhere", number.clone()),
            point("t", value),
            point("elsewhere", number.clone()),
            point("s", number.clone()),
        ];
        let refused = cluster.engine("a").put_many_by_id(&points);
        let told: Vec<(usize, &Error)> = refused.iter().map(|(at, error)| (*at, error)).collect();
        match (large, told.as_slice()) {
            (false, [(1, Error::NotFound { .. }), (3, Error::NotOwner { node, .. })])
            | (
                true,
                [(1, Error::NotFound { .. }), (2, Error::ValueTooLarge { .. }), (3, Error::NotOwner { node, .. })],
            ) => {
                assert_eq!(node.as_str(), "b");
            }
            _ => panic!("{told:?}"),
        }
    }
    cluster.settle();
    assert_eq!(got(&mut reader), ["1", "2", "3", "4"]);
    assert_eq!(cluster.engine("a").counters().0.readings_in, 5);
}

#[test]
fn a_stalled_reader_loses_by_contract_and_disturbs_nobody() {
    let mut cluster = Cluster::seed(16).nodes(2);
    let handle = cluster.register("a", "s");
    let mut slow = cluster.subscribe("b", &sensor("s"), Contract { queue_max: 10, ..Contract::default() });
    let mut quick = cluster.subscribe("b", &sensor("s"), Contract::default());
    cluster.settle();
    put(&handle, 1000);
    cluster.settle();
    assert_eq!(got(&mut quick).len(), 1000);
    let told = got(&mut slow);
    assert_eq!(told[0], "1-990!");
    assert_eq!(told.len(), 11);
    let ledger = slow.ledger();
    assert_eq!((ledger.offered, ledger.delivered, ledger.dropped, ledger.queued), (1000, 10, 990, 0));
}

#[test]
fn questions_are_answered_by_the_owner() {
    let mut cluster = Cluster::seed(17).nodes(2);
    let handle = cluster.register("a", "s");
    put(&handle, 5);
    cluster.settle();
    let question = senza_core::codec::Question {
        sensor: SensorId::new("s").unwrap(),
        attribute: senza_core::AttributeId::new("x").unwrap(),
        from: i64::MIN,
        to: i64::MAX,
        last: 2,
    };
    let mut answer = cluster.engine("b").ask(question).unwrap();
    cluster.settle();
    let seqs: Vec<Seq> = answer.try_recv().unwrap().iter().map(|reading| reading.seq).collect();
    assert_eq!(seqs, [4, 5]);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let rules = LinkRules { loss_per_mille: 100, reorder_per_mille: 100, ..LinkRules::default() };
        let mut cluster = Cluster::seed(seed).links(rules).nodes(3);
        let _reader = cluster.subscribe("b", &Filter::all(), latest());
        let handles: Vec<_> = (0..50).map(|n| cluster.register("a", &format!("s{n}"))).collect();
        handles.iter().for_each(|handle| {
            put(handle, 3);
        });
        cluster.crash("c");
        cluster.settle();
        cluster.trace()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_rival_of_the_name_that_leaves_gives_the_older_life_back() {
    let mut cluster = Cluster::seed(18).nodes(2);
    let _held = cluster.register("a", "s");
    cluster.settle();
    // The rival's life is higher: it is what others hear until it stops.
    let older = cluster.engine("a").me().clone();
    cluster.rival("a", 200_000);
    assert!(cluster.engine("a").rival().is_some_and(|rival| rival > older));
    cluster.settle();
    assert_eq!(cluster.owner("b", "s").as_deref(), Some("a"));
    assert!(cluster.agree());
}

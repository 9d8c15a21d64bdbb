//! The contract, the account and the gaps, whatever is offered and taken.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::reading::{AttributeId, Delivery, NodeName, Reading, SensorId, SensorType, SeriesKind};

fn series(attribute: &str) -> Arc<Series> {
    let kind = SeriesKind {
        attribute: AttributeId::new(attribute).unwrap(),
        sensor_type: SensorType::default(),
        node: NodeName::new("a").unwrap(),
        lossless: attribute == "ecg",
    };
    Arc::new(Series::new(SensorId::new("s").unwrap(), 1, kind.into()))
}

fn value(seq: Seq, text: bool) -> Value {
    if text { Value::Text(seq.to_string().into()) } else { Value::F64(seq as f64) }
}

fn offer(subscription: &Subscription, series: u32, seq: Seq, value: &Value, now: Micros) {
    let (kind, slot) = crate::row::encode(value);
    let row = Row::from_parts(series, kind, seq, (0, 0), slot);
    let mut values: Vec<Value> = row.has_value_beside().then(|| value.clone()).into_iter().collect();
    subscription.offer(&[row], &mut values, now);
}

fn put(subscription: &Subscription, series: u32, seq: Seq) {
    offer(subscription, series, seq, &value(seq, false), 0);
}

/// What came: `7` a reading, `~7` one behind a skip, `=7` a start, `3-5!` a gap, `7.` an end.
fn got(subscription: &Subscription, taken: &mut Taken, max: usize) -> Vec<String> {
    let mut out = Vec::new();
    subscription.take(taken, max);
    taken.drain(|item| {
        let row = item.row;
        out.push(match (row.is_gap(), item.position) {
            _ if row.end_reason().is_some() => format!("{}.", row.seq),
            (true, _) => format!("{}-{}!", row.seq, row.slot),
            (_, Some(_)) => format!("={}", row.seq),
            _ if row.is_after_skip() => format!("~{}", row.seq),
            _ => row.seq.to_string(),
        });
    });
    out
}

fn contract(overflow: Overflow, queue_max: usize) -> Contract {
    Contract { overflow, queue_max, ..Contract::default() }
}

fn with(pace: Pace, deadband: Deadband, heartbeat_us: u32) -> Want {
    Want { pace, deadband, heartbeat_us }
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest),
        Just(Overflow::Conflate),
        Just(Overflow::Block { wait_us: 1 }),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    prop_oneof![
        Just(Want::EVERY),
        Just(with(Pace::Latest, Deadband::None, 0)),
        Just(with(Pace::Interval(30), Deadband::None, 0)),
        Just(with(Pace::Every, Deadband::Absolute(2.0), 0)),
        Just(with(Pace::Every, Deadband::Percent(50.0), 40)),
        Just(with(Pace::Interval(20), Deadband::Absolute(1.0), 50)),
        Just(with(Pace::Interval(20), Deadband::Absolute(2.0), 0)),
    ]
}

proptest! {
    /// Every number of every series is delivered, lies in a gap told before the next reading of its series, or was left
    /// out by contract before a reading that says so; the values are those of their numbers; the account adds up after
    /// every step; nothing outgrows its bound.
    #[test]
    fn every_number_is_delivered_told_or_left_out_by_contract(
        overflow in overflow(),
        want in want(),
        bound in 1usize..6,
        steps in prop::collection::vec((0usize..6, 0usize..5, any::<bool>()), 1..80),
    ) {
        let subscription = Subscription::new(Contract { want, ..contract(overflow, bound) });
        let all = [series("x"), series("y")];
        let numbers = all.each_ref().map(|series| subscription.enroll(series, want));
        let (mut offered, mut last) = ([0; 2], [0; 2]);
        let (mut now, mut taken) = (0, Taken::default());
        let plain = want.is_every() && overflow != Overflow::Conflate;
        for (step, count, text) in steps.into_iter().chain([(5, 0, false), (4, 1000, false)]) {
            now += count as Micros;
            match step {
                0 | 1 => for _ in 0..count {
                    offered[step] += 1;
                    offer(&subscription, numbers[step], offered[step], &value(offered[step], text), now);
                },
                // The hop before tells a gap of its own.
                2 | 3 => {
                    let from = offered[step - 2] + 1;
                    offered[step - 2] += count as u64 + 1;
                    subscription.tell(numbers[step - 2], from, offered[step - 2], GapReason::Link);
                }
                4 => {
                    subscription.take(&mut taken, count);
                }
                _ => {
                    now += 1000;
                    subscription.release_due(now);
                }
            }
            let ledger = subscription.ledger();
            prop_assert!(ledger.is_exact(), "{:?}", ledger);
            prop_assert!(ledger.queued <= bound as u64 + 2, "{:?}", ledger);
            prop_assert!(!plain || ledger.conflated + ledger.filtered == 0);
            let mut broken = None;
            taken.drain(|item| {
                let at = usize::from(item.series.attribute.as_str() == "y");
                let row = item.row;
                let follows = row.seq == last[at] + 1 || (row.is_after_skip() && row.seq > last[at] + 1);
                if !follows || (!row.is_gap() && item.value != Some(value(row.seq, row.has_value_beside()))) {
                    broken = Some(format!("{row:?} after {} is {:?}", last[at], item.value));
                }
                last[at] = if row.is_gap() { row.slot } else { row.seq };
            });
            prop_assert_eq!(broken, None);
        }
        // What came last may have been too small a change; nothing else is missing.
        prop_assert!(want.deadband != Deadband::None || last == offered, "{last:?} of {offered:?}");
    }
}

#[test]
fn a_start_holds_what_came_live_before_it() {
    let subscription = Subscription::new(Contract { start: Start::Latest, ..Contract::default() });
    let [x, y, z] = ["x", "y", "z"].map(|attribute| subscription.enroll(&series(attribute), Want::EVERY));
    put(&subscription, x, 4);
    put(&subscription, x, 5);
    put(&subscription, z, 1);
    let start = |series, seq| Row::from_parts(series, 0, seq, (0, 0), 0);
    subscription.offer_start(start(x, 5), None, 5);
    put(&subscription, x, 6);
    subscription.offer_start(start(y, 7), None, 9);
    let mut taken = Taken::default();
    assert_eq!(got(&subscription, &mut taken, 10), ["=5", "6", "=7"]);
    subscription.started();
    assert_eq!(got(&subscription, &mut taken, 10), ["1"], "a series that nobody started begins with its first");
    assert!(subscription.ledger().is_exact());
}

#[test]
fn what_comes_before_a_start_is_bounded_told_and_ends_with_its_series() {
    let subscription = Subscription::new(Contract { start: Start::Latest, ..contract(Overflow::DropOldest, 3) });
    let [x, y] = ["x", "y"].map(|attribute| subscription.enroll(&series(attribute), Want::EVERY));
    let mut taken = Taken::default();
    put(&subscription, x, 1);
    subscription.tell(x, 2, 3, GapReason::Link);
    assert_eq!(got(&subscription, &mut taken, 10), [""; 0]);
    put(&subscription, x, 4);
    assert_eq!(got(&subscription, &mut taken, 10), ["1", "2-3!", "4"], "more than the queue may hold goes live");
    subscription.offer_start(Row::from_parts(x, 0, 4, (0, 0), 0), None, 4);
    put(&subscription, y, 8);
    subscription.tell(y, 9, 9, GapReason::Link);
    subscription.retire(y);
    assert_eq!(got(&subscription, &mut taken, 10), ["8", "9-9!"], "before its number is given to another");
    put(&subscription, subscription.enroll(&series("z"), Want::EVERY), 10);
    subscription.close();
    assert_eq!(got(&subscription, &mut taken, 10), ["10"]);
    assert!(subscription.ledger().is_exact());
}

#[test]
fn a_start_with_history_comes_oldest_first_and_once() {
    let subscription = Subscription::new(Contract { start: Start::Last(3), ..Contract::default() });
    let x = subscription.enroll(&series("x"), Want::EVERY);
    let sample = |seq| Sample { value: Value::I64(0), source_time: 0, received_time: 0, seq };
    subscription.offer_history(x, &[sample(3), sample(4), sample(5)], 5);
    subscription.offer_history(x, &[sample(5)], 5);
    subscription.started();
    put(&subscription, x, 6);
    assert_eq!(got(&subscription, &mut Taken::default(), 10), ["=3", "=4", "=5", "6"]);
}

#[test]
fn a_start_that_overflows_tells_its_counter() {
    let subscription = Subscription::new(contract(Overflow::DropOldest, 1));
    let x = subscription.enroll(&series("x"), Want::EVERY);
    subscription.offer_start(Row::from_parts(x, 3, 4, (0, 0), 0), Some(Value::Text("t".into())), 10);
    put(&subscription, x, 11);
    assert_eq!(got(&subscription, &mut Taken::default(), 10), ["4-10!", "11"]);
}

#[test]
fn a_closed_subscription_yields_what_it_holds_and_then_ends() {
    let subscription = Subscription::new(Contract::default());
    let (x, mut taken) = (subscription.enroll(&series("x"), Want::EVERY), Taken::default());
    put(&subscription, x, 1);
    subscription.close();
    put(&subscription, x, 2);
    assert!(subscription.take(&mut taken, 10) && taken.len() == 1);
    assert!(!subscription.take(&mut taken, 10));
    assert!(!subscription.wait(Duration::from_secs(60), false));
}

#[test]
fn what_is_left_out_ends_no_wait() {
    let subscription = Subscription::new(Contract::default());
    let x = subscription.enroll(&series("x"), with(Pace::Every, Deadband::Absolute(1e9), 0));
    put(&subscription, x, 1);
    let mut taken = Taken::default();
    assert_eq!(got(&subscription, &mut taken, 10), ["1"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            assert!(subscription.wait(Duration::from_secs(60), false));
            got(&subscription, &mut taken, 10)
        });
        (2..50_000).for_each(|seq| put(&subscription, x, seq));
        offer(&subscription, x, 50_000, &Value::F64(1e12), 0);
        assert_eq!(waiting.join().unwrap(), ["~50000"]);
    });
}

#[test]
fn gaps_alone_do_not_grow_the_queue() {
    let subscription = Subscription::new(contract(Overflow::DropOldest, 4));
    let x = subscription.enroll(&series("x"), Want::EVERY);
    (1..1000).for_each(|seq| subscription.tell(x, seq, seq, GapReason::Link));
    let told = got(&subscription, &mut Taken::default(), 10);
    assert!(told.len() <= 5, "{told:?}");
    assert_eq!(told[0].split('-').next(), Some("1"));
}

#[test]
fn latest_keeps_the_newest_of_each_series_in_turn() {
    let latest = with(Pace::Latest, Deadband::None, 0);
    let subscription = Subscription::new(Contract { want: latest, ..Contract::default() });
    let (x, y) = (subscription.enroll(&series("x"), latest), subscription.enroll(&series("y"), latest));
    for seq in 1..=3 {
        put(&subscription, x, seq);
        put(&subscription, y, seq);
    }
    let mut taken = Taken::default();
    assert_eq!(got(&subscription, &mut taken, 1), ["~3"], "x came first, and keeps its turn");
    put(&subscription, x, 4);
    assert_eq!(got(&subscription, &mut taken, 10), ["~3", "4"]);
    let ledger = subscription.ledger();
    assert_eq!((ledger.offered, ledger.delivered, ledger.conflated), (7, 3, 4));
}

#[test]
fn a_rate_delivers_the_newest_when_its_time_has_come() {
    let rate = with(Pace::Interval(100), Deadband::None, 0);
    let subscription = Subscription::new(Contract { want: rate, ..Contract::default() });
    let x = subscription.enroll(&series("x"), rate);
    let mut taken = Taken::default();
    for (seq, now) in [(1, 1000), (2, 1010), (3, 1050)] {
        offer(&subscription, x, seq, &value(seq, true), now);
    }
    assert_eq!(got(&subscription, &mut taken, 10), ["1"]);
    assert_eq!(subscription.release_due(1099), Some(1100));
    assert_eq!(got(&subscription, &mut taken, 10), [""; 0]);
    assert_eq!(subscription.release_due(1100), None);
    assert_eq!(got(&subscription, &mut taken, 10), ["~3"]);
    assert_eq!(subscription.ledger().conflated, 1);
}

#[test]
fn a_deadband_leaves_small_changes_out_and_a_heartbeat_lets_the_newest_through() {
    let want = with(Pace::Every, Deadband::Absolute(1.0), 500);
    let subscription = Subscription::new(Contract { want, ..Contract::default() });
    let x = subscription.enroll(&series("x"), want);
    let numbers = [10.0, 10.5, 11.5, 11.0, 12.0];
    for (seq, number) in (1..).zip(numbers) {
        offer(&subscription, x, seq, &Value::F64(number), seq as Micros);
    }
    let mut taken = Taken::default();
    assert_eq!(got(&subscription, &mut taken, 10), ["1", "~3"]);
    subscription.release_due(503);
    assert_eq!(got(&subscription, &mut taken, 10), ["~5"]);
    let ledger = subscription.ledger();
    assert_eq!((ledger.delivered, ledger.filtered, ledger.queued), (3, 2, 0));
}

#[test]
fn a_number_is_not_used_again_while_a_loss_of_its_series_is_untold() {
    let subscription = Subscription::new(contract(Overflow::DropOldest, 1));
    let x = subscription.enroll(&series("x"), Want::EVERY);
    put(&subscription, x, 1);
    subscription.retire(x);
    let y = subscription.enroll(&series("y"), Want::EVERY);
    put(&subscription, y, 7);
    assert_ne!(x, y, "x is still queued");
    subscription.retire(y);
    let z = subscription.enroll(&series("z"), Want::EVERY);
    assert!(z != x && z != y, "the loss of x is not told yet");
    let mut taken = Taken::default();
    subscription.take(&mut taken, 10);
    let mut told = Vec::new();
    taken.drain(|item| told.push((item.series.attribute.to_string(), item.row.seq)));
    assert_eq!(told, [("x".to_owned(), 1), ("y".to_owned(), 7)]);
    assert_eq!(subscription.enroll(&series("w"), Want::EVERY), x);
}

#[test]
fn lossless_readings_are_never_left_out_but_obey_the_bound() {
    let latest = with(Pace::Latest, Deadband::Absolute(100.0), 0);
    let subscription = Subscription::new(Contract { want: latest, ..contract(Overflow::Conflate, 4) });
    let ecg = subscription.enroll(&series("ecg"), latest);
    (1..=6).for_each(|seq| put(&subscription, ecg, seq));
    assert_eq!(got(&subscription, &mut Taken::default(), 10), ["1-2!", "3", "4", "5", "6"]);
}

#[test]
fn a_queue_that_closes_when_full_says_so() {
    let subscription = Subscription::new(contract(Overflow::Close, 2));
    let x = subscription.enroll(&series("x"), Want::EVERY);
    (1..=4).for_each(|seq| put(&subscription, x, seq));
    let mut taken = Taken::default();
    assert_eq!(got(&subscription, &mut taken, 10), ["1", "2", "3-3!"]);
    assert!(subscription.is_closed() && !subscription.take(&mut taken, 10));
}

#[test]
fn a_queue_that_closes_when_full_does_so_with_many_readings_held_back() {
    let rate = with(Pace::Interval(1_000), Deadband::None, 0);
    let subscription = Subscription::new(Contract { want: rate, ..contract(Overflow::Close, 2) });
    let all: Vec<u32> = (0..20_000).map(|n| subscription.enroll(&series(&format!("x{n}")), rate)).collect();
    all.iter().for_each(|number| offer(&subscription, *number, 1, &value(1, false), 1));
    let mut taken = Taken::default();
    subscription.take(&mut taken, 10);
    all.iter().for_each(|number| offer(&subscription, *number, 2, &value(2, false), 2));
    subscription.release_due(10_000);
    assert!(subscription.is_closed() && subscription.ledger().is_exact());
}

#[test]
fn a_writer_that_can_wait_gets_room_when_the_reader_reads() {
    let subscription = Arc::new(Subscription::new(contract(Overflow::Block { wait_us: 1 }, 1)));
    let x = subscription.enroll(&series("x"), Want::EVERY);
    put(&subscription, x, 1);
    assert!(!subscription.wait_for_room(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| subscription.wait_for_room(Duration::from_secs(60)));
        subscription.take(&mut Taken::default(), 10);
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn contracts_that_make_no_sense_are_refused_with_the_field_and_the_range() {
    let base = Contract::default();
    let refused = |contract: Contract, field: &str| {
        let error = contract.check().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    };
    refused(Contract { queue_max: 0, ..base }, "queue_max = 0: must be 1 to");
    refused(Contract { want: with(Pace::Interval(0), Deadband::None, 0), ..base }, "pace.interval");
    refused(Contract { want: with(Pace::Every, Deadband::Absolute(f64::NAN), 0), ..base }, "deadband.absolute = NaN");
    refused(Contract { want: with(Pace::Every, Deadband::Percent(-1.0), 0), ..base }, "deadband.percent");
    refused(Contract { want: with(Pace::Every, Deadband::None, u32::MAX), ..base }, "heartbeat");
    refused(Contract { start: Start::Last(0), ..base }, "start.last");
    refused(Contract { overflow: Overflow::Block { wait_us: u32::MAX }, ..base }, "overflow.block");
    assert!(base.check().is_ok());
}

#[test]
fn readings_are_read_as_deliveries_too() {
    let subscription = Subscription::new(Contract::default());
    let x = series("x");
    let number = subscription.enroll(&x, Want::EVERY);
    offer(&subscription, number, 1, &Value::Text("one".into()), 0);
    let (mut taken, mut out) = (Taken::default(), Vec::new());
    subscription.take(&mut taken, 10);
    taken.deliveries(&mut out);
    let reading = Reading { series: x, value: Value::Text("one".into()), source_time: 0, received_time: 0, seq: 1 };
    assert_eq!(out, [Delivery::Reading(reading)]);
}

#[test]
fn an_end_comes_last_whatever_overflows() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Conflate, Overflow::Block { wait_us: 1 }] {
        let subscription = Subscription::new(contract(overflow, 2));
        let mut taken = Taken::default();
        let number = subscription.enroll(&series("x"), Want::EVERY);
        (1..=5).for_each(|seq| put(&subscription, number, seq));
        subscription.end(number, 5, EndReason::Moved);
        subscription.retire(number);
        // More ends and gaps than the bound: none gets lost, none comes before what it ends.
        for other in 0..5 {
            let other = subscription.enroll(&series(&format!("other {other}")), Want::EVERY);
            assert_ne!(other, number, "its end was not taken yet");
            put(&subscription, other, 1);
            subscription.end(other, 1, EndReason::Unregistered);
            subscription.retire(other);
        }
        let mut came: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
        subscription.take(&mut taken, usize::MAX);
        taken.drain(|item| {
            let told = match (item.row.is_reading(), item.row.is_gap()) {
                (true, _) => item.row.seq.to_string(),
                (_, true) => format!("{}-{}!", item.row.seq, item.row.slot),
                _ => format!("{}.", item.row.seq),
            };
            came.entry(item.series.attribute.to_string()).or_default().push(told);
        });
        assert_eq!(came.len(), 6, "{overflow:?}: {came:?}");
        for (name, told) in came {
            let last = if name == "x" { "5." } else { "1." };
            assert_eq!(told.iter().position(|told| told.ends_with('.')), Some(told.len() - 1), "{overflow:?} {told:?}");
            assert_eq!(told.last().map(String::as_str), Some(last), "{overflow:?} {name}");
        }
        assert!(subscription.ledger().is_exact());
        assert_eq!(subscription.enroll(&series("again"), Want::EVERY), number, "its number is free now");
    }
}

#[test]
fn a_reader_that_stands_still_while_too_many_series_end_is_closed_and_still_told() {
    let subscription = Subscription::new(contract(Overflow::DropOldest, 8));
    let x = series("x");
    let mut ended = 0;
    while !subscription.is_closed() {
        let number = subscription.enroll(&x, Want::EVERY);
        put(&subscription, number, 1);
        subscription.end(number, 1, EndReason::Unregistered);
        subscription.retire(number);
        ended += 1;
        assert!(ended < queue::ENDS_MAX + 100);
    }
    let (mut taken, mut told) = (Taken::default(), 0);
    subscription.take(&mut taken, usize::MAX);
    taken.drain(|item| told += usize::from(item.row.end_reason().is_some()));
    assert_eq!((told, ended > queue::ENDS_MAX), (ended, true));
    assert!(subscription.ledger().is_exact());
}

#[test]
fn what_a_contract_holds_back_comes_before_the_end() {
    let want = with(Pace::Interval(1_000), Deadband::None, 0);
    let subscription = Subscription::new(Contract { want, ..Contract::default() });
    let number = subscription.enroll(&series("x"), want);
    (1..=3).for_each(|seq| put(&subscription, number, seq));
    subscription.end(number, 3, EndReason::Unregistered);
    subscription.retire(number);
    assert_eq!(got(&subscription, &mut Taken::default(), usize::MAX), ["1", "~3", "3."]);
    assert!(subscription.ledger().is_exact());
}

#[test]
fn a_start_that_is_dropped_names_none_of_those_that_come() {
    let subscription = Subscription::new(Contract { start: Start::Last(9), ..contract(Overflow::DropOldest, 2) });
    let number = subscription.enroll(&series("x"), Want::EVERY);
    let sample = |seq| Sample { value: Value::I64(0), source_time: seq as Micros, received_time: 0, seq };
    // The counter stands at 6: its reading came late, and others are newer.
    subscription.offer_history(number, &[3, 4, 5].map(sample), 6);
    subscription.started();
    put(&subscription, number, 7);
    assert_eq!(got(&subscription, &mut Taken::default(), usize::MAX), ["3-4!", "=5", "7"]);
}

//! Puts beside a subscription that comes, is read, is revised and ends, and beside sensors that go and come back.

use std::sync::Arc;

use senza_core::subscription::{Contract, Deadband, Overflow, Pace, Start, Want};
use senza_core::{AttributeId, Error, Filter, Micros, SensorId};
use shuttle::thread;

use crate::node::{LOSSLESS, Node, Place, point, value};
use crate::reader::{Reader, exact, leaves_nothing_out};
use crate::{explore, pick, sensors};

/// Of each writer.
const ROUNDS: i64 = 2;

/// Two sensors of two shards; the first has a second attribute, a lossless one.
pub(crate) fn places(node: &Node) -> [Place; 3] {
    let [first, second] = sensors();
    [node.series(first, "x"), node.series(first, LOSSLESS), node.series(second, "x")]
}

/// Filters that all series of [`places`] match: a broad one and a narrow one.
pub(crate) fn all_of_them() -> Filter {
    pick(&[Filter::all(), Filter { sensors: sensors().iter().map(|id| sensor(id)).collect(), ..Filter::all() }])
}

pub(crate) fn sensor(id: &str) -> SensorId {
    SensorId::new(id).unwrap()
}

/// A contract under which the last reading of every series is delivered or told lost without anybody's help.
pub(crate) fn contract(start: Start) -> Contract {
    let overflow =
        pick(&[Overflow::DropOldest, Overflow::DropNewest, Overflow::Conflate, Overflow::Block { wait_us: 1 }]);
    let want = Want { pace: pick(&[Pace::Every, Pace::Latest]), ..Want::EVERY };
    Contract { want, overflow, queue_max: pick(&[1, 2, 16]), start, ..Contract::default() }
}

/// A writer of single readings and one of batches, both to all places.
pub(crate) fn spawn_writers(node: &Arc<Node>, places: [Place; 3]) -> [thread::JoinHandle<()>; 2] {
    let [single, batches] = [node.clone(), node.clone()];
    let single = thread::spawn(move || {
        for number in 0..ROUNDS {
            places.iter().for_each(|place| assert!(single.put(*place, value(1, number)).is_ok()));
        }
    });
    let batches = thread::spawn(move || {
        for number in 0..ROUNDS {
            let points: Vec<_> =
                (0..2).flat_map(|half| places.map(|p| point(p, value(2, number * 2 + half)))).collect();
            assert_eq!(batches.put_many(&points), 0);
        }
    });
    [single, batches]
}

/// Numbers of all series after [`spawn_writers`].
pub(crate) const NUMBERS: u64 = 3 * (ROUNDS + 2 * ROUNDS) as u64;

fn join(tasks: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

// === A reader from the first reading on ===

fn read(asynchronous: bool) {
    let node = Node::new();
    let places = places(&node);
    let (id, subscription) = node.watch(&all_of_them(), contract(Start::Live));
    let mut reader = Reader::new(&node, &subscription, true);
    let max = pick(&[1, 3, usize::MAX]);
    let writers = spawn_writers(&node, places);
    let looking = subscription.clone();
    let looker = thread::spawn(move || {
        for _ in 0..3 {
            exact(&looking);
        }
    });
    if asynchronous {
        shuttle::future::block_on(reader.read_numbers_later(NUMBERS, max));
    } else {
        reader.read_numbers(NUMBERS, max);
    }
    join(writers);
    looker.join().unwrap();
    node.assert_writers_in_order();
    reader.assert_saw_all();
    reader.assert_account(leaves_nothing_out(&subscription.contract()));
    node.unwatch(id);
    assert!(!reader.take(1));
}

pub(crate) fn a_thread_reads() {
    read(false);
}

pub(crate) fn a_future_reads() {
    read(true);
}

#[test]
fn a_waiting_reader_is_woken_for_all_in_order_and_none_untold() {
    explore(a_thread_reads);
}

#[test]
fn an_async_reader_is_woken_for_all_in_order_and_none_untold() {
    explore(a_future_reads);
}

/// The subscription ends by its contract when its queue is full: what was taken in before is read, what was not is told.
fn closes_when_full() {
    let node = Node::new();
    let places = places(&node);
    let ends = Contract { overflow: Overflow::Close, queue_max: pick(&[1, 4]), ..Contract::default() };
    let (_, subscription) = node.watch(&all_of_them(), ends);
    let mut reader = Reader::new(&node, &subscription, true);
    let writers = spawn_writers(&node, places);
    reader.read_numbers(NUMBERS, 1);
    join(writers);
    while subscription.is_closed() && reader.take(1) {}
    reader.assert_account(true);
}

#[test]
fn a_subscription_that_overflows_to_its_end_tells_it() {
    explore(closes_when_full);
}

// === A reader in the middle ===

pub(crate) fn comes_in_the_middle() {
    let node = Node::new();
    let places = places(&node);
    (0..2).for_each(|number| assert!(node.put(places[0], value(3, number)).is_ok()));
    let writers = spawn_writers(&node, places);
    let start = pick(&[Start::Live, Start::Latest, Start::Last(2), Start::Since(0)]);
    // Starts of several readings all fit: a gap that a dropped one leaves ends where the starts do.
    let queue_max = if matches!(start, Start::Last(_) | Start::Since(_)) { 64 } else { pick(&[1, 2, 64]) };
    let contract = Contract { queue_max, ..contract(start) };
    let (id, subscription) = node.watch(&all_of_them(), contract);
    let mut reader = Reader::new(&node, &subscription, false);
    reader.take(pick(&[1, usize::MAX]));
    join(writers);
    reader.read_what_is_there();
    reader.assert_saw_all();
    reader.assert_account(false);
    node.unwatch(id);
}

#[test]
fn latest_then_live_has_no_gap_and_no_duplicate() {
    explore(comes_in_the_middle);
}

// === Revised and ended ===

/// The first sensor's series match every filter that the subscription is given: they miss nothing.
fn is_revised_and_ends() {
    let node = Node::new();
    let places = places(&node);
    let [first, _] = sensors();
    let filters = [Filter::all(), Filter::sensor(sensor(first)), all_of_them()];
    let wants = [Want::EVERY, Want { pace: Pace::Latest, ..Want::EVERY }];
    let (id, subscription) = node.watch(&pick(&filters), contract(Start::Live));
    let mut reader = Reader::new(&node, &subscription, true);
    reader.may_miss = |(sensor, ..)| sensor.as_str() != sensors()[0];
    let reading = thread::spawn(move || {
        reader.read_to_end(pick(&[1, usize::MAX]));
        reader.assert_account(false);
    });
    let writers = spawn_writers(&node, places);
    for _ in 0..2 {
        node.revise(id, &pick(&filters), pick(&wants));
        let (other, _) = node.watch(&Filter::all(), Contract::default());
        node.unwatch(other);
    }
    node.unwatch(id);
    let offered = exact(&subscription).offered;
    join(writers);
    reading.join().unwrap();
    assert_eq!(exact(&subscription).offered, offered, "nothing is offered after the end");
}

#[test]
fn a_subscription_is_revised_and_ends_beside_puts() {
    explore(is_revised_and_ends);
}

/// A number that a series gave back is given to another while rows of the first may be on their way.
pub(crate) fn numbers_are_used_again() {
    let node = Node::new();
    let [x, y] = ["x", "y"].map(|attribute| node.series(&sensors()[0], attribute));
    let [of_x, of_y] =
        ["x", "y"].map(|attribute| Filter { attributes: vec![AttributeId::new(attribute).unwrap()], ..Filter::all() });
    let (id, subscription) = node.watch(&of_x, Contract::default());
    let mut reader = Reader::new(&node, &subscription, true);
    reader.may_miss = |_| true;
    let writing = node.clone();
    let writer = thread::spawn(move || {
        let points = [x, x, y, y].into_iter().zip(0..).map(|(place, number)| point(place, value(1, number)));
        writing.put_many(&points.collect::<Vec<_>>());
    });
    node.revise(id, &of_y, Want::EVERY);
    reader.take(usize::MAX);
    node.revise(id, &of_x, Want::EVERY);
    writer.join().unwrap();
    node.unwatch(id);
    reader.read_to_end(usize::MAX);
    reader.assert_account(true);
}

#[test]
fn a_number_stands_for_one_series_at_a_time() {
    explore(numbers_are_used_again);
}

fn closes() {
    let node = Node::new();
    let places = places(&node);
    let (id, subscription) = node.watch(&all_of_them(), contract(Start::Live));
    let mut reader = Reader::new(&node, &subscription, true);
    let reading = thread::spawn(move || {
        reader.read_to_end(2);
        reader.assert_account(false);
    });
    let writers = spawn_writers(&node, places);
    subscription.close();
    let offered = exact(&subscription).offered;
    join(writers);
    reading.join().unwrap();
    assert_eq!(exact(&subscription).offered, offered, "nothing is offered after the close");
    node.unwatch(id);
}

#[test]
fn nothing_is_offered_after_a_close_and_all_before_is_read() {
    explore(closes);
}

fn is_dropped() {
    let node = Node::new();
    let places = places(&node);
    let (id, subscription) = node.watch(&all_of_them(), contract(Start::Live));
    let writers = spawn_writers(&node, places);
    let weak = Arc::downgrade(&subscription);
    subscription.take(&mut Default::default(), 1);
    drop(subscription);
    node.unwatch(id);
    join(writers);
    // The next reading of a series lets go of what ended.
    places.iter().for_each(|place| assert!(node.put(*place, value(3, 0)).is_ok()));
    assert!(weak.upgrade().is_none(), "somebody holds on to an ended subscription");
}

#[test]
fn an_ended_subscription_is_freed() {
    explore(is_dropped);
}

// === Held back ===

/// Readings that a rate holds back come when they are due, whoever calls for them.
fn is_paced() {
    let node = Node::new();
    let places = places(&node);
    let want = pick(&[
        Want { pace: Pace::Interval(10), ..Want::EVERY },
        Want { deadband: Deadband::Absolute(1e6), heartbeat_us: 10, ..Want::EVERY },
    ]);
    let (id, subscription) = node.watch(&all_of_them(), Contract { want, queue_max: 64, ..Contract::default() });
    let mut reader = Reader::new(&node, &subscription, true);
    let reading = thread::spawn(move || {
        reader.read_numbers(NUMBERS, usize::MAX);
        reader.assert_saw_all();
        reader.assert_account(false);
    });
    let writers = spawn_writers(&node, places);
    let (clock, ticking) = (node.clone(), subscription.clone());
    let ticker = thread::spawn(move || {
        for _ in 0..3 {
            ticking.release_due(clock.now());
        }
    });
    join(writers);
    ticker.join().unwrap();
    assert_eq!(subscription.release_due(Micros::MAX / 2), None);
    reading.join().unwrap();
    node.unwatch(id);
}

#[test]
fn what_is_held_back_comes_when_it_is_due() {
    explore(is_paced);
}

// === Sensors that go and come back ===

pub(crate) fn a_sensor_comes_back() {
    let node = Node::new();
    let places = places(&node);
    let first = &sensors()[0];
    let contract = contract(pick(&[Start::Live, Start::Latest]));
    let writing = node.clone();
    let writer = thread::spawn(move || {
        for number in 0..3 {
            let points = [point(places[0], value(1, number)), point(places[2], value(1, number))];
            writing.put_many(&points);
            // Whoever finds its handle stale asks for the present one.
            if writing.put(places[0], value(2, number)) == Err(Error::Unregistered)
                && let Some(handle) = writing.table.find(&sensors()[0])
                && let Ok(attribute) = writing.table.attribute(handle, "x")
            {
                let put = writing.put((handle, attribute), value(2, number));
                assert!(matches!(put, Ok(_) | Err(Error::Unregistered)));
            }
        }
    });
    let moving = node.clone();
    let mover = thread::spawn(move || {
        for epoch in 1..3 {
            assert!(moving.table.remove(first, epoch));
            let handle = moving.register(first, epoch + 1);
            let put = moving.table.attribute(handle, "x").map(|attribute| (handle, attribute));
            assert!(moving.put(put.unwrap(), value(3, epoch as i64)).is_ok());
        }
    });
    let (id, subscription) = node.watch(&all_of_them(), contract);
    let mut reader = Reader::new(&node, &subscription, false);
    reader.may_end = true;
    reader.take(usize::MAX);
    join([writer, mover]);
    assert!(node.put(places[0], value(9, 0)).is_err(), "a stale handle");
    reader.read_what_is_there();
    node.assert_writers_in_order();
    reader.assert_account(false);
    reader.assert_saw_all();
    node.unwatch(id);
}

#[test]
fn a_sensor_that_comes_back_is_another_series() {
    explore(a_sensor_comes_back);
}

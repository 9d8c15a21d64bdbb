//! Writers that wait for room (`put_wait`), and who ends their wait: a reader, a close, their time.

use std::sync::Arc;

use senza_core::Filter;
use senza_core::subscription::{Contract, Overflow};
use shuttle::thread;

use crate::node::{Node, value};
use crate::reader::{Reader, exact};
use crate::{explore, pick, sensors};

/// Microseconds that do not elapse.
const HOUR: u32 = 3_600_000_000;
const READINGS: i64 = 4;

fn blocks(wait_us: u32, queue_max: usize) -> Contract {
    Contract { overflow: Overflow::Block { wait_us }, queue_max, ..Contract::default() }
}

/// A writer that is alone waits as often as it must: nothing is dropped.
pub(crate) fn one_writer_waits() {
    let node = Node::new();
    let place = node.series(&sensors()[0], "x");
    let (id, subscription) = node.watch(&Filter::all(), blocks(HOUR, pick(&[1, 2])));
    let mut reader = Reader::new(&node, &subscription, true);
    let writing = node.clone();
    let writer = thread::spawn(move || {
        for number in 0..READINGS {
            let (put, had_room) = writing.put_wait(place, value(1, number));
            assert!(put.is_ok() && had_room);
        }
    });
    if pick(&[true, false]) {
        reader.read_numbers(READINGS as u64, pick(&[1, 2]));
    } else {
        shuttle::future::block_on(reader.read_numbers_later(READINGS as u64, 1));
    }
    writer.join().unwrap();
    reader.assert_saw_all();
    reader.assert_account(true);
    assert_eq!(exact(&subscription).dropped, 0);
    node.unwatch(id);
}

#[test]
fn a_writer_that_waits_loses_nothing() {
    explore(one_writer_waits);
}

/// Two writers may see the same room: one of them is told its loss, none sleeps for ever.
fn two_writers_wait() {
    let node = Node::new();
    let place = node.series(&sensors()[0], "x");
    let (id, subscription) = node.watch(&Filter::all(), blocks(HOUR, 1));
    let mut reader = Reader::new(&node, &subscription, true);
    let writers = [1, 2].map(|writer| {
        let node = node.clone();
        thread::spawn(move || {
            (0..READINGS / 2).for_each(|number| assert!(node.put_wait(place, value(writer, number)).0.is_ok()));
        })
    });
    reader.read_numbers(READINGS as u64, 1);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    node.assert_writers_in_order();
    reader.assert_saw_all();
    reader.assert_account(true);
    node.unwatch(id);
}

#[test]
fn writers_that_wait_together_are_all_woken() {
    explore(two_writers_wait);
}

/// Nobody reads until the writer is through, somebody looks: the writer's time ends its waits, and what found no room is
/// told.
fn nobody_reads() {
    let node = Node::new();
    let place = node.series(&sensors()[0], "x");
    let (id, subscription) = node.watch(&Filter::all(), blocks(1, 1));
    let mut reader = Reader::new(&node, &subscription, true);
    let writing = node.clone();
    let writer = thread::spawn(move || {
        let rooms: Vec<bool> = (0..READINGS).map(|number| writing.put_wait(place, value(1, number)).1).collect();
        assert_eq!(rooms, [true, false, false, false]);
    });
    let ledger = exact(&subscription);
    assert!(ledger.queued <= 1 && ledger.delivered == 0);
    writer.join().unwrap();
    reader.take(1);
    reader.assert_saw_all();
    reader.assert_account(true);
    assert_eq!(reader.lost, READINGS as u64 - 1);
    node.unwatch(id);
}

#[test]
fn a_wait_for_room_ends_with_its_time() {
    explore(nobody_reads);
}

/// The end of a full subscription ends the wait of its writers.
fn ends_while_writers_wait() {
    let node = Node::new();
    let place = node.series(&sensors()[0], "x");
    let (id, subscription) = node.watch(&Filter::all(), blocks(HOUR, 1));
    let writers = [1, 2].map(|writer| {
        let node: Arc<Node> = node.clone();
        thread::spawn(move || (0..2).for_each(|number| assert!(node.put_wait(place, value(writer, number)).0.is_ok())))
    });
    if pick(&[true, false]) {
        node.unwatch(id);
    } else {
        subscription.close();
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    exact(&subscription);
    node.unwatch(id);
}

#[test]
fn the_end_of_a_subscription_wakes_writers_that_wait() {
    explore(ends_while_writers_wait);
}

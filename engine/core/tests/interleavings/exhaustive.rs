//! One queue between two tasks, under every schedule there is; between three, under some.

use std::sync::Arc;

use senza_core::history::Sample;
use senza_core::reading::SeriesKind;
use senza_core::row::Row;
use senza_core::subscription::{Contract, Overflow, Subscription, Taken, Want};
use senza_core::{AttributeId, NodeName, SensorId, SensorType, Series, Value};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::reader::{FOREVER, exact};
use crate::{exhaust, explore};

fn queue(contract: Contract) -> Arc<Subscription> {
    enrolled(Subscription::new(contract))
}

fn enrolled(queue: Subscription) -> Arc<Subscription> {
    let kind = SeriesKind {
        attribute: AttributeId::new("x").unwrap(),
        sensor_type: SensorType::default(),
        node: NodeName::new("a").unwrap(),
        lossless: false,
    };
    let series = Arc::new(Series::new(SensorId::new("s").unwrap(), 1, kind.into()));
    let queue = Arc::new(queue);
    queue.enroll(&series, Want::EVERY);
    queue
}

fn offer(queue: &Subscription, seq: u64) {
    let sample = Sample { value: Value::I64(1), source_time: 0, received_time: 0, seq };
    queue.offer(&[Row::reading(0, &sample)], &mut Vec::new(), 0);
}

pub(crate) fn an_offer_wakes() {
    let queue = queue(Contract::default());
    let writer = queue.clone();
    thread::spawn(move || offer(&writer, 1));
    assert!(queue.wait(FOREVER, false));
    let mut taken = Taken::default();
    assert!(queue.take(&mut taken, 1) && taken.len() == 1);
}

#[test]
fn an_offer_wakes_a_reader_that_waits() {
    exhaust(an_offer_wakes);
}

#[test]
fn a_wait_for_a_reading_ends_with_one() {
    // Too many schedules for all of them.
    explore(|| {
        let queue = queue(Contract::default());
        let (one, two) = (queue.clone(), queue.clone());
        thread::spawn(move || offer(&one, 1));
        thread::spawn(move || [2, 3].map(|seq| offer(&two, seq)));
        let (mut taken, mut seen) = (Taken::default(), 0);
        while seen < 3 {
            assert!(queue.wait(FOREVER, false));
            assert!(queue.take(&mut taken, 3) && !taken.is_empty(), "a wait ended with nothing");
            seen += taken.len();
        }
    });
}

#[test]
fn an_offer_wakes_a_future_that_waits() {
    exhaust(|| {
        let queue = queue(Contract::default());
        let writer = queue.clone();
        thread::spawn(move || offer(&writer, 1));
        let mut taken = Taken::default();
        let taking = std::future::poll_fn(|context| queue.poll_take(context, &mut taken, 1));
        assert!(shuttle::future::block_on(taking));
        assert_eq!(taken.len(), 1);
    });
}

#[test]
fn a_nudge_ends_a_wait_whatever_is_queued() {
    exhaust(|| {
        let queue = queue(Contract::default());
        offer(&queue, 1);
        let other = queue.clone();
        thread::spawn(move || other.nudge());
        assert!(queue.wait(FOREVER, true));
    });
}

#[test]
fn a_close_ends_a_wait_and_what_was_offered_before_is_read() {
    exhaust(|| {
        let queue = queue(Contract::default());
        let writer = queue.clone();
        thread::spawn(move || {
            offer(&writer, 1);
            writer.close();
            offer(&writer, 2);
        });
        let (mut taken, mut read) = (Taken::default(), 0);
        while queue.wait(FOREVER, false) {
            queue.take(&mut taken, 1);
            read += taken.len();
        }
        assert_eq!((read, exact(&queue).offered), (1, 1));
    });
}

#[test]
fn a_take_wakes_a_writer_that_waits_for_room() {
    exhaust(|| {
        let blocks = Overflow::Block { wait_us: u32::MAX };
        let queue = queue(Contract { overflow: blocks, queue_max: 1, ..Contract::default() });
        offer(&queue, 1);
        let reader = queue.clone();
        thread::spawn(move || reader.take(&mut Taken::default(), 1));
        assert!(queue.wait_for_room(FOREVER));
        offer(&queue, 2);
        assert_eq!(exact(&queue).dropped, 0);
    });
}

#[test]
fn a_reader_that_is_to_be_relieved_is_never_left_alone() {
    exhaust(|| {
        let bell = Arc::new(AtomicBool::new(false));
        let queue = enrolled(Subscription::relieved(Contract::default(), bell.clone()));
        let writer = queue.clone();
        thread::spawn(move || {
            offer(&writer, 1);
            if bell.swap(false, Ordering::AcqRel) && writer.is_left() {
                writer.nudge();
            }
        });
        let mut taken = Taken::default();
        while queue.wait(FOREVER, false) {
            queue.take(&mut taken, 1);
            if !taken.is_empty() {
                return;
            }
        }
    });
}

#[test]
fn what_writers_take_over_from_a_reader_that_sleeps_is_read_once() {
    explore(|| {
        let bell = Arc::new(AtomicBool::new(false));
        let queue = enrolled(Subscription::relieved(Contract::default(), bell.clone()));
        let relieve = |seq: u64, takes_over: bool| {
            let (writer, bell) = (queue.clone(), bell.clone());
            thread::spawn(move || {
                offer(&writer, seq);
                let mut taken = Taken::default();
                match bell.swap(false, Ordering::AcqRel) && writer.is_left() {
                    true if takes_over => _ = writer.take(&mut taken, 1),
                    true => writer.nudge(),
                    false => {}
                }
                taken.len()
            })
        };
        let (one, other, closer) = (relieve(1, true), relieve(2, false), queue.clone());
        let writers = thread::spawn(move || {
            let taken = one.join().unwrap() + other.join().unwrap();
            closer.close();
            taken
        });
        let (mut taken, mut read) = (Taken::default(), 0);
        while queue.wait(FOREVER, false) {
            queue.take(&mut taken, 1);
            read += taken.len();
        }
        assert_eq!(read + writers.join().unwrap(), 2);
    });
}

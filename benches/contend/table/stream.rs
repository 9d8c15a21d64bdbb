//! Which sensors one thread puts, in which order, and what their readings say. Knows no store.
//!
//! Uniform: all sensors in random order, then in another, and so on. Zipf: drawn, the most frequent ones spread over
//! all numbers. The texts of the ids lie in the order of the stream, as they do in a message that was just read: what
//! is measured is the store's memory, not the caller's.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Zipf};

/// Bytes of every id.
const ID: usize = 24;
/// The exponent of YCSB's Zipf distribution.
const EXPONENT: f64 = 0.99;

/// How the readings of a batch by handle lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As a caller has them that collects per shard: all of one shard, in random order, then those of the next.
    Shard,
    /// The worst that such a caller can have: a batch of random sensors of all, grouped by shard.
    Scattered,
}

/// Readings of one thread, in their order.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    thread: usize,
    numbers: Vec<u32>,
    text: String,
}

/// Writes the id of a sensor.
pub(crate) fn write_id(number: u32, id: &mut String) {
    use std::fmt::Write;
    id.clear();
    write!(id, "building/sensor-{number:08}").expect("text has room");
}

impl Stream {
    /// A stream of at least so many readings.
    pub(crate) fn new(thread: usize, sensors: u32, length: usize, zipf: bool) -> Self {
        let mut random = StdRng::seed_from_u64(thread as u64 + 1);
        let mut all: Vec<u32> = (0..sensors).collect();
        let numbers = if zipf {
            // The same sensors are frequent for all threads.
            all.shuffle(&mut StdRng::seed_from_u64(0));
            let ranks = Zipf::new(f64::from(sensors), EXPONENT).expect("some sensors and an exponent above 0");
            ranks.sample_iter(&mut random).take(length).map(|rank| all[rank as usize - 1]).collect()
        } else {
            let mut numbers = Vec::with_capacity(length + all.len());
            while numbers.len() < length {
                all.shuffle(&mut random);
                numbers.extend_from_slice(&all);
            }
            numbers
        };
        let mut stream = Self { thread, numbers, text: String::new() };
        stream.write_text();
        stream
    }

    /// Groups the readings by the shard of their sensors.
    pub(crate) fn group(&mut self, order: Order, batch: usize, shards: &[u32]) {
        let together = if order == Order::Shard { self.numbers.len() } else { batch };
        for group in self.numbers.chunks_mut(together) {
            group.sort_by_key(|number| shards[*number as usize]);
        }
        self.write_text();
    }

    /// Leaves out the readings of other sensors.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.numbers.retain(|number| is_kept(*number));
        self.write_text();
    }

    fn write_text(&mut self) {
        let mut id = String::new();
        self.text.clear();
        self.text.reserve_exact(self.numbers.len() * ID);
        for number in &self.numbers {
            write_id(*number, &mut id);
            assert_eq!(id.len(), ID, "{id} is as long as all ids");
            self.text.push_str(&id);
        }
    }

    /// How many readings there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Their sensors.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Their sensors' ids.
    pub(crate) fn ids(&self) -> Vec<&str> {
        (0..self.len()).map(|place| &self.text[place * ID..(place + 1) * ID]).collect()
    }

    /// What the reading at a place says: no other of any thread says the same.
    pub(crate) fn value(&self, place: usize) -> f64 {
        ((self.thread << 32) | place) as f64
    }
}

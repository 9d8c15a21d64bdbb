//! Family `table`: readings put into a store of what sensors last said, and got from it, by threads of one process.
//!
//! Parameters: `op` (put, get, mixed: nine puts and a get), `key` (handle, id), `call` (single, batch), `batch`
//! (readings of a batch), `sensors`, `threads`, `keys` (uniform, zipf), `order` (of batches by handle: shard,
//! scattered), `length` (readings made ready per thread, put again and again), `seconds`.
//!
//! Rivals are concurrent maps from an id to its latest value and time, and have no handles: where senza puts by handle,
//! they put by id, which comes nearest. Knows neither how a contender stores (`senza.rs`, `maps.rs`) nor which sensors
//! come in which order (`stream.rs`); here is what is timed, and what is checked after.

#![expect(clippy::disallowed_methods, reason = "benchmarks read the clock")]

pub(crate) mod maps;
pub(crate) mod senza;
pub(crate) mod stream;

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::RwLock;
use senza_benches::histogram;
use serde_json::json;

use crate::Family;
use crate::answer::{Account, Answer, Params};
use maps::{Latest, Map, Maps};
use senza::Fleet;
use stream::{Order, Stream};

pub(crate) const FAMILY: Family =
    Family { name: "table", contenders: &["senza", "dashmap", "papaya", "scc", "rwlock"], run, child: |_| () };

/// Single calls that are timed together.
const TIMED: usize = 256;
/// Sensors read back at the end.
const READ_BACK: u32 = 1_000;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    sensors: u32,
    threads: usize,
    op: Op,
    by_handle: bool,
    /// Readings of one call; `None`: each by itself.
    batch: Option<usize>,
    order: Order,
    zipf: bool,
    length: usize,
    duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Put,
    Get,
    Mixed,
}

/// A contender: what one thread does is a [`Hand`] of it.
trait Store: Sync {
    /// How a thread puts and gets the readings of its stream, made ready before the clock runs.
    fn hand<'a>(&'a self, work: &Work, stream: &'a Stream) -> Box<dyn Hand + 'a>;
    /// The shard of each sensor, where a caller can know it.
    fn shards(&self) -> Option<&[u32]>;
    /// How many puts were ever taken, as far as the store counts.
    fn taken(&self) -> Option<u64>;
    /// The latest value of a sensor.
    fn latest(&self, id: &str) -> Option<f64>;
}

/// One thread's side of a store. Places are those of its stream; the value of a reading is [`Stream::value`] of its
/// place.
trait Hand {
    /// Puts these readings, and answers how many found their sensor.
    fn put(&mut self, from: usize, to: usize, now: i64) -> usize;
    /// Gets the latest of these sensors, one by one, and answers how many were there.
    fn get(&mut self, from: usize, to: usize) -> usize;
}

/// What one thread did.
struct Turn {
    stream: Stream,
    /// Blocks of the stream, each of so many readings, and how many blocks were done.
    blocks: (usize, usize),
    done: usize,
    puts: Calls,
    gets: Calls,
    seconds: f64,
    block_ns: Histogram<u64>,
}

/// Calls, and how many of them found their sensor.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    made: u64,
    found: u64,
}

impl Calls {
    fn add(&mut self, made: usize, found: usize) {
        self.made += made as u64;
        self.found += found as u64;
    }

    fn sum(all: impl Iterator<Item = Calls>) -> Calls {
        all.fold(Calls::default(), |sum, of| Calls { made: sum.made + of.made, found: sum.found + of.found })
    }
}

fn run(contender: &str, params: &Params) -> Answer {
    let work = Work::new(params);
    let numbers = || 0..work.sensors;
    match contender {
        "senza" => measure(&work, &Fleet::warm(work.sensors), senza::CONFIGURATION),
        "dashmap" => measure(&work, &filled::<maps::Dash<Latest>>(numbers()), maps::DASHMAP),
        "papaya" => measure(&work, &filled::<maps::Papaya<Latest>>(numbers()), maps::PAPAYA),
        "scc" => measure(&work, &filled::<maps::Scc<Latest>>(numbers()), maps::SCC),
        _ => measure(&work, &filled::<RwLock<maps::Plain<Latest>>>(numbers()), maps::RWLOCK),
    }
}

fn filled<M: Map<Latest>>(numbers: std::ops::Range<u32>) -> Maps<M> {
    let map = M::empty();
    let mut id = String::new();
    for number in numbers {
        stream::write_id(number, &mut id);
        map.insert(&id, (0.0, 0));
    }
    Maps(map)
}

/// Which of the words a parameter is; the first where it is not given.
///
/// # Panics
///
/// Where it is none of them.
pub(crate) fn choice(params: &Params, name: &str, words: &[&str]) -> usize {
    let word: String = params.get(name, words[0].to_owned());
    let place = words.iter().position(|known| *known == word);
    place.unwrap_or_else(|| panic!("{name}={word} is none of {}", words.join(", ")))
}

impl Work {
    fn new(params: &Params) -> Self {
        let sensors = params.get("sensors", 100_000);
        let zipf = choice(params, "keys", &["uniform", "zipf"]) == 1;
        let batch = params.get("batch", 4_096);
        let length: usize = params.get("length", if zipf { 1 << 20 } else { (1 << 16).max(sensors as usize) });
        Self {
            sensors,
            threads: params.get("threads", 1),
            op: [Op::Put, Op::Get, Op::Mixed][choice(params, "op", &["put", "get", "mixed"])],
            by_handle: choice(params, "key", &["id", "handle"]) == 1,
            batch: (choice(params, "call", &["single", "batch"]) == 1).then_some(batch),
            order: [Order::Shard, Order::Scattered][choice(params, "order", &["shard", "scattered"])],
            zipf,
            length: length.max(batch),
            duration: Duration::from_secs_f64(params.seconds()),
        }
    }

    /// What one thread puts in which order.
    fn stream(&self, thread: usize, shards: Option<&[u32]>) -> Stream {
        let mut stream = Stream::new(thread, self.sensors, self.length, self.zipf);
        if let (true, Some(batch), Some(shards)) = (self.by_handle, self.batch, shards) {
            stream.group(self.order, batch, shards);
        }
        stream
    }
}

// === What is timed ===

fn measure(work: &Work, store: &dyn Store, configuration: &str) -> Answer {
    let taken_before = store.taken().unwrap_or_default();
    let start = Barrier::new(work.threads);
    let turn = |thread| {
        let start = &start;
        move || {
            let stream = work.stream(thread, store.shards());
            let turn = {
                let mut hand = store.hand(work, &stream);
                start.wait();
                take_turn(work, &mut *hand, stream.len())
            };
            Turn { stream, ..turn }
        }
    };
    let turns: Vec<Turn> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.threads).map(|thread| scope.spawn(turn(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread of this panics")).collect()
    });
    let puts = Calls::sum(turns.iter().map(|turn| turn.puts));
    let gets = Calls::sum(turns.iter().map(|turn| turn.gets));
    // A store that numbers its readings says itself how many it took.
    if let Some(taken) = store.taken() {
        assert_eq!(taken - taken_before, puts.found, "puts by the numbers of all sensors, and by what was answered");
    }
    let read_back = read_back(work, store, &turns);
    let per_second: f64 = turns.iter().map(|turn| (turn.puts.made + turn.gets.made) as f64 / turn.seconds).sum();
    let mut block_ns = histogram();
    turns.iter().for_each(|turn| block_ns.add(&turn.block_ns).expect("all have the same bounds"));
    let block = work.batch.unwrap_or(TIMED);
    let (offered, arrived) = (puts.made + gets.made, puts.found + gets.found);
    Answer::default()
        .metric("readings_per_s", per_second)
        .metric("readings_per_s_per_thread", per_second / work.threads as f64)
        .metric(&format!("p50_us_per_{block}"), block_ns.value_at_quantile(0.5) as f64 / 1e3)
        .metric(&format!("p99_us_per_{block}"), block_ns.value_at_quantile(0.99) as f64 / 1e3)
        .account(Account { offered, arrived, told: 0, lost: offered - arrived })
        .detail("puts", puts.made)
        .detail("gets", gets.made)
        .detail("read_back", json!({ "sensors": read_back, "latest_is_the_last_put": true }))
        .detail("configuration", configuration)
}

/// Does the readings of a stream, block by block, until the time is over.
fn take_turn(work: &Work, hand: &mut dyn Hand, length: usize) -> Turn {
    let block = work.batch.unwrap_or(TIMED).min(length);
    let blocks = length / block;
    let mut turn = Turn {
        stream: Stream::default(),
        blocks: (blocks, block),
        done: 0,
        puts: Calls::default(),
        gets: Calls::default(),
        seconds: 0.0,
        block_ns: histogram(),
    };
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < work.duration {
        let from = turn.done % blocks * block;
        // What a clock that is read once per call would say; from 2, since the warm readings came at 1.
        let now = (last - begin).as_micros() as i64 + 2;
        turn.block(work, hand, (from, from + block), now, length);
        let end = Instant::now();
        turn.block_ns.saturating_record((end - last).as_nanos() as u64);
        last = end;
        turn.done += 1;
    }
    turn.seconds = (last - begin).as_secs_f64();
    turn
}

impl Turn {
    fn block(&mut self, work: &Work, hand: &mut dyn Hand, (from, to): (usize, usize), now: i64, length: usize) {
        match work.op {
            Op::Put => self.put(hand, from, to, now),
            Op::Get => self.get(hand, from, to),
            // A tenth are gets, of sensors that were not just put.
            Op::Mixed if work.batch.is_some() => {
                self.put(hand, from, to, now);
                let other = (from + length / 2) % length;
                self.get(hand, other, (other + (to - from) / 9).min(length));
            }
            Op::Mixed => {
                for nine in (from..to).step_by(9) {
                    self.put(hand, nine, (nine + 9).min(to), now);
                    let other = (nine + length / 2) % length;
                    self.get(hand, other, other + 1);
                }
            }
        }
    }

    fn put(&mut self, hand: &mut dyn Hand, from: usize, to: usize, now: i64) {
        self.puts.add(to - from, hand.put(from, to, now));
    }

    fn get(&mut self, hand: &mut dyn Hand, from: usize, to: usize) {
        self.gets.add(to - from, hand.get(from, to));
    }
}

// === What is checked ===

/// Reads some sensors back: each has the value that was put last, of several threads the last of one of them. Answers
/// how many.
fn read_back(work: &Work, store: &dyn Store, turns: &[Turn]) -> usize {
    if work.op == Op::Get {
        return 0;
    }
    let last: Vec<HashMap<u32, f64>> = turns.iter().map(|turn| turn.last_puts(work.sensors)).collect();
    let mut id = String::new();
    let mut seen = 0;
    for number in (0..work.sensors).step_by(work.sensors.div_ceil(READ_BACK) as usize) {
        let mut expected = last.iter().filter_map(|puts| puts.get(&number)).peekable();
        if expected.peek().is_some() {
            stream::write_id(number, &mut id);
            let found = store.latest(&id);
            assert!(expected.any(|value| Some(*value) == found), "{id} has {found:?}, which was not put last");
            seen += 1;
        }
    }
    assert!(seen > 0, "none of the sensors read back was put");
    seen
}

impl Turn {
    /// The value that this thread put last, of the sensors that are read back.
    fn last_puts(&self, sensors: u32) -> HashMap<u32, f64> {
        let (blocks, block) = self.blocks;
        let every = sensors.div_ceil(READ_BACK);
        // The whole stream was put where it was begun anew, then what of it was put since.
        let whole = if self.done >= blocks { blocks * block } else { 0 };
        let places = (0..whole).chain(0..self.done % blocks * block);
        let read_back = places.filter(|place| self.stream.numbers()[*place].is_multiple_of(every));
        read_back.map(|place| (self.stream.numbers()[place], self.stream.value(place))).collect()
    }
}

//! Family `fanout`: readings put in a process, and read by subscribers in the same process.
//!
//! Parameters: `sensors`; `subscribers`, each to all sensors; or else `subscriptions`, each to one sensor of its own;
//! `writers` (threads that put, each sensors of its own); `readers` (threads that read; with 0 the only writer reads
//! between its blocks, so that one core does all); `call` (batch, single), `block` (readings that are put in one call,
//! or one by one, before anybody reads), `window` (blocks by which writers may be ahead of reading threads), `seconds`.
//!
//! Everything that is put is read, by its number within its sensor: writers go on when readers have followed, the same
//! way for all contenders, so that nothing overflows and nobody is slowed down by waiting in its own manner. Knows
//! neither how a contender carries readings (`senza.rs`, `channels.rs`) nor what it keeps of them.

#![expect(clippy::disallowed_methods, reason = "benchmarks read the clock")]

mod channels;
mod senza;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Family;
use crate::answer::{Account, Answer, Params};
use crate::table::choice;
use crate::table::stream::{Order, Stream};

pub(crate) const FAMILY: Family =
    Family { name: "fanout", contenders: &["senza", "crossbeam", "tokio"], run, child: |_| () };

/// Readings of each sensor before the clock runs: so many fill a history.
const WARM: u32 = 16;
/// How long a thread waits for another.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who puts what to whom.
#[derive(Clone, Copy, Debug)]
struct Shape {
    sensors: u32,
    subscribers: u32,
    subscriptions: u32,
    writers: usize,
    readers: usize,
    is_single: bool,
    block: usize,
    window: u64,
    duration: Duration,
}

/// A contender, ready to carry.
struct Fan {
    writers: Vec<Box<dyn Puts>>,
    readers: Vec<Reader>,
    configuration: &'static str,
}

/// The side of one writer. Places are those of its stream; a reading says the number of its sensor.
trait Puts: Send {
    fn put(&mut self, from: usize, to: usize, now: i64);
}

/// The side of one subscriber.
trait Reads: Send {
    /// Reads everything that has come.
    fn read(&mut self, seen: &mut Seen);
}

/// A subscriber, and what it saw.
struct Reader {
    from: Box<dyn Reads>,
    seen: Seen,
}

/// What one subscriber saw: the numbers of each sensor come one after the other from 1.
#[derive(Debug, Default)]
struct Seen {
    last: Vec<u64>,
    arrived: u64,
    told: u64,
    out_of_order: u64,
    sum: f64,
}

/// What was put: of how many deliveries, and their sum.
#[derive(Clone, Copy, Debug, Default)]
struct Offered {
    puts: u64,
    deliveries: u64,
    sum: f64,
}

/// How long what took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    /// Putting, of all writers together.
    put: Duration,
    /// All of it, from first to last.
    all: Duration,
}

fn run(contender: &str, params: &Params) -> Answer {
    let shape = Shape::new(params);
    match contender {
        "senza" => measure(&shape, senza::fan),
        "crossbeam" => measure(&shape, channels::crossbeam),
        _ => measure(&shape, channels::tokio),
    }
}

impl Shape {
    fn new(params: &Params) -> Self {
        let shape = Self {
            sensors: params.get("sensors", 1),
            subscribers: params.get("subscribers", 0),
            subscriptions: params.get("subscriptions", 0),
            writers: params.get("writers", 1),
            readers: params.get("readers", 0),
            is_single: choice(params, "call", &["batch", "single"]) == 1,
            block: params.get("block", 4_096),
            window: params.get("window", 4),
            duration: Duration::from_secs_f64(params.seconds()),
        };
        let Self { sensors, subscribers, subscriptions, writers, readers, .. } = shape;
        assert!(
            (subscribers == 0) != (subscriptions == 0),
            "some subscribers to all, or some subscriptions to one each"
        );
        assert!(subscriptions <= sensors, "each subscription has a sensor of its own");
        assert!(writers == 1 || readers > 0, "with several writers, others read");
        assert!(readers == 0 || subscriptions == 0, "subscriptions to one sensor each are read by their writer");
        assert!(subscriptions == 0 || shape.block <= sensors as usize, "a block has no sensor twice");
        shape
    }

    /// The subscription that names a sensor: they are spread over all.
    fn subscription_of(&self, number: u32) -> Option<u32> {
        let every = self.sensors / self.subscriptions.max(1);
        (number.is_multiple_of(every) && number / every < self.subscriptions).then_some(number / every)
    }

    /// The sensor that a subscription names.
    fn sensor_of(&self, subscription: u32) -> u32 {
        subscription * (self.sensors / self.subscriptions)
    }

    /// How many get a reading of a sensor.
    fn receivers(&self, number: u32) -> u32 {
        self.subscribers + u32::from(self.subscriptions > 0 && self.subscription_of(number).is_some())
    }

    /// How many subscribers there are.
    fn queues(&self) -> u32 {
        self.subscribers + self.subscriptions
    }

    /// Most readings that wait for one subscriber.
    fn waiting_max(&self) -> usize {
        (self.window as usize + self.writers) * self.block
    }

    /// What each writer puts: the sensors are dealt out among them.
    fn streams(&self) -> Vec<Stream> {
        // Subscriptions to one sensor each are read after a whole stream: then each has one reading at most.
        let times = if self.subscriptions > 0 { 1 } else { WARM };
        let few = self.sensors.saturating_mul(times).min(1 << 16).max(self.sensors) as usize;
        let stream = |writer: usize| {
            let mut stream = Stream::new(writer, self.sensors, few.max(self.block), false);
            stream.keep(|number| number as usize % self.writers == writer);
            assert!(stream.len() >= self.block, "a writer has sensors for a block");
            stream
        };
        (0..self.writers).map(stream).collect()
    }
}

// === What is timed ===

fn measure(shape: &Shape, fan: fn(&Shape, &mut [Stream]) -> Fan) -> Answer {
    let mut streams = shape.streams();
    let mut fan = fan(shape, &mut streams);
    let offered: Vec<Vec<Offered>> = streams.iter().map(|stream| offered_by_block(shape, stream)).collect();
    let mut all = warm(shape, &mut fan, &streams, &offered);
    let before = arrived(&fan.readers);
    let (took, put) = match shape.readers {
        0 => alone(shape, &mut fan, &offered[0]),
        _ => in_threads(shape, &mut fan, &offered),
    };
    all.add(put);
    let arrived_of_all = arrived(&fan.readers);
    let told = fan.readers.iter().map(|reader| reader.seen.told).sum();
    let out_of_order: u64 = fan.readers.iter().map(|reader| reader.seen.out_of_order).sum();
    let sum: f64 = fan.readers.iter().map(|reader| reader.seen.sum).sum();
    assert_eq!(out_of_order, 0, "numbers come one after the other");
    assert!(told > 0 || sum == all.sum, "what was read says {sum}, what was put {}", all.sum);
    let lost = all.deliveries - arrived_of_all - told;
    Answer::default()
        .metric("deliveries_per_s", (arrived_of_all - before) as f64 / took.all.as_secs_f64())
        .metric("ns_per_put", took.put.as_nanos() as f64 / put.puts as f64)
        .account(Account { offered: all.deliveries, arrived: arrived_of_all, told, lost })
        .detail("puts", put.puts)
        .detail("configuration", fan.configuration)
}

fn arrived(readers: &[Reader]) -> u64 {
    readers.iter().map(|reader| reader.seen.arrived).sum()
}

/// What each block of a stream offers.
fn offered_by_block(shape: &Shape, stream: &Stream) -> Vec<Offered> {
    let one = |offered: Offered, number: &u32| {
        let receivers = shape.receivers(*number);
        Offered {
            puts: offered.puts + 1,
            deliveries: offered.deliveries + u64::from(receivers),
            sum: offered.sum + f64::from(*number) * f64::from(receivers),
        }
    };
    stream.numbers().chunks_exact(shape.block).map(|block| block.iter().fold(Offered::default(), one)).collect()
}

/// Fills histories, resolves subscriptions and grows queues, all of it read.
fn warm(shape: &Shape, fan: &mut Fan, streams: &[Stream], offered: &[Vec<Offered>]) -> Offered {
    let mut all = Offered::default();
    for ((writer, stream), offered) in fan.writers.iter_mut().zip(streams).zip(offered) {
        for _ in 0..(WARM as usize * shape.sensors as usize).div_ceil(stream.len()) {
            for (number, block) in offered.iter().enumerate() {
                writer.put(number * shape.block, (number + 1) * shape.block, 1);
                all.add(*block);
                if shape.subscriptions == 0 {
                    fan.readers.iter_mut().for_each(Reader::read);
                }
            }
            fan.readers.iter_mut().for_each(Reader::read);
        }
    }
    all
}

/// One thread puts a block, then reads it as each subscriber. Subscriptions to one sensor each are read when all
/// sensors were put, since most of them get nothing from one block.
fn alone(shape: &Shape, fan: &mut Fan, offered: &[Offered]) -> (Took, Offered) {
    let (mut took, mut put) = (Took::default(), Offered::default());
    let begin = Instant::now();
    let mut number = 0;
    while took.all < shape.duration || number != 0 && shape.subscriptions > 0 {
        let writing = Instant::now();
        fan.writers[0].put(number * shape.block, (number + 1) * shape.block, now(begin));
        took.put += writing.elapsed();
        put.add(offered[number]);
        number = (number + 1) % offered.len();
        if shape.subscriptions == 0 || number == 0 {
            fan.readers.iter_mut().for_each(Reader::read);
        }
        took.all = begin.elapsed();
    }
    (took, put)
}

/// What a clock that is read once per call would say; from 2, since the warm readings came at 1.
fn now(begin: Instant) -> i64 {
    begin.elapsed().as_micros() as i64 + 2
}

// === Threads of their own ===

/// How far the threads are.
struct Progress {
    /// Readings put, of all writers.
    put: AtomicU64,
    /// Of each reading thread: all that was put up to here was read.
    read: Vec<AtomicU64>,
    is_over: AtomicBool,
}

impl Progress {
    /// Waits until the slowest reader is near enough.
    fn follow(&self, ahead_max: u64) {
        let is_near = || {
            let slowest = self.read.iter().map(|read| read.load(Ordering::Acquire)).min().unwrap_or_default();
            self.put.load(Ordering::Acquire) - slowest.min(self.put.load(Ordering::Acquire)) <= ahead_max
        };
        if !is_near() {
            let begin = Instant::now();
            while !is_near() {
                assert!(begin.elapsed() < PATIENCE, "readers follow");
                std::thread::yield_now();
            }
        }
    }
}

fn in_threads(shape: &Shape, fan: &mut Fan, offered: &[Vec<Offered>]) -> (Took, Offered) {
    let read = (0..shape.readers).map(|_| AtomicU64::new(0)).collect();
    let progress = &Progress { put: AtomicU64::new(0), read, is_over: AtomicBool::new(false) };
    let start = &Barrier::new(shape.writers + shape.readers);
    let share = fan.readers.len().div_ceil(shape.readers);
    std::thread::scope(|scope| {
        let write = |(writer, offered)| scope.spawn(move || write(shape, writer, offered, start, progress));
        let writers: Vec<_> = fan.writers.iter_mut().zip(offered.iter().map(Vec::as_slice)).map(write).collect();
        let mut shares: Vec<_> = fan.readers.chunks_mut(share).collect();
        shares.resize_with(shape.readers, Default::default);
        let read = |(readers, at)| scope.spawn(move || read_until_over(readers, at, start, progress));
        let readers: Vec<_> = shares.into_iter().zip(&progress.read).map(read).collect();
        let (mut put, mut took) = (Offered::default(), Took::default());
        for writer in writers {
            let (of_one, in_puts) = writer.join().expect("no writer panics");
            put.add(of_one);
            took.put += in_puts;
        }
        progress.is_over.store(true, Ordering::Release);
        let ends = readers.into_iter().map(|reader| reader.join().expect("no reader panics"));
        took.all = ends.max().unwrap_or_default();
        (took, put)
    })
}

fn write(
    shape: &Shape,
    writer: &mut Box<dyn Puts>,
    offered: &[Offered],
    start: &Barrier,
    progress: &Progress,
) -> (Offered, Duration) {
    let (mut put, mut in_puts, mut number) = (Offered::default(), Duration::ZERO, 0);
    start.wait();
    let begin = Instant::now();
    while begin.elapsed() < shape.duration {
        progress.follow((shape.window - 1) * shape.block as u64);
        let writing = Instant::now();
        writer.put(number * shape.block, (number + 1) * shape.block, now(begin));
        in_puts += writing.elapsed();
        progress.put.fetch_add(shape.block as u64, Ordering::AcqRel);
        put.add(offered[number]);
        number = (number + 1) % offered.len();
    }
    (put, in_puts)
}

/// Reads until nobody writes any more; answers when the last was read.
fn read_until_over(readers: &mut [Reader], at: &AtomicU64, start: &Barrier, progress: &Progress) -> Duration {
    start.wait();
    let begin = Instant::now();
    loop {
        // Asked in this order: what was put before is read now.
        let is_over = progress.is_over.load(Ordering::Acquire);
        let put = progress.put.load(Ordering::Acquire);
        if put == at.load(Ordering::Relaxed) && !is_over {
            std::thread::yield_now();
            continue;
        }
        readers.iter_mut().for_each(Reader::read);
        at.store(put, Ordering::Release);
        if is_over {
            return begin.elapsed();
        }
    }
}

// === What was seen ===

impl Reader {
    fn new(shape: &Shape, from: Box<dyn Reads>) -> Self {
        let sensors = if shape.subscriptions > 0 { 1 } else { shape.sensors };
        Self { from, seen: Seen { last: vec![0; sensors as usize], ..Seen::default() } }
    }

    fn read(&mut self) {
        self.from.read(&mut self.seen);
    }
}

impl Seen {
    /// Notes a reading. Who subscribed to one sensor sees that one alone.
    #[inline]
    fn reading(&mut self, sensor: u32, seq: u64, value: f64) {
        let at = (sensor as usize).min(self.last.len() - 1);
        self.out_of_order += u64::from(self.last[at] + 1 != seq);
        self.last[at] = seq;
        self.arrived += 1;
        self.sum += value;
    }

    /// Notes that numbers are told as lost.
    fn gap(&mut self, sensor: u32, from: u64, to: u64) {
        let at = (sensor as usize).min(self.last.len() - 1);
        self.out_of_order += u64::from(self.last[at] + 1 != from);
        self.last[at] = to;
        self.told += to + 1 - from;
    }
}

impl Offered {
    fn add(&mut self, other: Self) {
        self.puts += other.puts;
        self.deliveries += other.deliveries;
        self.sum += other.sum;
    }
}

/// Groups streams by the shards of their sensors, as a caller has them who puts in batches.
fn group(streams: &mut [Stream], block: usize, shards: &[u32]) {
    streams.iter_mut().for_each(|stream| stream.group(Order::Shard, block, shards));
}

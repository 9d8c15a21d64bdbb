//! From a writer's process to a reader's, in a closed loop: as fast as it goes with nothing lost.
//!
//! The writer puts round robin over its sensors; the reader checks every number and tells the writer, by a connection
//! of their own, how many readings have come or are known not to come. The writer stays at most a window ahead of
//! that, so that no contender wins by filling a queue, and none loses readings for want of back pressure of its own.
//! That holds for all of them, senza too. A third of the time is run first, uncounted, and until two windows and every
//! sensor have come. At the end everything on its way is waited for: what was put is what came, what the reader was
//! told of, and what is lost.
//!
//! The loop serves other families too: several writers, and readings that go to several receivers each.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use senza_benches::Child;
use senza_mesh::clock::{Clock, SystemClock};

use crate::Family;
use crate::answer::{Account, Answer, Params};
use crate::wires::{self, Came, Put, Shape, Wants};

pub(crate) const FAMILY: Family = Family { name: "relay", contenders: wires::WIRES, run, child: write };

/// Most bytes on their way to a receiver: more made nobody faster, and a broker may cut a reader off for it.
const AHEAD_BYTES: usize = 4 << 20;
/// Messages or calls that may be on their way in any case.
const AHEAD_BATCHES: usize = 8;
/// Readings of one put where each is a message of its own: what a clock is read for.
const STEP: u64 = 256;
/// How long the reader waits before it tells where it stands.
const LOOK: Duration = Duration::from_millis(1);
/// How long the beginning may take.
const WARM_UP_MAX: Duration = Duration::from_secs(10);
/// After so long without a reading, those on their way are taken for lost.
const SILENCE: Duration = Duration::from_secs(2);
/// How often that may be: then nothing comes any more.
const SILENCES: u32 = 5;
/// How long the two sides wait for each other.
const DEADLINE: Duration = Duration::from_secs(30);
/// What the reader says when it has seen enough.
const STOP: u64 = u64::MAX;

fn run(contender: &str, params: &Params) -> Answer {
    let shape = Shape {
        first: 0,
        sensors: params.get("sensors", 1_000),
        bytes: params.get("bytes", 8),
        batch: params.get("batch", 1),
        express: false,
    };
    let window = window_of(&shape, params.get("window", ahead(contender)));
    let (rate, answer) = {
        let host = wires::host(contender);
        let mut sink = host.sink(&shape, Wants::All);
        let writers = Writers::start(contender, &host.endpoint(), &[shape]);
        host.met(shape.sensors);
        let pace = Pace { window, receivers: 1, seconds: params.seconds() };
        let (rate, answer) = pace.run(writers, shape.sensors as usize, |each| {
            sink.take(LOOK, &mut |came| each(sensor_of(&came) as usize, came))
        });
        (rate, answer.detail("configuration", host.configuration()))
    };
    answer.metric("readings_per_s", rate)
}

/// Readings that may be on their way, for each what was best when this was written; between half and twice as many
/// differ little.
fn ahead(contender: &str) -> usize {
    match contender {
        "senza" | "nats" => 65_536,
        "zenoh" => 32_768,
        _ => 8_192,
    }
}

/// The same in the limits of bytes and messages.
pub(crate) fn window_of(shape: &Shape, ahead: usize) -> u64 {
    ahead.min(AHEAD_BYTES / (shape.bytes + 32)).max(AHEAD_BATCHES * shape.batch) as u64
}

pub(crate) fn sensor_of(came: &Came) -> u32 {
    match came {
        Came::Reading { sensor, .. } | Came::Gap { sensor, .. } => *sensor,
    }
}

// === the reader's side ===

/// The processes that put, and the connections that they are paced by. Dropping it ends them.
pub(crate) struct Writers(Vec<(Child, TcpStream)>);

impl Writers {
    /// Starts a writer for each of these shapes, and waits until all have somebody to put to.
    pub(crate) fn start(contender: &str, endpoint: &str, shapes: &[Shape]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let paced_at = listener.local_addr().expect("it is bound").to_string();
        let start = |shape: &Shape| {
            let Shape { first, sensors, bytes, batch, .. } = shape;
            let shape = [*first as usize, *sensors as usize, *bytes, *batch].map(|number| number.to_string());
            let mut words = vec!["relay", contender, endpoint, &paced_at];
            words.extend(shape.iter().map(String::as_str));
            let child = Child::start(&words);
            // It has connected before it was ready.
            let (stream, _address) = listener.accept().expect("the writer connects");
            stream.set_nodelay(true).expect("a socket that sends at once");
            stream.set_read_timeout(Some(DEADLINE)).expect("a socket with a deadline");
            (child, stream)
        };
        Self(shapes.iter().map(start).collect())
    }

    fn tell(&mut self, number: u64) {
        for (_, stream) in &mut self.0 {
            stream.write_all(&number.to_le_bytes()).expect("the writer reads");
        }
    }

    /// Tells them to stop; how much they have put.
    fn stop(&mut self) -> u64 {
        self.tell(STOP);
        let told = |(_, stream): &mut (Child, TcpStream)| {
            let mut put = [0u8; 8];
            stream.read_exact(&mut put).expect("the writer says how much it put");
            u64::from_le_bytes(put)
        };
        self.0.iter_mut().map(told).sum()
    }
}

/// How far writers may be ahead, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Readings on their way, of all writers together.
    pub(crate) window: u64,
    /// How many receivers get each reading.
    pub(crate) receivers: u64,
    /// For how long it is counted.
    pub(crate) seconds: f64,
}

/// Hands over what has come within [`LOOK`], each with the place at which its numbers are checked; false once cut off.
type Take<'a> = &'a mut dyn FnMut(&mut dyn FnMut(usize, Came)) -> bool;

impl Pace {
    /// Runs the loop, with so many places for numbers; answers receipts per second and the account.
    pub(crate) fn run(
        self,
        writers: Writers,
        places: usize,
        mut take: impl FnMut(&mut dyn FnMut(usize, Came)) -> bool,
    ) -> (f64, Answer) {
        let (tally, heard) = (Tally::new(places), Instant::now());
        let mut reader = Reader { tally, told: 0, forgiven: 0, silences: 0, heard, pace: self, writers };
        let seconds = reader.pace.seconds;
        reader.tell();
        reader.warm_up(&mut take);
        let (begin, before) = (Instant::now(), reader.tally.arrived);
        reader.read(&mut take, Duration::from_secs_f64(seconds));
        let rate = (reader.tally.arrived - before) as f64 / begin.elapsed().as_secs_f64();
        reader.drain(&mut take);
        let Reader { tally, pace, silences, .. } = reader;
        let offered = tally.offered.expect("the writers have stopped") * pace.receivers;
        let account = tally.account(offered);
        let answer = Answer::default().account(account).detail("window", pace.window);
        (rate, answer.detail("came_again", tally.again).detail("silences", silences))
    }
}

struct Reader {
    tally: Tally,
    /// The account at which the writers were told last.
    told: u64,
    /// Receipts taken for lost after a silence.
    forgiven: u64,
    silences: u32,
    /// When something came last.
    heard: Instant,
    pace: Pace,
    writers: Writers,
}

impl Reader {
    /// Reads uncounted, until it goes as it will go on.
    fn warm_up(&mut self, take: Take<'_>) {
        let begin = Instant::now();
        let enough = 2 * self.pace.window * self.pace.receivers + self.tally.last.len() as u64;
        self.read(take, Duration::from_secs_f64(self.pace.seconds / 3.0));
        while self.tally.settled() < enough && begin.elapsed() < WARM_UP_MAX {
            self.read(take, LOOK);
        }
    }

    fn read(&mut self, take: Take<'_>, duration: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            if self.take(take) {
                self.heard = Instant::now();
            } else if self.heard.elapsed() > SILENCE {
                self.silences += 1;
                assert!(self.silences < SILENCES, "nothing comes any more: {:?}", self.tally);
                self.forgiven += self.pace.window * self.pace.receivers;
                self.tell();
                self.heard = Instant::now();
            }
        }
    }

    /// Stops the writers, and reads what is on its way.
    fn drain(&mut self, take: Take<'_>) {
        let offered = self.writers.stop();
        self.tally.offered = Some(offered);
        self.heard = Instant::now();
        while self.tally.settled() < offered * self.pace.receivers && self.heard.elapsed() < SILENCE {
            if self.take(take) {
                self.heard = Instant::now();
            }
        }
    }

    /// Reads what there is; answers whether that was anything.
    fn take(&mut self, take: Take<'_>) -> bool {
        // In small steps, so that a writer never waits for the end of a large take.
        let step = (self.pace.window * self.pace.receivers / 16).max(1);
        let before = self.tally.settled();
        let mut next = self.told + step;
        let is_open = take(&mut |at, came| {
            self.tally.note(at, came);
            if self.tally.settled() >= next {
                self.tell();
                next = self.told + step;
            }
        });
        assert!(is_open, "the reader was cut off: {:?}", self.tally);
        let came = self.tally.settled() > before;
        if !came && self.tally.settled() > self.told {
            self.tell();
        }
        came
    }

    /// Tells each writer up to which count it may put: none may run away from the others.
    fn tell(&mut self) {
        self.told = self.tally.settled();
        if self.tally.offered.is_none() {
            let (writers, Pace { window, receivers, .. }) = (self.writers.0.len() as u64, self.pace);
            self.writers.tell(((self.told + self.forgiven) / receivers + window).div_ceil(writers));
        }
    }
}

/// What came of all that was put: each number of each place once and in order, or told, or lost.
#[derive(Default)]
pub(crate) struct Tally {
    last: Vec<u64>,
    /// Places of which an unknown part is told as lost.
    open: BTreeSet<usize>,
    arrived: u64,
    told: u64,
    lost: u64,
    again: u64,
    /// How much was put, once that is known.
    offered: Option<u64>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arrived, told, lost, again, offered, .. } = self;
        write!(out, "{arrived} came, {told} told, {lost} lost, {again} again, of {offered:?}")
    }
}

impl Tally {
    pub(crate) fn new(places: usize) -> Self {
        Self { last: vec![0; places], ..Self::default() }
    }

    /// Notes what came at a place. Numbers begin at 1.
    #[inline]
    pub(crate) fn note(&mut self, at: usize, came: Came) {
        match came {
            Came::Reading { seq, .. } if seq == self.last[at] + 1 => {
                self.last[at] = seq;
                self.arrived += 1;
            }
            came => self.note_odd(at, came),
        }
    }

    #[cold]
    fn note_odd(&mut self, at: usize, came: Came) {
        let last = self.last[at];
        match came {
            Came::Reading { seq, .. } if seq <= last => self.again += 1,
            Came::Reading { seq, .. } => {
                self.miss(at, seq - last - 1);
                self.open.remove(&at);
                self.last[at] = seq;
                self.arrived += 1;
            }
            Came::Gap { to: u64::MAX, .. } => _ = self.open.insert(at),
            Came::Gap { from, to, .. } if to > last => {
                self.miss(at, from.saturating_sub(last + 1));
                self.told += to + 1 - from.max(last + 1);
                self.last[at] = to;
            }
            Came::Gap { .. } => {}
        }
    }

    fn miss(&mut self, at: usize, count: u64) {
        match self.open.contains(&at) {
            true => self.told += count,
            false => self.lost += count,
        }
    }

    /// How many came, or will not.
    fn settled(&self) -> u64 {
        self.arrived + self.told + self.lost
    }

    /// The account of so many that were offered: what is missing at the end is lost too.
    pub(crate) fn account(&self, offered: u64) -> Account {
        let Self { arrived, told, lost, .. } = *self;
        assert!(self.settled() <= offered, "more came than the {offered} that were put: {self:?}");
        let missing = offered - self.settled();
        Account { offered, arrived, told, lost: lost + missing }
    }
}

// === the writer's side ===

/// Puts as far as it may, until it is told to stop; says how much that was, and stays until nobody can tell any more.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn write(args: &[String]) {
    let [contender, endpoint, paced_at, shape @ ..] = args else { panic!("{args:?}") };
    let numbers: Vec<usize> = shape.iter().map(|word| word.parse().expect("a number")).collect();
    let shape = Shape {
        first: numbers[0] as u32,
        sensors: numbers[1] as u32,
        bytes: numbers[2],
        batch: numbers[3],
        express: false,
    };
    let mut source = wires::source(contender, endpoint, &shape);
    let mut pacer = Pacer::connect(paced_at);
    println!("ready");
    let mut round = Round::new(source.order(), shape.first);
    let (step, mut put) = (STEP.max(shape.batch as u64), 0);
    let mut readings = Vec::new();
    loop {
        // Whole messages alone.
        let count = (pacer.granted.saturating_sub(put)).min(step) / shape.batch as u64 * shape.batch as u64;
        if count > 0 {
            round.next(count as usize, &mut readings);
            source.put(&readings);
            put += count;
            continue;
        }
        source.flush();
        if !pacer.wait() {
            break;
        }
    }
    pacer.stream.write_all(&put.to_le_bytes()).expect("the reader reads");
    // What is on its way needs this end.
    let _line = std::io::stdin().read_line(&mut String::new());
}

/// The sensors in their order, again and again.
struct Round {
    order: Vec<u32>,
    first: u32,
    seqs: Vec<u64>,
    at: usize,
}

impl Round {
    fn new(order: Vec<u32>, first: u32) -> Self {
        Self { seqs: vec![0; order.len()], order, first, at: 0 }
    }

    /// The next so many readings, with one look at the clock.
    fn next(&mut self, count: usize, readings: &mut Vec<Put>) {
        readings.clear();
        let at_us = SystemClock.now();
        for _ in 0..count {
            let sensor = self.order[self.at];
            self.at = if self.at + 1 == self.order.len() { 0 } else { self.at + 1 };
            let seq = &mut self.seqs[(sensor - self.first) as usize];
            *seq += 1;
            readings.push(Put { sensor, seq: *seq, at_us });
        }
    }
}

/// What the reader tells a writer: the count up to which it may put.
struct Pacer {
    stream: TcpStream,
    granted: u64,
    buffer: [u8; 4096],
    filled: usize,
}

impl Pacer {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the reader listens");
        stream.set_nodelay(true).expect("a socket that sends at once");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket with a deadline");
        Self { stream, granted: 0, buffer: [0; 4096], filled: 0 }
    }

    /// Waits for the reader to say more, the last of which counts; answers false where that is to stop.
    fn wait(&mut self) -> bool {
        let count = self.stream.read(&mut self.buffer[self.filled..]).expect("the reader goes on");
        assert!(count > 0, "the reader is gone");
        self.filled += count;
        let numbers = self.buffer[..self.filled].chunks_exact(8);
        let last = numbers.last().map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        let whole = self.filled / 8 * 8;
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        self.granted = last.unwrap_or(self.granted);
        self.granted != STOP
    }
}

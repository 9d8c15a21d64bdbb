//! The clients of brokers: a source that writes one buffer, and sinks that read theirs, for any protocol.
//!
//! A protocol is a [`Speak`]: how a client begins, how a message is written and how messages are read. Here are buffers
//! and waiting. A source writes what is open when 64 KiB are, or when it is to leave at once; sinks wait for all their
//! sockets together, so that a thousand of them cost a thread no more than those on which something came.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::message::{Packer, Unpacker};
use super::server::Server;
use super::{Came, DEADLINE, Host, Put, Shape, Sink, Sinks, Source, Wants};

/// Bytes at which a source writes.
const FLUSH: usize = 64 * 1024;
/// Room of a sink's buffer at first: one among many, and one alone.
const ROOM: usize = 32 * 1024;
const ROOM_ALONE: usize = 256 * 1024;

/// A topic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Topic {
    /// That of one sensor.
    One(u32),
    /// That of messages with many readings.
    Many,
}

impl Topic {
    /// The topic of a name: `r.17` or `r/17`, or `b`.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            [b'r', _, digits @ ..] => Self::One(super::message::sensor_of(digits)),
            _ => Self::Many,
        }
    }
}

/// How many bytes something took at the beginning of a buffer, and what it was; `None` where it is not all there.
pub(super) type Taken<'a> = Option<(usize, Heard<'a>)>;

/// What a broker says.
pub(super) enum Heard<'a> {
    /// A message.
    Message(Topic, &'a [u8]),
    /// It wants to hear this.
    Asked(&'static [u8]),
    /// What ends a greeting.
    Ready,
    /// Nothing that matters.
    Other,
}

/// A protocol.
pub(super) trait Speak: Copy + Send + 'static {
    /// What a client says first, and what makes it a source, or a sink of these topics. Its answer ends with
    /// [`Heard::Ready`].
    fn greeting(self, sink: Option<Subscribed>) -> Vec<u8>;
    /// What a source says when it is greeted and wants no answers from now on.
    fn hush(self) -> &'static [u8] {
        b""
    }
    /// Writes what stands before a message's payload.
    fn begin(self, topic: Topic, len: usize, out: &mut Vec<u8>);
    /// Writes what stands behind it.
    fn end(self, out: &mut Vec<u8>);
    /// Reads what stands at the beginning of a buffer.
    fn hear(self, bytes: &[u8]) -> Taken<'_>;
}

/// What a sink is subscribed to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subscribed {
    /// The topics of all sensors.
    All,
    /// The topic of one sensor, or that of messages with many readings.
    To(Topic),
    /// The topics of all sensors below a number.
    Below(u32),
}

impl Subscribed {
    /// The topics one by one; `None` where one pattern holds all.
    pub(super) fn topics(self) -> Option<Vec<Topic>> {
        match self {
            Self::All => None,
            Self::To(topic) => Some(vec![topic]),
            Self::Below(sensors) => Some((0..sensors).map(Topic::One).collect()),
        }
    }
}

// === the host ===

/// A broker, or where one is.
struct Broker<S> {
    /// Runs as long as this is here.
    _server: Option<Server>,
    endpoint: String,
    speak: S,
    configuration: &'static str,
}

impl<S: Speak> Broker<S> {
    fn taps(&self, shape: &Shape, wants: &[Wants]) -> Taps<S> {
        let room = if wants.len() == 1 { ROOM_ALONE } else { ROOM };
        let poll = Poll::new().expect("the system can wait for sockets");
        let open = |(at, wants): (usize, &Wants)| {
            let topics = match wants {
                Wants::All if shape.batch == 1 => Subscribed::All,
                Wants::All => Subscribed::To(Topic::Many),
                Wants::One(sensor) => {
                    assert_eq!(shape.batch, 1, "many readings in a message have no topic of their own");
                    Subscribed::To(Topic::One(*sensor))
                }
                Wants::Below(sensors) => {
                    assert_eq!(shape.batch, 1, "many readings in a message have no topic of their own");
                    Subscribed::Below(*sensors)
                }
            };
            let (stream, rest) = greeted(&self.endpoint, self.speak, Some(topics));
            stream.set_nonblocking(true).expect("a socket that does not block");
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(at), Interest::READABLE).expect("it can be waited for");
            let mut buffer = vec![0; room.max(rest.len())];
            buffer[..rest.len()].copy_from_slice(&rest);
            Tap { stream, buffer, filled: rest.len(), ended: false, is_ready: true, is_ending: false }
        };
        let taps: Vec<Tap> = wants.iter().enumerate().map(open).collect();
        let ready = (0..taps.len()).collect();
        let events = Events::with_capacity(1024);
        Taps { speak: self.speak, unpacker: Unpacker::new(shape), poll, events, taps, ready, is_open: true }
    }
}

impl<S: Speak> Host for Broker<S> {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn sink(&self, shape: &Shape, wants: Wants) -> Box<dyn Sink> {
        Box::new(self.taps(shape, &[wants]))
    }

    fn sinks(&self, shape: &Shape, wants: &[Wants]) -> Box<dyn Sinks> {
        Box::new(self.taps(shape, wants))
    }

    fn met(&self, _sensors: u32) {}

    fn configuration(&self) -> &'static str {
        self.configuration
    }
}

/// Makes a broker's host: of one started here, or of one that runs.
pub(super) fn host<S: Speak>(
    joins: Option<&str>,
    speak: S,
    configuration: &'static str,
    start: impl FnOnce() -> Server,
) -> Box<dyn Host> {
    let server = joins.is_none().then(start);
    let endpoint = joins.or_else(|| server.as_ref().map(Server::endpoint)).unwrap_or_default().to_owned();
    Box::new(Broker { _server: server, endpoint, speak, configuration })
}

/// A connection that was greeted, and what came behind the greeting.
fn greeted<S: Speak>(endpoint: &str, speak: S, sink: Option<Subscribed>) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(endpoint).expect("the broker takes connections");
    stream.set_nodelay(true).expect("a socket that sends at once");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket with a deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("a socket with a deadline");
    stream.write_all(&speak.greeting(sink)).expect("the broker reads");
    let (mut seen, mut some) = (Vec::new(), [0u8; 4096]);
    loop {
        while let Some((len, heard)) = speak.hear(&seen) {
            let is_ready = matches!(heard, Heard::Ready);
            if let Heard::Asked(answer) = heard {
                stream.write_all(answer).expect("the broker reads");
            }
            seen.drain(..len);
            if is_ready {
                return (stream, seen);
            }
        }
        let count = stream.read(&mut some).expect("the broker answers in time");
        assert!(count > 0, "the broker refused a client: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&some[..count]);
    }
}

// === the end that reads ===

/// One sink's connection, and what of a message it holds.
struct Tap {
    stream: mio::net::TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// The broker sends no more.
    ended: bool,
    /// Something may be there to be read.
    is_ready: bool,
    /// The broker's end is near: what is left is read until nothing is.
    is_ending: bool,
}

struct Taps<S> {
    speak: S,
    unpacker: Unpacker,
    poll: Poll,
    events: Events,
    taps: Vec<Tap>,
    /// Those with something to be read.
    ready: Vec<usize>,
    is_open: bool,
}

impl<S: Speak> Taps<S> {
    #[expect(clippy::disallowed_methods, reason = "it waits by the clock")]
    fn read(&mut self, wait: Duration, mut each: impl FnMut(usize, Came)) -> bool {
        let (begin, mut came) = (Instant::now(), false);
        while !came {
            let left = wait.saturating_sub(begin.elapsed());
            if self.ready.is_empty() {
                if left.is_zero() && !wait.is_zero() {
                    break;
                }
                self.look(left);
                if self.ready.is_empty() {
                    break;
                }
            }
            let Self { speak, unpacker, taps, is_open, .. } = self;
            self.ready.retain(|at| {
                let tap = &mut taps[*at];
                tap.is_ready = tap.fill();
                *is_open &= !tap.ended;
                tap.drain(*speak, *unpacker, |reading| {
                    came = true;
                    each(*at, reading);
                });
                tap.is_ready
            });
        }
        self.is_open
    }

    /// Waits for something to be read.
    fn look(&mut self, wait: Duration) {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("waiting for sockets: {error}"),
        }
        for event in &self.events {
            let at = event.token().0;
            self.taps[at].is_ending |= event.is_read_closed();
            if !std::mem::replace(&mut self.taps[at].is_ready, true) {
                self.ready.push(at);
            }
        }
    }
}

impl<S: Speak> Sink for Taps<S> {
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(Came)) -> bool {
        self.read(wait, |_, came| each(came))
    }
}

impl<S: Speak> Sinks for Taps<S> {
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(usize, Came)) -> bool {
        self.read(wait, each)
    }
}

impl Tap {
    /// Reads once; answers whether there may be more, as that is told once. Less than there is room for is all.
    fn fill(&mut self) -> bool {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.filled += count;
                return self.filled == self.buffer.len() || self.is_ending;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(_) => self.ended = true,
        }
        false
    }

    /// Hands on the whole messages of the buffer; what is left moves to its beginning.
    fn drain<S: Speak>(&mut self, speak: S, unpacker: Unpacker, mut each: impl FnMut(Came)) {
        let mut at = 0;
        while let Some((len, heard)) = speak.hear(&self.buffer[at..self.filled]) {
            match heard {
                Heard::Message(Topic::One(sensor), message) => each(unpacker.one(sensor, message)),
                Heard::Message(Topic::Many, message) => unpacker.many(message, &mut each),
                // A few bytes, seldom: they fit.
                Heard::Asked(answer) => self.ended |= self.stream.write_all(answer).is_err(),
                Heard::Ready | Heard::Other => {}
            }
            at += len;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

// === the end that puts ===

struct Writing<S> {
    speak: S,
    stream: TcpStream,
    packer: Packer,
    shape: Shape,
    out: Vec<u8>,
}

/// A source that is greeted.
pub(super) fn source<S: Speak>(endpoint: &str, shape: &Shape, speak: S) -> Box<dyn Source> {
    let (mut stream, _rest) = greeted(endpoint, speak, None);
    stream.write_all(speak.hush()).expect("the broker reads");
    let out = Vec::with_capacity(2 * FLUSH);
    Box::new(Writing { speak, stream, packer: Packer::new(shape), shape: *shape, out })
}

impl<S: Speak> Writing<S> {
    fn close_message(&mut self) {
        if let Some(message) = self.packer.close() {
            self.speak.begin(Topic::Many, message.len(), &mut self.out);
            self.out.extend_from_slice(&message);
            self.speak.end(&mut self.out);
        }
    }

    fn write(&mut self) {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).expect("the broker reads in time");
            self.out.clear();
        }
    }
}

impl<S: Speak> Source for Writing<S> {
    fn order(&self) -> Vec<u32> {
        (self.shape.first..self.shape.first + self.shape.sensors).collect()
    }

    fn put(&mut self, readings: &[Put]) {
        for reading in readings {
            if self.packer.is_single() {
                self.speak.begin(Topic::One(reading.sensor), self.packer.len(), &mut self.out);
                self.packer.write(reading, &mut self.out);
                self.speak.end(&mut self.out);
            } else if self.packer.add(reading) {
                self.close_message();
            }
            if self.out.len() >= FLUSH {
                self.write();
            }
        }
        if self.shape.express {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.close_message();
        self.write();
    }
}

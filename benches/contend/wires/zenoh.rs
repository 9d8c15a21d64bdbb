//! Zenoh as a wire: two peers, one connection between them, no router.
//!
//! Each sensor has a key and a declared publisher where a message carries one reading, as its makers advise; one
//! connection knows 65,535 declared keys, and declaring one takes about a millisecond where there are many, so that fleets
//! beyond some thousands are put by their names. Keys have two levels: with one, matching a name against a thousand
//! subscriptions takes fifty times as long. Nothing is dropped: a full queue holds the putting thread up, and a sink that does not keep up holds
//! the connection up. A sink reads a queue that the session's receiving thread fills, as the library's own handlers do.

use std::cell::RefCell;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use senza_benches::free_endpoint;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::key_expr::KeyExpr;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;

use super::message::{Packer, Unpacker};
use super::{Came, Host, Put, Shape, Sink, Sinks, Source, Wanted, Wants, soon};

/// Readings that may wait for a sink.
const QUEUE: usize = 65_536;
/// Sensors above which keys are not declared.
const DECLARED_MAX: u32 = 8_192;
/// The key of messages that carry many readings.
const MANY: &str = "b";

const CONFIGURATION: &str = "two peers over TCP, defaults but for multicast scouting, which is off; declared \
     publishers up to 8,192 sensors; congestion control block";

fn session(setting: &str, endpoint: &str) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let endpoints = format!("[{endpoint:?}]");
    let any = "[\"tcp/127.0.0.1:0\"]";
    let settings = [("scouting/multicast/enabled", "false"), ("listen/endpoints", any), (setting, &endpoints)];
    for (path, value) in settings {
        config.insert_json5(path, value).expect("a setting that Zenoh knows");
    }
    zenoh::open(config).wait().expect("a session")
}

struct Reading {
    endpoint: String,
    session: zenoh::Session,
    wanted: RefCell<Wanted>,
}

/// A session to read on; one that joins another where it is told an endpoint.
pub(super) fn host(joins: Option<&str>) -> Box<dyn Host> {
    let endpoint = joins.map_or_else(free_endpoint, |all| all.split('#').next().unwrap_or_default().to_owned());
    let session = session(if joins.is_some() { "connect/endpoints" } else { "listen/endpoints" }, &endpoint);
    Box::new(Reading { endpoint, session, wanted: RefCell::default() })
}

/// What the receiving thread hands to a sink.
enum Mail {
    One(Came),
    Many(ZBytes),
}

impl Reading {
    /// Subscribes the sink at a place; `sender` is its queue, or that of all.
    fn subscribe(&self, shape: &Shape, wants: Wants, at: usize, sender: &Sender<(usize, Mail)>) -> Subscriber<()> {
        let key = match wants {
            _ if shape.batch > 1 => {
                assert_eq!(wants, Wants::All, "many readings in a message have no topic of their own");
                MANY.to_owned()
            }
            Wants::All => "r/*/*".to_owned(),
            Wants::One(sensor) => key_of(sensor),
            Wants::Below(_) => unreachable!("each has a subscriber of its own"),
        };
        let (sender, unpacker, single) = (sender.clone(), Unpacker::new(shape), shape.batch == 1);
        let callback = move |sample: Sample| {
            let mail = match single {
                true => Mail::One(unpacker.one(sensor_in(sample.key_expr()), &sample.payload().to_bytes())),
                false => Mail::Many(sample.payload().clone()),
            };
            // Waits where the sink does not keep up; fails where that is gone.
            let _sent = sender.send((at, mail));
        };
        self.session.declare_subscriber(key).callback(callback).wait().expect("a subscriber")
    }

    fn read(&self, shape: &Shape, wants: &[Wants]) -> Subscribers {
        let (sender, mail) = crossbeam_channel::bounded((QUEUE / shape.batch).max(16));
        let mut subscribers = Vec::new();
        for (at, wants) in wants.iter().enumerate() {
            self.wanted.borrow_mut().note(*wants);
            match *wants {
                Wants::Below(sensors) => {
                    let each = (0..sensors).map(|sensor| self.subscribe(shape, Wants::One(sensor), at, &sender));
                    subscribers.extend(each);
                }
                wants => subscribers.push(self.subscribe(shape, wants, at, &sender)),
            }
        }
        Subscribers { mail, unpacker: Unpacker::new(shape), _subscribers: subscribers }
    }
}

impl Host for Reading {
    fn endpoint(&self) -> String {
        self.wanted.borrow().told_with(&self.endpoint)
    }

    fn sink(&self, shape: &Shape, wants: Wants) -> Box<dyn Sink> {
        Box::new(self.read(shape, &[wants]))
    }

    fn sinks(&self, shape: &Shape, wants: &[Wants]) -> Box<dyn Sinks> {
        Box::new(self.read(shape, wants))
    }

    fn met(&self, _sensors: u32) {}

    fn configuration(&self) -> &'static str {
        CONFIGURATION
    }
}

struct Subscribers {
    // First, so that a receiving thread that waits for room gives up before the subscribers are undeclared.
    mail: Receiver<(usize, Mail)>,
    unpacker: Unpacker,
    _subscribers: Vec<Subscriber<()>>,
}

impl Subscribers {
    fn read(&mut self, wait: Duration, mut each: impl FnMut(usize, Came)) -> bool {
        let Ok(first) = self.mail.recv_timeout(wait) else { return true };
        // What comes meanwhile is for the next time.
        let rest = self.mail.len();
        for (at, mail) in std::iter::once(first).chain(self.mail.try_iter().take(rest)) {
            match mail {
                Mail::One(came) => each(at, came),
                Mail::Many(payload) => self.unpacker.many(&payload.to_bytes(), |came| each(at, came)),
            }
        }
        true
    }
}

impl Sink for Subscribers {
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(Came)) -> bool {
        self.read(wait, |_, came| each(came))
    }
}

impl Sinks for Subscribers {
    fn take(&mut self, wait: Duration, each: &mut dyn FnMut(usize, Came)) -> bool {
        self.read(wait, each)
    }
}

// === the end that puts ===

/// How the keys of sensors are put to.
enum Keys {
    Declared(Vec<Publisher<'static>>),
    Named(Vec<KeyExpr<'static>>),
}

struct Writing {
    keys: Keys,
    /// Where messages of many readings go.
    many: Option<Publisher<'static>>,
    packer: Packer,
    shape: Shape,
    session: zenoh::Session,
}

/// A session whose publishers have somebody to put to.
pub(super) fn source(endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    let (endpoint, awaited) = Wanted::split(endpoint, shape);
    let session = session("connect/endpoints", endpoint);
    let declare = |key: String| {
        let publisher = session.declare_publisher(key).congestion_control(CongestionControl::Block);
        publisher.express(shape.express).wait().expect("a publisher")
    };
    let matches = |publisher: &Publisher| publisher.matching_status().wait().is_ok_and(|status| status.matching());
    let all = shape.first..shape.first + shape.sensors;
    let many = (shape.batch > 1).then(|| declare(MANY.to_owned()));
    let keys = match () {
        () if many.is_some() => Keys::Named(Vec::new()),
        () if shape.sensors <= DECLARED_MAX => Keys::Declared(all.map(key_of).map(declare).collect()),
        () => Keys::Named(all.map(|sensor| KeyExpr::try_from(key_of(sensor)).expect("a key")).collect()),
    };
    let is_seen = |sensor: &u32| match (&many, &keys) {
        (Some(many), _) => matches(many),
        (None, Keys::Declared(publishers)) => matches(&publishers[(sensor - shape.first) as usize]),
        (None, Keys::Named(_)) => matches(&declare(key_of(*sensor))),
    };
    assert!(soon(|| awaited.iter().all(is_seen)), "nobody subscribes");
    Box::new(Writing { keys, many, packer: Packer::new(shape), shape: *shape, session })
}

impl Writing {
    fn put_one(&mut self, reading: &Put) {
        let mut message = Vec::with_capacity(self.packer.len());
        self.packer.write(reading, &mut message);
        let at = (reading.sensor - self.shape.first) as usize;
        match &self.keys {
            Keys::Declared(publishers) => publishers[at].put(message).wait(),
            Keys::Named(keys) => {
                let put = self.session.put(&keys[at], message).congestion_control(CongestionControl::Block);
                put.express(self.shape.express).wait()
            }
        }
        .expect("a put");
    }
}

impl Source for Writing {
    fn order(&self) -> Vec<u32> {
        (self.shape.first..self.shape.first + self.shape.sensors).collect()
    }

    fn put(&mut self, readings: &[Put]) {
        for reading in readings {
            if self.packer.is_single() {
                self.put_one(reading);
            } else if self.packer.add(reading) {
                self.flush();
            }
        }
        if self.shape.express {
            self.flush();
        }
    }

    /// Sends the open message; what lies in the session's own batches leaves within its millisecond.
    fn flush(&mut self) {
        if let Some(message) = self.packer.close() {
            let many = self.many.as_ref().expect("it is there where messages carry many");
            many.put(&*message).wait().expect("a put");
        }
    }
}

fn key_of(sensor: u32) -> String {
    format!("r/{}/{:02}", sensor / 100, sensor % 100)
}

/// The sensor of a key.
fn sensor_in(key: &KeyExpr) -> u32 {
    let digits = key.as_bytes().iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

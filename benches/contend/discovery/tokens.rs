//! The obvious way over Zenoh: one liveliness token per sensor, whose key names the owner and the sensor.
//!
//! It orders no two claims and tells nothing but keys; it needs no code of ours. A session can declare at most 65,535
//! key expressions to another, so that more sensors are refused here.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use senza_benches::{free_endpoint, index_of};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::Subscriber;
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Config, Session, Wait};

use super::member::{Entry, Member, View, id};

const SENSORS_MAX: usize = 60_000;

pub(crate) fn start(entry: &Entry) -> Box<dyn Member> {
    assert!(entry.sensors <= SENSORS_MAX, "a session cannot declare so many tokens");
    let endpoint = free_endpoint();
    let session = open(&endpoint, &entry.connect, entry.gossip);
    let owners = (0..entry.sensors).map(|_| AtomicU8::new(0)).collect();
    let view = Arc::new(TokenView { session: session.clone(), owners, seen: AtomicUsize::new(0) });
    let subscriber = watch(&session, &view);
    let name = entry.name.clone();
    let (keys, tokens) = (Vec::new(), Vec::new());
    Box::new(TokenMember { name, endpoint, session, view, _subscriber: subscriber, keys, tokens })
}

struct TokenMember {
    name: String,
    endpoint: String,
    session: Session,
    view: Arc<TokenView>,
    _subscriber: Subscriber<()>,
    keys: Vec<String>,
    /// By the sensor's number.
    tokens: Vec<Option<LivelinessToken>>,
}

impl TokenMember {
    fn declare(&self, sensor: usize) -> Option<LivelinessToken> {
        Some(self.session.liveliness().declare_token(&self.keys[sensor]).wait().expect("a token"))
    }
}

impl Member for TokenMember {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn view(&self) -> Arc<dyn View> {
        self.view.clone()
    }

    fn prepare(&mut self, sensors: usize) {
        let key = |at: usize| format!("tokens/{}/{}", self.name, id(at).replace('/', "%2F"));
        self.keys = (0..sensors).map(key).collect();
    }

    fn register(&mut self, sensors: Range<usize>) {
        self.tokens.resize_with(sensors.end, || None);
        for at in sensors {
            self.tokens[at] = self.declare(at);
        }
    }

    fn end(&mut self, sensor: usize) {
        self.tokens[sensor] = None;
    }

    fn again(&mut self, sensor: usize) {
        self.tokens[sensor] = self.declare(sensor);
    }

    fn unregister(&mut self) {
        self.tokens.clear();
    }

    fn leave(self: Box<Self>) {
        self.session.close().wait().expect("the session closes");
    }
}

struct TokenView {
    session: Session,
    /// The first byte of the owner's name by the sensor's number, or 0.
    owners: Box<[AtomicU8]>,
    seen: AtomicUsize,
}

impl View for TokenView {
    fn others(&self) -> usize {
        self.session.info().peers_zid().wait().count()
    }

    fn sees(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    fn owner(&self, sensor: usize) -> Option<String> {
        let owner = self.owners[sensor].load(Ordering::Relaxed);
        (owner != 0).then(|| char::from(owner).to_string())
    }
}

/// A peer that finds others by their endpoints.
fn open(listen: &str, connect: &[String], gossip: bool) -> Session {
    let mut config = Config::default();
    for (path, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", format!("{:?}", [listen])),
        ("connect/endpoints", format!("{connect:?}")),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", gossip.to_string()),
    ] {
        config.insert_json5(path, &value).expect("a setting of Zenoh's");
    }
    zenoh::open(config).wait().expect("loopback has room for a session")
}

/// Keeps the view at what tokens there are, now and from now on.
fn watch(session: &Session, view: &Arc<TokenView>) -> Subscriber<()> {
    let kept = view.clone();
    let keep = move |sample: Sample| {
        let key = sample.key_expr().as_str();
        let owner = if sample.kind() == SampleKind::Put { key.as_bytes()["tokens/".len()] } else { 0 };
        let before = kept.owners[index_of(key)].swap(owner, Ordering::Relaxed);
        match (before, owner) {
            (0, 0) => 0,
            (0, _) => kept.seen.fetch_add(1, Ordering::Relaxed),
            (_, 0) => kept.seen.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    };
    let subscriber = session.liveliness().declare_subscriber("tokens/**").history(true).callback(keep).wait();
    subscriber.expect("a subscriber")
}

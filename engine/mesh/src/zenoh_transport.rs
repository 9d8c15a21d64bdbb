//! The seam over Zenoh: one session, one liveliness token, a handful of declarations, one publisher per destination.
//!
//! Nothing per sensor is ever declared. Messages to one node travel on a key of their own
//! (`<root>/@to/<dst>/<src>/<class>`), since a put to several destinations is a sequential loop and a stuck one would
//! hold up the others; beacons and deltas go to all on `<root>/@own/<src>`. Everything is sent with Drop: a Block would
//! hold its caller for 5 s and then close the link. Callbacks only hand over; they run on Zenoh's own threads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use senza_core::{Incarnation, Life, NodeName};
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::sample::{Locality, Sample, SampleKind};

use crate::transport::{Class, Event, Inbox, LinkTraffic, MESSAGE_MAX, Transport};

/// How a node joins the network.
#[derive(Clone, Debug)]
pub struct ZenohOptions {
    /// This node's name.
    pub node: NodeName,
    /// This life's incarnation, raised where a higher one of this name was heard of.
    pub incarnation: Incarnation,
    /// The first chunks of all keys.
    pub root: String,
    /// Endpoints to listen on, like `tcp/127.0.0.1:7447`; port 0 picks one.
    pub listen: Vec<String>,
    /// Endpoints of seeds; gossip completes the clique.
    pub connect: Vec<String>,
    /// After so long of silence a link is closed, milliseconds.
    pub lease_ms: u64,
    /// Further settings of Zenoh: path and JSON5 value. They override ours.
    pub settings: Vec<(String, String)>,
}

/// Why a node cannot join the network.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An endpoint to listen on is taken or not this machine's.
    #[error("cannot listen on {endpoint}: {reason}")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// What the system says.
        reason: String,
    },
    /// Another node of this name is up.
    #[error("the name {name} is held by a node that is up, {how}; names are unique in a cluster")]
    NameTaken {
        /// The name.
        name: NodeName,
        /// How it is known.
        how: String,
    },
    /// A setting that Zenoh does not take.
    #[error("Zenoh setting {path} = {value}: {reason}")]
    Setting {
        /// Where.
        path: String,
        /// What.
        value: String,
        /// Why not.
        reason: String,
    },
    /// Zenoh refused.
    #[error("Zenoh: {0}")]
    Zenoh(String),
}

impl From<zenoh::Error> for OpenError {
    fn from(error: zenoh::Error) -> Self {
        Self::Zenoh(error.to_string())
    }
}

/// Publishers kept, one per destination and class; beyond, all are dropped and those still used declared again.
const PUBLISHERS_MAX: usize = 4096;
/// Batches queued per link for control: every message is one, and they come in bursts. The most that Zenoh takes.
const CONTROL_BATCHES: u32 = 16;
/// Batches of 64 KiB queued per link and other class.
const QUEUE_BATCHES: u32 = 4;
/// How long a message waits for one, microseconds.
const WAIT_BEFORE_DROP_US: u32 = 20_000;
/// How often a free port is picked for port 0 before that is given up.
const LISTEN_TRIES: u32 = 4;
/// How long tokens are waited for at the start.
const TOKENS: Duration = Duration::from_secs(1);
/// How long a first link to a seed is waited for.
const FIRST_LINK: Duration = Duration::from_secs(1);

/// One node's way into the network.
pub struct ZenohTransport {
    me: Life,
    root: String,
    session: zenoh::Session,
    listening: Vec<String>,
    settings: Vec<(String, String)>,
    /// `None` once closed.
    own: RwLock<Option<Publisher<'static>>>,
    publishers: RwLock<BTreeMap<(NodeName, Class), Arc<Publisher<'static>>>>,
    counts: Arc<Counts>,
    declared: Mutex<Declared>,
}

/// What ends with the transport, in the order it is ended.
#[derive(Default)]
struct Declared {
    token: Option<LivelinessToken>,
    subscribers: Vec<Subscriber<()>>,
}

/// Messages and bytes, sent and received.
#[derive(Default)]
struct Counts {
    by_node: RwLock<BTreeMap<NodeName, Arc<[AtomicU64; 4]>>>,
    broadcast: [AtomicU64; 4],
    foreign: AtomicU64,
}

const SENT: usize = 0;
const RECEIVED: usize = 2;

// === impl ZenohTransport ===

impl ZenohTransport {
    /// Opens the session and its subscribers. Others see the node once it [announces](Transport::announce) itself.
    /// Blocks for up to a few seconds.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    pub fn open(options: ZenohOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<Self>, OpenError> {
        let (session, listening) = open_session(&options)?;
        let root = options.root.clone();
        let incarnation = options.incarnation.max(highest_heard(&session, &options)? + 1);
        let me = Life { node: options.node.clone(), incarnation };
        let counts = Arc::new(Counts::default());
        let own = session
            .declare_publisher(format!("{root}/@own/{}", me.node))
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::InteractiveHigh)
            .express(true)
            .allowed_destination(Locality::Remote)
            .wait()?;
        let subscribers = subscribe(&session, &root, &me, &counts, &inbox)?;
        Ok(Arc::new(Self {
            me,
            root,
            session,
            listening,
            settings: options.settings,
            own: RwLock::new(Some(own)),
            publishers: RwLock::default(),
            counts,
            declared: Mutex::new(Declared { token: None, subscribers }),
        }))
    }

    /// This life.
    pub fn me(&self) -> &Life {
        &self.me
    }

    /// The first chunks of all keys.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Where the node listens, ports filled in.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// Further settings of Zenoh that the node was given.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The session's Zenoh id, as others see it.
    pub fn zid(&self) -> String {
        self.session.zid().to_string()
    }

    /// Asks below the root and collects what is answered in time: for questions at the start, before this node answers
    /// anything itself.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn ask(&self, key: &str, timeout: Duration) -> Result<Vec<Vec<u8>>, OpenError> {
        let replies = self.session.get(format!("{}/{key}", self.root)).timeout(timeout).wait()?;
        let payload = |reply: zenoh::query::Reply| Some(reply.result().ok()?.payload().to_bytes().into_owned());
        Ok(replies.iter().filter_map(payload).collect())
    }

    /// Samples on this node's keys that no node sends: dropped.
    pub fn foreign(&self) -> u64 {
        self.counts.foreign.load(Ordering::Relaxed)
    }

    pub(crate) fn session(&self) -> &zenoh::Session {
        &self.session
    }

    fn token_key(&self) -> String {
        format!("{}/nodes/{}/{}", self.root, self.me.node, self.me.incarnation)
    }

    fn publisher(&self, to: &NodeName, class: Class) -> Option<Arc<Publisher<'static>>> {
        let key = (to.clone(), class);
        if let Some(publisher) = self.publishers.read().get(&key) {
            return Some(publisher.clone());
        }
        let (chunk, priority) = match class {
            Class::Control => ("c", Priority::InteractiveHigh),
            Class::Frame => ("f", Priority::Data),
            Class::Bulk => ("b", Priority::DataLow),
        };
        // Without the lock: a declaration may wait for Zenoh's, and sends to other nodes must not wait for that.
        let publisher = self
            .session
            .declare_publisher(format!("{}/@to/{to}/{}/{chunk}", self.root, self.me.node))
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(true)
            .allowed_destination(Locality::Remote)
            .wait();
        let publisher = Arc::new(publisher.ok()?);
        let mut publishers = self.publishers.write();
        let replaced =
            if publishers.len() >= PUBLISHERS_MAX { std::mem::take(&mut *publishers) } else { BTreeMap::new() };
        let kept = publishers.entry(key).or_insert(publisher).clone();
        drop(publishers);
        // Undeclares, again without the lock.
        drop(replaced);
        Some(kept)
    }
}

impl Transport for ZenohTransport {
    fn send(&self, to: &NodeName, class: Class, message: Bytes) -> bool {
        if message.len() > MESSAGE_MAX {
            return false;
        }
        let Some(publisher) = self.publisher(to, class) else { return false };
        self.counts.of(to).add(SENT, message.len());
        publisher.put(message).wait().is_ok()
    }

    fn broadcast(&self, message: Bytes) {
        self.counts.broadcast.add(SENT, message.len());
        if let Some(own) = self.own.read().as_ref()
            && let Err(error) = own.put(message).wait()
        {
            tracing::debug!(%error, "broadcast");
        }
    }

    fn announce(&self, shown: bool) {
        let mut declared = self.declared.lock();
        if shown == declared.token.is_some() {
            return;
        }
        let outcome = match declared.token.take() {
            Some(token) => token.undeclare().wait(),
            None => self.session.liveliness().declare_token(self.token_key()).wait().map(|token| {
                declared.token = Some(token);
            }),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, shown, "the node's token");
        }
    }

    fn traffic(&self) -> Vec<LinkTraffic> {
        let read = |node: Option<NodeName>, counts: &[AtomicU64; 4]| {
            let [sent, sent_bytes, received, received_bytes] =
                [0, 1, 2, 3].map(|at| counts[at].load(Ordering::Relaxed));
            LinkTraffic { node, sent: (sent, sent_bytes), received: (received, received_bytes) }
        };
        let by_node = self.counts.by_node.read();
        let links = by_node.iter().map(|(node, counts)| read(Some(node.clone()), counts));
        links.chain([read(None, &self.counts.broadcast)]).collect()
    }

    fn close(&self) {
        let declared = std::mem::take(&mut *self.declared.lock());
        if let Some(token) = declared.token
            && let Err(error) = token.undeclare().wait()
        {
            tracing::debug!(%error, "token");
        }
        drop(declared.subscribers);
        // Of a publisher that outlives its session, Zenoh keeps the whole session for ever.
        let publishers = std::mem::take(&mut *self.publishers.write());
        drop(publishers);
        let own = self.own.write().take();
        drop(own);
        if let Err(error) = self.session.close().wait() {
            tracing::debug!(%error, "close");
        }
    }
}

// === opening ===

fn config(options: &ZenohOptions, listening: &[String]) -> Result<zenoh::Config, OpenError> {
    let list = |endpoints: &[String]| format!("{endpoints:?}");
    let ours = [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", list(listening)),
        ("connect/endpoints", list(&options.connect)),
        // A seed that is not there yet is tried again in the background.
        ("connect/timeout_ms", "-1".to_owned()),
        ("connect/exit_on_failure", "false".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "true".to_owned()),
        (
            "scouting/gossip/autoconnect_strategy",
            r#"{ peer: { to_router: "always", to_peer: "greater-zid" } }"#.to_owned(),
        ),
        ("transport/unicast/max_sessions", "1000".to_owned()),
        ("transport/unicast/accept_pending", "1000".to_owned()),
        ("transport/link/tx/lease", options.lease_ms.to_string()),
        ("transport/link/rx/max_message_size", (2 * MESSAGE_MAX).to_string()),
        // A burst of deltas or of chunks waits for a batch rather than being dropped; a stuck link costs its sender this
        // long once, and nothing more until it moves again.
        ("transport/link/tx/queue/size/interactive_high", CONTROL_BATCHES.to_string()),
        ("transport/link/tx/queue/size/data", QUEUE_BATCHES.to_string()),
        ("transport/link/tx/queue/size/data_low", QUEUE_BATCHES.to_string()),
        ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", WAIT_BEFORE_DROP_US.to_string()),
        ("adminspace/enabled", "false".to_owned()),
    ];
    let mut config = zenoh::Config::default();
    let theirs = options.settings.iter().map(|(path, value)| (path.as_str(), value.clone()));
    for (path, value) in ours.into_iter().chain(theirs) {
        config.insert_json5(path, &value).map_err(|error| OpenError::Setting {
            path: path.to_owned(),
            value,
            reason: error.to_string(),
        })?;
    }
    Ok(config)
}

/// Opens the session where it can listen. A port picked for port 0 may be gone again before Zenoh binds it: then
/// another is picked.
fn open_session(options: &ZenohOptions) -> Result<(zenoh::Session, Vec<String>), OpenError> {
    let mut tries = LISTEN_TRIES;
    loop {
        let listening = options.listen.iter().map(|endpoint| free_endpoint(endpoint)).collect::<Result<Vec<_>, _>>()?;
        tries -= 1;
        match zenoh::open(config(options, &listening)?).wait() {
            Ok(session) => return Ok((session, listening)),
            Err(error) if listening == options.listen || tries == 0 => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "open, once more"),
        }
    }
}

/// Tries a TCP endpoint, so that a taken port is told by name; fills in a free port for port 0. What Zenoh lets follow
/// an address (`?…`, `#…`) stays.
fn free_endpoint(endpoint: &str) -> Result<String, OpenError> {
    let Some(rest) = endpoint.strip_prefix("tcp/") else { return Ok(endpoint.to_owned()) };
    let (address, extras) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let refuse = |reason: String| OpenError::Listen { endpoint: endpoint.to_owned(), reason };
    let listener = std::net::TcpListener::bind(address).map_err(|error| refuse(error.to_string()))?;
    let bound = listener.local_addr().map_err(|error| refuse(error.to_string()))?;
    Ok(if address.ends_with(":0") { format!("tcp/{bound}{extras}") } else { endpoint.to_owned() })
}

/// The highest incarnation of this name whose token is seen: perhaps left by a crash.
fn highest_heard(session: &zenoh::Session, options: &ZenohOptions) -> Result<Incarnation, OpenError> {
    if options.connect.is_empty() {
        return Ok(0);
    }
    await_first_link(session);
    let (root, name) = (&options.root, &options.node);
    let tokens = session.liveliness().get(format!("{root}/nodes/{name}/*")).timeout(TOKENS).wait()?;
    let incarnations = tokens.iter().filter_map(|reply| {
        let sample = reply.into_result().ok()?;
        token_life(root, sample.key_expr().as_str()).map(|life| life.incarnation)
    });
    Ok(incarnations.max().unwrap_or(0))
}

/// Waits until some link is there, or a second has passed: seeds may come later.
fn await_first_link(session: &zenoh::Session) {
    let step = Duration::from_millis(20);
    let never = crossbeam_channel::never::<()>();
    for _ in 0..FIRST_LINK.as_millis() / step.as_millis() {
        if session.info().peers_zid().wait().next().is_some() {
            return;
        }
        let _timed_out = never.recv_timeout(step);
    }
}

fn subscribe(
    session: &zenoh::Session,
    root: &str,
    me: &Life,
    counts: &Arc<Counts>,
    inbox: &Arc<dyn Inbox>,
) -> Result<Vec<Subscriber<()>>, OpenError> {
    let take = |prefix: String, read: fn(&str) -> Option<(NodeName, Class)>| {
        let (counts, inbox) = (counts.clone(), inbox.clone());
        move |sample: Sample| match sample.key_expr().as_str().strip_prefix(&prefix).and_then(read) {
            Some((from, class)) => {
                // One that came in pieces was put together in memory of its own; others lie in the link's buffer.
                let bytes = match sample.payload().to_bytes() {
                    Cow::Owned(bytes) => Bytes::from(bytes),
                    Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
                };
                counts.of(&from).add(RECEIVED, bytes.len());
                inbox.deliver(Event::Message { from, class, bytes });
            }
            None => {
                counts.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let to_me = format!("{root}/@to/{}/", me.node);
    let to_all = format!("{root}/@own/");
    let unicast = session
        .declare_subscriber(format!("{to_me}**"))
        .allowed_origin(Locality::Remote)
        .callback(take(to_me, unicast_sender))
        .wait()?;
    let broadcast = session
        .declare_subscriber(format!("{to_all}*"))
        .allowed_origin(Locality::Remote)
        .callback(take(to_all, broadcast_sender))
        .wait()?;
    let (prefix, me, inbox) = (root.to_owned(), me.clone(), inbox.clone());
    let tokens = session
        .liveliness()
        .declare_subscriber(format!("{root}/nodes/**"))
        .history(true)
        .callback(move |sample: Sample| {
            let Some(life) = token_life(&prefix, sample.key_expr().as_str()).filter(|life| *life != me) else { return };
            inbox.deliver(match sample.kind() {
                SampleKind::Put => Event::Token(life),
                SampleKind::Delete => Event::TokenGone(life),
            });
        })
        .wait()?;
    Ok(vec![unicast, broadcast, tokens])
}

/// Reads the sender and the class out of `<src>/<class>`.
fn unicast_sender(rest: &str) -> Option<(NodeName, Class)> {
    let (source, class) = rest.split_once('/')?;
    let class = match class {
        "c" => Class::Control,
        "f" => Class::Frame,
        "b" => Class::Bulk,
        _ => return None,
    };
    Some((NodeName::new(source).ok()?, class))
}

/// Reads the sender out of `<src>`.
fn broadcast_sender(rest: &str) -> Option<(NodeName, Class)> {
    Some((NodeName::new(rest).ok()?, Class::Control))
}

/// Reads a life out of a token's key.
fn token_life(root: &str, key: &str) -> Option<Life> {
    let (node, incarnation) = key.strip_prefix(root)?.strip_prefix("/nodes/")?.split_once('/')?;
    Some(Life { node: NodeName::new(node).ok()?, incarnation: incarnation.parse().ok()? })
}

// === impl Counts ===

impl Counts {
    fn of(&self, node: &NodeName) -> Arc<[AtomicU64; 4]> {
        if let Some(counts) = self.by_node.read().get(node) {
            return counts.clone();
        }
        let mut by_node = self.by_node.write();
        if by_node.len() >= PUBLISHERS_MAX {
            by_node.clear();
        }
        by_node.entry(node.clone()).or_default().clone()
    }
}

trait Add {
    fn add(&self, at: usize, bytes: usize);
}

impl Add for [AtomicU64; 4] {
    fn add(&self, at: usize, bytes: usize) {
        self[at].fetch_add(1, Ordering::Relaxed);
        self[at + 1].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

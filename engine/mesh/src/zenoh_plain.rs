//! The plain key space: what a Zenoh client without any code of ours can put, get and subscribe to.
//!
//! Carries (key, encoding, bytes) and knows nothing of what they mean; a [`PlainService`] does. Callbacks only queue;
//! a few threads of its own call the service and reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use zenoh::Wait;
use zenoh::bytes::Encoding;
use zenoh::pubsub::Subscriber;
use zenoh::qos::CongestionControl;
use zenoh::query::{Query, Queryable};
use zenoh::sample::{Locality, Sample, SampleKind};

use crate::zenoh_follow::{Follow, FollowCounts, Watch, Watched};
use crate::zenoh_transport::{OpenError, ZenohTransport};

/// Puts waiting for the service; beyond, they are dropped and counted.
pub const PUTS_MAX: usize = 65_536;
/// Queries waiting for the service; beyond, they are answered `busy`.
pub const QUERIES_MAX: usize = 4096;
/// Queries waiting to be answered `busy`; beyond, they end without a reply.
const REFUSALS_MAX: usize = 4096;
/// Threads that answer queries.
const QUERY_THREADS: usize = 2;

/// One reply to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainReply {
    /// The key it is about.
    pub key: String,
    /// How the payload is encoded.
    pub encoding: &'static str,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A query as it came.
#[derive(Debug)]
pub struct PlainQuery<'a> {
    /// The key expression as asked.
    pub key: &'a str,
    /// What stood behind `?`.
    pub parameters: &'a str,
    /// Encoding and payload, if it carries one.
    pub payload: Option<(&'a str, &'a [u8])>,
}

/// Whoever knows what the keys mean. Called on threads of the plain key space; it may take its time.
pub trait PlainService: Send + Sync + 'static {
    /// A put below `<root>/in/<me>/`; `path` is what follows there.
    fn put(&self, path: &str, encoding: &str, payload: &[u8]);
    /// A delete below `<root>/in/<me>/`.
    fn delete(&self, path: &str);
    /// A query on any of our keys: replies, or one error for the asker to read.
    ///
    /// # Errors
    /// A sentence that names the thing and the rule.
    fn get(&self, query: &PlainQuery<'_>) -> Result<Vec<PlainReply>, String>;
}

/// Counts of the plain key space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainCounts {
    /// Puts and deletes taken.
    pub puts: u64,
    /// Puts dropped because too many were waiting.
    pub puts_dropped: u64,
    /// Queries answered.
    pub queries: u64,
    /// Queries refused because too many were waiting.
    pub queries_refused: u64,
    /// Readings and records published.
    pub published: u64,
    /// Bytes of their payloads.
    pub published_bytes: u64,
    /// Readings that clients followed and that were lost before they were published: too many were waiting.
    pub publish_lost: u64,
    /// Key expressions of readings that clients follow now.
    pub followed: u64,
    /// Whether everything is published, since what clients follow is not known.
    pub follow_blind: bool,
    /// Taps opened so far, of which the last one is there.
    pub taps: u64,
    /// Taps that could not be opened.
    pub taps_failed: u64,
}

/// One node's plain key space.
pub struct ZenohPlain {
    transport: Arc<ZenohTransport>,
    counts: Arc<Counts>,
    follow_counts: Arc<FollowCounts>,
    readings: Watched,
    sensors: Watched,
    declared: Mutex<Option<Declared>>,
}

struct Declared {
    subscriber: Subscriber<()>,
    queryables: Vec<Queryable<()>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    puts: AtomicU64,
    puts_dropped: AtomicU64,
    queries: AtomicU64,
    queries_refused: AtomicU64,
    published: AtomicU64,
    published_bytes: AtomicU64,
    publish_lost: AtomicU64,
}

// === impl ZenohPlain ===

impl ZenohPlain {
    /// Declares the plain key space and starts its threads. Call it before the node announces itself.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn serve(transport: &Arc<ZenohTransport>, service: Arc<dyn PlainService>) -> Result<Arc<Self>, OpenError> {
        let (root, me) = (transport.root(), &transport.me().node);
        let counts = Arc::new(Counts::default());
        let (puts, puts_mail) = bounded(PUTS_MAX);
        let (queries, queries_mail) = bounded(QUERIES_MAX);
        let (refusals, refusals_mail) = bounded(REFUSALS_MAX);
        let session = transport.session();
        let subscriber =
            session.declare_subscriber(format!("{root}/in/{me}/**")).callback(put_callback(puts, &counts)).wait()?;
        let mut queryables = Vec::new();
        for part in [
            format!("in/{me}/**"),
            "readings/**".to_owned(),
            "sensors/**".to_owned(),
            // `**` holds no chunk too: the node's own record is below it.
            format!("nodes/{me}/**"),
            format!("do/{me}/**"),
        ] {
            let callback = query_callback(queries.clone(), refusals.clone(), &counts);
            queryables.push(session.declare_queryable(format!("{root}/{part}")).callback(callback).wait()?);
        }
        let mut threads =
            vec![put_thread(puts_mail, service.clone(), format!("{root}/in/{me}/")), refusal_thread(refusals_mail)];
        threads.extend((0..QUERY_THREADS).map(|_| query_thread(queries_mail.clone(), service.clone(), counts.clone())));
        let declared = Mutex::new(Some(Declared { subscriber, queryables, threads }));
        let readings = Watched::new(transport, "readings")?;
        let sensors = Watched::new(transport, "sensors")?;
        let (transport, follow_counts) = (transport.clone(), Arc::default());
        Ok(Arc::new(Self { transport, counts, follow_counts, readings, sensors, declared }))
    }

    /// What clients follow of this node's readings. One is enough: each has a tap of its own while it is used.
    pub fn follow_readings(&self) -> Follow {
        Follow::new(self.readings.state.clone(), self.follow_counts.clone(), self.transport.clone(), "readings")
    }

    /// Whether and when some client subscribes to readings.
    pub fn readings_watch(&self) -> Watch {
        Watch { state: self.readings.state.clone() }
    }

    /// Whether and when some client subscribes to sensors.
    pub fn sensors_watch(&self) -> Watch {
        Watch { state: self.sensors.state.clone() }
    }

    /// Publishes to whoever subscribes. Costs a route look-up; declares nothing.
    pub fn publish(&self, key: &str, encoding: &'static str, payload: String) {
        self.counts.published.fetch_add(1, Ordering::Relaxed);
        self.counts.published_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let put = self.transport.session().put(key, payload).encoding(Encoding::from(encoding));
        let sent = put.congestion_control(CongestionControl::Drop).allowed_destination(Locality::Remote).wait();
        if let Err(error) = sent {
            tracing::debug!(%error, key, "publish");
        }
    }

    /// Publishes that a key is no more.
    pub fn delete(&self, key: &str) {
        self.counts.published.fetch_add(1, Ordering::Relaxed);
        let delete = self.transport.session().delete(key);
        let sent = delete.congestion_control(CongestionControl::Drop).allowed_destination(Locality::Remote).wait();
        if let Err(error) = sent {
            tracing::debug!(%error, key, "delete");
        }
    }

    /// Counts readings that were lost on their way to be published.
    pub fn lose(&self, readings: u64) {
        self.counts.publish_lost.fetch_add(readings, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counts(&self) -> PlainCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PlainCounts {
            puts: read(&self.counts.puts),
            puts_dropped: read(&self.counts.puts_dropped),
            queries: read(&self.counts.queries),
            queries_refused: read(&self.counts.queries_refused),
            published: read(&self.counts.published),
            published_bytes: read(&self.counts.published_bytes),
            publish_lost: read(&self.counts.publish_lost),
            followed: read(&self.follow_counts.expressions),
            follow_blind: self.follow_counts.blind.load(Ordering::Relaxed),
            taps: read(&self.follow_counts.taps),
            taps_failed: read(&self.follow_counts.taps_failed),
        }
    }

    /// Takes all declarations back and waits for what is under way.
    pub fn close(&self) {
        [&self.readings, &self.sensors].into_iter().for_each(Watched::close);
        let Some(declared) = self.declared.lock().take() else { return };
        // Undeclaring drops the callbacks and with them the senders: the threads drain and end.
        if let Err(error) = declared.subscriber.undeclare().wait() {
            tracing::debug!(%error, "undeclare");
        }
        for queryable in declared.queryables {
            if let Err(error) = queryable.undeclare().wait() {
                tracing::debug!(%error, "undeclare");
            }
        }
        for thread in declared.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the plain key space had panicked");
            }
        }
    }
}

fn put_callback(puts: Sender<Sample>, counts: &Arc<Counts>) -> impl Fn(Sample) + Send + Sync + 'static {
    let counts = counts.clone();
    move |sample| {
        let counter = match puts.try_send(sample) {
            Ok(()) => &counts.puts,
            Err(_) => &counts.puts_dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn query_callback(
    queries: Sender<Query>,
    refusals: Sender<Query>,
    counts: &Arc<Counts>,
) -> impl Fn(Query) + Send + Sync + 'static {
    let counts = counts.clone();
    move |query| {
        if let Err(TrySendError::Full(query)) = queries.try_send(query) {
            counts.queries_refused.fetch_add(1, Ordering::Relaxed);
            // A reply may wait for the asker's link, so it is not sent from here. Where even refusals pile up, dropping
            // the query ends it for its asker.
            let _refused = refusals.try_send(query);
        }
    }
}

fn put_thread(puts: Receiver<Sample>, service: Arc<dyn PlainService>, prefix: String) -> JoinHandle<()> {
    spawn("senza-plain-in", move || {
        for sample in puts {
            let Some(path) = sample.key_expr().as_str().strip_prefix(&prefix) else { continue };
            match sample.kind() {
                SampleKind::Put => service.put(path, &sample.encoding().to_string(), &sample.payload().to_bytes()),
                SampleKind::Delete => service.delete(path),
            }
        }
    })
}

fn query_thread(queries: Receiver<Query>, service: Arc<dyn PlainService>, counts: Arc<Counts>) -> JoinHandle<()> {
    spawn("senza-plain-get", move || {
        for query in queries {
            answer(&query, service.as_ref());
            counts.queries.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Says `busy`: who asked must be able to tell that from "there is nothing".
fn refusal_thread(refusals: Receiver<Query>) -> JoinHandle<()> {
    spawn("senza-plain-busy", move || {
        for query in refusals {
            let reason = format!("busy: {QUERIES_MAX} queries are waiting for this node; ask again later");
            if let Err(error) = query.reply_err(reason).encoding(Encoding::TEXT_PLAIN).wait() {
                tracing::debug!(%error, "refuse");
            }
        }
    })
}

fn answer(query: &Query, service: &dyn PlainService) {
    let encoding = query.encoding().map(ToString::to_string).unwrap_or_default();
    let payload = query.payload().map(|payload| payload.to_bytes());
    let asked = PlainQuery {
        key: query.key_expr().as_str(),
        parameters: query.parameters().as_str(),
        payload: payload.as_ref().map(|payload| (encoding.as_str(), payload.as_ref())),
    };
    let told = |sent: zenoh::Result<()>| {
        if let Err(error) = sent {
            tracing::debug!(%error, key = asked.key, "reply");
        }
    };
    match service.get(&asked) {
        // A reply that Zenoh refuses, for a key beside the question, takes none of the others with it.
        Ok(replies) => replies.into_iter().for_each(|reply| {
            told(query.reply(reply.key, reply.payload).encoding(Encoding::from(reply.encoding)).wait());
        }),
        Err(reason) => told(query.reply_err(reason).encoding(Encoding::TEXT_PLAIN).wait()),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system has room for a thread")
}

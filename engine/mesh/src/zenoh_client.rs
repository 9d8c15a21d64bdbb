//! A plain Zenoh client of any node: what the command line is, and what any other program could be.
//!
//! Knows keys and bytes; nothing of engines, and nothing that a client in another language would not know.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use zenoh::Wait;
use zenoh::bytes::Encoding;
use zenoh::qos::CongestionControl;
use zenoh::query::ConsolidationMode;
use zenoh::sample::{Sample, SampleKind};

/// Why a client cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no node answers at {endpoints}")]
    Unreachable {
        /// Where it was tried.
        endpoints: String,
    },
    /// Zenoh refused.
    #[error("Zenoh: {0}")]
    Zenoh(String),
}

impl From<zenoh::Error> for ClientError {
    fn from(error: zenoh::Error) -> Self {
        Self::Zenoh(error.to_string())
    }
}

/// One reply to a query: its key and payload, or the error's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The key; empty for an error.
    pub key: String,
    /// The payload, or what went wrong.
    pub payload: Result<Vec<u8>, String>,
}

/// One sample of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its key.
    pub key: String,
    /// The payload; `None` for a delete.
    pub payload: Option<Vec<u8>>,
}

/// Samples waiting for a reader; beyond, the oldest are lost and counted.
pub const UPDATES_MAX: usize = 262_144;
/// How long a node may take to answer the first call.
const CONNECT_MS: u64 = 3_000;

/// A client session.
pub struct Client {
    session: zenoh::Session,
    root: String,
}

impl Client {
    /// Connects to the first of the endpoints that answers.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] after three seconds.
    pub fn connect(endpoints: &[String], root: &str) -> Result<Self, ClientError> {
        let mut config = zenoh::Config::default();
        for (path, value) in [
            ("mode", "\"client\"".to_owned()),
            ("connect/endpoints", format!("{endpoints:?}")),
            ("connect/timeout_ms", CONNECT_MS.to_string()),
            ("connect/exit_on_failure", "true".to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
        ] {
            config.insert_json5(path, &value)?;
        }
        let unreachable = |_| ClientError::Unreachable { endpoints: endpoints.join(", ") };
        let session = zenoh::open(config).wait().map_err(unreachable)?;
        Ok(Self { session, root: root.to_owned() })
    }

    /// The first chunks of all keys.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The Zenoh ids of the nodes it is connected to.
    pub fn connected(&self) -> Vec<String> {
        let info = self.session.info();
        info.peers_zid().wait().chain(info.routers_zid().wait()).map(|zid| zid.to_string()).collect()
    }

    /// Asks below the root and collects all replies. `parameters` go behind `?`.
    ///
    /// # Errors
    /// What Zenoh says; no reply at all is an empty list.
    pub fn get(
        &self,
        key: &str,
        parameters: &str,
        payload: Option<(&str, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<Vec<Reply>, ClientError> {
        let selector = match parameters {
            "" => format!("{}/{key}", self.root),
            parameters => format!("{}/{key}?{parameters}", self.root),
        };
        let mut get = self.session.get(selector).timeout(timeout).consolidation(ConsolidationMode::None);
        if let Some((encoding, payload)) = payload {
            get = get.payload(payload).encoding(Encoding::from(encoding));
        }
        let replies = get.wait()?;
        Ok(replies.iter().map(|reply| Reply::from(&reply)).collect())
    }

    /// Puts below the root and waits until it is on its way.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn put(&self, key: &str, encoding: &str, payload: Vec<u8>) -> Result<(), ClientError> {
        let put = self.session.put(format!("{}/{key}", self.root), payload).encoding(Encoding::from(encoding));
        Ok(put.congestion_control(CongestionControl::Block).wait()?)
    }

    /// Deletes below the root and waits until that is on its way.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn delete(&self, key: &str) -> Result<(), ClientError> {
        let delete = self.session.delete(format!("{}/{key}", self.root));
        Ok(delete.congestion_control(CongestionControl::Block).wait()?)
    }

    /// Subscribes below the root.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn subscribe(&self, key: &str) -> Result<Updates, ClientError> {
        let queue = Arc::new(Queue::default());
        let (sink, root) = (queue.clone(), format!("{}/", self.root));
        let subscriber = self.session.declare_subscriber(format!("{root}{key}"));
        let subscriber = subscriber.callback(move |sample| sink.take(&root, &sample)).wait()?;
        Ok(Updates { queue, _subscriber: subscriber })
    }

    /// Subscribes to the nodes' tokens, those that are there included: a put when one comes, a delete when it goes.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn subscribe_tokens(&self) -> Result<Updates, ClientError> {
        let queue = Arc::new(Queue::default());
        let (sink, root) = (queue.clone(), format!("{}/", self.root));
        let tokens = self.session.liveliness().declare_subscriber(format!("{root}nodes/**")).history(true);
        let subscriber = tokens.callback(move |sample| sink.take(&root, &sample)).wait()?;
        Ok(Updates { queue, _subscriber: subscriber })
    }

    /// Ends the session.
    pub fn close(self) {
        if let Err(error) = self.session.close().wait() {
            tracing::debug!(%error, "close");
        }
    }
}

impl From<&zenoh::query::Reply> for Reply {
    fn from(reply: &zenoh::query::Reply) -> Self {
        match reply.result() {
            Ok(sample) => {
                Self { key: sample.key_expr().to_string(), payload: Ok(sample.payload().to_bytes().into_owned()) }
            }
            Err(error) => Self {
                key: String::new(),
                payload: Err(String::from_utf8_lossy(&error.payload().to_bytes()).into_owned()),
            },
        }
    }
}

/// What a subscription brought, in order. Dropping it ends it.
pub struct Updates {
    queue: Arc<Queue>,
    _subscriber: zenoh::pubsub::Subscriber<()>,
}

#[derive(Default)]
struct Queue {
    updates: Mutex<VecDeque<Update>>,
    ready: Condvar,
    lost: AtomicU64,
}

impl Queue {
    fn take(&self, root: &str, sample: &Sample) {
        let key = sample.key_expr().as_str();
        let put = sample.kind() == SampleKind::Put;
        let payload = put.then(|| sample.payload().to_bytes().into_owned());
        self.push(Update { key: key.strip_prefix(root).unwrap_or(key).to_owned(), payload });
    }

    fn push(&self, update: Update) {
        let mut updates = self.updates.lock();
        if updates.len() >= UPDATES_MAX {
            updates.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        updates.push_back(update);
        drop(updates);
        self.ready.notify_one();
    }
}

impl Updates {
    /// The next update; waits up to `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Update> {
        let mut updates = self.queue.updates.lock();
        self.queue.ready.wait_while_for(&mut updates, |updates| updates.is_empty(), timeout);
        updates.pop_front()
    }

    /// Updates lost because nobody took them in time.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

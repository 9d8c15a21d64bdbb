//! What plain clients follow of one part of the key space, as it changes.
//!
//! One publisher tells whether anybody follows anything: while nobody does, nothing else is there. Then a tap tells
//! which key expressions. Where no tap can be had, everything is taken to be followed, which costs but loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use senza_core::{Filter, Micros, NodeName};
use zenoh::Wait;
use zenoh::matching::MatchingListener;
use zenoh::pubsub::Publisher;
use zenoh::sample::Locality;

use crate::clock::{Clock, SystemClock};
use crate::followed::{Heard, everything};
use crate::zenoh_tap::{Listener, Tap, Told};
use crate::zenoh_transport::{OpenError, ZenohTransport};

/// How long publisher and tap may disagree, while one of them lags, before everything is taken to be followed.
const LAG: Duration = Duration::from_millis(250);
/// After a tap could not be opened, or was closed, another is tried so much later.
const RETRY_US: Micros = 10_000_000;

/// Whether some client subscribes to a part of the key space.
pub(crate) struct Watched {
    pub(crate) state: Arc<WatchState>,
    /// The publisher and what tells of its subscribers; `None` once closed.
    declared: Mutex<Option<(MatchingListener<()>, Publisher<'static>)>>,
}

/// What is known of who subscribes.
#[derive(Default)]
pub(crate) struct WatchState {
    flags: Mutex<Flags>,
    changed: Condvar,
    /// Raised by every change.
    version: AtomicU64,
}

#[derive(Default)]
struct Flags {
    /// Whether somebody matches.
    matching: bool,
    /// Whether this node is closing.
    closing: bool,
    /// What the tap told, while there is one.
    heard: Option<Heard>,
    /// The tap's number: an earlier one may still say that it is closed.
    tap: u64,
}

/// Waits for clients of one part of the key space.
#[derive(Clone)]
pub struct Watch {
    pub(crate) state: Arc<WatchState>,
}

/// Counts of one part of the key space.
#[derive(Debug, Default)]
pub(crate) struct FollowCounts {
    /// Key expressions followed now, as far as they are told apart.
    pub(crate) expressions: AtomicU64,
    /// Whether everything is published for want of a tap.
    pub(crate) blind: AtomicBool,
    /// Taps opened, and those that could not be.
    pub(crate) taps: AtomicU64,
    pub(crate) taps_failed: AtomicU64,
}

/// Follows what clients follow of one part of the key space: filters for this node's own series.
pub struct Follow {
    state: Arc<WatchState>,
    counts: Arc<FollowCounts>,
    transport: Arc<ZenohTransport>,
    node: NodeName,
    /// The part's first chunks.
    prefix: String,
    tap: Option<Tap>,
    /// From when on a tap may be opened.
    next_tap: Micros,
    /// Whether everything is taken to be followed, since nothing better is known.
    blind: bool,
    /// Since when publisher and tap disagree.
    lagging: Option<Micros>,
    /// The version that was looked at last, and what was told of it.
    seen: u64,
    told: Vec<Filter>,
}

// === impl Watched ===

impl Watched {
    /// Declares the publisher whose subscribers count.
    pub(crate) fn new(transport: &ZenohTransport, part: &str) -> Result<Self, OpenError> {
        let state = Arc::new(WatchState::default());
        let publisher = transport
            .session()
            .declare_publisher(format!("{}/{part}/**", transport.root()))
            .allowed_destination(Locality::Remote)
            .wait()?;
        let told = state.clone();
        // Also tells what holds already, before it returns.
        let listener = publisher
            .matching_listener()
            .callback(move |status| told.change(|flags| flags.matching = status.matching()))
            .wait()?;
        Ok(Self { state, declared: Mutex::new(Some((listener, publisher))) })
    }

    /// Wakes who waits, for the last time, and takes the declarations back: of a publisher that outlives its session,
    /// Zenoh keeps the whole session for ever.
    pub(crate) fn close(&self) {
        self.state.change(|flags| flags.closing = true);
        let declared = self.declared.lock().take();
        drop(declared);
    }
}

// === impl WatchState ===

impl WatchState {
    fn change(&self, change: impl FnOnce(&mut Flags)) {
        change(&mut self.flags.lock());
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }
}

// === impl Hearing ===

/// What one tap is told goes into what is known.
struct Hearing {
    state: Arc<WatchState>,
    tap: u64,
}

impl Listener for Hearing {
    fn hear(&self, told: Told<'_>) {
        self.state.change(|flags| match (told, &mut flags.heard) {
            _ if flags.tap != self.tap => {}
            (Told::Closed, heard) => *heard = None,
            (Told::Followed(id, expression), Some(heard)) => heard.follow(id, expression),
            (Told::Unfollowed(id), Some(heard)) => heard.unfollow(id),
            (Told::Complete, Some(heard)) => heard.complete(),
            (_, None) => {}
        });
    }
}

// === impl Watch ===

impl Watch {
    /// Whether some client subscribes now.
    pub fn is_on(&self) -> bool {
        self.state.flags.lock().matching
    }

    /// Blocks until some client subscribes; answers false when the node closes.
    pub fn wait(&self) -> bool {
        let mut flags = self.state.flags.lock();
        while !flags.matching && !flags.closing {
            self.state.changed.wait(&mut flags);
        }
        !flags.closing
    }

    /// Waits for so long, or until something changes.
    pub fn pause(&self, pause: Duration) {
        let mut flags = self.state.flags.lock();
        if !flags.closing {
            self.state.changed.wait_for(&mut flags, pause);
        }
    }

    /// Whether the node closes.
    pub fn is_closed(&self) -> bool {
        self.state.flags.lock().closing
    }
}

// === impl Follow ===

impl Follow {
    pub(crate) fn new(
        state: Arc<WatchState>,
        counts: Arc<FollowCounts>,
        transport: Arc<ZenohTransport>,
        part: &str,
    ) -> Self {
        let (node, prefix) = (transport.me().node.clone(), format!("{}/{part}", transport.root()));
        let (tap, told) = (None, Vec::new());
        Self { state, counts, transport, node, prefix, tap, next_tap: 0, blind: false, lagging: None, seen: 0, told }
    }

    /// Blocks until some client follows a series that this node may have, and answers the filters for all that is
    /// followed; `None` when the node closes. Opens the tap, at the first time.
    pub fn wait(&mut self) -> Option<Vec<Filter>> {
        loop {
            let version = self.state.version.load(Ordering::Acquire);
            self.look(version);
            if !self.told.is_empty() {
                return Some(self.told.clone());
            }
            let mut flags = self.state.flags.lock();
            if flags.closing {
                return None;
            }
            if self.state.version.load(Ordering::Acquire) == version {
                match self.lagging {
                    Some(_) => _ = self.state.changed.wait_for(&mut flags, LAG),
                    None => self.state.changed.wait(&mut flags),
                }
            }
        }
    }

    /// The filters for all that is followed, where they are others than were told before; none where nobody follows
    /// anything or the node closes. One atomic load where nothing changed. May open a tap, which blocks for half a
    /// second at most, once in ten.
    pub fn changed(&mut self) -> Option<Vec<Filter>> {
        let version = self.state.version.load(Ordering::Acquire);
        let waits = self.lagging.is_some() || (self.blind && SystemClock.steady() >= self.next_tap);
        if version == self.seen && !waits {
            return None;
        }
        let before = self.told.clone();
        self.look(version);
        (self.told != before).then(|| self.told.clone())
    }

    /// Waits for so long, or until something changes.
    pub fn pause(&self, pause: Duration) {
        Watch { state: self.state.clone() }.pause(pause);
    }

    fn look(&mut self, version: u64) {
        self.seen = version;
        let now = SystemClock.steady();
        let (followed, heard, expressions) = {
            let flags = self.state.flags.lock();
            let heard = flags.heard.as_ref().filter(|_| !flags.closing);
            (flags.matching && !flags.closing, heard.map(Heard::copy), heard.map_or(0, Heard::len))
        };
        self.counts.expressions.store(expressions as u64, Ordering::Relaxed);
        let lagging = match heard {
            // What the tap says holds; it says it a little before or after the publisher.
            Some(heard) if heard.is_whole() && !(heard.is_empty() && followed) => {
                self.told = heard.filters(&self.prefix, &self.node);
                false
            }
            None if !followed => {
                self.told.clear();
                false
            }
            None if now < self.next_tap || !self.open_tap(now) => {
                self.told = everything(&self.node);
                self.lagging = None;
                self.see(true);
                return;
            }
            // A tap that was opened just now, or one that lags.
            _ => true,
        };
        self.lagging = lagging.then(|| self.lagging.unwrap_or(now));
        let overdue = self.lagging.is_some_and(|since| now - since > LAG.as_micros() as Micros);
        if overdue {
            self.told = everything(&self.node);
        }
        self.see(overdue);
    }

    /// Opens a tap. Answers whether there is one, which then has to tell something.
    fn open_tap(&mut self, now: Micros) -> bool {
        self.next_tap = now + RETRY_US;
        drop(self.tap.take());
        let mut number = 0;
        self.state.change(|flags| {
            flags.tap += 1;
            flags.heard = Some(Heard::default());
            number = flags.tap;
        });
        let hearing = Arc::new(Hearing { state: self.state.clone(), tap: number });
        let (endpoint, settings) = (self.transport.listening().first(), self.transport.settings());
        let tap = endpoint.ok_or_else(|| "the node listens nowhere".into());
        match tap.and_then(|endpoint| Tap::open(endpoint, settings, &format!("{}/**", self.prefix), hearing)) {
            Ok(tap) => {
                self.tap = Some(tap);
                self.counts.taps.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a tap");
                self.counts.taps_failed.fetch_add(1, Ordering::Relaxed);
                self.state.change(|flags| flags.heard = None);
                false
            }
        }
    }

    fn see(&mut self, blind: bool) {
        if blind && !self.blind {
            tracing::warn!("every reading is published, since what plain clients follow cannot be heard");
        }
        self.blind = blind;
        self.counts.blind.store(blind, Ordering::Relaxed);
    }
}

//! What the compiled part logs, as messages to one process of the VM.
//!
//! Who logs writes a record into a bounded queue and rings: it waits for nobody. What finds the queue full is counted,
//! and told behind what was queued. While no process asked for it, nothing is written at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use rustler::{Atom, Encoder, Env, LocalPid, OwnedEnv, ResourceArc, Term};
use senza::ConfigError;
use senza::logged::{Record, Shown};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::atoms;
use crate::courier::{Courier, Task};
use crate::faults::{Fault, answer, text};
use crate::feed::{Feed, send, send_end};
use crate::{reaper, value};

/// Records that wait at most.
const QUEUE_MAX: usize = 1_024;
/// Records of a message.
const BATCH_MAX: usize = 64;
/// Messages on their way.
const WINDOW: u32 = 2;

static LOG: OnceLock<Result<Log, String>> = OnceLock::new();

/// The log of the VM. Whoever logs finds it for as long as the VM runs.
struct Log {
    courier: Courier,
    /// Who changes who is told has it to the end.
    filter: Mutex<reload::Handle<EnvFilter, Registry>>,
    desk: Arc<Desk>,
}

/// What lies between those who log and the one who is told.
struct Desk {
    records: Sender<Record>,
    queue: Receiver<Record>,
    lost: AtomicU64,
    /// Who is told, if anybody.
    told: RwLock<Option<ResourceArc<Feed>>>,
}

// === impl Log ===

impl Log {
    /// The log, which begins the first time that it is asked for.
    fn get() -> Result<&'static Self, Fault> {
        let refuse = |error: &String| Fault::new("start_failed", format!("the log cannot be forwarded: {error}"));
        LOG.get_or_init(Self::begin).as_ref().map_err(refuse)
    }

    fn begin() -> Result<Self, String> {
        reaper::start();
        let courier = Courier::start("senza-log").map_err(|error| error.to_string())?;
        let (records, queue) = crossbeam_channel::bounded(QUEUE_MAX);
        let desk = Arc::new(Desk { records, queue, lost: AtomicU64::new(0), told: RwLock::default() });
        let (layer, filter) = reload::Layer::new(EnvFilter::new("off"));
        let subscriber = Registry::default().with(layer).with(Logged(desk.clone()));
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(Self { courier, filter: Mutex::new(filter), desk })
    }

    /// Has a process told what passes a filter, and nobody else.
    fn tell(&'static self, env: Env<'_>, filter: EnvFilter, to: LocalPid) -> Result<ResourceArc<Feed>, Fault> {
        let feed = Feed::open(env, &self.courier, to, WINDOW, None)?;
        let now = self.filter.lock();
        self.clear();
        let before = self.desk.told.write().replace(feed.clone());
        if let Some(before) = before {
            before.end();
        }
        let told_lost = self.desk.lost.load(Ordering::Relaxed);
        self.courier.run(feed.slot(), Records { feed: feed.clone(), log: self, told_lost })?;
        set(&now, filter);
        Ok(feed)
    }

    /// Tells nobody, unless it is another one's turn already.
    fn hang_up(&self, feed: &ResourceArc<Feed>) {
        let now = self.filter.lock();
        let last = self.desk.told.write().take_if(|told| std::ptr::eq::<Feed>(&**told, &**feed));
        if last.is_some() {
            set(&now, EnvFilter::new("off"));
            self.clear();
        }
    }

    /// Drops what waits: nobody asks for it any more.
    fn clear(&self) {
        self.desk.queue.try_iter().take(QUEUE_MAX).for_each(drop);
    }
}

fn set(now: &reload::Handle<EnvFilter, Registry>, filter: EnvFilter) {
    // It fails only where the subscriber is gone, which stays for ever.
    let _there = now.reload(filter);
}

/// What of the log is told: no thread but the courier's waits for it.
struct Records {
    feed: ResourceArc<Feed>,
    log: &'static Log,
    told_lost: u64,
}

impl Task for Records {
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()> {
        if self.feed.is_ended() {
            send_end(&self.feed, env);
            return Poll::Ready(());
        }
        if !self.feed.may_send() {
            return Poll::Pending;
        }
        let desk = &self.log.desk;
        let lost = desk.lost.load(Ordering::Relaxed);
        let items = env.run(|env| {
            let mut items: Vec<Term<'_>> =
                desk.queue.try_iter().take(BATCH_MAX).map(|logged| record(env, &logged)).collect();
            if lost > self.told_lost {
                // They came after all that was queued then: told behind what is read now, it is early and not late.
                items.push((atoms::lost(), lost - self.told_lost).encode(env));
            }
            items
        });
        self.told_lost = lost;
        if items.is_empty() {
            return Poll::Pending;
        }
        if !send(&self.feed, env, items) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.log.hang_up(&self.feed);
    }
}

// === impl Logged ===

/// What the crate `tracing` hands every event to, on the thread that logs.
struct Logged(Arc<Desk>);

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        if self.0.told.read().is_none() {
            return;
        }
        // Under no lock: what a field shows itself as is others' code, and may log.
        if self.0.records.try_send(Record::of(event)).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(feed) = self.0.told.read().as_ref() {
            feed.slot().wake_by_ref();
        }
    }
}

// === terms ===

/// Level, time, target, message, fields, file and line, thread.
fn record<'a>(env: Env<'a>, logged: &Record) -> Term<'a> {
    let Record { about, time, thread, message, fields } = logged;
    let fields: Vec<(&str, Term<'a>)> = fields.iter().map(|(name, value)| (*name, shown(env, value))).collect();
    (level(*about.level()), time, about.target(), message, fields, (about.file(), about.line()), thread).encode(env)
}

fn shown<'a>(env: Env<'a>, value: &Shown) -> Term<'a> {
    match value {
        Shown::Integer(number) => number.encode(env),
        Shown::Natural(number) => number.encode(env),
        Shown::Float(number) => value::float(env, *number),
        Shown::Bool(truth) => truth.encode(env),
        Shown::Text(text) => text.encode(env),
    }
}

/// As Elixir's `Logger` has them, which knows nothing below debug.
fn level(level: Level) -> Atom {
    match level {
        Level::ERROR => atoms::error(),
        Level::WARN => atoms::warning(),
        Level::INFO => atoms::info(),
        Level::DEBUG | Level::TRACE => atoms::debug(),
    }
}

/// Has a process told what is logged and passes a filter; it takes the place of one before. All places that log are
/// looked at anew.
#[rustler::nif(schedule = "DirtyCpu")]
fn follow_log<'a>(env: Env<'a>, filter: Term<'a>, to: LocalPid) -> Term<'a> {
    let followed = || -> Result<Term<'a>, Fault> {
        let filter = text(filter, "a filter of the log")?;
        let refuse = |error: ParseError| {
            let (value, rule) = (filter.to_owned(), error.to_string());
            ConfigError::Setting { setting: "filter", value, rule }
        };
        let filter = EnvFilter::try_new(filter).map_err(refuse)?;
        Ok((atoms::ok(), Log::get()?.tell(env, filter, to)?).encode(env))
    };
    answer(env, followed())
}

/// Logs so often, so that tests see what becomes of it.
#[cfg(debug_assertions)]
#[rustler::nif]
fn log_some(count: u64, text: String) -> bool {
    let (natural, integer, float, truth) = (u64::MAX, -1, 0.5, true);
    for number in 0..count {
        tracing::warn!(number, natural, integer, float, truth, text, "as a test asked for");
    }
    tracing::debug!("beside it");
    true
}

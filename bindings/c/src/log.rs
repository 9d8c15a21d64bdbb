//! What senza logs: to standard error, or to a function of the embedder's.
//!
//! An engine logs while it holds locks of its own. So a line is queued, and given out by a thread that holds none: the
//! function may call senza, and a slow one makes lines get lost and told, not the engine wait.

use std::borrow::Cow;
use std::ffi::c_void;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use senza_mesh::clock::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::batch::Pile;
use crate::border;
use crate::error::{Outcome, refuse, senza_code};
use crate::node::CALLING_BACK;
use crate::text::senza_str;

/// How grave what was logged is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_level {
    /// Something failed.
    SENZA_LOG_ERROR = 0,
    /// Something that people should look at.
    SENZA_LOG_WARN = 1,
    /// What happens now and then, as a node that comes.
    SENZA_LOG_INFO = 2,
    /// For those who look for a fault.
    SENZA_LOG_DEBUG = 3,
    /// The same, in every detail.
    SENZA_LOG_TRACE = 4,
}

/// One line of the log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_log_line {
    /// A senza_level.
    pub level: u32,
    /// 0.
    pub reserved: u32,
    /// When it was logged, microseconds since 1970.
    pub time_us: i64,
    /// The part of senza, or of Zenoh below it, as "senza_mesh::engine".
    pub target: senza_str,
    /// What happened, then its fields: "node up node=b incarnation=7". At most 4,096 bytes.
    pub message: senza_str,
}

/// Called with each line that is logged. `line`, and all that it points to, are good until it returns.
///
/// Calls come one after the other from one thread of the library, its own, a moment after what they tell. It may call
/// any function of senza; what those log within it is left out. It must not throw or jump out: that ends the process.
pub type senza_on_log = Option<unsafe extern "C-unwind" fn(user: *mut c_void, line: *const senza_log_line)>;

/// Lines that wait to be given out.
const LINES_MAX: usize = 1024;
/// Bytes of a message.
const MESSAGE_MAX: usize = 4096;
const FILTER_MAX: usize = 1024;

/// The end of what gives lines out.
static GIVING: Mutex<Option<Giving>> = Mutex::new(None);

struct Giving {
    queue: Queue,
    /// Goes with it, which ends the thread.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

struct Line {
    level: senza_level,
    time_us: i64,
    target: Cow<'static, str>,
    message: String,
}

/// Where lines are queued; more than it holds are counted.
#[derive(Clone)]
struct Queue {
    lines: Sender<Line>,
    lost: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

/// Has what senza logs written to standard error from now on: `filter` is a level, "error", "warn", "info", "debug" or
/// "trace", or tracing's directives ("warn,senza_mesh=debug"). Once per process: SENZA_BUSY the second time, also after
/// senza_log_to(), or where somebody else in the process has taken tracing. Without either, senza logs nowhere.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_log_to_stderr(filter: senza_str) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let filter = unsafe { self::filter(filter) }?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init()
            .map_err(|error| refuse(senza_code::SENZA_BUSY, error.to_string()))
    })
}

/// Has what senza logs given to `on_log` from now on, see there: into a log of your own. `filter` as of
/// senza_log_to_stderr(). Once per process: SENZA_BUSY the second time, as there.
///
/// Up to 1,024 lines wait; more, where `on_log` is slow, are lost, and a line of SENZA_LOG_WARN says how many. `on_log`
/// and `user` are to be good until senza_log_close() has returned, or the process ends. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_log_to(filter: senza_str, on_log: senza_on_log, user: *mut c_void) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let filter = unsafe { self::filter(filter) }?;
        let call = on_log.ok_or_else(|| refuse(senza_code::SENZA_NULL, "on_log must not be NULL"))?;
        let callback = Callback { call, user };
        let (queue, lines) = Queue::new();
        let mut giving = GIVING.lock();
        tracing_subscriber::registry()
            .with(filter)
            .with(queue.clone())
            .try_init()
            .map_err(|error| refuse(senza_code::SENZA_BUSY, error.to_string()))?;
        let (end, ended) = bounded(0);
        let lost = queue.lost.clone();
        let spawned = std::thread::Builder::new().name("senza-log".to_owned()).spawn(move || {
            give_out(&lines, &ended, &lost, &callback);
        });
        let thread = spawned.map_err(|error| {
            queue.closed.store(true, Ordering::Relaxed);
            refuse(senza_code::SENZA_FULL, format!("no thread to give lines out: {error}"))
        })?;
        *giving = Some(Giving { queue, end, thread });
        Ok(())
    })
}

/// Ends senza_log_to(): lines that wait are still given to `on_log`, and when this returns there was the last call.
/// From then on senza logs nowhere. Within `on_log`, or a callback of a subscription, this does not wait for that.
///
/// SENZA_CLOSED where there is nothing to end. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_log_close() -> senza_code {
    border::enter(|| {
        let giving = GIVING.lock().take();
        let Giving { queue, end, thread } =
            giving.ok_or_else(|| refuse(senza_code::SENZA_CLOSED, "the log was closed, or never began"))?;
        queue.closed.store(true, Ordering::Relaxed);
        drop(end);
        if !CALLING_BACK.get() {
            // A panic there is none of ours to tell: it ended the process.
            let _ended = thread.join();
        }
        Ok(())
    })
}

/// # Safety
/// As [`border::text`].
unsafe fn filter(filter: senza_str) -> Outcome<tracing_subscriber::EnvFilter> {
    // SAFETY: as the caller promises.
    let filter = unsafe { border::text(filter, FILTER_MAX, "filter") }?;
    tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| refuse(senza_code::SENZA_ARGUMENT, format!("filter: {error}")))
}

struct Callback {
    call: unsafe extern "C-unwind" fn(*mut c_void, *const senza_log_line),
    user: *mut c_void,
}

// SAFETY: the header says that it is called from a thread of the library, with `user`.
unsafe impl Send for Callback {}

impl Callback {
    fn with(&self, line: &Line, pile: &mut Pile) {
        pile.clear();
        let line = senza_log_line {
            level: line.level as u32,
            reserved: 0,
            time_us: line.time_us,
            target: pile.texts.text(line.target.as_bytes()),
            message: pile.texts.text(line.message.as_bytes()),
        };
        // SAFETY: the embedder's function, given as the header asks; the line outlives the call.
        unsafe { (self.call)(self.user, &raw const line) };
    }
}

/// The life of the thread that gives lines out.
fn give_out(lines: &Receiver<Line>, ended: &Receiver<()>, lost: &AtomicU64, callback: &Callback) {
    CALLING_BACK.set(true);
    GIVES_OUT.set(true);
    let mut pile = Pile::default();
    let mut give = |line: &Line| {
        callback.with(line, &mut pile);
        // What was lost came after all that waited then: told behind this line, it is early and not late.
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            callback.with(&Line::of_lost(lost), &mut pile);
        }
    };
    loop {
        select! {
            recv(lines) -> line => match line {
                Ok(line) => give(&line),
                Err(_) => break,
            },
            recv(ended) -> _ => break,
        }
    }
    lines.try_iter().for_each(|line| give(&line));
}

thread_local! {
    /// Whether this is the thread that gives lines out: what it logs itself would come back to it for ever.
    static GIVES_OUT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

// === impl Queue ===

impl Queue {
    fn new() -> (Self, Receiver<Line>) {
        let (lines, receiver) = bounded(LINES_MAX);
        (Self { lines, lost: Arc::default(), closed: Arc::default() }, receiver)
    }
}

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if GIVES_OUT.get() || self.closed.load(Ordering::Relaxed) {
            return;
        }
        if self.lines.try_send(Line::of(event)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Line ===

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let level = match *event.metadata().level() {
            Level::ERROR => senza_level::SENZA_LOG_ERROR,
            Level::WARN => senza_level::SENZA_LOG_WARN,
            Level::INFO => senza_level::SENZA_LOG_INFO,
            Level::DEBUG => senza_level::SENZA_LOG_DEBUG,
            Level::TRACE => senza_level::SENZA_LOG_TRACE,
        };
        let target = Cow::Borrowed(event.metadata().target());
        let mut line = Self { level, time_us: SystemClock.now(), target, message: String::new() };
        event.record(&mut line);
        line.message.truncate(line.message.floor_char_boundary(MESSAGE_MAX));
        line
    }

    fn of_lost(lost: u64) -> Self {
        Self {
            level: senza_level::SENZA_LOG_WARN,
            time_us: SystemClock.now(),
            target: Cow::Borrowed(module_path!()),
            message: format!("lines of the log were lost: on_log is too slow lost={lost}"),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // What a log crate of the embedder's, or of a library, says of itself.
        if field.name().starts_with("log.") {
            return;
        }
        let space = if self.message.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _written = match field.name() {
            // It comes first, whatever its place.
            "message" if space.is_empty() => write!(self.message, "{value:?}"),
            "message" => {
                let fields = std::mem::take(&mut self.message);
                write!(self.message, "{value:?} {fields}")
            }
            name => write!(self.message, "{space}{name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Cow::Owned(value.to_owned());
        } else {
            self.record_debug(field, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(log: impl FnOnce()) -> (Vec<Line>, u64) {
        let (queue, lines) = Queue::new();
        let lost = queue.lost.clone();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(queue), log);
        (lines.try_iter().collect(), lost.load(Ordering::Relaxed))
    }

    #[test]
    fn a_line_has_its_message_and_then_its_fields() {
        let (lines, lost) = logged(|| {
            tracing::warn!(node = %"b", sensors = 7, quoted = "a b", "node up");
            tracing::error!(target: "there", alone = true);
        });
        assert_eq!((lines.len(), lost), (2, 0));
        assert_eq!(lines[0].message, "node up node=b sensors=7 quoted=\"a b\"");
        assert_eq!((lines[0].level, &*lines[0].target), (senza_level::SENZA_LOG_WARN, module_path!()));
        assert_eq!((&*lines[1].message, &*lines[1].target), ("alone=true", "there"));
    }

    #[test]
    fn what_does_not_fit_is_cut_or_counted() {
        let (lines, lost) = logged(|| {
            tracing::info!("{}", "ä".repeat(MESSAGE_MAX));
            for number in 0..LINES_MAX + 9 {
                tracing::info!(number);
            }
        });
        assert_eq!((lines.len(), lost), (LINES_MAX, 10));
        assert_eq!(lines[0].message.len(), MESSAGE_MAX);
        assert_eq!(lines[1].message, "number=0");
        assert!(Line::of_lost(lost).message.ends_with("lost=10"));
    }

    #[test]
    fn what_the_thread_that_gives_out_logs_is_left_out() {
        GIVES_OUT.set(true);
        let (lines, lost) = logged(|| tracing::info!("again"));
        GIVES_OUT.set(false);
        assert_eq!((lines.len(), lost), (0, 0));
    }
}

//! What the compiled part logs, for a thread of Python's that hands it to `logging`.
//!
//! Who logs writes a record into a bounded queue and rings that thread's bell: it waits for nobody, the interpreter
//! least of all. What finds the queue full is counted, and told behind what was queued. While nobody asked for it,
//! nothing is written at all.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use pyo3::prelude::*;
use pyo3::types::PyString;
use senza::ConfigError;
use senza::logged::{Record, Shown};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::bell::Bell;
use crate::errors;
use crate::process::{Own, refuse_pickle};

/// Records that wait at most.
const QUEUE_MAX: usize = 1_024;
/// Records handed over at a time.
const BATCH: usize = 64;

static LOGGING: OnceLock<Result<Own<Logging>, String>> = OnceLock::new();

thread_local! {
    /// Whether this thread delivers: what it logs itself would come back to it for ever.
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

/// What logs of the process find, for as long as it runs.
struct Logging {
    /// Who changes who is told has it to the end.
    filter: Mutex<reload::Handle<EnvFilter, Registry>>,
    told: Arc<RwLock<Option<Arc<Desk>>>>,
}

/// What lies between those who log and the thread that is told.
struct Desk {
    records: Sender<Record>,
    queue: Receiver<Record>,
    lost: AtomicU64,
    bell: Mutex<Option<Waker>>,
}

/// What is logged from its making on, until it is closed or another one is made.
#[pyclass(frozen, module = "senza._native")]
pub(crate) struct Log {
    desk: Own<Arc<Desk>>,
}

/// Level, time, target, message, fields, file, line, and the thread's name.
type RawRecord<'py> = (
    u32,
    i64,
    &'static str,
    String,
    Vec<(&'static str, Bound<'py, PyAny>)>,
    Option<&'static str>,
    Option<u32>,
    Option<String>,
);

#[pymethods]
impl Log {
    #[new]
    #[pyo3(signature = (filter, /))]
    fn new(py: Python<'_>, filter: &str) -> PyResult<Self> {
        let (filter, logging) = (parse(filter)?, Logging::get()?);
        let (records, queue) = crossbeam_channel::bounded(QUEUE_MAX);
        let desk = Arc::new(Desk { records, queue, lost: AtomicU64::new(0), bell: Mutex::default() });
        py.detach(|| {
            let now = logging.filter.lock();
            *logging.told.write() = Some(desk.clone());
            set(&now, filter);
        });
        Ok(Self { desk: Own::new(desk) })
    }

    /// Has what passes another filter told from now on.
    #[pyo3(signature = (filter, /))]
    fn change(&self, py: Python<'_>, filter: &str) -> PyResult<()> {
        let (filter, desk, logging) = (parse(filter)?, self.desk.get()?, Logging::get()?);
        py.detach(|| {
            let now = logging.filter.lock();
            if logging.told.read().as_ref().is_some_and(|told| Arc::ptr_eq(told, desk)) {
                set(&now, filter);
            }
        });
        Ok(())
    }

    /// What was logged since, at most 64 records, and how many more were dropped: those come after what is queued. Where
    /// it is nothing, `bell` rings for `token` when there is something. What the calling thread logs is left out from
    /// then on.
    fn poll<'py>(&self, py: Python<'py>, bell: &Bell, token: u64) -> PyResult<(Vec<RawRecord<'py>>, u64)> {
        let desk = self.desk.get()?;
        DELIVERS.set(true);
        // First the waker, then the look: what is logged between rings.
        *desk.bell.lock() = Some(bell.waker(token)?);
        let lost = desk.lost.swap(0, Ordering::Relaxed);
        let records = desk.queue.try_iter().take(BATCH).map(|record| raw(py, record)).collect::<PyResult<_>>()?;
        Ok((records, lost))
    }

    /// Ends it; what is queued can still be polled.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (desk, logging) = (self.desk.get()?, Logging::get()?);
        py.detach(|| {
            let now = logging.filter.lock();
            if logging.told.write().take_if(|told| Arc::ptr_eq(told, desk)).is_some() {
                set(&now, EnvFilter::new("off"));
            }
        });
        Ok(())
    }

    /// Logs so often, so that tests see what becomes of it: on another thread, while this one has the interpreter.
    #[cfg(debug_assertions)]
    #[staticmethod]
    fn _log_some(count: u64, text: String) -> bool {
        let (natural, integer, float, truth) = (u64::MAX, -1, 0.5, true);
        let log = move || {
            for number in 0..count {
                tracing::warn!(number, natural, integer, float, truth, text, "as a test asked for");
            }
            tracing::debug!("beside it");
        };
        let logs = std::thread::Builder::new().name("logs-some".to_owned()).spawn(log);
        logs.is_ok_and(|thread| thread.join().is_ok())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Log"))
    }
}

fn parse(filter: &str) -> PyResult<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| {
        let (value, rule) = (filter.to_owned(), error.to_string());
        errors::config(&ConfigError::Setting { setting: "filter", value, rule })
    })
}

fn set(now: &reload::Handle<EnvFilter, Registry>, filter: EnvFilter) {
    // It fails only where the subscriber is gone, which stays for ever.
    let _there = now.reload(filter);
}

fn raw(py: Python<'_>, record: Record) -> PyResult<RawRecord<'_>> {
    let Record { about, time, thread, message, fields } = record;
    let fields = fields.into_iter().map(|(name, value)| Ok((name, shown(py, value)?))).collect::<PyResult<_>>()?;
    Ok((level(*about.level()), time, about.target(), message, fields, about.file(), about.line(), thread))
}

fn shown(py: Python<'_>, value: Shown) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Shown::Integer(number) => number.into_pyobject(py)?.into_any(),
        Shown::Natural(number) => number.into_pyobject(py)?.into_any(),
        Shown::Float(number) => number.into_pyobject(py)?.into_any(),
        Shown::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any(),
        Shown::Text(text) => PyString::new(py, &text).into_any(),
    })
}

/// As Python's `logging` counts them, which has none for what is below debug.
fn level(level: Level) -> u32 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

// === impl Logging ===

impl Logging {
    /// What logs find, from the first time on that it is asked for.
    ///
    /// # Errors
    /// `Forked` in a child of the process that asked first.
    fn get() -> PyResult<&'static Self> {
        let refuse = |error: &String| errors::of("StartFailed", &format!("the log cannot be forwarded: {error}"), &[]);
        LOGGING.get_or_init(Self::begin).as_ref().map_err(refuse)?.get()
    }

    fn begin() -> Result<Own<Self>, String> {
        let (layer, filter) = reload::Layer::new(EnvFilter::new("off"));
        let told = Arc::default();
        let subscriber = Registry::default().with(layer).with(Logged(Own::new(Arc::clone(&told))));
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(Own::new(Self { filter: Mutex::new(filter), told }))
    }
}

// === impl Logged ===

/// What the crate `tracing` hands every event to, on the thread that logs.
struct Logged(Own<Arc<RwLock<Option<Arc<Desk>>>>>);

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // In a forked child others may hold its locks for ever.
        let Some(told) = self.0.here().filter(|_| !DELIVERS.get()) else { return };
        let Some(desk) = told.read().clone() else { return };
        // Under no lock: what a field shows itself as is others' code, and may log.
        if desk.records.try_send(Record::of(event)).is_err() {
            desk.lost.fetch_add(1, Ordering::Relaxed);
        }
        let waker = desk.bell.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

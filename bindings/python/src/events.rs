//! The class that `senza.Events` extends: what happens to the sensors and nodes of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use pyo3::prelude::*;
use senza::Happening;
use senza_core::Life;
use senza_core::directory::{Listed, Owner};

use crate::bell::Bell;
use crate::heals::{RawHeal, raw_heal};
use crate::node::{Node, Running};
use crate::process::{Own, refuse_pickle};
use crate::times::Wait;

/// Events handed over at a time.
const BATCH: usize = 1024;

/// What happens from its making on, in order per sensor.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Events {
    running: Own<Arc<Running>>,
    queue: Own<Receiver<Happening>>,
    bell: Own<Arc<Mutex<Option<Waker>>>>,
    lost: Own<Arc<AtomicU64>>,
    told_lost: AtomicU64,
    closed: AtomicBool,
}

/// What happened, the sensor and its type, its node and epoch, those before; and of a heal all of it.
type RawEvent = (&'static str, String, String, String, u64, String, u64, Option<RawHeal>);

#[pymethods]
impl Events {
    #[new]
    #[pyo3(signature = (node, /))]
    fn new(node: &Node) -> PyResult<Self> {
        let running = node.running()?;
        let bell: Arc<Mutex<Option<Waker>>> = Arc::default();
        let rung = bell.clone();
        let (queue, lost) = running.engine()?.listen(move || {
            let waker = rung.lock().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Ok(Self {
            running: Own::new(running),
            queue: Own::new(queue),
            bell: Own::new(bell),
            lost: Own::new(lost),
            told_lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// What happened since, at most 1,024 at a time; waits for something up to `timeout` seconds. Empty at its end, and
    /// when the time is over.
    #[pyo3(signature = (timeout=None))]
    fn take_raw(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<RawEvent>> {
        let mut wait = Wait::new(timeout)?;
        loop {
            let queue = self.queue.get()?;
            let events = self.drain()?;
            if !events.is_empty() || self.closed()? {
                return Ok(events);
            }
            let mut first = None;
            let waited = wait.slice(py, |slice| first = queue.recv_timeout(slice).ok())?;
            if let Some(first) = first {
                let mut events = vec![raw(&first)];
                events.extend(self.drain()?);
                return Ok(events);
            }
            if !waited {
                return Ok(Vec::new());
            }
        }
    }

    /// What happened since, or nothing: then `bell` rings for `token` when something does.
    fn poll_raw(&self, bell: &Bell, token: u64) -> PyResult<Vec<RawEvent>> {
        // First the waker, then the look: what happens between rings.
        *self.bell.get()?.lock() = Some(bell.waker(token)?);
        self.drain()
    }

    /// Whether nothing more comes.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.closed.load(Ordering::Acquire) || !self.running.get()?.is_open())
    }

    /// Ends it.
    fn close_raw(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Events"))
    }
}

impl Events {
    fn drain(&self) -> PyResult<Vec<RawEvent>> {
        let mut events: Vec<RawEvent> = self.queue.get()?.try_iter().take(BATCH).map(|told| raw(&told)).collect();
        let lost = self.lost.get()?.load(Ordering::Relaxed);
        let new = lost - self.told_lost.swap(lost, Ordering::Relaxed);
        if new > 0 {
            // They came after all that was queued then: told behind what is read now, it is early and not late.
            events.push(("lost", String::new(), String::new(), String::new(), new, String::new(), 0, None));
        }
        Ok(events)
    }
}

fn raw(happening: &Happening) -> RawEvent {
    let none = || (String::new(), 0);
    let of = |kind, listed: &Listed, (before, epoch): (String, u64)| {
        let (sensor, sensor_type) = (listed.sensor.to_string(), listed.sensor_type.to_string());
        (kind, sensor, sensor_type, listed.owner.life.node.to_string(), listed.owner.epoch, before, epoch, None)
    };
    let owner = |owner: &Owner| (owner.life.node.to_string(), owner.epoch);
    let node = |kind, life: &Life, heal| {
        let (name, none) = (life.node.to_string(), String::new());
        (kind, none.clone(), none.clone(), name, life.incarnation, none, 0, heal)
    };
    match happening {
        Happening::Registered(listed) => of("registered", listed, none()),
        Happening::Moved { now, previous } => of("moved", now, owner(previous)),
        Happening::Unregistered(listed) => of("unregistered", listed, none()),
        Happening::Healed(report) => node("healed", &report.node, Some(raw_heal(report))),
        Happening::NodeUp(life) => node("node_up", life, None),
        Happening::NodeDown(life) => node("node_down", life, None),
    }
}

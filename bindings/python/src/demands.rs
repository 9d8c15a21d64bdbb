//! The class that `senza.Demands` extends: what the cluster wants of one sensor, as it changes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pyo3::prelude::*;
use senza::Want;

use crate::bell::Bell;
use crate::contract::{RawWant, raw_want};
use crate::errors;
use crate::node::Running;
use crate::process::{Own, refuse_pickle};
use crate::sensor::Sensor;
use crate::times::Wait;

/// The demand of one sensor of this node. It keeps the latest alone.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Demands {
    running: Own<Arc<Running>>,
    demands: Own<Mutex<senza::Demands>>,
    closed: AtomicBool,
}

const BUSY: &str = "another thread is reading these demands just now";

/// A demand that is another than the one before; in a tuple, since nobody's is None.
type RawDemand = (Option<RawWant>,);

#[pymethods]
impl Demands {
    #[new]
    #[pyo3(signature = (sensor, /))]
    fn new(sensor: &Sensor) -> PyResult<Self> {
        let demands = sensor.handle()?.demands().map_err(errors::engine)?;
        let (running, demands) = (Own::new(sensor.running()?), Own::new(Mutex::new(demands)));
        Ok(Self { running, demands, closed: AtomicBool::new(false) })
    }

    /// The demand where it is another than was told before, the first time in any case; waits up to `timeout` seconds.
    /// None at its end, and when the time is over.
    #[pyo3(signature = (timeout=None))]
    fn take_raw(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<RawDemand>> {
        let mut wait = Wait::new(timeout)?;
        let demands = self.demands.get()?;
        loop {
            let mut told = None;
            let waited = wait.slice(py, |slice| {
                told = demands.try_lock().map(|mut demands| demands.recv_timeout(slice));
            })?;
            match told {
                Some(Some(want)) => return Ok(Some(raw(want))),
                _ if self.closed()? => return Ok(None),
                None if waited => {
                    return Err(errors::of("Busy", BUSY, &[]));
                }
                _ if !waited => return Ok(None),
                _ => {}
            }
        }
    }

    /// The demand where it is another, or None: then `bell` rings for `token` when it is.
    fn poll_raw(&self, bell: &Bell, token: u64) -> PyResult<Option<RawDemand>> {
        use senza_mesh::handle::Demands as Followed;
        if self.closed()? {
            return Ok(None);
        }
        let waker = bell.waker(token)?;
        let refuse = || errors::of("Busy", BUSY, &[]);
        let mut demands = self.demands.get()?.try_lock().ok_or_else(refuse)?;
        let demands: &mut Followed = &mut demands;
        Ok(match futures_core::Stream::poll_next(pin!(demands), &mut Context::from_waker(&waker)) {
            Poll::Ready(Some(want)) => Some(raw(want)),
            _ => None,
        })
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
        Err(refuse_pickle("Demands"))
    }
}

fn raw(want: Option<Want>) -> RawDemand {
    (want.as_ref().map(raw_want),)
}

//! Times as Python gives them: microseconds since 1970 as an int, or an aware `datetime`; and waits that Ctrl-C ends.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyInt;
use senza_core::Micros;

/// After so long a wait looks whether the interpreter has a signal to handle.
const SLICE: Duration = Duration::from_millis(50);

/// The time that an argument names.
///
/// # Errors
/// `TypeError` for what is no time, `OverflowError` for one that no 64 bits hold, `ValueError` for a `datetime` without
/// a time zone.
pub(crate) fn micros(time: &Bound<'_, PyAny>) -> PyResult<Micros> {
    if time.is_instance_of::<PyInt>() {
        return time.extract();
    }
    static MICROS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MICROS.import(time.py(), "senza._times", "micros")?.call1((time,))?.extract()
}

/// What is left of a wait.
pub(crate) struct Wait {
    left: Option<Duration>,
}

impl Wait {
    /// A wait of so many seconds; without, one that does not end.
    ///
    /// # Errors
    /// `ValueError` for what is no time to wait.
    pub(crate) fn new(seconds: Option<f64>) -> PyResult<Self> {
        let refuse = |_| pyo3::exceptions::PyValueError::new_err("a timeout must be seconds, at least 0");
        let left = seconds.map(Duration::try_from_secs_f64).transpose().map_err(refuse)?;
        Ok(Self { left })
    }

    /// Waits once more with `wait`, which releases nothing of its own; the interpreter is free meanwhile. Answers false
    /// when the time is over.
    ///
    /// # Errors
    /// What a signal's handler raises.
    pub(crate) fn slice(&mut self, py: Python<'_>, wait: impl FnOnce(Duration) + Send) -> PyResult<bool> {
        let slice = self.left.map_or(SLICE, |left| left.min(SLICE));
        if slice.is_zero() {
            return Ok(false);
        }
        py.detach(|| wait(slice));
        if let Some(left) = &mut self.left {
            *left -= slice;
        }
        py.check_signals()?;
        Ok(true)
    }
}

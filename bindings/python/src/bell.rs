//! How the engine tells an event loop, or a Python thread, that something is ready, without entering the interpreter.
//!
//! A bell is a pair of sockets: the engine's threads write a byte to one end, the loop watches the other
//! (`add_reader`). This, rather than a runtime of futures beside asyncio or a thread that calls `call_soon_threadsafe`,
//! because a waker runs under locks of the engine: it must not wait for the interpreter, which a thread that wants such
//! a lock may hold. It also needs no thread of ours to outlive the interpreter, and a loop that is busy is rung once,
//! not per reading.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::process::{Own, refuse_pickle};

/// Two ends, and who is ready.
struct Ends {
    ring: UnixStream,
    hear: UnixStream,
    rung: AtomicBool,
    /// Each waiter rings at most once until it waits anew, so that this is no longer than they are many.
    ready: Mutex<Vec<u64>>,
    tokens: AtomicU64,
}

/// What a loop, or a thread, hears the engine by.
#[pyclass(frozen, module = "senza._native")]
pub(crate) struct Bell {
    ends: Own<Arc<Ends>>,
}

/// Rings for one waiter.
struct Ringer {
    ends: Arc<Ends>,
    token: u64,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.ends.ready.lock().push(self.token);
        if !self.ends.rung.swap(true, Ordering::AcqRel) {
            // There is room: what was written before was read, or this is the first byte. A loop that is gone hears
            // nothing.
            let _heard_by_nobody = (&self.ends.ring).write(&[1]);
        }
    }
}

impl Bell {
    /// What rings for one waiter, once.
    pub(crate) fn waker(&self, token: u64) -> PyResult<Waker> {
        Ok(Waker::from(Arc::new(Ringer { ends: self.ends.shared()?, token })))
    }
}

#[pymethods]
impl Bell {
    #[new]
    fn new() -> PyResult<Self> {
        let (ring, hear) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        hear.set_nonblocking(true)?;
        let (rung, ready, tokens) = (AtomicBool::new(false), Mutex::default(), AtomicU64::new(0));
        Ok(Self { ends: Own::new(Arc::new(Ends { ring, hear, rung, ready, tokens })) })
    }

    /// What to watch for reading.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.ends.get()?.hear.as_raw_fd())
    }

    /// A number for a new waiter.
    fn token(&self) -> PyResult<u64> {
        Ok(self.ends.get()?.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// Rings for one waiter.
    fn ring(&self, token: u64) -> PyResult<()> {
        self.waker(token)?.wake();
        Ok(())
    }

    /// Who is ready since the last answer.
    fn answer(&self) -> PyResult<Vec<u64>> {
        let ends = self.ends.get()?;
        let mut bytes = [0; 16];
        loop {
            match (&ends.hear).read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        // In this order: who rings from here on writes a byte, or is in the list already.
        ends.rung.store(false, Ordering::Release);
        Ok(std::mem::take(&mut *ends.ready.lock()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Bell"))
    }
}

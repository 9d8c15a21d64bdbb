//! What ties objects to the process that made them: a fork leaves a child with locks that nobody holds any more and
//! without the engine's threads, so the child may neither use nor end anything of its parent's.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::errors;

/// How often this process and those before it in its line were forked.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// How often that was when the line's first node was started.
static FIRST_NODE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Notes that a node is about to be started.
///
/// # Errors
/// `Forked` in a child of a process that started one: the threads of Zenoh's runtimes, which are one set per process
/// and cannot be made anew, stayed with the parent.
pub(crate) fn start_node() -> PyResult<()> {
    let forks = FORKS.load(Ordering::Relaxed);
    if FIRST_NODE.fetch_min(forks, Ordering::Relaxed) < forks {
        return Err(errors::forked("a process that was forked from one that ran a node cannot run one"));
    }
    Ok(())
}

/// Counts a fork; the package has it called in every child.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Something of the process that made it. A forked child forgets its copy instead of dropping it.
pub(crate) struct Own<T> {
    inner: Option<T>,
    forks: u64,
}

impl<T> Own<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: Some(inner), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// What is inside, in the process that made it.
    ///
    /// # Errors
    /// `Forked` in a child of that process.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&T> {
        self.here().ok_or_else(|| errors::forked("this object is of the process that this one was forked from"))
    }

    /// The same for who must not enter the interpreter.
    #[inline]
    pub(crate) fn here(&self) -> Option<&T> {
        self.inner.as_ref().filter(|_| !self.is_foreign())
    }

    /// Whether it is of a process that this one was forked from.
    pub(crate) fn is_foreign(&self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.forks
    }
}

impl<T: Deref> Own<T> {
    /// The same for what is shared.
    pub(crate) fn shared(&self) -> PyResult<T>
    where
        T: Clone,
    {
        self.get().cloned()
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if self.is_foreign() {
            std::mem::forget(self.inner.take());
        }
    }
}

/// Why nothing here can be pickled or copied.
pub(crate) fn refuse_pickle(what: &str) -> PyErr {
    let rule = "it belongs to the process that made it; send the sensor's id or the node's endpoint instead";
    pyo3::exceptions::PyTypeError::new_err(format!("a {what} of senza cannot be pickled or copied: {rule}"))
}

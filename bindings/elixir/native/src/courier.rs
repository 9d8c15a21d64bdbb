//! A thread that sends messages to processes of this VM, one of each node and one of the log: it polls what is ready,
//! and sleeps.
//!
//! No thread of the engine and no scheduler of the VM ever waits for it: they ring, and go on.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rustler::OwnedEnv;

use crate::faults::Fault;
use crate::reaper::reap;

/// What the courier does until it is `Ready`; then it is dropped, by the reaper: a subscription that ends looks at all
/// series, and the other tasks would wait.
pub(crate) trait Task: Send {
    /// Does what can be done now; is polled again after the waker was woken. A task that has more to do wakes itself,
    /// so that others come in between.
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()>;

    /// The node stops: says farewell.
    fn stop(&mut self, _: &mut OwnedEnv) {}
}

/// Hands tasks to the thread; cheap to clone.
#[derive(Clone)]
pub(crate) struct Courier(Arc<Office>);

struct Office {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    next: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Inbox {
    new: Vec<(Arc<Slot>, Box<dyn Task>)>,
    ready: Vec<Arc<Slot>>,
    /// From here on nothing comes in: nobody would take it out, and what lies here keeps the office.
    stopping: bool,
}

/// A task's place: what wakes it.
pub(crate) struct Slot {
    number: u64,
    office: Arc<Office>,
    queued: AtomicBool,
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let mut inbox = self.office.inbox.lock();
            if inbox.stopping {
                return;
            }
            inbox.ready.push(self.clone());
            drop(inbox);
            self.office.bell.notify_one();
        }
    }
}

impl Courier {
    /// Starts the thread.
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let courier = Self(Arc::new(Office {
            inbox: Mutex::default(),
            bell: Condvar::new(),
            next: AtomicU64::new(0),
            thread: Mutex::default(),
        }));
        let office = courier.0.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&office))?;
        *courier.0.thread.lock() = Some(thread);
        Ok(courier)
    }

    /// A place for a task that is made later: who makes it can be told what wakes it first.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        Arc::new(Slot { number, office: self.0.clone(), queued: AtomicBool::new(false) })
    }

    /// Has a task polled from now on.
    ///
    /// # Errors
    /// `closed` where the thread stops: the task says no farewell.
    pub(crate) fn run(&self, slot: &Arc<Slot>, task: impl Task + 'static) -> Result<(), Fault> {
        let task: Box<dyn Task> = Box::new(task);
        let mut inbox = self.0.inbox.lock();
        if inbox.stopping {
            drop(inbox);
            reap(task);
            return Err(Fault::closed("node"));
        }
        inbox.new.push((slot.clone(), task));
        drop(inbox);
        slot.wake_by_ref();
        Ok(())
    }

    /// [`run`](Self::run) in a place of its own.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn spawn(&self, task: impl Task + 'static) -> Result<(), Fault> {
        self.run(&self.slot(), task)
    }

    /// Ends the thread and all tasks; blocks until it is done. The second time it does nothing.
    pub(crate) fn stop(&self) {
        self.0.inbox.lock().stopping = true;
        self.0.bell.notify_one();
        let thread = self.0.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the courier had panicked");
        }
    }
}

fn work(office: &Office) {
    let mut env = OwnedEnv::new();
    let mut tasks: HashMap<u64, Box<dyn Task>> = HashMap::new();
    loop {
        let Inbox { new, ready, stopping } = next(office);
        tasks.extend(new.into_iter().map(|(slot, task)| (slot.number, task)));
        if stopping {
            tasks.values_mut().for_each(|task| task.stop(&mut env));
            return;
        }
        for slot in ready {
            // An exchange, and no store: a wake that found it queued was before this, and what it was for is seen by
            // the poll. After a store, that poll could look before others see the store, and the wake would be lost.
            slot.queued.swap(false, Ordering::AcqRel);
            let waker = Waker::from(slot.clone());
            let Some(task) = tasks.get_mut(&slot.number) else { continue };
            // A bug of ours ends the task that it is in, and nobody else's.
            let polled = catch_unwind(AssertUnwindSafe(|| task.poll(&mut Context::from_waker(&waker), &mut env)));
            if polled.is_err() {
                tracing::error!("a task of the courier panicked and was ended");
                task.stop(&mut env);
            }
            if !matches!(polled, Ok(Poll::Pending))
                && let Some(ended) = tasks.remove(&slot.number)
            {
                reap(ended);
            }
        }
    }
}

/// What is to be done; sleeps until there is something.
fn next(office: &Office) -> Inbox {
    let mut inbox = office.inbox.lock();
    while inbox.new.is_empty() && inbox.ready.is_empty() && !inbox.stopping {
        office.bell.wait(&mut inbox);
    }
    let stopping = inbox.stopping;
    Inbox { new: std::mem::take(&mut inbox.new), ready: std::mem::take(&mut inbox.ready), stopping }
}

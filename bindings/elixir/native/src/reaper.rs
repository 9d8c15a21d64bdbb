//! The one thread of the VM that frees what is large. A handle is freed by the scheduler that collects it, and the last
//! of them would free a whole engine there: table, directory, queues. So would the courier, which others wait for.
//!
//! It is never joined: what is left when the VM ends needs no freeing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;

type Remains = Box<dyn Any + Send>;

static REAPER: OnceLock<Option<Sender<Remains>>> = OnceLock::new();

/// Starts the thread, unless it runs.
pub(crate) fn start() {
    REAPER.get_or_init(|| {
        // What lies here is memory that was not freed yet: a bound would have schedulers wait for that, or do it.
        let (remains, received) = crossbeam_channel::unbounded::<Remains>();
        let work = move || received.iter().for_each(bury);
        let spawned = std::thread::Builder::new().name("senza-reaper".to_owned()).spawn(work);
        spawned.map(|_| remains).inspect_err(|error| tracing::error!(%error, "no thread that frees")).ok()
    });
}

fn bury(remains: Remains) {
    if catch_unwind(AssertUnwindSafe(|| drop(remains))).is_err() {
        tracing::error!("what was freed had panicked");
    }
}

/// Has something dropped on that thread; here, where there is none.
pub(crate) fn reap(remains: impl Send + 'static) {
    let Some(Some(reaper)) = REAPER.get() else { return };
    // The thread never ends, so that somebody takes it.
    let _received = reaper.send(Box::new(remains));
}

/// Lets go of what is shared; where this was the last who held it, it is dropped on that thread.
pub(crate) fn let_go<T: Send + Sync + 'static>(shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        reap(last);
    }
}

//! Subscriptions: read by whoever asks, or by a thread of the library that calls back.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use senza::{Contract, Subscriber, SubscriberView};

use crate::batch::{ITEMS_MAX, Pile, senza_batch, senza_item};
use crate::border;
use crate::contract::{senza_contract, senza_ledger};
use crate::error::{Outcome, refuse, senza_code};
use crate::handles::{Handles, Held, Kind};
use crate::node::{self, CALLING_BACK, Part, Shared, senza_node};
use crate::text::{self, senza_filter};

/// A subscription of a node of this process. A number, not a pointer: a dead or made-up one is told. All zeros is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_subscription {
    /// Its number.
    pub id: u64,
}

/// Called with what a subscription delivers, in order per series. `items`, and all that they point to, are good until
/// it returns. The last call has no items, and `user` is not touched after it.
///
/// A subscription's calls come one after the other from one thread of the library, its own; a slow one makes its own
/// queue overflow, as its contract says, and nobody else's. It may call any function of senza. It must not throw or
/// jump out: that ends the process.
pub type senza_on_items =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, items: *const senza_item, count: usize)>;

/// Subscriptions of one process at a time.
const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Those that call back: each has a thread.
const CALLBACKS_MAX: usize = 1024;
/// Readings given to one call back at most.
const CALL_MAX: usize = 4096;
/// How long a thread sleeps between two looks whether its subscription ended; its end wakes it.
const LOOK: Duration = Duration::from_secs(10);
/// Longest wait of one poll.
const POLL_MAX_MS: u32 = 86_400_000;

static SUBSCRIPTIONS: Handles<Subscribed> = Handles::new(Kind::Subscription, 32, 28, SUBSCRIPTIONS_MAX);
static CALLBACKS: Mutex<usize> = Mutex::new(0);

struct Subscribed {
    shared: Arc<Shared>,
    view: SubscriberView,
    /// `None` where a thread reads it.
    reader: Option<Mutex<Subscriber>>,
}

/// Subscribes to what matches, on every node, sensors that come later included; read by senza_subscription_poll().
/// `filter` and `contract` may be NULL: everything, and the default.
///
/// SENZA_ARGUMENT for a pattern or a contract that breaks its rule, which is named; SENZA_FULL at a bound. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscribe(
    node: senza_node,
    filter: *const senza_filter,
    contract: *const senza_contract,
    subscription: *mut senza_subscription,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(subscription, "subscription") }?;
        // SAFETY: the header's rule of pointers.
        let (shared, reader) = unsafe { begin(node, filter, contract) }?;
        let view = reader.view();
        let held = SUBSCRIPTIONS.insert(|_| Subscribed {
            shared: shared.clone(),
            view: view.clone(),
            reader: Some(Mutex::new(reader)),
        })?;
        keep(&shared, &held, Part::Subscription(view, None))?;
        out.set(senza_subscription { id: held.id });
        Ok(())
    })
}

/// The same, delivered to `on_items` by a thread of the library; see there. At most 1,024 of a process at a time.
///
/// Calls may come before this returns. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscribe_callback(
    node: senza_node,
    filter: *const senza_filter,
    contract: *const senza_contract,
    on_items: senza_on_items,
    user: *mut c_void,
    subscription: *mut senza_subscription,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(subscription, "subscription") }?;
        let call = on_items.ok_or_else(|| refuse(senza_code::SENZA_NULL, "on_items must not be NULL"))?;
        // SAFETY: the header's rule of pointers.
        let (shared, reader) = unsafe { begin(node, filter, contract) }?;
        let view = reader.view();
        let place = CallbackPlace::take()?;
        let held = SUBSCRIPTIONS.insert(|_| Subscribed { shared: shared.clone(), view: view.clone(), reader: None })?;
        let callback = Callback { call, user };
        let spawned = std::thread::Builder::new().name("senza-callback".to_owned()).spawn(move || {
            let _place = place;
            call_back(reader, callback);
        });
        let thread = spawned.map_err(|error| {
            let _removed = SUBSCRIPTIONS.remove(held.id);
            refuse(senza_code::SENZA_FULL, format!("no thread to call back from: {error}"))
        })?;
        keep(&shared, &held, Part::Subscription(view, Some(thread)))?;
        out.set(senza_subscription { id: held.id });
        Ok(())
    })
}

/// # Safety
/// `filter` and `contract` are NULL or as their types say.
unsafe fn begin(
    node: senza_node,
    filter: *const senza_filter,
    contract: *const senza_contract,
) -> Outcome<(Arc<Shared>, Subscriber)> {
    // SAFETY: as the caller promises.
    let filter = unsafe { border::given_or_null(filter, "filter") }?;
    // SAFETY: as the caller promises.
    let filter = unsafe { text::filter(filter) }?;
    // SAFETY: as the caller promises.
    let contract = unsafe { border::given_or_null(contract, "contract") }?;
    let contract = contract.map_or_else(|| Ok(Contract::default()), senza_contract::contract)?;
    let running = node::node_to_wait_with(node)?;
    let reader = running.node.subscribe(&filter, contract)?;
    Ok((running.shared.clone(), reader))
}

/// Has the subscription end with its node, which may have been stopped meanwhile.
fn keep(shared: &Shared, held: &Held<Subscribed>, part: Part) -> Outcome<()> {
    shared.add(held.id, part).inspect_err(|_| {
        let _removed = SUBSCRIPTIONS.remove(held.id);
    })
}

/// One of the threads that may call back.
struct CallbackPlace;

impl CallbackPlace {
    fn take() -> Outcome<Self> {
        let mut taken = CALLBACKS.lock();
        if *taken >= CALLBACKS_MAX {
            let rule = format!("subscriptions that call back: the limit of {CALLBACKS_MAX} is reached");
            return Err(refuse(senza_code::SENZA_FULL, rule));
        }
        *taken += 1;
        Ok(Self)
    }
}

impl Drop for CallbackPlace {
    fn drop(&mut self) {
        *CALLBACKS.lock() -= 1;
    }
}

struct Callback {
    call: unsafe extern "C-unwind" fn(*mut c_void, *const senza_item, usize),
    user: *mut c_void,
}

// SAFETY: the header says that it is called from a thread of the library, with `user`.
unsafe impl Send for Callback {}

impl Callback {
    fn with(&self, items: &[senza_item]) {
        let first = if items.is_empty() { std::ptr::null() } else { items.as_ptr() };
        // SAFETY: the embedder's function, given as the header asks; the items outlive the call.
        unsafe { (self.call)(self.user, first, items.len()) };
    }
}

/// The life of a thread that calls back.
fn call_back(mut reader: Subscriber, callback: Callback) {
    CALLING_BACK.set(true);
    let mut pile = Pile::default();
    loop {
        pile.clear();
        if reader.read_some(CALL_MAX, LOOK, |item| pile.add_item(item)) > 0 {
            callback.with(&pile.items);
        } else if reader.is_closed() {
            break;
        }
    }
    drop(reader);
    callback.with(&[]);
}

/// Takes what a subscription delivered, at most `max` readings (told gaps and ends come on top), into `batch`; waits up
/// to `timeout_ms` for something. `max` 0 is as many as there are, up to 1,000,000.
///
/// SENZA_TIMEOUT where nothing came, SENZA_CLOSED where the subscription ended and all that was queued is read. Both
/// leave an empty batch. Waits at most a day; SENZA_ARGUMENT for more. SENZA_HANDLE for a subscription that calls back.
///
/// One thread at a time per subscription, others get SENZA_BUSY; senza_subscription_close() and senza_node_stop() of
/// another thread end the wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscription_poll(
    subscription: senza_subscription,
    max: usize,
    timeout_ms: u32,
    batch: *mut senza_batch,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        border::check_count(max, ITEMS_MAX, "max")?;
        if timeout_ms > POLL_MAX_MS {
            return Err(refuse(senza_code::SENZA_ARGUMENT, "timeout_ms must be at most 86400000, a day"));
        }
        let max = if max == 0 { ITEMS_MAX } else { max };
        let subscribed = SUBSCRIPTIONS.hold(subscription.id)?;
        let reader = subscribed
            .reader
            .as_ref()
            .ok_or_else(|| refuse(senza_code::SENZA_HANDLE, "a subscription that calls back is not to be polled"))?;
        let mut reader = reader
            .try_lock()
            .ok_or_else(|| refuse(senza_code::SENZA_BUSY, "another thread polls this subscription"))?;
        batch.fill(|pile| {
            let timeout = Duration::from_millis(u64::from(timeout_ms));
            if reader.read_some(max, timeout, |item| pile.add_item(item)) > 0 {
                return Ok(());
            }
            if reader.is_closed() {
                return Err(refuse(
                    senza_code::SENZA_CLOSED,
                    "the subscription ended, and all that was queued is read",
                ));
            }
            Err(refuse(senza_code::SENZA_TIMEOUT, "nothing came in time"))
        })
    })
}

/// Gives a subscription other filters, any of which fits: it misses nothing of what it keeps, and begins live with what
/// is new. None at all is nothing. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscription_change(
    subscription: senza_subscription,
    filters: *const senza_filter,
    count: usize,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let filters = unsafe { border::list(filters, count, 4096, "filters") }?;
        // SAFETY: the header's rule of pointers.
        let made = |filter| unsafe { text::filter(Some(filter)) };
        let filters = filters.iter().map(made).collect::<Outcome<Vec<_>>>()?;
        let subscribed = SUBSCRIPTIONS.hold(subscription.id)?;
        subscribed.shared.check()?;
        Ok(subscribed.view.change(&filters)?)
    })
}

/// The contract that is kept. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscription_contract(
    subscription: senza_subscription,
    contract: *mut senza_contract,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(contract, "contract") }?;
        out.set(senza_contract::of(&SUBSCRIPTIONS.get(subscription.id)?.view.contract()));
        Ok(())
    })
}

/// What became of every reading so far. Thread-safe, also while another thread polls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_subscription_ledger(
    subscription: senza_subscription,
    ledger: *mut senza_ledger,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(ledger, "ledger") }?;
        out.set(SUBSCRIPTIONS.get(subscription.id)?.view.ledger().into());
        Ok(())
    })
}

/// Ends a subscription; what is queued is given up. A poll of another thread that waits returns.
///
/// Of one that calls back: what is queued is still delivered, then the call without items comes, and when this returns
/// there was the last call. Within a callback (of any subscription) this does not wait for that. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_subscription_close(subscription: senza_subscription) -> senza_code {
    border::enter(|| {
        let held = SUBSCRIPTIONS.remove(subscription.id)?;
        held.shared.end(held.id);
        Ok(())
    })
}

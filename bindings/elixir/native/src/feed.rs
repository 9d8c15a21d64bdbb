//! What sends messages to one process, `{:senza, feed, …}`: the flow that all kinds of feeds have in common.
//!
//! A feed has at most `window` messages on their way that were not acknowledged, so that a slow process's mailbox is
//! bounded; what comes meanwhile waits in the engine's queue, which is bounded too. The last message is `:closed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Wake;

use rustler::{Encoder, Env, LocalPid, Monitor, OwnedEnv, Resource, ResourceArc, Term};
use senza::SubscriberView;

use crate::atoms;
use crate::courier::{Courier, Slot};
use crate::faults::{Fault, answer, shown};
use crate::reaper::reap;

/// What Elixir holds of a feed: the `feed` of its messages.
pub(crate) struct Feed {
    to: LocalPid,
    slot: Arc<Slot>,
    window: u32,
    /// Messages sent and not acknowledged.
    open: AtomicU32,
    /// It is to end: closed, or its process is gone.
    ended: AtomicBool,
    /// Its last message was sent.
    told: AtomicBool,
    /// The subscription behind it, where there is one.
    view: Option<SubscriberView>,
}

#[rustler::resource_impl]
impl Resource for Feed {
    const IMPLEMENTS_DOWN: bool = true;

    /// Its process ended.
    fn down<'a>(&'a self, _: Env<'a>, _: LocalPid, _: Monitor) {
        self.end();
    }

    fn destructor(self, _: Env<'_>) {
        // Where the subscription is over, its queue.
        if let Some(view) = self.view {
            reap(view);
        }
    }
}

impl Feed {
    /// A feed to a process, in a place of the courier's.
    ///
    /// # Errors
    /// `noproc` where the process is gone.
    pub(crate) fn open(
        env: Env<'_>,
        courier: &Courier,
        to: LocalPid,
        window: u32,
        view: Option<SubscriberView>,
    ) -> Result<ResourceArc<Self>, Fault> {
        let (open, ended, told) = (AtomicU32::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let feed = ResourceArc::new(Self { to, slot: courier.slot(), window, open, ended, told, view });
        if env.monitor(&feed, &to).is_none() {
            return Err(Fault::new("noproc", "the process that was to be sent to is gone"));
        }
        Ok(feed)
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether another message may be sent; where not, an acknowledgement wakes the task.
    pub(crate) fn may_send(&self) -> bool {
        self.open.load(Ordering::Acquire) < self.window
    }

    /// Has its task send the last message and end.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.slot.wake_by_ref();
    }

    fn acknowledge(&self, count: u32) {
        let less = |open: u32| Some(open.saturating_sub(count));
        let before = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if before.is_ok_and(|before| before >= self.window) {
            self.slot.wake_by_ref();
        }
    }
}

/// Sends one message of a feed and clears the environment that its terms lie in. Answers whether somebody was there.
pub(crate) fn send(feed: &ResourceArc<Feed>, env: &mut OwnedEnv, message: impl Encoder) -> bool {
    feed.open.fetch_add(1, Ordering::AcqRel);
    env.send_and_clear(&feed.to, |env| (atoms::senza(), feed, message.encode(env)).encode(env)).is_ok()
}

/// Sends a feed's last message. Noted after it was sent: whoever is told that it was finds it in the mailbox.
pub(crate) fn send_last(feed: &ResourceArc<Feed>, env: &mut OwnedEnv, message: impl Encoder) {
    // Where nobody is there any more, nobody misses it.
    send(feed, env, message);
    feed.told.store(true, Ordering::Release);
}

/// Sends `:closed`, the last message of most feeds.
pub(crate) fn send_end(feed: &ResourceArc<Feed>, env: &mut OwnedEnv) {
    send_last(feed, env, atoms::closed());
}

fn feed<'a>(term: Term<'a>) -> Result<&'a Feed, Fault> {
    let refuse = || Fault::argument(format!("a feed must be what Senza.subscribe/2 answers, got: {}", shown(term)));
    term.try_get_resource::<Feed>().ok_or_else(refuse)
}

/// Acknowledges messages: so many more may come.
#[rustler::nif]
fn ack<'a>(env: Env<'a>, of: Term<'a>, count: u32) -> Term<'a> {
    let acknowledge = |feed: &Feed| {
        feed.acknowledge(count);
        atoms::ok().to_term(env)
    };
    answer(env, feed(of).map(acknowledge))
}

/// Ends a feed: `:closed` is its last message. Answers whether that is still to come, which it then does for certain.
#[rustler::nif]
fn close<'a>(env: Env<'a>, of: Term<'a>) -> Term<'a> {
    let close = |feed: &Feed| {
        feed.end();
        (!feed.told.load(Ordering::Acquire)).encode(env)
    };
    answer(env, feed(of).map(close))
}

/// The process that a feed sends to.
#[rustler::nif]
fn receiver<'a>(env: Env<'a>, of: Term<'a>) -> Term<'a> {
    answer(env, feed(of).map(|feed| feed.to.encode(env)))
}

/// The subscription behind a feed.
///
/// # Errors
/// An argument fault where it is a feed of another kind.
pub(crate) fn view<'a>(term: Term<'a>) -> Result<&'a SubscriberView, Fault> {
    let refuse = || Fault::argument("this feed is of events, of a demand or of an answer, and not a subscription");
    feed(term)?.view.as_ref().ok_or_else(refuse)
}

//! Subscriptions: batches of readings to a process.

use std::task::{Context, Poll};

use rustler::{Encoder, Env, LocalPid, OwnedEnv, ResourceArc, Term};
use senza::Subscriber;

use crate::atoms;
use crate::batch::{Format, Places};
use crate::contract::{RawContract, RawFilter, contract, filter};
use crate::courier::Task;
use crate::faults::{Fault, answer};
use crate::feed::{Feed, send, send_end, view};
use crate::node::running;

/// Sends what a subscription yields.
struct Deliveries {
    feed: ResourceArc<Feed>,
    subscriber: Subscriber,
    places: Places,
    batch_max: usize,
    format: Format,
}

impl Task for Deliveries {
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()> {
        if self.feed.is_ended() {
            send_end(&self.feed, env);
            return Poll::Ready(());
        }
        if !self.feed.may_send() {
            return Poll::Pending;
        }
        // The end shows only when nothing is left: looked at before what is left.
        let closed = self.subscriber.is_closed();
        let Self { feed, subscriber, places, batch_max, format } = self;
        let (polled, items) = env.run(|env| {
            let mut names = places.begin(env, *format);
            let polled = subscriber.poll_batch(context, *batch_max, |item| names.push(places, &item));
            (polled, names.items)
        });
        if !items.is_empty() && !send(feed, env, items) {
            return Poll::Ready(());
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) if closed => {
                send_end(&self.feed, env);
                Poll::Ready(())
            }
            Poll::Ready(_) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn stop(&mut self, env: &mut OwnedEnv) {
        send_end(&self.feed, env);
    }
}

/// Subscribes a process: the filter, the contract, the most readings of a batch, the most batches on their way, and
/// what a reading is.
#[rustler::nif(schedule = "DirtyCpu")]
fn subscribe<'a>(
    env: Env<'a>,
    node: Term<'a>,
    wanted: RawFilter,
    kept: RawContract,
    to: LocalPid,
    (batch_max, window, format): (usize, u32, String),
) -> Term<'a> {
    let subscribed = || -> Result<Term<'a>, Fault> {
        let running = running(node)?;
        let (filter, contract) = (filter(&wanted)?, contract(&kept)?);
        let format = match format.as_str() {
            "struct" => Format::Struct,
            "measurement" => Format::Measurement,
            _ => Format::Tuple,
        };
        let subscriber = Subscriber::subscribe(running.engine(), &filter, contract)?;
        let feed = Feed::open(env, running.courier(), to, window, Some(subscriber.view()))?;
        let places = Places::default();
        let task = Deliveries { feed: feed.clone(), subscriber, places, batch_max, format };
        running.courier().run(feed.slot(), task)?;
        Ok((atoms::ok(), feed).encode(env))
    };
    answer(env, subscribed())
}

/// Asks for what matches any of these filters from now on.
#[rustler::nif(schedule = "DirtyCpu")]
fn change<'a>(env: Env<'a>, feed: Term<'a>, wanted: Vec<RawFilter>) -> Term<'a> {
    let changed = || -> Result<Term<'a>, Fault> {
        let filters = wanted.iter().map(filter).collect::<Result<Vec<_>, Fault>>()?;
        let view = view(feed)?;
        if view.is_closed() {
            return Err(Fault::closed("subscription"));
        }
        view.change(&filters)?;
        Ok(atoms::ok().to_term(env))
    };
    answer(env, changed())
}

/// What became of every reading so far: offered, delivered, conflated, filtered, dropped, queued.
#[rustler::nif]
fn ledger<'a>(env: Env<'a>, feed: Term<'a>) -> Term<'a> {
    let told = view(feed).map(|view| {
        let ledger = view.ledger();
        let parts =
            (ledger.offered, ledger.delivered, ledger.conflated, ledger.filtered, ledger.dropped, ledger.queued);
        parts.encode(env)
    });
    answer(env, told)
}

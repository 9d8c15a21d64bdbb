//! What happens to the sensors and nodes of the cluster, as messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake};

use crossbeam_channel::Receiver;
use rustler::{Atom, Encoder, Env, LocalPid, OwnedEnv, ResourceArc, Term};
use senza::{Happening, Listed};
use senza_core::Life;

use crate::atoms;
use crate::courier::Task;
use crate::faults::{Fault, answer};
use crate::feed::{Feed, send, send_end};
use crate::heals::{claim, report};
use crate::node::running;
use crate::value::record;

/// Sends what happened.
struct Events {
    feed: ResourceArc<Feed>,
    queue: Receiver<Happening>,
    lost: Arc<AtomicU64>,
    told_lost: u64,
    batch_max: usize,
    /// What makes a term of an event.
    event: Encode,
}

type Encode = for<'a> fn(Env<'a>, &Happening) -> Term<'a>;

impl Task for Events {
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()> {
        if self.feed.is_ended() {
            send_end(&self.feed, env);
            return Poll::Ready(());
        }
        if !self.feed.may_send() {
            return Poll::Pending;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        let items = env.run(|env| {
            let mut items: Vec<Term<'_>> =
                self.queue.try_iter().take(self.batch_max).map(|told| (self.event)(env, &told)).collect();
            if lost > self.told_lost {
                // They came after all that was queued then: told behind what is read now, it is early and not late.
                items.push((atoms::events_lost(), lost - self.told_lost).encode(env));
            }
            items
        });
        self.told_lost = lost;
        if items.is_empty() {
            return Poll::Pending;
        }
        if !send(&self.feed, env, items) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn stop(&mut self, env: &mut OwnedEnv) {
        send_end(&self.feed, env);
    }
}

/// A flat tuple: what most want to know.
fn tuple<'a>(env: Env<'a>, happening: &Happening) -> Term<'a> {
    match happening {
        Happening::Registered(listed) => {
            (atoms::sensor_registered(), listed.sensor.as_str(), listed.owner.life.node.as_str()).encode(env)
        }
        Happening::Unregistered(listed) => {
            (atoms::sensor_unregistered(), listed.sensor.as_str(), listed.owner.life.node.as_str()).encode(env)
        }
        Happening::Moved { now, previous } => {
            let (sensor, node) = (now.sensor.as_str(), now.owner.life.node.as_str());
            (atoms::sensor_moved(), sensor, node, previous.life.node.as_str()).encode(env)
        }
        Happening::Healed(report) => (atoms::healed(), report.node.node.as_str(), report.total).encode(env),
        Happening::NodeUp(life) => (atoms::node_up(), life.node.as_str()).encode(env),
        Happening::NodeDown(life) => (atoms::node_down(), life.node.as_str()).encode(env),
    }
}

/// What happened, and a map of all that is known of it.
fn detailed<'a>(env: Env<'a>, happening: &Happening) -> Term<'a> {
    match happening {
        Happening::Registered(listed) => (atoms::sensor_registered(), record(env, &sensor(env, listed))).encode(env),
        Happening::Unregistered(listed) => {
            (atoms::sensor_unregistered(), record(env, &sensor(env, listed))).encode(env)
        }
        Happening::Moved { now, previous } => {
            let [id, kind, node, epoch] = sensor(env, now);
            let fields = [id, kind, node, epoch, (atoms::previous(), claim(env, previous))];
            (atoms::sensor_moved(), record(env, &fields)).encode(env)
        }
        Happening::Healed(healed) => (atoms::healed(), report(env, healed)).encode(env),
        Happening::NodeUp(life) => (atoms::node_up(), record(env, &of_node(env, life))).encode(env),
        Happening::NodeDown(life) => (atoms::node_down(), record(env, &of_node(env, life))).encode(env),
    }
}

fn sensor<'a>(env: Env<'a>, listed: &Listed) -> [(Atom, Term<'a>); 4] {
    [
        (atoms::sensor(), listed.sensor.as_str().encode(env)),
        (atoms::sensor_type(), listed.sensor_type.as_str().encode(env)),
        (atoms::node(), listed.owner.life.node.as_str().encode(env)),
        (atoms::epoch(), listed.owner.epoch.encode(env)),
    ]
}

fn of_node<'a>(env: Env<'a>, life: &Life) -> [(Atom, Term<'a>); 2] {
    [(atoms::node(), life.node.as_str().encode(env)), (atoms::incarnation(), life.incarnation.encode(env))]
}

/// Tells a process what happens from now on, in order per sensor. A queue of many places takes its time to be made.
#[rustler::nif(schedule = "DirtyCpu")]
fn listen<'a>(
    env: Env<'a>,
    node: Term<'a>,
    to: LocalPid,
    (batch_max, window, format): (usize, u32, String),
) -> Term<'a> {
    let listening = || -> Result<Term<'a>, Fault> {
        let running = running(node)?;
        let event: Encode = if format == "map" { detailed } else { tuple };
        let feed = Feed::open(env, running.courier(), to, window, None)?;
        let slot = feed.slot().clone();
        let (queue, lost) = running.engine().listen(move || slot.wake_by_ref());
        let task = Events { feed: feed.clone(), queue, lost, told_lost: 0, batch_max, event };
        running.courier().run(feed.slot(), task)?;
        Ok((atoms::ok(), feed).encode(env))
    };
    answer(env, listening())
}

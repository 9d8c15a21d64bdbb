//! What the cluster wants of a sensor of this node: as it is, and as it changes.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, ResourceArc, Term};
use senza::{Demands, Error, Listed, SensorId, Want};
use senza_core::Epoch;

use crate::atoms;
use crate::contract::demand_term;
use crate::courier::Task;
use crate::faults::{Fault, answer, text};
use crate::feed::{Feed, send, send_end};
use crate::node::{Running, running};
use crate::registrations::sensor_ref;

/// A demand is a state: one message is on its way, and after it goes what is newest then.
const WINDOW: u32 = 1;

/// Sends a sensor's demand.
struct Following {
    feed: ResourceArc<Feed>,
    sensor: SensorId,
    demands: Demands,
    /// `None` before the first.
    newest: Option<Option<Want>>,
    sent: Option<Option<Want>>,
}

impl Task for Following {
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()> {
        // Until it is pending: only then does the next change, or the end, wake this task.
        while let Poll::Ready(Some(demand)) = Pin::new(&mut self.demands).poll_next(context) {
            self.newest = Some(demand);
        }
        // Looked at after that: an end in between wakes, and one before is seen.
        if self.feed.is_ended() || self.demands.is_over() {
            send_end(&self.feed, env);
            return Poll::Ready(());
        }
        if self.newest == self.sent || !self.feed.may_send() {
            return Poll::Pending;
        }
        self.sent = self.newest;
        let (sensor, demand) = (self.sensor.as_str(), self.newest.flatten());
        let message = env.run(|env| (atoms::demand(), sensor, demand_term(env, demand.as_ref())).encode(env));
        if send(&self.feed, env, message) { Poll::Pending } else { Poll::Ready(()) }
    }

    fn stop(&mut self, env: &mut OwnedEnv) {
        send_end(&self.feed, env);
    }
}

/// What all subscriptions of the cluster together want of a sensor of this node; nil where nobody watches it.
#[rustler::nif]
fn demand<'a>(env: Env<'a>, node: Term<'a>, sensor: Term<'a>) -> Term<'a> {
    let told = || -> Result<Term<'a>, Fault> {
        let (running, sensor) = (running(node)?, text(sensor, "a sensor's id")?);
        Ok(demand_term(env, running.engine().demand(sensor).as_ref()))
    };
    answer(env, told())
}

/// Sends a process the demand of a sensor of this node, as it is and as it changes, until the claim that stands now
/// ends. Following waits for who looks at all that are followed.
#[rustler::nif(schedule = "DirtyCpu")]
fn follow_demand<'a>(env: Env<'a>, node: Term<'a>, sensor: Term<'a>, to: LocalPid) -> Term<'a> {
    let followed = || -> Result<Term<'a>, Fault> {
        let (running, sensor) = (running(node)?, SensorId::new(text(sensor, "a sensor's id")?)?);
        // Where it is not here, no claim of this number is.
        let epoch = running.engine().view(sensor.as_str()).map_or(0, |view| view.epoch);
        let none = Error::NotFound { sensor: sensor.to_string() };
        follow(env, running, (&sensor, epoch), none, to)
    };
    answer(env, followed())
}

/// The same by a sensor's handle.
#[rustler::nif(schedule = "DirtyCpu")]
fn follow_demand_of<'a>(env: Env<'a>, sensor: Term<'a>, to: LocalPid) -> Term<'a> {
    let followed = || -> Result<Term<'a>, Fault> {
        let (running, sensor, epoch) = sensor_ref(sensor)?.claim();
        follow(env, running, (sensor, epoch), Error::Unregistered, to)
    };
    answer(env, followed())
}

/// Follows a claim; `none` says that there is none, of no node.
fn follow<'a>(
    env: Env<'a>,
    running: &Running,
    (sensor, epoch): (&SensorId, Epoch),
    none: Error,
    to: LocalPid,
) -> Result<Term<'a>, Fault> {
    let engine = running.engine();
    let demands = Demands::follow(engine, sensor, epoch)?;
    if demands.is_over() {
        let elsewhere = engine.listed(sensor.as_str()).filter(|listed| !listed.owner.local);
        let not_owner = |listed: Listed| Error::NotOwner { sensor: sensor.to_string(), node: listed.owner.life.node };
        return Err(elsewhere.map_or(none, not_owner).into());
    }
    let feed = Feed::open(env, running.courier(), to, WINDOW, None)?;
    let task = Following { feed: feed.clone(), sensor: sensor.clone(), demands, newest: None, sent: None };
    running.courier().run(feed.slot(), task)?;
    Ok((atoms::ok(), feed).encode(env))
}

//! Readings of a sensor of any node, asked of its owner; nobody waits for the answer but the process that asked.

use std::pin::Pin;
use std::task::{Context, Poll};

use rustler::{Encoder, Env, LocalPid, OwnedEnv, ResourceArc, Term};
use senza::{AttributeId, Reading, SensorId};
use senza_core::codec::Question;
use tokio::sync::oneshot;

use crate::atoms;
use crate::courier::Task;
use crate::faults::{Fault, answer, text};
use crate::feed::{Feed, send_end, send_last};
use crate::node::running;
use crate::reading;

/// Sends an owner's answer.
struct Asked {
    feed: ResourceArc<Feed>,
    answer: oneshot::Receiver<Vec<Reading>>,
}

impl Task for Asked {
    fn poll(&mut self, context: &mut Context<'_>, env: &mut OwnedEnv) -> Poll<()> {
        if self.feed.is_ended() {
            send_end(&self.feed, env);
            return Poll::Ready(());
        }
        match Pin::new(&mut self.answer).poll(context) {
            Poll::Pending => return Poll::Pending,
            // An answer came that could not be read: the engine let go of the question.
            Poll::Ready(Err(_)) => send_last(&self.feed, env, atoms::wire()),
            Poll::Ready(Ok(readings)) => {
                let terms = env.run(|env| readings.iter().map(|one| reading::to_term(env, one)).collect::<Vec<_>>());
                send_last(&self.feed, env, (atoms::ok(), terms));
            }
        }
        Poll::Ready(())
    }

    fn stop(&mut self, env: &mut OwnedEnv) {
        send_end(&self.feed, env);
    }
}

/// Asks a sensor's owner for the newest `last` readings within a span; the answer is a message to the process.
fn asked<'a>(
    env: Env<'a>,
    (node, sensor, attribute): (Term<'a>, Term<'a>, Term<'a>),
    (from, to, last): (i64, i64, u32),
    pid: LocalPid,
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let question = Question {
        sensor: SensorId::new(text(sensor, "a sensor's id")?)?,
        attribute: AttributeId::new(text(attribute, "an attribute's id")?)?,
        from,
        to,
        last,
    };
    let answer = running.engine().ask(question)?;
    let feed = Feed::open(env, running.courier(), pid, 1, None)?;
    running.courier().run(feed.slot(), Asked { feed: feed.clone(), answer })?;
    Ok((atoms::ok(), feed).encode(env))
}

/// Asks for few readings, of which none is newer than the span.
#[rustler::nif]
fn ask<'a>(
    env: Env<'a>,
    node: Term<'a>,
    sensor: Term<'a>,
    attribute: Term<'a>,
    span: (i64, i64, u32),
    pid: LocalPid,
) -> Term<'a> {
    answer(env, asked(env, (node, sensor, attribute), span, pid))
}

/// Asks for any number: a sensor of this node is read at once.
#[rustler::nif(schedule = "DirtyCpu")]
fn ask_much<'a>(
    env: Env<'a>,
    node: Term<'a>,
    sensor: Term<'a>,
    attribute: Term<'a>,
    span: (i64, i64, u32),
    pid: LocalPid,
) -> Term<'a> {
    answer(env, asked(env, (node, sensor, attribute), span, pid))
}

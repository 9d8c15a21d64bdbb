//! The shadow mode: a registry of Elixir's stays in charge of look-ups, and the engine compares.
//!
//! The engine asks the registry in charge on the thread of the look-up, where no Elixir can be called: so its answer is
//! asked first and lies ready on that thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use rustler::{Encoder, Env, Term};
use senza::{Disagreement, Engine, Existing, NodeName, SensorId};

use crate::atoms;
use crate::faults::{Fault, answer, text};
use crate::node::running;

/// What the registry in charge says of the look-ups of this thread.
enum Told {
    /// Nothing was asked: a look-up of the engine's own, or of a plain client.
    Nothing,
    One(Option<NodeName>),
    All(HashMap<SensorId, NodeName>),
}

thread_local! {
    static TOLD: RefCell<Told> = const { RefCell::new(Told::Nothing) };
}

/// The registry in charge, as the engine sees it.
struct InCharge(Weak<Engine>);

impl Existing for InCharge {
    fn whereis(&self, sensor: &str) -> Option<NodeName> {
        let told = TOLD.with_borrow(|told| match told {
            Told::Nothing => None,
            Told::One(node) => Some(node.clone()),
            Told::All(known) => Some(known.get(sensor).cloned()),
        });
        told.unwrap_or_else(|| self.0.upgrade().and_then(|engine| ours(&engine, sensor)))
    }

    fn ids(&self) -> Vec<SensorId> {
        TOLD.with_borrow(|told| match told {
            Told::All(known) => known.keys().cloned().collect(),
            Told::Nothing | Told::One(_) => Vec::new(),
        })
    }
}

/// The owner by senza.
fn ours(engine: &Engine, sensor: &str) -> Option<NodeName> {
    engine.locate(sensor).and_then(|located| engine.life(located.life)).map(|life| life.node)
}

/// Runs `look` with an answer ready, and takes that away again, also where it panics.
fn telling<T>(told: Told, look: impl FnOnce() -> T) -> T {
    struct Silence;
    impl Drop for Silence {
        fn drop(&mut self) {
            TOLD.set(Told::Nothing);
        }
    }
    TOLD.set(told);
    let _silence = Silence;
    look()
}

/// Leaves a registry of Elixir's in charge of look-ups.
#[rustler::nif(schedule = "DirtyIo")]
fn shadow<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let switched = running(node).map(|running| {
        running.engine().shadow(Arc::new(InCharge(Arc::downgrade(running.engine()))));
        atoms::ok().to_term(env)
    });
    answer(env, switched)
}

/// Compares one answer of the registry in charge: an owner's name, or nil. Answers `:ok`, or the owner by senza.
#[rustler::nif]
fn compare_one<'a>(env: Env<'a>, node: Term<'a>, sensor: Term<'a>, existing: Option<String>) -> Term<'a> {
    let compared = || -> Result<Term<'a>, Fault> {
        let (running, sensor) = (running(node)?, text(sensor, "a sensor's id")?);
        let existing = existing.map(NodeName::new).transpose()?;
        let ours = ours(running.engine(), sensor);
        telling(Told::One(existing.clone()), || running.engine().whereis(sensor));
        if ours == existing {
            return Ok(atoms::ok().to_term(env));
        }
        Ok((atoms::differs(), ours.as_ref().map(NodeName::as_str)).encode(env))
    };
    answer(env, compared())
}

/// Compares all that the registry in charge and senza know; answers what differed.
#[rustler::nif(schedule = "DirtyCpu")]
fn compare_all<'a>(env: Env<'a>, node: Term<'a>, known: Vec<(String, String)>) -> Term<'a> {
    let compared = || -> Result<Term<'a>, Fault> {
        let running = running(node)?;
        let pair = |(id, node): &(String, String)| -> Result<(SensorId, NodeName), Fault> {
            Ok((SensorId::new(id)?, NodeName::new(node)?))
        };
        let known = known.iter().map(pair).collect::<Result<HashMap<_, _>, Fault>>()?;
        let differed = telling(Told::All(known), || running.engine().compare());
        Ok(differed.iter().map(|one| disagreement(env, one)).collect::<Vec<_>>().encode(env))
    };
    answer(env, compared())
}

/// What comparing found so far: compared, missing, extra, of another node, the newest samples.
#[rustler::nif]
fn comparison<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let told = running(node).map(|running| {
        let found = running.engine().comparison();
        let samples: Vec<Term<'a>> = found.samples.iter().map(|one| disagreement(env, one)).collect();
        (found.compared, found.missing, found.extra, found.other_node, samples).encode(env)
    });
    answer(env, told)
}

fn disagreement<'a>(env: Env<'a>, one: &Disagreement) -> Term<'a> {
    let name = |node: &Option<NodeName>| node.as_ref().map(|node| node.as_str().to_owned());
    (&one.sensor, name(&one.existing), name(&one.senza), one.at).encode(env)
}

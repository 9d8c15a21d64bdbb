//! What heals settled: the sensors that two nodes had claimed, and whose they are now.

use std::sync::Arc;

use rustler::{Encoder, Env, Term};
use senza::{HealReport, Settled};
use senza_core::directory::Owner;

use crate::atoms;
use crate::faults::answer;
use crate::node::{Running, running};
use crate::value::record;

/// The map that a report is.
pub(crate) fn report<'a>(env: Env<'a>, report: &HealReport) -> Term<'a> {
    let duplicates: Vec<Term<'a>> = report.duplicates.iter().map(|one| settled(env, one)).collect();
    let fields = [
        (atoms::node(), report.node.node.as_str().encode(env)),
        (atoms::incarnation(), report.node.incarnation.encode(env)),
        (atoms::returned(), report.returned.encode(env)),
        (atoms::at(), report.at.encode(env)),
        (atoms::total(), report.total.encode(env)),
        (atoms::duplicates(), duplicates.encode(env)),
    ];
    record(env, &fields)
}

fn settled<'a>(env: Env<'a>, settled: &Settled) -> Term<'a> {
    let fields = [
        (atoms::sensor(), settled.sensor.as_str().encode(env)),
        (atoms::winner(), claim(env, &settled.winner)),
        (atoms::loser(), claim(env, &settled.loser)),
    ];
    record(env, &fields)
}

/// The name of a claim's node, and its number.
pub(crate) fn claim<'a>(env: Env<'a>, owner: &Owner) -> Term<'a> {
    (owner.life.node.as_str(), owner.epoch).encode(env)
}

/// The last reports, oldest first: they may list many sensors.
#[rustler::nif(schedule = "DirtyCpu")]
fn heals<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let reports = |running: &Arc<Running>| {
        let heals = running.engine().heals();
        heals.iter().map(|one| report(env, one)).collect::<Vec<_>>().encode(env)
    };
    answer(env, running(node).map(reports))
}

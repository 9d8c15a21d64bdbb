//! Listings: sensors of the cluster, and their ids, in pages. On dirty schedulers, since they walk the directory.

use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use senza::{Filter, Listed};

use crate::atoms;
use crate::contract::{RawFilter, filter};
use crate::faults::{Fault, answer};
use crate::node::running;

/// Where a listing goes on.
struct Cursor(senza::Cursor);

#[rustler::resource_impl]
impl Resource for Cursor {}

fn listed<'a>(env: Env<'a>, listed: &Listed) -> Term<'a> {
    let owner = &listed.owner;
    let (sensor, kind, node) = (listed.sensor.as_str(), listed.sensor_type.as_str(), owner.life.node.as_str());
    (sensor, kind, node, owner.epoch, owner.local).encode(env)
}

/// A page, each sensor as `term` says, and where it goes on: nil at the end.
fn paged<'a>(
    env: Env<'a>,
    (node, from): (Term<'a>, Term<'a>),
    (filter, limit): (&Filter, usize),
    term: impl Fn(&Listed) -> Term<'a>,
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let from = from.try_get_resource::<Cursor>().map(|cursor| cursor.0.clone()).unwrap_or_default();
    let page = running.engine().page(&from, filter, limit);
    let sensors: Vec<Term<'a>> = page.sensors.iter().map(term).collect();
    Ok(match page.next.map(|cursor| ResourceArc::new(Cursor(cursor))) {
        Some(next) => (sensors, next).encode(env),
        None => (sensors, atoms::nil()).encode(env),
    })
}

/// A page of the sensors that match.
#[rustler::nif(schedule = "DirtyCpu")]
fn page<'a>(env: Env<'a>, node: Term<'a>, from: Term<'a>, wanted: RawFilter, limit: usize) -> Term<'a> {
    let page = filter(&wanted);
    answer(env, page.and_then(|filter| paged(env, (node, from), (&filter, limit), |one| listed(env, one))))
}

/// A page of the ids of all sensors.
#[rustler::nif(schedule = "DirtyCpu")]
fn ids<'a>(env: Env<'a>, node: Term<'a>, from: Term<'a>, limit: usize) -> Term<'a> {
    answer(env, paged(env, (node, from), (&Filter::all(), limit), |one| one.sensor.as_str().encode(env)))
}

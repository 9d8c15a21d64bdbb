//! Listings: sensors of the cluster in pages, and all ids at once. On dirty schedulers, since they walk the directory.

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

/// A page of the sensors that match, and where it goes on: nil at the end.
#[rustler::nif(schedule = "DirtyCpu")]
fn page<'a>(env: Env<'a>, node: Term<'a>, from: Term<'a>, wanted: RawFilter, limit: usize) -> Term<'a> {
    let paged = || -> Result<Term<'a>, Fault> {
        let running = running(node)?;
        let from = from.try_get_resource::<Cursor>().map(|cursor| cursor.0.clone()).unwrap_or_default();
        let page = running.engine().page(&from, &filter(&wanted)?, limit);
        let sensors: Vec<Term<'a>> = page.sensors.iter().map(|one| listed(env, one)).collect();
        let next = page.next.map(|cursor| ResourceArc::new(Cursor(cursor)));
        Ok(match next {
            Some(next) => (sensors, next).encode(env),
            None => (sensors, atoms::nil()).encode(env),
        })
    };
    answer(env, paged())
}

/// The ids of all sensors of the cluster.
#[rustler::nif(schedule = "DirtyCpu")]
fn ids<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let all = running(node).map(|running| {
        let sensors = running.engine().sensors(&Filter::all());
        sensors.iter().map(|listed| listed.sensor.as_str().encode(env)).collect::<Vec<_>>().encode(env)
    });
    answer(env, all)
}

//! Readings in: one by ids, one by a sensor's handle, many by ids.

use rustler::{Atom, Encoder, Env, ListIterator, Term};
use senza::Value;
use senza_core::Micros;
use senza_core::table::NamedPoint;
use senza_mesh::clock::{Clock, SystemClock};

use crate::atoms;
use crate::faults::{Fault, answer, shown, text};
use crate::node::running;
use crate::registrations::{self, sensor_ref};
use crate::value::{self, JSON_AT_ONCE};

/// Bytes of texts, JSON and the like that a normal scheduler takes in one call.
const BYTES_MAX: usize = 64 * 1024;

/// The device's time: microseconds since 1970, or nil for now.
#[inline]
fn source_time(term: Term<'_>) -> Result<Option<Micros>, Fault> {
    if let Ok(time) = term.decode::<Micros>() {
        return Ok(Some(time));
    }
    if term.decode::<Atom>().is_ok_and(|atom| atom == atoms::nil()) {
        return Ok(None);
    }
    let rule = "a time must be a DateTime, or microseconds since 1970 that fit 64 bits";
    Err(Fault::argument(format!("{rule}, got: {}", shown(term))))
}

#[inline]
fn put_one<'a>(
    env: Env<'a>,
    node: Term<'a>,
    (sensor, attribute): (Term<'a>, Term<'a>),
    (value, time): (Term<'a>, Term<'a>),
    json_max: usize,
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let (sensor, attribute) = (text(sensor, "a sensor's id")?, text(attribute, "an attribute's id")?);
    let (value, time) = (value::from_term(value, json_max)?, source_time(time)?);
    Ok(running.engine().put_by_id(sensor, attribute, value, time)?.encode(env))
}

/// Puts one reading by ids and answers its number; `busy` where it is much JSON.
#[rustler::nif]
fn put<'a>(
    env: Env<'a>,
    node: Term<'a>,
    sensor: Term<'a>,
    attribute: Term<'a>,
    value: Term<'a>,
    time: Term<'a>,
) -> Term<'a> {
    answer(env, put_one(env, node, (sensor, attribute), (value, time), JSON_AT_ONCE))
}

/// The same of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn put_large<'a>(
    env: Env<'a>,
    node: Term<'a>,
    sensor: Term<'a>,
    attribute: Term<'a>,
    value: Term<'a>,
    time: Term<'a>,
) -> Term<'a> {
    answer(env, put_one(env, node, (sensor, attribute), (value, time), usize::MAX))
}

#[inline]
fn put_by_handle<'a>(
    env: Env<'a>,
    sensor: Term<'a>,
    attribute: Term<'a>,
    (value, time): (Term<'a>, Term<'a>),
    (json_max, wait): (usize, bool),
) -> Result<Term<'a>, Fault> {
    let attribute = text(attribute, "an attribute's id")?;
    let (value, time) = (value::from_term(value, json_max)?, source_time(time)?);
    let seq = match wait {
        true => sensor_ref(sensor)?.put_wait(attribute, value, time),
        false => registrations::put(sensor, attribute, value, time),
    };
    Ok(seq?.encode(env))
}

/// Puts one reading by a sensor's handle and answers its number; `busy` where it is much JSON.
#[rustler::nif]
fn put_to<'a>(env: Env<'a>, sensor: Term<'a>, attribute: Term<'a>, value: Term<'a>, time: Term<'a>) -> Term<'a> {
    answer(env, put_by_handle(env, sensor, attribute, (value, time), (JSON_AT_ONCE, false)))
}

/// The same of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn put_large_to<'a>(env: Env<'a>, sensor: Term<'a>, attribute: Term<'a>, value: Term<'a>, time: Term<'a>) -> Term<'a> {
    answer(env, put_by_handle(env, sensor, attribute, (value, time), (usize::MAX, false)))
}

/// The same, waiting for readers of this node whose contract has writers wait, each as long as it says.
#[rustler::nif(schedule = "DirtyIo")]
fn put_wait<'a>(env: Env<'a>, sensor: Term<'a>, attribute: Term<'a>, value: Term<'a>, time: Term<'a>) -> Term<'a> {
    answer(env, put_by_handle(env, sensor, attribute, (value, time), (usize::MAX, true)))
}

/// A reading of a list: `{sensor, attribute, value}` or `{sensor, attribute, value, time}`.
fn point<'a>(item: Term<'a>, now: Micros, json_max: usize) -> Result<NamedPoint<'a>, Fault> {
    let refuse = || {
        let rule = "a reading must be {sensor, attribute, value} or {sensor, attribute, value, time}";
        Fault::argument(format!("{rule}, got: {}", shown(item)))
    };
    type Timed<'b> = (Term<'b>, Term<'b>, Term<'b>, Term<'b>);
    let (sensor, attribute, value, time) = match item.decode::<(Term<'a>, Term<'a>, Term<'a>)>() {
        Ok((sensor, attribute, value)) => (sensor, attribute, value, None),
        Err(_) => match item.decode::<Timed<'a>>().map_err(|_| refuse())? {
            // A `DateTime`: Elixir makes it a number, and comes again.
            (_, _, _, time) if time.is_map() => return Err(Fault::new("times", "a time must be a DateTime")),
            (sensor, attribute, value, time) => (sensor, attribute, value, source_time(time)?),
        },
    };
    Ok(NamedPoint {
        sensor: text(sensor, "a sensor's id")?,
        attribute: text(attribute, "an attribute's id")?,
        value: value::from_term(value, json_max)?,
        source_time: time.unwrap_or(now),
    })
}

/// Puts them all; answers those that were refused, by their place. `busy`, and nothing was put, where there is more to
/// do than a normal scheduler is to be held for.
fn put_all<'a>(
    env: Env<'a>,
    node: Term<'a>,
    readings: Term<'a>,
    (bytes_max, json_max): (usize, usize),
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let refuse = || Fault::argument(format!("readings must be a list, got: {}", shown(readings)));
    let count = readings.list_length().map_err(|_| refuse())?;
    let now = SystemClock.now();
    let (mut points, mut bytes, mut json) = (Vec::with_capacity(count), 0, 0);
    for item in readings.decode::<ListIterator<'a>>().map_err(|_| refuse())? {
        let point = point(item, now, json_max.saturating_sub(json))?;
        bytes += point.value.bytes_beside();
        if let Value::Json(text) = &point.value {
            json += text.len();
        }
        if bytes > bytes_max {
            return Err(Fault::new("busy", "more bytes than are taken at once"));
        }
        points.push(point);
    }
    let refused = running.engine().put_many_by_id(&points);
    if refused.is_empty() {
        return Ok(atoms::ok().to_term(env));
    }
    let refused: Vec<(usize, Fault)> = refused.into_iter().map(|(at, error)| (at, error.into())).collect();
    Ok(refused.encode(env))
}

/// Puts a small list.
#[rustler::nif]
fn put_few<'a>(env: Env<'a>, node: Term<'a>, readings: Term<'a>) -> Term<'a> {
    answer(env, put_all(env, node, readings, (BYTES_MAX, JSON_AT_ONCE)))
}

/// Puts any list.
#[rustler::nif(schedule = "DirtyCpu")]
fn put_many<'a>(env: Env<'a>, node: Term<'a>, readings: Term<'a>) -> Term<'a> {
    answer(env, put_all(env, node, readings, (usize::MAX, usize::MAX)))
}

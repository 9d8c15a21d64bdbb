//! One reading as the struct `Senza.Reading`; `latest`.

use rustler::{Encoder, Env, Term};
use senza::{Reading, Value};

use crate::atoms;
use crate::faults::{Fault, answer, text};
use crate::node::running;
use crate::value;

/// The struct that a reading is.
pub(crate) fn to_term<'a>(env: Env<'a>, reading: &Reading) -> Term<'a> {
    let series = &reading.series;
    let keys = [
        atoms::struct_key(),
        atoms::sensor(),
        atoms::attribute(),
        atoms::value(),
        atoms::time(),
        atoms::received(),
        atoms::seq(),
        atoms::epoch(),
        atoms::node(),
        atoms::sensor_type(),
    ];
    let values = [
        atoms::reading_struct().to_term(env),
        series.sensor.as_str().encode(env),
        series.attribute.as_str().encode(env),
        value::to_term(env, &reading.value),
        reading.source_time.encode(env),
        reading.received_time.encode(env),
        reading.seq.encode(env),
        series.epoch.encode(env),
        series.node.as_str().encode(env),
        series.sensor_type.as_str().encode(env),
    ];
    value::map(env, &keys.map(|key| key.to_term(env)), &values)
}

fn latest_of<'a>(
    env: Env<'a>,
    node: Term<'a>,
    (sensor, attribute): (Term<'a>, Term<'a>),
    json_max: usize,
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let (sensor, attribute) = (text(sensor, "a sensor's id")?, text(attribute, "an attribute's id")?);
    let Some(reading) = running.engine().latest(sensor, attribute) else {
        return Ok((atoms::error(), atoms::not_found()).encode(env));
    };
    match &reading.value {
        Value::Json(text) if text.len() > json_max => Err(Fault::new("busy", "more JSON than is read at once")),
        _ => Ok((atoms::ok(), to_term(env, &reading)).encode(env)),
    }
}

/// The latest reading of an attribute of a sensor of this node; `busy` where it is much JSON.
#[rustler::nif]
fn latest<'a>(env: Env<'a>, node: Term<'a>, sensor: Term<'a>, attribute: Term<'a>) -> Term<'a> {
    answer(env, latest_of(env, node, (sensor, attribute), value::JSON_AT_ONCE))
}

/// The same of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn latest_large<'a>(env: Env<'a>, node: Term<'a>, sensor: Term<'a>, attribute: Term<'a>) -> Term<'a> {
    answer(env, latest_of(env, node, (sensor, attribute), usize::MAX))
}

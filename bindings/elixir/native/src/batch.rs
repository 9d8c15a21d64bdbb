//! A batch as Elixir gets it: a list in order of arrival, of readings, told gaps and ends, each a tagged tuple.

use std::sync::Arc;

use rustler::{Atom, Encoder, Env, Term};
use senza::{Reading, Value};
use senza_core::subscription::Item;
use senza_core::{EndReason, GapReason, Series};

use crate::{atoms, reading, value};

/// What a reading of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `{:reading, sensor, attribute, value, time, seq}`.
    Tuple,
    /// `{:reading, %Senza.Reading{}}`.
    Struct,
    /// `{:measurement, %{sensor_id: …, attribute_id: …, payload: …, timestamp: …}}`, its time in milliseconds.
    Measurement,
}

/// Names of series that were met, in one batch.
pub(crate) struct Names<'a> {
    env: Env<'a>,
    format: Format,
    met: Vec<(Term<'a>, Term<'a>)>,
    /// The attribute of the series before, which mostly is that of the next.
    attribute: Option<(*const u8, Term<'a>)>,
    pub(crate) items: Vec<Term<'a>>,
}

/// By a series' number in the queue: in which batch it was last met, and its place there.
#[derive(Default)]
pub(crate) struct Places {
    batch: u64,
    places: Vec<(u64, u32)>,
}

impl Places {
    /// Begins a batch in an environment.
    pub(crate) fn begin<'a>(&mut self, env: Env<'a>, format: Format) -> Names<'a> {
        self.batch += 1;
        Names { env, format, met: Vec::new(), attribute: None, items: Vec::new() }
    }
}

impl<'a> Names<'a> {
    /// Adds what was taken from a queue.
    pub(crate) fn push(&mut self, places: &mut Places, item: &Item<'_>) {
        let (env, row) = (self.env, &item.row);
        if row.is_reading() {
            let Some(value) = &item.value else { return };
            let made = match self.format {
                Format::Tuple => {
                    let (sensor, attribute) = self.names(places, row.series, item.series);
                    let value = value::to_term(env, value);
                    (atoms::reading(), sensor, attribute, value, row.source_time, row.seq).encode(env)
                }
                Format::Measurement => {
                    let (sensor, attribute) = self.names(places, row.series, item.series);
                    measurement(env, sensor, attribute, value, row.source_time)
                }
                Format::Struct => (atoms::reading(), whole(env, item, value)).encode(env),
            };
            self.items.push(made);
            // A start of which newer numbers were given away already: what follows is told.
            if let Some(position) = item.position.filter(|position| *position != row.seq) {
                let (sensor, attribute) = self.names(places, row.series, item.series);
                self.items.push((atoms::live(), sensor, attribute, position).encode(env));
            }
        } else if let Some(reason) = row.gap_reason() {
            let (sensor, attribute) = self.names(places, row.series, item.series);
            let last = if row.slot == u64::MAX { atoms::unknown().to_term(env) } else { row.slot.encode(env) };
            self.items.push((atoms::gap(), sensor, attribute, row.seq, last, gap_reason(reason)).encode(env));
        } else if let Some(reason) = row.end_reason() {
            let (sensor, attribute) = self.names(places, row.series, item.series);
            self.items.push((atoms::end_atom(), sensor, attribute, row.seq, end_reason(reason)).encode(env));
        }
    }

    /// The terms of a series' sensor and attribute, made once in a batch.
    #[inline]
    fn names(&mut self, places: &mut Places, number: u32, series: &Arc<Series>) -> (Term<'a>, Term<'a>) {
        let at = number as usize;
        if let Some((batch, place)) = places.places.get(at)
            && *batch == places.batch
        {
            return self.met[*place as usize];
        }
        if places.places.len() <= at {
            places.places.resize(at + 1, (0, 0));
        }
        places.places[at] = (places.batch, self.met.len() as u32);
        let attribute = self.attribute(series);
        let names = (value::binary(self.env, series.sensor.as_str().as_bytes()), attribute);
        self.met.push(names);
        names
    }

    fn attribute(&mut self, series: &Arc<Series>) -> Term<'a> {
        let text = series.attribute.as_str();
        if let Some((known, term)) = self.attribute
            && std::ptr::eq(known, text.as_ptr())
        {
            return term;
        }
        let term = value::binary(self.env, text.as_bytes());
        self.attribute = Some((text.as_ptr(), term));
        term
    }
}

fn measurement<'a>(env: Env<'a>, sensor: Term<'a>, attribute: Term<'a>, value: &Value, time: i64) -> Term<'a> {
    let keys = [atoms::sensor_id(), atoms::attribute_id(), atoms::payload(), atoms::timestamp()];
    let values = [sensor, attribute, value::to_term(env, value), time.div_euclid(1000).encode(env)];
    (atoms::measurement(), value::map(env, &keys.map(|key| key.to_term(env)), &values)).encode(env)
}

fn whole<'a>(env: Env<'a>, item: &Item<'_>, value: &Value) -> Term<'a> {
    let row = &item.row;
    let (series, value) = (item.series.clone(), value.clone());
    let (source_time, received_time) = (row.source_time, row.received_time);
    reading::to_term(env, &Reading { series, value, source_time, received_time, seq: row.seq })
}

fn gap_reason(reason: GapReason) -> Atom {
    match reason {
        GapReason::Overflow => atoms::overflow(),
        GapReason::Relay => atoms::relay(),
        GapReason::Link => atoms::link(),
        GapReason::Beaten => atoms::beaten(),
    }
}

fn end_reason(reason: EndReason) -> Atom {
    match reason {
        EndReason::Unregistered => atoms::unregistered(),
        EndReason::Moved => atoms::moved(),
    }
}

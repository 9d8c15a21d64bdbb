//! Hot functions of senza one by one: what each is called with, made ready once and then worked through turn by turn.
//!
//! One list of cases for three measures: time (`benches/functions.rs`), instructions and allocations (`benches/counts`
//! of the repository). A case knows none of them, and no network. It is small and always the same, so that its counts
//! are; how structures behave that no cache holds is measured beside their rivals (`benches/put.rs` and its neighbours).

mod codec;
mod directory;
mod engine;
mod fanout;
mod frame;
mod key;
mod payload;
mod relay;
mod subscription;
mod table;

use std::hint::black_box;
use std::sync::Arc;

use senza_core::table::TableLimits;
use senza_core::{AttributeId, Life, NodeName, SensorId, SensorType, Series, SeriesKind};

/// How many operations one turn of every case has: readings, sensors, claims, entries or messages, as its name says.
pub const OPERATIONS: usize = 1_000;

/// Turns before counting: whatever grows has grown then.
pub const WARM_TURNS: usize = 4;
/// Turns whose instructions are counted. A history moves older readings on once in four.
pub const COUNTED_TURNS: usize = 4;

/// A run of puts, where a case hands readings on in runs.
const RUN: usize = 125;

/// One hot function, and what it is called with.
pub struct Case {
    /// The room of the code, and what is done there.
    pub name: &'static str,
    make: Box<dyn Fn() -> Box<dyn Turns> + Send + Sync>,
}

/// A case made ready.
pub trait Turns {
    /// Prepares one turn, hands it to `measure`, which is to call it once, and drops what came of it.
    fn turn(&mut self, measure: &mut dyn FnMut(&mut dyn FnMut()));
}

/// All cases, in the order of the rooms.
pub fn cases() -> Vec<Case> {
    [
        table::cases(),
        fanout::cases(),
        subscription::cases(),
        directory::cases(),
        frame::cases(),
        codec::cases(),
        key::cases(),
        relay::cases(),
        engine::cases(),
        payload::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

// === impl Case ===

impl Case {
    /// A case whose turns need nothing but its state.
    fn new<S: 'static, O: 'static>(
        name: &'static str,
        make: impl Fn() -> S + Send + Sync + 'static,
        work: fn(&mut S) -> O,
    ) -> Self {
        Self::prepared(name, make, |_| (), move |state, ()| work(state))
    }

    /// A case each of whose turns is prepared. What that makes is worked on, what comes of it is dropped afterwards.
    fn prepared<S: 'static, I: 'static, O: 'static>(
        name: &'static str,
        make: impl Fn() -> S + Send + Sync + 'static,
        prepare: fn(&mut S) -> I,
        work: impl Fn(&mut S, I) -> O + Copy + Send + Sync + 'static,
    ) -> Self {
        let make = move || -> Box<dyn Turns> { Box::new(Prepared { state: make(), prepare, work }) };
        Self { name, make: Box::new(make) }
    }

    /// Makes it ready.
    pub fn ready(&self) -> Box<dyn Turns> {
        (self.make)()
    }
}

struct Prepared<S, I, W> {
    state: S,
    prepare: fn(&mut S) -> I,
    work: W,
}

impl<S, I, O, W: Fn(&mut S, I) -> O> Turns for Prepared<S, I, W> {
    fn turn(&mut self, measure: &mut dyn FnMut(&mut dyn FnMut())) {
        let mut input = Some((self.prepare)(&mut self.state));
        let mut output = None;
        measure(&mut || output = input.take().map(|input| black_box((self.work)(&mut self.state, input))));
        assert!(output.is_some(), "a turn is called once");
    }
}

// === what many cases begin with ===

fn id(number: usize) -> String {
    format!("building/sensor-{number:08}")
}

/// As many ids as a turn has operations. They live as long as the process, so that anything may hold them.
fn ids() -> Vec<&'static str> {
    (0..OPERATIONS).map(|number| &*id(number).leak()).collect()
}

fn sensor(id: &str) -> SensorId {
    SensorId::new(id).expect("ids here are short")
}

fn life(name: &str) -> Life {
    Life { node: NodeName::from_host(name), incarnation: 1 }
}

/// The series of sensors of the node `a`.
fn series(type_of: impl Fn(usize) -> &'static str) -> Vec<Arc<Series>> {
    let series = |(number, id): (usize, &str)| {
        let attribute = AttributeId::new("value").expect("it is short");
        let sensor_type = SensorType::new(type_of(number)).expect("it is short");
        let kind = SeriesKind { attribute, sensor_type, node: life("a").node, lossless: false };
        Arc::new(Series::new(sensor(id), 1, Arc::new(kind)))
    };
    ids().into_iter().enumerate().map(series).collect()
}

/// One shard: a table's hash is seeded anew in every process, and would spread sensors over several in another way each
/// time. So it grows in the same steps, and readings put together are one run.
fn limits() -> TableLimits {
    TableLimits { shards: 1, ..TableLimits::default() }
}

//! The side that puts: it registers the sensors, and offers readings by the schedule, waiting for nothing but time.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use senza_core::Micros;
use senza_core::table::{AttributeIndex, Point};
use senza_mesh::clock::{Clock, SystemClock};
use serde::{Deserialize, Serialize};

use super::schedule::{Rate, Schedule};
use crate::{Engine, Node, Sensor, SensorHandle, Value};

/// What every sensor's one attribute is called.
pub(super) const ATTRIBUTE: &str = "value";
/// Before the sensor's index in its id.
pub(super) const SENSOR_PREFIX: &str = "load ";
/// Sleeping ends so long before a put is due; the rest is spun. Systems wake a sleeper some 50 µs late.
const SPIN_US: Micros = 150;
/// A put that begins so long after it was due is late.
const LATE_US: Micros = 1_000;
/// How often the sender looks whether the subscribers' wishes have come.
const LOOK: Duration = Duration::from_millis(10);
/// Batches between two looks whether a sender without time to wait is still wanted.
const BATCHES_BETWEEN_LOOKS: u64 = 64;

/// What is put.
#[derive(Args, Clone, Debug)]
pub(super) struct Work {
    /// Sensors, put to in turn
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) sensors: u32,
    /// Readings per second in all, like 2000, 2k, 1.5M: open loop. `0` or `max`: closed loop, as fast as puts return
    #[arg(long, default_value = "10k", value_parser = Rate::parse)]
    pub(super) rate: Rate,
    /// Readings put together. A batch is due when its last reading is, and that is the intended time of all of it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) batch: u32,
    /// Bytes of each value; 0: a number
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub(super) value_bytes: u32,
}

impl Work {
    /// The command line that says the same.
    pub(super) fn to_args(&self) -> [String; 4] {
        let Self { sensors, rate, batch, value_bytes } = self;
        [
            format!("--sensors={sensors}"),
            format!("--rate={rate}"),
            format!("--batch={batch}"),
            format!("--value-bytes={value_bytes}"),
        ]
    }
}

/// What the sender says, in this process or as JSON lines from another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// Sensors are registered, and every one of them is subscribed to.
    Ready,
    /// A span was put.
    Done(Span),
    /// It cannot go on.
    Failed(String),
}

/// A span that was put.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    /// Readings put in this span.
    pub(super) offered: u64,
    /// Readings put by now, those of spans before included.
    pub(super) put: u64,
    /// Readings that the node refused.
    pub(super) refused: u64,
    /// Puts: batches.
    pub(super) puts: u64,
    /// Puts that began more than a millisecond after their time.
    pub(super) late: u64,
    /// When it began, microseconds since 1970.
    pub(super) began: Micros,
    /// From then until the last put returned, microseconds.
    pub(super) took_us: Micros,
}

/// Sensors of a node, put to in turn.
pub(super) struct Sender {
    engine: Arc<Engine>,
    sensors: Vec<(SensorHandle, AttributeIndex)>,
    work: Work,
    value: Option<Value>,
    put: u64,
    points: Vec<Point>,
}

impl Sender {
    /// Registers the sensors.
    pub(super) fn new(node: &Node, work: &Work) -> senza_core::Result<Self> {
        let register = |index: u32| {
            let handle = node.register(&Sensor::new(&format!("{SENSOR_PREFIX}{index}"))?)?;
            let attribute = handle.attribute(ATTRIBUTE)?;
            Ok((handle, attribute))
        };
        let sensors = (0..work.sensors).map(register).collect::<senza_core::Result<Vec<_>>>()?;
        // One for all: what is measured is carrying values, not making them.
        let bytes = vec![0x5a_u8; work.value_bytes as usize];
        let value = (work.value_bytes > 0).then(|| Value::Bytes(bytes.into()));
        let engine = node.engine().clone();
        Ok(Self { engine, sensors, work: work.clone(), value, put: 0, points: Vec::new() })
    }

    /// Puts spans of so many microseconds as they are asked for, until nobody can ask any more.
    pub(super) fn serve(mut self, spans: &Receiver<Micros>, mut say: impl FnMut(Said)) {
        // A live subscription from afar takes a moment to arrive, and what is put before is none of its readings.
        while self.sensors.iter().any(|(handle, _)| handle.demand().is_none()) {
            match spans.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
        say(Said::Ready);
        while let Ok(length_us) = spans.recv() {
            let Some(span) = self.span(length_us, spans) else { return };
            say(Said::Done(span));
        }
    }

    /// Puts one span; `None` where nobody waits for it any more.
    fn span(&mut self, length_us: Micros, asked: &Receiver<Micros>) -> Option<Span> {
        let clock = SystemClock;
        let before = self.put;
        let began = clock.now();
        let mut span = Span { offered: 0, put: 0, refused: 0, puts: 0, late: 0, began, took_us: 0 };
        let batch = u64::from(self.work.batch);
        let schedule = match self.work.rate {
            Rate::PerSecond(rate) => Some(Schedule::new(rate, batch, length_us)),
            Rate::Max => None,
        };
        loop {
            if span.puts.is_multiple_of(BATCHES_BETWEEN_LOOKS) && asked.try_recv() == Err(TryRecvError::Disconnected) {
                return None;
            }
            let (count, due) = match &schedule {
                Some(schedule) if span.offered == schedule.readings => break,
                Some(schedule) => {
                    let (count, due_us) = schedule.batch(span.offered);
                    let now = wait_until(began + due_us, asked)?;
                    span.late += u64::from(now - began - due_us > LATE_US);
                    (count, began + due_us)
                }
                None if clock.now() - began >= length_us => break,
                None => (batch, clock.now()),
            };
            span.refused += self.put(count, due);
            span.puts += 1;
            span.offered += count;
        }
        span.took_us = clock.now() - began;
        span.put = before + span.offered;
        Some(span)
    }

    /// Puts the next readings, stamped with the time at which they were to be put. Answers how many were refused.
    fn put(&mut self, count: u64, source_time: Micros) -> u64 {
        self.points.clear();
        for number in self.put..self.put + count {
            let (handle, attribute) = &self.sensors[(number % self.sensors.len() as u64) as usize];
            let value = self.value.clone().unwrap_or(Value::F64(number as f64));
            self.points.push(handle.point(*attribute, value, source_time));
        }
        self.put += count;
        match self.points.pop() {
            Some(point) if count == 1 => u64::from(self.engine.put(point).is_err()),
            Some(point) => {
                self.points.push(point);
                self.engine.put_many(&self.points) as u64
            }
            None => 0,
        }
    }
}

/// Waits until a time, and answers the time then; `None` where nobody waits for the span any more.
fn wait_until(due: Micros, asked: &Receiver<Micros>) -> Option<Micros> {
    let clock = SystemClock;
    loop {
        let now = clock.now();
        if now >= due {
            return Some(now);
        }
        let sleep = due - now - SPIN_US;
        if sleep <= 0 {
            std::hint::spin_loop();
        } else if asked.recv_timeout(Duration::from_micros(sleep.unsigned_abs())) == Err(RecvTimeoutError::Disconnected)
        {
            return None;
        }
    }
}

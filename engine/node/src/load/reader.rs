//! The side that subscribes: a thread per subscriber, which takes what comes, times it, and keeps the account.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use hdrhistogram::Histogram;
use senza_core::Micros;
use senza_core::reading::Series;
use senza_mesh::clock::{Clock, SystemClock};

use super::account::{Account, Counts};
use super::sender::SENSOR_PREFIX;
use crate::Subscriber;
use crate::cli::Failure;

/// How often a reader without readings looks whether it is asked.
const LOOK: Duration = Duration::from_millis(10);
/// After so long without a word, what is missing when a span ended is missing.
const SETTLE_US: Micros = 5_000_000;
/// The longest latency that is told from longer ones, microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Digits to which latencies are exact.
const DIGITS: u8 = 3;

/// What one subscriber saw of one span.
pub(super) struct Seen {
    /// The account.
    pub(super) counts: Counts,
    /// Arrival less intended time of every reading, microseconds.
    pub(super) latency: Histogram<u64>,
    /// When the last reading arrived, microseconds since 1970.
    pub(super) last_arrival: Micros,
}

/// A subscriber and the thread that reads it.
pub(super) struct Reader {
    ends: Option<crossbeam_channel::Sender<u64>>,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// An empty histogram of latencies.
pub(super) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).map_err(Failure::usage)
}

impl Reader {
    /// Starts reading.
    pub(super) fn start(subscriber: Subscriber, sensors: usize) -> Result<Self, Failure> {
        let (ends, asked) = bounded(1);
        let (say, seen) = bounded(1);
        let latency = histogram()?;
        let reading = Reading { account: Account::new(sensors), latency, last_arrival: 0, places: Vec::new() };
        let run = move || reading.run(subscriber, &asked, &say);
        let thread = std::thread::Builder::new().name("senza-load-read".to_owned()).spawn(run);
        Ok(Self { ends: Some(ends), seen, thread: Some(thread.map_err(Failure::usage)?) })
    }

    /// Says that a span ended with so many readings put in all; the reader then takes what is on its way.
    pub(super) fn end_span(&self, put: u64) {
        if let Some(ends) = &self.ends {
            // A thread that is gone shows in what it saw.
            let _sent = ends.send(put);
        }
    }

    /// What was seen of the span that ended.
    pub(super) fn seen(&self) -> Result<Seen, Failure> {
        self.seen.recv().map_err(|_| Failure::usage("a subscriber ended"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.ends.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a subscriber had panicked");
        }
    }
}

/// A reader's own state.
struct Reading {
    account: Account,
    latency: Histogram<u64>,
    last_arrival: Micros,
    /// The sensor behind each number of the subscription, and the series from which that is known.
    places: Vec<Option<(Arc<Series>, usize)>>,
}

impl Reading {
    fn run(mut self, mut subscriber: Subscriber, asked: &Receiver<u64>, say: &crossbeam_channel::Sender<Seen>) {
        loop {
            self.take(&mut subscriber);
            match asked.try_recv() {
                Ok(put) => {
                    self.settle(&mut subscriber, put);
                    let Ok(empty) = histogram() else { return };
                    let latency = std::mem::replace(&mut self.latency, empty);
                    let seen = Seen { counts: self.account.close(put), latency, last_arrival: self.last_arrival };
                    self.account.restart(put);
                    if say.send(seen).is_err() {
                        return;
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Takes what is on its way until everything is accounted for, or nothing has come for a while.
    fn settle(&mut self, subscriber: &mut Subscriber, put: u64) {
        let clock = SystemClock;
        let (mut heard, mut quiet_since) = (self.account.heard(), clock.steady());
        while !self.account.is_complete(put) && clock.steady() - quiet_since < SETTLE_US {
            self.take(subscriber);
            if heard != self.account.heard() {
                (heard, quiet_since) = (self.account.heard(), clock.steady());
            }
        }
    }

    /// Takes what is queued; waits a moment for something.
    fn take(&mut self, subscriber: &mut Subscriber) {
        let clock = SystemClock;
        subscriber.read_batch(LOOK, |item| {
            let sensor = self.place(item.row.series, item.series);
            if let Some(reason) = item.row.gap_reason() {
                self.account.gap(sensor, item.row.seq, item.row.slot, reason);
                return;
            }
            if !item.row.is_reading() {
                return;
            }
            if self.account.reading(sensor, item.row.seq) {
                // Each by itself: one that waits behind others of its batch has not arrived yet.
                let arrival = clock.now();
                let latency = arrival - item.row.source_time;
                // Less than nothing only where the clock was set back.
                self.latency.saturating_record(u64::try_from(latency).unwrap_or(0));
                self.last_arrival = arrival;
            }
        });
    }

    /// The sensor's index, from its id at first; the account knows what to make of an id that is none of ours.
    fn place(&mut self, number: u32, series: &Arc<Series>) -> usize {
        let at = number as usize;
        if let Some(Some((known, place))) = self.places.get(at)
            && Arc::ptr_eq(known, series)
        {
            return *place;
        }
        let index = series.sensor.as_str().strip_prefix(SENSOR_PREFIX).and_then(|index| index.parse().ok());
        let place = index.unwrap_or(usize::MAX);
        if at >= self.places.len() {
            self.places.resize(at + 1, None);
        }
        self.places[at] = Some((series.clone(), place));
        place
    }
}

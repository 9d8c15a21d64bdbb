//! The class that `senza.Subscription` extends: batches of readings out, as columns.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use senza::{Subscriber, SubscriberView};
use senza_core::subscription::Item;
use senza_core::{EndReason, GapReason, Series};

use crate::bell::Bell;
use crate::columns::{Column, RawValues, Values};
use crate::contract::{RawContract, RawFilter, contract, filter, raw_contract};
use crate::errors;
use crate::node::{Node, Running};
use crate::process::{Own, refuse_pickle};
use crate::times::Wait;

/// A subscription of this node.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Reader {
    running: Own<Arc<Running>>,
    view: Own<SubscriberView>,
    reading: Own<Mutex<Option<Reading>>>,
    batch_max: usize,
}

/// What one thread at a time reads with.
struct Reading {
    subscriber: Subscriber,
    batch: Batch,
    known: Known,
}

/// What was drained from the queue, not Python's yet.
#[derive(Default)]
struct Batch {
    index: Column,
    seqs: Column,
    times: Column,
    received: Column,
    values: Values,
    /// The counters of starts, by place.
    positions: Vec<(u32, u64)>,
    gaps: Vec<(usize, u32, u64, u64, GapReason)>,
    ends: Vec<(usize, u32, u64, EndReason)>,
    /// Series of this batch, with their numbers in the queue.
    series: Vec<(u32, Arc<Series>)>,
    /// By number in the queue: in which batch it was last met, and its place there.
    places: Vec<(u64, u32)>,
    number: u64,
}

/// Series that are Python's already, by number in the queue. A number may come to stand for another series.
#[derive(Default)]
struct Known(Vec<Option<(Arc<Series>, Py<Source>)>>);

/// A batch: series, index into them, seqs, times, received times, values, starts, gaps, ends.
type RawBatch<'py> = (
    Bound<'py, PyList>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    RawValues<'py>,
    Vec<(u32, u64)>,
    Vec<(usize, u32, u64, Option<u64>, &'static str)>,
    Vec<(usize, u32, u64, &'static str)>,
);

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (node, raw_filter, raw, batch_max, /))]
    fn new(py: Python<'_>, node: &Node, raw_filter: RawFilter, raw: RawContract, batch_max: usize) -> PyResult<Self> {
        let running = node.running()?;
        let (filter, contract) = (filter(&raw_filter)?, contract(&raw)?);
        if batch_max == 0 {
            return Err(errors::contract("batch_max", 0, "must be at least 1 reading"));
        }
        let engine = running.engine()?.clone();
        let subscriber = py.detach(|| Subscriber::subscribe(&engine, &filter, contract)).map_err(errors::engine)?;
        let view = Own::new(subscriber.view());
        let reading = Reading { subscriber, batch: Batch::default(), known: Known::default() };
        Ok(Self { running: Own::new(running), view, reading: Own::new(Mutex::new(Some(reading))), batch_max })
    }

    /// The next batch; waits for one up to `timeout` seconds, without it for as long as it takes. None at its end, and
    /// when the time is over.
    #[pyo3(signature = (timeout=None))]
    fn take_raw<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<RawBatch<'py>>> {
        let mut wait = Wait::new(timeout)?;
        loop {
            if let Some(batch) = self.try_take(py, Waker::noop())? {
                return Ok(Some(batch));
            }
            let view = self.view.get()?;
            let mut more = true;
            let waited = wait.slice(py, |slice| more = view.wait(slice))?;
            if !waited || !more || self.is_over()? {
                // What came between the last look and the end.
                return self.try_take(py, Waker::noop());
            }
        }
    }

    /// The next batch, or None: then `bell` rings for `token` when there may be one, or the end.
    fn poll_raw<'py>(&self, py: Python<'py>, bell: &Bell, token: u64) -> PyResult<Option<RawBatch<'py>>> {
        let waker = bell.waker(token)?;
        self.try_take(py, &waker)
    }

    /// Whether nothing more comes: it was closed, by itself, its contract or its node.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.view.get()?.is_closed() || self.is_over()?)
    }

    /// Ends it. What is queued can still be read, and then iterating ends.
    fn close_raw(&self) -> PyResult<()> {
        self.view.get()?.close();
        Ok(())
    }

    /// Ends it and forgets what is queued.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        self.view.get()?.close();
        // Who reads just now sees the end, and lets go.
        let reading = py.detach(|| self.reading.get().map(|reading| reading.lock().take()))?;
        py.detach(|| drop(reading));
        Ok(())
    }

    /// The contract that is kept.
    fn contract_raw(&self) -> PyResult<RawContract> {
        Ok(raw_contract(&self.view.get()?.contract()))
    }

    /// What became of every reading so far: offered, delivered, conflated, filtered, dropped, queued.
    fn ledger_raw(&self) -> PyResult<(u64, u64, u64, u64, u64, u64)> {
        let ledger = self.view.get()?.ledger();
        Ok((ledger.offered, ledger.delivered, ledger.conflated, ledger.filtered, ledger.dropped, ledger.queued))
    }

    /// Asks for what matches any of these filters from now on; what matched before and still does goes on.
    fn change_raw(&self, py: Python<'_>, raw: Vec<RawFilter>) -> PyResult<()> {
        let filters = raw.iter().map(filter).collect::<PyResult<Vec<_>>>()?;
        self.running.get()?.engine()?;
        let reading = self.reading()?;
        let Some(reading) = &*reading else { return Err(errors::closed("subscription")) };
        py.detach(|| reading.subscriber.change(&filters)).map_err(errors::engine)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Subscription"))
    }
}

impl Reader {
    fn reading(&self) -> PyResult<MutexGuard<'_, Option<Reading>>> {
        let refuse = || errors::of("Busy", "another thread is reading this subscription just now", &[]);
        self.reading.get()?.try_lock().ok_or_else(refuse)
    }

    fn is_over(&self) -> PyResult<bool> {
        Ok(!self.running.get()?.is_open())
    }

    fn try_take<'py>(&self, py: Python<'py>, waker: &Waker) -> PyResult<Option<RawBatch<'py>>> {
        let mut reading = self.reading()?;
        let Some(Reading { subscriber, batch, known }) = &mut *reading else { return Ok(None) };
        let max = self.batch_max;
        let mut read = |batch: &mut Batch| {
            py.detach(|| {
                let mut context = Context::from_waker(waker);
                subscriber.poll_batch(&mut context, max, |item| batch.push(&item))
            })
        };
        let mut ended = false;
        // More than once where all that was queued had given way to newer readings.
        while let Poll::Ready(count) = read(batch) {
            if count > 0 {
                return batch.take(py, known).map(Some);
            }
            // Closed, and then found empty once more.
            if ended {
                break;
            }
            ended = self.view.get()?.is_closed();
        }
        Ok(None)
    }
}

impl Batch {
    #[inline]
    fn push(&mut self, item: &Item<'_>) {
        let row = &item.row;
        let place = self.place(row.series, item.series);
        let at = self.values.len();
        if row.is_reading() {
            self.index.push(place.to_ne_bytes());
            self.seqs.push(row.seq.to_ne_bytes());
            self.times.push(row.source_time.to_ne_bytes());
            self.received.push(row.received_time.to_ne_bytes());
            let beside = if row.has_value_beside() { item.value.clone() } else { None };
            self.values.push(row.kind_and_flags(), row.slot, beside);
            self.positions.extend(item.position.map(|position| (at as u32, position)));
        } else if let Some(reason) = row.gap_reason() {
            self.gaps.push((at, place, row.seq, row.slot, reason));
        } else if let Some(reason) = row.end_reason() {
            self.ends.push((at, place, row.seq, reason));
        }
    }

    /// The place of a series among those of this batch.
    #[inline]
    fn place(&mut self, number: u32, series: &Arc<Series>) -> u32 {
        let at = number as usize;
        match self.places.get(at) {
            Some((batch, place)) if *batch == self.number + 1 => *place,
            _ => self.first_met(at, series),
        }
    }

    #[cold]
    fn first_met(&mut self, number: usize, series: &Arc<Series>) -> u32 {
        if self.places.len() <= number {
            self.places.resize(number + 1, (0, 0));
        }
        let place = self.series.len() as u32;
        self.places[number] = (self.number + 1, place);
        self.series.push((number as u32, series.clone()));
        place
    }

    /// Hands it over and begins the next, also where the interpreter has no memory for it: then it is lost, and that is
    /// raised.
    fn take<'py>(&mut self, py: Python<'py>, known: &mut Known) -> PyResult<RawBatch<'py>> {
        let taken = self.hand_over(py, known);
        if taken.is_err() {
            *self = Self::default();
        }
        taken
    }

    fn hand_over<'py>(&mut self, py: Python<'py>, known: &mut Known) -> PyResult<RawBatch<'py>> {
        self.number += 1;
        let series = self.series.drain(..).map(|(number, series)| known.source(py, number, &series));
        let series = PyList::new(py, series.collect::<PyResult<Vec<_>>>()?)?;
        let gap = |(at, place, from, to, reason): (usize, u32, u64, u64, GapReason)| {
            (at, place, from, (to != u64::MAX).then_some(to), reason.as_str())
        };
        let end = |(at, place, last, reason): (usize, u32, u64, EndReason)| (at, place, last, reason.as_str());
        Ok((
            series,
            self.index.take(py),
            self.seqs.take(py),
            self.times.take(py),
            self.received.take(py),
            self.values.take(py)?,
            std::mem::take(&mut self.positions),
            self.gaps.drain(..).map(gap).collect(),
            self.ends.drain(..).map(end).collect(),
        ))
    }
}

impl Known {
    fn source(&mut self, py: Python<'_>, number: u32, series: &Arc<Series>) -> PyResult<Py<Source>> {
        let at = number as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        match &self.0[at] {
            Some((known, source)) if Arc::ptr_eq(known, series) => Ok(source.clone_ref(py)),
            _ => {
                let source = Py::new(py, Source(series.clone()))?;
                self.0[at] = Some((series.clone(), source.clone_ref(py)));
                Ok(source)
            }
        }
    }
}

/// What all readings of one attribute of a sensor under one claim share.
#[pyclass(frozen, eq, hash, module = "senza")]
#[derive(PartialEq)]
pub(crate) struct Source(Arc<Series>);

impl std::hash::Hash for Source {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.sensor.hash(state);
        self.0.attribute.hash(state);
        self.0.epoch.hash(state);
    }
}

#[pymethods]
impl Source {
    /// The sensor's id.
    #[getter]
    fn sensor(&self) -> &str {
        self.0.sensor.as_str()
    }

    /// The attribute's id.
    #[getter]
    fn attribute(&self) -> &str {
        self.0.attribute.as_str()
    }

    /// What kind of thing the sensor is.
    #[getter]
    fn r#type(&self) -> &str {
        self.0.sensor_type.as_str()
    }

    /// The owner's name.
    #[getter]
    fn node(&self) -> &str {
        self.0.node.as_str()
    }

    /// The claim under which the owner numbers its readings.
    #[getter]
    fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether none of its readings may be left out by a contract.
    #[getter]
    fn lossless(&self) -> bool {
        self.0.lossless
    }

    fn __repr__(&self) -> String {
        let (sensor, attribute, node) = (self.sensor(), self.attribute(), self.node());
        format!("Source(sensor={sensor:?}, attribute={attribute:?}, node={node:?}, epoch={})", self.0.epoch)
    }
}

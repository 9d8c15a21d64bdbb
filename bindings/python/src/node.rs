//! The class that `senza.Node` extends: a node of this process, look-ups and listings.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use senza::{AttributeId, Config, Engine, Flags, Mode, NodeName, Reading, SensorId};
use senza_core::codec::Question;
use senza_core::directory::Located;
use senza_core::table::NamedPoint;
use senza_mesh::clock::{Clock, SystemClock};

use crate::columns::{Column, RawValues, Values};
use crate::contract::{RawFilter, filter};
use crate::heals::{RawHeal, raw_heal};
use crate::latency::{RawClock, RawLatency, raw_clocks, raw_latencies};
use crate::process::{Own, refuse_pickle, start_node};
use crate::times::{Wait, micros};
use crate::value::text_of;
use crate::{errors, value};

/// What everything of one node shares: its engine, and whether it still runs.
pub(crate) struct Running {
    engine: Arc<Engine>,
    open: AtomicBool,
}

impl Running {
    /// The engine, while the node is open.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub(crate) fn engine(&self) -> PyResult<&Arc<Engine>> {
        if self.is_open() { Ok(&self.engine) } else { Err(errors::closed("node")) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

/// A node inside this process.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Node {
    running: Own<Arc<Running>>,
    node: Own<Mutex<Option<senza::Node>>>,
    listening: Vec<String>,
    ending: Mutex<Option<String>>,
    names: Names,
}

/// One reading as a tuple: sensor, attribute, value, time, received, seq, epoch, node.
type RawReading<'py> = (String, String, Bound<'py, PyAny>, i64, i64, u64, u64, String);
/// Times and values as columns.
type RawHistory<'py> = (Bound<'py, PyBytes>, RawValues<'py>);

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (*, name=None, listen=Vec::new(), connect=Vec::new(), config=None, root=None, insecure=false,
        sensors_max=None, attributes_max=None, history_max=None, idle_unregister_s=None, lease_ms=None,
        silence_ms=None, takeover_holdoff_ms=None, mode=None, lossless=Vec::new(), zenoh=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "one per setting, by keyword")]
    fn new(
        py: Python<'_>,
        name: Option<String>,
        listen: Vec<String>,
        connect: Vec<String>,
        config: Option<PathBuf>,
        root: Option<String>,
        insecure: bool,
        sensors_max: Option<usize>,
        attributes_max: Option<usize>,
        history_max: Option<usize>,
        idle_unregister_s: Option<u64>,
        lease_ms: Option<u64>,
        silence_ms: Option<u64>,
        takeover_holdoff_ms: Option<u64>,
        mode: Option<String>,
        lossless: Vec<String>,
        zenoh: Vec<(String, String)>,
    ) -> PyResult<Self> {
        let (table, times) = (
            (sensors_max, attributes_max, history_max),
            (idle_unregister_s, lease_ms, silence_ms, takeover_holdoff_ms),
        );
        let flags = Flags {
            name,
            listen,
            connect,
            config,
            root,
            insecure,
            sensors_max: table.0,
            attributes_max: table.1,
            history_max: table.2,
            idle_unregister_s: times.0,
            lease_ms: times.1,
            silence_ms: times.2,
            takeover_holdoff_ms: times.3,
            mode,
        };
        let mut config = Config::embedded(flags).map_err(|error| errors::config(&error))?;
        config.zenoh.extend(zenoh);
        let lossless: Vec<AttributeId> =
            lossless.iter().map(|id| AttributeId::new(id).map_err(errors::engine)).collect::<PyResult<_>>()?;
        start_node()?;
        let node = py.detach(|| senza::Node::start(config)).map_err(|error| errors::open(&error))?;
        node.engine().mark_lossless(lossless);
        let running = Running { engine: node.engine().clone(), open: AtomicBool::new(true) };
        Ok(Self {
            running: Own::new(Arc::new(running)),
            listening: node.listening().to_vec(),
            node: Own::new(Mutex::new(Some(node))),
            ending: Mutex::default(),
            names: Names::default(),
        })
    }

    /// The node's name, unique in its cluster.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.running.get()?.engine.me().node.to_string())
    }

    /// Endpoints it listens on, ports filled in: what others connect to.
    #[getter]
    fn listening(&self) -> Vec<String> {
        self.listening.clone()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(!self.running.get()?.is_open())
    }

    /// Why the node is about to end by itself, if it is: another node of its name, older, is up.
    #[getter]
    fn ending(&self) -> PyResult<Option<String>> {
        let node = self.node.get()?.lock();
        let mut ending = self.ending.lock();
        if let Some(told) = node.as_ref().and_then(|node| node.ended().try_recv().ok()) {
            *ending = Some(told);
        }
        Ok(ending.clone())
    }

    /// Stops the node in good order; what still stands of it refuses from then on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (running, node) = (self.running.get()?, self.node.get()?);
        running.open.store(false, Ordering::Release);
        let node = node.lock().take();
        py.detach(|| drop(node));
        Ok(())
    }

    /// How far it takes part in its cluster: `cluster` or `local`.
    #[getter]
    fn mode(&self) -> PyResult<&'static str> {
        Ok(self.engine()?.mode().as_str())
    }

    #[setter]
    fn set_mode(&self, py: Python<'_>, word: &str) -> PyResult<()> {
        let engine = self.engine()?;
        let Some(mode) = Mode::named(word).filter(|mode| *mode != Mode::Shadow) else {
            let rule = format!("mode {word:?} must be cluster or local");
            return Err(errors::of("InvalidConfig", &rule, &[("setting", errors::Fact::Text("mode"))]));
        };
        py.detach(|| engine.switch(mode));
        Ok(())
    }

    /// Where a sensor is: its owner and the claim's number, or None.
    #[pyo3(signature = (sensor, /))]
    fn whereis(&self, sensor: &Bound<'_, PyString>) -> PyResult<Option<Whereis>> {
        let engine = self.engine()?;
        let located = engine.locate(text_of(sensor)?);
        Ok(located.and_then(|located| self.names.whereis(sensor.py(), engine, located)))
    }

    /// The same for many, whose waits for memory overlap: a list in the order of theirs.
    #[pyo3(signature = (sensors, /))]
    fn whereis_many<'py>(&self, py: Python<'py>, sensors: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let engine = self.engine()?;
        let sensors: Vec<Bound<'py, PyAny>> = sensors.try_iter()?.collect::<PyResult<_>>()?;
        let texts: Vec<&str> =
            sensors.iter().map(|sensor| text_of(sensor.cast::<PyString>()?)).collect::<PyResult<_>>()?;
        // Mostly of few nodes: a name looked up for the sensor before is that of the next.
        let mut last: Option<(u16, Py<PyString>)> = None;
        let mut whereis = |located: Located| {
            if let Some((life, node)) = last.as_ref().filter(|(life, _)| *life == located.life) {
                let node = node.clone_ref(py);
                return Some(Whereis { node, epoch: located.epoch, local: *life == 0 });
            }
            let found = self.names.whereis(py, engine, located)?;
            last = Some((located.life, found.node.clone_ref(py)));
            Some(found)
        };
        let mut found = Vec::with_capacity(texts.len());
        engine.locate_many(&texts, |located| found.push(located.and_then(&mut whereis)));
        PyList::new(py, found)
    }

    /// Puts one reading by ids and answers its number. Who puts often holds a `Sensor`, or a `Series`.
    #[pyo3(signature = (sensor, attribute, value, time=None))]
    fn put(
        &self,
        sensor: &str,
        attribute: &str,
        value: &Bound<'_, PyAny>,
        time: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let (value, time) = (value::from_python(value)?, time.map(micros).transpose()?);
        self.engine()?.put_by_id(sensor, attribute, value, time).map_err(errors::engine)
    }

    /// Puts many readings by ids, each (sensor, attribute, value) or (sensor, attribute, value, time). Answers those
    /// that were refused, by their place, with the reason; the others are taken.
    #[pyo3(signature = (readings, /))]
    fn put_many(&self, readings: &Bound<'_, PyAny>) -> PyResult<Vec<(usize, Py<PyAny>)>> {
        let (engine, py) = (self.engine()?, readings.py());
        let now = SystemClock.now();
        let readings: Vec<Bound<'_, PyAny>> = readings.try_iter()?.collect::<PyResult<_>>()?;
        let parts: Vec<NamedParts<'_>> = readings.iter().map(|reading| named(reading, now)).collect::<PyResult<_>>()?;
        let points: Vec<NamedPoint<'_>> = parts.iter().map(point).collect::<PyResult<_>>()?;
        let refused = engine.put_many_by_id(&points);
        Ok(refused.into_iter().map(|(at, error)| (at, errors::engine(error).into_value(py).into_any())).collect())
    }

    /// The latest reading of a sensor of this node, as a tuple.
    fn latest_raw<'py>(&self, py: Python<'py>, sensor: &str, attribute: &str) -> PyResult<Option<RawReading<'py>>> {
        self.engine()?.latest(sensor, attribute).map(|reading| raw_reading(py, &reading)).transpose()
    }

    /// Times and values of the newest readings of a sensor of any node, oldest first. Asks its owner.
    fn history_raw<'py>(
        &self,
        py: Python<'py>,
        sensor: &str,
        attribute: &str,
        last: u32,
        span: (i64, i64),
        timeout: f64,
    ) -> PyResult<RawHistory<'py>> {
        let question = Question {
            sensor: SensorId::new(sensor).map_err(errors::engine)?,
            attribute: AttributeId::new(attribute).map_err(errors::engine)?,
            from: span.0,
            to: span.1,
            last,
        };
        let answer = self.engine()?.ask(question).map_err(errors::engine)?;
        let Some(readings) = wait_for(py, answer, Wait::new(Some(timeout))?)? else {
            return Err(errors::of("TimedOut", &format!("the owner of {sensor:?} did not answer in time"), &[]));
        };
        let (mut times, mut values) = (Column::default(), Values::default());
        for reading in &readings {
            times.push(reading.source_time.to_ne_bytes());
            values.push_value(&reading.value);
        }
        Ok((times.take(py), values.take(py)?))
    }

    /// A page of the sensors of the cluster that match, and where it goes on.
    fn page(
        &self,
        py: Python<'_>,
        from_: Option<&Cursor>,
        raw: RawFilter,
        limit: usize,
    ) -> PyResult<(Vec<Listed>, Option<Cursor>)> {
        let (engine, filter) = (self.engine()?, filter(&raw)?);
        let from = from_.map(|cursor| cursor.0.clone()).unwrap_or_default();
        let page = py.detach(|| engine.page(&from, &filter, limit));
        Ok((page.sensors.into_iter().map(Listed).collect(), page.next.map(Cursor)))
    }

    /// The nodes that are up, this one first: name, incarnation, sensors, whether it is this one.
    fn nodes_raw(&self) -> PyResult<Vec<(String, u64, u64, bool)>> {
        let view =
            |node: senza::NodeView| (node.life.node.to_string(), node.life.incarnation, node.sensors, node.local);
        Ok(self.engine()?.nodes().into_iter().map(view).collect())
    }

    /// The last heals, oldest first.
    fn heals_raw(&self) -> PyResult<Vec<RawHeal>> {
        Ok(self.engine()?.heals().iter().map(|report| raw_heal(report)).collect())
    }

    /// How long readings took, hop by hop.
    fn latencies_raw<'py>(&self, py: Python<'py>) -> PyResult<Vec<RawLatency<'py>>> {
        Ok(raw_latencies(py, self.engine()?))
    }

    /// By how much the clocks of the nodes that are up differ from this one's.
    fn clocks_raw(&self) -> PyResult<Vec<RawClock>> {
        Ok(raw_clocks(self.engine()?))
    }

    /// Unregisters a sensor of this node, whoever registered it. Answers whether it was here.
    #[pyo3(signature = (sensor, /))]
    fn unregister(&self, sensor: &str) -> PyResult<bool> {
        Ok(self.engine()?.unregister(sensor))
    }

    fn __repr__(&self) -> PyResult<String> {
        let running = self.running.get()?;
        let state = if running.is_open() { format!("listening={:?}", self.listening) } else { "closed".to_owned() };
        Ok(format!("<senza.Node {} {state}>", running.engine.me().node))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Node"))
    }
}

impl Node {
    /// What everything of this node shares, while it is open.
    pub(crate) fn running(&self) -> PyResult<Arc<Running>> {
        let running = self.running.get()?;
        running.engine()?;
        Ok(running.clone())
    }

    #[inline]
    fn engine(&self) -> PyResult<&Arc<Engine>> {
        self.running.get()?.engine()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.node.is_foreign() {
            // Nobody is left to raise to; what is open is open no more, and its threads are joined.
            let _closed = Python::try_attach(|py| self.close(py));
        }
    }
}

type NamedParts<'py> = (Bound<'py, PyString>, Bound<'py, PyString>, senza::Value, i64);

fn named<'py>(reading: &Bound<'py, PyAny>, now: i64) -> PyResult<NamedParts<'py>> {
    let parts: Vec<Bound<'py, PyAny>> = reading.try_iter()?.collect::<PyResult<_>>()?;
    let (parts, time) = match parts.as_slice() {
        [sensor, attribute, value] => ((sensor, attribute, value), now),
        [sensor, attribute, value, time] => ((sensor, attribute, value), micros(time)?),
        _ => {
            return Err(errors::value(
                "a reading must be (sensor, attribute, value) or (sensor, attribute, value, time)",
            ));
        }
    };
    let (sensor, attribute, value) = parts;
    Ok((sensor.cast::<PyString>()?.clone(), attribute.cast::<PyString>()?.clone(), value::from_python(value)?, time))
}

fn point<'a>((sensor, attribute, value, source_time): &'a NamedParts<'_>) -> PyResult<NamedPoint<'a>> {
    let (sensor, attribute) = (text_of(sensor)?, text_of(attribute)?);
    Ok(NamedPoint { sensor, attribute, value: value.clone(), source_time: *source_time })
}

fn raw_reading<'py>(py: Python<'py>, reading: &Reading) -> PyResult<RawReading<'py>> {
    let (series, value) = (&reading.series, value::to_python(py, &reading.value)?);
    let (sensor, attribute) = (series.sensor.to_string(), series.attribute.to_string());
    let (time, received) = (reading.source_time, reading.received_time);
    Ok((sensor, attribute, value, time, received, reading.seq, series.epoch, series.node.to_string()))
}

/// Waits for another node's answer; signals are handled meanwhile.
fn wait_for<T: Send>(py: Python<'_>, answer: tokio::sync::oneshot::Receiver<T>, mut wait: Wait) -> PyResult<Option<T>> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = std::pin::pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return Ok(answer.ok());
        }
        if !wait.slice(py, std::thread::park_timeout)? {
            return Ok(None);
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Where a sensor is: the owner's name, the claim's number, whether that is this node.
#[pyclass(frozen, eq, hash, module = "senza", get_all)]
pub(crate) struct Whereis {
    /// The owner's name.
    node: Py<PyString>,
    /// The claim's number.
    epoch: u64,
    /// Whether the owner is this node.
    local: bool,
}

/// Names of lives as Python's strings, made once. Numbers of lives are used again, so each is held against its name.
#[derive(Default)]
struct Names(Mutex<Vec<Option<Named>>>);

type Named = (NodeName, Py<PyString>);

impl Names {
    #[inline]
    fn whereis(&self, py: Python<'_>, engine: &Engine, located: Located) -> Option<Whereis> {
        let at = usize::from(located.life);
        let local = located.life == 0;
        let mut names = self.0.lock();
        if names.len() <= at {
            names.resize_with(at + 1, || None);
        }
        let name = if local && names[at].is_some() { None } else { Some(engine.life(located.life)?.node) };
        let node = match (&names[at], name) {
            (Some((_, known)), None) => known.clone_ref(py),
            (Some((known, node)), Some(name)) if *known == name => node.clone_ref(py),
            (_, name) => {
                let name = name?;
                let node = PyString::new(py, name.as_str()).unbind();
                names[at] = Some((name, node.clone_ref(py)));
                node
            }
        };
        Some(Whereis { node, epoch: located.epoch, local })
    }
}

impl PartialEq for Whereis {
    fn eq(&self, other: &Self) -> bool {
        let same_name = Python::attach(|py| self.node.bind(py).as_any().eq(other.node.bind(py)).unwrap_or(false));
        same_name && (self.epoch, self.local) == (other.epoch, other.local)
    }
}

impl std::hash::Hash for Whereis {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.epoch.hash(state);
    }
}

#[pymethods]
impl Whereis {
    fn __repr__(&self, py: Python<'_>) -> String {
        let local = if self.local { "True" } else { "False" };
        format!("Whereis(node='{}', epoch={}, local={local})", self.node.bind(py), self.epoch)
    }
}

/// Where a listing goes on.
#[pyclass(frozen, module = "senza._native")]
pub(crate) struct Cursor(senza::Cursor);

/// A sensor as a listing tells it.
#[pyclass(frozen, eq, module = "senza")]
#[derive(PartialEq)]
pub(crate) struct Listed(senza::Listed);

#[pymethods]
impl Listed {
    /// Its id.
    #[getter]
    fn sensor(&self) -> &str {
        self.0.sensor.as_str()
    }

    /// What kind of thing it is.
    #[getter]
    fn r#type(&self) -> &str {
        self.0.sensor_type.as_str()
    }

    /// The owner's name.
    #[getter]
    fn node(&self) -> &str {
        self.0.owner.life.node.as_str()
    }

    /// The claim's number.
    #[getter]
    fn epoch(&self) -> u64 {
        self.0.owner.epoch
    }

    /// Whether the owner is this node.
    #[getter]
    fn local(&self) -> bool {
        self.0.owner.local
    }

    fn __repr__(&self) -> String {
        let (sensor, kind, node) = (self.sensor(), self.r#type(), self.node());
        format!("Listed(sensor={sensor:?}, type={kind:?}, node={node:?}, epoch={})", self.epoch())
    }
}

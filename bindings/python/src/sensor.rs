//! The class that `senza.Sensor` extends: a sensor registered on this node.

use std::sync::Arc;

use parking_lot::RwLock;
use pyo3::prelude::*;
use senza::{OnConflict, SensorHandle, SensorId, SensorType};
use senza_mesh::clock::{Clock, SystemClock};

use crate::contract::{RawWant, raw_want};
use crate::node::{Node, Running};
use crate::process::{Own, refuse_pickle};
use crate::times::micros;
use crate::{errors, value};

/// A sensor of this node, until it is left.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Sensor {
    running: Own<Arc<Running>>,
    handle: Own<RwLock<Option<Arc<SensorHandle>>>>,
    id: SensorId,
    epoch: u64,
}

#[pymethods]
impl Sensor {
    #[new]
    #[pyo3(signature = (node, sensor_id, kind, meta, takeover))]
    fn new(node: &Node, sensor_id: &str, kind: Option<&str>, meta: Option<&str>, takeover: bool) -> PyResult<Self> {
        let running = node.running()?;
        let sensor = senza::Sensor {
            id: SensorId::new(sensor_id).map_err(errors::engine)?,
            sensor_type: kind.map_or_else(|| Ok(SensorType::default()), SensorType::new).map_err(errors::engine)?,
            meta: meta.unwrap_or("{}").into(),
        };
        let on_conflict = if takeover { OnConflict::Takeover } else { OnConflict::Refuse };
        let handle = SensorHandle::register(running.engine()?, &sensor, on_conflict).map_err(errors::engine)?;
        let epoch = handle.epoch();
        let handle = Own::new(RwLock::new(Some(Arc::new(handle))));
        Ok(Self { running: Own::new(running), handle, id: sensor.id, epoch })
    }

    /// Its id.
    #[getter]
    fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The number of the claim that was made by registering it.
    #[getter]
    fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it was left.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.handle.get()?.read().is_none() || !self.running.get()?.is_open())
    }

    /// Puts one reading and answers its number. Without a time it is stamped now. With `wait`, readers of this node
    /// whose contract has writers wait are waited for, each as long as it says.
    #[pyo3(signature = (attribute, value, time=None, *, wait=false))]
    fn put(
        &self,
        py: Python<'_>,
        attribute: &str,
        value: &Bound<'_, PyAny>,
        time: Option<&Bound<'_, PyAny>>,
        wait: bool,
    ) -> PyResult<u64> {
        let value = value::from_python(value)?;
        let time = time.map_or_else(|| Ok(SystemClock.now()), micros)?;
        if wait {
            let handle = self.handle()?;
            return py.detach(|| handle.put_wait(attribute, value, time)).map_err(errors::engine);
        }
        self.running.get()?.engine()?;
        let handle = self.handle.get()?.read();
        let handle = handle.as_ref().ok_or_else(|| errors::closed("sensor"))?;
        handle.put_at(attribute, value, time).map_err(errors::engine)
    }

    /// Makes attributes without putting a reading: a device that waits to be watched makes its own first.
    #[pyo3(signature = (*attributes))]
    fn declare(&self, attributes: Vec<String>) -> PyResult<()> {
        let handle = self.handle()?;
        for attribute in attributes {
            handle.attribute(&attribute).map_err(errors::engine)?;
        }
        Ok(())
    }

    /// What all subscriptions of the cluster together want of it; None where nobody watches it.
    fn demand_raw(&self) -> PyResult<Option<RawWant>> {
        Ok(self.handle()?.demand().as_ref().map(raw_want))
    }

    /// Ends this registration; the last one's end unregisters the sensor. The second time it does nothing.
    fn leave(&self) -> PyResult<()> {
        let handle = self.handle.get()?.write().take();
        drop(handle);
        Ok(())
    }

    fn __repr__(&self) -> PyResult<String> {
        let state = if self.closed()? { " closed" } else { "" };
        Ok(format!("<senza.Sensor {:?}{state}>", self.id.as_str()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Sensor"))
    }
}

impl Sensor {
    /// The registration, while it stands and the node is open.
    pub(crate) fn handle(&self) -> PyResult<Arc<SensorHandle>> {
        self.running.get()?.engine()?;
        self.handle.get()?.read().clone().ok_or_else(|| errors::closed("sensor"))
    }

    pub(crate) fn is_of(&self, running: &Arc<Running>) -> PyResult<bool> {
        Ok(Arc::ptr_eq(self.running.get()?, running))
    }

    pub(crate) fn running(&self) -> PyResult<Arc<Running>> {
        self.running.shared()
    }

    /// The place of an attribute, made at its first use.
    pub(crate) fn point(&self, attribute: &str) -> PyResult<senza_core::table::Point> {
        let handle = self.handle()?;
        let place = handle.attribute(attribute).map_err(errors::engine)?;
        Ok(handle.point(place, senza::Value::F64(0.0), 0))
    }
}

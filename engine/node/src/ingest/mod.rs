//! What every front door does with what it decoded: admit it. A door knows this and nothing behind it.

pub mod payload;
pub mod senml;
pub mod zenoh;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use senza_core::directory::Listed;
use senza_core::{AttributeId, Epoch, Error, SensorId};
use senza_mesh::engine::{Engine, Lost, OnConflict, Sensor};

use payload::{Incoming, PayloadError};

/// Takes readings in for sensors that have no connection of their own.
pub struct Admission {
    engine: Arc<Engine>,
    /// Sensors that were registered by a reading, under which claim: they end by delete, by silence, or when another node
    /// takes them over.
    held: Mutex<HashMap<SensorId, Epoch>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    warned: AtomicU64,
}

/// Refusals that are logged one by one; of later ones every thousandth is.
const WARNED_SINGLY: u64 = 20;

impl Admission {
    /// Admits into this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, held: Mutex::default(), refused: Mutex::default(), warned: AtomicU64::new(0) }
    }

    /// Takes readings of one sensor: registers it where it is not here yet (the device is here now), then puts.
    /// Answers the seq of the last.
    ///
    /// # Errors
    /// [`PayloadError::Bounds`] at the first reading that is refused; those before it were taken.
    pub fn admit(&self, sensor: &SensorId, readings: Vec<(AttributeId, Incoming)>) -> Result<u64, PayloadError> {
        let mut last = 0;
        for (attribute, incoming) in readings {
            let put = || {
                let Incoming { value, source_time } = incoming.clone();
                self.engine.put_by_id(sensor.as_str(), attribute.as_str(), value, source_time)
            };
            last = match put() {
                Err(Error::NotFound { .. } | Error::NotOwner { .. }) => {
                    self.register(sensor)?;
                    put()?
                }
                other => other?,
            };
        }
        Ok(last)
    }

    /// Claims a sensor for this node as the directory knows it. Answers the claim's epoch, the present one where the
    /// sensor is here already.
    ///
    /// # Errors
    /// Those of registering.
    pub fn take_over(&self, known: &Listed) -> Result<u64, Error> {
        if known.owner.local {
            return Ok(known.owner.epoch);
        }
        let sensor_type = known.sensor_type.clone();
        let sensor = Sensor { sensor_type, ..Sensor::new(known.sensor.as_str())? };
        let (_, epoch) = self.engine.claim(&sensor, OnConflict::Force)?;
        self.held.lock().insert(sensor.id, epoch);
        Ok(epoch)
    }

    /// Lets go of a sensor that another node took over: it has no connection here to close.
    pub fn detach(&self, lost: &Lost) {
        let mut held = self.held.lock();
        if held.get(&lost.sensor) == Some(&lost.epoch) {
            held.remove(&lost.sensor);
        }
    }

    /// Unregisters a sensor of this node. Answers whether it was here.
    pub fn unregister(&self, sensor: &SensorId) -> bool {
        self.held.lock().remove(sensor);
        self.engine.unregister(sensor.as_str())
    }

    /// Unregisters what came by a reading and has been silent since `before`, microseconds since 1970.
    pub fn sweep(&self, before: i64) {
        for (sensor, epoch) in self.engine.silent_since(before) {
            let held = self.held.lock().remove(&sensor);
            if held == Some(epoch) {
                tracing::info!(%sensor, "unregistered after silence");
                self.engine.release(sensor.as_str(), epoch);
            }
        }
    }

    /// Counts a refusal and logs it at a limited rate.
    pub fn refuse(&self, path: &str, error: &PayloadError) {
        *self.refused.lock().entry(error.reason()).or_default() += 1;
        let warned = self.warned.fetch_add(1, Ordering::Relaxed);
        if warned < WARNED_SINGLY || warned.is_multiple_of(1000) {
            tracing::error!(path, %error, refused = warned + 1, "reading refused");
        }
    }

    /// Refusals by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().clone()
    }

    fn register(&self, sensor: &SensorId) -> Result<(), PayloadError> {
        let sensor = Sensor::new(sensor.as_str())?;
        let (_, epoch) = self.engine.claim(&sensor, OnConflict::Takeover)?;
        self.held.lock().insert(sensor.id, epoch);
        Ok(())
    }
}

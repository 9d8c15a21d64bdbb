//! Sensors of a node: their registration, what is wanted of them, and the attributes that readings are put by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use senza::{Demands, OnConflict, Sensor, SensorHandle, SensorId, Value, Want};
use senza_core::table::{AttributeIndex, Handle, Point};

use crate::border;
use crate::contract::senza_want;
use crate::error::{Outcome, refuse, senza_code};
use crate::handles::{Brief, Handles, Kind};
use crate::node::{self, NODE_BITS, Shared, senza_node};
use crate::put::now_or;
use crate::text::{self, senza_str};
use crate::value::{self, senza_value};

/// A registration of a sensor on a node of this process. A number, not a pointer: a dead or made-up one is told. All
/// zeros is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_sensor {
    /// Its number.
    pub id: u64,
}

/// One attribute of a registered sensor: the fastest way to put. Not to be closed; it goes stale with the sensor, and
/// never names another one. All zeros is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_attribute {
    /// Its numbers.
    pub id: [u64; 2],
}

/// What a registration does where another node owns the sensor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_on_conflict {
    /// Claims it: the device is here now. SENZA_HELD_OFF where it was lost to another node just before.
    SENZA_TAKEOVER = 0,
    /// Leaves it, and answers SENZA_NOT_OWNER, which names the owner.
    SENZA_REFUSE = 1,
    /// Claims it whatever happened before: somebody moves it on purpose.
    SENZA_FORCE = 2,
}

/// How a sensor is registered. Begin with all zeros (SENZA_ZERO).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_sensor_options {
    /// What kind of thing it is, at most 64 bytes; default "generic".
    pub sensor_type: senza_str,
    /// A JSON object for people, at most 65,536 bytes; default "{}".
    pub meta: senza_str,
    /// A senza_on_conflict.
    pub on_conflict: u32,
}

/// What is wanted of a sensor by all subscriptions of the cluster together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_demand {
    /// 0: nobody watches it, and `want` says nothing.
    pub watched: u32,
    /// What is wanted.
    pub want: senza_want,
}

/// Sensors of one process at a time.
const SENSORS_MAX: usize = 100_000_000;

static SENSORS: Handles<Registered> = Handles::new(Kind::Sensor, 32, 28, SENSORS_MAX);

struct Registered {
    shared: Arc<Shared>,
    /// Taken out as it ends.
    handle: Option<SensorHandle>,
    stays: AtomicBool,
    /// Made when somebody first waits for the demand.
    demands: Mutex<Option<Demands>>,
}

impl Registered {
    fn handle(&self) -> Outcome<&SensorHandle> {
        self.shared.check()?;
        self.handle.as_ref().ok_or_else(|| refuse(senza_code::SENZA_CLOSED, "the sensor of this handle was closed"))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take().filter(|_| self.stays.load(Ordering::Relaxed)) {
            handle.leave();
        }
    }
}

impl senza_attribute {
    /// One of nothing.
    pub(crate) const NONE: Self = Self { id: [0; 2] };

    fn new(node: u64, handle: Handle, attribute: AttributeIndex) -> Self {
        let [shard, slot, generation] = handle.parts();
        // A node has at most 2^15 shards: the numbers fit exactly.
        let node_bits = (node & ((1 << NODE_BITS) - 1)) << (64 - NODE_BITS);
        let place = u64::from(shard & 0x7fff) << 16 | u64::from(attribute.number());
        Self { id: [u64::from(slot) << 32 | u64::from(generation), node_bits | place] }
    }

    /// What a node's number ends with.
    #[inline]
    pub(crate) fn node_bits(self) -> u64 {
        self.id[1] >> (64 - NODE_BITS)
    }

    /// The point that a value of it is.
    #[inline]
    pub(crate) const fn point(self, value: Value, source_time: i64) -> Point {
        let (handle, attribute) = self.parts();
        Point { handle, attribute, value, source_time }
    }

    /// Makes a point one of it.
    #[inline]
    pub(crate) fn name(self, point: &mut Point) {
        (point.handle, point.attribute) = self.parts();
    }

    #[inline]
    const fn parts(self) -> (Handle, AttributeIndex) {
        let [first, second] = self.id;
        let parts = [(second >> 16) as u32 & 0x7fff, (first >> 32) as u32, first as u32];
        (Handle::from_parts(parts), AttributeIndex::from_number(second as u16))
    }
}

#[inline]
fn sensor(handle: senza_sensor) -> Outcome<Brief<Registered>> {
    SENSORS.get(handle.id)
}

/// Registers a sensor on a node: from a few milliseconds later every node of the cluster finds it there. `options` may
/// be NULL. A sensor that is here already gets one more registration; the last one's end unregisters it.
///
/// Answers SENZA_LENGTH for an id that is empty or longer than 256 bytes, SENZA_NOT_OWNER and SENZA_HELD_OFF as
/// `on_conflict` says, SENZA_FULL at a bound. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_register(
    node: senza_node,
    id: senza_str,
    options: *const senza_sensor_options,
    sensor: *mut senza_sensor,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(sensor, "sensor") }?;
        // SAFETY: the header's rule of pointers.
        let options = unsafe { border::given_or_null(options, "options") }?;
        // SAFETY: the header's rule of pointers.
        let id = SensorId::new(unsafe { text::sensor(id) }?)?;
        let mut described = Sensor { id, sensor_type: Default::default(), meta: "{}".into() };
        let mut on_conflict = OnConflict::Takeover;
        if let Some(options) = options {
            // SAFETY: the header's rule of pointers.
            described.sensor_type = unsafe { text::sensor_type(options.sensor_type) }?;
            // SAFETY: the header's rule of pointers.
            let meta = unsafe { border::text(options.meta, senza_core::reading::VALUE_BYTES_MAX, "meta") }?;
            if !meta.is_empty() {
                described.meta = value::json_object(meta)?;
            }
            on_conflict = conflict(options.on_conflict)?;
        }
        let running = node::node(node)?;
        let shared = running.shared.clone();
        let handle = SensorHandle::register(&shared.engine, &described, on_conflict)?;
        let (handle, stays, demands) = (Some(handle), AtomicBool::new(false), Mutex::new(None));
        let held = SENSORS.insert(|_| Registered { shared, handle, stays, demands })?;
        out.set(senza_sensor { id: held.id });
        Ok(())
    })
}

fn conflict(policy: u32) -> Outcome<OnConflict> {
    match policy {
        0 => Ok(OnConflict::Takeover),
        1 => Ok(OnConflict::Refuse),
        2 => Ok(OnConflict::Force),
        other => Err(refuse(senza_code::SENZA_ARGUMENT, format!("on_conflict: {other} does not exist"))),
    }
}

/// Ends a registration; the last one's end unregisters the sensor. Calls of other threads that are under way with it
/// are waited for by nobody: it ends with the last of them. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_sensor_close(sensor: senza_sensor) -> senza_code {
    border::enter(|| SENSORS.remove(sensor.id).map(drop))
}

/// Ends the handle and leaves the sensor registered: it ends with its node, or by senza_sensor_unregister().
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_sensor_leave(sensor: senza_sensor) -> senza_code {
    border::enter(|| {
        let held = SENSORS.remove(sensor.id)?;
        held.stays.store(true, Ordering::Relaxed);
        Ok(())
    })
}

/// Unregisters a sensor of a node by its id, whatever its registrations. SENZA_NOT_FOUND where it is not this node's.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_unregister(node: senza_node, sensor: senza_str) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let id = unsafe { text::sensor(sensor) }?;
        if node::node(node)?.shared.engine.unregister(id) {
            return Ok(());
        }
        Err(refuse(senza_code::SENZA_NOT_FOUND, format!("sensor {id:?} is not registered on this node")))
    })
}

/// The attribute of a sensor by its name, made at its first use: what senza_put() and senza_put_many() need.
///
/// SENZA_UNREGISTERED where another node took the sensor over; SENZA_FULL beyond its attributes. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_attribute(
    sensor: senza_sensor,
    name: senza_str,
    attribute: *mut senza_attribute,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(attribute, "attribute") }?;
        // SAFETY: the header's rule of pointers.
        let name = unsafe { text::attribute(name) }?;
        let registered = self::sensor(sensor)?;
        let handle = registered.handle()?;
        let index = handle.attribute(name)?;
        let point = handle.point(index, Value::Bool(false), 0);
        out.set(senza_attribute::new(registered.shared.number, point.handle, index));
        Ok(())
    })
}

/// Puts one reading of a sensor, its attribute by name. `time_us` is when it was read, microseconds since 1970, or
/// SENZA_NOW. `seq`, which may be NULL, answers its number.
///
/// SENZA_NOT_OWNER where another node took the sensor over. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_put(
    sensor: senza_sensor,
    attribute: senza_str,
    value: senza_value,
    time_us: i64,
    seq: *mut u64,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(seq, "seq") }?;
        // SAFETY: the header's rule of pointers.
        let attribute = unsafe { text::attribute(attribute) }?;
        // SAFETY: the header's rule of pointers.
        let value = unsafe { value::value(&value) }?;
        let registered = self::sensor(sensor)?;
        out.set(registered.handle()?.put_at(attribute, value, now_or(time_us))?);
        Ok(())
    })
}

/// The same, and waits for readers of this node whose contract asks writers to (SENZA_BLOCK), each at most as long as
/// it says. Thread-safe; blocks the caller alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_put_wait(
    sensor: senza_sensor,
    attribute: senza_str,
    value: senza_value,
    time_us: i64,
    seq: *mut u64,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(seq, "seq") }?;
        // SAFETY: the header's rule of pointers.
        let attribute = unsafe { text::attribute(attribute) }?;
        // SAFETY: the header's rule of pointers.
        let value = unsafe { value::value(&value) }?;
        let registered = SENSORS.hold(sensor.id)?;
        out.set(registered.handle()?.put_wait(attribute, value, now_or(time_us))?);
        Ok(())
    })
}

/// What all subscriptions of the cluster together want of a sensor now: a device need not send more. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_demand(sensor: senza_sensor, demand: *mut senza_demand) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(demand, "demand") }?;
        out.set(demand_out(self::sensor(sensor)?.handle()?.demand()));
        Ok(())
    })
}

/// Waits until what is wanted of a sensor is another than this function answered before, the first time not at all; at
/// most `timeout_ms`, then SENZA_TIMEOUT. A subscription is to attributes: a device that waits to be watched makes its
/// attributes first (senza_sensor_attribute()).
///
/// One thread at a time per sensor, others get SENZA_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensor_await_demand(
    sensor: senza_sensor,
    timeout_ms: u32,
    demand: *mut senza_demand,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(demand, "demand") }?;
        let registered = SENSORS.hold(sensor.id)?;
        let handle = registered.handle()?;
        let mut demands = registered
            .demands
            .try_lock()
            .ok_or_else(|| refuse(senza_code::SENZA_BUSY, "another thread waits for the demand of this sensor"))?;
        let demands = match demands.as_mut() {
            Some(demands) => demands,
            None => demands.insert(handle.demands()?),
        };
        match demands.recv_timeout(Duration::from_millis(u64::from(timeout_ms))) {
            Some(demand) => out.set(demand_out(demand)),
            None => return Err(refuse(senza_code::SENZA_TIMEOUT, "the demand is as it was")),
        }
        Ok(())
    })
}

fn demand_out(demand: Option<Want>) -> senza_demand {
    senza_demand { watched: u32::from(demand.is_some()), want: senza_want::of(demand.unwrap_or_default()) }
}

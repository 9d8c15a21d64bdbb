//! The table: a node's lock-sharded store of its own sensors.
//!
//! One hash of the sensor id picks shard and slot. Registration answers a [`Handle`]; a put by handle hashes nothing,
//! allocates nothing once its history is full, takes one shard lock and waits for nothing else. Readings are copied
//! out; no guard leaves this file, and two shards are never locked together.
//!
//! `W` is what hangs on every series for whoever joins table and fanout: the table stores it under the same lock as
//! the readings and hands it to the put's closure, but knows nothing of it.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::hash::BuildHasher;

use crate::error::{Error, Result};
use crate::history::{History, Sample};
use crate::reading::{AttributeId, Epoch, Micros, NodeName, Reading, SensorId, SensorType, Seq, Series, Value};

/// Bounds of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Lock shards, rounded up to a power of two, at most 65,536.
    pub shards: usize,
    /// Most sensors; one more is refused.
    pub sensors_max: usize,
    /// Most attributes of one sensor; one more is refused.
    pub attributes_max: usize,
    /// Readings kept per attribute, at least 1; the oldest gives way.
    pub history_max: usize,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { shards: 64, sensors_max: 10_000_000, attributes_max: 1024, history_max: 16 }
    }
}

/// Names a registered sensor without its id: (shard, slot, generation). Goes stale when the sensor is unregistered,
/// and never names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    shard: u32,
    slot: u32,
    generation: u32,
}

/// Names one attribute of a sensor: its place in the order of first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttributeIndex(u16);

/// One reading to put by handle.
#[derive(Clone, Debug)]
pub struct Point {
    /// The sensor.
    pub handle: Handle,
    /// The attribute, from [`Table::attribute`].
    pub attribute: AttributeIndex,
    /// What was read.
    pub value: Value,
    /// When, as the device says.
    pub source_time: Micros,
}

/// What a registration says of a sensor.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Which sensor.
    pub sensor: SensorId,
    /// What kind of thing it is.
    pub sensor_type: SensorType,
    /// The claim's number.
    pub epoch: Epoch,
    /// The owner: this node.
    pub node: NodeName,
    /// JSON object as text, for people.
    pub meta: Arc<str>,
}

/// A copy of what the table knows of one sensor.
#[derive(Clone, Debug)]
pub struct SensorView {
    /// Which sensor.
    pub sensor: SensorId,
    /// What kind of thing it is.
    pub sensor_type: SensorType,
    /// The claim's number.
    pub epoch: Epoch,
    /// JSON object as text.
    pub meta: Arc<str>,
    /// Its attributes in the order of first use.
    pub attributes: Vec<AttributeId>,
    /// When it last was registered or put.
    pub touched: Micros,
    /// How many registrations hold it.
    pub registrations: u32,
}

/// Lock-sharded store of the sensors that this node owns. See the file's header.
#[derive(Debug)]
pub struct Table<W> {
    shards: Box<[CachePadded<Mutex<Shard<W>>>]>,
    hasher: SeedableRandomState,
    limits: TableLimits,
    per_shard_max: usize,
}

/// Slots never move while their sensor lives; the index maps an id's hash to its slot.
#[derive(Debug)]
struct Shard<W> {
    index: HashTable<u32>,
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<W> {
    /// How often this slot was reused; a handle of an earlier use does not fit.
    generation: u32,
    sensor: Option<Sensor<W>>,
}

#[derive(Debug)]
struct Sensor<W> {
    registration: Registration,
    registrations: u32,
    touched: Micros,
    attributes: Vec<Attribute<W>>,
}

#[derive(Debug)]
struct Attribute<W> {
    series: Arc<Series>,
    /// The number of the newest reading taken; 0 before the first.
    last_seq: Seq,
    history: History,
    hung: W,
}

// === impl Table ===

impl<W: Default> Table<W> {
    /// An empty table. `seed` seeds the hash of ids: unpredictable in production, fixed in simulation.
    pub fn new(limits: TableLimits, seed: u64) -> Self {
        let count = limits.shards.clamp(1, 1 << 16).next_power_of_two();
        let shard =
            || CachePadded::new(Mutex::new(Shard { index: HashTable::new(), slots: Vec::new(), free: Vec::new() }));
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_random());
        // Shards fill unevenly, by about the square root of their mean: some slack, so that the bound is the table's.
        let per_shard_max = limits.sensors_max / count * 5 / 4 + 64;
        Self { shards: (0..count).map(|_| shard()).collect(), hasher, limits, per_shard_max }
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &TableLimits {
        &self.limits
    }

    /// How many lock shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Makes the sensor exist here, or adds one to its registrations where it does. Meta and type of an existing
    /// sensor are renewed for what is asked of it later; its epoch stays. One shard lock; allocates.
    ///
    /// # Errors
    /// [`Error::Full`] at the table's bound.
    pub fn register(&self, registration: Registration, now: Micros) -> Result<Handle> {
        let (shard_at, hash) = self.place(registration.sensor.as_str());
        let mut guard = self.shards[shard_at].lock();
        let shard = &mut *guard;
        if let Some(slot) = shard.find(hash, registration.sensor.as_str()) {
            let entry = &mut shard.slots[slot as usize];
            let sensor = entry.sensor.as_mut().expect("the index holds only slots in use");
            sensor.registrations += 1;
            sensor.touched = now;
            sensor.registration.meta = registration.meta;
            return Ok(Handle { shard: shard_at as u32, slot, generation: entry.generation });
        }
        if shard.index.len() >= self.per_shard_max {
            return Err(Error::Full { what: "sensors of this node", max: self.limits.sensors_max });
        }
        let slot = shard.insert(Sensor { registration, registrations: 1, touched: now, attributes: Vec::new() });
        let Shard { index, slots, .. } = shard;
        index.insert_unique(hash, slot, |slot| self.hasher.hash_one(id_at(slots, *slot)));
        Ok(Handle { shard: shard_at as u32, slot, generation: slots[slot as usize].generation })
    }

    /// The handle of a registered sensor. One hash, one shard lock.
    pub fn find(&self, sensor: &str) -> Option<Handle> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        let slot = shard.find(hash, sensor)?;
        Some(Handle { shard: shard_at as u32, slot, generation: shard.slots[slot as usize].generation })
    }

    /// Ends one registration of the claim `epoch`; the last one's end removes the sensor, and `true` is answered.
    /// A sensor under another claim is left alone.
    pub fn release(&self, sensor: &str, epoch: Epoch) -> bool {
        self.end(sensor, epoch, false)
    }

    /// Removes the sensor whatever its registrations, if it still stands under the claim `epoch`.
    pub fn remove(&self, sensor: &str, epoch: Epoch) -> bool {
        self.end(sensor, epoch, true)
    }

    /// The place of an attribute of the sensor, made at its first use; allocates only then.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle, [`Error::Id`] for an id that is none, [`Error::Full`] beyond the
    /// attributes of one sensor.
    pub fn attribute(&self, handle: Handle, attribute: &str) -> Result<AttributeIndex> {
        let mut shard = self.shards[handle.shard as usize].lock();
        shard.sensor(handle)?.attribute(attribute, self.limits.attributes_max)
    }

    /// Takes one reading by handle: numbers it, files it, and hands series, sample and what hangs there to `deliver`
    /// under the shard lock. Answers the reading's seq.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle or an attribute the sensor does not have.
    pub fn put(&self, point: Point, now: Micros, deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W)) -> Result<Seq> {
        let mut shard = self.shards[point.handle.shard as usize].lock();
        let sensor = shard.sensor(point.handle)?;
        sensor.take(point.attribute, point.value, point.source_time, now, self.limits.history_max, deliver)
    }

    /// Takes many readings by handle; a run of points of one shard costs one lock. Points of stale handles are left
    /// out; their number is answered. Order is kept per series.
    pub fn put_many(
        &self,
        points: &[Point],
        now: Micros,
        mut deliver: impl FnMut(&Arc<Series>, &Sample, &mut W),
    ) -> usize {
        let mut refused = 0;
        for run in points.chunk_by(|a, b| a.handle.shard == b.handle.shard) {
            let Some(first) = run.first() else { continue };
            let mut shard = self.shards[first.handle.shard as usize].lock();
            for point in run {
                let taken = shard.sensor(point.handle).and_then(|sensor| {
                    let history_max = self.limits.history_max;
                    sensor.take(point.attribute, point.value.clone(), point.source_time, now, history_max, &mut deliver)
                });
                refused += usize::from(taken.is_err());
            }
        }
        refused
    }

    /// Takes one reading by id: one hash and one shard lock; the attribute is made at its first use.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the sensor is not registered here, [`Error::Full`] beyond its attributes.
    pub fn put_by_id(
        &self,
        sensor: &str,
        attribute: &str,
        value: Value,
        source_time: Micros,
        now: Micros,
        deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W),
    ) -> Result<Seq> {
        let (shard_at, hash) = self.place(sensor);
        let mut shard = self.shards[shard_at].lock();
        let slot = shard.find(hash, sensor).ok_or_else(|| Error::NotFound { sensor: sensor.to_owned() })?;
        let sensor = shard.slots[slot as usize].sensor.as_mut().expect("the index holds only slots in use");
        let attribute = sensor.attribute(attribute, self.limits.attributes_max)?;
        sensor.take(attribute, value, source_time, now, self.limits.history_max, deliver)
    }

    /// The latest reading of an attribute.
    pub fn latest(&self, sensor: &str, attribute: &str) -> Option<Reading> {
        self.history(sensor, attribute, Micros::MIN, Micros::MAX, 1).pop()
    }

    /// The newest `last` readings of an attribute with source times within `from..=to`, oldest first.
    pub fn history(&self, sensor: &str, attribute: &str, from: Micros, to: Micros, last: usize) -> Vec<Reading> {
        let (shard_at, hash) = self.place(sensor);
        let mut shard = self.shards[shard_at].lock();
        let Some(slot) = shard.find(hash, sensor) else { return Vec::new() };
        let sensor = shard.slots[slot as usize].sensor.as_mut().expect("the index holds only slots in use");
        let found = sensor.attributes.iter().find(|entry| entry.series.attribute.as_str() == attribute);
        found.map_or_else(Vec::new, |entry| {
            entry.history.range(from, to, last).map(|sample| sample.reading(&entry.series)).collect()
        })
    }

    /// A copy of what is known of a sensor.
    pub fn view(&self, sensor: &str) -> Option<SensorView> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        let slot = shard.find(hash, sensor)?;
        shard.slots[slot as usize].sensor.as_ref().map(Sensor::view)
    }

    /// Copies of all sensors of one shard: the step of a walk over all.
    pub fn scan(&self, shard: usize) -> Vec<SensorView> {
        self.shards[shard].lock().slots.iter().filter_map(|slot| slot.sensor.as_ref()).map(Sensor::view).collect()
    }

    /// Visits what hangs on every series of one shard under its lock, with the series, its last seq and its latest
    /// sample. `visit` must neither wait nor come back to the table.
    pub fn visit_series(&self, shard: usize, mut visit: impl FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut W)) {
        for slot in &mut self.shards[shard].lock().slots {
            for entry in slot.sensor.iter_mut().flat_map(|sensor| &mut sensor.attributes) {
                visit(&entry.series, entry.last_seq, entry.history.latest(), &mut entry.hung);
            }
        }
    }

    /// [`visit_series`](Self::visit_series) for the series of one sensor.
    pub fn visit_sensor(&self, sensor: &str, mut visit: impl FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut W)) {
        let (shard_at, hash) = self.place(sensor);
        let mut shard = self.shards[shard_at].lock();
        let Some(slot) = shard.find(hash, sensor) else { return };
        for entry in shard.slots[slot as usize].sensor.iter_mut().flat_map(|sensor| &mut sensor.attributes) {
            visit(&entry.series, entry.last_seq, entry.history.latest(), &mut entry.hung);
        }
    }

    /// How many sensors are registered. Locks every shard in turn.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().index.len()).sum()
    }

    /// Whether no sensor is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, sensor: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(sensor);
        // The index inside a shard uses the low and the top bits; the shard takes bits from the middle.
        ((hash >> 40) as usize & (self.shards.len() - 1), hash)
    }

    fn end(&self, sensor: &str, epoch: Epoch, whatever_holds_it: bool) -> bool {
        let (shard_at, hash) = self.place(sensor);
        let mut guard = self.shards[shard_at].lock();
        let shard = &mut *guard;
        let Some(slot) = shard.find(hash, sensor) else { return false };
        let entry = &mut shard.slots[slot as usize];
        let held = entry.sensor.as_mut().expect("the index holds only slots in use");
        if held.registration.epoch != epoch {
            return false;
        }
        held.registrations -= 1;
        if held.registrations > 0 && !whatever_holds_it {
            return false;
        }
        if let Ok(found) = shard.index.find_entry(hash, |candidate| *candidate == slot) {
            found.remove();
        }
        let entry = &mut shard.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.sensor = None;
        shard.free.push(slot);
        true
    }
}

// === impl Shard ===

impl<W> Shard<W> {
    fn find(&self, hash: u64, sensor: &str) -> Option<u32> {
        self.index.find(hash, |slot| id_at(&self.slots, *slot) == sensor).copied()
    }

    fn insert(&mut self, sensor: Sensor<W>) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].sensor = Some(sensor);
            return slot;
        }
        self.slots.push(Slot { generation: 0, sensor: Some(sensor) });
        (self.slots.len() - 1) as u32
    }

    fn sensor(&mut self, handle: Handle) -> Result<&mut Sensor<W>> {
        let slot = self.slots.get_mut(handle.slot as usize).filter(|slot| slot.generation == handle.generation);
        slot.and_then(|slot| slot.sensor.as_mut()).ok_or(Error::Unregistered)
    }
}

fn id_at<W>(slots: &[Slot<W>], slot: u32) -> &str {
    slots[slot as usize].sensor.as_ref().map_or("", |sensor| sensor.registration.sensor.as_str())
}

// === impl Sensor ===

impl<W: Default> Sensor<W> {
    fn attribute(&mut self, attribute: &str, max: usize) -> Result<AttributeIndex> {
        if let Some(at) = self.attributes.iter().position(|entry| entry.series.attribute.as_str() == attribute) {
            return Ok(AttributeIndex(at as u16));
        }
        if self.attributes.len() >= max.min(usize::from(u16::MAX)) {
            return Err(Error::Full { what: "attributes of one sensor", max });
        }
        let series = Arc::new(Series {
            sensor: self.registration.sensor.clone(),
            attribute: AttributeId::new(attribute)?,
            sensor_type: self.registration.sensor_type.clone(),
            node: self.registration.node.clone(),
            epoch: self.registration.epoch,
        });
        self.attributes.push(Attribute { series, last_seq: 0, history: History::default(), hung: W::default() });
        Ok(AttributeIndex((self.attributes.len() - 1) as u16))
    }

    fn take(
        &mut self,
        attribute: AttributeIndex,
        value: Value,
        source_time: Micros,
        now: Micros,
        history_max: usize,
        deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W),
    ) -> Result<Seq> {
        let entry = self.attributes.get_mut(usize::from(attribute.0)).ok_or(Error::Unregistered)?;
        self.touched = now;
        entry.last_seq += 1;
        let sample = Sample { value, source_time, received_time: now, seq: entry.last_seq };
        deliver(&entry.series, &sample, &mut entry.hung);
        entry.history.insert(sample, history_max);
        Ok(entry.last_seq)
    }
}

impl<W> Sensor<W> {
    fn view(&self) -> SensorView {
        SensorView {
            sensor: self.registration.sensor.clone(),
            sensor_type: self.registration.sensor_type.clone(),
            epoch: self.registration.epoch,
            meta: self.registration.meta.clone(),
            attributes: self.attributes.iter().map(|entry| entry.series.attribute.clone()).collect(),
            touched: self.touched,
            registrations: self.registrations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<()> {
        Table::new(TableLimits { shards: 4, sensors_max: 1000, attributes_max: 2, history_max: 3 }, 7)
    }

    fn registration(id: &str, epoch: Epoch) -> Registration {
        Registration {
            sensor: SensorId::new(id).unwrap(),
            sensor_type: SensorType::default(),
            epoch,
            node: NodeName::new("a").unwrap(),
            meta: "{}".into(),
        }
    }

    fn put(table: &Table<()>, handle: Handle, name: &str, value: i64, time: Micros) -> Result<Seq> {
        let attribute = table.attribute(handle, name)?;
        table.put(Point { handle, attribute, value: Value::I64(value), source_time: time }, time, |_, _, ()| {})
    }

    #[test]
    fn readings_are_numbered_and_the_latest_is_the_newest_by_source_time() {
        let table = table();
        let handle = table.register(registration("s", 5), 0).unwrap();
        assert_eq!(put(&table, handle, "x", 1, 100).unwrap(), 1);
        assert_eq!(put(&table, handle, "x", 2, 50).unwrap(), 2);
        assert_eq!(table.latest("s", "x").unwrap().value, Value::I64(1));
        assert_eq!(put(&table, handle, "x", 3, 100).unwrap(), 3);
        assert_eq!(table.latest("s", "x").unwrap().seq, 3, "ties go to the later seq");
        let times: Vec<_> = table.history("s", "x", 0, 1000, 10).iter().map(|r| r.source_time).collect();
        assert_eq!(times, [50, 100, 100]);
        assert_eq!(table.latest("s", "nope"), None);
    }

    #[test]
    fn a_stale_handle_never_reaches_the_slots_next_sensor() {
        let table = Table::<()>::new(TableLimits { shards: 1, ..TableLimits::default() }, 7);
        let old = table.register(registration("old", 1), 0).unwrap();
        put(&table, old, "x", 1, 1).unwrap();
        assert!(table.release("old", 1));
        let new = table.register(registration("new", 2), 0).unwrap();
        assert_eq!(put(&table, old, "x", 9, 2).unwrap_err(), Error::Unregistered);
        put(&table, new, "x", 2, 2).unwrap();
        assert_eq!(table.latest("new", "x").unwrap().value, Value::I64(2));
        assert!(table.find("old").is_none());
    }

    #[test]
    fn registrations_are_counted_and_ended_by_their_claim_alone() {
        let table = table();
        table.register(registration("s", 5), 0).unwrap();
        table.register(registration("s", 5), 0).unwrap();
        assert!(!table.release("s", 4), "another claim's end changes nothing");
        assert!(!table.release("s", 5));
        assert!(table.find("s").is_some());
        assert!(table.release("s", 5));
        assert!(table.find("s").is_none() && table.is_empty());
        assert!(!table.remove("s", 5));
    }

    #[test]
    fn bounds_are_refusals_that_name_them() {
        let table = Table::<()>::new(TableLimits { shards: 1, sensors_max: 0, attributes_max: 2, history_max: 1 }, 7);
        for i in 0..64 {
            table.register(registration(&format!("s{i}"), 1), 0).unwrap();
        }
        let refused = table.register(registration("one more", 1), 0).unwrap_err();
        assert!(refused.to_string().contains("limit"), "{refused}");
        let handle = table.find("s0").unwrap();
        put(&table, handle, "x", 1, 1).unwrap();
        put(&table, handle, "y", 1, 1).unwrap();
        assert!(matches!(put(&table, handle, "z", 1, 1), Err(Error::Full { max: 2, .. })));
    }

    #[test]
    fn many_points_cost_one_pass_and_keep_their_order() {
        let table = table();
        let mut points = Vec::new();
        for i in 0..20 {
            let handle = table.register(registration(&format!("s{i}"), 1), 0).unwrap();
            let attribute = table.attribute(handle, "x").unwrap();
            for n in 0..3 {
                points.push(Point { handle, attribute, value: Value::I64(n), source_time: n });
            }
        }
        table.release("s3", 1);
        let mut seen = 0;
        let refused = table.put_many(&points, 9, |_, sample, ()| {
            assert_eq!(sample.value, Value::I64(sample.seq as i64 - 1));
            seen += 1;
        });
        assert_eq!((seen, refused), (57, 3));
    }
}

//! The table: a node's lock-sharded store of its own sensors.
//!
//! One hash of the sensor id picks shard and slot. Registration answers a [`Handle`]; a put by handle hashes nothing,
//! allocates nothing once its history is full, takes one shard lock and waits for nothing else. Readings are copied
//! out; no guard leaves this file and its folder, and two shards are never locked together.
//!
//! `W` is what hangs on every series for whoever joins table and fanout: the table stores it under the same lock as
//! the readings and hands it to the put's closure, but knows nothing of it. It should have at most 24 bytes: then a put
//! touches a pair of lines of memory, and one more each fourth time. A put by id first waits for a line of the index,
//! and then also for the sensor's name, which the core loads beside the others.
//!
//! ```text
//!  Table ─▶ Shard, one of 64, under its lock
//!            index    id hash ─▶ slot: a word of 4 bytes and the room around it, 5 to 10 bytes per sensor
//!            names    32 bytes per sensor: hash, and the id where it has at most 27 bytes
//!            slots    24 bytes per sensor: generation, attributes, registrations, meta
//!            first    64 bytes per sensor: history (40) and W of its first attribute; 64 more beside them, the
//!                     stage, where more than the latest is kept; 8 apart: its Arc<Series>
//!            more     the same for each further attribute, a sensor's side by side
//!            store    16 bytes per older reading, in blocks that grow with their histories
//!            kinds, metas   one copy of what sensors have in common
//! ```

mod index;
mod interner;
mod name;
mod named;
mod series;
mod shard;
mod sorting;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use foldhash::quality::{RandomState, SeedableRandomState};
use hashbrown::HashSet;

use self::shard::Shard;
use self::sorting::{BLOCK, sort_by_shard};
use crate::error::{Error, Result};
use crate::history::Sample;
use crate::reading::{AttributeId, Epoch, Micros, NodeName, Reading, SensorId, SensorType, Seq, Series, Value};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

pub use self::named::NamedPoint;

/// Bounds of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Lock shards, rounded up to a power of two, at most 32,768.
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

impl Handle {
    /// Which lock shard it is in, below [`Table::shard_count`]: what to sort points by, so that
    /// [`Table::put_many`] meets long runs of one shard.
    pub fn shard(self) -> usize {
        self.shard as usize
    }
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

/// Whoever takes what [`Table::put_runs`] hands on.
pub trait Deliver<W> {
    /// Takes one reading with what hangs on its series. Called under the shard lock: it must neither wait nor come back
    /// to the table.
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, hung: &mut W);

    /// Says that a run of one shard ended; its lock is given up next.
    fn run_ended(&mut self) {}
}

/// A closure that takes each reading.
struct Each<F>(F);

impl<W, F: FnMut(&Arc<Series>, &Sample, &mut W)> Deliver<W> for Each<F> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, hung: &mut W) {
        (self.0)(series, sample, hung);
    }
}

/// What new attributes are held to.
#[derive(Debug)]
struct Rules {
    attributes_max: usize,
    /// Attributes of which no reading may be left out by contract.
    lossless: RwLock<HashSet<AttributeId, RandomState>>,
    /// How many were made.
    made: AtomicU64,
}

/// Lock-sharded store of the sensors that this node owns. See the file's header.
#[derive(Debug)]
pub struct Table<W> {
    shards: Box<[CachePadded<Mutex<Shard<W>>>]>,
    hasher: SeedableRandomState,
    limits: TableLimits,
    rules: Rules,
    per_shard_max: usize,
}

// === impl Handle, AttributeIndex ===

impl Handle {
    /// The handle as numbers, for whoever carries it through another language: shard, slot, generation.
    pub fn parts(self) -> [u32; 3] {
        [self.shard, self.slot, self.generation]
    }

    /// The handle that [`parts`](Self::parts) told. Made-up numbers are a stale handle, or by chance one of this table.
    pub const fn from_parts([shard, slot, generation]: [u32; 3]) -> Self {
        Self { shard, slot, generation }
    }
}

impl AttributeIndex {
    /// The place as a number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The place that a number names. One that the sensor does not have is refused where it is used.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }
}

// === impl Table ===

impl<W: Default> Table<W> {
    /// An empty table. `seed` seeds the hash of ids: unpredictable in production, fixed in simulation.
    pub fn new(limits: TableLimits, seed: u64) -> Self {
        let count = limits.shards.clamp(1, 1 << 15).next_power_of_two();
        let shard = |_| CachePadded::new(Mutex::new(Shard::new(limits.history_max)));
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        // Shards fill unevenly, by about the square root of their mean: some slack, so that the bound is the table's.
        let per_shard_max = limits.sensors_max / count * 5 / 4 + 64;
        let rules =
            Rules { attributes_max: limits.attributes_max, lossless: RwLock::default(), made: AtomicU64::new(0) };
        Self { shards: (0..count).map(shard).collect(), hasher, limits, rules, per_shard_max }
    }

    /// Marks attributes, of all sensors, of which no reading may be conflated, rate-limited or left out by a deadband.
    /// Series that are there already stay as they are: call it first.
    pub fn mark_lossless(&self, attributes: impl IntoIterator<Item = AttributeId>) {
        self.rules.lossless.write().extend(attributes);
    }

    /// How many attributes were ever made: a number that changes with every new series.
    pub fn attributes_made(&self) -> u64 {
        self.rules.made.load(Ordering::Acquire)
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &TableLimits {
        &self.limits
    }

    /// How many lock shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Makes the sensor exist here, or adds one to its registrations where it does. The meta of an existing sensor is
    /// renewed for what is asked of it later; its type and epoch stay. One hash, one shard lock; allocates once for a
    /// new sensor like others, now and then more as the shard grows.
    ///
    /// # Errors
    /// [`Error::Full`] at the table's bound.
    pub fn register(&self, registration: Registration, now: Micros) -> Result<Handle> {
        let (shard_at, hash) = self.place(registration.sensor.as_bytes());
        let mut shard = self.shards[shard_at].lock();
        if let Some(slot) = shard.find(hash, registration.sensor.as_bytes()) {
            let generation = shard.register_again(slot, &registration.meta, now, &self.hasher);
            return Ok(Handle { shard: shard_at as u32, slot, generation });
        }
        if shard.len() >= self.per_shard_max {
            return Err(Error::Full { what: "sensors of this node", max: self.limits.sensors_max });
        }
        let (slot, generation) = shard.insert(hash, registration, now, &self.hasher);
        Ok(Handle { shard: shard_at as u32, slot, generation })
    }

    /// The handle of a registered sensor. One hash, one shard lock.
    pub fn find(&self, sensor: &str) -> Option<Handle> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        let slot = shard.find(hash, sensor)?;
        Some(Handle { shard: shard_at as u32, slot, generation: shard.generation(slot) })
    }

    /// Ends one registration of the claim `epoch`; the last one's end removes the sensor, and `true` is answered.
    /// A sensor under another claim is left alone.
    pub fn release(&self, sensor: &str, epoch: Epoch) -> bool {
        self.release_with(sensor, epoch, |_, _, _| {})
    }

    /// [`release`](Self::release), handing each series of a sensor that is removed to `ended` with its last seq and what
    /// hangs there, under the shard lock: no reading of it comes after.
    pub fn release_with(&self, sensor: &str, epoch: Epoch, mut ended: impl FnMut(&Arc<Series>, Seq, &mut W)) -> bool {
        let (shard_at, hash) = self.place(sensor);
        self.shards[shard_at].lock().end(hash, sensor, epoch, false, &mut ended)
    }

    /// Removes the sensor whatever its registrations, if it still stands under the claim `epoch`.
    pub fn remove(&self, sensor: &str, epoch: Epoch) -> bool {
        self.remove_with(sensor, epoch, |_, _, _| {})
    }

    /// [`remove`](Self::remove), handing its series to `ended` as [`release_with`](Self::release_with) does.
    pub fn remove_with(&self, sensor: &str, epoch: Epoch, mut ended: impl FnMut(&Arc<Series>, Seq, &mut W)) -> bool {
        let (shard_at, hash) = self.place(sensor);
        self.shards[shard_at].lock().end(hash, sensor, epoch, true, &mut ended)
    }

    /// The place of an attribute of the sensor, made at its first use; allocates only then.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle, [`Error::Id`] for an id that is none, [`Error::Full`] beyond the
    /// attributes of one sensor.
    pub fn attribute(&self, handle: Handle, attribute: &str) -> Result<AttributeIndex> {
        let Some(shard) = self.shard_of(handle) else { return Err(Error::Unregistered) };
        let mut shard = shard.lock();
        let Some(slot) = shard.slot_of(handle) else { return Err(Error::Unregistered) };
        shard.attribute(slot, attribute, &self.rules, &self.hasher)
    }

    /// Takes one reading by handle: numbers it, files it, and hands series, sample and what hangs there to `deliver`
    /// under the shard lock. Answers the reading's seq.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle or an attribute the sensor does not have.
    pub fn put(&self, point: Point, now: Micros, deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W)) -> Result<Seq> {
        // Not by `ok_or`: an error that is made and dropped with every put would cost a fifth of it.
        let Some(shard) = self.shard_of(point.handle) else { return Err(Error::Unregistered) };
        let mut shard = shard.lock();
        let Some(at) = shard.series_of(point.handle, point.attribute) else { return Err(Error::Unregistered) };
        shard.load_stage(at);
        Ok(shard.take(at, point.value, point.source_time, now, deliver))
    }

    /// [`put`](Self::put) with the attribute's id, which is made at its first use: one lock for both.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`attribute`](Self::attribute).
    pub fn put_named(
        &self,
        (handle, attribute): (Handle, &str),
        value: Value,
        source_time: Micros,
        now: Micros,
        deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W),
    ) -> Result<Seq> {
        let Some(shard) = self.shard_of(handle) else { return Err(Error::Unregistered) };
        let mut shard = shard.lock();
        let Some(slot) = shard.slot_of(handle) else { return Err(Error::Unregistered) };
        let attribute = shard.attribute(slot, attribute, &self.rules, &self.hasher)?;
        let at = shard.series_at(slot, attribute);
        shard.load_stage(at);
        Ok(shard.take(at, value, source_time, now, deliver))
    }

    /// Takes many readings by handle; a run of points of one shard costs one lock, and misses of memory overlap within
    /// it. Points that come in short runs are sorted by shard first, 1,024 at a time. Points of stale handles are left
    /// out; their number is answered. Order is kept per sensor, not between sensors.
    pub fn put_many(&self, points: &[Point], now: Micros, deliver: impl FnMut(&Arc<Series>, &Sample, &mut W)) -> usize {
        self.put_runs(points, now, &mut Each(deliver))
    }

    /// [`put_many`](Self::put_many), telling `deliver` where each run of one shard ends.
    pub fn put_runs(&self, points: &[Point], now: Micros, deliver: &mut impl Deliver<W>) -> usize {
        if points.len() < SCATTERED_MIN || are_in_runs(points) {
            return self.put_sorted(points, now, deliver);
        }
        let (mut refused, mut sorted) = (0, [&points[0]; BLOCK]);
        for block in points.chunks(BLOCK) {
            sort_by_shard(block.iter(), &mut sorted, |point| point.handle.shard as usize);
            refused += self.put_sorted(&sorted[..block.len()], now, deliver);
        }
        refused
    }

    fn put_sorted<P: Borrow<Point>>(&self, points: &[P], now: Micros, deliver: &mut impl Deliver<W>) -> usize {
        let mut refused = 0;
        for run in points.chunk_by(|a, b| a.borrow().handle.shard == b.borrow().handle.shard) {
            let Some(first) = run.first() else { continue };
            match self.shard_of(first.borrow().handle) {
                Some(shard) => refused += shard.lock().take_run(run, now, deliver),
                None => refused += run.len(),
            }
        }
        refused
    }

    /// Visits what hangs on one series under its shard's lock.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle or an attribute the sensor does not have.
    pub fn visit_handle(
        &self,
        handle: Handle,
        attribute: AttributeIndex,
        visit: impl FnOnce(&Arc<Series>, &mut W),
    ) -> Result<()> {
        let Some(shard) = self.shard_of(handle) else { return Err(Error::Unregistered) };
        let mut shard = shard.lock();
        let Some(at) = shard.series_of(handle, attribute) else { return Err(Error::Unregistered) };
        shard.visit_one(at, visit);
        Ok(())
    }

    /// Takes one reading by id: one hash, one shard lock, two waits for memory where sensors are many; the attribute is
    /// made at its first use, which alone allocates. For many at a time, [`put_many_by_id`](Self::put_many_by_id).
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
        let slot = shard.find_to_put(hash, sensor).ok_or_else(|| Error::NotFound { sensor: sensor.to_owned() })?;
        let attribute = shard.attribute(slot, attribute, &self.rules, &self.hasher)?;
        let at = shard.series_at(slot, attribute);
        Ok(shard.take(at, value, source_time, now, deliver))
    }

    /// The latest reading of an attribute.
    pub fn latest(&self, sensor: &str, attribute: &str) -> Option<Reading> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        let (series, sample) = shard.latest(shard.find(hash, sensor)?, attribute)?;
        Some(sample.reading(series))
    }

    /// [`latest`](Self::latest) without its series: spares the reference count, which threads that look at one sensor
    /// would take turns at.
    pub fn latest_sample(&self, sensor: &str, attribute: &str) -> Option<Sample> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        shard.latest(shard.find(hash, sensor)?, attribute).map(|(_, sample)| sample)
    }

    /// The newest `last` readings of an attribute with source times within `from..=to`, oldest first.
    pub fn history(&self, sensor: &str, attribute: &str, from: Micros, to: Micros, last: usize) -> Vec<Reading> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        shard.find(hash, sensor).map_or_else(Vec::new, |slot| shard.history(slot, attribute, from, to, last))
    }

    /// A copy of what is known of a sensor.
    pub fn view(&self, sensor: &str) -> Option<SensorView> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        shard.find(hash, sensor).map(|slot| shard.view(slot))
    }

    /// The number of the claim under which a sensor is here.
    pub fn epoch(&self, sensor: &str) -> Option<Epoch> {
        let (shard_at, hash) = self.place(sensor);
        let shard = self.shards[shard_at].lock();
        shard.find(hash, sensor).map(|slot| shard.epoch(slot))
    }

    /// Copies of all sensors of one shard: the step of a walk over all.
    pub fn scan(&self, shard: usize) -> Vec<SensorView> {
        let shard = self.shards[shard].lock();
        shard.slots_in_use().map(|slot| shard.view(slot)).collect()
    }

    /// Visits what hangs on every series of one shard under its lock, with the series, its last seq and its latest
    /// sample. `visit` must neither wait nor come back to the table.
    pub fn visit_series(&self, shard: usize, mut visit: impl FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut W)) {
        let mut shard = self.shards[shard].lock();
        (0..shard.slot_count()).for_each(|slot| shard.visit(slot, &mut visit));
    }

    /// [`visit_series`](Self::visit_series) for the series of one sensor.
    pub fn visit_sensor(&self, sensor: &str, mut visit: impl FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut W)) {
        let (shard_at, hash) = self.place(sensor);
        let mut shard = self.shards[shard_at].lock();
        if let Some(slot) = shard.find(hash, sensor) {
            shard.visit(slot, &mut visit);
        }
    }

    /// [`visit_series`](Self::visit_series) with the newest `last` samples kept since `from`, oldest first.
    pub fn visit_kept(
        &self,
        shard: usize,
        span: (Micros, usize),
        mut visit: impl FnMut(&Arc<Series>, Seq, &[Sample], &mut W),
    ) {
        let mut shard = self.shards[shard].lock();
        (0..shard.slot_count()).for_each(|slot| shard.visit_kept(slot, span, &mut visit));
    }

    /// [`visit_kept`](Self::visit_kept) for the series of one sensor.
    pub fn visit_kept_of(
        &self,
        sensor: &str,
        span: (Micros, usize),
        mut visit: impl FnMut(&Arc<Series>, Seq, &[Sample], &mut W),
    ) {
        let (shard_at, hash) = self.place(sensor);
        let mut shard = self.shards[shard_at].lock();
        if let Some(slot) = shard.find(hash, sensor) {
            shard.visit_kept(slot, span, &mut visit);
        }
    }

    /// How many sensors are registered. Locks every shard in turn.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no sensor is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shard that a handle names; none where it is of a table with more of them, or made up.
    #[inline]
    fn shard_of(&self, handle: Handle) -> Option<&CachePadded<Mutex<Shard<W>>>> {
        self.shards.get(handle.shard as usize)
    }

    #[inline]
    fn place(&self, sensor: impl AsRef<[u8]>) -> (usize, u32) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(sensor.as_ref());
        let hash = hasher.finish();
        // The index inside a shard uses the low half; the shard takes bits of the other.
        ((hash >> 40) as usize & (self.shards.len() - 1), hash as u32)
    }
}

/// Fewer points than these are not sorted: of 64 shards, hardly one would take several.
const SCATTERED_MIN: usize = 128;
/// Points that lie in runs of this length, on average, are not sorted.
const RUN_MIN: usize = 4;

/// Whether most neighbours among the points are of one shard.
fn are_in_runs(points: &[Point]) -> bool {
    let ends = points.windows(2).filter(|pair| pair[0].handle.shard != pair[1].handle.shard).count();
    ends * RUN_MIN < points.len()
}

#[cfg(test)]
mod tests;

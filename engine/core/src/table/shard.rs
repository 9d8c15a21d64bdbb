//! One shard of the table: what lies under one lock. Plain data; knows neither the lock nor the other shards.

use std::borrow::Borrow;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::quality::SeedableRandomState;

use super::index::Index;
use super::interner::Interner;
use super::name::Name;
use super::named::{NamedPoint, Place};
use super::series::{Line, SeriesList};
use super::{AttributeIndex, Deliver, Handle, Point, Registration, Rules, SensorView};
use crate::error::{Error, Result};
use crate::history::chunks::Chunks;
use crate::history::ranges::Ranges;
use crate::history::{Sample, Stage, Store};
use crate::reading::{
    AttributeId, Epoch, Micros, NodeName, Reading, SensorId, SensorType, Seq, Series, SeriesKind, Value,
};

/// Points whose lines are loaded together before they are taken. With 16 the core waits more, with 64 lines are lost again.
pub(super) const GROUP: usize = 32;

/// See the drawing in `table.rs`. Slots never move while their sensor lives. What every put reads stands first, together.
#[derive(Debug)]
pub(super) struct Shard<W> {
    slots: Vec<Slot>,
    /// By slot: the sensor's first attribute; its description alone where it has none yet.
    first: SeriesList<W>,
    store: Store,
    index: Index,
    /// By slot.
    names: Chunks<Name>,
    /// The first attribute names that came, by number.
    known: Vec<AttributeId>,
    /// The other attributes of a sensor, side by side in one of the ranges.
    more: SeriesList<W>,
    ranges: Ranges,
    free: Vec<u32>,
    kinds: Interner<SeriesKind>,
    metas: Interner<Arc<str>>,
    last_kind: Arc<SeriesKind>,
    last_meta: Option<Arc<Arc<str>>>,
    vacant: Arc<Series>,
}

/// How many attribute names a shard numbers. Sensors whose first attribute has another one are looked at by text.
const KNOWN_MAX: usize = u8::MAX as usize;

/// What the table knows of a sensor beside its series.
#[derive(Debug, Default)]
struct Slot {
    /// How often this slot was reused; a handle of an earlier use does not fit.
    generation: u32,
    /// The start of its range in `more`, where it has several attributes.
    more: u32,
    /// 0 where the slot is free.
    registrations: u32,
    attributes: u16,
    /// The name of its first attribute as a number; [`KNOWN_MAX`] where that has none.
    known: u8,
    meta: Option<Arc<Arc<str>>>,
}

/// Where a series of the shard is.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    First(u32),
    More(u32),
}

impl<W: Default> Shard<W> {
    pub(super) fn new(history_max: usize) -> Self {
        let (sensor, node) = (SensorId::new("vacant"), NodeName::from_host("vacant"));
        let (attribute, sensor_type) = (AttributeId::none(), SensorType::default());
        let kind = SeriesKind { attribute, sensor_type, node, lossless: false };
        let (sensor, store) = (sensor.expect("the id fits"), Store::new(history_max));
        let kind = Arc::new(kind);
        Self {
            index: Index::default(),
            slots: Vec::new(),
            names: Chunks::default(),
            free: Vec::new(),
            first: SeriesList::new(store.keeps_latest_alone()),
            more: SeriesList::new(store.keeps_latest_alone()),
            ranges: Ranges::default(),
            store,
            kinds: Interner::default(),
            metas: Interner::default(),
            last_kind: kind.clone(),
            last_meta: None,
            known: Vec::new(),
            vacant: Arc::new(Series::new(sensor, 0, kind)),
        }
    }

    /// Takes a sensor that is not there yet. Answers its slot and generation.
    pub(super) fn insert(
        &mut self,
        hash: u32,
        registration: Registration,
        now: Micros,
        hasher: &SeedableRandomState,
    ) -> (u32, u32) {
        let Registration { sensor, sensor_type, epoch, node, meta } = registration;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.names.grow(self.slots.len());
            self.slots.len() as u32 - 1
        });
        let kind = self.sensor_kind(sensor_type, node, hasher);
        let meta = self.shared_meta(&meta, hasher);
        self.names[slot as usize].set(hash, sensor.as_bytes());
        self.first.set(slot as usize, Arc::new(Series::new(sensor, epoch, kind)));
        self.first.all(slot as usize).0.history.touch(now, &mut self.store);
        let entry = &mut self.slots[slot as usize];
        entry.registrations = 1;
        entry.meta = Some(meta);
        let generation = entry.generation;
        let (slots, names) = (&self.slots, &self.names);
        let others = (0..slots.len() as u32).filter(|at| *at != slot && slots[*at as usize].registrations > 0);
        self.index.insert(slot, |slot| names[slot as usize].hash(), others);
        (slot, generation)
    }

    /// The kind of a sensor without attributes: mostly that of the one before.
    fn sensor_kind(
        &mut self,
        sensor_type: SensorType,
        node: NodeName,
        hasher: &SeedableRandomState,
    ) -> Arc<SeriesKind> {
        if self.last_kind.sensor_type == sensor_type && self.last_kind.node == node {
            return self.last_kind.clone();
        }
        let kind = SeriesKind { attribute: self.vacant.attribute.clone(), sensor_type, node, lossless: false };
        self.last_kind = self.kinds.get(&kind, hasher, || kind.clone());
        self.last_kind.clone()
    }

    /// The shared copy of a meta: mostly that of the one before.
    fn shared_meta(&mut self, meta: &Arc<str>, hasher: &SeedableRandomState) -> Arc<Arc<str>> {
        match &self.last_meta {
            Some(last) if **last == *meta => last.clone(),
            _ => {
                let shared = self.metas.get(&**meta, hasher, || meta.clone());
                self.last_meta.insert(shared).clone()
            }
        }
    }

    /// Adds a registration to a sensor. Answers its generation.
    pub(super) fn register_again(
        &mut self,
        slot: u32,
        meta: &Arc<str>,
        now: Micros,
        hasher: &SeedableRandomState,
    ) -> u32 {
        let meta = self.shared_meta(meta, hasher);
        let entry = &mut self.slots[slot as usize];
        entry.registrations += 1;
        entry.meta = Some(meta);
        self.first.all(slot as usize).0.history.touch(now, &mut self.store);
        entry.generation
    }

    /// Ends one registration of a sensor's claim, or all; answers whether that removed it.
    pub(super) fn end(
        &mut self,
        hash: u32,
        sensor: &str,
        epoch: Epoch,
        whatever_holds_it: bool,
        ended: &mut impl FnMut(&Arc<Series>, Seq, &mut W),
    ) -> bool {
        let Some(slot) = self.find(hash, sensor) else { return false };
        if self.first.series(slot as usize).epoch != epoch {
            return false;
        }
        let entry = &mut self.slots[slot as usize];
        entry.registrations -= 1;
        if entry.registrations > 0 && !whatever_holds_it {
            return false;
        }
        self.index.remove(slot, |slot| self.names[slot as usize].hash());
        self.visit(slot, &mut |series, last, _, hung| ended(series, last, hung));
        self.vacate(slot);
        true
    }

    fn vacate(&mut self, slot: u32) {
        for attribute in 0..self.slots[slot as usize].attributes.max(1) {
            let at = self.series_at(slot, AttributeIndex(attribute));
            let (list, at, vacant, store) = self.list(at);
            *list.series_mut(at) = vacant.clone();
            let (line, stage, _) = list.all(at);
            line.history.clear(stage, store);
            line.hung = W::default();
        }
        let entry = &mut self.slots[slot as usize];
        if let Some(last) = u32::from(entry.attributes).checked_sub(2) {
            self.ranges.give(entry.more, order_of(last));
        }
        *entry = Slot { generation: entry.generation.wrapping_add(1), ..Slot::default() };
        self.free.push(slot);
    }

    /// The place of an attribute of a sensor, made at its first use.
    #[inline]
    pub(super) fn attribute(
        &mut self,
        slot: u32,
        attribute: &str,
        rules: &Rules,
        hasher: &SeedableRandomState,
    ) -> Result<AttributeIndex> {
        match self.find_attribute(slot, attribute) {
            Some(found) => Ok(found),
            None => self.add_attribute(slot, attribute, rules, hasher),
        }
    }

    #[cold]
    fn add_attribute(
        &mut self,
        slot: u32,
        attribute: &str,
        rules: &Rules,
        hasher: &SeedableRandomState,
    ) -> Result<AttributeIndex> {
        let count = self.slots[slot as usize].attributes;
        let max = rules.attributes_max;
        if usize::from(count) >= max.min(usize::from(u16::MAX)) {
            return Err(Error::Full { what: "attributes of one sensor", max });
        }
        let attribute = AttributeId::new(attribute)?;
        let lossless = rules.lossless.read().contains(&attribute);
        if count == 0 {
            self.slots[slot as usize].known = self.number(&attribute);
        }
        let own = self.first.series(slot as usize);
        let kind = SeriesKind { attribute, sensor_type: own.sensor_type.clone(), node: own.node.clone(), lossless };
        let series = Series::new(own.sensor.clone(), own.epoch, self.kinds.get(&kind, hasher, || kind.clone()));
        if count == 0 {
            match Arc::get_mut(self.first.series_mut(slot as usize)) {
                Some(own) => *own = series,
                None => *self.first.series_mut(slot as usize) = Arc::new(series),
            }
        } else {
            self.append(slot, u32::from(count) - 1, Arc::new(series));
        }
        self.slots[slot as usize].attributes += 1;
        rules.made.fetch_add(1, Ordering::AcqRel);
        Ok(AttributeIndex(count))
    }

    /// The number of an attribute's name, given to it if there is one left.
    fn number(&mut self, attribute: &AttributeId) -> u8 {
        let number = self.known.iter().position(|known| known == attribute).unwrap_or(self.known.len());
        if number == self.known.len() && number < KNOWN_MAX {
            self.known.push(attribute.clone());
        }
        number as u8
    }

    /// Appends a series to a sensor that has `count` beside its first; a full range moves to one of twice its length.
    fn append(&mut self, slot: u32, count: u32, series: Arc<Series>) {
        let entry = &mut self.slots[slot as usize];
        if count == 0 || count.is_power_of_two() {
            let grown = self.ranges.take(order_of(count));
            self.more.grow(self.ranges.end(), &self.vacant);
            for at in 0..count {
                self.more.relocate((entry.more + at) as usize, (grown + at) as usize);
            }
            if count > 0 {
                self.ranges.give(entry.more, order_of(count - 1));
            }
            entry.more = grown;
        }
        *self.more.series_mut((entry.more + count) as usize) = series;
    }

    /// Takes one reading: numbers it, hands it to `deliver`, files it. Answers its seq.
    #[inline]
    pub(super) fn take(
        &mut self,
        at: At,
        value: Value,
        source_time: Micros,
        now: Micros,
        deliver: impl FnOnce(&Arc<Series>, &Sample, &mut W),
    ) -> Seq {
        let (list, at, _, store) = self.list(at);
        let (line, stage, series) = list.all(at);
        let seq = line.history.last_seq() + 1;
        let sample = Sample { value, source_time, received_time: now, seq };
        deliver(series, &sample, &mut line.hung);
        line.history.insert(&sample, stage, store);
        seq
    }

    /// Takes many readings; answers how many were refused.
    pub(super) fn take_run<P: Borrow<Point>>(
        &mut self,
        run: &[P],
        now: Micros,
        deliver: &mut impl Deliver<W>,
    ) -> usize {
        let mut refused = 0;
        for group in run.chunks(GROUP) {
            self.load(group);
            for point in group.iter().map(Borrow::borrow) {
                match self.series_of(point.handle, point.attribute) {
                    Some(at) => {
                        let hand_on = |series: &Arc<Series>, sample: &Sample, hung: &mut W| {
                            deliver.reading(series, sample, hung);
                        };
                        self.take(at, point.value.clone(), point.source_time, now, hand_on);
                    }
                    None => refused += 1,
                }
            }
        }
        deliver.run_ended();
        refused
    }

    /// Takes the points of a block that `run` names, and hands those it refuses to `refuse`.
    pub(super) fn take_named(
        &mut self,
        block: &[NamedPoint<'_>],
        run: &[Place],
        now: Micros,
        (rules, hasher): (&Rules, &SeedableRandomState),
        deliver: &mut impl Deliver<W>,
        mut refuse: impl FnMut(usize, Error),
    ) {
        // Equal groups: a short last one would wait for memory almost as long as a full one.
        let groups = run.len().div_ceil(GROUP).max(1);
        for group in run.chunks(run.len().div_ceil(groups).max(1)) {
            let candidates = self.load_named(block, group);
            for (place, candidate) in group.iter().zip(candidates) {
                let point = &block[usize::from(place.at)];
                let found = match candidate {
                    Some(slot) if self.is(slot, point.sensor.as_bytes()) => candidate,
                    _ => self.find(place.hash, point.sensor),
                };
                let Some(slot) = found else {
                    refuse(usize::from(place.at), Error::NotFound { sensor: point.sensor.to_owned() });
                    continue;
                };
                match self.attribute(slot, point.attribute, rules, hasher) {
                    Ok(attribute) => {
                        let at = self.series_at(slot, attribute);
                        let hand_on = |series: &Arc<Series>, sample: &Sample, hung: &mut W| {
                            deliver.reading(series, sample, hung);
                        };
                        self.take(at, point.value.clone(), point.source_time, now, hand_on);
                    }
                    Err(error) => refuse(usize::from(place.at), error),
                }
            }
        }
        deliver.run_ended();
    }

    /// [`load`](Self::load) for points by id: first their entries in the index, then what lies by slot of the first
    /// candidate, as of a sensor with one attribute, then the rings. Answers the candidates.
    #[inline]
    fn load_named(&self, block: &[NamedPoint<'_>], group: &[Place]) -> [Option<u32>; GROUP] {
        let (mut candidates, mut rings) = ([None; GROUP], [0; GROUP]);
        let mut sum = group.iter().fold(0, |sum, place| sum ^ u64::from(self.index.peek(place.hash)));
        let ids = group.iter().map(|place| block[usize::from(place.at)].sensor.as_bytes());
        sum ^= ids.fold(0, |sum, id| sum ^ id.first().map_or(0, |byte| u64::from(*byte)));
        black_box(sum);
        for ((place, ring), candidate) in group.iter().zip(&mut rings).zip(&mut candidates) {
            *candidate = self.index.find(place.hash, |_| true);
            let Some(slot) = *candidate else { continue };
            let (line, stage) = self.first.line(slot as usize);
            *ring = line.history.next_line().unwrap_or_default();
            let (name, entry) = (&self.names[slot as usize], &self.slots[slot as usize]);
            sum ^= stage.peek() ^ u64::from(name.hash() ^ entry.generation);
        }
        black_box(rings.iter().fold(sum, |sum, ring| sum ^ self.store.peek(*ring)));
        candidates
    }

    /// Visits what hangs on one series.
    pub(super) fn visit_one(&mut self, at: At, visit: impl FnOnce(&Arc<Series>, &mut W)) {
        let (list, at, ..) = self.list(at);
        let (line, _, series) = list.all(at);
        visit(series, &mut line.hung);
    }

    /// Loads the lines that a group's points will touch, first those of the series, then those of the rings. The loads
    /// of one round do not depend on each other, so that the core has them all in flight.
    #[inline]
    fn load<P: Borrow<Point>>(&self, group: &[P]) {
        let (mut rings, mut sum) = ([0; GROUP], 0);
        for (point, ring) in group.iter().map(Borrow::borrow).zip(&mut rings) {
            let line = match point.attribute.0 {
                0 => self.first.get(point.handle.slot as usize),
                _ => self.series_of(point.handle, point.attribute).map(|at| self.line(at)),
            };
            if let Some((line, stage)) = line {
                *ring = line.history.next_line().unwrap_or_default();
                sum ^= stage.peek();
            }
            sum ^= self.slots.get(point.handle.slot as usize).map_or(0, |slot| u64::from(slot.generation));
        }
        black_box(rings.iter().fold(sum, |sum, ring| sum ^ self.store.peek(*ring)));
    }

    /// Visits the series of a sensor.
    pub(super) fn visit(&mut self, slot: u32, visit: &mut impl FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut W)) {
        for attribute in 0..self.slots[slot as usize].attributes {
            let at = self.series_at(slot, AttributeIndex(attribute));
            let (list, at, _, store) = self.list(at);
            let (Line { history, hung }, _, series) = list.all(at);
            visit(series, history.last_seq(), history.latest(store).as_ref(), hung);
        }
    }

    /// Visits the series of a sensor with the newest `last` samples kept since `from`.
    pub(super) fn visit_kept(
        &mut self,
        slot: u32,
        (from, last): (Micros, usize),
        visit: &mut impl FnMut(&Arc<Series>, Seq, &[Sample], &mut W),
    ) {
        for attribute in 0..self.slots[slot as usize].attributes {
            let at = self.series_at(slot, AttributeIndex(attribute));
            let (list, at, _, store) = self.list(at);
            let (Line { history, hung }, stage, series) = list.all(at);
            let kept = history.range(from, Micros::MAX, last, stage, store);
            visit(series, history.last_seq(), &kept, hung);
        }
    }

    #[inline]
    fn list(&mut self, at: At) -> (&mut SeriesList<W>, usize, &Arc<Series>, &mut Store) {
        match at {
            At::First(at) => (&mut self.first, at as usize, &self.vacant, &mut self.store),
            At::More(at) => (&mut self.more, at as usize, &self.vacant, &mut self.store),
        }
    }
}

// === Where things are ===

impl<W> Shard<W> {
    /// How many sensors there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn slots_in_use(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.slot_count()).filter(|slot| self.slots[*slot as usize].registrations > 0)
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.slots[slot as usize].generation
    }

    #[inline]
    pub(super) fn find(&self, hash: u32, sensor: impl AsRef<[u8]>) -> Option<u32> {
        self.index.find(hash, |slot| self.is(slot, sensor.as_ref()))
    }

    /// [`find`](Self::find) for a put: loads what the put will touch while the text is on its way.
    #[inline]
    pub(super) fn find_to_put(&self, hash: u32, sensor: &str) -> Option<u32> {
        self.index.find(hash, |slot| {
            let (line, stage) = self.first.line(slot as usize);
            black_box(line.history.next_line().unwrap_or_default() as u64 ^ stage.peek());
            self.is(slot, sensor.as_bytes())
        })
    }

    #[inline]
    fn is(&self, slot: u32, sensor: &[u8]) -> bool {
        let is_it = self.names[slot as usize].is(sensor);
        is_it.unwrap_or_else(|| self.first.series(slot as usize).sensor.as_bytes() == sensor)
    }

    /// The slot of a handle that is not stale.
    #[inline]
    pub(super) fn slot_of(&self, handle: Handle) -> Option<u32> {
        let slot = self.slots.get(handle.slot as usize)?;
        (slot.generation == handle.generation && slot.registrations > 0).then_some(handle.slot)
    }

    /// The series of a handle that is not stale, and has that attribute.
    #[inline]
    pub(super) fn series_of(&self, handle: Handle, attribute: AttributeIndex) -> Option<At> {
        let slot = self.slots.get(handle.slot as usize)?;
        let is_there = slot.generation == handle.generation && attribute.0 < slot.attributes;
        is_there.then(|| self.series_at(handle.slot, attribute))
    }

    /// Loads the stage that one put will write, while the line beside it is on its way.
    #[inline]
    pub(super) fn load_stage(&self, at: At) {
        black_box(self.line(at).1.peek());
    }

    #[inline]
    pub(super) fn series_at(&self, slot: u32, attribute: AttributeIndex) -> At {
        match attribute.0 {
            0 => At::First(slot),
            other => At::More(self.slots[slot as usize].more + u32::from(other) - 1),
        }
    }

    #[inline]
    fn find_attribute(&self, slot: u32, attribute: &str) -> Option<AttributeIndex> {
        let entry = &self.slots[slot as usize];
        let first = self.known.get(usize::from(entry.known)).filter(|_| entry.attributes > 0);
        if first.is_some_and(|first| first.as_str() == attribute) {
            return Some(AttributeIndex(0));
        }
        self.find_attribute_by_text(slot, attribute)
    }

    fn find_attribute_by_text(&self, slot: u32, attribute: &str) -> Option<AttributeIndex> {
        let mut all = (0..self.slots[slot as usize].attributes).map(AttributeIndex);
        all.find(|at| self.description(self.series_at(slot, *at)).attribute.as_str() == attribute)
    }

    #[inline]
    fn line(&self, at: At) -> (&Line<W>, &Stage) {
        match at {
            At::First(at) => self.first.line(at as usize),
            At::More(at) => self.more.line(at as usize),
        }
    }

    #[inline]
    fn description(&self, at: At) -> &Arc<Series> {
        match at {
            At::First(at) => self.first.series(at as usize),
            At::More(at) => self.more.series(at as usize),
        }
    }

    /// The newest sample of an attribute, and its series.
    pub(super) fn latest(&self, slot: u32, attribute: &str) -> Option<(&Arc<Series>, Sample)> {
        let at = self.series_at(slot, self.find_attribute(slot, attribute)?);
        let latest = self.line(at).0.history.latest(&self.store)?;
        Some((self.description(at), latest))
    }

    /// The newest `last` readings of an attribute within `from..=to`, oldest first.
    pub(super) fn history(&self, slot: u32, attribute: &str, from: Micros, to: Micros, last: usize) -> Vec<Reading> {
        let Some(at) = self.find_attribute(slot, attribute) else { return Vec::new() };
        let at = self.series_at(slot, at);
        let (line, stage) = self.line(at);
        let found = line.history.range(from, to, last, stage, &self.store);
        found.iter().map(|sample| sample.reading(self.description(at))).collect()
    }

    /// The number of the claim that a sensor is here under.
    pub(super) fn epoch(&self, slot: u32) -> Epoch {
        self.first.series(slot as usize).epoch
    }

    /// A copy of what is known of a sensor.
    pub(super) fn view(&self, slot: u32) -> SensorView {
        let entry = &self.slots[slot as usize];
        let own = self.first.series(slot as usize);
        let all = || (0..entry.attributes).map(|at| self.series_at(slot, AttributeIndex(at)));
        let touched = self.first.line(slot as usize).0.history.touched();
        SensorView {
            sensor: own.sensor.clone(),
            sensor_type: own.sensor_type.clone(),
            epoch: own.epoch,
            meta: entry.meta.as_deref().cloned().unwrap_or_else(|| "{}".into()),
            attributes: all().map(|at| self.description(at).attribute.clone()).collect(),
            touched: all().map(|at| self.line(at).0.history.touched()).fold(touched, Micros::max),
            registrations: entry.registrations,
        }
    }
}

/// The order of the shortest range that has a place after `count` others: 0 for 0, 1 for 1, 2 for 2 and 3.
fn order_of(count: u32) -> u32 {
    (count + 1).next_power_of_two().trailing_zeros()
}

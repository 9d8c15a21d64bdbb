//! Readings put singly and in batches, by attributes and by ids.

use std::cell::Cell;
use std::ops::Range;

use senza_core::Value;
use senza_core::table::{NamedPoint, Point};
use senza_mesh::clock::{Clock, SystemClock};

use crate::border::{self, Out};
use crate::error::{Fail, Outcome, code_of, refuse, senza_code};
use crate::node::{self, Shared, senza_node};
use crate::sensors::senza_attribute;
use crate::text::{self, senza_str};
use crate::value::{self, senza_value};

/// Of a reading's time: now.
pub const SENZA_NOW: i64 = i64::MIN;
/// Most points of one batch.
pub const SENZA_BATCH_MAX: usize = 65_536;

/// One reading to put by attribute.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct senza_point {
    /// Of what: senza_sensor_attribute().
    pub attribute: senza_attribute,
    /// When it was read, microseconds since 1970, or SENZA_NOW.
    pub time_us: i64,
    /// What was read.
    pub value: senza_value,
}

/// One reading to put by ids.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct senza_named_point {
    /// The sensor.
    pub sensor: senza_str,
    /// The attribute, made at its first use.
    pub attribute: senza_str,
    /// When it was read, microseconds since 1970, or SENZA_NOW.
    pub time_us: i64,
    /// What was read.
    pub value: senza_value,
}

/// Points of a batch that are put together: as many as the engine sorts at a time, 48 KiB.
const PART: usize = 1024;

thread_local! {
    /// Places for the points of a part, written anew by each: 48 KiB a thread that puts so many.
    static POINTS: Cell<Vec<Point>> = const { Cell::new(Vec::new()) };
    /// The same, for points by ids: 64 KiB; they name nothing between two calls.
    static NAMED: Cell<Vec<NamedPoint<'static>>> = const { Cell::new(Vec::new()) };
}

const NOTHING: Point = senza_attribute::NONE.point(Value::Bool(false), 0);
const NOBODY: NamedPoint<'static> = NamedPoint { sensor: "", attribute: "", value: Value::Bool(false), source_time: 0 };

/// A source time as it was given, or now.
pub(crate) fn now_or(time_us: i64) -> i64 {
    if time_us == SENZA_NOW { SystemClock.now() } else { time_us }
}

/// Puts one reading. `time_us` is when it was read, microseconds since 1970, or SENZA_NOW. `seq`, which may be NULL,
/// answers its number. One lock of the table, and one of each subscription's queue that it goes to; for numbers no
/// allocation.
///
/// SENZA_UNREGISTERED where the sensor was unregistered, or another node took it over. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_put(
    attribute: senza_attribute,
    value: senza_value,
    time_us: i64,
    seq: *mut u64,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(seq, "seq") }?;
        // SAFETY: the header's rule of pointers.
        let value = unsafe { value::value(&value) }?;
        let shared = node::shared_of_bits(attribute.node_bits())?;
        out.set(shared.engine.put(attribute.point(value, now_or(time_us)))?);
        Ok(())
    })
}

/// Puts many readings of a node's sensors: those of one shard share a lock, wherever in the batch they stand. Order is
/// kept per sensor.
///
/// A point that breaks a rule (a value's kind or size, an attribute of another node) refuses the whole batch: nothing
/// is put, and the message names the point. Points of sensors that were unregistered or taken over are left out: the
/// answer is SENZA_REFUSED, `refused`, which may be NULL, says how many, and all others were put. SENZA_LENGTH beyond
/// SENZA_BATCH_MAX points. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_put_many(
    node: senza_node,
    points: *const senza_point,
    count: usize,
    refused: *mut usize,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(refused, "refused") }?;
        // SAFETY: the header's rule of pointers.
        let points = unsafe { border::list(points, count, SENZA_BATCH_MAX, "points") }?;
        let shared = node::shared(node)?;
        let own = own_bits(&shared);
        let mut long = Vec::new();
        for (at, point) in points.iter().enumerate() {
            check_node(own, point.attribute, at)?;
            // SAFETY: the header's rule of pointers.
            unsafe { value::check(&point.value, &mut long) }.map_err(|fail| fail.within("point", at))?;
        }
        let (mut long, mut now) = (long.into_iter(), None);
        put_parts(&shared, &out, points.len(), |part, places| {
            for (point, place) in points[part].iter().zip(places) {
                point.attribute.name(place);
                place.source_time = time(point.time_us, &mut now);
                point.value.write(&mut place.value, &mut long);
            }
        })
    })
}

/// senza_put_many() of floating-point numbers in columns: the attributes, the values and the times of `count` readings.
/// `times_us` may be NULL: now. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_put_columns(
    node: senza_node,
    attributes: *const senza_attribute,
    values: *const f64,
    times_us: *const i64,
    count: usize,
    refused: *mut usize,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(refused, "refused") }?;
        // SAFETY: the header's rule of pointers.
        let attributes = unsafe { border::list(attributes, count, SENZA_BATCH_MAX, "attributes") }?;
        // SAFETY: the header's rule of pointers.
        let values = unsafe { border::list(values, count, SENZA_BATCH_MAX, "values") }?;
        let times = match times_us.is_null() {
            true => None,
            // SAFETY: the header's rule of pointers.
            false => Some(unsafe { border::list(times_us, count, SENZA_BATCH_MAX, "times_us") }?),
        };
        let shared = node::shared(node)?;
        let own = own_bits(&shared);
        if let Some(at) = attributes.iter().position(|attribute| attribute.node_bits() != own) {
            check_node(own, attributes[at], at)?;
        }
        let mut now = None;
        put_parts(&shared, &out, attributes.len(), |part, places| {
            for (at, place) in part.zip(places) {
                attributes[at].name(place);
                place.source_time = time(times.map_or(SENZA_NOW, |times| times[at]), &mut now);
                place.value = Value::F64(values[at]);
            }
        })
    })
}

/// Puts many readings by ids, for whoever has no attributes at hand; about half of the cost of putting them singly.
/// Order is kept per series.
///
/// A point that breaks a rule (a text that is not UTF-8, a length, a value's kind) refuses the whole batch: nothing is
/// put, and the message names the point. Other points are refused singly: then the answer is SENZA_REFUSED, `refused`
/// says how many, and `codes` why, point by point, SENZA_OK of those that were put: SENZA_NOT_OWNER, SENZA_NOT_FOUND,
/// SENZA_FULL, SENZA_LENGTH of an empty attribute id. Both may be NULL; `codes` has room for `count`. SENZA_LENGTH
/// beyond SENZA_BATCH_MAX points. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_put_many_by_id(
    node: senza_node,
    points: *const senza_named_point,
    count: usize,
    codes: *mut senza_code,
    refused: *mut usize,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(refused, "refused") }?;
        // SAFETY: the header's rule of pointers.
        let points = unsafe { border::list(points, count, SENZA_BATCH_MAX, "points") }?;
        // SAFETY: the header's rule of pointers.
        let codes = unsafe { border::list_to_write(codes, count, SENZA_BATCH_MAX, "codes") }?;
        let shared = node::shared(node)?;
        let mut long = Vec::new();
        for (at, point) in points.iter().enumerate() {
            // SAFETY: the header's rule of pointers.
            unsafe { check(point, &mut long) }.map_err(|fail| fail.within("point", at))?;
        }
        let (mut long, mut now, mut refusals) = (long.into_iter(), None, Vec::new());
        let mut places = border::take(&NAMED);
        places.resize(places.len().max(points.len().min(PART)), NOBODY);
        for (number, part) in points.chunks(PART).enumerate() {
            for (point, place) in part.iter().zip(&mut places) {
                // SAFETY: checked above; what is borrowed is given back below.
                place.sensor = unsafe { border::checked_text(point.sensor) };
                // SAFETY: as above.
                place.attribute = unsafe { border::checked_text(point.attribute) };
                place.source_time = time(point.time_us, &mut now);
                point.value.write(&mut place.value, &mut long);
            }
            let refused = shared.engine.put_many_by_id(&places[..part.len()]);
            refusals.extend(refused.into_iter().map(|(at, error)| (number * PART + at, error)));
            places.iter_mut().take(part.len()).for_each(|place| {
                (place.sensor, place.attribute, place.value) = ("", "", Value::Bool(false));
            });
        }
        border::keep(&NAMED, places);
        out.set(refusals.len());
        if let Some(codes) = codes {
            codes.fill(senza_code::SENZA_OK);
            refusals.iter().for_each(|(at, error)| codes[*at] = code_of(error));
        }
        match refusals.first() {
            None => Ok(()),
            Some((at, error)) => Err(some_refused(refusals.len(), format!("; point {at}: {error}"))),
        }
    })
}

/// Puts one reading by ids. `time_us` is when it was read, microseconds since 1970, or SENZA_NOW. `seq`, which may be
/// NULL, answers its number.
///
/// SENZA_NOT_OWNER where another node owns the sensor, SENZA_NOT_FOUND where nobody does. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_put_by_id(
    node: senza_node,
    sensor: senza_str,
    attribute: senza_str,
    value: senza_value,
    time_us: i64,
    seq: *mut u64,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(seq, "seq") }?;
        // SAFETY: the header's rule of pointers.
        let sensor = unsafe { text::sensor(sensor) }?;
        // SAFETY: the header's rule of pointers.
        let attribute = unsafe { text::attribute(attribute) }?;
        // SAFETY: the header's rule of pointers.
        let value = unsafe { value::value(&value) }?;
        let source_time = (time_us != SENZA_NOW).then_some(time_us);
        out.set(node::shared(node)?.engine.put_by_id(sensor, attribute, value, source_time)?);
        Ok(())
    })
}

/// Puts `count` points that break no rule, in parts that stay in the cache: `write` writes those of a part, in place.
fn put_parts(
    shared: &Shared,
    out: &Out<usize>,
    count: usize,
    mut write: impl FnMut(Range<usize>, &mut [Point]),
) -> Outcome<()> {
    let (mut points, mut refused) = (border::take(&POINTS), 0);
    points.resize(points.len().max(count.min(PART)), NOTHING);
    for begin in (0..count).step_by(PART) {
        let part = begin..count.min(begin + PART);
        let places = &mut points[..part.len()];
        write(part, places);
        refused += shared.engine.put_many(places);
        // Numbers may stay; what takes memory may not.
        places.iter_mut().for_each(|place| place.value = Value::Bool(false));
    }
    border::keep(&POINTS, points);
    told(refused, out)
}

fn told(refused: usize, out: &Out<usize>) -> Outcome<()> {
    out.set(refused);
    if refused == 0 { Ok(()) } else { Err(some_refused(refused, ": their sensors are no longer registered here")) }
}

#[cold]
fn some_refused(count: usize, why: impl std::fmt::Display) -> Fail {
    refuse(senza_code::SENZA_REFUSED, format!("{count} points were refused{why}"))
}

#[inline]
fn own_bits(shared: &Shared) -> u64 {
    shared.number & ((1 << node::NODE_BITS) - 1)
}

#[inline]
fn check_node(own: u64, attribute: senza_attribute, at: usize) -> Outcome<()> {
    if attribute.node_bits() == own {
        return Ok(());
    }
    Err(refuse(senza_code::SENZA_HANDLE, format!("point {at}: not an attribute of a sensor of this node")))
}

#[inline]
fn time(time_us: i64, now: &mut Option<i64>) -> i64 {
    if time_us == SENZA_NOW { *now.get_or_insert_with(|| SystemClock.now()) } else { time_us }
}

/// Holds a point to its rules; see [`value::check`].
///
/// # Safety
/// `point` is as its type says.
#[inline]
unsafe fn check(point: &senza_named_point, long: &mut Vec<Value>) -> Outcome<()> {
    // SAFETY: as the caller promises.
    unsafe { text::sensor(point.sensor) }?;
    // SAFETY: as the caller promises.
    unsafe { text::attribute(point.attribute) }?;
    // SAFETY: as the caller promises.
    unsafe { value::check(&point.value, long) }
}

//! Text as C has it: bytes and their number; and ids made of it.

use std::ffi::c_char;

use senza_core::key::{Filter, Pattern};
use senza_core::reading::{ATTRIBUTE_ID_MAX, NODE_NAME_MAX, SENSOR_ID_MAX, SENSOR_TYPE_MAX};
use senza_core::{AttributeId, NodeName, SensorId, SensorType};

use crate::border;
use crate::error::{Fail, Outcome};

/// Text: UTF-8, its length in bytes beside it. It may hold any character, NUL included.
///
/// Given to senza: it is read during the call and not kept. It need not end with a NUL. senza_s("text") makes one of a
/// C string; { NULL, 0 } is an empty one.
///
/// Answered by senza: behind its last byte there is a NUL that `length` does not count, and `data` is not NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_str {
    /// Its first byte.
    pub data: *const c_char,
    /// How many bytes.
    pub length: usize,
}

impl senza_str {
    /// No text.
    pub(crate) const NONE: Self = Self { data: c"".as_ptr(), length: 0 };
}

/// Which sensors and attributes are meant. Within a list any entry fits; between lists all must fit; an empty list asks
/// nothing. `sensors` and `patterns` are one list in this sense. At most 4,096 entries in all.
///
/// All zeros (SENZA_ZERO) is everything. Read during the call and not kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_filter {
    /// Exact sensor ids.
    pub sensors: *const senza_str,
    /// How many.
    pub sensors_count: usize,
    /// Key expressions over `<sensor>/<attribute>`: `*` is one chunk, `**` any number of chunks, `$*` any text inside a
    /// chunk. Ids in them are percent-encoded: every byte outside `A-Z a-z 0-9 . _ ~ : -` is `%XX`.
    pub patterns: *const senza_str,
    /// How many.
    pub patterns_count: usize,
    /// Exact attribute ids.
    pub attributes: *const senza_str,
    /// How many.
    pub attributes_count: usize,
    /// Sensor types.
    pub types: *const senza_str,
    /// How many.
    pub types_count: usize,
    /// Names of owners.
    pub nodes: *const senza_str,
    /// How many.
    pub nodes_count: usize,
}

/// The id of a sensor, by reference.
///
/// # Safety
/// As [`border::text`].
#[inline]
pub(crate) unsafe fn sensor<'a>(text: senza_str) -> Outcome<&'a str> {
    // SAFETY: as the caller promises.
    unsafe { border::text(text, SENSOR_ID_MAX, "sensor id") }
}

/// The id of a sensor that was held to its rules: the same bytes.
#[repr(transparent)]
pub(crate) struct SensorText(senza_str);

impl AsRef<str> for SensorText {
    #[inline]
    fn as_ref(&self) -> &str {
        // SAFETY: whoever made it has checked it, and promised that it stays as it is.
        unsafe { border::checked_text(self.0) }
    }
}

/// The ids of sensors, by reference and uncopied; which one breaks a rule, where one does.
///
/// # Safety
/// As [`border::text`], for each.
pub(crate) unsafe fn sensors(ids: &[senza_str]) -> Result<&[SensorText], (usize, Fail)> {
    for (at, id) in ids.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe { sensor(*id) }.map_err(|fail| (at, fail))?;
    }
    // SAFETY: the same bytes by its definition, and each was checked.
    Ok(unsafe { std::slice::from_raw_parts(ids.as_ptr().cast(), ids.len()) })
}

/// The id of an attribute, by reference.
///
/// # Safety
/// As [`border::text`].
#[inline]
pub(crate) unsafe fn attribute<'a>(text: senza_str) -> Outcome<&'a str> {
    // SAFETY: as the caller promises.
    unsafe { border::text(text, ATTRIBUTE_ID_MAX, "attribute id") }
}

/// The name of a node.
///
/// # Safety
/// As [`border::text`].
pub(crate) unsafe fn node_name(text: senza_str) -> Outcome<NodeName> {
    // SAFETY: as the caller promises.
    let name = unsafe { border::text(text, NODE_NAME_MAX, "node name") }?;
    Ok(NodeName::new(name)?)
}

/// The type of a sensor; empty is the default.
///
/// # Safety
/// As [`border::text`].
pub(crate) unsafe fn sensor_type(text: senza_str) -> Outcome<SensorType> {
    // SAFETY: as the caller promises.
    let name = unsafe { border::text(text, SENSOR_TYPE_MAX, "sensor type") }?;
    Ok(if name.is_empty() { SensorType::default() } else { SensorType::new(name)? })
}

/// A list of texts, each of at most `max` bytes.
///
/// # Safety
/// As [`border::list`], and each as [`border::text`].
pub(crate) unsafe fn texts<'a>(
    list: (*const senza_str, usize),
    (count_max, max): (usize, usize),
    what: &'static str,
) -> Outcome<Vec<&'a str>> {
    // SAFETY: as the caller promises.
    let list = unsafe { border::list(list.0, list.1, count_max, what) }?;
    let text = |(at, text): (usize, &senza_str)| {
        // SAFETY: as the caller promises.
        unsafe { border::text(*text, max, what) }.map_err(|fail| fail.within("entry", at))
    };
    list.iter().enumerate().map(text).collect()
}

/// The engine's filter; NULL is everything.
///
/// # Safety
/// `filter` is NULL or as its type says.
pub(crate) unsafe fn filter(filter: Option<&senza_filter>) -> Outcome<Filter> {
    let Some(filter) = filter else { return Ok(Filter::all()) };
    const ENTRIES: usize = senza_core::key::FILTER_ENTRIES_MAX;
    let (sensors, patterns) = ((filter.sensors, filter.sensors_count), (filter.patterns, filter.patterns_count));
    let (attributes, types) = ((filter.attributes, filter.attributes_count), (filter.types, filter.types_count));
    let nodes = (filter.nodes, filter.nodes_count);
    // SAFETY: as the caller promises.
    let sensors = unsafe { texts(sensors, (ENTRIES, SENSOR_ID_MAX), "filter.sensors") }?;
    // SAFETY: as the caller promises.
    let patterns = unsafe { texts(patterns, (ENTRIES, senza_core::key::PATTERN_MAX), "filter.patterns") }?;
    // SAFETY: as the caller promises.
    let attributes = unsafe { texts(attributes, (ENTRIES, ATTRIBUTE_ID_MAX), "filter.attributes") }?;
    // SAFETY: as the caller promises.
    let types = unsafe { texts(types, (ENTRIES, SENSOR_TYPE_MAX), "filter.types") }?;
    // SAFETY: as the caller promises.
    let nodes = unsafe { texts(nodes, (ENTRIES, NODE_NAME_MAX), "filter.nodes") }?;
    let made = Filter {
        sensors: sensors.into_iter().map(SensorId::new).collect::<Result<_, _>>()?,
        patterns: patterns.into_iter().map(Pattern::new).collect::<Result<_, _>>()?,
        attributes: attributes.into_iter().map(AttributeId::new).collect::<Result<_, _>>()?,
        types: types.into_iter().map(SensorType::new).collect::<Result<_, _>>()?,
        nodes: nodes.into_iter().map(NodeName::new).collect::<Result<_, _>>()?,
    };
    made.check()?;
    Ok(made)
}

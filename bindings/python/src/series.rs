//! The class that `senza.Series` extends: columns of readings in, of many sensors at once.
//!
//! Arrays come by Python's buffer protocol as they are. A window of them is copied out at a time, into the same memory
//! again and again, so that the interpreter is free while it is put.

use std::ops::Range;
use std::sync::Arc;

use pyo3::buffer::{Element, ElementType, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyString};
use senza::{Engine, Value};
use senza_core::table::Point;
use senza_core::{Micros, row};
use senza_mesh::clock::{Clock, SystemClock};

use crate::node::{Node, Running};
use crate::process::{Own, refuse_pickle};
use crate::sensor::Sensor;
use crate::{errors, times, value};

/// Readings copied out of the arrays at a time.
const WINDOW: usize = 65_536;
/// Readings given to the engine at a time: few enough to stay in a core's cache.
const BLOCK: usize = 4_096;
/// Most series of one set.
const SERIES_MAX: usize = 10_000_000;

/// A set of series of this node, to put columns to.
#[pyclass(frozen, subclass, module = "senza._native")]
pub(crate) struct Series {
    running: Own<Arc<Running>>,
    places: Own<Arc<Places>>,
}

/// Where the readings of each series of a set go.
struct Places {
    /// In the order in which the caller counts them.
    points: Vec<Point>,
    /// Their numbers, shard by shard.
    by_shard: Vec<u32>,
    /// Shards of the table.
    shards: usize,
}

/// One reading's place and time in a window.
#[derive(Clone, Copy, Default)]
struct Cell {
    series: u32,
    at: u32,
}

#[pymethods]
impl Series {
    #[new]
    fn new(node: &Node, sensors: Vec<Bound<'_, Sensor>>, attributes: Vec<String>) -> PyResult<Self> {
        let running = node.running()?;
        if sensors.len().saturating_mul(attributes.len()) > SERIES_MAX {
            return Err(errors::of("Full", "series of one set: the limit of 10000000 is reached", &[]));
        }
        let mut points = Vec::with_capacity(sensors.len() * attributes.len());
        for sensor in &sensors {
            let sensor = sensor.get();
            if !sensor.is_of(&running)? {
                return Err(PyValueError::new_err("a series' sensors must be of the node that makes it"));
            }
            for attribute in &attributes {
                points.push(sensor.point(attribute)?);
            }
        }
        let mut by_shard: Vec<u32> = (0..points.len() as u32).collect();
        by_shard.sort_by_key(|at| points[*at as usize].handle.shard());
        let shards = points.iter().map(|point| point.handle.shard() + 1).max().unwrap_or_default();
        let places = Own::new(Arc::new(Places { points, by_shard, shards }));
        Ok(Self { running: Own::new(running), places })
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.places.get()?.points.len())
    }

    /// Puts a column of values; with `truth`, bytes are truth values. See the class that extends this one.
    #[pyo3(signature = (values, times=None, index=None, truth=false))]
    fn put_columns(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        times: Option<&Bound<'_, PyAny>>,
        index: Option<&Bound<'_, PyAny>>,
        truth: bool,
    ) -> PyResult<usize> {
        let engine = self.running.get()?.engine()?.clone();
        let places = self.places.shared()?;
        let values = Values::of(values, truth)?;
        let (count, width) = (values.len(), places.points.len());
        let times = Times::of(times, count, width, index.is_none())?;
        let mut index = index.map(|index| Index::of(index, count, width)).transpose()?;
        if index.is_none() && (width == 0 || count % width != 0) {
            let rule =
                format!("{count} values for {width} series: without an index, values come in rows of all series");
            return Err(PyValueError::new_err(rule));
        }
        // Whole rows, where there is no index.
        let window = if index.is_some() { WINDOW } else { (WINDOW / width).max(1) * width };
        let mut taken = Window::default();
        let mut refused = 0;
        let mut from = 0;
        while from < count {
            let to = count.min(from + window);
            taken.values.copy(py, &values, from..to)?;
            times.copy(py, from..to, &mut taken.times)?;
            match &mut index {
                // Once more: another thread may have written into the array.
                Some(index) => index.copy_within(py, from..to, &mut taken.index, width)?,
                None => taken.index.clear(),
            }
            refused += py.detach(|| taken.put(&engine, &places, to - from));
            py.check_signals()?;
            from = to;
        }
        match refused {
            0 => Ok(count),
            _ => Err(refuse(count, refused)),
        }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(refuse_pickle("Series"))
    }
}

fn refuse(count: usize, refused: usize) -> PyErr {
    use errors::Fact::Count;
    let message = format!("{refused} of {count} readings were refused: their sensors are no longer registered here");
    let taken = (count - refused) as u64;
    errors::of("Refused", &message, &[("taken", Count(taken)), ("refused", Count(refused as u64))])
}

// === Windows ===

/// What was copied out of the arrays.
#[derive(Default)]
struct Window {
    values: Copied,
    /// One of all, or one each.
    times: Vec<Micros>,
    /// Empty where values come in rows.
    index: Vec<u32>,
    cells: Vec<Cell>,
    points: Vec<Point>,
    ends: Vec<u32>,
}

/// Values of one kind, or each its own.
#[derive(Default)]
struct Copied {
    kind: u8,
    floats: Vec<f64>,
    ints: Vec<i64>,
    values: Vec<Value>,
}

impl Window {
    /// Puts it all, shard by shard within each block; the order of a series is kept. Answers how many were refused.
    fn put(&mut self, engine: &Engine, places: &Places, count: usize) -> usize {
        let mut refused = 0;
        let width = places.points.len();
        if self.index.is_empty() {
            let rows = count / width;
            let rows_of_block = (BLOCK / width).max(1);
            for first in (0..rows).step_by(rows_of_block) {
                let rows = first..rows.min(first + rows_of_block);
                for series in places.by_shard.chunks(BLOCK) {
                    self.cells.clear();
                    for series in series {
                        let at = |row: usize| Cell { series: *series, at: (row * width) as u32 + series };
                        self.cells.extend(rows.clone().map(at));
                    }
                    refused += self.put_cells(engine, places);
                }
            }
            return refused;
        }
        for first in (0..count).step_by(BLOCK) {
            self.sort(places, first..count.min(first + BLOCK));
            refused += self.put_cells(engine, places);
        }
        refused
    }

    /// Lists the cells of a block shard by shard.
    fn sort(&mut self, places: &Places, block: Range<usize>) {
        let shard_of = |series: u32| places.points[series as usize].handle.shard();
        self.ends.clear();
        self.ends.resize(places.shards, 0);
        for series in &self.index[block.clone()] {
            self.ends[shard_of(*series)] += 1;
        }
        let mut sum = 0;
        self.ends.iter_mut().for_each(|end| (*end, sum) = (sum, sum + *end));
        self.cells.clear();
        self.cells.resize(block.len(), Cell::default());
        for (at, series) in block.clone().zip(&self.index[block]) {
            let end = &mut self.ends[shard_of(*series)];
            self.cells[*end as usize] = Cell { series: *series, at: at as u32 };
            *end += 1;
        }
    }

    fn put_cells(&mut self, engine: &Engine, places: &Places) -> usize {
        let Self { values, times, cells, points, .. } = self;
        points.clear();
        points.extend(cells.iter().map(|cell| {
            let at = cell.at as usize;
            let Point { handle, attribute, .. } = places.points[cell.series as usize];
            let source_time = if times.len() == 1 { times[0] } else { times[at] };
            Point { handle, attribute, value: values.at(at), source_time }
        }));
        engine.put_many(points)
    }
}

impl Copied {
    #[inline]
    fn at(&self, at: usize) -> Value {
        match self.kind {
            row::KIND_F64 => Value::F64(self.floats[at]),
            row::KIND_I64 => Value::I64(self.ints[at]),
            row::KIND_BOOL => Value::Bool(self.ints[at] != 0),
            _ => self.values[at].clone(),
        }
    }

    fn copy(&mut self, py: Python<'_>, from: &Values<'_>, range: Range<usize>) -> PyResult<()> {
        self.kind = from.kind();
        match from {
            Values::Floats(column, 8) => column.copy(py, range, &mut self.floats),
            Values::Floats(column, _) => column.widen::<f32, f64>(py, range, &mut self.floats),
            Values::Ints(column, true, 8) => column.copy(py, range, &mut self.ints),
            Values::Ints(column, true, 4) => column.widen::<i32, i64>(py, range, &mut self.ints),
            Values::Ints(column, true, 2) => column.widen::<i16, i64>(py, range, &mut self.ints),
            Values::Ints(column, true, _) => column.widen::<i8, i64>(py, range, &mut self.ints),
            Values::Ints(column, false, 4) => column.widen::<u32, i64>(py, range, &mut self.ints),
            Values::Ints(column, false, 2) => column.widen::<u16, i64>(py, range, &mut self.ints),
            Values::Ints(column, false, _) | Values::Truths(column) => {
                column.widen::<u8, i64>(py, range, &mut self.ints)
            }
            Values::Objects(objects) => {
                self.values.clear();
                for object in &objects[range] {
                    let value = value::from_python(object)?;
                    value.check().map_err(errors::engine)?;
                    self.values.push(value);
                }
                Ok(())
            }
        }
    }
}

// === Arrays ===

/// An array of numbers of one type, seen as one dimension.
struct Numbers<'py> {
    view: Bound<'py, PyAny>,
    kind: ElementType,
    len: usize,
}

impl<'py> Numbers<'py> {
    /// The array that an object is; None for one that is none, or a single number.
    fn of(object: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = object.py();
        let Ok(buffer) = PyUntypedBuffer::get(object) else { return Ok(None) };
        let (dimensions, kind, len) =
            (buffer.dimensions(), ElementType::from_format(buffer.format()), buffer.item_count());
        let format = buffer.format().to_string_lossy().into_owned();
        buffer.release(py);
        let other_order = if cfg!(target_endian = "little") { ['>', '!'] } else { ['<', '<'] };
        let kind = if format.starts_with(other_order) && format.len() > 1 { ElementType::Unknown } else { kind };
        if dimensions == 0 {
            return Ok(None);
        }
        let mut view = PyMemoryView::from(object)?.into_any();
        if dimensions > 1 {
            view = view.call_method1(intern!(py, "cast"), ("B",))?.call_method1(intern!(py, "cast"), (format,))?;
        }
        Ok(Some(Self { view, kind, len }))
    }

    /// Copies a range of it.
    fn copy<T: Element + Default>(&self, py: Python<'_>, range: Range<usize>, out: &mut Vec<T>) -> PyResult<()> {
        out.resize(range.len(), T::default());
        let bound = |at: usize| isize::try_from(at).unwrap_or(isize::MAX);
        let part = self.view.get_item(PySlice::new(py, bound(range.start), bound(range.end), 1))?;
        let buffer = PyBuffer::<T>::get(&part)?;
        buffer.copy_to_slice(py, out)
    }

    /// Copies a range of it, as wider numbers.
    fn widen<T: Element + Default + Into<U>, U>(
        &self,
        py: Python<'_>,
        range: Range<usize>,
        out: &mut Vec<U>,
    ) -> PyResult<()> {
        let mut narrow = Vec::<T>::new();
        self.copy(py, range, &mut narrow)?;
        out.clear();
        out.extend(narrow.into_iter().map(Into::into));
        Ok(())
    }
}

/// A column of values.
enum Values<'py> {
    /// With the bytes of one.
    Floats(Numbers<'py>, usize),
    /// With whether they have a sign, and the bytes of one.
    Ints(Numbers<'py>, bool, usize),
    /// Bytes that are 0 or 1.
    Truths(Numbers<'py>),
    Objects(Vec<Bound<'py, PyAny>>),
}

impl<'py> Values<'py> {
    fn of(values: &Bound<'py, PyAny>, truth: bool) -> PyResult<Self> {
        use ElementType::{Bool, Float, SignedInteger, UnsignedInteger};
        if values.is_instance_of::<PyString>() || values.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err("values must be an array or a sequence of values, not one text or bytes"));
        }
        let objects = || Ok(Self::Objects(values.try_iter()?.collect::<PyResult<_>>()?));
        let Some(numbers) = Numbers::of(values)? else { return objects() };
        match numbers.kind {
            Float { bytes: bytes @ (4 | 8) } => Ok(Self::Floats(numbers, bytes)),
            UnsignedInteger { bytes: 1 } if truth => Ok(Self::Truths(numbers)),
            SignedInteger { bytes } => Ok(Self::Ints(numbers, true, bytes)),
            UnsignedInteger { bytes: bytes @ (1 | 2 | 4) } => Ok(Self::Ints(numbers, false, bytes)),
            // PyO3 reads no truth values in place.
            Bool => objects(),
            // An array of objects is a sequence of them.
            _ if format(&numbers)? == "O" => objects(),
            _ => {
                let rule = "float64, float32, int8 to int64, uint8 to uint32 and bool are taken";
                Err(errors::value(&format!("an array of format {:?}: {rule}", format(&numbers)?)))
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Floats(numbers, _) | Self::Ints(numbers, ..) | Self::Truths(numbers) => numbers.len,
            Self::Objects(objects) => objects.len(),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Floats(..) => row::KIND_F64,
            Self::Ints(..) => row::KIND_I64,
            Self::Truths(_) => row::KIND_BOOL,
            Self::Objects(_) => row::KIND_JSON,
        }
    }
}

fn format(numbers: &Numbers<'_>) -> PyResult<String> {
    numbers.view.getattr(intern!(numbers.view.py(), "format"))?.extract()
}

/// One time for all, one a reading, or one a row.
enum Times<'py> {
    One(Micros),
    Each(Numbers<'py>),
    Rows(Numbers<'py>, usize),
}

impl<'py> Times<'py> {
    fn of(given: Option<&Bound<'py, PyAny>>, count: usize, width: usize, in_rows: bool) -> PyResult<Self> {
        let Some(given) = given else { return Ok(Self::One(SystemClock.now())) };
        let Some(numbers) = Numbers::of(given)? else { return Ok(Self::One(times::micros(given)?)) };
        if numbers.kind != (ElementType::SignedInteger { bytes: 8 }) {
            return Err(PyTypeError::new_err("times must be int64, microseconds since 1970, or datetime64"));
        }
        match numbers.len {
            len if len == count => Ok(Self::Each(numbers)),
            len if in_rows && width > 0 && len.checked_mul(width) == Some(count) => Ok(Self::Rows(numbers, width)),
            len => {
                let rule = "one for all, one for each value, or one for each row";
                Err(PyValueError::new_err(format!("{len} times for {count} values: {rule}")))
            }
        }
    }

    fn copy(&self, py: Python<'_>, range: Range<usize>, out: &mut Vec<Micros>) -> PyResult<()> {
        match self {
            Self::One(time) => {
                out.clear();
                out.push(*time);
                Ok(())
            }
            Self::Each(numbers) => numbers.copy(py, range, out),
            Self::Rows(numbers, width) => {
                let mut rows = Vec::new();
                numbers.copy(py, range.start / width..range.end / width, &mut rows)?;
                out.clear();
                out.extend(rows.iter().flat_map(|time: &Micros| std::iter::repeat_n(*time, *width)));
                Ok(())
            }
        }
    }
}

/// Which series each value is of; all within the set.
struct Index<'py> {
    numbers: Numbers<'py>,
    wide: Vec<i64>,
}

impl<'py> Index<'py> {
    fn of(given: &Bound<'py, PyAny>, count: usize, width: usize) -> PyResult<Self> {
        let py = given.py();
        let is_index = |numbers: &Numbers<'_>| {
            let kinds = [ElementType::UnsignedInteger { bytes: 4 }, ElementType::SignedInteger { bytes: 8 }];
            kinds.contains(&numbers.kind)
        };
        let Some(numbers) = Numbers::of(given)?.filter(is_index) else {
            return Err(PyTypeError::new_err("index must be an array of uint32 or int64"));
        };
        if numbers.len != count {
            return Err(PyValueError::new_err(format!("an index of {} for {count} values", numbers.len)));
        }
        let mut index = Self { numbers, wide: Vec::new() };
        let mut all = Vec::new();
        for from in (0..count).step_by(WINDOW) {
            index.copy_within(py, from..count.min(from + WINDOW), &mut all, width)?;
        }
        Ok(index)
    }

    /// Copies a range of it, of which every number is below `width`.
    fn copy_within(&mut self, py: Python<'_>, range: Range<usize>, out: &mut Vec<u32>, width: usize) -> PyResult<()> {
        if self.numbers.kind == (ElementType::SignedInteger { bytes: 8 }) {
            self.numbers.copy(py, range.clone(), &mut self.wide)?;
            out.clear();
            out.extend(self.wide.iter().map(|series| u32::try_from(*series).unwrap_or(u32::MAX)));
        } else {
            self.numbers.copy(py, range.clone(), out)?;
        }
        match out.iter().position(|series| *series as usize >= width) {
            Some(at) => {
                let rule = format!("index[{}] names no series: there are {width}", range.start + at);
                Err(PyIndexError::new_err(rule))
            }
            None => Ok(()),
        }
    }
}

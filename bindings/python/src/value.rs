//! Values ⇄ Python's objects: float, int, bool, str, bytes as they are; dict, list and tuple as JSON; one dimension of
//! float32 as a vector; numpy's scalars as what they stand for.

use std::sync::Arc;

use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use senza::Value;

use crate::errors;

/// The value that an object is.
///
/// # Errors
/// `InvalidValue` names the type or the rule.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Value::F64(number.value()));
    }
    if let Ok(truth) = object.cast::<PyBool>() {
        return Ok(Value::Bool(truth.is_true()));
    }
    if object.is_instance_of::<PyInt>() {
        let refuse = |_| errors::value("an int must fit 64 bits with its sign; put a float, or text");
        return object.extract().map(Value::I64).map_err(refuse);
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::Text(text_of(text)?.into()));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::Bytes(bytes.as_bytes().into()));
    }
    if object.is_instance_of::<PyDict>() || object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        return Ok(Value::Json(json(object)?));
    }
    from_buffer_or_scalar(object)
}

/// What an argument says, where it is UTF-8.
///
/// # Errors
/// `InvalidValue` for text with surrogates.
pub(crate) fn text_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    text.to_str().map_err(|_| errors::value("text must be UTF-8, without surrogates"))
}

#[cold]
fn from_buffer_or_scalar(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = object.py();
    if let Some(item) = item_of_scalar(object)? {
        return from_python(&item).map_err(|_| refuse(object));
    }
    let Ok(buffer) = PyUntypedBuffer::get(object) else { return from_index_or_float(object) };
    match (ElementType::from_format(buffer.format()), buffer.dimensions()) {
        (ElementType::Float { bytes: 4 }, 1) => {
            let vector = buffer.as_typed::<f32>()?.to_vec(py)?;
            Ok(Value::Vector(vector.into()))
        }
        (ElementType::UnsignedInteger { bytes: 1 }, 1) => {
            let bytes = buffer.as_typed::<u8>()?.to_vec(py)?;
            Ok(Value::Bytes(bytes.into()))
        }
        _ => Err(refuse(object)),
    }
}

/// What a scalar of numpy stands for.
fn item_of_scalar<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if !object.hasattr(intern!(py, "dtype"))? || object.getattr(intern!(py, "ndim"))?.extract::<usize>()? > 0 {
        return Ok(None);
    }
    let item = object.call_method0(intern!(py, "item"))?;
    if item.hasattr(intern!(py, "dtype"))? { Err(refuse(object)) } else { Ok(Some(item)) }
}

/// Integers and numbers of other libraries.
fn from_index_or_float(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = object.py();
    for (method, exact) in [(intern!(py, "__index__"), true), (intern!(py, "__float__"), false)] {
        if object.hasattr(method)? {
            let number = object.call_method0(method)?;
            return if exact { from_python(&number) } else { Ok(Value::F64(number.extract()?)) };
        }
    }
    Err(refuse(object))
}

fn refuse(object: &Bound<'_, PyAny>) -> PyErr {
    let name = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let rule = "must be a float, int, bool, str, bytes, a dict or list that is JSON, or one dimension of float32";
    errors::value(&format!("{name} is no value: it {rule}"))
}

fn json(object: &Bound<'_, PyAny>) -> PyResult<Arc<str>> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = DUMPS.import(object.py(), "senza._values", "to_json")?.call1((object,))?;
    Ok(text_of(text.cast::<PyString>()?)?.into())
}

/// The object that a value is.
///
/// # Errors
/// Where the interpreter has no memory for it.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static VECTOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(match value {
        Value::F64(number) => PyFloat::new(py, *number).into_any(),
        Value::I64(number) => number.into_pyobject(py)?.into_any(),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Json(text) => LOADS.import(py, "senza._values", "from_json")?.call1((&**text,))?,
        Value::Vector(vector) => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_ne_bytes()).collect();
            VECTOR.import(py, "senza._values", "vector")?.call1((PyBytes::new(py, &bytes),))?
        }
    })
}

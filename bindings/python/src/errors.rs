//! The engine's errors as exceptions of the package, each with what it names as attributes. The classes are Python's,
//! in `senza/_errors.py`: they have two bases, text and facts.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use senza::{ConfigError, Error, OpenError};

/// One fact that an exception carries.
pub(crate) enum Fact<'a> {
    Text(&'a str),
    Count(u64),
}

/// The exception of a kind, with its message and facts.
pub(crate) fn of(kind: &str, message: &str, facts: &[(&str, Fact<'_>)]) -> PyErr {
    Python::attach(|py| {
        let made = || -> PyResult<PyErr> {
            let named = PyDict::new(py);
            for (name, fact) in facts {
                match fact {
                    Fact::Text(text) => named.set_item(name, text)?,
                    Fact::Count(count) => named.set_item(name, count)?,
                }
            }
            let class = classes(py)?.bind(py).getattr(kind)?.cast_into::<PyType>()?;
            Ok(PyErr::from_value(class.call((message,), Some(&named))?))
        };
        made().unwrap_or_else(|error| error)
    })
}

fn classes(py: Python<'_>) -> PyResult<&Py<PyModule>> {
    static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    CLASSES.get_or_try_init(py, || Ok(py.import("senza._errors")?.unbind()))
}

pub(crate) fn forked(what: &str) -> PyErr {
    let rule = "its threads stayed there; start nodes after the fork, or start processes by `spawn`";
    of("Forked", &format!("{what}: {rule}"), &[])
}

pub(crate) fn closed(what: &str) -> PyErr {
    of("Closed", &format!("the {what} is closed"), &[("what", Fact::Text(what))])
}

pub(crate) fn value(message: &str) -> PyErr {
    of("InvalidValue", message, &[])
}

/// A contract's field that is out of its range before the engine can see it.
pub(crate) fn contract(field: &str, value: impl std::fmt::Display, rule: &str) -> PyErr {
    of("InvalidContract", &format!("contract: {field} = {value}: {rule}"), &[("field", Fact::Text(field))])
}

/// The exception for what the engine said.
pub(crate) fn engine(error: Error) -> PyErr {
    use Fact::{Count, Text};
    let message = error.to_string();
    let of = |kind: &str, facts: &[(&str, Fact<'_>)]| of(kind, &message, facts);
    match &error {
        Error::Id { .. } | Error::NodeName { .. } => of("InvalidId", &[]),
        Error::Key { .. } | Error::Pattern { .. } => of("InvalidPattern", &[]),
        Error::ValueTooLarge { .. } => of("InvalidValue", &[]),
        Error::Contract { field, .. } => of("InvalidContract", &[("field", Text(field))]),
        Error::Unregistered => of("NotRegistered", &[]),
        Error::NotFound { sensor } => of("NotFound", &[("sensor", Text(sensor))]),
        Error::NotOwner { sensor, node } => of("NotOwner", &[("sensor", Text(sensor)), ("node", Text(node.as_str()))]),
        Error::HeldOff { sensor, node, left_ms } => {
            of("HeldOff", &[("sensor", Text(sensor)), ("node", Text(node.as_str())), ("left_ms", Count(*left_ms))])
        }
        Error::Full { what, max } => of("Full", &[("what", Text(what)), ("max", Count(*max as u64))]),
        Error::Wire { .. } => of("Error", &[]),
    }
}

pub(crate) fn config(error: &ConfigError) -> PyErr {
    let message = error.to_string();
    match error {
        ConfigError::File { .. } => of("InvalidConfig", &message, &[]),
        ConfigError::Setting { setting, .. } => of("InvalidConfig", &message, &[("setting", Fact::Text(setting))]),
    }
}

pub(crate) fn open(error: &OpenError) -> PyErr {
    let message = error.to_string();
    match error {
        OpenError::NameTaken { name, .. } => of("NameTaken", &message, &[("name", Fact::Text(name.as_str()))]),
        OpenError::Listen { .. } | OpenError::Setting { .. } | OpenError::Zenoh(_) => of("StartFailed", &message, &[]),
    }
}

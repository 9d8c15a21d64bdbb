//! Readings as columns of bytes, which Python's buffers, numpy and the like read as they are. A value is its kind and
//! eight bytes; one that does not fit these lies beside, by its place.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use senza::Value;
use senza_core::row;

use crate::value;

/// Kinds, eight bytes each, and what does not fit.
#[derive(Default)]
pub(crate) struct Values {
    kinds: Vec<u8>,
    slots: Vec<u8>,
    beside: Vec<(u32, Value)>,
}

/// The same as Python has it.
pub(crate) type RawValues<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyDict>);

impl Values {
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Appends a value of which the kind, with what else is to be told of it, and the eight bytes are known.
    #[inline]
    pub(crate) fn push(&mut self, kind: u8, slot: u64, value: Option<Value>) {
        if let Some(value) = value {
            self.beside.push((self.kinds.len() as u32, value));
        }
        self.kinds.push(kind);
        self.slots.extend_from_slice(&slot.to_ne_bytes());
    }

    /// Appends a value.
    pub(crate) fn push_value(&mut self, value: &Value) {
        let (kind, slot) = row::encode(value);
        let beside = (kind >= row::KIND_TEXT).then(|| value.clone());
        self.push(kind, slot, beside);
    }

    /// Hands everything over and begins anew.
    pub(crate) fn take<'py>(&mut self, py: Python<'py>) -> PyResult<RawValues<'py>> {
        let (kinds, slots) = (PyBytes::new(py, &self.kinds), PyBytes::new(py, &self.slots));
        self.kinds.clear();
        self.slots.clear();
        let beside = PyDict::new(py);
        for (at, value) in self.beside.drain(..) {
            beside.set_item(at, value::to_python(py, &value)?)?;
        }
        Ok((kinds, slots, beside))
    }
}

/// One column of numbers of eight or four bytes.
#[derive(Default)]
pub(crate) struct Column(Vec<u8>);

impl Column {
    #[inline]
    pub(crate) fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend_from_slice(&bytes);
    }

    pub(crate) fn take<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let taken = PyBytes::new(py, &self.0);
        self.0.clear();
        taken
    }
}

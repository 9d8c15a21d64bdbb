//! Values of readings, in and out.

use senza::ingest::payload;
use senza_core::Value;
use senza_core::reading::{VALUE_BYTES_MAX, VECTOR_MAX};

use crate::batch::Texts;
use crate::border;
use crate::error::{Fail, Outcome, refuse, senza_code};
use crate::text::senza_str;

/// What a value is; which member of its `data` holds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_kind {
    /// No value: a told gap or an end has none. Refused in a put.
    SENZA_NONE = 0,
    /// A floating-point number, NaN and infinities included: `f64`.
    SENZA_F64 = 1,
    /// An integer: `i64`.
    SENZA_I64 = 2,
    /// A truth value: `boolean`, 0 or 1; in a put anything but 0 is 1.
    SENZA_BOOL = 3,
    /// UTF-8 text, at most 65,536 bytes: `text`.
    SENZA_TEXT = 4,
    /// Bytes, at most 65,536: `text`.
    SENZA_BYTES = 5,
    /// At most 4,096 numbers: `vector`.
    SENZA_VECTOR = 6,
    /// A JSON object or array, at most 65,536 bytes, nested 120 deep: `text`.
    SENZA_JSON = 7,
}

/// Numbers, and how many.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_floats {
    /// The first.
    pub data: *const f32,
    /// How many.
    pub count: usize,
}

/// What a value holds; `kind` says which member.
#[repr(C)]
#[derive(Clone, Copy)]
pub union senza_data {
    /// Of SENZA_F64.
    pub f64: f64,
    /// Of SENZA_I64.
    pub i64: i64,
    /// Of SENZA_BOOL.
    pub boolean: u64,
    /// Of SENZA_TEXT, SENZA_BYTES and SENZA_JSON.
    pub text: senza_str,
    /// Of SENZA_VECTOR.
    pub vector: senza_floats,
}

/// The value of a reading. Made by senza_f64(), senza_i64(), senza_bool(), senza_text(), senza_bytes(), senza_vector(),
/// senza_json(). What it points to is copied during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct senza_value {
    /// A senza_kind.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// What it holds.
    pub data: senza_data,
}

const F64: u32 = senza_kind::SENZA_F64 as u32;
const I64: u32 = senza_kind::SENZA_I64 as u32;
const BOOL: u32 = senza_kind::SENZA_BOOL as u32;
const TEXT: u32 = senza_kind::SENZA_TEXT as u32;
const BYTES: u32 = senza_kind::SENZA_BYTES as u32;
const VECTOR: u32 = senza_kind::SENZA_VECTOR as u32;
const JSON: u32 = senza_kind::SENZA_JSON as u32;

impl senza_value {
    /// Whether it lies in its eight bytes.
    #[inline]
    fn is_plain(&self) -> bool {
        matches!(self.kind, F64 | I64 | BOOL)
    }

    /// Writes a value that was checked: a plain one itself, of others the next of those that checking made. Each kind by
    /// itself: a value that is written in parts, its kind first, and then copied as a whole is one that the core waits
    /// for.
    #[inline(always)]
    pub(crate) fn write(&self, to: &mut Value, long: &mut impl Iterator<Item = Value>) {
        match self.kind {
            // SAFETY: any eight bytes are a number.
            F64 => *to = Value::F64(unsafe { self.data.f64 }),
            // SAFETY: any eight bytes are an integer.
            I64 => *to = Value::I64(unsafe { self.data.i64 }),
            // SAFETY: any eight bytes are an integer.
            BOOL => *to = Value::Bool(unsafe { self.data.boolean } != 0),
            _ => long.next().into_iter().for_each(|long| *to = long),
        }
    }
}

/// Holds a value to its rules. One that does not lie in eight bytes is made, and added to `long`.
///
/// # Safety
/// `value` is as its type says.
#[inline]
pub(crate) unsafe fn check(value: &senza_value, long: &mut Vec<Value>) -> Outcome<()> {
    if !value.is_plain() {
        // SAFETY: as the caller promises.
        long.push(unsafe { self::long(value) }?);
    }
    Ok(())
}

/// The engine's value.
///
/// # Safety
/// `value` is as its type says.
#[inline]
pub(crate) unsafe fn value(value: &senza_value) -> Outcome<Value> {
    if !value.is_plain() {
        // SAFETY: as the caller promises.
        return unsafe { long(value) };
    }
    let mut made = Value::Bool(false);
    value.write(&mut made, &mut std::iter::empty());
    Ok(made)
}

/// A value that does not lie in eight bytes.
///
/// # Safety
/// As [`value`].
unsafe fn long(value: &senza_value) -> Outcome<Value> {
    match value.kind {
        TEXT | JSON => {
            // SAFETY: the kind says that it is one, and any bytes are a pointer and a length.
            let text = unsafe { value.data.text };
            // SAFETY: as the caller promises.
            let text = unsafe { border::text(text, VALUE_BYTES_MAX, "value") }?;
            if value.kind == TEXT { Ok(Value::Text(text.into())) } else { payload::json_value(text).map_err(json) }
        }
        BYTES => {
            // SAFETY: the kind says that it is one, and any bytes are a pointer and a length.
            let bytes = unsafe { value.data.text };
            // SAFETY: as the caller promises.
            Ok(Value::Bytes(unsafe { border::bytes(bytes, VALUE_BYTES_MAX, "value") }?.into()))
        }
        VECTOR => {
            // SAFETY: the kind says that it is one, and any bytes are a pointer and a count.
            let vector = unsafe { value.data.vector };
            // SAFETY: as the caller promises.
            Ok(Value::Vector(unsafe { border::list(vector.data, vector.count, VECTOR_MAX, "value") }?.into()))
        }
        0 => Err(refuse(senza_code::SENZA_ARGUMENT, "value: of kind SENZA_NONE there is nothing to put")),
        other => Err(refuse(senza_code::SENZA_ARGUMENT, format!("value: kind {other} does not exist"))),
    }
}

fn json(error: payload::PayloadError) -> Fail {
    let code = match &error {
        payload::PayloadError::Bounds(_) | payload::PayloadError::TooLong { .. } => senza_code::SENZA_LENGTH,
        _ => senza_code::SENZA_ARGUMENT,
    };
    refuse(code, format!("value of kind SENZA_JSON: {error}"))
}

impl senza_value {
    /// No value.
    pub(crate) const NONE: Self = Self { kind: 0, reserved: 0, data: senza_data { i64: 0 } };

    /// The value for C; what it points to lies in `texts`.
    pub(crate) fn of(value: &Value, texts: &mut Texts) -> Self {
        let (kind, data) = match value {
            Value::F64(number) => (senza_kind::SENZA_F64, senza_data { f64: *number }),
            Value::I64(number) => (senza_kind::SENZA_I64, senza_data { i64: *number }),
            Value::Bool(truth) => (senza_kind::SENZA_BOOL, senza_data { boolean: u64::from(*truth) }),
            Value::Text(text) => (senza_kind::SENZA_TEXT, senza_data { text: texts.text(text.as_bytes()) }),
            Value::Bytes(bytes) => (senza_kind::SENZA_BYTES, senza_data { text: texts.text(bytes) }),
            Value::Json(text) => (senza_kind::SENZA_JSON, senza_data { text: texts.text(text.as_bytes()) }),
            Value::Vector(numbers) => {
                let vector = senza_floats { data: texts.numbers(numbers), count: numbers.len() };
                (senza_kind::SENZA_VECTOR, senza_data { vector })
            }
        };
        Self { kind: kind as u32, reserved: 0, data }
    }
}

/// A sensor's meta: a JSON object as text.
pub(crate) fn json_object(text: &str) -> Outcome<std::sync::Arc<str>> {
    match payload::json_value(text) {
        Ok(Value::Json(object)) if object.starts_with('{') => Ok(object),
        Ok(_) => Err(refuse(senza_code::SENZA_ARGUMENT, "meta must be a JSON object")),
        Err(error) => Err(refuse(senza_code::SENZA_ARGUMENT, format!("meta: {error}"))),
    }
}

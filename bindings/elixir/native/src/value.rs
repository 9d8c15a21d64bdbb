//! Values ⇄ terms: floats, integers of 64 bits, booleans and UTF-8 binaries as they are; `{:bytes, binary}`,
//! `{:vector, [float]}`; maps and lists as JSON. What a float of the VM cannot be are the atoms `:nan`, `:infinity` and
//! `:neg_infinity`.

use rustler::thread::is_scheduler_thread;
use rustler::{Atom, Binary, Encoder, Env, MapIterator, Term, TermType};
use senza::Value;
use senza_core::reading::{VALUE_BYTES_MAX, VECTOR_MAX};

use crate::atoms;
use crate::faults::{Fault, shown};

/// JSON that a normal scheduler reads or writes in one call, in bytes; more would hold it for too long.
pub(crate) const JSON_AT_ONCE: usize = 8 * 1024;
/// Keys of a map that the VM keeps sorted, and no tree.
const SMALL_MAP: usize = 32;
/// How deep maps and lists may lie in each other.
const DEPTH_MAX: usize = 100;
const RULE: &str = "a value must be a float, an integer, a boolean, a binary that is UTF-8, {:bytes, binary}, \
                    {:vector, [number]}, :nan, :infinity, :neg_infinity, or a map or list that is JSON";

/// The value that a term is. Of JSON, no more than `json_max` bytes are written.
///
/// # Errors
/// An argument fault that names the term and the rule; `invalid_value` where it is too large; `busy` where there is
/// more JSON.
#[inline]
pub(crate) fn from_term(term: Term<'_>, json_max: usize) -> Result<Value, Fault> {
    // In this order: rustler decodes an integer as a float too.
    if let Ok(number) = term.decode::<i64>() {
        return Ok(Value::I64(number));
    }
    if let Ok(number) = term.decode::<f64>() {
        return Ok(Value::F64(number));
    }
    other_from_term(term, json_max)
}

fn other_from_term(term: Term<'_>, json_max: usize) -> Result<Value, Fault> {
    match term.get_type() {
        TermType::Atom => atom(term),
        TermType::Binary => text(term),
        TermType::Tuple => tagged(term),
        TermType::Integer => Err(refuse(term, "an integer must fit 64 bits with its sign")),
        TermType::Map | TermType::List => Ok(Value::Json(json_text(term, json_max)?.into())),
        _ => Err(refuse(term, RULE)),
    }
}

#[cold]
fn refuse(term: Term<'_>, rule: &str) -> Fault {
    Fault::argument(format!("{rule}, got: {}", shown(term)))
}

fn atom(term: Term<'_>) -> Result<Value, Fault> {
    let atom: Atom = term.decode().map_err(|_| refuse(term, RULE))?;
    if let Ok(truth) = term.decode::<bool>() {
        return Ok(Value::Bool(truth));
    }
    let numbers =
        [(atoms::nan(), f64::NAN), (atoms::infinity(), f64::INFINITY), (atoms::neg_infinity(), f64::NEG_INFINITY)];
    let number = numbers.into_iter().find(|(known, _)| *known == atom);
    number.map(|(_, number)| Value::F64(number)).ok_or_else(|| refuse(term, RULE))
}

fn text(term: Term<'_>) -> Result<Value, Fault> {
    let binary = Binary::from_term(term).map_err(|_| refuse(term, "a bitstring must be whole bytes"))?;
    too_large(binary.len(), VALUE_BYTES_MAX)?;
    let text = std::str::from_utf8(binary.as_slice());
    let rule = "a binary that is a value must be UTF-8; put {:bytes, binary} for other bytes";
    text.map(|text| Value::Text(text.into())).map_err(|_| refuse(term, rule))
}

fn tagged(term: Term<'_>) -> Result<Value, Fault> {
    let (tag, inner) = term.decode::<(Atom, Term<'_>)>().map_err(|_| refuse(term, RULE))?;
    if tag == atoms::bytes() {
        let binary = Binary::from_term(inner).map_err(|_| refuse(term, "{:bytes, binary} must hold a binary"))?;
        too_large(binary.len(), VALUE_BYTES_MAX)?;
        return Ok(Value::Bytes(binary.as_slice().into()));
    }
    if tag == atoms::vector() {
        let rule = "{:vector, numbers} must hold a list of numbers";
        #[expect(clippy::cast_possible_truncation, reason = "a vector is of f32")]
        let number = |item: Term<'_>| item.decode::<f64>().map(|number| number as f32).map_err(|_| refuse(item, rule));
        let (mut numbers, mut rest) = (Vec::new(), inner);
        // Of a list that is too long, no more is walked than fits: its length is told as one more.
        while let Ok((item, next)) = rest.list_get_cell() {
            too_large(numbers.len() + 1, VECTOR_MAX)?;
            numbers.push(number(item)?);
            rest = next;
        }
        return if rest.is_empty_list() { Ok(Value::Vector(numbers.into())) } else { Err(refuse(term, rule)) };
    }
    Err(refuse(term, RULE))
}

fn too_large(size: usize, max: usize) -> Result<(), Fault> {
    if size > max { Err(senza::Error::ValueTooLarge { size, max }.into()) } else { Ok(()) }
}

/// A map or list as JSON text.
///
/// # Errors
/// As [`from_term`].
pub(crate) fn json_text(term: Term<'_>, max: usize) -> Result<String, Fault> {
    let mut out = Json { text: Vec::new(), max };
    out.write(term, 0)?;
    String::from_utf8(out.text).map_err(|_| refuse(term, "JSON must be UTF-8"))
}

/// JSON as it is written.
struct Json {
    text: Vec<u8>,
    max: usize,
}

impl Json {
    fn write(&mut self, term: Term<'_>, depth: usize) -> Result<(), Fault> {
        self.room_for(0)?;
        if depth > DEPTH_MAX {
            return Err(Fault::argument(format!("maps and lists must nest at most {DEPTH_MAX} deep to be JSON")));
        }
        match term.get_type() {
            TermType::Float => self.push(&term.decode::<f64>().map_err(|_| refuse(term, RULE))?),
            TermType::Integer => match term.decode::<i64>() {
                Ok(number) => self.push(&number),
                Err(_) => Err(refuse(term, "an integer of JSON must fit 64 bits with its sign")),
            },
            TermType::Atom => {
                let name = term.atom_to_string().map_err(|_| refuse(term, RULE))?;
                match name.as_str() {
                    "nil" => self.text.extend_from_slice(b"null"),
                    "true" | "false" => self.text.extend_from_slice(name.as_bytes()),
                    _ => self.push(&name)?,
                }
                Ok(())
            }
            TermType::Binary => self.push_text(term),
            TermType::List => self.write_list(term, depth),
            TermType::Map => self.write_map(term, depth),
            _ => Err(refuse(term, "what is put as JSON must be maps, lists, text, numbers, booleans, atoms and nil")),
        }
    }

    fn push(&mut self, value: &(impl serde::Serialize + ?Sized)) -> Result<(), Fault> {
        serde_json::to_writer(&mut self.text, value).map_err(|error| Fault::argument(error.to_string()))
    }

    fn push_text(&mut self, term: Term<'_>) -> Result<(), Fault> {
        let text = json_string(term)?;
        self.room_for(text.len())?;
        self.push(text)
    }

    fn room_for(&self, more: usize) -> Result<(), Fault> {
        let size = self.text.len() + more;
        too_large(size, VALUE_BYTES_MAX)?;
        if size > self.max { Err(Fault::new("busy", "more JSON than is written at once")) } else { Ok(()) }
    }

    fn write_list(&mut self, term: Term<'_>, depth: usize) -> Result<(), Fault> {
        self.text.push(b'[');
        let (mut rest, mut first) = (term, true);
        // Its end is looked at last: no more of it is walked than is written.
        while let Ok((item, next)) = rest.list_get_cell() {
            if !first {
                self.text.push(b',');
            }
            self.write(item, depth + 1)?;
            (rest, first) = (next, false);
        }
        if !rest.is_empty_list() {
            return Err(refuse(term, "a list of JSON must be a proper one"));
        }
        self.text.push(b']');
        Ok(())
    }

    fn write_map(&mut self, term: Term<'_>, depth: usize) -> Result<(), Fault> {
        if term.map_get(atoms::struct_key()).is_ok() {
            return Err(refuse(term, "a struct is no JSON; put a map of what is to be kept of it"));
        }
        let entries = MapIterator::new(term).ok_or_else(|| refuse(term, RULE))?;
        self.text.push(b'{');
        for (at, (key, value)) in entries.enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            match key.get_type() {
                TermType::Atom => self.push(&key.atom_to_string().map_err(|_| refuse(key, RULE))?)?,
                TermType::Binary => self.push_text(key)?,
                _ => return Err(refuse(key, "keys of JSON must be text or atoms")),
            }
            self.text.push(b':');
            self.write(value, depth + 1)?;
        }
        self.text.push(b'}');
        Ok(())
    }
}

fn json_string(term: Term<'_>) -> Result<&str, Fault> {
    let rule = "text of JSON must be UTF-8";
    let binary = Binary::from_term(term).map_err(|_| refuse(term, rule))?;
    too_large(binary.len(), VALUE_BYTES_MAX)?;
    std::str::from_utf8(binary.as_slice()).map_err(|_| refuse(term, rule))
}

/// The term that a value is.
pub(crate) fn to_term<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    match value {
        Value::F64(number) => float(env, *number),
        Value::I64(number) => number.encode(env),
        Value::Bool(truth) => truth.encode(env),
        Value::Text(text) => text.encode(env),
        Value::Bytes(bytes) => (atoms::bytes(), binary(env, bytes)).encode(env),
        Value::Vector(vector) => {
            let numbers: Vec<Term<'a>> = vector.iter().map(|number| float(env, f64::from(*number))).collect();
            (atoms::vector(), numbers).encode(env)
        }
        Value::Json(text) => match serde_json::from_str(text) {
            Ok(value) => from_json(env, &value),
            // Who made it has checked it; text is the next best.
            Err(_) => text.encode(env),
        },
    }
}

/// Bytes as a binary.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut made = rustler::NewBinary::new(env, bytes.len());
    made.as_mut_slice().copy_from_slice(bytes);
    made.into()
}

/// A map of these keys, which differ. The VM sorts those of a large map with the random numbers of the scheduler that
/// it runs on, and crashes where there is none: there it is made key by key.
pub(crate) fn map<'a>(env: Env<'a>, keys: &[Term<'a>], values: &[Term<'a>]) -> Term<'a> {
    let made = if keys.len() <= SMALL_MAP || is_scheduler_thread() {
        Term::map_from_term_arrays(env, keys, values)
    } else {
        let put = |map: Term<'a>, (key, value): (&Term<'a>, &Term<'a>)| map.map_put(*key, *value);
        keys.iter().zip(values).try_fold(Term::map_new(env), put)
    };
    made.unwrap_or_else(|_| atoms::nil().to_term(env))
}

/// A map of named fields.
pub(crate) fn record<'a>(env: Env<'a>, fields: &[(Atom, Term<'a>)]) -> Term<'a> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.iter().map(|(key, value)| (key.to_term(env), *value)).unzip();
    map(env, &keys, &values)
}

/// A float, or the atom for one that the VM does not have.
#[inline]
pub(crate) fn float(env: Env<'_>, number: f64) -> Term<'_> {
    if number.is_finite() {
        return number.encode(env);
    }
    let atom = match number {
        number if number.is_nan() => atoms::nan(),
        number if number > 0.0 => atoms::infinity(),
        _ => atoms::neg_infinity(),
    };
    atom.to_term(env)
}

fn from_json<'a>(env: Env<'a>, value: &serde_json::Value) -> Term<'a> {
    use serde_json::Value as Parsed;
    match value {
        Parsed::Null => atoms::nil().to_term(env),
        Parsed::Bool(truth) => truth.encode(env),
        Parsed::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => whole.encode(env),
            (None, Some(whole)) => whole.encode(env),
            _ => float(env, number.as_f64().unwrap_or(f64::NAN)),
        },
        Parsed::String(text) => text.encode(env),
        Parsed::Array(items) => items.iter().map(|item| from_json(env, item)).collect::<Vec<_>>().encode(env),
        Parsed::Object(fields) => {
            let keys: Vec<Term<'a>> = fields.keys().map(|key| key.encode(env)).collect();
            let values: Vec<Term<'a>> = fields.values().map(|value| from_json(env, value)).collect();
            map(env, &keys, &values)
        }
    }
}

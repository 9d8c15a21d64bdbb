//! What is wrong with a call, as Elixir is told: a reason, a message that names the thing and the rule, and facts. It
//! becomes a `Senza.Error`, or an `ArgumentError` where the reason is `argument`. Knows no VM but its terms.

use rustler::{Atom, Binary, Encoder, Env, Term, TermType};
use senza::{ConfigError, Error, OpenError};

use crate::atoms;

/// Bytes of an id or another text that are read at all: the engine says which of these are too many.
const TEXT_MAX: usize = 4096;
/// Characters of a term that are shown.
const SHOWN_MAX: usize = 80;
/// A binary of more bytes is told by its size.
const BINARY_SHOWN_MAX: usize = 64;

/// What is wrong. Boxed: it is rare, and what is right stays small.
pub(crate) struct Fault(Box<Parts>);

struct Parts {
    reason: &'static str,
    message: String,
    facts: Vec<(&'static str, Fact)>,
}

enum Fact {
    Text(String),
    Count(u64),
}

impl Fault {
    /// A fault without facts.
    #[cold]
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { reason, message: message.into(), facts: Vec::new() }))
    }

    /// What the caller wrote wrongly: raised, never answered.
    #[cold]
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new("argument", message)
    }

    /// Whatever belongs to something that was closed.
    #[cold]
    pub(crate) fn closed(what: &str) -> Self {
        Self::new("closed", format!("the {what} is closed"))
    }

    fn with(mut self, name: &'static str, fact: Fact) -> Self {
        self.0.facts.push((name, fact));
        self
    }
}

impl Encoder for Fault {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let atom = |text: &str| Atom::from_bytes(env, text.as_bytes()).unwrap_or_else(|_| atoms::error());
        let fact = |(name, fact): &(&'static str, Fact)| match fact {
            Fact::Text(text) => (atom(name), text).encode(env),
            Fact::Count(count) => (atom(name), count).encode(env),
        };
        let facts: Vec<Term<'a>> = self.0.facts.iter().map(fact).collect();
        (atoms::senza_error(), atom(self.0.reason), &self.0.message, facts).encode(env)
    }
}

impl From<Error> for Fault {
    #[cold]
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Id { .. } | Error::NodeName { .. } => Self::new("invalid_id", message),
            Error::Key { .. } | Error::Pattern { .. } => Self::new("invalid_pattern", message),
            Error::ValueTooLarge { .. } => Self::new("invalid_value", message),
            Error::Contract { field, .. } => {
                Self::new("invalid_contract", message).with("field", Fact::Text(field.to_owned()))
            }
            Error::Unregistered => Self::new("not_registered", message),
            Error::NotFound { sensor } => Self::new("not_found", message).with("sensor", Fact::Text(sensor)),
            Error::NotOwner { sensor, node } => {
                let facts = Self::new("not_owner", message).with("sensor", Fact::Text(sensor));
                facts.with("node", Fact::Text(node.to_string()))
            }
            Error::HeldOff { sensor, node, left_ms } => {
                let facts = Self::new("held_off", message).with("sensor", Fact::Text(sensor));
                facts.with("node", Fact::Text(node.to_string())).with("left_ms", Fact::Count(left_ms))
            }
            Error::Full { max, .. } => Self::new("full", message).with("max", Fact::Count(max as u64)),
            Error::Wire { .. } => Self::new("wire", message),
        }
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        let fault = Self::new("invalid_config", error.to_string());
        match error {
            ConfigError::File { .. } => fault,
            ConfigError::Setting { setting, .. } => fault.with("setting", Fact::Text(setting.to_owned())),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::NameTaken { name, .. } => {
                Self::new("name_taken", message).with("node", Fact::Text(name.to_string()))
            }
            OpenError::Listen { .. } | OpenError::Setting { .. } | OpenError::Zenoh(_) => {
                Self::new("start_failed", message)
            }
        }
    }
}

/// The answer of a function: what it made, or the fault.
#[inline]
pub(crate) fn answer<'a>(env: Env<'a>, made: Result<Term<'a>, Fault>) -> Term<'a> {
    match made {
        Ok(term) => term,
        Err(fault) => fault.encode(env),
    }
}

/// An id or other text, borrowed from its term.
///
/// # Errors
/// An argument fault that names `what`; `invalid_id` where it is far too long.
#[inline]
pub(crate) fn text<'a>(term: Term<'a>, what: &str) -> Result<&'a str, Fault> {
    let Ok(binary) = Binary::from_term(term) else { return Err(no_text(term, what, "must be a binary")) };
    if binary.len() > TEXT_MAX {
        return Err(Fault::new("invalid_id", format!("{what} has {} bytes, which is too long", binary.len())));
    }
    std::str::from_utf8(binary.as_slice()).map_err(|_| no_text(term, what, "must be UTF-8"))
}

#[cold]
fn no_text(term: Term<'_>, what: &str, rule: &str) -> Fault {
    Fault::argument(format!("{what} {rule}, got: {}", shown(term)))
}

/// A term as people read it, of at most so many characters. No more of it is looked at than is shown: it may be large,
/// and this runs on the caller's scheduler.
#[cold]
pub(crate) fn shown(term: Term<'_>) -> String {
    let mut text = String::new();
    show(term, &mut text);
    if text.chars().count() <= SHOWN_MAX { text } else { text.chars().take(SHOWN_MAX - 1).chain(['…']).collect() }
}

/// Adds a term, unless there is enough: every one adds at least a byte, or is the last.
fn show(term: Term<'_>, text: &mut String) {
    if is_enough(text) {
        return;
    }
    match term.get_type() {
        TermType::List => show_list(term, text),
        TermType::Tuple => show_tuple(term, text),
        TermType::Map => text.push_str(&format!("a map of {} keys", term.map_size().unwrap_or_default())),
        TermType::Binary => match Binary::from_term(term) {
            Ok(binary) if binary.len() <= BINARY_SHOWN_MAX => text.push_str(&format!("{term:?}")),
            Ok(binary) => text.push_str(&format!("a binary of {} bytes", binary.len())),
            Err(_) => text.push_str("a bitstring"),
        },
        TermType::Integer if term.decode::<i64>().is_err() => text.push_str("an integer of more than 64 bits"),
        TermType::Unknown => text.push_str("a term"),
        _ => text.push_str(&format!("{term:?}")),
    }
}

/// A character has at most four bytes.
fn is_enough(text: &str) -> bool {
    text.len() > 4 * SHOWN_MAX
}

fn show_list(term: Term<'_>, text: &mut String) {
    text.push('[');
    let (mut rest, mut between) = (term, "");
    while let Ok((item, next)) = rest.list_get_cell() {
        if is_enough(text) {
            return;
        }
        text.push_str(between);
        show(item, text);
        (rest, between) = (next, ",");
    }
    if !rest.is_empty_list() {
        text.push('|');
        show(rest, text);
    }
    text.push(']');
}

fn show_tuple(term: Term<'_>, text: &mut String) {
    // Those that are taken apart without a copy of them all.
    let parts = if term.decode::<()>().is_ok() {
        vec![]
    } else if let Ok((a,)) = term.decode::<(Term<'_>,)>() {
        vec![a]
    } else if let Ok((a, b)) = term.decode::<(Term<'_>, Term<'_>)>() {
        vec![a, b]
    } else if let Ok((a, b, c)) = term.decode::<(Term<'_>, Term<'_>, Term<'_>)>() {
        vec![a, b, c]
    } else if let Ok((a, b, c, d)) = term.decode::<(Term<'_>, Term<'_>, Term<'_>, Term<'_>)>() {
        vec![a, b, c, d]
    } else {
        return text.push_str("a tuple of more than 4");
    };
    text.push('{');
    for (at, part) in parts.into_iter().enumerate() {
        text.push_str(if at > 0 { "," } else { "" });
        show(part, text);
    }
    text.push('}');
}

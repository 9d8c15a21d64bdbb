//! Codes, and what this thread's last one was about. Knows the engine's errors and nothing else of it.
//!
//! The message is kept per thread and not handed out through a parameter: signatures stay short, nothing has to be
//! freed, and a call that succeeds pays nothing for it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::c_char;

use senza::OpenError;
use senza_core::Error;

/// What every function answers. The message behind a code other than SENZA_OK: senza_last_error().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_code {
    /// Done.
    SENZA_OK = 0,
    /// A pointer is NULL, or not aligned, that must not be.
    SENZA_NULL = 1,
    /// A handle that is none, or one of another kind of thing, or of another node.
    SENZA_HANDLE = 2,
    /// A handle that was closed; a node that was stopped; a subscription that ended and was read to its end.
    SENZA_CLOSED = 3,
    /// A text is not UTF-8.
    SENZA_UTF8 = 4,
    /// A length or a count is outside its bounds. Nothing was read.
    SENZA_LENGTH = 5,
    /// Something else is outside its rule: a setting, a field of a contract, a pattern, a kind that does not exist.
    SENZA_ARGUMENT = 6,
    /// No node that is up knows the sensor, or it has no such reading.
    SENZA_NOT_FOUND = 7,
    /// Another node owns the sensor; the message names it.
    SENZA_NOT_OWNER = 8,
    /// Another node took the sensor over a moment ago; the message says when it can be taken back.
    SENZA_HELD_OFF = 9,
    /// The sensor was unregistered since, or another node took it over.
    SENZA_UNREGISTERED = 10,
    /// A bound was reached; the message names it.
    SENZA_FULL = 11,
    /// Nothing came in time.
    SENZA_TIMEOUT = 12,
    /// Another thread is in a call that only one may make at a time for the same thing.
    SENZA_BUSY = 13,
    /// Some points of a batch were refused; all others were put.
    SENZA_REFUSED = 14,
    /// A node could not start: a port or a name is taken.
    SENZA_START = 15,
    /// A bug in senza. What the call did is not known; locks were given back, and the node goes on.
    SENZA_PANIC = 16,
}

/// Why a call is refused.
#[derive(Debug)]
pub(crate) struct Fail {
    code: senza_code,
    message: Cow<'static, str>,
}

pub(crate) type Outcome<T> = Result<T, Fail>;

/// Longest message that is kept, in bytes.
const MESSAGE_MAX: usize = 1023;

thread_local! {
    /// Ends with a NUL.
    static LAST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A failure.
pub(crate) fn refuse(code: senza_code, message: impl Into<Cow<'static, str>>) -> Fail {
    Fail { code, message: message.into() }
}

impl Fail {
    /// Its code.
    #[cfg(test)]
    pub(crate) fn code(&self) -> senza_code {
        self.code
    }

    /// The same, of an entry of a list.
    pub(crate) fn within(self, what: &str, at: usize) -> Self {
        Self { message: format!("{what} {at}: {}", self.message).into(), ..self }
    }

    /// Keeps the message as this thread's last.
    pub(crate) fn remember(self) -> senza_code {
        // A thread that is ending keeps no message.
        let _kept = LAST.try_with(|last| {
            let mut last = last.borrow_mut();
            last.clear();
            let mut end = self.message.len().min(MESSAGE_MAX);
            while !self.message.is_char_boundary(end) {
                end -= 1;
            }
            // Ids may hold a NUL, which would end the message.
            last.extend(self.message.bytes().take(end).map(|byte| if byte == 0 { b' ' } else { byte }));
            last.push(0);
        });
        self.code
    }
}

/// The code that an error of the engine is.
pub(crate) fn code_of(error: &Error) -> senza_code {
    match error {
        Error::Id { .. } | Error::ValueTooLarge { .. } => senza_code::SENZA_LENGTH,
        Error::NodeName { .. }
        | Error::Key { .. }
        | Error::Pattern { .. }
        | Error::Wire { .. }
        | Error::Contract { .. } => senza_code::SENZA_ARGUMENT,
        Error::Unregistered => senza_code::SENZA_UNREGISTERED,
        Error::NotFound { .. } => senza_code::SENZA_NOT_FOUND,
        Error::NotOwner { .. } => senza_code::SENZA_NOT_OWNER,
        Error::HeldOff { .. } => senza_code::SENZA_HELD_OFF,
        Error::Full { .. } => senza_code::SENZA_FULL,
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        refuse(code_of(&error), error.to_string())
    }
}

impl From<OpenError> for Fail {
    fn from(error: OpenError) -> Self {
        refuse(senza_code::SENZA_START, error.to_string())
    }
}

/// What the last call of this thread that did not answer SENZA_OK was about: names the thing and the rule. Never NULL;
/// an empty text before the first one. Ends with a NUL, at most 1,023 bytes before it.
///
/// Valid until the next call of this thread that does not answer SENZA_OK. Thread-safe: every thread has its own.
#[unsafe(no_mangle)]
pub extern "C" fn senza_last_error() -> *const c_char {
    let kept = LAST.try_with(|last| {
        let last = last.borrow();
        (!last.is_empty()).then(|| last.as_ptr().cast())
    });
    kept.ok().flatten().unwrap_or(c"".as_ptr())
}

/// The name of a code, "SENZA_OK" and so on; "unknown code" for any other number. Never NULL, valid for ever.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_code_name(code: i32) -> *const c_char {
    let name = match code {
        0 => c"SENZA_OK",
        1 => c"SENZA_NULL",
        2 => c"SENZA_HANDLE",
        3 => c"SENZA_CLOSED",
        4 => c"SENZA_UTF8",
        5 => c"SENZA_LENGTH",
        6 => c"SENZA_ARGUMENT",
        7 => c"SENZA_NOT_FOUND",
        8 => c"SENZA_NOT_OWNER",
        9 => c"SENZA_HELD_OFF",
        10 => c"SENZA_UNREGISTERED",
        11 => c"SENZA_FULL",
        12 => c"SENZA_TIMEOUT",
        13 => c"SENZA_BUSY",
        14 => c"SENZA_REFUSED",
        15 => c"SENZA_START",
        16 => c"SENZA_PANIC",
        _ => c"unknown code",
    };
    name.as_ptr()
}

/// The version of the library, as "0.1.0". Never NULL, valid for ever. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

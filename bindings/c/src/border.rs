//! The border: where a call comes in, and where its pointers are followed. No panic crosses it, and nothing is read
//! before its length was held to its bound. Knows no node.
//!
//! What cannot be told is a pointer that is neither NULL nor good; the header says what each must be.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::thread::LocalKey;

use crate::error::{Fail, Outcome, refuse, senza_code};
use crate::text::senza_str;

/// Runs one call: its failure becomes a code and this thread's last error, a panic too.
pub(crate) fn enter(call: impl FnOnce() -> Outcome<()>) -> senza_code {
    let outcome = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return senza_code::SENZA_OK,
        Ok(Err(fail)) => fail,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            refuse(senza_code::SENZA_PANIC, format!("a bug in senza, please report it: panicked: {text}"))
        }
    };
    outcome.remember()
}

/// Takes what a thread keeps from one call to the next; nothing where the thread is ending and gave that up.
#[inline]
pub(crate) fn take<T: Default>(kept: &'static LocalKey<Cell<T>>) -> T {
    kept.try_with(Cell::take).unwrap_or_default()
}

/// Keeps it for the thread's next call, unless the thread is ending.
#[inline]
pub(crate) fn keep<T>(kept: &'static LocalKey<Cell<T>>, what: T) {
    let _kept = kept.try_with(|kept| kept.set(what));
}

fn check_pointer<T>(pointer: *const T, what: &'static str) -> Outcome<()> {
    if pointer.is_null() {
        return Err(refuse(senza_code::SENZA_NULL, format!("{what} must not be NULL")));
    }
    if !pointer.is_aligned() {
        let rule = format!("{what} must be aligned to {} bytes", align_of::<T>());
        return Err(refuse(senza_code::SENZA_NULL, rule));
    }
    Ok(())
}

/// What a pointer that must not be NULL points to.
///
/// # Safety
/// It is NULL, misaligned, or points to a `T` that stays as it is while the answer is in use; every bit pattern of a
/// `T` is one.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, what: &'static str) -> Outcome<&'a T> {
    check_pointer(pointer, what)?;
    // SAFETY: neither NULL nor misaligned; the caller promises the rest.
    Ok(unsafe { &*pointer })
}

/// The same, where NULL has a meaning.
///
/// # Safety
/// As [`given`].
pub(crate) unsafe fn given_or_null<'a, T>(pointer: *const T, what: &'static str) -> Outcome<Option<&'a T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    unsafe { given(pointer, what) }.map(Some)
}

/// What a pointer points to that is read and written.
///
/// # Safety
/// As [`given`], and nothing else reads or writes it meanwhile.
pub(crate) unsafe fn kept<'a, T>(pointer: *mut T, what: &'static str) -> Outcome<&'a mut T> {
    check_pointer(pointer, what)?;
    // SAFETY: neither NULL nor misaligned; the caller promises the rest.
    Ok(unsafe { &mut *pointer })
}

/// A list of at most `max`; NULL is a list of none.
///
/// # Safety
/// `pointer` is NULL, misaligned, or points to `count` of `T`, which stay as they are while the answer is in use; every
/// bit pattern of a `T` is one.
pub(crate) unsafe fn list<'a, T>(pointer: *const T, count: usize, max: usize, what: &'static str) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check_count(count, max, what)?;
    check_pointer(pointer, what)?;
    // SAFETY: neither NULL nor misaligned, and short; the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// The same, to be written; `None` for NULL.
///
/// # Safety
/// As [`list`], and nothing else reads or writes it meanwhile.
pub(crate) unsafe fn list_to_write<'a, T>(
    pointer: *mut T,
    count: usize,
    max: usize,
    what: &'static str,
) -> Outcome<Option<&'a mut [T]>> {
    if pointer.is_null() || count == 0 {
        return Ok(None);
    }
    check_count(count, max, what)?;
    check_pointer(pointer, what)?;
    // SAFETY: neither NULL nor misaligned, and short; the caller promises the rest.
    Ok(Some(unsafe { std::slice::from_raw_parts_mut(pointer, count) }))
}

/// Holds a count to its bound.
pub(crate) fn check_count(count: usize, max: usize, what: &'static str) -> Outcome<()> {
    if count > max {
        return Err(refuse(senza_code::SENZA_LENGTH, format!("{what}: {count} entries, at most {max} are allowed")));
    }
    Ok(())
}

/// A text of at most `max` bytes.
///
/// # Safety
/// As [`list`], for its bytes.
#[inline]
pub(crate) unsafe fn text<'a>(text: senza_str, max: usize, what: &'static str) -> Outcome<&'a str> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { bytes(text, max, what) }?;
    if is_ascii(bytes) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|error| not_utf8(what, error))
}

/// A text that [`text`] has checked before.
///
/// # Safety
/// [`text`] accepted it, and it is as it was.
#[inline]
pub(crate) unsafe fn checked_text<'a>(text: senza_str) -> &'a str {
    if text.length == 0 {
        return "";
    }
    // SAFETY: neither NULL nor longer than its bound, as it was checked.
    let bytes = unsafe { std::slice::from_raw_parts(text.data.cast(), text.length) };
    // SAFETY: it was checked.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

/// For ids: eight bytes at a time without a look at where they lie, which costs short texts more than the bytes.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    let all = match bytes.last_chunk::<8>() {
        Some(last) => all | u64::from_ne_bytes(*last),
        None => rest.iter().fold(all, |all, byte| all | u64::from(*byte)),
    };
    all & 0x8080_8080_8080_8080 == 0
}

#[cold]
fn not_utf8(what: &'static str, error: std::str::Utf8Error) -> Fail {
    refuse(senza_code::SENZA_UTF8, format!("{what} must be UTF-8: {error}"))
}

/// At most `max` bytes. NULL without a length is empty; NULL with one is refused.
///
/// # Safety
/// As [`list`], for its bytes.
#[inline]
pub(crate) unsafe fn bytes<'a>(text: senza_str, max: usize, what: &'static str) -> Outcome<&'a [u8]> {
    if text.length > max {
        let rule = format!("{what} must have at most {max} bytes, this one has {}", text.length);
        return Err(refuse(senza_code::SENZA_LENGTH, rule));
    }
    if text.data.is_null() {
        if text.length > 0 {
            return Err(refuse(senza_code::SENZA_NULL, format!("{what}: NULL with a length of {}", text.length)));
        }
        return Ok(&[]);
    }
    // SAFETY: not NULL, and no longer than its bound; the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(text.data.cast(), text.length) })
}

/// Where an answer goes.
pub(crate) struct Out<T>(Option<NonNull<T>>);

/// Where an answer goes that must have a place.
///
/// # Safety
/// `pointer` is NULL, misaligned, or points to memory for a `T` that nothing else reads or writes until the call ends.
pub(crate) unsafe fn out<T>(pointer: *mut T, what: &'static str) -> Outcome<Out<T>> {
    check_pointer(pointer, what)?;
    Ok(Out(NonNull::new(pointer)))
}

/// Where an answer goes that may be left out by NULL.
///
/// # Safety
/// As [`out`].
pub(crate) unsafe fn out_or_null<T>(pointer: *mut T, what: &'static str) -> Outcome<Out<T>> {
    if pointer.is_null() {
        return Ok(Out(None));
    }
    // SAFETY: as the caller promises.
    unsafe { out(pointer, what) }
}

impl<T: Copy> Out<T> {
    /// Answers.
    pub(crate) fn set(&self, answer: T) {
        if let Some(place) = self.0 {
            // SAFETY: whoever made this promised that the memory is good for a `T`, and it is aligned.
            unsafe { place.write(answer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::senza_last_error;

    fn last_error() -> String {
        // SAFETY: the answer is a text that ends with a NUL.
        unsafe { std::ffi::CStr::from_ptr(senza_last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_is_a_code_and_names_itself() {
        assert_eq!(enter(|| panic!("the {} broke", "table")), senza_code::SENZA_PANIC);
        assert!(last_error().contains("the table broke"), "{}", last_error());
        assert_eq!(enter(|| std::panic::panic_any(7)), senza_code::SENZA_PANIC);
        assert_eq!(enter(|| Ok(())), senza_code::SENZA_OK);
        assert!(last_error().contains("no message"), "a success leaves the last error as it is");
    }

    #[test]
    fn lengths_are_looked_at_before_what_they_are_of() {
        let wild = senza_str { data: std::ptr::without_provenance(8), length: usize::MAX };
        // SAFETY: the pointer is never followed, as the length is beyond its bound.
        let refused = unsafe { text(wild, 256, "sensor id") }.unwrap_err();
        assert_eq!(refused.code(), senza_code::SENZA_LENGTH);
        let null = senza_str { data: std::ptr::null(), length: 3 };
        // SAFETY: NULL.
        let refused = unsafe { text(null, 256, "sensor id") }.unwrap_err();
        assert_eq!(refused.code(), senza_code::SENZA_NULL);
        // SAFETY: the pointer is never followed, as it is misaligned.
        let refused = unsafe { given::<u64>(std::ptr::without_provenance(9), "number") }.unwrap_err();
        assert_eq!(refused.code(), senza_code::SENZA_NULL);
    }
}

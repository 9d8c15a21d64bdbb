//! Text that lies in its value while it is short, and is shared when it is not. Knows no ids.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Most bytes that lie in the value: what makes it 32 bytes.
const SHORT_MAX: usize = 30;

/// See the file's header. Compares, orders and hashes as the `str` that it is.
#[derive(Clone)]
pub(super) enum Text {
    /// Its length, and its bytes with zeros behind them.
    Short(u8, [u8; SHORT_MAX]),
    Long(Arc<str>),
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() > SHORT_MAX {
            return Text::Long(text.into());
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Text::Short(text.len() as u8, bytes)
    }
}

impl Text {
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Short(length, bytes) => &bytes[..usize::from(*length).min(SHORT_MAX)],
            Text::Long(text) => text.as_bytes(),
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            // Only whole texts are copied in; seeing that again costs some ten nanoseconds.
            Text::Short(..) => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Long(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        str::hash(self, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::FixedState;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    proptest! {
        #[test]
        fn is_the_text_it_was_made_of(a in ".{0,12}|[ -~]{26,34}", b in ".{0,12}|[ab]{0,2}") {
            let (text_a, text_b) = (Text::from(a.as_str()), Text::from(b.as_str()));
            let hasher = FixedState::default();
            prop_assert_eq!(&*text_a.clone(), a.as_str());
            prop_assert_eq!(hasher.hash_one(&text_a), hasher.hash_one(a.as_str()));
            prop_assert_eq!(text_a.cmp(&text_b), a.cmp(&b));
            prop_assert_eq!(text_a == text_b, a == b);
            prop_assert!(text_a == text_a.clone());
        }
    }

    #[test]
    fn is_no_larger_than_its_short_form() {
        assert_eq!(size_of::<Text>(), 32);
    }
}

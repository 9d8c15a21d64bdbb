//! A sensor's id and hash beside its slot, so that a put by id finds out whether it has the right sensor without a walk
//! to its description.

/// Longest id that lies in it: what makes it half a line of the cache.
const TEXT_MAX: usize = 27;
/// The length of an id that does not.
const LONGER: u8 = u8::MAX;

/// See the file's header. Of a longer id the hash alone.
#[derive(Debug, Default)]
#[repr(align(32))]
pub(super) struct Name {
    hash: u32,
    length: u8,
    text: [u8; TEXT_MAX],
}

impl Name {
    /// Makes it that id's. In place: a name is written once, and a copy of it would be half of the work.
    pub(super) fn set(&mut self, hash: u32, id: &[u8]) {
        (self.hash, self.length) = (hash, LONGER);
        if let Some(text) = self.text.get_mut(..id.len()) {
            text.copy_from_slice(id);
            self.length = id.len() as u8;
        }
    }

    /// The bits of the hash that the index goes by.
    #[inline]
    pub(super) fn hash(&self) -> u32 {
        self.hash
    }

    /// Whether it is that id's; `None` where the id is too long to lie here.
    #[inline]
    pub(super) fn is(&self, id: &[u8]) -> Option<bool> {
        let text = self.text.get(..usize::from(self.length))?;
        Some(text == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ids_apart_where_they_fit() {
        let id = |length: usize| "x".repeat(length).into_bytes();
        let mut name = Name::default();
        assert_eq!(size_of::<Name>(), 32);
        for length in 1..=TEXT_MAX {
            name.set(7, &id(length));
            assert_eq!((name.hash(), name.is(&id(length))), (7, Some(true)));
            assert_eq!((name.is(&id(length + 1)), name.is(&id(length - 1))), (Some(false), Some(false)));
        }
        name.set(8, &id(TEXT_MAX + 1));
        assert_eq!((name.hash(), name.is(&id(1))), (8, None));
    }
}

//! A sensor's id and hash beside its slot, so that a put by id finds out whether it has the right sensor without a walk
//! to its description.

/// Longest id that lies in it: what makes it half a line of the cache.
const TEXT_MAX: usize = 27;
/// The length of an id that does not.
const LONGER: u8 = u8::MAX;

/// See the file's header. Of a longer id the hash alone.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub(super) struct Name {
    hash: u32,
    length: u8,
    text: [u8; TEXT_MAX],
}

impl Name {
    pub(super) fn new(hash: u32, id: &[u8]) -> Self {
        let mut name = Self { hash, length: LONGER, text: [0; TEXT_MAX] };
        if let Some(text) = name.text.get_mut(..id.len()) {
            text.copy_from_slice(id);
            name.length = id.len() as u8;
        }
        name
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
        assert_eq!(size_of::<Name>(), 32);
        for length in 1..=TEXT_MAX {
            let name = Name::new(7, &id(length));
            assert_eq!((name.hash(), name.is(&id(length))), (7, Some(true)));
            assert_eq!((name.is(&id(length + 1)), name.is(&id(length - 1))), (Some(false), Some(false)));
        }
        assert_eq!(Name::new(7, &id(TEXT_MAX + 1)).is(&id(1)), None);
    }
}

//! Which slot a sensor's hash leads to: open addressing over words of 32 bits, so that a look-up reads one line.
//!
//! ```text
//! entry   bits of the hash above those of the place | slot + 1;  0: nothing;  linear probing
//! ```
//!
//! An index of 2^k places needs k bits for a slot, and its place is k bits of the hash: the entry holds the 32 − k
//! others, so that all 32 stand against a wrong candidate. What is not here is mostly told without looking at a text,
//! and growing asks for hashes, which lie by slot. Knows no ids.

/// Places of the first index.
const PLACES_FIRST: usize = 16;

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none.
    entries: Vec<u32>,
    length: usize,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The first slot of that hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.entries.len().wrapping_sub(1);
        let others = hash & !(mask as u32);
        let mut place = hash as usize & mask;
        while let Some(entry) = self.entries.get(place).copied().filter(|entry| *entry != 0) {
            let slot = (entry ^ others).wrapping_sub(1);
            if (slot as usize) < mask && is_it(slot) {
                return Some(slot);
            }
            place = (place + 1) & mask;
        }
        None
    }

    /// Loads the line that a look-up of that hash begins with.
    #[inline]
    pub(super) fn peek(&self, hash: u32) -> u32 {
        self.entries.get(hash as usize & self.entries.len().wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Adds a slot that is not there yet; no slot of as many or more than were ever there at a time. `others` are all
    /// that are there: they are asked for when the index grows.
    pub(super) fn insert(&mut self, slot: u32, hashes: impl Fn(u32) -> u32, others: impl Iterator<Item = u32>) {
        // A little less than full: three entries are read on the way to one that is there.
        if (self.length + 1) * 5 > self.entries.len() * 4 {
            let places = (self.entries.len() * 2).max(PLACES_FIRST);
            self.entries = vec![0; places];
            others.for_each(|other| self.place(other, hashes(other)));
        }
        self.place(slot, hashes(slot));
        self.length += 1;
    }

    fn place(&mut self, slot: u32, hash: u32) {
        let mask = self.entries.len() - 1;
        let mut place = hash as usize & mask;
        while self.entries[place] != 0 {
            place = (place + 1) & mask;
        }
        self.entries[place] = (hash & !(mask as u32)) | (slot + 1);
    }

    /// Takes a slot out, if it is there. What lies behind it moves up, so that nothing is left in the way.
    pub(super) fn remove(&mut self, slot: u32, hashes: impl Fn(u32) -> u32) {
        let mask = self.entries.len().wrapping_sub(1);
        let slot_of = |entry: u32| (entry & mask as u32).wrapping_sub(1);
        let mut hole = hashes(slot) as usize & mask;
        while self.entries.get(hole).is_some_and(|entry| *entry != 0 && slot_of(*entry) != slot) {
            hole = (hole + 1) & mask;
        }
        if self.entries.get(hole).is_none_or(|entry| *entry == 0) {
            return;
        }
        self.length -= 1;
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = self.entries[place];
            if entry == 0 {
                break;
            }
            // It may move where its own place is not between the hole and where it is.
            let way = place.wrapping_sub(hashes(slot_of(entry)) as usize) & mask;
            if way >= place.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = place;
            }
        }
        self.entries[hole] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few hashes, so that they collide in their places, in their other bits, and in both.
        #[test]
        fn finds_what_was_added_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), any::<usize>(), 0u32..6, 0u32..4), 1..400),
        ) {
            let (mut index, mut hashes) = (Index::default(), Vec::<u32>::new());
            let (mut used, mut free) = (Vec::<u32>::new(), Vec::new());
            for (adds, which, low, high) in steps {
                if adds || used.is_empty() {
                    let slot = free.pop().unwrap_or(hashes.len() as u32);
                    hashes.resize(hashes.len().max(slot as usize + 1), 0);
                    hashes[slot as usize] = (high << 30) | (low * 7);
                    index.insert(slot, |slot| hashes[slot as usize], used.iter().copied());
                    used.push(slot);
                } else {
                    let slot = used.swap_remove(which % used.len());
                    index.remove(slot, |slot| hashes[slot as usize]);
                    free.push(slot);
                }
                prop_assert_eq!(index.len(), used.len());
                for slot in 0..hashes.len() as u32 {
                    let found = index.find(hashes[slot as usize], |candidate| candidate == slot);
                    prop_assert_eq!(found.is_some(), used.contains(&slot));
                }
            }
        }
    }
}

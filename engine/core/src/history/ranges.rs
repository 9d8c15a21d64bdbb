//! Which ranges of an array are in use: a buddy allocator of index ranges.
//!
//! A range has 2^order elements and starts at a multiple of its length. Freed neighbours merge again, so that the
//! short ranges which many growing owners leave behind become their longer ones. Knows nothing of the array.

use std::collections::BTreeSet;

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// Starts of free ranges, by order.
    free: Vec<BTreeSet<u32>>,
    /// Elements below this were given out at least once; the array must have that length.
    end: u32,
}

impl Ranges {
    /// The start of a range of 2^order elements, as low as there is. O(log n); allocates when freed ranges are split.
    pub(crate) fn take(&mut self, order: u32) -> u32 {
        let fitting = (order..self.free.len() as u32).find(|at| !self.free[*at as usize].is_empty());
        let Some(mut found) = fitting else { return self.extend(order) };
        let start = self.free[found as usize].pop_first().expect("a range was found there");
        while found > order {
            found -= 1;
            self.put(start + (1 << found), found);
        }
        start
    }

    /// Gives a range back, which [`take`](Self::take) answered for that order. O(log n).
    pub(crate) fn give(&mut self, mut start: u32, mut order: u32) {
        while self.free.get_mut(order as usize).is_some_and(|free| free.remove(&(start ^ (1 << order)))) {
            start &= !(1 << order);
            order += 1;
        }
        self.put(start, order);
    }

    /// The length that the array must have.
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    fn put(&mut self, start: u32, order: u32) {
        let orders = self.free.len().max(order as usize + 1);
        self.free.resize_with(orders, BTreeSet::new);
        self.free[order as usize].insert(start);
    }

    fn extend(&mut self, order: u32) -> u32 {
        // What lies between the end and the next multiple of the length stays free for shorter ranges.
        while !self.end.is_multiple_of(1 << order) {
            let padding = self.end.trailing_zeros();
            let start = self.end;
            self.end += 1 << padding;
            self.give(start, padding);
        }
        let start = self.end;
        self.end = start.checked_add(1 << order).expect("2^32 lines of 64 bytes are more than a shard can hold");
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_in_use_never_overlap_and_freed_ones_merge(steps in prop::collection::vec((0u32..5, any::<bool>()), 1..200)) {
            let mut ranges = Ranges::default();
            let mut used: Vec<(u32, u32)> = Vec::new();
            for (order, takes) in steps {
                if takes || used.is_empty() {
                    let start = ranges.take(order);
                    let end = start + (1 << order);
                    prop_assert!(start % (1 << order) == 0 && end as usize <= ranges.end());
                    prop_assert!(used.iter().all(|(other, length)| end <= *other || other + (1 << length) <= start));
                    used.push((start, order));
                } else {
                    let (start, order) = used.swap_remove(order as usize % used.len());
                    ranges.give(start, order);
                }
            }
            used.drain(..).for_each(|(start, order)| ranges.give(start, order));
            let free: u32 = (0..).zip(&ranges.free).map(|(order, starts)| (starts.len() as u32) << order).sum();
            prop_assert_eq!(free as usize, ranges.end());
            let pieces: usize = ranges.free.iter().map(BTreeSet::len).sum();
            prop_assert_eq!(pieces as u32, ranges.end.count_ones(), "all that can merge has merged");
        }
    }
}

//! Readings sorted by shard: a counting sort, on the stack.

/// Points that are sorted together: with 64 shards some for each.
pub(super) const BLOCK: usize = 1024;
/// Buckets of the sort; of more shards, several share one.
const BUCKETS: usize = 256;

/// Writes at most [`BLOCK`] things to the begin of `sorted`, those of one shard together and in the order they came in.
#[inline]
pub(super) fn sort_by_shard<T>(all: impl Iterator<Item = T> + Clone, sorted: &mut [T], shard: impl Fn(&T) -> usize) {
    let mut ends = [0u16; BUCKETS];
    all.clone().for_each(|thing| ends[shard(&thing) % BUCKETS] += 1);
    let mut sum = 0;
    ends.iter_mut().for_each(|end| (*end, sum) = (sum, sum + *end));
    for thing in all {
        let end = &mut ends[shard(&thing) % BUCKETS];
        sorted[usize::from(*end)] = thing;
        *end += 1;
    }
}

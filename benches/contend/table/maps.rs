//! The rivals of the table: concurrent maps from an id to a value, each as its experts would use it.
//!
//! All hash with the same function as senza, foldhash, here in its faster form, and all have the same keys: ids of up
//! to 24 bytes, as all are here, lie in the key itself, which is a third faster than boxed text. Longer ones would
//! not.

use std::collections::HashMap;
use std::hint::black_box;

use dashmap::DashMap;
pub(crate) use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use super::stream::Stream;
use super::{Hand, Store, Work};

/// An id as a key.
pub(crate) type Key = compact_str::CompactString;
/// A value and its time.
pub(crate) type Latest = (f64, i64);

/// DashMap: shards, each under a lock.
pub(crate) type Dash<V> = DashMap<Key, V, RandomState>;
/// papaya: read without locks. Its values do not change in place, so that each has a small lock of its own; a new entry
/// per put would cost an allocation.
pub(crate) type Papaya<V> = papaya::HashMap<Key, Mutex<V>, RandomState>;
/// scc: a lock per bucket.
pub(crate) type Scc<V> = scc::HashMap<Key, V, RandomState>;
/// The standard library's map, for under one lock.
pub(crate) type Plain<V> = HashMap<Key, V, RandomState>;

pub(super) const DASHMAP: &str = "64 shards as senza, CompactString keys, foldhash (fast); get_mut";
pub(super) const PAPAYA: &str =
    "CompactString keys, foldhash (fast), a parking_lot::Mutex per value; pinned once per call, a batch being one";
pub(super) const SCC: &str = "CompactString keys, foldhash (fast); update_sync, read_sync";
pub(super) const RWLOCK: &str =
    "parking_lot::RwLock<HashMap>, CompactString keys, foldhash (fast); locked once per call, a batch being one";

/// A concurrent map from ids.
pub(crate) trait Map<V: Send>: Sync + Send {
    /// One without entries.
    fn empty() -> Self;
    /// Adds an entry.
    fn insert(&self, id: &str, value: V);
    /// Changes the value of an entry; answers whether there is one.
    fn update(&self, id: &str, change: impl FnOnce(&mut V)) -> bool;
    /// Changes many in one call, each to what comes with its id; answers how many there are.
    fn update_many<'a, N>(&self, news: impl Iterator<Item = (&'a str, N)>, mut change: impl FnMut(&mut V, N)) -> usize {
        news.filter_map(|(id, new)| self.update(id, |value| change(value, new)).then_some(())).count()
    }
    /// Looks at the value of an entry.
    fn read<R>(&self, id: &str, look: impl FnOnce(&V) -> R) -> Option<R>;
}

impl<V: Send + Sync> Map<V> for Dash<V> {
    fn empty() -> Self {
        Self::with_hasher_and_shard_amount(RandomState::default(), 64)
    }

    fn insert(&self, id: &str, value: V) {
        self.insert(id.into(), value);
    }

    #[inline]
    fn update(&self, id: &str, change: impl FnOnce(&mut V)) -> bool {
        self.get_mut(id).map(|mut value| change(&mut value)).is_some()
    }

    #[inline]
    fn read<R>(&self, id: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.get(id).map(|value| look(&value))
    }
}

impl<V: Send> Map<V> for Papaya<V> {
    fn empty() -> Self {
        Self::default()
    }

    fn insert(&self, id: &str, value: V) {
        self.pin().insert(id.into(), Mutex::new(value));
    }

    #[inline]
    fn update(&self, id: &str, change: impl FnOnce(&mut V)) -> bool {
        self.pin().get(id).map(|value| change(&mut value.lock())).is_some()
    }

    #[inline]
    fn update_many<'a, N>(&self, news: impl Iterator<Item = (&'a str, N)>, mut change: impl FnMut(&mut V, N)) -> usize {
        let pinned = self.pin();
        news.filter_map(|(id, new)| pinned.get(id).map(|value| change(&mut value.lock(), new))).count()
    }

    #[inline]
    fn read<R>(&self, id: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.pin().get(id).map(|value| look(&value.lock()))
    }
}

impl<V: Send + Sync> Map<V> for Scc<V> {
    fn empty() -> Self {
        Self::default()
    }

    fn insert(&self, id: &str, value: V) {
        let is_new = self.insert_sync(id.into(), value).is_ok();
        assert!(is_new, "{id} came twice");
    }

    #[inline]
    fn update(&self, id: &str, change: impl FnOnce(&mut V)) -> bool {
        self.update_sync(id, |_, value| change(value)).is_some()
    }

    #[inline]
    fn read<R>(&self, id: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.read_sync(id, |_, value| look(value))
    }
}

impl<V: Send + Sync> Map<V> for RwLock<Plain<V>> {
    fn empty() -> Self {
        Self::default()
    }

    fn insert(&self, id: &str, value: V) {
        self.write().insert(id.into(), value);
    }

    #[inline]
    fn update(&self, id: &str, change: impl FnOnce(&mut V)) -> bool {
        self.write().get_mut(id).map(change).is_some()
    }

    #[inline]
    fn update_many<'a, N>(&self, news: impl Iterator<Item = (&'a str, N)>, mut change: impl FnMut(&mut V, N)) -> usize {
        let mut map = self.write();
        news.filter_map(|(id, new)| map.get_mut(id).map(|value| change(value, new))).count()
    }

    #[inline]
    fn read<R>(&self, id: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.read().get(id).map(look)
    }
}

/// A map as a contender.
pub(super) struct Maps<M>(pub(super) M);

impl<M: Map<Latest>> Store for Maps<M> {
    fn hand<'a>(&'a self, work: &Work, stream: &'a Stream) -> Box<dyn Hand + 'a> {
        Box::new(MapHand { map: &self.0, stream, ids: stream.ids(), is_single: work.batch.is_none() })
    }

    fn shards(&self) -> Option<&[u32]> {
        None
    }

    fn taken(&self) -> Option<u64> {
        None
    }

    fn latest(&self, id: &str) -> Option<f64> {
        self.0.read(id, |(value, _)| *value)
    }
}

struct MapHand<'a, M> {
    map: &'a M,
    stream: &'a Stream,
    ids: Vec<&'a str>,
    is_single: bool,
}

impl<M: Map<Latest>> Hand for MapHand<'_, M> {
    fn put(&mut self, from: usize, to: usize, now: i64) -> usize {
        let Self { map, stream, ids, is_single } = self;
        let news = (from..to).zip(&ids[from..to]).map(|(place, id)| (*id, stream.value(place)));
        if *is_single {
            news.filter(|(id, value)| map.update(id, |latest| *latest = (*value, now))).count()
        } else {
            map.update_many(news, |latest, value| *latest = (value, now))
        }
    }

    fn get(&mut self, from: usize, to: usize) -> usize {
        self.ids[from..to].iter().filter(|id| black_box(self.map.read(id, |latest| *latest)).is_some()).count()
    }
}

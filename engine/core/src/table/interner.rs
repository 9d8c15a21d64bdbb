//! One copy of what many sensors have in common.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;

/// Values that are equal share one. What nobody holds any more is dropped when as many again have come.
#[derive(Debug)]
pub(super) struct Interner<T> {
    shared: HashTable<Arc<T>>,
    /// Sweeps at this many.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 64;

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { shared: HashTable::new(), sweep_at: SWEEP_MIN }
    }
}

impl<T: Hash + Eq> Interner<T> {
    /// The shared copy of `key`; allocates where there is none yet.
    pub(super) fn get<K: Hash + Eq + ?Sized>(
        &mut self,
        key: &K,
        hasher: &SeedableRandomState,
        make: impl FnOnce() -> T,
    ) -> Arc<T>
    where
        T: Borrow<K>,
    {
        let hash = hasher.hash_one(key);
        if let Some(shared) = self.shared.find(hash, |candidate| (**candidate).borrow() == key) {
            return shared.clone();
        }
        if self.shared.len() >= self.sweep_at {
            self.shared.retain(|candidate| Arc::strong_count(candidate) > 1);
            self.sweep_at = (self.shared.len() * 2).max(SWEEP_MIN);
        }
        let made = Arc::new(make());
        self.shared.insert_unique(hash, made.clone(), |candidate| hasher.hash_one((**candidate).borrow()));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_one_and_what_nobody_holds_goes() {
        let hasher = SeedableRandomState::with_seed(7, foldhash::SharedSeed::global_random());
        let mut interner = Interner::<String>::default();
        let mut get = |text: &str| interner.get(text, &hasher, || text.to_owned());
        let held = get("held");
        for round in 0..10_000 {
            assert_eq!(*get(&round.to_string()), round.to_string());
        }
        assert!(Arc::ptr_eq(&held, &get("held")));
        assert!(interner.shared.len() <= 2 * SWEEP_MIN);
    }
}

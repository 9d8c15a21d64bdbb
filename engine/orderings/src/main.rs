//! A look-up beside a change of the claim that it looks for, in every execution that the memory model allows with a few
//! preemptions: `directory/store.rs` of senza-core as it stands, on loom's atomics.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use senza_core::{error, reading};

#[allow(dead_code, reason = "a part of it is looked at")]
#[path = "../../core/src/directory/store.rs"]
mod store;

/// What `store.rs` asks of the crate that it is part of.
mod sync {
    use std::ops::{Deref, DerefMut};

    pub(crate) use loom::sync::atomic;

    /// Few: each look again multiplies the executions.
    pub(crate) const LOOKS_MAX: usize = 2;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(self.0.lock().expect("a panic ends the execution"))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

use store::{Claim, Store};

const ID: (u64, &[u8]) = (0x0123_4567_89ab_cdef, b"ab");
const BEFORE: Claim = Claim { epoch: 10, life: 0, kind: 0 };
const AFTER: Claim = Claim { epoch: 11, life: 0, kind: 4 };
const ELSEWHERE: Claim = Claim { epoch: 12, life: 1, kind: 5 };

fn set(store: &Store<()>, claim: Claim) {
    store.set(&mut *store.lock(), ID, claim, |_| ID.0).expect("there is room");
}

fn renew(store: &Store<()>) {
    set(store, AFTER);
}

/// The next claim lies where the one before lay.
fn change_hands(store: &Store<()>) {
    store.unset(&mut *store.lock(), ID, BEFORE.life);
    set(store, ELSEWHERE);
}

fn look(store: &Store<()>) -> Vec<Claim> {
    store.read(|store| {
        let mut found = Vec::new();
        store.visit(ID.0, ID.1, |record| found.push(record.claim));
        found
    })
}

/// Runs a change beside a look-up, whose answer has to be one of those given.
fn check(name: &str, change: fn(&Store<()>), answers: &'static [&'static [Claim]]) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.max_branches = 50_000;
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let store = Arc::new(Store::new(()));
        set(&store, BEFORE);
        let looking = store.clone();
        let looker = loom::thread::spawn(move || {
            let found = look(&looking);
            assert!(answers.contains(&found.as_slice()), "half a change: {found:?}");
        });
        change(&store);
        looker.join().expect("it ran");
    });
    println!("{name}: holds in {} executions", executions.load(Ordering::Relaxed));
}

fn main() {
    check("a claim is renewed", renew, &[&[BEFORE], &[AFTER]]);
    check("a claim changes hands", change_hands, &[&[BEFORE], &[], &[ELSEWHERE]]);
}

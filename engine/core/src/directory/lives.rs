//! The lives that a directory knows, by number: which are up, and whose they are.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use super::{LIVES_MAX, ME};
use crate::error::{Error, Result};
use crate::reading::{Life, NodeName};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) struct Lives {
    /// By number; what look-ups read.
    up: Box<[AtomicBool]>,
    /// Number 0 is this node. Numbers of forgotten lives are used again. Who has a partition may wait for it, so that
    /// who has it waits for nothing.
    list: Mutex<Entries>,
    /// Guards changes of `list`; taken before a partition.
    change: Mutex<()>,
    /// Which version of which list it is: no two lists of this process ever have the same.
    version: AtomicU64,
}

type Entries = Arc<Vec<Arc<LifeEntry>>>;

/// The versions of all lists.
static VERSIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

thread_local! {
    /// The list that this thread read last. A look-up that finds its version there counts no reference and takes no lock:
    /// either would take longer than the look-up.
    static SEEN: Cell<Option<Seen>> = const { Cell::new(None) };
}

#[derive(Debug)]
pub(super) struct LifeEntry {
    pub(super) life: Life,
    forgotten: AtomicBool,
}

/// A list as it was when it was read.
struct Seen {
    version: u64,
    entries: Entries,
}

/// A list for a while; then it is the one that its thread read last.
pub(super) struct List(Option<Seen>);

impl Deref for List {
    type Target = [Arc<LifeEntry>];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |list| &list.entries)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let seen = self.0.take();
        // A thread that is ending keeps none.
        let _kept = SEEN.try_with(|kept| kept.set(seen));
    }
}

/// The life of that number in a list.
pub(super) fn of(list: &List, number: u16) -> Life {
    let gone = || Life { node: NodeName::from_host("gone"), incarnation: 0 };
    list.get(usize::from(number)).map_or_else(gone, |entry| entry.life.clone())
}

impl Lives {
    pub(super) fn new(me: Life) -> Self {
        let up: Box<[AtomicBool]> = (0..LIVES_MAX).map(|at| AtomicBool::new(at == usize::from(ME))).collect();
        let mine = LifeEntry { life: me, forgotten: AtomicBool::new(false) };
        let list = Mutex::new(Arc::new(vec![Arc::new(mine)]));
        Self { up, list, change: Mutex::new(()), version: AtomicU64::new(next_version()) }
    }

    /// All lives by number. One load where nothing changed since this thread last asked, else one lock.
    pub(super) fn list(&self) -> List {
        let seen = SEEN.try_with(Cell::take).ok().flatten();
        if seen.as_ref().is_some_and(|seen| seen.version == self.version.load(Ordering::Acquire)) {
            return List(seen);
        }
        let list = self.list.lock();
        List(Some(Seen { version: self.version.load(Ordering::Relaxed), entries: list.clone() }))
    }

    /// One load of a byte; false for a number that is none.
    pub(super) fn is_up(&self, number: u16) -> bool {
        self.up.get(usize::from(number)).is_some_and(|up| up.load(Ordering::Acquire))
    }

    pub(super) fn find(&self, life: &Life) -> Option<u16> {
        let list = self.list();
        let at = list.iter().position(|entry| entry.life == *life && !entry.forgotten.load(Ordering::Acquire))?;
        Some(at as u16)
    }

    /// Sets whether a life is up. Answers whether that changed.
    pub(super) fn set_up(&self, number: u16, up: bool) -> bool {
        self.up[usize::from(number)].swap(up, Ordering::AcqRel) != up
    }

    /// Gives a new life a number; `prepare` is called with it before anybody can see it.
    pub(super) fn add(&self, life: &Life, prepare: impl FnOnce(usize)) -> Result<()> {
        let _changing = self.change.lock();
        let mut list = self.list().to_vec();
        let free = list.iter().position(|entry| entry.life.incarnation == 0 && entry.forgotten.load(Ordering::Acquire));
        let at = free.unwrap_or(list.len());
        if at >= LIVES_MAX {
            return Err(Error::Full { what: "lives of nodes", max: LIVES_MAX });
        }
        prepare(at);
        let entry = Arc::new(LifeEntry { life: life.clone(), forgotten: AtomicBool::new(false) });
        match free {
            Some(at) => list[at] = entry,
            None => list.push(entry),
        }
        self.replace(list);
        self.set_up(at as u16, true);
        Ok(())
    }

    pub(super) fn forget(&self, number: u16) {
        self.set_up(number, false);
        if let Some(entry) = self.list().get(usize::from(number)) {
            entry.forgotten.store(true, Ordering::Release);
        }
    }

    /// Which numbers are of forgotten lives.
    pub(super) fn forgotten(&self) -> Vec<bool> {
        self.list().iter().map(|entry| entry.forgotten.load(Ordering::Acquire)).collect()
    }

    /// Frees the numbers of the given lives where they were forgotten.
    pub(super) fn reuse(&self, lives: &[Life]) {
        let _changing = self.change.lock();
        let mut list = self.list().to_vec();
        for entry in &mut list {
            if lives.contains(&entry.life) && entry.forgotten.load(Ordering::Acquire) {
                let life = Life { node: NodeName::from_host("free"), incarnation: 0 };
                *entry = Arc::new(LifeEntry { life, forgotten: AtomicBool::new(true) });
            }
        }
        self.replace(list);
    }

    fn replace(&self, list: Vec<Arc<LifeEntry>>) {
        let mut entries = self.list.lock();
        *entries = Arc::new(list);
        self.version.store(next_version(), Ordering::Release);
    }
}

fn next_version() -> u64 {
    VERSIONS.fetch_add(1, Ordering::Relaxed)
}

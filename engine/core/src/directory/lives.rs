//! The lives that a directory knows, by number: which are up, and whose they are.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{LIVES_MAX, ME};
use crate::error::{Error, Result};
use crate::reading::{Life, NodeName};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Lives {
    /// By number; what look-ups read.
    up: Box<[AtomicBool]>,
    /// Number 0 is this node. Numbers of forgotten lives are used again.
    list: ArcSwap<Vec<Arc<LifeEntry>>>,
    /// Guards changes of `list`.
    change: Mutex<()>,
}

#[derive(Debug)]
pub(super) struct LifeEntry {
    pub(super) life: Life,
    forgotten: AtomicBool,
}

pub(super) type List = Guard<Arc<Vec<Arc<LifeEntry>>>>;

/// The life of that number in a list.
pub(super) fn of(list: &List, number: u16) -> Life {
    let gone = || Life { node: NodeName::from_host("gone"), incarnation: 0 };
    list.get(usize::from(number)).map_or_else(gone, |entry| entry.life.clone())
}

impl Lives {
    pub(super) fn new(me: Life) -> Self {
        let up: Box<[AtomicBool]> = (0..LIVES_MAX).map(|at| AtomicBool::new(at == usize::from(ME))).collect();
        let mine = LifeEntry { life: me, forgotten: AtomicBool::new(false) };
        Self { up, list: ArcSwap::from_pointee(vec![Arc::new(mine)]), change: Mutex::new(()) }
    }

    /// All lives by number.
    pub(super) fn list(&self) -> List {
        self.list.load()
    }

    /// One load of a byte; false for a number that is none.
    pub(super) fn is_up(&self, number: u16) -> bool {
        self.up.get(usize::from(number)).is_some_and(|up| up.load(Ordering::Acquire))
    }

    pub(super) fn find(&self, life: &Life) -> Option<u16> {
        let list = self.list.load();
        let at = list.iter().position(|entry| entry.life == *life && !entry.forgotten.load(Ordering::Acquire))?;
        Some(at as u16)
    }

    /// Sets whether a life is up. Answers whether that changed.
    pub(super) fn set_up(&self, number: u16, up: bool) -> bool {
        self.up[usize::from(number)].swap(up, Ordering::AcqRel) != up
    }

    /// Gives a new life a number; `prepare` is called with it before anybody can see it.
    pub(super) fn add(&self, life: &Life, prepare: impl FnOnce(usize)) -> Result<()> {
        let _guard = self.change.lock();
        let mut list = Vec::clone(&self.list.load());
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
        self.list.store(Arc::new(list));
        self.set_up(at as u16, true);
        Ok(())
    }

    pub(super) fn forget(&self, number: u16) {
        self.set_up(number, false);
        if let Some(entry) = self.list.load().get(usize::from(number)) {
            entry.forgotten.store(true, Ordering::Release);
        }
    }

    /// Which numbers are of forgotten lives.
    pub(super) fn forgotten(&self) -> Vec<bool> {
        self.list.load().iter().map(|entry| entry.forgotten.load(Ordering::Acquire)).collect()
    }

    /// Frees the numbers of the given lives where they were forgotten.
    pub(super) fn reuse(&self, lives: &[Life]) {
        let _guard = self.change.lock();
        let mut list = Vec::clone(&self.list.load());
        for entry in &mut list {
            if lives.contains(&entry.life) && entry.forgotten.load(Ordering::Acquire) {
                let life = Life { node: NodeName::from_host("free"), incarnation: 0 };
                *entry = Arc::new(LifeEntry { life, forgotten: AtomicBool::new(true) });
            }
        }
        self.list.store(Arc::new(list));
    }
}

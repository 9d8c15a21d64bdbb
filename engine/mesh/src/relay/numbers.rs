//! What the numbers of a link stand for, in pages: a number from the wire costs one page at most, however large it is.

use senza_core::Seq;
use senza_core::frame::DICTIONARY_MAX;

/// Numbers of one page.
const PAGE: usize = 64;

/// What a number stands for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// The place of its series, and one; 0: nothing, or a series of an older claim than one heard on this link.
    pub(super) state: u32,
    /// Whether an entry told it in this generation.
    pub(super) told: bool,
    pub(super) base: Seq,
}

/// By the series' number on the link.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pages: Vec<Option<Box<[Slot; PAGE]>>>,
}

impl Numbers {
    pub(super) fn get(&self, number: u32) -> Slot {
        let (page, at) = (number as usize / PAGE, number as usize % PAGE);
        self.pages.get(page).and_then(Option::as_ref).map(|page| page[at]).unwrap_or_default()
    }

    pub(super) fn set(&mut self, number: u32, slot: Slot) {
        debug_assert!((number as usize) < DICTIONARY_MAX, "frames refuse larger numbers");
        let (page, at) = (number as usize / PAGE, number as usize % PAGE);
        if page >= self.pages.len() {
            self.pages.resize(page + 1, None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([Slot::default(); PAGE]))[at] = slot;
    }

    /// A new generation: nothing is told yet.
    pub(super) fn forget(&mut self) {
        self.pages.clear();
    }
}

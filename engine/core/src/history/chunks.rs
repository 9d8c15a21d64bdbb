//! A growing array of equal chunks: elements never move, and growing copies nothing.
//!
//! A `Vec` of large aligned elements copies itself whole each time it doubles, under its shard's lock, and holds up to
//! twice what it needs. This costs one more load per access, of a table that stays in the first-level cache.

use std::ops::{Index, IndexMut};

/// Elements of a chunk: 16 KiB of cache lines.
const CHUNK: usize = 256;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Default> Chunks<T> {
    /// Makes room for `length` elements, the new ones by default. Allocates whole chunks.
    pub(crate) fn grow(&mut self, length: usize) {
        while self.chunks.len() * CHUNK < length {
            let chunk: Box<[T]> = (0..CHUNK).map(|_| T::default()).collect();
            let Ok(chunk) = chunk.try_into() else { unreachable!("a chunk has {CHUNK} elements") };
            self.chunks.push(chunk);
        }
    }
}

impl<T> Chunks<T> {
    /// The element, where there is room for it.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK).map(|chunk| &chunk[at % CHUNK])
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

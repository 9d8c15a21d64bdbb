//! Many readings by id: sorted by shard, so that a shard's are taken under one lock and their misses overlap.

use super::shard::GROUP;
use super::sorting::{BLOCK, sort_by_shard};
use super::{Deliver, Table};
use crate::error::Error;
use crate::reading::{Micros, Value};

/// One reading to put by ids.
#[derive(Clone, Debug)]
pub struct NamedPoint<'a> {
    /// The sensor.
    pub sensor: &'a str,
    /// The attribute, made at its first use.
    pub attribute: &'a str,
    /// What was read.
    pub value: Value,
    /// When, as the device says.
    pub source_time: Micros,
}

/// Where a point of a block goes.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) hash: u32,
    shard: u16,
    /// The point's place in the block.
    pub(super) at: u16,
}

/// Few points need no large block made ready.
const BLOCK_SMALL: usize = 4 * GROUP;

impl<W: Default> Table<W> {
    /// Takes many readings by id and answers those that were refused, by their place in `points`, with the reason that
    /// [`put_by_id`](Self::put_by_id) gives. Each 1,024 points cost one lock per shard they go to; misses of memory
    /// overlap within those of one shard, so that this is the fastest way in for whoever has no handles. Order is kept
    /// per series, not between sensors. Allocates for what it refuses and for an attribute's first use.
    pub fn put_many_by_id(
        &self,
        points: &[NamedPoint<'_>],
        now: Micros,
        deliver: &mut impl Deliver<W>,
    ) -> Vec<(usize, Error)> {
        let mut refused = Vec::new();
        if points.len() <= BLOCK_SMALL {
            self.put_blocks::<BLOCK_SMALL>(points, now, deliver, &mut refused);
        } else {
            self.put_blocks::<BLOCK>(points, now, deliver, &mut refused);
        }
        refused.sort_unstable_by_key(|(at, _)| *at);
        refused
    }

    fn put_blocks<const SIZE: usize>(
        &self,
        points: &[NamedPoint<'_>],
        now: Micros,
        deliver: &mut impl Deliver<W>,
        refused: &mut Vec<(usize, Error)>,
    ) {
        let (mut places, mut sorted) = ([Place::default(); SIZE], [Place::default(); SIZE]);
        for (number, block) in points.chunks(SIZE).enumerate() {
            for ((at, point), place) in (0..).zip(block).zip(&mut places) {
                let (shard, hash) = self.place(point.sensor);
                *place = Place { hash, shard: shard as u16, at };
            }
            sort_by_shard(places[..block.len()].iter().copied(), &mut sorted, |place| place.shard.into());
            for run in sorted[..block.len()].chunk_by(|a, b| a.shard == b.shard) {
                let mut shard = self.shards[usize::from(run[0].shard)].lock();
                let refuse = |at: usize, error| refused.push((number * SIZE + at, error));
                shard.take_named(block, run, now, (&self.rules, &self.hasher), deliver, refuse);
            }
        }
    }
}

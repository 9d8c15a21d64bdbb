//! What heals settled: the sensors that two nodes had claimed, and whose they are now.

use senza::{HealReport, Settled};
use senza_core::directory::Owner;

/// The node that came and its life, whether it came back, when, how many sensors, and the first of them.
pub(crate) type RawHeal = (String, u64, bool, i64, u64, Vec<RawDuplicate>);
/// A sensor, the claim that won, and the one that lost.
pub(crate) type RawDuplicate = (String, RawClaim, RawClaim);
/// A claim's node, that one's life, and the claim's number.
type RawClaim = (String, u64, u64);

pub(crate) fn raw_heal(report: &HealReport) -> RawHeal {
    let HealReport { node, returned, at, duplicates, total } = report;
    let duplicates = duplicates.iter().map(raw_duplicate).collect();
    (node.node.to_string(), node.incarnation, *returned, *at, *total, duplicates)
}

fn raw_duplicate(Settled { sensor, winner, loser }: &Settled) -> RawDuplicate {
    (sensor.to_string(), raw_claim(winner), raw_claim(loser))
}

fn raw_claim(owner: &Owner) -> RawClaim {
    (owner.life.node.to_string(), owner.life.incarnation, owner.epoch)
}

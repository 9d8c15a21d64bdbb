//! The directory: look-ups among 10,000 sensors of another node, own claims, and what another node says of its own.

use std::collections::BTreeMap;
use std::hint::black_box;

use senza_core::codec::{ClaimOp, Delta};
use senza_core::directory::{Applied, Claimed, Directory};
use senza_core::hash::partition_of;
use senza_core::{Epoch, SensorId, SensorType};

use crate::{Case, OPERATIONS, id, ids, life, sensor};

/// Sensors that are looked among.
const KNOWN: usize = 10 * OPERATIONS;
const TYPE: &str = "imu";

/// What the node `b` knows of the sensors of `a`, and of its own.
struct Known {
    directory: Directory,
    ids: Vec<&'static str>,
    sensors: Vec<SensorId>,
    versions: BTreeMap<u8, u64>,
    claimed: Vec<Epoch>,
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("directory: whereis", Known::remote, |known| known.each(Directory::owner_of)),
        Case::new("directory: whereis, an unknown sensor", || Known::new(0), |known| known.each(Directory::owner_of)),
        Case::new("directory: locate", Known::remote, |known| known.each(Directory::locate)),
        Case::new("directory: locate many", Known::remote, Known::locate_many),
        Case::prepared("directory: claim", || Known::new(0), Known::unclaimed, |known, ()| known.claim()),
        Case::prepared("directory: release", || Known::new(0), Known::claimed, |known, ()| known.release()),
        Case::prepared(
            "directory: flush changes",
            || Known::new(0),
            Known::changed,
            |known, ()| known.directory.flush(),
        ),
        Case::prepared("directory: apply claims of another node", Known::remote, Known::heard_releases, Known::apply),
        Case::prepared("directory: apply releases of another node", Known::remote, Known::heard_claims, Known::apply),
        Case::new("directory: hash of a set", Known::remote, |known| {
            (0..OPERATIONS).fold(0, |sum, _| sum ^ known.directory.set_hash(&life("a")).unwrap_or_default())
        }),
    ]
}

fn claim(sensor: &'static str, epoch: Epoch) -> ClaimOp<'static> {
    ClaimOp::Claim { sensor, sensor_type: TYPE, epoch }
}

impl Known {
    fn new(remote: usize) -> Self {
        let directory = Directory::new(life("b"), 1);
        directory.up(&life("a")).expect("there is room");
        let (ids, claimed) = (ids(), Vec::new());
        let sensors = ids.iter().map(|id| sensor(id)).collect();
        let mut known = Self { directory, ids, sensors, versions: BTreeMap::new(), claimed };
        let all: Vec<&str> = (0..remote).map(|number| &*id(number).leak()).collect();
        let deltas = known.deltas(&all, |id| claim(id, 1));
        known.apply(deltas);
        known
    }

    fn remote() -> Self {
        Self::new(KNOWN)
    }

    fn each<T>(&mut self, ask: impl Fn(&Directory, &str) -> T) {
        for id in &self.ids {
            black_box(ask(&self.directory, id));
        }
    }

    fn locate_many(&mut self) {
        let mut located = 0;
        self.directory.locate_many(&self.ids, |found| located += usize::from(black_box(found).is_some()));
        assert_eq!(located, OPERATIONS);
    }
}

// === impl Known: own claims ===

impl Known {
    fn claim(&mut self) {
        let kind = SensorType::default();
        for sensor in &self.sensors {
            let Ok(Claimed::New { epoch, .. }) = self.directory.claim(sensor, &kind, true, 1, &mut |_| {}) else {
                panic!("nobody has claimed it");
            };
            self.claimed.push(epoch);
        }
    }

    fn release(&mut self) {
        for (id, epoch) in self.ids.iter().zip(self.claimed.drain(..)) {
            assert!(self.directory.release(id, epoch, &mut |_| {}));
        }
    }

    fn unclaimed(&mut self) {
        self.release();
        black_box(self.directory.flush());
    }

    fn claimed(&mut self) {
        if self.claimed.is_empty() {
            self.claim();
        }
        black_box(self.directory.flush());
    }

    /// Leaves as many changes to be told as a turn has operations.
    fn changed(&mut self) {
        if self.claimed.is_empty() { self.claim() } else { self.release() }
    }
}

// === impl Known: the claims of another ===

impl Known {
    /// What `a` says next of these sensors.
    fn deltas(&mut self, ids: &[&'static str], say: impl Fn(&'static str) -> ClaimOp<'static>) -> Vec<Delta<'static>> {
        let mut said: BTreeMap<u8, Vec<ClaimOp<'static>>> = BTreeMap::new();
        ids.iter().for_each(|id| said.entry(partition_of(id)).or_default().push(say(id)));
        let delta = |(partition, ops)| {
            let version = self.versions.entry(partition).or_default();
            *version += 1;
            Delta { partition, base: *version - 1, new: *version, ops }
        };
        said.into_iter().map(delta).collect()
    }

    fn apply(&mut self, deltas: Vec<Delta<'static>>) {
        for delta in &deltas {
            let applied = self.directory.apply_delta(&life("a"), delta, &mut |_| {});
            assert_eq!(applied, Ok(Applied::Done));
        }
    }

    /// Releases them, and says that they are claimed again.
    fn heard_releases(&mut self) -> Vec<Delta<'static>> {
        let ids = self.ids.clone();
        let released = self.deltas(&ids, |sensor| ClaimOp::Release { sensor });
        self.apply(released);
        self.deltas(&ids, |id| claim(id, 1))
    }

    /// Claims them, and says that they are released again.
    fn heard_claims(&mut self) -> Vec<Delta<'static>> {
        let ids = self.ids.clone();
        let claims = self.deltas(&ids, |id| claim(id, 1));
        self.apply(claims);
        self.deltas(&ids, |sensor| ClaimOp::Release { sensor })
    }
}

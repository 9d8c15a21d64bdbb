//! Look-ups in the directory beside changes: what stands is found, whole, whatever changes around it.

use std::sync::Arc;

use senza_core::codec::{ClaimOp, Delta};
use senza_core::directory::{Applied, Claimed, Directory, Located};
use senza_core::hash::partition_of;
use senza_core::{Life, NodeName, SensorId, SensorType};
use shuttle::thread;

use crate::explore;

/// Claims that stand before anybody looks; a few more make the index of their partition anew.
const STANDING: usize = 11;
/// Claims that come and go.
const COMING: usize = 3;

fn life(node: &str) -> Life {
    Life { node: NodeName::new(node).unwrap(), incarnation: 1 }
}

/// Ids of one partition, of the same length.
fn ids() -> Vec<String> {
    let all = (100_000..).map(|number| format!("sensor/{number}"));
    all.filter(|id| partition_of(id) == 7).take(STANDING + COMING).collect()
}

/// What node `b` says of its own sensors, in order.
struct Neighbour {
    directory: Arc<Directory>,
    version: u64,
}

impl Neighbour {
    fn says(&mut self, ops: Vec<ClaimOp<'_>>) {
        let delta = Delta { partition: 7, base: self.version, new: self.version + 1, ops };
        let applied = self.directory.apply_delta(&life("b"), &delta, &mut |_| {}).unwrap();
        assert_eq!(applied, Applied::Done);
        self.version += 1;
    }
}

fn claim(sensor: &str, epoch: u64) -> ClaimOp<'_> {
    ClaimOp::Claim { sensor, sensor_type: "t", epoch }
}

pub(crate) fn look_beside_changes() {
    let directory = Arc::new(Directory::new(life("me"), 7));
    directory.up(&life("b")).unwrap();
    let ids = Arc::new(ids());
    let mut neighbour = Neighbour { directory: directory.clone(), version: 0 };
    neighbour.says(ids[..STANDING].iter().map(|id| claim(id, 10)).collect());
    let of_b = directory.locate(&ids[0]).unwrap();
    let looker = {
        let (directory, ids) = (directory.clone(), ids.clone());
        thread::spawn(move || {
            let mut many = Vec::new();
            for _ in 0..3 {
                assert_eq!(directory.locate(&ids[1]), Some(of_b), "what stands is found");
                // It moves here and back: one or the other claim, never a mixture.
                let moving = directory.locate(&ids[0]);
                let is_whole = moving.is_some_and(|at| at == of_b || (at.life == 0 && at.epoch > of_b.epoch));
                assert!(is_whole, "half a change: {moving:?}");
                // It comes and goes in a place that is used again.
                directory.locate_many(&ids[STANDING..], &mut many);
                let comes = |at: &Located| at.life == of_b.life && (20..24).contains(&at.epoch);
                assert!(many.iter().flatten().all(comes), "half a change: {many:?}");
            }
        })
    };
    let mover = {
        let (directory, ids) = (directory.clone(), ids.clone());
        thread::spawn(move || {
            let id = SensorId::new(&ids[0]).unwrap();
            let claimed = directory.claim(&id, &SensorType::default(), true, 1, &mut |_| {});
            let Ok(Claimed::New { epoch, .. }) = claimed else { panic!("a take-over: {claimed:?}") };
            assert!(directory.release(&ids[0], epoch, &mut |_| {}));
        })
    };
    let coming = &ids[STANDING..];
    neighbour.says(vec![claim(&coming[0], 20), claim(&coming[1], 21)]);
    neighbour.says(vec![ClaimOp::Release { sensor: &coming[0] }, claim(&coming[2], 22)]);
    neighbour.says(vec![ClaimOp::Release { sensor: &coming[1] }, claim(&coming[0], 23)]);
    mover.join().unwrap();
    looker.join().unwrap();
}

#[test]
fn a_look_up_never_sees_half_a_change() {
    explore(look_beside_changes);
}

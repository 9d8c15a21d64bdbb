//! Look-ups in the directory beside changes: what stands is found, whole, whatever changes around it.

use std::sync::Arc;

use senza_core::codec::{ClaimOp, Delta};
use senza_core::directory::{Applied, Claimed, Directory, Located};
use senza_core::hash::partition_of;
use senza_core::{Life, NodeName, SensorId, SensorType};
use shuttle::thread;

use crate::explore;

const PARTITION: u8 = 7;
const LOOKS: usize = 4;

fn life(node: &str) -> Life {
    Life { node: NodeName::new(node).unwrap(), incarnation: 1 }
}

/// Ids of one partition, of the same length.
fn ids(count: usize) -> Arc<[String]> {
    let all = (100_000..).map(|number| format!("sensor/{number}"));
    all.filter(|id| partition_of(id) == PARTITION).take(count).collect()
}

/// What another node says of its own sensors, in order.
struct Neighbour {
    directory: Arc<Directory>,
    life: Life,
    version: u64,
}

impl Neighbour {
    fn new(directory: &Arc<Directory>, node: &str) -> Self {
        directory.up(&life(node)).unwrap();
        Self { directory: directory.clone(), life: life(node), version: 0 }
    }

    fn says(&mut self, ops: Vec<ClaimOp<'_>>) {
        let delta = Delta { partition: PARTITION, base: self.version, new: self.version + 1, ops };
        assert_eq!(self.directory.apply_delta(&self.life, &delta, &mut |_| {}).unwrap(), Applied::Done);
        self.version += 1;
    }
}

fn claim(sensor: &str, epoch: u64) -> ClaimOp<'_> {
    ClaimOp::Claim { sensor, sensor_type: "t", epoch }
}

fn release(sensor: &str) -> ClaimOp<'_> {
    ClaimOp::Release { sensor }
}

/// A sensor goes from node to node; each claim lies where the one before lay.
fn a_sensor_changes_hands() {
    let directory = Arc::new(Directory::new(life("me"), 7));
    let id = &ids(1)[0];
    let mut neighbours = ["b", "c"].map(|node| Neighbour::new(&directory, node));
    // Even epochs are of one node, odd ones of the other.
    neighbours[0].says(vec![claim(id, 10)]);
    let of_even = directory.locate(id).unwrap().life;
    let (looking, looked_for) = (directory.clone(), id.clone());
    let looker = thread::spawn(move || {
        for _ in 0..LOOKS {
            let found = looking.locate(&looked_for);
            let is_whole = |at: Located| (at.life == of_even) == at.epoch.is_multiple_of(2);
            assert!(found.is_none_or(is_whole), "half of one claim, half of another: {found:?}");
        }
    });
    for (turn, epoch) in (11..14).enumerate() {
        neighbours[turn % 2].says(vec![release(id)]);
        neighbours[(turn + 1) % 2].says(vec![claim(id, epoch)]);
    }
    looker.join().unwrap();
}

#[test]
fn a_look_up_never_sees_half_a_claim() {
    explore(a_sensor_changes_hands);
}

/// A sensor is taken over and given back: its claim elsewhere stands all the while.
fn a_sensor_is_taken_over() {
    let directory = Arc::new(Directory::new(life("me"), 7));
    let id = &ids(1)[0];
    Neighbour::new(&directory, "b").says(vec![claim(id, 10)]);
    let of_b = directory.locate(id).unwrap();
    let (looking, looked_for) = (directory.clone(), id.clone());
    let looker = thread::spawn(move || {
        for _ in 0..LOOKS {
            let found = looking.locate(&looked_for);
            assert!(found == Some(of_b) || found.is_some_and(|at| at.life == 0 && at.epoch > 10), "{found:?}");
            assert!(looking.owner_of(&looked_for).is_some());
        }
    });
    for _ in 0..2 {
        let taken = directory.claim(&SensorId::new(id).unwrap(), &SensorType::default(), true, 1, &mut |_| {});
        let Ok(Claimed::New { epoch, .. }) = taken else { panic!("a take-over: {taken:?}") };
        assert!(directory.release(id, epoch, &mut |_| {}));
    }
    looker.join().unwrap();
}

#[test]
fn a_look_up_always_finds_an_owner_while_one_stands() {
    explore(a_sensor_is_taken_over);
}

/// Others come and go, so that the index is made anew: without the places that are gone, then larger.
fn the_index_is_made_anew() {
    let directory = Arc::new(Directory::new(life("me"), 7));
    let ids = ids(24);
    let (before, standing, coming) = (0..7, 7..11, 11..24);
    let mut neighbour = Neighbour::new(&directory, "b");
    // What stands lies behind others, which go: it moves when their places do.
    neighbour.says(ids[..standing.end].iter().map(|id| claim(id, 10)).collect());
    neighbour.says(ids[before].iter().map(|id| release(id)).collect());
    let of_b = directory.locate(&ids[standing.start]);
    let (looking, looked_for) = (directory.clone(), ids.clone());
    let looker = thread::spawn(move || {
        for _ in 0..LOOKS {
            let mut found = Vec::new();
            looking.locate_many(&looked_for[standing.clone()], |located| found.push(located));
            assert!(found.iter().all(|at| *at == of_b), "what stands is not found: {found:?}");
        }
    });
    for id in &ids[coming.start..coming.start + 6] {
        neighbour.says(vec![claim(id, 10)]);
        neighbour.says(vec![release(id)]);
    }
    neighbour.says(ids[coming].iter().map(|id| claim(id, 20)).collect());
    looker.join().unwrap();
}

#[test]
fn a_look_up_finds_what_stands_while_the_index_is_made_anew() {
    explore(the_index_is_made_anew);
}

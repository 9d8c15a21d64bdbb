//! The store against a map, whatever the ids and the order; and readers beside a writer.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

fn hash(id: &[u8]) -> u64 {
    // Few different hashes: collisions are the rule here.
    id.iter().fold(0, |hash, byte| (hash * 31 + u64::from(*byte)) % 97) * 0x0101_0101_0101_0101
}

fn claims(store: &Store<()>, id: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    store.visit(hash(id.as_bytes()), id.as_bytes(), |record| found.push(record.claim));
    found.sort_unstable_by_key(|claim| claim.life);
    found
}

proptest! {
    #[test]
    fn does_what_a_map_does(steps in prop::collection::vec(("[a-z]{1,3}|[a-z]{20,40}", 0u16..3, any::<bool>()), 1..400)) {
        let store = Store::new(());
        let mut model: BTreeMap<(String, u16), Claim> = BTreeMap::new();
        let mut writer = store.lock();
        for (number, (id, life, add)) in steps.iter().enumerate() {
            let key = (hash(id.as_bytes()), id.as_bytes());
            let place = (id.clone(), *life);
            if *add {
                let claim = Claim { epoch: number as u64, life: *life, kind: number as u16 };
                let replaced = store.set(&mut writer, key, claim, hash).unwrap();
                prop_assert_eq!(replaced, model.insert(place, claim));
            } else {
                prop_assert_eq!(store.unset(&mut writer, key, *life), model.remove(&place));
            }
            let expected: Vec<Claim> =
                model.iter().filter(|((other, _), _)| other == id).map(|(_, claim)| *claim).collect();
            prop_assert_eq!(claims(&store, id), expected);
        }
        let mut buffer = IdBuffer::default();
        let mut all: Vec<((String, u16), Claim)> = store
            .records(&writer)
            .map(|record| ((store.id(record, &mut buffer).to_owned(), record.claim.life), record.claim))
            .collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn places_lie_in_their_segments_one_after_the_other() {
    let (mut place, mut last) = (0u32, None);
    while place < WORDS_MAX {
        let (segment, offset, size) = segment_of(place);
        assert!(segment < SEGMENTS && offset == 0, "{place} is at {offset} of segment {segment}");
        assert_eq!(segment, last.map_or(0, |last| last + 1));
        assert_eq!(segment_of(place + size as u32 - 1), (segment, size - 1, size));
        last = Some(segment);
        place += size as u32;
    }
}

/// What stands is found at any moment, whole, while others come and go beside it.
#[test]
fn readers_see_whole_claims_while_a_writer_changes_them() {
    let store = Store::new(());
    let stop = AtomicBool::new(false);
    let id = |number: u64| format!("sensor/{number}");
    let set = |number: u64, epoch: u64| {
        let (id, claim) = (id(number), Claim { epoch, life: (epoch % 7) as u16, kind: (epoch % 11) as u16 });
        let key = (hash(id.as_bytes()), id.as_bytes());
        let writer = &mut *store.lock();
        (0..7).filter(|life| *life != claim.life).for_each(|life| {
            store.unset(writer, key, life);
        });
        store.set(writer, key, claim, hash).unwrap();
    };
    (0..50).for_each(|number| set(number, 1));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut last) = (0u64, [0; 50]);
            while !stop.load(Ordering::Relaxed) || looks < 1000 {
                let number = looks % 50;
                let id = id(number);
                let found = store.read(|store| claims(store, &id));
                // Between the end of one life's claim and the next life's there is none.
                for claim in &found {
                    let fits = (u64::from(claim.life), u64::from(claim.kind)) == (claim.epoch % 7, claim.epoch % 11);
                    assert!(fits && found.len() == 1, "torn: {found:?}");
                    assert!(claim.epoch >= last[number as usize], "went back");
                    last[number as usize] = claim.epoch;
                }
                looks += 1;
            }
            looks
        });
        for epoch in 2..3_000 {
            set(epoch % 50, epoch);
            // Others come and go, so that the index is made anew and records are used again.
            set(1000 + epoch, epoch);
            let gone = id(1000 + epoch / 2);
            let writer = &mut *store.lock();
            (0..7).for_each(|life| {
                store.unset(writer, (hash(gone.as_bytes()), gone.as_bytes()), life);
            });
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() >= 1000);
    });
}

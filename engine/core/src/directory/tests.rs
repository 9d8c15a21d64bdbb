//! The rules of ownership on one node: claims, deltas in any order, cuts, lives that come and go.

use super::*;
use crate::hash::partition_of;
use proptest::prelude::*;
use std::sync::Arc;

fn life(node: &str, incarnation: u64) -> Life {
    Life { node: NodeName::new(node).unwrap(), incarnation }
}

fn directory() -> Directory {
    Directory::new(life("me", 1), 7)
}

fn id(sensor: &str) -> SensorId {
    SensorId::new(sensor).unwrap()
}

fn claim(directory: &Directory, sensor: &str, takeover: bool, now: u64) -> Claimed {
    directory.claim(&id(sensor), &SensorType::default(), takeover, now, &mut |_| {}).unwrap()
}

fn said<'a>(sensor: &'a str, epoch: Epoch) -> ClaimOp<'a> {
    ClaimOp::Claim { sensor, sensor_type: "t", epoch }
}

/// Applies one delta and tells the changes of owner as text.
fn hear(directory: &Directory, from: &Life, versions: (u64, u64), ops: &[ClaimOp<'_>]) -> (Applied, Vec<String>) {
    let (ClaimOp::Claim { sensor, .. } | ClaimOp::Release { sensor }) = ops[0];
    let delta = Delta { partition: partition_of(sensor), base: versions.0, new: versions.1, ops: ops.to_vec() };
    let mut changes = Vec::new();
    let applied = directory.apply_delta(from, &delta, &mut |change| changes.push(tell(&change))).unwrap();
    (applied, changes)
}

fn tell(change: &Change<'_>) -> String {
    let owner =
        |owner: Option<Owner>| owner.map_or("-".to_owned(), |owner| format!("{}@{}", owner.life.node, owner.epoch));
    let beaten = change.beaten().map_or(String::new(), |beaten| format!(" beats {}", beaten.life.node));
    format!("{}: {} -> {}{beaten}", change.sensor, owner(change.before()), owner(change.after()))
}

fn owner_name(directory: &Directory, sensor: &str) -> Option<String> {
    directory.owner_of(sensor).map(|owner| owner.life.node.to_string())
}

#[test]
fn what_was_not_flushed_yet_is_in_no_digest() {
    let (directory, me) = (directory(), life("me", 1));
    let sensor = |id: &str| SensorId::new(id).unwrap();
    let claim = |id: &str| _ = directory.claim(&sensor(id), &SensorType::default(), true, 1, &mut |_| {}).unwrap();
    claim("one");
    directory.flush();
    let (told, digests) = (directory.set_hash(&me), directory.digests(&me));
    claim("two");
    assert_eq!((directory.set_hash(&me), directory.digests(&me)), (told, digests), "nobody heard of two");
    directory.flush();
    assert_ne!(directory.set_hash(&me), told);
}

#[test]
fn a_claim_is_fresh_then_held_and_ends_by_its_own_epoch() {
    let directory = directory();
    let Claimed::New { epoch, from: None } = claim(&directory, "s", false, 100) else { panic!("fresh") };
    assert_eq!(epoch, 100);
    assert_eq!(claim(&directory, "s", true, 900), Claimed::Held(100));
    assert!(!directory.release("s", 99, &mut |_| {}));
    assert!(directory.release("s", 100, &mut |_| {}));
    assert_eq!(directory.owner_of("s"), None);
    let Claimed::New { epoch, .. } = claim(&directory, "s", false, 50) else { panic!("fresh") };
    assert!(epoch > 100, "an epoch never goes back, even when the clock does");
}

#[test]
fn elsewhere_is_refused_or_taken_over_with_a_higher_epoch() {
    let directory = directory();
    let b = life("b", 5);
    directory.up(&b).unwrap();
    let (applied, changes) = hear(&directory, &b, (0, 1), &[said("s", 1000)]);
    assert_eq!((applied, changes), (Applied::Done, vec!["s: - -> b@1000".to_owned()]));
    let Claimed::Refused(owner) = claim(&directory, "s", false, 10) else { panic!("refused") };
    assert_eq!((owner.life.node.as_str(), owner.epoch, owner.local), ("b", 1000, false));
    let Claimed::New { epoch, from } = claim(&directory, "s", true, 10) else { panic!("taken over") };
    assert_eq!((epoch, from.map(|owner| owner.epoch)), (1001, Some(1000)));
    assert_eq!(owner_name(&directory, "s").as_deref(), Some("me"));
    let (_, changes) = hear(&directory, &b, (1, 2), &[said("s", 2000)]);
    assert_eq!(changes, ["s: me@1001 -> b@2000 beats me"], "the loser hears of it");
}

#[test]
fn a_claim_at_the_highest_epoch_is_not_beaten_and_harms_no_other() {
    let directory = directory();
    let b = life("b", 5);
    directory.up(&b).unwrap();
    hear(&directory, &b, (0, 1), &[said("s", crate::codec::EPOCH_MAX)]);
    let refused = directory.claim(&id("s"), &SensorType::default(), true, 10, &mut |_| {});
    assert!(matches!(refused, Err(Error::Full { .. })));
    assert!(matches!(claim(&directory, "t", true, 10), Claimed::New { epoch: 10, .. }));
    assert_eq!(owner_name(&directory, "t").as_deref(), Some("me"));
}

#[test]
fn only_the_versions_in_order_are_applied() {
    let directory = directory();
    let b = life("b", 5);
    assert_eq!(hear(&directory, &b, (0, 1), &[said("s", 1)]).0, Applied::Behind, "an unknown life");
    directory.up(&b).unwrap();
    assert_eq!(hear(&directory, &b, (1, 2), &[said("s", 1)]).0, Applied::Behind);
    assert_eq!(hear(&directory, &b, (0, 1), &[said("s", 1)]).0, Applied::Done);
    assert_eq!(hear(&directory, &b, (0, 1), &[ClaimOp::Release { sensor: "s" }]).0, Applied::Old);
    assert_eq!(owner_name(&directory, "s").as_deref(), Some("b"));
}

#[test]
fn an_older_message_applied_last_changes_nothing() {
    let directory = directory();
    let b = life("b", 5);
    directory.up(&b).unwrap();
    let partition = partition_of("s");
    // The zombie entry: the cut is newer than the delta that registered the sensor it no longer holds.
    let mut nothing = |_: Change<'_>| {};
    assert_eq!(directory.apply_cut(&b, partition, 2, &[], &mut nothing), Ok(Applied::Done));
    assert_eq!(hear(&directory, &b, (0, 1), &[said("s", 1)]).0, Applied::Old);
    assert_eq!(directory.owner_of("s"), None);
    assert_eq!(directory.apply_cut(&b, partition, 1, &[said("s", 1)], &mut nothing), Ok(Applied::Old));
    assert_eq!(directory.owner_of("s"), None);
}

#[test]
fn a_release_by_a_node_that_is_not_the_owner_releases_nothing() {
    let directory = directory();
    let (b, c) = (life("b", 5), life("c", 6));
    directory.up(&b).unwrap();
    directory.up(&c).unwrap();
    hear(&directory, &b, (0, 1), &[said("s", 1)]);
    let (applied, changes) = hear(&directory, &c, (0, 1), &[ClaimOp::Release { sensor: "s" }]);
    assert_eq!((applied, changes.len()), (Applied::Done, 0));
    assert_eq!(owner_name(&directory, "s").as_deref(), Some("b"));
}

#[test]
fn removing_the_winner_leaves_the_other_claim() {
    let directory = directory();
    let (b, c) = (life("b", 5), life("c", 6));
    directory.up(&b).unwrap();
    directory.up(&c).unwrap();
    hear(&directory, &b, (0, 1), &[said("s", 7)]);
    assert_eq!(
        hear(&directory, &c, (0, 1), &[said("s", 7)]).1,
        ["s: b@7 -> c@7 beats b"],
        "a tie goes to the higher name"
    );
    assert_eq!(hear(&directory, &c, (1, 2), &[ClaimOp::Release { sensor: "s" }]).1, ["s: c@7 -> b@7"]);
}

#[test]
fn a_life_goes_down_at_once_and_returns_with_what_it_had() {
    let directory = directory();
    let b = life("b", 5);
    assert!(directory.up(&b).unwrap());
    assert!(!directory.up(&b).unwrap());
    hear(&directory, &b, (0, 1), &[said("s", 1)]);
    assert!(directory.down(&b) && !directory.down(&b));
    assert_eq!(directory.owner_of("s"), None);
    assert!(directory.page(partition_of("s"), None, &Filter::all(), 10).is_empty());
    assert!(directory.up(&b).unwrap());
    assert_eq!(owner_name(&directory, "s").as_deref(), Some("b"));
    assert!(!directory.down(&directory.me()), "a node never loses itself");
}

#[test]
fn a_forgotten_life_leaves_nothing_and_its_place_is_used_again() {
    let directory = directory();
    let (b, c) = (life("b", 5), life("b", 6));
    directory.up(&b).unwrap();
    hear(&directory, &b, (0, 1), &[said("s", 1)]);
    directory.forget(&b);
    (0..=255).for_each(|partition| directory.sweep(partition));
    directory.reuse(std::slice::from_ref(&b));
    directory.up(&c).unwrap();
    assert_eq!(directory.lives.list().len(), 2);
    assert_eq!(directory.owner_of("s"), None);
    assert_eq!(directory.count(&c), 0);
    hear(&directory, &c, (0, 1), &[said("s", 2)]);
    assert_eq!((directory.count(&c), owner_name(&directory, "s").as_deref()), (1, Some("b")));
}

#[test]
fn a_flush_carries_every_change_since_the_last_one_in_order() {
    let directory = directory();
    claim(&directory, "s", false, 100);
    directory.release("s", 100, &mut |_| {});
    claim(&directory, "s", false, 200);
    let deltas = directory.flush();
    assert_eq!(deltas.len(), 1);
    assert_eq!((deltas[0].base, deltas[0].new, deltas[0].count), (0, 1, 3));
    assert!(directory.flush().is_empty());
}

#[test]
fn a_cut_flushes_first_so_that_its_version_says_what_it_holds() {
    let directory = directory();
    claim(&directory, "s", false, 100);
    let Cut { version, chunks, delta } = directory.cut(partition_of("s"), 1000);
    assert_eq!((version, chunks[0].0, delta.map(|delta| delta.new)), (1, 1, Some(1)));
    assert!(directory.flush().is_empty());
}

#[test]
fn a_page_is_in_order_and_complete() {
    let directory = directory();
    for at in 0..1000 {
        claim(&directory, &format!("s{at}"), false, 100);
    }
    let mut seen = Vec::new();
    for partition in 0..=255u8 {
        let mut after: Option<String> = None;
        loop {
            let page = directory.page(partition, after.as_deref(), &Filter::all(), 2);
            let Some(last) = page.last() else { break };
            after = Some(last.sensor.to_string());
            seen.extend(page.into_iter().map(|listed| listed.sensor.to_string()));
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
}

proptest! {
    /// Two views that hear the same set by different ways have equal digests: one hears every delta, the other is
    /// given a cut in the middle and an arbitrary replay of old deltas around it.
    #[test]
    fn views_agree_by_whatever_way_they_came(
        steps in prop::collection::vec((0usize..12, any::<bool>()), 1..60),
        cut_at in 0usize..60,
        replay in prop::collection::vec(0usize..60, 0..20),
    ) {
        let owner = directory();
        let me = owner.me();
        let (by_delta, by_cut) = (Directory::new(life("x", 1), 1), Directory::new(life("y", 1), 2));
        by_delta.up(&me).unwrap();
        by_cut.up(&me).unwrap();
        let mut sent = Vec::new();
        for (step, (sensor, add)) in steps.iter().enumerate() {
            let sensor = format!("s{sensor}");
            match (add, owner.owner_of(&sensor)) {
                (true, _) => { claim(&owner, &sensor, true, 10); }
                (false, Some(held)) => { owner.release(&sensor, held.epoch, &mut |_| {}); }
                (false, None) => {}
            }
            if step == cut_at {
                deliver_cuts(&owner, &by_cut, &mut sent);
            }
            sent.extend(owner.flush());
        }
        for delta in &sent {
            deliver(delta, &me, &by_delta);
        }
        for at in replay {
            if let Some(delta) = sent.get(at) {
                deliver(delta, &me, &by_cut);
            }
        }
        deliver_cuts(&owner, &by_cut, &mut sent);
        for delta in &sent {
            deliver(delta, &me, &by_cut);
        }
        prop_assert_eq!(by_delta.digests(&me), owner.digests(&me));
        prop_assert_eq!(by_cut.digests(&me), owner.digests(&me));
        prop_assert_eq!(by_cut.set_hash(&me), owner.set_hash(&me));
        for sensor in 0..12 {
            let sensor = format!("s{sensor}");
            let epoch = |directory: &Directory| directory.owner_of(&sensor).map(|owner| owner.epoch);
            prop_assert_eq!(epoch(&by_delta), epoch(&owner));
            prop_assert_eq!(epoch(&by_cut), epoch(&owner));
        }
    }
}

fn deliver(delta: &EncodedDelta, from: &Life, to: &Directory) {
    let bytes = crate::codec::encode_deltas(1, std::slice::from_ref(delta));
    let Ok((_, crate::codec::Message::Deltas(deltas))) = crate::codec::decode(&bytes) else { panic!("deltas") };
    to.apply_delta(from, &deltas[0], &mut |_| {}).unwrap();
}

fn deliver_cuts(owner: &Directory, to: &Directory, sent: &mut Vec<EncodedDelta>) {
    for partition in 0..=255 {
        let Cut { version, chunks, delta } = owner.cut(partition, 64);
        sent.extend(delta);
        let mut claims = Vec::new();
        let messages: Vec<_> = chunks
            .iter()
            .map(|(count, ops)| crate::codec::encode_cut(1, (partition, version), (0, 1), (*count, ops)))
            .collect();
        for message in &messages {
            let Ok((_, crate::codec::Message::Cut { ops, .. })) = crate::codec::decode(message) else { panic!("cut") };
            claims.extend(ops);
        }
        to.apply_cut(&owner.me(), partition, version, &claims, &mut |_| {}).unwrap();
    }
}

#[test]
fn every_claim_keeps_its_own_type() {
    let directory = directory();
    let kind = |number: usize| SensorType::new(format!("kind {}", number % 3)).unwrap();
    for number in 0..3000 {
        let sensor = SensorId::new(format!("s{number}")).unwrap();
        directory.claim(&sensor, &kind(number), true, 10, &mut |_| {}).unwrap();
    }
    for number in 0..3000 {
        assert_eq!(directory.type_of(&format!("s{number}")), Some(kind(number)));
    }
}

#[test]
fn a_thread_that_ends_may_still_look_up() {
    struct Late(Arc<Directory>, std::sync::mpsc::SyncSender<Option<String>>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.1.send(owner_name(&self.0, "s")).unwrap();
        }
    }
    thread_local! {
        static LATE: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
    }
    let (directory, (told, owner)) = (Arc::new(directory()), std::sync::mpsc::sync_channel(1));
    claim(&directory, "s", false, 1);
    let ending = std::thread::spawn(move || {
        // Made before what a look-up keeps for its thread, and so dropped after it.
        LATE.with(|late| assert!(late.set(Late(directory.clone(), told)).is_ok()));
        assert_eq!(owner_name(&directory, "s").as_deref(), Some("me"));
    });
    ending.join().unwrap();
    assert_eq!(owner.recv().unwrap().as_deref(), Some("me"));
}

#[test]
fn a_life_that_comes_keeps_nobody_from_reading_who_has_a_partition() {
    let (directory, (told, done)) = (Arc::new(directory()), std::sync::mpsc::sync_channel(1));
    std::thread::spawn(move || {
        let mut coming = None;
        directory
            .claim(&id("s"), &SensorType::default(), false, 1, &mut |change| {
                let other = directory.clone();
                coming = Some(std::thread::spawn(move || other.up(&life("b", 1)).unwrap()));
                // Until it waits for the partition of this claim.
                let (_kept, never) = std::sync::mpsc::sync_channel::<()>(1);
                never.recv_timeout(std::time::Duration::from_millis(300)).unwrap_err();
                // What this thread read last is another directory's.
                Directory::new(life("x", 1), 7).me();
                assert!(change.after().unwrap().local);
            })
            .unwrap();
        told.send(coming.unwrap().join().unwrap()).unwrap();
    });
    assert!(done.recv_timeout(std::time::Duration::from_secs(20)).unwrap(), "neither waits for the other");
}

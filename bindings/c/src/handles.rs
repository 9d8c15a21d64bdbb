//! Handles: numbers that name what lives on this side, so that a dead or a made-up one is told and never followed.
//!
//! A number holds what kind of thing it names, a place, and how often that place was used. A place whose uses are
//! counted out is not used again, so no number ever names a second thing. Looking one up takes no lock.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use std::collections::VecDeque;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;

use crate::error::{Outcome, refuse, senza_code};

/// What a handle names, in its top bits; 0 is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Node = 1,
    Sensor = 2,
    Subscription = 3,
    Events = 4,
    Memory = 5,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Node, "node"),
    (Kind::Sensor, "sensor"),
    (Kind::Subscription, "subscription"),
    (Kind::Events, "events"),
    (Kind::Memory, "memory"),
];
pub(crate) const KIND_SHIFT: u32 = 60;
/// Places of the first chunk; each further one has twice as many.
const FIRST: usize = 64;
const CHUNKS: usize = 27;

impl Kind {
    fn name(self) -> &'static str {
        name(self as u8)
    }
}

fn name(kind: u8) -> &'static str {
    KINDS.iter().find(|(known, _)| *known as u8 == kind).map_or("unknown thing", |(_, name)| name)
}

/// Things of one kind, by their handles.
pub(crate) struct Handles<T> {
    kind: Kind,
    /// Bits of a number that are its place; those above, up to the kind, count the uses of the place.
    place_bits: u32,
    use_bits: u32,
    max: usize,
    chunks: [OnceLock<Box<[Place<T>]>>; CHUNKS],
    free: Mutex<Free>,
}

struct Place<T> {
    thing: ArcSwapOption<Held<T>>,
    uses: AtomicU32,
}

#[derive(Default)]
struct Free {
    /// Places that were used before, the one that rests longest first.
    places: VecDeque<u32>,
    /// Places that were ever used.
    touched: u32,
    taken: usize,
}

/// A thing and its handle.
pub(crate) struct Held<T> {
    pub(crate) id: u64,
    thing: T,
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

/// A thing for the time of a call: cheap, and for calls that do not wait.
pub(crate) struct Brief<T>(Guard<Option<Arc<Held<T>>>>);

impl<T> Deref for Brief<T> {
    type Target = Held<T>;

    fn deref(&self) -> &Held<T> {
        self.0.as_deref().expect("only a place that holds its thing is handed out")
    }
}

impl<T> Handles<T> {
    /// Of at most `max` at a time.
    pub(crate) const fn new(kind: Kind, place_bits: u32, use_bits: u32, max: usize) -> Self {
        let free = Free { places: VecDeque::new(), touched: 0, taken: 0 };
        let chunks = [const { OnceLock::new() }; CHUNKS];
        Self { kind, place_bits, use_bits, max, chunks, free: Mutex::new(free) }
    }

    /// Keeps a thing; `make` is told its handle. One lock.
    pub(crate) fn insert(&self, make: impl FnOnce(u64) -> T) -> Outcome<Arc<Held<T>>> {
        let mut free = self.free.lock();
        if free.taken >= self.max {
            let rule = format!("{} handles of this process: the limit of {} is reached", self.kind.name(), self.max);
            return Err(refuse(senza_code::SENZA_FULL, rule));
        }
        let at = free.places.pop_front().unwrap_or_else(|| {
            free.touched += 1;
            free.touched - 1
        });
        let (Some(place), true) = (self.place_or_new(at), u64::from(at) >> self.place_bits == 0) else {
            free.touched -= 1;
            return Err(refuse(senza_code::SENZA_FULL, "handles of this process: their numbers are used up"));
        };
        free.taken += 1;
        let uses = place.uses.load(Ordering::Relaxed) + 1;
        place.uses.store(uses, Ordering::Release);
        let id = u64::from(self.kind as u8) << KIND_SHIFT | u64::from(uses) << self.place_bits | u64::from(at);
        drop(free);
        let held = Arc::new(Held { id, thing: make(id) });
        place.thing.store(Some(held.clone()));
        Ok(held)
    }

    /// The thing that a handle names. No lock.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Outcome<Brief<T>> {
        if let Some(place) = self.place_of(id) {
            let guard = place.thing.load();
            if guard.as_ref().is_some_and(|held| held.id == id) {
                return Ok(Brief(guard));
            }
        }
        Err(self.not_there(id))
    }

    /// The same, to be kept while a call waits.
    pub(crate) fn hold(&self, id: u64) -> Outcome<Arc<Held<T>>> {
        let brief = self.get(id)?;
        Guard::into_inner(brief.0).ok_or_else(|| self.not_there(id))
    }

    /// Takes a thing out: its handle is dead. It ends when nobody is in a call with it any more.
    pub(crate) fn remove(&self, id: u64) -> Outcome<Arc<Held<T>>> {
        let place = self.place_of(id).ok_or_else(|| self.not_there(id))?;
        let mut free = self.free.lock();
        if place.thing.load().as_ref().is_none_or(|held| held.id != id) {
            return Err(self.not_there(id));
        }
        let held = place.thing.swap(None).ok_or_else(|| self.not_there(id))?;
        free.taken -= 1;
        if u64::from(place.uses.load(Ordering::Relaxed)) + 1 < 1 << self.use_bits {
            free.places.push_back((id & self.place_mask()) as u32);
        }
        Ok(held)
    }

    fn place_mask(&self) -> u64 {
        (1 << self.place_bits) - 1
    }

    #[inline]
    fn place_of(&self, id: u64) -> Option<&Place<T>> {
        if id >> KIND_SHIFT != self.kind as u64 {
            return None;
        }
        let (chunk, at) = split((id & self.place_mask()) as u32);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    fn place_or_new(&self, at: u32) -> Option<&Place<T>> {
        let (chunk, at) = split(at);
        let empty = || Place { thing: ArcSwapOption::empty(), uses: AtomicU32::new(0) };
        let places = self.chunks.get(chunk)?.get_or_init(|| (0..FIRST << chunk).map(|_| empty()).collect());
        places.get(at)
    }

    /// Why a handle names nothing here.
    #[cold]
    fn not_there(&self, id: u64) -> crate::error::Fail {
        let wanted = self.kind.name();
        let kind = (id >> KIND_SHIFT) as u8;
        if id == 0 {
            return refuse(senza_code::SENZA_HANDLE, format!("no {wanted}: the handle is zero"));
        }
        if kind != self.kind as u8 {
            let rule = format!("a {wanted} is wanted; this handle names a {}", name(kind));
            return refuse(senza_code::SENZA_HANDLE, rule);
        }
        let uses = (id & !(0xf << KIND_SHIFT)) >> self.place_bits;
        let used = self.place_of(id).map_or(0, |place| u64::from(place.uses.load(Ordering::Acquire)));
        if uses == 0 || uses > used {
            return refuse(senza_code::SENZA_HANDLE, format!("no {wanted} ever had this handle"));
        }
        refuse(senza_code::SENZA_CLOSED, format!("the {wanted} of this handle was closed"))
    }
}

/// The chunk of a place, and where in it.
#[inline]
fn split(at: u32) -> (usize, usize) {
    let from_first = at as usize + FIRST;
    let chunk = (from_first / FIRST).ilog2() as usize;
    (chunk, from_first - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(outcome: Outcome<T>) -> senza_code {
        outcome.map_or_else(|fail| fail.code(), |_| senza_code::SENZA_OK)
    }

    #[test]
    fn a_handle_names_its_thing_and_never_another() {
        let things = Handles::new(Kind::Sensor, 32, 28, 1000);
        let ids: Vec<u64> = (0..300).map(|number| things.insert(|_| number).unwrap().id).collect();
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(**things.get(*id).unwrap(), number);
        }
        for id in &ids {
            assert_eq!(things.remove(*id).unwrap().thing, ids.iter().position(|other| other == id).unwrap());
            assert_eq!(code(things.get(*id)), senza_code::SENZA_CLOSED);
            assert_eq!(code(things.remove(*id)), senza_code::SENZA_CLOSED);
        }
        for number in 0..1000 {
            let id = things.insert(|_| number).unwrap().id;
            assert!(!ids.contains(&id));
            things.remove(id).unwrap();
        }
    }

    #[test]
    fn what_is_no_handle_is_told() {
        let things = Handles::new(Kind::Node, 8, 25, 2);
        let id = things.insert(|_| ()).unwrap().id;
        for wild in [0, 1, id + 1, id + (1 << 8), id | 1 << 40, u64::MAX, id ^ 3 << KIND_SHIFT, id & !(0xff << 8)] {
            assert_eq!(code(things.get(wild)), senza_code::SENZA_HANDLE, "{wild:x}");
            assert_eq!(code(things.remove(wild)), senza_code::SENZA_HANDLE, "{wild:x}");
        }
        things.insert(|_| ()).unwrap();
        assert_eq!(code(things.insert(|_| ())), senza_code::SENZA_FULL);
        things.get(id).unwrap();
    }

    #[test]
    fn a_place_whose_uses_are_counted_out_rests_for_ever() {
        let things = Handles::new(Kind::Node, 1, 2, 10);
        let mut seen = Vec::new();
        while let Ok(held) = things.insert(|_| ()) {
            assert!(!seen.contains(&held.id));
            seen.push(held.id);
            things.remove(held.id).unwrap();
        }
        assert_eq!(seen.len(), 6, "two places, three uses each");
    }

    #[test]
    fn places_are_split_without_a_hole() {
        let mut expected = (0, 0);
        for at in 0..10_000 {
            assert_eq!(split(at), expected);
            expected =
                if expected.1 + 1 == FIRST << expected.0 { (expected.0 + 1, 0) } else { (expected.0, expected.1 + 1) };
        }
        assert!(split(u32::MAX).0 < CHUNKS);
    }
}

//! The directory: a node's view of who owns what, for the whole cluster.
//!
//! It is a union, not a merge. For every life of every node it holds one versioned set of claims, changed by what
//! that node says of itself alone, in the order of its versions. Where a sensor stands in the sets of several nodes
//! that are up, [`beats`] picks the owner. Removing a claim from one set leaves the others, so there are no
//! tombstones, and nothing that was removed can come back by an old message.
//!
//! A life that goes down is one flag: its claims stop counting at once, whatever their number, and stay for its
//! return until [`forget`](Directory::forget) and [`sweep`](Directory::sweep) drop them.
//!
//! Claims lie in 256 partitions by a fixed hash of the sensor id, each behind a lock of its own with the digests
//! that belong to it. An entry costs 16 bytes, its index slot 5 to 10, its id its own length and 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use std::hash::BuildHasher;

use crate::codec::{ClaimOp, Delta, Digest, EncodedDelta, encode_op, set_hash};
use crate::error::{Error, Result};
use crate::fault::{self, Fault};
use crate::hash::{claim_hash, xxh64};
use crate::key::Filter;
use crate::reading::{Epoch, Life, NodeName, SENSOR_ID_MAX, SensorId, SensorType};

/// How many partitions the directory has; fixed by the protocol.
pub const PARTITIONS: usize = 256;
/// Most lives held at a time, this node's and those of the last minute included.
pub const LIVES_MAX: usize = 4096;
/// Most sensor types of a cluster.
pub const TYPES_MAX: usize = 65_535;

/// A claim in the order that decides who owns: the higher epoch, ties by node name.
pub fn beats(a: (Epoch, &NodeName), b: (Epoch, &NodeName)) -> bool {
    a > b
}

/// Who owns a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owning node's life.
    pub life: Life,
    /// The claim's number.
    pub epoch: Epoch,
    /// Whether that is this node.
    pub local: bool,
}

/// A change of who owns a sensor, as this node sees it.
#[derive(Debug)]
pub struct Change<'a> {
    /// Whose owner changed.
    pub sensor: &'a str,
    /// What kind of thing it is.
    pub sensor_type: &'a str,
    /// Who owned it.
    pub before: Option<Owner>,
    /// Who owns it now.
    pub after: Option<Owner>,
    /// A claim that stands and is beaten: its node has to hear of the winner.
    pub beaten: Option<Owner>,
}

/// What became of the wish to own a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is this node's already, under this epoch.
    Held(Epoch),
    /// It is this node's now, under a fresh epoch; who lost it, if somebody did.
    New {
        /// The fresh epoch.
        epoch: Epoch,
        /// The owner before.
        from: Option<Owner>,
    },
    /// It is owned elsewhere and the wish was to refuse then.
    Refused(Owner),
}

/// What became of a delta or cut of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The view is at its version now.
    Done,
    /// The view knew it already.
    Old,
    /// The view is at another version than the delta's base: the partition has to be pulled.
    Behind,
}

/// One partition of this node's own set at one version.
#[derive(Debug)]
pub struct Cut {
    /// The version.
    pub version: u64,
    /// Its claims in chunks, at least one: their number, and their encoding by [`encode_op`].
    pub chunks: Vec<(u32, Vec<u8>)>,
    /// The delta of what had not been flushed yet: it goes to everybody.
    pub delta: Option<EncodedDelta>,
}

/// One sensor of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which sensor.
    pub sensor: SensorId,
    /// What kind of thing it is.
    pub sensor_type: SensorType,
    /// Who owns it.
    pub owner: Owner,
}

/// A view of who owns what. All methods take `&self`; a lookup takes one partition's read lock.
pub struct Directory {
    partitions: Box<[CachePadded<RwLock<Partition>>]>,
    /// Index 0 is this node. Slots of forgotten lives are used again.
    lives: ArcSwap<Vec<Arc<LifeEntry>>>,
    /// Guards changes of `lives`.
    change_lives: Mutex<()>,
    types: Types,
    hasher: SeedableRandomState,
    last_epoch: AtomicU64,
}

#[derive(Debug)]
struct LifeEntry {
    life: Life,
    up: AtomicBool,
    forgotten: AtomicBool,
}

#[derive(Default)]
struct Partition {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Ids, each behind a byte that holds its length less one.
    ids: Vec<u8>,
    ids_dead: usize,
    /// Per life: how far its set is known here. For this node: what was flushed.
    views: Vec<Digest>,
    /// Changes of this node's own set since the last flush, encoded, and their number.
    pending: (u32, Vec<u8>),
}

#[derive(Clone, Copy)]
struct Entry {
    epoch: Epoch,
    id_at: u32,
    life: u16,
    kind: u16,
}

/// An id with its hashes, taken once per look-up.
#[derive(Clone, Copy)]
struct Key<'a> {
    id: &'a str,
    /// The hash that nodes agree on; its top byte is the partition.
    wire: u64,
    /// The seeded hash of the index.
    hash: u64,
}

impl Key<'_> {
    fn partition(self) -> u8 {
        (self.wire >> 56) as u8
    }
}

const ME: u16 = 0;
/// Marks an entry that is free.
const FREE: u16 = u16::MAX;

// === impl Directory: lives ===

impl Directory {
    /// A directory that knows nothing but this node's life. `seed` seeds the hash of ids in memory.
    pub fn new(me: Life, seed: u64) -> Self {
        let mine = LifeEntry { life: me, up: AtomicBool::new(true), forgotten: AtomicBool::new(false) };
        let partition =
            || CachePadded::new(RwLock::new(Partition { views: vec![Digest::default()], ..Default::default() }));
        Self {
            partitions: (0..PARTITIONS).map(|_| partition()).collect(),
            lives: ArcSwap::from_pointee(vec![Arc::new(mine)]),
            change_lives: Mutex::new(()),
            types: Types::default(),
            hasher: SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed()),
            last_epoch: AtomicU64::new(0),
        }
    }

    /// This node's life.
    pub fn me(&self) -> Life {
        self.lives.load()[usize::from(ME)].life.clone()
    }

    /// Marks a life as up, making its empty set where it is new. Answers whether it was new or down before.
    /// O(1) for a return.
    ///
    /// # Errors
    /// [`Error::Full`] beyond [`LIVES_MAX`] lives.
    pub fn up(&self, life: &Life) -> Result<bool> {
        if let Some((_, entry)) = self.find_life(life) {
            return Ok(!entry.up.swap(true, Ordering::AcqRel));
        }
        self.add_life(life)?;
        Ok(true)
    }

    /// Marks a life as down: one flag, whatever the number of its sensors. Answers whether it was up.
    pub fn down(&self, life: &Life) -> bool {
        self.find_life(life).is_some_and(|(at, entry)| at != ME && entry.up.swap(false, Ordering::AcqRel))
    }

    /// Gives a life up for good; [`sweep`](Self::sweep) removes its claims.
    pub fn forget(&self, life: &Life) {
        if let Some((at, entry)) = self.find_life(life).filter(|(at, _)| *at != ME) {
            entry.up.store(false, Ordering::Release);
            entry.forgotten.store(true, Ordering::Release);
            debug_assert_ne!(at, ME);
        }
    }

    /// Removes the claims of forgotten lives from one partition. When all partitions were swept since the last
    /// [`forget`](Self::forget), call [`reuse`](Self::reuse).
    pub fn sweep(&self, partition: u8) {
        let lives = self.lives.load();
        let gone: Vec<bool> = lives.iter().map(|entry| entry.forgotten.load(Ordering::Acquire)).collect();
        if gone.contains(&true) {
            self.partitions[usize::from(partition)].write().drop_lives(&gone, &self.hasher);
        }
    }

    /// Frees the places of the given lives, forgotten and swept out of every partition.
    pub fn reuse(&self, lives: &[Life]) {
        let _guard = self.change_lives.lock();
        let mut list = Vec::clone(&self.lives.load());
        for entry in &mut list {
            if lives.contains(&entry.life) && entry.forgotten.load(Ordering::Acquire) {
                let name = NodeName::from_host("free");
                let free = LifeEntry {
                    life: Life { node: name, incarnation: 0 },
                    up: AtomicBool::new(false),
                    forgotten: AtomicBool::new(true),
                };
                *entry = Arc::new(free);
            }
        }
        self.lives.store(Arc::new(list));
    }

    /// Whether a life is up.
    pub fn is_up(&self, life: &Life) -> bool {
        self.find_life(life).is_some_and(|(_, entry)| entry.up.load(Ordering::Acquire))
    }

    /// The lives that are up, this node's first.
    pub fn lives_up(&self) -> Vec<Life> {
        let lives = self.lives.load();
        lives.iter().filter(|entry| entry.up.load(Ordering::Acquire)).map(|entry| entry.life.clone()).collect()
    }

    fn key<'a>(&self, id: &'a str) -> Key<'a> {
        Key { id, wire: xxh64(id.as_bytes()), hash: self.hasher.hash_one(id) }
    }

    fn find_life(&self, life: &Life) -> Option<(u16, Arc<LifeEntry>)> {
        let lives = self.lives.load();
        let at = lives.iter().position(|entry| entry.life == *life && !entry.forgotten.load(Ordering::Acquire))?;
        Some((at as u16, lives[at].clone()))
    }

    fn add_life(&self, life: &Life) -> Result<()> {
        let _guard = self.change_lives.lock();
        let mut list = Vec::clone(&self.lives.load());
        let entry = LifeEntry { life: life.clone(), up: AtomicBool::new(true), forgotten: AtomicBool::new(false) };
        let free = list.iter().position(|entry| entry.life.incarnation == 0 && entry.forgotten.load(Ordering::Acquire));
        let at = free.unwrap_or(list.len());
        if at >= LIVES_MAX {
            return Err(Error::Full { what: "lives of nodes", max: LIVES_MAX });
        }
        for partition in &self.partitions {
            let views = &mut partition.write().views;
            views.resize(views.len().max(at + 1), Digest::default());
            views[at] = Digest::default();
        }
        match free {
            Some(at) => list[at] = Arc::new(entry),
            None => list.push(Arc::new(entry)),
        }
        self.lives.store(Arc::new(list));
        Ok(())
    }
}

// === impl Directory: lookups ===

impl Directory {
    /// Who owns a sensor: the claim that beats the others among lives that are up. One read lock, two hashes, no
    /// allocation.
    pub fn owner_of(&self, sensor: &str) -> Option<Owner> {
        let key = self.key(sensor);
        let partition = self.partitions[usize::from(key.partition())].read();
        let lives = self.lives.load();
        partition.winner(key, &lives).map(|entry| owner(entry, &lives))
    }

    /// The type of a sensor's winning claim.
    pub fn type_of(&self, sensor: &str) -> Option<SensorType> {
        let key = self.key(sensor);
        let partition = self.partitions[usize::from(key.partition())].read();
        let entry = partition.winner(key, &self.lives.load())?;
        Some(self.types.get(entry.kind))
    }

    /// How many sensors a life claims, as far as is known here. Reads all partitions.
    pub fn count(&self, life: &Life) -> u64 {
        let Some((at, _)) = self.find_life(life) else { return 0 };
        self.partitions.iter().map(|partition| u64::from(partition.read().views[usize::from(at)].count)).sum()
    }

    /// One page of a listing: the sensors of one partition after `after`, in order of ids, that match and have an
    /// owner up; consistent, since the partition is read under one lock. Sorts the partition.
    pub fn page(&self, partition: u8, after: Option<&str>, filter: &Filter, limit: usize) -> Vec<Listed> {
        let lives = self.lives.load();
        let guard = self.partitions[usize::from(partition)].read();
        let mut found: Vec<(&str, Entry)> = guard
            .live_entries()
            .filter(|(id, entry)| {
                after.is_none_or(|after| *id > after) && lives[usize::from(entry.life)].up.load(Ordering::Acquire)
            })
            .filter(|(id, entry)| {
                filter.matches_sensor(
                    id,
                    self.types.get(entry.kind).as_str(),
                    lives[usize::from(entry.life)].life.node.as_str(),
                )
            })
            .filter(|(id, entry)| {
                let winner = guard.winner(self.key(id), &lives);
                winner.is_some_and(|winner| winner.life == entry.life)
            })
            .collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
            .into_iter()
            .take(limit)
            .filter_map(|(id, entry)| {
                let sensor = SensorId::new(id).ok()?;
                Some(Listed { sensor, sensor_type: self.types.get(entry.kind), owner: owner(entry, &lives) })
            })
            .collect()
    }
}

// === impl Directory: this node's own set ===

impl Directory {
    /// Claims a sensor for this node under the rules of ownership. `now` is the clock in microseconds.
    ///
    /// # Errors
    /// [`Error::Full`] beyond the types of a cluster.
    pub fn claim(
        &self,
        sensor: &SensorId,
        sensor_type: &SensorType,
        takeover: bool,
        now: u64,
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<Claimed> {
        let kind = self.types.intern(sensor_type.as_str())?;
        let id = sensor.as_str();
        let key = self.key(id);
        let mut partition = self.partitions[usize::from(key.partition())].write();
        let lives = self.lives.load();
        let before = partition.winner(key, &lives);
        match before {
            Some(entry) if entry.life == ME => return Ok(Claimed::Held(entry.epoch)),
            Some(entry) if !takeover => return Ok(Claimed::Refused(owner(entry, &lives))),
            _ => {}
        }
        let known = partition.matching(key).map(|entry| entry.epoch).max().unwrap_or(0);
        let epoch = match fault::is_on(Fault::EpochGoesBack) {
            true => now,
            false => self.next_epoch(now.max(known.saturating_add(1))),
        };
        partition.set(key, Entry { epoch, id_at: 0, life: ME, kind }, &self.types, &self.hasher);
        partition.pending.0 += 1;
        encode_op(ClaimOp::Claim { sensor: id, sensor_type: sensor_type.as_str(), epoch }, &mut partition.pending.1);
        let from = before.map(|entry| owner(entry, &lives));
        let after = Some(Owner { life: lives[usize::from(ME)].life.clone(), epoch, local: true });
        let beaten = from.clone();
        emit(Change { sensor: id, sensor_type: sensor_type.as_str(), before: from.clone(), after, beaten });
        Ok(Claimed::New { epoch, from })
    }

    /// Ends this node's claim of that epoch. Answers whether it stood.
    pub fn release(&self, sensor: &str, epoch: Epoch, emit: &mut dyn FnMut(Change<'_>)) -> bool {
        let key = self.key(sensor);
        let mut partition = self.partitions[usize::from(key.partition())].write();
        let mine = partition.matching(key).find(|entry| entry.life == ME);
        if mine.is_none_or(|entry| entry.epoch != epoch) {
            return false;
        }
        let lives = self.lives.load();
        self.changing(&mut partition, &lives, key, emit, |partition| partition.unset(key, ME, &self.types));
        partition.pending.0 += 1;
        encode_op(ClaimOp::Release { sensor }, &mut partition.pending.1);
        true
    }

    /// Takes the changes since the last flush, one delta per changed partition, and raises those versions.
    pub fn flush(&self) -> Vec<EncodedDelta> {
        (0..=255u8).filter_map(|at| self.partitions[usize::from(at)].write().flush(at)).collect()
    }

    /// One partition of the own set, cut at one version, in chunks of about `chunk_bytes`.
    pub fn cut(&self, at: u8, chunk_bytes: usize) -> Cut {
        let mut partition = self.partitions[usize::from(at)].write();
        let delta = partition.flush(at);
        let mut chunks = vec![(0, Vec::new())];
        for (id, entry) in partition.live_entries().filter(|(_, entry)| entry.life == ME) {
            if chunks.last().is_some_and(|(_, bytes): &(u32, Vec<u8>)| bytes.len() >= chunk_bytes) {
                chunks.push((0, Vec::new()));
            }
            let (count, bytes) = chunks.last_mut().expect("there is always a first chunk");
            let kind = self.types.get(entry.kind);
            encode_op(ClaimOp::Claim { sensor: id, sensor_type: kind.as_str(), epoch: entry.epoch }, bytes);
            *count += 1;
        }
        Cut { version: partition.views[usize::from(ME)].version, chunks, delta }
    }

    /// An epoch that this node never gave out before, at least `least`.
    fn next_epoch(&self, least: Epoch) -> Epoch {
        let step = |last: u64| Some(least.max(last.saturating_add(1)));
        let last = self.last_epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        least.max(last.unwrap_or_default().saturating_add(1))
    }
}

// === impl Directory: the sets of others ===

impl Directory {
    /// Applies changes that a life says of itself; [`Applied`] says what came of it. Unknown lives are [`Applied::Behind`].
    ///
    /// # Errors
    /// [`Error::Full`] beyond the types of a cluster; the partition is then behind.
    pub fn apply_delta(&self, life: &Life, delta: &Delta<'_>, emit: &mut dyn FnMut(Change<'_>)) -> Result<Applied> {
        let Some((at, _)) = self.find_life(life).filter(|(at, _)| *at != ME) else { return Ok(Applied::Behind) };
        let mut partition = self.partitions[usize::from(delta.partition)].write();
        let have = partition.views[usize::from(at)].version;
        if !fault::is_on(Fault::ZombieEntry) {
            if delta.new <= have {
                return Ok(Applied::Old);
            }
            if delta.base != have {
                return Ok(Applied::Behind);
            }
        }
        let lives = self.lives.load();
        for op in &delta.ops {
            self.apply_op(&mut partition, &lives, (delta.partition, at), *op, emit)?;
        }
        let version = &mut partition.views[usize::from(at)].version;
        *version = delta.new.max(*version);
        Ok(Applied::Done)
    }

    /// Replaces what is known of one partition of a life by a whole cut. A cut older than the view is ignored.
    ///
    /// # Errors
    /// As [`apply_delta`](Self::apply_delta).
    pub fn apply_cut(
        &self,
        life: &Life,
        partition_at: u8,
        version: u64,
        claims: &[ClaimOp<'_>],
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<Applied> {
        let Some((at, _)) = self.find_life(life).filter(|(at, _)| *at != ME) else { return Ok(Applied::Behind) };
        let mut partition = self.partitions[usize::from(partition_at)].write();
        if version < partition.views[usize::from(at)].version {
            return Ok(Applied::Old);
        }
        let lives = self.lives.load();
        let said: hashbrown::HashSet<&str, SeedableRandomState> = {
            let mut said = hashbrown::HashSet::with_capacity_and_hasher(claims.len(), self.hasher.clone());
            said.extend(claims.iter().map(|op| match op {
                ClaimOp::Claim { sensor, .. } | ClaimOp::Release { sensor } => *sensor,
            }));
            said
        };
        let unsaid: Vec<String> = partition
            .live_entries()
            .filter(|(id, entry)| entry.life == at && !said.contains(id))
            .map(|(id, _)| id.to_owned())
            .collect();
        for sensor in &unsaid {
            self.apply_op(&mut partition, &lives, (partition_at, at), ClaimOp::Release { sensor }, emit)?;
        }
        for op in claims {
            self.apply_op(&mut partition, &lives, (partition_at, at), *op, emit)?;
        }
        partition.views[usize::from(at)].version = version;
        Ok(Applied::Done)
    }

    /// Tells every claim that is beaten where a life claims a sensor that others claim too: what its return means, since
    /// changes of a set are not told while its life is down. Walks that life's claims.
    pub fn conflicts(&self, life: &Life, emit: &mut dyn FnMut(Change<'_>)) {
        let Some((at, _)) = self.find_life(life) else { return };
        let lives = self.lives.load();
        for partition in &self.partitions {
            let partition = partition.read();
            for (sensor, _) in partition.live_entries().filter(|(_, entry)| entry.life == at) {
                let key = self.key(sensor);
                let winner = partition.winner(key, &lives);
                let Some(beaten) = winner.and_then(|winner| partition.beaten_by(winner, key, &lives)) else {
                    continue;
                };
                let after = winner.map(|entry| owner(entry, &lives));
                let kind = self.types.get(beaten.kind);
                let beaten = Some(owner(beaten, &lives));
                emit(Change { sensor, sensor_type: kind.as_str(), before: after.clone(), after, beaten });
            }
        }
    }

    /// The digests of all partitions of a life's set, as far as known here; for this node, as flushed.
    pub fn digests(&self, life: &Life) -> Option<Vec<Digest>> {
        let (at, _) = self.find_life(life)?;
        Some(self.partitions.iter().map(|partition| partition.read().views[usize::from(at)]).collect())
    }

    /// Hash over [`digests`](Self::digests): equal on two nodes when both hold the same set at the same versions.
    pub fn set_hash(&self, life: &Life) -> Option<u64> {
        self.digests(life).map(|digests| set_hash(digests.into_iter()))
    }

    fn apply_op(
        &self,
        partition: &mut Partition,
        lives: &[Arc<LifeEntry>],
        (partition_at, life): (u8, u16),
        op: ClaimOp<'_>,
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<()> {
        match op {
            ClaimOp::Claim { sensor, sensor_type, epoch } => {
                let key = self.key(sensor);
                if key.partition() != partition_at {
                    return Err(Error::Wire { at: 0, rule: "a claim outside its partition" });
                }
                let kind = self.types.intern(sensor_type)?;
                let entry = Entry { epoch, id_at: 0, life, kind };
                self.changing(partition, lives, key, emit, |partition| {
                    partition.set(key, entry, &self.types, &self.hasher);
                });
            }
            ClaimOp::Release { sensor } => {
                let key = self.key(sensor);
                if fault::is_on(Fault::UnscopedDelete) {
                    (0..lives.len()).for_each(|at| partition.unset(key, at as u16, &self.types));
                }
                self.changing(partition, lives, key, emit, |partition| partition.unset(key, life, &self.types));
            }
        }
        Ok(())
    }

    /// Makes a change of one life's claim, and tells it where the winner is another one afterwards or a standing claim
    /// is beaten.
    fn changing(
        &self,
        partition: &mut Partition,
        lives: &[Arc<LifeEntry>],
        key: Key<'_>,
        emit: &mut dyn FnMut(Change<'_>),
        change: impl FnOnce(&mut Partition),
    ) {
        let before = partition.winner(key, lives);
        change(partition);
        let after = partition.winner(key, lives);
        let beaten = after.and_then(|after| partition.beaten_by(after, key, lives));
        let claim = |entry: Option<Entry>| entry.map(|entry| (entry.life, entry.epoch));
        if claim(before) == claim(after) && beaten.is_none() {
            return;
        }
        let kind = after.or(before).map(|entry| self.types.get(entry.kind)).unwrap_or_default();
        let owner = |entry: Option<Entry>| entry.map(|entry| owner(entry, lives));
        let (before, after, beaten) = (owner(before), owner(after), owner(beaten));
        emit(Change { sensor: key.id, sensor_type: kind.as_str(), before, after, beaten });
    }
}

fn owner(entry: Entry, lives: &[Arc<LifeEntry>]) -> Owner {
    Owner { life: lives[usize::from(entry.life)].life.clone(), epoch: entry.epoch, local: entry.life == ME }
}

// === impl Partition ===

impl Partition {
    fn id(&self, entry: Entry) -> &str {
        let at = entry.id_at as usize;
        let length = usize::from(self.ids[at]) + 1;
        std::str::from_utf8(&self.ids[at + 1..=at + length]).unwrap_or_default()
    }

    fn live_entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.entries.iter().filter(|entry| entry.life != FREE).map(|entry| (self.id(*entry), *entry))
    }

    /// The claims of a sensor, mostly one.
    fn matching(&self, key: Key<'_>) -> impl Iterator<Item = Entry> {
        self.index
            .iter_hash(key.hash)
            .map(|at| self.entries[*at as usize])
            .filter(move |entry| self.id_bytes(*entry) == key.id.as_bytes())
    }

    fn id_bytes(&self, entry: Entry) -> &[u8] {
        let at = entry.id_at as usize;
        &self.ids[at + 1..=at + usize::from(self.ids[at]) + 1]
    }

    fn winner(&self, key: Key<'_>, lives: &[Arc<LifeEntry>]) -> Option<Entry> {
        let up = |entry: &Entry| lives[usize::from(entry.life)].up.load(Ordering::Acquire);
        let node = |entry: &Entry| &lives[usize::from(entry.life)].life.node;
        self.matching(key).filter(up).reduce(|a, b| if beats((b.epoch, node(&b)), (a.epoch, node(&a))) { b } else { a })
    }

    /// A claim of a life that is up, other than the winner's.
    fn beaten_by(&self, winner: Entry, key: Key<'_>, lives: &[Arc<LifeEntry>]) -> Option<Entry> {
        let up = |entry: &Entry| lives[usize::from(entry.life)].up.load(Ordering::Acquire);
        self.matching(key).filter(up).find(|entry| entry.life != winner.life)
    }

    fn find(&self, key: Key<'_>, life: u16) -> Option<u32> {
        let is_it = |at: &u32| {
            let entry = self.entries[*at as usize];
            entry.life == life && self.id_bytes(entry) == key.id.as_bytes()
        };
        self.index.find(key.hash, is_it).copied()
    }

    /// Puts a claim into its life's set, in place of an earlier one of the same life.
    fn set(&mut self, key: Key<'_>, entry: Entry, types: &Types, hasher: &SeedableRandomState) {
        debug_assert!(!key.id.is_empty() && key.id.len() <= SENSOR_ID_MAX, "ids were checked where they came in");
        self.unset(key, entry.life, types);
        let id_at = self.ids.len() as u32;
        self.ids.push((key.id.len() - 1) as u8);
        self.ids.extend_from_slice(key.id.as_bytes());
        let entry = Entry { id_at, ..entry };
        let at = self.free.pop().unwrap_or(self.entries.len() as u32);
        match self.entries.get_mut(at as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        let Self { index, entries, ids, .. } = self;
        index.insert_unique(key.hash, at, |at| hasher.hash_one(text_at(ids, entries[*at as usize].id_at)));
        self.count(key, entry, types, true);
    }

    /// Takes a claim out of its life's set, if it is there.
    fn unset(&mut self, key: Key<'_>, life: u16, types: &Types) {
        let Some(at) = self.find(key, life) else { return };
        if let Ok(found) = self.index.find_entry(key.hash, |candidate| *candidate == at) {
            found.remove();
        }
        let entry = self.entries[at as usize];
        self.count(key, entry, types, false);
        self.release_entry(at);
        self.pack_ids();
    }

    fn release_entry(&mut self, at: u32) {
        self.ids_dead += self.id_bytes(self.entries[at as usize]).len() + 1;
        self.entries[at as usize].life = FREE;
        self.free.push(at);
    }

    fn count(&mut self, key: Key<'_>, entry: Entry, types: &Types, add: bool) {
        let hash = claim_hash(key.wire, entry.epoch, types.hash(entry.kind));
        let view = &mut self.views[usize::from(entry.life)];
        if add {
            view.count += 1;
            view.sum = view.sum.wrapping_add(hash);
        } else {
            view.count -= 1;
            view.sum = view.sum.wrapping_sub(hash);
        }
    }

    /// Moves the living ids together once more than half of the bytes are dead.
    fn pack_ids(&mut self) {
        if self.ids_dead < 4096 || self.ids_dead * 2 < self.ids.len() {
            return;
        }
        let mut packed = Vec::with_capacity(self.ids.len() - self.ids_dead);
        for entry in self.entries.iter_mut().filter(|entry| entry.life != FREE) {
            let at = entry.id_at as usize;
            entry.id_at = packed.len() as u32;
            packed.extend_from_slice(&self.ids[at..=at + usize::from(self.ids[at]) + 1]);
        }
        self.ids = packed;
        self.ids_dead = 0;
    }

    fn drop_lives(&mut self, gone: &[bool], hasher: &SeedableRandomState) {
        for at in 0..self.entries.len() {
            let entry = self.entries[at];
            if entry.life == FREE || !gone[usize::from(entry.life)] {
                continue;
            }
            let hash = hasher.hash_one(self.id(entry));
            if let Ok(found) = self.index.find_entry(hash, |candidate| *candidate as usize == at) {
                found.remove();
            }
            self.release_entry(at as u32);
        }
        for (view, _) in self.views.iter_mut().zip(gone).filter(|(_, gone)| **gone) {
            *view = Digest::default();
        }
        self.pack_ids();
    }

    fn flush(&mut self, partition: u8) -> Option<EncodedDelta> {
        let (count, ops) = std::mem::take(&mut self.pending);
        if count == 0 {
            return None;
        }
        let view = &mut self.views[usize::from(ME)];
        view.version += 1;
        Some(EncodedDelta { partition, base: view.version - 1, new: view.version, count, ops })
    }
}

fn text_at(ids: &[u8], at: u32) -> &str {
    let at = at as usize;
    std::str::from_utf8(&ids[at + 1..=at + usize::from(ids[at]) + 1]).unwrap_or_default()
}

// === impl Types ===

/// The sensor types of the cluster, each stored once. They are few and never freed; reading them takes no lock.
#[derive(Default)]
struct Types {
    known: ArcSwap<KnownTypes>,
    /// Guards changes of `known`.
    change: Mutex<()>,
}

#[derive(Clone, Default)]
struct KnownTypes {
    /// With the hash of the name that nodes agree on.
    list: Vec<(SensorType, u64)>,
    by_name: hashbrown::HashMap<SensorType, u16, foldhash::quality::RandomState>,
}

impl Types {
    fn get(&self, kind: u16) -> SensorType {
        self.known.load().list.get(usize::from(kind)).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn hash(&self, kind: u16) -> u64 {
        self.known.load().list.get(usize::from(kind)).map_or(0, |(_, hash)| *hash)
    }

    fn intern(&self, name: &str) -> Result<u16> {
        if let Some(kind) = self.known.load().by_name.get(name) {
            return Ok(*kind);
        }
        let _guard = self.change.lock();
        let mut known = KnownTypes::clone(&self.known.load());
        if let Some(kind) = known.by_name.get(name) {
            return Ok(*kind);
        }
        if known.list.len() >= TYPES_MAX {
            return Err(Error::Full { what: "sensor types", max: TYPES_MAX });
        }
        let sensor_type = SensorType::new(name)?;
        let kind = known.list.len() as u16;
        known.by_name.insert(sensor_type.clone(), kind);
        known.list.push((sensor_type, xxh64(name.as_bytes())));
        self.known.store(Arc::new(known));
        Ok(kind)
    }
}

#[cfg(test)]
mod tests;

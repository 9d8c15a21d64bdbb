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
//! Claims lie in 256 partitions by a fixed hash of the sensor id, each with its digests. Look-ups take no lock (see
//! `directory/store.rs`); changes take their partition's. A claim of a sensor whose id has 24 bytes costs 40 bytes, its
//! place in the index 11 to 22.

mod lives;
mod store;
mod types;

use std::hash::{BuildHasher, Hasher};

use crossbeam_utils::CachePadded;
use foldhash::quality::SeedableRandomState;

use crate::codec::{ClaimOp, Delta, Digest, EPOCH_MAX, EncodedDelta, encode_op, set_hash};
use crate::error::{Error, Result};
use crate::fault::{self, Fault};
use crate::hash::{claim_hash, xxh64};
use crate::key::Filter;
use crate::reading::{Epoch, Life, NodeName, SensorId, SensorType};
use crate::sync::atomic::{AtomicU64, Ordering};
use lives::{List, Lives};
use store::{Claim, IdBuffer, Record, Store, Writer};
use types::{Kind, LastKind, Types};

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

/// A change of who owns a sensor, or a claim found beaten, as this node sees it. Its parts are looked up when asked for.
pub struct Change<'a> {
    /// Whose owner changed.
    pub sensor: &'a str,
    directory: &'a Directory,
    before: Option<Claim>,
    after: Option<Claim>,
    beaten: Option<Claim>,
}

impl Change<'_> {
    /// What kind of thing the sensor is, as its present owner says, or its last.
    pub fn sensor_type(&self) -> SensorType {
        self.after.or(self.before).map(|claim| self.directory.types.get(claim.kind)).unwrap_or_default()
    }

    /// Who owned it.
    pub fn before(&self) -> Option<Owner> {
        self.before.map(|claim| self.directory.owner(claim))
    }

    /// Who owns it now.
    pub fn after(&self) -> Option<Owner> {
        self.after.map(|claim| self.directory.owner(claim))
    }

    /// A claim that stands and is beaten: its node has to hear of the winner.
    pub fn beaten(&self) -> Option<Owner> {
        self.beaten.map(|claim| self.directory.owner(claim))
    }

    /// Whether the sensor has another owner or epoch than before, and had one.
    pub fn is_move(&self) -> bool {
        self.before.is_some() && self.after.is_some() && identity(self.before) != identity(self.after)
    }

    /// Whether the sensor has another owner or epoch than before, had none, or has none any more.
    pub fn is_other_owner(&self) -> bool {
        identity(self.before) != identity(self.after)
    }

    /// Whether a standing claim was found beaten.
    pub fn is_contested(&self) -> bool {
        self.beaten.is_some()
    }
}

fn identity(claim: Option<Claim>) -> Option<(u16, Epoch)> {
    claim.map(|claim| (claim.life, claim.epoch))
}

fn owner(claim: Claim, lives: &List) -> Owner {
    Owner { life: lives::of(lives, claim.life), epoch: claim.epoch, local: claim.life == ME }
}

/// Where a sensor is, without names: what a look-up answers in the fewest steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The owning life's number, for [`Directory::life`]; 0 is this node.
    pub life: u16,
    /// The claim's number.
    pub epoch: Epoch,
}

impl Located {
    /// Whether this node owns it.
    pub fn is_local(self) -> bool {
        self.life == ME
    }
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

/// A view of who owns what. All methods take `&self`.
pub struct Directory {
    partitions: Box<[CachePadded<Store<Books>>]>,
    lives: Lives,
    types: Types,
    hasher: SeedableRandomState,
    last_epoch: AtomicU64,
}

/// What a partition's lock guards beside its claims.
#[derive(Debug, Default)]
struct Books {
    /// Per life: how far its set is known here. This node's has changes that were not flushed yet.
    views: Vec<Digest>,
    /// Changes of this node's own set since the last flush, encoded, and their number.
    pending: (u32, Vec<u8>),
    /// This node's own set as of the last flush: what the deltas told so far add up to.
    flushed: Digest,
    last_kind: LastKind,
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

    fn place(&self) -> (u64, &[u8]) {
        (self.hash, self.id.as_bytes())
    }
}

/// A claim so near the highest epoch, which no clock reaches before the year 2255, is not beaten any more: what is left
/// above it is for claims that rise by one.
const EPOCH_MARGIN: Epoch = 1 << 32;
/// The number of this node's own life.
const ME: u16 = 0;
/// Look-ups of [`Directory::locate_many`] that wait for memory together.
const TOGETHER: usize = 32;

// === impl Directory: lives ===

impl Directory {
    /// A directory that knows nothing but this node's life. `seed` seeds the hash of ids in memory.
    pub fn new(me: Life, seed: u64) -> Self {
        let books = || Books { views: vec![Digest::default()], ..Books::default() };
        Self {
            partitions: (0..PARTITIONS).map(|_| CachePadded::new(Store::new(books()))).collect(),
            lives: Lives::new(me),
            types: Types::default(),
            hasher: SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed()),
            last_epoch: AtomicU64::new(0),
        }
    }

    /// This node's life.
    pub fn me(&self) -> Life {
        self.lives.list()[usize::from(ME)].life.clone()
    }

    /// The life of a number that [`locate`](Self::locate) answered; `None` once it is given up.
    pub fn life(&self, number: u16) -> Option<Life> {
        self.lives.list().get(usize::from(number)).map(|entry| entry.life.clone()).filter(|life| life.incarnation != 0)
    }

    /// The name of the node of such a life. No count of references where the name is short; a lock, for an instant, where
    /// lives came or were forgotten since this thread last asked.
    pub fn node_of(&self, number: u16) -> NodeName {
        lives::of(&self.lives.list(), number).node
    }

    /// Marks a life as up, making its empty set where it is new. Answers whether it was new or down before.
    /// O(1) for a return.
    ///
    /// # Errors
    /// [`Error::Full`] beyond [`LIVES_MAX`] lives.
    pub fn up(&self, life: &Life) -> Result<bool> {
        if let Some(number) = self.lives.find(life) {
            return Ok(self.lives.set_up(number, true));
        }
        self.lives.add(life, |at| {
            for partition in &self.partitions {
                let views = &mut partition.lock().books.views;
                views.resize(views.len().max(at + 1), Digest::default());
                views[at] = Digest::default();
            }
        })?;
        Ok(true)
    }

    /// Marks a life as down: one flag, whatever the number of its sensors. Answers whether it was up.
    pub fn down(&self, life: &Life) -> bool {
        self.other(life).is_some_and(|number| self.lives.set_up(number, false))
    }

    /// Gives a life up for good; [`sweep`](Self::sweep) removes its claims.
    pub fn forget(&self, life: &Life) {
        if let Some(number) = self.other(life) {
            self.lives.forget(number);
        }
    }

    /// Removes the claims of forgotten lives from one partition. When all partitions were swept since the last
    /// [`forget`](Self::forget), call [`reuse`](Self::reuse).
    pub fn sweep(&self, partition: u8) {
        let gone = self.lives.forgotten();
        if !gone.contains(&true) {
            return;
        }
        let store = &self.partitions[usize::from(partition)];
        let writer = &mut *store.lock();
        let mut buffer = IdBuffer::default();
        let of_gone = |record: &Record| gone.get(usize::from(record.claim.life)) == Some(&true);
        let records: Vec<Record> = store.records(writer).filter(of_gone).collect();
        for record in records {
            let id = store.id(record, &mut buffer);
            store.unset(writer, (self.hash_id(id.as_bytes()), id.as_bytes()), record.claim.life);
        }
        for (view, _) in writer.books.views.iter_mut().zip(gone).filter(|(_, gone)| *gone) {
            *view = Digest::default();
        }
    }

    /// Frees the numbers of the given lives, forgotten and swept out of every partition.
    pub fn reuse(&self, lives: &[Life]) {
        self.lives.reuse(lives);
    }

    /// Whether a life is up.
    pub fn is_up(&self, life: &Life) -> bool {
        self.lives.find(life).is_some_and(|number| self.lives.is_up(number))
    }

    /// The lives that are up, this node's first.
    pub fn lives_up(&self) -> Vec<Life> {
        let list = self.lives.list();
        let numbered = (0u16..).zip(list.iter());
        numbered.filter(|(number, _)| self.lives.is_up(*number)).map(|(_, entry)| entry.life.clone()).collect()
    }

    fn key<'a>(&self, id: &'a str) -> Key<'a> {
        Key { id, wire: xxh64(id.as_bytes()), hash: self.hash_id(id.as_bytes()) }
    }

    fn hash_id(&self, id: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(id);
        hasher.finish()
    }

    fn store(&self, key: Key<'_>) -> &Store<Books> {
        &self.partitions[usize::from(key.partition())]
    }

    /// The number of a life that is not this node's.
    fn other(&self, life: &Life) -> Option<u16> {
        self.lives.find(life).filter(|number| *number != ME)
    }
}

// === impl Directory: look-ups ===

impl Directory {
    /// Where a sensor is: the claim that beats the others among lives that are up. No lock, no allocation, two hashes,
    /// and two lines of memory that are rarely in the cache where sensors are many.
    pub fn locate(&self, sensor: &str) -> Option<Located> {
        self.located(self.key(sensor))
    }

    /// [`locate`](Self::locate) for many sensors at a time, whose waits for memory overlap: `answer` is told in their
    /// order.
    pub fn locate_many<S: AsRef<str>>(&self, sensors: &[S], mut answer: impl FnMut(Option<Located>)) {
        let mut keys: [Key<'_>; TOGETHER] = [Key { id: "", wire: 0, hash: 0 }; TOGETHER];
        let mut places = [0u32; TOGETHER];
        for group in sensors.chunks(TOGETHER) {
            let begins = group.iter().map(|sensor| sensor.as_ref().as_bytes().first().copied().unwrap_or_default());
            std::hint::black_box(begins.fold(0, |sum, byte| sum ^ byte));
            for (key, sensor) in keys.iter_mut().zip(group) {
                *key = self.key(sensor.as_ref());
            }
            let keys = &keys[..group.len()];
            for (place, key) in places.iter_mut().zip(keys) {
                *place = self.store(*key).touch_slot(key.hash);
            }
            let touched =
                keys.iter().zip(places).map(|(key, place)| self.store(*key).touch_record(place, key.id.len()));
            std::hint::black_box(touched.fold(0, |sum, word| sum ^ word));
            keys.iter().for_each(|key| answer(self.located(*key)));
        }
    }

    /// Who owns a sensor: [`locate`](Self::locate), and the owner's name (one reference count).
    pub fn owner_of(&self, sensor: &str) -> Option<Owner> {
        self.winner(self.key(sensor)).map(|claim| self.owner(claim))
    }

    /// The type of a sensor's winning claim.
    pub fn type_of(&self, sensor: &str) -> Option<SensorType> {
        self.winner(self.key(sensor)).map(|claim| self.types.get(claim.kind))
    }

    fn located(&self, key: Key<'_>) -> Option<Located> {
        self.winner(key).map(|claim| Located { life: claim.life, epoch: claim.epoch })
    }

    fn winner(&self, key: Key<'_>) -> Option<Claim> {
        self.store(key).read(|store| self.winner_in(store, key))
    }

    fn winner_in(&self, store: &Store<Books>, key: Key<'_>) -> Option<Claim> {
        let mut best = None;
        store.visit(key.hash, key.id.as_bytes(), |record| best = self.better(best, record.claim));
        best
    }

    fn better(&self, best: Option<Claim>, claim: Claim) -> Option<Claim> {
        let wins = self.lives.is_up(claim.life) && best.is_none_or(|best| self.claim_beats(claim, best));
        if wins { Some(claim) } else { best }
    }

    fn owner(&self, claim: Claim) -> Owner {
        owner(claim, &self.lives.list())
    }

    fn claim_beats(&self, a: Claim, b: Claim) -> bool {
        if a.epoch != b.epoch {
            return a.epoch > b.epoch;
        }
        let list = self.lives.list();
        let node = |claim: Claim| list.get(usize::from(claim.life)).map(|entry| &entry.life.node);
        match (node(a), node(b)) {
            (Some(of_a), Some(of_b)) => beats((a.epoch, of_a), (b.epoch, of_b)),
            (of_a, _) => of_a.is_some(),
        }
    }

    /// How many sensors a life claims, as far as is known here. Reads all partitions.
    pub fn count(&self, life: &Life) -> u64 {
        let Some(at) = self.lives.find(life) else { return 0 };
        self.partitions.iter().map(|partition| u64::from(partition.lock().books.views[usize::from(at)].count)).sum()
    }

    /// How many claims are held, of all lives, and how many the views of all lives count: equal, whatever came and went.
    /// Reads all partitions.
    pub fn audit(&self) -> (u64, u64) {
        let (mut held, mut said) = (0, 0);
        for store in &self.partitions {
            let writer = store.lock();
            held += store.records(&writer).count() as u64;
            said += writer.books.views.iter().map(|view| u64::from(view.count)).sum::<u64>();
        }
        (held, said)
    }

    /// One page of a listing: the sensors of one partition after `after`, in order of ids, that match and have an
    /// owner up; consistent, since the partition is read under one lock. Sorts what matches.
    pub fn page(&self, partition: u8, after: Option<&str>, filter: &Filter, limit: usize) -> Vec<Listed> {
        let list = self.lives.list();
        let store = &self.partitions[usize::from(partition)];
        let writer = store.lock();
        let mut buffer = IdBuffer::default();
        let mut found = Vec::new();
        for record in store.records(&writer).filter(|record| self.lives.is_up(record.claim.life)) {
            let id = store.id(record, &mut buffer);
            let claim = record.claim;
            let node = list.get(usize::from(claim.life)).map_or("", |entry| entry.life.node.as_str());
            if after.is_none_or(|after| id > after)
                && filter.matches_sensor(id, self.types.get(claim.kind).as_str(), node)
                && identity(self.winner_in(store, self.key(id))) == identity(Some(claim))
            {
                found.push((id.to_owned(), claim));
            }
        }
        drop(writer);
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found
            .into_iter()
            .take(limit)
            .filter_map(|(id, claim)| {
                let sensor = SensorId::new(id).ok()?;
                Some(Listed { sensor, sensor_type: self.types.get(claim.kind), owner: owner(claim, &list) })
            })
            .collect()
    }
}

// === impl Directory: this node's own set ===

impl Directory {
    /// Claims a sensor for this node under the rules of ownership. `now` is the clock in microseconds.
    ///
    /// # Errors
    /// [`Error::Full`] beyond the types of a cluster, or the claims of a partition.
    pub fn claim(
        &self,
        sensor: &SensorId,
        sensor_type: &SensorType,
        takeover: bool,
        now: u64,
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<Claimed> {
        let id = sensor.as_str();
        let key = self.key(id);
        let store = self.store(key);
        let writer = &mut *store.lock();
        let (mut before, mut known) = (None, 0);
        store.visit(key.hash, id.as_bytes(), |record| {
            before = self.better(before, record.claim);
            known = record.claim.epoch.max(known);
        });
        match before {
            Some(claim) if claim.life == ME => return Ok(Claimed::Held(claim.epoch)),
            Some(claim) if !takeover => return Ok(Claimed::Refused(self.owner(claim))),
            _ => {}
        }
        if known >= EPOCH_MAX - EPOCH_MARGIN {
            return Err(Error::Full { what: "claims of this sensor: its epoch", max: EPOCH_MAX as usize });
        }
        let kind = writer.books.last_kind.get(&self.types, sensor_type)?;
        let epoch = match fault::is_on(Fault::EpochGoesBack) {
            true => now,
            false => self.next_epoch(now.max(known.saturating_add(1))),
        };
        let claim = Claim { epoch, life: ME, kind: kind.number };
        self.set(store, writer, key, claim, kind)?;
        writer.books.pending.0 += 1;
        let op = ClaimOp::Claim { sensor: id, sensor_type: sensor_type.as_str(), epoch };
        encode_op(op, &mut writer.books.pending.1);
        emit(Change { sensor: id, directory: self, before, after: Some(claim), beaten: before });
        Ok(Claimed::New { epoch, from: before.map(|claim| self.owner(claim)) })
    }

    /// Ends this node's claim of that epoch. Answers whether it stood.
    pub fn release(&self, sensor: &str, epoch: Epoch, emit: &mut dyn FnMut(Change<'_>)) -> bool {
        let key = self.key(sensor);
        let store = self.store(key);
        let writer = &mut *store.lock();
        let mut stands = false;
        store.visit(key.hash, sensor.as_bytes(), |record| {
            stands |= record.claim.life == ME && record.claim.epoch == epoch;
        });
        if stands {
            self.changing(store, key, ME, emit, || self.unset(store, writer, key, ME));
            writer.books.pending.0 += 1;
            encode_op(ClaimOp::Release { sensor }, &mut writer.books.pending.1);
        }
        stands
    }

    /// Takes the changes since the last flush, one delta per changed partition, and raises those versions.
    pub fn flush(&self) -> Vec<EncodedDelta> {
        (0..=255u8).filter_map(|at| self.partitions[usize::from(at)].lock().books.flush(at)).collect()
    }

    /// One partition of the own set, cut at one version, in chunks of about `chunk_bytes`.
    pub fn cut(&self, at: u8, chunk_bytes: usize) -> Cut {
        let store = &self.partitions[usize::from(at)];
        let mut writer = store.lock();
        let delta = writer.books.flush(at);
        let mut buffer = IdBuffer::default();
        let mut chunks = vec![(0, Vec::new())];
        for record in store.records(&writer).filter(|record| record.claim.life == ME) {
            if chunks.last().is_some_and(|(_, bytes): &(u32, Vec<u8>)| bytes.len() >= chunk_bytes) {
                chunks.push((0, Vec::new()));
            }
            let (count, bytes) = chunks.last_mut().expect("there is always a first chunk");
            let kind = self.types.get(record.claim.kind);
            let sensor = store.id(record, &mut buffer);
            encode_op(ClaimOp::Claim { sensor, sensor_type: kind.as_str(), epoch: record.claim.epoch }, bytes);
            *count += 1;
        }
        Cut { version: writer.books.views[usize::from(ME)].version, chunks, delta }
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
    /// [`Error::Full`] beyond the types of a cluster or the claims of a partition; the partition is then behind.
    pub fn apply_delta(&self, life: &Life, delta: &Delta<'_>, emit: &mut dyn FnMut(Change<'_>)) -> Result<Applied> {
        let Some(at) = self.other(life) else { return Ok(Applied::Behind) };
        let store = &self.partitions[usize::from(delta.partition)];
        let writer = &mut *store.lock();
        let have = writer.books.views[usize::from(at)].version;
        if !fault::is_on(Fault::ZombieEntry) {
            if delta.new <= have {
                return Ok(Applied::Old);
            }
            if delta.base != have {
                return Ok(Applied::Behind);
            }
        }
        let mut said = Said { store, partition: delta.partition, life: at, kind: None };
        for op in &delta.ops {
            self.apply_op(&mut said, writer, *op, emit)?;
        }
        let version = &mut writer.books.views[usize::from(at)].version;
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
        partition: u8,
        version: u64,
        claims: &[ClaimOp<'_>],
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<Applied> {
        let Some(at) = self.other(life) else { return Ok(Applied::Behind) };
        let store = &self.partitions[usize::from(partition)];
        let writer = &mut *store.lock();
        if version < writer.books.views[usize::from(at)].version {
            return Ok(Applied::Old);
        }
        let unsaid = self.unsaid(store, writer, at, claims);
        let mut said = Said { store, partition, life: at, kind: None };
        for sensor in &unsaid {
            self.apply_op(&mut said, writer, ClaimOp::Release { sensor }, emit)?;
        }
        for op in claims {
            self.apply_op(&mut said, writer, *op, emit)?;
        }
        writer.books.views[usize::from(at)].version = version;
        Ok(Applied::Done)
    }

    /// The sensors that a life is known to claim and does not name.
    fn unsaid(&self, store: &Store<Books>, writer: &Writer<Books>, life: u16, named: &[ClaimOp<'_>]) -> Vec<String> {
        if writer.books.views[usize::from(life)].count == 0 {
            return Vec::new();
        }
        let mut said = hashbrown::HashSet::with_capacity_and_hasher(named.len(), self.hasher.clone());
        said.extend(named.iter().map(|op| match op {
            ClaimOp::Claim { sensor, .. } | ClaimOp::Release { sensor } => *sensor,
        }));
        let mut buffer = IdBuffer::default();
        let of_life = store.records(writer).filter(|record| record.claim.life == life);
        let unsaid = of_life.filter_map(|record| {
            let id = store.id(record, &mut buffer);
            (!said.contains(id)).then(|| id.to_owned())
        });
        unsaid.collect()
    }

    /// Tells every claim that is beaten where a life claims a sensor that others claim too: what its return means, since
    /// changes of a set are not told while its life is down. Walks that life's claims.
    pub fn conflicts(&self, life: &Life, emit: &mut dyn FnMut(Change<'_>)) {
        let Some(at) = self.lives.find(life) else { return };
        let mut buffer = IdBuffer::default();
        for store in &self.partitions {
            let writer = store.lock();
            for record in store.records(&writer).filter(|record| record.claim.life == at) {
                let sensor = store.id(record, &mut buffer);
                let key = self.key(sensor);
                let winner = self.winner_in(store, key);
                store.visit(key.hash, sensor.as_bytes(), |other| {
                    let beaten = Some(other.claim).filter(|claim| self.lives.is_up(claim.life));
                    if beaten.is_some() && identity(beaten) != identity(winner) {
                        emit(Change { sensor, directory: self, before: winner, after: winner, beaten });
                    }
                });
            }
        }
    }

    /// Whether a life's claim of a sensor stands and is beaten; by whom.
    pub fn beaten(&self, sensor: &str, loser: &Life) -> Option<(Owner, Owner)> {
        let number = self.lives.find(loser)?;
        let key = self.key(sensor);
        let store = self.store(key);
        let (claim, winner) = store.read(|store| {
            let mut claim = None;
            store.visit(key.hash, sensor.as_bytes(), |record| {
                claim = claim.or(Some(record.claim).filter(|claim| claim.life == number));
            });
            (claim, self.winner_in(store, key))
        });
        let (claim, winner) = (claim.filter(|claim| self.lives.is_up(claim.life))?, winner?);
        let list = self.lives.list();
        (identity(Some(claim)) != identity(Some(winner))).then(|| (owner(claim, &list), owner(winner, &list)))
    }

    /// The digests of all partitions of a life's set, as far as known here; for this node, as flushed.
    pub fn digests(&self, life: &Life) -> Option<Vec<Digest>> {
        let at = self.lives.find(life)?;
        let told = |books: &Books| if at == ME { books.flushed } else { books.views[usize::from(at)] };
        Some(self.partitions.iter().map(|partition| told(&partition.lock().books)).collect())
    }

    /// Hash over [`digests`](Self::digests): equal on two nodes when both hold the same set at the same versions.
    pub fn set_hash(&self, life: &Life) -> Option<u64> {
        self.digests(life).map(|digests| set_hash(digests.into_iter()))
    }

    fn apply_op<'a>(
        &self,
        said: &mut Said<'_, 'a>,
        writer: &mut Writer<Books>,
        op: ClaimOp<'a>,
        emit: &mut dyn FnMut(Change<'_>),
    ) -> Result<()> {
        let (store, life) = (said.store, said.life);
        match op {
            ClaimOp::Claim { sensor, sensor_type, epoch } => {
                let key = self.key(sensor);
                if key.partition() != said.partition {
                    return Err(Error::Wire { at: 0, rule: "a claim outside its partition" });
                }
                let kind = match said.kind {
                    Some((name, kind)) if name == sensor_type => kind,
                    _ => self.types.intern(sensor_type)?,
                };
                said.kind = Some((sensor_type, kind));
                let claim = Claim { epoch, life, kind: kind.number };
                self.changing(store, key, life, emit, || self.set(store, writer, key, claim, kind))
            }
            ClaimOp::Release { sensor } => {
                let key = self.key(sensor);
                if fault::is_on(Fault::UnscopedDelete) {
                    (0..self.lives.list().len()).for_each(|at| self.unset(store, writer, key, at as u16));
                }
                self.changing(store, key, life, emit, || self.unset(store, writer, key, life));
                Ok(())
            }
        }
    }

    /// Makes a change of one life's claim, and tells it where the winner is another one afterwards or that life's claim,
    /// or the one that won before it, stands beaten.
    fn changing<R>(
        &self,
        store: &Store<Books>,
        key: Key<'_>,
        life: u16,
        emit: &mut dyn FnMut(Change<'_>),
        change: impl FnOnce() -> R,
    ) -> R {
        let before = self.winner_in(store, key);
        let answer = change();
        let mut of_life = None;
        let mut still_before = None;
        let mut after: Option<Claim> = None;
        store.visit(key.hash, key.id.as_bytes(), |record| {
            let claim = record.claim;
            if !self.lives.is_up(claim.life) {
                return;
            }
            of_life = of_life.or(Some(claim).filter(|claim| claim.life == life));
            still_before = still_before.or(Some(claim).filter(|claim| identity(Some(*claim)) == identity(before)));
            if after.is_none_or(|after| self.claim_beats(claim, after)) {
                after = Some(claim);
            }
        });
        let loses = |claim: &Claim| identity(Some(*claim)) != identity(after);
        let beaten = of_life.filter(loses).or(still_before.filter(loses));
        if identity(before) != identity(after) || beaten.is_some() {
            emit(Change { sensor: key.id, directory: self, before, after, beaten });
        }
        answer
    }

    fn set(
        &self,
        store: &Store<Books>,
        writer: &mut Writer<Books>,
        key: Key<'_>,
        claim: Claim,
        kind: Kind,
    ) -> Result<()> {
        let replaced = store.set(writer, key.place(), claim, |id| self.hash_id(id))?;
        let view = &mut writer.books.views[usize::from(claim.life)];
        if let Some(replaced) = replaced {
            subtract(view, claim_hash(key.wire, replaced.epoch, self.types.hash(replaced.kind)));
        }
        view.count += 1;
        view.sum = view.sum.wrapping_add(claim_hash(key.wire, claim.epoch, kind.hash));
        Ok(())
    }

    fn unset(&self, store: &Store<Books>, writer: &mut Writer<Books>, key: Key<'_>, life: u16) {
        if let Some(claim) = store.unset(writer, key.place(), life) {
            let hash = claim_hash(key.wire, claim.epoch, self.types.hash(claim.kind));
            subtract(&mut writer.books.views[usize::from(life)], hash);
        }
    }
}

fn subtract(view: &mut Digest, hash: u64) {
    view.count -= 1;
    view.sum = view.sum.wrapping_sub(hash);
}

/// Whose changes are applied, and where.
struct Said<'s, 'a> {
    store: &'s Store<Books>,
    partition: u8,
    life: u16,
    /// The type named last: most changes of a message name the same one.
    kind: Option<(&'a str, Kind)>,
}

impl Books {
    fn flush(&mut self, partition: u8) -> Option<EncodedDelta> {
        let (count, ops) = std::mem::take(&mut self.pending);
        if count == 0 {
            return None;
        }
        let view = &mut self.views[usize::from(ME)];
        view.version += 1;
        self.flushed = *view;
        Some(EncodedDelta { partition, base: view.version - 1, new: view.version, count, ops })
    }
}

#[cfg(test)]
mod tests;

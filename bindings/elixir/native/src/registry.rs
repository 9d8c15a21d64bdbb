//! Which process of this VM registered which sensor, and what becomes of its sensors when it ends. The engine alone
//! knows who owns a sensor in the cluster; here lies the process behind a claim of this node.
//!
//! Every owner is monitored once, however many sensors it has. Its end is told by the VM in the scheduler that ends it,
//! so that a hundred thousand owners end on all cores and fill nobody's mailbox.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable, hash_map, hash_table};
use parking_lot::{Mutex, RwLock};
use rustler::{Env, LocalPid, Monitor, OwnedEnv, Resource, ResourceArc};
use senza::{Engine, OnConflict, Sensor, SensorId};
use senza_core::Epoch;
use senza_core::table::Handle;

use crate::courier::{Courier, Task};
use crate::faults::Fault;
use crate::reaper::{let_go, reap};

/// Locks that look-ups of processes are spread over.
const SENSOR_SHARDS: usize = 256;
/// Locks, and sets of monitors, that owners are spread over.
const OWNER_SHARDS: usize = 64;
/// An owner of more sensors has them unregistered by the courier, so many at a time.
const RELEASE_AT_ONCE: usize = 64;

/// The processes of one node.
pub(crate) struct Registry {
    shared: Arc<Shared>,
    owners: Box<[ResourceArc<Owners>]>,
}

/// What is found by sensor.
struct Shared {
    engine: Arc<Engine>,
    courier: Courier,
    hasher: RandomState,
    sensors: Box<[RwLock<HashTable<Entry>>]>,
    closed: AtomicBool,
}

/// The process behind a claim.
struct Entry {
    sensor: SensorId,
    pid: LocalPid,
    epoch: Epoch,
}

/// What is found by process: a part of the owners. The VM's monitors hang on it.
pub(crate) struct Owners {
    shared: Arc<Shared>,
    owned: Mutex<HashMap<LocalPid, Owned, RandomState>>,
}

struct Owned {
    monitor: Monitor,
    claims: Claims,
}

/// The claims of one owner: mostly one.
enum Claims {
    One(SensorId, Epoch),
    Many(HashMap<SensorId, Epoch, RandomState>),
}

/// What became of a registration.
pub(crate) enum Registered {
    /// It stands: the sensor's place in the table, and the claim's number.
    Here(Handle, Epoch),
    /// A process of this node had registered it.
    Already(LocalPid),
    /// The process is gone.
    NoProcess,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(engine: &Arc<Engine>, courier: Courier) -> Self {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            courier,
            hasher: RandomState::default(),
            sensors: (0..SENSOR_SHARDS).map(|_| RwLock::default()).collect(),
            closed: AtomicBool::new(false),
        });
        let owners = |_| ResourceArc::new(Owners { shared: shared.clone(), owned: Mutex::default() });
        Self { owners: (0..OWNER_SHARDS).map(owners).collect(), shared }
    }

    /// The process that registered a sensor under this claim.
    #[inline]
    pub(crate) fn process(&self, sensor: &str, epoch: Epoch) -> Option<LocalPid> {
        let (hash, shard) = self.shared.shard(sensor);
        let found = shard.read();
        let entry = found.find(hash, |entry| entry.sensor.as_str() == sensor)?;
        (entry.epoch == epoch).then_some(entry.pid)
    }

    /// Registers a sensor for a process. Where a process has registered it that runs no more, but whose end was not
    /// heard yet, the new one takes its place.
    ///
    /// # Errors
    /// As [`Engine::claim`]; `closed` once the node stops.
    pub(crate) fn register(
        &self,
        env: Env<'_>,
        sensor: &Sensor,
        pid: LocalPid,
        on_conflict: OnConflict,
    ) -> Result<Registered, Fault> {
        // Before anything is claimed: what is claimed for nobody would be taken from another node all the same.
        if !env.is_process_alive(pid) {
            return Ok(Registered::NoProcess);
        }
        let id = sensor.id.as_str();
        let (hash, shard) = self.shared.shard(id);
        let mut entries = shard.write();
        // Looked at under the lock: what is added before is cleared, what comes after is refused.
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Fault::closed("node"));
        }
        if let Some(entry) = entries.find(hash, |entry| entry.sensor == sensor.id)
            && entry.pid != pid
            && self.shared.stands(entry)
            && env.is_process_alive(entry.pid)
        {
            return Ok(Registered::Already(entry.pid));
        }
        let held = entries.find(hash, |entry| entry.sensor == sensor.id && entry.pid == pid).map(|entry| entry.epoch);
        let (handle, epoch) = self.shared.engine.claim(sensor, on_conflict)?;
        if held == Some(epoch) {
            // The same process, the same claim: it counts once.
            self.shared.engine.release(id, epoch);
            return Ok(Registered::Here(handle, epoch));
        }
        if !self.own(env, pid, &sensor.id, epoch) {
            self.shared.engine.release(id, epoch);
            return Ok(Registered::NoProcess);
        }
        let entry = Entry { sensor: sensor.id.clone(), pid, epoch };
        let rehash = |entry: &Entry| self.shared.hasher.hash_one(entry.sensor.as_str());
        match entries.entry(hash, |entry| entry.sensor == sensor.id, rehash) {
            hash_table::Entry::Occupied(mut found) => *found.get_mut() = entry,
            hash_table::Entry::Vacant(place) => {
                place.insert(entry);
            }
        }
        Ok(Registered::Here(handle, epoch))
    }

    /// Ends the registration of a sensor by a process, or by whichever made it. Answers whether there was one.
    pub(crate) fn unregister(&self, env: Env<'_>, sensor: &str, by: Option<LocalPid>) -> bool {
        let (hash, shard) = self.shared.shard(sensor);
        let is_it = |entry: &Entry| entry.sensor.as_str() == sensor && by.is_none_or(|pid| pid == entry.pid);
        let Ok(found) = shard.write().find_entry(hash, is_it).map(|found| found.remove().0) else { return false };
        let owners = &self.owners[owner_shard(&self.shared, found.pid)];
        if let Some(monitor) = owners.forget(found.pid, sensor, found.epoch) {
            owners.demonitor(Some(env), &monitor);
        }
        self.shared.engine.release(sensor, found.epoch)
    }

    /// Forgets everybody: the node is closed.
    pub(crate) fn clear(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.sensors.iter().for_each(|shard| shard.write().clear());
        self.owners.iter().for_each(|owners| owners.owned.lock().clear());
    }

    /// Notes a claim with its owner, which is monitored from its first one on. False where it is gone.
    fn own(&self, env: Env<'_>, pid: LocalPid, sensor: &SensorId, epoch: Epoch) -> bool {
        let owners = &self.owners[owner_shard(&self.shared, pid)];
        match owners.owned.lock().entry(pid) {
            hash_map::Entry::Occupied(mut owned) => owned.get_mut().claims.add(sensor, epoch),
            hash_map::Entry::Vacant(place) => {
                let Some(monitor) = owners.monitor(Some(env), &pid) else { return false };
                place.insert(Owned { monitor, claims: Claims::One(sensor.clone(), epoch) });
            }
        }
        true
    }
}

fn owner_shard(shared: &Shared, pid: LocalPid) -> usize {
    shared.hasher.hash_one(pid) as usize % OWNER_SHARDS
}

impl Shared {
    #[inline]
    fn shard(&self, sensor: &str) -> (u64, &RwLock<HashTable<Entry>>) {
        let hash = self.hasher.hash_one(sensor);
        // The table's own places come from the low bits, its tags from the highest seven.
        (hash, &self.sensors[(hash >> 40) as usize % SENSOR_SHARDS])
    }

    /// Whether the claim of an entry is still this node's.
    fn stands(&self, entry: &Entry) -> bool {
        let located = self.engine.locate(entry.sensor.as_str());
        located.is_some_and(|located| located.life == 0 && located.epoch == entry.epoch)
    }

    /// Ends a claim of a process that is gone.
    fn end(&self, pid: LocalPid, sensor: &SensorId, epoch: Epoch) {
        let (hash, shard) = self.shard(sensor.as_str());
        let is_it = |entry: &Entry| entry.sensor == *sensor && entry.pid == pid && entry.epoch == epoch;
        if let Ok(found) = shard.write().find_entry(hash, is_it) {
            found.remove();
        }
        self.engine.release(sensor.as_str(), epoch);
    }
}

impl Claims {
    fn add(&mut self, sensor: &SensorId, epoch: Epoch) {
        match self {
            Self::Many(claims) => {
                claims.insert(sensor.clone(), epoch);
            }
            Self::One(first, first_epoch) => {
                let both = [(first.clone(), *first_epoch), (sensor.clone(), epoch)];
                *self = Self::Many(both.into_iter().collect());
            }
        }
    }
}

// === impl Owners ===

impl Owners {
    /// Forgets one claim of an owner; answers its monitor where it was the last.
    fn forget(&self, pid: LocalPid, sensor: &str, epoch: Epoch) -> Option<Monitor> {
        let mut owned = self.owned.lock();
        let hash_map::Entry::Occupied(mut found) = owned.entry(pid) else { return None };
        let empty = match &mut found.get_mut().claims {
            Claims::One(id, of) => id.as_str() == sensor && *of == epoch,
            Claims::Many(claims) => {
                if claims.get(sensor) == Some(&epoch) {
                    claims.remove(sensor);
                }
                claims.is_empty()
            }
        };
        empty.then(|| found.remove().monitor)
    }
}

#[rustler::resource_impl]
impl Resource for Owners {
    const IMPLEMENTS_DOWN: bool = true;

    /// An owner ended. Runs in the scheduler that ends it: few claims end here and now, many elsewhere.
    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        let owned = self.owned.lock().remove(&pid);
        match owned.map(|owned| owned.claims) {
            None => {}
            Some(Claims::One(sensor, epoch)) => self.shared.end(pid, &sensor, epoch),
            Some(Claims::Many(claims)) if claims.len() <= RELEASE_AT_ONCE => {
                claims.iter().for_each(|(sensor, epoch)| self.shared.end(pid, sensor, *epoch));
            }
            Some(Claims::Many(claims)) => {
                let left = claims.into_iter();
                // Where the courier stops, the node does, and all claims end with it.
                let _stopping = self.shared.courier.spawn(Release { shared: self.shared.clone(), pid, left });
            }
        }
    }

    fn destructor(self, _: Env<'_>) {
        reap(self.owned);
        let_go(self.shared);
    }
}

/// The claims of an owner that is gone, ended a few at a time between what else the courier does.
struct Release {
    shared: Arc<Shared>,
    pid: LocalPid,
    left: hash_map::IntoIter<SensorId, Epoch>,
}

impl Task for Release {
    fn poll(&mut self, context: &mut Context<'_>, _: &mut OwnedEnv) -> Poll<()> {
        for (sensor, epoch) in self.left.by_ref().take(RELEASE_AT_ONCE) {
            self.shared.end(self.pid, &sensor, epoch);
        }
        if self.left.len() == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

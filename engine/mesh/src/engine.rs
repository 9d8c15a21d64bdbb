//! The engine: joins table, directory, fanout, ownership and relay behind one transport.
//!
//! Everything a node does to sensors goes through here. The engine starts no thread and reads no clock but the one it
//! was given: a driver (threads under a node, virtual time under the simulation) hands it the transport's events,
//! calls [`tick`](Engine::tick), and pumps its links.

mod demand;
mod losses;
mod mode;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use senza_core::codec::{self, Message, Question};
use senza_core::directory::{Change, Claimed, Directory, Listed, Located, Owner, PARTITIONS};
use senza_core::fanout::{Fanout, Outbox, SubscriptionId, Wanted, Watchers};
use senza_core::fault::{self, Fault};
use senza_core::frame::{self, DeliveryWriter, Dictionary};
use senza_core::history::Sample;
use senza_core::reading::Reading;
use senza_core::row::Row;
use senza_core::subscription::{Contract, Ledger, Overflow, Start, Subscription, Want};
use senza_core::table::{AttributeIndex, Deliver, Handle, Point, Registration, SensorView, Table, TableLimits};
use senza_core::{
    Delivery, Epoch, Error, Filter, Life, Micros, NodeName, Result, SensorId, SensorType, Seq, Series, Value,
};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::{CounterValues, Counters, count};
use crate::ownership::contest::HealReport;
use crate::ownership::{Effect, Host, Ownership, OwnershipCounts, Timing};
use crate::relay::{Interest, LinkCounts, Local, Outgoing, Relay, everything, own_only};
use crate::transport::{Class, Event, LinkTraffic, MESSAGE_MAX, Transport};
pub use demand::FOLLOWED_MAX;
use demand::Followers;
pub(crate) use demand::{FollowerId, Latest};
use losses::Losses;
pub use losses::{FLAPPING_LOSSES, LOSS_MEMORY_US, LOSSES_MAX, Lost};
use mode::InCharge;
pub use mode::{Comparison, DISAGREEMENTS_MAX, Disagreement, Existing, Mode};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This node's life.
    pub me: Life,
    /// Bounds of the table.
    pub table: TableLimits,
    /// When the ownership protocol does what.
    pub timing: Timing,
    /// For so long after a sensor was lost to another node, its readings here are late ones and refused; after that
    /// they are of a new arrival. Microseconds.
    pub takeover_holdoff_us: Micros,
    /// How far the node takes part at first.
    pub mode: Mode,
    /// Seeds hashes in memory: unpredictable in production, fixed in simulation.
    pub seed: u64,
}

/// A sensor as it is registered.
#[derive(Clone, Debug)]
pub struct Sensor {
    /// Its id.
    pub id: SensorId,
    /// What kind of thing it is.
    pub sensor_type: SensorType,
    /// A JSON object as text, for people.
    pub meta: Arc<str>,
}

impl Sensor {
    /// A sensor of the default type without metadata.
    ///
    /// # Errors
    /// As [`SensorId::new`].
    pub fn new(id: &str) -> Result<Self> {
        Ok(Self { id: SensorId::new(id)?, sensor_type: SensorType::default(), meta: "{}".into() })
    }
}

/// What a registration does where another node owns the sensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Claims it: the device is here now. Refused while the sensor was lost to another node less than
    /// `takeover_holdoff` ago, so that two devices that fight over one id take turns slowly.
    #[default]
    Takeover,
    /// Claims it whatever happened before: somebody moves it on purpose.
    Force,
    /// Leaves it and names the owner.
    Refuse,
}

/// Where a sensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereis {
    /// Owned by this node.
    Local {
        /// The claim's number.
        epoch: Epoch,
    },
    /// Owned by another node.
    Remote {
        /// Its owner.
        node: NodeName,
        /// The claim's number.
        epoch: Epoch,
    },
    /// Not known anywhere that is up.
    NotFound,
}

/// Something that happened to a sensor or a node, as this node sees it; in order per sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A sensor has an owner now and had none.
    Registered(Listed),
    /// A sensor has another owner or epoch than before.
    Moved {
        /// The sensor as it is now.
        now: Listed,
        /// Its owner before.
        previous: Owner,
    },
    /// A sensor has no owner any more.
    Unregistered(Listed),
    /// A node came (back) into reach and its set was fetched: which sensors two nodes had claimed, and who won.
    Healed(Arc<HealReport>),
    /// A node is up.
    NodeUp(Life),
    /// A node is down, and all its sensors with it.
    NodeDown(Life),
}

/// Where a listing goes on. The default is its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    partition: u16,
    after: Option<SensorId>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The sensors, in order of partitions and ids.
    pub sensors: Vec<Listed>,
    /// Where it goes on; `None` marks the end: the listing is complete.
    pub next: Option<Cursor>,
}

/// A node as another node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its life.
    pub life: Life,
    /// How many sensors it owns.
    pub sensors: u64,
    /// Whether it is this node.
    pub local: bool,
}

/// One subscription, or one link's queue, and its ledger.
#[derive(Clone, Debug)]
pub struct Account {
    /// Names it, on this node and as long as this runs.
    pub id: SubscriptionId,
    /// The node it relays to; `None` for a reader of this node.
    pub to: Option<NodeName>,
    /// What it wants of what.
    pub wanted: Vec<Wanted>,
    /// The contract that is kept.
    pub contract: Contract,
    /// What became of every reading offered.
    pub ledger: Ledger,
}

/// One link as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The other node.
    pub node: NodeName,
    /// Frames sent to it.
    pub sent: LinkCounts,
    /// Frames received from it.
    pub received: LinkCounts,
}

/// Sees a series, its counter, its latest sample and its watchers.
type VisitSeries<'a> = &'a mut dyn FnMut(&Arc<Series>, Seq, Option<&Sample>, &mut Watchers);

/// `takeover_holdoff` by default, microseconds.
pub const TAKEOVER_HOLDOFF_US: Micros = 5_000_000;
/// Events queued for one reader; beyond, they are lost and counted.
pub const HAPPENINGS_MAX: usize = 65_536;
/// Heal reports kept; the oldest give way.
pub const HEALS_MAX: usize = 16;
/// Questions to other nodes on their way at a time.
pub const QUESTIONS_MAX: usize = 4096;
/// Readings held back by a rate or a heartbeat are late by so many microseconds at most, where nothing else is to do
/// twenty times that.
const PACE_US: Micros = 500;
/// Locks that registrations of one sensor meet at.
const STRIPES: usize = 64;

/// Joins the parts. See the file's header.
pub struct Engine {
    me: Life,
    pub(crate) clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    table: Table<Watchers>,
    directory: Directory,
    fanout: Fanout,
    /// Buffers of writers, used again.
    outboxes: Mutex<Vec<Outbox>>,
    relay: Relay,
    ownership: Mutex<Ownership>,
    interest: Mutex<Interest>,
    /// Subscriptions of this node's own readers, which make its interest.
    readers: Mutex<BTreeSet<SubscriptionId>>,
    /// Held while one sensor's registration changes, by hash of its id: table and directory change together.
    registrations: Box<[Mutex<()>]>,
    questions: Mutex<Questions>,
    happenings: RwLock<Vec<Sender<Happening>>>,
    /// How often a sensor changed owners, or a node came or went: what a series was held against may differ then.
    moves: AtomicU64,
    interest_changed: AtomicBool,
    followers: Followers,
    /// Whether some subscription may hold readings back.
    paces: AtomicBool,
    dirty: AtomicBool,
    counters: Counters,
    rival: Mutex<Option<Life>>,
    takeover_holdoff_us: Micros,
    losses: Mutex<Losses>,
    /// Where losses are told, for doors that have to let go of a device.
    tell_lost: RwLock<Option<Sender<Lost>>>,
    heals: Mutex<VecDeque<Arc<HealReport>>>,
    mode: AtomicU8,
    /// Held while the mode is switched.
    switching: Mutex<()>,
    in_charge: RwLock<InCharge>,
    comparison: Mutex<Comparison>,
    wake: RwLock<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct Questions {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Vec<Reading>>>,
}

/// Gathers what a run of puts delivers.
struct Delivering<'a> {
    fanout: &'a Fanout,
    outbox: &'a mut Outbox,
}

impl Deliver<Watchers> for Delivering<'_> {
    fn reading(&mut self, series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers) {
        self.fanout.collect(series, sample, watchers, self.outbox);
    }

    fn run_ended(&mut self) {
        self.outbox.flush();
    }
}

// === impl Engine: sensors ===

impl Engine {
    /// An engine on a transport. Nothing happens until a driver drives it.
    pub fn new(config: EngineConfig, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            ownership: Mutex::new(Ownership::new(config.me.clone(), config.timing)),
            directory: Directory::new(config.me.clone(), config.seed),
            table: Table::new(config.table, config.seed),
            me: config.me,
            clock,
            transport,
            fanout: Fanout::default(),
            outboxes: Mutex::default(),
            relay: Relay::default(),
            interest: Mutex::default(),
            readers: Mutex::default(),
            registrations: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            questions: Mutex::default(),
            happenings: RwLock::default(),
            moves: AtomicU64::new(0),
            interest_changed: AtomicBool::new(false),
            followers: Followers::default(),
            paces: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            counters: Counters::default(),
            rival: Mutex::default(),
            takeover_holdoff_us: config.takeover_holdoff_us,
            losses: Mutex::default(),
            tell_lost: RwLock::default(),
            heals: Mutex::default(),
            mode: AtomicU8::new(config.mode as u8),
            switching: Mutex::default(),
            in_charge: RwLock::default(),
            comparison: Mutex::default(),
            wake: RwLock::default(),
        })
    }

    /// This node's life.
    pub fn me(&self) -> &Life {
        &self.me
    }

    /// Registers a sensor here, or adds one registration where it is here already. Table and directory change under
    /// one lock per sensor; allocates; awaits nothing.
    ///
    /// # Errors
    /// [`Error::NotOwner`] where another node owns it and the policy is to refuse; [`Error::HeldOff`] where it took it
    /// from here just now; [`Error::Full`] at a bound.
    pub fn claim(&self, sensor: &Sensor, on_conflict: OnConflict) -> Result<(Handle, Epoch)> {
        let _stripe = self.stripe(sensor.id.as_str());
        let now = self.clock.now();
        let shadow = self.mode() == Mode::Shadow;
        if on_conflict == OnConflict::Takeover && !shadow {
            self.check_holdoff(sensor.id.as_str())?;
        }
        let takeover = on_conflict != OnConflict::Refuse || shadow;
        let changed = &mut |change: Change<'_>| self.changed(&change);
        let claimed = self.directory.claim(&sensor.id, &sensor.sensor_type, takeover, now.unsigned_abs(), changed)?;
        let (epoch, fresh) = match claimed {
            Claimed::Held(epoch) => (epoch, false),
            Claimed::New { epoch, from } => {
                if from.is_some() {
                    count(&self.counters.taken_over);
                    self.drop_beaten_copy(sensor.id.as_str());
                }
                (epoch, true)
            }
            Claimed::Refused(owner) => {
                return Err(Error::NotOwner { sensor: sensor.id.to_string(), node: owner.life.node });
            }
        };
        let registration = Registration {
            sensor: sensor.id.clone(),
            sensor_type: sensor.sensor_type.clone(),
            epoch,
            node: self.me.node.clone(),
            meta: sensor.meta.clone(),
        };
        let registered = self.table.register(registration, now);
        if registered.is_err() && fresh {
            self.directory.release(sensor.id.as_str(), epoch, &mut |change| self.changed(&change));
        }
        if fresh {
            count(&self.counters.registered);
            self.wake_for(&self.dirty);
            self.demands_may_differ();
        }
        registered.map(|handle| (handle, epoch))
    }

    /// Ends one registration of a claim; the last one's end unregisters the sensor.
    pub fn release(&self, sensor: &str, epoch: Epoch) -> bool {
        let _stripe = self.stripe(sensor);
        self.table.release(sensor, epoch) && self.end_claim(sensor, epoch)
    }

    /// Unregisters a sensor of this node, whatever its registrations. Answers whether it was here.
    pub fn unregister(&self, sensor: &str) -> bool {
        let _stripe = self.stripe(sensor);
        let Some(view) = self.table.view(sensor) else { return false };
        self.table.remove(sensor, view.epoch) && self.end_claim(sensor, view.epoch)
    }

    /// A claim of ours that was beaten may have left its copy, where nothing is fenced or the loss was not carried out
    /// yet: a new claim begins anew.
    fn drop_beaten_copy(&self, sensor: &str) {
        if let Some(view) = self.table.view(sensor) {
            self.table.remove(sensor, view.epoch);
        }
    }

    /// Refuses to take a sensor back from the node that took it over just now.
    fn check_holdoff(&self, sensor: &str) -> Result<()> {
        let Some(lost_at) = self.losses.lock().lost_at(sensor) else { return Ok(()) };
        let left = lost_at + self.takeover_holdoff_us - self.clock.steady();
        let owner = self.directory.owner_of(sensor).filter(|owner| left > 0 && !owner.local);
        let Some(owner) = owner else { return Ok(()) };
        count(&self.counters.takeovers_held_off);
        let left_ms = left.unsigned_abs().div_ceil(1000);
        Err(Error::HeldOff { sensor: sensor.to_owned(), node: owner.life.node, left_ms })
    }

    /// What a reading for a claim that ended is to be told, counted where it comes late: another node took the sensor
    /// over.
    pub(crate) fn late(&self, sensor: &str) -> Error {
        match self.directory.owner_of(sensor).filter(|owner| !owner.local) {
            Some(owner) => {
                count(&self.counters.readings_late);
                Error::NotOwner { sensor: sensor.to_owned(), node: owner.life.node }
            }
            None => Error::Unregistered,
        }
    }

    fn end_claim(&self, sensor: &str, epoch: Epoch) -> bool {
        let ended = self.directory.release(sensor, epoch, &mut |change| self.changed(&change));
        count(&self.counters.unregistered);
        self.wake_for(&self.dirty);
        self.demands_may_differ();
        ended
    }

    fn stripe(&self, sensor: &str) -> parking_lot::MutexGuard<'_, ()> {
        self.registrations[senza_core::hash::xxh64(sensor.as_bytes()) as usize % STRIPES].lock()
    }

    /// The place of an attribute of a registered sensor; made at its first use.
    ///
    /// # Errors
    /// As [`Table::attribute`].
    pub fn attribute(&self, handle: Handle, attribute: &str) -> Result<AttributeIndex> {
        let place = self.table.attribute(handle, attribute);
        self.note_attributes();
        place
    }

    /// Takes one reading by handle. One shard lock, and one queue lock per subscription of its series; for numbers and
    /// truth values no allocation.
    ///
    /// # Errors
    /// [`Error::Unregistered`] for a stale handle, [`Error::ValueTooLarge`].
    pub fn put(&self, point: Point) -> Result<Seq> {
        let steady = self.clock.steady();
        let deliver = |series: &Arc<Series>, sample: &Sample, watchers: &mut Watchers| {
            self.fanout.deliver(series, sample, watchers, steady);
        };
        let taken = point.value.check().and_then(|()| self.table.put(point, self.clock.now(), deliver));
        self.count_put(taken)
    }

    /// [`put`](Self::put) that waits for the readers of this node whose contract asks writers to
    /// ([`Overflow::Block`]), each at most as long as it says. Blocks the thread; nobody else.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_wait(&self, point: Point) -> Result<Seq> {
        let mut blocking: Vec<(Arc<Subscription>, u32)> = Vec::new();
        self.table.visit_handle(point.handle, point.attribute, |series, watchers| {
            for target in self.fanout.targets(series, watchers) {
                if let Overflow::Block { wait_us } = target.subscription().contract().overflow {
                    blocking.push((target.subscription().clone(), wait_us));
                }
            }
        })?;
        for (subscription, wait_us) in blocking {
            subscription.wait_for_room(std::time::Duration::from_micros(u64::from(wait_us)));
        }
        self.put(point)
    }

    /// Takes many readings by handle. The clock is read once; a run of points of one shard costs one lock, and one of
    /// every queue that it goes to. Answers how many were refused: stale handles.
    pub fn put_many(&self, points: &[Point]) -> usize {
        let mut outbox = self.outboxes.lock().pop().unwrap_or_default();
        outbox.begin(self.clock.steady());
        let refused = {
            let mut delivering = Delivering { fanout: &self.fanout, outbox: &mut outbox };
            self.table.put_runs(points, self.clock.now(), &mut delivering)
        };
        self.outboxes.lock().push(outbox);
        self.counters.readings_in.fetch_add((points.len() - refused) as u64, Ordering::Relaxed);
        self.counters.readings_refused.fetch_add(refused as u64, Ordering::Relaxed);
        refused
    }

    /// Takes one reading by ids. One hash, one shard lock.
    ///
    /// # Errors
    /// [`Error::NotOwner`] where another node owns the sensor, [`Error::NotFound`] where nobody does.
    pub fn put_by_id(&self, sensor: &str, attribute: &str, value: Value, source_time: Option<Micros>) -> Result<Seq> {
        let taken = value.check().and_then(|()| {
            let (now, steady) = (self.clock.now(), self.clock.steady());
            let source_time = source_time.unwrap_or(now);
            self.table.put_by_id(sensor, attribute, value, source_time, now, |series, sample, watchers| {
                self.fanout.deliver(series, sample, watchers, steady);
            })
        });
        let taken = taken.map_err(|error| match (error, self.directory.owner_of(sensor)) {
            (Error::NotFound { sensor }, Some(owner)) if !owner.local => {
                let late = self.losses.lock().lost_at(&sensor).is_some();
                count(if late { &self.counters.readings_late } else { &self.counters.readings_not_owner });
                Error::NotOwner { sensor, node: owner.life.node }
            }
            (error, _) => error,
        });
        self.note_attributes();
        self.count_put(taken)
    }

    fn count_put(&self, taken: Result<Seq>) -> Result<Seq> {
        count(if taken.is_ok() { &self.counters.readings_in } else { &self.counters.readings_refused });
        taken
    }

    /// The latest reading of an attribute of a sensor of this node.
    pub fn latest(&self, sensor: &str, attribute: &str) -> Option<Reading> {
        self.table.latest(sensor, attribute)
    }

    /// The newest readings of an attribute of a sensor of this node, oldest first.
    pub fn history(&self, sensor: &str, attribute: &str, from: Micros, to: Micros, last: usize) -> Vec<Reading> {
        self.table.history(sensor, attribute, from, to, last)
    }

    /// What this node knows of a sensor of its own.
    pub fn view(&self, sensor: &str) -> Option<SensorView> {
        self.table.view(sensor)
    }

    /// Sensors of this node that had neither a registration nor a reading since `before`, and their epochs.
    pub fn silent_since(&self, before: Micros) -> Vec<(SensorId, Epoch)> {
        let shards = 0..self.table.shard_count();
        let views = shards.flat_map(|shard| self.table.scan(shard));
        views.filter(|view| view.touched < before).map(|view| (view.sensor, view.epoch)).collect()
    }

    /// Asks a sensor's owner for readings of one attribute, oldest first; of this node's own it answers at once.
    /// The answer may never come: bound the wait.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nobody owns the sensor, [`Error::Full`] with too many questions on their way.
    pub fn ask(&self, question: Question) -> Result<oneshot::Receiver<Vec<Reading>>> {
        let (answer, receiver) = oneshot::channel();
        let sensor = question.sensor.as_str();
        let owner = self.directory.owner_of(sensor).ok_or_else(|| Error::NotFound { sensor: sensor.to_owned() })?;
        if owner.local {
            // The receiver is at hand; it cannot be gone.
            let _sent = answer.send(self.answer(&question));
            return Ok(receiver);
        }
        let mut questions = self.questions.lock();
        questions.waiting.retain(|_, answer| !answer.is_closed());
        if questions.waiting.len() >= QUESTIONS_MAX {
            return Err(Error::Full { what: "questions to other nodes", max: QUESTIONS_MAX });
        }
        questions.next += 1;
        let id = questions.next;
        questions.waiting.insert(id, answer);
        drop(questions);
        self.send(&owner.life.node, Class::Control, &Message::Ask(id, question));
        Ok(receiver)
    }

    fn answer(&self, question: &Question) -> Vec<Reading> {
        let (sensor, attribute) = (question.sensor.as_str(), question.attribute.as_str());
        self.table.history(sensor, attribute, question.from, question.to, question.last as usize)
    }
}

// === impl Engine: the cluster ===

impl Engine {
    /// Where a sensor is. No lock, no allocation, awaits nothing; one reference count for the name of another node. In
    /// [`Mode::Shadow`] the registry in charge answers, and is compared.
    pub fn whereis(&self, sensor: &str) -> Whereis {
        let answer = match self.directory.owner_of(sensor) {
            None => Whereis::NotFound,
            Some(owner) if owner.local => Whereis::Local { epoch: owner.epoch },
            Some(owner) => Whereis::Remote { node: owner.life.node, epoch: owner.epoch },
        };
        if self.mode() == Mode::Shadow { self.compared(sensor, answer) } else { answer }
    }

    /// Where a sensor is, without names: the fewest steps. Not compared in [`Mode::Shadow`].
    pub fn locate(&self, sensor: &str) -> Option<Located> {
        self.directory.locate(sensor)
    }

    /// [`locate`](Self::locate) for many sensors, whose waits for memory overlap; clears `out` first.
    pub fn locate_many<S: AsRef<str>>(&self, sensors: &[S], out: &mut Vec<Option<Located>>) {
        self.directory.locate_many(sensors, out);
    }

    /// The life behind a number that [`locate`](Self::locate) answered.
    pub fn life(&self, number: u16) -> Option<Life> {
        self.directory.life(number)
    }

    /// What the directory says of a sensor.
    pub fn listed(&self, sensor: &str) -> Option<Listed> {
        let owner = self.directory.owner_of(sensor)?;
        let sensor_type = self.directory.type_of(sensor)?;
        Some(Listed { sensor: SensorId::new(sensor).ok()?, sensor_type, owner })
    }

    /// One page of the sensors that match, from where the page before ended. Each partition of the directory is read
    /// as one consistent view; the last page says that it is the last.
    pub fn page(&self, from: &Cursor, filter: &Filter, limit: usize) -> Page {
        let mut sensors = Vec::new();
        let (mut partition, mut after) = (from.partition, from.after.clone());
        while usize::from(partition) < PARTITIONS {
            let left = limit.max(1) - sensors.len();
            let found = self.directory.page(partition as u8, after.as_ref().map(SensorId::as_str), filter, left + 1);
            let more = found.len() > left;
            for listed in found.into_iter().take(left) {
                after = Some(listed.sensor.clone());
                sensors.push(listed);
            }
            if more {
                return Page { sensors, next: Some(Cursor { partition, after }) };
            }
            (partition, after) = (partition + 1, None);
        }
        Page { sensors, next: None }
    }

    /// All sensors that match, partition by partition.
    pub fn sensors(&self, filter: &Filter) -> Vec<Listed> {
        (0..=255).flat_map(|partition| self.directory.page(partition, None, filter, usize::MAX)).collect()
    }

    /// The nodes that are up, this one first.
    pub fn nodes(&self) -> Vec<NodeView> {
        let view = |life: Life| NodeView { sensors: self.directory.count(&life), local: life == self.me, life };
        self.directory.lives_up().into_iter().map(view).collect()
    }

    /// Whether the sets of all nodes heard of were fetched.
    pub fn synced(&self) -> bool {
        self.ownership.lock().synced()
    }

    /// Partitions on their way and claims still contested: 0 after quiet.
    pub fn backlog(&self) -> usize {
        self.ownership.lock().backlog()
    }

    /// The sensors that live in this node's table. Walks it.
    pub fn held(&self) -> Vec<SensorId> {
        (0..self.table.shard_count()).flat_map(|shard| self.table.scan(shard)).map(|view| view.sensor).collect()
    }

    /// What the links carried, frames first.
    pub fn links(&self) -> Vec<LinkView> {
        let mut links: BTreeMap<NodeName, LinkView> = BTreeMap::new();
        let empty = |node: &NodeName| LinkView {
            node: node.clone(),
            sent: LinkCounts::default(),
            received: LinkCounts::default(),
        };
        for out in self.relay.all_outgoing() {
            let node = &out.life.node;
            links.entry(node.clone()).or_insert_with(|| empty(node)).sent = out.counts();
        }
        for incoming in self.relay.all_incoming() {
            let incoming = incoming.lock();
            let node = &incoming.life.node;
            links.entry(node.clone()).or_insert_with(|| empty(node)).received = incoming.counts();
        }
        links.into_values().collect()
    }

    /// What the transport carried.
    pub fn traffic(&self) -> Vec<LinkTraffic> {
        self.transport.traffic()
    }

    /// What was counted.
    pub fn counters(&self) -> (CounterValues, OwnershipCounts) {
        (self.counters.read(), self.ownership.lock().counts())
    }

    /// What happens from now on, in order per sensor, on a queue of [`HAPPENINGS_MAX`]. Dropping it ends it.
    pub fn happenings(&self) -> Receiver<Happening> {
        let (sender, receiver) = crossbeam_channel::bounded(HAPPENINGS_MAX);
        self.happenings.write().push(sender);
        receiver
    }

    /// Another life of this node's name that was heard, the last one.
    pub fn rival(&self) -> Option<Life> {
        self.rival.lock().clone()
    }

    /// Hash of one life's set as this node holds it: what two nodes compare to agree.
    pub fn set_hash(&self, life: &Life) -> Option<u64> {
        self.directory.set_hash(life)
    }

    fn tell(&self, happening: &Happening) {
        let mut ended = false;
        for sender in self.happenings.read().iter() {
            match sender.try_send(happening.clone()) {
                Ok(()) => {}
                Err(crossbeam_channel::TrySendError::Full(_)) => count(&self.counters.events_lost),
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => ended = true,
            }
        }
        if ended {
            let gone = |sender: &Sender<Happening>| {
                matches!(sender.try_send(happening.clone()), Err(crossbeam_channel::TrySendError::Disconnected(_)))
            };
            self.happenings.write().retain(|sender| sender.is_full() || !gone(sender));
        }
    }
}

// === impl Engine: losses, heals, modes ===

impl Engine {
    /// Sensors that this node loses to others from now on, on a queue of [`HAPPENINGS_MAX`]: a door lets go of the
    /// device that carries them. One receiver at a time.
    pub fn losses(&self) -> Receiver<Lost> {
        let (sender, receiver) = crossbeam_channel::bounded(HAPPENINGS_MAX);
        *self.tell_lost.write() = Some(sender);
        receiver
    }

    /// Sensors that were lost here at least [`FLAPPING_LOSSES`] times within a minute: devices seem to fight over them.
    pub fn flapping(&self) -> Vec<Lost> {
        self.losses.lock().flapping(self.clock.steady())
    }

    /// The last heals, oldest first, at most [`HEALS_MAX`].
    pub fn heals(&self) -> Vec<Arc<HealReport>> {
        self.heals.lock().iter().cloned().collect()
    }

    /// How far this node takes part.
    pub fn mode(&self) -> Mode {
        Mode::from_byte(self.mode.load(Ordering::Acquire))
    }

    /// Gives the look-ups of [`Mode::Shadow`] into the hands of an embedder's registry, and switches to that mode.
    pub fn shadow(&self, existing: Arc<dyn Existing>) {
        *self.in_charge.write() = Some(existing);
        self.switch(Mode::Shadow);
    }

    /// Switches the mode. Leaving the cluster withdraws everything and forgets the others; coming back announces this
    /// node's sensors under the claims they have, so that whoever registered a sensor last owns it. Answers the mode
    /// before.
    pub fn switch(&self, mode: Mode) -> Mode {
        let _switching = self.switching.lock();
        let before = self.mode();
        if mode == before {
            return before;
        }
        let now = self.clock.steady();
        let mut ownership = self.ownership.lock();
        let mut effects = ownership.set_fences(mode == Mode::Cluster, &self.directory, now, self);
        if mode == Mode::Local {
            effects.extend(ownership.leave(&self.directory, now, self));
        }
        drop(ownership);
        self.effects(effects);
        self.mode.store(mode as u8, Ordering::Release);
        if (mode == Mode::Local) != (before == Mode::Local) {
            self.transport.announce(mode != Mode::Local);
        }
        tracing::info!(from = before.as_str(), to = mode.as_str(), "mode switched");
        self.wake_for(&self.dirty);
        before
    }

    /// What comparing with the registry in charge found so far.
    pub fn comparison(&self) -> Comparison {
        self.comparison.lock().clone()
    }

    /// Compares all that the registry in charge and senza know. Answers what differed, and counts it. Walks both.
    pub fn compare(&self) -> Vec<Disagreement> {
        let Some(existing) = self.in_charge.read().clone() else { return Vec::new() };
        let before = self.comparison.lock().disagreements();
        let ids = existing.ids();
        let known: BTreeSet<&str> = ids.iter().map(SensorId::as_str).collect();
        for sensor in &ids {
            self.whereis(sensor.as_str());
        }
        for listed in self.sensors(&Filter::all()) {
            if !known.contains(listed.sensor.as_str()) {
                self.whereis(listed.sensor.as_str());
            }
        }
        let comparison = self.comparison.lock();
        let differed = (comparison.disagreements() - before) as usize;
        let skipped = comparison.samples.len().saturating_sub(differed);
        comparison.samples.iter().skip(skipped).cloned().collect()
    }

    /// The answer of the registry in charge, compared with ours.
    fn compared(&self, sensor: &str, ours: Whereis) -> Whereis {
        let Some(existing) = self.in_charge.read().clone() else { return ours };
        let theirs = existing.whereis(sensor);
        let (node, epoch) = match &ours {
            Whereis::Local { epoch } => (Some(&self.me.node), *epoch),
            Whereis::Remote { node, epoch } => (Some(node), *epoch),
            Whereis::NotFound => (None, 0),
        };
        self.comparison.lock().add(sensor, theirs.as_ref(), node, self.clock.now());
        match theirs {
            None => Whereis::NotFound,
            Some(node) if node == self.me.node => Whereis::Local { epoch },
            Some(node) => Whereis::Remote { node, epoch },
        }
    }
}

// === impl Engine: subscriptions ===

impl Engine {
    /// Subscribes to what matches, on every node, sensors that come later included. The queue answers the revised
    /// contract. A live subscription visits no series.
    ///
    /// # Errors
    /// [`Error::Contract`] for a contract that makes no sense, [`Error::Full`] at the bound of subscriptions or of a
    /// filter's entries.
    pub fn watch(&self, filter: &Filter, contract: Contract) -> Result<(SubscriptionId, Arc<Subscription>)> {
        contract.check()?;
        let contract = contract.revised();
        let subscription = Arc::new(Subscription::new(contract));
        let id = self.fanout.add(vec![(filter.clone(), contract.want)], subscription.clone())?;
        let named = self.fanout.named_sensors(id);
        let starts = contract.start != Start::Live;
        match contract.start {
            Start::Live => self.visit(&named, &mut |_, _, _, watchers| watchers.reset()),
            Start::Latest => self.start_kept(&subscription, filter, &named, (Micros::MIN, 1)),
            Start::Last(last) => self.start_kept(&subscription, filter, &named, (Micros::MIN, last as usize)),
            Start::Since(from) => self.start_kept(&subscription, filter, &named, (from, usize::MAX)),
        }
        if starts {
            for link in self.relay.all_incoming() {
                link.lock().start(&named, filter, &subscription, &self.fanout);
            }
        }
        subscription.started();
        self.readers.lock().insert(id);
        self.paces.fetch_or(contract.want.may_hold_back(), Ordering::AcqRel);
        self.wake_for(&self.interest_changed);
        self.demands_may_differ();
        Ok((id, subscription))
    }

    /// Offers what is kept of this node's series that match, each under its lock, so that the seam to what is live is
    /// exact. Of other nodes' series a start has the latest.
    fn start_kept(&self, subscription: &Arc<Subscription>, filter: &Filter, named: &[SensorId], span: (Micros, usize)) {
        let mut start = |series: &Arc<Series>, last_seq: Seq, kept: &[Sample], watchers: &mut Watchers| {
            watchers.reset();
            if filter.matches(series) && !kept.is_empty() {
                self.fanout.resolve(series, watchers);
                if let Some(number) = watchers.number_in(subscription) {
                    subscription.offer_history(number, kept, last_seq);
                }
            }
        };
        if named.is_empty() {
            (0..self.table.shard_count()).for_each(|shard| self.table.visit_kept(shard, span, &mut start));
        }
        named.iter().for_each(|sensor| self.table.visit_kept_of(sensor.as_str(), span, &mut start));
    }

    /// Offers the latest reading of a series; called under the series' lock, so that the seam to what is live is exact.
    fn start_series(
        &self,
        subscription: &Arc<Subscription>,
        series: &Arc<Series>,
        (last_seq, latest): (Seq, Option<&Sample>),
        watchers: &mut Watchers,
    ) {
        self.fanout.resolve(series, watchers);
        let (Some(sample), Some(number)) = (latest, watchers.number_in(subscription)) else { return };
        let row = Row::reading(number, sample);
        let value = row.has_value_beside().then(|| sample.value.clone());
        subscription.offer_start(row, value, last_seq);
    }

    /// Ends a subscription.
    pub fn unwatch(&self, id: SubscriptionId) {
        let named = self.fanout.named_sensors(id);
        self.readers.lock().remove(&id);
        if self.fanout.remove(id) {
            self.visit(&named, &mut |_, _, _, watchers| watchers.reset());
            for link in self.relay.all_incoming() {
                link.lock().unwatch(&named, &self.fanout);
            }
            self.wake_for(&self.interest_changed);
            self.demands_may_differ();
        }
    }

    /// What all subscriptions of the cluster that this node knows of want of a sensor of this node, attribute by
    /// attribute joined; `None` where nobody watches, or the sensor is not here.
    pub fn demand(&self, sensor: &str) -> Option<Want> {
        let mut demand: Option<Want> = None;
        self.table.visit_sensor(sensor, |series, _, _, watchers| {
            let wanted = self.fanout.demand(series, watchers);
            demand = match (demand, wanted) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            };
        });
        demand
    }

    /// Follows the demand of a sensor of this node; see [`SensorHandle::demands`](crate::handle::SensorHandle::demands).
    pub(crate) fn follow(&self, sensor: &SensorId) -> Result<(FollowerId, Arc<Latest>)> {
        self.followers.add(sensor.clone(), || self.demand(sensor.as_str()))
    }

    pub(crate) fn unfollow(&self, id: FollowerId) {
        self.followers.remove(id);
    }

    /// Has the next tick look at followed demands. Called after a change is whole: what was looked at before a series
    /// was reset is looked at again.
    fn demands_may_differ(&self) {
        // Who begins to follow is counted before it looks: of the two, one sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.followers.any() {
            self.wake_for(&self.followers.differ);
        }
    }

    /// The same, where an attribute was made: its series may be watched though no other of the sensor is.
    fn note_attributes(&self) {
        if self.followers.notes(self.table.attributes_made()) {
            self.wake_for(&self.followers.differ);
        }
    }

    /// Every subscription of this node, and every link to another one that asked for something: what it wants, and what
    /// became of every reading offered to it.
    pub fn accounts(&self) -> Vec<Account> {
        let readers = self.readers.lock().clone();
        let links: Vec<(NodeName, Arc<Subscription>)> = self
            .relay
            .all_outgoing()
            .iter()
            .map(|link| (link.life.node.clone(), link.subscription().clone()))
            .collect();
        let account = |(id, wanted, subscription): (SubscriptionId, Vec<Wanted>, Arc<Subscription>)| {
            let link = links.iter().find(|(_, queue)| Arc::ptr_eq(queue, &subscription));
            let to = link.map(|(node, _)| node.clone());
            let known = to.is_some() || readers.contains(&id);
            known.then(|| Account { id, to, wanted, contract: subscription.contract(), ledger: subscription.ledger() })
        };
        self.fanout.all().into_iter().filter_map(account).collect()
    }

    /// Visits the series of the named sensors.
    fn visit(&self, named: &[SensorId], visit: VisitSeries<'_>) {
        named.iter().for_each(|sensor| self.table.visit_sensor(sensor.as_str(), &mut *visit));
    }
}

// === impl Engine: driven from outside ===

impl Engine {
    /// Has `wake` called whenever a [`tick`](Self::tick) is wanted soon. It must return at once.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.wake.write() = Some(Box::new(wake));
    }

    /// Takes one event of the transport. Answers the link that wants to be pumped from now on, where one was opened.
    pub fn handle(&self, event: &Event) -> Option<Arc<Outgoing>> {
        let now = self.clock.steady();
        if self.mode() == Mode::Local {
            return None;
        }
        let effects = match event {
            Event::Token(life) => self.ownership.lock().token(life, &self.directory, now, self),
            Event::TokenGone(life) => self.ownership.lock().token_gone(life, &self.directory, now, self),
            Event::Message { from, bytes, .. } => return self.message(from, bytes, now),
        };
        self.effects(effects);
        None
    }

    /// Flushes changes, sends what is due, notices silence. Answers when it wants to be called again at the latest, in
    /// [steady](Clock::steady) time.
    pub fn tick(&self) -> Micros {
        let next = self.tick_ownership();
        // After the effects: a node that is down takes its watchers with it.
        let more = self.followers.any() && self.followers.look(|sensor| self.demand(sensor.as_str()));
        if more { self.clock.steady() } else { next }
    }

    fn tick_ownership(&self) -> Micros {
        let now = self.clock.steady();
        self.dirty.store(false, Ordering::Release);
        let mut ownership = self.ownership.lock();
        if self.mode() == Mode::Local {
            return ownership.tick_alone(&self.directory, now);
        }
        let effects = ownership.tick(&self.directory, now, self);
        let next = ownership.next_tick(now).min(self.release_due(now));
        drop(ownership);
        self.effects(effects);
        if self.interest_changed.swap(false, Ordering::AcqRel) {
            self.update_interest();
        }
        next
    }

    /// Hands out readings that contracts held back until now. Answers when the next ones will be due, if they are known
    /// to be, within a while.
    fn release_due(&self, now: Micros) -> Micros {
        if !self.paces.load(Ordering::Acquire) {
            return Micros::MAX;
        }
        let paced = self.fanout.paced();
        self.paces.store(!paced.is_empty(), Ordering::Release);
        let due = paced.iter().filter_map(|subscription| subscription.release_due(now)).min();
        // What is put meanwhile may be due sooner.
        due.unwrap_or(Micros::MAX).clamp(now + PACE_US, now + 20 * PACE_US)
    }

    /// Sends what is queued for one link, as far as its credit goes.
    pub fn pump(&self, link: &Outgoing) {
        let node = &link.life.node;
        while let Some(step) = link.start_step() {
            let mut start = |series: &Arc<Series>, last_seq: Seq, latest: Option<&Sample>, watchers: &mut Watchers| {
                if step.starts(series) {
                    watchers.reset();
                    self.start_series(link.subscription(), series, (last_seq, latest), watchers);
                }
            };
            match &step.sensors {
                Some(sensors) => sensors.iter().for_each(|sensor| self.table.visit_sensor(sensor.as_str(), &mut start)),
                None => self.table.visit_series(step.shard, &mut start),
            }
            link.stepped(step.shard, self.table.shard_count());
        }
        link.pump(self.me.incarnation, &mut |message| {
            self.transport.send(node, Class::Frame, Bytes::from(message));
        });
    }

    /// The links that want to be pumped.
    pub fn outgoing(&self) -> Vec<Arc<Outgoing>> {
        self.relay.all_outgoing()
    }

    /// Says farewell to all nodes and closes the transport.
    pub fn close(&self) {
        let bye = self.ownership.lock().bye();
        self.transport.broadcast(Bytes::from(bye));
        for link in self.relay.all_outgoing() {
            link.close(&self.fanout);
        }
        self.transport.close();
    }

    fn message(&self, from: &NodeName, bytes: &Bytes, now: Micros) -> Option<Arc<Outgoing>> {
        let Ok((incarnation, message)) = codec::decode(bytes) else {
            count(&self.counters.messages_refused);
            return None;
        };
        let life = Life { node: from.clone(), incarnation };
        match message {
            Message::Frame(body) => self.frame(&life, body, now),
            Message::Credit(up_to) => self.relay.outgoing(from).filter(|link| link.life == life)?.grant(up_to),
            Message::Reset => self.relay.outgoing(from).filter(|link| link.life == life)?.reset(now),
            Message::Interest { version, wanted } => return self.interest(&life, version, wanted, now),
            Message::Ask(id, question) => self.answer_to(from, id, &question),
            Message::Answer(id, body) => self.answered(from, id, body),
            message => {
                let effects = self.ownership.lock().message(&life, message, bytes, &self.directory, now, self);
                self.effects(effects);
            }
        }
        None
    }

    fn frame(&self, life: &Life, body: &[u8], now: Micros) {
        let fences = self.mode() == Mode::Cluster;
        let fenced = |series: &Series| {
            let owner = self.directory.owner_of(series.sensor.as_str());
            fences
                && owner.is_some_and(|owner| {
                    senza_core::directory::beats((owner.epoch, &owner.life.node), (series.epoch, &series.node))
                })
        };
        let local = Local { fanout: &self.fanout, moves: self.moves.load(Ordering::Acquire), fenced: &fenced };
        let link = self.relay.incoming(life);
        let after = link.lock().frame(body, &local, now);
        match after {
            Ok(after) => {
                if after.reset {
                    self.send(&life.node, Class::Control, &Message::Reset);
                }
                if let Some(up_to) = after.credit {
                    self.send(&life.node, Class::Control, &Message::Credit(up_to));
                }
            }
            Err(_) => count(&self.counters.frames_refused),
        }
    }

    fn interest(&self, life: &Life, version: u64, wanted: Vec<Wanted>, now: Micros) -> Option<Arc<Outgoing>> {
        if !self.directory.is_up(life) {
            return None;
        }
        let known = self.relay.outgoing(&life.node).filter(|link| link.life == *life);
        let link = known.clone().unwrap_or_else(|| self.relay.open(life, now));
        self.paces.fetch_or(wanted.iter().any(|(_, want)| want.may_hold_back()), Ordering::AcqRel);
        let touched = link.set_interest(version, own_only(wanted, &self.me.node), &self.fanout);
        self.visit(&touched, &mut |_, _, _, watchers| watchers.reset());
        self.demands_may_differ();
        link.nudge();
        known.is_none().then_some(link)
    }

    fn answer_to(&self, from: &NodeName, id: u64, question: &Question) {
        let readings: Vec<Delivery> = self.answer(question).into_iter().map(Delivery::Reading).collect();
        let mut message = Vec::new();
        codec::begin(codec::KIND_ANSWER, self.me.incarnation, &mut message);
        message.extend_from_slice(&id.to_le_bytes());
        if !readings.is_empty() {
            DeliveryWriter::default().write(&readings, MESSAGE_MAX / 2, &mut message);
        }
        self.transport.send(from, Class::Bulk, Bytes::from(message));
    }

    fn answered(&self, from: &NodeName, id: u64, body: &[u8]) {
        let Some(answer) = self.questions.lock().waiting.remove(&id) else { return };
        let deliveries =
            if body.is_empty() { Ok(Vec::new()) } else { frame::read_all(body, from, &mut Dictionary::new()) };
        let Ok(deliveries) = deliveries else { return count(&self.counters.frames_refused) };
        let readings = deliveries.into_iter().filter_map(|delivery| match delivery {
            Delivery::Reading(reading) => Some(reading),
            _ => None,
        });
        // Whoever asked may have given up meanwhile.
        let _sent = answer.send(readings.collect());
    }

    fn effects(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(node, class, message) => {
                    self.transport.send(&node, class, Bytes::from(message));
                }
                Effect::Broadcast(message) => self.transport.broadcast(Bytes::from(message)),
                Effect::Up(life) => {
                    tracing::info!(node = %life.node, incarnation = life.incarnation, "node up");
                    self.moves.fetch_add(1, Ordering::AcqRel);
                    self.send_interest_again(&life.node);
                }
                Effect::Down(life) => {
                    tracing::info!(node = %life.node, incarnation = life.incarnation, "node down");
                    self.moves.fetch_add(1, Ordering::AcqRel);
                    self.shut(&life.node);
                }
                Effect::Forgotten(life) => self.relay.forget(&life, &self.fanout),
                Effect::Lost { sensor, epoch, winner } => self.lose(&sensor, epoch, &winner),
                Effect::Healed(report) => self.healed(report),
                Effect::Twin(rival) => *self.rival.lock() = Some(rival),
                Effect::Link { life, credit, interest } => {
                    if let Some(link) = self.relay.outgoing(&life.node).filter(|link| link.life == life) {
                        link.grant(credit);
                    }
                    if self.interest.lock().version != interest {
                        self.send_interest_again(&life.node);
                    }
                }
            }
        }
    }

    fn shut(&self, node: &NodeName) {
        if let Some(link) = self.relay.shut(node) {
            let touched = link.close(&self.fanout);
            self.visit(&touched, &mut |_, _, _, watchers| watchers.reset());
            self.demands_may_differ();
        }
    }

    /// Drops this node's copy of a sensor whose claim is beaten.
    fn lose(&self, sensor: &SensorId, epoch: Epoch, winner: &Owner) {
        let _stripe = self.stripe(sensor.as_str());
        self.table.remove(sensor.as_str(), epoch);
        self.demands_may_differ();
        if self.directory.release(sensor.as_str(), epoch, &mut |change| self.changed(&change)) {
            count(&self.counters.lost);
            tracing::info!(%sensor, winner = %winner.life.node, "sensor moved to another node");
            self.wake_for(&self.dirty);
            self.remember_loss(sensor, epoch, &winner.life.node);
        }
    }

    fn remember_loss(&self, sensor: &SensorId, epoch: Epoch, winner: &NodeName) {
        let lost = self.losses.lock().add(sensor, (epoch, winner), self.clock.now(), self.clock.steady());
        if lost.times == FLAPPING_LOSSES {
            count(&self.counters.flapping);
            tracing::warn!(%sensor, %winner, times = lost.times, "sensor goes to and fro: do two devices use one id?");
        }
        if let Some(sender) = self.tell_lost.read().as_ref()
            && let Err(crossbeam_channel::TrySendError::Full(_)) = sender.try_send(lost)
        {
            count(&self.counters.events_lost);
        }
    }

    fn healed(&self, report: Arc<HealReport>) {
        let (node, total) = (&report.node.node, report.total);
        if total > 0 {
            tracing::warn!(%node, total, "sensors were claimed by two nodes; each has one owner now");
        }
        let mut heals = self.heals.lock();
        if heals.len() >= HEALS_MAX {
            heals.pop_front();
        }
        heals.push_back(report.clone());
        drop(heals);
        self.tell(&Happening::Healed(report));
    }

    fn update_interest(&self) {
        let readers: Vec<SubscriptionId> = self.readers.lock().iter().copied().collect();
        let mut wanted = self.fanout.wanted_by(readers.into_iter());
        wanted.retain(|(filter, _)| filter.nodes.is_empty() || filter.nodes.iter().any(|node| *node != self.me.node));
        if self.interest.lock().update(wanted) {
            for life in self.directory.lives_up().into_iter().filter(|life| *life != self.me) {
                self.send_interest(&life.node);
            }
        }
    }

    fn send_interest_again(&self, node: &NodeName) {
        if !fault::is_on(Fault::StaleInterest) {
            self.send_interest(node);
        }
    }

    fn send_interest(&self, node: &NodeName) {
        let interest = self.interest.lock();
        if interest.version == 0 {
            return;
        }
        let encode = |wanted: &[Wanted]| {
            let message = Message::Interest { version: interest.version, wanted: wanted.to_vec() };
            codec::encode(self.me.incarnation, &message)
        };
        let mut message = encode(&interest.wanted);
        if message.len() > MESSAGE_MAX {
            // What does not fit is asked for as a whole: the receiver's own filters still hold.
            message = encode(&everything());
        }
        drop(interest);
        self.transport.send(node, Class::Control, Bytes::from(message));
    }

    fn send(&self, node: &NodeName, class: Class, message: &Message<'_>) {
        self.transport.send(node, class, Bytes::from(codec::encode(self.me.incarnation, message)));
    }

    fn wake_for(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::AcqRel)
            && let Some(wake) = self.wake.read().as_ref()
        {
            wake();
        }
    }
}

impl Host for Engine {
    fn link(&self, node: &NodeName) -> (u64, u64) {
        self.relay.link(node)
    }

    fn heard_at(&self, life: &Life) -> Micros {
        self.relay.heard_at(life)
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    fn came_or_went(&self, life: &Life, up: bool) {
        self.tell(&if up { Happening::NodeUp(life.clone()) } else { Happening::NodeDown(life.clone()) });
    }

    fn changed(&self, change: &Change<'_>) {
        self.moves.fetch_add(u64::from(change.is_move()), Ordering::AcqRel);
        if self.happenings.read().is_empty() {
            return;
        }
        let Ok(sensor) = SensorId::new(change.sensor) else { return };
        let listed = |owner| Listed { sensor, sensor_type: change.sensor_type(), owner };
        match (change.before(), change.after()) {
            (None, Some(owner)) => self.tell(&Happening::Registered(listed(owner))),
            (Some(owner), None) => self.tell(&Happening::Unregistered(listed(owner))),
            (Some(previous), Some(after)) if change.is_move() => {
                self.tell(&Happening::Moved { now: listed(after), previous });
            }
            _ => {}
        }
    }
}

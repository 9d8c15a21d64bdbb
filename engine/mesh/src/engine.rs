//! The engine: joins table, directory, fanout, ownership and relay behind one transport.
//!
//! Everything a node does to sensors goes through here. The engine starts no thread and reads no clock but the one it
//! was given: a driver (threads under a node, virtual time under the simulation) hands it the transport's events,
//! calls [`tick`](Engine::tick), and pumps its links.

mod cluster;
mod demand;
mod driven;
mod latency;
mod losses;
mod mode;
mod sensors;
mod starts;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use senza_core::directory::{Directory, Listed, Owner};
use senza_core::fanout::{Fanout, Outbox, SubscriptionId, Wanted, Watchers};
use senza_core::history::Sample;
use senza_core::reading::Reading;
use senza_core::subscription::{Contract, Ledger};
use senza_core::table::{Table, TableLimits};
use senza_core::{Epoch, Life, Micros, NodeName, Result, SensorId, SensorType, Seq, Series};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::ownership::contest::HealReport;
use crate::ownership::{Ownership, Timing};
use crate::relay::{Interest, LinkCounts, Moves, Relay};
use crate::transport::Transport;
pub use demand::FOLLOWED_MAX;
use demand::Followers;
pub(crate) use demand::{FollowerId, Latest};
pub use driven::Busy;
pub use latency::HopView;
use latency::Latencies;
use losses::Losses;
pub use losses::{FLAPPING_LOSSES, LOSS_MEMORY_US, LOSSES_MAX, Lost};
use mode::InCharge;
pub use mode::{Comparison, DISAGREEMENTS_MAX, Disagreement, Existing, Mode};
pub use starts::REMOTE_START_MAX;
use starts::Starts;

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
    starts: Mutex<Starts>,
    happenings: RwLock<Vec<Listener>>,
    /// How often a sensor changed owners, or a node came or went: what a series was held against may differ then.
    moves: Moves,
    interest_changed: AtomicBool,
    followers: Followers,
    /// Whether some subscription may hold readings back.
    paces: AtomicBool,
    dirty: AtomicBool,
    counters: Counters,
    latencies: Latencies,
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

/// Who is told what happens.
struct Listener {
    queue: Sender<Happening>,
    lost: Arc<AtomicU64>,
    /// Rung after something was queued.
    bell: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Questions {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Vec<Reading>>>,
}

// === impl Engine ===

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
            starts: Mutex::default(),
            happenings: RwLock::default(),
            moves: Moves::default(),
            interest_changed: AtomicBool::new(false),
            followers: Followers::default(),
            paces: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            counters: Counters::default(),
            latencies: Latencies::default(),
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
}

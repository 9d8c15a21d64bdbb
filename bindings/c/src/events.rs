//! What happens to sensors and nodes of the cluster, in order per sensor.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use senza::{Happening, HealReport, Settled};
use senza_core::Life;
use senza_core::directory::{Listed, Owner};

use crate::batch::{self, ITEMS_MAX, Pile, senza_memory};
use crate::border;
use crate::error::{refuse, senza_code};
use crate::handles::{Handles, Kind};
use crate::node::{self, Part, Shared, senza_node};
use crate::text::senza_str;

/// A reader of events. A number, not a pointer: a dead or made-up one is told. All zeros is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_events {
    /// Its number.
    pub id: u64,
}

/// What happened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_happening {
    /// A sensor has an owner now and had none.
    SENZA_REGISTERED = 0,
    /// A sensor has another owner or epoch than before.
    SENZA_MOVED = 1,
    /// A sensor has no owner any more.
    SENZA_UNREGISTERED_EVENT = 2,
    /// A node is up.
    SENZA_NODE_UP = 3,
    /// A node is down, and all its sensors with it: no event for each.
    SENZA_NODE_DOWN = 4,
    /// A node came into reach and its set was fetched; `count` sensors were claimed by two nodes, and each has one
    /// owner now: `heal` says which.
    SENZA_HEALED = 5,
    /// At most `count` events before this one were lost, because they were not read in time: list what you follow
    /// again.
    SENZA_EVENTS_LOST = 6,
}

/// A node's claim of a sensor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_claim {
    /// The node's name.
    pub node: senza_str,
    /// The node's life.
    pub incarnation: u64,
    /// The claim's number.
    pub epoch: u64,
}

/// A sensor that two nodes had claimed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_settled {
    /// Its id.
    pub sensor: senza_str,
    /// The claim that won: its node owns the sensor.
    pub winner: senza_claim,
    /// The claim that lost.
    pub loser: senza_claim,
}

/// What came to light when a node came into reach.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_heal {
    /// When all that the node owns was known here: microseconds since 1970.
    pub at_us: i64,
    /// The first of the sensors that the node and another one had claimed, in order of their ids.
    pub settled: *const senza_settled,
    /// How many are listed: at most 10,000, even where there were more.
    pub settled_count: usize,
    /// 1: the node had been here before, in this life: a split healed. 0: it is new here, or back from SENZA_LOCAL.
    pub returned: u32,
    /// 0.
    pub reserved: u32,
}

/// One event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_event {
    /// A senza_happening.
    pub what: u32,
    /// Of a sensor: 1 where this node owns it, or owned it.
    pub local: u32,
    /// Of a sensor its id, else empty.
    pub sensor: senza_str,
    /// Of a sensor its type, else empty.
    pub sensor_type: senza_str,
    /// The owner, or the node.
    pub node: senza_str,
    /// The owner's or the node's life.
    pub incarnation: u64,
    /// Of a sensor the claim's number.
    pub epoch: u64,
    /// Of SENZA_MOVED the owner before.
    pub previous_node: senza_str,
    /// Of SENZA_MOVED the claim before.
    pub previous_epoch: u64,
    /// Of SENZA_HEALED and SENZA_EVENTS_LOST.
    pub count: u64,
    /// Of SENZA_HEALED what was settled, else NULL.
    pub heal: *const senza_heal,
}

/// Events. Begin with all zeros (SENZA_ZERO); every call that fills it uses its memory again. Give that back by
/// senza_event_batch_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_event_batch {
    /// The first.
    pub items: *const senza_event,
    /// How many.
    pub count: usize,
    /// Where they lie.
    pub memory: senza_memory,
}

/// Readers of events of one process at a time: each has a queue.
const EVENTS_MAX: usize = 4096;
const POLL_MAX_MS: u32 = 86_400_000;

static EVENTS: Handles<Followed> = Handles::new(Kind::Events, 32, 28, EVENTS_MAX);

struct Followed {
    shared: Arc<Shared>,
    reading: Mutex<Reading>,
    /// Whose other end goes when this reader, or its node, ends.
    end: Receiver<()>,
}

struct Reading {
    happenings: Receiver<Happening>,
    /// Losses of this node's readers of events that were told already.
    lost_told: u64,
}

fn lost(shared: &Shared) -> u64 {
    shared.engine.counters().0.events_lost
}

/// Follows what happens to sensors and nodes from now on; read by senza_events_poll(). Up to 65,536 events wait; more
/// are lost, and told so. SENZA_FULL beyond 4,096 readers of a process. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_events_open(node: senza_node, events: *mut senza_events) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(events, "events") }?;
        let running = node::node(node)?;
        let shared = running.shared.clone();
        let (ending, end): (Sender<()>, Receiver<()>) = bounded(0);
        let reading = Mutex::new(Reading { lost_told: lost(&shared), happenings: shared.engine.happenings() });
        let held = EVENTS.insert(|_| Followed { shared: shared.clone(), reading, end })?;
        shared.add(held.id, Part::Events(ending)).inspect_err(|_| {
            let _removed = EVENTS.remove(held.id);
        })?;
        out.set(senza_events { id: held.id });
        Ok(())
    })
}

/// Takes what happened, at most `max` events (0: as many as there are, up to 1,000,000), into `batch`; waits up to
/// `timeout_ms` for one.
///
/// SENZA_TIMEOUT where nothing happened, SENZA_CLOSED where the node was stopped. Both leave an empty batch. Waits at
/// most a day; SENZA_ARGUMENT for more.
///
/// One thread at a time per reader, others get SENZA_BUSY; senza_events_close() and senza_node_stop() of another thread
/// end the wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_events_poll(
    events: senza_events,
    max: usize,
    timeout_ms: u32,
    batch: *mut senza_event_batch,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        border::check_count(max, ITEMS_MAX, "max")?;
        if timeout_ms > POLL_MAX_MS {
            return Err(refuse(senza_code::SENZA_ARGUMENT, "timeout_ms must be at most 86400000, a day"));
        }
        let max = if max == 0 { ITEMS_MAX } else { max };
        let followed = EVENTS.hold(events.id)?;
        let mut reading = followed
            .reading
            .try_lock()
            .ok_or_else(|| refuse(senza_code::SENZA_BUSY, "another thread polls these events"))?;
        let senza_event_batch { items, count, memory } = batch;
        (*items, *count) = (std::ptr::null(), 0);
        batch::fill(memory, |pile| {
            followed.shared.check()?;
            let timeout = Duration::from_millis(u64::from(timeout_ms));
            let first = select! {
                recv(reading.happenings) -> happening => happening.ok(),
                recv(followed.end) -> _ => return Err(refuse(senza_code::SENZA_CLOSED, "the events ended")),
                default(timeout) => None,
            };
            first.iter().for_each(|happening| pile.add_event(happening));
            reading.happenings.try_iter().take(max - 1).for_each(|happening| pile.add_event(&happening));
            // A queue that lost something was full: what it held is told before.
            let now_lost = lost(&followed.shared);
            if now_lost > reading.lost_told && pile.events.len() < max {
                let count = now_lost - reading.lost_told;
                reading.lost_told = now_lost;
                pile.events.push(senza_event { count, ..plain(senza_happening::SENZA_EVENTS_LOST) });
            }
            if pile.events.is_empty() {
                return Err(refuse(senza_code::SENZA_TIMEOUT, "nothing happened in time"));
            }
            (*items, *count) = (pile.events.as_ptr(), pile.events.len());
            Ok(())
        })
    })
}

/// Ends a reader of events. A poll of another thread that waits returns. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_events_close(events: senza_events) -> senza_code {
    border::enter(|| {
        let held = EVENTS.remove(events.id)?;
        held.shared.end(held.id);
        Ok(())
    })
}

/// The last heals that this node saw, oldest first, at most 16: each an event of SENZA_HEALED, also where nobody read
/// events then. Thread-safe; the answer is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_heals(node: senza_node, batch: *mut senza_event_batch) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        let running = node::node(node)?;
        let senza_event_batch { items, count, memory } = batch;
        (*items, *count) = (std::ptr::null(), 0);
        batch::fill(memory, |pile| {
            for report in running.shared.engine.heals() {
                let event = pile.of_heal(&report);
                pile.events.push(event);
            }
            (*items, *count) = (pile.events.as_ptr(), pile.events.len());
            Ok(())
        })
    })
}

/// Gives the memory of events back and sets them to all zeros; those of all zeros are fine. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_event_batch_free(batch: *mut senza_event_batch) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        let memory = batch.memory;
        *batch = senza_event_batch { items: std::ptr::null(), count: 0, memory: senza_memory { id: 0 } };
        batch::free(memory)
    })
}

fn plain(what: senza_happening) -> senza_event {
    senza_event {
        what: what as u32,
        local: 0,
        sensor: senza_str::NONE,
        sensor_type: senza_str::NONE,
        node: senza_str::NONE,
        incarnation: 0,
        epoch: 0,
        previous_node: senza_str::NONE,
        previous_epoch: 0,
        count: 0,
        heal: std::ptr::null(),
    }
}

impl Pile {
    fn add_event(&mut self, happening: &Happening) {
        let event = match happening {
            Happening::Registered(listed) => self.of_sensor(senza_happening::SENZA_REGISTERED, listed, None),
            Happening::Moved { now, previous } => self.of_sensor(senza_happening::SENZA_MOVED, now, Some(previous)),
            Happening::Unregistered(listed) => self.of_sensor(senza_happening::SENZA_UNREGISTERED_EVENT, listed, None),
            Happening::NodeUp(life) => self.of_node(senza_happening::SENZA_NODE_UP, life),
            Happening::NodeDown(life) => self.of_node(senza_happening::SENZA_NODE_DOWN, life),
            Happening::Healed(report) => self.of_heal(report),
        };
        self.events.push(event);
    }

    fn of_heal(&mut self, report: &HealReport) -> senza_event {
        let settled: Vec<senza_settled> = report.duplicates.iter().map(|settled| self.settled(settled)).collect();
        let heal = senza_heal {
            at_us: report.at,
            settled: self.settled.put(&settled, None),
            settled_count: settled.len(),
            returned: u32::from(report.returned),
            reserved: 0,
        };
        let heal = self.heals.put(&[heal], None);
        senza_event { count: report.total, heal, ..self.of_node(senza_happening::SENZA_HEALED, &report.node) }
    }

    fn settled(&mut self, settled: &Settled) -> senza_settled {
        let texts = &mut self.texts;
        let sensor = texts.text(settled.sensor.as_str().as_bytes());
        let mut claim = |owner: &Owner| senza_claim {
            node: texts.text(owner.life.node.as_str().as_bytes()),
            incarnation: owner.life.incarnation,
            epoch: owner.epoch,
        };
        senza_settled { sensor, winner: claim(&settled.winner), loser: claim(&settled.loser) }
    }

    fn of_sensor(&mut self, what: senza_happening, listed: &Listed, previous: Option<&Owner>) -> senza_event {
        let texts = &mut self.texts;
        let mut event = senza_event {
            local: u32::from(listed.owner.local),
            sensor: texts.text(listed.sensor.as_str().as_bytes()),
            sensor_type: texts.text(listed.sensor_type.as_str().as_bytes()),
            node: texts.text(listed.owner.life.node.as_str().as_bytes()),
            incarnation: listed.owner.life.incarnation,
            epoch: listed.owner.epoch,
            ..plain(what)
        };
        if let Some(previous) = previous {
            event.previous_node = texts.text(previous.life.node.as_str().as_bytes());
            event.previous_epoch = previous.epoch;
        }
        event
    }

    fn of_node(&mut self, what: senza_happening, life: &Life) -> senza_event {
        let node = self.texts.text(life.node.as_str().as_bytes());
        senza_event { node, incarnation: life.incarnation, ..plain(what) }
    }
}

//! What a node knows of the cluster: where sensors are, their readings, listings, nodes.

use std::ffi::c_char;

use senza::{AttributeId, SensorId, Whereis};
use senza_core::NodeName;
use senza_core::reading::NODE_NAME_MAX;

use crate::batch::{self, ITEMS_MAX, senza_batch, senza_memory};
use crate::border;
use crate::error::{refuse, senza_code};
use crate::node::{self, senza_node};
use crate::text::{self, senza_filter, senza_str};

/// Bytes of the name of a node, with the NUL behind it.
pub const SENZA_NAME_SIZE: usize = 64;
/// Of a located sensor: nobody owns it.
pub const SENZA_NOBODY: u32 = u32::MAX;
/// Most entries of one page.
pub const SENZA_PAGE_MAX: usize = 100_000;
/// Most sensors that one call locates.
pub const SENZA_LOCATE_MAX: usize = 1_048_576;

/// The name of a node, with a NUL behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_name {
    /// Its bytes.
    pub text: [c_char; SENZA_NAME_SIZE],
}

/// Where a sensor is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_where {
    /// Not known anywhere that is up.
    SENZA_NOWHERE = 0,
    /// Owned by this node.
    SENZA_HERE = 1,
    /// Owned by another node.
    SENZA_THERE = 2,
}

/// Who owns a sensor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_owner {
    /// A senza_where.
    pub place: u32,
    /// 0.
    pub reserved: u32,
    /// The claim's number; 0 of SENZA_NOWHERE.
    pub epoch: u64,
    /// The owner's name; empty of SENZA_NOWHERE.
    pub node: senza_name,
}

/// Where a sensor is, without a name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_located {
    /// The claim's number.
    pub epoch: u64,
    /// The owner's number, for senza_life_of(): 0 is this node, SENZA_NOBODY nobody.
    pub life: u32,
    /// 0.
    pub reserved: u32,
}

/// One life of a node.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_life {
    /// The node's name.
    pub node: senza_name,
    /// Which of its lives.
    pub incarnation: u64,
}

/// One sensor of a listing.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_listed {
    /// Its id.
    pub sensor: senza_str,
    /// Its type.
    pub sensor_type: senza_str,
    /// The name of its owner.
    pub node: senza_str,
    /// The claim's number.
    pub epoch: u64,
    /// 1 where this node owns it.
    pub local: u32,
    /// 0.
    pub reserved: u32,
}

/// One page of a listing. Begin with all zeros (SENZA_ZERO); senza_sensors() fills it again and again until `done`, and
/// what it held before is then no longer good. Give its memory back by senza_page_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_page {
    /// The first.
    pub items: *const senza_listed,
    /// How many.
    pub count: usize,
    /// 1: the listing is complete with this page.
    pub done: u32,
    /// 0.
    pub reserved: u32,
    /// Where they lie, and where the listing goes on.
    pub memory: senza_memory,
}

/// One node that is up.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_node_view {
    /// Its name.
    pub node: senza_str,
    /// Which of its lives.
    pub incarnation: u64,
    /// How many sensors it owns.
    pub sensors: u64,
    /// 1: it is this node.
    pub local: u32,
    /// 0.
    pub reserved: u32,
}

/// The nodes that are up. Begin with all zeros (SENZA_ZERO); give its memory back by senza_node_views_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_node_views {
    /// The first.
    pub items: *const senza_node_view,
    /// How many.
    pub count: usize,
    /// Where they lie.
    pub memory: senza_memory,
}

impl Default for senza_name {
    fn default() -> Self {
        Self { text: [0; SENZA_NAME_SIZE] }
    }
}

impl senza_name {
    #[inline]
    pub(crate) fn of(name: &NodeName) -> Self {
        let mut made = Self::default();
        for (to, from) in made.text[..NODE_NAME_MAX].iter_mut().zip(name.as_str().bytes()) {
            *to = from as c_char;
        }
        made
    }

    /// The name, where it is one.
    pub(crate) fn read(&self) -> Option<NodeName> {
        let bytes: Vec<u8> = self.text.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        NodeName::new(std::str::from_utf8(&bytes).ok()?).ok()
    }
}

/// Where a sensor is, as this node knows: no lock, no network. A sensor that nobody knows is no failure: SENZA_NOWHERE.
/// In SENZA_SHADOW your registry answers. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_whereis(node: senza_node, sensor: senza_str, owner: *mut senza_owner) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(owner, "owner") }?;
        // SAFETY: the header's rule of pointers.
        let sensor = unsafe { text::sensor(sensor) }?;
        let shared = node::shared(node)?;
        let _held = shared.hold_for_registry()?;
        let owner = |place: senza_where, epoch, node| senza_owner { place: place as u32, reserved: 0, epoch, node };
        out.set(match shared.engine.whereis(sensor) {
            Whereis::NotFound => owner(senza_where::SENZA_NOWHERE, 0, senza_name::default()),
            Whereis::Local { epoch } => owner(senza_where::SENZA_HERE, epoch, shared.name),
            Whereis::Remote { node, epoch } => owner(senza_where::SENZA_THERE, epoch, senza_name::of(&node)),
        });
        Ok(())
    })
}

/// Where many sensors are: their waits for memory overlap, so that one costs about half of senza_whereis(). `located`
/// has room for `count` answers, in the order of `sensors`; at most SENZA_LOCATE_MAX. Not compared in SENZA_SHADOW.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_locate_many(
    node: senza_node,
    sensors: *const senza_str,
    count: usize,
    located: *mut senza_located,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let sensors = unsafe { border::list(sensors, count, SENZA_LOCATE_MAX, "sensors") }?;
        // SAFETY: the header's rule of pointers.
        let answers = unsafe { border::list_to_write(located, count, SENZA_LOCATE_MAX, "located") }?;
        let shared = node::shared(node)?;
        let Some(answers) = answers else {
            return if count == 0 { Ok(()) } else { Err(refuse(senza_code::SENZA_NULL, "located must not be NULL")) };
        };
        // SAFETY: the header's rule of pointers.
        let ids = unsafe { text::sensors(sensors) }.map_err(|(at, fail)| fail.within("sensor", at))?;
        let mut answers = answers.iter_mut();
        shared.engine.locate_many(ids, |located| {
            let (life, epoch) = located.map_or((SENZA_NOBODY, 0), |located| (located.life.into(), located.epoch));
            answers.next().into_iter().for_each(|answer| *answer = senza_located { epoch, life, reserved: 0 });
        });
        Ok(())
    })
}

/// The node behind a number that senza_locate_many() answered. SENZA_NOT_FOUND where it is forgotten. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_life_of(node: senza_node, number: u32, life: *mut senza_life) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(life, "life") }?;
        let shared = node::shared(node)?;
        let found = u16::try_from(number).ok().and_then(|number| shared.engine.life(number));
        let life =
            found.ok_or_else(|| refuse(senza_code::SENZA_NOT_FOUND, format!("no node has the number {number}")))?;
        out.set(senza_life { node: senza_name::of(&life.node), incarnation: life.incarnation });
        Ok(())
    })
}

/// The latest reading of an attribute of a sensor of this node: one item. No network.
///
/// SENZA_NOT_FOUND where there is none, SENZA_NOT_OWNER where another node owns the sensor: senza_history() asks it.
/// Thread-safe; a batch is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_latest(
    node: senza_node,
    sensor: senza_str,
    attribute: senza_str,
    batch: *mut senza_batch,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        // SAFETY: the header's rule of pointers.
        let sensor = unsafe { text::sensor(sensor) }?;
        // SAFETY: the header's rule of pointers.
        let attribute = unsafe { text::attribute(attribute) }?;
        let shared = node::shared(node)?;
        let (engine, _held) = (&shared.engine, shared.hold_for_registry()?);
        batch.fill(|pile| match engine.latest(sensor, attribute) {
            Some(reading) => {
                pile.add_readings(std::slice::from_ref(&reading));
                Ok(())
            }
            None => match engine.whereis(sensor) {
                Whereis::Remote { node, .. } => {
                    Err(senza_core::Error::NotOwner { sensor: sensor.to_owned(), node }.into())
                }
                Whereis::NotFound => Err(senza_core::Error::NotFound { sensor: sensor.to_owned() }.into()),
                Whereis::Local { .. } => {
                    let rule = format!("sensor {sensor:?} has no reading of attribute {attribute:?}");
                    Err(refuse(senza_code::SENZA_NOT_FOUND, rule))
                }
            },
        })
    })
}

/// The newest `last` readings of an attribute, oldest first, of any sensor of the cluster: another node's are asked of
/// their owner. Blocks for up to five seconds, then SENZA_TIMEOUT.
///
/// SENZA_NOT_FOUND where nobody owns the sensor; no items where it has no such readings. Thread-safe; a batch is for
/// one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_history(
    node: senza_node,
    sensor: senza_str,
    attribute: senza_str,
    last: u32,
    batch: *mut senza_batch,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        // SAFETY: the header's rule of pointers.
        let sensor = SensorId::new(unsafe { text::sensor(sensor) }?)?;
        // SAFETY: the header's rule of pointers.
        let attribute = AttributeId::new(unsafe { text::attribute(attribute) }?)?;
        border::check_count(last as usize, ITEMS_MAX, "last")?;
        let running = node::node_to_wait_with(node)?;
        batch.fill(|pile| {
            let Some(readings) = running.node.history(&sensor, &attribute, last)? else {
                return Err(refuse(senza_code::SENZA_TIMEOUT, format!("the owner of {sensor} did not answer in time")));
            };
            pile.add_readings(&readings);
            Ok(())
        })
    })
}

/// The sensors of the cluster that match, at most `limit` a call (1 to SENZA_PAGE_MAX), from where the page before
/// ended; of a pattern only the sensor's chunk counts. `filter` may be NULL: all. After `done` the next call begins
/// anew.
///
///     senza_page page = SENZA_ZERO;
///     do senza_sensors(node, NULL, 1000, &page) ... while (!page.done);
///
/// Thread-safe; a page is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_sensors(
    node: senza_node,
    filter: *const senza_filter,
    limit: usize,
    page: *mut senza_page,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let page = unsafe { border::kept(page, "page") }?;
        // A loop until it is done ends with a failure too.
        (page.items, page.count, page.done) = (std::ptr::null(), 0, 1);
        // SAFETY: the header's rule of pointers.
        let filter = unsafe { border::given_or_null(filter, "filter") }?;
        // SAFETY: the header's rule of pointers.
        let filter = unsafe { text::filter(filter) }?;
        border::check_count(limit, SENZA_PAGE_MAX, "limit")?;
        if limit == 0 {
            return Err(refuse(senza_code::SENZA_LENGTH, "limit must be at least 1"));
        }
        let running = node::node(node)?;
        let senza_page { items, count, done, memory, .. } = page;
        batch::fill(memory, |pile| {
            let from = pile.cursor.take().unwrap_or_default();
            let found = running.shared.engine.page(&from, &filter, limit);
            for listed in &found.sensors {
                let listed = senza_listed {
                    sensor: pile.texts.text(listed.sensor.as_str().as_bytes()),
                    sensor_type: pile.texts.text(listed.sensor_type.as_str().as_bytes()),
                    node: pile.texts.text(listed.owner.life.node.as_str().as_bytes()),
                    epoch: listed.owner.epoch,
                    local: u32::from(listed.owner.local),
                    reserved: 0,
                };
                pile.listed.push(listed);
            }
            *done = u32::from(found.next.is_none());
            pile.cursor = found.next;
            (*items, *count) = (pile.listed.as_ptr(), pile.listed.len());
            Ok(())
        })
    })
}

/// Gives a page's memory back and sets it to all zeros; one of all zeros is fine. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_page_free(page: *mut senza_page) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let page = unsafe { border::kept(page, "page") }?;
        let memory = page.memory;
        let none = senza_memory { id: 0 };
        *page = senza_page { items: std::ptr::null(), count: 0, done: 0, reserved: 0, memory: none };
        batch::free(memory)
    })
}

/// The nodes that are up, this one first. Thread-safe; the answer is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_nodes(node: senza_node, nodes: *mut senza_node_views) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let nodes = unsafe { border::kept(nodes, "nodes") }?;
        let running = node::node(node)?;
        let senza_node_views { items, count, memory } = nodes;
        (*items, *count) = (std::ptr::null(), 0);
        batch::fill(memory, |pile| {
            for view in running.shared.engine.nodes() {
                let view = senza_node_view {
                    node: pile.texts.text(view.life.node.as_str().as_bytes()),
                    incarnation: view.life.incarnation,
                    sensors: view.sensors,
                    local: u32::from(view.local),
                    reserved: 0,
                };
                pile.nodes.push(view);
            }
            (*items, *count) = (pile.nodes.as_ptr(), pile.nodes.len());
            Ok(())
        })
    })
}

/// Gives the memory of nodes back and sets them to all zeros; those of all zeros are fine. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_views_free(nodes: *mut senza_node_views) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let nodes = unsafe { border::kept(nodes, "nodes") }?;
        let memory = nodes.memory;
        *nodes = senza_node_views { items: std::ptr::null(), count: 0, memory: senza_memory { id: 0 } };
        batch::free(memory)
    })
}

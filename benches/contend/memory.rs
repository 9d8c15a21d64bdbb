//! Family `memory`: what a sensor, a reading that is kept, and a sensor of another node cost in memory.
//!
//! Parameters: `what` (sensor: the latest reading of one attribute, or as many as `readings` says; remote: who owns it,
//! as a directory of a whole cluster holds it), `sensors`, `history` (readings that are kept of a sensor at most),
//! `readings` (how many are put of each; 0: as many as are kept).
//!
//! Counted is the anonymous memory of this process that is in RAM, before and after: with it, what the allocator
//! rounds up and what growing left behind. So it is the same for all, whoever allocates, but too coarse for few
//! sensors. Ids have 24 bytes; the caller's are there before.

use std::collections::VecDeque;

use papaya::HashMap as PapayaMap;
use parking_lot::RwLock;
use senza_core::codec::{ClaimOp, Delta};
use senza_core::directory::{Applied, Directory, PARTITIONS};
use senza_core::fanout::{Fanout, Watchers};
use senza_core::hash::partition_of;
use senza_core::table::{Point, Table, TableLimits};
use senza_core::{Life, NodeName, Value};

use crate::Family;
use crate::answer::{Account, Answer, Params};
use crate::table::choice;
use crate::table::maps::{Dash, Key, Latest, Map, Papaya, Plain, RandomState, Scc};
use crate::table::senza::{ATTRIBUTE, Registering};
use crate::table::stream::write_id;

pub(crate) const FAMILY: Family =
    Family { name: "memory", contenders: &["senza", "dashmap", "papaya", "scc", "rwlock"], run, child: |_| () };

/// Claims that one delta message of the directory's peer holds here.
const CLAIMS: usize = 4_096;
/// Sensors looked at in the end.
const LOOKED_AT: u32 = 1_000;

/// What is to be held.
#[derive(Clone, Copy, Debug)]
struct Load {
    sensors: u32,
    history: usize,
    readings: usize,
}

/// Something that holds the readings of sensors.
trait Holds {
    /// Makes a sensor known with its first reading.
    fn first(&mut self, number: u32, id: &str);
    /// Takes a further reading of it.
    fn next(&mut self, id: &str, value: f64, time: i64);
    /// How many readings of it are kept, and what the newest says.
    fn kept(&self, id: &str) -> (usize, f64);
}

fn run(contender: &str, params: &Params) -> Answer {
    let is_remote = choice(params, "what", &["sensor", "remote"]) == 1;
    let history = params.get("history", 16);
    let readings = Some(params.get("readings", 1)).filter(|readings| *readings > 0).unwrap_or(history);
    let load = Load { sensors: params.get("sensors", 1_000_000), history, readings };
    match (contender, is_remote) {
        ("senza", true) => remote_senza(load.sensors),
        ("dashmap", true) => remote(load.sensors, Dash::<Claim>::empty, Map::insert, |map, id| map.read(id, |c| *c)),
        ("papaya", true) => remote(
            load.sensors,
            PapayaMap::<Key, Claim, RandomState>::default,
            |map, id, claim| {
                map.pin().insert(id.into(), claim);
            },
            |map, id| map.pin().get(id).copied(),
        ),
        ("scc", true) => remote(load.sensors, Scc::<Claim>::empty, Map::insert, |map, id| map.read(id, |c| *c)),
        (_, true) => {
            remote(load.sensors, RwLock::<Plain<Claim>>::empty, Map::insert, |map, id| Map::read(map, id, |c| *c))
        }
        ("senza", false) => local(load, || InTable::new(load.history)),
        ("dashmap", false) => by_map::<Dash<Latest>, Dash<Kept>>(load),
        ("papaya", false) => by_map::<Papaya<Latest>, Papaya<Kept>>(load),
        ("scc", false) => by_map::<Scc<Latest>, Scc<Kept>>(load),
        (_, false) => by_map::<RwLock<Plain<Latest>>, RwLock<Plain<Kept>>>(load),
    }
}

// === Readings ===

/// Where a map keeps nothing but the latest, its entry is no more than that.
fn by_map<L: Map<Latest>, K: Map<Kept>>(load: Load) -> Answer {
    if load.readings == 1 {
        local(load, || LatestIn(L::empty()))
    } else {
        local(load, || KeptIn(K::empty(), load.history))
    }
}

fn local<H: Holds>(load: Load, empty: impl FnOnce() -> H) -> Answer {
    let Load { sensors, history, readings } = load;
    let ids = ids(sensors);
    let before = anonymous_bytes();
    let mut holder = empty();
    for (number, id) in (0..).zip(&ids) {
        holder.first(number, id);
    }
    let first = anonymous_bytes();
    for reading in 1..readings {
        ids.iter().for_each(|id| holder.next(id, reading as f64, reading as i64 * 1_000_000));
    }
    let all = anonymous_bytes();
    let mut arrived = 0;
    let expected = (readings.min(history), (readings - 1) as f64);
    for id in ids.iter().step_by(sensors.div_ceil(LOOKED_AT) as usize) {
        assert_eq!(holder.kept(id), expected, "what is kept of {id}, and its newest");
        arrived += readings as u64;
    }
    let answer = Answer::default()
        .metric("bytes_per_sensor", per(before, all, sensors))
        .account(Account { offered: arrived, arrived, told: 0, lost: 0 })
        .detail("configuration", "grown one by one, no capacity asked for; account: the sensors looked at in the end");
    match readings {
        1 => answer,
        _ => answer.metric("bytes_per_sample", per(first, all, sensors) / (readings.min(history) - 1) as f64),
    }
}

/// senza's table; a put does all it does on a node.
struct InTable {
    table: Table<Watchers>,
    fanout: Fanout,
    registering: Registering,
}

impl InTable {
    fn new(history: usize) -> Self {
        let limits = TableLimits { history_max: history, ..TableLimits::default() };
        Self { table: Table::new(limits, 1), fanout: Fanout::default(), registering: Registering::default() }
    }
}

impl Holds for InTable {
    fn first(&mut self, number: u32, _id: &str) {
        let point: Point = self.registering.register(&self.table, number);
        let seq = self.table.put(point, 1, |series, sample, watchers| self.fanout.deliver(series, sample, watchers, 1));
        assert_eq!(seq.ok(), Some(1), "it is the first");
    }

    fn next(&mut self, id: &str, value: f64, time: i64) {
        let deliver = |series: &_, sample: &_, watchers: &mut _| self.fanout.deliver(series, sample, watchers, time);
        self.table.put_by_id(id, ATTRIBUTE, Value::F64(value), time, time, deliver).expect("it is registered");
    }

    fn kept(&self, id: &str) -> (usize, f64) {
        let kept = self.table.history(id, ATTRIBUTE, i64::MIN, i64::MAX, usize::MAX);
        let newest = kept.last().and_then(|reading| reading.value.as_f64());
        (kept.len(), newest.unwrap_or(f64::NAN))
    }
}

struct LatestIn<M>(M);

impl<M: Map<Latest>> Holds for LatestIn<M> {
    fn first(&mut self, _number: u32, id: &str) {
        self.0.insert(id, (0.0, 1));
    }

    fn next(&mut self, id: &str, value: f64, time: i64) {
        assert!(self.0.update(id, |latest| *latest = (value, time)), "{id} is there");
    }

    fn kept(&self, id: &str) -> (usize, f64) {
        self.0.read(id, |latest| (1, latest.0)).unwrap_or_default()
    }
}

/// The latest reading, and older ones in a ring of exactly their number, made with the second: 16 bytes a reading, its
/// value and its time.
struct Kept {
    latest: Latest,
    older: VecDeque<Latest>,
}

struct KeptIn<M>(M, usize);

impl<M: Map<Kept>> Holds for KeptIn<M> {
    fn first(&mut self, _number: u32, id: &str) {
        self.0.insert(id, Kept { latest: (0.0, 1), older: VecDeque::new() });
    }

    fn next(&mut self, id: &str, value: f64, time: i64) {
        let older_max = self.1 - 1;
        let is_there = self.0.update(id, |kept| {
            if kept.older.capacity() == 0 {
                kept.older.reserve_exact(older_max);
            }
            if kept.older.len() == older_max {
                kept.older.pop_front();
            }
            kept.older.push_back(kept.latest);
            kept.latest = (value, time);
        });
        assert!(is_there, "{id} is there");
    }

    fn kept(&self, id: &str) -> (usize, f64) {
        self.0.read(id, |kept| (1 + kept.older.len(), kept.latest.0)).unwrap_or_default()
    }
}

// === Who owns what ===

/// The owner's number and the claim's.
type Claim = (u32, u64);

const REMOTE: &str = "grown one by one, no capacity asked for; account: the sensors looked at in the end";

/// A map from each id to its owner and the number of its claim.
fn remote<M>(
    sensors: u32,
    empty: impl FnOnce() -> M,
    insert: impl Fn(&M, &str, Claim),
    read: impl Fn(&M, &str) -> Option<Claim>,
) -> Answer {
    let ids = ids(sensors);
    let before = anonymous_bytes();
    let map = empty();
    (1..).zip(&ids).for_each(|(epoch, id)| insert(&map, id, (1, epoch)));
    let after = anonymous_bytes();
    told_of_remote(&ids, before, after, |id| read(&map, id).map(|claim| claim.1))
}

/// senza's directory, told of all claims of one other node by deltas, as they come over a link.
fn remote_senza(sensors: u32) -> Answer {
    let life = |name| Life { node: NodeName::from_host(name), incarnation: 1 };
    let ids = ids(sensors);
    let before = anonymous_bytes();
    let directory = Directory::new(life("a"), 1);
    let owner = life("b");
    directory.up(&owner).expect("a directory has room for a node");
    let mut versions = [0; PARTITIONS];
    let mut epoch = 0;
    for some in ids.chunks(CLAIMS) {
        let mut deltas: Vec<Delta<'_>> = (0..=u8::MAX).map(|partition| delta(partition, &versions)).collect();
        for id in some {
            epoch += 1;
            let claim = ClaimOp::Claim { sensor: id, sensor_type: "generic", epoch };
            deltas[usize::from(partition_of(id))].ops.push(claim);
        }
        for delta in deltas.iter_mut().filter(|delta| !delta.ops.is_empty()) {
            delta.new += delta.ops.len() as u64;
            let applied = directory.apply_delta(&owner, delta, &mut |_| {});
            assert_eq!(applied.ok(), Some(Applied::Done), "its version follows on the last");
            versions[usize::from(delta.partition)] = delta.new;
        }
    }
    let after = anonymous_bytes();
    assert_eq!(directory.count(&owner), u64::from(sensors), "all claims are there");
    told_of_remote(&ids, before, after, |id| directory.locate(id).map(|located| located.epoch))
}

/// What changes nothing yet of a partition.
fn delta<'a>(partition: u8, versions: &[u64; PARTITIONS]) -> Delta<'a> {
    let base = versions[usize::from(partition)];
    Delta { partition, base, new: base, ops: Vec::new() }
}

fn told_of_remote(ids: &[Key], before: u64, after: u64, epoch: impl Fn(&str) -> Option<u64>) -> Answer {
    let sensors = ids.len() as u32;
    let mut arrived = 0;
    for (number, id) in (1..).zip(ids).step_by(sensors.div_ceil(LOOKED_AT) as usize) {
        assert_eq!(epoch(id), Some(number), "the claim of {id}");
        arrived += 1;
    }
    Answer::default()
        .metric("bytes_per_remote_sensor", per(before, after, sensors))
        .account(Account { offered: arrived, arrived, told: 0, lost: 0 })
        .detail("configuration", REMOTE)
}

// === Memory ===

/// The caller's ids.
fn ids(sensors: u32) -> Vec<Key> {
    let mut id = String::new();
    let one = |number| {
        write_id(number, &mut id);
        Key::from(id.as_str())
    };
    (0..sensors).map(one).collect()
}

fn per(before: u64, after: u64, sensors: u32) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(sensors)
}

/// Memory of this process that is in RAM and belongs to no file: what was allocated and written. Counted by page.
fn anonymous_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells of its processes");
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).expect("since Linux 4.14");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a number of kilobytes") * 1024
}

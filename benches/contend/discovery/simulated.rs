//! Clusters larger than a machine carries, in virtual time: what the real engines say to each other over the simulated
//! network of `senza_mesh::sim`, counted message by message. They say all of what goes over links and are the same on
//! every machine; `idle_us_per_s` alone is real time, of this thread, which carries the network too.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::Instant;

use senza_mesh::handle::SensorHandle;
use senza_mesh::sim::Cluster;

use super::member::id;
use crate::answer::{Account, Answer, Params};

/// Virtual seconds for which idle nodes are listened to: five beacons.
const IDLE_S: i64 = 4;
/// Sensors registered one by one, a hundredth of a second apart.
const SINGLY: usize = 100;
const SECOND: i64 = 1_000_000;
/// Between two beacons.
const BEACON_S: f64 = 0.8;
const OWNER: &str = "n000";
const LATE: &str = "late";

/// What a node sends while nothing happens, a burst of registrations, registrations one by one, a late joiner, and a
/// crash cost so many nodes.
pub(crate) fn run(params: &Params) -> Answer {
    let (nodes, sensors): (usize, usize) = (params.get("nodes", 3), params.get("sensors", 1000));
    let mut told = Simulated::start(params.get("seed", 1), nodes);
    let receivers = told.others.len() as f64;
    let per = |number: u64, count: usize| number as f64 / count as f64 / receivers;

    let (before, begin, real) = (told.sent(), told.cluster.now(), Instant::now());
    told.cluster.run_for(IDLE_S * SECOND);
    let real = real.elapsed().as_secs_f64();
    let idle = (told.sent().1 - before.1) as f64 * SECOND as f64 / (told.cluster.now() - begin) as f64;

    let (burst, visible) = told.register(sensors);
    let right = told.right();
    let mut singly = (0, 0);
    for _ in 0..SINGLY {
        let ((messages, bytes), _) = told.register(1);
        singly = (singly.0 + messages, singly.1 + bytes);
        told.cluster.run_for(SECOND / 100);
    }
    told.cluster.settle();
    told.cluster.check().expect("all nodes agree");
    let (join, joined) = told.join();
    let death = told.crash();

    let offered = sensors as u64 * told.others.len() as u64;
    Answer::default()
        .metric("idle_bytes_per_s", idle)
        .metric("beacon_bytes", idle / receivers * BEACON_S)
        .metric("idle_us_per_s", real * 1e6 / IDLE_S as f64 / nodes as f64)
        .metric("visible_virtual_ms", visible as f64 / 1e3)
        .metric("messages_per_sensor", per(singly.0, SINGLY))
        .metric("bytes_per_sensor", per(singly.1, SINGLY))
        .metric("burst_messages_per_sensor", per(burst.0, sensors))
        .metric("burst_bytes_per_sensor", per(burst.1, sensors))
        .metric("join_virtual_ms", join as f64 / 1e3)
        .metric("join_bytes", joined as f64)
        .metric("death_virtual_ms", death as f64 / 1e3)
        .account(Account { offered, arrived: right, told: 0, lost: offered - right })
        .detail(
            "configuration",
            "links of 50 to 500 microseconds that lose nothing; default timing; names of 4 letters",
        )
}

/// A cluster, of which the first node registers and all others have to hear.
struct Simulated {
    cluster: Cluster,
    others: Vec<String>,
    held: Vec<SensorHandle>,
}

impl Simulated {
    fn start(seed: u64, nodes: usize) -> Self {
        let mut cluster = Cluster::seed(seed).nodes(0);
        cluster.start(OWNER);
        let others: Vec<String> = (1..nodes).map(|at| format!("n{at:03}")).collect();
        others.iter().for_each(|other| cluster.start(other));
        cluster.settle();
        Self { cluster, others, held: Vec::new() }
    }

    /// Registers some more on the first node, and waits until all others hold its set. Answers the messages and bytes
    /// that it sent meanwhile, and the virtual microseconds.
    fn register(&mut self, count: usize) -> ((u64, u64), i64) {
        let (before, begin) = (self.sent(), self.cluster.now());
        let next = self.held.len();
        let held = (next..next + count).map(|at| self.cluster.register(OWNER, &id(at)));
        self.held.extend(held);
        let last = id(next + count - 1);
        // The first ones that hold it are not looked at again. The owner's version rises when it tells its changes.
        let mut seen = 0;
        let all_hold = |cluster: &Cluster| {
            let holds = |other: &String| cluster.owner(other, &last).is_some() && holds_all(cluster, other);
            seen += self.others[seen..].iter().take_while(|other| holds(other)).count();
            seen == self.others.len()
        };
        assert!(self.cluster.run_until(60 * SECOND, all_hold), "all others hold {count} more sensors");
        let after = self.sent();
        ((after.0 - before.0, after.1 - before.1), self.cluster.now() - begin)
    }

    /// Starts one more. Answers after how many virtual microseconds it holds all sensors, and the bytes it was sent.
    fn join(&mut self) -> (i64, u64) {
        let begin = self.cluster.now();
        self.cluster.start(LATE);
        let last = id(self.held.len() - 1);
        let holds = |cluster: &Cluster| cluster.owner(LATE, &last).is_some() && holds_all(cluster, LATE);
        assert!(self.cluster.run_until(60 * SECOND, holds), "the late one holds all sensors");
        let took = self.cluster.now() - begin;
        let bytes = self.cluster.engine(LATE).traffic().iter().map(|link| link.received.1).sum();
        self.cluster.settle();
        (took, bytes)
    }

    /// Crashes the owner. Answers after how many virtual microseconds nobody knows its sensors.
    fn crash(&mut self) -> i64 {
        let first = id(0);
        self.held.drain(..).for_each(SensorHandle::leave);
        let begin = self.cluster.now();
        self.cluster.crash(OWNER);
        let gone = |cluster: &Cluster| self.others.iter().all(|other| cluster.owner(other, &first).is_none());
        assert!(self.cluster.run_until(60 * SECOND, gone), "all see it gone");
        self.cluster.now() - begin
    }

    /// How often another node knows one of the sensors for the first node's.
    fn right(&self) -> u64 {
        let of_owner = |other: &String, at: usize| self.cluster.owner(other, &id(at)).as_deref() == Some(OWNER);
        let known = |other| (0..self.held.len()).filter(|at| of_owner(other, *at)).count() as u64;
        self.others.iter().map(known).sum()
    }

    /// Messages and bytes that the first node sent, each copy counted.
    fn sent(&self) -> (u64, u64) {
        let links = self.cluster.engine(OWNER).traffic().into_iter().filter(|link| link.node.is_some());
        links.fold((0, 0), |sum, link| (sum.0 + link.sent.0, sum.1 + link.sent.1))
    }
}

/// Whether a node holds the owner's set as the owner told it last.
fn holds_all(cluster: &Cluster, node: &str) -> bool {
    let owner = cluster.engine(OWNER);
    cluster.engine(node).set_hash(owner.me()) == owner.set_hash(owner.me())
}

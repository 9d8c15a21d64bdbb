//! One random run against real engines: crashes, restarts, cuts, losses, overtaking, skewed clocks, churn, moves. After
//! it the cluster is left alone, and must agree.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use senza_core::subscription::{Contract, Start};
use senza_core::{Delivery, Filter, Value};
use senza_mesh::cluster::Cluster;
use senza_mesh::engine::{OnConflict, Sensor, Whereis};
use senza_mesh::handle::{SensorHandle, Subscriber};
use senza_mesh::ownership::Timing;
use senza_mesh::sim::LinkRules;

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const SENSORS: usize = 12;
const STEPS: usize = 80;
const SECOND: i64 = 1_000_000;

/// One random run.
pub(crate) struct Schedule {
    random: StdRng,
    cluster: Cluster,
    /// Handles by the node they were registered on.
    held: Vec<(&'static str, SensorHandle)>,
    readers: Vec<(&'static str, Subscriber)>,
    /// Ids that share few partitions.
    names: Vec<String>,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Every claim is a chunk of its own, so that cuts come in parts.
        let chunk_bytes = 1;
        let timing =
            Timing { chunk_bytes, keep_us: [2 * SECOND, 60 * SECOND][random.random_range(0..2)], ..Timing::default() };
        let cluster = Cluster::with(seed, NODES.len(), LinkRules::default(), timing);
        Self { random, cluster, held: Vec::new(), readers: Vec::new(), names: names() }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.heal_all();
        self.check();
    }

    fn node(&mut self) -> &'static str {
        NODES[self.random.random_range(0..NODES.len())]
    }

    fn pair(&mut self) -> (&'static str, &'static str) {
        let (a, b) = (self.node(), self.node());
        if a == b { self.pair() } else { (a, b) }
    }

    fn runs(&self, node: &str) -> bool {
        self.cluster.running().iter().any(|running| running == node)
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..35 => self.register(),
            35..50 => self.unregister(),
            50..60 => self.put(),
            60..64 => {
                let node = self.node();
                self.crash(node);
            }
            64..70 => {
                let node = self.node();
                self.restart(node);
            }
            70..75 => {
                let (a, b) = self.pair();
                self.cluster.cut(a, b);
            }
            75..78 => {
                let (a, b) = self.pair();
                self.cluster.cut_one_way(a, b);
            }
            78..84 => {
                let (a, b) = self.pair();
                self.cluster.heal(a, b);
            }
            84..88 => self.change_rules(),
            88..92 => self.subscribe(),
            _ => {}
        }
        let pause = [0, 500, 5_000, 50_000, 900_000, 3 * SECOND][self.random.random_range(0..6)];
        self.cluster.run_for(pause);
    }

    fn register(&mut self) {
        let node = self.node();
        if !self.runs(node) {
            return;
        }
        let sensor = Sensor::new(&self.names[self.random.random_range(0..SENSORS)].clone()).unwrap();
        let policy = if self.random.random_bool(0.7) { OnConflict::Takeover } else { OnConflict::Refuse };
        if let Ok(handle) = SensorHandle::register(self.cluster.engine(node), &sensor, policy) {
            self.held.push((node, handle));
        }
    }

    fn unregister(&mut self) {
        if !self.held.is_empty() {
            let at = self.random.random_range(0..self.held.len());
            self.held.swap_remove(at);
        }
    }

    fn put(&mut self) {
        for (_, handle) in &self.held {
            // One that was taken over refuses, as it should.
            let _taken = handle.put("x", Value::I64(1));
        }
    }

    fn subscribe(&mut self) {
        let node = self.node();
        if !self.runs(node) {
            return;
        }
        let start = if self.random.random_bool(0.5) { Start::Latest } else { Start::Live };
        let queue_max = [4, 1000][self.random.random_range(0..2)];
        let contract = Contract { start, queue_max, ..Contract::default() };
        self.readers.push((node, self.cluster.subscribe(node, &Filter::all(), contract)));
        if self.readers.len() > 4 {
            self.readers.remove(0);
        }
    }

    fn crash(&mut self, node: &str) {
        if self.cluster.running().len() > 1 {
            self.cluster.crash(node);
            // The handles of a dead node die with it.
            self.held.retain(|(on, _)| *on != node);
            self.readers.retain(|(on, _)| *on != node);
        }
    }

    fn restart(&mut self, node: &str) {
        if !self.runs(node) {
            let skew = [-3600, -1, 0, 0, 1][self.random.random_range(0..5)] * SECOND / 10;
            self.cluster.skew(node, skew);
            self.cluster.start(node);
        }
    }

    fn change_rules(&mut self) {
        let rules = [
            LinkRules::default(),
            LinkRules { loss_per_mille: 300, ..LinkRules::default() },
            LinkRules {
                duplicate_per_mille: 300,
                reorder_per_mille: 300,
                delay_us: (50, 20_000),
                ..LinkRules::default()
            },
            LinkRules { loss_per_mille: 50, delay_us: (10_000, 400_000), ..LinkRules::default() },
        ];
        self.cluster.set_rules(rules[self.random.random_range(0..rules.len())]);
    }

    fn heal_all(&mut self) {
        self.cluster.set_rules(LinkRules::default());
        for a in NODES {
            for b in NODES {
                if a < b {
                    self.cluster.heal(a, b);
                }
            }
        }
        self.cluster.settle();
        self.cluster.settle();
    }

    fn check(&mut self) {
        assert!(self.cluster.agree(), "the views differ after quiet");
        let running = self.cluster.running();
        for node in &running {
            assert_eq!(self.cluster.engine(node).nodes().len(), running.len(), "{node} sees not all nodes");
        }
        for sensor in self.names.clone() {
            let owners: Vec<Option<String>> = running.iter().map(|node| self.cluster.owner(node, &sensor)).collect();
            assert!(owners.windows(2).all(|pair| pair[0] == pair[1]), "{sensor} has many owners: {owners:?}");
            let homes: Vec<&String> =
                running.iter().filter(|node| self.cluster.engine(node).view(&sensor).is_some()).collect();
            assert_eq!(homes.iter().map(ToString::to_string).next(), owners[0], "{sensor}: a ghost, or a hidden home");
            assert!(homes.len() <= 1, "{sensor} lives on {homes:?}");
            let holders: Vec<&str> = self.holders(&sensor);
            assert_eq!(
                !holders.is_empty(),
                owners[0].is_some(),
                "{sensor} is held by {holders:?}, owned by {owners:?}"
            );
        }
        self.check_streams();
    }

    /// The series that a sensor's readings stand in now, and the last number its owner gave out.
    fn last_number(&self, sensor: &str) -> Option<((String, String, u64), u64)> {
        let owner = self.holders(sensor).first().copied()?;
        let reading = self.cluster.engine(owner).latest(sensor, "x")?;
        Some(((sensor.to_owned(), owner.to_owned(), reading.series.epoch), reading.seq))
    }

    /// Nodes on which a handle of the sensor still stands.
    fn holders(&self, sensor: &str) -> Vec<&'static str> {
        let stands = |node: &str, handle: &SensorHandle| matches!(self.cluster.engine(node).whereis(sensor), Whereis::Local { epoch } if epoch == handle.epoch());
        let of_sensor = self.held.iter().filter(|(_, handle)| handle.sensor().as_str() == sensor);
        of_sensor.filter(|(node, handle)| stands(node, handle)).map(|(node, _)| *node).collect()
    }

    /// Whoever subscribed gets every series in order, every number at most once, and what is missing as a gap.
    fn check_streams(&mut self) {
        self.put();
        self.cluster.settle();
        let told: Vec<((String, String, u64), u64)> =
            self.names.iter().filter_map(|sensor| self.last_number(sensor)).collect();
        for (node, reader) in &mut self.readers {
            // The number that has to come next; `None` after a gap of unknown length, when any may.
            let mut next: BTreeMap<(String, String, u64), Option<u64>> = BTreeMap::new();
            let mut taken = Vec::new();
            reader.take(&mut taken, usize::MAX);
            for delivery in taken {
                let (series, from, to, live) = match delivery {
                    Delivery::Reading(reading) => (reading.series, reading.seq, reading.seq, true),
                    Delivery::Start(reading, position) => (reading.series, reading.seq, position, false),
                    Delivery::Gap(gap) => (gap.series, gap.from, gap.to, true),
                };
                // Two nodes may claim a sensor in the same microsecond.
                let key = (series.sensor.to_string(), series.node.to_string(), series.epoch);
                let expected = next.insert(key, (to != u64::MAX).then(|| to + 1)).flatten();
                if let (Some(expected), true) = (expected, live) {
                    assert!(from >= expected, "{node}: {} comes twice: {from} after {}", series.sensor, expected - 1);
                    assert_eq!(from, expected, "{node}: {} loses numbers untold", series.sensor);
                }
            }
            for (series, last) in &told {
                let told = next.get(series).is_some_and(|next| next.is_none_or(|next| next == last + 1));
                assert!(told, "{node} was not told of {last}, the last of {series:?}: {:?}", next.get(series));
            }
            let ledger = reader.ledger();
            assert_eq!(ledger.offered, ledger.delivered + ledger.dropped + ledger.queued);
        }
    }
}

/// Twelve ids in three partitions.
fn names() -> Vec<String> {
    let named = (0..).map(|number| format!("sensor {number}"));
    named.filter(|name| senza_core::hash::partition_of(name) < 3).take(SENSORS).collect()
}

//! Random scripts of what goes wrong in a cluster: crashes, restarts, cuts, losses, overtaking, skewed clocks, churn,
//! moves, lost tokens, modes. After each the cluster is left alone, and must be as [`Cluster::check`] says.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use senza_core::subscription::{Contract, Overflow, Pace, Start, Want};
use senza_core::{Delivery, Filter, Micros, Series, Value};

use super::{Cluster, LinkRules, Violations};
use crate::engine::{Mode, OnConflict, Whereis};
use crate::handle::{SensorHandle, Subscriber};
use crate::ownership::Timing;

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const SENSORS: usize = 12;
const READERS_MAX: usize = 4;
const SECOND: Micros = 1_000_000;

/// A random script, made of its seed alone.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    seed: u64,
    steps: usize,
}

impl Schedule {
    /// The script of this seed, of 80 steps.
    pub fn seed(seed: u64) -> Self {
        Self { seed, steps: 80 }
    }

    /// With so many steps.
    pub fn steps(self, steps: usize) -> Self {
        Self { steps, ..self }
    }

    /// Carries the script out on four nodes and twelve sensors, mends everything, and checks.
    ///
    /// # Errors
    /// What the run broke.
    pub fn run(self) -> Result<(), Violations> {
        let mut run = Run::new(self.seed);
        for _ in 0..self.steps {
            run.step();
        }
        run.mend();
        run.finish()
    }
}

/// A script under way.
struct Run {
    random: StdRng,
    cluster: Cluster,
    /// Handles by the node they were registered on.
    held: Vec<(&'static str, SensorHandle)>,
    readers: Vec<(&'static str, Subscriber)>,
    /// Ids that share few partitions.
    names: Vec<String>,
    /// The last number given out in every series.
    last: BTreeMap<SeriesName, u64>,
    found: Vec<String>,
}

/// Which series: sensor, node, epoch.
type SeriesName = (String, String, u64);

fn name_of(series: &Series) -> SeriesName {
    // Two nodes may claim a sensor in the same microsecond.
    (series.sensor.to_string(), series.node.to_string(), series.epoch)
}

/// Twelve ids in three partitions.
fn names() -> Vec<String> {
    let named = (0..).map(|number| format!("sensor {number}"));
    named.filter(|name| senza_core::hash::partition_of(name) < 3).take(SENSORS).collect()
}

// === impl Run: steps ===

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Every claim is a chunk of its own, so that cuts come in parts.
        let chunk_bytes = 1;
        let keep_us = pick(&mut random, [2 * SECOND, 60 * SECOND]);
        let cluster =
            Cluster::seed(seed).timing(Timing { chunk_bytes, keep_us, ..Timing::default() }).nodes(NODES.len());
        Self {
            random,
            cluster,
            held: Vec::new(),
            readers: Vec::new(),
            names: names(),
            last: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..33 => self.register(),
            33..48 => self.unregister(),
            48..58 => self.put(),
            58..62 => self.crash(),
            62..63 => self.stop(),
            63..69 => self.restart(),
            69..74 => {
                let (a, b) = self.pair();
                self.cluster.cut(a, b);
            }
            74..77 => {
                let (a, b) = self.pair();
                self.cluster.cut_one_way(a, b);
            }
            77..83 => {
                let (a, b) = self.pair();
                self.cluster.heal(a, b);
            }
            83..87 => self.change_rules(),
            87..91 => self.subscribe(),
            91..92 => self.split(),
            92..93 => {
                let (a, b) = self.pair();
                self.cluster.lose_token(a, b);
            }
            93..95 => self.skew(),
            95..97 => self.switch(),
            _ => {}
        }
        let pause = pick(&mut self.random, [0, 500, 5_000, 50_000, 900_000, 3 * SECOND]);
        self.cluster.run_for(pause);
    }

    fn node(&mut self) -> &'static str {
        pick(&mut self.random, NODES)
    }

    fn pair(&mut self) -> (&'static str, &'static str) {
        let (a, b) = (self.node(), self.node());
        if a == b { self.pair() } else { (a, b) }
    }

    fn running(&mut self) -> Option<&'static str> {
        let node = self.node();
        self.cluster.running().iter().any(|running| running == node).then_some(node)
    }

    fn register(&mut self) {
        let Some(node) = self.running() else { return };
        let sensor = self.names[self.random.random_range(0..SENSORS)].clone();
        let policies = [OnConflict::Takeover, OnConflict::Takeover, OnConflict::Force, OnConflict::Refuse];
        let policy = pick(&mut self.random, policies);
        // A refusal is an answer too.
        self.held.extend(self.cluster.try_register(node, &sensor, policy).ok().map(|handle| (node, handle)));
    }

    fn unregister(&mut self) {
        if !self.held.is_empty() {
            let at = self.random.random_range(0..self.held.len());
            self.held.swap_remove(at);
        }
    }

    fn put(&mut self) {
        for (node, handle) in &self.held {
            // One that was taken over refuses, as it should.
            if let Ok(seq) = handle.put("x", Value::I64(1)) {
                self.last.insert((handle.sensor().to_string(), (*node).to_owned(), handle.epoch()), seq);
            }
        }
    }

    fn subscribe(&mut self) {
        let Some(node) = self.running() else { return };
        let start = pick(&mut self.random, [Start::Latest, Start::Live, Start::Last(3)]);
        let queue_max = pick(&mut self.random, [4, 1000]);
        let pace = pick(&mut self.random, [Pace::Every, Pace::Every, Pace::Latest, Pace::Interval(200_000)]);
        let overflow = pick(&mut self.random, [Overflow::DropOldest, Overflow::DropOldest, Overflow::Conflate]);
        let want = Want { pace, ..Want::EVERY };
        let contract = Contract { want, overflow, start, queue_max, ..Contract::default() };
        self.readers.push((node, self.cluster.subscribe(node, &Filter::all(), contract)));
        if self.readers.len() > READERS_MAX {
            self.readers.remove(0);
        }
    }

    fn crash(&mut self) {
        let Some(node) = self.running().filter(|_| self.cluster.running().len() > 1) else { return };
        self.cluster.crash(node);
        self.forget(node);
    }

    fn stop(&mut self) {
        let Some(node) = self.running().filter(|_| self.cluster.running().len() > 1) else { return };
        self.cluster.stop(node);
        self.forget(node);
    }

    /// The handles and readers of a dead node die with it.
    fn forget(&mut self, node: &str) {
        self.held.retain(|(on, _)| *on != node);
        self.readers.retain(|(on, _)| *on != node);
    }

    fn restart(&mut self) {
        let node = self.node();
        if self.cluster.running().iter().all(|running| running != node) {
            self.skew_of(node);
            self.cluster.start(node);
        }
    }

    fn skew(&mut self) {
        let node = self.node();
        self.skew_of(node);
    }

    fn skew_of(&mut self, node: &str) {
        let skew = pick(&mut self.random, [-3600, -1, 0, 0, 1]) * SECOND / 10;
        self.cluster.skew(node, skew);
    }

    fn split(&mut self) {
        let mut groups: [Vec<&str>; 2] = [Vec::new(), Vec::new()];
        for node in NODES {
            groups[usize::from(self.random.random_bool(0.5))].push(node);
        }
        self.cluster.partition(&[&groups[0], &groups[1]]);
    }

    fn switch(&mut self) {
        let Some(node) = self.running() else { return };
        let mode = pick(&mut self.random, [Mode::Local, Mode::Cluster, Mode::Shadow]);
        self.cluster.engine(node).switch(mode);
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
        let rules = pick(&mut self.random, rules);
        self.cluster.set_rules(rules);
    }

    fn mend(&mut self) {
        self.cluster.set_rules(LinkRules::default());
        self.cluster.heal_all();
        for node in self.cluster.running() {
            self.cluster.engine(&node).switch(Mode::Cluster);
        }
        self.cluster.settle();
        self.cluster.settle();
    }
}

fn pick<T: Copy, const N: usize>(random: &mut StdRng, of: [T; N]) -> T {
    of[random.random_range(0..N)]
}

// === impl Run: what must be true ===

impl Run {
    fn finish(mut self) -> Result<(), Violations> {
        self.holders_own();
        self.put();
        self.cluster.settle();
        self.streams_add_up();
        let mut violations =
            self.cluster.check().err().unwrap_or(Violations { seed: self.cluster.seed, found: Vec::new() });
        violations.found.append(&mut self.found);
        if violations.found.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// A sensor is owned if and only if somebody holds it.
    fn holders_own(&mut self) {
        let running: Vec<String> = self.cluster.running();
        for sensor in &self.names {
            let owners: BTreeSet<Option<String>> =
                running.iter().map(|node| self.cluster.owner(node, sensor)).collect();
            let holders: Vec<Option<String>> =
                self.holders(sensor).iter().map(|node| Some((*node).to_owned())).collect();
            let holders: BTreeSet<Option<String>> =
                if holders.is_empty() { [None].into() } else { holders.into_iter().collect() };
            if owners != holders {
                self.found.push(format!("{sensor} is held by {holders:?}, owned by {owners:?}"));
            }
        }
    }

    /// Nodes on which a handle of the sensor still stands.
    fn holders(&self, sensor: &str) -> Vec<&'static str> {
        let stands = |node: &str, handle: &SensorHandle| {
            let place = self.cluster.engine(node).whereis(sensor);
            matches!(place, Whereis::Local { epoch } if epoch == handle.epoch())
        };
        let of_sensor = self.held.iter().filter(|(_, handle)| handle.sensor().as_str() == sensor);
        of_sensor.filter(|(node, handle)| stands(node, handle)).map(|(node, _)| *node).collect()
    }

    /// The series that the sensors' readings stand in now, and the last number of each.
    fn present(&self) -> Vec<(SeriesName, u64)> {
        let stands = |(sensor, node, epoch): &SeriesName| matches!(self.cluster.engine(node).whereis(sensor), Whereis::Local { epoch: present } if present == *epoch);
        let running = self.cluster.running();
        let of_running = self.last.iter().filter(|((_, node, _), _)| running.contains(node));
        of_running.filter(|(series, _)| stands(series)).map(|(series, last)| (series.clone(), *last)).collect()
    }

    /// Whoever subscribed gets every series in order, every number at most once, what is missing as a gap or left out by
    /// contract, and the last number in any case; and every ledger adds up.
    fn streams_add_up(&mut self) {
        let last = self.present();
        for (node, reader) in &mut self.readers {
            let leaves_out = !reader.contract().want.is_every() || reader.contract().overflow == Overflow::Conflate;
            // The number that has to come next; `None` after a gap of unknown length, when any may.
            let mut next: BTreeMap<SeriesName, Option<u64>> = BTreeMap::new();
            let (mut ended, mut taken) = (BTreeSet::new(), Vec::new());
            reader.take(&mut taken, usize::MAX);
            for delivery in taken {
                let (series, from, to, live) = match delivery {
                    Delivery::Reading(reading) => (reading.series, reading.seq, reading.seq, true),
                    Delivery::Start(reading, position) => (reading.series, reading.seq, position, false),
                    Delivery::Gap(gap) => (gap.series, gap.from, gap.to, true),
                    Delivery::End(end) => {
                        let expected = next.insert(name_of(&end.series), None).flatten();
                        if expected
                            .is_some_and(|expected| expected > end.last + 1 || (expected <= end.last && !leaves_out))
                        {
                            self.found.push(format!("{node} got an end {end:?} where {expected:?} had to come"));
                        }
                        if !ended.insert(name_of(&end.series)) {
                            self.found.push(format!("{node} was told twice of {end:?}"));
                        }
                        continue;
                    }
                };
                if ended.contains(&name_of(&series)) {
                    self.found.push(format!("{node} got {from} of {series:?} after its end"));
                }
                let expected = next.insert(name_of(&series), (to != u64::MAX).then(|| to + 1)).flatten();
                if live && expected.is_some_and(|expected| from < expected || (from > expected && !leaves_out)) {
                    let sensor = &series.sensor;
                    self.found.push(format!("{node} got {from} of {sensor} where {expected:?} had to come"));
                }
            }
            for (series, last) in &last {
                if next.get(series).is_none_or(|next| next.is_some_and(|next| next != last + 1)) {
                    self.found.push(format!("{node} was not told of {last}, the last of {series:?}"));
                }
            }
        }
        for node in self.cluster.running() {
            let accounts = self.cluster.engine(&node).accounts();
            let wrong = accounts.iter().find(|account| !account.ledger.is_exact());
            self.found.extend(wrong.map(|account| format!("{node}: a ledger does not add up: {:?}", account.ledger)));
        }
    }
}

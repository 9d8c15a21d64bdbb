//! senza: a sharded in-memory data plane for sensor fleets.
//!
//! A [`Node`] is one process's part of a cluster: it owns the sensors registered on it, sees everybody else's, and
//! relays readings to whoever asked, on any node.
//!
//! ```no_run
//! use senza::{Config, Node, NodeName, Sensor, Value};
//!
//! let node = Node::start(Config::loopback(NodeName::new("a")?))?;
//! let watch = node.register(&Sensor::new("watch 1")?)?;
//! watch.put("pulse", Value::I64(72))?;
//! assert!(node.latest("watch 1", "pulse").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accounts;
pub mod cli;
pub mod config;
pub mod demo;
pub mod feed;
pub mod ingest;
mod load;
pub mod logged;
pub mod plain;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
pub use senza_core::codec::Question;
pub use senza_core::directory::Listed;
pub use senza_core::subscription::{Contract, Deadband, Ledger, Overflow, Pace, Start, Want};
pub use senza_core::{AttributeId, Delivery, Error, Filter, NodeName, Reading, SensorId, SensorType, Value};
use senza_core::{Life, Result};
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::driver::{Driver, mailbox};
use senza_mesh::engine::EngineConfig;
pub use senza_mesh::engine::{
    Comparison, Cursor, Disagreement, Engine, Existing, Happening, Lost, Mode, NodeView, OnConflict, Page, Sensor,
    Whereis,
};
pub use senza_mesh::handle::{Demands, SensorHandle, Subscriber, SubscriberView};
use senza_mesh::ownership::Timing;
pub use senza_mesh::ownership::contest::{HealReport, Settled};
use senza_mesh::transport::Transport;
use senza_mesh::zenoh_follow::Follow;
use senza_mesh::zenoh_plain::ZenohPlain;
pub use senza_mesh::zenoh_transport::OpenError;
use senza_mesh::zenoh_transport::{ZenohOptions, ZenohTransport};

pub use config::{Config, ConfigError, Flags};
use ingest::{Admission, payload::reading_json};
use plain::{JSON, NodeAbout, Plain};

/// How long another node has to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a node waits at its start for the sets of the nodes it hears of.
const READY: Duration = Duration::from_secs(5);
/// How often, and with what pause, a held name is looked at again: a crash is noticed within 2.4 s.
const NAME_CHECKS: u32 = 15;
const NAME_STEP: Duration = Duration::from_millis(200);
/// How often a thread that publishes looks whether it is still wanted.
const PUBLISH_IDLE: Duration = Duration::from_millis(100);
/// How often the thread that publishes readings looks whether clients follow something else.
const FOLLOW: Duration = Duration::from_millis(50);
const FOLLOW_US: i64 = 50_000;
/// How often a node looks after itself.
const HOUSE: Duration = Duration::from_millis(100);
/// Readings taken at a time for plain clients.
const PUBLISH_TAKE: usize = 1024;

/// One node, running. Dropping it stops it.
pub struct Node {
    engine: Arc<Engine>,
    transport: Arc<ZenohTransport>,
    plain: Arc<ZenohPlain>,
    admission: Arc<Admission>,
    driver: Option<Driver>,
    threads: Vec<JoinHandle<()>>,
    stop: Option<Sender<()>>,
    ended: Receiver<String>,
}

// === impl Node ===

impl Node {
    /// Starts a node: binds, meets the others, opens its doors. Blocks until it is ready or five seconds have passed.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way: a taken port, a taken name.
    pub fn start(config: Config) -> std::result::Result<Self, OpenError> {
        let clock = SystemClock::shared();
        let (mail_in, mail) = mailbox();
        let transport = ZenohTransport::open(options(&config, clock.now()), mail_in.clone())?;
        check_name(&transport)?;
        let me = transport.me().clone();
        let engine_config = engine_config(&config, me);
        let engine = Engine::new(engine_config, transport.clone(), clock.clone());
        let admission = Arc::new(Admission::new(engine.clone()));
        let about =
            NodeAbout { listening: transport.listening().to_vec(), zid: transport.zid(), started_us: clock.now() };
        let service = Arc::new(Plain {
            engine: engine.clone(),
            admission: admission.clone(),
            clock: clock.clone(),
            root: config.root.clone(),
            mailbox: mail_in,
            served: std::sync::OnceLock::new(),
            about,
        });
        let plain = ZenohPlain::serve(&transport, service.clone())?;
        service.served.get_or_init(|| Arc::downgrade(&plain));
        let driver = Driver::start(engine.clone(), mail, clock.clone());
        transport.announce(config.mode != Mode::Local);
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded(1);
        let threads = vec![
            publish_readings(engine.clone(), plain.clone(), service.clone()),
            publish_sensors(engine.clone(), plain.clone(), service),
            keep_house(admission.clone(), engine.clone(), (clock, config.idle_unregister_s), (stopped, end)),
        ];
        let node = Self { engine, transport, plain, admission, driver: Some(driver), threads, stop: Some(stop), ended };
        node.wait_ready(!config.connect.is_empty());
        Ok(node)
    }

    /// The engine behind the node.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The node's name.
    pub fn name(&self) -> &NodeName {
        &self.engine.me().node
    }

    /// Endpoints the node listens on, ports filled in.
    pub fn listening(&self) -> &[String] {
        self.transport.listening()
    }

    /// Registers a sensor here, taking it over where another node owns it: the device is here now. Dropping the handle
    /// unregisters it.
    ///
    /// # Errors
    /// [`Error::HeldOff`] where another node took it from here just now, [`Error::Full`] at a bound.
    pub fn register(&self, sensor: &Sensor) -> Result<SensorHandle> {
        SensorHandle::register(&self.engine, sensor, OnConflict::Takeover)
    }

    /// Registers a sensor here unless another node owns it.
    ///
    /// # Errors
    /// [`Error::NotOwner`] names the owner.
    pub fn register_or_refuse(&self, sensor: &Sensor) -> Result<SensorHandle> {
        SensorHandle::register(&self.engine, sensor, OnConflict::Refuse)
    }

    /// Puts one reading by ids, stamped now. One hash, one shard lock; awaits nothing.
    ///
    /// # Errors
    /// [`Error::NotOwner`] where another node owns the sensor, [`Error::NotFound`] where nobody does.
    pub fn put(&self, sensor: &str, attribute: &str, value: Value) -> Result<u64> {
        self.engine.put_by_id(sensor, attribute, value, None)
    }

    /// The latest reading of an attribute of a sensor of this node.
    pub fn latest(&self, sensor: &str, attribute: &str) -> Option<Reading> {
        self.engine.latest(sensor, attribute)
    }

    /// The newest `last` readings of an attribute, oldest first, of any sensor of the cluster: another node's are
    /// asked of their owner. Blocks for up to five seconds.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nobody owns the sensor; `None` where its owner did not answer in time.
    pub fn history(&self, sensor: &SensorId, attribute: &AttributeId, last: u32) -> Result<Option<Vec<Reading>>> {
        let (sensor, attribute) = (sensor.clone(), attribute.clone());
        self.ask(Question { sensor, attribute, from: i64::MIN, to: i64::MAX, last }, ANSWER)
    }

    /// The same within a span of time, and for as long as the caller waits. Another node's answer is one message: the
    /// newest 65,535 readings at most, and 4 MiB.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nobody owns the sensor; `None` where its owner did not answer in time.
    pub fn ask(&self, question: Question, timeout: Duration) -> Result<Option<Vec<Reading>>> {
        Ok(wait_answer(self.engine.ask(question)?, timeout))
    }

    /// Where a sensor is. O(1); awaits nothing.
    pub fn whereis(&self, sensor: &str) -> Whereis {
        self.engine.whereis(sensor)
    }

    /// One page of the sensors of the cluster that match; the last one says so.
    pub fn page(&self, from: &Cursor, filter: &Filter, limit: usize) -> Page {
        self.engine.page(from, filter, limit)
    }

    /// All sensors of the cluster that match.
    pub fn sensors(&self, filter: &Filter) -> Vec<Listed> {
        self.engine.sensors(filter)
    }

    /// The nodes that are up, this one first.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.engine.nodes()
    }

    /// Subscribes to what matches, on every node, sensors that come later included. A `Stream` of deliveries; also
    /// for blocking threads.
    ///
    /// # Errors
    /// [`Error::Full`] at a bound.
    pub fn subscribe(&self, filter: &Filter, contract: Contract) -> Result<Subscriber> {
        Subscriber::subscribe(&self.engine, filter, contract)
    }

    /// What happens to sensors and nodes from now on, in order per sensor. Dropping the receiver ends it.
    pub fn happenings(&self) -> Receiver<Happening> {
        self.engine.happenings()
    }

    /// Switches how far the node takes part in the cluster. Answers the mode before.
    pub fn switch(&self, mode: Mode) -> Mode {
        self.engine.switch(mode)
    }

    /// Leaves another registry in charge of look-ups, and compares every answer; see [`Mode::Shadow`].
    pub fn shadow(&self, existing: Arc<dyn Existing>) {
        self.engine.shadow(existing);
    }

    /// Payloads that were refused, by reason.
    pub fn refused(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.admission.refused()
    }

    /// Tells when the node ends by itself, and why: another node of its name, older, is up.
    pub fn ended(&self) -> &Receiver<String> {
        &self.ended
    }

    /// Stops in good order: no new puts, farewell to the others, threads joined.
    pub fn stop(mut self) {
        self.end();
    }

    fn wait_ready(&self, expects_others: bool) {
        let step = Duration::from_millis(10);
        let never = crossbeam_channel::never::<()>();
        for _ in 0..READY.as_millis() / step.as_millis() {
            let met = !expects_others || self.engine.nodes().len() > 1;
            if met && self.engine.synced() {
                return;
            }
            let _timed_out = never.recv_timeout(step);
        }
        tracing::warn!("not ready after {} s: no other node was met, or one has not told its sensors", READY.as_secs());
    }

    fn end(&mut self) {
        drop(self.stop.take());
        self.plain.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node had panicked");
            }
        }
        if let Some(driver) = self.driver.take() {
            driver.stop();
        }
        // What is embedded may outlive the node with the engine in hand.
        self.engine.dismiss();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Refuses to start under a name that another node holds: one that answers, or that others still hear.
fn check_name(transport: &ZenohTransport) -> std::result::Result<(), OpenError> {
    let name = &transport.me().node;
    let taken = |how: &str| Err(OpenError::NameTaken { name: name.clone(), how: how.to_owned() });
    let never = crossbeam_channel::never::<()>();
    for _ in 0..NAME_CHECKS {
        let answers = transport.ask("nodes/*", NAME_STEP)?;
        let records: Vec<serde_json::Value> =
            answers.iter().filter_map(|answer| serde_json::from_slice(answer).ok()).collect();
        if records.iter().any(|record| record["node"] == name.as_str()) {
            return taken("and answers");
        }
        if !records.iter().any(|record| !record["sees"][name.as_str()].is_null()) {
            return Ok(());
        }
        // Others hear it, or its crash has not been noticed yet.
        let _timed_out = never.recv_timeout(NAME_STEP);
    }
    taken("as other nodes hear")
}

fn engine_config(config: &Config, me: Life) -> EngineConfig {
    let micros = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX / 1000) * 1000;
    let silence_us = micros(config.silence_ms);
    let timing = Timing { silence_us, beacon_us: silence_us / 3, ..Timing::default() };
    let takeover_holdoff_us = micros(config.takeover_holdoff_ms);
    EngineConfig { me, table: config.table, timing, takeover_holdoff_us, mode: config.mode, seed: rand::random() }
}

fn options(config: &Config, now: i64) -> ZenohOptions {
    ZenohOptions {
        node: config.name.clone(),
        incarnation: now.unsigned_abs(),
        root: config.root.clone(),
        listen: config.listen.clone(),
        connect: config.connect.clone(),
        lease_ms: config.lease_ms,
        settings: config.zenoh.clone(),
    }
}

/// Waits for another node's answer.
fn wait_answer<T, E>(receiver: impl Future<Output = std::result::Result<T, E>>, timeout: Duration) -> Option<T> {
    let thread = std::thread::current();
    let waker = std::task::Waker::from(Arc::new(Unpark(thread)));
    let mut context = std::task::Context::from_waker(&waker);
    let mut receiver = std::pin::pin!(receiver);
    let clock = SystemClock;
    let deadline = clock.steady().saturating_add(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
    loop {
        if let std::task::Poll::Ready(answer) = receiver.as_mut().poll(&mut context) {
            return answer.ok();
        }
        let left = deadline - clock.steady();
        if left <= 0 {
            return None;
        }
        std::thread::park_timeout(Duration::from_micros(left.unsigned_abs()));
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

// === threads ===

/// Publishes those of this node's readings that plain clients follow; while nobody does, costs nothing.
fn publish_readings(engine: Arc<Engine>, plain: Arc<ZenohPlain>, service: Arc<Plain>) -> JoinHandle<()> {
    spawn("senza-plain-readings", move || {
        let mut follow = plain.follow_readings();
        while let Some(filters) = follow.wait() {
            if !service.is_shown() {
                follow.pause(PUBLISH_IDLE);
                continue;
            }
            let reader = Subscriber::subscribe(&engine, &filters[0], Contract::default());
            match reader.and_then(|reader| reader.change(&filters).map(|()| reader)) {
                Ok(reader) => publish_while(&mut follow, reader, &plain, &service),
                Err(error) => {
                    tracing::error!(%error, "plain clients get no readings");
                    return;
                }
            }
        }
    })
}

/// One subscription for all clients, whose filters change as they come and go: who stays misses nothing by that.
fn publish_while(follow: &mut Follow, mut reader: Subscriber, plain: &ZenohPlain, service: &Plain) {
    let mut taken = Vec::new();
    let mut next_look = 0;
    while service.is_shown() {
        let now = service.clock.steady();
        // A broad filter that changes has every series look once more: not with each of many clients that come at once.
        if now >= next_look {
            next_look = now + FOLLOW_US;
            match follow.changed() {
                Some(filters) if filters.is_empty() => return,
                Some(filters) => {
                    if let Err(error) = reader.change(&filters) {
                        tracing::error!(%error, "what plain clients follow");
                    }
                }
                None => {}
            }
        }
        taken.extend(reader.recv_timeout(FOLLOW));
        reader.take(&mut taken, PUBLISH_TAKE);
        for delivery in taken.drain(..) {
            match delivery {
                Delivery::Reading(reading) => {
                    plain.publish(&service.reading_key(&reading), JSON, reading_json(&reading));
                }
                // Told to nobody: it shows in the numbers of the readings around it.
                Delivery::Gap(gap) => plain.lose(gap.count().unwrap_or(0)),
                Delivery::Start(..) | Delivery::End(_) => {}
            }
        }
    }
}

/// Publishes what happens to this node's sensors while some plain client subscribes; otherwise costs nothing.
fn publish_sensors(engine: Arc<Engine>, plain: Arc<ZenohPlain>, service: Arc<Plain>) -> JoinHandle<()> {
    spawn("senza-plain-sensors", move || {
        let watch = plain.sensors_watch();
        while watch.wait() {
            let happenings = engine.happenings();
            while watch.is_on() && !watch.is_closed() {
                if let Ok(happening) = happenings.recv_timeout(PUBLISH_IDLE)
                    && service.is_shown()
                {
                    publish_happening(&happening, &plain, &service);
                }
            }
        }
    })
}

fn publish_happening(happening: &Happening, plain: &ZenohPlain, service: &Plain) {
    let (listed, event, previous) = match happening {
        Happening::Registered(listed) if listed.owner.local => (listed, "registered", None),
        Happening::Moved { now, previous } if now.owner.local => (now, "moved", Some(previous)),
        Happening::Unregistered(listed) if listed.owner.local => {
            return plain.delete(&service.sensor_key(&listed.sensor));
        }
        _ => return,
    };
    let mut record = service.record(listed);
    record["event"] = event.into();
    if let Some(previous) = previous {
        record["previous"] = serde_json::json!({ "node": previous.life.node.as_str(), "epoch": previous.epoch });
    }
    plain.publish(&service.sensor_key(&listed.sensor), JSON, record.to_string());
}

/// Lets go of sensors that others took over, unregisters those without a connection after their silence, and ends the node where an older one of its name is
/// up.
fn keep_house(
    admission: Arc<Admission>,
    engine: Arc<Engine>,
    (clock, idle_s): (Arc<dyn Clock>, u64),
    (stopped, end): (Receiver<()>, Sender<String>),
) -> JoinHandle<()> {
    spawn("senza-house", move || {
        let idle_us = i64::try_from(idle_s).unwrap_or(i64::MAX / 1_000_000) * 1_000_000;
        let sweep_every = (idle_us / 10).min(60_000_000);
        let mut next_sweep = clock.now() + sweep_every;
        let losses = engine.losses();
        // Only the time-out goes on; the channel closing is the end.
        while stopped.recv_timeout(HOUSE) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            losses.try_iter().for_each(|lost| admission.detach(&lost));
            let now = clock.now();
            if now >= next_sweep {
                next_sweep = now + sweep_every;
                admission.sweep(now - idle_us);
            }
            let me = engine.me();
            if engine.rival().is_some_and(|rival| rival.incarnation < me.incarnation) {
                // Told once is enough.
                let _told = end.try_send(format!("another node named {} is up and older; this one stops", me.node));
            }
        }
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system has room for a thread")
}

//! A node: its settings, its start and its end, how far it takes part.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use senza::{AttributeId, Config, Engine, Existing, Mode, Node, SensorId, SubscriberView};
use senza_core::NodeName;
use senza_core::reading::ATTRIBUTE_ID_MAX;
use senza_mesh::clock::{Clock, SystemClock};

use crate::batch::{self, senza_memory};
use crate::border;
use crate::directory::senza_name;
use crate::error::{Fail, Outcome, refuse, senza_code};
use crate::handles::{Brief, Handles, Held, Kind};
use crate::text::{self, senza_str};

/// A node of this process. A number, not a pointer: a dead or made-up one is told. All zeros is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct senza_node {
    /// Its number.
    pub id: u64,
}

/// How far a node takes part in the cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum senza_mode {
    /// Takes part.
    SENZA_CLUSTER = 0,
    /// Says nothing to other nodes and hears nothing of them; its own sensors and subscriptions work on.
    SENZA_LOCAL = 1,
    /// Takes part, but your own registry stays in charge of senza_whereis(): see senza_node_shadow().
    SENZA_SHADOW = 2,
}

/// One further setting of Zenoh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_setting {
    /// Its path, as "transport/link/tls/root_ca_certificate".
    pub path: senza_str,
    /// Its value as JSON5.
    pub value: senza_str,
}

/// The settings of a node. Begin with all zeros (SENZA_ZERO) and set `name`; what stays zero has its default. Read
/// during the call and not kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_config {
    /// The node's name, unique in the cluster: `[a-z0-9][a-z0-9-]{0,62}`.
    pub name: senza_str,
    /// The first chunk of all keys; default "senza".
    pub root: senza_str,
    /// Endpoints to listen on, as "tcp/127.0.0.1:7447"; port 0 picks a free one. Default: a free port of loopback.
    pub listen: *const senza_str,
    /// How many, at most 64.
    pub listen_count: usize,
    /// Endpoints of other nodes.
    pub connect: *const senza_str,
    /// How many, at most 1,024.
    pub connect_count: usize,
    /// Further settings of Zenoh.
    pub zenoh: *const senza_setting,
    /// How many, at most 1,024.
    pub zenoh_count: usize,
    /// Attributes, of all sensors of this node, of which no contract may leave a reading out: an ECG, a button. What
    /// overflows is dropped and told all the same.
    pub lossless: *const senza_str,
    /// How many, at most 4,096.
    pub lossless_count: usize,
    /// Most sensors of this node; 1 to 100,000,000, default 10,000,000.
    pub sensors_max: u64,
    /// Most attributes of one sensor; 1 to 65,535, default 1,024.
    pub attributes_max: u64,
    /// Readings kept per attribute; 1 to 1,000,000, default 16.
    pub history_max: u64,
    /// Seconds of silence after which a sensor of a plain Zenoh client is unregistered; 1 to 31,536,000, default 3,600.
    pub idle_unregister_s: u64,
    /// Milliseconds of silence after which a link is closed; 500 to 600,000, default 10,000.
    pub lease_ms: u64,
    /// Milliseconds of silence after which a node is down, the same on all nodes; 300 to 600,000, default 2,400.
    pub silence_ms: u64,
    /// Milliseconds after a takeover by another node in which readings here are refused as late; at most 3,600,000,
    /// default 5,000; SENZA_NO_HOLDOFF for none.
    pub takeover_holdoff_ms: u64,
    /// SENZA_CLUSTER or SENZA_LOCAL.
    pub mode: u32,
    /// Not 0: allow an address that is not loopback without TLS.
    pub insecure: u32,
}

/// Texts. Begin with all zeros (SENZA_ZERO); give its memory back by senza_texts_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_texts {
    /// The first.
    pub items: *const senza_str,
    /// How many.
    pub count: usize,
    /// Where they lie.
    pub memory: senza_memory,
}

/// Of `takeover_holdoff_ms`: none.
pub const SENZA_NO_HOLDOFF: u64 = u64::MAX;

/// Writes the name of the node that owns a sensor, as your registry knows it, with a NUL behind it; answers 0 where it
/// knows none.
pub type senza_existing_whereis =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, sensor: senza_str, node: *mut senza_name) -> i32>;

/// Called when your registry is not asked any more; `user` is not touched after it.
pub type senza_release = Option<unsafe extern "C-unwind" fn(user: *mut c_void)>;

/// Nodes of one process at a time.
const NODES_MAX: usize = 255;
/// Bits of a node's number that are its place and the uses of the place: what an attribute's handle holds of it.
pub(crate) const NODE_BITS: u32 = 33;
const PATH_MAX: usize = 1024;
const LOSSLESS_MAX: usize = 4096;
/// How long a stop waits for calls of other threads that are under way.
const CALLS: Duration = Duration::from_secs(15);

static NODES: Handles<Running> = Handles::new(Kind::Node, 8, NODE_BITS - 8, NODES_MAX);

thread_local! {
    /// Whether this thread is one that calls back.
    pub(crate) static CALLING_BACK: Cell<bool> = const { Cell::new(false) };
}

/// A node that runs.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) shared: Arc<Shared>,
    ended: OnceLock<String>,
}

/// What a node's sensors, subscriptions and events hold of it.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// The node's name.
    pub(crate) name: senza_name,
    pub(crate) number: u64,
    stopped: AtomicBool,
    parts: Mutex<HashMap<u64, Part>>,
}

/// What has to end before its node does.
pub(crate) enum Part {
    /// A subscription, and the thread that calls back.
    Subscription(SubscriberView, Option<JoinHandle<()>>),
    /// A reader of events, who waits on the other end.
    Events(#[expect(dead_code, reason = "its end is what is told")] Sender<()>),
}

impl Shared {
    /// Refuses what comes after the node's stop.
    #[inline]
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
    }

    /// Holds the node where a look-up may ask a registry of the embedder's: a stop waits for those.
    pub(crate) fn hold_for_registry(&self) -> Outcome<Option<Arc<Held<Running>>>> {
        match self.engine.mode() {
            Mode::Shadow => NODES.hold(self.number).map(Some),
            Mode::Cluster | Mode::Local => Ok(None),
        }
    }

    /// Keeps a part until it ends, or the node does.
    pub(crate) fn add(&self, id: u64, part: Part) -> Outcome<()> {
        let mut parts = self.parts.lock();
        // Under the lock: whoever stops the node sees it.
        if self.stopped.load(Ordering::Acquire) {
            drop(parts);
            end(part);
            return Err(stopped());
        }
        parts.insert(id, part);
        Ok(())
    }

    /// Ends a part; its callback is not called again after this, unless this is called by a callback.
    pub(crate) fn end(&self, id: u64) {
        let part = self.parts.lock().remove(&id);
        part.into_iter().for_each(end);
    }

    fn stop(&self) {
        let mut parts = self.parts.lock();
        self.stopped.store(true, Ordering::Release);
        let ending = std::mem::take(&mut *parts);
        drop(parts);
        ending.into_values().for_each(end);
    }
}

fn stopped() -> crate::error::Fail {
    refuse(senza_code::SENZA_CLOSED, "the node of this handle was stopped")
}

fn end(part: Part) {
    let Part::Subscription(view, thread) = part else { return };
    view.close();
    // A callback waits for no other: two that end each other would wait for ever.
    if let Some(thread) = thread.filter(|_| !CALLING_BACK.get()) {
        // A panic there is none of ours to tell: it was caught, or it ended the process.
        let _ended = thread.join();
    }
}

/// The node that a handle names.
#[inline]
pub(crate) fn node(handle: senza_node) -> Outcome<Brief<Running>> {
    NODES.get(handle.id)
}

/// The same, while a call waits.
pub(crate) fn node_to_wait_with(handle: senza_node) -> Outcome<Arc<Held<Running>>> {
    NODES.hold(handle.id)
}

/// What calls that do not wait need of a node.
#[inline]
pub(crate) fn shared(handle: senza_node) -> Outcome<Recent> {
    let recent = border::take(&RECENT);
    if recent.as_ref().is_some_and(|recent| recent.number == handle.id && recent.check().is_ok()) {
        return Ok(Recent(recent));
    }
    Ok(Recent(Some(node(handle)?.shared.clone())))
}

/// The same of the node whose number ends so.
#[inline]
pub(crate) fn shared_of_bits(bits: u64) -> Outcome<Recent> {
    shared(senza_node { id: (Kind::Node as u64) << crate::handles::KIND_SHIFT | bits })
}

thread_local! {
    /// Of the node that this thread called last: counting who is in a call with it would take longer than a put. So a
    /// stop does not wait for such calls, and what a thread called last stays until it calls another, or ends.
    static RECENT: Cell<Option<Arc<Shared>>> = const { Cell::new(None) };
}

/// See [`shared`]. Kept for the thread's next call.
pub(crate) struct Recent(Option<Arc<Shared>>);

impl Deref for Recent {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        self.0.as_deref().expect("it is there until it is dropped")
    }
}

impl Drop for Recent {
    #[inline]
    fn drop(&mut self) {
        border::keep(&RECENT, self.0.take());
    }
}

/// Starts a node: binds, meets the others, opens its doors. Blocks until it is ready or five seconds have passed.
///
/// Answers SENZA_START where a port or the name is taken, SENZA_ARGUMENT for a setting outside its rule, SENZA_FULL
/// beyond 255 nodes of this process. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_start(config: *const senza_config, node: *mut senza_node) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let config = unsafe { border::given(config, "config") }?;
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(node, "node") }?;
        // SAFETY: the header's rule of pointers, for what the settings point to.
        let lossless = unsafe { lossless(config) }?;
        // SAFETY: the same.
        let config = unsafe { settings(config) }?;
        let node = Node::start(config)?;
        node.engine().mark_lossless(lossless);
        let held = NODES.insert(|number| {
            let (stopped, parts) = (AtomicBool::new(false), Mutex::default());
            let (engine, name) = (node.engine().clone(), senza_name::of(node.name()));
            let shared = Arc::new(Shared { engine, name, number, stopped, parts });
            Running { node, shared, ended: OnceLock::new() }
        })?;
        out.set(senza_node { id: held.id });
        Ok(())
    })
}

/// # Safety
/// What `config` points to is as its type says.
unsafe fn settings(config: &senza_config) -> Outcome<Config> {
    const ENDPOINT_MAX: usize = 4096;
    // SAFETY: as the caller promises.
    let name = unsafe { text::node_name(config.name) }?;
    // SAFETY: as the caller promises.
    let root = unsafe { border::text(config.root, PATH_MAX, "root") }?;
    let listen = (config.listen, config.listen_count);
    // SAFETY: as the caller promises.
    let listen = unsafe { text::texts(listen, (64, ENDPOINT_MAX), "listen") }?;
    let connect = (config.connect, config.connect_count);
    // SAFETY: as the caller promises.
    let connect = unsafe { text::texts(connect, (1024, ENDPOINT_MAX), "connect") }?;
    // SAFETY: as the caller promises.
    let zenoh = unsafe { border::list(config.zenoh, config.zenoh_count, 1024, "zenoh") }?;
    let mut made = Config::loopback(name);
    for setting in zenoh {
        // SAFETY: as the caller promises.
        let path = unsafe { border::text(setting.path, PATH_MAX, "path of a setting") }?;
        // SAFETY: as the caller promises.
        let value = unsafe { border::text(setting.value, 65_536, "value of a setting") }?;
        made.zenoh.push((path.to_owned(), value.to_owned()));
    }
    let set = |setting: &mut u64, value: u64| {
        if value != 0 {
            *setting = value;
        }
    };
    let bound = |setting: &mut usize, value: u64| {
        if value != 0 {
            *setting = usize::try_from(value).unwrap_or(usize::MAX);
        }
    };
    if !root.is_empty() {
        root.clone_into(&mut made.root);
    }
    if !listen.is_empty() {
        made.listen = listen.into_iter().map(str::to_owned).collect();
    }
    made.connect = connect.into_iter().map(str::to_owned).collect();
    bound(&mut made.table.sensors_max, config.sensors_max);
    bound(&mut made.table.attributes_max, config.attributes_max);
    bound(&mut made.table.history_max, config.history_max);
    set(&mut made.idle_unregister_s, config.idle_unregister_s);
    set(&mut made.lease_ms, config.lease_ms);
    set(&mut made.silence_ms, config.silence_ms);
    set(&mut made.takeover_holdoff_ms, config.takeover_holdoff_ms);
    if config.takeover_holdoff_ms == SENZA_NO_HOLDOFF {
        made.takeover_holdoff_ms = 0;
    }
    made.mode = mode(config.mode)?;
    if made.mode == Mode::Shadow {
        return Err(refuse(senza_code::SENZA_ARGUMENT, "mode: a node starts as SENZA_CLUSTER or SENZA_LOCAL"));
    }
    made.check(config.insecure != 0).map_err(|error| refuse(senza_code::SENZA_ARGUMENT, error.to_string()))?;
    Ok(made)
}

/// # Safety
/// What `config` points to is as its type says.
unsafe fn lossless(config: &senza_config) -> Outcome<Vec<AttributeId>> {
    let list = (config.lossless, config.lossless_count);
    // SAFETY: as the caller promises.
    let texts = unsafe { text::texts(list, (LOSSLESS_MAX, ATTRIBUTE_ID_MAX), "lossless") }?;
    let id = |(at, text)| AttributeId::new(text).map_err(|error| Fail::from(error).within("lossless", at));
    texts.into_iter().enumerate().map(id).collect()
}

fn mode(mode: u32) -> Outcome<Mode> {
    match mode {
        0 => Ok(Mode::Cluster),
        1 => Ok(Mode::Local),
        2 => Ok(Mode::Shadow),
        other => Err(refuse(senza_code::SENZA_ARGUMENT, format!("mode: {other} does not exist"))),
    }
}

fn mode_out(mode: Mode) -> u32 {
    let mode = match mode {
        Mode::Cluster => senza_mode::SENZA_CLUSTER,
        Mode::Local => senza_mode::SENZA_LOCAL,
        Mode::Shadow => senza_mode::SENZA_SHADOW,
    };
    mode as u32
}

/// Stops a node in good order: its subscriptions and events end, callbacks are called for the last time, farewell is
/// said to the others. Its sensors are unregistered with it. Blocks until that is done, for calls of other threads that
/// wait, or ask a registry of yours, at most 15 s.
///
/// Handles of its sensors, subscriptions and events stay to be closed; until then they answer SENZA_CLOSED (a
/// subscription after what was queued). Its memory is given back when they are, and every thread that called this node
/// last has called another one or this one's handle again, or ended. Thread-safe; also within a callback of its own.
#[unsafe(no_mangle)]
pub extern "C" fn senza_node_stop(node: senza_node) -> senza_code {
    border::enter(|| {
        let mut held = NODES.remove(node.id)?;
        held.shared.stop();
        let clock = SystemClock;
        let until = clock.steady() + CALLS.as_micros() as i64;
        let never = crossbeam_channel::never::<()>();
        // Calls under way hold it: the last of them would stop the node, and this one would have returned before.
        while Arc::get_mut(&mut held).is_none() && clock.steady() < until {
            let _timed_out = never.recv_timeout(Duration::from_millis(1));
        }
        let shared = held.shared.clone();
        drop(held);
        // Nobody asks it any more, whoever still holds what is left of the node.
        shared.engine.dismiss();
        drop(border::take(&RECENT));
        Ok(())
    })
}

/// Whether a node still runs: SENZA_CLOSED where it ended by itself, because another node of its name, older, is up;
/// senza_last_error() then says so. It is still to be stopped. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn senza_node_check(node: senza_node) -> senza_code {
    border::enter(|| {
        let running = self::node(node)?;
        if let Ok(reason) = running.node.ended().try_recv() {
            // Told once, by the first of two.
            let _kept = running.ended.set(reason);
        }
        running.ended.get().map_or(Ok(()), |reason| Err(refuse(senza_code::SENZA_CLOSED, reason.clone())))
    })
}

/// The endpoints that a node listens on, ports filled in: what another node connects to. Thread-safe; the texts are for
/// one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_listening(node: senza_node, texts: *mut senza_texts) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let texts = unsafe { border::kept(texts, "texts") }?;
        let running = self::node(node)?;
        let senza_texts { items, count, memory } = texts;
        (*items, *count) = (std::ptr::null(), 0);
        batch::fill(memory, |pile| {
            for endpoint in running.node.listening() {
                let text = pile.texts.text(endpoint.as_bytes());
                pile.strings.push(text);
            }
            (*items, *count) = (pile.strings.as_ptr(), pile.strings.len());
            Ok(())
        })
    })
}

/// Gives the memory of texts back and sets them to all zeros; those of all zeros are fine. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_texts_free(texts: *mut senza_texts) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let texts = unsafe { border::kept(texts, "texts") }?;
        let memory = texts.memory;
        *texts = senza_texts { items: std::ptr::null(), count: 0, memory: senza_memory { id: 0 } };
        batch::free(memory)
    })
}

/// How far a node takes part: a senza_mode. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_mode(node: senza_node, mode: *mut u32) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(mode, "mode") }?;
        out.set(mode_out(self::node(node)?.shared.engine.mode()));
        Ok(())
    })
}

/// Switches how far a node takes part; `before`, which may be NULL, answers the mode before. Leaving the cluster
/// withdraws everything and forgets the others; coming back announces this node's sensors under the claims they have.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_switch(node: senza_node, mode: u32, before: *mut u32) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out_or_null(before, "before") }?;
        let mode = self::mode(mode)?;
        let running = node_to_wait_with(node)?;
        out.set(mode_out(running.node.switch(mode)));
        Ok(())
    })
}

/// A registry of the embedder's.
struct Registry {
    whereis: unsafe extern "C-unwind" fn(*mut c_void, senza_str, *mut senza_name) -> i32,
    release: senza_release,
    user: *mut c_void,
}

// SAFETY: the header asks for functions that are good on any thread, with `user`.
unsafe impl Send for Registry {}
// SAFETY: the same.
unsafe impl Sync for Registry {}

impl Existing for Registry {
    fn whereis(&self, sensor: &str) -> Option<NodeName> {
        let text = senza_str { data: sensor.as_ptr().cast(), length: sensor.len() };
        let mut name = senza_name::default();
        // SAFETY: the embedder's function, given as the header asks.
        let known = unsafe { (self.whereis)(self.user, text, &raw mut name) };
        if known == 0 { None } else { name.read() }
    }

    fn ids(&self) -> Vec<SensorId> {
        Vec::new()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the embedder's function, given as the header asks, for the last time.
            unsafe { release(self.user) };
        }
    }
}

/// Leaves your own registry in charge of look-ups, and switches to SENZA_SHADOW: senza_whereis() then answers what
/// `whereis` does, compares, and counts where senza would have said something else (senza_node_comparison()). Nothing
/// is refused, fenced or taken away. senza_node_switch() to SENZA_CLUSTER hands over.
///
/// `whereis` is called by any thread that looks up, at the same time too; it must neither wait nor call this node.
/// `release`, which may be NULL, is called once with `user` when the registry is not asked any more: when another one
/// takes its place, or when the node was stopped. It may call senza, but not stop this node. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_shadow(
    node: senza_node,
    whereis: senza_existing_whereis,
    release: senza_release,
    user: *mut c_void,
) -> senza_code {
    border::enter(|| {
        let whereis = whereis.ok_or_else(|| refuse(senza_code::SENZA_NULL, "whereis must not be NULL"))?;
        let running = node_to_wait_with(node)?;
        running.node.shadow(Arc::new(Registry { whereis, release, user }));
        Ok(())
    })
}

/// What comparing with your registry found so far.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_comparison {
    /// Answers compared.
    pub compared: u64,
    /// senza did not know a sensor that the registry knew.
    pub missing: u64,
    /// senza knew a sensor that the registry did not know.
    pub extra: u64,
    /// Both knew it, as different nodes'.
    pub other_node: u64,
}

/// What comparing with your registry found so far; all zeros without one. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_node_comparison(node: senza_node, comparison: *mut senza_comparison) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let out = unsafe { border::out(comparison, "comparison") }?;
        let found = self::node(node)?.shared.engine.comparison();
        let senza::Comparison { compared, missing, extra, other_node, .. } = found;
        out.set(senza_comparison { compared, missing, extra, other_node });
        Ok(())
    })
}

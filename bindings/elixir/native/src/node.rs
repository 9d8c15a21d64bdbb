//! A node of this VM: its start and end, what it says of itself and of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustler::types::LocalPid;
use rustler::{Atom, Decoder, Encoder, Env, Monitor, Resource, ResourceArc, Term};
use senza::{AttributeId, Config, Engine, Flags, Mode};
#[cfg(debug_assertions)]
use senza_mesh::clock::{Clock, SystemClock};

use crate::atoms;
use crate::courier::Courier;
use crate::faults::{Fault, answer, shown};
use crate::reaper::{self, let_go};
use crate::registry::Registry;

/// What everything of one node shares: its engine, who is registered, whether it still runs.
pub(crate) struct Running {
    engine: Arc<Engine>,
    open: AtomicBool,
    registry: Registry,
    courier: Courier,
    node: Mutex<Option<senza::Node>>,
    ending: Mutex<Option<String>>,
    listening: Vec<String>,
}

impl Running {
    /// The engine. It outlives its node: who has checked [`is_open`](Self::is_open) may use it.
    #[inline]
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Who is registered here.
    #[inline]
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The thread that sends messages.
    pub(crate) fn courier(&self) -> &Courier {
        &self.courier
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Ends it: blocks until its threads are joined. The second time it waits for the first.
    fn stop(&self) {
        self.open.store(false, Ordering::Release);
        let mut node = self.node.lock();
        self.courier.stop();
        self.registry.clear();
        drop(node.take());
    }
}

/// What Elixir holds of a node.
pub(crate) struct NodeRef(Arc<Running>);

#[rustler::resource_impl]
impl Resource for NodeRef {
    const IMPLEMENTS_DOWN: bool = true;

    /// Its process is gone without having stopped it. Stopping blocks, so that it is done elsewhere.
    fn down<'a>(&'a self, _: Env<'a>, _: LocalPid, _: Monitor) {
        self.0.open.store(false, Ordering::Release);
        stop_elsewhere(self.0.clone());
    }

    fn destructor(self, _: Env<'_>) {
        // What is collected while it still runs has no process either.
        if self.0.is_open() { stop_elsewhere(self.0) } else { let_go(self.0) }
    }
}

fn stop_elsewhere(running: Arc<Running>) {
    let spawned = std::thread::Builder::new().name("senza-stop".to_owned()).spawn(move || running.stop());
    if let Err(error) = spawned {
        tracing::error!(%error, "a node whose process is gone could not be stopped");
    }
}

/// The node that a term is, open or not.
fn reference<'a>(term: Term<'a>) -> Result<&'a NodeRef, Fault> {
    let refuse = || Fault::argument(format!("a node must be what Senza.ref/1 answers, got: {}", shown(term)));
    term.try_get_resource::<NodeRef>().ok_or_else(refuse)
}

/// What a node's term stands for, while it is open.
///
/// # Errors
/// `closed`, or an argument fault where it is no node.
#[inline]
pub(crate) fn running<'a>(term: Term<'a>) -> Result<&'a Arc<Running>, Fault> {
    let node = reference(term)?;
    if node.0.is_open() { Ok(&node.0) } else { Err(Fault::closed("node")) }
}

/// A setting of the map that `Senza.Settings` has checked.
fn setting<'a, T: Decoder<'a>>(settings: Term<'a>, name: Atom) -> Result<Option<T>, Fault> {
    let Ok(term) = settings.map_get(name) else { return Ok(None) };
    if term.decode::<Atom>().is_ok_and(|atom| atom == atoms::nil()) {
        return Ok(None);
    }
    term.decode().map(Some).map_err(|_| Fault::argument(format!("a setting is of another type: {}", shown(term))))
}

fn config<'a>(env: Env<'a>, settings: Term<'a>) -> Result<(Config, Vec<AttributeId>), Fault> {
    let name = |text: &str| Atom::from_bytes(env, text.as_bytes()).map_err(|_| Fault::argument("a setting's name"));
    let flags = Flags {
        name: setting(settings, name("node")?)?,
        listen: setting(settings, name("listen")?)?.unwrap_or_default(),
        connect: setting(settings, name("connect")?)?.unwrap_or_default(),
        config: setting::<String>(settings, name("config")?)?.map(Into::into),
        root: setting(settings, name("root")?)?,
        insecure: setting(settings, name("insecure")?)?.unwrap_or_default(),
        sensors_max: setting(settings, name("sensors_max")?)?,
        attributes_max: setting(settings, name("attributes_max")?)?,
        history_max: setting(settings, name("history_max")?)?,
        idle_unregister_s: setting(settings, name("idle_unregister_s")?)?,
        lease_ms: setting(settings, name("lease_ms")?)?,
        silence_ms: setting(settings, name("silence_ms")?)?,
        takeover_holdoff_ms: setting(settings, name("takeover_holdoff_ms")?)?,
        mode: setting(settings, name("mode")?)?,
    };
    let mut config = Config::embedded(flags)?;
    config.zenoh.extend(setting::<Vec<(String, String)>>(settings, name("zenoh")?)?.unwrap_or_default());
    let lossless: Vec<String> = setting(settings, name("lossless")?)?.unwrap_or_default();
    let lossless = lossless.iter().map(AttributeId::new).collect::<Result<_, _>>()?;
    Ok((config, lossless))
}

fn started<'a>(env: Env<'a>, settings: Term<'a>, owner: LocalPid) -> Result<Term<'a>, Fault> {
    let (config, lossless) = config(env, settings)?;
    reaper::start();
    let node = senza::Node::start(config)?;
    node.engine().mark_lossless(lossless);
    let refuse = |error: std::io::Error| Fault::new("start_failed", format!("no thread for messages: {error}"));
    let courier = Courier::start("senza-courier").map_err(refuse)?;
    let running = Running {
        engine: node.engine().clone(),
        open: AtomicBool::new(true),
        registry: Registry::new(node.engine(), courier.clone()),
        courier,
        listening: node.listening().to_vec(),
        node: Mutex::new(Some(node)),
        ending: Mutex::default(),
    };
    let reference = ResourceArc::new(NodeRef(Arc::new(running)));
    if env.monitor(&reference, &owner).is_none() {
        reference.0.stop();
        return Err(Fault::new("noproc", "the process that was to own the node is gone"));
    }
    Ok((atoms::ok(), reference).encode(env))
}

/// Starts a node that belongs to a process: it ends with it.
#[rustler::nif(schedule = "DirtyIo")]
fn start<'a>(env: Env<'a>, settings: Term<'a>, owner: LocalPid) -> Term<'a> {
    answer(env, started(env, settings, owner))
}

/// Stops a node in good order; a stopped one is left alone.
#[rustler::nif(schedule = "DirtyIo")]
fn stop<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    answer(
        env,
        reference(node).map(|node| {
            node.0.stop();
            atoms::ok().to_term(env)
        }),
    )
}

/// Whether a node runs.
#[rustler::nif]
fn is_open<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    answer(env, reference(node).map(|node| node.0.is_open().encode(env)))
}

/// The node's name in its cluster, and where it listens.
#[rustler::nif]
fn describe<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let describe = |node: &NodeRef| {
        let name = node.0.engine.me().node.as_str();
        (name, &node.0.listening).encode(env)
    };
    answer(env, reference(node).map(describe))
}

/// Why the node is about to end by itself, or nil: another node of its name, older, is up.
#[rustler::nif]
fn ending<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let ending = |running: &Arc<Running>| {
        // Held for long only while it stops, and then there is nothing to tell.
        let told = running.node.try_lock().and_then(|node| node.as_ref()?.ended().try_recv().ok());
        let mut ending = running.ending.lock();
        if told.is_some() {
            *ending = told;
        }
        ending.encode(env)
    };
    answer(env, running(node).map(ending))
}

/// The nodes that are up, this one first: name, incarnation, sensors, whether it is this one.
#[rustler::nif]
fn nodes<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let view = |node: senza::NodeView| {
        let life = &node.life;
        (life.node.as_str(), life.incarnation, node.sensors, node.local).encode(env)
    };
    let nodes = |running: &Arc<Running>| running.engine.nodes().into_iter().map(view).collect::<Vec<_>>().encode(env);
    answer(env, running(node).map(nodes))
}

/// How far the node takes part.
#[rustler::nif]
fn mode<'a>(env: Env<'a>, node: Term<'a>) -> Term<'a> {
    let word = |running: &Arc<Running>| mode_atom(running.engine.mode()).encode(env);
    answer(env, running(node).map(word))
}

/// Switches how far the node takes part; answers the mode before.
#[rustler::nif(schedule = "DirtyIo")]
fn switch<'a>(env: Env<'a>, node: Term<'a>, mode: String) -> Term<'a> {
    let switched = running(node).and_then(|running| {
        let known = Mode::named(&mode).filter(|mode| *mode != Mode::Shadow);
        let mode = known.ok_or_else(|| Fault::argument(format!("mode {mode:?} must be :cluster or :local")))?;
        Ok(mode_atom(running.engine.switch(mode)).encode(env))
    });
    answer(env, switched)
}

fn mode_atom(mode: Mode) -> Atom {
    match mode {
        Mode::Local => atoms::local(),
        Mode::Shadow => atoms::shadow(),
        Mode::Cluster => atoms::cluster(),
    }
}

/// Whether this build has the functions that misbehave: only debug builds do.
#[rustler::nif]
fn misbehaves() -> bool {
    cfg!(debug_assertions)
}

/// Panics, so that tests see what becomes of it.
#[cfg(debug_assertions)]
#[rustler::nif]
fn panic() -> bool {
    panic!("as a test asked for")
}

/// Holds its scheduler, so that tests see that they would see it.
#[cfg(debug_assertions)]
#[rustler::nif]
fn hold(ms: u64) -> bool {
    let clock = SystemClock;
    let until = clock.steady() + i64::try_from(ms * 1000).unwrap_or(i64::MAX / 2);
    while clock.steady() < until {
        std::hint::spin_loop();
    }
    true
}

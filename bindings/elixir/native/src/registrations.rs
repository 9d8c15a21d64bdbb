//! Sensors of this node as Elixir registers, finds and holds them.

use std::sync::Arc;

use rustler::{Atom, Encoder, Env, LocalPid, Resource, ResourceArc, Term};
use senza::{OnConflict, SensorId, SensorType, Value};
use senza_core::table::{Handle, Point};
use senza_core::{Epoch, Error, Micros, Seq};
use senza_mesh::clock::{Clock, SystemClock};

use crate::atoms;
use crate::faults::{Fault, answer, shown, text};
use crate::node::{Running, running};
use crate::reaper::let_go;
use crate::registry::Registered;
use crate::value::{JSON_AT_ONCE, json_text};

/// What is behind the handle of a registered sensor. It keeps nothing registered: that the owner's process does.
///
/// Elixir holds `{node, place, generation, reference}`: the numbers say where the sensor lies in the table, so that a put
/// neither finds it nor follows the reference, which where sensors are many waits for memory twice.
pub(crate) struct SensorRef {
    running: Arc<Running>,
    sensor: SensorId,
    handle: Handle,
    epoch: Epoch,
    owner: LocalPid,
}

#[rustler::resource_impl]
impl Resource for SensorRef {
    fn destructor(self, _: Env<'_>) {
        let_go(self.running);
    }
}

impl SensorRef {
    /// The claim that was made by registering it: of which node, to which sensor.
    pub(crate) fn claim(&self) -> (&Running, &SensorId, Epoch) {
        (&self.running, &self.sensor, self.epoch)
    }

    /// [`put`](self::put) that waits for readers whose contract asks writers to: blocks.
    ///
    /// # Errors
    /// As [`put`](self::put).
    pub(crate) fn put_wait(&self, attribute: &str, value: Value, time: Option<Micros>) -> Result<Seq, Fault> {
        let engine = self.running.engine();
        let source_time = time.unwrap_or_else(|| SystemClock.now());
        let point = |attribute| Point { handle: self.handle, attribute, value, source_time };
        let taken = engine.attribute(self.handle, attribute).and_then(|attribute| engine.put_wait(point(attribute)));
        taken.map_err(|error| self.why(error))
    }

    #[cold]
    fn why(&self, error: Error) -> Fault {
        match error {
            Error::Unregistered => self.running.engine().late(self.sensor.as_str()).into(),
            error => error.into(),
        }
    }
}

/// A handle taken apart.
type Parts<'a> = (Term<'a>, u64, u32, Term<'a>);

#[inline]
fn parts(term: Term<'_>) -> Result<Parts<'_>, Fault> {
    term.decode().map_err(|_| no_sensor(term))
}

#[cold]
fn no_sensor(term: Term<'_>) -> Fault {
    Fault::argument(format!("a sensor must be what Senza.register/3 answers, got: {}", shown(term)))
}

/// The sensor that a term is, while its node is open.
///
/// # Errors
/// `closed`, or an argument fault where it is no sensor.
pub(crate) fn sensor_ref<'a>(term: Term<'a>) -> Result<&'a SensorRef, Fault> {
    let sensor = parts(term)?.3.try_get_resource::<SensorRef>().ok_or_else(|| no_sensor(term))?;
    if sensor.running.is_open() { Ok(sensor) } else { Err(Fault::closed("node")) }
}

/// Puts one reading of the sensor that a term is; `None` is stamped now.
///
/// # Errors
/// As [`sensor_ref`]; `not_registered` where the registration ended, `not_owner` where another node took it over.
#[inline]
pub(crate) fn put(sensor: Term<'_>, attribute: &str, value: Value, time: Option<Micros>) -> Result<Seq, Fault> {
    let (node, place, generation, _) = parts(sensor)?;
    let handle = Handle::from_parts([(place >> 32) as u32, place as u32, generation]);
    let taken = running(node)?.engine().put_named(handle, attribute, value, time);
    taken.or_else(|error| Err(sensor_ref(sensor)?.why(error)))
}

fn on_conflict(word: Atom) -> Result<OnConflict, Fault> {
    let words = [
        (atoms::takeover(), OnConflict::Takeover),
        (atoms::refuse(), OnConflict::Refuse),
        (atoms::force(), OnConflict::Force),
    ];
    let known = words.into_iter().find(|(known, _)| *known == word);
    known.map(|(_, policy)| policy).ok_or_else(|| Fault::argument("conflict must be :takeover, :refuse or :force"))
}

fn is_nil(term: Term<'_>) -> bool {
    term.decode::<Atom>().is_ok_and(|atom| atom == atoms::nil())
}

fn local_pid(term: Term<'_>) -> Result<LocalPid, Fault> {
    let refuse = || Fault::argument(format!("a pid must be of a process of this VM, got: {}", shown(term)));
    term.decode().map_err(|_| refuse())
}

fn sensor<'a>(id: Term<'a>, (kind, meta): (Term<'a>, Term<'a>), json_max: usize) -> Result<senza::Sensor, Fault> {
    Ok(senza::Sensor {
        id: SensorId::new(text(id, "a sensor's id")?)?,
        sensor_type: match is_nil(kind) {
            true => SensorType::default(),
            false => SensorType::new(text(kind, "a sensor's type")?)?,
        },
        meta: match is_nil(meta) {
            true => "{}".into(),
            false if meta.is_map() => json_text(meta, json_max)?.into(),
            false => return Err(Fault::argument(format!("meta must be a map, got: {}", shown(meta)))),
        },
    })
}

fn registered<'a>(
    env: Env<'a>,
    (node, id, pid): (Term<'a>, Term<'a>, Term<'a>),
    (kind, meta, conflict): (Term<'a>, Term<'a>, Atom),
    handle_wanted: bool,
    json_max: usize,
) -> Result<Term<'a>, Fault> {
    let running = running(node)?;
    let (sensor, owner) = (sensor(id, (kind, meta), json_max)?, local_pid(pid)?);
    Ok(match running.registry().register(env, &sensor, owner, on_conflict(conflict)?)? {
        Registered::Here(..) if !handle_wanted => atoms::ok().to_term(env),
        Registered::Here(handle, epoch) => {
            let running = running.clone();
            let [shard, slot, generation] = handle.parts();
            let place = u64::from(shard) << 32 | u64::from(slot);
            let made = ResourceArc::new(SensorRef { running, sensor: sensor.id, handle, epoch, owner });
            (atoms::ok(), (node, place, generation, made)).encode(env)
        }
        Registered::Already(pid) => (atoms::error(), (atoms::already_registered(), pid)).encode(env),
        Registered::NoProcess => (atoms::error(), atoms::noproc()).encode(env),
    })
}

/// Registers a sensor for a process, until that ends. Answers the sensor's handle, or `:ok` where none is wanted;
/// `busy`, and nothing was registered, where `meta` is much JSON.
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "one per thing that a registration is of")]
fn register<'a>(
    env: Env<'a>,
    node: Term<'a>,
    id: Term<'a>,
    pid: Term<'a>,
    kind: Term<'a>,
    meta: Term<'a>,
    conflict: Atom,
    handle_wanted: bool,
) -> Term<'a> {
    answer(env, registered(env, (node, id, pid), (kind, meta, conflict), handle_wanted, JSON_AT_ONCE))
}

/// The same of any size.
#[rustler::nif(schedule = "DirtyCpu")]
#[expect(clippy::too_many_arguments, reason = "one per thing that a registration is of")]
fn register_large<'a>(
    env: Env<'a>,
    node: Term<'a>,
    id: Term<'a>,
    pid: Term<'a>,
    kind: Term<'a>,
    meta: Term<'a>,
    conflict: Atom,
    handle_wanted: bool,
) -> Term<'a> {
    answer(env, registered(env, (node, id, pid), (kind, meta, conflict), handle_wanted, usize::MAX))
}

/// Ends the registration of a sensor by whichever process made it; answers whether there was one.
#[rustler::nif]
fn unregister<'a>(env: Env<'a>, node: Term<'a>, id: Term<'a>) -> Term<'a> {
    let ended = || -> Result<Term<'a>, Fault> {
        let (running, id) = (running(node)?, text(id, "a sensor's id")?);
        // One that came by a front door has no process.
        Ok((running.registry().unregister(env, id, None) || running.engine().unregister(id)).encode(env))
    };
    answer(env, ended())
}

/// Ends the registration that a handle came from; answers whether it stood.
#[rustler::nif]
fn leave<'a>(env: Env<'a>, sensor: Term<'a>) -> Term<'a> {
    let left = |sensor: &SensorRef| {
        let (id, registry) = (sensor.sensor.as_str(), sensor.running.registry());
        let stands = registry.process(id, sensor.epoch) == Some(sensor.owner);
        (stands && registry.unregister(env, id, Some(sensor.owner))).encode(env)
    };
    answer(env, sensor_ref(sensor).map(left))
}

/// What a handle is of: the node's name, the sensor's id, the claim's number, the process.
#[rustler::nif]
fn describe_sensor<'a>(env: Env<'a>, sensor: Term<'a>) -> Term<'a> {
    let describe = |sensor: &SensorRef| {
        let node = sensor.running.engine().me().node.as_str();
        (node, sensor.sensor.as_str(), sensor.epoch, sensor.owner).encode(env)
    };
    answer(env, sensor_ref(sensor).map(describe))
}

/// Makes attributes without putting a reading: a device that waits to be watched makes its own first. Any number of
/// them, so on a dirty scheduler.
#[rustler::nif(schedule = "DirtyCpu")]
fn declare<'a>(env: Env<'a>, sensor: Term<'a>, attributes: Term<'a>) -> Term<'a> {
    let declared = || -> Result<Term<'a>, Fault> {
        let sensor = sensor_ref(sensor)?;
        let mut rest = attributes;
        while let Ok((attribute, next)) = rest.list_get_cell() {
            let attribute = text(attribute, "an attribute's id")?;
            sensor.running.engine().attribute(sensor.handle, attribute).map_err(|error| sensor.why(error))?;
            rest = next;
        }
        if !rest.is_empty_list() {
            return Err(Fault::argument(format!("attributes must be a list, got: {}", shown(attributes))));
        }
        Ok(atoms::ok().to_term(env))
    };
    answer(env, declared())
}

/// Where a sensor is: `{:ok, pid}`, `{:remote, node}`, `{:error, :not_found | :no_process}`.
#[rustler::nif]
fn whereis<'a>(env: Env<'a>, node: Term<'a>, id: Term<'a>) -> Term<'a> {
    let found = || -> Result<Term<'a>, Fault> {
        let (running, id) = (running(node)?, text(id, "a sensor's id")?);
        Ok(place(env, running, id))
    };
    answer(env, found())
}

#[inline]
fn place<'a>(env: Env<'a>, running: &Running, id: &str) -> Term<'a> {
    let engine = running.engine();
    match engine.locate(id) {
        None => (atoms::error(), atoms::not_found()).encode(env),
        Some(located) if located.life == 0 => match running.registry().process(id, located.epoch) {
            Some(pid) if env.is_process_alive(pid) => (atoms::ok(), pid).encode(env),
            // Its end is not heard yet, but others may know of it: the registration is over.
            Some(_) => (atoms::error(), atoms::not_found()).encode(env),
            None => (atoms::error(), atoms::no_process()).encode(env),
        },
        Some(located) => match engine.life(located.life) {
            Some(life) => (atoms::remote(), life.node.as_str()).encode(env),
            None => (atoms::error(), atoms::not_found()).encode(env),
        },
    }
}

/// The process of a sensor of this node, or `:undefined`: what `:via` asks. A supervisor hears of an end before the
/// registry does, and starts the next process under the same name at once: one that is dead is none.
#[rustler::nif]
fn whereis_name<'a>(env: Env<'a>, node: Term<'a>, id: Term<'a>) -> Term<'a> {
    let found = || -> Result<Term<'a>, Fault> {
        let (running, id) = (running(node)?, text(id, "a sensor's id")?);
        let local = running.engine().locate(id).filter(|located| located.life == 0);
        let pid = local.and_then(|located| running.registry().process(id, located.epoch));
        let pid = pid.filter(|pid| env.is_process_alive(*pid));
        Ok(pid.map_or_else(|| atoms::undefined().to_term(env), |pid| pid.encode(env)))
    };
    answer(env, found())
}

/// The owner of a sensor: its name and the claim's number.
#[rustler::nif]
fn owner<'a>(env: Env<'a>, node: Term<'a>, id: Term<'a>) -> Term<'a> {
    let found = || -> Result<Term<'a>, Fault> {
        let (running, id) = (running(node)?, text(id, "a sensor's id")?);
        let engine = running.engine();
        let located = engine.locate(id).and_then(|located| Some((engine.life(located.life)?.node, located.epoch)));
        Ok(match located {
            Some((node, epoch)) => (atoms::ok(), (node.as_str(), epoch)).encode(env),
            None => (atoms::error(), atoms::not_found()).encode(env),
        })
    };
    answer(env, found())
}

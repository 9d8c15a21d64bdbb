//! Filters and contracts as Elixir hands them over, plain tuples whose meaning is the engine's; what is wanted, back.

use rustler::{Encoder, Env, Term};
use senza::{AttributeId, Contract, Deadband, Filter, NodeName, Overflow, Pace, SensorId, SensorType, Start, Want};
use senza_core::key::Pattern;

use crate::faults::Fault;
use crate::{atoms, value};

/// Sensors, patterns, attributes, types, nodes.
pub(crate) type RawFilter = (Vec<String>, Vec<String>, Vec<String>, Vec<String>, Vec<String>);
/// Pace and its interval in µs, deadband and its width, heartbeat in µs.
pub(crate) type RawWant = (String, i64, String, f64, i64);
/// What is wanted, overflow and its wait in µs, queue bound, start and what it counts.
pub(crate) type RawContract = (RawWant, String, i64, i64, String, i64);

/// The filter that five lists make.
///
/// # Errors
/// `invalid_id` or `invalid_pattern` for an entry that is none.
pub(crate) fn filter(raw: &RawFilter) -> Result<Filter, Fault> {
    fn each<T>(texts: &[String], make: impl Fn(&str) -> senza_core::Result<T>) -> senza_core::Result<Vec<T>> {
        texts.iter().map(|text| make(text)).collect()
    }
    let (sensors, patterns, attributes, types, nodes) = raw;
    let filter = Filter {
        sensors: each(sensors, |text| SensorId::new(text))?,
        patterns: each(patterns, Pattern::new)?,
        attributes: each(attributes, |text| AttributeId::new(text))?,
        types: each(types, |text| SensorType::new(text))?,
        nodes: each(nodes, |text| NodeName::new(text))?,
    };
    filter.check()?;
    Ok(filter)
}

/// The contract that a tuple says. Words that are none of a contract's were refused before.
///
/// # Errors
/// `invalid_contract` names the field and the rule.
pub(crate) fn contract(raw: &RawContract) -> Result<Contract, Fault> {
    let (want, overflow, wait_us, queue_max, start, at) = raw;
    let (pace, interval_us, deadband, width, heartbeat_us) = want;
    let pace = match pace.as_str() {
        "latest" => Pace::Latest,
        "interval" => Pace::Interval(narrow("max_rate", *interval_us)?),
        _ => Pace::Every,
    };
    let deadband = match deadband.as_str() {
        "absolute" => Deadband::Absolute(*width),
        "percent" => Deadband::Percent(*width),
        _ => Deadband::None,
    };
    let overflow = match overflow.as_str() {
        "drop_newest" => Overflow::DropNewest,
        "conflate" => Overflow::Conflate,
        "close" => Overflow::Close,
        "block" => Overflow::Block { wait_us: narrow("overflow", *wait_us)? },
        _ => Overflow::DropOldest,
    };
    let start = match start.as_str() {
        "latest" => Start::Latest,
        "last" => Start::Last(narrow("start", *at)?),
        "since" => Start::Since(*at),
        _ => Start::Live,
    };
    let want = Want { pace, deadband, heartbeat_us: narrow("heartbeat_ms", *heartbeat_us)? };
    let queue_max = usize::try_from(*queue_max).unwrap_or(usize::MAX);
    let contract = Contract { want, overflow, queue_max, start, ..Contract::default() };
    contract.check()?;
    Ok(contract)
}

fn narrow(field: &'static str, value: i64) -> Result<u32, Fault> {
    let rule = "must be at least 0, and at most 2^32 - 1";
    let refuse = |_| Fault::from(senza::Error::Contract { field, value: value.to_string(), rule });
    u32::try_from(value).map_err(refuse)
}

/// What is wanted, as people read it: a map, or nil where nothing is.
pub(crate) fn demand_term<'a>(env: Env<'a>, demand: Option<&Want>) -> Term<'a> {
    let Some(want) = demand else { return atoms::nil().to_term(env) };
    let (pace, interval_us) = match want.pace {
        Pace::Every => (atoms::every(), 0),
        Pace::Latest => (atoms::latest(), 0),
        Pace::Interval(interval_us) => (atoms::interval(), interval_us),
    };
    let deadband = match want.deadband {
        Deadband::None => atoms::nil().to_term(env),
        Deadband::Absolute(width) => (atoms::absolute(), value::float(env, width)).encode(env),
        Deadband::Percent(width) => (atoms::percent(), value::float(env, width)).encode(env),
    };
    let fields = [
        (atoms::pace(), pace.encode(env)),
        (atoms::interval_us(), interval_us.encode(env)),
        (atoms::deadband(), deadband),
        (atoms::heartbeat_ms(), (want.heartbeat_us / 1_000).encode(env)),
    ];
    value::record(env, &fields)
}

//! Filters and contracts as the package hands them over, and contracts back: plain tuples, whose meaning is the
//! engine's.

use pyo3::prelude::*;
use senza::{AttributeId, Contract, Deadband, Filter, NodeName, Overflow, Pace, SensorId, SensorType, Start, Want};
use senza_core::key::Pattern;

use crate::errors;

/// Sensors, patterns, attributes, types, nodes.
pub(crate) type RawFilter = (Vec<String>, Vec<String>, Vec<String>, Vec<String>, Vec<String>);
/// Pace and its interval in µs, deadband and its width, heartbeat in µs.
pub(crate) type RawWant = (String, i64, String, f64, i64);
/// What is wanted, overflow and its wait in µs, queue bound, start and what it counts.
pub(crate) type RawContract = (RawWant, String, i64, i64, String, i64);

/// The filter that five lists make.
///
/// # Errors
/// `InvalidId` or `InvalidPattern` for an entry that is none.
pub(crate) fn filter(raw: &RawFilter) -> PyResult<Filter> {
    fn each<T>(texts: &[String], make: impl Fn(&str) -> senza_core::Result<T>) -> PyResult<Vec<T>> {
        texts.iter().map(|text| make(text).map_err(errors::engine)).collect()
    }
    let (sensors, patterns, attributes, types, nodes) = raw;
    let filter = Filter {
        sensors: each(sensors, |text| SensorId::new(text))?,
        patterns: each(patterns, Pattern::new)?,
        attributes: each(attributes, |text| AttributeId::new(text))?,
        types: each(types, |text| SensorType::new(text))?,
        nodes: each(nodes, |text| NodeName::new(text))?,
    };
    filter.check().map_err(errors::engine)?;
    Ok(filter)
}

/// The contract that a tuple says.
///
/// # Errors
/// `InvalidContract` names the field and the rule.
pub(crate) fn contract(raw: &RawContract) -> PyResult<Contract> {
    let (want, overflow, wait_us, queue_max, start, at) = raw;
    let (pace, interval_us, deadband, width, heartbeat_us) = want;
    let pace = match pace.as_str() {
        "every" => Pace::Every,
        "latest" => Pace::Latest,
        "interval" => Pace::Interval(narrow("max_rate", *interval_us)?),
        other => return Err(errors::contract("pace", other, "must be every or latest")),
    };
    let deadband = match deadband.as_str() {
        "none" => Deadband::None,
        "absolute" => Deadband::Absolute(*width),
        _ => Deadband::Percent(*width),
    };
    let overflow = match overflow.as_str() {
        "drop_oldest" => Overflow::DropOldest,
        "drop_newest" => Overflow::DropNewest,
        "conflate" => Overflow::Conflate,
        "close" => Overflow::Close,
        "block" => Overflow::Block { wait_us: narrow("block", *wait_us)? },
        other => {
            let rule = "must be drop_oldest, drop_newest, conflate, block or close";
            return Err(errors::contract("overflow", other, rule));
        }
    };
    let start = match start.as_str() {
        "live" => Start::Live,
        "latest" => Start::Latest,
        "last" => Start::Last(narrow("start", *at)?),
        "since" => Start::Since(*at),
        other => {
            return Err(errors::contract("start", other, "must be live, latest, a number of readings or a datetime"));
        }
    };
    let want = Want { pace, deadband, heartbeat_us: narrow("heartbeat", *heartbeat_us)? };
    let queue_max = usize::try_from(*queue_max).unwrap_or(usize::MAX);
    let contract = Contract { want, overflow, queue_max, start, ..Contract::default() };
    contract.check().map_err(errors::engine)?;
    Ok(contract)
}

fn narrow(field: &str, value: i64) -> PyResult<u32> {
    u32::try_from(value).map_err(|_| errors::contract(field, value, "must be at least 0, and at most 2^32 - 1"))
}

/// The tuple that says a contract.
pub(crate) fn raw_contract(contract: &Contract) -> RawContract {
    let (overflow, wait_us) = match contract.overflow {
        Overflow::DropOldest => ("drop_oldest", 0),
        Overflow::DropNewest => ("drop_newest", 0),
        Overflow::Conflate => ("conflate", 0),
        Overflow::Block { wait_us } => ("block", i64::from(wait_us)),
        Overflow::Close => ("close", 0),
    };
    let (start, at) = match contract.start {
        Start::Live => ("live", 0),
        Start::Latest => ("latest", 0),
        Start::Last(last) => ("last", i64::from(last)),
        Start::Since(from) => ("since", from),
    };
    let queue_max = i64::try_from(contract.queue_max).unwrap_or(i64::MAX);
    (raw_want(&contract.want), overflow.to_owned(), wait_us, queue_max, start.to_owned(), at)
}

/// The tuple that says what is wanted.
pub(crate) fn raw_want(want: &Want) -> RawWant {
    let (pace, interval_us) = match want.pace {
        Pace::Every => ("every", 0),
        Pace::Latest => ("latest", 0),
        Pace::Interval(interval_us) => ("interval", i64::from(interval_us)),
    };
    let (deadband, width) = match want.deadband {
        Deadband::None => ("none", 0.0),
        Deadband::Absolute(width) => ("absolute", width),
        Deadband::Percent(width) => ("percent", width),
    };
    (pace.to_owned(), interval_us, deadband.to_owned(), width, i64::from(want.heartbeat_us))
}

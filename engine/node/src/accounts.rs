//! Contracts, ledgers, demand and latencies as JSON: what plain clients see of them.

use senza_core::Filter;
use senza_core::subscription::{Contract, Deadband, Ledger, Overflow, Pace, Start, Want};
use senza_mesh::engine::{Account, HopView};
use senza_mesh::latency::ClockOffset;
use serde_json::{Map, Value as Json, json};

/// One account: who it delivers to, what that wants, by which contract, and what became of every reading.
pub fn account(account: &Account) -> Json {
    json!({
        "id": account.id.number(),
        "to": account.to.as_ref().map(senza_core::NodeName::as_str),
        "wanted": account.wanted.iter().map(|(filter, want)| wanted(filter, want)).collect::<Vec<Json>>(),
        "contract": contract(&account.contract),
        "ledger": ledger(&account.ledger),
    })
}

/// What is wanted of a sensor, in one word or as the time between two readings. A deadband is its subscription's affair:
/// it shows in the accounts.
pub fn demand(demand: Option<Want>) -> Json {
    demand.map_or(json!("none"), |want| pace(want.pace))
}

/// Percentiles of a hop that are told, by name.
pub const PERCENTILES: [(&str, f64); 4] = [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)];

/// How long one part of the way took, microseconds.
pub fn hop(view: &HopView) -> Json {
    let histogram = view.latency.histogram();
    let mut hop = json!({
        "hop": view.hop.as_str(),
        "node": view.node.as_ref().map(senza_core::NodeName::as_str),
        "readings": histogram.len(),
        "impossible": view.latency.impossible(),
        "max_us": histogram.max(),
    });
    for (name, quantile) in PERCENTILES {
        hop[name] = histogram.value_at_quantile(quantile).into();
    }
    hop
}

/// By how much another node's clock differs.
pub fn clock(node: &str, offset: ClockOffset) -> Json {
    json!({ "node": node, "offset_us": offset.micros, "error_us": offset.error })
}

fn pace(pace: Pace) -> Json {
    match pace {
        Pace::Every => json!("every"),
        Pace::Latest => json!("latest"),
        Pace::Interval(micros) => json!({ "interval_us": micros }),
    }
}

/// A filter, without the lists that let everything pass, and what is wanted of what matches.
fn wanted(filter: &Filter, want: &Want) -> Json {
    let mut wanted = Map::new();
    let mut list = |name: &str, entries: Vec<&str>| {
        if !entries.is_empty() {
            wanted.insert(name.to_owned(), json!(entries));
        }
    };
    list("sensors", filter.sensors.iter().map(|sensor| sensor.as_str()).collect());
    list("patterns", filter.patterns.iter().map(|pattern| pattern.as_str()).collect());
    list("attributes", filter.attributes.iter().map(|attribute| attribute.as_str()).collect());
    list("types", filter.types.iter().map(|sensor_type| sensor_type.as_str()).collect());
    list("nodes", filter.nodes.iter().map(|node| node.as_str()).collect());
    let deadband = match want.deadband {
        Deadband::None => json!("none"),
        Deadband::Absolute(width) => json!({ "absolute": width }),
        Deadband::Percent(percent) => json!({ "percent": percent }),
    };
    wanted.insert("pace".to_owned(), pace(want.pace));
    wanted.insert("deadband".to_owned(), deadband);
    wanted.insert("heartbeat_us".to_owned(), json!(want.heartbeat_us));
    Json::Object(wanted)
}

fn contract(contract: &Contract) -> Json {
    let overflow = match contract.overflow {
        Overflow::DropOldest => json!("drop_oldest"),
        Overflow::DropNewest => json!("drop_newest"),
        Overflow::Conflate => json!("conflate"),
        Overflow::Block { wait_us } => json!({ "block_us": wait_us }),
        Overflow::Close => json!("close"),
    };
    let start = match contract.start {
        Start::Live => json!("live"),
        Start::Latest => json!("latest"),
        Start::Last(last) => json!({ "last": last }),
        Start::Since(since) => json!({ "since_us": since }),
    };
    json!({ "overflow": overflow, "queue_max": contract.queue_max, "start": start })
}

fn ledger(ledger: &Ledger) -> Json {
    json!({
        "offered": ledger.offered, "delivered": ledger.delivered, "conflated": ledger.conflated,
        "filtered": ledger.filtered, "dropped": ledger.dropped, "queued": ledger.queued,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_a_word_or_an_interval() {
        let of = |pace| demand(Some(Want { pace, ..Want::EVERY }));
        assert_eq!(demand(None), json!("none"));
        assert_eq!(of(Pace::Every), json!("every"));
        assert_eq!(of(Pace::Latest), json!("latest"));
        assert_eq!(of(Pace::Interval(250_000)), json!({ "interval_us": 250_000 }));
    }

    #[test]
    fn lists_that_let_everything_pass_are_left_out() {
        let want = Want { pace: Pace::Latest, deadband: Deadband::Percent(2.5), heartbeat_us: 9 };
        let of_want = json!({ "pace": "latest", "deadband": { "percent": 2.5 }, "heartbeat_us": 9 });
        assert_eq!(wanted(&Filter::all(), &want), of_want);
        let filter = Filter { types: vec![senza_core::SensorType::new("polar").unwrap()], ..Filter::all() };
        let both = wanted(&filter, &want);
        assert_eq!((&both["types"], both.as_object().unwrap().len()), (&json!(["polar"]), 4));
    }

    #[test]
    fn every_overflow_and_start_has_a_name() {
        let of = |overflow, start| {
            let json = contract(&Contract { overflow, start, ..Contract::default() });
            (json["overflow"].clone(), json["start"].clone())
        };
        assert_eq!(of(Overflow::DropOldest, Start::Live), (json!("drop_oldest"), json!("live")));
        assert_eq!(of(Overflow::DropNewest, Start::Latest), (json!("drop_newest"), json!("latest")));
        assert_eq!(of(Overflow::Conflate, Start::Last(3)), (json!("conflate"), json!({ "last": 3 })));
        let block = of(Overflow::Block { wait_us: 5 }, Start::Since(7));
        assert_eq!(block, (json!({ "block_us": 5 }), json!({ "since_us": 7 })));
        assert_eq!(of(Overflow::Close, Start::Live).0, json!("close"));
    }
}

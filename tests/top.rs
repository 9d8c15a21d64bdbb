//! What clients see of contracts, ledgers and demand: `senza top`, `senza ls`, the page `subscriptions`.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use senza::{Config, Contract, Filter, Node, NodeName, Pace, Sensor, SensorHandle, SensorId, Value, Want};
use serde_json::{Value as Json, json};

use crate::support::{NodeProcess, program, senza, senza_at, senza_json, wait_for};

fn lines(output: &Output) -> Vec<Json> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out} {err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"))).collect()
}

/// The accounts of the last look, after all of all looks were held to their sum.
fn exact_accounts(looks: &[Json]) -> Vec<Json> {
    for account in looks.iter().flat_map(|look| look["subscriptions"].as_array().unwrap()) {
        let of = |column: &str| account["ledger"][column].as_u64().unwrap_or_else(|| panic!("{column} of {account}"));
        let sum: u64 = ["delivered", "conflated", "filtered", "dropped", "queued"].map(of).iter().sum();
        assert_eq!(of("offered"), sum, "{account}");
    }
    looks.last().unwrap()["subscriptions"].as_array().unwrap().clone()
}

fn demand(listed: &Json, sensor: &str) -> Json {
    let record = listed.as_array().unwrap().iter().find(|record| record["sensor"] == *sensor);
    record.unwrap_or_else(|| panic!("no {sensor} in {listed}"))["demand"].clone()
}

#[test]
fn a_plain_watcher_shows_in_accounts_and_in_demand_while_it_is_there() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    let put = |value: u64| senza_json(&a, &["put", "s", "x", &value.to_string()]);
    put(0);
    assert_eq!(demand(&senza_json(&a, &["ls"]), "s"), "none", "nobody watches yet");
    let mut watch = Command::new(program());
    watch.args(["watch", "s", "x", "--for", "60s", "--json", "--connect", &b.endpoint]);
    let mut watch = watch.stdout(Stdio::null()).spawn().unwrap();
    let mut value = 0;
    let looks = wait_for("a reading was delivered", || {
        value += 1;
        put(value);
        let looks = lines(&senza(&b, &["top", "--count", "2", "--every", "100ms", "--json"]));
        let delivered = |account: &Json| account["ledger"]["delivered"].as_u64() > Some(0);
        looks[1]["subscriptions"].as_array()?.iter().any(delivered).then_some(looks)
    });
    assert_eq!(looks.len(), 2);
    let nodes = |look: &Json| look["nodes"].as_array().unwrap().iter().map(|n| n["node"].clone()).collect::<Vec<_>>();
    assert_eq!(nodes(&looks[1]), ["a", "b"]);
    assert_eq!(looks[0]["nodes"][0]["readings_in_per_s"], Json::Null, "a first look has nothing to compare with");
    assert!(looks[1]["nodes"][0]["readings_in_per_s"].is_f64(), "{}", looks[1]);
    let accounts = exact_accounts(&looks);
    // The watcher is no subscription: the node's own, for whoever is there, is.
    let of_a = accounts.iter().find(|account| account["node"] == "a").unwrap();
    assert_eq!((&of_a["to"], &of_a["wanted"][0]["nodes"]), (&Json::Null, &json!(["a"])));
    assert_eq!(demand(&senza_json(&b, &["ls"]), "s"), "every");
    watch.kill().unwrap();
    watch.wait().unwrap();
    wait_for("the demand ends with the watcher", || (demand(&senza_json(&b, &["ls"]), "s") == "none").then_some(()));
    // Every node ends its own account at its own time.
    wait_for("and the accounts", || {
        let looks = lines(&senza(&b, &["top", "--count", "1", "--json"]));
        (looks[0]["subscriptions"] == json!([])).then_some(())
    });
}

#[test]
fn a_link_and_its_contract_show_on_both_sides() {
    let start = |name: &str, connect: &[String]| {
        let config = Config::loopback(NodeName::new(name).unwrap());
        Node::start(Config { connect: connect.to_vec(), ..config }).unwrap()
    };
    let a = start("a", &[]);
    let b = start("b", a.listening());
    let handles = ["watched", "other"].map(|id| a.register(&Sensor::new(id).unwrap()).unwrap());
    let put = |handle: &SensorHandle| handle.put("x", Value::I64(1)).unwrap();
    handles.iter().for_each(|handle| {
        put(handle);
    });
    let mut demands = handles[0].demands().unwrap();
    assert_eq!(demands.recv_timeout(Duration::ZERO), Some(None));
    let want = Want { pace: Pace::Interval(250_000), ..Want::EVERY };
    let contract = Contract { want, queue_max: 99, ..Contract::default() };
    let mut reader = b.subscribe(&Filter::sensor(SensorId::new("watched").unwrap()), contract).unwrap();
    // A device that waits to be wanted is told, on the threads of real nodes too.
    let told = demands.recv_timeout(Duration::from_secs(60));
    assert_eq!(told, Some(Some(want)));

    let endpoint = &b.listening()[0];
    let listed = lines(&senza_at(endpoint, &["ls", "--json"])).remove(0);
    assert_eq!(demand(&listed, "watched"), json!({ "interval_us": 250_000 }));
    assert_eq!(demand(&listed, "other"), "none");
    let table = String::from_utf8(senza_at(endpoint, &["ls"]).stdout).unwrap();
    assert!(table.contains("DEMAND") && table.contains("≤ 4/s"), "{table}");

    let looks = wait_for("a reading went over the link", || {
        handles.iter().for_each(|handle| {
            put(handle);
        });
        reader.recv_timeout(Duration::ZERO);
        let looks = lines(&senza_at(endpoint, &["top", "--count", "2", "--every", "100ms", "--json"]));
        let delivered = |account: &Json| account["ledger"]["delivered"].as_u64() > Some(0);
        let accounts = looks[1]["subscriptions"].as_array()?;
        let is_known = looks[1]["clocks"][0].is_object();
        (accounts.len() == 2 && accounts.iter().all(delivered) && is_known).then_some(looks)
    });
    let accounts = exact_accounts(&looks);
    let (link, own) = (&accounts[0], &accounts[1]);
    assert_eq!((&link["node"], &link["to"]), (&json!("a"), &json!("b")));
    assert_eq!((&own["node"], &own["to"]), (&json!("b"), &Json::Null));
    assert_eq!(
        own["wanted"],
        json!([{
            "sensors": ["watched"], "pace": { "interval_us": 250_000 }, "deadband": "none", "heartbeat_us": 0,
        }])
    );
    assert_eq!(own["contract"], json!({ "overflow": "drop_oldest", "queue_max": 99, "start": "live" }));
    let links = looks[1]["links"].as_array().unwrap();
    assert_eq!(links.len(), 1, "what goes one way is one link: {links:?}");
    let link = &links[0];
    assert_eq!((&link["from"], &link["to"], &link["frames_lost"]), (&json!("a"), &json!("b"), &json!(0)));
    assert!(link["readings_per_s"].is_f64() && link["bytes_per_s"].is_f64(), "{link}");
    let hops = looks[1]["hops"].as_array().unwrap();
    let remote = hops.iter().find(|hop| hop["hop"] == "remote" && hop["at"] == "b").unwrap();
    assert!(remote["readings"].as_u64() > Some(0) && remote["impossible"] == 0, "{remote}");
    let clock = &looks[1]["clocks"][0];
    // Both nodes read one clock: it cannot be told to differ from itself.
    assert!(clock["offset_us"].as_i64().map(i64::abs) <= clock["error_us"].as_i64(), "{clock}");
    let text = String::from_utf8(senza_at(endpoint, &["top", "--count", "1"]).stdout).unwrap();
    for part in
        ["2 nodes, 2 sensors, 2 subscriptions", "a → b", "CONFLATED", "≤ 4/s of watched", "a → b link", "b remote"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(senza_at(endpoint, &["top", "--every", "1ms"]).status.code(), Some(2));

    drop(reader);
    assert_eq!(demands.recv_timeout(Duration::from_secs(60)), Some(None));
}

//! Nodes as processes that stand still, die and come back, or are cut from each other by the kernel: what their TCP
//! links do in such a case no simulation knows.

use std::collections::BTreeMap;
use std::time::Duration;

use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::zenoh_client::Client;
use serde_json::{Value as Json, json};

use crate::namespaces::{Network, Plug, unregister, view};
use crate::support::{LIMIT, NodeProcess, node_command, owner, senza, senza_json, wait_for};

/// A lease longer than any test: whatever is noticed in one was noticed without it.
const LONG_LEASE_MS: &str = "600000";

fn start(name: &str, listen: &str, connect: &[&str]) -> NodeProcess {
    NodeProcess::spawn(name, node_command(name, listen, connect).args(["--lease-ms", LONG_LEASE_MS]))
}

fn put(node: &NodeProcess, sensor: &str, value: &str) -> Json {
    senza_json(node, &["put", sensor, "x", value])
}

/// Puts a reading of a sensor that is at that node now, wherever it was. Once more where no answer comes: what a node
/// asks of one that stands still or is cut off holds up its clients, ten seconds where Zenoh closes the link.
fn put_at(node: &NodeProcess, name: &str, sensor: &str) {
    insist(node, &["put", sensor, "x", "1", "--node", name, "--takeover"], name);
}

/// Gives a command until that node answers it.
fn insist(node: &NodeProcess, command: &[&str], name: &str) {
    wait_for(&format!("{command:?} is answered by {name}"), || {
        let output = senza(node, &[command, &["--timeout", "2", "--json"]].concat());
        let answer: Json = serde_json::from_slice(&output.stdout).ok()?;
        (answer["node"] == name).then_some(())
    });
}

/// A node's record as it tells it itself.
fn record(node: &NodeProcess, name: &str) -> Option<Json> {
    let nodes = senza_json(node, &["nodes"]);
    nodes.as_array()?.iter().find(|record| record["node"] == name).cloned()
}

/// A client that stays connected, where starting one for every look would take longer than what is looked for.
struct Watcher(Client);

impl Watcher {
    fn of(node: &NodeProcess) -> Self {
        Self(Client::connect(std::slice::from_ref(&node.endpoint), "senza").unwrap())
    }

    fn whereis(&self, name: &str, sensor: &str) -> Json {
        let asked = json!({ "sensor": sensor }).to_string().into_bytes();
        let replies = self.0.get(&format!("do/{name}/whereis"), "", Some(("application/json", asked)), LIMIT).unwrap();
        serde_json::from_slice(replies[0].payload.as_ref().unwrap()).unwrap()
    }
}

#[test]
fn a_node_that_stands_still_is_down_and_comes_back_as_it_was() {
    let a = start("a", "tcp/127.0.0.1:0", &[]);
    let b = start("b", "tcp/127.0.0.1:0", &[&a.endpoint]);
    let c = start("c", "tcp/127.0.0.1:0", &[&a.endpoint, &b.endpoint]);
    put(&a, "stays", "1");
    put(&a, "taken", "1");
    let (at_b, at_c) = (Watcher::of(&b), Watcher::of(&c));
    let watchers = [(&at_b, "b"), (&at_c, "c")];
    let found = |(watcher, name): (&Watcher, &str), sensor: &str, owner: &str| {
        wait_for(&format!("{name} finds {sensor} at {owner}"), || {
            Some(watcher.whereis(name, sensor)).filter(|answer| answer["node"] == owner)
        })
    };
    let before = watchers.map(|watcher| {
        found(watcher, "taken", "a");
        found(watcher, "stays", "a")
    });
    let incarnation = record(&b, "a").unwrap()["incarnation"].clone();
    let tokens = at_b.0.subscribe_tokens().unwrap();

    a.signal("STOP");
    let stopped = SystemClock.now();
    for (watcher, name) in watchers {
        wait_for(&format!("{name} sees a down"), || {
            (watcher.whereis(name, "stays")["found"] == "not_found").then_some(())
        });
    }
    let noticed = Duration::from_micros((SystemClock.now() - stopped).unsigned_abs());
    assert!(noticed < Duration::from_secs(5), "2.4 s of silence, and some for a busy machine: {noticed:?}");
    let mut up = BTreeMap::new();
    while let Some(token) = tokens.recv_timeout(Duration::from_millis(200)) {
        up.insert(token.key, token.payload.is_some());
    }
    assert_eq!(up.get(&format!("nodes/a/{incarnation}")), Some(&true), "its link and its token are there: {up:?}");
    put_at(&b, "b", "taken");

    a.signal("CONT");
    for (watcher, before) in watchers.into_iter().zip(&before) {
        assert_eq!(found(watcher, "stays", "a")["epoch"], before["epoch"], "nobody registered it again");
    }
    assert_eq!(record(&b, "a").unwrap()["incarnation"], incarnation);
    let at_a = Watcher::of(&a);
    for watcher in [watchers[0], watchers[1], (&at_a, "a")] {
        found(watcher, "taken", "b");
    }
    // The old owner has dropped its copy, and what comes to it late is the new one's.
    let latest = senza_json(&c, &["get", "taken", "x"]);
    assert_eq!((latest.as_array().unwrap().len(), &latest[0]["node"]), (1, &"b".into()), "{latest}");
    assert_eq!(put(&a, "taken", "2")["node"], "b");
    let listed = senza_json(&a, &["ls"]);
    let owners: Vec<_> = listed.as_array().unwrap().iter().map(|record| (&record["sensor"], &record["node"])).collect();
    assert_eq!(owners, [(&json!("stays"), &json!("a")), (&json!("taken"), &json!("b"))]);
}

/// Nobody can tell a node that stands still from one that is gone, so its name is free; back, it is the older one.
#[test]
fn a_name_taken_while_its_holder_stood_still_goes_back_to_it() {
    let a = start("a", "tcp/127.0.0.1:0", &[]);
    let b = start("b", "tcp/127.0.0.1:0", &[&a.endpoint]);
    put(&a, "of the first", "1");
    let before = wait_for("b sees it", || {
        Some(Watcher::of(&b).whereis("b", "of the first")).filter(|answer| answer["node"] == "a")
    });
    let first = record(&b, "a").unwrap()["incarnation"].clone();
    a.signal("STOP");
    let at_b = Watcher::of(&b);
    wait_for("b sees it gone", || (at_b.whereis("b", "of the first")["found"] == "not_found").then_some(()));
    let mut second = start("a", "tcp/127.0.0.1:0", &[&b.endpoint]);
    put_at(&second, "a", "of the second");
    wait_for("b sees the second", || (at_b.whereis("b", "of the second")["node"] == "a").then_some(()));

    a.signal("CONT");
    assert_eq!(wait_for("the younger ends", || second.ended()), Some(2));
    let back = wait_for("the older one's sensors are found again", || {
        Some(at_b.whereis("b", "of the first")).filter(|answer| answer["node"] == "a")
    });
    assert_eq!(back["epoch"], before["epoch"]);
    wait_for("the younger one's are gone", || {
        (at_b.whereis("b", "of the second")["found"] == "not_found").then_some(())
    });
    assert_eq!(record(&b, "a").unwrap()["incarnation"], first);
}

#[test]
fn a_node_restarted_at_once_is_a_new_life_without_the_old_sensors() {
    let mut a = start("a", "tcp/127.0.0.1:0", &[]);
    let b = start("b", "tcp/127.0.0.1:0", &[&a.endpoint]);
    let c = start("c", "tcp/127.0.0.1:0", &[&a.endpoint, &b.endpoint]);
    put(&a, "old", "1");
    put(&a, "again", "1");
    put(&b, "on b", "1");
    for (node, name) in [(&b, "b"), (&c, "c")] {
        wait_for("they see both", || owner(node, name, "old").and(owner(node, name, "again")));
    }
    let first = record(&b, "a").unwrap()["incarnation"].as_u64().unwrap();
    let epoch = senza_json(&b, &["where", "again", "--at", "b"])["epoch"].as_u64().unwrap();

    a.kill();
    let a = start("a", &a.endpoint, &[&b.endpoint]);
    put(&a, "again", "2");
    let second = record(&b, "a").unwrap()["incarnation"].as_u64().unwrap();
    assert!(second > first, "{second} after {first}");
    for (node, name) in [(&a, "a"), (&b, "b"), (&c, "c")] {
        wait_for(&format!("{name} agrees"), || {
            let sees = &record(node, name)?["sees"];
            (*sees == json!({ "a": 1, "b": 1, "c": 0 })).then_some(())
        });
        assert_eq!(owner(node, name, "old"), None, "{name}");
        assert_eq!(owner(node, name, "on b").as_deref(), Some("b"), "{name}");
        let again = senza_json(node, &["where", "again", "--at", name]);
        assert!(again["node"] == "a" && again["epoch"].as_u64().unwrap() > epoch, "{name}: {again}");
    }
    let history = senza_json(&c, &["get", "again", "x", "--last", "9"]);
    assert_eq!((history.as_array().unwrap().len(), &history[0]["value"]), (1, &2.into()), "{history}");
}

// === cut apart ===

/// The owners of all sensors, as every node has to see them.
type Owners = BTreeMap<String, String>;

fn owners(pairs: &[(&str, &str)]) -> Owners {
    pairs.iter().map(|(sensor, owner)| ((*sensor).to_owned(), (*owner).to_owned())).collect()
}

fn wait_agreed(what: &str, nodes: &[(&NodeProcess, &str)], expected: &Owners) {
    let sensors: Vec<&str> = expected.keys().map(String::as_str).collect();
    for (node, name) in nodes {
        let mut last = Owners::new();
        wait_for(&format!("{what}: {name} sees {expected:?}"), || {
            let seen = view(node, name, &sensors);
            if seen != last {
                last = seen;
                eprintln!("{what}: {name} sees {last:?}");
            }
            (last == *expected).then_some(())
        });
    }
}

/// Each sensor is told by its one owner, and by nobody else.
fn assert_listed(node: &NodeProcess, expected: &Owners) {
    let listed = senza_json(node, &["ls"]);
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let listed: Vec<(String, String)> =
        listed.as_array().unwrap().iter().map(|record| (text(&record["sensor"]), text(&record["node"]))).collect();
    let there = |(_, owner): &(&String, &String)| *owner != "-";
    let expected: Vec<(String, String)> =
        expected.iter().filter(there).map(|(sensor, owner)| (sensor.clone(), owner.clone())).collect();
    assert_eq!(listed, expected);
}

/// Cuts {a} from {b, c}, lets both sides live on, heals. `b` knows `a` alone, and `c` knows `b` alone.
fn split_and_heal(lease_ms: u64, outlast_the_links: bool) {
    let Some(network) = Network::new(&["a", "b", "c"]) else { return };
    let a = network.start("a", &[], lease_ms);
    let b = network.start("b", &["a"], lease_ms);
    let c = network.start("c", &["b"], lease_ms);
    let all = [(&a, "a"), (&b, "b"), (&c, "c")];
    let homes = [("a0", "a"), ("a1", "a"), ("a2", "a"), ("b0", "b"), ("b1", "b"), ("c0", "c"), ("c1", "c")];
    for (sensor, home) in homes {
        put_at(&a, home, sensor);
    }
    wait_agreed("whole", &all, &owners(&homes));

    network.plug("a", Plug::Out);
    let of_a = [("a0", "a"), ("a1", "a"), ("a2", "a"), ("b0", "-"), ("b1", "-"), ("c0", "-"), ("c1", "-")];
    let of_bc = [("a0", "-"), ("a1", "-"), ("a2", "-"), ("b0", "b"), ("b1", "b"), ("c0", "c"), ("c1", "c")];
    wait_agreed("split", &all[..1], &owners(&of_a));
    wait_agreed("split", &all[1..], &owners(&of_bc));
    // A sensor walks to the other side, one each way; others come and go on both, and one moves behind a's back.
    put_at(&b, "b", "a1");
    put_at(&a, "a", "c1");
    put_at(&a, "a", "new at a");
    put_at(&b, "c", "new at c");
    unregister(&a, "a", "a2");
    unregister(&b, "b", "b1");
    insist(&c, &["move", "b0", "c"], "c");
    let of_a = [("a0", "a"), ("a1", "a"), ("a2", "-"), ("b0", "-"), ("b1", "-"), ("c0", "-"), ("c1", "a")];
    let of_bc = [("a0", "-"), ("a1", "b"), ("a2", "-"), ("b0", "c"), ("b1", "-"), ("c0", "c"), ("c1", "c")];
    let new = |at_a: &'static str, at_c: &'static str| [("new at a", at_a), ("new at c", at_c)];
    wait_agreed("apart", &all[..1], &owners(&[&of_a[..], &new("a", "-")].concat()));
    wait_agreed("apart", &all[1..], &owners(&[&of_bc[..], &new("-", "c")].concat()));
    if outlast_the_links {
        wait_for("a's links are closed", || (!network.is_connected("a")).then_some(()));
    } else {
        assert!(network.is_connected("a"), "the split is to be shorter than the links' lease");
    }

    network.plug("a", Plug::In);
    let healed = [("a0", "a"), ("a1", "b"), ("a2", "-"), ("b0", "c"), ("b1", "-"), ("c0", "c"), ("c1", "a")];
    let healed = owners(&[&healed[..], &new("a", "c")].concat());
    wait_agreed("healed", &all, &healed);
    for (node, _) in all {
        assert_listed(node, &healed);
    }
    // The notices are through: whoever lost a sensor has dropped its readings, or two would answer.
    let latest = senza_json(&a, &["get", "a1", "x"]);
    assert_eq!((latest.as_array().unwrap().len(), &latest[0]["node"]), (1, &"b".into()), "{latest}");
    wait_agreed("still healed", &all, &healed);
}

#[test]
fn a_split_that_the_links_survive_heals() {
    split_and_heal(600_000, false);
}

#[test]
fn a_split_that_outlasts_the_links_heals() {
    split_and_heal(2_000, true);
}

#[test]
fn a_cut_in_one_direction_leaves_one_owner() {
    let Some(network) = Network::new(&["a", "b", "c"]) else { return };
    let a = network.start("a", &[], 600_000);
    let b = network.start("b", &["a"], 600_000);
    let c = network.start("c", &["a", "b"], 600_000);
    let all = [(&a, "a"), (&b, "b"), (&c, "c")];
    for home in ["a", "b", "c"] {
        put_at(&c, home, home);
    }
    put_at(&c, "a", "taken");
    let whole = [("a", "a"), ("b", "b"), ("c", "c"), ("taken", "a")];
    wait_agreed("whole", &all, &owners(&whole));

    // b hears nothing of a; soon a hears nothing new of b either, which gets no acknowledgements for what it sends. c
    // hears both and is heard by both.
    network.silence("a", "b");
    wait_agreed("cut", &[(&b, "b")], &owners(&[("a", "-"), ("b", "b"), ("c", "c"), ("taken", "-")]));
    wait_agreed("cut", &[(&a, "a")], &owners(&[("a", "a"), ("b", "-"), ("c", "c"), ("taken", "a")]));
    wait_agreed("cut", &[(&c, "c")], &owners(&whole));
    put_at(&b, "b", "taken");
    wait_agreed("taken", &[(&c, "c")], &owners(&[("a", "a"), ("b", "b"), ("c", "c"), ("taken", "b")]));
    // Whoever hears both tells the loser, which cannot see the winner.
    wait_agreed("taken", &[(&a, "a")], &owners(&[("a", "a"), ("b", "-"), ("c", "c"), ("taken", "-")]));

    network.unsilence("a", "b");
    let healed = owners(&[("a", "a"), ("b", "b"), ("c", "c"), ("taken", "b")]);
    wait_agreed("healed", &all, &healed);
    assert_listed(&a, &healed);
}

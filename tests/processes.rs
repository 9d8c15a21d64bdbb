//! Nodes as processes, through the command line: what a stranger does first, and what goes wrong on real machines.

use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::support::{NodeProcess, node_command, owner, program, senza, senza_json, signal, wait_for};

/// An id with everything that a key must not hold.
const AWKWARD: &str = "hall 3/Sensor №7 *?#$@%ü";

fn put(node: &NodeProcess, sensor: &str, value: &str) -> Json {
    senza_json(node, &["put", sensor, "x", value])
}

#[test]
fn both_see_each_other_and_awkward_ids_survive() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    assert_eq!(put(&a, AWKWARD, "21.5")["node"], "a");
    assert_eq!(put(&b, "on b", "1")["node"], "b");
    wait_for("b sees a's", || owner(&b, "b", AWKWARD).filter(|owner| owner == "a"));
    wait_for("a sees b's", || owner(&a, "a", "on b").filter(|owner| owner == "b"));
    let got = senza_json(&b, &["get", AWKWARD, "x"]);
    assert_eq!((&got[0]["value"], &got[0]["sensor"]), (&Json::from(21.5), &Json::from(AWKWARD)));
    assert_eq!(put(&b, AWKWARD, "22")["node"], "a", "a put finds the sensor's owner");
    let history = senza_json(&b, &["get", AWKWARD, "x", "--last", "9"]);
    assert_eq!(history.as_array().unwrap().len(), 2);
    let listed = senza_json(&a, &["ls"]);
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|record| record["sensor"].as_str().unwrap()).collect();
    assert_eq!(ids, [AWKWARD, "on b"]);
}

#[test]
fn a_killed_owner_is_gone_everywhere_and_starts_again_at_once() {
    let mut a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    let c = NodeProcess::start("c", &[&b.endpoint]);
    put(&a, "s", "1");
    for (node, name) in [(&b, "b"), (&c, "c")] {
        wait_for("they see it", || owner(node, name, "s"));
    }
    a.kill();
    for (node, name) in [(&b, "b"), (&c, "c")] {
        wait_for("they see it gone", || owner(node, name, "s").is_none().then_some(()));
    }
    let again = NodeProcess::start_at("a", &a.endpoint, &[&b.endpoint]);
    put(&again, "s", "2");
    for (node, name) in [(&b, "b"), (&c, "c")] {
        wait_for("they see it again", || owner(node, name, "s").filter(|owner| owner == "a"));
    }
}

#[test]
fn a_third_node_joins_late_and_sees_everything() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    for number in 0..20 {
        put(if number % 2 == 0 { &a } else { &b }, &format!("s{number}"), "1");
    }
    // It knows one node only; gossip brings the other.
    let c = NodeProcess::start("c", &[&a.endpoint]);
    wait_for("c sees all", || {
        let nodes = senza_json(&c, &["nodes"]);
        let of_c = nodes.as_array()?.iter().find(|record| record["node"] == "c")?.clone();
        (of_c["sees"]["a"] == 10 && of_c["sees"]["b"] == 10).then_some(())
    });
    assert_eq!(owner(&c, "c", "s7").as_deref(), Some("b"));
}

#[test]
fn a_watcher_on_another_node_follows_live() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    put(&a, "s", "0");
    let mut watch = Command::new(program());
    watch.args(["watch", "s", "x", "--count", "3", "--for", "60s", "--json", "--connect", &b.endpoint]);
    let watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    // A plain subscription takes effect at its own time: put until it has seen enough.
    let watching = std::thread::spawn(move || watch.wait_with_output().unwrap());
    let mut number = 0;
    wait_for("three readings came", || {
        number += 1;
        put(&a, "s", &number.to_string());
        watching.is_finished().then_some(())
    });
    let output = watching.join().unwrap();
    assert!(output.status.success());
    let lines: Vec<Json> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.len(), 3);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert!(lines.iter().all(|line| line["node"] == "a" && line["sensor"] == "s"));
}

#[test]
fn a_sensor_moves_and_every_event_is_told() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    let mut watch = Command::new(program());
    watch.args(["watch", "--events", "--count", "7", "--for", "60s", "--json", "--connect", &b.endpoint]);
    let watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let watching = std::thread::spawn(move || watch.wait_with_output().unwrap());
    // A plain subscription takes effect at its own time: a node says when it is there.
    wait_for("a hears of the watcher", || {
        put(&a, "probe", "1");
        let client = senza_mesh::zenoh_client::Client::connect(std::slice::from_ref(&a.endpoint), "senza").unwrap();
        client.put("in/a/s/x", "", b"1".to_vec()).unwrap();
        client.close();
        (owner(&b, "b", "s")? == "a").then_some(())
    });
    let moved = senza_json(&b, &["move", "s", "b"]);
    assert_eq!((&moved["previous"], &moved["node"]), (&"a".into(), &"b".into()));
    for (node, name) in [(&a, "a"), (&b, "b")] {
        wait_for("both see it at b", || owner(node, name, "s").filter(|owner| owner == "b"));
    }
    assert_eq!(senza(&b, &["move", "nobody", "b"]).status.code(), Some(1));
    assert_eq!(senza(&b, &["move", "s", "nowhere", "--timeout", "1"]).status.code(), Some(1));
    // Feed the watcher until it has its count.
    wait_for("seven events came", || {
        senza_json(&a, &["move", "s", "a"]);
        senza_json(&a, &["move", "s", "b"]);
        watching.is_finished().then_some(())
    });
    let output = watching.join().unwrap();
    assert!(output.status.success());
    let events: Vec<Json> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let count = |event: &str| events.iter().filter(|told| told["event"] == event).count();
    assert_eq!(count("node up"), 2, "{events:?}");
    assert!(count("moved") >= 2, "{events:?}");
    let moves: Vec<u64> =
        events.iter().filter(|told| told["event"] == "moved").map(|told| told["epoch"].as_u64().unwrap()).collect();
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "in order: {moves:?}");
}

#[test]
fn a_node_leaves_the_cluster_and_returns_by_command() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    put(&a, "s", "1");
    wait_for("b sees it", || owner(&b, "b", "s"));
    assert_eq!(senza_json(&b, &["mode", "a"])["mode"], "cluster");
    let switched = senza_json(&b, &["mode", "a", "local"]);
    assert_eq!((&switched["mode"], &switched["previous"]), (&"local".into(), &"cluster".into()));
    wait_for("b sees it withdrawn", || owner(&b, "b", "s").is_none().then_some(()));
    assert_eq!(senza(&b, &["where", "s"]).status.code(), Some(1), "a local node does not answer for the cluster");
    assert_eq!(senza(&b, &["mode", "a", "shadow"]).status.code(), Some(2));
    assert_eq!(senza_json(&b, &["mode", "a", "cluster"])["mode"], "cluster");
    wait_for("b sees it again", || owner(&b, "b", "s").filter(|owner| owner == "a"));
    let heals = wait_for("the return is reported", || {
        let heals = senza_json(&b, &["nodes", "--heals"]);
        heals.as_array().filter(|heals| !heals.is_empty() || owner(&b, "b", "s").is_some()).cloned()
    });
    assert!(heals.iter().all(|heal| heal["total"] == 0), "nothing was claimed twice: {heals:?}");
}

#[test]
fn a_sensor_without_a_connection_ends_after_its_silence() {
    let mut command = node_command("a", "tcp/127.0.0.1:0", &[]);
    let a = NodeProcess::spawn("a", command.args(["--idle-unregister-s", "1"]));
    put(&a, "s", "1");
    wait_for("it is gone", || owner(&a, "a", "s").is_none().then_some(()));
}

#[test]
fn a_taken_name_and_a_taken_port_are_refused_with_the_reason() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    let refused = |listen: &str, connect: &[&str], why: &str| {
        let output = node_command("a", listen, connect).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    };
    refused("tcp/127.0.0.1:0", &[&a.endpoint], "the name a is held");
    refused("tcp/127.0.0.1:0", &[&b.endpoint], "the name a is held");
    refused(&a.endpoint, &[], &format!("cannot listen on {}", a.endpoint));
    put(&a, "s", "1");
    wait_for("a is undisturbed", || owner(&b, "b", "s").filter(|owner| owner == "a"));
}

#[test]
fn a_node_that_is_told_to_stop_leaves_in_good_order() {
    let a = NodeProcess::start("a", &[]);
    let b = NodeProcess::start("b", &[&a.endpoint]);
    put(&a, "s", "1");
    wait_for("b sees it", || owner(&b, "b", "s"));
    assert_eq!(a.terminate(), Some(0));
    wait_for("b sees it gone", || owner(&b, "b", "s").is_none().then_some(()));
    let nodes = senza_json(&b, &["nodes"]);
    assert_eq!(nodes.as_array().unwrap().len(), 1);
}

#[test]
fn bad_input_is_named_counted_and_disturbs_nothing() {
    let a = NodeProcess::start("a", &[]);
    put(&a, "s", "1");
    let client = senza_mesh::zenoh_client::Client::connect(std::slice::from_ref(&a.endpoint), "senza").unwrap();
    let limit = std::time::Duration::from_secs(30);
    let refused = |key: &str, payload: &str, why: &str| {
        let put = Some(("application/json", payload.as_bytes().to_vec()));
        let replies = client.get(key, "", put, limit).unwrap();
        let said = replies[0].payload.clone().unwrap_err();
        assert!(said.contains(why), "{said}");
    };
    refused("in/a/s/x", "{", "not json");
    refused("in/a/s/x", "null", "null is no reading");
    refused("in/a/s/x/y", "1", "must be <sensor> or <sensor>/<attribute>");
    refused("in/a/bad%zz/x", "1", "two hexadecimal digits");
    refused(&format!("in/a/{}/x", "long".repeat(100)), "1", "sensor id must have 1 to 256 bytes");
    refused("do/a/dance", "{}", "\"dance\" is no command");
    let stats = client.get("nodes/a/stats", "", None, limit).unwrap();
    let stats: Json = serde_json::from_slice(stats[0].payload.as_ref().unwrap()).unwrap();
    let counted = &stats["payloads_refused"];
    assert_eq!(
        (&counted["json"], &counted["rule"], &counted["bounds"]),
        (&1.into(), &2.into(), &2.into()),
        "{counted}"
    );
    assert_eq!(senza_json(&a, &["get", "s", "x"])[0]["value"], 1);
    let ids: Vec<Json> =
        senza_json(&a, &["ls"]).as_array().unwrap().iter().map(|record| record["sensor"].clone()).collect();
    assert_eq!(ids, ["s"], "a refused put registers nothing");
    client.close();
}

#[test]
fn exit_statuses_mean_something() {
    let a = NodeProcess::start("a", &[]);
    for (args, status) in [
        (&["where", "nobody"][..], 1),
        (&["get", "nobody"], 1),
        (&["get", ""], 2),
        (&["put", "s", "x", "{", "--as-json"], 2),
        (&["ls", "--nonsense"], 2),
        (&["ls", "a//b"], 2),
        (&["nodes"], 0),
    ] {
        let output = senza(&a, args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let nobody = Command::new(program()).args(["ls", "--connect", "tcp/127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no node answers at tcp/127.0.0.1:1"));
}

// === the demo ===

/// A demo whose processes carry a mark in their environment.
fn demo(mark: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("demo").args(args).env("MARK", mark).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn marked(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environment = |process: std::fs::DirEntry| std::fs::read(process.path().join("environ")).ok();
    let mark = format!("MARK={mark}");
    processes
        .filter_map(environment)
        .filter(|all| all.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
        .count()
}

#[test]
fn the_demo_shows_that_every_criterion_holds_and_leaves_nothing_behind() {
    let output = demo("demo-whole", &["--for", "3s", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let summary: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(summary["ok"], true);
    assert!(summary["readings_from_a"].as_u64().unwrap() > 10 && summary["readings_from_b"].as_u64().unwrap() > 100);
    assert_eq!(summary["lost"], 0);
    assert_eq!(summary["links"].as_array().unwrap().len(), 2);
    wait_for("all its processes are gone", || (marked("demo-whole") == 0).then_some(()));
}

#[test]
fn an_interrupted_or_killed_demo_leaves_nothing_behind() {
    for (mark, how) in [("demo-interrupted", "INT"), ("demo-killed", "KILL")] {
        let mut process = demo(mark, &["--json"]).spawn().unwrap();
        wait_for("three processes run", || (marked(mark) == 3).then_some(()));
        signal(process.id(), how);
        let status = wait_for("the demo ends", || process.try_wait().unwrap());
        assert!(how == "KILL" || status.success() || status.code() == Some(2), "{status:?}");
        wait_for("all its processes are gone", || (marked(mark) == 0).then_some(()));
    }
}

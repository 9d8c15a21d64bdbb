//! How sensors become known everywhere: registered and seen, listed to who joins late, gone with their owner, changed
//! at a pace, looked up, and what that costs while nothing happens. No reading is put here.
//!
//! One of these is asked for by `what`:
//!
//! - `storm`: one member registers all sensors at once, each other one sees them all, one more joins late, all end;
//! - `join`: every member registers its share, then one more joins;
//! - `death`: the owner of all sensors is killed;
//! - `churn`: sensors end and come again at a pace; bytes on the wire;
//! - `idle`: nothing happens; bytes on the wire, memory, threads;
//! - `whereis`: look-ups of another member's sensors;
//! - `remote-memory`: memory of sensors on their owner, on who saw them come, on who joined late;
//! - `simulated`: many nodes in virtual time, senza alone.
//!
//! Every member is a process of its own; with `place=here` all are in this one, over loopback sessions all the same.

mod cluster;
mod member;
mod node;
mod simulated;
mod tokens;
mod wires;

use senza_benches::answer_lines;
use serde_json::{Value as Json, json};

use crate::Family;
use crate::answer::{Account, Answer, Params};
use cluster::Cluster;
use member::{Desk, Entry, Member};

pub(crate) const FAMILY: Family = Family { name: "discovery", contenders: &["senza", "tokens"], run, child };

/// What is common to all that is measured here.
#[derive(Clone, Debug)]
struct Setup {
    contender: String,
    sensors: usize,
    nodes: usize,
    /// Members are processes of their own.
    apart: bool,
}

fn run(contender: &str, params: &Params) -> Answer {
    let what = params.get("what", "storm".to_owned());
    if what == "simulated" {
        assert_eq!(contender, "senza", "only senza's nodes are simulated");
        return simulated::run(params);
    }
    let apart = match params.get("place", "apart".to_owned()).as_str() {
        "apart" => true,
        "here" => false,
        other => panic!("members are apart or here, not {other}"),
    };
    let (sensors, nodes) = (params.get("sensors", 1000), params.get("nodes", 2));
    assert!(sensors > 0 && nodes > 1, "one sensor and two members at least");
    let setup = Setup { contender: contender.to_owned(), sensors, nodes, apart };
    let answer = match what.as_str() {
        "storm" => storm(&setup),
        "join" => join(&setup),
        "death" => death(&setup),
        "churn" => churn(&setup, params.get("changes", 400), params.get("pause_us", 6000)),
        "idle" => idle(&setup, params.get("seconds", 2.0)),
        "whereis" => whereis(&setup, params.get("look_ups", 1_000_000)),
        "remote-memory" => remote_memory(&setup),
        other => panic!("nothing is known of {other}"),
    };
    answer.detail("configuration", configuration(&setup))
}

/// A member's process: nothing but its desk.
fn child(args: &[String]) {
    let mut desk = Desk::new(start_of(&args[0]));
    answer_lines(|words| desk.answer(words));
}

fn start_of(contender: &str) -> fn(&Entry) -> Box<dyn Member> {
    match contender {
        "senza" => node::start,
        _ => tokens::start,
    }
}

fn configuration(setup: &Setup) -> Json {
    let place = if setup.apart { "a process each" } else { "all in one process" };
    let member = match setup.contender.as_str() {
        "senza" => "a node with default settings",
        _ => "a peer session with default settings, one liveliness token a sensor, one subscriber with history",
    };
    json!({ "member": member, "members": place, "id_bytes": member::id(0).len() })
}

// === one sort of work each ===

fn storm(setup: &Setup) -> Answer {
    let sensors = setup.sensors;
    let mut cluster = Cluster::start(setup, false);
    let others = 1..setup.nodes;
    let (begin, registered) = register_all(&mut cluster, setup);
    let visible = cluster.seen(others.clone()) - begin;
    let sent = (sent_bytes(&mut cluster, 0), sensors as f64 * others.len() as f64);
    let account = checked(&mut cluster, setup);
    let (begin, late) = cluster.join();
    cluster.watch(late..late + 1, sensors);
    let joined = cluster.seen(late..late + 1) - begin;
    cluster.watch(1..late + 1, 0);
    let begin = member::now_us();
    cluster.ask(0, "unregister");
    let unregistered = cluster.seen(1..late + 1) - begin;
    let answer = Answer::default()
        .metric("register_per_s", sensors as f64 / registered)
        .metric("visible_s", seconds(visible))
        .metric("join_s", seconds(joined))
        .metric("unregistered_s", seconds(unregistered))
        .account(account);
    // Of senza alone: a rival does not count its own messages.
    if sent.0 > 0.0 { answer.metric("message_bytes_per_sensor", sent.0 / sent.1) } else { answer }
}

fn join(setup: &Setup) -> Answer {
    let mut cluster = Cluster::start(setup, false);
    let all = cluster.all();
    let share = |at: usize| format!("{} {}", setup.sensors * at / setup.nodes, setup.sensors * (at + 1) / setup.nodes);
    cluster.watch(all.clone(), setup.sensors);
    for at in all.clone() {
        cluster.ask(at, &format!("prepare {}", setup.sensors));
        cluster.ask(at, &format!("register {}", share(at)));
    }
    cluster.seen(all.clone());
    let (begin, late) = cluster.join();
    cluster.watch(late..late + 1, setup.sensors);
    let joined = cluster.seen(late..late + 1) - begin;
    let right: u64 = all.map(|owner| cluster.right(late..late + 1, &share(owner), owner)).sum();
    Answer::default().metric("join_s", seconds(joined)).account(account(setup.sensors as u64, right))
}

fn death(setup: &Setup) -> Answer {
    let mut cluster = Cluster::start(setup, false);
    register_all(&mut cluster, setup);
    cluster.seen(1..setup.nodes);
    let account = checked(&mut cluster, setup);
    cluster.watch(1..setup.nodes, 0);
    let begin = cluster.end_first();
    let gone = cluster.seen(cluster.all()) - begin;
    Answer::default().metric("death_ms", gone as f64 / 1e3).account(account)
}

fn churn(setup: &Setup, changes: usize, pause_us: usize) -> Answer {
    let mut cluster = Cluster::start(setup, true);
    register_all(&mut cluster, setup);
    cluster.seen(1..setup.nodes);
    cluster.wires().quiet();
    let (before, said) = (cluster.wires().bytes(0, 1), sent_bytes(&mut cluster, 0));
    let line = format!("change {} {changes} {pause_us}", setup.sensors);
    let changed = cluster.ask(0, &line)["changes"].as_f64().expect("a count");
    cluster.watch(1..setup.nodes, setup.sensors);
    cluster.seen(1..setup.nodes);
    let (after, said) = (cluster.wires().bytes(0, 1), sent_bytes(&mut cluster, 0) - said);
    let answer = Answer::default()
        .metric("bytes_per_change", (after - before) as f64 / changed)
        .account(checked(&mut cluster, setup));
    let receivers = (setup.nodes - 1) as f64;
    if said > 0.0 { answer.metric("message_bytes_per_change", said / changed / receivers) } else { answer }
}

fn idle(setup: &Setup, seconds: f64) -> Answer {
    let mut cluster = Cluster::start(setup, true);
    register_all(&mut cluster, setup);
    cluster.seen(1..setup.nodes);
    cluster.wires().quiet();
    let all = cluster.all();
    let bytes = cluster.wires().bytes_per_s(seconds) / setup.nodes as f64;
    let processes: Vec<Json> = all.map(|at| cluster.ask(at, "process")).collect();
    let mean = |name: &str| processes.iter().filter_map(|at| at[name].as_f64()).sum::<f64>() / setup.nodes as f64;
    let (resident, threads) = (mean("resident_bytes"), mean("threads"));
    let answer = Answer::default().metric("idle_bytes_per_s", bytes).account(checked(&mut cluster, setup));
    match setup.apart {
        true => answer.metric("resident_bytes", resident).metric("threads_per_node", threads),
        false => answer,
    }
}

fn whereis(setup: &Setup, look_ups: usize) -> Answer {
    let mut cluster = Cluster::start(setup, false);
    register_all(&mut cluster, setup);
    cluster.seen(1..setup.nodes);
    cluster.ask(1, &format!("prepare {}", setup.sensors));
    let found = cluster.ask(1, &format!("look-up {} {look_ups}", setup.sensors));
    assert!(found.is_object(), "{} has no look-ups", setup.contender);
    let number = |name: &str| found[name].as_f64().expect("it was measured");
    let latency = |name: &str| found["latency_ns"][name].as_f64().expect("it was measured");
    Answer::default()
        .metric("whereis_per_s", number("whereis_per_s"))
        .metric("locate_per_s", number("locate_per_s"))
        .metric("locate_many_per_s", number("locate_many_per_s"))
        .metric("p50_ns", latency("p50"))
        .metric("p99_ns", latency("p99"))
        .metric("p999_ns", latency("p999"))
        .account(checked(&mut cluster, setup))
        .detail("latency_ns", found["latency_ns"].clone())
        .detail("clock_ns", found["clock_ns"].clone())
}

fn remote_memory(setup: &Setup) -> Answer {
    assert!(setup.apart, "memory is told by process");
    let mut cluster = Cluster::start(setup, false);
    cluster.ask(0, &format!("prepare {}", setup.sensors));
    let [owner, empty] = [0, 1].map(|at| resident(&mut cluster, at));
    register_all(&mut cluster, setup);
    cluster.seen(1..setup.nodes);
    let [own, saw_come] = [resident(&mut cluster, 0) - owner, resident(&mut cluster, 1) - empty];
    // A fresh process that has met the others, as the second one was when it was empty.
    let (_, late) = cluster.join();
    cluster.watch(late..late + 1, setup.sensors);
    cluster.seen(late..late + 1);
    let joined = resident(&mut cluster, late) - empty;
    let right = cluster.right(late..late + 1, &format!("0 {}", setup.sensors), 0);
    let per_sensor = |bytes: f64| bytes / setup.sensors as f64;
    Answer::default()
        .metric("bytes_per_remote_sensor", per_sensor(joined))
        .metric("bytes_per_remote_sensor_seen_coming", per_sensor(saw_come))
        .metric("bytes_per_own_sensor", per_sensor(own))
        .account(account(setup.sensors as u64, right))
}

// === what they share ===

/// Has the first member register all sensors while the others watch for them. Answers when that began, and the seconds
/// that it took the first member.
fn register_all(cluster: &mut Cluster, setup: &Setup) -> (i64, f64) {
    cluster.ask(0, &format!("prepare {}", setup.sensors));
    cluster.watch(1..setup.nodes, setup.sensors);
    let begin = member::now_us();
    let registered = cluster.ask(0, &format!("register 0 {}", setup.sensors));
    (begin, registered["seconds"].as_f64().expect("it took a while"))
}

/// Every other member has to know the owner of every sensor.
fn checked(cluster: &mut Cluster, setup: &Setup) -> Account {
    let right = cluster.right(1..setup.nodes, &format!("0 {}", setup.sensors), 0);
    account((setup.sensors * (setup.nodes - 1)) as u64, right)
}

fn account(offered: u64, arrived: u64) -> Account {
    Account { offered, arrived, told: 0, lost: offered - arrived }
}

fn sent_bytes(cluster: &mut Cluster, at: usize) -> f64 {
    cluster.ask(at, "sent")["bytes"].as_f64().expect("a count")
}

fn resident(cluster: &mut Cluster, at: usize) -> f64 {
    cluster.ask(at, "process")["resident_bytes"].as_f64().expect("a count")
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

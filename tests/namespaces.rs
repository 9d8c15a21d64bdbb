//! A network of the kernel's own for real nodes: one namespace and one wire per node into a bridge, itself in a
//! namespace of its own, so that nothing of the machine's network is touched. Needs root and iproute2.
//!
//! What runs inside a namespace is another process: nodes, the command line, and for what that cannot do this very
//! test program, as [`inside`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use senza_mesh::zenoh_client::Client;
use serde_json::{Value as Json, json};

use crate::support::{LIMIT, NodeProcess, command_in, node_command_in};

/// Nodes by name, each at an address of its own. Dropping it takes everything down, also in a panic.
pub(crate) struct Network {
    prefix: String,
    names: Vec<&'static str>,
}

impl Network {
    /// Wires so many nodes up, or says loudly why not.
    pub(crate) fn new(names: &[&'static str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("senza-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // From here on its drop cleans up what is there.
        let network = Self { prefix, names: names.to_vec() };
        match network.wire() {
            Ok(()) => Some(network),
            Err(reason) => {
                // Past the test harness, which hides what a passing test prints; tests/run counts these lines.
                let mut out = std::io::stderr().lock();
                writeln!(out, "SKIPPED: no network namespaces: {reason}").unwrap();
                None
            }
        }
    }

    fn wire(&self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for name in &self.names {
            let (inside, wire) = (self.namespace(name), wire_to(name));
            ip(&["netns", "add", &inside])?;
            ip(&["-n", &hub, "link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", &inside])?;
            ip(&["-n", &hub, "link", "set", &wire, "master", "hub", "up"])?;
            ip(&["-n", &inside, "address", "add", &format!("{}/24", self.address(name)), "dev", "eth0"])?;
            ip(&["-n", &inside, "link", "set", "lo", "up"])?;
            ip(&["-n", &inside, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn address(&self, name: &str) -> String {
        let number = self.names.iter().position(|known| *known == name).expect("a node of this network") + 1;
        format!("10.77.0.{number}")
    }

    /// Where the node of that name listens.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        format!("tcp/{}:7447", self.address(name))
    }

    /// Starts a node in its place.
    pub(crate) fn start(&self, name: &str, connect: &[&str], lease_ms: u64) -> NodeProcess {
        let namespace = self.namespace(name);
        let connect: Vec<String> = connect.iter().map(|other| self.endpoint(other)).collect();
        let connect: Vec<&str> = connect.iter().map(String::as_str).collect();
        let mut command = node_command_in(Some(&namespace), name, &self.endpoint(name), &connect);
        command.args(["--insecure", "--lease-ms", &lease_ms.to_string()]);
        NodeProcess::spawn_in(Some(&namespace), name, &mut command)
    }

    /// Pulls a node's wire out of the bridge, or plugs it in again.
    pub(crate) fn plug(&self, name: &str, how: Plug) {
        let state = if how == Plug::In { "up" } else { "down" };
        ip(&["-n", &self.hub(), "link", "set", &wire_to(name), state]).unwrap();
    }

    /// Lets whatever one node sends to another vanish on the way, in that direction alone: it goes to a hardware
    /// address that nobody has. Neither side's kernel notices.
    pub(crate) fn silence(&self, from: &str, to: &str) {
        let (namespace, address) = (self.namespace(from), self.address(to));
        let nobody = ["lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "eth0"];
        ip(&[&["-n", &namespace, "neighbor", "replace", &address], &nobody[..]].concat()).unwrap();
    }

    /// Ends [`silence`](Self::silence).
    pub(crate) fn unsilence(&self, from: &str, to: &str) {
        ip(&["-n", &self.namespace(from), "neighbor", "delete", &self.address(to), "dev", "eth0"]).unwrap();
    }

    /// Whether the node has a connection to any other: what it says to itself (its own clients) aside.
    pub(crate) fn is_connected(&self, name: &str) -> bool {
        let mut sockets = command_in(Some(&self.namespace(name)), Path::new("ss"));
        let output = sockets.args(["-Htn", "state", "established"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let others = self.names.iter().filter(|other| **other != name);
        let listed = String::from_utf8(output.stdout).unwrap();
        others.map(|other| format!("{}:", self.address(other))).any(|other| listed.contains(&other))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let namespaces = self.names.iter().map(|name| self.namespace(name)).chain([self.hub()]);
        for namespace in namespaces {
            // Some may never have been made. The wires go with their ends.
            let _deleted = ip(&["netns", "delete", &namespace]);
        }
    }
}

/// Whether a wire is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plug {
    In,
    Out,
}

/// The bridge's end of a node's wire.
fn wire_to(name: &str) -> String {
    format!("to-{name}")
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

// === what runs inside ===

/// What this program is to do inside a namespace.
const TASK: &str = "SENZA_TEST_INSIDE";

/// Who owns each of the sensors as the node's own directory says; nobody is `-`.
pub(crate) fn view(node: &NodeProcess, name: &str, sensors: &[&str]) -> BTreeMap<String, String> {
    let answer = run_inside(node, json!({ "endpoint": node.endpoint, "ask": name, "sensors": sensors }));
    serde_json::from_value(answer).unwrap()
}

/// Unregisters a sensor of the node, as its device does when it leaves.
pub(crate) fn unregister(node: &NodeProcess, name: &str, sensor: &str) {
    run_inside(node, json!({ "endpoint": node.endpoint, "delete": format!("in/{name}/{sensor}") }));
}

fn run_inside(node: &NodeProcess, task: Json) -> Json {
    let mut command = command_in(node.namespace.as_deref(), &std::env::current_exe().unwrap());
    command.args(["--exact", "namespaces::inside", "--nocapture"]).env(TASK, task.to_string());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{task}: {said} {}", String::from_utf8_lossy(&output.stderr));
    said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{task}: {said}"))
}

/// No test by itself: a plain client inside a namespace, where the tests are not. Does nothing unless one asks.
#[test]
fn inside() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Json = serde_json::from_str(&task).unwrap();
    let client = Client::connect(&[task["endpoint"].as_str().unwrap().to_owned()], "senza").unwrap();
    if let Some(key) = task["delete"].as_str() {
        client.delete(key).unwrap();
    }
    let mut owners = serde_json::Map::new();
    for sensor in task["sensors"].as_array().into_iter().flatten() {
        let asked = json!({ "sensor": sensor }).to_string().into_bytes();
        let key = format!("do/{}/whereis", task["ask"].as_str().unwrap());
        let replies = client.get(&key, "", Some(("application/json", asked)), LIMIT).unwrap();
        let answer: Json = serde_json::from_slice(replies[0].payload.as_ref().unwrap()).unwrap();
        owners.insert(sensor.as_str().unwrap().to_owned(), answer["node"].as_str().unwrap_or("-").into());
    }
    client.close();
    // On a line of its own, whatever the harness has said on it.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}", Json::Object(owners)).unwrap();
}

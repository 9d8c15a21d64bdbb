//! What the tests of real things share: a node in a process, waiting for a condition, loopback endpoints.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use senza_mesh::clock::{Clock, SystemClock};
use serde_json::Value as Json;

/// How long anything real may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The `senza` program beside the tests.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("senza");
    assert!(program.exists(), "{} is not built; run tests/run or `cargo build` first", program.display());
    program
}

/// Looks every 20 ms until the condition gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = SystemClock.now() + LIMIT.as_micros() as i64;
    let never = crossbeam_channel::never::<()>();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(SystemClock.now() < until, "waited {LIMIT:?} in vain: {what}");
        let _timed_out = never.recv_timeout(Duration::from_millis(20));
    }
}

/// A node in a process of its own. Dropping it kills it.
pub(crate) struct NodeProcess {
    pub(crate) endpoint: String,
    /// The network namespace it runs in, if it is not this process's; its clients run there too.
    pub(crate) namespace: Option<String>,
    process: Child,
}

impl NodeProcess {
    pub(crate) fn start(name: &str, connect: &[&str]) -> Self {
        Self::start_at(name, "tcp/127.0.0.1:0", connect)
    }

    pub(crate) fn start_at(name: &str, listen: &str, connect: &[&str]) -> Self {
        Self::spawn(name, &mut node_command(name, listen, connect))
    }

    /// Starts a node by its command and waits until it says where it is.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        Self::spawn_in(None, name, command)
    }

    /// Starts a node by its command, which enters the namespace by itself.
    pub(crate) fn spawn_in(namespace: Option<&str>, name: &str, command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Json = serde_json::from_str(&line).unwrap_or_else(|_| panic!("node {name} did not start: {line:?}"));
        assert_eq!(ready["node"], name);
        let endpoint = ready["listen"][0].as_str().unwrap().to_owned();
        Self { endpoint, namespace: namespace.map(str::to_owned), process }
    }

    /// The exit status, once it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.process.try_wait().unwrap().map(|status| status.code())
    }

    /// Sends a signal, like `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGTERM and answers the exit status.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        wait_for("the node stops", || self.ended())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

/// The command of a node that logs errors only and reads no `senza.toml`.
pub(crate) fn node_command(name: &str, listen: &str, connect: &[&str]) -> Command {
    node_command_in(None, name, listen, connect)
}

/// The command of a node inside a network namespace.
pub(crate) fn node_command_in(namespace: Option<&str>, name: &str, listen: &str, connect: &[&str]) -> Command {
    let mut command = command_in(namespace, &program());
    command.current_dir(std::env::temp_dir());
    command.args(["--log", "off", "node", "--name", name, "--listen", listen]);
    connect.iter().for_each(|endpoint| {
        command.args(["--connect", endpoint]);
    });
    command
}

/// A command that runs inside a network namespace, if one is given; `ip netns exec` becomes the program itself.
pub(crate) fn command_in(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

pub(crate) fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success());
}

/// Runs a client command against a node, where the node is.
pub(crate) fn senza(node: &NodeProcess, args: &[&str]) -> Output {
    let mut command = command_in(node.namespace.as_deref(), &program());
    command.current_dir(std::env::temp_dir()).arg(args[0]).args(["--connect", &node.endpoint]);
    command.args(&args[1..]).output().unwrap()
}

/// Runs a client command against a node of this process.
pub(crate) fn senza_at(endpoint: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(std::env::temp_dir()).arg(args[0]).args(["--connect", endpoint]);
    command.args(&args[1..]).output().unwrap()
}

/// The JSON that a client command prints; panics where it fails.
pub(crate) fn senza_json(node: &NodeProcess, args: &[&str]) -> Json {
    let output = senza(node, &[args, &["--json"]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out:?} {err:?}"))
}

/// Who owns a sensor as the named node's own directory says, asked through that node.
pub(crate) fn owner(node: &NodeProcess, name: &str, sensor: &str) -> Option<String> {
    let output = senza(node, &["where", "--at", name, sensor, "--json"]);
    let answer: Json = serde_json::from_slice(&output.stdout).ok()?;
    answer["node"].as_str().map(str::to_owned)
}

//! The demo's other two nodes: processes of this same program, which end when their standard input does, so that
//! none is left behind however the demo ends.

use std::io::{BufRead, BufReader};
use std::process::ChildStdin;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value as Json;

use super::FeedName;
use crate::cli::{Failure, own_process};

/// How long a node may take to say where it listens.
const READY: Duration = Duration::from_secs(20);
/// How long a node may take to stop.
const STOP: Duration = Duration::from_secs(15);

/// One node in a process of its own.
pub(super) struct Child {
    pub(super) name: String,
    pub(super) endpoint: String,
    pub(super) about: &'static str,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts a node on a free loopback port and waits until it is ready.
    pub(super) fn start(name: &str, feed: FeedName, connect: &[&str]) -> Result<Self, Failure> {
        let feed_value = feed.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut command = own_process()?;
        command.args(["--log", "error", "node", "--name", name, "--listen", "tcp/127.0.0.1:0", "--until-stdin-ends"]);
        command.args(["--feed", &feed_value]);
        connect.iter().for_each(|endpoint| {
            command.args(["--connect", endpoint]);
        });
        let mut process =
            command.spawn().map_err(|error| Failure::usage(format!("node {name} does not start: {error}")))?;
        let stdin = process.stdin.take();
        let said = first_line(&mut process);
        let endpoint = said.as_ref().and_then(|json| json["listen"][0].as_str()).unwrap_or_default().to_owned();
        let about = match feed {
            FeedName::System => "this machine's own sensors",
            FeedName::Recordings => {
                "recordings: three smart watches (speed-up 1x), weather of three airports (speed-up 3600x)"
            }
        };
        let mut child = Self { name: name.to_owned(), endpoint, about, process, stdin };
        if child.endpoint.is_empty() {
            let why = child.ended().unwrap_or_else(|| "it did not say where it listens".to_owned());
            return Err(Failure::usage(format!("node {name} does not start: {why}")));
        }
        Ok(child)
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.process.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Ends the process and waits for it.
    pub(super) fn stop(mut self) -> Result<(), String> {
        drop(self.stdin.take());
        let step = Duration::from_millis(20);
        let never = crossbeam_channel::never::<()>();
        for _ in 0..STOP.as_millis() / step.as_millis() {
            if self.ended().is_some() {
                return Ok(());
            }
            let _timed_out = never.recv_timeout(step);
        }
        Err(format!("node {} did not stop in time and was killed", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // It may end by itself meanwhile.
            let _killed = self.process.kill();
            let _status = self.process.wait();
        }
    }
}

/// The JSON line that a node prints when it is ready.
fn first_line(process: &mut std::process::Child) -> Option<Json> {
    let stdout = process.stdout.take()?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        if stdout.read_line(&mut line).is_ok() {
            // The demo may have given up.
            let _sent = sender.send(line);
        }
        // Read on, so that the node never writes into a closed pipe.
        let _read = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    serde_json::from_str(&receiver.recv_timeout(READY).ok()?).ok()
}

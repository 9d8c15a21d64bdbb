//! The sender as the command sees it: a thread of this process, or a node in a process of its own, which ends when its
//! standard input does, so that none is left behind however the command ends.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use senza_core::{Micros, NodeName};

use super::SendArgs;
use super::sender::{Said, Sender, Span, Work};
use crate::cli::{Failure, Outcome, own_process};
use crate::{Config, Node};

/// How long the sensors may take to be registered and subscribed to.
const READY: Duration = Duration::from_secs(60);
/// How long the other process may take to stop.
const STOP: Duration = Duration::from_secs(15);

/// A sender that is told which spans to put.
pub(super) struct Source {
    said: Receiver<Said>,
    place: Place,
}

enum Place {
    Thread { spans: Option<crossbeam_channel::Sender<Micros>>, thread: Option<JoinHandle<()>> },
    Process { stdin: Option<ChildStdin>, process: std::process::Child },
}

impl Source {
    /// A sender on a node of this process.
    pub(super) fn here(node: &Node, work: &Work) -> Result<Self, Failure> {
        let sender = Sender::new(node, work).map_err(Failure::usage)?;
        let (spans, asked) = bounded(1);
        let (say, said) = bounded(4);
        let run = move || {
            // Nobody listens any more: the spans have ended too.
            sender.serve(&asked, |word| drop(say.send(word)));
        };
        let thread = std::thread::Builder::new().name("senza-load".to_owned()).spawn(run).map_err(Failure::usage)?;
        Ok(Self { said, place: Place::Thread { spans: Some(spans), thread: Some(thread) } })
    }

    /// A sender on a node in a process of its own, connected to the node given.
    pub(super) fn elsewhere(node: &Node, work: &Work) -> Result<Self, Failure> {
        let mut command = own_process()?;
        command.args(["--log", "error", "load-send"]).args(work.to_args());
        node.listening().iter().for_each(|endpoint| {
            command.args(["--connect", endpoint]);
        });
        let mut process =
            command.spawn().map_err(|error| Failure::usage(format!("the sending node does not start: {error}")))?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take();
        let (say, said) = bounded(4);
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok));
            // Reads on when nobody listens any more, so that the node never writes into a closed pipe.
            lines.filter_map(|line| serde_json::from_str(&line).ok()).for_each(|word| drop(say.send(word)));
        });
        Ok(Self { said, place: Place::Process { stdin, process } })
    }

    /// Waits until every sensor is registered and subscribed to.
    pub(super) fn wait_ready(&self, stopped: &Receiver<()>) -> Outcome {
        match self.hear(stopped, READY)? {
            Said::Ready => Ok(()),
            word => Err(Failure::usage(format!("the sender is not ready, but says {word:?}"))),
        }
    }

    /// Has a span of so many microseconds put, and waits for its end.
    pub(super) fn put_span(&mut self, length_us: Micros, stopped: &Receiver<()>) -> Result<Span, Failure> {
        let asked = match &mut self.place {
            Place::Thread { spans, .. } => spans.as_ref().is_some_and(|spans| spans.send(length_us).is_ok()),
            Place::Process { stdin, .. } => stdin.as_mut().is_some_and(|stdin| writeln!(stdin, "{length_us}").is_ok()),
        };
        if !asked {
            return Err(Failure::usage("the sender ended"));
        }
        // An open loop that cannot keep up still puts everything: it takes as long as it takes.
        match self.hear(stopped, Duration::MAX)? {
            Said::Done(span) => Ok(span),
            word => Err(Failure::usage(format!("the sender has not put its span, but says {word:?}"))),
        }
    }

    fn hear(&self, stopped: &Receiver<()>, limit: Duration) -> Result<Said, Failure> {
        let late = if limit == Duration::MAX { crossbeam_channel::never() } else { crossbeam_channel::after(limit) };
        let word = crossbeam_channel::select! {
            recv(self.said) -> word => word.map_err(|_| "the sender ended".to_owned()),
            recv(stopped) -> _ => Err("interrupted".to_owned()),
            recv(late) -> _ => Err(format!("the sender was not ready after {} s", limit.as_secs())),
        };
        match word {
            Ok(Said::Failed(why)) => Err(Failure::usage(format!("the sender: {why}"))),
            Ok(word) => Ok(word),
            Err(why) => Err(Failure::usage(why)),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        match &mut self.place {
            Place::Thread { spans, thread } => {
                drop(spans.take());
                if thread.take().is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the sender had panicked");
                }
            }
            Place::Process { stdin, process } => {
                drop(stdin.take());
                let never = crossbeam_channel::never::<()>();
                let step = Duration::from_millis(20);
                for _ in 0..STOP.as_millis() / step.as_millis() {
                    if process.try_wait().is_ok_and(|status| status.is_some()) {
                        return;
                    }
                    let _timed_out = never.recv_timeout(step);
                }
                // It may end by itself meanwhile.
                let _killed = process.kill();
                let _status = process.wait();
            }
        }
    }
}

/// The other process: one node with the sensors, told on standard input which spans to put, one length in microseconds
/// a line; says on standard output what it did. Ends with its standard input.
pub(crate) fn serve(args: SendArgs) -> Outcome {
    let SendArgs { work, connect } = args;
    let (spans, asked) = bounded(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        let lengths = lines.map_while(|line| line.trim().parse().ok());
        // Ends at the end of the lines, or with the sender.
        lengths.take_while(|length: &Micros| spans.send(*length).is_ok()).for_each(drop);
    });
    let mut stdout = std::io::stdout().lock();
    // A parent that is gone hears nothing, and has ended the standard input too.
    let mut say = |word: Said| drop(serde_json::to_string(&word).map(|line| writeln!(stdout, "{line}")));
    let name = NodeName::new("load-a").map_err(Failure::usage)?;
    let started = Node::start(Config { connect, ..Config::loopback(name) }).map_err(|error| error.to_string());
    let served = started.and_then(|node| {
        let sender = Sender::new(&node, &work).map_err(|error| error.to_string())?;
        sender.serve(&asked, &mut say);
        node.stop();
        Ok(())
    });
    if let Err(why) = &served {
        say(Said::Failed(why.clone()));
    }
    served.map_err(Failure::usage)
}

//! The command line: one node, the demo, and clients of any node. Clients are plain Zenoh clients, like any other.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

mod client;
mod top;

pub(crate) use client::{age, shown};

use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode, Stdio};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, DEFAULT_ENDPOINT, Flags};
use crate::{Node, demo, load};

/// Exit status: the thing asked for is not there.
const NOT_FOUND: u8 = 1;
/// Exit status: the command was not understood, or could not be carried out.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(name = "senza", version, about = "A sharded in-memory data plane for sensor fleets")]
struct Cli {
    /// What is logged: error, warn, info, debug, trace, or a filter like senza_mesh=debug
    #[arg(long, env = "SENZA_LOG", default_value = "info", global = true)]
    log: String,
    /// Log as JSON lines
    #[arg(long, env = "SENZA_LOG_JSON", global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node until ctrl-c or SIGTERM
    Node(NodeArgs),
    /// Run three nodes on this machine with real readings, and show them live
    Demo(demo::DemoArgs),
    /// Offer readings at a rate and measure how long each takes to its subscribers
    Load(load::LoadArgs),
    /// The process of `load` that puts
    #[command(hide = true)]
    LoadSend(load::SendArgs),
    /// List the sensors of the cluster
    Ls(client::LsArgs),
    /// Say which node owns a sensor
    Where(client::WhereArgs),
    /// Print the latest readings of a sensor, or its history
    Get(client::GetArgs),
    /// Follow readings live
    Watch(client::WatchArgs),
    /// Put one reading
    Put(client::PutArgs),
    /// Make a sensor another node's own
    Move(client::MoveArgs),
    /// Say how far a node takes part in the cluster, or switch that: cluster, local
    Mode(client::ModeArgs),
    /// List the nodes of the cluster
    Nodes(client::NodesArgs),
    /// Show what every node, link and subscription carries, again and again
    Top(top::TopArgs),
}

/// What every client command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// Endpoint of any node
    #[arg(long, env = "SENZA_CONNECT", default_value = DEFAULT_ENDPOINT, value_delimiter = ',')]
    connect: Vec<String>,
    /// First chunk of all keys
    #[arg(long, env = "SENZA_ROOT", default_value = crate::config::DEFAULT_ROOT)]
    root: String,
    /// Print JSON for scripts
    #[arg(long)]
    json: bool,
    /// Wait at most so many seconds for answers
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
}

#[derive(Args)]
struct NodeArgs {
    #[command(flatten)]
    flags: Flags,
    /// Carry a feed of real readings: `system` (this machine) or `recordings`; used by the demo
    #[arg(long, value_enum)]
    feed: Option<demo::FeedName>,
    /// Stop when standard input ends: for a parent that must not leave nodes behind
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// A failure and its exit status.
pub(crate) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    pub(crate) fn not_found(message: impl ToString) -> Self {
        Self { status: NOT_FOUND, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { status: USAGE, message: message.to_string() }
    }
}

pub(crate) type Outcome = Result<(), Failure>;

/// Parses the command line and carries it out.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_log(&cli) {
        eprintln!("senza: {error}");
        return ExitCode::from(USAGE);
    }
    let outcome = match cli.command {
        Command::Node(args) => node(args),
        Command::Demo(args) => demo::run(&args),
        Command::Load(args) => load::run(&args),
        Command::LoadSend(args) => load::serve(args),
        Command::Ls(args) => client::ls(&args),
        Command::Where(args) => client::whereis(&args),
        Command::Get(args) => client::get(&args),
        Command::Watch(args) => client::watch(&args),
        Command::Put(args) => client::put(&args),
        Command::Move(args) => client::move_to(&args),
        Command::Mode(args) => client::mode(&args),
        Command::Nodes(args) => client::nodes(&args),
        Command::Top(args) => top::top(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("senza: {}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}

fn start_log(cli: &Cli) -> Result<(), String> {
    // Clients and the demo print results; what their session logs is of use only where something is wrong.
    let quiet = !matches!(cli.command, Command::Node(_)) && cli.log == "info";
    let level = if quiet { "off" } else { cli.log.as_str() };
    // Zenoh tells much at its own info level; whoever wants it names it.
    let filter = if level.contains("zenoh") { level.to_owned() } else { format!("{level},zenoh=off") };
    let filter = if quiet { "off".to_owned() } else { filter };
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| format!("--log {}: {error}", cli.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if cli.log_json {
        log.json().init();
    } else {
        log.with_target(false).init();
    }
    Ok(())
}

// === senza node ===

fn node(args: NodeArgs) -> Outcome {
    let config = Config::load(args.flags).map_err(Failure::usage)?;
    let ended = stop_signal()?;
    let node = Node::start(config).map_err(Failure::usage)?;
    tracing::info!(name = %node.name(), listen = ?node.listening(), "ready");
    // The one line on standard output is for scripts: where the node is.
    println!("{}", serde_json::json!({ "node": node.name().as_str(), "listen": node.listening() }));
    let feed = args.feed.map(|feed| demo::feed_thread(&node, feed)).transpose().map_err(Failure::usage)?;
    let orphaned = if args.until_stdin_ends { stdin_end() } else { crossbeam_channel::never() };
    let why = crossbeam_channel::select! {
        recv(ended) -> _ => None,
        recv(orphaned) -> _ => None,
        recv(node.ended()) -> why => why.ok(),
    };
    drop(feed);
    node.stop();
    tracing::info!("stopped");
    why.map_or(Ok(()), |why| Err(Failure::usage(why)))
}

/// Closes its channel when standard input ends.
fn stdin_end() -> crossbeam_channel::Receiver<()> {
    let (sender, receiver) = crossbeam_channel::bounded(0);
    std::thread::spawn(move || {
        // Whatever comes is not for us; the end is.
        let _read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(sender);
    });
    receiver
}

/// Closes its channel at SIGINT or SIGTERM. A second signal ends the process at once.
pub(crate) fn stop_signal() -> Result<crossbeam_channel::Receiver<()>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let second = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(USAGE), second.clone())
            .map_err(Failure::usage)?;
        signal_hook::flag::register(signal, second.clone()).map_err(Failure::usage)?;
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(Failure::usage)?;
    let (sender, receiver) = crossbeam_channel::bounded(0);
    std::thread::spawn(move || {
        signals.forever().next();
        drop(sender);
    });
    Ok(receiver)
}

/// This program in a process of its own, to be told to end by the end of its standard input. Neither environment nor a
/// `senza.toml` here changes it.
///
/// # Errors
///
/// [`Failure`] when the path of this program is not known.
pub(crate) fn own_process() -> Result<process::Command, Failure> {
    let mut command = process::Command::new(std::env::current_exe().map_err(Failure::usage)?);
    std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SENZA_")).for_each(|(key, _)| {
        command.env_remove(key);
    });
    command.current_dir(std::env::temp_dir()).stdin(Stdio::piped()).stdout(Stdio::piped());
    // A group of its own: ctrl-c reaches the command alone, which then ends the other in order.
    command.process_group(0);
    Ok(command)
}

/// Draws lines over what stands in a terminal.
pub(crate) fn redraw(out: &mut impl Write, lines: Vec<String>) -> std::io::Result<()> {
    write!(out, "\x1b[H\x1b[J{}", lines.join("\n"))?;
    out.flush()
}

/// How high the terminal is.
pub(crate) fn terminal_lines() -> usize {
    terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0))
}

/// A duration like `10s`, `500ms`, `2m`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is no duration like 10s, 500ms or 2m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration like 10s, 500ms or 2m"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| format!("{text:?}: {error}"))
}

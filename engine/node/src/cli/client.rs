//! The commands that are clients of a node: `ls`, `where`, `get`, `watch`, `put`, `nodes`; and what they share with `top`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use senza_core::key;
use senza_core::{Micros, Value};
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::zenoh_client::{Client, Reply, Update, Updates};
use serde_json::{Value as Json, json};

use super::{ClientArgs, Failure, Outcome, duration};
use crate::ingest::payload::{Envelope, parse_envelope};

#[derive(Args)]
pub(crate) struct LsArgs {
    /// Only sensors whose encoded id matches this key expression, like `cpu$*`
    #[arg(default_value = "**")]
    pattern: String,
    /// Only sensors of this node
    #[arg(long)]
    node: Option<String>,
    /// At most so many of every node
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct WhereArgs {
    /// The sensor's id
    sensor: String,
    /// Ask this node's own directory instead of the owner
    #[arg(long)]
    at: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct GetArgs {
    /// The sensor's id
    sensor: String,
    /// The attribute; all by default
    attribute: Option<String>,
    /// The newest so many readings instead of the latest
    #[arg(long)]
    last: Option<usize>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The sensor's id; all sensors by default
    sensor: Option<String>,
    /// The attribute; all by default
    attribute: Option<String>,
    /// Follow what matches this key expression over <sensor>/<attribute> instead, like `cpu$*/**`
    #[arg(long, conflicts_with_all = ["sensor", "attribute"])]
    pattern: Option<String>,
    /// Follow what happens to sensors and nodes instead: registered, moved, unregistered, node up, node down
    #[arg(long, conflicts_with_all = ["sensor", "attribute", "pattern"])]
    events: bool,
    /// Stop after so many readings or events
    #[arg(long)]
    count: Option<u64>,
    /// Stop after so long, like 10s
    #[arg(long = "for", value_parser = duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct PutArgs {
    /// The sensor's id
    sensor: String,
    /// The attribute
    attribute: String,
    /// The value: a number, true, false, or text; JSON with --as-json
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// The node that a new sensor is registered on; default: the one connected to
    #[arg(long)]
    node: Option<String>,
    /// Claim the sensor for --node where another node owns it
    #[arg(long, requires = "node")]
    takeover: bool,
    /// The value is JSON
    #[arg(long)]
    as_json: bool,
    /// When it was read, microseconds since 1970; default: now
    #[arg(long)]
    time_us: Option<Micros>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct MoveArgs {
    /// The sensor's id
    sensor: String,
    /// The node that is to own it
    node: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct ModeArgs {
    /// Which node
    node: String,
    /// The mode to switch to: cluster or local; without one, its mode is said
    mode: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
pub(crate) struct NodesArgs {
    /// List what the last heals settled instead: sensors that two nodes had claimed, and who won
    #[arg(long)]
    heals: bool,
    #[command(flatten)]
    client: ClientArgs,
}

// === commands ===

pub(crate) fn ls(args: &LsArgs) -> Outcome {
    let client = connect(&args.client)?;
    let mut parameters: Vec<String> = args.node.iter().map(|node| format!("node={node}")).collect();
    parameters.extend(args.limit.map(|limit| format!("limit={limit}")));
    let replies = ask(&client, &args.client, &format!("sensors/{}", args.pattern), &parameters.join(";"), None)?;
    let (mut records, mut counts) = (Vec::new(), Vec::new());
    for (key, json) in replies {
        if key.contains("/%count/") { counts.push(json) } else { records.push(json) }
    }
    records.sort_by(|a, b| text(a, "sensor").cmp(text(b, "sensor")));
    if args.client.json {
        println!("{}", Json::Array(records));
        return Ok(());
    }
    let rows = records.iter().map(|record| {
        let attributes: Vec<&str> =
            record["attributes"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let (demand, attributes) = (pace(&record["demand"]), attributes.join(" "));
        [text(record, "sensor"), text(record, "type"), text(record, "node"), &demand, &attributes].map(str::to_owned)
    });
    table(["SENSOR", "TYPE", "NODE", "DEMAND", "ATTRIBUTES"], rows.collect());
    // Every node says how many it has and whom it sees: that is how a reader knows whether this is all.
    let silent = silent_nodes(&counts);
    let missing: u64 = counts.iter().map(|count| number(count, "sensors").saturating_sub(number(count, "sent"))).sum();
    let (sensors, nodes) = (records.len(), counts.len());
    println!("{sensors} sensor{} of {nodes} node{}", plural(sensors), plural(nodes));
    if args.node.is_none() && !silent.is_empty() {
        eprintln!("incomplete: no answer from {}", silent.join(", "));
    }
    if missing > 0 {
        eprintln!("incomplete: {missing} more; raise --limit");
    }
    Ok(())
}

/// Nodes that others hold for up and that did not answer.
fn silent_nodes(counts: &[Json]) -> Vec<String> {
    let names = |json: &Json| json.as_str().map(str::to_owned);
    let seen: BTreeSet<String> =
        counts.iter().flat_map(|count| count["nodes"].as_array().into_iter().flatten()).filter_map(names).collect();
    let answered: BTreeSet<String> = counts.iter().filter_map(|count| names(&count["node"])).collect();
    seen.difference(&answered).cloned().collect()
}

pub(crate) fn whereis(args: &WhereArgs) -> Outcome {
    let client = connect(&args.client)?;
    let found = match &args.at {
        None => record_of(&client, &args.client, &args.sensor)?,
        Some(node) => {
            let answer = command(&client, &args.client, node, "whereis", Some(json!({ "sensor": args.sensor })))?;
            Some(answer).filter(|answer| text(answer, "found") != "not_found")
        }
    };
    let found = found.ok_or_else(|| unknown(&args.sensor))?;
    if args.client.json {
        println!("{found}");
    } else {
        println!("{} (epoch {})", text(&found, "node"), number(&found, "epoch"));
    }
    Ok(())
}

pub(crate) fn get(args: &GetArgs) -> Outcome {
    let client = connect(&args.client)?;
    let attribute = args.attribute.as_deref().map_or("*".to_owned(), key::encoded);
    let key = format!("readings/{}/{attribute}", key::encoded(&args.sensor));
    let parameters = args.last.map_or(String::new(), |last| format!("last={last}"));
    let mut replies = ask(&client, &args.client, &key, &parameters, None)?;
    replies.sort_by(|a, b| a.0.cmp(&b.0));
    let mut readings = Vec::new();
    for (key, json) in replies {
        let attribute = key.rsplit('/').next().map(key::decode_chunk).transpose().ok().flatten().unwrap_or_default();
        match json {
            Json::Array(history) => readings.extend(history.into_iter().map(|json| (attribute.clone(), json))),
            json => readings.push((attribute, json)),
        }
    }
    if readings.is_empty() {
        return Err(match record_of(&client, &args.client, &args.sensor)? {
            Some(_) => Failure::not_found(format!("sensor {:?} has no such reading", args.sensor)),
            None => unknown(&args.sensor),
        });
    }
    if args.client.json {
        let named = readings.into_iter().map(|(attribute, json)| with(json, &args.sensor, &attribute));
        println!("{}", Json::Array(named.collect()));
        return Ok(());
    }
    let now = SystemClock.now();
    let mut rows = Vec::new();
    for (attribute, json) in &readings {
        let envelope = parse_envelope(json).map_err(Failure::usage)?;
        let age = age(now - envelope.time_us);
        rows.push([attribute.clone(), shown(&envelope.value), age, envelope.seq.to_string(), envelope.node]);
    }
    table(["ATTRIBUTE", "VALUE", "AGE", "SEQ", "NODE"], rows);
    Ok(())
}

pub(crate) fn watch(args: &WatchArgs) -> Outcome {
    let client = connect(&args.client)?;
    let key = match (&args.pattern, &args.sensor, &args.attribute) {
        _ if args.events => "sensors/**".to_owned(),
        (Some(pattern), ..) => format!("readings/{pattern}"),
        (None, None, _) => "readings/**".to_owned(),
        (None, Some(sensor), None) => format!("readings/{}/*", key::encoded(sensor)),
        (None, Some(sensor), Some(attribute)) => format!("readings/{}", key::series_path(sensor, attribute)),
    };
    let stopped = super::stop_signal()?;
    let mut sources = vec![client.subscribe(&key).map_err(Failure::usage)?];
    if args.events {
        sources.push(client.subscribe_tokens().map_err(Failure::usage)?);
    }
    let clock = SystemClock;
    let until = args.duration.map_or(Micros::MAX, |duration| {
        clock.now().saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    });
    let wait = Duration::from_millis(50) / sources.len() as u32;
    let (mut last, mut seen) = (BTreeMap::new(), 0);
    while seen < args.count.unwrap_or(u64::MAX) && clock.now() < until && !is_closed(&stopped) {
        for update in sources.iter().filter_map(|source| source.recv_timeout(wait)) {
            let told = if args.events {
                tell_event(&update, args.client.json)
            } else {
                tell_reading(&update, args, &mut last)?
            };
            seen += u64::from(told);
        }
    }
    let lost: u64 = sources.iter().map(Updates::lost).sum();
    if lost > 0 {
        eprintln!("{lost} updates were lost here: printing was too slow");
    }
    if args.count.is_some_and(|count| seen < count) && args.duration.is_some() {
        return Err(Failure::not_found(format!("only {seen} came in time")));
    }
    Ok(())
}

/// Prints one reading. Answers whether it was one.
fn tell_reading(update: &Update, args: &WatchArgs, last: &mut BTreeMap<String, (u64, u64)>) -> Result<bool, Failure> {
    let json = update.payload.as_deref().and_then(|payload| serde_json::from_slice::<Json>(payload).ok());
    let Some(json) = json else { return Ok(false) };
    let envelope = parse_envelope(&json).map_err(Failure::usage)?;
    let path = update.key.strip_prefix("readings/").unwrap_or(&update.key);
    tell_gap(path, &envelope, last);
    let (sensor, attribute) = decoded(path);
    if args.client.json {
        println!("{}", with(json, &sensor, &attribute));
    } else {
        println!("{}  {sensor}  {attribute}  {}", clock_time(envelope.time_us), shown(&envelope.value));
    }
    Ok(true)
}

/// Prints what happened to a sensor or a node. Answers whether it was such a thing.
fn tell_event(update: &Update, as_json: bool) -> bool {
    let event = match update.key.split_once('/') {
        Some(("sensors", chunk)) => {
            let sensor = key::decode_chunk(chunk).unwrap_or_else(|_| chunk.to_owned());
            match &update.payload {
                None => json!({ "event": "unregistered", "sensor": sensor }),
                Some(payload) => match serde_json::from_slice::<Json>(payload) {
                    Ok(record) => record,
                    Err(_) => return false,
                },
            }
        }
        Some(("nodes", token)) => {
            let (node, incarnation) = token.split_once('/').unwrap_or((token, ""));
            let event = if update.payload.is_some() { "node up" } else { "node down" };
            json!({ "event": event, "node": node, "incarnation": incarnation.parse::<u64>().ok() })
        }
        _ => return false,
    };
    if as_json {
        println!("{event}");
        return true;
    }
    let what = if event["sensor"].is_null() { text(&event, "node") } else { text(&event, "sensor") };
    let at = match (text(&event, "event"), text(&event["previous"], "node")) {
        ("registered", _) => format!("on {}", text(&event, "node")),
        ("moved", previous) => format!("from {previous} to {}", text(&event, "node")),
        _ => String::new(),
    };
    println!("{}  {:<12}  {what}  {at}", clock_time(SystemClock.now()), text(&event, "event"));
    true
}

/// Says which numbers are missing before this reading: how a plain client sees loss.
fn tell_gap(path: &str, envelope: &Envelope, last: &mut BTreeMap<String, (u64, u64)>) {
    if let Some((epoch, seq)) = last.insert(path.to_owned(), (envelope.epoch, envelope.seq))
        && epoch == envelope.epoch
        && envelope.seq > seq + 1
    {
        eprintln!("gap: {path} seq {} to {} did not come", seq + 1, envelope.seq - 1);
    }
}

pub(crate) fn put(args: &PutArgs) -> Outcome {
    let client = connect(&args.client)?;
    let owner = record_of(&client, &args.client, &args.sensor)?.map(|record| text(&record, "node").to_owned());
    let node = match (owner, &args.node) {
        (Some(owner), Some(node)) if owner != *node && !args.takeover => {
            let message = format!("sensor {:?} is owned by node {owner}; --takeover claims it for {node}", args.sensor);
            return Err(Failure::usage(message));
        }
        (Some(owner), None) => owner,
        (_, Some(node)) => node.clone(),
        (None, None) => connected_node(&client, &args.client)?,
    };
    let (encoding, payload) = payload(args)?;
    let key = format!("in/{node}/{}", key::series_path(&args.sensor, &args.attribute));
    let answers = ask(&client, &args.client, &key, "", Some((encoding, payload)))?;
    let Some((_, answer)) = answers.into_iter().next() else {
        return Err(Failure::not_found(format!("node {node} does not answer")));
    };
    if args.client.json {
        println!("{answer}");
    } else {
        println!("{} took it as seq {}", text(&answer, "node"), number(&answer, "seq"));
    }
    Ok(())
}

fn payload(args: &PutArgs) -> Result<(&'static str, Vec<u8>), Failure> {
    let value: Json = match args.as_json {
        true => {
            serde_json::from_str(&args.value).map_err(|error| Failure::usage(format!("value: not JSON: {error}")))?
        }
        false => match crate::ingest::payload::from_text(&args.value) {
            Value::I64(number) => json!(number),
            Value::F64(number) if number.is_finite() => json!(number),
            Value::Bool(truth) => json!(truth),
            _ => json!(args.value),
        },
    };
    let envelope = match args.time_us {
        Some(time) => json!({ "value": value, "time_us": time }),
        None => json!({ "value": value }),
    };
    Ok(("application/json", envelope.to_string().into_bytes()))
}

pub(crate) fn move_to(args: &MoveArgs) -> Outcome {
    let client = connect(&args.client)?;
    if record_of(&client, &args.client, &args.sensor)?.is_none() {
        return Err(unknown(&args.sensor));
    }
    let answer = command(&client, &args.client, &args.node, "move", Some(json!({ "sensor": args.sensor })))?;
    if args.client.json {
        println!("{answer}");
    } else {
        let (previous, node) = (text(&answer, "previous"), text(&answer, "node"));
        println!(
            "{}",
            if previous == node {
                format!("{node} owns it already")
            } else {
                format!("moved from {previous} to {node}")
            }
        );
    }
    Ok(())
}

pub(crate) fn mode(args: &ModeArgs) -> Outcome {
    let client = connect(&args.client)?;
    let wanted = args.mode.as_ref().map(|mode| json!({ "mode": mode }));
    let answer = command(&client, &args.client, &args.node, "mode", wanted)?;
    if args.client.json {
        println!("{answer}");
    } else {
        println!("{}", text(&answer, "mode"));
    }
    Ok(())
}

pub(crate) fn nodes(args: &NodesArgs) -> Outcome {
    let client = connect(&args.client)?;
    if args.heals {
        return heals(&client, &args.client);
    }
    let mut records: Vec<Json> =
        ask(&client, &args.client, "nodes/*", "", None)?.into_iter().map(|(_, json)| json).collect();
    records.sort_by(|a, b| text(a, "node").cmp(text(b, "node")));
    if args.client.json {
        println!("{}", Json::Array(records));
        return Ok(());
    }
    let now = SystemClock.now();
    let rows = records.iter().map(|record| {
        let listen: Vec<&str> = record["listen"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let sees: Vec<&str> =
            record["sees"].as_object().into_iter().flat_map(|sees| sees.keys()).map(String::as_str).collect();
        let up = age(now - record["started_us"].as_i64().unwrap_or(now));
        let (node, mode) = (text(record, "node").to_owned(), text(record, "mode").to_owned());
        [node, mode, number(record, "sensors").to_string(), up, sees.join(" "), listen.join(" ")]
    });
    table(["NODE", "MODE", "SENSORS", "UP", "SEES", "LISTENS ON"], rows.collect());
    Ok(())
}

fn heals(client: &Client, args: &ClientArgs) -> Outcome {
    let pages = ask(client, args, "nodes/*/heals", "", None)?;
    let mut heals = Vec::new();
    for (key, page) in pages {
        let teller = key.split('/').rev().nth(1).unwrap_or_default().to_owned();
        for heal in page.as_array().into_iter().flatten() {
            let mut heal = heal.clone();
            heal["told_by"] = teller.as_str().into();
            heals.push(heal);
        }
    }
    heals.sort_by_key(|heal| number(heal, "at_us"));
    if args.json {
        println!("{}", Json::Array(heals));
        return Ok(());
    }
    for heal in &heals {
        let at = clock_time(heal["at_us"].as_i64().unwrap_or_default());
        let how = if heal["returned"] == true { "came back" } else { "came" };
        let (node, teller, total) = (text(heal, "node"), text(heal, "told_by"), number(heal, "total"));
        println!("{at}  {node} {how}, as {teller} saw it; {total} sensor{} settled", plural(total as usize));
        for settled in heal["duplicates"].as_array().into_iter().flatten() {
            let (winner, loser) = (text(&settled["winner"], "node"), text(&settled["loser"], "node"));
            println!("    {}: {winner} won, {loser} let go", text(settled, "sensor"));
        }
    }
    println!("{} heal{}", heals.len(), plural(heals.len()));
    Ok(())
}

// === asking ===

/// Has a node carry out a command, and answers what it did.
fn command(client: &Client, args: &ClientArgs, node: &str, verb: &str, payload: Option<Json>) -> Result<Json, Failure> {
    let payload = payload.map(|payload| ("application/json", payload.to_string().into_bytes()));
    let answers = ask(client, args, &format!("do/{node}/{verb}"), "", payload)?;
    let answer = answers.into_iter().next().map(|(_, answer)| answer);
    answer.ok_or_else(|| Failure::not_found(format!("node {node} does not answer")))
}

/// What Zenoh itself replies, in the place of nodes that did not answer in time.
const TIMEOUT: &str = "Timeout";

pub(super) fn connect(args: &ClientArgs) -> Result<Client, Failure> {
    let root = crate::config::root(Some(args.root.clone())).map_err(Failure::usage)?;
    if !(0.01..=3600.0).contains(&args.timeout) {
        return Err(Failure::usage(format!("--timeout {}: must be 0.01 to 3600 seconds", args.timeout)));
    }
    Client::connect(&args.connect, &root).map_err(Failure::usage)
}

/// All replies as (key, JSON); the first error reply ends it. A node that stands still or is cut off, and is not yet
/// known to be, does not answer: what the others say counts all the same.
pub(super) fn ask(
    client: &Client,
    args: &ClientArgs,
    key: &str,
    parameters: &str,
    payload: Option<(&str, Vec<u8>)>,
) -> Result<Vec<(String, Json)>, Failure> {
    let timeout = Duration::from_secs_f64(args.timeout);
    let replies = client.get(key, parameters, payload, timeout).map_err(Failure::usage)?;
    let parse = |Reply { key, payload }: Reply| {
        let payload = payload.map_err(Failure::usage)?;
        let json = serde_json::from_slice(&payload).map_err(|error| Failure::usage(format!("{key}: {error}")))?;
        Ok((key, json))
    };
    let answered = |reply: &Reply| !matches!(&reply.payload, Err(said) if said == TIMEOUT);
    replies.into_iter().filter(answered).map(parse).collect()
}

fn record_of(client: &Client, args: &ClientArgs, sensor: &str) -> Result<Option<Json>, Failure> {
    if sensor.is_empty() {
        return Err(Failure::usage("a sensor id must not be empty"));
    }
    let records = ask(client, args, &format!("sensors/{}", key::encoded(sensor)), "", None)?;
    // In a takeover two may answer for a moment: the higher claim is right.
    Ok(records.into_iter().map(|(_, record)| record).max_by_key(|record| number(record, "epoch")))
}

fn connected_node(client: &Client, args: &ClientArgs) -> Result<String, Failure> {
    let connected = client.connected();
    let records = ask(client, args, "nodes/*", "", None)?;
    let here =
        records.iter().map(|(_, record)| record).find(|record| connected.iter().any(|zid| zid == text(record, "zid")));
    let here = here.ok_or_else(|| Failure::usage("the node connected to did not say its name; give --node"))?;
    Ok(text(here, "node").to_owned())
}

fn unknown(sensor: &str) -> Failure {
    Failure::not_found(format!("sensor {sensor:?} is not known to any node that answers"))
}

fn is_closed(stopped: &crossbeam_channel::Receiver<()>) -> bool {
    matches!(stopped.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
}

// === showing ===

pub(super) fn text<'a>(json: &'a Json, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_default()
}

pub(super) fn number(json: &Json, field: &str) -> u64 {
    json[field].as_u64().unwrap_or_default()
}

fn with(mut json: Json, sensor: &str, attribute: &str) -> Json {
    json["sensor"] = sensor.into();
    json["attribute"] = attribute.into();
    json
}

pub(super) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn decoded(path: &str) -> (String, String) {
    let (sensor, attribute) = path.split_once('/').unwrap_or((path, ""));
    let decode = |chunk: &str| key::decode_chunk(chunk).unwrap_or_else(|_| chunk.to_owned());
    (decode(sensor), decode(attribute))
}

/// A demand or a pace for people: `every`, `latest`, `none`, or `≤ 4/s`.
pub(super) fn pace(json: &Json) -> String {
    match (json.as_str(), json["interval_us"].as_f64()) {
        (Some(word), _) => word.to_owned(),
        (None, Some(micros)) => format!("≤ {}/s", (1e9 / micros.max(1.0)).round() / 1e3),
        // A node that does not say.
        (None, None) => "?".to_owned(),
    }
}

/// A value for people: short, one line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::F64(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number}"),
        Value::F64(number) => format!("{number:.4}"),
        Value::I64(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) | Value::Json(text) => {
            text.chars().map(|c| if c.is_control() { '·' } else { c }).take(60).collect()
        }
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Vector(vector) => format!("{} numbers", vector.len()),
    }
}

/// A span of time for people.
pub(crate) fn age(micros: Micros) -> String {
    match micros {
        ..0 => "0 ms".to_owned(),
        0..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 => format!("{:.1} s", micros as f64 / 1e6),
        60_000_000..3_600_000_000 => format!("{} min", micros / 60_000_000),
        3_600_000_000..86_400_000_000 => format!("{} h", micros / 3_600_000_000),
        _ => format!("{} days", micros / 86_400_000_000),
    }
}

/// The time of day in UTC.
fn clock_time(micros: Micros) -> String {
    let day = micros.rem_euclid(86_400_000_000);
    let (seconds, millis) = (day / 1_000_000, day / 1000 % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Prints columns under a head.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) {
    columns(head, rows).iter().for_each(|line| println!("{line}"));
}

/// Columns under a head, line by line.
pub(super) fn columns<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(rows).collect()
}

//! What a plain Zenoh client gets from this node: readings, records, listings, node pages, commands.
//!
//! Turns neutral (key, encoding, bytes) into calls of the engine and back into JSON. Knows no Zenoh type.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, Weak};

use senza_core::directory::{Listed, Owner};
use senza_core::key::{self, Pattern};
use senza_core::{Filter, NodeName, Reading, SensorId};
use senza_mesh::clock::Clock;
use senza_mesh::driver::Mailbox;
use senza_mesh::engine::{Comparison, Disagreement, Engine, Mode, Whereis};
use senza_mesh::ownership::contest::{HealReport, Settled};
use senza_mesh::zenoh_plain::{PlainQuery, PlainReply, PlainService, ZenohPlain};
use serde_json::{Value as Json, json};

use crate::accounts;
use crate::ingest::payload::{PayloadError, reading_json};
use crate::ingest::{Admission, zenoh};

/// JSON, as every reply of ours is encoded.
pub const JSON: &str = "application/json";
/// Most readings of one history reply.
pub const HISTORY_REPLY_MAX: usize = 100_000;
/// Most replies to one query; more are asked for in pages.
pub const REPLIES_MAX: usize = 100_000;

/// The service behind the plain key space.
pub struct Plain {
    /// What it speaks for.
    pub engine: Arc<Engine>,
    /// Where puts go.
    pub admission: Arc<Admission>,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// The first chunks of all keys.
    pub root: String,
    /// Where the transport leaves its events: what it lost shows in the statistics.
    pub mailbox: Arc<Mailbox>,
    /// The key space it is served through, once it is.
    pub served: OnceLock<Weak<ZenohPlain>>,
    /// Where the node listens, its Zenoh id, and when it started: what its record says.
    pub about: NodeAbout,
}

/// Makes one of a node's pages.
type Page = fn(&Plain) -> Json;

/// What a node's record says beside counts.
#[derive(Clone, Debug)]
pub struct NodeAbout {
    /// Endpoints it listens on.
    pub listening: Vec<String>,
    /// Its Zenoh id.
    pub zid: String,
    /// When it started, microseconds since 1970.
    pub started_us: i64,
}

impl PlainService for Plain {
    fn put(&self, path: &str, encoding: &str, payload: &[u8]) {
        if let Err(error) = zenoh::put(&self.admission, path, encoding, payload, self.clock.now()) {
            self.admission.refuse(path, &error);
        }
    }

    fn delete(&self, path: &str) {
        if let Err(error) = zenoh::delete(&self.admission, path) {
            self.admission.refuse(path, &error);
        }
    }

    fn get(&self, query: &PlainQuery<'_>) -> Result<Vec<PlainReply>, String> {
        let Some(path) = query.key.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(Vec::new());
        };
        let (part, rest) = path.split_once('/').unwrap_or((path, ""));
        let parameters = Parameters::parse(query.parameters)?;
        match part {
            // A local node answers nobody who asks the cluster; by its name it can be reached.
            "readings" | "sensors" if !self.is_shown() => Ok(Vec::new()),
            "readings" => self.readings(rest, &parameters),
            "sensors" => self.sensors(rest, &parameters),
            "nodes" => Ok(self.node_pages(rest)),
            "in" => self.acknowledged(query, rest),
            "do" => self.command(query, rest),
            // A wider expression than ours, like `senza/**`: answered part by part, so that nothing comes twice.
            _ => Ok(Vec::new()),
        }
    }
}

// === impl Plain: readings and sensors ===

impl Plain {
    /// Whether the node takes part in the cluster.
    pub fn is_shown(&self) -> bool {
        self.engine.mode() != Mode::Local
    }

    /// Latest readings of this node's sensors below `readings/`; with `last`, `from`, `to` or `limit` their history,
    /// one array per key.
    fn readings(&self, path: &str, parameters: &Parameters) -> Result<Vec<PlainReply>, String> {
        let mut replies = Vec::new();
        for (sensor, attribute) in self.local_series(path)? {
            // A key that names one series comes to every node: those that do not own it have nothing to say.
            let Some(latest) = self.engine.latest(sensor.as_str(), attribute.as_str()) else { continue };
            let key = format!("{}/readings/{}", self.root, key::series_path(sensor.as_str(), attribute.as_str()));
            let payload = if parameters.asks_history() {
                let readings = self.engine.history(
                    sensor.as_str(),
                    attribute.as_str(),
                    parameters.from.unwrap_or(i64::MIN),
                    parameters.to.unwrap_or(i64::MAX),
                    parameters.last.or(parameters.limit).unwrap_or(HISTORY_REPLY_MAX).min(HISTORY_REPLY_MAX),
                );
                array(&readings)
            } else {
                reading_json(&latest)
            };
            replies.push(reply(key, payload));
            too_many(replies.len())?;
        }
        Ok(replies)
    }

    /// The series of this node's sensors that a key expression below `readings/` holds.
    fn local_series(&self, path: &str) -> Result<Vec<(SensorId, senza_core::AttributeId)>, String> {
        if let (Ok((sensor, Some(attribute))), false) = (zenoh::parse(path), path.contains('*')) {
            return Ok(vec![(sensor, attribute)]);
        }
        let pattern = Pattern::new(path).map_err(|error| error.to_string())?;
        let mut series = Vec::new();
        let filter = Filter { patterns: vec![pattern.clone()], nodes: vec![self.me().clone()], ..Filter::default() };
        for listed in self.engine.sensors(&filter) {
            let Some(view) = self.engine.view(listed.sensor.as_str()) else { continue };
            let matching = |attribute: &senza_core::AttributeId| {
                pattern.matches(&key::series_path(view.sensor.as_str(), attribute.as_str()))
            };
            let attributes = view.attributes.iter().filter(|attribute| matching(attribute));
            series.extend(attributes.map(|attribute| (view.sensor.clone(), attribute.clone())));
        }
        Ok(series)
    }

    /// Records of this node's sensors below `sensors/`, and the count that proves them complete.
    fn sensors(&self, path: &str, parameters: &Parameters) -> Result<Vec<PlainReply>, String> {
        if parameters.node.as_deref().is_some_and(|node| node != self.me().as_str()) {
            return Ok(Vec::new());
        }
        if !path.contains('*') && !path.starts_with("%count/") {
            let id = key::decode_chunk(path).map_err(|error| error.to_string())?;
            let listed = self.engine.listed(&id).filter(|listed| listed.owner.local);
            return Ok(listed.map(|listed| self.record_reply(&listed)).into_iter().collect());
        }
        let pattern = Pattern::new(path).map_err(|error| error.to_string())?;
        let count_key = format!("%count/{}", self.me());
        let filter = Filter { patterns: vec![pattern.clone()], nodes: vec![self.me().clone()], ..Filter::default() };
        let mut listed = if path.starts_with("%count/") { Vec::new() } else { self.engine.sensors(&filter) };
        listed.sort_unstable_by(|a, b| a.sensor.cmp(&b.sensor));
        let matched = listed.len();
        if let Some(after) = &parameters.after {
            listed.retain(|listed| listed.sensor.as_str() > after.as_str());
        }
        listed.truncate(parameters.limit.unwrap_or(REPLIES_MAX).min(REPLIES_MAX));
        let mut replies: Vec<PlainReply> = listed.iter().map(|listed| self.record_reply(listed)).collect();
        if pattern.matches(&count_key) || pattern.matches_sensor("%count") {
            let nodes = self.engine.nodes();
            let up: Vec<&str> = nodes.iter().map(|node| node.life.node.as_str()).collect();
            let count = json!({ "node": self.me().as_str(), "sensors": matched, "sent": replies.len(), "nodes": up });
            replies.push(reply(format!("{}/sensors/{count_key}", self.root), count.to_string()));
        }
        Ok(replies)
    }

    fn record_reply(&self, listed: &Listed) -> PlainReply {
        reply(self.sensor_key(&listed.sensor), self.record(listed).to_string())
    }

    /// The key of a sensor's record.
    pub fn sensor_key(&self, sensor: &SensorId) -> String {
        format!("{}/sensors/{}", self.root, key::encoded(sensor.as_str()))
    }

    /// The key of a reading.
    pub fn reading_key(&self, reading: &Reading) -> String {
        let series = &reading.series;
        format!("{}/readings/{}", self.root, key::series_path(series.sensor.as_str(), series.attribute.as_str()))
    }

    /// A sensor's record as JSON.
    pub fn record(&self, listed: &Listed) -> Json {
        let view = self.engine.view(listed.sensor.as_str());
        let meta = view.as_ref().and_then(|view| serde_json::from_str(&view.meta).ok()).unwrap_or(json!({}));
        let attributes: Vec<String> =
            view.map(|view| view.attributes.iter().map(ToString::to_string).collect()).unwrap_or_default();
        json!({
            "sensor": listed.sensor.as_str(),
            "type": listed.sensor_type.as_str(),
            "node": listed.owner.life.node.as_str(),
            "incarnation": listed.owner.life.incarnation,
            "epoch": listed.owner.epoch,
            "state": "live",
            "attributes": attributes,
            "demand": accounts::demand(self.engine.demand(listed.sensor.as_str())),
            "meta": meta,
        })
    }
}

// === impl Plain: nodes, puts with an answer, commands ===

impl Plain {
    fn me(&self) -> &NodeName {
        &self.engine.me().node
    }

    /// This node's pages below `nodes/`.
    fn node_pages(&self, path: &str) -> Vec<PlainReply> {
        let me = self.me();
        let Ok(pattern) = Pattern::new(path) else { return Vec::new() };
        let pages: [(String, Page); 6] = [
            (me.to_string(), Self::node_record),
            (format!("{me}/stats"), Self::stats),
            (format!("{me}/links"), Self::links),
            (format!("{me}/heals"), Self::heals),
            (format!("{me}/subscriptions"), Self::subscriptions),
            (format!("{me}/latency"), Self::latency),
        ];
        let asked = pages.iter().filter(|(page, _)| pattern.matches(page));
        asked.map(|(page, json)| reply(format!("{}/nodes/{page}", self.root), json(self).to_string())).collect()
    }

    /// Every subscription and every link's queue with its ledger, the oldest first.
    fn subscriptions(&self) -> Json {
        self.engine.accounts().iter().take(REPLIES_MAX).map(accounts::account).collect()
    }

    /// How long readings took, hop by hop, and by how much the others' clocks differ.
    fn latency(&self) -> Json {
        let hops: Vec<Json> = self.engine.latencies().iter().map(accounts::hop).collect();
        let clocks = self.engine.clocks();
        let clocks: Vec<Json> = clocks.iter().map(|(node, offset)| accounts::clock(node.as_str(), *offset)).collect();
        json!({ "hops": hops, "clocks": clocks })
    }

    fn node_record(&self) -> Json {
        let nodes = self.engine.nodes();
        let seen: serde_json::Map<String, Json> =
            nodes.iter().map(|node| (node.life.node.to_string(), json!(node.sensors))).collect();
        json!({
            "node": self.me().as_str(),
            "incarnation": self.engine.me().incarnation,
            "zid": self.about.zid,
            "listen": self.about.listening,
            "mode": self.engine.mode().as_str(),
            "synced": self.engine.synced(),
            "started_us": self.about.started_us,
            "sensors": nodes.iter().find(|node| node.local).map_or(0, |node| node.sensors),
            "sees": seen,
        })
    }

    fn stats(&self) -> Json {
        let (counters, ownership) = self.engine.counters();
        let mut stats: serde_json::Map<String, Json> =
            counters.named().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        stats.insert("inbox_overflow".into(), json!(self.mailbox.overflow()));
        if let Some(served) = self.served.get().and_then(Weak::upgrade) {
            let plain = served.counts();
            let plain = json!({
                "puts": plain.puts, "puts_dropped": plain.puts_dropped, "queries": plain.queries,
                "queries_refused": plain.queries_refused, "published": plain.published,
                "published_bytes": plain.published_bytes, "publish_lost": plain.publish_lost,
                "followed": plain.followed, "follow_blind": plain.follow_blind, "taps": plain.taps,
                "taps_failed": plain.taps_failed,
            });
            stats.insert("plain".into(), plain);
        }
        stats.insert("payloads_refused".into(), json!(self.admission.refused()));
        let ownership = json!({
            "stale_messages": ownership.stale, "partitions_pulled": ownership.pulled,
            "nodes_returned": ownership.returned, "notices_sent": ownership.noticed,
            "changes_refused": ownership.refused, "epochs_ahead": ownership.ahead,
        });
        stats.insert("ownership".into(), ownership);
        stats.insert("flapping_now".into(), self.engine.flapping().iter().map(|lost| {
            json!({ "sensor": lost.sensor.as_str(), "times": lost.times, "winner": lost.winner.as_str(), "at_us": lost.at })
        }).collect());
        if self.engine.mode() == Mode::Shadow {
            stats.insert("shadow".into(), shadow(&self.engine.comparison()));
        }
        Json::Object(stats)
    }

    /// What the last heals settled, oldest first.
    fn heals(&self) -> Json {
        let claim = |owner: &Owner| json!({ "node": owner.life.node.as_str(), "epoch": owner.epoch });
        let settled = |settled: &Settled| json!({ "sensor": settled.sensor.as_str(), "winner": claim(&settled.winner), "loser": claim(&settled.loser) });
        let heals = self.engine.heals();
        let heal = |report: &Arc<HealReport>| {
            let duplicates: Vec<Json> = report.duplicates.iter().map(settled).collect();
            json!({
                "node": report.node.node.as_str(), "incarnation": report.node.incarnation, "returned": report.returned,
                "at_us": report.at, "total": report.total, "duplicates": duplicates,
            })
        };
        heals.iter().map(heal).collect()
    }

    fn links(&self) -> Json {
        let link = |link: &senza_mesh::engine::LinkView| {
            let counts = |counts: &senza_mesh::relay::LinkCounts| {
                json!({
                    "frames": counts.frames, "bytes": counts.bytes, "readings": counts.readings,
                    "frames_lost": counts.frames_lost, "refused": counts.refused, "resets": counts.resets,
                })
            };
            json!({ "node": link.node.as_str(), "sent": counts(&link.sent), "received": counts(&link.received) })
        };
        let messages = |traffic: &senza_mesh::transport::LinkTraffic| {
            json!({
                "node": traffic.node.as_ref().map(NodeName::as_str),
                "sent": { "messages": traffic.sent.0, "bytes": traffic.sent.1 },
                "received": { "messages": traffic.received.0, "bytes": traffic.received.1 },
            })
        };
        let links: Vec<Json> = self.engine.links().iter().map(link).collect();
        let traffic: Vec<Json> = self.engine.traffic().iter().map(messages).collect();
        json!({ "links": links, "messages": traffic })
    }

    /// A put below `in/<me>/` that comes as a query: answered after it was taken.
    fn acknowledged(&self, query: &PlainQuery<'_>, path: &str) -> Result<Vec<PlainReply>, String> {
        let Some(path) = path.strip_prefix(self.me().as_str()).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(Vec::new());
        };
        let (encoding, payload) = query.payload.ok_or("a query on in/ is a put: it needs a payload")?;
        let taken = zenoh::put(&self.admission, path, encoding, payload, self.clock.now()).and_then(|seq| {
            let (sensor, _) = zenoh::parse(path)?;
            let owner = self.engine.whereis(sensor.as_str());
            let Whereis::Local { epoch } = owner else {
                return Err(PayloadError::rule(sensor.as_str(), "was taken over by another node meanwhile"));
            };
            Ok(json!({ "seq": seq, "epoch": epoch, "node": self.me().as_str() }))
        });
        match taken {
            Ok(answer) => Ok(vec![reply(query.key.to_owned(), answer.to_string())]),
            Err(error) => {
                self.admission.refuse(path, &error);
                Err(error.to_string())
            }
        }
    }

    /// A command below `do/<me>/`.
    fn command(&self, query: &PlainQuery<'_>, path: &str) -> Result<Vec<PlainReply>, String> {
        let Some(verb) = path.strip_prefix(self.me().as_str()).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(Vec::new());
        };
        let answer = match verb {
            "whereis" => self.whereis(query)?,
            "move" => self.move_here(query)?,
            "mode" => self.switch(query)?,
            other => return Err(format!("{other:?} is no command; there are: whereis, move, mode")),
        };
        Ok(vec![reply(query.key.to_owned(), answer)])
    }

    /// Where this node sees a sensor: its own view, whoever owns it.
    fn whereis(&self, query: &PlainQuery<'_>) -> Result<String, String> {
        let sensor = text_field(query, "sensor")?;
        let (found, node, epoch) = match self.engine.whereis(&sensor) {
            Whereis::Local { epoch } => ("local", Some(self.me().clone()), Some(epoch)),
            Whereis::Remote { node, epoch } => ("remote", Some(node), Some(epoch)),
            Whereis::NotFound => ("not_found", None, None),
        };
        let node = node.as_ref().map(NodeName::as_str);
        Ok(json!({ "sensor": sensor, "found": found, "node": node, "epoch": epoch }).to_string())
    }
}

impl Plain {
    /// Makes a sensor that another node owns this node's own: a claim with a higher epoch, of the same type.
    fn move_here(&self, query: &PlainQuery<'_>) -> Result<String, String> {
        let sensor = text_field(query, "sensor")?;
        let known = self.engine.listed(&sensor).ok_or_else(|| format!("sensor {sensor:?} is not known"))?;
        let epoch = self.admission.take_over(&known).map_err(|error| error.to_string())?;
        let previous = known.owner.life.node.as_str();
        Ok(json!({ "sensor": sensor, "node": self.me().as_str(), "epoch": epoch, "previous": previous }).to_string())
    }
}

impl Plain {
    /// Switches this node's mode; without a field `mode` it only says which it is.
    fn switch(&self, query: &PlainQuery<'_>) -> Result<String, String> {
        let before = match query.payload {
            None => self.engine.mode(),
            Some(_) => {
                let word = text_field(query, "mode")?;
                let mode = Mode::named(&word).ok_or_else(|| format!("mode {word:?}: must be cluster or local"))?;
                if mode == Mode::Shadow {
                    return Err(
                        "mode \"shadow\" needs a registry to compare with: an embedder switches to it".to_owned()
                    );
                }
                self.engine.switch(mode)
            }
        };
        let (now, before) = (self.engine.mode().as_str(), before.as_str());
        Ok(json!({ "node": self.me().as_str(), "mode": now, "previous": before }).to_string())
    }
}

fn shadow(comparison: &Comparison) -> Json {
    let sample = |sample: &Disagreement| {
        let name = |node: &Option<NodeName>| node.as_ref().map(ToString::to_string);
        json!({
            "sensor": sample.sensor, "existing": name(&sample.existing), "senza": name(&sample.senza), "at_us": sample.at,
        })
    };
    let samples: Vec<Json> = comparison.samples.iter().map(sample).collect();
    json!({
        "compared": comparison.compared, "missing": comparison.missing, "extra": comparison.extra,
        "other_node": comparison.other_node, "samples": samples,
    })
}

fn text_field(query: &PlainQuery<'_>, field: &str) -> Result<String, String> {
    let (_, payload) = query.payload.ok_or_else(|| format!("the command needs a JSON payload with {field:?}"))?;
    let json: Json = serde_json::from_slice(payload).map_err(|error| format!("payload: {error}"))?;
    json.get(field).and_then(Json::as_str).map(str::to_owned).ok_or_else(|| format!("field {field:?} must be text"))
}

fn reply(key: String, payload: String) -> PlainReply {
    PlainReply { key, encoding: JSON, payload: payload.into_bytes() }
}

fn array(readings: &[Reading]) -> String {
    let mut out = String::from("[");
    for (at, reading) in readings.iter().enumerate() {
        // Writing to a String cannot fail.
        let _written = write!(out, "{}{}", if at > 0 { "," } else { "" }, reading_json(reading));
    }
    out.push(']');
    out
}

fn too_many(replies: usize) -> Result<(), String> {
    if replies > REPLIES_MAX { Err(format!("more than {REPLIES_MAX} series match; ask for fewer")) } else { Ok(()) }
}

// === parameters ===

/// What stands behind `?` in a selector.
#[derive(Debug, Default)]
struct Parameters {
    last: Option<usize>,
    limit: Option<usize>,
    from: Option<i64>,
    to: Option<i64>,
    node: Option<String>,
    after: Option<String>,
}

impl Parameters {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || value.parse().map_err(|_| format!("parameter {name}={value}: must be a count"));
            let time =
                || value.parse().map_err(|_| format!("parameter {name}={value}: must be microseconds since 1970"));
            match name {
                "last" => parameters.last = Some(number()?),
                "limit" => parameters.limit = Some(number()?),
                "from" => parameters.from = Some(time()?),
                "to" => parameters.to = Some(time()?),
                "node" => parameters.node = Some(value.to_owned()),
                "after" => {
                    let after = key::decode_chunk(value).map_err(|error| format!("parameter after: {error}"))?;
                    parameters.after = Some(after);
                }
                // Zenoh's own and what others add pass by.
                _ => {}
            }
        }
        Ok(parameters)
    }

    fn asks_history(&self) -> bool {
        self.last.is_some() || self.limit.is_some() || self.from.is_some() || self.to.is_some()
    }
}

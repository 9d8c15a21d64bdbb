//! Every setting of a node: flags over environment (`SENZA_…`) over `senza.toml` over what stands here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use senza_core::NodeName;
use senza_core::table::TableLimits;
use senza_mesh::engine::Mode;
use serde::Deserialize;

/// The settings of one node, complete and within their ranges.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, unique in the cluster; default: the host's name.
    pub name: NodeName,
    /// The first chunk of all keys; default `senza`.
    pub root: String,
    /// Endpoints to listen on; default `tcp/127.0.0.1:7447`. Port 0 picks a free one.
    pub listen: Vec<String>,
    /// Endpoints of other nodes; gossip completes the clique.
    pub connect: Vec<String>,
    /// Bounds of the table.
    pub table: TableLimits,
    /// A sensor that came by a front door without a connection is unregistered after so many seconds of silence;
    /// 1 to 31,536,000, default 3,600.
    pub idle_unregister_s: u64,
    /// After so many milliseconds of silence a link is closed; 500 to 600,000, default 10,000.
    pub lease_ms: u64,
    /// A node that is not heard, or does not hear this one, for so many milliseconds is down; beacons come three times as
    /// often. 300 to 600,000, default 2,400; the same on all nodes.
    pub silence_ms: u64,
    /// For so many milliseconds after a sensor was taken over by another node, its readings here are refused as late;
    /// 0 to 3,600,000, default 5,000.
    pub takeover_holdoff_ms: u64,
    /// How far the node takes part in the cluster at first: `cluster` or `local`; default `cluster`. An embedder
    /// switches to `shadow`.
    pub mode: Mode,
    /// Further settings of Zenoh, path to JSON5 value.
    pub zenoh: Vec<(String, String)>,
}

/// What a configuration can get wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system or the parser says.
        reason: String,
    },
    /// A setting outside its rule.
    #[error("setting {setting} = {value}: {rule}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The rule it breaks.
        rule: String,
    },
}

/// The settings as flags and environment give them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Name of this node, unique in the cluster: lower-case letters, digits and - (default: the host's name)
    #[arg(long, env = "SENZA_NAME")]
    pub name: Option<String>,
    /// Endpoint to listen on; may be given several times; port 0 picks a free one (default: tcp/127.0.0.1:7447)
    #[arg(long, env = "SENZA_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Endpoint of another node; may be given several times
    #[arg(long, env = "SENZA_CONNECT", value_delimiter = ',')]
    pub connect: Vec<String>,
    /// Configuration file (default: senza.toml, if it is there)
    #[arg(long, env = "SENZA_CONFIG")]
    pub config: Option<PathBuf>,
    /// First chunk of all keys (default: senza)
    #[arg(long, env = "SENZA_ROOT")]
    pub root: Option<String>,
    /// Allow an address that is not loopback without TLS
    #[arg(long, env = "SENZA_INSECURE")]
    pub insecure: bool,
    /// Most sensors of this node (default: 10000000)
    #[arg(long, env = "SENZA_SENSORS_MAX")]
    pub sensors_max: Option<usize>,
    /// Most attributes of one sensor (default: 1024)
    #[arg(long, env = "SENZA_ATTRIBUTES_MAX")]
    pub attributes_max: Option<usize>,
    /// Readings kept per attribute (default: 16)
    #[arg(long, env = "SENZA_HISTORY_MAX")]
    pub history_max: Option<usize>,
    /// Seconds of silence after which a sensor without a connection is unregistered (default: 3600)
    #[arg(long, env = "SENZA_IDLE_UNREGISTER_S")]
    pub idle_unregister_s: Option<u64>,
    /// Milliseconds of silence after which a link is closed (default: 10000)
    #[arg(long, env = "SENZA_LEASE_MS")]
    pub lease_ms: Option<u64>,
    /// Milliseconds of silence after which a node is down, the same on all nodes (default: 2400)
    #[arg(long, env = "SENZA_SILENCE_MS")]
    pub silence_ms: Option<u64>,
    /// Milliseconds after a takeover by another node in which readings here are refused as late (default: 5000)
    #[arg(long, env = "SENZA_TAKEOVER_HOLDOFF_MS")]
    pub takeover_holdoff_ms: Option<u64>,
    /// How far the node takes part at first: cluster, or local (default: cluster)
    #[arg(long, env = "SENZA_MODE")]
    pub mode: Option<String>,
}

/// The settings as `senza.toml` gives them; every one may be left out, an unknown one is an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    root: Option<String>,
    listen: Option<Vec<String>>,
    connect: Option<Vec<String>>,
    insecure: Option<bool>,
    sensors_max: Option<usize>,
    attributes_max: Option<usize>,
    history_max: Option<usize>,
    idle_unregister_s: Option<u64>,
    lease_ms: Option<u64>,
    silence_ms: Option<u64>,
    takeover_holdoff_ms: Option<u64>,
    mode: Option<String>,
    #[serde(default)]
    zenoh: BTreeMap<String, toml::Value>,
}

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "senza.toml";
/// Where a node listens and a client connects by default.
pub const DEFAULT_ENDPOINT: &str = "tcp/127.0.0.1:7447";
/// Where a node inside another program listens by default: a free port of this machine alone.
const FREE_LOOPBACK: &str = "tcp/127.0.0.1:0";
/// The first chunk of all keys by default.
pub const DEFAULT_ROOT: &str = "senza";

// === impl Config ===

impl Config {
    /// A node of that name on a free loopback port, for tests and embedders; change what you like.
    pub fn loopback(name: NodeName) -> Self {
        Self {
            name,
            root: DEFAULT_ROOT.to_owned(),
            listen: vec![FREE_LOOPBACK.to_owned()],
            connect: Vec::new(),
            table: TableLimits::default(),
            idle_unregister_s: 3600,
            lease_ms: 10_000,
            silence_ms: 2_400,
            takeover_holdoff_ms: 5_000,
            mode: Mode::Cluster,
            zenoh: Vec::new(),
        }
    }

    /// Joins flags, environment and file, and holds every setting to its range.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and the rule.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let file = read_file(flags.config.as_deref())?;
        Self::join(flags, file, DEFAULT_ENDPOINT)
    }

    /// The same for a node inside another program: no file but one that `flags` name, and a free loopback port where
    /// none is given.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn embedded(flags: Flags) -> Result<Self, ConfigError> {
        let file = if flags.config.is_some() { read_file(flags.config.as_deref())? } else { File::default() };
        Self::join(flags, file, FREE_LOOPBACK)
    }

    fn join(flags: Flags, file: File, listen: &str) -> Result<Self, ConfigError> {
        let name = match flags.name.or(file.name) {
            Some(name) => NodeName::new(&name).map_err(|error| refuse("name", name, error))?,
            None => NodeName::from_host(&sysinfo::System::host_name().unwrap_or_default()),
        };
        let defaults = TableLimits::default();
        let table = TableLimits {
            sensors_max: flags.sensors_max.or(file.sensors_max).unwrap_or(defaults.sensors_max),
            attributes_max: flags.attributes_max.or(file.attributes_max).unwrap_or(defaults.attributes_max),
            history_max: flags.history_max.or(file.history_max).unwrap_or(defaults.history_max),
            ..defaults
        };
        let config = Self {
            name,
            root: flags.root.or(file.root).unwrap_or_else(|| DEFAULT_ROOT.to_owned()),
            listen: given(flags.listen, file.listen, &[listen]),
            connect: given(flags.connect, file.connect, &[]),
            table,
            idle_unregister_s: flags.idle_unregister_s.or(file.idle_unregister_s).unwrap_or(3600),
            lease_ms: flags.lease_ms.or(file.lease_ms).unwrap_or(10_000),
            silence_ms: flags.silence_ms.or(file.silence_ms).unwrap_or(2_400),
            takeover_holdoff_ms: flags.takeover_holdoff_ms.or(file.takeover_holdoff_ms).unwrap_or(5_000),
            mode: mode(flags.mode.or(file.mode))?,
            zenoh: file.zenoh.iter().map(|(path, value)| (path.clone(), json5(value))).collect(),
        };
        config.check(flags.insecure || file.insecure.unwrap_or_default())?;
        Ok(config)
    }

    /// Holds every setting to its range, for whoever filled it in by hand. `insecure` allows an address that is not
    /// loopback without TLS.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] names the setting and the rule.
    pub fn check(&self, insecure: bool) -> Result<(), ConfigError> {
        in_range("sensors_max", self.table.sensors_max as u64, 1, 100_000_000)?;
        in_range("attributes_max", self.table.attributes_max as u64, 1, 65_535)?;
        in_range("history_max", self.table.history_max as u64, 1, 1_000_000)?;
        in_range("idle_unregister_s", self.idle_unregister_s, 1, 31_536_000)?;
        in_range("lease_ms", self.lease_ms, 500, 600_000)?;
        in_range("silence_ms", self.silence_ms, 300, 600_000)?;
        in_range("takeover_holdoff_ms", self.takeover_holdoff_ms, 0, 3_600_000)?;
        root(Some(self.root.clone()))?;
        for endpoint in self.listen.iter().chain(&self.connect) {
            check_endpoint(endpoint)?;
        }
        self.listen.iter().try_for_each(|endpoint| check_exposure(endpoint, insecure))
    }
}

fn read_file(named: Option<&Path>) -> Result<File, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let refuse = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(File::default()),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn mode(given: Option<String>) -> Result<Mode, ConfigError> {
    let Some(word) = given else { return Ok(Mode::Cluster) };
    let mode = Mode::named(&word).filter(|mode| *mode != Mode::Shadow);
    mode.ok_or_else(|| refuse("mode", word, "must be cluster or local; an embedder switches to shadow"))
}

fn given(flags: Vec<String>, file: Option<Vec<String>>, default: &[&str]) -> Vec<String> {
    if flags.is_empty() { file.unwrap_or_else(|| default.iter().map(ToString::to_string).collect()) } else { flags }
}

/// Checks a root for keys: chunks without wildcards.
///
/// # Errors
/// [`ConfigError::Setting`] with the rule.
pub fn root(given: Option<String>) -> Result<String, ConfigError> {
    let root = given.unwrap_or_else(|| DEFAULT_ROOT.to_owned());
    let bad_chunk = |chunk: &str| chunk.is_empty() || chunk.contains(['*', '$', '?', '#', '@', '%']);
    if root.len() > 256 || root.split('/').any(bad_chunk) {
        return Err(refuse("root", root, "must be chunks joined by /, none empty, without * $ ? # @ %"));
    }
    Ok(root)
}

fn check_endpoint(endpoint: &str) -> Result<(), ConfigError> {
    let rule = "must be an endpoint like tcp/127.0.0.1:7447 or tls/host:7447";
    let address = endpoint.split_once('/').filter(|(protocol, _)| ["tcp", "tls"].contains(protocol));
    let port = address.and_then(|(_, address)| address.rsplit_once(':')).map(|(_, port)| port.split(['?', '#']).next());
    match port.flatten().map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(()),
        _ => Err(refuse("listen/connect", endpoint.to_owned(), rule)),
    }
}

/// An address that others can reach needs TLS, or somebody's word that it may go without.
fn check_exposure(endpoint: &str, insecure: bool) -> Result<(), ConfigError> {
    let host =
        endpoint.split_once('/').map_or("", |(_, address)| address.rsplit_once(':').map_or("", |(host, _)| host));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback || insecure || endpoint.starts_with("tls/") {
        return Ok(());
    }
    Err(refuse("listen", endpoint.to_owned(), "an address that is not loopback needs tls/… or --insecure"))
}

fn in_range(setting: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse(setting, value.to_string(), format!("must be {least} to {most}")))
}

fn refuse(setting: &'static str, value: impl ToString, rule: impl ToString) -> ConfigError {
    ConfigError::Setting { setting, value: value.to_string(), rule: rule.to_string() }
}

/// A TOML value as JSON5: JSON, which it contains.
fn json5(value: &toml::Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, flags: Flags) -> Result<Config, ConfigError> {
        let file = std::env::temp_dir().join(format!("senza-config-{}.toml", rand::random::<u64>()));
        std::fs::write(&file, toml).unwrap();
        let loaded = Config::load(Flags { config: Some(file.clone()), ..flags });
        std::fs::remove_file(file).unwrap();
        loaded
    }

    #[test]
    fn flags_win_over_the_file() {
        let toml = "name = \"from-file\"\nhistory_max = 7\nlisten = [\"tcp/127.0.0.1:0\"]";
        let config = load(toml, Flags { name: Some("from-flag".into()), ..Flags::default() }).unwrap();
        assert_eq!((config.name.as_str(), config.table.history_max), ("from-flag", 7));
        assert_eq!(config.listen, ["tcp/127.0.0.1:0"]);
    }

    #[test]
    fn what_is_filled_in_by_hand_is_held_to_the_same_rules() {
        let good = Config::loopback(NodeName::new("a").unwrap());
        assert!(good.check(false).is_ok());
        let wrong = |change: fn(&mut Config), rule: &str| {
            let mut config = good.clone();
            change(&mut config);
            let error = config.check(false).unwrap_err().to_string();
            assert!(error.contains(rule), "{error}");
        };
        wrong(|config| config.table.attributes_max = 65_536, "attributes_max = 65536: must be 1 to 65535");
        wrong(|config| config.root = "a//b".to_owned(), "root");
        wrong(|config| config.connect = vec!["nowhere".to_owned()], "endpoint like tcp/");
        wrong(|config| config.listen = vec!["tcp/0.0.0.0:0".to_owned()], "--insecure");
    }

    #[test]
    fn an_embedded_node_takes_a_free_port_and_no_file_but_a_named_one() {
        let config = Config::embedded(Flags { name: Some("a".into()), ..Flags::default() }).unwrap();
        assert_eq!((config.name.as_str(), config.listen.as_slice()), ("a", ["tcp/127.0.0.1:0".to_owned()].as_slice()));
        let missing = Flags { config: Some("not-there.toml".into()), ..Flags::default() };
        assert!(Config::embedded(missing).unwrap_err().to_string().contains("not-there.toml"));
        let out_of_range = Flags { history_max: Some(0), ..Flags::default() };
        assert!(Config::embedded(out_of_range).unwrap_err().to_string().contains("history_max"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_rule() {
        for (toml, named) in [
            ("nmae = \"a\"", "nmae"),
            ("name = \"Big\"", "[a-z0-9]"),
            ("history_max = 0", "history_max = 0: must be 1 to 1000000"),
            ("lease_ms = 1", "lease_ms"),
            ("silence_ms = 1", "silence_ms = 1: must be 300 to 600000"),
            ("mode = \"shadow\"", "must be cluster or local"),
            ("root = \"a/*\"", "root"),
            ("listen = [\"udp/127.0.0.1:1\"]", "endpoint like tcp/"),
            ("listen = [\"tcp/0.0.0.0:7447\"]", "--insecure"),
            ("listen = \"x\"", "listen"),
        ] {
            let error = load(toml, Flags::default()).unwrap_err().to_string();
            assert!(error.contains(named), "{toml}: {error}");
        }
        assert!(load("listen = [\"tcp/0.0.0.0:7447\"]\ninsecure = true", Flags::default()).is_ok());
        assert!(load("listen = [\"tcp/[::1]:7447\"]", Flags::default()).is_ok());
        let missing = Flags { config: Some("not-there.toml".into()), ..Flags::default() };
        assert!(Config::load(missing).unwrap_err().to_string().contains("not-there.toml"));
    }
}

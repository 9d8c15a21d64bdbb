//! The key space: ids in keys, patterns over keys, and filters made of both.
//!
//! An id becomes one key chunk by percent-encoding; the mapping is injective, so that two ids never share a key.
//! Knows nothing of Zenoh's types: a key is text here.

use crate::error::{Error, Result};
use crate::reading::{AttributeId, NodeName, SensorId, SensorType, Series};

/// Most bytes of one pattern.
pub const PATTERN_MAX: usize = 1024;
/// Most entries of all lists of one filter together.
pub const FILTER_ENTRIES_MAX: usize = 4096;

/// Encodes an id as one key chunk: every byte outside `A-Z a-z 0-9 . _ ~ : -` becomes `%XX`, upper case.
pub fn encode_chunk(id: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in id.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// [`encode_chunk`] into a string of its own.
pub fn encoded(id: &str) -> String {
    let mut out = String::with_capacity(id.len() + 8);
    encode_chunk(id, &mut out);
    out
}

/// Decodes one key chunk. Escapes that need not be, and lower-case ones, are accepted: they name the same id.
///
/// # Errors
/// [`Error::Key`] for an empty chunk, a cut or non-hexadecimal escape, or bytes that are not UTF-8.
pub fn decode_chunk(chunk: &str) -> Result<String> {
    let refuse = |rule| Error::Key { chunk: chunk.chars().take(80).collect(), rule };
    if chunk.is_empty() {
        return Err(refuse("a chunk must not be empty"));
    }
    let mut bytes = Vec::with_capacity(chunk.len());
    let mut rest = chunk.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |c: Option<u8>| c.and_then(|c| char::from(c).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(refuse("`%` must be followed by two hexadecimal digits")),
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("the decoded bytes must be UTF-8"))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b':' | b'-')
}

/// `<sensor>/<attribute>` as it stands in keys.
pub fn series_path(sensor: &str, attribute: &str) -> String {
    let mut path = String::with_capacity(sensor.len() + attribute.len() + 9);
    encode_chunk(sensor, &mut path);
    path.push('/');
    encode_chunk(attribute, &mut path);
    path
}

/// A series' path, made when it is first asked for.
#[derive(Debug, Default)]
pub struct SeriesPath(std::cell::OnceCell<String>);

impl SeriesPath {
    /// Of that series, and of no other.
    pub fn new(_series: &Series) -> Self {
        Self::default()
    }

    fn get(&self, series: &Series) -> &str {
        self.0.get_or_init(|| series_path(series.sensor.as_str(), series.attribute.as_str()))
    }
}

/// A set of `<sensor>/<attribute>` paths, written as a key expression: `*` is one chunk, `**` any number of chunks,
/// `$*` any text inside a chunk. Chunks are encoded as in keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Checks and keeps a pattern.
    ///
    /// # Errors
    /// [`Error::Pattern`] for an empty or too long pattern, an empty chunk, or a misplaced `*`, `$`, `?`, `#`.
    pub fn new(text: &str) -> Result<Self> {
        let refuse = |rule| Error::Pattern { pattern: text.chars().take(80).collect(), rule };
        if text.is_empty() || text.len() > PATTERN_MAX {
            return Err(refuse("must have 1 to 1024 bytes"));
        }
        for chunk in text.split('/') {
            if chunk.is_empty() {
                return Err(refuse("a chunk must not be empty"));
            }
            if chunk == "*" || chunk == "**" {
                continue;
            }
            let plain = chunk.replace("$*", "");
            if plain.contains(['*', '$', '?', '#']) {
                return Err(refuse(
                    "`*` stands alone, as `**`, or inside a chunk as `$*`; `?` and `#` are not allowed",
                ));
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path (encoded chunks) is in the set. Cost: linear for ordinary patterns; no allocation.
    pub fn matches(&self, path: &str) -> bool {
        path_matches(Some(&self.0), Some(path))
    }

    /// Whether some path of this sensor (an encoded chunk) can be in the set.
    pub fn matches_sensor(&self, chunk: &str) -> bool {
        let head = self.0.split('/').next().unwrap_or_default();
        head == "**" || chunk_matches(head, chunk)
    }
}

/// The first chunk and what follows it.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(head, rest)| (head, Some(rest)))
}

fn path_matches(pattern: Option<&str>, path: Option<&str>) -> bool {
    let Some(pattern) = pattern else { return path.is_none() };
    let (head, rest) = split(pattern);
    if head == "**" {
        let mut tail = path;
        loop {
            if path_matches(rest, tail) {
                return true;
            }
            match tail {
                Some(path) => tail = split(path).1,
                None => return false,
            }
        }
    }
    let Some(path) = path else { return false };
    let (chunk, tail) = split(path);
    chunk_matches(head, chunk) && path_matches(rest, tail)
}

fn chunk_matches(pattern: &str, chunk: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some((head, last)) = pattern.rsplit_once("$*") else { return pattern == chunk };
    let mut parts = head.split("$*");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = chunk.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Which readings a subscription is about. Within a list any entry fits; between lists all must fit; an empty list
/// asks nothing. `sensors` and `patterns` are one list in this sense.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter {
    /// Exact sensor ids.
    pub sensors: Vec<SensorId>,
    /// Patterns over `<sensor>/<attribute>`.
    pub patterns: Vec<Pattern>,
    /// Exact attribute ids.
    pub attributes: Vec<AttributeId>,
    /// Sensor types.
    pub types: Vec<SensorType>,
    /// Owners.
    pub nodes: Vec<NodeName>,
}

impl Filter {
    /// Every reading of every sensor.
    pub fn all() -> Self {
        Self::default()
    }

    /// Every reading of one sensor.
    pub fn sensor(id: SensorId) -> Self {
        Self { sensors: vec![id], ..Self::default() }
    }

    /// Readings of the series that a pattern over `<sensor>/<attribute>` holds.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn pattern(text: &str) -> Result<Self> {
        Ok(Self { patterns: vec![Pattern::new(text)?], ..Self::default() })
    }

    /// Holds the filter to its size limit.
    ///
    /// # Errors
    /// [`Error::Full`] when its lists together hold more than [`FILTER_ENTRIES_MAX`] entries.
    pub fn check(&self) -> Result<()> {
        let entries =
            self.sensors.len() + self.patterns.len() + self.attributes.len() + self.types.len() + self.nodes.len();
        if entries > FILTER_ENTRIES_MAX {
            return Err(Error::Full { what: "filter entries", max: FILTER_ENTRIES_MAX });
        }
        Ok(())
    }

    /// Whether only exact sensor ids say which sensors are meant.
    pub fn is_narrow(&self) -> bool {
        !self.sensors.is_empty() && self.patterns.is_empty()
    }

    /// Whether readings of the series are asked for.
    pub fn matches(&self, series: &Series) -> bool {
        self.matches_path(series, &SeriesPath::new(series))
    }

    /// [`matches`](Self::matches) for many filters and one series, whose path is made at most once.
    pub fn matches_path(&self, series: &Series, path: &SeriesPath) -> bool {
        any(&self.attributes, &series.attribute)
            && any(&self.types, &series.sensor_type)
            && any(&self.nodes, &series.node)
            && self.sensor_matches(series.sensor.as_str(), |pattern| pattern.matches(path.get(series)))
    }

    /// Whether a sensor is meant, whatever its attributes: what a listing asks. Of a pattern only the sensor's chunk
    /// counts, and `attributes` are not looked at.
    pub fn matches_sensor(&self, sensor: &str, sensor_type: &str, node: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|entry| entry.as_str() == sensor_type))
            && (self.nodes.is_empty() || self.nodes.iter().any(|entry| entry.as_str() == node))
            && self.sensor_matches(sensor, |pattern| pattern.matches_sensor(&encoded(sensor)))
    }

    /// Whether some sensor that this node owns can match at all.
    pub fn may_match_node(&self, node: &NodeName) -> bool {
        any(&self.nodes, node)
    }

    fn sensor_matches(&self, sensor: &str, fits: impl FnMut(&Pattern) -> bool) -> bool {
        (self.sensors.is_empty() && self.patterns.is_empty())
            || self.sensors.iter().any(|entry| entry.as_str() == sensor)
            || self.patterns.iter().any(fits)
    }
}

fn any<T: PartialEq>(list: &[T], entry: &T) -> bool {
    list.is_empty() || list.contains(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::SeriesKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoding_round_trips_and_is_one_safe_chunk(id in "\\PC{1,40}|[ -~]{1,40}|[\\x00-\\x1f/%@*$?#]{1,20}") {
            let chunk = encoded(&id);
            prop_assert!(chunk.bytes().all(|byte| is_plain(byte) || byte == b'%'), "{chunk}");
            prop_assert_eq!(decode_chunk(&chunk).unwrap(), id);
        }

        #[test]
        fn decoding_never_panics_and_normalises(chunk in "\\PC{0,40}") {
            if let Ok(id) = decode_chunk(&chunk) {
                prop_assert_eq!(decode_chunk(&encoded(&id)).unwrap(), id);
            }
        }

        #[test]
        fn a_path_matches_itself_and_the_wildcards(sensor in "\\PC{1,20}", attribute in "[a-z]{1,8}") {
            let path = series_path(&sensor, &attribute);
            for pattern in [path.as_str(), "**", "*/*", "**/*", &format!("*/{attribute}"), &format!("{}/**", encoded(&sensor))] {
                prop_assert!(Pattern::new(pattern).unwrap().matches(&path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn the_escape_is_as_documented() {
        assert_eq!(encoded("deviceId:Some_BLE Name"), "deviceId:Some_BLE%20Name");
        assert_eq!(encoded("a/b@c%d*ü"), "a%2Fb%40c%25d%2A%C3%BC");
        assert_eq!(decode_chunk("a%2fb%41").unwrap(), "a/bA");
        for bad in ["", "%", "%4", "%zz", "%ff"] {
            assert!(decode_chunk(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_key_expressions_do() {
        let hit = |pattern: &str, path: &str| Pattern::new(pattern).unwrap().matches(path);
        assert!(hit("a/b", "a/b") && !hit("a/b", "a/c") && !hit("a", "a/b"));
        assert!(hit("*/b", "x/b") && !hit("*/b", "x/y/b") && hit("**/b", "b") && hit("**", "x/y"));
        assert!(hit("cpu$*/usage", "cpu-7/usage") && !hit("cpu$*/usage", "gpu/usage"));
        assert!(hit("$*core$*/x", "a-core-3/x") && hit("a$*c/x", "abc/x") && !hit("a$*c/x", "abd/x"));
        for bad in ["", "a//b", "/a", "a/", "a*", "***", "a$b", "a?b", "a#"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_a_filter_narrow_each_other() {
        let kind = SeriesKind {
            attribute: AttributeId::new("accel_x").unwrap(),
            sensor_type: SensorType::new("imu").unwrap(),
            node: NodeName::new("a").unwrap(),
            lossless: false,
        };
        let series = Series::new(SensorId::new("watch 1").unwrap(), 1, kind.into());
        let mut filter = Filter::pattern("watch%20$*/**").unwrap();
        assert!(Filter::all().matches(&series) && filter.matches(&series));
        filter.types = vec![SensorType::new("ecg").unwrap()];
        assert!(!filter.matches(&series));
        filter.types.push(SensorType::new("imu").unwrap());
        assert!(filter.matches(&series));
        filter.nodes = vec![NodeName::new("b").unwrap()];
        assert!(!filter.matches(&series));
        let narrow = Filter::sensor(SensorId::new("watch 2").unwrap());
        assert!(narrow.is_narrow() && !narrow.matches(&series));
    }
}

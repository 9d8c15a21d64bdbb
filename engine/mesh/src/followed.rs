//! What plain clients follow: key expressions, turned into the filters of one subscription.
//!
//! A series has two chunks behind the prefix, its sensor's and its attribute's, so every expression comes down to pairs
//! of one pattern each. Exact ids become lists: they reset the series of their sensors alone, and a series that nobody
//! follows costs nothing. Knows no Zenoh type: an expression is text here.

use std::collections::{BTreeMap, BTreeSet};

use senza_core::key::{self, FILTER_ENTRIES_MAX, Pattern};
use senza_core::{AttributeId, Filter, NodeName, SensorId};

/// Most pairs that are told apart; beyond, everything is followed.
pub const PAIRS_MAX: usize = FILTER_ENTRIES_MAX / 2;

/// The expressions that somebody else told of, one by one.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    by_id: BTreeMap<u32, Box<str>>,
    whole: bool,
}

/// A pattern of a sensor's chunk and one of an attribute's.
type Pair = (String, String);

// === impl Heard ===

impl Heard {
    /// Somebody follows an expression, known by a number from now on.
    pub fn follow(&mut self, id: u32, expression: &str) {
        self.by_id.insert(id, expression.into());
    }

    /// Nobody follows that expression any more.
    pub fn unfollow(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    /// All that was followed when the listening began has been told.
    pub fn complete(&mut self) {
        self.whole = true;
    }

    /// Whether it was.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many expressions there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody follows anything.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A copy to look at while others tell more. Where there are too many to tell apart, one for all stands for them, so
    /// that it costs little.
    pub fn copy(&self) -> Self {
        if self.len() > PAIRS_MAX {
            return Self { by_id: BTreeMap::from([(0, "**".into())]), whole: self.whole };
        }
        self.clone()
    }

    /// The filters for the series of one node that somebody follows below the prefix; none where no series can be
    /// meant. Costs an allocation or two per expression.
    pub fn filters(&self, prefix: &str, node: &NodeName) -> Vec<Filter> {
        let mut pairs = BTreeSet::new();
        for expression in self.by_id.values() {
            rests(expression, prefix).into_iter().for_each(|rest| expand(rest, &mut pairs));
            if pairs.len() > PAIRS_MAX {
                return everything(node);
            }
        }
        filters(&pairs, node)
    }
}

/// All series of a node.
pub fn everything(node: &NodeName) -> Vec<Filter> {
    vec![Filter { nodes: vec![node.clone()], ..Filter::default() }]
}

/// What an expression leaves to match behind the chunks of a prefix.
fn rests<'a>(expression: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut rests = BTreeSet::from([expression]);
    for chunk in prefix.split('/') {
        let mut next = BTreeSet::new();
        rests.into_iter().for_each(|rest| behind(rest, chunk, &mut next));
        rests = next;
    }
    rests
}

/// What an expression leaves to match behind one chunk. One that ends there means no series.
fn behind<'a>(expression: &'a str, chunk: &str, rests: &mut BTreeSet<&'a str>) {
    let (head, tail) = split(expression);
    if head == "**" {
        rests.insert(expression);
        if let Some(tail) = tail {
            behind(tail, chunk, rests);
        }
    } else if let Some(tail) = tail
        && Pattern::new(head).is_ok_and(|head| head.matches(chunk))
    {
        rests.insert(tail);
    }
}

/// The pairs that an expression comes down to where exactly two chunks are left.
fn expand(expression: &str, pairs: &mut BTreeSet<Pair>) {
    let mut taken = Vec::with_capacity(2);
    take(Some(expression), &mut taken, pairs);
}

fn take<'a>(rest: Option<&'a str>, taken: &mut Vec<&'a str>, pairs: &mut BTreeSet<Pair>) {
    let Some(expression) = rest else {
        if let [sensor, attribute] = taken[..] {
            pairs.insert((sensor.to_owned(), attribute.to_owned()));
        }
        return;
    };
    let (head, tail) = split(expression);
    if head == "**" {
        // Stands for none of the chunks that are left, for one, or for both.
        let length = taken.len();
        for _ in length..=2 {
            take(tail, taken, pairs);
            taken.push("*");
        }
        taken.truncate(length);
    } else if taken.len() < 2 {
        taken.push(head);
        take(tail, taken, pairs);
        taken.pop();
    }
}

fn filters(pairs: &BTreeSet<Pair>, node: &NodeName) -> Vec<Filter> {
    let mut whole = Vec::new();
    let mut by_attribute: BTreeMap<AttributeId, Vec<SensorId>> = BTreeMap::new();
    let (mut attributes, mut patterns) = (Vec::new(), Vec::new());
    for (sensor, attribute) in pairs {
        match (sensor.as_str(), attribute.as_str()) {
            ("*", "*") => return everything(node),
            ("*", exact) if !exact.contains('*') => attributes.extend(attribute_id(exact)),
            (exact, "*") if !exact.contains('*') => whole.extend(sensor_id(exact)),
            (sensor, attribute) if !sensor.contains('*') && !attribute.contains('*') => {
                if let (Some(sensor), Some(attribute)) = (sensor_id(sensor), attribute_id(attribute)) {
                    by_attribute.entry(attribute).or_default().push(sensor);
                }
            }
            (sensor, attribute) => match Pattern::new(&format!("{sensor}/{attribute}")) {
                Ok(pattern) => patterns.push(pattern),
                // Too long for a pattern of ours: it may mean anything.
                Err(_) => return everything(node),
            },
        }
    }
    let own = Filter { nodes: vec![node.clone()], ..Filter::default() };
    let mut filters = Vec::new();
    // An empty list asks nothing, so only lists that hold something become filters.
    if !whole.is_empty() {
        filters.push(Filter { sensors: whole, ..own.clone() });
    }
    for (attribute, sensors) in by_attribute {
        filters.push(Filter { sensors, attributes: vec![attribute], ..own.clone() });
    }
    if !attributes.is_empty() {
        filters.push(Filter { attributes, ..own.clone() });
    }
    if !patterns.is_empty() {
        filters.push(Filter { patterns, ..own });
    }
    filters
}

/// The sensor whose key holds this chunk. None for a chunk that no key holds, like one with an escape in lower case.
fn sensor_id(chunk: &str) -> Option<SensorId> {
    SensorId::new(id(chunk)?).ok()
}

fn attribute_id(chunk: &str) -> Option<AttributeId> {
    AttributeId::new(id(chunk)?).ok()
}

fn id(chunk: &str) -> Option<String> {
    key::decode_chunk(chunk).ok().filter(|id| key::encoded(id) == chunk)
}

fn split(expression: &str) -> (&str, Option<&str>) {
    expression.split_once('/').map_or((expression, None), |(head, tail)| (head, Some(tail)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use senza_core::{SensorType, Series, SeriesKind};

    use super::*;

    const PREFIX: &str = "senza/readings";

    fn node() -> NodeName {
        NodeName::new("a").unwrap()
    }

    fn of(expressions: &[&str]) -> Vec<Filter> {
        let mut heard = Heard::default();
        (0..).zip(expressions).for_each(|(id, expression)| heard.follow(id, expression));
        heard.filters(PREFIX, &node())
    }

    fn series(sensor: &str, attribute: &str) -> Series {
        let kind = SeriesKind {
            attribute: AttributeId::new(attribute).unwrap(),
            sensor_type: SensorType::default(),
            node: node(),
            lossless: false,
        };
        Series::new(SensorId::new(sensor).unwrap(), 1, kind.into())
    }

    fn chunk() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["senza", "readings", "a", "ab", "%C3%BC", "a%2Fb", "*", "**", "a$*", "$*b"])
    }

    fn id() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["senza", "readings", "a", "ab", "ü", "a/b", "b", "%41"])
    }

    proptest! {
        #[test]
        fn exactly_what_is_followed_matches(
            expressions in prop::collection::vec((prop::bool::ANY, prop::collection::vec(chunk(), 1..5)), 0..5),
            sensor in id(),
            attribute in id(),
        ) {
            let text = |(below, chunks): &(bool, Vec<&str>)| {
                format!("{}{}", if *below { "senza/readings/" } else { "" }, chunks.join("/"))
            };
            let texts: Vec<String> = expressions.iter().map(text).collect();
            let path = format!("{PREFIX}/{}", key::series_path(sensor, attribute));
            let followed = texts.iter().any(|text| Pattern::new(text).unwrap().matches(&path));
            let filters = of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let series = series(sensor, attribute);
            let matches = filters.iter().any(|filter| filter.matches(&series));
            prop_assert_eq!(matches, followed, "{:?} {:?}", texts, filters);
            prop_assert!(filters.iter().all(|filter| filter.nodes == [node()] && filter.check().is_ok()));
        }

        #[test]
        fn no_text_panics(expression in "[a-z*$/%@]{0,12}") {
            of(&[&expression]);
        }
    }

    #[test]
    fn exact_sensors_stay_narrow() {
        let filters =
            of(&["senza/readings/a/x", "senza/readings/b%2Fc/**", "senza/readings/c/*", "senza/readings/d/x"]);
        assert!(filters.iter().all(Filter::is_narrow), "{filters:?}");
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[0].sensors, [SensorId::new("b/c").unwrap(), SensorId::new("c").unwrap()]);
        assert_eq!(filters[1].attributes, [AttributeId::new("x").unwrap()]);
    }

    #[test]
    fn whoever_follows_all_makes_the_rest_redundant() {
        for all in ["**", "senza/**", "senza/readings/**", "senza/*/**", "senza/readings/*/*", "$*/readings/*/**"] {
            assert_eq!(of(&["senza/readings/a/x", all]), everything(&node()), "{all}");
        }
    }

    #[test]
    fn what_no_series_has_is_nothing() {
        let others = ["senza/sensors/**", "senza/readings", "senza/readings/a", "senza/readings/a/b/c", "other/**"];
        assert_eq!(of(&others), []);
        assert_eq!(of(&["senza/readings/a%2fb/x", "senza/readings/%/x", "senza/readings/%41/x"]), []);
    }

    #[test]
    fn too_many_to_tell_apart_is_everything() {
        let mut heard = Heard::default();
        (0..=PAIRS_MAX).for_each(|id| heard.follow(id as u32, &format!("senza/readings/s{id}/x")));
        assert_eq!(heard.filters(PREFIX, &node()), everything(&node()));
        assert_eq!((heard.copy().filters(PREFIX, &node()), heard.copy().len()), (everything(&node()), 1));
        heard.unfollow(0);
        assert_eq!(heard.copy().len(), PAIRS_MAX);
        assert!(heard.filters(PREFIX, &node()).iter().all(Filter::is_narrow));
    }
}

//! Keys, patterns, filters, and hashes that nodes agree on.

use std::hint::black_box;
use std::sync::Arc;

use senza_core::hash::{claim_hash, xxh64};
use senza_core::key::{Pattern, decode_chunk, encoded, series_path};
use senza_core::{Filter, SensorType, Series};

use crate::{Case, ids, series};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("key: encode an id", ids, |ids| each(ids, |id| encoded(id))),
        Case::new("key: decode an id", chunks, |chunks| each(chunks, |chunk| decode_chunk(chunk))),
        Case::new("key: path of a series", ids, |ids| each(ids, |id| series_path(id, "value"))),
        Case::new(
            "key: match a pattern",
            || (pattern(), paths()),
            |(pattern, paths)| {
                each(paths, |path| pattern.matches(path));
            },
        ),
        Case::new("key: match a filter by pattern", || (by_pattern(), kinds()), match_each),
        Case::new("key: match a filter by type", || (by_type(), kinds()), match_each),
        Case::new("hash: xxHash64 of an id", ids, |ids| each(ids, |id| xxh64(id.as_bytes()))),
        Case::new("hash: of a claim", ids, |ids| each(ids, |id| claim_hash(id.len() as u64, 1, 2))),
    ]
}

fn each<S, T>(all: &mut [S], work: impl Fn(&S) -> T) {
    for one in all {
        black_box(work(black_box(one)));
    }
}

fn chunks() -> Vec<String> {
    ids().into_iter().map(encoded).collect()
}

fn paths() -> Vec<String> {
    ids().into_iter().map(|id| series_path(id, "value")).collect()
}

fn pattern() -> Pattern {
    Pattern::new("building%2F$*7/*").expect("it is one")
}

fn by_pattern() -> Filter {
    Filter { patterns: vec![pattern()], ..Filter::default() }
}

fn by_type() -> Filter {
    Filter { types: vec![SensorType::new("ecg").expect("it is short")], ..Filter::default() }
}

fn kinds() -> Vec<Arc<Series>> {
    series(|number| if number % 2 == 0 { "ecg" } else { "imu" })
}

fn match_each((filter, series): &mut (Filter, Vec<Arc<Series>>)) {
    each(series, |series| filter.matches(series));
}

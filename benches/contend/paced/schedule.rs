//! Which readings are due when, and which numbers they have.
//!
//! Knows no clock: times are counted from where a run begins.

use serde_json::{Value as Json, json};

use crate::trucks;
use crate::wires::Put;

/// Series that are due equally often, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// The first of them.
    pub first: u32,
    /// How many there are.
    pub series: u32,
    /// Readings a second of all of them together.
    pub per_s: f64,
}

/// Which readings are due when: at every tick, all those of the time up to the next.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    kinds: Vec<Kind>,
    tick_us: i64,
    /// Readings of each kind that were put so far.
    put: Vec<u64>,
    /// What the readings are stamped with.
    stamps: Stamps,
}

/// What a reading is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamps {
    /// When it was due.
    Due,
    /// What [`trucks::recorded_us`] says of a device that began at this time: late ones among them.
    Recorded { begin_us: i64 },
}

impl Schedule {
    /// Nothing was put yet.
    pub(crate) fn new(kinds: Vec<Kind>, tick_us: i64) -> Self {
        Self { put: vec![0; kinds.len()], kinds, tick_us, stamps: Stamps::Due }
    }

    /// The same of devices that keep what they recorded when they have no connection.
    pub(crate) fn recorded(self, begin_us: i64) -> Self {
        Self { stamps: Stamps::Recorded { begin_us }, ..self }
    }

    /// One kind of series at one rate: each alone as long as that is at most one a millisecond, then as many as are due
    /// in a millisecond together.
    pub(crate) fn even(sensors: u32, per_s: u64) -> Self {
        let tick_us = (1_000_000 / per_s.max(1)).max(1_000) as i64;
        Self::new(vec![Kind { first: 0, series: sensors, per_s: per_s as f64 }], tick_us)
    }

    /// How many are due in the first so many microseconds.
    pub(crate) fn due_within(&self, us: i64) -> u64 {
        self.kinds.iter().map(|kind| due_of(kind, us)).sum()
    }

    /// So many were put of each kind.
    pub(crate) fn set_put(&mut self, put: Vec<u64>) {
        self.put = put;
    }

    /// How many were put so far of each kind.
    pub(super) fn put_by_kind(&self) -> &[u64] {
        &self.put
    }

    /// From one tick to the next, microseconds.
    pub(super) fn tick_us(&self) -> i64 {
        self.tick_us
    }

    /// How many were put so far of the series below a number, at which a kind begins.
    pub(crate) fn put_below(&self, series: u32) -> u64 {
        let kinds = self.kinds.iter().zip(&self.put);
        kinds.filter(|(kind, _)| kind.first < series).map(|(_, put)| put).sum()
    }

    /// How many were put so far.
    pub(crate) fn put(&self) -> u64 {
        self.put.iter().sum()
    }

    /// What is due at the tick that begins so many microseconds after `begin`, numbered on from those put before it; of
    /// each kind so many were put before this run.
    pub(super) fn at_tick(&mut self, since_us: i64, begin: i64, before: &[u64], out: &mut Vec<Put>) {
        for ((kind, put), before) in self.kinds.iter().zip(&mut self.put).zip(before) {
            let due = before + due_of(kind, since_us + self.tick_us);
            let series = u64::from(kind.series);
            let (mut at, mut seq) = ((*put % series) as u32, *put / series + 1);
            for _ in *put..due {
                let sensor = kind.first + at;
                let at_us = match self.stamps {
                    Stamps::Due => begin + since_us,
                    Stamps::Recorded { begin_us } => begin_us + trucks::recorded_us(sensor, seq),
                };
                out.push(Put { sensor, seq, at_us });
                at += 1;
                if at == kind.series {
                    (at, seq) = (0, seq + 1);
                }
            }
            *put = due.max(*put);
        }
    }

    /// The last number that was put of each series.
    pub(crate) fn last_numbers(&self) -> impl Iterator<Item = (u32, u64)> {
        self.kinds.iter().zip(&self.put).flat_map(|(kind, put)| {
            let (rounds, rest) = (put / u64::from(kind.series), put % u64::from(kind.series));
            (0..kind.series).map(move |at| (kind.first + at, rounds + u64::from(u64::from(at) < rest)))
        })
    }

    pub(super) fn told(&self) -> Json {
        let kinds = self.kinds.iter().map(|kind| json!([kind.first, kind.series, kind.per_s])).collect::<Vec<_>>();
        let recorded = match self.stamps {
            Stamps::Due => None,
            Stamps::Recorded { begin_us } => Some(begin_us),
        };
        json!({ "kinds": kinds, "tick_us": self.tick_us, "recorded": recorded })
    }

    pub(super) fn of(told: &Json) -> Self {
        let number = |json: &Json| json.as_u64().expect("a number");
        let kind = |kind: &Json| Kind {
            first: number(&kind[0]) as u32,
            series: number(&kind[1]) as u32,
            per_s: kind[2].as_f64().expect("a rate"),
        };
        let kinds = told["kinds"].as_array().expect("kinds").iter().map(kind).collect();
        let stamps = told["recorded"].as_i64().map_or(Stamps::Due, |begin_us| Stamps::Recorded { begin_us });
        Self { stamps, ..Self::new(kinds, number(&told["tick_us"]) as i64) }
    }
}

fn due_of(kind: &Kind, us: i64) -> u64 {
    // A hair more, so that a whole number is not missed by rounding.
    (us as f64 * kind.per_s / 1e6 + 1e-6) as u64
}

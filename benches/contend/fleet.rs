//! Whole fleets at the rates at which their devices measure, and what it costs to carry them.
//!
//! Two fleets that run today, and many times as many sensors of the same kinds; an open loop ([`crate::paced`]), in
//! which all that is due within a millisecond is put together. One process puts, as a gateway does, one reads
//! everything, or the share of the sensors that somebody watches. Told are what arrived of what was due, latencies,
//! and the processor time of all processes of a contender: its broker, and both ends with the work of this benchmark
//! in them, which is the same for all. `workload=trucks` is another kind of fleet, see [`crate::trucks`].
//! Knows nothing of any contender.

use serde_json::json;

use crate::answer::{Answer, Params};
use crate::paced::{self, Kind, Schedule, Seen, Writer};
use crate::wires::{self, Shape, Wants};
use crate::{Family, processes, trucks};

pub(crate) const FAMILY: Family = Family { name: "fleet", contenders: wires::WIRES, run, child };

/// The first readings open the way: they are of no account.
const WARM_UP_SECONDS: f64 = 0.1;
const TICK_US: i64 = 1_000;

/// Sensors that measure one attribute so often a second.
struct Attribute {
    sensors: u32,
    hertz: f64,
}

/// A fleet that runs somewhere; each attribute of a sensor is one series.
struct Fleet {
    name: &'static str,
    /// Bytes of a value: 8 is a number, a gaze is three.
    bytes: usize,
    attributes: &'static [Attribute],
}

const FLEETS: [Fleet; 2] = [
    // 300 people in a study: 900 series, 4,586 readings/s. ECG in 45 of them, heart rate in the others, temperature
    // and battery in all.
    Fleet {
        name: "massive_study",
        bytes: 8,
        attributes: &[
            Attribute { sensors: 45, hertz: 100.0 },
            Attribute { sensors: 255, hertz: 0.2 },
            Attribute { sensors: 300, hertz: 0.1 },
            Attribute { sensors: 300, hertz: 1.0 / 60.0 },
        ],
    },
    // 50 pairs of glasses that follow eyes: 250 series, 13,055 readings/s. Gaze, how far and how often eyes close,
    // whether they are worn, battery.
    Fleet {
        name: "pupil_neon",
        bytes: 24,
        attributes: &[
            Attribute { sensors: 50, hertz: 200.0 },
            Attribute { sensors: 50, hertz: 30.0 },
            Attribute { sensors: 50, hertz: 30.0 },
            Attribute { sensors: 50, hertz: 1.0 },
            Attribute { sensors: 50, hertz: 0.1 },
        ],
    },
];

fn run(contender: &str, params: &Params) -> Answer {
    let workload: String = params.get("workload", FLEETS[0].name.to_owned());
    if workload == trucks::WORKLOAD {
        return trucks::run(contender, params);
    }
    let fleet = FLEETS.iter().find(|fleet| fleet.name == workload);
    let fleet = fleet.unwrap_or_else(|| panic!("there is no workload {workload}"));
    let share: f64 = params.get("watched", 1.0);
    let (kinds, watched) = kinds(fleet, params.get("scale", 1), share);
    let sensors = kinds.iter().map(|kind| kind.series).sum();
    let shape = Shape {
        first: 0,
        sensors,
        bytes: params.get("bytes", fleet.bytes),
        batch: params.get("batch", 1),
        express: params.get("express", false),
    };
    let seconds = params.seconds();

    let host = wires::host(contender);
    let mut sink = host.sink(&shape, if watched == sensors { Wants::All } else { Wants::Below(watched) });
    let mut seen = Seen::new(sensors);
    let per_s: f64 = kinds.iter().map(|kind| kind.per_s).sum();
    let schedule = Schedule::new(kinds, TICK_US);
    let mut writer = Writer::start(FAMILY.name, contender, &host.endpoint(), &shape, schedule);
    host.met(sensors);
    let of_watched = |schedule: &Schedule| schedule.put_below(watched);
    paced::follow(&mut writer, WARM_UP_SECONDS, &mut *sink, &mut seen, of_watched);

    let (before, all) = (writer.schedule().put_below(watched), processes::family());
    let cpu_before = processes::processor_ns(&all);
    let run = paced::follow(&mut writer, seconds, &mut *sink, &mut seen, of_watched);
    let cpu_s = (processes::processor_ns(&all) - cpu_before) as f64 / 1e9;
    let offered = writer.schedule().put_below(watched) - before;
    writer.end();

    // What arrived where it was wanted, and what was put and nobody wanted.
    let done = run.put - offered + seen.arrived();
    let due = run.put + run.not_put;
    let told = json!({
        "series": sensors, "watched_series": watched, "readings_per_s": per_s, "bytes": shape.bytes,
        "processor_s": cpu_s, "configuration": host.configuration(),
    });
    let answer = Answer::default()
        .metric("cpu_s_per_million", cpu_s * 1e6 / done.max(1) as f64)
        .metric("delivered_share", done as f64 / due.max(1) as f64)
        .metric("processor_share", cpu_s / seconds)
        .detail("fleet", told);
    paced::told(answer, &run, &mut seen, offered)
}

fn child(words: &[String]) {
    paced::write(&words[1..]);
}

/// The series of a fleet with so many times as many sensors, the watched ones first, and how many these are: of each
/// attribute the same share.
fn kinds(fleet: &Fleet, scale: u32, share: f64) -> (Vec<Kind>, u32) {
    let parts: Vec<(u32, u32, f64)> = fleet
        .attributes
        .iter()
        .map(|attribute| {
            let all = attribute.sensors * scale;
            let watched = ((f64::from(all) * share).round() as u32).clamp(1, all);
            (watched, all - watched, attribute.hertz)
        })
        .collect();
    let watched = parts.iter().map(|(watched, ..)| *watched);
    let rest = parts.iter().map(|(_, rest, _)| *rest);
    let hertz = parts.iter().chain(&parts).map(|(.., hertz)| *hertz);
    let (mut first, mut kinds) = (0, Vec::new());
    for (series, hertz) in watched.clone().chain(rest).zip(hertz).filter(|(series, _)| *series > 0) {
        kinds.push(Kind { first, series, per_s: f64::from(series) * hertz });
        first += series;
    }
    (kinds, watched.sum())
}

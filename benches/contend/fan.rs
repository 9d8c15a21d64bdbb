//! Fan-out, fan-in and point to point, in the shapes of the public benchmarks of MQTT brokers, in a closed loop.
//!
//! - `out`: few sensors, every sink wants all of them;
//! - `in`: many sensors from several writers' processes, one sink;
//! - `p2p`: as many sensors as sinks, each sink wants one.
//!
//! All sinks are in one process, each with a subscription of its own, and a broker's each with a connection of its own,
//! as devices and applications have; one thread reads them all, where something came. The loop is that of `relay`: as
//! fast as it goes with nothing lost, every number of every sink checked.

use crate::Family;
use crate::answer::{Answer, Params};
use crate::relay::{Pace, Writers, sensor_of, window_of};
use crate::wires::{self, Came, Shape, Wants};

pub(crate) const FAMILY: Family = Family { name: "fan", contenders: wires::WIRES, run, child: |_| () };

/// How long it is waited for the first of what comes, before the writers are told where the sinks stand.
const LOOK: std::time::Duration = std::time::Duration::from_millis(1);

/// Deliveries that may be on their way, for each what was best when this was written. Where one reading goes to many
/// sinks, brokers gain by writing several at once to each.
fn ahead(contender: &str, receivers: usize) -> usize {
    match contender {
        "senza" if receivers > 1 => 262_144,
        "nats" | "redis" if receivers > 1 => (1_024 * receivers).max(131_072),
        "zenoh" if receivers == 1 => 32_768,
        "mosquitto" => 16_384,
        _ => 65_536,
    }
}

fn run(contender: &str, params: &Params) -> Answer {
    let shape_name: String = params.get("shape", "out".to_owned());
    let (sensors, sinks): (u32, u32) = (params.get("sensors", 5), params.get("sinks", 1));
    let wants: Vec<Wants> = match shape_name.as_str() {
        "out" | "in" => vec![Wants::All; sinks as usize],
        "p2p" => (0..sinks).map(Wants::One).collect(),
        other => panic!("no shape {other}: out, in or p2p"),
    };
    let is_p2p = shape_name == "p2p";
    assert!(!is_p2p || sinks == sensors, "point to point: as many sinks as sensors");
    let shape =
        Shape { first: 0, sensors, bytes: params.get("bytes", 8), batch: params.get("batch", 1), express: false };
    let sources: u32 = params.get("sources", 1);
    assert_eq!(sensors % sources, 0, "each writer has as many sensors");
    let part = |number: u32| Shape { first: number * (sensors / sources), sensors: sensors / sources, ..shape };
    let parts: Vec<Shape> = (0..sources).map(part).collect();
    let receivers = if is_p2p { 1 } else { u64::from(sinks) };

    let host = wires::host(contender);
    let mut ends = host.sinks(&shape, &wants);
    let writers = Writers::start(contender, &host.endpoint(), &parts);
    host.met(sensors);
    let ahead = params.get("window", ahead(contender, receivers as usize));
    let window = window_of(&shape, ahead / receivers as usize).max(16 * u64::from(sources));
    let pace = Pace { window, receivers, seconds: params.seconds() };
    let place = |sink: usize, came: &Came| match is_p2p {
        true => sink,
        false => sink * sensors as usize + sensor_of(came) as usize,
    };
    let places = if is_p2p { wants.len() } else { wants.len() * sensors as usize };
    let (rate, answer) =
        pace.run(writers, places, |each| ends.take(LOOK, &mut |sink, came| each(place(sink, &came), came)));
    answer.metric("deliveries_per_s", rate).detail("configuration", host.configuration())
}

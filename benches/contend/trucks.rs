//! Trucks that lose their connection: readings come late and out of order, and some never.
//!
//! After the Internet-of-Things part of the Time Series Benchmark Suite, in small: every truck tells seven readings
//! (position, speed, fuel …) and three diagnostics each ten seconds of its own time, here many times as fast. One of
//! ten entries is missing, and one of ten is put up to three minutes behind its time, after newer ones. Asked is
//! whether everything put arrives, and whether *latest* is then the newest by the truck's time: at a subscriber that
//! takes what came last for the latest, which is all that a broker can offer, and in the table of who has one.
//! Knows nothing of any contender.

use senza_mesh::clock::{Clock, SystemClock};
use serde_json::json;

use crate::answer::{Answer, Params};
use crate::paced::{self, Schedule, Seen, Writer};
use crate::wires::{self, Host, Shape, Wants};

/// Its name among the workloads of [`crate::fleet`].
pub(crate) const WORKLOAD: &str = "trucks";

/// Series of one truck.
const SERIES: u32 = 10;
/// A truck's entries are so far apart, microseconds.
const APART_US: i64 = 10_000_000;
/// Late entries are behind their time by at most so many of these.
const LATE_MAX: u64 = 18;
/// One of so many entries is late, and one of so many is missing.
const ONE_OF: u64 = 10;
/// Readings that the table keeps of a series.
const KEPT: u32 = 16;
/// Every so many'th series is asked for.
const ASKED_EVERY: usize = 10;

/// When a truck recorded the reading of a series with that number, microseconds from its beginning.
pub(crate) fn recorded_us(sensor: u32, seq: u64) -> i64 {
    // Behind nine entries that came stands one that never does.
    let entry = seq + (seq + u64::from(sensor)) / (ONE_OF - 1);
    let dice = dice(sensor, seq);
    // A late one lies between two others; the first ones of a truck have nothing to be late behind.
    let late = if dice.is_multiple_of(ONE_OF) { (dice / ONE_OF % LATE_MAX + 1).min(entry) } else { 0 };
    (entry - late) as i64 * APART_US + if late > 0 { APART_US / 2 } else { 0 }
}

/// A number as good as random, the same in both processes.
fn dice(sensor: u32, seq: u64) -> u64 {
    senza_core::hash::xxh64(&[sensor.to_le_bytes().as_slice(), &(seq as u32).to_le_bytes()].concat())
}

pub(crate) fn run(contender: &str, params: &Params) -> Answer {
    let sensors = SERIES * params.get::<u32>("trucks", 500);
    let rate: u64 = params.get("rate", 200_000);
    let batch = params.get("batch", 256);
    let shape = Shape { first: 0, sensors, bytes: params.get("bytes", 8), batch, express: false };
    let seconds = params.seconds();
    // As long ago as they will have driven at the end, and more.
    let driven_us = (seconds * rate as f64 / f64::from(sensors) * 2.0 + 100.0) as i64 * APART_US;
    let schedule = Schedule::even(sensors, rate).recorded(SystemClock.now() - driven_us);

    let host = wires::host(contender);
    let mut sink = host.sink(&shape, Wants::All);
    let mut seen = Seen::new(sensors);
    let mut writer = Writer::start(crate::fleet::FAMILY.name, contender, &host.endpoint(), &shape, schedule);
    host.met(sensors);
    let run = paced::follow(&mut writer, seconds, &mut *sink, &mut seen, Schedule::put);

    let put: Vec<u64> = writer.schedule().last_numbers().map(|(_, number)| number).collect();
    let late = |(sensor, put): (usize, &u64)| (1..=*put).filter(|seq| is_late(sensor as u32, *seq)).count();
    let late = put.iter().enumerate().map(late).sum::<usize>();
    let came_last: Vec<bool> = put.iter().zip(seen.last()).enumerate().map(is_newest).collect();
    let kept = asked(&*host, &put);
    writer.end();

    let by_arrival = share(came_last.iter().filter(|newest| **newest).count(), came_last.len());
    let took_us = (seen.last_came_us() - run.begin_us).max(run.span_us);
    let mut answer = Answer::default()
        .metric("latest_right_share", kept.as_ref().map_or(by_arrival, |kept| kept.latest))
        .metric("last_is_newest_share", by_arrival)
        .metric("readings_per_s", seen.arrived() as f64 * 1e6 / took_us as f64)
        .metric("not_put_readings", run.not_put as f64);
    if let Some(kept) = &kept {
        answer = answer.metric("late_in_order_share", kept.late);
    }
    answer
        .detail(
            "trucks",
            json!({ "series": sensors, "late_readings": late, "asked_series": kept.map(|kept| kept.asked) }),
        )
        .detail("configuration", host.configuration())
        .account(seen.account(run.put))
}

/// Whether the reading that a subscriber has last is the newest of those put.
fn is_newest((sensor, (put, last)): (usize, (&u64, &u64))) -> bool {
    order(sensor as u32, *put).last().is_some_and(|newest| newest == last)
}

fn is_late(sensor: u32, seq: u64) -> bool {
    dice(sensor, seq).is_multiple_of(ONE_OF)
}

/// The newest numbers of a series in the order of their time, oldest first: as many as a table keeps.
fn order(sensor: u32, put: u64) -> Vec<u64> {
    // Behind so many none can be among the newest.
    let recent = put.saturating_sub(u64::from(KEPT) + 2 * LATE_MAX) + 1;
    let mut order: Vec<(i64, u64)> = (recent..=put).map(|seq| (recorded_us(sensor, seq), seq)).collect();
    order.sort_unstable();
    order.iter().map(|(_, seq)| *seq).skip(order.len().saturating_sub(KEPT as usize)).collect()
}

/// What a contender's table answered.
struct Kept {
    asked: usize,
    /// The share of series of which the latest is the newest.
    latest: f64,
    /// The share of late readings, of those that belong to the newest, that are there in their place.
    late: f64,
}

/// Asks for what is kept of some series; `None` where nothing keeps anything.
fn asked(host: &dyn Host, put: &[u64]) -> Option<Kept> {
    let (mut asked, mut latest, mut late, mut late_in_place) = (0, 0, 0, 0);
    for (sensor, put) in put.iter().enumerate().step_by(ASKED_EVERY) {
        let kept = host.kept(sensor as u32, KEPT)?;
        let expected = order(sensor as u32, *put);
        asked += 1;
        latest += usize::from(kept.last() == expected.last());
        for at in (0..expected.len()).filter(|at| is_late(sensor as u32, expected[*at])) {
            late += 1;
            late_in_place += usize::from(kept.get(at) == Some(&expected[at]));
        }
    }
    Some(Kept { asked, latest: share(latest, asked), late: share(late_in_place, late) })
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

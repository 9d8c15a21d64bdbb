//! How long a reading takes from one process to another at a rate that does not wait for it.
//!
//! An open loop ([`crate::paced`]): readings are due by a schedule, each alone up to 1,000 a second, all of a
//! millisecond together above; latency counts from when a reading was due until its reader has it in hand. Beyond what a
//! contender can carry its latencies grow with the length of the run; how many came a second says where that is.
//! Knows nothing of any contender.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::Family;
use crate::answer::{Answer, Params};
use crate::paced::{self, Schedule, Seen, Writer};
use crate::wires::{self, Shape, Wants};

pub(crate) const FAMILY: Family = Family { name: "latency", contenders: wires::WIRES, run, child };

/// The first readings open the way: they are of no account.
const WARM_UP_SECONDS: f64 = 0.2;
/// Up to this rate every message leaves at once, where a contender can choose; above it may wait for the next.
const EXPRESS_PER_S: u64 = 1_000;
/// Steps of a told histogram from each halving of the distance to 100 % to the next, as HdrHistogram's own tools do.
const TICKS_PER_HALF: u32 = 5;

fn run(contender: &str, params: &Params) -> Answer {
    let rate: u64 = params.get("rate", 1_000);
    let shape = Shape {
        first: 0,
        sensors: params.get("sensors", 1_000),
        bytes: params.get("bytes", 8),
        batch: params.get("batch", 1),
        express: params.get("express", rate <= EXPRESS_PER_S),
    };
    let seconds = params.seconds();
    let host = wires::host(contender);
    let mut sink = host.sink(&shape, Wants::All);
    let mut seen = Seen::new(shape.sensors);
    let schedule = Schedule::even(shape.sensors, rate);
    let mut writer = Writer::start(FAMILY.name, contender, &host.endpoint(), &shape, schedule);
    host.met(shape.sensors);
    paced::follow(&mut writer, WARM_UP_SECONDS, &mut *sink, &mut seen, Schedule::put);
    let run = paced::follow(&mut writer, seconds, &mut *sink, &mut seen, Schedule::put);
    writer.end();
    let answer = Answer::default()
        .detail("histogram", hgrm(seen.latency()))
        .detail("express", shape.express)
        .detail("configuration", host.configuration());
    paced::told(answer, &run, &mut seen, run.put)
}

fn child(words: &[String]) {
    paced::write(&words[1..]);
}

/// A histogram as the percentile text that HdrHistogram's plotter reads (`.hgrm`). Microseconds.
fn hgrm(latency: &Histogram<u64>) -> String {
    let mut out = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    // A string has room, here and below.
    for step in latency.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
        let _written = write!(out, "{value:>12.3} {quantile:>2.12} {total:>10}");
        let _written = match quantile < 1.0 {
            true => writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(out),
        };
    }
    let (mean, deviation, max, count) = (latency.mean(), latency.stdev(), latency.max() as f64, latency.len());
    // A bucket counts to twice the power of ten of its digits, rounded up to a power of two.
    let sub_buckets = (2 * 10_u64.pow(u32::from(latency.sigfig()))).next_power_of_two();
    let _written = write!(
        out,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n\
         #[Max     = {max:>12.3}, Total count    = {count:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]\n",
        latency.buckets(),
    );
    out
}

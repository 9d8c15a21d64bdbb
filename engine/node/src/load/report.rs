//! What a run says at its end: for people, for scripts, and as a percentile distribution that others plot.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use senza_core::Micros;
use senza_core::reading::GapReason;
use serde_json::{Value as Json, json};

use super::account::Counts;
use super::schedule::Rate;
use super::sender::Span;
use super::{LoadArgs, Place};

/// The percentiles that are told.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
/// Steps from each halving of the distance to 100 % to the next in a saved distribution, as HdrHistogram's own tools do.
const TICKS_PER_HALF: u32 = 5;

/// What was measured.
pub(super) struct Report {
    /// What was put.
    pub(super) span: Span,
    /// The accounts of all subscribers together.
    pub(super) counts: Counts,
    /// The latencies of all subscribers together, microseconds.
    pub(super) latency: Histogram<u64>,
    /// From the span's begin until the last reading arrived, microseconds.
    pub(super) arrived_us: Micros,
    /// By how much the clock was set while it measured, microseconds: latencies are off by as much.
    pub(super) clock_set_us: Micros,
}

impl Report {
    /// Readings of which nobody can say what became of them, refused ones included.
    pub(super) fn unaccounted(&self) -> u64 {
        self.counts.missing + self.counts.unknown + self.span.refused
    }

    /// Whether everything offered came exactly once, in order, or was told as lost.
    pub(super) fn is_exact(&self) -> bool {
        self.counts.is_exact() && self.span.refused == 0
    }

    /// Readings put per second.
    fn put_rate(&self) -> f64 {
        self.span.offered as f64 * 1e6 / self.span.took_us.max(1) as f64
    }

    /// Readings delivered per second, to all subscribers together.
    fn delivered_rate(&self) -> f64 {
        self.counts.delivered as f64 * 1e6 / self.arrived_us.max(self.span.took_us).max(1) as f64
    }

    fn late_fraction(&self) -> f64 {
        self.span.late as f64 / self.span.puts.max(1) as f64
    }

    /// As JSON; times in microseconds, rates per second.
    pub(super) fn json(&self, args: &LoadArgs) -> Json {
        let Self { span, counts, latency, .. } = self;
        let mut gaps: Json = GapReason::ALL
            .map(|reason| (reason.as_str().to_owned(), counts.gaps[reason as usize].into()))
            .into_iter()
            .collect::<serde_json::Map<String, Json>>()
            .into();
        gaps["readings"] = counts.lost().into();
        let mut percentiles: Json = PERCENTILES
            .map(|(name, quantile)| (name.to_owned(), latency.value_at_quantile(quantile).into()))
            .into_iter()
            .collect::<serde_json::Map<String, Json>>()
            .into();
        percentiles["max"] = latency.max().into();
        let open = matches!(args.work.rate, Rate::PerSecond(_));
        json!({
            "where": args.place.as_str(),
            "loop": if open { "open" } else { "closed" },
            "rate": match args.work.rate { Rate::PerSecond(rate) => Json::from(rate), Rate::Max => Json::from("max") },
            "sensors": args.work.sensors,
            "batch": args.work.batch,
            "value_bytes": args.work.value_bytes,
            "subscribers": args.subscribers,
            "build": BUILD,
            "ok": self.is_exact(),
            "offered": span.offered,
            "delivered": counts.delivered,
            "gaps": gaps,
            "duplicates": counts.duplicates,
            "out_of_order": counts.out_of_order,
            "unaccounted": self.unaccounted(),
            "late_sends": open.then(|| self.late_fraction()),
            "seconds": span.took_us as f64 / 1e6,
            "put_per_s": self.put_rate(),
            "delivered_per_s": self.delivered_rate(),
            "clock_set_us": self.clock_set_us,
            "latency_us": percentiles,
        })
    }

    /// For people.
    pub(super) fn text(&self, args: &LoadArgs) -> String {
        let Self { span, counts, latency, .. } = self;
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // A string has room.
            let _written = writeln!(out, "{name:<13}{text}");
        };
        let place = match args.place {
            Place::Process => "one node in this process, put to local subscriber",
            Place::Cluster => "two nodes, two processes, loopback; put on one, subscribed on the other",
        };
        line("where", format!("{place} ({BUILD} build)"));
        let value = match args.work.value_bytes {
            0 => "f64".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        let work = &args.work;
        line(
            "what",
            format!("{} sensors, batch {}, {value}, subscribers {}", work.sensors, work.batch, args.subscribers),
        );
        line(
            "loop",
            match work.rate {
                Rate::PerSecond(rate) => format!("open, {rate} readings/s; latency is from the intended time on"),
                Rate::Max => "closed, as fast as puts return; latency is from the put on and hides waiting".to_owned(),
            },
        );
        let each =
            if args.subscribers > 1 { format!(" to each of {} subscribers", args.subscribers) } else { String::new() };
        line(
            "offered",
            format!("{}{each} in {:.3} s: {:.0}/s", span.offered, span.took_us as f64 / 1e6, self.put_rate()),
        );
        line("delivered", format!("{}: {:.0}/s", counts.delivered, self.delivered_rate()));
        let reasons = GapReason::ALL.map(|reason| format!("{} {}", reason.as_str(), counts.gaps[reason as usize]));
        line("gaps", format!("{} readings told as lost: {}", counts.lost(), reasons.join(", ")));
        line("duplicates", counts.duplicates.to_string());
        line("out of order", counts.out_of_order.to_string());
        line("unaccounted", self.unaccounted().to_string());
        if matches!(work.rate, Rate::PerSecond(_)) {
            line(
                "late sends",
                format!("{:.4} % of puts began more than 1 ms behind their time", self.late_fraction() * 100.0),
            );
        }
        let percentiles = PERCENTILES.map(|(name, quantile)| format!("{name} {}", latency.value_at_quantile(quantile)));
        line("latency µs", format!("{}  max {}", percentiles.join("  "), latency.max()));
        if self.clock_set_us != 0 {
            line("clock", format!("was set by {} µs meanwhile: do not quote these latencies", self.clock_set_us));
        }
        out
    }
}

/// How this program was built: numbers of an unoptimised one are not for quoting.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// A histogram in HdrHistogram's percentile text format (`.hgrm`), which its plotter reads. Values in microseconds.
pub(super) fn hgrm(latency: &Histogram<u64>) -> String {
    let mut out = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    // A string has room, here and below.
    for step in latency.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
        let _written = if quantile < 1.0 {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {total:>10} {:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {total:>10}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_distribution_reads_as_others_read_it() {
        let mut latency = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..=1000).for_each(|value| latency.record(value).unwrap());
        let text = hgrm(&latency);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!((lines[1], lines[2]), ("", "       1.000 0.000000000000          1           1.00"));
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
        let last = rows.last().unwrap();
        assert_eq!(last, &[1000.0, 1.0, 1000.0], "{text}");
        assert!(lines.contains(&"#[Max     =     1000.000, Total count    =         1000]"), "{text}");
        assert!(hgrm(&Histogram::new(3).unwrap()).contains("Total count    =            0"));
    }
}

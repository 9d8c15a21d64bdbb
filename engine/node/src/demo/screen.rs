//! The demo's live table in the terminal.

use std::io::IsTerminal;

use senza_core::{Micros, Value};
use serde_json::json;

use crate::cli;

/// What is drawn.
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) links: Vec<Link>,
    pub(super) sensors: usize,
    pub(super) gaps: u64,
}

/// One series.
pub(super) struct Row {
    pub(super) sensor: String,
    pub(super) attribute: String,
    pub(super) node: String,
    pub(super) value: Value,
    /// Readings per second.
    pub(super) rate: f64,
    pub(super) age_us: Micros,
}

/// What one link brought since the demo began.
pub(super) struct Link {
    pub(super) from: String,
    pub(super) readings: u64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

impl Link {
    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "from": self.from, "to": "c", "readings": self.readings, "frames": self.frames, "bytes": self.bytes })
    }
}

/// Draws the table: over itself in a terminal, as high as that is, and not at all elsewhere.
pub(super) fn draw(table: &Table) {
    let mut out = std::io::stdout().lock();
    if !out.is_terminal() {
        return;
    }
    let shown = cli::terminal_lines().saturating_sub(FRAME_LINES + table.links.len());
    // A terminal that is gone ends the demo by its signal.
    let _written = cli::redraw(&mut out, lines(table, shown));
}

/// Lines around the series, links not counted.
const FRAME_LINES: usize = 7;

/// As many series as fit: of every sensor equally many attributes, in order.
fn fitting(rows: &[Row], shown: usize) -> Vec<&Row> {
    let of_each = |most: usize| -> Vec<&Row> {
        rows.chunk_by(|a, b| a.sensor == b.sensor).flat_map(|sensor| sensor.iter().take(most)).collect()
    };
    let most = (1..=rows.len()).take_while(|most| of_each(*most).len() <= shown).last().unwrap_or(1);
    of_each(most).into_iter().take(shown).collect()
}

fn lines(table: &Table, shown: usize) -> Vec<String> {
    let mut lines = vec![
        format!(
            "senza demo: node c sees {} sensors of the cluster, {} series    ctrl-c ends it",
            table.sensors,
            table.rows.len()
        ),
        String::new(),
        format!("{:<34} {:<22} {:<5} {:>18} {:>9} {:>9}", "SENSOR", "ATTRIBUTE", "OWNER", "LATEST", "RATE/s", "AGE"),
    ];
    let fitting = fitting(&table.rows, shown);
    lines.extend(fitting.iter().map(|row| {
        format!(
            "{:<34} {:<22} {:<5} {:>18} {:>9.1} {:>9}",
            cut(&row.sensor, 34),
            cut(&row.attribute, 22),
            row.node,
            cut(&cli::shown(&row.value), 18),
            row.rate,
            cli::age(row.age_us)
        )
    }));
    let hidden = table.rows.len() - fitting.len();
    lines.push(if hidden > 0 { format!("… and {hidden} more series") } else { String::new() });
    lines.push(String::new());
    lines.extend(table.links.iter().map(|link| {
        format!(
            "link {} → c: {} readings in {} frames, {:.1} kB, {:.1} bytes a reading",
            link.from,
            link.readings,
            link.frames,
            link.bytes as f64 / 1e3,
            link.bytes as f64 / link.readings.max(1) as f64
        )
    }));
    lines.push(format!("told as lost: {}", table.gaps));
    lines
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_terminal_shows_a_part_of_every_sensor() {
        let row = |sensor: &str, attribute: &str| Row {
            sensor: sensor.into(),
            attribute: attribute.into(),
            node: "a".into(),
            value: Value::I64(1),
            rate: 1.0,
            age_us: 0,
        };
        let rows = [row("s", "x"), row("s", "y"), row("s", "z"), row("t", "x"), row("t", "y")];
        let shown = |most: usize| {
            fitting(&rows, most).iter().map(|row| format!("{}{}", row.sensor, row.attribute)).collect::<Vec<_>>()
        };
        assert_eq!(shown(9), ["sx", "sy", "sz", "tx", "ty"]);
        assert_eq!(shown(4), ["sx", "sy", "tx", "ty"]);
        assert_eq!(shown(3), ["sx", "tx"]);
        assert_eq!(shown(1), ["sx"]);
    }

    #[test]
    fn the_table_says_who_owns_what_and_what_the_links_carry() {
        let row = Row {
            sensor: "weather/JFK with a name far too long for its column".into(),
            attribute: "temperature_f".into(),
            node: "b".into(),
            value: Value::F64(39.02),
            rate: 1.0,
            age_us: 250_000,
        };
        let link = Link { from: "b".into(), readings: 10, frames: 2, bytes: 300 };
        let text = lines(&Table { rows: vec![row], links: vec![link], sensors: 1, gaps: 0 }, 10).join("\n");
        for part in
            ["weather/JFK", "…", " b ", "39.0200", "250 ms", "link b → c: 10 readings in 2 frames", "30.0 bytes"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}

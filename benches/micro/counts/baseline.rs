//! Counts as they are committed, and how others compare with them. Knows nothing of how they are counted.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value as Json;

/// By how much instructions may differ, in either direction: compilers and C libraries differ a little. Allocations may
/// not differ.
const TOLERANCE: f64 = 0.05;

/// What one case costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counts {
    /// Of one operation; none where they were not counted.
    pub(crate) instructions: Option<f64>,
    /// Of a turn of 1,000 operations.
    pub(crate) allocations: u64,
    /// Of these allocations.
    pub(crate) bytes: u64,
}

/// What is committed, by name.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    processor: String,
    functions: BTreeMap<String, Counts>,
}

/// How counts differ from a baseline, as a table.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<[String; 6]>,
    /// Functions that differ by more than they may.
    pub(crate) differing: usize,
}

impl Counts {
    fn instructions_fit(&self, now: &Self) -> bool {
        match (self.instructions, now.instructions) {
            (Some(before), Some(now)) => (now - before).abs() <= before * TOLERANCE,
            // Without valgrind they are not looked at; without a baseline they are new.
            (before, now) => now.is_none() || before.is_some(),
        }
    }

    fn allocations_fit(&self, now: &Self) -> bool {
        (self.allocations, self.bytes) == (now.allocations, now.bytes)
    }
}

// === impl Baseline ===

impl Baseline {
    /// Reads what is committed; nothing where there is no file yet.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::from("{}"),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let json: Json = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let functions = json["functions"].as_object().into_iter().flatten();
        let functions = functions.map(|(name, counts)| {
            let whole = |field: &str| counts[field].as_u64();
            let (Some(allocations), Some(bytes)) = (whole("allocations"), whole("bytes")) else {
                return Err(format!("{}: {name} has no whole numbers of allocations and bytes", path.display()));
            };
            Ok((name.clone(), Counts { instructions: counts["instructions"].as_f64(), allocations, bytes }))
        });
        let functions = functions.collect::<Result<_, _>>()?;
        let processor = json["processor"].as_str().unwrap_or(std::env::consts::ARCH).to_owned();
        Ok(Self { processor, functions })
    }

    /// Whether its instructions are of this kind of processor.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        self.processor == std::env::consts::ARCH
    }

    /// Takes over what differs by more than it may. What does not stays, so that small steps add up until they are
    /// seen. Of a whole count also what is gone.
    pub(crate) fn accept(&mut self, counts: &[(&str, Counts)], is_whole: bool) {
        if is_whole {
            self.functions.retain(|name, _| counts.iter().any(|(counted, _)| counted == name));
        }
        for (name, now) in counts {
            let known = self.functions.entry((*name).to_owned()).or_insert(*now);
            let instructions = if known.instructions_fit(now) { known.instructions } else { now.instructions };
            *known = Counts { instructions, ..*now };
        }
    }
}

/// The file's text: one line for each function.
impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{{\n  \"processor\": \"{}\",\n  \"functions\": {{", self.processor)?;
        for (at, (name, counts)) in self.functions.iter().enumerate() {
            let Counts { instructions, allocations, bytes } = counts;
            let instructions = instructions.map_or("null".to_owned(), |count| format!("{count:.1}"));
            let end = if at + 1 < self.functions.len() { "," } else { "" };
            write!(f, "    {}: {{ \"instructions\": {instructions}, ", Json::from(name.as_str()))?;
            writeln!(f, "\"allocations\": {allocations}, \"bytes\": {bytes} }}{end}")?;
        }
        writeln!(f, "  }}\n}}")
    }
}

// === impl Report ===

impl Report {
    /// Holds counts against a baseline. Of a whole count also what the baseline has and nobody counted differs.
    pub(crate) fn new(baseline: &Baseline, counts: &[(&str, Counts)], is_whole: bool) -> Self {
        let mut report = Self::default();
        for (name, now) in counts {
            report.compare(name, baseline.functions.get(*name), now);
        }
        let is_gone = |name: &String| is_whole && !counts.iter().any(|(counted, _)| counted == name);
        for name in baseline.functions.keys().filter(|name| is_gone(name)) {
            report.line(name, ["in the baseline", "gone", "", "", "<-- differs"]);
            report.differing += 1;
        }
        report
    }

    fn compare(&mut self, name: &str, before: Option<&Counts>, now: &Counts) {
        let allocations = |counts: &Counts| format!("{} of {} B", counts.allocations, counts.bytes);
        let Some(before) = before else {
            self.differing += 1;
            self.line(name, ["", &shown(now.instructions), "", &allocations(now), "<-- new"]);
            return;
        };
        let change = before.instructions.zip(now.instructions).map(|(before, now)| (now / before - 1.0) * 100.0);
        let change = change.map(|percent| format!("{percent:+.1} %")).unwrap_or_default();
        let fits = (before.instructions_fit(now), before.allocations_fit(now));
        let mark = match fits {
            (true, true) => String::new(),
            (false, true) => "<-- instructions differ".to_owned(),
            (_, false) => format!("<-- allocations differ, before: {}", allocations(before)),
        };
        self.line(name, [&shown(before.instructions), &shown(now.instructions), &change, &allocations(now), &mark]);
        self.differing += usize::from(fits != (true, true));
    }

    fn line(&mut self, name: &str, [before, now, change, allocations, mark]: [&str; 5]) {
        self.lines.push([name, before, now, change, allocations, mark].map(str::to_owned));
    }
}

fn shown(instructions: Option<f64>) -> String {
    instructions.map_or("not counted".to_owned(), |count| format!("{count:.1}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["instructions of one operation", "baseline", "now", "change", "allocations of 1,000", ""];
        for [name, before, now, change, allocations, mark] in
            std::iter::once(&heads.map(str::to_owned)).chain(&self.lines)
        {
            let line = format!("{name:<48} {before:>15} {now:>11} {change:>9} {allocations:>21}  {mark}");
            writeln!(f, "{}", line.trim_end())?;
        }
        let percent = TOLERANCE * 100.0;
        if self.differing == 0 {
            return write!(f, "All that was counted is as in benches/baseline.json, within {percent:.0} %.");
        }
        let (differing, all) = (self.differing, self.lines.len());
        writeln!(
            f,
            "\n{differing} of {all} differ from benches/baseline.json: by over {percent:.0} %, or in allocations."
        )?;
        write!(f, "If that is meant: benches/counts --accept, and commit the baseline with the reason.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: f64, allocations: u64) -> Counts {
        Counts { instructions: Some(instructions), allocations, bytes: allocations * 16 }
    }

    fn baseline() -> Baseline {
        let functions = [("a", counts(100.0, 0)), ("b", counts(200.0, 3))].map(|(name, of)| (name.to_owned(), of));
        Baseline { processor: std::env::consts::ARCH.to_owned(), functions: functions.into() }
    }

    #[test]
    fn five_percent_pass_and_allocations_are_exact() {
        let differing = |a: Counts, b: Counts| Report::new(&baseline(), &[("a", a), ("b", b)], true).differing;
        assert_eq!(differing(counts(100.0, 0), counts(200.0, 3)), 0);
        assert_eq!(differing(counts(104.9, 0), counts(190.1, 3)), 0);
        assert_eq!(differing(counts(105.1, 0), counts(189.9, 3)), 2);
        assert_eq!(differing(counts(100.0, 1), counts(200.0, 2)), 2);
        assert_eq!(differing(Counts { instructions: None, ..counts(0.0, 0) }, counts(200.0, 3)), 0);
    }

    #[test]
    fn what_is_new_or_gone_differs_in_a_whole_count() {
        let report = |is_whole| Report::new(&baseline(), &[("a", counts(100.0, 0)), ("c", counts(1.0, 0))], is_whole);
        assert_eq!((report(true).differing, report(false).differing), (2, 1));
        assert!(report(true).to_string().contains("b        "), "{}", report(true));
    }

    #[test]
    fn accepting_takes_over_what_differs_alone() {
        let mut accepted = baseline();
        accepted.accept(&[("b", counts(201.0, 4)), ("c", counts(7.0, 0))], false);
        assert_eq!(accepted.functions["a"], counts(100.0, 0));
        assert_eq!(accepted.functions["b"], counts(200.0, 4));
        assert_eq!(accepted.functions["c"], counts(7.0, 0));
        accepted.accept(&[("a", counts(106.0, 0))], true);
        assert_eq!(accepted.functions.into_iter().collect::<Vec<_>>(), [("a".to_owned(), counts(106.0, 0))]);
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let (folder, written) = (std::env::temp_dir(), baseline());
        let path = folder.join(format!("senza-baseline-{}.json", std::process::id()));
        std::fs::write(&path, written.to_string()).unwrap();
        let read = Baseline::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap().functions, written.functions);
        assert!(Baseline::read(&path).unwrap().functions.is_empty(), "no file, no baseline");
    }
}

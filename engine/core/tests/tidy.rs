//! The repository's law as a test: what a reviewer need not say because a tool can forbid it. A ban names what to do
//! instead. Lengths past their budget are printed, never failed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: a panic is its failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the data structures may depend on.
const CORE_DEPENDENCIES: [&str; 6] =
    ["arc-swap", "crossbeam-utils", "foldhash", "hashbrown", "parking_lot", "thiserror"];

/// A module and the siblings it may import.
type Floors = &'static [(&'static str, &'static [&'static str])];

/// What a module of a crate may import of its siblings: floors, from below.
const FLOORS: [(&str, Floors); 2] = [
    (
        "engine/core/src",
        &[
            ("reading", &["error"]),
            ("error", &["reading"]),
            ("hash", &[]),
            ("key", &["error", "reading"]),
            ("history", &["reading"]),
            ("codec", &["error", "hash", "key", "reading"]),
            ("frame", &["codec", "error", "reading"]),
            ("subscription", &["reading"]),
            ("table", &["error", "history", "reading"]),
            ("directory", &["codec", "error", "hash", "key", "reading"]),
            ("fanout", &["error", "history", "key", "reading", "subscription"]),
        ],
    ),
    (
        "engine/mesh/src",
        &[
            ("clock", &[]),
            ("transport", &[]),
            ("counters", &[]),
            ("ownership", &["transport"]),
            ("relay", &[]),
            ("sim", &["clock", "transport"]),
            ("zenoh_transport", &["transport"]),
            ("zenoh_plain", &["zenoh_transport"]),
            ("zenoh_client", &[]),
            ("engine", &["clock", "counters", "ownership", "relay", "transport"]),
            ("handle", &["engine"]),
            ("driver", &["clock", "engine", "relay", "transport"]),
            ("cluster", &["clock", "engine", "handle", "ownership", "sim", "transport"]),
        ],
    ),
];

/// Names of files that say nothing of what is inside.
const NAMELESS: [&str; 7] = ["util", "utils", "common", "misc", "prelude", "helpers", "traits"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files below a folder but what is built or belongs to git.
fn files(below: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !["target", ".git", ".venv"].contains(&name.as_str()) {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    files(&root, ".rs").into_iter().map(named).collect()
}

fn fail_if_any(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Lines that break a rule, as `file:line`.
fn lines(wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !file.ends_with("tests/tidy.rs")) {
        let wrong_lines = text.lines().enumerate().filter(|(_, line)| wrong(file, line));
        found.extend(wrong_lines.map(|(at, line)| format!("{file}:{}: {}", at + 1, line.trim())));
    }
    found
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| file).collect();
    fail_if_any("a file opens with //!: what it is, what it must not know", &silent);
}

#[test]
fn files_are_called_by_their_noun() {
    let stem = |file: &str| Path::new(file).file_stem().unwrap().to_str().unwrap().to_owned();
    let nameless: Vec<String> =
        sources().into_iter().map(|(file, _)| file).filter(|file| NAMELESS.contains(&stem(file).as_str())).collect();
    fail_if_any("name the noun that is inside", &nameless);
}

#[test]
fn zenoh_is_named_at_its_seam_only() {
    let named = lines(|file, line| {
        let seam =
            file.starts_with("engine/mesh/src/zenoh_") || file.starts_with("tests/") || file.starts_with("benches/");
        let line = line.trim_start();
        let names = line.starts_with("use zenoh::") || line.contains(" zenoh::open") || line.contains("zenoh::Session");
        names && !seam && !line.starts_with("//")
    });
    fail_if_any("the zenoh crate is used in engine/mesh/src/zenoh_*.rs only; ask the transport", &named);
}

#[test]
fn the_data_structures_depend_on_little() {
    let manifest = fs::read_to_string(root().join("engine/core/Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let named: BTreeSet<&str> =
        section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).collect();
    assert_eq!(
        named,
        BTreeSet::from(CORE_DEPENDENCIES),
        "a new dependency of engine/core is a decision: extend the list here"
    );
}

#[test]
fn imports_point_down() {
    let mut found = Vec::new();
    for (file, text) in sources() {
        let Some((folder, floors)) = FLOORS.iter().find(|(folder, _)| file.starts_with(&format!("{folder}/"))) else {
            continue;
        };
        let module = file[folder.len() + 1..].split(['/', '.']).next().unwrap();
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = floors.iter().find(|(name, _)| *name == module) else {
            found.push(format!("{file}: not in the table of floors; add it with what it may import"));
            continue;
        };
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (at, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let imported = line.split("crate::").skip(1).filter_map(|rest| rest.split([':', ';', ' ', '{']).next());
            for sibling in imported.filter(|sibling| *sibling != module && !allowed.contains(sibling)) {
                found.push(format!("{file}:{}: {module} must not know {sibling}", at + 1));
            }
        }
    }
    fail_if_any("imports point down the floors of docs/ARCHITECTURE.md", &found);
}

#[test]
fn every_source_belongs_to_a_crate() {
    let mut orphans = Vec::new();
    for (file, _) in sources().iter().filter(|(file, _)| file.contains("/src/")) {
        let path = Path::new(file);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        if ["lib", "main"].contains(&stem) && folder.ends_with("src") {
            continue;
        }
        let (name, parents) = if stem == "mod" {
            (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap())
        } else {
            (stem, folder)
        };
        let parent = root().join(parents);
        let mut places = vec![parent.join("lib.rs"), parent.join("main.rs"), parent.join("mod.rs")];
        places.push(parent.with_extension("rs"));
        let declares = |place: &PathBuf| {
            let text = fs::read_to_string(place).unwrap_or_default();
            text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};")))
        };
        if !places.iter().any(declares) {
            orphans.push(file.clone());
        }
    }
    fail_if_any("a source that no crate names is dead; declare or delete it", &orphans);
}

#[test]
fn nothing_is_left_for_later() {
    let later =
        lines(|_, line| ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].iter().any(|word| line.contains(word)));
    fail_if_any("finish it, or write it down where users look", &later);
    let ignored = lines(|_, line| line.trim() == "#[ignore]");
    fail_if_any("an ignored test says why: #[ignore = \"…\"]", &ignored);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let words =
        [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["crates", ".io"].concat(), ["pypi", ".org"].concat()];
    let mut found = Vec::new();
    for ending in [".rs", ".md", ".toml", ".py", "run"] {
        for path in files(&root(), ending) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let hits =
                text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word.as_str())));
            found.extend(hits.map(|(at, _)| format!("{}:{}", path.display(), at + 1)));
        }
    }
    fail_if_any("no paths of one machine, no hosts of registries", &found);
}

#[test]
fn long_files_and_functions_are_shown() {
    for (file, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
        if code > 600 {
            println!("{file}: {code} lines; does a second noun live here?");
        }
        for (at, length) in functions(&text).filter(|(_, length)| *length > 70) {
            println!("{file}:{at}: a function of {length} lines");
        }
    }
}

/// Where functions begin, and how long they are, by their indentation.
fn functions(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let line = line.trim_start();
        ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn "].iter().any(|word| line.starts_with(word))
    };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| begins(lines[*at])).collect();
    let length = move |start: usize| {
        let end = format!("{}}}", " ".repeat(indent(lines[start])));
        lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1
    };
    let found: Vec<(usize, usize)> = starts.into_iter().map(|start| (start + 1, length(start))).collect();
    found.into_iter()
}

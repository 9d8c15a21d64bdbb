//! The repository's law as a test over the tree: each rule is one test, and a ban names its replacement.
//!
//! Only the standard library, so that it runs first and in seconds. A message names file and line. Lengths past their
//! budget are printed, never failed: a budget is a prompt to look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A module and the siblings it may import.
type Floors = &'static [(&'static str, &'static [&'static str])];

/// What a module of a crate may import, from below. A new edge is a commit of its own, with its reason.
const FLOORS: [(&str, Floors); 2] = [
    (
        "engine/core/src/",
        &[
            // 0: ids check themselves, and errors name them; the two know nothing else.
            ("reading", &["error"]),
            ("error", &["reading"]),
            // 1
            ("hash", &[]),
            ("fault", &[]),
            ("sync", &[]),
            ("history", &["reading"]),
            ("key", &["error", "reading"]),
            ("codec", &["error", "hash", "key", "reading", "subscription"]),
            ("row", &["history", "reading"]),
            ("subscription", &["error", "fault", "history", "reading", "row", "sync"]),
            ("frame", &["codec", "error", "reading", "row", "subscription"]),
            // 2: never each other.
            ("table", &["error", "history", "reading", "sync"]),
            ("directory", &["codec", "error", "fault", "hash", "key", "reading", "sync"]),
            ("fanout", &["error", "fault", "history", "key", "reading", "row", "subscription", "sync"]),
        ],
    ),
    (
        "engine/mesh/src/",
        &[
            ("clock", &[]),
            ("transport", &[]),
            ("counters", &[]),
            ("latency", &[]),
            ("ownership", &["latency", "transport"]),
            ("relay", &["clock", "latency"]),
            ("network", &["clock", "transport"]),
            ("zenoh_transport", &["transport"]),
            ("followed", &[]),
            ("zenoh_tap", &[]),
            ("zenoh_follow", &["clock", "followed", "zenoh_tap", "zenoh_transport"]),
            ("zenoh_plain", &["zenoh_follow", "zenoh_transport"]),
            ("zenoh_client", &[]),
            ("engine", &["clock", "counters", "latency", "ownership", "relay", "transport"]),
            ("handle", &["engine"]),
            ("driver", &["clock", "engine", "relay", "transport"]),
            ("sim", &["clock", "engine", "handle", "network", "ownership", "transport"]),
        ],
    ),
];

/// All that engine/core may depend on: no sockets, no runtime, nothing slow to build.
const CORE_DEPENDENCIES: &[&str] =
    &["arc-swap", "crossbeam-utils", "foldhash", "hashbrown", "parking_lot", "shuttle", "thiserror"];

/// The manifests that may name the crate zenoh as a dependency; the workspace's own holds its version.
const ZENOH_MANIFESTS: &[&str] = &["Cargo.toml", "benches/Cargo.toml", "engine/mesh/Cargo.toml", "tests/Cargo.toml"];

/// File names that say nothing.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "prelude", "util", "utils"];

/// Text that no file may hold, and what to write instead. Split, so that this file does not hold it either.
const BANNED_TEXT: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it, or open an issue and describe the limit"),
    (concat!("FIX", "ME"), "fix it, or open an issue and describe the limit"),
    (concat!("#[ig", "nore]"), "#[ignore = \"the reason\"]"),
    (concat!("/wo", "rk/"), "a path relative to the repository"),
    (concat!("/ro", "ot/"), "a path relative to the repository"),
    (concat!("crates", ".io"), "\"the crate registry\""),
    (concat!("pypi", ".org"), "the package's name"),
    (concat!("files.python", "hosted.org"), "the package's name"),
    (concat!("registry.npm", "js.org"), "the package's name"),
    (concat!("deb.deb", "ian.org"), "the package's name"),
    (concat!("session", " prompt"), "what a reader of the project needs to know"),
];

/// Lines of a file and of a function that are a reason to look.
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;

// === The rules ===

#[test]
fn every_source_opens_with_what_it_is() {
    let silent = sources().filter(|file| !file.text.starts_with("//!")).map(|file| format!("{}:1", file.name));
    forbid("a .rs file opens with `//!`: what it is, what it must not know", silent);
}

#[test]
fn no_file_has_an_empty_name() {
    let is_empty = |file: &&File| EMPTY_NAMES.contains(&file.stem()) || EMPTY_NAMES.contains(&file.folder());
    forbid("name the noun a file is about", sources().filter(is_empty).map(|file| file.name.clone()));
}

#[test]
fn no_file_holds_banned_text() {
    let mut found = Vec::new();
    for file in FILES.iter().filter(|file| !file.ends_with("Cargo.lock")) {
        for (number, line) in numbered(&file.text) {
            let banned = BANNED_TEXT.iter().filter(|(text, _)| holds(line, text));
            found.extend(banned.map(|(text, instead)| format!("{}:{number}: `{text}`; instead: {instead}", file.name)));
        }
    }
    forbid("some text has no place in the tree", found);
}

#[test]
fn zenoh_is_named_in_few_places() {
    let mut found = Vec::new();
    for file in FILES.iter().filter(|file| file.ends_with("Cargo.toml")) {
        if !ZENOH_MANIFESTS.contains(&file.name.as_str()) {
            let named = dependencies(&file.text, "dependencies").filter(|(_, name)| name.starts_with("zenoh"));
            found.extend(named.map(|(number, name)| format!("{}:{number}: depends on {name}", file.name)));
        }
    }
    // Elsewhere the manifests decide; within mesh, the files.
    for file in sources() {
        if file.name.starts_with("engine/mesh/") && !file.name.starts_with("engine/mesh/src/zenoh_") {
            let code = numbered(&file.text).map(|(number, line)| (number, without_comment(line)));
            found.extend(
                code.filter(|(_, line)| names_zenoh(line)).map(|(n, line)| format!("{}:{n}: {line}", file.name)),
            );
        }
    }
    forbid("the crate zenoh is named in engine/mesh/src/zenoh_*.rs, tests and benches; instead: `Transport`", found);
}

#[test]
fn core_depends_on_a_written_list() {
    let manifest = fs::read_to_string(root().join("engine/core/Cargo.toml")).expect("core has a manifest");
    let found: BTreeSet<&str> = dependencies(&manifest, "[dependencies]").map(|(_, name)| name).collect();
    let written: BTreeSet<&str> = CORE_DEPENDENCIES.iter().copied().collect();
    let differing = found.symmetric_difference(&written).map(|name| format!("engine/core/Cargo.toml: {name}"));
    forbid("core's dependencies are CORE_DEPENDENCIES in tidy.rs; change both, with the reason", differing);
}

#[test]
fn imports_point_down() {
    let mut found = Vec::new();
    for (folder, floors) in FLOORS {
        let floors: BTreeMap<&str, &[&str]> = floors.iter().copied().collect();
        for file in sources() {
            let Some(inside) = file.name.strip_prefix(folder).filter(|inside| *inside != "lib.rs") else { continue };
            // `codec` for `codec.rs` and all of `codec/`.
            let module = inside.split(['/', '.']).next().unwrap_or_default();
            let Some(allowed) = floors.get(module) else {
                found.push(format!("{}: add `{module}` and its imports to FLOORS in tidy.rs", file.name));
                continue;
            };
            let imports = imports(file, &floors).into_iter();
            let wrong = imports.filter(|(_, name)| name != module && !allowed.contains(&name.as_str()));
            found.extend(wrong.map(|(number, name)| format!("{}:{number}: {module} imports {name}", file.name)));
        }
    }
    forbid("imports point down, by FLOORS in tidy.rs; instead: an argument, or a type of a lower floor", found);
}

#[test]
fn every_source_is_compiled() {
    let in_crate = |file: &&File| file.name.starts_with("engine/") && file.name.split('/').nth(2) == Some("src");
    let by_name: BTreeMap<&str, &File> = sources().filter(in_crate).map(|file| (file.name.as_str(), file)).collect();
    let is_root = |name: &String| name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = by_name.keys().map(|name| (*name).to_owned()).filter(is_root).collect();
    while let Some(name) = open.pop() {
        let children = by_name.get(name.as_str()).map(|file| declared(file)).unwrap_or_default();
        if reached.insert(name) {
            open.extend(children);
        }
    }
    let lost = by_name.keys().filter(|name| !reached.contains(**name)).map(|name| (*name).to_owned());
    forbid("a file that no `mod` declares is not compiled: declare or delete it", lost);
}

#[test]
fn no_guard_leaves_the_table() {
    let is_table = |file: &&File| file.name.starts_with("engine/core/src/table");
    assert!(sources().any(|file| file.name == "engine/core/src/table.rs"), "core has a table");
    let is_guard = |line: &str| line.trim_start().starts_with("pub") && line.contains("Guard");
    let mut guards = Vec::new();
    for file in sources().filter(is_table) {
        let lines = numbered(&file.text).filter(|(_, line)| is_guard(line));
        guards.extend(lines.map(|(number, _)| format!("{}:{number}", file.name)));
    }
    forbid("no lock guard leaves the table; instead: copy the reading out", guards);
}

#[test]
fn lengths_are_printed() {
    let mut long = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            long.push(format!("{}: {lines} lines", file.name));
        }
        let functions = functions(&file.text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES);
        long.extend(functions.map(|(start, lines)| format!("{}:{start}: a function of {lines} lines", file.name)));
    }
    // Written past the test harness, which hides what a passing test prints.
    let mut out = std::io::stderr().lock();
    for line in long {
        writeln!(out, "tidy, worth a look: {line}").expect("stderr is open");
    }
}

// === The tree ===

/// A text file of the repository; its name is its path from the root, with `/`.
struct File {
    name: String,
    text: String,
}

impl File {
    fn stem(&self) -> &str {
        let last = self.name.rsplit('/').next().unwrap_or_default();
        last.split('.').next().unwrap_or_default()
    }

    fn folder(&self) -> &str {
        self.name.rsplit('/').nth(1).unwrap_or_default()
    }

    fn ends_with(&self, last: &str) -> bool {
        self.name.rsplit('/').next() == Some(last)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is above this crate")
}

/// Every text file but what builds leave behind, read once.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree can be read") {
            let path = entry.expect("a folder of the tree can be read").path();
            if path.is_symlink() || is_built(&path) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let name = path.strip_prefix(&root).expect("found below the root").to_string_lossy().replace('\\', "/");
                found.push(File { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
});

/// Version control, what cargo builds (marked by its tag, wherever it is), what a fuzzer finds, what Python leaves.
fn is_built(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".git", "target", "corpus", "artifacts", ".venv", "node_modules", "__pycache__", ".pytest_cache"]
        .contains(&name.as_ref())
        || path.join("CACHEDIR.TAG").exists()
}

fn sources() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|file| file.name.ends_with(".rs"))
}

/// Fails with all that was found, one a line.
fn forbid(rule: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

// === Reading source text ===

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default().trim()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `line` holds `text`, not as the tail of a longer word.
fn holds(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| !line[..at].ends_with(is_word))
}

/// Whether a line of code names the crate: `use zenoh` or `zenoh::`, but not `crate::zenoh::` or `my_zenoh::`.
fn names_zenoh(code: &str) -> bool {
    let is_path = |at: usize| !code[..at].ends_with(|c| is_word(c) || c == ':' || c == '"');
    code.match_indices("zenoh::").any(|(at, _)| is_path(at))
        || code.trim_end_matches(';').split(" as ").next().is_some_and(|head| head.ends_with("use zenoh"))
}

/// The line and name of each dependency in the tables whose header holds `header`.
fn dependencies<'a>(manifest: &'a str, header: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut inside = false;
    numbered(manifest).filter_map(move |(number, line)| {
        if line.starts_with('[') {
            inside = line.contains(header);
            return None;
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        (inside && !name.is_empty() && !name.starts_with('#')).then_some((number, name))
    })
}

/// Where a file names another module of its crate, tests aside: they may look anywhere.
fn imports(file: &File, modules: &BTreeMap<&str, &[&str]>) -> Vec<(usize, String)> {
    let code = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    if file.ends_with("tests.rs") {
        return Vec::new();
    }
    let is_top = file.name.matches('/').count() == 3;
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let line_start = code[..start].rfind('\n').map_or(0, |at| at + 1);
        let is_code = !code[line_start..start].contains("//") && !code[..start].ends_with(is_word);
        let is_super = code[start..].starts_with("super");
        let number = code[..start].matches('\n').count() + 1;
        for name in heads(&code[start + "crate::".len()..]).into_iter().filter(|_| is_code) {
            // `super` of a deeper file is its own module; of an inline module, the file.
            if !is_super || (is_top && modules.contains_key(name.as_str())) {
                found.push((number, name));
            }
        }
    }
    found
}

/// The first names of a path: `a` of `a::B`, `a` and `b` of `{a::B, b::{C, D}}`.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_word(*c)).collect()];
    };
    let (mut depth, mut flat) = (0_usize, String::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 0 => flat.push(character),
            _ => {}
        }
    }
    let names = flat.split(',').map(|part| part.trim().chars().take_while(|c| is_word(*c)).collect::<String>());
    names.filter(|name| !name.is_empty()).collect()
}

/// The files that a file's `mod name;` lines may mean.
fn declared(file: &File) -> Vec<String> {
    let (folder, stem) = (file.name.rsplit_once('/').map_or("", |(folder, _)| folder), file.stem());
    let base = if ["lib", "main", "mod"].contains(&stem) { folder.to_owned() } else { format!("{folder}/{stem}") };
    let names = file.text.lines().filter_map(|line| {
        let before_semicolon = without_comment(line).strip_suffix(';')?;
        let (visibility, name) = before_semicolon.rsplit_once("mod ")?;
        (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
    });
    names.flat_map(|name| [format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]).collect()
}

/// First line and length of each function, by indentation, which rustfmt keeps.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = (0..lines.len()).filter(|index| opens_function(lines[*index]));
    let lengths = starts.filter_map(|start| {
        let indent = lines[start].len() - lines[start].trim_start().len();
        let closing = format!("{}}}", &lines[start][..indent]);
        let length = lines[start..].iter().position(|line| line.starts_with(&closing))? + 1;
        Some((start + 1, length))
    });
    lengths.collect()
}

/// Whether a line opens a function with a body on the lines below.
fn opens_function(line: &str) -> bool {
    let before: Vec<&str> = line.split_whitespace().take_while(|word| *word != "fn").collect();
    let is_modifier = |word: &&str| ["const", "async", "unsafe"].contains(word) || word.starts_with("pub");
    before.len() < line.split_whitespace().count() && before.iter().all(is_modifier) && !line.ends_with(['}', ';'])
}

//! The load generator through the command line: whatever the machine's pace, it accounts for every reading.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use crate::support::{program, signal, wait_for};

fn load(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.current_dir(std::env::temp_dir()).arg("load").args(args);
    command
}

/// Runs it and answers what it printed; panics where it found anything unaccounted for.
fn load_json(args: &[&str]) -> Json {
    let output = load(args).arg("--json").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{args:?}: {out} {err}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out:?} {err:?}"))
}

fn assert_accounted(report: &Json, offered: u64) {
    let number = |field: &str| report[field].as_u64().unwrap_or_else(|| panic!("{field} of {report}"));
    assert_eq!(number("offered"), offered);
    let heard = number("delivered") + report["gaps"]["readings"].as_u64().unwrap();
    assert_eq!(heard, offered * number("subscribers"), "{report}");
    let wrong = ["duplicates", "out_of_order", "unaccounted"].map(number);
    assert_eq!((report["ok"].as_bool(), wrong), (Some(true), [0, 0, 0]), "{report}");
}

#[test]
fn one_process_accounts_for_every_reading() {
    let report = load_json(&["--where", "process", "--sensors", "7", "--rate", "2k", "--for", "1s", "--warm-up", "0s"]);
    assert_accounted(&report, 2_000);
}

#[test]
fn a_cluster_accounts_for_every_reading_to_every_subscriber() {
    let file = std::env::temp_dir().join(format!("senza-load-{}.hgrm", std::process::id()));
    let args = ["--rate", "2k", "--for", "1s", "--warm-up", "300ms", "--batch", "3", "--value-bytes", "40"];
    let report = load_json(&[&args[..], &["--subscribers", "2", "--hgrm", file.to_str().unwrap()]].concat());
    assert_accounted(&report, 2_000);
    let saved = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(saved.contains(&format!("Total count    = {:>12}", report["delivered"].as_u64().unwrap())), "{saved}");
}

#[test]
fn a_closed_loop_tells_what_it_lost() {
    let report = load_json(&["--where", "process", "--rate", "max", "--for", "500ms", "--warm-up", "0s"]);
    assert_eq!((&report["loop"], &report["rate"]), (&Json::from("closed"), &Json::from("max")));
    assert_accounted(&report, report["offered"].as_u64().unwrap());
}

#[test]
fn an_interrupted_or_killed_load_leaves_no_process_behind() {
    for name in ["INT", "KILL"] {
        // The sending node inherits standard error: its end is that of both processes.
        let mut process = load(&["--for", "10m"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let sends = format!("/proc/{0}/task/{0}/children", process.id());
        wait_for("the sending node runs", || std::fs::read_to_string(&sends).ok().filter(|ids| !ids.is_empty()));
        signal(process.id(), name);
        let mut stderr = process.stderr.take().unwrap();
        let (done, ended) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            stderr.read_to_string(&mut String::new()).unwrap();
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("something outlives SIG{name}"));
        process.wait().unwrap();
    }
}

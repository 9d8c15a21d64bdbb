//! Putting and looking up through C and through Rust, turn by turn in one run: what the border costs.
//!
//! `bindings/c/benches/run` builds and runs it. Told the path of compare.c's program, it starts that, and itself once more
//! for the same work in Rust: two processes of the same size, of which each waits for its turn. Then both anew: where the
//! system puts a process's memory makes it up to a third slower or faster, for as long as it lives. Prints nanoseconds
//! and the median ratio of pairs as JSON.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "its result")]

use std::ffi::OsStr;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use senza::{Config, Node, NodeName, Sensor, SensorHandle, Value, Whereis};
use senza_core::directory::Located;
use senza_core::table::{AttributeIndex, NamedPoint, Point};
use serde_json::json;

/// Pairs of processes.
const PROCESSES: usize = 9;
/// Turns of each process and work; the first is left out.
const TURNS: usize = 6;
/// Batches of one turn.
const BATCHES: usize = 100;
/// What this program is told instead of a path, to be the half in Rust.
const RUST: &str = "--rust";
const WORKS: [&str; 7] =
    ["put batch", "put columns", "put batch, scattered", "put batch by id", "put singly", "whereis", "locate many"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().expect("the path of the C program");
    let mut number = |default| arguments.next().map_or(default, |text| text.parse::<usize>().expect("a number"));
    let (sensors, batch, batches) = (number(100_000), number(4096), number(BATCHES));
    if program == RUST {
        return Side::new(sensors, batch).take_turns();
    }
    let own = std::env::current_exe().expect("this program has a path");
    let mut pairs: [Vec<(f64, f64)>; WORKS.len()] = Default::default();
    for _ in 0..PROCESSES {
        let mut c = Half::start(&program, &[], sensors, batch);
        let mut rust = Half::start(&own, &[RUST], sensors, batch);
        for (work, pairs) in WORKS.iter().zip(&mut pairs) {
            let turns: Vec<_> = (0..TURNS).map(|turn| pair(&mut c, &mut rust, work, batches, turn)).collect();
            // Of one pair of processes one ratio.
            let of = |side: fn(&(f64, f64)) -> f64| median(&sorted(turns[1..].iter().map(side)));
            pairs.push((of(|pair| pair.0), of(|pair| pair.1)));
        }
    }
    let rows = WORKS.iter().zip(&pairs).map(|(work, pairs)| {
        let ratios = sorted(pairs.iter().map(|(c, rust)| c / rust));
        json!({
            "work": work,
            "c_ns": median(&sorted(pairs.iter().map(|pair| pair.0))),
            "rust_ns": median(&sorted(pairs.iter().map(|pair| pair.1))),
            "ratio": median(&ratios),
            "ratio_quartiles": [ratios[ratios.len() / 4], ratios[ratios.len() * 3 / 4]],
        })
    });
    let rows: Vec<_> = rows.collect();
    let told = json!({"sensors": sensors, "batch": batch, "pairs": PROCESSES, "rows": rows});
    println!("{}", serde_json::to_string_pretty(&told).expect("JSON"));
}

/// One turn of each; which of the two is first changes from turn to turn.
fn pair(c: &mut Half, rust: &mut Half, work: &str, batches: usize, turn: usize) -> (f64, f64) {
    if turn.is_multiple_of(2) {
        let first = c.turn(work, batches);
        return (first, rust.turn(work, batches));
    }
    let first = rust.turn(work, batches);
    (c.turn(work, batches), first)
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// A process that works when it is told to.
struct Half {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Half {
    fn start(program: impl AsRef<OsStr>, first: &[&str], sensors: usize, batch: usize) -> Self {
        let mut command = Command::new(program);
        command.args(first).args([sensors.to_string(), batch.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program runs");
        let answers = BufReader::new(process.stdout.take().expect("its output"));
        let mut started = Self { process, answers };
        assert_eq!(started.line(), "ready");
        started
    }

    fn turn(&mut self, work: &str, batches: usize) -> f64 {
        let input = self.process.stdin.as_mut().expect("its input");
        writeln!(input, "{batches} {work}").expect("it listens");
        self.line().parse().expect("nanoseconds")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim().to_owned()
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}

/// The half in Rust.
struct Side {
    node: Node,
    handles: Vec<SensorHandle>,
    attributes: Vec<AttributeIndex>,
    /// Places in `handles`, those of one shard together, as benches/put.rs has them.
    sorted: Vec<usize>,
    ids: Vec<String>,
    points: Vec<Point>,
    located: Vec<Option<Located>>,
    batch: usize,
    at: usize,
}

impl Side {
    fn new(sensors: usize, batch: usize) -> Self {
        let node = Node::start(Config::loopback(NodeName::from_host("rust"))).expect("a node");
        let ids: Vec<String> = (0..sensors).map(|number| format!("building/sensor-{number:08}")).collect();
        let register = |id: &String| node.register(&Sensor::new(id).expect("a short id")).expect("room");
        let handles: Vec<SensorHandle> = ids.iter().map(register).collect();
        let attributes: Vec<_> = handles.iter().map(|handle| handle.attribute("value").expect("room")).collect();
        let mut sorted: Vec<usize> = (0..sensors).collect();
        sorted.sort_by_key(|at| handles[*at].point(attributes[*at], Value::Bool(true), 0).handle.parts());
        let points = Vec::with_capacity(batch);
        Self { node, handles, attributes, sorted, ids, points, located: Vec::new(), batch, at: 0 }
    }

    /// As compare.c's `main` does.
    fn take_turns(&mut self) {
        println!("ready");
        for line in std::io::stdin().lines() {
            let line = line.expect("a line");
            let (batches, work) = line.split_once(' ').expect("batches and work");
            println!("{:.3}", self.turn(work, batches.parse().expect("a number")));
        }
    }

    fn turn(&mut self, work: &str, batches: usize) -> f64 {
        let begin = Instant::now();
        for turn in 0..batches {
            self.work(work, turn as f64);
        }
        begin.elapsed().as_secs_f64() * 1e9 / (batches * self.batch) as f64
    }

    fn point(&self, at: usize, value: f64) -> Point {
        let at = at % self.ids.len();
        self.handles[at].point(self.attributes[at], Value::F64(value), 1)
    }

    fn scattered(&self, number: usize) -> &str {
        &self.ids[number * 611_953 % self.ids.len()]
    }

    fn work(&mut self, work: &str, value: f64) {
        let (from, to) = (self.at, self.at + self.batch);
        self.at = to;
        let engine = self.node.engine().clone();
        match work {
            // Points and columns are one thing in Rust.
            "put batch" | "put columns" | "put batch, scattered" => {
                let mut points = std::mem::take(&mut self.points);
                points.clear();
                if work == "put batch, scattered" {
                    points.extend((from..to).map(|at| self.point(at, value)));
                } else {
                    points.extend((from..to).map(|at| self.point(self.sorted[at % self.ids.len()], value)));
                }
                assert_eq!(engine.put_many(&points), 0);
                self.points = points;
            }
            "put batch by id" => {
                let point = |at| NamedPoint {
                    sensor: self.scattered(at),
                    attribute: "value",
                    value: Value::F64(value),
                    source_time: 1,
                };
                let points: Vec<NamedPoint<'_>> = (from..to).map(point).collect();
                assert!(engine.put_many_by_id(&points).is_empty());
            }
            "put singly" => (from..to).for_each(|at| {
                engine.put(self.point(at, value)).expect("it is registered");
            }),
            "whereis" => {
                let is_here = |at: &usize| matches!(self.node.whereis(self.scattered(*at)), Whereis::Local { .. });
                assert_eq!((from..to).filter(is_here).count(), self.batch);
            }
            _ => {
                let mut located = std::mem::take(&mut self.located);
                let asked: Vec<&str> = (from..to).map(|at| self.scattered(at)).collect();
                located.clear();
                engine.locate_many(&asked, |found| located.push(found));
                self.located = black_box(located);
            }
        }
    }
}

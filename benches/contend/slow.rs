//! Who stands still, what that does to the others, and what becomes of it.
//!
//! One process puts at a steady rate ([`crate::paced`]). Of two subscribers to everything one reads all the time, the
//! *healthy* one; the other, the *victim*, stands still in every second window, and goes on: a subscriber in the same
//! process that takes nothing (`victim=subscriber`), or a process of its own that is stopped (`victim=peer`, SIGSTOP).
//! Told are the healthy one's latencies in the windows before and in those in which the other stands still, how much
//! more memory all processes of the contender hold at the end of such a window, and what became of every reading of
//! the victim: it came in the end, it was told as lost, it was lost without a word, or the victim was cut off.
//! Knows nothing of any contender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use senza_benches::{Child, answer_lines, histogram};
use senza_mesh::clock::{Clock, SystemClock};
use serde_json::{Value as Json, json};

use crate::answer::{Account, Answer, Params};
use crate::paced::{self, Schedule, Seen, Writer};
use crate::wires::{self, Shape, Sink, Wants};
use crate::{Family, processes};

pub(crate) const FAMILY: Family = Family { name: "slow", contenders: wires::WIRES, run, child };

/// The first readings open the way: they are of no account.
const WARM_UP_SECONDS: f64 = 0.5;
/// A reader waits at most so long for the next readings.
const LOOK: Duration = Duration::from_millis(10);
/// A victim that goes on has so long to catch up, and after so long without anything it does not.
const CATCH_UP_US: i64 = 15_000_000;
const QUIET_US: i64 = 1_500_000;

fn run(contender: &str, params: &Params) -> Answer {
    let rate: u64 = params.get("rate", 20_000);
    let shape = Shape {
        first: 0,
        sensors: params.get("sensors", 1_000),
        bytes: params.get("bytes", 1_024),
        batch: params.get("batch", 1),
        express: false,
    };
    let (seconds, windows): (f64, usize) = (params.seconds(), params.get("windows", 5));
    let kind: String = params.get("victim", "subscriber".to_owned());

    let host = wires::host(contender);
    let mut sink = host.sink(&shape, Wants::All);
    let mut seen = Seen::new(shape.sensors);
    // One in this process is there before the source looks for subscribers; a guest needs no more than the endpoint.
    let here = (kind == "subscriber").then(|| Here::start(host.sink(&shape, Wants::All), shape.sensors));
    let endpoint = host.endpoint();
    let mut victim = here.map_or_else(|| Victim::Peer(start_peer(contender, &endpoint, &shape, rate)), Victim::Here);
    let schedule = Schedule::even(shape.sensors, rate);
    let mut writer = Writer::start(FAMILY.name, contender, &endpoint, &shape, schedule);
    host.met(shape.sensors);
    paced::follow(&mut writer, WARM_UP_SECONDS, &mut *sink, &mut seen, Schedule::put);
    victim.begin(writer.schedule());

    let (mut well, mut standing) = (histogram(), histogram());
    let (mut healthy, mut growth, mut not_put) = (Account::default(), 0_u64, 0);
    for window in 0..windows {
        let stands = window % 2 == 1;
        let run = std::thread::scope(|scope| {
            let before = memory();
            let (victim, growth) = (&victim, &mut growth);
            if stands {
                // By the clock: who is held up by the victim is not to hold the victim up in turn.
                scope.spawn(move || {
                    victim.stand_still(seconds, || *growth = (*growth).max(memory().saturating_sub(before)))
                });
            }
            paced::follow(&mut writer, seconds, &mut *sink, &mut seen, Schedule::put)
        });
        not_put += run.not_put;
        healthy = sum(healthy, seen.account(run.put));
        let of_kind = if stands { &mut standing } else { &mut well };
        of_kind.add(seen.latency()).expect("they have the same bounds");
        if stands {
            victim.catch_up(healthy.offered);
        }
    }
    let (became, cut_off) = victim.account(healthy.offered);
    writer.end();

    let at = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64;
    let share = |part: u64| part as f64 / became.offered.max(1) as f64;
    Answer::default()
        .metric("p99_ratio", at(&standing, 0.99) / at(&well, 0.99).max(1.0))
        .metric("p99_before_us", at(&well, 0.99))
        .metric("p99_during_us", at(&standing, 0.99))
        .metric("p50_before_us", at(&well, 0.5))
        .metric("p50_during_us", at(&standing, 0.5))
        .metric("max_during_us", standing.max() as f64)
        .metric("healthy_lost_readings", healthy.lost as f64)
        .metric("not_put_readings", not_put as f64)
        .metric("victim_arrived_share", share(became.arrived))
        .metric("victim_told_share", share(became.told))
        .metric("victim_lost_share", share(became.lost))
        .metric("victim_cut_off", f64::from(u8::from(cut_off)))
        .metric("memory_growth_bytes", growth as f64)
        .detail("victim", json!({ "kind": kind, "became": word(became, cut_off), "cut_off": cut_off }))
        .detail("configuration", host.configuration())
        .account(sum(healthy, became))
}

/// What became of a victim, in a word.
fn word(became: Account, cut_off: bool) -> &'static str {
    match became {
        _ if cut_off => "cut off",
        Account { lost: 1.., .. } => "lost without a word",
        Account { told: 1.., .. } => "told what it lost",
        _ => "caught up",
    }
}

fn sum(a: Account, b: Account) -> Account {
    Account {
        offered: a.offered + b.offered,
        arrived: a.arrived + b.arrived,
        told: a.told + b.told,
        lost: a.lost + b.lost,
    }
}

/// What this process and all that it started hold in memory.
fn memory() -> u64 {
    processes::family().into_iter().map(processes::resident_bytes).sum()
}

// === the victim ===

enum Victim {
    Here(Here),
    Peer(Mutex<Child>),
}

impl Victim {
    /// What was put so far is of no account.
    fn begin(&mut self, schedule: &Schedule) {
        match self {
            Self::Here(here) => here.seen.lock().begin(schedule),
            Self::Peer(child) => _ = child.lock().ask(&format!("begin {}", schedule.put())),
        }
    }

    /// Stands still for so long, does something, and goes on.
    #[expect(clippy::disallowed_methods, reason = "for how long it stands still is what is measured")]
    fn stand_still(&self, seconds: f64, at_the_end: impl FnOnce()) {
        let span = Duration::from_secs_f64(seconds);
        match self {
            Self::Here(here) => {
                let _closed = here.gate.lock();
                std::thread::sleep(span);
                at_the_end();
            }
            Self::Peer(child) => {
                let child = child.lock();
                child.signal("STOP");
                std::thread::sleep(span);
                at_the_end();
                child.signal("CONT");
            }
        }
    }

    /// Waits until it knows of so many readings what became of them, or nothing comes any more.
    fn catch_up(&self, offered: u64) {
        match self {
            Self::Here(here) => here.catch_up(offered),
            Self::Peer(child) => _ = child.lock().ask(&format!("catch-up {offered}")),
        }
    }

    /// What became of so many, and whether it was cut off.
    fn account(&mut self, offered: u64) -> (Account, bool) {
        self.catch_up(offered);
        match self {
            Self::Here(here) => here.account(offered),
            Self::Peer(child) => {
                let told = child.lock().ask(&format!("account {offered}"));
                let number = |name: &str| told[name].as_u64().expect("a number");
                let [arrived, told_lost, lost] = ["arrived", "told", "lost"].map(number);
                (Account { offered, arrived, told: told_lost, lost }, told["cut_off"] == true)
            }
        }
    }
}

/// A sink that a thread of this process reads.
struct Here {
    seen: Arc<Mutex<Seen>>,
    /// Held by whoever wants it to stand still.
    gate: Arc<Mutex<()>>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Here {
    fn start(mut sink: Box<dyn Sink>, sensors: u32) -> Self {
        let (seen, gate, ended) = (Arc::new(Mutex::new(Seen::new(sensors))), Arc::default(), Arc::default());
        let mut here = Self { seen, gate, ended, reader: None };
        let (seen, gate, ended) = (here.seen.clone(), here.gate.clone(), here.ended.clone());
        here.reader = Some(std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                drop(gate.lock());
                let mut seen = seen.lock();
                if seen.is_cut_off() {
                    break;
                }
                seen.take(&mut *sink, LOOK);
                // Whoever asks for the account comes before the next readings.
                parking_lot::MutexGuard::unlock_fair(seen);
            }
        }));
        here
    }

    fn catch_up(&self, offered: u64) {
        let begin = SystemClock.now();
        senza_benches::until(|| {
            let (seen, now) = (self.seen.lock(), SystemClock.now());
            let waited = now - seen.last_came_us().max(begin);
            seen.known() >= offered || seen.is_cut_off() || waited > QUIET_US || now - begin > CATCH_UP_US
        });
    }

    fn account(&self, offered: u64) -> (Account, bool) {
        let seen = self.seen.lock();
        (seen.account(offered), seen.is_cut_off())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // One that panicked said so.
        let _ended = self.reader.take().map(JoinHandle::join);
    }
}

fn start_peer(contender: &str, endpoint: &str, shape: &Shape, rate: u64) -> Mutex<Child> {
    let Shape { sensors, bytes, batch, .. } = *shape;
    let told = json!({
        "contender": contender, "endpoint": endpoint, "sensors": sensors, "bytes": bytes, "batch": batch, "rate": rate,
    });
    Mutex::new(Child::start(&[FAMILY.name, "read", &told.to_string()]))
}

fn child(words: &[String]) {
    match words[0].as_str() {
        "put" => paced::write(&words[1..]),
        _ => read(&words[1]),
    }
}

/// The process of a victim: a guest that reads, and answers what it saw.
fn read(told: &str) {
    let told: Json = serde_json::from_str(told).expect("what a reader was told");
    let number = |name: &str| told[name].as_u64().expect("a number");
    let word = |name: &str| told[name].as_str().expect("a word");
    let shape = Shape {
        first: 0,
        sensors: number("sensors") as u32,
        bytes: number("bytes") as usize,
        batch: number("batch") as usize,
        express: false,
    };
    let host = wires::guest(word("contender"), word("endpoint"));
    let here = Here::start(host.sink(&shape, Wants::All), shape.sensors);
    answer_lines(|words| {
        let count = words[1].parse().expect("a number");
        match words[0] {
            "begin" => {
                let mut schedule = Schedule::even(shape.sensors, number("rate"));
                schedule.set_put(vec![count]);
                here.seen.lock().begin(&schedule);
            }
            "catch-up" => here.catch_up(count),
            _ => {
                let (Account { arrived, told, lost, .. }, cut_off) = here.account(count);
                return json!({ "arrived": arrived, "told": told, "lost": lost, "cut_off": cut_off });
            }
        }
        json!({})
    });
}

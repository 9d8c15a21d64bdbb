//! One member of a cluster: told by lines what to do, it answers in JSON, in a process of its own or in this one.
//!
//! What it does with sensors, senza or a rival does behind [`Member`]; what is made of the answers is not known here.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and paces an open loop")]

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use senza_benches::resident_bytes;
use serde_json::{Value as Json, json};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(50);
/// How often the number of sensors is looked at, and how often a single one is.
const LOOK_AT_ALL: Duration = Duration::from_millis(1);
const LOOK_AT_ONE: Duration = Duration::from_micros(100);

/// One node, or one session of a rival.
pub(crate) trait Member: Send {
    /// Where others connect.
    fn endpoint(&self) -> String;
    /// What it knows of others' sensors and its own.
    fn view(&self) -> Arc<dyn View>;
    /// Makes the ids of so many sensors, before anything is timed: a device's connection knows its sensor.
    fn prepare(&mut self, sensors: usize);
    /// Registers these sensors here, one by one; they were prepared.
    fn register(&mut self, sensors: Range<usize>);
    /// Ends the registration of one of them.
    fn end(&mut self, sensor: usize);
    /// Registers it again.
    fn again(&mut self, sensor: usize);
    /// Ends all registrations.
    fn unregister(&mut self);
    /// Looks sensors up, so many times each way, and answers how fast. Of a rival without look-ups nothing.
    fn look_up(&self, _sensors: usize, _look_ups: usize) -> Json {
        Json::Null
    }
    /// Bytes of the messages that it sent by its own count, copies to several receivers included; 0 where it has none.
    fn sent_bytes(&self) -> u64 {
        0
    }
    /// Goes, as an application that ends does: without unregistering one by one.
    fn leave(self: Box<Self>);
}

/// What a member knows, for a thread that looks while the member is busy.
pub(crate) trait View: Send + Sync {
    /// How many other members it sees.
    fn others(&self) -> usize;
    /// How many sensors it sees, of all members.
    fn sees(&self) -> usize;
    /// Who owns a sensor, as far as it knows.
    fn owner(&self, sensor: usize) -> Option<String>;
}

/// How a member is started.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Endpoints of others.
    pub(crate) connect: Vec<String>,
    /// Whether members tell each other of third ones.
    pub(crate) gossip: bool,
    /// Sensors at most.
    pub(crate) sensors: usize,
}

/// The id of a sensor, 24 bytes.
pub(crate) fn id(sensor: usize) -> String {
    format!("building/sensor-{sensor:08}")
}

/// Microseconds since 1970: what processes of one machine agree on.
pub(crate) fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    i64::try_from(now.as_micros()).expect("before the year 294247")
}

/// Waits until the condition holds, and answers when it was seen to, in [`now_us`].
///
/// # Panics
///
/// After [`LIMIT`].
pub(crate) fn until(what: &str, step: Duration, condition: impl Fn() -> bool) -> i64 {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(step);
    }
    now_us()
}

/// A member and its ear: takes lines, answers JSON.
pub(crate) struct Desk {
    start: fn(&Entry) -> Box<dyn Member>,
    member: Option<Box<dyn Member>>,
    watching: Option<JoinHandle<i64>>,
}

impl Desk {
    /// A desk without a member yet, so that what the process itself costs can be told apart.
    pub(crate) fn new(start: fn(&Entry) -> Box<dyn Member>) -> Self {
        Self { start, member: None, watching: None }
    }

    /// Does what a line says.
    pub(crate) fn answer(&mut self, words: &[&str]) -> Json {
        match *words {
            ["start", name, sensors, gossip, ref connect @ ..] => {
                let connect = connect.iter().map(|endpoint| (*endpoint).to_owned()).collect();
                let entry =
                    Entry { name: name.to_owned(), connect, gossip: gossip == "gossip", sensors: number(sensors) };
                let member = (self.start)(&entry);
                let endpoint = member.endpoint();
                self.member = Some(member);
                json!({ "endpoint": endpoint })
            }
            ["meet", others] => {
                let (view, others) = (self.member().view(), number(others));
                until("all to meet", LOOK_AT_ALL, || view.others() == others);
                json!({})
            }
            ["prepare", sensors] => {
                self.member().prepare(number(sensors));
                json!({})
            }
            ["register", from, to] => {
                let begin = Instant::now();
                self.member().register(number(from)..number(to));
                json!({ "seconds": begin.elapsed().as_secs_f64() })
            }
            ["unregister"] => {
                self.member().unregister();
                json!({})
            }
            ["change", sensors, changes, pause_us] => self.change(number(sensors), number(changes), number(pause_us)),
            ["watch", count] => self.watch(number(count)),
            ["seen"] => {
                let watching = self.watching.take().expect("it was told to watch");
                json!({ "at_us": watching.join().expect("what was watched for came") })
            }
            ["check", from, to, owner] => {
                let view = self.member().view();
                let right = (number(from)..number(to)).filter(|at| view.owner(*at).as_deref() == Some(owner));
                json!({ "right": right.count() })
            }
            ["look-up", sensors, look_ups] => self.member().look_up(number(sensors), number(look_ups)),
            ["sent"] => json!({ "bytes": self.member().sent_bytes() }),
            ["process"] => json!({ "resident_bytes": resident_bytes(), "threads": threads() }),
            ["leave"] => {
                self.member.take().expect("it was started").leave();
                json!({})
            }
            _ => panic!("a member knows no {words:?}"),
        }
    }

    fn member(&mut self) -> &mut Box<dyn Member> {
        self.member.as_mut().expect("it was started")
    }

    /// Looks from now on, on a thread of its own, until so many sensors are seen: few looks while many are coming, and
    /// a look at one alone while none is to be left.
    fn watch(&mut self, count: usize) -> Json {
        let view = self.member().view();
        self.watching = Some(std::thread::spawn(move || {
            if count > 0 {
                return until("all sensors to be seen", LOOK_AT_ALL, || view.sees() == count);
            }
            // The first one: what is told sensor by sensor may still show the others.
            until("a sensor to go", LOOK_AT_ONE, || view.owner(0).is_none());
            until("all sensors to go", LOOK_AT_ONE, || view.sees() == 0)
        }));
        json!({})
    }

    /// Ends and registers again some sensors, scattered, at a pace.
    fn change(&mut self, sensors: usize, changes: usize, pause_us: usize) -> Json {
        let member = self.member();
        let pause = Duration::from_micros(pause_us as u64);
        for at in (0..changes / 2).map(|round| round * 7919 % sensors) {
            member.end(at);
            std::thread::sleep(pause);
            member.again(at);
            std::thread::sleep(pause);
        }
        json!({ "changes": changes / 2 * 2 })
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

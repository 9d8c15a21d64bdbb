//! The members of one measurement: started, asked, killed; in processes of their own, or all in this one.

use std::sync::Arc;

use senza_benches::Child;
use serde_json::Value as Json;

use super::member::{Desk, now_us};
use super::wires::Wires;
use super::{Setup, start_of};

/// Members named `a`, `b`, `c` …, all of which see each other.
pub(crate) struct Cluster {
    setup: Setup,
    members: Vec<Member>,
    /// What lies between them, where bytes are counted.
    wires: Option<Arc<Wires>>,
}

/// A member's desk, and where others connect to it.
struct Member {
    desk: Place,
    endpoint: String,
}

enum Place {
    Apart(Box<Child>),
    Here(Box<Desk>),
}

impl Place {
    fn new(setup: &Setup) -> Self {
        match setup.apart {
            true => Self::Apart(Box::new(Child::start(&["discovery", &setup.contender]))),
            false => Self::Here(Box::new(Desk::new(start_of(&setup.contender)))),
        }
    }

    fn ask(&mut self, line: &str) -> Json {
        match self {
            Self::Apart(child) => child.ask(line),
            Self::Here(desk) => desk.answer(&line.split_whitespace().collect::<Vec<_>>()),
        }
    }
}

/// The letter that names the member at this place.
pub(crate) fn name(at: usize) -> String {
    let letter = u8::try_from(at).ok().and_then(|at| b'a'.checked_add(at)).filter(u8::is_ascii_lowercase);
    char::from(letter.expect("as many members as letters")).to_string()
}

impl Cluster {
    /// Starts as many as the setup says. With `counted`, every link between two of them goes over a wire that counts.
    pub(crate) fn start(setup: &Setup, counted: bool) -> Self {
        let wires = counted.then(|| Arc::new(Wires::default()));
        let mut cluster = Self { setup: setup.clone(), members: Vec::new(), wires };
        for _ in 0..setup.nodes {
            cluster.join();
        }
        cluster
    }

    /// Starts one more, and waits until each has met each. Answers since when it was joining, and its place.
    pub(crate) fn join(&mut self) -> (i64, usize) {
        let (mut desk, at) = (Place::new(&self.setup), self.members.len());
        let members = self.members.iter().map(|member| member.endpoint.as_str());
        let (connect, gossip): (Vec<String>, &str) = match &self.wires {
            // With all others as seeds, so that no link goes by the side of its wire.
            Some(wires) => {
                (members.enumerate().map(|(to, endpoint)| wires.wire((at, to), endpoint)).collect(), "alone")
            }
            None => (members.take(1).map(str::to_owned).collect(), "gossip"),
        };
        let begin = now_us();
        let line = format!("start {} {} {gossip} {}", name(at), self.setup.sensors, connect.join(" "));
        let endpoint = desk.ask(&line)["endpoint"].as_str().expect("it listens").to_owned();
        self.members.push(Member { desk, endpoint });
        let others = format!("meet {at}");
        self.all().for_each(|at| _ = self.ask(at, &others));
        (begin, at)
    }

    /// The places of all members that are there.
    pub(crate) fn all(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    /// Asks one member.
    pub(crate) fn ask(&mut self, at: usize, line: &str) -> Json {
        self.members[at].desk.ask(line)
    }

    /// Has some members look, from now on, for the moment at which they see so many sensors.
    pub(crate) fn watch(&mut self, members: std::ops::Range<usize>, count: usize) {
        members.for_each(|at| _ = self.ask(at, &format!("watch {count}")));
    }

    /// When the last of them saw it, in microseconds since 1970.
    pub(crate) fn seen(&mut self, members: std::ops::Range<usize>) -> i64 {
        members.filter_map(|at| self.ask(at, "seen")["at_us"].as_i64()).max().expect("somebody watched")
    }

    /// How many of these sensors some members know for the owner's, summed up.
    pub(crate) fn right(&mut self, members: std::ops::Range<usize>, sensors: &str, owner: usize) -> u64 {
        let line = format!("check {sensors} {}", name(owner));
        members.map(|at| self.ask(at, &line)["right"].as_u64().unwrap_or_default()).sum()
    }

    /// Ends the first member: its process is killed; where it has none, it leaves. Answers since when.
    pub(crate) fn end_first(&mut self) -> i64 {
        let mut first = self.members.remove(0);
        let begin = now_us();
        match &mut first.desk {
            Place::Apart(_) => drop(first),
            Place::Here(desk) => _ = desk.answer(&["leave"]),
        }
        begin
    }

    /// What counts the bytes on the links.
    pub(crate) fn wires(&self) -> &Wires {
        self.wires.as_ref().expect("this cluster's links are counted")
    }
}

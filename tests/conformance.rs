//! What every transport has to keep, held against the simulation and against Zenoh on loopback.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use senza_core::{Life, NodeName};
use senza_mesh::network::{LinkRules, Network};
use senza_mesh::transport::{Class, Event, Inbox, Transport};
use senza_mesh::zenoh_transport::{ZenohOptions, ZenohTransport};

use crate::support::LIMIT;

/// A network that transports can join, and a way to wait for what arrives.
trait Net {
    fn join(&mut self, name: &str, incarnation: u64) -> Arc<dyn Transport>;
    /// The next event of a node, or a panic after the limit.
    fn next(&mut self, name: &str) -> Event;
}

// === the suite ===

fn tokens_are_seen_both_ways_also_late(mut net: impl Net) {
    let _a = net.join("a", 1);
    let _b = net.join("b", 2);
    assert_eq!(net.next("a"), Event::Token(life("b", 2)));
    assert_eq!(net.next("b"), Event::Token(life("a", 1)));
    let _c = net.join("c", 3);
    assert_eq!(net.next("a"), Event::Token(life("c", 3)));
    assert_eq!(net.next("b"), Event::Token(life("c", 3)));
    let mut seen = [net.next("c"), net.next("c")];
    seen.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(seen, [Event::Token(life("a", 1)), Event::Token(life("b", 2))]);
}

fn messages_arrive_in_order_and_whole(mut net: impl Net) {
    let a = net.join("a", 1);
    let _b = net.join("b", 2);
    net.next("a");
    net.next("b");
    for class in [Class::Control, Class::Frame, Class::Bulk] {
        for number in 0..200u32 {
            let mut message = number.to_le_bytes().to_vec();
            message.resize(4 + (number as usize * 97) % 30_000, number as u8);
            assert!(a.send(&name("b"), class, Bytes::from(message.clone())));
            let got = net.next("b");
            assert_eq!(
                got,
                Event::Message { from: name("a"), class, bytes: Bytes::from(message) },
                "{class:?} {number}"
            );
        }
    }
    let large = Bytes::from(vec![7; 300_000]);
    assert!(a.send(&name("b"), Class::Bulk, large.clone()));
    assert_eq!(net.next("b"), Event::Message { from: name("a"), class: Class::Bulk, bytes: large });
}

fn a_broadcast_reaches_all_others_and_not_its_sender(mut net: impl Net) {
    let a = net.join("a", 1);
    let b = net.join("b", 2);
    let _c = net.join("c", 3);
    for node in ["a", "b", "c"] {
        net.next(node);
        net.next(node);
    }
    a.broadcast(Bytes::from_static(b"to all"));
    let heard = Event::Message { from: name("a"), class: Class::Control, bytes: Bytes::from_static(b"to all") };
    assert_eq!((net.next("b"), net.next("c")), (heard.clone(), heard));
    // The next that a hears is not its own word.
    assert!(b.send(&name("a"), Class::Control, Bytes::from_static(b"to a")));
    let heard = Event::Message { from: name("b"), class: Class::Control, bytes: Bytes::from_static(b"to a") };
    assert_eq!(net.next("a"), heard);
}

fn who_closes_is_gone_and_may_come_back_as_another_life(mut net: impl Net) {
    let a = net.join("a", 1);
    let b = net.join("b", 2);
    net.next("a");
    net.next("b");
    b.close();
    assert_eq!(net.next("a"), Event::TokenGone(life("b", 2)));
    let _again = net.join("b", 5);
    assert_eq!(net.next("a"), Event::Token(life("b", 5)));
    assert_eq!(net.next("b"), Event::Token(life("a", 1)));
    assert!(a.send(&name("b"), Class::Control, Bytes::from_static(b"welcome")));
    assert!(matches!(net.next("b"), Event::Message { bytes, .. } if bytes == "welcome"));
}

fn what_was_sent_and_received_is_counted(mut net: impl Net) {
    let a = net.join("a", 1);
    let b = net.join("b", 2);
    net.next("a");
    net.next("b");
    for _ in 0..3 {
        a.send(&name("b"), Class::Frame, Bytes::from_static(b"four"));
        net.next("b");
    }
    let of = |transport: &Arc<dyn Transport>, node: &str| {
        transport.traffic().into_iter().find(|link| link.node == Some(name(node))).unwrap()
    };
    assert_eq!(of(&a, "b").sent, (3, 12));
    assert_eq!(of(&b, "a").received, (3, 12));
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_the_simulation {
            $(#[test] fn $test() { super::$test(super::SimNet::new()); })*
        }
        mod on_zenoh {
            $(#[test] fn $test() { super::$test(super::ZenohNet::default()); })*
        }
    };
}

suite!(
    tokens_are_seen_both_ways_also_late,
    messages_arrive_in_order_and_whole,
    a_broadcast_reaches_all_others_and_not_its_sender,
    who_closes_is_gone_and_may_come_back_as_another_life,
    what_was_sent_and_received_is_counted,
);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn life(node: &str, incarnation: u64) -> Life {
    Life { node: name(node), incarnation }
}

// === the simulation ===

struct SimNet {
    network: Arc<Network>,
    waiting: BTreeMap<NodeName, VecDeque<Event>>,
}

impl SimNet {
    fn new() -> Self {
        Self { network: Network::new(1, LinkRules::default()), waiting: BTreeMap::new() }
    }
}

impl Net for SimNet {
    fn join(&mut self, node: &str, incarnation: u64) -> Arc<dyn Transport> {
        self.network.attach(&life(node, incarnation))
    }

    fn next(&mut self, node: &str) -> Event {
        loop {
            if let Some(event) = self.waiting.get_mut(&name(node)).and_then(VecDeque::pop_front) {
                return event;
            }
            let until = self.network.now() + LIMIT.as_micros() as i64;
            let (to, event) = self.network.next(until).unwrap_or_else(|| panic!("nothing comes for {node}"));
            self.waiting.entry(to.node).or_default().push_back(event);
        }
    }
}

// === Zenoh ===

#[derive(Default)]
struct ZenohNet {
    joined: BTreeMap<String, (Arc<ZenohTransport>, Receiver<Event>)>,
}

struct Queue(Sender<Event>);

impl Inbox for Queue {
    fn deliver(&self, event: Event) {
        self.0.send(event).unwrap();
    }
}

impl Net for ZenohNet {
    fn join(&mut self, node: &str, incarnation: u64) -> Arc<dyn Transport> {
        let (sender, receiver) = unbounded();
        let connect = self.joined.values().flat_map(|(other, _)| other.listening()).cloned().collect();
        let options = ZenohOptions {
            node: name(node),
            incarnation,
            root: "senza".to_owned(),
            listen: vec!["tcp/127.0.0.1:0".to_owned()],
            connect,
            lease_ms: 10_000,
            // The topology is what is written here, and nothing that gossip adds.
            settings: vec![("scouting/gossip/enabled".to_owned(), "false".to_owned())],
        };
        let transport = ZenohTransport::open(options, Arc::new(Queue(sender))).unwrap();
        assert!(transport.me().incarnation >= incarnation);
        transport.announce(true);
        self.joined.insert(node.to_owned(), (transport.clone(), receiver));
        transport
    }

    fn next(&mut self, node: &str) -> Event {
        self.joined[node].1.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("nothing comes for {node}"))
    }
}

impl Drop for ZenohNet {
    fn drop(&mut self) {
        self.joined.values().rev().for_each(|(transport, _)| transport.close());
    }
}

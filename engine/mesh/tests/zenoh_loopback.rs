//! The files that name Zenoh, held on loopback: opening, tokens, messages, the plain key space, a plain client.
//!
//! What every transport has to keep is in the workspace's suite for all of them; here is what only Zenoh has. All ports
//! are ephemeral, every wait is for a condition and bounded.

#![cfg(feature = "zenoh")]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, never};
use senza_core::{AttributeId, Filter, Life, NodeName, SensorId};
use senza_mesh::transport::{Class, Event, Inbox, MESSAGE_MAX, Transport};
use senza_mesh::zenoh_client::{Client, ClientError, Updates};
use senza_mesh::zenoh_plain::{PlainQuery, PlainReply, PlainService, QUERIES_MAX, ZenohPlain};
use senza_mesh::zenoh_transport::{OpenError, ZenohOptions, ZenohTransport};

/// How long anything may take before it counts as missing.
const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing has to come before it counts as absent.
const QUIET: Duration = Duration::from_millis(300);
/// Between two looks at a condition that tells nobody when it turns.
const STEP: Duration = Duration::from_millis(10);
/// Threads that ask more than is answered.
const FLOODERS: usize = 16;
/// Events and calls that a test leaves unread at most.
const MAIL: usize = 16_384;

// === opening ===

#[test]
fn a_taken_port_is_told_by_its_endpoint() {
    let a = Node::open("a", 1, &[]);
    let refused = ZenohTransport::open(options("b", 1, &a.transport.listening()[0], &[]), mailbox().0);
    let Err(error) = refused else { panic!("two nodes listen on one port") };
    assert!(matches!(error, OpenError::Listen { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&a.transport.listening()[0]) && text.to_lowercase().contains("in use"), "{text}");
}

#[test]
fn port_zero_becomes_a_port_that_answers() {
    let a = Node::open("a", 1, &[]);
    let endpoint = &a.transport.listening()[0];
    assert!(!endpoint.ends_with(":0"), "{endpoint}");
    Client::connect(std::slice::from_ref(endpoint), "senza").unwrap().close();
}

#[test]
fn a_setting_that_zenoh_does_not_take_is_told_by_its_path() {
    let mut options = options("a", 1, "tcp/127.0.0.1:0", &[]);
    options.settings = vec![("transport/link/tx/lease".to_owned(), "\"long\"".to_owned())];
    let Err(error) = ZenohTransport::open(options, mailbox().0) else { panic!("taken") };
    assert!(error.to_string().contains("transport/link/tx/lease"), "{error}");
}

#[test]
fn a_name_that_comes_back_is_a_later_life() {
    let a = Node::open("a", 1, &[]);
    // Two lives of one name at once: what is left of a crash looks like this for a moment.
    let old = Node::open("b", 7, &[&a]);
    a.expect(&Event::Token(life("b", 7)));
    // Peers tell nobody of each other's tokens: what raises the new life is its own link to the old one.
    let new = Node::open("b", 3, &[&old]);
    assert_eq!(new.transport.me(), &life("b", 8));
    old.transport.close();
    a.expect(&Event::TokenGone(life("b", 7)));
}

#[test]
fn a_node_dropped_without_a_word_is_gone() {
    let a = Node::open("a", 1, &[]);
    let b = Node::open("b", 2, &[&a]);
    a.expect(&Event::Token(life("b", 2)));
    drop(b);
    a.expect(&Event::TokenGone(life("b", 2)));
}

#[test]
fn nobody_sees_a_node_before_it_announces_itself() {
    let a = Node::open("a", 1, &[]);
    let (inbox, mail) = mailbox();
    let b = ZenohTransport::open(options("b", 2, "tcp/127.0.0.1:0", &[&a]), inbox).unwrap();
    assert_eq!(mail.recv_timeout(LIMIT), Ok(Event::Token(life("a", 1))));
    // It can be heard already: the order of declarations is what a late joiner relies on.
    b.send(&name("a"), Class::Control, Bytes::from_static(b"early"));
    a.expect_message("b", Class::Control, b"early");
    b.announce(true);
    a.expect(&Event::Token(life("b", 2)));
    b.close();
}

// === messages ===

#[test]
fn every_class_keeps_its_order_in_a_burst() {
    const COUNT: u32 = 500;
    const END: u32 = u32::MAX;
    let (a, b) = pair();
    let classes = [Class::Control, Class::Frame, Class::Bulk];
    let send = |number: u32| {
        for class in classes {
            assert!(a.transport.send(&name("b"), class, Bytes::copy_from_slice(&number.to_le_bytes())));
        }
    };
    (1..=COUNT).for_each(send);
    // On a busy machine some are lost, which is allowed; some must arrive, in order and once, and an end last.
    let (mut last, mut heard) = ([0; 3], [0; 3]);
    until("every class ends", || {
        send(END);
        while let Ok(Event::Message { from, class, bytes }) = b.mail.recv_timeout(STEP) {
            let number = u32::from_le_bytes(bytes.as_ref().try_into().unwrap());
            let before = std::mem::replace(&mut last[class as usize], number);
            assert!(number > before || (number, before) == (END, END), "{class:?}: {number} after {before}");
            assert_eq!(from.as_str(), "a");
            heard[class as usize] += 1;
        }
        last == [END; 3]
    });
    assert!(heard.iter().all(|heard| *heard > 1), "{heard:?}");
}

#[test]
fn a_message_for_a_node_that_is_not_there_yet_is_lost_and_the_next_is_not() {
    let a = Node::open("a", 1, &[]);
    a.transport.send(&name("b"), Class::Frame, Bytes::from_static(b"too early"));
    let b = Node::open("b", 2, &[&a]);
    a.expect(&Event::Token(life("b", 2)));
    b.expect(&Event::Token(life("a", 1)));
    a.transport.send(&name("b"), Class::Frame, Bytes::from_static(b"in time"));
    b.expect_message("a", Class::Frame, b"in time");
}

#[test]
fn the_largest_message_arrives_and_a_larger_one_is_refused() {
    let (a, b) = pair();
    let largest = Bytes::from(vec![7; MESSAGE_MAX]);
    // A busy machine may lose one: all its pieces together have 50 ms to find room.
    until("it arrives", || {
        assert!(a.transport.send(&name("b"), Class::Bulk, largest.clone()));
        let Ok(got) = b.mail.recv_timeout(QUIET) else { return false };
        let Event::Message { from, class: Class::Bulk, bytes } = got else { panic!("not a message of this class") };
        assert!(from == name("a") && bytes == largest, "changed on its way");
        true
    });
    assert!(!a.transport.send(&name("b"), Class::Bulk, Bytes::from(vec![7; MESSAGE_MAX + 1])));
}

#[test]
fn keys_that_no_node_sends_on_deliver_nothing() {
    let a = Node::open("a", 1, &[]);
    let client = a.client();
    let foreign = ["@to/a/b", "@to/a/b/x", "@to/a/b/c/more", "@to/a/Not_A_Name/c", "@own/Not_A_Name"];
    for key in foreign {
        client.put(key, "zenoh/bytes", b"noise".to_vec()).unwrap();
    }
    client.put("@to/a/b/c", "zenoh/bytes", b"a message".to_vec()).unwrap();
    a.expect_message("b", Class::Control, b"a message");
    assert_eq!(a.transport.foreign(), foreign.len() as u64);
    client.close();
}

#[test]
fn what_is_closed_sends_and_delivers_nothing() {
    let (a, b) = pair();
    b.transport.close();
    a.expect(&Event::TokenGone(life("b", 2)));
    assert!(!b.transport.send(&name("a"), Class::Frame, Bytes::from_static(b"a ghost")));
    b.transport.broadcast(Bytes::from_static(b"a ghost"));
    a.transport.send(&name("b"), Class::Frame, Bytes::from_static(b"to a ghost"));
    assert!(a.mail.recv_timeout(QUIET).is_err() && b.mail.recv_timeout(QUIET).is_err());
    b.transport.close();
}

// === the plain key space ===

#[test]
fn a_put_at_one_node_reaches_the_node_that_its_key_names() {
    let plain = Plain::pair();
    let client = plain.b.client();
    client.put("in/a/watch%201/bpm", "application/json", b"72".to_vec()).unwrap();
    assert_eq!(plain.next_call(), "put watch%201/bpm application/json 72");
    client.delete("in/a/watch%201").unwrap();
    assert_eq!(plain.next_call(), "delete watch%201");
    client.put("in/b/elsewhere", "text/plain", b"1".to_vec()).unwrap();
    assert!(plain.calls.recv_timeout(QUIET).is_err());
    client.close();
}

#[test]
fn a_query_is_answered_with_its_parameters_and_payload_known() {
    let plain = Plain::pair();
    let client = plain.b.client();
    let payload = Some(("application/json", b"{}".to_vec()));
    let replies = client.get("do/a/echo", "x=1;y", payload, LIMIT).unwrap();
    let [reply] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!(reply.key, "senza/do/a/echo");
    assert_eq!(reply.payload.as_deref(), Ok(b"senza/do/a/echo x=1;y application/json {}".as_slice()));
    client.close();
}

#[test]
fn an_encoding_keeps_its_name() {
    let plain = Plain::pair();
    let client = plain.b.client();
    for encoding in ["application/senml+json", "text/plain;charset=utf-8", "application/x-of-their-own"] {
        client.put("in/a/watch", encoding, b"1".to_vec()).unwrap();
        assert_eq!(plain.next_call(), format!("put watch {encoding} 1"));
        let replies = client.get("do/a/echo", "", Some((encoding, b"1".to_vec())), LIMIT).unwrap();
        assert_eq!(replies[0].payload.as_deref(), Ok(format!("senza/do/a/echo  {encoding} 1").as_bytes()));
    }
    client.close();
}

#[test]
fn a_refusal_is_read_by_who_asked() {
    let plain = Plain::pair();
    let client = plain.b.client();
    let replies = client.get("do/a/fail", "", None, LIMIT).unwrap();
    assert_eq!(replies.first().map(|reply| &reply.payload), Some(&Err("this command fails".to_owned())));
    client.close();
}

#[test]
fn a_reply_beside_the_question_does_not_take_the_others_with_it() {
    let plain = Plain::pair();
    let client = plain.b.client();
    let replies = client.get("sensors/beside", "", None, LIMIT).unwrap();
    let keys: Vec<&str> = replies.iter().map(|reply| reply.key.as_str()).collect();
    assert_eq!(keys, ["senza/sensors/beside"]);
    client.close();
}

#[test]
fn questions_beyond_the_bound_are_told_so() {
    let plain = Plain::pair();
    let (hold, held) = bounded::<()>(0);
    *plain.service.held.lock() = Some(held);
    let client = plain.b.client();
    // Who gives up leaves its question in the queue.
    let flood = || {
        while plain.plain.counts().queries_refused == 0 {
            client.get("do/a/hold", "", None, STEP / 10).unwrap();
        }
    };
    std::thread::scope(|scope| (0..FLOODERS).for_each(|_| _ = scope.spawn(flood)));
    let replies = client.get("do/a/echo", "", None, LIMIT).unwrap();
    let [reply] = replies.as_slice() else { panic!("a silence looks like an empty answer: {replies:?}") };
    assert!(reply.payload.as_ref().unwrap_err().starts_with("busy"), "{reply:?}");
    drop(hold);
    until("all that were taken are answered", || plain.plain.counts().queries >= QUERIES_MAX as u64);
    until("it answers again", || client.get("do/a/echo", "", None, LIMIT).unwrap()[0].payload.is_ok());
    client.close();
}

#[test]
fn readings_are_watched_exactly_while_somebody_subscribes() {
    let plain = Plain::pair();
    let (readings, sensors) = (plain.plain.readings_watch(), plain.plain.sensors_watch());
    assert!(!readings.is_on());
    let client = plain.b.client();
    let updates = client.subscribe("readings/watch/*").unwrap();
    assert!(readings.wait());
    assert!(!sensors.is_on(), "the other part of the key space is not asked for");
    plain.plain.publish("senza/readings/watch/bpm", "application/json", "72".to_owned());
    plain.plain.publish("senza/readings/other/bpm", "application/json", "1".to_owned());
    plain.plain.delete("senza/readings/watch/bpm");
    let [put, delete] = [next(&updates), next(&updates)];
    assert_eq!((put.0.as_str(), put.1.as_deref()), ("readings/watch/bpm", Some(b"72".as_slice())));
    assert_eq!(delete, ("readings/watch/bpm".to_owned(), None));
    drop(updates);
    until("nobody subscribes", || !readings.is_on());
    client.close();
}

#[test]
fn what_is_followed_is_told_key_by_key() {
    let plain = Plain::pair();
    let mut follow = plain.plain.follow_readings();
    let [here, there] = [plain.a.client(), plain.b.client()];
    let one = there.subscribe("readings/w%C3%A4%2Fch%25/bpm").unwrap();
    let sensor = |id: &str| SensorId::new(id).unwrap();
    let own = Filter { nodes: vec![name("a")], ..Filter::default() };
    let bpm = Filter { attributes: vec![AttributeId::new("bpm").unwrap()], ..own.clone() };
    let exact = Filter { sensors: vec![sensor("wä/ch%")], ..bpm.clone() };
    assert_eq!(follow.wait(), Some(vec![exact.clone()]));
    assert_eq!(follow.changed(), None);
    let two = here.subscribe("readings/other/**").unwrap();
    let other = Filter { sensors: vec![sensor("other")], ..own.clone() };
    until("a second follower joins", || follow.changed() == Some(vec![other.clone(), exact.clone()]));
    let all_bpm = there.subscribe("readings/*/bpm").unwrap();
    let three = vec![other.clone(), exact.clone(), bpm];
    until("an attribute of all sensors is followed", || follow.changed() == Some(three.clone()));
    let everything = here.subscribe("**").unwrap();
    until("somebody follows all", || follow.changed() == Some(vec![own.clone()]));
    drop((everything, all_bpm, one));
    until("one stays", || follow.changed() == Some(vec![other.clone()]));
    drop(two);
    until("nobody stays", || follow.changed() == Some(vec![]));
    let again = there.subscribe("readings/other/x").unwrap();
    assert_eq!(follow.wait().unwrap()[0].sensors, other.sensors);
    drop(again);
    let counts = plain.plain.counts();
    assert_eq!((counts.taps, counts.taps_failed, counts.follow_blind), (1, 0, false));
    plain.plain.close();
    assert_eq!(follow.wait(), None);
    here.close();
    there.close();
}

#[test]
fn where_nobody_tells_what_is_followed_everything_is() {
    // No room for another link, and a link that tells nothing.
    let one_link = ("transport/unicast/max_sessions", "1");
    let silence = (
        "access_control",
        r#"{ enabled: true, default_permission: "allow",
             rules: [{ id: "no", messages: ["declare_subscriber"], flows: ["egress"], permission: "deny",
                       key_exprs: ["senza/readings/**"] }],
             subjects: [{ id: "all" }], policies: [{ rules: ["no"], subjects: ["all"] }] }"#,
    );
    for (setting, opened) in [(one_link, (0, 1)), (silence, (1, 0))] {
        let (sender, _calls) = bounded(MAIL);
        let service = Arc::new(Service { calls: sender, held: parking_lot::Mutex::default() });
        let (a, plain) = Node::serve(&service, Some(setting));
        let mut follow = plain.follow_readings();
        let client = a.client();
        let updates = client.subscribe("readings/watch/bpm").unwrap();
        let own = Filter { nodes: vec![name("a")], ..Filter::default() };
        assert_eq!(follow.wait(), Some(vec![own]), "{setting:?}");
        let counts = plain.counts();
        assert_eq!((counts.follow_blind, (counts.taps, counts.taps_failed)), (true, opened), "{setting:?}");
        drop(updates);
        until("nobody follows", || follow.changed() == Some(vec![]));
        client.close();
        plain.close();
    }
}

#[test]
fn three_hundred_keys_are_told_apart_and_declare_nothing() {
    const KEYS: usize = 300;
    let plain = Plain::pair();
    let mut follow = plain.plain.follow_readings();
    let client = plain.b.client();
    let updates: Vec<Updates> =
        (0..KEYS).map(|key| client.subscribe(&format!("readings/sensor-{key}/x")).unwrap()).collect();
    let mut filters = follow.wait().unwrap();
    until("all are heard", || {
        filters = follow.changed().unwrap_or_else(|| filters.clone());
        filters.iter().map(|filter| filter.sensors.len()).sum::<usize>() == KEYS
    });
    assert!(filters.iter().all(Filter::is_narrow), "{filters:?}");
    assert_eq!((plain.plain.counts().followed, plain.plain.counts().taps), (KEYS as u64, 1));
    drop(updates);
    until("none is left", || follow.changed() == Some(vec![]));
    client.close();
}

#[test]
fn closing_wakes_who_waits_and_ends_the_threads() {
    let plain = Plain::pair();
    let watch = plain.plain.readings_watch();
    let waiting = std::thread::spawn(move || watch.wait());
    plain.plain.close();
    assert!(!waiting.join().unwrap());
    plain.plain.close();
    let client = plain.b.client();
    assert_eq!(client.get("do/a/echo", "", None, LIMIT).unwrap(), []);
    client.close();
}

// === the client ===

#[test]
fn a_client_without_a_node_is_told_where_it_looked() {
    let nowhere = vec!["tcp/127.0.0.1:1".to_owned()];
    let Err(error) = Client::connect(&nowhere, "senza") else { panic!("connected") };
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("tcp/127.0.0.1:1"), "{error}");
}

#[test]
fn a_client_sees_nodes_come_and_go() {
    let (a, b) = pair();
    let client = a.client();
    let tokens = client.subscribe_tokens().unwrap();
    let mut seen = [next(&tokens).0, next(&tokens).0];
    seen.sort();
    assert_eq!(seen, ["nodes/a/1", "nodes/b/2"]);
    b.transport.close();
    assert_eq!(next(&tokens), ("nodes/b/2".to_owned(), None));
    client.close();
}

// === nodes ===

struct Node {
    transport: Arc<ZenohTransport>,
    mail: Receiver<Event>,
}

impl Node {
    fn open(node: &str, incarnation: u64, seeds: &[&Node]) -> Self {
        let (inbox, mail) = mailbox();
        let transport = ZenohTransport::open(options(node, incarnation, "tcp/127.0.0.1:0", seeds), inbox).unwrap();
        transport.announce(true);
        Self { transport, mail }
    }

    /// Node `a` with a plain key space, under one more setting.
    fn serve(service: &Arc<Service>, setting: Option<(&str, &str)>) -> (Self, Arc<ZenohPlain>) {
        let (inbox, mail) = mailbox();
        let mut options = options("a", 1, "tcp/127.0.0.1:0", &[]);
        options.settings.extend(setting.map(|(path, value)| (path.to_owned(), value.to_owned())));
        let transport = ZenohTransport::open(options, inbox).unwrap();
        let plain = ZenohPlain::serve(&transport, service.clone()).unwrap();
        transport.announce(true);
        (Self { transport, mail }, plain)
    }

    fn client(&self) -> Client {
        Client::connect(self.transport.listening(), "senza").unwrap()
    }

    fn expect(&self, event: &Event) {
        assert_eq!(self.mail.recv_timeout(LIMIT).as_ref(), Ok(event));
    }

    fn expect_message(&self, from: &str, class: Class, bytes: &'static [u8]) {
        self.expect(&Event::Message { from: name(from), class, bytes: Bytes::from_static(bytes) });
    }
}

/// Two nodes that know each other.
fn pair() -> (Node, Node) {
    let a = Node::open("a", 1, &[]);
    let b = Node::open("b", 2, &[&a]);
    a.expect(&Event::Token(life("b", 2)));
    b.expect(&Event::Token(life("a", 1)));
    (a, b)
}

fn options(node: &str, incarnation: u64, listen: &str, seeds: &[&Node]) -> ZenohOptions {
    ZenohOptions {
        node: name(node),
        incarnation,
        root: "senza".to_owned(),
        listen: vec![listen.to_owned()],
        connect: seeds.iter().flat_map(|seed| seed.transport.listening()).cloned().collect(),
        lease_ms: 10_000,
        settings: vec![("scouting/gossip/enabled".to_owned(), "false".to_owned())],
    }
}

struct Mailbox(Sender<Event>);

impl Inbox for Mailbox {
    fn deliver(&self, event: Event) {
        // A test that is over takes nothing more.
        let _taken = self.0.try_send(event);
    }
}

fn mailbox() -> (Arc<Mailbox>, Receiver<Event>) {
    let (sender, mail) = bounded(MAIL);
    (Arc::new(Mailbox(sender)), mail)
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn life(node: &str, incarnation: u64) -> Life {
    Life { node: name(node), incarnation }
}

fn next(updates: &Updates) -> (String, Option<Vec<u8>>) {
    let update = updates.recv_timeout(LIMIT).unwrap();
    (update.key, update.payload)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let never = never::<()>();
    for _ in 0..LIMIT.as_millis() / STEP.as_millis() {
        if holds() {
            return;
        }
        let _timed_out = never.recv_timeout(STEP);
    }
    panic!("it never came that {what}");
}

// === a service ===

/// Node `a` with a plain key space, node `b` beside it, and what the service of `a` was called with.
struct Plain {
    a: Node,
    b: Node,
    plain: Arc<ZenohPlain>,
    service: Arc<Service>,
    calls: Receiver<String>,
}

struct Service {
    calls: Sender<String>,
    /// What `do/a/hold` waits for.
    held: parking_lot::Mutex<Option<Receiver<()>>>,
}

impl Plain {
    fn pair() -> Self {
        let (sender, calls) = bounded(MAIL);
        let service = Arc::new(Service { calls: sender, held: parking_lot::Mutex::default() });
        let (a, plain) = Node::serve(&service, None);
        let b = Node::open("b", 2, &[&a]);
        a.expect(&Event::Token(life("b", 2)));
        b.expect(&Event::Token(life("a", 1)));
        Self { a, b, plain, service, calls }
    }

    fn next_call(&self) -> String {
        self.calls.recv_timeout(LIMIT).unwrap()
    }
}

impl PlainService for Service {
    fn put(&self, path: &str, encoding: &str, payload: &[u8]) {
        self.calls.try_send(format!("put {path} {encoding} {}", String::from_utf8_lossy(payload))).unwrap();
    }

    fn delete(&self, path: &str) {
        self.calls.try_send(format!("delete {path}")).unwrap();
    }

    fn get(&self, query: &PlainQuery<'_>) -> Result<Vec<PlainReply>, String> {
        let reply = |key: &str, payload: String| PlainReply {
            key: key.to_owned(),
            encoding: "application/json",
            payload: payload.into_bytes(),
        };
        match query.key {
            "senza/do/a/fail" => Err("this command fails".to_owned()),
            "senza/do/a/hold" => {
                let held = self.held.lock().clone();
                if let Some(held) = held {
                    // Ends when the test lets go of its end.
                    let _let_go = held.recv();
                }
                Ok(vec![reply(query.key, "done".to_owned())])
            }
            "senza/sensors/beside" => {
                Ok(vec![reply("senza/sensors/another", "1".to_owned()), reply(query.key, "2".to_owned())])
            }
            key => {
                let (encoding, payload) = query.payload.unwrap_or_default();
                let text = String::from_utf8_lossy(payload);
                Ok(vec![reply(key, format!("{key} {} {encoding} {text}", query.parameters))])
            }
        }
    }
}

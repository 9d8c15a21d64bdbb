//! Mosquitto as a wire: MQTT 3.1.1 at QoS 0, by the published standard.
//!
//! QoS 0 is at most once, as the others here are: a higher one would have every message answered. Nothing is kept for
//! who is away, and a client's queue has no bound, so that the broker drops nothing by itself.

use super::message::write_number;
use super::server::Server;
use super::sockets::{self, Heard, Speak, Subscribed, Taken, Topic};
use super::{Host, Shape, Source};

const CONFIGURATION: &str = "mosquitto, MQTT 3.1.1 at QoS 0, clean sessions, set_tcp_nodelay, no bound on queued \
     messages, nothing kept, no log, no $SYS";

/// The kinds of packets, in the upper half of their first byte.
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PINGRESP: u8 = 13;

#[derive(Clone, Copy)]
struct Mqtt;

pub(super) fn host(joins: Option<&str>) -> Box<dyn Host> {
    sockets::host(joins, Mqtt, CONFIGURATION, || {
        Server::start("mosquitto", |folder, port| {
            let file = folder.join("mosquitto.conf");
            let settings = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\nsys_interval 0\n\
                 set_tcp_nodelay true\nmax_queued_messages 0\nmax_queued_bytes 0\n"
            );
            std::fs::write(&file, settings).expect("a file");
            vec!["-c".to_owned(), file.display().to_string()]
        })
    })
}

pub(super) fn source(endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    sockets::source(endpoint, shape, Mqtt)
}

impl Speak for Mqtt {
    fn greeting(self, sink: Option<Subscribed>) -> Vec<u8> {
        // Protocol MQTT, level 4, clean session, no keep-alive, an empty id: the broker makes one.
        let mut out = vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
        if let Some(topics) = sink {
            // A number of the packet, and each name with its length and the QoS that is asked for.
            let mut body = vec![0, 1];
            let mut add = |name: &[u8]| {
                body.extend_from_slice(&[0, name.len() as u8]);
                body.extend_from_slice(name);
                body.push(0);
            };
            match topics.topics() {
                None => add(b"r/+"),
                Some(topics) => topics.into_iter().for_each(|topic| {
                    let mut name = Vec::new();
                    write_topic(topic, &mut name);
                    add(&name);
                }),
            }
            out.push(0x82);
            write_len(body.len(), &mut out);
            out.extend_from_slice(&body);
        }
        // A ping, answered when all that stands before it is.
        out.extend_from_slice(&[0xc0, 0]);
        out
    }

    fn begin(self, topic: Topic, len: usize, out: &mut Vec<u8>) {
        out.push(PUBLISH << 4);
        let name_len = match topic {
            Topic::Many => 1,
            Topic::One(sensor) => 3 + sensor.checked_ilog10().unwrap_or(0) as usize,
        };
        write_len(2 + name_len + len, out);
        out.extend_from_slice(&[0, name_len as u8]);
        write_topic(topic, out);
    }

    fn end(self, _out: &mut Vec<u8>) {}

    fn hear(self, bytes: &[u8]) -> Taken<'_> {
        let first = *bytes.first()?;
        let (mut len, mut at) = (0usize, 1);
        loop {
            let byte = *bytes.get(at)?;
            len |= usize::from(byte & 127) << (7 * (at - 1));
            at += 1;
            if byte < 128 {
                break;
            }
        }
        let body = bytes.get(at..at + len)?;
        let heard = match first >> 4 {
            PUBLISH => {
                let (name_len, rest) = body.split_first_chunk::<2>()?;
                let (name, payload) = rest.split_at(usize::from(u16::from_be_bytes(*name_len)));
                Heard::Message(Topic::of(name), payload)
            }
            CONNACK => {
                assert_eq!(body.get(1), Some(&0), "mosquitto refuses a client");
                Heard::Other
            }
            PINGRESP => Heard::Ready,
            _ => Heard::Other,
        };
        Some((at + len, heard))
    }
}

/// Writes the length of what follows, seven bits a byte.
fn write_len(mut len: usize, out: &mut Vec<u8>) {
    while len >= 128 {
        out.push((len % 128) as u8 | 128);
        len /= 128;
    }
    out.push(len as u8);
}

fn write_topic(topic: Topic, out: &mut Vec<u8>) {
    match topic {
        Topic::Many => out.push(b'b'),
        Topic::One(sensor) => {
            out.extend_from_slice(b"r/");
            write_number(sensor as usize, out);
        }
    }
}

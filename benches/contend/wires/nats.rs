//! NATS as a wire: core publish and subscribe, by its documented text protocol.
//!
//! A line names the operation, the subject and the payload's length; the payload and a line's end follow. The server
//! speaks first, and answers a ping, which ends the greeting here.

use super::message::write_number;
use super::server::Server;
use super::sockets::{self, Heard, Speak, Subscribed, Taken, Topic};
use super::{Host, Shape, Source};

const CONFIGURATION: &str = "nats-server, one node, core messages (no JetStream), no log, messages up to 8 MiB";

#[derive(Clone, Copy)]
struct Nats;

pub(super) fn host(joins: Option<&str>) -> Box<dyn Host> {
    sockets::host(joins, Nats, CONFIGURATION, || {
        Server::start("nats-server", |folder, port| {
            let file = folder.join("nats.conf");
            // Pings are for links that fall silent; a measurement's do not for that long.
            let settings = format!("listen: 127.0.0.1:{port}\nmax_payload: 8388608\nping_interval: \"10m\"\n");
            std::fs::write(&file, settings).expect("a file");
            vec!["-c".to_owned(), file.display().to_string(), "-l".to_owned(), "/dev/null".to_owned()]
        })
    })
}

pub(super) fn source(endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    sockets::source(endpoint, shape, Nats)
}

impl Speak for Nats {
    fn greeting(self, sink: Option<Subscribed>) -> Vec<u8> {
        let mut out = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"\",\"version\":\"\"}\r\n".to_vec();
        if let Some(topics) = sink {
            let topics = topics.topics().map_or_else(|| vec![None], |all| all.into_iter().map(Some).collect());
            for (number, topic) in topics.into_iter().enumerate() {
                out.extend_from_slice(b"SUB ");
                match topic {
                    None => out.extend_from_slice(b"r.*"),
                    Some(topic) => write_topic(topic, &mut out),
                }
                out.push(b' ');
                write_number(number + 1, &mut out);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"PING\r\n");
        out
    }

    fn begin(self, topic: Topic, len: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PUB ");
        write_topic(topic, out);
        out.push(b' ');
        write_number(len, out);
        out.extend_from_slice(b"\r\n");
    }

    fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn hear(self, bytes: &[u8]) -> Taken<'_> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, next) = (&bytes[..end.saturating_sub(1)], end + 1);
        match line {
            [b'M', b'S', b'G', b' ', rest @ ..] => {
                // `<subject> <subscription> <length>`: nobody asks for replies here.
                let mut words = rest.split(|byte| *byte == b' ');
                let (subject, length) = (words.next()?, words.nth(1)?);
                let length = super::message::sensor_of(length) as usize;
                let payload = bytes.get(next..next + length)?;
                let whole = next + length + 2;
                (bytes.len() >= whole).then_some((whole, Heard::Message(Topic::of(subject), payload)))
            }
            b"PING" => Some((next, Heard::Asked(b"PONG\r\n"))),
            b"PONG" => Some((next, Heard::Ready)),
            [b'-', ..] => panic!("nats-server refuses: {}", String::from_utf8_lossy(line)),
            _ => Some((next, Heard::Other)),
        }
    }
}

fn write_topic(topic: Topic, out: &mut Vec<u8>) {
    match topic {
        Topic::Many => out.push(b'b'),
        Topic::One(sensor) => {
            out.extend_from_slice(b"r.");
            write_number(sensor as usize, out);
        }
    }
}

//! Redis as a wire: publish and subscribe, by its documented protocol (RESP 2).
//!
//! Everything is an array of strings with lengths. A publisher's commands are pipelined, and it wants no answers; all
//! sensors are one pattern, as a subscription per channel would be another table to look in.

use super::message::{sensor_of, write_number};
use super::server::Server;
use super::sockets::{self, Heard, Speak, Subscribed, Taken, Topic};
use super::{Host, Shape, Source};

const CONFIGURATION: &str = "redis-server, publish and subscribe, nothing saved, no log, publishers without replies; a \
     reader is cut off as by default (32 MiB, or 8 MiB for a minute)";

#[derive(Clone, Copy)]
struct Redis;

pub(super) fn host(joins: Option<&str>) -> Box<dyn Host> {
    sockets::host(joins, Redis, CONFIGURATION, || {
        Server::start("redis-server", |folder, port| {
            let folder = folder.display().to_string();
            let settings = [
                ["--bind", "127.0.0.1"],
                ["--port", port],
                ["--save", ""],
                ["--appendonly", "no"],
                ["--dir", &folder],
                ["--logfile", "/dev/null"],
                ["--daemonize", "no"],
            ];
            settings.into_iter().flatten().map(ToOwned::to_owned).collect()
        })
    })
}

pub(super) fn source(endpoint: &str, shape: &Shape) -> Box<dyn Source> {
    sockets::source(endpoint, shape, Redis)
}

impl Speak for Redis {
    fn greeting(self, sink: Option<Subscribed>) -> Vec<u8> {
        let mut out = Vec::new();
        match sink.map(Subscribed::topics) {
            None => out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
            Some(None) => out.extend_from_slice(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$3\r\nr.*\r\n"),
            Some(Some(topics)) => {
                out.push(b'*');
                write_number(1 + topics.len(), &mut out);
                out.extend_from_slice(b"\r\n$9\r\nSUBSCRIBE\r\n");
                topics.into_iter().for_each(|topic| write_topic(topic, &mut out));
            }
        }
        out
    }

    fn hush(self) -> &'static [u8] {
        b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"
    }

    fn begin(self, topic: Topic, len: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n");
        write_topic(topic, out);
        out.push(b'$');
        write_number(len, out);
        out.extend_from_slice(b"\r\n");
    }

    fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn hear(self, bytes: &[u8]) -> Taken<'_> {
        let (kind, count, mut at) = header(bytes, 0)?;
        match kind {
            b'*' => {}
            b'-' => panic!("redis-server refuses: {}", String::from_utf8_lossy(&bytes[..at])),
            // The answer to a ping.
            _ => return Some((at, Heard::Ready)),
        }
        // A message is its kind, with a pattern that too, the channel and the payload; only answers hold a number.
        let mut fields: [&[u8]; 4] = [b""; 4];
        for field in fields.iter_mut().take(count) {
            let (kind, len, next) = header(bytes, at)?;
            at = next;
            if kind == b'$' {
                *field = bytes.get(at..at + len)?;
                at += len + 2;
            }
        }
        if bytes.len() < at {
            return None;
        }
        let heard = match fields {
            [b"message", channel, payload, _] | [b"pmessage", _, channel, payload] => {
                Heard::Message(Topic::of(channel), payload)
            }
            _ => Heard::Ready,
        };
        Some((at, heard))
    }
}

/// A line such as `$24`: what it begins, the number, and where the next begins.
fn header(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (kind, digits) = rest[..end.saturating_sub(1)].split_first()?;
    let number = if digits.iter().all(u8::is_ascii_digit) { sensor_of(digits) as usize } else { 0 };
    Some((*kind, number, at + end + 1))
}

fn write_topic(topic: Topic, out: &mut Vec<u8>) {
    match topic {
        Topic::Many => out.extend_from_slice(b"$1\r\nb\r\n"),
        Topic::One(sensor) => {
            out.push(b'$');
            write_number(2 + 1 + sensor.checked_ilog10().unwrap_or(0) as usize, out);
            out.extend_from_slice(b"\r\nr.");
            write_number(sensor as usize, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

//! TCP connections through this process, so that their bytes are counted alike for every contender: all that goes
//! over a link, framing and keep-alives of the transport included. TCP's own headers and acknowledgements are not.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and looks by it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::member::{LIMIT, until};

/// Quiet is where bytes come no closer than this.
const PAUSE: Duration = Duration::from_millis(400);

/// All wires of a cluster. Dropping them ends them.
#[derive(Default)]
pub(crate) struct Wires {
    ways: Mutex<Vec<Arc<Way>>>,
    listeners: Mutex<Vec<Listening>>,
}

/// One direction of one wire.
struct Way {
    from: usize,
    to: usize,
    /// When bytes came, and how many there were with them.
    came: Mutex<Vec<(Instant, u64)>>,
}

struct Listening {
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Wires {
    /// Lays one between two members, the first of which connects. Answers where to; it leads to `endpoint`.
    pub(crate) fn wire(&self, (from, to): (usize, usize), endpoint: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let way = |from, to| Arc::new(Way { from, to, came: Mutex::default() });
        let (there, back) = (way(from, to), way(to, from));
        self.ways.lock().extend([there.clone(), back.clone()]);
        let stop = Arc::new(AtomicBool::new(false));
        self.listeners.lock().push(Listening { address, stop: stop.clone() });
        let target = endpoint.trim_start_matches("tcp/").to_owned();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok).take_while(|_| !stop.load(Ordering::Relaxed)) {
                // One that cannot be passed on is closed again.
                if let Ok(far) = TcpStream::connect(&target) {
                    carry(&near, &far, &there);
                    carry(&far, &near, &back);
                }
            }
        });
        format!("tcp/{address}")
    }

    /// Bytes so far from one member to another.
    pub(crate) fn bytes(&self, from: usize, to: usize) -> u64 {
        let ways = self.ways.lock();
        let ways = ways.iter().filter(|way| (way.from, way.to) == (from, to));
        ways.filter_map(|way| way.came.lock().last().map(|(_, bytes)| *bytes)).sum()
    }

    /// Waits until nothing but what comes now and then goes over any link.
    pub(crate) fn quiet(&self) {
        until("the links to be quiet", Duration::from_millis(10), || self.ways.lock().iter().all(|way| way.is_quiet()));
    }

    /// Bytes per second over all links both ways, for at least so long. Each way counts from bytes that came to bytes
    /// that came, so that a whole number of periods is counted of what is said periodically.
    pub(crate) fn bytes_per_s(&self, seconds: f64) -> f64 {
        let (begin, least) = (Instant::now(), Duration::from_secs_f64(seconds));
        let ways = self.ways.lock().clone();
        let rate = |way: &Arc<Way>| loop {
            if let Some(rate) = way.rate(begin, least) {
                return rate;
            }
            assert!(begin.elapsed() < LIMIT + least, "no byte comes over a link");
            std::thread::sleep(Duration::from_millis(10));
        };
        ways.iter().map(rate).sum()
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for listening in self.listeners.lock().drain(..) {
            listening.stop.store(true, Ordering::Relaxed);
            // Wakes it; what it carries ends with the members.
            let _woken = TcpStream::connect(listening.address);
        }
    }
}

impl Way {
    fn is_quiet(&self) -> bool {
        let came = self.came.lock();
        let Some((last, _)) = came.last() else { return false };
        let before =
            came.iter().rev().map(|(at, _)| *at).find(|at| last.duration_since(*at) > Duration::from_millis(20));
        last.elapsed() > PAUSE || before.is_some_and(|before| last.duration_since(before) > PAUSE)
    }

    /// Bytes per second from the first that came after `begin` to the first at least so long after that.
    fn rate(&self, begin: Instant, least: Duration) -> Option<f64> {
        let came = self.came.lock();
        let (first, before) = came.iter().find(|(at, _)| *at >= begin)?;
        let (last, until) = came.iter().find(|(at, _)| *at >= *first + least)?;
        Some((until - before) as f64 / last.duration_since(*first).as_secs_f64())
    }
}

/// Copies what one side says to the other, until one of them ends.
fn carry(from: &TcpStream, to: &TcpStream, way: &Arc<Way>) {
    let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
    let way = way.clone();
    to.set_nodelay(true).expect("a socket's option");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let mut came = way.came.lock();
            let bytes = came.last().map_or(0, |(_, bytes)| *bytes) + length as u64;
            came.push((Instant::now(), bytes));
            drop(came);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Either end may be gone already.
        let _ended = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

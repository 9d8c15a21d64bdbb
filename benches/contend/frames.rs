//! Frames alone, between two processes: what of the relay is neither table nor subscription.
//!
//! Rows are written as frames, sent through the transport against credit, parsed, and every number is checked. That is
//! senza's own format on Zenoh's transport, so that it has no contender but itself: it says what the relay could reach
//! if everything around it cost nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use senza::{AttributeId, NodeName, SensorId, SensorType};
use senza_benches::Child;
use senza_core::codec::{self, Message};
use senza_core::frame::{Frame, FrameWriter};
use senza_core::reading::{Series, SeriesKind};
use senza_core::row::{KIND_F64, Row};
use senza_core::subscription::Item;
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::relay::{CREDIT_WINDOW, FRAME_BYTES};
use senza_mesh::transport::{Class, Event, Inbox, Transport};
use senza_mesh::zenoh_transport::{ZenohOptions, ZenohTransport};

use crate::Family;
use crate::answer::{Account, Answer, Params};

pub(crate) const FAMILY: Family = Family { name: "frames", contenders: &["senza"], run, child: write };

/// A side that hears nothing for so long says again where it stands.
const SILENCE: Duration = Duration::from_millis(50);
/// How long the reader waits for a first frame, or for the next.
const DEADLINE: Duration = Duration::from_secs(20);
/// Rows for which a clock is read once.
const BATCH: usize = 4_096;

fn run(_contender: &str, params: &Params) -> Answer {
    let sensors = params.get("sensors", 1_000);
    let seconds = params.seconds();
    let (transport, mail) = open("reader", &[]);
    let child = Child::start(&["frames", &transport.listening()[0], &sensors.to_string()]);
    let mut reader = FrameReader::new(sensors);
    let mut read = |duration: Duration| {
        let (begin, before) = (Instant::now(), reader.arrived);
        let mut heard = begin;
        while begin.elapsed() < duration {
            if let Ok(message) = mail.recv_timeout(SILENCE) {
                heard = Instant::now();
                if let Some(granted) = reader.take(&message) {
                    let credit = Bytes::copy_from_slice(&granted.to_le_bytes());
                    transport.send(&reader.writer, Class::Control, credit);
                }
            }
            assert!(heard.elapsed() < DEADLINE, "no frame comes");
        }
        (reader.arrived - before) as f64 / begin.elapsed().as_secs_f64()
    };
    read(Duration::from_secs_f64(seconds / 3.0));
    let rate = read(Duration::from_secs_f64(seconds));
    child.end();
    transport.close();
    let FrameReader { last, arrived, told, lost, frames, .. } = reader;
    // What was put up to the last number that came: what was on its way then is nobody's.
    let account = Account { offered: last.iter().sum(), arrived, told, lost };
    Answer::default().metric("readings_per_s", rate).account(account).detail("frames", frames)
}

/// What the reader knows of the writer's series.
struct FrameReader {
    writer: NodeName,
    /// The number of each series that came last, and the one that its rows count from.
    last: Vec<u64>,
    bases: Vec<u64>,
    /// The last frame that came, those that did, and whether any did not.
    came: u64,
    frames: u64,
    is_holed: bool,
    /// Up to which frame the writer may send.
    granted: u64,
    arrived: u64,
    told: u64,
    lost: u64,
}

impl FrameReader {
    fn new(sensors: usize) -> Self {
        let (last, bases) = (vec![0; sensors], vec![0; sensors]);
        let writer = NodeName::from_host("writer");
        Self { writer, last, bases, came: 0, frames: 0, is_holed: false, granted: 0, arrived: 0, told: 0, lost: 0 }
    }

    /// Takes a message; answers how far the writer may go, where it is to be told.
    fn take(&mut self, message: &Bytes) -> Option<u64> {
        if !message.is_empty() {
            self.take_frame(message);
        }
        // An empty message asks where the credit stands. At first a connection's buffers hold no whole window.
        let is_due = message.is_empty() || self.came + CREDIT_WINDOW / 2 >= self.granted;
        is_due.then(|| {
            self.granted = self.came + if self.came == 0 { CREDIT_WINDOW / 4 } else { CREDIT_WINDOW };
            self.granted
        })
    }

    fn take_frame(&mut self, message: &Bytes) {
        let Ok((_, Message::Frame(body))) = codec::decode(message) else { panic!("not a frame") };
        let frame = Frame::parse(body, &self.writer).expect("a frame");
        self.is_holed |= frame.number != self.came + 1;
        (self.came, self.frames) = (frame.number, self.frames + 1);
        let Self { last, bases, is_holed, arrived, told, lost, .. } = self;
        frame.entries.iter().for_each(|entry| bases[entry.number as usize] = entry.base);
        let rows = frame.rows(|row, _| {
            let at = row.series as usize;
            let seq = bases[at].wrapping_add(row.seq);
            let missing = seq.checked_sub(last[at] + 1).expect("numbers go up");
            if missing > 0 {
                // The numbers of frames have told that something was lost; without that nothing has.
                *(if *is_holed { &mut *told } else { &mut *lost }) += missing;
            }
            last[at] = seq;
            *arrived += 1;
        });
        rows.expect("rows");
    }
}

// === the process that puts ===

fn write(args: &[String]) {
    put_frames(&args[0], args[1].parse().expect("a number"));
}

/// Whether the parent still wants something.
fn parent_is_there() -> Arc<AtomicBool> {
    let there = Arc::new(AtomicBool::new(true));
    let seen = there.clone();
    std::thread::spawn(move || {
        let _read = std::io::stdin().read_line(&mut String::new());
        seen.store(false, Ordering::Relaxed);
    });
    there
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn put_frames(endpoint: &str, sensors: usize) {
    let (transport, mail) = open("writer", &[endpoint]);
    let kind = Arc::new(SeriesKind {
        attribute: AttributeId::new("value").expect("it is short"),
        sensor_type: SensorType::default(),
        node: transport.me().node.clone(),
        lossless: false,
    });
    let name = |number: usize| SensorId::new(format!("building/sensor-{number:08}")).expect("ids here are short");
    let series: Vec<Arc<Series>> =
        (0..sensors).map(|number| Arc::new(Series::new(name(number), 1, kind.clone()))).collect();
    let reader = NodeName::from_host("reader");
    let (mut writer, mut credit, mut now) = (FrameWriter::starting_at(1), 0, SystemClock.now());
    let there = parent_is_there();
    println!("ready");
    for seq in 1.. {
        for (number, series) in series.iter().enumerate() {
            if number % BATCH == 0 {
                now = SystemClock.now();
            }
            // Devices have clocks of their own: each reading carries its time.
            let times = (now - (number % 1_000) as i64, now);
            let row = Row::from_parts(number as u32, KIND_F64, seq, times, seq);
            let item = Item { series, row, value: None, position: None };
            if !writer.is_full(FRAME_BYTES) && writer.fits(&item) {
                writer.add(&item);
                continue;
            }
            while writer.number() >= credit {
                match mail.recv_timeout(SILENCE) {
                    Ok(message) => credit = credit.max(number_of(&message)),
                    // Also how the two find each other.
                    Err(_) if there.load(Ordering::Relaxed) => {
                        _ = transport.send(&reader, Class::Control, Bytes::new());
                    }
                    Err(_) => return transport.close(),
                }
            }
            let mut message = Vec::with_capacity(FRAME_BYTES + 1024);
            codec::begin(codec::KIND_FRAME, 1, &mut message);
            writer.finish(1, &mut message);
            transport.send(&reader, Class::Frame, Bytes::from(message));
            writer.add(&item);
        }
    }
}

fn number_of(message: &[u8]) -> u64 {
    message.try_into().map(u64::from_le_bytes).unwrap_or_default()
}

// === the wire ===

/// Hands on what comes, as it comes.
struct Wire(Sender<Bytes>);

impl Inbox for Wire {
    fn deliver(&self, event: Event) {
        if let Event::Message { bytes, .. } = event {
            // Credit keeps it from being full.
            let _sent = self.0.try_send(bytes);
        }
    }
}

fn open(name: &str, connect: &[&str]) -> (Arc<ZenohTransport>, Receiver<Bytes>) {
    let (sender, mail) = crossbeam_channel::bounded(4 * CREDIT_WINDOW as usize);
    let options = ZenohOptions {
        node: NodeName::from_host(name),
        incarnation: 1,
        root: "senza".to_owned(),
        listen: vec!["tcp/127.0.0.1:0".to_owned()],
        connect: connect.iter().map(ToString::to_string).collect(),
        lease_ms: 10_000,
        settings: Vec::new(),
    };
    (ZenohTransport::open(options, Arc::new(Wire(sender))).expect("a transport"), mail)
}

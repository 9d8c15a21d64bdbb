//! Threads that drive an engine in real time: one for control, one for incoming frames, one per link that sends.
//!
//! Incoming frames have a thread of their own, so that a flood of readings delays no beacon. Every sending link has
//! one too, so that a link that is stuck holds up nobody else. A small frame that comes while that thread is idle is
//! taken by the one that brings it: waking a thread costs more than such a frame.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use senza_core::Life;

use crate::clock::Clock;
use crate::engine::{Busy, Engine};
use crate::relay::{After, Outgoing};
use crate::transport::{Class, Event, Inbox};

/// Control events waiting; beyond, they are lost and healed by the next beacon.
pub const CONTROL_MAX: usize = 65_536;
/// Frames waiting, of all links together; credits keep links below it.
pub const FRAMES_MAX: usize = 65_536;
/// A frame up to so many bytes is taken by the thread that brings it: some 100 readings.
const SMALL_FRAME: usize = 2048;
/// After a change, so long is waited for others to go with it.
const FLUSH: Duration = Duration::from_millis(1);
/// How long an idle link's thread sleeps before it looks whether it is still wanted.
const LINK_IDLE: Duration = Duration::from_millis(250);

/// Where a transport leaves its events.
pub struct Mailbox {
    control: Sender<Event>,
    frames: Sender<FrameWork>,
    /// What was left for the thread of frames and is not done yet.
    frames_open: AtomicUsize,
    overflow: AtomicU64,
    engine: OnceLock<Weak<Engine>>,
}

/// Where a driver finds them.
pub struct Mail {
    control: Receiver<Event>,
    frames: Receiver<FrameWork>,
    mailbox: Arc<Mailbox>,
}

enum FrameWork {
    Take(Event),
    /// A frame was taken; its sender is to be answered.
    Answer(Life, After),
}

/// A mailbox and its other end.
pub fn mailbox() -> (Arc<Mailbox>, Mail) {
    let (control, control_mail) = bounded(CONTROL_MAX);
    let (frames, frames_mail) = bounded(FRAMES_MAX);
    let (frames_open, overflow) = (AtomicUsize::new(0), AtomicU64::new(0));
    let mailbox = Arc::new(Mailbox { control, frames, frames_open, overflow, engine: OnceLock::new() });
    (mailbox.clone(), Mail { control: control_mail, frames: frames_mail, mailbox })
}

impl Mailbox {
    /// Events lost because a queue was full.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Takes a small frame at once where none waits that may be of the same link: a link's frames are brought one after
    /// the other. Sends nothing and waits for nobody, as its caller is the network's.
    fn take_small(&self, event: &Event) -> bool {
        let small = matches!(event, Event::Message { class: Class::Frame, bytes, .. } if bytes.len() <= SMALL_FRAME);
        if !small || self.frames_open.load(Ordering::Acquire) > 0 {
            return false;
        }
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return false };
        match engine.try_take_frame(event) {
            Ok(answer) => answer.into_iter().for_each(|(life, after)| self.leave(FrameWork::Answer(life, after))),
            Err(Busy) => return false,
        }
        true
    }

    fn leave(&self, work: FrameWork) {
        self.frames_open.fetch_add(1, Ordering::AcqRel);
        if self.frames.try_send(work).is_err() {
            self.frames_open.fetch_sub(1, Ordering::AcqRel);
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inbox for Mailbox {
    fn deliver(&self, event: Event) {
        if matches!(event, Event::Message { class: Class::Frame, .. }) {
            if !self.take_small(&event) {
                self.leave(FrameWork::Take(event));
            }
        } else if self.control.try_send(event).is_err() {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The threads of one engine. Dropping it stops them.
pub struct Driver {
    stop: Option<Sender<()>>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    engine: Arc<Engine>,
}

impl Driver {
    /// Starts driving. `clock` has to be the engine's.
    pub fn start(engine: Arc<Engine>, mail: Mail, clock: Arc<dyn Clock>) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let (wake, woken) = bounded::<()>(1);
        engine.on_wake(move || {
            // Full means that a wake-up is on its way already.
            let _on_its_way = wake.try_send(());
        });
        let threads = Arc::new(Mutex::new(Vec::new()));
        let control = Control {
            engine: engine.clone(),
            events: mail.control,
            woken,
            stopped: stopped.clone(),
            clock,
            threads: threads.clone(),
        };
        let frames = Frames { engine: engine.clone(), work: mail.frames, mailbox: mail.mailbox, stopped };
        threads.lock().push(spawn("senza-control", move || control.run()));
        threads.lock().push(spawn("senza-frames", move || frames.run()));
        Self { stop: Some(stop), threads, engine }
    }

    /// Says farewell, closes the transport, and waits for all threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.stop.take().is_none() {
            return;
        }
        self.engine.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine had panicked");
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

struct Control {
    engine: Arc<Engine>,
    events: Receiver<Event>,
    woken: Receiver<()>,
    stopped: Receiver<()>,
    clock: Arc<dyn Clock>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Control {
    fn run(&self) {
        let mut next_tick = self.clock.steady();
        loop {
            let now = self.clock.steady();
            if now >= next_tick {
                next_tick = self.engine.tick();
            }
            let wait = Duration::from_micros((next_tick - now).clamp(0, 1_000_000).unsigned_abs());
            crossbeam_channel::select! {
                recv(self.events) -> event => {
                    let Ok(event) = event else { return };
                    if let Some(link) = self.engine.handle(&event) {
                        self.start_link(link);
                    }
                }
                recv(self.woken) -> _ => {
                    let soon = self.clock.steady() + i64::try_from(FLUSH.as_micros()).unwrap_or(0);
                    next_tick = next_tick.min(soon);
                }
                recv(self.stopped) -> _ => return,
                default(wait) => {}
            }
        }
    }

    fn start_link(&self, link: Arc<Outgoing>) {
        let engine = self.engine.clone();
        let name = format!("senza-to-{}", link.life.node);
        let thread = spawn(&name, move || {
            while link.wait(LINK_IDLE) {
                engine.pump(&link);
            }
        });
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }
}

struct Frames {
    engine: Arc<Engine>,
    work: Receiver<FrameWork>,
    mailbox: Arc<Mailbox>,
    stopped: Receiver<()>,
}

impl Frames {
    fn run(&self) {
        // A mailbox that is told its engine twice keeps the first: there is one driver per mailbox.
        let _first = self.mailbox.engine.set(Arc::downgrade(&self.engine));
        loop {
            crossbeam_channel::select! {
                recv(self.work) -> work => {
                    let answer = match work {
                        Ok(FrameWork::Take(event)) => self.engine.take_frame(&event),
                        Ok(FrameWork::Answer(life, after)) => Some((life, after)),
                        Err(_) => return,
                    };
                    if let Some((life, after)) = answer {
                        self.engine.answer_frame(&life, &after);
                    }
                    self.mailbox.frames_open.fetch_sub(1, Ordering::AcqRel);
                }
                recv(self.stopped) -> _ => return,
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system has room for a thread")
}

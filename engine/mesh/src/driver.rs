//! Threads that drive an engine in real time: one for control, one for incoming frames, one per link that sends.
//!
//! Incoming frames have a thread of their own, so that a flood of readings delays no beacon. Every sending link has
//! one too, so that a link that is stuck holds up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::relay::Outgoing;
use crate::transport::{Class, Event, Inbox};

/// Control events waiting; beyond, they are lost and healed by the next beacon.
pub const CONTROL_MAX: usize = 65_536;
/// Frames waiting, of all links together; credits keep links below it.
pub const FRAMES_MAX: usize = 65_536;
/// After a change, so long is waited for others to go with it.
const FLUSH: Duration = Duration::from_millis(1);
/// How long an idle link's thread sleeps before it looks whether it is still wanted.
const LINK_IDLE: Duration = Duration::from_millis(250);

/// Where a transport leaves its events.
pub struct Mailbox {
    control: Sender<Event>,
    frames: Sender<Event>,
    overflow: AtomicU64,
}

/// Where a driver finds them.
pub struct Mail {
    control: Receiver<Event>,
    frames: Receiver<Event>,
}

/// A mailbox and its other end.
pub fn mailbox() -> (Arc<Mailbox>, Mail) {
    let (control, control_mail) = bounded(CONTROL_MAX);
    let (frames, frames_mail) = bounded(FRAMES_MAX);
    let mailbox = Arc::new(Mailbox { control, frames, overflow: AtomicU64::new(0) });
    (mailbox, Mail { control: control_mail, frames: frames_mail })
}

impl Mailbox {
    /// Events lost because a queue was full.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

impl Inbox for Mailbox {
    fn deliver(&self, event: Event) {
        let queue = match event {
            Event::Message { class: Class::Frame, .. } => &self.frames,
            _ => &self.control,
        };
        if let Err(TrySendError::Full(_)) = queue.try_send(event) {
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
        let frames = (engine.clone(), mail.frames, stopped);
        threads.lock().push(spawn("senza-control", move || control.run()));
        threads.lock().push(spawn("senza-frames", move || take_frames(&frames.0, &frames.1, &frames.2)));
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

fn take_frames(engine: &Engine, frames: &Receiver<Event>, stopped: &Receiver<()>) {
    loop {
        crossbeam_channel::select! {
            recv(frames) -> event => {
                let Ok(event) = event else { return };
                engine.handle(&event);
            }
            recv(stopped) -> _ => return,
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system has room for a thread")
}

//! The rivals of the fanout: channels within a process, as their experts would use them. They know no table.
//!
//! Singly, a message is one reading: its sensor, its number, its time, its value; the number is the writer's own. In
//! batches to subscribers of everything, a message is a shared slice of readings, which costs each further subscriber
//! one reference count. Subscriptions to one sensor each are a list of channels by the number of the sensor, which
//! nobody may change while readings pass; there each reading is a message.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::{Fan, Puts, Reader, Reads, Seen, Shape};
use crate::table::stream::Stream;

const CROSSBEAM: &str = "a bounded channel per subscriber; in batches, messages are Arc<[Message]>";
const TOKIO: &str =
    "a broadcast channel for all subscribers, or one per sensor; in batches, messages are Arc<[Message]>; no runtime";
/// Readings that wait in a channel of one sensor: each pass over all brings one.
const OF_ONE: usize = 4;

/// One reading.
#[derive(Clone, Copy, Debug)]
struct Message {
    sensor: u32,
    seq: u64,
    #[expect(dead_code, reason = "it is carried, as a reading's time is")]
    time: i64,
    value: f64,
}

/// What goes through a channel at once.
trait Parcel: Clone + Send + Sync + 'static {
    /// How many go through for so many readings.
    fn count(readings: usize, block: usize) -> usize;
    /// Packs readings.
    fn pack(messages: impl Iterator<Item = Message>, send: impl FnMut(Self));
    /// Shows them.
    fn open(&self, seen: &mut Seen);
}

impl Parcel for Message {
    fn count(readings: usize, _block: usize) -> usize {
        readings
    }

    #[inline]
    fn pack(messages: impl Iterator<Item = Message>, send: impl FnMut(Self)) {
        messages.for_each(send);
    }

    #[inline]
    fn open(&self, seen: &mut Seen) {
        seen.reading(self.sensor, self.seq, self.value);
    }
}

impl Parcel for Arc<[Message]> {
    fn count(readings: usize, block: usize) -> usize {
        readings.div_ceil(block)
    }

    #[inline]
    fn pack(messages: impl Iterator<Item = Message>, mut send: impl FnMut(Self)) {
        send(messages.collect());
    }

    #[inline]
    fn open(&self, seen: &mut Seen) {
        self.iter().for_each(|message| message.open(seen));
    }
}

/// Where readings of a sensor go.
trait Route<P>: Clone + Send + 'static {
    /// Hands a parcel to all who get it.
    fn send(&self, parcel: P);
}

impl<P: Parcel> Route<P> for Arc<[Sender<P>]> {
    #[inline]
    fn send(&self, parcel: P) {
        for sender in self.iter() {
            // There is room: the window is smaller than the channel.
            assert!(sender.try_send(parcel.clone()).is_ok(), "its reader follows");
        }
    }
}

impl<P: Parcel> Route<P> for Sender<P> {
    #[inline]
    fn send(&self, parcel: P) {
        assert!(self.try_send(parcel).is_ok(), "its reader follows");
    }
}

impl<P: Parcel> Route<P> for broadcast::Sender<P> {
    #[inline]
    fn send(&self, parcel: P) {
        assert!(self.send(parcel).is_ok(), "somebody reads");
    }
}

// === Making them ===

pub(super) fn crossbeam(shape: &Shape, streams: &mut [Stream]) -> Fan {
    match (shape.subscriptions, shape.is_single) {
        (0, true) => crossbeam_to_all::<Message>(shape, streams),
        (0, false) => crossbeam_to_all::<Arc<[Message]>>(shape, streams),
        _ => {
            let channel = |_| crossbeam_channel::bounded(OF_ONE);
            let (senders, receivers): (Vec<Sender<Message>>, Vec<Receiver<_>>) =
                (0..shape.subscriptions).map(channel).unzip();
            to_one_each(shape, streams, &senders, receivers, CROSSBEAM)
        }
    }
}

fn crossbeam_to_all<P: Parcel>(shape: &Shape, streams: &[Stream]) -> Fan {
    let capacity = P::count(shape.waiting_max(), shape.block);
    let channel = |_| crossbeam_channel::bounded(capacity);
    let (senders, receivers): (Vec<Sender<P>>, Vec<Receiver<P>>) = (0..shape.subscribers).map(channel).unzip();
    to_all::<P, Arc<[Sender<P>]>>(shape, streams, &senders.into(), receivers, CROSSBEAM)
}

pub(super) fn tokio(shape: &Shape, streams: &mut [Stream]) -> Fan {
    match (shape.subscriptions, shape.is_single) {
        (0, true) => tokio_to_all::<Message>(shape, streams),
        (0, false) => tokio_to_all::<Arc<[Message]>>(shape, streams),
        _ => {
            let channel = |_| broadcast::channel(OF_ONE);
            let (senders, receivers): (Vec<broadcast::Sender<Message>>, Vec<_>) =
                (0..shape.subscriptions).map(channel).unzip();
            to_one_each(shape, streams, &senders, receivers, TOKIO)
        }
    }
}

fn tokio_to_all<P: Parcel>(shape: &Shape, streams: &[Stream]) -> Fan {
    let (sender, _) = broadcast::channel::<P>(P::count(shape.waiting_max(), shape.block));
    let receivers = (0..shape.subscribers).map(|_| sender.subscribe()).collect();
    to_all::<P, _>(shape, streams, &sender, receivers, TOKIO)
}

fn to_all<P: Parcel, R: Route<P>>(
    shape: &Shape,
    streams: &[Stream],
    route: &R,
    receivers: Vec<impl Reads + 'static>,
    configuration: &'static str,
) -> Fan {
    let writer = |stream: &Stream| -> Box<dyn Puts> {
        Box::new(ToAll {
            numbered: Numbered::new(shape, stream),
            route: route.clone(),
            packed: std::marker::PhantomData::<P>,
        })
    };
    Fan { writers: streams.iter().map(writer).collect(), readers: readers(shape, receivers), configuration }
}

fn to_one_each<R: Route<Message>>(
    shape: &Shape,
    streams: &[Stream],
    senders: &[R],
    receivers: Vec<impl Reads + 'static>,
    configuration: &'static str,
) -> Fan {
    let route = |number| shape.subscription_of(number).map(|subscription| senders[subscription as usize].clone());
    let routes: Vec<Option<R>> = (0..shape.sensors).map(route).collect();
    let writer = |stream: &Stream| -> Box<dyn Puts> {
        Box::new(ToOneEach { numbered: Numbered::new(shape, stream), routes: routes.clone() })
    };
    Fan { writers: streams.iter().map(writer).collect(), readers: readers(shape, receivers), configuration }
}

fn readers(shape: &Shape, receivers: Vec<impl Reads + 'static>) -> Vec<Reader> {
    assert_eq!(receivers.len(), shape.queues() as usize);
    receivers.into_iter().map(|receiver| Reader::new(shape, Box::new(receiver))).collect()
}

// === Putting and reading ===

/// The readings of a writer, with their numbers.
struct Numbered {
    sensors: Vec<u32>,
    last: Vec<u64>,
}

impl Numbered {
    fn new(shape: &Shape, stream: &Stream) -> Self {
        Self { sensors: stream.numbers().to_vec(), last: vec![0; shape.sensors as usize] }
    }

    #[inline]
    fn messages(&mut self, from: usize, to: usize, time: i64) -> impl ExactSizeIterator<Item = Message> {
        let Self { sensors, last } = self;
        sensors[from..to].iter().map(move |sensor| {
            let seq = &mut last[*sensor as usize];
            *seq += 1;
            Message { sensor: *sensor, seq: *seq, time, value: f64::from(*sensor) }
        })
    }
}

struct ToAll<P, R> {
    numbered: Numbered,
    route: R,
    packed: std::marker::PhantomData<P>,
}

impl<P: Parcel, R: Route<P>> Puts for ToAll<P, R> {
    fn put(&mut self, from: usize, to: usize, now: i64) {
        P::pack(self.numbered.messages(from, to, now), |parcel| self.route.send(parcel));
    }
}

struct ToOneEach<R> {
    numbered: Numbered,
    routes: Vec<Option<R>>,
}

impl<R: Route<Message>> Puts for ToOneEach<R> {
    fn put(&mut self, from: usize, to: usize, now: i64) {
        for message in self.numbered.messages(from, to, now) {
            if let Some(route) = &self.routes[message.sensor as usize] {
                route.send(message);
            }
        }
    }
}

impl<P: Parcel> Reads for Receiver<P> {
    fn read(&mut self, seen: &mut Seen) {
        self.try_iter().for_each(|parcel| parcel.open(seen));
    }
}

impl<P: Parcel> Reads for broadcast::Receiver<P> {
    fn read(&mut self, seen: &mut Seen) {
        loop {
            match self.try_recv() {
                Ok(parcel) => parcel.open(seen),
                // It tells how many messages, not which readings: then numbers are missing, and that is found.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

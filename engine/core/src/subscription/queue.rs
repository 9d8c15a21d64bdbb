//! What a subscription's lock guards: rows in order, what the contract holds back, what was lost, the account.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use super::contract::{Contract, Deadband, Ledger, Overflow, Pace, Start, Want};
use super::losses::Losses;
use super::starting::{Early, Starting};
use super::taken::{Taken, Wait};
use crate::fault::{self, Fault};
use crate::history::Sample;
use crate::reading::{GapReason, Micros, Seq, Series, Value};
use crate::row::{self, Row};

/// Series that may end while their reader stands still, beyond what the queue holds; one more closes the queue, since each
/// is told and takes memory until then. The queue of a link ends with the node that stands still.
pub(super) const ENDS_MAX: usize = 1 << 20;
/// Rows looked at for one that may be dropped before a lossless one.
const LOSSLESS_SCAN: usize = 64;

#[derive(Debug)]
pub(super) struct Queue {
    contract: Contract,
    rows: VecDeque<Row>,
    /// What travels beside the rows, in their order.
    values: VecDeque<Value>,
    /// The place of the first row, counted over all that ever came.
    head: u64,
    /// When rows were offered: runs of places, in order.
    offers: VecDeque<Offer>,
    /// Gaps and ends among the rows.
    told: usize,
    /// Rows among the rows that gave way to newer ones.
    holes: usize,
    /// By series: what its contract needs to know; nothing where every reading is wanted.
    details: Vec<Option<Box<Detail>>>,
    /// Whether no series needs details and no row ever takes another's place.
    simple: bool,
    /// Numbers of ended series, and the place after their last row.
    free: VecDeque<(u32, u64)>,
    /// Numbers given out since the reader last took.
    defined: Vec<(u32, Arc<Series>)>,
    ledger: Ledger,
    /// What was lost and not told yet. Under drop-newest it is younger than what is queued of its series, else older
    /// than all that is queued.
    losses: Losses,
    /// While the start is copied.
    starting: Option<Starting>,
    /// Readings held back, by when they are due.
    due: BTreeSet<(Micros, u32)>,
    closed: bool,
    /// Whether a waiter is to look again though nothing was offered.
    nudged: bool,
    waiter: Waiter,
    waker: Option<Waker>,
}

/// Who waits for the queue, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// Nobody.
    None,
    /// A reader, for anything.
    ForAny,
    /// A reader that cannot take anything: rows that come are nothing to it.
    ForNudge,
}

/// Rows that were offered at one time, by their places.
#[derive(Clone, Copy, Debug)]
struct Offer {
    from: u64,
    to: u64,
    at: Micros,
}

#[derive(Debug, Default)]
struct Detail {
    want: Want,
    /// When something was last handed on; with the number it was, for the deadband.
    handed: Option<(Micros, Option<f64>)>,
    /// The place after its last row.
    waiting: u64,
    held: Option<Held>,
    /// Whether numbers were left out since its last row.
    skipped: bool,
}

/// A reading that waits for its time.
#[derive(Debug)]
struct Held {
    row: Row,
    value: Option<Value>,
    due: Micros,
    /// Whether the deadband held it back, not the rate.
    too_small: bool,
}

// === impl Queue: series ===

impl Queue {
    pub(super) fn new(contract: Contract) -> Self {
        Self {
            rows: VecDeque::new(),
            values: VecDeque::new(),
            head: 0,
            offers: VecDeque::new(),
            told: 0,
            holes: 0,
            details: Vec::new(),
            simple: contract.overflow != Overflow::Conflate,
            free: VecDeque::new(),
            defined: Vec::new(),
            ledger: Ledger::default(),
            losses: Losses::default(),
            starting: (contract.start != Start::Live).then(Starting::default),
            due: BTreeSet::new(),
            closed: false,
            nudged: false,
            waiter: Waiter::None,
            waker: None,
            contract,
        }
    }

    pub(super) fn enroll(&mut self, series: &Arc<Series>, want: Want) -> u32 {
        // Its rows were all taken, and what of them was dropped was told.
        let is_over = |free: &(u32, u64)| free.1 <= self.head && !self.losses.holds(free.0);
        let index = match self.free.front().copied().filter(is_over) {
            Some((index, _)) => {
                self.free.pop_front();
                index
            }
            None => {
                self.details.push(None);
                (self.details.len() - 1) as u32
            }
        };
        self.defined.push((index, series.clone()));
        if !series.lossless {
            self.want(index, want);
        }
        index
    }

    /// Of a lossless series every reading is wanted, whatever is asked for: do not call it for one.
    pub(super) fn want(&mut self, series: u32, want: Want) {
        let conflates = self.contract.overflow == Overflow::Conflate;
        let Some(detail) = self.details.get_mut(series as usize) else { return };
        match detail {
            Some(detail) => detail.want = want,
            None if want.is_every() && !conflates => return,
            None => *detail = Some(Box::new(Detail { want, ..Detail::default() })),
        }
        self.simple = false;
    }

    pub(super) fn retire(&mut self, series: u32) {
        if let Some((early, now)) = self.begin(series, 0) {
            self.release_early(early, now);
        }
        if let Some(starting) = &mut self.starting {
            starting.end(series);
        }
        self.release_held(series);
        if let Some(detail) = self.details.get_mut(series as usize) {
            *detail = None;
        }
        self.free.push_back((series, self.place()));
    }

    /// Hands out what is held back of a series.
    fn release_held(&mut self, series: u32) {
        let held = self.details.get_mut(series as usize).and_then(Option::as_mut).and_then(|detail| detail.held.take());
        if let Some(held) = held {
            self.due.remove(&(held.due, series));
            self.ledger.queued -= 1;
            self.enqueue(held.row, held.value);
        }
    }
}

// === impl Queue: writers ===

impl Queue {
    pub(super) fn offer(&mut self, rows: &[Row], values: &mut Vec<Value>, now: Micros) {
        if self.closed {
            values.clear();
            return;
        }
        if self.starting.is_some() {
            return self.offer_while_starting(rows, values.drain(..), now);
        }
        self.ledger.offered += rows.len() as u64;
        let from = self.place();
        if self.simple && self.rows.len() + rows.len() <= self.contract.queue_max && self.losses.is_empty() {
            self.rows.extend(rows);
            self.values.extend(values.drain(..));
            self.ledger.queued += rows.len() as u64;
            return self.note_offer(from, now);
        }
        let mut values = values.drain(..);
        for row in rows {
            let value = row.has_value_beside().then(|| values.next()).flatten();
            self.live(*row, value, now);
        }
        self.note_offer(from, now);
    }

    /// The place after the last row.
    fn place(&self) -> u64 {
        self.head + self.rows.len() as u64
    }

    /// Notes when the rows from a place on were offered. There are no more notes than rows, and none of a time twice.
    fn note_offer(&mut self, from: u64, at: Micros) {
        // A part of them may have been noted.
        let (from, to) = (from.max(self.offers.back().map_or(0, |last| last.to)), self.place());
        if from >= to {
            return;
        }
        match self.offers.back_mut() {
            Some(last) if last.at == at && last.to == from => last.to = to,
            _ => {
                while self.offers.front().is_some_and(|first| first.to <= self.head) {
                    self.offers.pop_front();
                }
                self.offers.push_back(Offer { from, to, at });
            }
        }
    }

    /// Keeps back what comes before its series' start, at most as much as the queue may hold: then all of it goes live,
    /// and those series have no start.
    fn offer_while_starting(&mut self, rows: &[Row], mut values: impl Iterator<Item = Value>, now: Micros) {
        let from = self.place();
        for row in rows {
            let value = row.has_value_beside().then(|| values.next()).flatten();
            match &mut self.starting {
                Some(starting) if starting.is_early(row.series) && !fault::is_on(Fault::StartTwice) => {
                    starting.now = now;
                    self.keep_early(*row, value);
                }
                _ => {
                    self.ledger.offered += 1;
                    self.live(*row, value, now);
                }
            }
        }
        self.note_offer(from, now);
    }

    fn keep_early(&mut self, row: Row, value: Option<Value>) {
        if let Some(starting) = &mut self.starting
            && starting.keep(row, value) >= self.contract.queue_max
        {
            let (early, now) = (starting.begin_early(), starting.now);
            self.release_early(early, now);
        }
    }

    /// Takes in what was kept back.
    fn release_early(&mut self, early: Early, now: Micros) {
        let from = self.place();
        for (row, value) in early {
            if row.is_reading() {
                self.ledger.offered += 1;
                self.live(row, value, now);
            } else {
                self.tell(row);
            }
        }
        self.note_offer(from, now);
    }

    /// One live row: the contract says what becomes of it.
    fn live(&mut self, row: Row, value: Option<Value>, now: Micros) {
        let Some(detail) = self.details.get_mut(row.series as usize).and_then(Option::as_mut) else {
            return self.enqueue(row, value);
        };
        let want = detail.want;
        let too_small = detail.is_too_small(&row);
        if let Some(due) = detail.held_back_until(too_small, now) {
            return self.hold(Held { row, value, due, too_small });
        }
        if too_small {
            // What was held back is older: it must not come after numbers that are left out here.
            self.give_up_held(row.series);
            self.note_skipped(row.series);
            self.ledger.filtered += 1;
            return;
        }
        self.give_up_held(row.series);
        if want.pace == Pace::Latest && self.take_the_place(row, value.is_some()) {
            self.note_handed(&row, now);
            return;
        }
        self.enqueue(row, value);
        self.note_handed(&row, now);
    }

    /// Keeps a reading until it is due, in place of an older one of its series.
    fn hold(&mut self, held: Held) {
        let (series, due) = (held.row.series, held.due);
        self.give_up_held(series);
        if let Some(detail) = self.details[series as usize].as_mut() {
            detail.held = Some(held);
            self.due.insert((due, series));
            self.ledger.queued += 1;
        }
    }

    /// Lets go of a reading that was held back: something newer came.
    fn give_up_held(&mut self, series: u32) {
        let Some(detail) = self.details.get_mut(series as usize).and_then(Option::as_mut) else { return };
        if let Some(held) = detail.held.take() {
            detail.skipped = true;
            self.due.remove(&(held.due, series));
            self.ledger.queued -= 1;
            *(if held.too_small { &mut self.ledger.filtered } else { &mut self.ledger.conflated }) += 1;
        }
    }

    /// Puts a row in the place of its series' one that waits. Answers false where none does, or their values lie
    /// differently; the older one is a hole then.
    fn take_the_place(&mut self, row: Row, has_value: bool) -> bool {
        let Some(detail) = self.details[row.series as usize].as_mut() else { return false };
        let Some(at) = detail.waiting.checked_sub(self.head + 1) else { return false };
        let Some(older) = self
            .rows
            .get_mut(at as usize)
            .filter(|older| older.series == row.series && !older.is_hole() && older.is_reading())
        else {
            return false;
        };
        self.ledger.conflated += 1;
        if !has_value && older.beside() == 0 {
            *older = row.after_skip();
            return true;
        }
        *older = older.hole();
        self.holes += 1;
        self.ledger.queued -= 1;
        detail.skipped = true;
        false
    }

    fn note_skipped(&mut self, series: u32) {
        if let Some(detail) = self.details[series as usize].as_mut() {
            detail.skipped = true;
        }
    }

    fn note_handed(&mut self, row: &Row, now: Micros) {
        if let Some(detail) = self.details[row.series as usize].as_mut() {
            detail.handed = Some((now, row.as_f64()));
        }
    }

    fn enqueue(&mut self, row: Row, value: Option<Value>) {
        self.enqueue_with(row, [value, None], row.seq);
    }

    /// Appends a reading and what travels beside it, making room as the contract says. `last` is the number that the
    /// next one follows.
    fn enqueue_with(&mut self, mut row: Row, beside: [Option<Value>; 2], last: Seq) {
        let overflow = self.contract.overflow;
        let takes_a_place = overflow == Overflow::Conflate && !row.is_start() && self.is_full();
        if takes_a_place && self.take_the_place(row, row.has_value_beside()) {
            return;
        }
        if self.is_full() {
            match overflow {
                Overflow::DropOldest => self.drop_oldest(),
                Overflow::Conflate => self.drop_oldest_lossy(),
                Overflow::DropNewest | Overflow::Block { .. } | Overflow::Close => {
                    let row = self.behind_skip(row);
                    self.lose(row, last);
                    if overflow == Overflow::Close {
                        self.close();
                    }
                    return;
                }
            }
        } else if self.loses_the_newest()
            && let Some(gap) = self.losses.remove(row.series)
        {
            self.rows.push_back(gap);
            self.told += 1;
        }
        row = self.behind_skip(row);
        if let Some(detail) = self.details.get_mut(row.series as usize).and_then(Option::as_mut) {
            detail.waiting = self.head + self.rows.len() as u64 + 1;
        }
        self.rows.push_back(row);
        self.values.extend(beside.into_iter().flatten());
        self.ledger.queued += 1;
    }

    /// Marks a row where numbers before it were left out.
    fn behind_skip(&mut self, row: Row) -> Row {
        let detail = self.details.get_mut(row.series as usize).and_then(Option::as_mut);
        if detail.is_some_and(|detail| std::mem::take(&mut detail.skipped)) { row.after_skip() } else { row }
    }

    fn loses_the_newest(&self) -> bool {
        matches!(self.contract.overflow, Overflow::DropNewest | Overflow::Block { .. } | Overflow::Close)
    }

    /// Makes room for one reading. A gap on the way is kept for its series' next reading.
    fn drop_oldest(&mut self) {
        while let Some((row, position)) = self.pop() {
            if !row.is_reading() {
                self.losses.add(row);
            } else if !row.is_hole() {
                self.ledger.queued -= 1;
                return self.lose(row, position.unwrap_or(row.seq));
            }
        }
    }

    /// Makes room as [`drop_oldest`](Self::drop_oldest) does, at the cost of a reading that may be conflated where one
    /// waits near the front: those that may not are dropped last. The gap stands in its place.
    fn drop_oldest_lossy(&mut self) {
        let details = &self.details;
        let may_go = |row: &&mut Row| {
            let is_reading = row.is_reading() && !row.is_hole() && row.beside() == 0;
            is_reading && details.get(row.series as usize).is_some_and(Option::is_some)
        };
        let row = self.rows.iter_mut().take(LOSSLESS_SCAN).find(may_go);
        let Some(row) = row.filter(|_| self.told < self.contract.queue_max) else { return self.drop_oldest() };
        let gap = Row::gap(row.series, row.seq, row.seq, self.contract.reason);
        *row = if row.is_after_skip() { gap.after_skip() } else { gap };
        self.told += 1;
        self.ledger.queued -= 1;
        self.ledger.dropped += 1;
    }

    /// The first row, and a start's counter.
    fn pop(&mut self) -> Option<(Row, Option<Seq>)> {
        let row = self.rows.pop_front()?;
        self.head += 1;
        self.told -= usize::from(!row.is_reading());
        self.holes -= usize::from(row.is_hole());
        let position = if row.is_start() { self.values.pop_front() } else { None };
        if row.has_value_beside() {
            self.values.pop_front();
        }
        Some((row, position.as_ref().and_then(row::position)))
    }

    /// Counts a reading as dropped. What follows a start follows its counter, up to which the gap goes.
    fn lose(&mut self, row: Row, to: Seq) {
        self.ledger.dropped += 1;
        let gap = Row::gap(row.series, row.seq, to.max(row.seq), self.contract.reason);
        self.losses.add(if row.is_after_skip() { gap.after_skip() } else { gap });
    }

    pub(super) fn offer_start(&mut self, row: Row, value: Option<Value>, position: Seq) {
        let awaits_more = matches!(self.contract.start, Start::Last(_) | Start::Since(_));
        if awaits_more && self.starting.is_some() {
            return;
        }
        let Some((later, now)) = self.begin(row.series, position) else { return };
        self.ledger.offered += 1;
        self.enqueue_start(row, value, position);
        self.release_early(later, now);
    }

    pub(super) fn offer_history(&mut self, series: u32, samples: &[Sample], position: Seq) -> bool {
        let Some((later, now)) = self.begin(series, position) else { return false };
        for (at, sample) in samples.iter().enumerate() {
            self.ledger.offered += 1;
            let row = Row::reading(series, sample);
            let value = row.has_value_beside().then(|| sample.value.clone());
            // One that is dropped says nothing of those behind it; the last one leads over to what is live.
            let is_last = at + 1 == samples.len();
            self.enqueue_start(row, value, if is_last { position } else { sample.seq });
        }
        self.release_early(later, now);
        true
    }

    /// Begins a series, unless that or the queue's end came before; what came live that its start does not hold.
    fn begin(&mut self, series: u32, position: Seq) -> Option<(Early, Micros)> {
        match &mut self.starting {
            _ if self.closed => None,
            Some(starting) => Some((starting.begin(series, position)?, starting.now)),
            None => Some((Early::new(), 0)),
        }
    }

    fn enqueue_start(&mut self, row: Row, value: Option<Value>, position: Seq) {
        self.enqueue_with(row.start(), [Some(row::counter(position)), value], position);
    }

    /// Takes a series' end into the order of the queue: what the contract held back comes before it.
    pub(super) fn end(&mut self, end: Row) {
        if self.closed {
            return;
        }
        self.release_held(end.series);
        self.tell(end);
        if self.losses.ends() > ENDS_MAX && self.contract.reason == GapReason::Overflow {
            self.close();
        }
    }

    /// Takes a gap that the hop before told, or an end, into the order of the queue. Both have the same bound as readings.
    pub(super) fn tell(&mut self, mut gap: Row) {
        if self.closed {
            return;
        }
        if self.starting.as_ref().is_some_and(|starting| starting.is_early(gap.series)) {
            return self.keep_early(gap, None);
        }
        self.give_up_held(gap.series);
        if let Some(detail) = self.details.get_mut(gap.series as usize).and_then(Option::as_mut) {
            // A reading that comes after the gap must not take a place before it.
            detail.waiting = 0;
        }
        gap = self.behind_skip(gap);
        let is_full = |queue: &Self| queue.told >= queue.contract.queue_max;
        if self.loses_the_newest() {
            // What was lost and not told yet is younger than the queue and older than this.
            if is_full(self) || self.losses.holds(gap.series) {
                return self.losses.add(gap);
            }
        } else {
            while is_full(self) {
                match self.pop() {
                    Some((row, _)) if !row.is_reading() => self.losses.add(row),
                    Some((row, _)) if row.is_hole() => {}
                    Some((row, position)) => {
                        self.ledger.queued -= 1;
                        self.lose(row, position.unwrap_or(row.seq));
                    }
                    None => break,
                }
            }
        }
        self.rows.push_back(gap);
        self.told += 1;
    }

    pub(super) fn started(&mut self) {
        if let Some(mut starting) = self.starting.take() {
            self.release_early(starting.begin_early(), starting.now);
        }
    }

    pub(super) fn release_due(&mut self, now: Micros) -> bool {
        let mut released = false;
        let from = self.place();
        while let Some((due, series)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, series));
            let detail = self.details.get_mut(series as usize).and_then(Option::as_mut);
            if let Some(Held { row, value, .. }) = detail.and_then(|detail| detail.held.take()) {
                self.ledger.queued -= 1;
                self.enqueue(row, value);
                self.note_handed(&row, now);
                released = true;
            }
        }
        if now != Micros::MAX {
            self.note_offer(from, now);
        }
        released
    }

    pub(super) fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(super) fn is_paced(&self) -> bool {
        !self.due.is_empty()
    }

    /// Readings held back take no room: there is one of a series at most.
    pub(super) fn is_full(&self) -> bool {
        self.ledger.queued - self.due.len() as u64 >= self.contract.queue_max as u64
    }

    /// Nothing more comes; what is held back is handed out.
    pub(super) fn close(&mut self) {
        self.started();
        if !std::mem::replace(&mut self.closed, true) {
            self.release_due(Micros::MAX);
        }
    }
}

impl Detail {
    /// Until when a reading has to wait, where it has to.
    fn held_back_until(&self, too_small: bool, now: Micros) -> Option<Micros> {
        let (handed, _) = self.handed?;
        let pause = match (too_small, self.want.pace) {
            (true, _) if self.want.heartbeat_us > 0 => self.want.heartbeat_us,
            (false, Pace::Interval(interval)) => interval,
            _ => return None,
        };
        // A heartbeat that is overdue is due now.
        let due = handed + i64::from(pause);
        if too_small { Some(due.max(now)) } else { Some(due).filter(|due| *due > now) }
    }

    /// Whether the deadband leaves a reading out.
    fn is_too_small(&self, row: &Row) -> bool {
        let (Some((_, Some(last))), Some(number)) = (self.handed, row.as_f64()) else { return false };
        match self.want.deadband {
            Deadband::None => false,
            Deadband::Absolute(width) => (number - last).abs() <= width,
            Deadband::Percent(percent) => (number - last).abs() <= last.abs() * percent / 100.0,
        }
    }
}

// === impl Queue: the reader ===

impl Queue {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger
    }

    pub(super) fn take(&mut self, taken: &mut Taken, max: usize) -> bool {
        taken.clear();
        taken.define(self.defined.drain(..));
        if !self.loses_the_newest() {
            self.losses.drain(&mut taken.before);
        }
        let waiting = self.rows.len() - self.told - self.holes;
        let (mut count, head) = (waiting, self.head);
        if waiting <= max {
            std::mem::swap(&mut self.rows, &mut taken.rows);
            std::mem::swap(&mut self.values, &mut taken.values);
            self.head += taken.rows.len() as u64;
            (self.told, self.holes) = (0, 0);
        } else {
            count = max;
            self.take_some(taken, max);
        }
        self.note_waits(head, taken);
        self.ledger.queued -= count as u64;
        self.ledger.delivered += count as u64;
        if self.rows.is_empty() {
            self.losses.drain(&mut taken.after);
        }
        !self.closed || !taken.is_empty()
    }

    /// Says since when the rows from a place up to the head waited.
    fn note_waits(&mut self, from: u64, taken: &mut Taken) {
        while let Some(offer) = self.offers.front().copied().filter(|offer| offer.from < self.head) {
            let count = offer.to.min(self.head).saturating_sub(offer.from.max(from));
            taken.waits.extend((count > 0).then_some(Wait { since: offer.at, count }));
            if offer.to > self.head {
                return;
            }
            self.offers.pop_front();
        }
    }

    fn take_some(&mut self, taken: &mut Taken, max: usize) {
        let mut left = max;
        while left > 0 {
            let Some(row) = self.rows.pop_front() else { return };
            self.head += 1;
            self.told -= usize::from(!row.is_reading());
            self.holes -= usize::from(row.is_hole());
            left -= usize::from(row.is_reading() && !row.is_hole());
            taken.values.extend(self.values.drain(..row.beside()));
            taken.rows.push_back(row);
        }
    }

    fn is_idle(&self) -> bool {
        self.rows.is_empty() && self.losses.is_empty() && !self.closed
    }

    /// How many rows could be taken, and at least 1 where there is something to tell.
    pub(super) fn ready(&self) -> usize {
        if self.is_idle() { 0 } else { self.rows.len().max(1) }
    }

    pub(super) fn must_wait(&self, blocked: bool) -> bool {
        !self.closed && !self.nudged && (blocked || self.is_idle())
    }

    /// After a wait: answers false when closed and drained.
    pub(super) fn waited(&mut self) -> bool {
        self.nudged = false;
        !(self.closed && self.rows.is_empty() && self.losses.is_empty())
    }

    pub(super) fn nudge(&mut self) {
        self.nudged = true;
    }

    /// Whether somebody was told to look and has not yet.
    pub(super) fn is_nudged(&self) -> bool {
        self.nudged
    }

    /// Whether somebody waits who has to look now.
    pub(super) fn has_waiter(&self) -> bool {
        match self.waiter {
            Waiter::None => false,
            // What is left out or kept back is nothing to read: the wait goes on.
            Waiter::ForAny => !self.must_wait(false),
            Waiter::ForNudge => self.nudged || self.closed,
        }
    }

    pub(super) fn set_waiter(&mut self, waiter: Waiter) {
        self.waiter = waiter;
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

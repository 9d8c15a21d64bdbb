//! What a reader saw: every number checked, every reading timed.
//!
//! Knows of a schedule which numbers were put before it began to count, and nothing of who puts.

use std::time::Duration;

use hdrhistogram::Histogram;
use senza_benches::histogram;
use senza_mesh::clock::{Clock, SystemClock};

use super::Schedule;
use crate::answer::Account;
use crate::wires::{Came, Sink};

/// Readings that come together are timed by the same look at the clock, up to so many.
const TIMED_TOGETHER: u32 = 64;

/// What a reader saw: each number comes once, in order, or lies in a told gap, or is missing without a word.
pub(crate) struct Seen {
    /// The last number of each series that came or was told.
    last: Vec<u64>,
    /// The last number of each series that is of no account.
    before: Vec<u64>,
    /// Whether what is missing before a series' next number was told, without saying where it ends.
    open: Vec<bool>,
    arrived: u64,
    told: u64,
    /// Numbers that came again, or behind later ones.
    again: u64,
    /// When the last one came, microseconds since 1970.
    last_came_us: i64,
    /// From due to here, microseconds.
    latency: Histogram<u64>,
    /// So many readings in a row took so long, and are not in the histogram yet.
    alike: (u64, u64),
    /// Whether the contender closed the sink.
    cut_off: bool,
}

impl Seen {
    /// Nothing, of so many series.
    pub(crate) fn new(sensors: u32) -> Self {
        Self {
            last: vec![0; sensors as usize],
            before: vec![0; sensors as usize],
            open: vec![false; sensors as usize],
            arrived: 0,
            told: 0,
            again: 0,
            last_came_us: 0,
            latency: histogram(),
            alike: (0, 0),
            cut_off: false,
        }
    }

    /// From here on, nothing of what was put before counts.
    pub(crate) fn begin(&mut self, schedule: &Schedule) {
        for (sensor, number) in schedule.last_numbers() {
            let last = &mut self.last[sensor as usize];
            *last = (*last).max(number);
            self.before[sensor as usize] = number;
        }
        self.open.fill(false);
        (self.arrived, self.told, self.again, self.last_came_us, self.alike) = (0, 0, 0, 0, (0, 0));
        self.latency.reset();
    }

    /// Takes what has come.
    pub(crate) fn take(&mut self, sink: &mut dyn Sink, wait: Duration) {
        let (mut now, mut timed, mut came) = (0, 0, false);
        let goes_on = sink.take(wait, &mut |item| {
            if timed == 0 {
                (now, timed, came) = (SystemClock.now(), TIMED_TOGETHER, true);
            }
            timed -= 1;
            self.note(item, now);
        });
        if came {
            self.last_came_us = SystemClock.now();
        }
        self.cut_off |= !goes_on;
    }

    fn note(&mut self, item: Came, now: i64) {
        match item {
            Came::Reading { sensor, seq, at_us } => {
                let (last, open) = (&mut self.last[sensor as usize], &mut self.open[sensor as usize]);
                if seq <= *last {
                    self.again += u64::from(seq > self.before[sensor as usize]);
                    return;
                }
                if *open {
                    self.told += seq - *last - 1;
                    *open = false;
                }
                *last = seq;
                self.arrived += 1;
                let took = (now - at_us).max(1).unsigned_abs();
                if took != self.alike.0 {
                    self.settle();
                    self.alike.0 = took;
                }
                self.alike.1 += 1;
            }
            Came::Gap { sensor, to: u64::MAX, .. } => self.open[sensor as usize] = true,
            Came::Gap { sensor, from, to } => {
                let last = &mut self.last[sensor as usize];
                if to > *last {
                    self.told += to + 1 - from.max(*last + 1);
                    *last = to;
                }
            }
        }
    }

    /// Puts what was counted as alike into the histogram.
    fn settle(&mut self) {
        let (took, count) = std::mem::take(&mut self.alike);
        if count > 0 {
            self.latency.saturating_record_n(took, count);
        }
    }

    /// The last number of each series that came or was told.
    pub(crate) fn last(&self) -> &[u64] {
        &self.last
    }

    /// Of how many readings since the begin it is known what became of them.
    pub(crate) fn known(&self) -> u64 {
        self.arrived + self.told
    }

    /// Readings that came since the begin.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Whether the contender closed the sink.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// When the last one came, microseconds since 1970; 0 if none did.
    pub(crate) fn last_came_us(&self) -> i64 {
        self.last_came_us
    }

    /// The latencies since the begin.
    pub(crate) fn latency(&mut self) -> &Histogram<u64> {
        self.settle();
        &self.latency
    }

    /// What became of so many readings that were put for it.
    ///
    /// # Panics
    ///
    /// Where one came that never was put, or came twice.
    pub(crate) fn account(&self, offered: u64) -> Account {
        let Self { arrived, told, again, .. } = *self;
        assert_eq!(again, 0, "readings came again, or behind later ones");
        let known = arrived + told;
        assert!(known <= offered, "{arrived} came and {told} were told as missing of {offered}");
        Account { offered, arrived, told, lost: offered - known }
    }
}

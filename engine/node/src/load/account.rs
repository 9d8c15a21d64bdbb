//! What became of every reading offered, by one subscriber's word: each number of each sensor comes exactly once, in
//! order, or lies in a told gap.

use std::collections::BTreeMap;

use senza_core::Seq;
use senza_core::reading::GapReason;

/// What was counted in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Readings that came, each number once.
    pub(super) delivered: u64,
    /// Readings inside told gaps, by [`GapReason`].
    pub(super) gaps: [u64; GapReason::ALL.len()],
    /// Numbers that came again, or came although told as lost, or the other way round.
    pub(super) duplicates: u64,
    /// Readings that came after a later one of their sensor.
    pub(super) out_of_order: u64,
    /// Numbers of which nothing was heard.
    pub(super) missing: u64,
    /// Numbers that nobody offered.
    pub(super) unknown: u64,
}

impl Counts {
    /// Adds another subscriber's.
    pub(super) fn add(&mut self, other: &Counts) {
        self.delivered += other.delivered;
        self.gaps.iter_mut().zip(other.gaps).for_each(|(sum, gap)| *sum += gap);
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.missing += other.missing;
        self.unknown += other.unknown;
    }

    /// Readings told as lost.
    pub(super) fn lost(&self) -> u64 {
        self.gaps.iter().sum()
    }

    /// Whether every reading came exactly once, in order, or was told as lost.
    pub(super) fn is_exact(&self) -> bool {
        self.duplicates + self.out_of_order + self.missing + self.unknown == 0
    }
}

/// The account of one subscriber. Readings go round the sensors in turn, so that how many were put in all says which
/// numbers each sensor has.
#[derive(Debug)]
pub(super) struct Account {
    /// Readings put before the span.
    begin: u64,
    /// The next number of each sensor.
    next: Vec<Seq>,
    /// Numbers passed over without a word: sensor and first to last.
    holes: BTreeMap<(usize, Seq), Seq>,
    /// Numbers heard of, each once.
    heard: u64,
    counts: Counts,
}

/// The last number of a sensor when so many readings were put in all; 0 before its first.
fn last_number(sensors: usize, sensor: usize, put: u64) -> Seq {
    let sensors = sensors as u64;
    put / sensors + u64::from((sensor as u64) < put % sensors)
}

impl Account {
    /// An empty account of so many sensors.
    pub(super) fn new(sensors: usize) -> Self {
        Self { begin: 0, next: vec![1; sensors], holes: BTreeMap::new(), heard: 0, counts: Counts::default() }
    }

    /// Begins a new span after so many readings put; what comes late of those before is of no account.
    pub(super) fn restart(&mut self, put: u64) {
        let sensors = self.next.len();
        let next = (0..sensors).map(|sensor| last_number(sensors, sensor, put) + 1).collect();
        *self = Self { begin: put, next, holes: BTreeMap::new(), heard: 0, counts: Counts::default() };
    }

    /// Notes a reading. Answers whether it is the first of its number in this span.
    pub(super) fn reading(&mut self, sensor: usize, seq: Seq) -> bool {
        let Some(next) = self.next.get(sensor).copied() else {
            self.counts.unknown += 1;
            return false;
        };
        if seq <= last_number(self.next.len(), sensor, self.begin) {
            return false;
        }
        if seq >= next {
            self.pass_over(sensor, next, seq);
            self.next[sensor] = seq + 1;
        } else if self.fill(sensor, seq, seq) == 1 {
            self.counts.out_of_order += 1;
        } else {
            self.counts.duplicates += 1;
            return false;
        }
        self.heard += 1;
        self.counts.delivered += 1;
        true
    }

    /// Notes a told gap.
    pub(super) fn gap(&mut self, sensor: usize, from: Seq, to: Seq, reason: GapReason) {
        // A gap without a known end says that the owner is gone. It names no readings: they stay missing.
        let Some(next) = self.next.get(sensor).copied().filter(|_| to != Seq::MAX) else { return };
        let from = from.max(last_number(self.next.len(), sensor, self.begin) + 1);
        if to < from {
            return;
        }
        let mut told = 0;
        if from < next {
            let behind = to.min(next - 1) - from + 1;
            told += self.fill(sensor, from, to.min(next - 1));
            self.counts.duplicates += behind - told;
        }
        if to >= next {
            self.pass_over(sensor, next, from);
            told += to - from.max(next) + 1;
            self.next[sensor] = to + 1;
        }
        self.heard += told;
        self.counts.gaps[reason as usize] += told;
    }

    /// Whether as many numbers were heard of as there are by now.
    pub(super) fn is_complete(&self, put: u64) -> bool {
        self.heard >= put - self.begin
    }

    /// Numbers heard of: shows whether anything still comes.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// The account of the span that ends after so many readings put.
    pub(super) fn close(&self, put: u64) -> Counts {
        let holes: u64 = self.holes.iter().map(|((_, from), to)| to - from + 1).sum();
        let mut counts = Counts { missing: holes, ..self.counts };
        for (sensor, next) in self.next.iter().enumerate() {
            let end = last_number(self.next.len(), sensor, put) + 1;
            counts.missing += end.saturating_sub(*next);
            counts.unknown += next.saturating_sub(end);
        }
        counts
    }

    /// Remembers the numbers from one to before another as not heard of.
    fn pass_over(&mut self, sensor: usize, from: Seq, before: Seq) {
        if from < before {
            self.holes.insert((sensor, from), before - 1);
        }
    }

    /// Takes numbers out of the holes; answers how many were in them.
    fn fill(&mut self, sensor: usize, from: Seq, to: Seq) -> u64 {
        let mut filled = 0;
        let touched = self.holes.range((sensor, 0)..=(sensor, to)).filter(|(_, last)| **last >= from);
        let touched: Vec<(Seq, Seq)> = touched.map(|((_, first), last)| (*first, *last)).collect();
        for (first, last) in touched {
            self.holes.remove(&(sensor, first));
            self.pass_over(sensor, first, from);
            if last > to {
                self.holes.insert((sensor, to + 1), last);
            }
            filled += last.min(to) - first.max(from) + 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sensors, nine readings put: five of the first, four of the second.
    const PUT: u64 = 9;

    fn told(readings: &[(usize, Seq)]) -> Account {
        let mut account = Account::new(2);
        readings.iter().for_each(|(sensor, seq)| {
            account.reading(*sensor, *seq);
        });
        account
    }

    const ALL: [(usize, Seq); 9] = [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4), (0, 5)];

    #[test]
    fn everything_once_is_exact() {
        let account = told(&ALL);
        assert!(account.is_complete(PUT));
        assert_eq!(account.close(PUT), Counts { delivered: 9, ..Counts::default() });
        assert!(account.close(PUT).is_exact());
    }

    #[test]
    fn a_missing_number_is_found() {
        let middle: Vec<_> = ALL.into_iter().filter(|reading| *reading != (1, 2)).collect();
        let last: Vec<_> = ALL.into_iter().filter(|reading| *reading != (0, 5)).collect();
        for readings in [middle, last] {
            let account = told(&readings);
            assert!(!account.is_complete(PUT));
            assert_eq!(account.close(PUT), Counts { delivered: 8, missing: 1, ..Counts::default() });
            assert!(!account.close(PUT).is_exact());
        }
    }

    #[test]
    fn a_duplicate_is_found_and_hides_nothing() {
        let mut readings: Vec<_> = ALL.into_iter().filter(|reading| *reading != (1, 2)).collect();
        readings.push((0, 3));
        let counts = told(&readings).close(PUT);
        assert_eq!(counts, Counts { delivered: 8, duplicates: 1, missing: 1, ..Counts::default() });
    }

    #[test]
    fn a_late_number_is_out_of_order_and_not_missing() {
        let counts = told(&[(0, 1), (0, 4), (0, 2), (0, 3), (0, 5), (1, 1), (1, 2), (1, 3), (1, 4)]).close(PUT);
        assert_eq!(counts, Counts { delivered: 9, out_of_order: 2, ..Counts::default() });
        assert!(!counts.is_exact());
    }

    #[test]
    fn a_told_gap_accounts_for_its_numbers() {
        let mut account = told(&[(0, 1), (1, 1), (1, 2), (1, 3), (1, 4)]);
        account.gap(0, 2, 4, GapReason::Relay);
        account.reading(0, 5);
        assert!(account.is_complete(PUT));
        assert_eq!(account.close(PUT), Counts { delivered: 6, gaps: [0, 3, 0, 0], ..Counts::default() });
        // Told late it is as good; told of what came it is not.
        let mut late = told(&[(0, 1), (0, 5), (1, 1), (1, 2), (1, 3), (1, 4)]);
        late.gap(0, 1, 4, GapReason::Link);
        assert_eq!(late.close(PUT), Counts { delivered: 6, gaps: [0, 0, 3, 0], duplicates: 1, ..Counts::default() });
    }

    #[test]
    fn a_gap_without_an_end_accounts_for_nothing() {
        let mut account = told(&[(0, 1)]);
        account.gap(0, 2, Seq::MAX, GapReason::Link);
        assert_eq!(account.close(PUT), Counts { delivered: 1, missing: 8, ..Counts::default() });
    }

    #[test]
    fn what_nobody_offered_is_found() {
        let mut readings = ALL.to_vec();
        readings.extend([(0, 6), (2, 1)]);
        assert_eq!(told(&readings).close(PUT), Counts { delivered: 10, unknown: 2, ..Counts::default() });
    }

    #[test]
    fn a_new_span_knows_nothing_of_the_one_before() {
        let mut account = told(&[(0, 1), (1, 1)]);
        account.restart(5);
        assert!(!account.reading(0, 2), "it is of the warm-up");
        account.gap(0, 1, 3, GapReason::Overflow);
        assert!(account.reading(1, 3) && account.reading(0, 4) && account.reading(1, 4) && account.reading(0, 5));
        assert_eq!(account.close(PUT), Counts { delivered: 4, ..Counts::default() });
    }
}

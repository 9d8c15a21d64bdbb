//! A reader that holds all it is handed against what a stranger expects: order, no gap untold, no duplicate, exact
//! accounts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use senza_core::Seq;
use senza_core::subscription::{Contract, Item, Ledger, Overflow, Start, Subscription, Taken};

use crate::node::{HISTORY, Name, Node, name};

/// Longer than any schedule: only a wake-up ends such a wait.
pub(crate) const FOREVER: Duration = Duration::from_secs(3600);

/// What a reader saw of one series.
#[derive(Debug, Default)]
struct Seen {
    /// The number that comes next, once one came.
    next: Option<Seq>,
    /// The counter of its starts, and the last of them.
    start: Option<(Seq, Seq)>,
    starts: u64,
    live: bool,
}

pub(crate) struct Reader {
    node: Arc<Node>,
    pub(crate) subscription: Arc<Subscription>,
    taken: Taken,
    series: BTreeMap<Name, Seen>,
    /// Whether nothing was put before it came.
    from_first: bool,
    /// Series that it does not want all the time: what was put meanwhile is missing and not told.
    pub(crate) may_miss: fn(&Name) -> bool,
    /// Whether a sensor may end before its start is copied: what came live then has none.
    pub(crate) may_end: bool,
    /// Readings handed out, starts included.
    pub(crate) delivered: u64,
    /// Numbers in told gaps.
    pub(crate) lost: u64,
    /// Readings marked as following some that the contract left out.
    pub(crate) after_skip: u64,
}

impl Reader {
    pub(crate) fn new(node: &Arc<Node>, subscription: &Arc<Subscription>, from_first: bool) -> Self {
        Self {
            node: node.clone(),
            subscription: subscription.clone(),
            taken: Taken::default(),
            series: BTreeMap::new(),
            from_first,
            may_miss: |_| false,
            may_end: false,
            delivered: 0,
            lost: 0,
            after_skip: 0,
        }
    }

    /// Takes what is there, and checks it. Answers false at the end.
    pub(crate) fn take(&mut self, max: usize) -> bool {
        let more = self.subscription.take(&mut self.taken, max);
        self.check();
        more
    }

    /// Takes and checks until nothing is there.
    pub(crate) fn read_what_is_there(&mut self) {
        loop {
            self.subscription.take(&mut self.taken, usize::MAX);
            if self.taken.is_empty() {
                return;
            }
            self.check();
        }
    }

    /// Waits, takes and checks until the end.
    pub(crate) fn read_to_end(&mut self, max: usize) {
        while self.subscription.wait(FOREVER, false) {
            self.take(max);
        }
        while self.take(max) {}
    }

    /// Waits, takes and checks until that many numbers of all series are accounted for, or the end.
    pub(crate) fn read_numbers(&mut self, numbers: u64, max: usize) {
        while self.numbers() < numbers && self.subscription.wait(FOREVER, false) {
            self.take(max);
        }
    }

    /// [`read_numbers`](Self::read_numbers), as a future.
    pub(crate) async fn read_numbers_later(&mut self, numbers: u64, max: usize) {
        while self.numbers() < numbers {
            let Self { subscription, taken, .. } = self;
            let more = std::future::poll_fn(|context| subscription.poll_take(context, taken, max)).await;
            self.check();
            if !more {
                return;
            }
        }
    }

    /// The sum of the last numbers seen of every series.
    fn numbers(&self) -> u64 {
        self.series.values().filter_map(|seen| seen.next).map(|next| next - 1).sum()
    }

    /// Asserts that every series was accounted for to its end, where all match.
    pub(crate) fn assert_saw_all(&self) {
        let may_come_late = !self.from_first;
        for (name, count) in self.node.counts() {
            let next = self.series.get(&name).and_then(|seen| seen.next);
            let is_whole = next == Some(count + 1) || (may_come_late && next.is_none());
            assert!(is_whole, "{name:?} took {count}, and was seen up to {next:?}");
        }
    }

    /// Asserts that the account fits what was seen, after all was read. `all_told`: the contract leaves nothing out.
    pub(crate) fn assert_account(&self, all_told: bool) {
        let ledger = exact(&self.subscription);
        assert_eq!((ledger.delivered, ledger.queued), (self.delivered, 0), "{ledger:?}");
        assert!(ledger.dropped <= self.lost, "an untold loss: {ledger:?}, told {}", self.lost);
        if all_told {
            assert_eq!((ledger.dropped, ledger.conflated, ledger.filtered), (self.lost, 0, 0));
        }
    }

    fn check(&mut self) {
        exact(&self.subscription);
        let mut taken = std::mem::take(&mut self.taken);
        taken.drain(|item| self.see(&item));
        self.taken = taken;
    }

    fn see(&mut self, item: &Item<'_>) {
        let key = name(item.series);
        let told = format!("{key:?} of {:?} behind {:?}", item.row, self.series.get(&key));
        let seen = self.series.entry(key.clone()).or_default();
        let left_out = item.row.is_after_skip();
        assert!(!(left_out && item.series.lossless), "a lossless series has no reading left out: {told}");
        let contract = self.subscription.contract();
        // Who comes in the middle of a series begins anywhere in it, where what is kept was not asked for.
        // A start that there was no room for gives way to what came live.
        let from_kept = contract.start != Start::Live && contract.queue_max > 2 && !self.may_end;
        let first = seen.next.or((self.from_first || from_kept).then_some(1));
        let may_miss = left_out || (self.may_miss)(&key);
        let fits = |seq: Seq| first.is_none_or(|next| seq == next || (may_miss && seq > next));
        if let Some(_reason) = item.row.gap_reason() {
            let (from, to) = (item.row.seq, item.row.slot);
            // A start that was dropped need not be the first reading.
            let begins = fits(from) || (seen.next.is_none() && contract.start != Start::Live);
            assert!(begins && from <= to && to <= self.node.count(&key), "a gap that is none: {told}");
            seen.next = Some(to + 1);
            seen.live = true;
            self.lost += to + 1 - from;
            return;
        }
        let seq = item.row.seq;
        match item.position {
            Some(position) => {
                // Of several each leads to its own number, and the last one to what is live.
                let follows = seen.start.is_none_or(|(at, last)| at == last && last < seq);
                assert!(!seen.live && follows && seq <= position, "a start out of place: {told}");
                seen.start = Some((position, seq));
                seen.starts += 1;
                seen.next = Some(position + 1);
            }
            None => {
                assert!(fits(seq), "a gap or a duplicate: {told}");
                if leaves_nothing_out(&contract) {
                    assert_starts_whole(contract.start, seen, &told);
                }
                seen.live = true;
                seen.next = Some(seq + 1);
            }
        }
        self.delivered += 1;
        self.after_skip += u64::from(left_out);
        assert_eq!(item.value, self.node.value(&key, seq), "another reading's value: {told}");
    }
}

/// Whether all readings are delivered or told lost.
pub(crate) fn leaves_nothing_out(contract: &Contract) -> bool {
    contract.want.is_every() && contract.overflow != Overflow::Conflate
}

/// Asserts that a series that goes on live began with as many readings as were asked for and kept.
fn assert_starts_whole(start: Start, seen: &Seen, told: &str) {
    let Some((position, _)) = seen.start else { return };
    let whole = match start {
        Start::Last(last) => position.min(last.into()).min(HISTORY as u64),
        Start::Since(_) => position.min(HISTORY as u64),
        _ => return,
    };
    assert_eq!(seen.starts, whole, "a start that is not whole: {told}");
}

/// The account, which adds up at any moment.
pub(crate) fn exact(subscription: &Subscription) -> Ledger {
    let ledger = subscription.ledger();
    assert!(ledger.is_exact(), "an account that does not add up: {ledger:?}");
    ledger
}

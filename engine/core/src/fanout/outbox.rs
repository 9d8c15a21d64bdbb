//! What a run of readings delivers, gathered so that every queue is locked once per run.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::reading::{Micros, Value};
use crate::row::Row;
use crate::subscription::Subscription;

/// Queues gathered for at a time; where a run delivers to more, all are flushed early, which keeps the order of each.
const QUEUES_MAX: usize = 4096;
/// Parcels looked at before the index is asked: those of one series stand side by side.
const NEAR: usize = 3;

/// Gathers rows by queue. Its buffers are used again: keep one per writer.
#[derive(Debug, Default)]
pub struct Outbox {
    parcels: Vec<Parcel>,
    /// By address of the queue, where there are more than a few.
    index: HashMap<usize, usize, RandomState>,
    /// How many parcels are in use.
    used: usize,
    /// The parcel added to last: mostly the next one too.
    last: usize,
    now: Micros,
}

#[derive(Debug, Default)]
struct Parcel {
    to: Option<Arc<Subscription>>,
    rows: Vec<Row>,
    values: Vec<Value>,
}

impl Outbox {
    /// Begins with a time that never goes back, by which contracts are kept.
    pub fn begin(&mut self, now: Micros) {
        self.now = now;
    }

    /// Adds one row to what goes to a queue.
    pub fn add(&mut self, to: &Arc<Subscription>, row: Row, value: &Value) {
        self.add_row(to, row, Some(value));
    }

    /// [`add`](Self::add), with the value only where it does not fit the row.
    pub fn add_row(&mut self, to: &Arc<Subscription>, row: Row, value: Option<&Value>) {
        let at = self.parcel(to);
        let parcel = &mut self.parcels[at];
        parcel.rows.push(row);
        if row.has_value_beside() {
            parcel.values.extend(value.cloned());
        }
    }

    /// Hands everything over.
    pub fn flush(&mut self) {
        for parcel in &mut self.parcels[..self.used] {
            parcel.flush(self.now);
        }
        self.index.clear();
        (self.used, self.last) = (0, 0);
    }

    fn parcel(&mut self, to: &Arc<Subscription>) -> usize {
        // The next series has the same queues as the one before, or others altogether.
        let near = (self.last..self.used).take(NEAR).chain(0..self.used.min(1));
        for at in near {
            if self.parcels[at].to.as_ref().is_some_and(|known| Arc::ptr_eq(known, to)) {
                self.last = at;
                return at;
            }
        }
        let address = Arc::as_ptr(to) as usize;
        if let Some(at) = self.index.get(&address) {
            self.last = *at;
            return *at;
        }
        if self.used == QUEUES_MAX {
            self.flush();
        }
        if self.used == self.parcels.len() {
            self.parcels.push(Parcel::default());
        }
        self.last = self.used;
        self.parcels[self.last].to = Some(to.clone());
        self.index.insert(address, self.last);
        self.used += 1;
        self.last
    }
}

impl Parcel {
    fn flush(&mut self, now: Micros) {
        if let Some(to) = self.to.take() {
            to.offer(&self.rows, &mut self.values, now);
        }
        self.rows.clear();
        self.values.clear();
    }
}

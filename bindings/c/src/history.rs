//! Readings of a span of time, of any sensor of the cluster.

use std::time::Duration;

use senza::{AttributeId, Question, SensorId};

use crate::batch::{ITEMS_MAX, senza_batch};
use crate::border;
use crate::error::{Outcome, refuse, senza_code};
use crate::node::{self, senza_node};
use crate::put::now_or;
use crate::text::{self, senza_str};

/// Which readings of an attribute are asked for. All zeros (SENZA_ZERO) is all that are kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct senza_range {
    /// Those read at this time or later, microseconds since 1970; 0: from the oldest.
    pub since_us: i64,
    /// Those read at this time or earlier, microseconds since 1970, or SENZA_NOW; 0: to the newest.
    pub until_us: i64,
    /// At most so many, the newest of them: 1 to 1,000,000; 0 is 1,000,000.
    pub last: u32,
    /// How long the owner has to answer: 1 to 15,000 milliseconds; 0 is 5,000.
    pub timeout_ms: u32,
}

/// How long an owner has to answer where nothing is said.
const ANSWER_MS: u32 = 5_000;
/// Longest wait: senza_node_stop() waits as long for calls that are under way.
const ANSWER_MAX_MS: u32 = 15_000;

/// The readings of an attribute within `range`, oldest first, of any sensor of the cluster: another node's are asked of
/// their owner, which keeps `history_max` of each attribute (senza_config). `range` may be NULL: all that are kept. By
/// the time when they were read, both ends included. Blocks until the owner answered, then SENZA_TIMEOUT.
///
/// Another node answers by one message: the newest 65,535 at most, and 4 MiB. Older ones are asked for by another call,
/// with the first item's time as `until_us`: others may share it, and by `seq` those that came already are known.
///
/// SENZA_NOT_FOUND where nobody owns the sensor, SENZA_ARGUMENT for a range that breaks its rule, which is named; no
/// items where it has no such readings. Thread-safe; a batch is for one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn senza_history_range(
    node: senza_node,
    sensor: senza_str,
    attribute: senza_str,
    range: *const senza_range,
    batch: *mut senza_batch,
) -> senza_code {
    border::enter(|| {
        // SAFETY: the header's rule of pointers.
        let batch = unsafe { border::kept(batch, "batch") }?;
        // SAFETY: the header's rule of pointers.
        let sensor = SensorId::new(unsafe { text::sensor(sensor) }?)?;
        // SAFETY: the header's rule of pointers.
        let attribute = AttributeId::new(unsafe { text::attribute(attribute) }?)?;
        // SAFETY: the header's rule of pointers.
        let range = unsafe { border::given_or_null(range, "range") }?;
        let range = range.copied().unwrap_or(senza_range { since_us: 0, until_us: 0, last: 0, timeout_ms: 0 });
        let (question, timeout) = range.question(sensor, attribute)?;
        let running = node::node_to_wait_with(node)?;
        batch.fill(|pile| {
            let name = question.sensor.clone();
            let Some(readings) = running.node.ask(question, timeout)? else {
                let rule = format!("the owner of {name} did not answer within {} ms", timeout.as_millis());
                return Err(refuse(senza_code::SENZA_TIMEOUT, rule));
            };
            pile.add_readings(&readings);
            Ok(())
        })
    })
}

impl senza_range {
    /// What is asked of the owner, and for how long it is waited for.
    fn question(&self, sensor: SensorId, attribute: AttributeId) -> Outcome<(Question, Duration)> {
        border::check_count(self.last as usize, ITEMS_MAX, "range.last")?;
        if self.timeout_ms > ANSWER_MAX_MS {
            let rule = format!("range.timeout_ms = {}: must be 1 to {ANSWER_MAX_MS}, or 0", self.timeout_ms);
            return Err(refuse(senza_code::SENZA_ARGUMENT, rule));
        }
        let from = if self.since_us == 0 { i64::MIN } else { self.since_us };
        let to = if self.until_us == 0 { i64::MAX } else { now_or(self.until_us) };
        if from > to {
            let rule = format!("range: since_us = {from} is later than until_us = {to}");
            return Err(refuse(senza_code::SENZA_ARGUMENT, rule));
        }
        let last = if self.last == 0 { ITEMS_MAX as u32 } else { self.last };
        let timeout_ms = if self.timeout_ms == 0 { ANSWER_MS } else { self.timeout_ms };
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        Ok((Question { sensor, attribute, from, to, last }, timeout))
    }
}

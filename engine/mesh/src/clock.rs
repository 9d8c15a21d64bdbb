//! Time as the engine sees it: real under a node, virtual under the simulation.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use senza_core::Micros;

/// The time of day, and a time that never goes back. What is told to others or kept with readings is of the first; what
/// is waited for is of the second, since a clock that is set must not silence a node.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970. May jump, both ways.
    fn now(&self) -> Micros;

    /// Microseconds since some moment of this process; rises evenly.
    fn steady(&self) -> Micros;
}

/// The machine's clock. The one place that reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

/// When this process first asked.
static BEGIN: OnceLock<Instant> = OnceLock::new();

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one wall clock read")]
    fn now(&self) -> Micros {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the one read of the time that never goes back")]
    fn steady(&self) -> Micros {
        let since = BEGIN.get_or_init(Instant::now).elapsed();
        // From a second on: 0 stands for never.
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX - 1_000_000) + 1_000_000
    }
}

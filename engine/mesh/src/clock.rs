//! Time as the engine sees it: real under a node, virtual under the simulation.

use std::sync::Arc;

use senza_core::Micros;

/// A source of UTC microseconds.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn now(&self) -> Micros;
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

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one wall clock read")]
    fn now(&self) -> Micros {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

//! The network seam of senza, and the engine behind it.

pub mod clock;
pub mod cluster;
pub mod counters;
pub mod engine;
pub mod handle;
pub mod ownership;
pub mod relay;
pub mod sim;
pub mod transport;

//! The network seam of senza, and the engine behind it.
//!
//! In order of reading:
//!
//! - [`transport`]: the seam: opaque messages, hints of who is there.
//! - [`clock`]: time, real or virtual.
//! - [`latency`]: how long readings take, and by how much clocks differ.
//! - [`ownership`]: what to say of one's own sensors, what to make of what others say.
//! - [`relay`]: readings to whoever asked, and nothing else.
//! - [`engine`]: joins these with the table, the directory and the fanout.
//! - [`handle`]: a registered sensor, a subscription.
//! - [`driver`]: threads that drive an engine in real time.
//! - [`network`], [`sim`]: a simulated network, and a cluster of engines on it in virtual time.
//! - [`followed`]: what plain clients follow, as filters.
//! - `zenoh_transport`, `zenoh_plain`, `zenoh_follow`, `zenoh_tap`, `zenoh_client` (feature `zenoh`): the seam over
//!   Zenoh, the key space that plain clients see, what they follow of it, and such a client.

pub mod clock;
pub mod counters;
pub mod driver;
pub mod engine;
pub mod followed;
pub mod handle;
pub mod latency;
pub mod network;
pub mod ownership;
pub mod relay;
pub mod sim;
pub mod transport;
#[cfg(feature = "zenoh")]
pub mod zenoh_client;
#[cfg(feature = "zenoh")]
pub mod zenoh_follow;
#[cfg(feature = "zenoh")]
pub mod zenoh_plain;
#[cfg(feature = "zenoh")]
mod zenoh_tap;
#[cfg(feature = "zenoh")]
pub mod zenoh_transport;

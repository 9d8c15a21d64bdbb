//! senza for C and C++: the functions and types of `include/senza.h`, which is generated from here and checked in.
//!
//! A binding checks, calls, and maps errors; what a call means is the engine's. In order of reading:
//!
//! - `error`: codes, and this thread's last message.
//! - `border`: where a call comes in, and where its pointers are followed.
//! - `handles`: numbers for what lives on this side.
//! - `text`, `value`, `contract`: what goes in and out.
//! - `batch`: the memory of answers.
//! - `node`, `sensors`, `put`, `directory`, `history`, `subscriptions`, `events`, `latency`,
//!   `log`: the functions.

#![allow(non_camel_case_types, reason = "the names are C's")]
#![allow(clippy::missing_safety_doc, reason = "the header says it once, for all functions")]

// In the order of the header.
mod error;

mod text;

mod value;

mod node;

mod sensors;

mod put;

mod directory;

mod history;

mod contract;

mod subscriptions;

mod events;

mod latency;

mod log;

mod batch;

mod border;
mod handles;

pub use batch::*;
pub use contract::*;
pub use directory::*;
pub use error::*;
pub use events::*;
pub use history::*;
pub use latency::*;
pub use log::*;
pub use node::*;
pub use put::*;
pub use sensors::*;
pub use subscriptions::*;
pub use text::*;
pub use value::*;

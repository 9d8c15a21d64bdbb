//! Tests of the whole. `tests/run` builds what they need and runs them.
//!
//! - `conformance`: one suite for every transport.
//! - `embedded`: nodes in this process, through the library.
//! - `processes`: nodes as processes, through the command line and plain clients.
//! - `outages`: nodes as processes that stand still, die, or are cut from each other by the kernel.
//! - `top`: what clients see of contracts, ledgers and demand.
//! - `following`: what plain clients follow is published, and nothing else.
//! - `load`: the load generator, through the command line.
//! - `namespaces`: a network of the kernel's, for those.
//! - `python/`: a client in another language, with no code of ours; run by `tests/run`.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

mod conformance;
mod embedded;
mod following;
mod load;
mod namespaces;
mod outages;
mod processes;
mod support;
mod top;

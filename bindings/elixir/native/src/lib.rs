//! `Senza.Native`: what of senza for Elixir is compiled.
//!
//! Every function checks what comes in, calls the engine and maps what comes out; the engine alone decides. What may
//! take longer than a millisecond runs on a dirty scheduler or on the courier's thread, which `lib/senza/native.ex`
//! says of each. A panic becomes the exception `:nif_panicked`.

mod atoms;
mod batch;
mod contract;
mod courier;
mod demand;
mod events;
mod faults;
mod feed;
mod heals;
mod history;
mod latency;
mod listing;
mod log;
mod node;
mod put;
mod reading;
mod reaper;
mod registrations;
mod registry;
mod shadow;
mod subscription;
mod value;

rustler::init!("Elixir.Senza.Native");

//! `senza._native`: what of senza's Python package is compiled.
//!
//! Everything here checks what comes in, calls the engine and maps what comes out; the engine alone decides. Classes
//! that a Python class of the package extends say so. No thread of the engine ever enters the interpreter: it rings a
//! bell that an event loop or a Python thread listens to, so that no lock of the engine is held while the
//! interpreter's is waited for.

mod bell;
mod columns;
mod contract;
mod demands;
mod errors;
mod events;
mod heals;
mod latency;
mod log;
mod node;
mod process;
mod reader;
mod sensor;
mod series;
mod times;
mod value;

/// The compiled part of senza.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::bell::Bell;
    #[pymodule_export]
    use super::demands::Demands;
    #[pymodule_export]
    use super::events::Events;
    #[pymodule_export]
    use super::log::Log;
    #[pymodule_export]
    use super::node::{Cursor, Listed, Node, Whereis};
    #[pymodule_export]
    use super::process::forked;
    #[pymodule_export]
    use super::reader::{Reader, Source};
    #[pymodule_export]
    use super::sensor::Sensor;
    #[pymodule_export]
    use super::series::Series;
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}

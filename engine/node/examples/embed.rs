//! Two nodes in one process: a sensor on one, a subscriber on the other. `cargo run --example embed`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use senza::{Config, Contract, Filter, Node, NodeName, Sensor, Start, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = Node::start(Config::loopback(NodeName::new("a")?))?;
    let b = Node::start(Config { connect: a.listening().to_vec(), ..Config::loopback(NodeName::new("b")?) })?;

    let watch = a.register(&Sensor::new("watch 1")?)?; // dropping it unregisters
    let contract = Contract { start: Start::Latest, ..Contract::default() };
    let mut reader = b.subscribe(&Filter::pattern("watch%20$*/pulse")?, contract)?;
    for pulse in 70..75 {
        watch.put("pulse", Value::I64(pulse))?;
    }
    // Readings and told gaps, in order; the subscriber is a Stream too.
    while let Some(delivery) = reader.recv_timeout(Duration::from_secs(1)) {
        println!("{delivery:?}");
    }
    println!("b sees it at: {:?}", b.whereis("watch 1")); // Local, Remote { node, epoch } or NotFound
    Ok(())
}

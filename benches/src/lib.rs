//! Where the numbers live: benchmarks in `benches/`, their results in `results/<machine>/<date>.json`. A result is added,
//! never edited; it names the rivals of the same run, the shape of the load and the date.

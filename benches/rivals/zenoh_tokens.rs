//! The obvious way over Zenoh, as a rival of ownership: one liveliness token per sensor.
//!
//! `cargo bench -p senza-benches --profile release --bench zenoh_tokens [-- <sensors>…]` prints one JSON object per
//! size: how fast tokens are declared, when a second session sees them all, what a third one that comes late costs,
//! how long the end of the first session takes to be told of all, and memory per token over both sessions. All
//! sessions are in one process on loopback, as in `ownership.rs`, its counterpart.
//!
//! It names no owner's epoch and orders no two claims; it needs no code of ours. A session can declare at most 65,535
//! key expressions to another, so that a size above that is refused here.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and reads the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use senza_benches::{free_endpoint, is_measured, numbers, resident_bytes, until};
use zenoh::Wait;
use zenoh::sample::SampleKind;
use zenoh::{Config, Session};

const SENSORS_MAX: usize = 60_000;

fn main() {
    let mut sizes: Vec<usize> = numbers().into_iter().map(|number| number as usize).collect();
    if !is_measured() {
        sizes = vec![100];
    } else if sizes.is_empty() {
        sizes = vec![1_000, 10_000];
    }
    let rows: Vec<String> = sizes.into_iter().map(run).collect();
    println!("[{}]", rows.join(",\n"));
}

fn run(count: usize) -> String {
    assert!(count <= SENSORS_MAX, "a session cannot declare so many");
    let endpoint = free_endpoint();
    let a = open(&endpoint, None);
    let b = open("tcp/127.0.0.1:0", Some(&endpoint));
    let (seen, _subscriber) = watch(&b);
    let keys: Vec<String> = (0..count).map(|number| format!("tokens/building%2Fsensor-{number:08}")).collect();
    let before = resident_bytes();
    let begin = Instant::now();
    let tokens: Vec<_> = keys.iter().map(|key| a.liveliness().declare_token(key).wait().expect("a token")).collect();
    let declared = begin.elapsed();
    assert!(until(|| seen.load(Ordering::Relaxed) == count), "b saw {} of {count}", seen.load(Ordering::Relaxed));
    let visible = begin.elapsed();
    let both = resident_bytes().saturating_sub(before);
    let begin = Instant::now();
    let c = open("tcp/127.0.0.1:0", Some(&endpoint));
    let (late, _subscriber) = watch(&c);
    assert!(until(|| late.load(Ordering::Relaxed) == count), "c saw {} of {count}", late.load(Ordering::Relaxed));
    let join = begin.elapsed();
    let begin = Instant::now();
    let closing = std::thread::spawn(move || a.close().wait());
    assert!(until(|| seen.load(Ordering::Relaxed) == 0), "b still saw {}", seen.load(Ordering::Relaxed));
    let death = begin.elapsed();
    closing.join().expect("the thread ends").expect("a closes");
    drop(tokens);
    format!(
        "{{\"sensors\":{count},\"declare_per_s\":{:.0},\"visible_s\":{:.3},\"join_s\":{:.3},\"death_ms\":{:.1},\
         \"bytes_per_sensor_both\":{:.0}}}",
        count as f64 / declared.as_secs_f64(),
        visible.as_secs_f64(),
        join.as_secs_f64(),
        death.as_secs_f64() * 1e3,
        both as f64 / count as f64,
    )
}

/// A peer that finds others by their endpoint alone.
fn open(listen: &str, connect: Option<&str>) -> Session {
    let mut config = Config::default();
    let connect: Vec<&str> = connect.into_iter().collect();
    for (path, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", format!("{:?}", [listen])),
        ("connect/endpoints", format!("{connect:?}")),
        ("scouting/multicast/enabled", "false".to_owned()),
    ] {
        config.insert_json5(path, &value).expect("a setting of Zenoh's");
    }
    zenoh::open(config).wait().expect("loopback has room for a session")
}

/// How many tokens a session sees, now and from now on.
fn watch(session: &Session) -> (Arc<AtomicUsize>, zenoh::pubsub::Subscriber<()>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let count = move |sample: zenoh::sample::Sample| match sample.kind() {
        SampleKind::Put => _ = counted.fetch_add(1, Ordering::Relaxed),
        SampleKind::Delete => _ = counted.fetch_sub(1, Ordering::Relaxed),
    };
    let subscriber = session.liveliness().declare_subscriber("tokens/**").history(true).callback(count).wait();
    (seen, subscriber.expect("a subscriber"))
}

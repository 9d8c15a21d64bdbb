//! Damages bytes at random: what a fuzzer does, without one, on any toolchain, the same for the same seed.
//!
//! `HOSTILE_CASES=1000000` tries so many cases; `HOSTILE_SEED=17` tries one. A failure prints the command of its seed.
//! Each case starts from its seed and the whole samples alone, so that one case can be run again by itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// SplitMix64: short, and good enough to choose with.
pub(crate) struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Runs every case of a test and tells how to run a failing one again.
pub(crate) fn run(package: &str, test: &str, cases: u64, case: impl Fn(&mut Random)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("HOSTILE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HOSTILE_CASES").unwrap_or(cases),
    };
    for seed in seeds {
        // Cases that follow each other start far apart.
        let mut random = Random::new(seed.wrapping_mul(0xd6e8_feb8_6659_fd93));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&mut random))) {
            eprintln!("again: HOSTILE_SEED={seed} cargo test -p {package} --test hostile {test}");
            resume_unwind(panic);
        }
    }
}

/// One of the samples, damaged up to six times; now and then left whole.
pub(crate) fn damaged(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(samples).clone();
    for _ in 0..random.below(7) {
        damage(&mut bytes, samples, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, samples: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = random.below(bytes.len());
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        // Length fields of every width, as what they never should be.
        3 | 4 => {
            let width = *random.pick(&[1, 2, 4, 8]);
            let length = bytes.len() as u64;
            let wrong = [0, 1, length, length - 1, length + 1, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 63, u64::MAX];
            let wrong = random.pick(&wrong).to_le_bytes();
            bytes.iter_mut().skip(at).take(width).zip(wrong).for_each(|(byte, wrong)| *byte = wrong);
        }
        // The head of this one and the tail of another.
        5 => {
            let other = random.pick(samples);
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        // A piece of another in the middle, or a piece once more.
        6 => {
            let other = if random.below(2) == 0 { bytes.clone() } else { random.pick(samples).clone() };
            let from = random.below(other.len() + 1);
            let to = (from + random.below(40)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let to = (at + random.below(12)).min(bytes.len());
            bytes.drain(at..to);
        }
    }
}

/// What a call may hold in memory at once, for so many bytes of input.
pub(crate) fn assert_small<T>(input: usize, times: usize, call: impl FnOnce() -> T) -> T {
    const FREE: u64 = 1024;
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(call()));
    let allowed = FREE + (input * times) as u64;
    assert!(used.bytes_max <= allowed, "{} bytes were allocated for {input}, at most {allowed} may be", used.bytes_max);
    result.expect("the call was made")
}

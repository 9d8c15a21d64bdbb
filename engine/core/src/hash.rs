//! Hashes that two nodes must agree on: xxHash64 with seed 0, and what is built on it.
//!
//! In memory the engine hashes with a seeded function, since ids come from devices; these are for the wire.
//! Source: the xxHash fast digest algorithm specification, version 0.2.0.

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// xxHash64 of the bytes with seed 0. No allocation; about 10 ns for a typical id.
pub fn xxh64(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    let (mut hash, rest) = if bytes.len() >= 32 { stripes(bytes) } else { (PRIME_5, bytes) };
    hash = hash.wrapping_add(length);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIME_1);
        hash = hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIME_5);
        hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
    }
    avalanche(hash)
}

/// The partition, one of 256, that a sensor id belongs to on every node: the top byte of its hash.
pub fn partition_of(sensor: &str) -> u8 {
    (xxh64(sensor.as_bytes()) >> 56) as u8
}

/// What one claim adds to the order-free sum of its partition: a hash over id, epoch and type, the first and last
/// given as their [`xxh64`].
///
/// The sums of two different sets are equal by chance only; a set's sum does not depend on the order of its changes.
pub fn claim_hash(sensor: u64, epoch: u64, sensor_type: u64) -> u64 {
    let epoch = avalanche(epoch.wrapping_add(PRIME_3)).rotate_left(17);
    avalanche(sensor.wrapping_add(epoch).wrapping_add(sensor_type.rotate_left(31)))
}

fn stripes(bytes: &[u8]) -> (u64, &[u8]) {
    let mut lanes = [PRIME_1.wrapping_add(PRIME_2), PRIME_2, 0, 0u64.wrapping_sub(PRIME_1)];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    let mut hash =
        a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
    for lane in lanes {
        hash = (hash ^ round(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    (hash, rest)
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published vectors of xxHash64, seed 0.
    #[test]
    fn xxh64_matches_the_published_vectors() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xFBCE_A83C_8A37_8BF1);
    }

    #[test]
    fn partitions_are_even() {
        let mut counts = [0u32; 256];
        for i in 0..25_600 {
            counts[partition_of(&format!("sensor-{i}")) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
    }

    #[test]
    fn claim_hash_tells_all_three_apart() {
        let hash =
            |sensor: &str, epoch, kind: &str| claim_hash(xxh64(sensor.as_bytes()), epoch, xxh64(kind.as_bytes()));
        let base = hash("s", 1, "t");
        assert_ne!(base, hash("s2", 1, "t"));
        assert_ne!(base, hash("s", 2, "t"));
        assert_ne!(base, hash("s", 1, "u"));
    }
}

//! The hash Java's clients spread keys by.

/// The hash of a key, as `Utils.murmur2` gives it.
pub(crate) fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut h = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * at);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

/// The partition of a key.
pub(crate) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's and kafka-python's partitioners said of many keys; `tests/tools/partitions.rs`
    /// asks them again.
    const SAID: &str = include_str!("../../tests/golden/partitions.txt");

    #[test]
    fn keys_lie_where_javas_and_pythons_partitioners_put_them() {
        assert!(SAID.lines().count() > 500);
        for line in SAID.lines() {
            let (key, places) = line.split_once(' ').unwrap();
            let bytes = (0..key.len()).step_by(2);
            let bytes = bytes.map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap());
            let key: Vec<u8> = bytes.collect();
            let ours = [3, 7, 50, 10_007].map(|count| partition_of(&key, count).to_string());
            assert_eq!(ours.join(" "), places, "{key:?}");
        }
    }

    #[test]
    fn the_hash_is_javas() {
        // The values of Kafka's own test of it (UtilsTest.testMurmur2).
        let known: [(&[u8], i32); 6] = [
            (b"21", -973932308),
            (b"foobar", -790332482),
            (b"a-little-bit-long-string", -985981536),
            (b"a-little-bit-longer-string", -1486304829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58897971,
            ),
            (b"abc", 479470107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key), hash);
        }
    }
}

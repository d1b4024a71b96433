//! Randomness from a seed, so that every run that used it can be replayed.

use std::sync::atomic::{AtomicU64, Ordering};

/// A seeded source (SplitMix64), shared by reference. Not for secrets.
#[derive(Debug)]
pub struct Chance(AtomicU64);

impl Chance {
    pub fn seeded(seed: u64) -> Self {
        Chance(AtomicU64::new(seed))
    }

    /// Seeded by the kernel's random pool.
    pub fn from_kernel() -> Self {
        let mut seed = [0; 8];
        fill_from_kernel(&mut seed);
        Chance::seeded(u64::from_le_bytes(seed))
    }

    pub fn next_u64(&self) -> u64 {
        let mut z = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 where the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        out
    }
}

/// Bytes fit for secrets and for ids that must be unique: straight from the kernel.
pub fn fill_from_kernel(out: &mut [u8]) {
    let mut filled = 0;
    while filled < out.len() {
        match rustix::rand::getrandom(&mut out[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(got) => filled += got,
            Err(rustix::io::Errno::INTR) => {}
            Err(refused) => panic!("the kernel gives no random bytes: {refused}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let (a, b) = (Chance::seeded(7), Chance::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Chance::seeded(7).next_u64(), Chance::seeded(8).next_u64());
    }
}

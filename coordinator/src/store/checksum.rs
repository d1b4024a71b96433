//! Adler-32, the checksum of both kinds of file.

/// The largest prime below 65536.
const MODULUS: u32 = 65_521;
/// So many bytes can be summed before a sum of 32 bits might overflow.
const RUN: usize = 5_552;

/// A running Adler-32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adler {
    a: u32,
    b: u32,
}

impl Adler {
    pub(crate) fn new() -> Self {
        Adler { a: 1, b: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(RUN) {
            // None of these sums wraps: a run is too short. Looked at one by one they cost three times
            // as much.
            let mut blocks = run.chunks_exact(16);
            for block in &mut blocks {
                // b grows by sixteen times a, and by each byte as often as it stays in a.
                let (mut sum, mut weighted) = (0_u32, 0_u32);
                for (byte, weight) in block.iter().zip((1..=16_u32).rev()) {
                    sum = sum.wrapping_add(u32::from(*byte));
                    weighted = weighted.wrapping_add(u32::from(*byte).wrapping_mul(weight));
                }
                let grown = self.a.wrapping_mul(16).wrapping_add(weighted);
                self.b = self.b.wrapping_add(grown);
                self.a = self.a.wrapping_add(sum);
            }
            for byte in blocks.remainder() {
                self.a += u32::from(*byte);
                self.b += self.a;
            }
            self.a %= MODULUS;
            self.b %= MODULUS;
        }
    }

    /// As Java's `getValue` gives it, in a long.
    pub(crate) fn value(self) -> i64 {
        i64::from((self.b << 16) | self.a)
    }
}

pub(crate) fn adler(bytes: &[u8]) -> i64 {
    let mut sum = Adler::new();
    sum.update(bytes);
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        assert_eq!(adler(b""), 1);
        assert_eq!(adler(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler(&[0xff; 100_000]), naive(&[0xff; 100_000]));
    }

    fn naive(bytes: &[u8]) -> i64 {
        let (mut a, mut b) = (1_u64, 0_u64);
        for byte in bytes {
            a = (a + u64::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        ((b << 16) | a).cast_signed()
    }
}

//! Snappy as Java clients frame it (xerial), and bare as some others send it.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | i32 version | i32 lowest reader | (i32 length, snappy block)…
//! ```

use bytes::{Buf, Bytes};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const HEADER_BYTES: usize = 16;
/// What Java's writer puts into one block.
const BLOCK_BYTES: usize = 32 << 10;
/// A snappy block cannot grow by more than this: three bytes copy 64. What claims more is lying,
/// so that its claim never becomes an allocation.
const GROWTH_MAX: usize = 22;

pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder
            .compress(block, &mut out[at + 4..])
            .map_err(|_| "snappy gave up")?;
        let claim = i32::try_from(len).map_err(|_| "snappy block is too long")?;
        out[at..at + 4].copy_from_slice(&claim.to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

pub(crate) struct Reader {
    input: Bytes,
    framed: bool,
    block: Vec<u8>,
    taken: usize,
}

impl Reader {
    pub(crate) fn open(mut input: Bytes) -> Result<Self, &'static str> {
        let framed = input.starts_with(MAGIC);
        if framed {
            if input.len() < HEADER_BYTES {
                return Err("snappy header is cut");
            }
            input.advance(HEADER_BYTES);
        } else if input.is_empty() {
            return Err("snappy stream is empty");
        }
        Ok(Reader {
            input,
            framed,
            block: Vec::new(),
            taken: 0,
        })
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, &'static str> {
        while self.taken == self.block.len() {
            if self.input.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let part = &self.block[self.taken..];
        let len = part.len().min(out.len());
        out[..len].copy_from_slice(&part[..len]);
        self.taken += len;
        Ok(len)
    }

    fn next_block(&mut self) -> Result<(), &'static str> {
        let packed = if self.framed {
            self.cut_block()?
        } else {
            self.input.split_off(0)
        };
        let claim = snap::raw::decompress_len(&packed).map_err(|_| "not a snappy block")?;
        if claim > packed.len().saturating_mul(GROWTH_MAX) {
            return Err("snappy block claims more than it can hold");
        }
        self.block.resize(claim, 0);
        self.taken = 0;
        let len = snap::raw::Decoder::new()
            .decompress(&packed, &mut self.block)
            .map_err(|_| "not a snappy block")?;
        self.block.truncate(len);
        Ok(())
    }

    fn cut_block(&mut self) -> Result<Bytes, &'static str> {
        // Streams one behind the other: the next header is where a length would be.
        while self.input.starts_with(MAGIC) {
            if self.input.len() < HEADER_BYTES {
                return Err("snappy header is cut");
            }
            self.input.advance(HEADER_BYTES);
        }
        let len = self
            .input
            .try_get_i32()
            .map_err(|_| "snappy block is cut")?;
        let len = usize::try_from(len).map_err(|_| "snappy block has a negative length")?;
        if len > self.input.len() {
            return Err("snappy block is cut");
        }
        Ok(self.input.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_snappy_is_read_too() {
        let plain = b"bare bare bare bare".repeat(10);
        let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let mut reader = Reader::open(packed.into()).unwrap();
        let mut out = vec![0; 500];
        let got = reader.read(&mut out).unwrap();
        assert_eq!(out[..got], plain);
        assert_eq!(reader.read(&mut out).unwrap(), 0);
    }

    #[test]
    fn a_claim_of_four_gigabytes_costs_nothing() {
        let mut reader = Reader::open(Bytes::from_static(b"\xff\xff\xff\xff\x0f12345678")).unwrap();
        assert!(reader.read(&mut [0; 10]).is_err());
    }

    #[test]
    fn the_densest_block_stays_below_the_growth_allowed() {
        let plain = vec![7; 1 << 20];
        let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert!(plain.len() <= packed.len() * GROWTH_MAX);
    }
}

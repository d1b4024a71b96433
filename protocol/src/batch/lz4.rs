//! lz4 frames as Kafka's clients write and read them.
//!
//! ```text
//! 04 22 4d 18 | flags | block size | [u64 content size] | header checksum | blocks… | 0
//! ```
//!
//! Kafka: only independent blocks are readable, the content's checksum is skipped, and in format
//! v0 the header's checksum was taken over the magic number too (KafkaLZ4BlockInputStream); so
//! readers of v0 ignore it and writers of v0 repeat the mistake.

use bytes::{Buf, Bytes};

const MAGIC: u32 = 0x184d_2204;
/// Version 1, independent blocks, no checksums.
const FLAGS: u8 = 0x60;
/// Blocks of 64 KiB.
const BLOCK_SIZE: u8 = 0x40;
const BLOCK_BYTES: usize = 64 << 10;
const STORED: u32 = 0x8000_0000;

pub(crate) fn compress(
    plain: &[u8],
    broken_checksum: bool,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let start = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[FLAGS, BLOCK_SIZE]);
    let summed = if broken_checksum { start } else { start + 4 };
    out.push((xxh32(&out[summed..]) >> 8) as u8);
    for block in plain.chunks(BLOCK_BYTES) {
        let at = out.len();
        let bound = lz4_flex::block::get_maximum_output_size(block.len());
        out.resize(at + 4 + bound, 0);
        let len =
            lz4_flex::block::compress_into(block, &mut out[at + 4..]).map_err(|_| "lz4 gave up")?;
        let (len, mark) = if len < block.len() {
            (len, 0)
        } else {
            out[at + 4..at + 4 + block.len()].copy_from_slice(block);
            (block.len(), STORED)
        };
        // A block is at most 64 KiB.
        out[at..at + 4].copy_from_slice(&(len as u32 | mark).to_le_bytes());
        out.truncate(at + 4 + len);
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    Ok(())
}

pub(crate) struct Reader {
    input: Bytes,
    block_bytes_max: usize,
    block_checksums: bool,
    finished: bool,
    block: Vec<u8>,
    // `block[taken..filled]` is decompressed and not yet given.
    taken: usize,
    filled: usize,
}

impl Reader {
    pub(crate) fn open(mut input: Bytes, ignore_checksum: bool) -> Result<Self, &'static str> {
        const CUT: &str = "lz4 header is cut";
        if input.try_get_u32_le().map_err(|_| CUT)? != MAGIC {
            return Err("not an lz4 frame");
        }
        let header = input.clone();
        let flags = input.try_get_u8().map_err(|_| CUT)?;
        let block_size = input.try_get_u8().map_err(|_| CUT)?;
        if flags >> 6 != 1 || flags & 0x03 != 0 || block_size & 0x8f != 0 {
            return Err("lz4 header has unknown flags");
        }
        if flags & 0x20 == 0 {
            return Err("lz4 frame with linked blocks");
        }
        let block_bytes_max = match block_size >> 4 {
            size @ 4..=7 => 1 << (2 * u32::from(size) + 8),
            _ => return Err("lz4 header has an unknown block size"),
        };
        if flags & 0x08 != 0 {
            input.try_get_u64_le().map_err(|_| CUT)?;
        }
        let described = header.len() - input.len();
        let checksum = input.try_get_u8().map_err(|_| CUT)?;
        if !ignore_checksum && checksum != (xxh32(&header[..described]) >> 8) as u8 {
            return Err("lz4 header has a wrong checksum");
        }
        Ok(Reader {
            input,
            block_bytes_max,
            block_checksums: flags & 0x10 != 0,
            finished: false,
            block: Vec::new(),
            taken: 0,
            filled: 0,
        })
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, &'static str> {
        while self.taken == self.filled {
            if self.finished {
                return Ok(0);
            }
            self.next_block()?;
        }
        let part = &self.block[self.taken..self.filled];
        let len = part.len().min(out.len());
        out[..len].copy_from_slice(&part[..len]);
        self.taken += len;
        Ok(len)
    }

    fn next_block(&mut self) -> Result<(), &'static str> {
        const CUT: &str = "lz4 stream is cut";
        let size = self.input.try_get_u32_le().map_err(|_| CUT)?;
        let len = (size & !STORED) as usize;
        if len == 0 {
            self.finished = true;
            return Ok(());
        }
        if len > self.block_bytes_max {
            return Err("lz4 block is longer than its frame allows");
        }
        if len > self.input.len() {
            return Err(CUT);
        }
        let packed = self.input.split_to(len);
        if self.block_checksums {
            let stored = self.input.try_get_u32_le().map_err(|_| CUT)?;
            if stored != xxh32(&packed) {
                return Err("lz4 block has a wrong checksum");
            }
        }
        self.taken = 0;
        if size & STORED != 0 {
            self.block.clear();
            self.block.extend_from_slice(&packed);
            self.filled = len;
            return Ok(());
        }
        // One byte of lz4 makes at most 255.
        let room = self.block_bytes_max.min(len.saturating_mul(255));
        if self.block.len() < room {
            self.block.resize(room, 0);
        }
        self.filled = lz4_flex::block::decompress_into(&packed, &mut self.block[..room])
            .map_err(|_| "not an lz4 block")?;
        Ok(())
    }
}

/// xxHash32 with seed 0, which lz4 frames sum with.
fn xxh32(bytes: &[u8]) -> u32 {
    const P: [u32; 5] = [
        0x9e37_79b1,
        0x85eb_ca77,
        0xc2b2_ae3d,
        0x27d4_eb2f,
        0x1656_67b1,
    ];
    fn word(four: &[u8]) -> u32 {
        u32::from_le_bytes([four[0], four[1], four[2], four[3]])
    }
    fn round(lane: u32, input: u32) -> u32 {
        lane.wrapping_add(input.wrapping_mul(P[1]))
            .rotate_left(13)
            .wrapping_mul(P[0])
    }
    let mut stripes = bytes.chunks_exact(16);
    let mut hash = if bytes.len() >= 16 {
        let mut lanes = [P[0].wrapping_add(P[1]), P[1], 0, 0u32.wrapping_sub(P[0])];
        for stripe in stripes.by_ref() {
            for (lane, four) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane = round(*lane, word(four));
            }
        }
        lanes[0]
            .rotate_left(1)
            .wrapping_add(lanes[1].rotate_left(7))
            .wrapping_add(lanes[2].rotate_left(12))
            .wrapping_add(lanes[3].rotate_left(18))
    } else {
        P[4]
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let mut words = stripes.remainder().chunks_exact(4);
    for four in words.by_ref() {
        hash = hash.wrapping_add(word(four).wrapping_mul(P[2]));
        hash = hash.rotate_left(17).wrapping_mul(P[3]);
    }
    for byte in words.remainder() {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P[4]));
        hash = hash.rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(
            xxh32(b"Nobody inspects the spammish repetition"),
            0xe229_3b2f
        );
    }

    #[test]
    fn the_frame_is_one_the_reference_reader_reads_and_the_other_way() {
        let plain = b"from here to there and back, ".repeat(9000);
        let mut packed = Vec::new();
        compress(&plain, false, &mut packed).unwrap();
        assert_eq!(&packed[..7], b"\x04\x22\x4d\x18\x60\x40\x82");
        let mut back = Vec::new();
        std::io::Read::read_to_end(
            &mut lz4_flex::frame::FrameDecoder::new(&packed[..]),
            &mut back,
        )
        .unwrap();
        assert!(back == plain);
    }

    #[test]
    fn format_v0_keeps_its_wrong_checksum() {
        let mut packed = Vec::new();
        compress(b"x", true, &mut packed).unwrap();
        assert_ne!(packed[6], 0x82);
        assert!(Reader::open(packed.clone().into(), false).is_err());
        assert!(Reader::open(packed.into(), true).is_ok());
    }

    #[test]
    fn linked_blocks_are_refused_because_java_cannot_read_them() {
        let mut header = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40];
        header.push((xxh32(&header[4..]) >> 8) as u8);
        assert_eq!(
            Reader::open(header.into(), false).err(),
            Some("lz4 frame with linked blocks")
        );
    }
}

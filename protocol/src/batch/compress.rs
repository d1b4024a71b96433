//! The four codecs of record batches, streaming and bounded.
//!
//! Nothing is allocated by what compressed bytes claim of themselves: output comes out in the
//! pieces the reader asks for, and stops at a bound the caller names.
//!
//! Compressing gives what Java readers can read: gzip, xerial-framed snappy of 32 KiB blocks, lz4
//! frames of independent 64 KiB blocks, zstd. lz4 has one strength here, whatever level is asked.

use std::cell::RefCell;
use std::io::{Read, Write};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective};

use crate::batch::{Fault, lz4, snappy};

/// A bound on the decompressed size of one batch for callers that have no better one: far above
/// what producers make (they bound batches before compressing), far below what a bomb wants.
pub const DECOMPRESSED_BYTES_MAX: u64 = 256 << 20;

/// Contexts kept for the next batch on the same thread; more than this at once is unusual.
const CONTEXTS_KEPT_MAX: usize = 2;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// From the low three bits of a batch's attributes.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    pub fn id(self) -> u8 {
        self as u8
    }

    /// As settings and Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// A codec and how hard it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    pub codec: Codec,
    /// `None`: the codec's own default, as Kafka has it.
    pub level: Option<i32>,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Compression { codec, level: None }
    }
}

impl Compression {
    pub const NONE: Compression = Compression {
        codec: Codec::None,
        level: None,
    };

    /// Appends `plain`, compressed, to `out`. The format matters to lz4 alone: its frame header
    /// had a wrong checksum up to v0, which readers of v0 expect.
    pub fn compress(self, magic: u8, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let failed = |reason| Fault::Compressed {
            codec: self.codec,
            reason,
        };
        match self.codec {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => {
                let level = match self.level {
                    Some(level @ 0..=9) => flate2::Compression::new(level.unsigned_abs()),
                    _ => flate2::Compression::default(),
                };
                let mut encoder = GzEncoder::new(out, level);
                let written = encoder.write_all(plain).and_then(|()| encoder.finish());
                written.map_err(|_| failed("gzip gave up"))?;
            }
            Codec::Snappy => snappy::compress(plain, out).map_err(failed)?,
            Codec::Lz4 => lz4::compress(plain, magic == 0, out).map_err(failed)?,
            Codec::Zstd => {
                compress_zstd(plain, self.level.unwrap_or(3), out).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Reads what was compressed, piece by piece.
pub struct Decompressor {
    codec: Codec,
    stream: Stream,
    bound: u64,
    given: u64,
}

enum Stream {
    Gzip(Box<MultiGzDecoder<bytes::buf::Reader<Bytes>>>),
    Snappy(snappy::Reader),
    Lz4(lz4::Reader),
    Zstd(ZstdReader),
}

impl Decompressor {
    /// `None` where there is nothing to decompress.
    pub fn open(
        codec: Codec,
        magic: u8,
        input: Bytes,
        bound: u64,
    ) -> Result<Option<Decompressor>, Fault> {
        let failed = |reason| Fault::Compressed { codec, reason };
        let stream = match codec {
            Codec::None => return Ok(None),
            Codec::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(input.reader()))),
            Codec::Snappy => Stream::Snappy(snappy::Reader::open(input).map_err(failed)?),
            Codec::Lz4 => Stream::Lz4(lz4::Reader::open(input, magic == 0).map_err(failed)?),
            Codec::Zstd => Stream::Zstd(ZstdReader::open(input).map_err(failed)?),
        };
        Ok(Some(Decompressor {
            codec,
            stream,
            bound,
            given: 0,
        }))
    }

    /// Fills the front of `out`; 0 at the end. Beyond the bound it refuses instead.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        if out.is_empty() {
            return Ok(0);
        }
        let got = match &mut self.stream {
            Stream::Gzip(gzip) => gzip.read(out).map_err(|_| "not a gzip stream"),
            Stream::Snappy(snappy) => snappy.read(out),
            Stream::Lz4(lz4) => lz4.read(out),
            Stream::Zstd(zstd) => zstd.read(out),
        };
        let got = got.map_err(|reason| Fault::Compressed {
            codec: self.codec,
            reason,
        })?;
        self.given += got as u64;
        if self.given > self.bound {
            return Err(Fault::Bomb { bound: self.bound });
        }
        Ok(got)
    }
}

/// All of it at once, for whoever needs the whole; grows with what really comes out.
pub fn decompress(codec: Codec, magic: u8, input: Bytes, bound: u64) -> Result<Bytes, Fault> {
    let mut plain = Vec::new();
    let Some(mut reader) = Decompressor::open(codec, magic, input.clone(), bound)? else {
        return Ok(input);
    };
    let mut filled = 0;
    loop {
        if filled == plain.len() {
            plain.resize((plain.len() * 2).clamp(8 << 10, plain.len() + (4 << 20)), 0);
        }
        match reader.read(&mut plain[filled..])? {
            0 => break,
            got => filled += got,
        }
    }
    plain.truncate(filled);
    Ok(plain.into())
}

thread_local! {
    // Hot path: a zstd context costs five times what decompressing a small batch does.
    static READING: RefCell<Vec<DCtx<'static>>> = const { RefCell::new(Vec::new()) };
    static WRITING: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
}

struct ZstdReader {
    // `None` only while being dropped.
    context: Option<DCtx<'static>>,
    input: Bytes,
    inside_frame: bool,
}

impl ZstdReader {
    fn open(input: Bytes) -> Result<Self, &'static str> {
        let kept = READING.with_borrow_mut(Vec::pop);
        let mut context = match kept {
            Some(context) => context,
            None => DCtx::try_create().ok_or("no memory for a zstd context")?,
        };
        context
            .reset(ResetDirective::SessionOnly)
            .map_err(zstd::zstd_safe::get_error_name)?;
        Ok(ZstdReader {
            context: Some(context),
            input,
            inside_frame: false,
        })
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, &'static str> {
        let Some(context) = self.context.as_mut() else {
            return Ok(0);
        };
        loop {
            let mut from = InBuffer::around(&self.input);
            let mut to = OutBuffer::around(&mut *out);
            let more = context
                .decompress_stream(&mut to, &mut from)
                .map_err(zstd::zstd_safe::get_error_name)?;
            let (read, written) = (from.pos(), to.pos());
            self.input.advance(read);
            if read > 0 || written > 0 {
                self.inside_frame = more > 0;
            }
            if written > 0 {
                return Ok(written);
            }
            if read == 0 {
                return if self.inside_frame {
                    Err("zstd stream is cut")
                } else {
                    Ok(0)
                };
            }
        }
    }
}

impl Drop for ZstdReader {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            // A thread that is ending has no store any more; then the context just goes.
            let _ended = READING.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < CONTEXTS_KEPT_MAX {
                    kept.push(context);
                }
            });
        }
    }
}

fn compress_zstd(plain: &[u8], level: i32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let name = zstd::zstd_safe::get_error_name;
    let mut context = match WRITING.take() {
        Some(context) => context,
        None => CCtx::try_create().ok_or("no memory for a zstd context")?,
    };
    context
        .reset(ResetDirective::SessionAndParameters)
        .map_err(name)?;
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .map_err(name)?;
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
    let written = context.compress2(&mut out[start..], plain).map_err(name)?;
    out.truncate(start + written);
    WRITING.set(Some(context));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| ((i * i / 7) % 251) as u8 ^ (i / 999) as u8)
            .collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in Codec::ALL {
            for magic in [0, 2] {
                for len in [0, 1, 100, 70_000, 300_000] {
                    let plain = sample(len);
                    let mut packed = Vec::new();
                    Compression::from(codec)
                        .compress(magic, &plain, &mut packed)
                        .unwrap();
                    let back = decompress(codec, magic, packed.into(), 1 << 20).unwrap();
                    assert!(back == plain, "{codec:?} {magic} {len}");
                }
            }
        }
    }

    #[test]
    fn levels_are_taken_and_change_only_the_size() {
        let plain = sample(50_000);
        for (codec, level) in [
            (Codec::Gzip, 9),
            (Codec::Gzip, 1),
            (Codec::Zstd, 19),
            (Codec::Zstd, -5),
        ] {
            let mut packed = Vec::new();
            Compression {
                codec,
                level: Some(level),
            }
            .compress(2, &plain, &mut packed)
            .unwrap();
            assert_eq!(decompress(codec, 2, packed.into(), 1 << 20).unwrap(), plain);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let plain = vec![0; 8 << 20];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut packed = Vec::new();
            Compression::from(codec)
                .compress(2, &plain, &mut packed)
                .unwrap();
            let refused = decompress(codec, 2, packed.into(), 1 << 20);
            assert_eq!(refused, Err(Fault::Bomb { bound: 1 << 20 }), "{codec:?}");
        }
    }

    #[test]
    fn cut_streams_are_faults_not_short_answers() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut packed = Vec::new();
            Compression::from(codec)
                .compress(2, &sample(10_000), &mut packed)
                .unwrap();
            for cut in [1, 5, packed.len() / 2, packed.len() - 1] {
                let cut_bytes = Bytes::copy_from_slice(&packed[..cut]);
                let refused = decompress(codec, 2, cut_bytes, 1 << 20);
                assert!(refused.is_err(), "{codec:?} cut at {cut}");
            }
        }
    }
}

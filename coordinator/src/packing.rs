//! How a snapshot is packed: not at all, or as ZooKeeper's `snapshot.compression.method` has it.
//! The end of the file's name says which.
//!
//! A snapshot is written in pieces, so what is packed is several streams one behind the other. The
//! readers of gzip and of snappy, Java's too, take them as one.

use std::ffi::OsStr;
use std::path::Path;

use bytes::Bytes;
use protocol::batch::compress::decompress;
use protocol::batch::{Codec, Compression, Fault};

/// What is done to a snapshot's bytes on their way to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    #[default]
    Plain,
    Gzip,
    /// As Java's `SnappyOutputStream` frames it.
    Snappy,
}

/// The format of a batch's own time, which only matters to codecs that are none of these.
const ANY_MAGIC: u8 = 2;

impl Packing {
    /// By ZooKeeper's name of it.
    pub fn named(name: &str) -> Option<Self> {
        [Packing::Plain, Packing::Gzip, Packing::Snappy]
            .into_iter()
            .find(|packing| packing.name().eq_ignore_ascii_case(name))
    }

    /// ZooKeeper: the last part of the name decides, and one that is no packing is none.
    pub(crate) fn of(path: &Path) -> Self {
        let end = path.extension().and_then(OsStr::to_str);
        end.and_then(Packing::named).unwrap_or_default()
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip => "gz",
            Packing::Snappy => "snappy",
        }
    }

    /// What a file's name ends with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip => ".gz",
            Packing::Snappy => ".snappy",
        }
    }

    fn codec(self) -> Codec {
        match self {
            Packing::Plain => Codec::None,
            Packing::Gzip => Codec::Gzip,
            Packing::Snappy => Codec::Snappy,
        }
    }

    pub(crate) fn pack(self, piece: Vec<u8>) -> Result<Vec<u8>, Fault> {
        if self == Packing::Plain {
            return Ok(piece);
        }
        let (codec, level) = (self.codec(), None);
        let mut packed = Vec::new();
        Compression { codec, level }.compress(ANY_MAGIC, &piece, &mut packed)?;
        Ok(packed)
    }

    /// Memory grows with what really comes out; how much that may be is for whoever wrote the file.
    pub(crate) fn unpack(self, bytes: Vec<u8>) -> Result<Bytes, Fault> {
        decompress(self.codec(), ANY_MAGIC, bytes.into(), u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_packed_one_by_one_are_one_whole() {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Snappy] {
            let (first, second) = (vec![7; 100_000], b"the rest".to_vec());
            let mut packed = packing.pack(first.clone()).unwrap();
            packed.extend(packing.pack(second.clone()).unwrap());
            let whole = packing.unpack(packed).unwrap();
            assert_eq!(whole, [first, second].concat(), "{packing:?}");
        }
        assert!(Packing::Gzip.unpack(b"nothing".to_vec()).is_err());
        assert!(Packing::Snappy.unpack(b"\x82SNAPPY\0".to_vec()).is_err());
    }

    #[test]
    fn names_are_told_apart_as_zookeeper_does() {
        let of = |name: &str| Packing::of(Path::new(name));
        assert_eq!(of("version-2/snapshot.1f"), Packing::Plain);
        assert_eq!(of("version-2/snapshot.1f.gz"), Packing::Gzip);
        assert_eq!(of("version-2/snapshot.1f.SNAPPY"), Packing::Snappy);
        assert_eq!(Packing::named("zip"), None);
    }
}

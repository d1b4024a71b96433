//! An encoded answer: bytes, and holes that the network fills from file ranges.
//!
//! A hole keeps record bytes out of memory: the encoder says how long they are and which range
//! they are (`id`, the caller's word), and whoever sends puts them on the socket by `sendfile`.

use bytes::Bytes;
use smallvec::SmallVec;

/// One piece of an answer, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Bytes(Bytes),
    /// `len` bytes that the sender takes from the range the caller named `id`.
    Hole {
        id: usize,
        len: usize,
    },
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Hole { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A whole answer, length prefix and header included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub parts: SmallVec<[Part; 2]>,
}

impl Reply {
    /// How many bytes go on the wire, length prefix included.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has_holes(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Hole { .. }))
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Reply {
            parts: SmallVec::from_iter([Part::Bytes(bytes)]),
        }
    }
}

//! What can fail in the log, sorted by what the caller can do about it.
//!
//! A *refusal* is an answer to a client ([`AppendRefusal`], [`ReadRefusal`]); an [`Error`] is a failure
//! of a disk, of the bytes on it, or of the machine. Three that look alike are three different things:
//!
//! ```text
//! too many open files  the process's affair: room is made, and it is tried again
//! the disk is full     its directory is offline until there is room and the broker starts again
//! anything else        nobody knows what is on the disk: its directory is offline, and a person is to
//!                      look at it; so is that of a disk that does not answer
//! ```
//!
//! Kafka: all three take the directory offline (`LogDirFailureChannel`).

use std::io;
use std::path::{Path, PathBuf};

use base::disk::is_out_of_files;
use protocol::ids::{Offset, ProducerEpoch, ProducerId};

/// Something failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed (EIO, full, read-only …). Its directory is offline from now on.
    #[error("{act} {path}")]
    Disk {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The directory went offline before; nothing was tried.
    #[error("use {dir}: the directory is offline")]
    Offline { dir: PathBuf },
    /// The process has no file descriptor left. Not a fault of the disk: try again later.
    #[error("{act} {path}: too many open files")]
    TooManyFiles {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A call has not come back for so long that nobody waits for it any more.
    #[error("use {dir}: the disk has not answered for {seconds} seconds")]
    Hung { dir: PathBuf, seconds: u64 },
    /// The bytes on the disk are not what they should be. This replica must not be served.
    #[error("{act} {path}: {damage}")]
    Corrupt {
        act: &'static str,
        path: PathBuf,
        damage: Damage,
    },
    /// The log was closed or deleted while the caller held it.
    #[error("use a log that is closed")]
    Closed,
    /// Another process holds the directory.
    #[error("lock {dir}: another broker uses it")]
    Locked { dir: PathBuf },
    /// A directory that no partition explains lies in a log directory.
    #[error("read {path}: not the directory of a partition")]
    Foreign { path: PathBuf },
    /// One partition lies in two directories.
    #[error("open {second}: the same partition is in {first}")]
    Twice { first: PathBuf, second: PathBuf },
    /// A partition already exists.
    #[error("create {path}: it is there already")]
    Exists { path: PathBuf },
    /// None of the directories can be used.
    #[error("no log directory is usable; what is logged above says why")]
    NoDirectory,
    /// Directories disagree on the cluster or the broker they belong to.
    #[error("read {path}: {what}")]
    Identity { path: PathBuf, what: IdentityFault },
}

/// What is wrong with bytes read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("bad batch at position {position}")]
    Batch { position: u64 },
    #[error("the file ends at {len}, inside a batch that begins at {position}")]
    Torn { position: u64, len: u64 },
    #[error("offset {found} where at least {expected} must follow")]
    OffsetOrder { expected: i64, found: i64 },
    #[error("line {line} is not what belongs there")]
    Line { line: usize },
    #[error("it is longer than any of its kind")]
    Long,
    #[error("checksum or version is wrong")]
    Checksum,
    #[error("the length {len} is not a multiple of an entry")]
    Length { len: u64 },
    #[error("the log ends at {end}, below {known}, to which it was on the disk")]
    Shorter { end: i64, known: i64 },
}

/// Why `meta.properties` cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    #[error("version {0} is not 0")]
    Version(String),
    #[error("the value of {0} cannot be read")]
    Value(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{key} is {here}, elsewhere {there}")]
    Differs {
        key: &'static str,
        here: String,
        there: String,
    },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Sorts an I/O failure by what the caller can do.
    pub fn io(act: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_path_buf();
        if is_out_of_files(&source) {
            return Error::TooManyFiles { act, path, source };
        }
        // No disk says so: it is [`base::disk::Disk::read_small`]'s word.
        if source.kind() == io::ErrorKind::InvalidData {
            let damage = Damage::Long;
            return Error::Corrupt { act, path, damage };
        }
        Error::Disk { act, path, source }
    }

    pub(crate) fn corrupt(act: &'static str, path: &Path, damage: Damage) -> Error {
        Error::Corrupt {
            act,
            path: path.to_path_buf(),
            damage,
        }
    }

    /// Whether a person has been told already, by its directory.
    pub fn is_told(&self) -> bool {
        matches!(self, Error::Offline { .. })
    }

    /// What a person should do about a directory that this takes offline.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            // A sync that finds no room has lost what was written before it, where room is promised
            // that is not there: thin volumes, quotas.
            Error::Disk { act, source, .. } if is_full(source) && *act != "sync" => {
                "the disk is full: make room on it and start this broker again; all that was \
                 acknowledged is there"
            }
            Error::Disk { source, .. } if is_full(source) => {
                "the disk is full: make room on it and start this broker again; what was written \
                 last may not be on it"
            }
            _ => {
                "look at the disk and at the kernel's log, then start this broker again; what is on \
                 the disk is left as it is"
            }
        }
    }

    /// Whether the disk itself failed, so that its whole directory must go offline.
    pub fn is_disk(&self) -> bool {
        matches!(self, Error::Disk { .. })
    }
}

fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Why an append was not done.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Refused(#[from] AppendRefusal),
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A "no" the producer hears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// The bytes are no well-formed batches.
    #[error("{0}")]
    Corrupt(String),
    #[error("{message}")]
    TooLarge { message: String },
    #[error("a set of {size} bytes exceeds segment.bytes of {max}")]
    SetTooLarge { size: usize, max: usize },
    /// The batch is well-formed, but what it says is not allowed here.
    #[error("{message}")]
    InvalidRecord {
        message: String,
        records: Vec<RecordFault>,
    },
    #[error("{message}")]
    InvalidTimestamp {
        message: String,
        records: Vec<RecordFault>,
    },
    #[error("{0}")]
    UnsupportedCompression(String),
    /// Its records cannot be decompressed. Kafka has no code of its own for it.
    #[error("{0}")]
    Unreadable(String),
    #[error("producer {producer} wrote sequence {found} after {last}")]
    OutOfOrderSequence {
        producer: ProducerId,
        found: i32,
        last: i32,
    },
    #[error("producer {producer} has epoch {found}, the log knows {known}")]
    InvalidProducerEpoch {
        producer: ProducerId,
        found: ProducerEpoch,
        known: ProducerEpoch,
    },
    /// A marker of an older coordinator.
    #[error("marker of coordinator epoch {found}, the log knows {known}")]
    CoordinatorFenced { found: i32, known: i32 },
    /// A transactional write that nobody has announced to the coordinator.
    #[error("producer {producer} has no verified transaction here")]
    InvalidTxnState { producer: ProducerId },
    /// A follower was sent an offset it has already, or one with a gap of the wrong kind.
    #[error("first offset {first} does not follow the end {end}")]
    UnexpectedOffset {
        first: Offset,
        last: Offset,
        end: Offset,
    },
}

/// One record of a refused batch, as the Produce answer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    pub index: i32,
    pub message: Option<String>,
}

/// Why a read was not planned.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Refused(#[from] ReadRefusal),
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A "no" the reader hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefusal {
    #[error("offset {from} is outside [{start}, {end}]")]
    OutOfRange {
        from: Offset,
        start: Offset,
        end: Offset,
    },
}

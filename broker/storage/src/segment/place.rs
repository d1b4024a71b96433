//! Where the files of a segment lie and what they are called.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::files;
use crate::handles::Handles;

/// The folder of one replica and how files in it are opened; shared by its segments.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) handles: Arc<Handles>,
    path: RwLock<PathBuf>,
    changes: AtomicU64,
}

impl Place {
    pub(crate) fn new(handles: Arc<Handles>, path: PathBuf) -> Arc<Place> {
        Arc::new(Place {
            handles,
            path: RwLock::new(path),
            changes: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.read().clone()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.read().join(name)
    }

    /// The folder has been renamed.
    pub(crate) fn move_to(&self, path: PathBuf) {
        *self.path.write() = path;
        self.note_change();
    }

    /// A file was made or renamed in the folder, or the folder itself was: a sync of it is due.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was so.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// What the files of a segment are called at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Part of the log.
    Plain = 0,
    /// Out of the log, to be removed.
    Deleted = 1,
    /// Being written by the cleaner.
    Cleaned = 2,
    /// Written by the cleaner, to take the place of others.
    Swap = 3,
    /// Made before what it follows is put away.
    Temporary = 4,
}

impl Ending {
    pub(in crate::segment) fn text(self) -> &'static str {
        match self {
            Ending::Plain => "",
            Ending::Deleted => files::DELETED,
            Ending::Cleaned => files::CLEANED,
            Ending::Swap => files::SWAP,
            Ending::Temporary => files::TEMPORARY,
        }
    }

    pub(in crate::segment) fn from_number(number: u8) -> Ending {
        match number {
            0 => Ending::Plain,
            1 => Ending::Deleted,
            2 => Ending::Cleaned,
            3 => Ending::Swap,
            _ => Ending::Temporary,
        }
    }
}

/// Four kinds of file that carry the base offset of the segment.
pub(crate) const KINDS: [&str; 4] = [
    files::LOG,
    files::OFFSET_INDEX,
    files::TIME_INDEX,
    files::TXN_INDEX,
];

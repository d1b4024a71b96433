//! Files that are out of the log and wait to be removed.
//!
//! Kafka: `file.delete.delay.ms`. Readers that planned a range just before may still open them.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::segment::{Place, Segment};

#[derive(Debug)]
pub(crate) enum Doomed {
    Segment(Arc<Segment>),
    /// A whole folder.
    Folder {
        place: Arc<Place>,
    },
}

/// What is to be removed, and when (wall milliseconds).
#[derive(Debug, Default)]
pub(crate) struct Trash(Mutex<Vec<(i64, Doomed)>>);

impl Trash {
    pub(crate) fn add(&self, due_ms: i64, doomed: Doomed) {
        self.0.lock().push((due_ms, doomed));
    }

    /// What is due at `now_ms`.
    pub(crate) fn take_due(&self, now_ms: i64) -> Vec<Doomed> {
        let mut all = self.0.lock();
        let (due, later) = std::mem::take(&mut *all)
            .into_iter()
            .partition(|(at, _)| *at <= now_ms);
        *all = later;
        due.into_iter()
            .map(|(_, doomed): (i64, Doomed)| doomed)
            .collect()
    }
}

impl Doomed {
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Doomed::Segment(segment) => segment.path(crate::files::LOG),
            Doomed::Folder { place } => place.path(),
        }
    }

    /// Removes it; what is gone already is no error.
    pub(crate) fn remove(&self) -> Result<()> {
        let removed = match self {
            Doomed::Segment(segment) => return segment.remove_files(),
            Doomed::Folder { place } => place.handles.disk.remove_dir_all(&place.path()),
        };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path(), e))
            }
            _ => Ok(()),
        }
    }
}

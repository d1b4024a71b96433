//! How far the logs of one directory are compacted: `cleaner-offset-checkpoint`, and what is known of it.
//!
//! Owned by a lock of its own that is held while the file is read or written: nobody who works in another
//! directory waits for it.

use std::path::{Path, PathBuf};

use base::disk::Disk;
use protocol::ids::{Offset, TopicPartition};

use crate::checkpoint::{PartitionOffsets, read_partition_offsets, write_partition_offsets};
use crate::error::Result;
use crate::files;

#[derive(Debug)]
pub(crate) struct CleanTo {
    path: PathBuf,
    /// Invariant: what the file holds, once it was read.
    known: Option<PartitionOffsets>,
}

impl CleanTo {
    pub(crate) fn of_directory(dir: &Path) -> CleanTo {
        CleanTo {
            path: dir.join(files::CLEANER_CHECKPOINT),
            known: None,
        }
    }

    pub(crate) fn of(&mut self, disk: &dyn Disk, tp: &TopicPartition) -> Result<Option<i64>> {
        Ok(self.read(disk)?.get(tp).map(|at| at.0))
    }

    pub(crate) fn set(&mut self, disk: &dyn Disk, tp: TopicPartition, to: Offset) -> Result<()> {
        self.change(disk, |known| known.insert(tp, to) != Some(to))
    }

    /// Writes what `change` leaves, if it says that it changed anything.
    pub(crate) fn change(
        &mut self,
        disk: &dyn Disk,
        change: impl FnOnce(&mut PartitionOffsets) -> bool,
    ) -> Result<()> {
        if !change(self.read(disk)?) {
            return Ok(());
        }
        match &self.known {
            Some(known) => write_partition_offsets(disk, &self.path, known),
            None => Ok(()),
        }
    }

    fn read(&mut self, disk: &dyn Disk) -> Result<&mut PartitionOffsets> {
        let known = match self.known.take() {
            Some(known) => known,
            None => read_partition_offsets(disk, &self.path)?,
        };
        Ok(self.known.insert(known))
    }
}

//! Sorted files of fixed entries: the tail in memory, older entries by pread through a bounded cache.
//!
//! Never mapped, never longer than their entries: Apache takes the length of a file for its number
//! of entries wherever it finds the clean marker.

pub(crate) mod aborted;
pub(crate) mod offset;
pub(crate) mod time;

use std::path::PathBuf;
use std::sync::Arc;

use base::disk::{DiskFile, Open};

use crate::error::{Error, Result};
use crate::handles::{BLOCK_BYTES, Handles, Slot};

/// Entries wait in memory until so many are together; a crash costs nothing, recovery finds them again.
const UNWRITTEN_MAX: usize = 128;

/// Where an index lies, and through what it is opened: handed in by the segment at each call.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) handles: &'a Handles,
    pub(crate) path: &'a dyn Fn() -> PathBuf,
}

/// A file of entries of `N` bytes each.
#[derive(Debug)]
pub(crate) struct IndexFile<const N: usize> {
    slot: Arc<Slot>,
    /// Entries in the file; `None` until first asked.
    stored: Option<u32>,
    unwritten: Vec<[u8; N]>,
    /// Written or cut since it was opened. Not taken back by a sync: a flush under way may hold the file
    /// and not have synced it while another one, begun later, ends first.
    changed: bool,
}

impl<const N: usize> IndexFile<N> {
    /// Of a file that may be there: looked at when first needed.
    pub(crate) fn unseen(handles: &Handles) -> Self {
        IndexFile {
            slot: handles.slot(),
            stored: None,
            unwritten: Vec::new(),
            changed: false,
        }
    }

    /// Of a file that is made with the first write.
    pub(crate) fn empty(handles: &Handles) -> Self {
        IndexFile {
            stored: Some(0),
            ..IndexFile::unseen(handles)
        }
    }

    fn file(&self, at: At<'_>, how: Open) -> Result<Arc<dyn DiskFile>> {
        at.handles
            .get(&self.slot, how, at.path)
            .map_err(|e| Error::io("open index", &(at.path)(), e))
    }

    fn stored(&mut self, at: At<'_>) -> Result<u32> {
        if let Some(stored) = self.stored {
            return Ok(stored);
        }
        let len = match at.handles.disk.facts(&(at.path)()) {
            Ok(facts) => facts.len,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io("look at index", &(at.path)(), e)),
        };
        let stored = u32::try_from(len / N as u64).unwrap_or(u32::MAX);
        self.stored = Some(stored);
        Ok(stored)
    }

    pub(crate) fn len(&mut self, at: At<'_>) -> Result<u32> {
        Ok(self
            .stored(at)?
            .saturating_add(u32::try_from(self.unwritten.len()).unwrap_or(u32::MAX)))
    }

    /// The entry `number`; `None` past the end or where the file is shorter than it was.
    pub(crate) fn get(&mut self, at: At<'_>, number: u32) -> Result<Option<[u8; N]>> {
        let stored = self.stored(at)?;
        if number >= stored {
            return Ok(self.unwritten.get((number - stored) as usize).copied());
        }
        let from = number as usize * N;
        let mut entry = [0; N];
        let mut filled = 0;
        let file = self.file(at, Open::Write)?;
        while filled < N {
            let byte = from + filled;
            let block = byte / BLOCK_BYTES;
            let whole = (block + 1) * BLOCK_BYTES <= stored as usize * N;
            let block_number = u32::try_from(block).unwrap_or(u32::MAX);
            let bytes = at
                .handles
                .block(&self.slot, &*file, block_number, whole)
                .map_err(|e| Error::io("read index", &(at.path)(), e))?;
            let Some(rest) = bytes
                .get(byte % BLOCK_BYTES..)
                .filter(|rest| !rest.is_empty())
            else {
                return Ok(None);
            };
            let take = rest.len().min(N - filled);
            entry[filled..filled + take].copy_from_slice(&rest[..take]);
            filled += take;
        }
        Ok(Some(entry))
    }

    pub(crate) fn last(&mut self, at: At<'_>) -> Result<Option<[u8; N]>> {
        match self.len(at)? {
            0 => Ok(None),
            len => self.get(at, len - 1),
        }
    }

    /// How many leading entries `is_before` holds for; they are sorted by it.
    pub(crate) fn partition_point(
        &mut self,
        at: At<'_>,
        mut is_before: impl FnMut(&[u8; N]) -> bool,
    ) -> Result<u32> {
        let (mut low, mut high) = (0, self.len(at)?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(at, middle)? {
                Some(entry) if is_before(&entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    pub(crate) fn push(&mut self, at: At<'_>, entry: [u8; N]) -> Result<()> {
        self.stored(at)?;
        self.unwritten.push(entry);
        if self.unwritten.len() >= UNWRITTEN_MAX {
            self.write_out(at)?;
        }
        Ok(())
    }

    /// Brings what waits in memory into the file.
    pub(crate) fn write_out(&mut self, at: At<'_>) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let stored = self.stored(at)?;
        let file = self.file(at, Open::Create)?;
        file.write_at(self.unwritten.as_flattened(), u64::from(stored) * N as u64)
            .map_err(|e| Error::io("write index", &(at.path)(), e))?;
        self.stored = self
            .stored
            .map(|stored| stored + self.unwritten.len() as u32);
        self.unwritten = Vec::new();
        self.changed = true;
        Ok(())
    }

    /// Writes out and gives the file where it may need a sync.
    pub(crate) fn for_sync(&mut self, at: At<'_>) -> Result<Option<Arc<dyn DiskFile>>> {
        self.write_out(at)?;
        if !self.changed {
            return Ok(None);
        }
        self.file(at, Open::Write).map(Some)
    }

    /// Keeps the first `len` entries and nothing behind them in the file.
    pub(crate) fn truncate(&mut self, at: At<'_>, len: u32) -> Result<()> {
        let stored = self.stored(at)?;
        if len >= stored {
            self.unwritten.truncate((len - stored) as usize);
        } else {
            self.unwritten.clear();
        }
        let kept = stored.min(len);
        let bytes = u64::from(kept) * N as u64;
        let path = (at.path)();
        let on_disk = match at.handles.disk.facts(&path) {
            Ok(facts) => facts.len,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io("look at index", &path, e)),
        };
        if on_disk != bytes {
            let file = self.file(at, Open::Write)?;
            file.truncate(bytes)
                .map_err(|e| Error::io("truncate index", &path, e))?;
            at.handles.forget_blocks(&self.slot);
            self.changed = true;
        }
        self.stored = Some(kept);
        Ok(())
    }

    /// Makes an empty file where there is none.
    pub(crate) fn create(&mut self, at: At<'_>) -> Result<()> {
        self.file(at, Open::Create).map(drop)
    }

    pub(crate) fn close(&self) {
        self.slot.close();
    }
}

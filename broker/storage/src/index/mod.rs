//! Sorted files of fixed entries: the tail in memory, older entries by pread through a bounded cache.
//!
//! Never mapped, never longer than their entries: Apache takes the length of a file for its number
//! of entries wherever it finds the clean marker.

pub(crate) mod aborted;
pub(crate) mod offset;
pub(crate) mod time;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::disk::{DiskFile, Facts, Open};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::handles::{BLOCK_BYTES, Handles, Slot};

/// Entries wait in memory until so many are together; a crash costs nothing, recovery finds them again.
const UNWRITTEN_MAX: usize = 128;
/// How many entries are read in one go where all are wanted.
const READ_AT_ONCE: usize = 1024;

/// The renames of a segment's files: they come one after the other, and only then are all called
/// what the segment says.
#[derive(Debug, Default)]
pub(crate) struct Renames {
    /// Held while files are renamed.
    pub(crate) under_way: Mutex<()>,
    /// They are out of the log: what is not found has been removed.
    pub(crate) is_doomed: AtomicBool,
}

/// Where a file of a segment lies, and through what it is opened: handed in by the segment at each call.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) handles: &'a Handles,
    pub(crate) path: &'a dyn Fn() -> PathBuf,
    pub(crate) renames: &'a Renames,
}

impl At<'_> {
    pub(crate) fn open(
        &self,
        slot: &Arc<Slot>,
        how: Open,
        act: &'static str,
    ) -> Result<Arc<dyn DiskFile>> {
        self.try_open(slot, how, act)?
            .ok_or_else(|| Error::io(act, &(self.path)(), io::ErrorKind::NotFound.into()))
    }

    /// `None` where there is no such file.
    pub(crate) fn try_open(
        &self,
        slot: &Arc<Slot>,
        how: Open,
        act: &'static str,
    ) -> Result<Option<Arc<dyn DiskFile>>> {
        self.if_found(act, || self.handles.get(slot, how, self.path))
    }

    pub(crate) fn facts(&self) -> Result<Facts> {
        self.try_facts()?
            .ok_or_else(|| Error::io("look at", &(self.path)(), io::ErrorKind::NotFound.into()))
    }

    /// How long the file is; nothing where there is none.
    fn len(&self) -> Result<u64> {
        Ok(self.try_facts()?.map_or(0, |facts| facts.len))
    }

    fn try_facts(&self) -> Result<Option<Facts>> {
        self.if_found("look at", || self.handles.disk.facts(&(self.path)()))
    }

    /// A file that is not found may have been renamed between the making of its name and the act.
    fn if_found<T>(
        &self,
        act: &'static str,
        look: impl Fn() -> io::Result<T>,
    ) -> Result<Option<T>> {
        let is_missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let found = match look() {
            Err(e) if is_missing(&e) => {
                let _all_have_their_names = self.renames.under_way.lock();
                look()
            }
            found => found,
        };
        match found {
            Ok(found) => Ok(Some(found)),
            // Its time to be removed has come: for a late reader the segment is simply gone.
            Err(e) if is_missing(&e) && self.renames.is_doomed.load(Ordering::Acquire) => {
                Err(Error::Closed)
            }
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(Error::io(act, &(self.path)(), e)),
        }
    }
}

/// A file of entries of `N` bytes each.
#[derive(Debug)]
pub(crate) struct IndexFile<const N: usize> {
    slot: Arc<Slot>,
    /// Entries in the file; `None` until first asked.
    stored: Option<u32>,
    unwritten: Vec<[u8; N]>,
    /// The last entry, once it was pushed or looked up: whoever adds one asks for it each time.
    newest: Option<[u8; N]>,
    /// Written or cut since it was opened. Not taken back by a sync: a flush under way may hold the file
    /// and not have synced it while another one, begun later, ends first.
    changed: bool,
}

/// The entries of an [`IndexFile`] as they were at a moment.
#[derive(Debug)]
pub(crate) struct Glance<const N: usize> {
    slot: Arc<Slot>,
    stored: Option<u32>,
    unwritten: Vec<[u8; N]>,
}

/// What memory says of the last entry that something holds for.
#[derive(Debug)]
pub(crate) enum Floor<const N: usize> {
    Known(Option<[u8; N]>),
    /// It is in the file, if anywhere.
    Stored(Glance<N>),
}

impl<const N: usize> Glance<N> {
    /// The last entry of the file that `is_before` holds for; they are sorted by it. With it goes how
    /// many the file holds, where that was not known.
    pub(crate) fn floor(
        &self,
        at: At<'_>,
        is_before: impl Fn(&[u8; N]) -> bool,
    ) -> Result<(Option<[u8; N]>, Option<u32>)> {
        let Some((file, stored)) = self.open(at)? else {
            return Ok((None, Some(0)));
        };
        let mut entries = Entries::of(&self.slot, &*file, at, stored);
        let before = partition_point(stored, |number| entries.get(number), is_before)?;
        let found = match before.checked_sub(1) {
            Some(last) => entries.get(last)?,
            None => None,
        };
        Ok((found, self.stored.is_none().then_some(stored)))
    }

    /// The last entry of the file, and how many it holds, where that was not known.
    pub(crate) fn last(&self, at: At<'_>) -> Result<(Option<[u8; N]>, Option<u32>)> {
        let Some((file, stored)) = self.open(at)? else {
            return Ok((None, Some(0)));
        };
        let last = match stored.checked_sub(1) {
            Some(last) => Entries::of(&self.slot, &*file, at, stored).get(last)?,
            None => None,
        };
        Ok((last, self.stored.is_none().then_some(stored)))
    }

    /// The file and how many entries it holds; nothing where it may be missing, and is.
    fn open(&self, at: At<'_>) -> Result<Option<(Arc<dyn DiskFile>, u32)>> {
        let act = "open index";
        if let Some(stored) = self.stored {
            return Ok(Some((at.open(&self.slot, Open::Write, act)?, stored)));
        }
        let Some(file) = at.try_open(&self.slot, Open::Write, act)? else {
            return Ok(None);
        };
        let len = file
            .len()
            .map_err(|e| Error::io("read index", &(at.path)(), e))?;
        Ok(Some((file, whole_entries::<N>(len))))
    }

    /// Hands over all entries in order, until one is not wanted. Gives how many the file holds, where
    /// that was not known.
    pub(crate) fn visit(
        &self,
        at: At<'_>,
        mut is_wanted: impl FnMut(&[u8; N]) -> bool,
    ) -> Result<Option<u32>> {
        let failed = |e| Error::io("read index", &(at.path)(), e);
        let open = match self.stored {
            Some(0) => None,
            _ => self.open(at)?,
        };
        let (file, stored) = open.unzip();
        let stored = stored.unwrap_or(0);
        let learned = self.stored.is_none().then_some(stored);
        let mut piece = vec![[0; N]; (stored as usize).min(READ_AT_ONCE)];
        let mut number = 0;
        while let Some(file) = file.as_ref().filter(|_| number < stored) {
            let wanted = (stored - number) as usize;
            let piece = &mut piece[..wanted.min(READ_AT_ONCE)];
            let got = file
                .read_at(piece.as_flattened_mut(), u64::from(number) * N as u64)
                .map_err(failed)?;
            let whole = got / N;
            if !piece.iter().take(whole).all(&mut is_wanted) || whole < piece.len() {
                return Ok(learned);
            }
            number += u32::try_from(whole).unwrap_or(u32::MAX);
        }
        let _wanted_more = self.unwritten.iter().all(is_wanted);
        Ok(learned)
    }
}

impl<const N: usize> IndexFile<N> {
    /// Of a file that may be there: looked at when first needed.
    pub(crate) fn unseen(handles: &Handles) -> Self {
        IndexFile {
            slot: handles.slot(),
            stored: None,
            unwritten: Vec::new(),
            newest: None,
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
        at.open(&self.slot, how, "open index")
    }

    fn stored(&mut self, at: At<'_>) -> Result<u32> {
        if let Some(stored) = self.stored {
            return Ok(stored);
        }
        let stored = whole_entries::<N>(at.len()?);
        self.stored = Some(stored);
        Ok(stored)
    }

    /// Whether entries are known to lie in the file.
    pub(crate) fn is_in_use(&self) -> bool {
        self.stored.is_some_and(|stored| stored > 0)
    }

    /// The file, open for as long as it is held; nothing where there is none, which is not asked
    /// again: that takes a descriptor too.
    pub(crate) fn hold(&mut self, at: At<'_>) -> Result<Option<Arc<dyn DiskFile>>> {
        let file = at.try_open(&self.slot, Open::Write, "open index")?;
        if file.is_none() {
            self.stored.get_or_insert(0);
        }
        Ok(file)
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
        let file = self.file(at, Open::Write)?;
        Entries::of(&self.slot, &*file, at, stored).get(number)
    }

    pub(crate) fn last(&mut self, at: At<'_>) -> Result<Option<[u8; N]>> {
        if self.newest.is_none() {
            self.newest = match self.len(at)? {
                0 => None,
                len => self.get(at, len - 1)?,
            };
        }
        Ok(self.newest)
    }

    /// How many leading entries `is_before` holds for; they are sorted by it.
    pub(crate) fn partition_point(
        &mut self,
        at: At<'_>,
        is_before: impl Fn(&[u8; N]) -> bool,
    ) -> Result<u32> {
        let len = self.len(at)?;
        partition_point(len, |number| self.get(at, number), is_before)
    }

    pub(crate) fn push(&mut self, at: At<'_>, entry: [u8; N]) -> Result<()> {
        self.stored(at)?;
        self.unwritten.push(entry);
        self.newest = Some(entry);
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
        self.newest = None;
        let stored = self.stored(at)?;
        if len >= stored {
            self.unwritten.truncate((len - stored) as usize);
        } else {
            self.unwritten.clear();
        }
        let kept = stored.min(len);
        let bytes = u64::from(kept) * N as u64;
        if at.len()? != bytes {
            let file = self.file(at, Open::Write)?;
            file.truncate(bytes)
                .map_err(|e| Error::io("truncate index", &(at.path)(), e))?;
            at.handles.forget_blocks(&self.slot);
            self.changed = true;
        }
        self.stored = Some(kept);
        Ok(())
    }

    /// Begins with no entry, and writes over what is in the file; what of it is not written over goes
    /// with [`IndexFile::truncate`].
    pub(crate) fn write_over(&mut self, at: At<'_>) {
        self.stored = Some(0);
        self.unwritten.clear();
        self.newest = None;
        at.handles.forget_blocks(&self.slot);
    }

    /// The last entry that `is_before` holds for, or what it takes to look for it without whoever
    /// owns this: who appends waits for nobody's disk but his own.
    pub(crate) fn floor(&self, is_before: impl Fn(&[u8; N]) -> bool) -> Floor<N> {
        let waiting = self.unwritten.partition_point(is_before);
        match (waiting.checked_sub(1), self.stored) {
            (Some(last), _) => Floor::Known(self.unwritten.get(last).copied()),
            (None, Some(0)) => Floor::Known(None),
            (None, stored) => Floor::Stored(Glance {
                slot: Arc::clone(&self.slot),
                stored,
                unwritten: Vec::new(),
            }),
        }
    }

    /// The last entry, as [`IndexFile::floor`].
    pub(crate) fn newest(&self) -> Floor<N> {
        match self.newest.or_else(|| self.unwritten.last().copied()) {
            None if self.stored != Some(0) => Floor::Stored(Glance {
                slot: Arc::clone(&self.slot),
                stored: self.stored,
                unwritten: Vec::new(),
            }),
            known => Floor::Known(known),
        }
    }

    /// What it takes to read the entries without whoever owns this.
    pub(crate) fn glance(&self) -> Glance<N> {
        Glance {
            slot: Arc::clone(&self.slot),
            stored: self.stored,
            unwritten: self.unwritten.clone(),
        }
    }

    /// The file was looked at elsewhere: it held so many entries, unless it is known better by now.
    pub(crate) fn note_stored(&mut self, stored: u32) {
        self.stored.get_or_insert(stored);
    }

    /// Makes an empty file where there is none.
    pub(crate) fn create(&mut self, at: At<'_>) -> Result<()> {
        self.file(at, Open::Create).map(drop)
    }

    pub(crate) fn close(&mut self) {
        self.newest = None;
        self.slot.close();
    }
}

/// The entries of a file that holds so many; the block read last stays at hand.
struct Entries<'a, const N: usize> {
    slot: &'a Slot,
    file: &'a dyn DiskFile,
    at: At<'a>,
    stored: u32,
    block: Option<(usize, Arc<[u8]>)>,
}

impl<'a, const N: usize> Entries<'a, N> {
    fn of(slot: &'a Slot, file: &'a dyn DiskFile, at: At<'a>, stored: u32) -> Self {
        Entries {
            slot,
            file,
            at,
            stored,
            block: None,
        }
    }

    /// `None` where the file is shorter than it was.
    fn get(&mut self, number: u32) -> Result<Option<[u8; N]>> {
        let from = number as usize * N;
        let mut entry = [0; N];
        let mut filled = 0;
        while filled < N {
            let byte = from + filled;
            let bytes = self.block(byte / BLOCK_BYTES)?;
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

    fn block(&mut self, block: usize) -> Result<&[u8]> {
        let bytes = match self.block.take() {
            Some((at_hand, bytes)) if at_hand == block => bytes,
            _ => {
                let stored = (self.stored as usize * N).saturating_sub(block * BLOCK_BYTES);
                let number = u32::try_from(block).unwrap_or(u32::MAX);
                let handles = self.at.handles;
                let read = handles.block(self.slot, self.file, number, stored.min(BLOCK_BYTES));
                read.map_err(|e| Error::io("read index", &(self.at.path)(), e))?
            }
        };
        let (_, bytes) = self.block.insert((block, bytes));
        Ok(bytes)
    }
}

/// How many entries a file of so many bytes holds; a crash may have torn the last.
fn whole_entries<const N: usize>(bytes: u64) -> u32 {
    u32::try_from(bytes / N as u64).unwrap_or(u32::MAX)
}

/// How many leading entries of `len` `is_before` holds for; they are sorted by it.
fn partition_point<const N: usize>(
    len: u32,
    mut entry: impl FnMut(u32) -> Result<Option<[u8; N]>>,
    is_before: impl Fn(&[u8; N]) -> bool,
) -> Result<u32> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match entry(middle)? {
            Some(entry) if is_before(&entry) => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

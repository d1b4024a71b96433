//! Memory that the host has given, and does not take back before it is used.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use rustix::fs::FallocateFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::memory_mb;
use crate::process::STOP;

/// With less than this left free, what is written next goes where the file's pages were: the host has
/// given these. Free ones it may have taken back, and each costs the one who touches it first up to
/// twenty times the copy.
const FREE_MB: u64 = 256;

/// So much is asked for at a time.
const STEP: usize = 64 << 20;

/// A sparse file as large as memory, mapped: looking at it touches no disk. The kernel takes its pages
/// where somebody needs memory, but leaves them to nobody else: some hosts have pages of the page cache
/// that nobody maps and nobody has read for half a minute dropped, and take the memory. It stays until
/// the end, as deleting it would give the pages back to the host.
#[derive(Debug)]
pub(super) struct Junk {
    path: PathBuf,
    mapped: OnceCell<Mapped>,
    /// Where filling goes on: what was looked at last time is mostly there still.
    at: Cell<usize>,
}

#[derive(Debug)]
struct Mapped {
    file: File,
    start: NonNull<c_void>,
    /// A multiple of [`STEP`].
    size: usize,
}

impl Junk {
    pub(super) fn at(work: &Path) -> Self {
        Junk {
            path: work.join("junk"),
            mapped: OnceCell::new(),
            at: Cell::new(0),
        }
    }

    /// Makes room of pages that the host has given: so many gigabytes at once. Having the kernel take them
    /// back one by one is work of whoever writes. But what lies free for longer than a few seconds the
    /// host takes, which holds the machine up; so a row that lasts leaves it to the kernel.
    pub(super) fn make_room(&self, gigabytes: usize) -> Result<()> {
        let mapped = match self.mapped.get() {
            Some(mapped) => mapped,
            None => {
                let mapped = Mapped::new(&self.path)?;
                self.mapped.get_or_init(|| mapped)
            }
        };
        self.fill(mapped)?;
        // What was looked at last is most likely there; there filling goes on the next time.
        for _ in 0..(gigabytes << 30) / STEP {
            let behind = self.at.get() + mapped.size - STEP;
            self.at.set(behind % mapped.size);
            mapped.drop_at(self.at.get())?;
        }
        // Whoever keeps pages of zeros in common for all gives one only to him who writes to it.
        drop(black_box(vec![1_u8; gigabytes << 30]));
        Ok(())
    }

    /// Once through it is not always enough: the kernel takes pages back meanwhile.
    fn fill(&self, mapped: &Mapped) -> Result<()> {
        let mut left = 3 * mapped.size;
        while left > 0 && memory_mb("MemFree:") > FREE_MB {
            mapped.look_at(self.at.get())?;
            self.at.set((self.at.get() + STEP) % mapped.size);
            left -= STEP;
            ensure!(!STOP.load(Ordering::Relaxed), "interrupted");
        }
        Ok(())
    }
}

impl Drop for Junk {
    fn drop(&mut self) {
        let _never_was = fs::remove_file(&self.path);
    }
}

#[expect(unsafe_code, reason = "memory is mapped; nobody reads or writes it")]
impl Mapped {
    fn new(path: &Path) -> Result<Self> {
        let size = (memory_mb("MemTotal:") as usize) << 20;
        let size = size.next_multiple_of(STEP);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size as u64)?;
        // SAFETY: a new mapping where the kernel likes it, to which no reference is ever made.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                size,
                ProtFlags::READ,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let start = NonNull::new(start).context("mapped at address zero")?;
        Ok(Mapped { file, start, size })
    }

    /// The pages of one step from `at` on are free afterwards.
    fn drop_at(&self, at: usize) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (at, len) = (at as u64, STEP as u64);
        Ok(rustix::fs::fallocate(&self.file, how, at, len)?)
    }

    /// The pages of one step from `at` on are there afterwards.
    fn look_at(&self, at: usize) -> io::Result<()> {
        // SAFETY: `at` is a multiple of the step below the size, so the range lies in the mapping, and
        // to have pages read changes nothing.
        unsafe {
            let from = self.start.as_ptr().byte_add(at);
            rustix::mm::madvise(from, STEP, Advice::LinuxPopulateRead)?;
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "memory is unmapped")]
impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the whole of what was mapped, which nobody refers to.
        let _cannot_fail = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.size) };
    }
}

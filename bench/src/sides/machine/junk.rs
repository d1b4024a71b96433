//! Memory that the host has given, and does not take back before it is used.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::FallocateFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::memory_mb;
use crate::process::STOP;

/// With less than this left free, what is written next goes where the file's pages were: the host has
/// given these. Free ones it may have taken back, and each costs the one who touches it first up to
/// twenty times the copy.
const FREE_MB: u64 = 256;

/// So much is kept free by who makes room: more than the kernel begins to take pages back at.
const ROOM_MB: u64 = 384;

/// How long between two looks at what is free; at 3 GB/s nine megabytes go meanwhile.
const LOOK: Duration = Duration::from_millis(3);

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
    at: Arc<AtomicUsize>,
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
            at: Arc::default(),
        }
    }

    /// Fills memory; little is free afterwards.
    pub(super) fn fill(&self) -> Result<()> {
        self.fill_from(self.mapped()?)
    }

    /// Fills memory, and makes room as it is needed for as long as what it returns is held.
    pub(super) fn make_room(&self) -> Result<Room> {
        let mapped = self.mapped()?;
        self.fill_from(mapped)?;
        // What is free still may be new as well, until it is written to.
        let free = (memory_mb("MemFree:") as usize) << 20;
        drop(black_box(vec![1_u8; free]));
        Room::make(mapped, &self.at)
    }

    fn mapped(&self) -> Result<&Mapped> {
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped);
        }
        let mapped = Mapped::new(&self.path)?;
        Ok(self.mapped.get_or_init(|| mapped))
    }

    /// Once through it is not always enough: the kernel takes pages back meanwhile.
    fn fill_from(&self, mapped: &Mapped) -> Result<()> {
        let mut at = self.at.load(Ordering::Relaxed);
        let mut left = 3 * mapped.size;
        while left > 0 && memory_mb("MemFree:") > FREE_MB {
            mapped.look_at(at)?;
            at = (at + STEP) % mapped.size;
            left -= STEP;
            ensure!(!STOP.load(Ordering::Relaxed), "interrupted");
        }
        self.at.store(at, Ordering::Relaxed);
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

/// While it is held, somebody who writes finds free memory that the host has given a moment ago. All of it
/// at once would be free for longer: every two seconds some hosts take a part of what is.
#[derive(Debug)]
pub(crate) struct Room {
    ended: Arc<AtomicBool>,
    making: Option<JoinHandle<()>>,
}

impl Room {
    fn make(mapped: &Mapped, at: &Arc<AtomicUsize>) -> Result<Self> {
        let (file, size) = (mapped.file.try_clone()?, mapped.size);
        let ended = Arc::new(AtomicBool::new(false));
        let (at, until) = (Arc::clone(at), Arc::clone(&ended));
        let keep = move || keep_free(&file, size, &at, &until);
        let making = thread::Builder::new().name("room".to_owned()).spawn(keep)?;
        Ok(Room {
            ended,
            making: Some(making),
        })
    }
}

/// What was looked at last is most likely there, so it goes first; there filling goes on the next time.
fn keep_free(file: &File, size: usize, at: &AtomicUsize, ended: &AtomicBool) {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let mut left = size;
    while left > 0 && !ended.load(Ordering::Relaxed) {
        if memory_mb("MemFree:") > ROOM_MB {
            thread::sleep(LOOK);
            continue;
        }
        let behind = (at.load(Ordering::Relaxed) + size - STEP) % size;
        at.store(behind, Ordering::Relaxed);
        if let Err(error) = rustix::fs::fallocate(file, how, behind as u64, STEP as u64) {
            eprintln!("no room is made: {error}");
            break;
        }
        left -= STEP;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(making) = self.making.take() {
            let _panicked = making.join();
        }
    }
}

#[expect(unsafe_code, reason = "memory is unmapped")]
impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the whole of what was mapped, which nobody refers to.
        let _cannot_fail = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.size) };
    }
}

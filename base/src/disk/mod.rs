//! The file seam: all that durable code asks of a disk, so that a test can put a lying one there.
//!
//! Everything blocks; whoever may not sleep calls from `base::io_pool`. Nothing is memory-mapped.

mod file_system;

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use file_system::SystemFileSystem;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must be there; reading only.
    Read,
    /// It must be there; reading and writing.
    Write,
    /// Made if missing; what it holds is kept.
    Create,
    /// Must not be there.
    CreateNew,
}

/// What a directory says of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    /// What it names may lie anywhere.
    pub is_link: bool,
}

/// What a disk says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub len: u64,
    pub is_dir: bool,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
}

/// One open file. Offsets are explicit, so that readers and the writer never share a position.
pub trait DiskFile: Send + Sync + Debug {
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, or fails with some of them written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes `parts` one after the other at `offset`, in one call where the disk can; or fails
    /// with some of them written.
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// `fdatasync`: the bytes and the length are on the disk when it returns.
    fn sync(&self) -> io::Result<()>;
    fn set_modified_ms(&self, ms: i64) -> io::Result<()>;
    /// The real file behind it, for `sendfile`; a disk in memory has none.
    fn real(&self) -> Option<&File>;
    /// Reads what needs no waiting for the disk, which may be less than asked, and would block where
    /// that is nothing. Where nobody can say, it is all read.
    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buf, offset)
    }
    /// Whether the byte there can be read without waiting for the disk. Asks without waiting itself;
    /// yes where nobody can say.
    fn is_cached(&self, _offset: u64) -> bool {
        true
    }
}

/// EMFILE and ENFILE: the process, not the disk, has run out.
pub fn is_out_of_files(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(e);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

/// A file system that is watched.
pub trait FileSystem: Send + Sync + Debug {
    /// Makes everything written so far on it survive a power cut. It fails, once, where bytes were lost
    /// since it was watched, even if others were told before; and where bytes were lost earlier of which
    /// nobody was told. Linux counts so for each descriptor: one that is opened later hears nothing of
    /// what somebody was told.
    fn sync(&self) -> io::Result<()>;
    /// Whether `sync` is worth as much as that of every file on it.
    fn is_thorough(&self) -> bool;
}

/// A disk, or something that behaves like one.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// Entries in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn facts(&self, path: &Path) -> io::Result<Facts>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Atomic within one file system; an existing target file is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes entries created, renamed or removed in `dir` survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The file system of a directory, whose failures are watched from now on.
    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>>;
    /// An exclusive lock on a file (made if missing), held until dropped or the process dies.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Bytes in all and bytes free to us, on the file system of `path`.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;

    /// The whole of a small file; refused where it is longer than `len_max`.
    fn read_small(&self, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = file.len()?;
        if len > len_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} holds {len} bytes, more than the {len_max} it may",
                    path.display()
                ),
            ));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let got = file.read_at(&mut bytes, 0)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.facts(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Held while its owner uses what it guards.
pub trait DiskLock: Send + Sync + Debug {
    fn path(&self) -> &Path;
}

/// The machine's own disks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl SystemDisk {
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(SystemDisk)
    }
}

#[derive(Debug)]
struct SystemFile(File);

impl SystemFile {
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
        let parts = &mut [IoSliceMut::new(buf)];
        rustix::io::preadv2(&self.0, parts, offset, rustix::io::ReadWriteFlags::NOWAIT)
    }
}

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut parts = parts;
        let mut at = offset;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.0, parts, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => {
                    at += wrote as u64;
                    IoSlice::advance_slices(&mut parts, wrote);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        let time = UNIX_EPOCH
            .checked_add(Duration::from_millis(ms.max(0).cast_unsigned()))
            .unwrap_or(UNIX_EPOCH);
        self.0.set_modified(time)
    }

    fn real(&self) -> Option<&File> {
        Some(&self.0)
    }

    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.read_at_once(buf, offset) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.read_at(buf, offset),
            got => Ok(got?),
        }
    }

    fn is_cached(&self, offset: u64) -> bool {
        let got = self.read_at_once(&mut [0], offset);
        !matches!(got, Err(rustix::io::Errno::AGAIN))
    }
}

#[derive(Debug)]
struct SystemLock {
    path: PathBuf,
    _file: File,
}

impl DiskLock for SystemLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for SystemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::Create => options.write(true).create(true).truncate(false),
            Open::CreateNew => options.write(true).create_new(true),
        };
        Ok(Arc::new(SystemFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let is_dir = if kind.is_symlink() {
                entry.path().is_dir()
            } else {
                kind.is_dir()
            };
            // A name that is not UTF-8 is nobody's we know; it is shown, so that it can be refused.
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir,
                is_link: kind.is_symlink(),
            });
        }
        Ok(entries)
    }

    fn facts(&self, path: &Path) -> io::Result<Facts> {
        let meta = std::fs::metadata(path)?;
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let modified_ms = modified.duration_since(UNIX_EPOCH).map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        Ok(Facts {
            len: meta.len(),
            is_dir: meta.is_dir(),
            modified_ms,
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the seam itself; callers go through durable"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(SystemFileSystem::of(path)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // Kafka: Java's FileChannel.tryLock is a POSIX record lock, which flock does not see;
        // both are taken, so that neither an Apache broker nor a second one of ours gets in.
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(SystemLock {
            path: path.to_path_buf(),
            _file: file,
        }))
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let facts = rustix::fs::statvfs(path)?;
        Ok((
            facts.f_blocks * facts.f_frsize,
            facts.f_bavail * facts.f_frsize,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_on_the_same_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = SystemDisk.lock(&path).unwrap();
        assert!(SystemDisk.lock(&path).is_err());
        drop(held);
        assert!(SystemDisk.lock(&path).is_ok());
    }

    #[test]
    fn parts_are_written_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = SystemDisk
            .open(&dir.path().join("f"), Open::Create)
            .unwrap();
        let mut parts = [&b"ab"[..], b"", b"cde"].map(IoSlice::new);
        file.write_vectored_at(&mut parts, 1).unwrap();
        let mut buf = [1; 10];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 6);
        assert_eq!(&buf[..6], b"\0abcde");
    }

    #[test]
    fn reading_past_the_end_gives_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = SystemDisk
            .open(&dir.path().join("f"), Open::Create)
            .unwrap();
        file.write_at(b"hello", 3).unwrap();
        let mut buf = [1; 10];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0hello");
    }
}

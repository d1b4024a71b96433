//! The machine's file systems: what a sync of a whole one is worth, and when it is cheap.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, fstatfs, openat, syncfs};

use super::FileSystem;

/// With no more than this to be written on the whole machine, a sync of one file system is cheap.
const QUIET_BYTES_MAX: u64 = 8 << 20;
/// More than /proc/meminfo says before the two lines that are looked for.
const MEMINFO_BYTES: usize = 4096;

/// What `syncfs` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// All is written, and the device empties its cache.
    Whole,
    /// All is written. Linux: `xfs_fs_sync_fs` forces the log, no more; where blocks were only
    /// overwritten the log has nothing to say, and the device keeps them in its cache (seen on 6.18: 300
    /// syncs sent it 8 flushes). Others may do the same.
    Written,
    /// All is handed to whoever keeps the files, which may be a program or a machine with a memory of
    /// its own; it hears only of files that are synced.
    HandedOn,
}

/// As `statfs` calls them.
const fn worth(kind: u64) -> Worth {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const F2FS: u64 = 0xF2F5_2010;
    const ZFS: u64 = 0x2FC1_2FC1;
    const OVERLAY: u64 = 0x794C_7630;
    const TMPFS: u64 = 0x0102_1994;
    match kind {
        EXT => Worth::Whole,
        XFS | BTRFS | F2FS | ZFS | OVERLAY | TMPFS => Worth::Written,
        _ => Worth::HandedOn,
    }
}

#[derive(Debug)]
pub(super) struct SystemFileSystem {
    /// A directory on it.
    watched: File,
    worth: Worth,
    /// A file without a name, never written to: its sync is for the device.
    nameless: OnceLock<File>,
    meminfo: Option<File>,
}

impl SystemFileSystem {
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let watched = File::open(directory)?;
        let kind = fstatfs(&watched)?.f_type;
        Ok(SystemFileSystem {
            watched,
            worth: worth(u64::from(kind as u32)),
            nameless: OnceLock::new(),
            meminfo: File::open("/proc/meminfo").ok(),
        })
    }

    fn nameless(&self) -> io::Result<&File> {
        if let Some(file) = self.nameless.get() {
            return Ok(file);
        }
        let how = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let made = openat(&self.watched, ".", how, Mode::RUSR | Mode::WUSR)?;
        Ok(self.nameless.get_or_init(|| made.into()))
    }
}

impl FileSystem for SystemFileSystem {
    fn sync(&self) -> io::Result<()> {
        syncfs(&self.watched)?;
        match self.worth {
            Worth::Whole | Worth::HandedOn => Ok(()),
            Worth::Written => self.nameless()?.sync_data(),
        }
    }

    fn is_thorough(&self) -> bool {
        self.worth != Worth::HandedOn
    }

    fn is_quiet(&self) -> bool {
        // Elsewhere it is two syncs, and has not been measured.
        if self.worth != Worth::Whole {
            return false;
        }
        let mut text = [0; MEMINFO_BYTES];
        let meminfo = self.meminfo.as_ref();
        let read = meminfo.and_then(|file| file.read_at(&mut text, 0).ok());
        let unwritten = read.and_then(|len| unwritten_bytes(&text[..len]));
        unwritten.is_some_and(|bytes| bytes <= QUIET_BYTES_MAX)
    }
}

/// What the machine has yet to write, on whatever disk.
fn unwritten_bytes(meminfo: &[u8]) -> Option<u64> {
    let of = |name: &[u8]| {
        let mut lines = meminfo.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(name))?;
        let kilobytes = std::str::from_utf8(value).ok()?.trim();
        kilobytes.strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let sum = of(b"Dirty:")?.checked_add(of(b"Writeback:")?)?;
    sum.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_written_is_read_from_the_kernels_words() {
        let text = b"MemFree: 7 kB\nDirty:              12 kB\nWriteback:           3 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(unwritten_bytes(text), Some(15 * 1024));
        assert_eq!(unwritten_bytes(b"Dirty: 12 kB\n"), None);
        assert_eq!(unwritten_bytes(b"Dirty: x kB\nWriteback: 0 kB\n"), None);
        assert_eq!(unwritten_bytes(b""), None);
    }

    #[test]
    fn a_file_system_is_synced_whatever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for worth in [Worth::Whole, Worth::Written, Worth::HandedOn] {
            let found = SystemFileSystem::of(dir.path()).unwrap();
            let found = SystemFileSystem { worth, ..found };
            found.sync().unwrap();
            assert_eq!(found.is_thorough(), worth != Worth::HandedOn);
        }
    }
}

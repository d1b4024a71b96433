//! The machine's file systems, and which of them a sync reaches as a whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, major, minor, openat, syncfs};

use super::{FileSystem, is_out_of_files};

/// Those whose `syncfs` writes all that was written to them. Elsewhere it may end at a program or a
/// machine with a memory of its own, or hide what was lost (an overlay's does).
const THOROUGH: [&str; 2] = ["ext4", "xfs"];

#[derive(Debug)]
pub(super) struct SystemFileSystem {
    /// A directory on it.
    watched: File,
    /// A file without a name, never written to, on one that is thorough: its sync empties the cache of
    /// the device. Linux: `xfs_fs_sync_fs` forces the log, no more; where blocks were only written over
    /// the log has nothing to say, and the device keeps them (seen on 6.18: 300 syncs sent it 8
    /// flushes). An ext4 that has given up says so here, which its `syncfs` did not before 6.13.
    nameless: Option<File>,
}

impl SystemFileSystem {
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let watched = File::open(directory)?;
        let device = watched.metadata()?.dev();
        let mounts = mounts()?;
        let is_thorough = kind(&mounts, device).is_some_and(|kind| THOROUGH.contains(&kind));
        let nameless = if is_thorough {
            nameless(&watched)?
        } else {
            None
        };
        Ok(SystemFileSystem { watched, nameless })
    }
}

impl FileSystem for SystemFileSystem {
    fn sync(&self) -> io::Result<()> {
        syncfs(&self.watched)?;
        self.nameless.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn is_thorough(&self) -> bool {
        self.nameless.is_some()
    }
}

/// Nothing where nobody tells.
fn mounts() -> io::Result<String> {
    match fs::read("/proc/self/mountinfo") {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if is_out_of_files(&e) => Err(e),
        Err(_hidden) => Ok(String::new()),
    }
}

/// `None` where there is none to be had, on a full disk for one.
fn nameless(directory: &File) -> io::Result<Option<File>> {
    let how = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = openat(directory, ".", how, Mode::RUSR | Mode::WUSR);
    match made.map_err(io::Error::from) {
        Ok(made) => Ok(Some(made.into())),
        Err(e) if is_out_of_files(&e) => Err(e),
        Err(_refused) => Ok(None),
    }
}

/// What the kernel calls the file system with this device number. What it says of itself (`statfs`)
/// may be what another machine says of its own.
fn kind(mountinfo: &str, device: u64) -> Option<&str> {
    let device = format!("{}:{}", major(device), minor(device));
    let mut lines = mountinfo.lines();
    let line = lines.find(|line| line.split(' ').nth(2) == Some(&device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 26 0:19 / /sys rw,nosuid - sysfs sysfs rw
26 1 254:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw
30 26 254:16 / /var/lib/with\\040space rw - xfs /dev/vdb rw
31 26 0:40 / /shared rw - 9p share rw,trans=virtio
broken";

    #[test]
    fn a_file_system_is_called_what_its_mount_says() {
        let kind_of = |major, minor| kind(MOUNTS, rustix::fs::makedev(major, minor));
        assert_eq!(kind_of(254, 1), Some("ext4"));
        assert_eq!(kind_of(254, 16), Some("xfs"));
        assert_eq!(kind_of(0, 40), Some("9p"));
        assert_eq!(kind_of(254, 2), None);
        assert_eq!(kind("", 0), None);
    }

    #[test]
    fn a_file_system_of_another_kind_is_not_thorough_and_can_be_synced() {
        for path in ["/proc", "/dev/shm"] {
            let found = SystemFileSystem::of(Path::new(path)).unwrap();
            assert!(!found.is_thorough(), "{path}");
            found.sync().unwrap();
        }
    }
}

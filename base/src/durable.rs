//! The one way to make small files durable: write beside, sync, rename, sync the directory.
//!
//! Whoever replaces a file that must survive a power cut comes here; nothing else renames for
//! safety. Many files at once go through [`write_all_beside`], and share two syncs of their file system.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Open};

const TEMPORARY_SUFFIX: &str = ".tmp";

/// Replaces `path` by `bytes`: after a power cut it holds the old bytes or the new, never a mix.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_beside(disk, path, bytes, true)?;
    disk.rename(&temporary, path)?;
    sync_parent(disk, path)
}

/// Many files that are to be replaced together, written and not yet in their places.
#[must_use]
pub struct Beside<'a> {
    disk: &'a dyn Disk,
    /// From where, to where.
    renames: Vec<(PathBuf, &'a Path)>,
}

/// Begins to replace many files of one file system, of which a sync reaches all of it: after this it
/// is synced, then comes [`Beside::put_in_place`], then it is synced again.
pub fn write_all_beside<'a>(
    disk: &'a dyn Disk,
    files: &'a [(PathBuf, Vec<u8>)],
) -> io::Result<Beside<'a>> {
    let write = |(path, bytes): &'a (PathBuf, Vec<u8>)| {
        write_beside(disk, path, bytes, false).map(|temporary| (temporary, path.as_path()))
    };
    let renames = files.iter().map(write).collect::<io::Result<_>>()?;
    Ok(Beside { disk, renames })
}

impl Beside<'_> {
    pub fn put_in_place(self) -> io::Result<()> {
        let mut renames = self.renames.iter();
        renames.try_for_each(|(from, to)| self.disk.rename(from, to))
    }
}

/// Renames and makes the new name survive a power cut.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    sync_parent(disk, to)?;
    if from.parent() != to.parent() {
        sync_parent(disk, from)?;
    }
    Ok(())
}

/// Makes the entries of the directory that holds `path` survive a power cut.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => disk.sync_dir(dir),
        _ => disk.sync_dir(Path::new(".")),
    }
}

fn write_beside(disk: &dyn Disk, path: &Path, bytes: &[u8], sync: bool) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = PathBuf::from(name);
    let file = disk.open(&temporary, Open::Create)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    if sync {
        file.sync()?;
    }
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn replaced_files_hold_the_new_bytes_and_leave_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c", "d", "e"].map(|name| dir.path().join(name));
        replace(&SystemDisk, &paths[0], b"a long first text").unwrap();
        let files = paths.clone().map(|path| (path, b"new".to_vec())).to_vec();
        let file_system = SystemDisk.file_system(dir.path()).unwrap();
        let beside = write_all_beside(&SystemDisk, &files).unwrap();
        file_system.sync().unwrap();
        beside.put_in_place().unwrap();
        for path in &paths {
            assert_eq!(std::fs::read(path).unwrap(), b"new");
        }
        assert_eq!(SystemDisk.list(dir.path()).unwrap().len(), 5);
    }
}

//! The disk as a store sees it: what fails because the process has no descriptor left is tried once
//! more, with room made among the files that are open and idle.

use std::io;
use std::path::Path;
use std::sync::Arc;

use base::disk::{Disk, DiskFile, DiskLock, Entry, Facts, FileSystem, Open, is_out_of_files};

use crate::handles::OpenFiles;

#[derive(Debug)]
pub(crate) struct Roomy {
    disk: Arc<dyn Disk>,
    files: Arc<OpenFiles>,
}

impl Roomy {
    pub(crate) fn new(disk: Arc<dyn Disk>, files: Arc<OpenFiles>) -> Roomy {
        Roomy { disk, files }
    }

    fn with_room<T>(&self, act: impl Fn(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        match act(&*self.disk) {
            Err(e) if is_out_of_files(&e) => {
                self.files.make_room();
                act(&*self.disk)
            }
            other => other,
        }
    }
}

impl Disk for Roomy {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.with_room(|disk| disk.open(path, how))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.with_room(|disk| disk.list(dir))
    }

    fn facts(&self, path: &Path) -> io::Result<Facts> {
        self.disk.facts(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.with_room(|disk| disk.remove_dir_all(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.with_room(|disk| disk.sync_dir(dir))
    }

    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        self.with_room(|disk| disk.file_system(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.with_room(|disk| disk.lock(path))
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.disk.space(path)
    }
}

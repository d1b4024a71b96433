//! A file named on the command line: its parts, its bytes, and its name as Java shows it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base::disk::{Disk, DiskFile, Open, SystemDisk};
use storage::inspect::{Walk, WalkError};

use crate::dump_log::Stop;

/// An index larger than this is none.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// One file to dump.
#[derive(Debug)]
pub(crate) struct DumpedFile {
    path: String,
}

impl DumpedFile {
    /// Kafka: Java folds slashes that stand together and drops those at the end.
    pub(crate) fn named(name: &str) -> DumpedFile {
        let mut path = String::with_capacity(name.len());
        for letter in name.chars() {
            if letter != '/' || !path.ends_with('/') {
                path.push(letter);
            }
        }
        if path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
        DumpedFile { path }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The last dot of the name and what follows.
    pub(crate) fn suffix(&self) -> &str {
        let name = self.name();
        name.rfind('.').map_or("", |dot| &name[dot..])
    }

    /// The same segment's file of another kind.
    pub(crate) fn sibling(&self, suffix: &str) -> DumpedFile {
        let dir = &self.path[..self.path.len() - self.name().len()];
        let stem = self.name().split('.').next().unwrap_or_default();
        DumpedFile {
            path: format!("{dir}{stem}{suffix}"),
        }
    }

    /// The offset in the name.
    pub(crate) fn base(&self) -> Result<i64, Stop> {
        let stem = self.name().split('.').next().unwrap_or_default();
        stem.parse()
            .map_err(|_| Stop::Content(format!("For input string: \"{stem}\"")))
    }

    pub(crate) fn absolute(&self) -> String {
        if self.path.starts_with('/') {
            return self.path.clone();
        }
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        format!("{}/{}", here.display(), self.path)
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn DiskFile>, Stop> {
        let opened = SystemDisk.open(self.path.as_ref(), Open::Read);
        opened.map_err(|source| self.stop("open", source))
    }

    /// All of a small file.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Stop> {
        let read = SystemDisk.read_small(self.path.as_ref(), INDEX_BYTES_MAX);
        read.map_err(|source| self.stop("read", source))
    }

    /// A missing file holds nothing.
    pub(crate) fn read_if_there(&self) -> Result<Vec<u8>, Stop> {
        match self.read() {
            Err(Stop::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            read => read,
        }
    }

    pub(crate) fn stop(&self, act: &'static str, source: std::io::Error) -> Stop {
        Stop::File {
            act,
            path: self.path.clone(),
            source,
        }
    }

    pub(crate) fn walk(&self, file: Arc<dyn DiskFile>, from: u64, to: u64) -> Result<Walk, Stop> {
        Walk::over(file, from, to).map_err(|source| self.stop("read", source))
    }

    /// A walk that stopped, in Kafka's words where it has some.
    pub(crate) fn walk_stop(&self, error: WalkError) -> Stop {
        use protocol::batch::Fault;
        match error {
            WalkError::Read { source, .. } => self.stop("read", source),
            WalkError::Fault {
                fault: Fault::Size(size),
                ..
            } => Stop::Content(format!(
                "Found record size {size} smaller than minimum record overhead (14) in file {self}."
            )),
            WalkError::Fault { position, fault } => {
                Stop::Content(format!("{fault} at position {position} in file {self}."))
            }
        }
    }
}

impl fmt::Display for DumpedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

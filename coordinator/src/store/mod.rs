//! ZooKeeper's own files: transaction logs and snapshots in `version-2`.
//!
//! A log is a header and entries (checksum, length, bytes, `B`), padded with zeros; a snapshot is
//! the sessions, the access lists and the nodes, sealed by checksums. File names carry the zxid
//! the log begins with, or the last one a snapshot certainly holds.

pub(crate) mod checksum;
pub mod txn_log;
pub(crate) mod snapshot;
pub(crate) mod recover;
pub(crate) mod writer;
pub(crate) mod purge;

use std::path::{Path, PathBuf};

use base::disk::{Disk, Entry};

use crate::error::Error;

pub(crate) const LOG_PREFIX: &str = "log";
pub(crate) const SNAPSHOT_PREFIX: &str = "snapshot";

/// The zxid in a file's name: `prefix.hex`, perhaps with more parts after it.
pub(crate) fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let mut parts = name.split('.');
    (parts.next()? == prefix).then_some(())?;
    i64::from_str_radix(parts.next()?, 16).ok()
}

/// The files of one kind in `dir`, lowest zxid first. A missing directory holds none.
pub(crate) fn files(
    disk: &dyn Disk,
    dir: &Path,
    prefix: &str,
) -> Result<Vec<(i64, PathBuf)>, Error> {
    let entries: Vec<Entry> = match disk.list(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(cause) => {
            return Err(Error::Read {
                path: dir.to_path_buf(),
                cause,
            });
        }
    };
    let mut files: Vec<(i64, PathBuf)> = entries
        .into_iter()
        .filter(|entry| !entry.is_dir && !entry.name.ends_with(".tmp"))
        .filter_map(|entry| zxid_of(&entry.name, prefix).map(|zxid| (zxid, dir.join(&entry.name))))
        .collect();
    files.sort();
    Ok(files)
}

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
use tracing::info;

use crate::error::Error;
use crate::packing::Packing;

pub(crate) const LOG_PREFIX: &str = "log";
pub(crate) const SNAPSHOT_PREFIX: &str = "snapshot";

/// What the name of a snapshot begins with until all of it is on the disk.
const UNFINISHED: &str = "new-";

/// What a snapshot is called from which `zxid` on the log is replayed.
pub(crate) fn snapshot_name(zxid: i64, packing: Packing) -> String {
    format!("{SNAPSHOT_PREFIX}.{zxid:x}{}", packing.suffix())
}

/// What it is called until then.
pub(crate) fn unfinished_name(zxid: i64, packing: Packing) -> String {
    format!("{UNFINISHED}{}", snapshot_name(zxid, packing))
}

/// Removes what servers left that died in the middle of a snapshot. Nobody else may write there.
pub(crate) fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for Entry { name, is_dir, .. } in entries(disk, dir)? {
        let snapshot = name.strip_prefix(UNFINISHED);
        if is_dir || snapshot.is_none_or(|name| zxid_of(name, SNAPSHOT_PREFIX).is_none()) {
            continue;
        }
        let path = dir.join(name);
        info!(path = %path.display(), "an unfinished snapshot is removed");
        let removed = disk.remove_file(&path);
        removed.map_err(|cause| Error::Write { path, cause })?;
    }
    Ok(())
}

/// The zxid in a file's name: `prefix.hex`, perhaps with more parts after it.
pub(crate) fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let mut parts = name.split('.');
    (parts.next()? == prefix).then_some(())?;
    i64::from_str_radix(parts.next()?, 16).ok()
}

/// A missing directory holds none.
fn entries(disk: &dyn Disk, dir: &Path) -> Result<Vec<Entry>, Error> {
    match disk.list(dir) {
        Ok(entries) => Ok(entries),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::Read {
            path: dir.to_path_buf(),
            cause,
        }),
    }
}

/// The files of one kind in `dir`, lowest zxid first.
pub(crate) fn files(
    disk: &dyn Disk,
    dir: &Path,
    prefix: &str,
) -> Result<Vec<(i64, PathBuf)>, Error> {
    let mut files: Vec<(i64, PathBuf)> = entries(disk, dir)?
        .into_iter()
        .filter(|entry| !entry.is_dir && !entry.name.ends_with(".tmp"))
        .filter_map(|entry| zxid_of(&entry.name, prefix).map(|zxid| (zxid, dir.join(&entry.name))))
        .collect();
    files.sort();
    Ok(files)
}

//! Which files may go: all but the newest snapshots and the logs needed to replay over them.

use std::path::{Path, PathBuf};

use base::disk::Disk;
use tracing::{info, warn};

use crate::error::Error;
use crate::store::{LOG_PREFIX, SNAPSHOT_PREFIX, files, snapshot};

/// Keeps the `retain` newest whole snapshots and what they need; removes what is older. As in
/// ZooKeeper a torn snapshot is none of those; nor is one of `refused`, which recovery could not use.
pub(crate) fn purge(
    disk: &dyn Disk,
    snapshots: &Path,
    logs: &Path,
    retain: usize,
    refused: &[PathBuf],
) -> Result<(), Error> {
    let snapshots = files(disk, snapshots, SNAPSHOT_PREFIX)?;
    let logs = files(disk, logs, LOG_PREFIX)?;
    let whole = snapshots
        .iter()
        .rev()
        .filter(|(_, path)| !refused.contains(path) && snapshot::is_sealed(disk, path));
    let Some((oldest, _)) = whole.take(retain).last() else {
        return Ok(());
    };
    for path in superfluous(&snapshots, &logs, *oldest) {
        match disk.remove_file(path) {
            Ok(()) => info!(path = %path.display(), "purged"),
            Err(cause) => warn!(path = %path.display(), %cause, "cannot be purged"),
        }
    }
    Ok(())
}

/// What a replay over the snapshot `oldest` and later ones does not need.
fn superfluous<'a>(
    snapshots: &'a [(i64, PathBuf)],
    logs: &'a [(i64, PathBuf)],
    oldest: i64,
) -> impl Iterator<Item = &'a PathBuf> {
    // The log that began before the snapshot still holds what came right after it.
    let needed = logs
        .iter()
        .rposition(|(begin, _)| *begin <= oldest)
        .unwrap_or(0);
    let old_snapshots = snapshots.iter().filter(move |(zxid, _)| *zxid < oldest);
    old_snapshots.chain(&logs[..needed]).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packing;
    use base::disk::SystemDisk;

    fn named(zxids: &[i64]) -> Vec<(i64, PathBuf)> {
        zxids
            .iter()
            .map(|zxid| (*zxid, PathBuf::from(zxid.to_string())))
            .collect()
    }

    #[test]
    fn the_log_before_the_oldest_kept_snapshot_stays() {
        let (snapshots, logs) = (named(&[0, 10, 20, 30]), named(&[1, 9, 15, 25, 31]));
        let gone: Vec<_> = superfluous(&snapshots, &logs, 20).collect();
        assert_eq!(gone, ["0", "10", "1", "9"].map(Path::new));
    }

    #[test]
    fn torn_snapshots_do_not_count_as_kept() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let sealed = b"ZKSN and so on\0\0\0\x01/";
        let gzipped = Packing::Gzip.pack(sealed.to_vec()).unwrap();
        write("snapshot.1", sealed);
        write("snapshot.2", sealed);
        write("snapshot.3.gz", &gzipped);
        write("snapshot.4", b"ZKSN and so");
        write("snapshot.5", b"");
        write("snapshot.6.gz", &gzipped[..gzipped.len() - 9]);
        write("snapshot.7", sealed);
        let refused = [dir.path().join("snapshot.7")];
        let (disk, place) = (SystemDisk::shared(), dir.path());
        purge(&*disk, place, place, 2, &refused).unwrap();
        let left = files(&*disk, place, SNAPSHOT_PREFIX).unwrap();
        let left: Vec<i64> = left.into_iter().map(|(zxid, _)| zxid).collect();
        assert_eq!(left, [2, 3, 4, 5, 6, 7]);
    }
}

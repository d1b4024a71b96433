//! Which files may go: all but the newest snapshots and the logs needed to replay over them.

use std::path::{Path, PathBuf};

use base::disk::Disk;
use tracing::{info, warn};

use crate::error::Error;
use crate::store::{LOG_PREFIX, SNAPSHOT_PREFIX, files};

/// Keeps the `retain` newest snapshots and what they need; removes the rest.
pub(crate) fn purge(
    disk: &dyn Disk,
    snapshots: &Path,
    logs: &Path,
    retain: usize,
) -> Result<(), Error> {
    let snapshots = files(disk, snapshots, SNAPSHOT_PREFIX)?;
    let logs = files(disk, logs, LOG_PREFIX)?;
    for path in superfluous(&snapshots, &logs, retain) {
        match disk.remove_file(&path) {
            Ok(()) => info!(path = %path.display(), "purged"),
            Err(cause) => warn!(path = %path.display(), %cause, "cannot be purged"),
        }
    }
    Ok(())
}

fn superfluous(
    snapshots: &[(i64, PathBuf)],
    logs: &[(i64, PathBuf)],
    retain: usize,
) -> Vec<PathBuf> {
    let Some(oldest) = snapshots
        .iter()
        .rev()
        .take(retain)
        .next_back()
        .map(|(zxid, _)| *zxid)
    else {
        return Vec::new();
    };
    // The log that began before the snapshot still holds what came right after it.
    let needed = logs
        .iter()
        .rposition(|(begin, _)| *begin <= oldest)
        .unwrap_or(0);
    let old_snapshots = snapshots.iter().filter(|(zxid, _)| *zxid < oldest);
    old_snapshots
        .chain(&logs[..needed])
        .map(|(_, path)| path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(zxids: &[i64]) -> Vec<(i64, PathBuf)> {
        zxids
            .iter()
            .map(|zxid| (*zxid, PathBuf::from(zxid.to_string())))
            .collect()
    }

    #[test]
    fn the_log_before_the_oldest_kept_snapshot_stays() {
        let gone = superfluous(&named(&[0, 10, 20, 30]), &named(&[1, 9, 15, 25, 31]), 2);
        assert_eq!(gone, ["0", "10", "1", "9"].map(PathBuf::from));
        assert!(superfluous(&named(&[]), &named(&[1, 2]), 3).is_empty());
    }
}

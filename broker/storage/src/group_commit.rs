//! Many who want their bytes on the same disk wait for one sync.
//!
//! The first to come leads: it syncs for all who are waiting; who comes meanwhile forms the next
//! round. With many different files in a round the whole file system is synced at once, which is one
//! journal commit instead of one a file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use base::disk::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex};

/// From so many files on, one sync of the file system is cheaper than one of each.
const FILES_MAX: usize = 8;

type Files = Vec<Arc<dyn DiskFile>>;

#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    rounds: Mutex<Rounds>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct Rounds {
    /// Who waits for the next round: the files it must sync.
    waiting: Files,
    /// The round that collects now.
    collecting: u64,
    /// Rounds below are over.
    done: u64,
    leading: bool,
    /// Rounds that failed. After the first the directory is offline, so there are few.
    failed: Vec<(u64, Option<i32>)>,
}

impl GroupCommit {
    /// Returns when everything written to `files` before the call is on the disk.
    pub(crate) fn sync(&self, disk: &dyn Disk, root: &Path, files: Files) -> io::Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let mut rounds = self.rounds.lock();
        let mine = rounds.collecting;
        rounds.waiting.extend(files);
        loop {
            if rounds.done > mine {
                return rounds.result_of(mine);
            }
            if rounds.leading {
                self.over.wait(&mut rounds);
                continue;
            }
            rounds.leading = true;
            let round = rounds.collecting;
            rounds.collecting += 1;
            let files = std::mem::take(&mut rounds.waiting);
            drop(rounds);
            let result = sync_all(disk, root, files);
            rounds = self.rounds.lock();
            rounds.leading = false;
            rounds.done = round + 1;
            if let Err(e) = &result {
                rounds.failed.push((round, e.raw_os_error()));
            }
            self.over.notify_all();
        }
    }
}

impl Rounds {
    fn result_of(&self, round: u64) -> io::Result<()> {
        match self.failed.iter().find(|(failed, _)| *failed == round) {
            None => Ok(()),
            Some((_, Some(code))) => Err(io::Error::from_raw_os_error(*code)),
            Some((_, None)) => Err(io::Error::other("the sync of this group failed")),
        }
    }
}

fn sync_all(disk: &dyn Disk, root: &Path, mut files: Files) -> io::Result<()> {
    files.sort_by_key(|file| Arc::as_ptr(file).cast::<()>());
    files.dedup_by(|a, b| Arc::ptr_eq(a, b));
    if files.len() > FILES_MAX {
        return disk.sync_file_system(root);
    }
    files.iter().try_for_each(|file| file.sync())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::Open;
    use base::faulty_disk::{Fault, FaultyDisk, Operation};

    #[test]
    fn everybody_of_a_failed_round_hears_of_it_and_the_next_round_is_new() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/f"), Open::Create).unwrap();
        let commit = GroupCommit::default();
        disk.plan(Operation::Sync, "f", Fault::Eio, 0, true);
        assert!(
            commit
                .sync(&disk, Path::new("/"), vec![file.clone()])
                .is_err()
        );
        assert!(commit.sync(&disk, Path::new("/"), vec![file]).is_ok());
    }

    #[test]
    fn many_threads_need_few_syncs_and_all_return() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/f"), Open::Create).unwrap();
        let commit = GroupCommit::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        commit
                            .sync(&disk, Path::new("/"), vec![Arc::clone(&file)])
                            .unwrap();
                    }
                });
            }
        });
        assert!(disk.operations() <= 801);
    }
}

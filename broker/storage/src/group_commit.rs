//! Many who want their bytes on the same disk wait for one sync.
//!
//! The first to come leads: it syncs for all who are waiting; who comes meanwhile forms the next
//! round. The files of a round are synced side by side, so that the kernel commits its journal once
//! for all of them: one after the other sixteen cost three times as much, and thirty times beside
//! other writers. However many they are, each is synced itself: what a sync of the whole file system
//! passes over, or keeps to itself when it fails, differs from kernel to kernel.

use std::io;
use std::sync::{Arc, OnceLock};

use base::disk::is_out_of_files;
use parking_lot::{Condvar, Mutex};

use crate::crew::{Crew, Files};

/// How many files are synced side by side, beside the leader's own.
const THREADS: usize = 15;

#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    rounds: Mutex<Rounds>,
    over: Condvar,
    /// Made by the first round of several files.
    crew: OnceLock<Crew>,
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
    /// The disk failed a round, and was told so by the kernel once: a later sync of the same files
    /// that is said to be good is not to be believed, and none is begun.
    broken: Option<Option<i32>>,
}

impl GroupCommit {
    /// Returns when everything written to `files` before the call is on the disk.
    pub(crate) fn sync(&self, files: Files) -> io::Result<()> {
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
            if let Some(code) = rounds.broken {
                return Err(failure(code));
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
            let result = self.sync_each(files);
            rounds = self.rounds.lock();
            rounds.leading = false;
            rounds.done = round + 1;
            if let Err(e) = &result {
                rounds.failed.push((round, e.raw_os_error()));
                if !is_out_of_files(e) {
                    rounds.broken.get_or_insert(e.raw_os_error());
                }
            }
            self.over.notify_all();
        }
    }

    fn sync_each(&self, mut files: Files) -> io::Result<()> {
        files.sort_by_key(|file| Arc::as_ptr(file).cast::<()>());
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if let [file] = &files[..] {
            return file.sync();
        }
        self.crew.get_or_init(|| Crew::new(THREADS)).sync(files)
    }
}

impl Rounds {
    fn result_of(&self, round: u64) -> io::Result<()> {
        match self.failed.iter().find(|(failed, _)| *failed == round) {
            None => Ok(()),
            Some((_, code)) => Err(failure(*code)),
        }
    }
}

fn failure(code: Option<i32>) -> io::Error {
    code.map_or_else(
        || io::Error::other("the sync of this group failed"),
        io::Error::from_raw_os_error,
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use base::disk::{Disk, Open};
    use base::faulty_disk::{Fault, FaultyDisk, Operation};

    #[test]
    fn after_a_failed_round_none_is_believed() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/f"), Open::Create).unwrap();
        let commit = GroupCommit::default();
        disk.plan(Operation::Sync, "f", Fault::Eio, 0, true);
        assert!(commit.sync(vec![file.clone()]).is_err());
        assert!(commit.sync(vec![file]).is_err());
    }

    #[test]
    fn one_file_of_many_that_fails_fails_the_round() {
        let disk = FaultyDisk::new(1);
        let open = |name: &str| disk.open(Path::new(name), Open::Create).unwrap();
        let files: Files = ["/a", "/b", "/c", "/d"].map(open).into();
        let commit = GroupCommit::default();
        disk.plan(Operation::Sync, "c", Fault::Eio, 0, true);
        assert!(commit.sync(files).is_err());
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
                        commit.sync(vec![Arc::clone(&file)]).unwrap();
                    }
                });
            }
        });
        assert!(disk.operations() <= 801);
    }
}

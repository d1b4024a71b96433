//! One log directory: it works or it is offline, as a whole.
//!
//! The first failure of the disk ends it until the next start; after a failed sync nothing that lies
//! there is acknowledged again. Too many open files are not the disk's fault and end nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use base::disk::{Disk, DiskFile, DiskLock, FileSystem};
use base::metrics::Timings;
use parking_lot::Mutex;
use protocol::ids::{Offset, TopicPartition};

use crate::checkpoint::{self, PartitionOffsets};
use crate::error::{Error, Result};
use crate::files;
use crate::group_commit::GroupCommit;
use crate::handles::Handles;
use crate::side_by_side::few_at_a_time;

/// So many small files are replaced one by one: a sync of the file system writes out what others have
/// there too.
const FEW: usize = 4;

/// What is not served any more, until a start looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost<'a> {
    /// Its disk failed.
    Directory(&'a Path),
    /// Its bytes are damaged.
    Replica(&'a TopicPartition),
}

/// Called once for each loss.
pub type OnLoss = Box<dyn Fn(Lost<'_>) + Send + Sync>;

/// How long the syncs of all directories took, as those who waited saw it.
#[derive(Debug)]
pub(crate) struct FlushTimes {
    clock: Clock,
    /// In microseconds. Several logs that are flushed together count once.
    pub(crate) times: Timings,
}

impl FlushTimes {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(FlushTimes {
            clock,
            times: Timings::default(),
        })
    }

    fn note<T>(&self, sync: impl FnOnce() -> T) -> T {
        let began_us = self.clock.monotonic_us();
        let synced = sync();
        self.times.note(self.clock.monotonic_us() - began_us);
        synced
    }
}

pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) handles: Arc<Handles>,
    /// Watched since before the first byte was written; none where the directory failed from the start.
    file_system: Option<Arc<dyn FileSystem>>,
    /// Held from before a sync of the file system until its failure is noted: of those under way the
    /// kernel tells one.
    syncing: Mutex<()>,
    has_links: AtomicBool,
    /// How many closed files ([`Handles::closed`]) the file system has answered for.
    answered: AtomicU64,
    commit: GroupCommit,
    flushes: Arc<FlushTimes>,
    failure: OnceLock<String>,
    announced: AtomicBool,
    on_loss: Arc<OnceLock<OnLoss>>,
    pub(crate) was_clean: bool,
    pub(crate) same_boot: bool,
    /// The machine was started anew since the last start of ours: where another program was here last,
    /// nobody knows.
    pub(crate) other_boot: bool,
    /// Ours was never here.
    pub(crate) is_foreign: bool,
    /// The kernel's name for it; empty where it tells none.
    boot_id: String,
    /// How many logs lie here, move targets too.
    pub(crate) replicas: AtomicUsize,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
    /// Held while a checkpoint of all logs is collected and written.
    collecting: Mutex<()>,
    /// The recovery points as they stand in the file. Held while it is written.
    recovery_points: Mutex<RecoveryPoints>,
}

#[derive(Debug, Default)]
struct RecoveryPoints {
    points: PartitionOffsets,
    /// How often a single one was changed.
    changed: u64,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// Locks the directory (made if missing) and takes the clean marker away.
    pub(crate) fn open(
        path: &Path,
        handles: Arc<Handles>,
        boot_id: &str,
        on_loss: Arc<OnceLock<OnLoss>>,
        flushes: Arc<FlushTimes>,
    ) -> Result<Directory> {
        let disk = Arc::clone(&handles.disk);
        if !disk
            .exists(path)
            .map_err(|e| Error::io("look for", path, e))?
        {
            disk.create_dir_all(path)
                .and_then(|()| base::durable::sync_parent(&*disk, path))
                .map_err(|e| Error::io("create directory", path, e))?;
        }
        let lock_path = path.join(files::LOCK);
        let lock = disk.lock(&lock_path).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::ResourceBusy => Error::Locked {
                dir: path.to_path_buf(),
            },
            _ => Error::io("lock", &lock_path, e),
        })?;
        let file_system = disk
            .file_system(path)
            .map_err(|e| Error::io("watch the file system of", path, e))?;
        let boot_path = path.join(files::BOOT_ID);
        let last_boot = match disk.read_small(&boot_path, 4096) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => None,
            Err(e) => return Err(Error::io("read", &boot_path, e)),
        };
        // Kafka: the marker goes before anything is loaded, so that dying on the way is unclean.
        let marker = path.join(files::CLEAN_SHUTDOWN);
        let was_clean = disk
            .exists(&marker)
            .map_err(|e| Error::io("look for", &marker, e))?;
        if was_clean {
            disk.remove_file(&marker)
                .and_then(|()| disk.sync_dir(path))
                .map_err(|e| Error::io("remove", &marker, e))?;
        }
        // A machine that does not name its boots may have been started anew each time.
        let same_boot = !boot_id.is_empty() && last_boot.as_deref() == Some(boot_id);
        Ok(Directory {
            path: path.to_path_buf(),
            handles,
            file_system: Some(file_system),
            syncing: Mutex::default(),
            has_links: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            commit: GroupCommit::default(),
            flushes,
            failure: OnceLock::new(),
            announced: AtomicBool::new(false),
            on_loss,
            was_clean,
            same_boot,
            other_boot: last_boot.is_some() && !same_boot,
            is_foreign: last_boot.is_none(),
            boot_id: boot_id.to_owned(),
            replicas: AtomicUsize::new(0),
            lock: Mutex::new(Some(lock)),
            collecting: Mutex::default(),
            recovery_points: Mutex::default(),
        })
    }

    /// One that could not even be opened; it is listed, and offline.
    pub(crate) fn failed(
        path: &Path,
        handles: Arc<Handles>,
        error: &Error,
        on_loss: Arc<OnceLock<OnLoss>>,
        flushes: Arc<FlushTimes>,
    ) -> Directory {
        let directory = Directory {
            path: path.to_path_buf(),
            handles,
            file_system: None,
            syncing: Mutex::default(),
            has_links: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            commit: GroupCommit::default(),
            flushes,
            failure: OnceLock::new(),
            announced: AtomicBool::new(true),
            on_loss,
            was_clean: false,
            same_boot: false,
            other_boot: false,
            is_foreign: false,
            boot_id: String::new(),
            replicas: AtomicUsize::new(0),
            lock: Mutex::new(None),
            collecting: Mutex::default(),
            recovery_points: Mutex::default(),
        };
        directory.take_offline(error);
        directory
    }

    /// Every log is recovered: only now is the machine's last crash over, as a start that dies on the
    /// way leaves the next one the same doubt.
    pub(crate) fn note_boot(&self) -> Result<()> {
        if self.same_boot {
            return Ok(());
        }
        self.replace(&self.path.join(files::BOOT_ID), self.boot_id.as_bytes())
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.handles.disk
    }

    pub(crate) fn is_online(&self) -> bool {
        self.failure.get().is_none()
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_online() {
            Ok(())
        } else {
            Err(self.offline())
        }
    }

    fn offline(&self) -> Error {
        Error::Offline {
            dir: self.path.clone(),
        }
    }

    fn file_system(&self) -> Result<&dyn FileSystem> {
        self.check()?;
        self.file_system.as_deref().ok_or_else(|| self.offline())
    }

    /// Passes a result on; a failure of the disk takes the directory offline on the way.
    pub(crate) fn judge<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.judge_failure(e);
        }
        result
    }

    /// As [`Directory::judge`]. Whoever has changed a log by halves comes here before he lets go of its
    /// lock: nobody else is to find it so.
    pub(crate) fn judge_failure(&self, failed: &Error) {
        if failed.is_disk() {
            self.take_offline(failed);
        }
    }

    pub(crate) fn take_offline(&self, error: &Error) {
        let cause = std::error::Error::source(error).map_or(String::new(), |e| format!(": {e}"));
        let reason = format!("{error}{cause}");
        if self.failure.set(reason.clone()).is_ok() {
            let advice = error.advice();
            tracing::error!(dir = %self.path.display(), reason, "the log directory is offline; {advice}");
        }
    }

    /// Tells whoever asked to be told. Called where no lock is held.
    pub(crate) fn announce(&self) {
        if !self.is_online()
            && let Some(on_loss) = self.on_loss.get()
            && !self.announced.swap(true, Ordering::AcqRel)
        {
            on_loss(Lost::Directory(&self.path));
        }
    }

    /// As [`Directory::announce`], for one replica of it.
    pub(crate) fn announce_damage(&self, partition: &TopicPartition) {
        if let Some(on_loss) = self.on_loss.get() {
            on_loss(Lost::Replica(partition));
        }
    }

    /// Puts what was written to these files on the disk, together with whoever else asks.
    pub(crate) fn sync(&self, files: Vec<Arc<dyn DiskFile>>, act_on: &Path) -> Result<()> {
        self.check()?;
        let commit = || self.commit.sync(files);
        let synced = self.flushes.note(commit);
        let result = self.judge(synced.map_err(|e| Error::io("sync", act_on, e)));
        // Another round may have failed between: what it lost might be ours.
        result.and_then(|()| self.check())
    }

    /// Whether [`Directory::sync_all`] is worth as much as a sync of every file.
    pub(crate) fn is_thorough(&self) -> bool {
        let file_system = self.file_system.as_deref();
        file_system.is_some_and(FileSystem::is_thorough) && !self.has_links.load(Ordering::Acquire)
    }

    /// Some of it lies elsewhere.
    pub(crate) fn note_link(&self) {
        self.has_links.store(true, Ordering::Release);
    }

    /// Puts everything on the disk that was written to this file system before the call. Whoever comes
    /// while one is under way waits for it.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let _turn = self.syncing.lock();
        let file_system = self.file_system()?;
        let closed = self.handles.closed();
        let synced = self.flushes.note(|| file_system.sync());
        self.judge(synced.map_err(|e| Error::io("sync", &self.path, e)))?;
        self.answered.store(closed, Ordering::Release);
        self.check()
    }

    /// Replaces many small files, where that can be had at the price of a few syncs.
    pub(crate) fn replace_many(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
        let replace = |(path, bytes): &(PathBuf, Vec<u8>)| self.replace(path, bytes);
        if !self.is_thorough() {
            return few_at_a_time(files, replace).into_iter().collect();
        }
        if files.len() <= FEW {
            return files.iter().try_for_each(replace);
        }
        self.check()?;
        let failed = |e| Error::io("write to", &self.path, e);
        let written = base::durable::write_all_beside(self.disk(), files);
        let beside = self.judge(written.map_err(failed))?;
        self.sync_all()?;
        self.judge(beside.put_in_place().map_err(failed))?;
        self.sync_all()
    }

    /// Before the flushes of files are relied on: asks the file system whether it lost what was written
    /// to any that was closed since it was asked. The kernel notes a failed write-back with the file, and
    /// may forget it with the file once nobody has it open; a sync of one that was opened anew is good
    /// then. Some file systems keep it to themselves all the same: overlays, and any before Linux 5.8.
    pub(crate) fn answer_for_closed(&self) -> Result<()> {
        if self.answered.load(Ordering::Acquire) == self.handles.closed() {
            return Ok(());
        }
        self.sync_all()
    }

    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let replaced = base::durable::replace(self.disk(), path, bytes);
        self.judge(replaced.map_err(|e| Error::io("write", path, e)))
    }

    /// Reads the recovery points once, at the start.
    pub(crate) fn load_recovery_points(&self) -> Result<PartitionOffsets> {
        let path = self.path.join(files::RECOVERY_POINT_CHECKPOINT);
        let points = checkpoint::read_partition_offsets(self.disk(), &path)?;
        self.recovery_points.lock().points.clone_from(&points);
        Ok(points)
    }

    /// Replaces the recovery points in the file. `collect` takes the logs' locks, so it runs with
    /// none of ours held; what it found is thrown away if a point was changed meanwhile.
    pub(crate) fn write_recovery_points(
        &self,
        collect: impl Fn() -> PartitionOffsets,
    ) -> Result<()> {
        loop {
            let changed = self.recovery_points.lock().changed;
            let points = collect();
            self.answer_for_closed()?;
            let mut known = self.recovery_points.lock();
            if known.changed != changed {
                continue;
            }
            if known.points != points {
                self.write_offsets(files::RECOVERY_POINT_CHECKPOINT, &points)?;
                known.points = points;
            }
            return Ok(());
        }
    }

    /// A log is about to be cut below what the file may call safe: the file says so first.
    pub(crate) fn lower_recovery(&self, tp: &TopicPartition, to: i64) -> Result<()> {
        let mut known = self.recovery_points.lock();
        known.changed += 1;
        match known.points.get(tp) {
            Some(point) if point.0 > to => self.write_recovery_point(&mut known, tp, Offset(to)),
            _ => Ok(()),
        }
    }

    /// Where it fails, memory says what the file says: whoever tries again writes again.
    fn write_recovery_point(
        &self,
        known: &mut RecoveryPoints,
        tp: &TopicPartition,
        to: Offset,
    ) -> Result<()> {
        let before = known.points.insert(tp.clone(), to);
        let written = self.write_offsets(files::RECOVERY_POINT_CHECKPOINT, &known.points);
        if written.is_err() {
            match before {
                Some(before) => known.points.insert(tp.clone(), before),
                None => known.points.remove(tp),
            };
        }
        written
    }

    /// The file calls everything below `to` safe, at least, if that is what `reached` says. It takes the
    /// log's lock: see [`Directory::write_recovery_points`].
    pub(crate) fn raise_recovery(
        &self,
        tp: &TopicPartition,
        to: Offset,
        reached: impl Fn() -> Result<Offset>,
    ) -> Result<()> {
        loop {
            let (changed, noted) = {
                let known = self.recovery_points.lock();
                (known.changed, known.points.get(tp).copied())
            };
            if noted.is_some_and(|noted| noted >= to) {
                return Ok(());
            }
            let reached = reached()?;
            self.answer_for_closed()?;
            let mut known = self.recovery_points.lock();
            if known.changed != changed {
                continue;
            }
            known.changed += 1;
            return self.write_recovery_point(&mut known, tp, reached);
        }
    }

    /// Replaces a file of what all logs here say. One at a time, from the collecting on: two would write
    /// beside the file in the same place, and the one who asked first might be the last to write, with
    /// what a replica said that is gone by then. Nobody comes here who holds a log's lock.
    pub(crate) fn write_collected(
        &self,
        name: &str,
        collect: impl FnOnce() -> PartitionOffsets,
    ) -> Result<()> {
        let _one_at_a_time = self.collecting.lock();
        self.write_offsets(name, &collect())
    }

    fn write_offsets(&self, name: &str, offsets: &PartitionOffsets) -> Result<()> {
        self.check()?;
        let path = self.path.join(name);
        self.judge(checkpoint::write_partition_offsets(
            self.disk(),
            &path,
            offsets,
        ))
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.lock().is_some()
    }

    /// Lets another process have the directory.
    pub(crate) fn unlock(&self) {
        drop(self.lock.lock().take());
    }
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;
    use base::faulty_disk::FaultyDisk;

    use super::*;

    fn open(disk: &FaultyDisk, path: &str, boot_id: &str) -> Directory {
        Directory::open(
            Path::new(path),
            Handles::new(disk.shared(), 8),
            boot_id,
            Arc::default(),
            FlushTimes::new(Clock::by_hand(0)),
        )
        .unwrap()
    }

    #[test]
    fn what_the_disk_lost_is_told_to_each_directory_on_it() {
        let disk = FaultyDisk::new(1);
        let (one, other) = (open(&disk, "/a", ""), open(&disk, "/b", ""));
        disk.lose_in_writeback();
        assert!(one.sync_all().is_err());
        assert!(
            other.sync_all().is_err(),
            "though the first was told before"
        );
        assert!(!one.is_online() && !other.is_online());
    }

    #[test]
    fn a_machines_crash_is_not_over_before_every_log_is_recovered() {
        let disk = FaultyDisk::new(1);
        let open = |boot_id: &str| open(&disk, "/a", boot_id);
        open("first").note_boot().unwrap();
        assert!(open("first").same_boot);
        // This start dies on the way.
        assert!(!open("second").same_boot);
        let again = open("second");
        assert!(!again.same_boot);
        again.note_boot().unwrap();
        drop(again);
        assert!(open("second").same_boot);
    }

    #[test]
    fn a_machine_without_a_name_for_its_boots_is_never_trusted_to_be_the_same() {
        let disk = FaultyDisk::new(1);
        open(&disk, "/a", "").note_boot().unwrap();
        assert!(!open(&disk, "/a", "").same_boot);
    }
}

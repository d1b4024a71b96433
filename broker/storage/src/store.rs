//! All logs in all directories: open, create, find, move, delete.
//!
//! A directory that fails takes its logs along and nothing else. What cannot be trusted when the store
//! opens is renamed to `<topic>-<partition>.<32 hex>-stray` and kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use base::disk::Disk;
use parking_lot::{Mutex, RwLock};
use protocol::ids::{Offset, TopicId, TopicPartition};

use crate::checkpoint::{self, PartitionOffsets};
use crate::config::{LogConfig, StoreConfig};
use crate::directory::{Directory, OnFailure};
use crate::error::{Error, Result};
use crate::files::{self, ReplicaDir};
use crate::handles::Handles;
use crate::log::{Log, Opening};
use crate::segment::Place;
use crate::trash::{Doomed, Trash};

const BOOT_ID_SOURCE: &str = "/proc/sys/kernel/random/boot_id";

/// One log directory as others may see it.
#[derive(Clone, Debug)]
pub struct DirectoryView {
    pub path: PathBuf,
    pub online: bool,
    /// Why it is offline.
    pub reason: Option<String>,
    /// The last stop was clean.
    pub was_clean: bool,
    /// The machine has not been restarted since the store was open last.
    pub same_boot: bool,
}

/// A partition whose bytes could not be trusted when the store opened.
#[derive(Clone, Debug)]
pub struct SetAside {
    pub partition: TopicPartition,
    pub now_at: PathBuf,
    pub reason: String,
}

/// The logs of one broker.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) clock: Clock,
    pub(crate) directories: Vec<Arc<Directory>>,
    logs: RwLock<Tables>,
    /// Held by whoever makes, moves or deletes a log, while the disk works; readers of the tables
    /// do not wait for it.
    making: Mutex<()>,
    pub(crate) trash: Arc<Trash>,
    set_aside: Mutex<Vec<SetAside>>,
    on_failure: OnFailureCell,
    pub(crate) next_due: NextDue,
}

struct OnFailureCell(Arc<OnceLock<OnFailure>>);

impl std::fmt::Debug for OnFailureCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFailure")
    }
}

#[derive(Debug, Default)]
struct Tables {
    current: HashMap<TopicPartition, Arc<Log>>,
    future: HashMap<TopicPartition, Arc<Log>>,
}

/// When each kind of upkeep is due next, in monotonic milliseconds.
#[derive(Debug, Default)]
pub(crate) struct NextDue {
    pub(crate) recovery: AtomicI64,
    pub(crate) start: AtomicI64,
    pub(crate) retention: AtomicI64,
    pub(crate) producers: AtomicI64,
    /// Bytes flushed since the recovery points were written.
    pub(crate) unnoted: AtomicU64,
}

type ConfigOf<'a> = &'a (dyn Fn(&str) -> Arc<LogConfig> + Sync);

/// One folder to be opened as a log.
struct Job {
    partition: TopicPartition,
    folder: PathBuf,
    is_future: bool,
}

/// What loading a directory gave.
#[derive(Default)]
struct Loaded {
    logs: Vec<Arc<Log>>,
    set_aside: Vec<SetAside>,
}

impl Store {
    /// Locks and loads all directories, side by side. A directory that fails is offline, the
    /// others serve. A folder that is no replica's, a partition found twice and a lock held by
    /// another are reasons not to start at all.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        clock: Clock,
        config_of: &(dyn Fn(&str) -> Arc<LogConfig> + Sync),
    ) -> Result<Store> {
        let handles = Handles::new(disk, config.open_files_max);
        let on_failure: Arc<OnceLock<OnFailure>> = Arc::default();
        let boot_id = boot_id();
        let mut directories = Vec::new();
        for path in &config.dirs {
            let opened = Directory::open(
                path,
                Arc::clone(&handles),
                &boot_id,
                Arc::clone(&on_failure),
            );
            directories.push(Arc::new(match opened {
                Err(e) if e.is_disk() => {
                    Directory::failed(path, Arc::clone(&handles), &e, Arc::clone(&on_failure))
                }
                other => other?,
            }));
        }
        let store = Store {
            next_due: NextDue::starting(&config, clock.monotonic_ms()),
            config,
            clock,
            directories,
            logs: RwLock::default(),
            making: Mutex::default(),
            trash: Arc::default(),
            set_aside: Mutex::default(),
            on_failure: OnFailureCell(on_failure),
        };
        store.load_all(config_of)?;
        if store
            .directories
            .iter()
            .all(|directory| !directory.is_online())
        {
            return Err(Error::NoDirectory);
        }
        Ok(store)
    }

    fn load_all(&self, config_of: ConfigOf<'_>) -> Result<()> {
        let loaded: Vec<Result<Loaded>> = std::thread::scope(|scope| {
            let running: Vec<_> = self
                .directories
                .iter()
                .map(|directory| scope.spawn(|| self.load_directory(directory, config_of)))
                .collect();
            let joined = running.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect()
        });
        let mut tables = self.logs.write();
        for (directory, loaded) in self.directories.iter().zip(loaded) {
            let loaded = match loaded {
                Err(e @ Error::Foreign { .. }) => return Err(e),
                // Kafka: checkpoints that cannot be read take the directory offline too.
                Err(e) => {
                    directory.take_offline(&e);
                    continue;
                }
                Ok(loaded) => loaded,
            };
            self.set_aside.lock().extend(loaded.set_aside);
            for log in loaded.logs {
                let table = if log.is_future() {
                    &mut tables.future
                } else {
                    &mut tables.current
                };
                directory.replicas.fetch_add(1, Ordering::Relaxed);
                if let Some(first) = table.insert(log.partition().clone(), Arc::clone(&log)) {
                    return Err(Error::Twice {
                        first: first.path(),
                        second: log.path(),
                    });
                }
            }
        }
        Ok(())
    }

    fn load_directory(
        &self,
        directory: &Arc<Directory>,
        config_of: ConfigOf<'_>,
    ) -> Result<Loaded> {
        directory.check()?;
        let jobs = self.find_replicas(directory)?;
        let recovery = directory.load_recovery_points()?;
        let starts_path = directory.path.join(files::LOG_START_CHECKPOINT);
        let starts = checkpoint::read_partition_offsets(directory.disk(), &starts_path)?;
        let next = AtomicUsize::new(0);
        let work = || {
            let mut loaded = Loaded::default();
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let opening = self.opening(directory, job, config_of(&job.partition.topic));
                let opening = Opening {
                    recovery: recovery.get(&job.partition).map(|offset| offset.0),
                    start: starts.get(&job.partition).map(|offset| offset.0),
                    ..opening
                };
                match Log::open(opening) {
                    Ok(log) => loaded.logs.push(log),
                    Err(e @ Error::Corrupt { .. }) => {
                        loaded.set_aside.push(put_aside(directory, job, &e)?);
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(loaded)
        };
        let threads = self
            .config
            .recovery_threads_per_dir
            .clamp(1, jobs.len().max(1));
        let results: Vec<Result<Loaded>> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let joined = running.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect()
        });
        let mut all = Loaded::default();
        for result in results {
            let loaded = directory.judge(result)?;
            all.logs.extend(loaded.logs);
            all.set_aside.extend(loaded.set_aside);
        }
        Ok(all)
    }

    /// The folders of a directory that are to be opened; doomed ones are queued for removal.
    fn find_replicas(&self, directory: &Arc<Directory>) -> Result<Vec<Job>> {
        let entries = directory.disk().list(&directory.path);
        let entries = entries.map_err(|e| Error::io("list", &directory.path, e))?;
        let mut jobs = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let folder = directory.path.join(&entry.name);
            match files::parse_replica_dir(&entry.name) {
                Some(ReplicaDir::Current(partition)) => {
                    jobs.push(Job {
                        partition,
                        folder,
                        is_future: false,
                    });
                }
                Some(ReplicaDir::Future(partition)) => {
                    jobs.push(Job {
                        partition,
                        folder,
                        is_future: true,
                    });
                }
                Some(ReplicaDir::Deleted) => self.doom_folder(directory, folder),
                Some(ReplicaDir::Stray) => {}
                None if entry.name == files::REMOTE_INDEX_CACHE => {}
                None => return Err(Error::Foreign { path: folder }),
            }
        }
        Ok(jobs)
    }

    fn doom_folder(&self, directory: &Arc<Directory>, folder: PathBuf) {
        let place = Place::new(Arc::clone(&directory.handles), folder);
        let due_ms = self
            .clock
            .wall_ms()
            .saturating_add(self.config.delete_delay_ms);
        self.trash.add(due_ms, Doomed::Folder { place });
    }

    fn opening(&self, directory: &Arc<Directory>, job: &Job, config: Arc<LogConfig>) -> Opening {
        Opening {
            partition: job.partition.clone(),
            directory: Arc::clone(directory),
            folder: job.folder.clone(),
            trash: Arc::clone(&self.trash),
            clock: self.clock.clone(),
            config,
            is_future: job.is_future,
            is_new: false,
            recovery: None,
            start: None,
            producer_expiration_ms: self.config.producer_id_expiration_ms,
        }
    }

    pub fn log(&self, tp: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().current.get(tp).cloned()
    }

    /// The move target of a partition, where one is under way.
    pub fn future_log(&self, tp: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().future.get(tp).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Log>> {
        self.logs.read().current.values().cloned().collect()
    }

    pub fn all_futures(&self) -> Vec<Arc<Log>> {
        self.logs.read().future.values().cloned().collect()
    }

    /// Makes a log in `dir`, or in the usable directory with the fewest.
    pub fn create(
        &self,
        tp: &TopicPartition,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        dir: Option<&Path>,
    ) -> Result<Arc<Log>> {
        let _making = self.making.lock();
        if let Some(there) = self.log(tp) {
            return Err(Error::Exists { path: there.path() });
        }
        let directory = match dir {
            Some(dir) => self.directory_at(dir)?,
            None => self.emptiest()?,
        };
        let job = Job {
            partition: tp.clone(),
            folder: directory.path.join(files::replica_dir(tp)),
            is_future: false,
        };
        let log = self.create_in(&directory, &job, config)?;
        if let Some(id) = topic_id {
            log.assign_topic_id(id)?;
        }
        directory.replicas.fetch_add(1, Ordering::Relaxed);
        self.logs
            .write()
            .current
            .insert(tp.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// Makes the move target of a partition in another directory.
    pub fn create_future(
        &self,
        tp: &TopicPartition,
        config: Arc<LogConfig>,
        dir: &Path,
    ) -> Result<Arc<Log>> {
        let _making = self.making.lock();
        if let Some(there) = self.future_log(tp) {
            return Err(Error::Exists { path: there.path() });
        }
        let directory = self.directory_at(dir)?;
        let job = Job {
            partition: tp.clone(),
            folder: directory.path.join(files::future_dir(tp)),
            is_future: true,
        };
        let log = self.create_in(&directory, &job, config)?;
        directory.replicas.fetch_add(1, Ordering::Relaxed);
        self.logs
            .write()
            .future
            .insert(tp.clone(), Arc::clone(&log));
        Ok(log)
    }

    fn create_in(
        &self,
        directory: &Arc<Directory>,
        job: &Job,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>> {
        directory.check()?;
        let created = make_folder(directory, &job.folder).and_then(|is_new| {
            Log::open(Opening {
                is_new,
                ..self.opening(directory, job, config)
            })
        });
        let result = directory.judge(created);
        if result.is_err() {
            directory.announce();
        }
        result
    }

    fn directory_at(&self, path: &Path) -> Result<Arc<Directory>> {
        let found = self
            .directories
            .iter()
            .find(|directory| directory.path == path);
        let directory = found.ok_or_else(|| Error::Offline {
            dir: path.to_path_buf(),
        })?;
        directory.check()?;
        Ok(Arc::clone(directory))
    }

    /// Kafka: `nextLogDirs`: the one with the fewest partitions.
    fn emptiest(&self) -> Result<Arc<Directory>> {
        self.directories
            .iter()
            .filter(|directory| directory.is_online())
            .min_by_key(|directory| directory.replicas.load(Ordering::Relaxed))
            .cloned()
            .ok_or(Error::NoDirectory)
    }

    /// The move target has caught up: it becomes the log, the old one is deleted.
    pub fn promote_future(&self, tp: &TopicPartition) -> Result<Arc<Log>> {
        let _making = self.making.lock();
        let Some(future) = self.future_log(tp) else {
            return Err(Error::Closed);
        };
        let directory = Arc::clone(future.home());
        directory.check()?;
        let old = self
            .logs
            .write()
            .current
            .insert(tp.clone(), Arc::clone(&future));
        if let Some(old) = old {
            // An old directory that is offline keeps its folder; it is a stray there.
            let retired = self.retire(&old);
            if retired.is_err() && old.home().is_online() {
                self.logs.write().current.insert(tp.clone(), old);
                retired?;
            }
        }
        let folder = directory.path.join(files::replica_dir(tp));
        let renamed = base::durable::rename(directory.disk(), &future.path(), &folder)
            .map_err(|e| Error::io("rename", &future.path(), e));
        directory.judge(renamed)?;
        future.moved_to(&folder, false);
        self.logs.write().future.remove(tp);
        Ok(future)
    }

    /// Renames the directory to `-delete`; it is removed later by [`Store::housekeep`].
    pub fn delete(&self, tp: &TopicPartition) -> Result<()> {
        let _making = self.making.lock();
        let log = self.logs.write().current.remove(tp);
        log.map_or(Ok(()), |log| self.retire(&log))
    }

    pub fn delete_future(&self, tp: &TopicPartition) -> Result<()> {
        let _making = self.making.lock();
        let log = self.logs.write().future.remove(tp);
        log.map_or(Ok(()), |log| self.retire(&log))
    }

    fn retire(&self, log: &Arc<Log>) -> Result<()> {
        log.shut();
        let directory = log.home();
        directory.check()?;
        let folder = directory.path.join(files::delete_dir(log.partition()));
        let renamed = base::durable::rename(directory.disk(), &log.path(), &folder)
            .map_err(|e| Error::io("rename", &log.path(), e));
        let result = directory.judge(renamed);
        directory.announce();
        result?;
        directory.replicas.fetch_sub(1, Ordering::Relaxed);
        log.moved_to(&folder, log.is_future());
        self.doom_folder(directory, folder);
        Ok(())
    }

    pub fn directories(&self) -> Vec<DirectoryView> {
        let view = |directory: &Arc<Directory>| DirectoryView {
            path: directory.path.clone(),
            online: directory.is_online(),
            reason: directory.failure().map(str::to_owned),
            was_clean: directory.was_clean,
            same_boot: directory.same_boot,
        };
        self.directories.iter().map(view).collect()
    }

    /// Partitions whose bytes could not be trusted when the store opened; their files are kept.
    pub fn set_aside(&self) -> Vec<SetAside> {
        self.set_aside.lock().clone()
    }

    /// `on_failure` is called once for each directory that fails from now on, from the thread
    /// that met the failure, with no lock of ours held. Only the first call counts.
    pub fn on_failure(&self, on_failure: Box<dyn Fn(&Path) + Send + Sync>) {
        let _only_the_first = self.on_failure.0.set(on_failure);
    }

    /// The watermarks of `replication-offset-checkpoint`, over all usable directories. Kafka: a
    /// file that cannot be read does not stop the start.
    pub fn read_watermarks(&self) -> Result<HashMap<TopicPartition, Offset>> {
        let mut all = HashMap::new();
        for directory in self
            .directories
            .iter()
            .filter(|directory| directory.is_online())
        {
            let path = directory.path.join(files::REPLICATION_CHECKPOINT);
            match directory.judge(checkpoint::read_partition_offsets(directory.disk(), &path)) {
                Ok(offsets) => all.extend(offsets),
                Err(e) => tracing::warn!(error = %e, "watermarks cannot be read; they begin low"),
            }
        }
        Ok(all)
    }

    /// Writes every log's watermark to its directory's checkpoint (every 5 s in Apache).
    pub fn write_watermarks(&self) -> Result<()> {
        self.write_checkpoints(files::REPLICATION_CHECKPOINT, |log| {
            Some(log.offsets().watermark)
        })
    }

    /// One file a directory with what `offset_of` says of each of its logs.
    pub(crate) fn write_checkpoints(
        &self,
        name: &str,
        offset_of: impl Fn(&Log) -> Option<Offset>,
    ) -> Result<()> {
        let mut result = Ok(());
        for directory in self
            .directories
            .iter()
            .filter(|directory| directory.is_online())
        {
            let offsets = self.collect(directory, &offset_of);
            let written = directory.write_offsets(name, &offsets);
            directory.announce();
            result = result.and(written);
        }
        result
    }

    pub(crate) fn collect(
        &self,
        directory: &Arc<Directory>,
        offset_of: impl Fn(&Log) -> Option<Offset>,
    ) -> PartitionOffsets {
        let mut offsets = PartitionOffsets::new();
        for log in self.in_directory(directory) {
            if let Some(offset) = offset_of(&log) {
                offsets.insert(log.partition().clone(), offset);
            }
        }
        offsets
    }

    pub(crate) fn in_directory(&self, directory: &Arc<Directory>) -> Vec<Arc<Log>> {
        let tables = self.logs.read();
        let all = tables.current.values().chain(tables.future.values());
        all.filter(|log| Arc::ptr_eq(log.home(), directory))
            .cloned()
            .collect()
    }
}

/// True: it was not there.
fn make_folder(directory: &Directory, folder: &Path) -> Result<bool> {
    let disk = directory.disk();
    let is_new = !disk
        .exists(folder)
        .map_err(|e| Error::io("look for", folder, e))?;
    if is_new {
        disk.create_dir_all(folder)
            .map_err(|e| Error::io("create", folder, e))?;
    }
    Ok(is_new)
}

/// The replica stays on the disk under another name, and out of the way.
fn put_aside(directory: &Directory, job: &Job, reason: &Error) -> Result<SetAside> {
    let now_at = directory.path.join(files::stray_dir(&job.partition));
    base::durable::rename(directory.disk(), &job.folder, &now_at)
        .map_err(|e| Error::io("rename", &job.folder, e))?;
    tracing::error!(
        topic = %job.partition.topic,
        partition = job.partition.partition,
        kept_at = %now_at.display(),
        reason = %reason,
        "the replica's bytes cannot be trusted; it is not served, its files are kept"
    );
    Ok(SetAside {
        partition: job.partition.clone(),
        now_at,
        reason: reason.to_string(),
    })
}

/// Which boot of the machine this is; empty where it does not say.
fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID_SOURCE).unwrap_or_default();
    text.trim().to_owned()
}

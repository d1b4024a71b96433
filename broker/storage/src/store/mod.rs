//! All logs in all directories: open, create, find, move, delete.
//!
//! A directory that fails takes its logs along and nothing else. What cannot be trusted when the store
//! opens is renamed to `<topic>-<partition>.<32 hex>-stray` and kept.

mod load;
mod moves;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use base::disk::Disk;
use base::metrics::Timings;
use parking_lot::{Mutex, RwLock};
use protocol::ids::{Offset, TopicId, TopicPartition};

use crate::checkpoint::{self, PartitionOffsets};
use crate::config::{LogConfig, StoreConfig};
use crate::directory::{Directory, FlushTimes, OnFailure};
use crate::error::{Error, Result};
use crate::files;
use crate::handles::Handles;
use crate::log::{Log, Opening};
use crate::store::load::Job;
pub(crate) use crate::store::moves::Departures;
use crate::trash::Trash;

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
    flushes: Arc<FlushTimes>,
    pub(crate) next_due: NextDue,
    pub(crate) departures: Departures,
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
        let flushes = FlushTimes::new(clock.clone());
        let boot_id = boot_id();
        let mut directories = Vec::new();
        for path in &config.dirs {
            let opened = Directory::open(
                path,
                Arc::clone(&handles),
                &boot_id,
                Arc::clone(&on_failure),
                Arc::clone(&flushes),
            );
            directories.push(Arc::new(match opened {
                Err(e) if e.is_disk() => {
                    let (handles, on_failure) = (Arc::clone(&handles), Arc::clone(&on_failure));
                    Directory::failed(path, handles, &e, on_failure, Arc::clone(&flushes))
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
            flushes,
            departures: Departures::default(),
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
        self.create_in(&directory, job, topic_id, config)
    }

    /// Makes the log of a new folder and lists it.
    fn create_in(
        &self,
        directory: &Arc<Directory>,
        job: Job,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>> {
        let log = self.make_log(directory, &job, config)?;
        if let Some(id) = topic_id {
            log.assign_topic_id(id)?;
        }
        directory.replicas.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.logs.write();
        let table = if job.is_future {
            &mut tables.future
        } else {
            &mut tables.current
        };
        table.insert(job.partition, Arc::clone(&log));
        Ok(log)
    }

    fn make_log(
        &self,
        directory: &Arc<Directory>,
        job: &Job,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>> {
        directory.check()?;
        // What the checkpoint says of an earlier replica here must not pass for this one's.
        directory.lower_recovery(&job.partition, 0)?;
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

    /// Renames the directory to `-delete`; it is removed later by [`Store::housekeep`].
    pub fn delete(&self, tp: &TopicPartition) -> Result<()> {
        let _making = self.making.lock();
        let log = self.logs.write().current.remove(tp);
        log.map_or(Ok(()), |log| self.retire(&log, None))
    }

    /// The log serves no more: its folder is renamed to `-delete` and removed later.
    fn retire(&self, log: &Arc<Log>, moved_to: Option<&Path>) -> Result<()> {
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
        let is_future = log.is_future();
        log.moved_to(&folder, is_future);
        if !is_future {
            let at = directory.path.clone();
            self.departures.note(at, log.partition(), moved_to);
        }
        self.doom_folder(directory, folder);
        // A replica of the same name may come back before the file is written in its turn.
        if log.start_to_note().is_some() {
            let starts = self.collect(directory, Log::start_to_note);
            directory.write_offsets(files::LOG_START_CHECKPOINT, &starts)?;
        }
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

    /// How long flushes took, in microseconds.
    pub fn flush_times(&self) -> &Timings {
        &self.flushes.times
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
                // An entry of a replica that lies elsewhere now is out of date.
                Ok(offsets) => all.extend(offsets.into_iter().filter(|(tp, _)| {
                    let log = self.log(tp);
                    log.is_some_and(|log| Arc::ptr_eq(log.home(), directory))
                })),
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

/// Which boot of the machine this is; empty where it does not say.
fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID_SOURCE).unwrap_or_default();
    text.trim().to_owned()
}

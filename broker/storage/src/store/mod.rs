//! All logs in all directories: open, create, find, move, delete.
//!
//! A directory that fails takes its logs along and nothing else. What cannot be trusted when the store
//! opens is renamed to `<topic>-<partition>.<32 hex>-stray` and kept.

mod making;
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
use crate::directory::{Directory, FlushTimes, OnLoss};
use crate::error::{Error, Result};
use crate::files;
use crate::handles::Handles;
use crate::log::{Log, Opening};
use crate::side_by_side::side_by_side;
use crate::store::load::Job;
use crate::store::making::Making;
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
    /// Of its topic, where its files still tell.
    pub topic_id: Option<TopicId>,
    pub now_at: PathBuf,
    pub reason: String,
}

/// The logs of one broker.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) clock: Clock,
    pub(crate) homes: Vec<Home>,
    logs: RwLock<Tables>,
    /// Whoever makes, moves or deletes a log has its turn while the disk works; readers of the tables
    /// do not wait for it.
    making: Making,
    set_aside: Mutex<Vec<SetAside>>,
    on_loss: OnLossCell,
    flushes: Arc<FlushTimes>,
    pub(crate) departures: Departures,
}

/// A directory, and what its upkeep has to itself: one whose disk hangs keeps no other waiting.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) directory: Arc<Directory>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) next_due: NextDue,
    /// Held by a turn of upkeep and by the clean stop.
    pub(crate) turn: Mutex<()>,
}

struct OnLossCell(Arc<OnceLock<OnLoss>>);

impl std::fmt::Debug for OnLossCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnLoss")
    }
}

#[derive(Debug, Default)]
struct Tables {
    current: HashMap<TopicPartition, Arc<Log>>,
    future: HashMap<TopicPartition, Arc<Log>>,
}

/// When each kind of upkeep of a directory is due next, in monotonic milliseconds.
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
        let on_loss: Arc<OnceLock<OnLoss>> = Arc::default();
        let flushes = FlushTimes::new(clock.clone());
        let boot_id = boot_id();
        let mut homes = Vec::new();
        for path in &config.dirs {
            let opened = Directory::open(
                path,
                Arc::clone(&handles),
                &boot_id,
                Arc::clone(&on_loss),
                Arc::clone(&flushes),
            );
            let directory = match opened {
                Err(e) if e.is_disk() => {
                    let (handles, on_loss) = (Arc::clone(&handles), Arc::clone(&on_loss));
                    Directory::failed(path, handles, &e, on_loss, Arc::clone(&flushes))
                }
                other => other?,
            };
            homes.push(Home {
                directory: Arc::new(directory),
                trash: Arc::default(),
                next_due: NextDue::starting(&config, clock.monotonic_ms()),
                turn: Mutex::default(),
            });
        }
        let store = Store {
            config,
            clock,
            homes,
            logs: RwLock::default(),
            making: Making::default(),
            set_aside: Mutex::default(),
            on_loss: OnLossCell(on_loss),
            flushes,
            departures: Departures::default(),
        };
        store.load_all(config_of)?;
        if store.online().next().is_none() {
            return Err(Error::NoDirectory);
        }
        Ok(store)
    }

    fn opening(&self, home: &Home, job: &Job, config: Arc<LogConfig>) -> Opening {
        Opening {
            partition: job.partition.clone(),
            directory: Arc::clone(&home.directory),
            folder: job.folder.clone(),
            trash: Arc::clone(&home.trash),
            clock: self.clock.clone(),
            config,
            is_future: job.is_future,
            is_new: false,
            recovery: None,
            start: None,
            cleaned_to: None,
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
        let _making = self.making.begin(tp);
        if let Some(there) = self.log(tp) {
            return Err(Error::Exists { path: there.path() });
        }
        let home = match dir {
            Some(dir) => self.home_at(dir)?,
            None => self.emptiest()?,
        };
        let job = Job {
            partition: tp.clone(),
            folder: home.directory.path.join(files::replica_dir(tp)),
            is_future: false,
        };
        self.create_in(home, job, topic_id, config)
    }

    /// Makes the log of a new folder and lists it.
    fn create_in(
        &self,
        home: &Home,
        job: Job,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>> {
        let log = self.make_log(home, &job, config)?;
        if let Some(id) = topic_id {
            log.assign_topic_id(id)?;
        }
        home.directory.replicas.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.logs.write();
        let table = if job.is_future {
            &mut tables.future
        } else {
            &mut tables.current
        };
        table.insert(job.partition, Arc::clone(&log));
        Ok(log)
    }

    fn make_log(&self, home: &Home, job: &Job, config: Arc<LogConfig>) -> Result<Arc<Log>> {
        let directory = &home.directory;
        directory.check()?;
        // What the checkpoint says of an earlier replica here must not pass for this one's.
        directory.lower_recovery(&job.partition, 0)?;
        let created = make_folder(directory, &job.folder).and_then(|is_new| {
            Log::open(Opening {
                is_new,
                ..self.opening(home, job, config)
            })
        });
        let result = directory.judge(created);
        if result.is_err() {
            directory.announce();
        }
        result
    }

    fn home_at(&self, path: &Path) -> Result<&Home> {
        let found = self.homes.iter().find(|home| home.directory.path == path);
        let home = found.ok_or_else(|| Error::Offline {
            dir: path.to_path_buf(),
        })?;
        home.directory.check()?;
        Ok(home)
    }

    /// A call to this directory's disk does not come back: it is offline until the next start. Waits
    /// for nobody who may be in that call.
    pub fn give_up(&self, dir: &Path, seconds: u64) {
        let mut online = self.online();
        if let Some(home) = online.find(|home| home.directory.path == dir) {
            let dir = dir.to_path_buf();
            home.directory.take_offline(&Error::Hung { dir, seconds });
            home.directory.announce();
        }
    }

    /// Those whose directory works.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Home> {
        self.homes.iter().filter(|home| home.directory.is_online())
    }

    /// Kafka: `nextLogDirs`: the one with the fewest partitions.
    fn emptiest(&self) -> Result<&Home> {
        self.online()
            .min_by_key(|home| home.directory.replicas.load(Ordering::Relaxed))
            .ok_or(Error::NoDirectory)
    }

    /// Renames their folders to `-delete`, to be removed later by [`Store::housekeep`]; what became of
    /// each, in this order. The new names of all are brought to the disk together: with a sync for each
    /// a broker that loses thousands would obey no other order for a minute.
    pub fn delete(&self, partitions: &[TopicPartition]) -> Vec<Result<()>> {
        let put_away = |tp| {
            let _making = self.making.begin(tp);
            let log = self.logs.write().current.remove(tp);
            let put_away = |log| self.put_away(&log, None).map(|()| log);
            log.map(put_away).transpose()
        };
        let gone: Vec<Result<Option<Arc<Log>>>> = partitions.iter().map(put_away).collect();
        let mut logs = gone.iter().flatten().flatten();
        let starts = logs.any(|log| log.start_to_note().is_some());
        let mut settled: Vec<Arc<Directory>> = Vec::new();
        let settle = |one: Result<Option<Arc<Log>>>| {
            let Some(log) = one? else { return Ok(()) };
            let directory = log.home();
            if !settled.iter().any(|done| Arc::ptr_eq(done, directory)) {
                self.settle_names(directory, starts)?;
                settled.push(Arc::clone(directory));
            }
            Ok(())
        };
        gone.into_iter().map(settle).collect()
    }

    /// The log serves no more: its folder is renamed to `-delete` and removed later.
    fn retire(&self, log: &Arc<Log>, moved_to: Option<&Path>) -> Result<()> {
        self.put_away(log, moved_to)?;
        self.settle_names(log.home(), log.start_to_note().is_some())
    }

    /// As [`Store::retire`]; a power cut may bring the folder back until its name is settled.
    fn put_away(&self, log: &Arc<Log>, moved_to: Option<&Path>) -> Result<()> {
        let directory = log.home();
        directory.check()?;
        log.shut();
        let folder = directory.path.join(files::delete_dir(log.partition()));
        let renamed = directory.disk().rename(&log.path(), &folder);
        let result = directory.judge(renamed.map_err(|e| Error::io("rename", &log.path(), e)));
        directory.announce();
        result?;
        directory.replicas.fetch_sub(1, Ordering::Relaxed);
        let is_future = log.is_future();
        log.moved_to(&folder, is_future);
        if !is_future {
            let at = directory.path.clone();
            self.departures.note(at, log.partition(), moved_to);
        }
        log.doom_folder(folder, self.config.delete_delay_ms);
        Ok(())
    }

    /// Brings the names of the folders in a directory to its disk, and the starts of those that are
    /// left: a replica of the same name may come back before that file is written in its turn.
    fn settle_names(&self, directory: &Arc<Directory>, starts: bool) -> Result<()> {
        directory.check()?;
        let synced = directory.disk().sync_dir(&directory.path);
        let result = directory.judge(synced.map_err(|e| Error::io("sync", &directory.path, e)));
        directory.announce();
        result?;
        if starts {
            self.write_starts_of(directory)?;
        }
        Ok(())
    }

    pub fn directories(&self) -> Vec<DirectoryView> {
        let view = |home: &Home| DirectoryView {
            path: home.directory.path.clone(),
            online: home.directory.is_online(),
            reason: home.directory.failure().map(str::to_owned),
            was_clean: home.directory.was_clean,
            same_boot: home.directory.same_boot,
        };
        self.homes.iter().map(view).collect()
    }

    /// How long flushes took, in microseconds.
    pub fn flush_times(&self) -> &Timings {
        &self.flushes.times
    }

    /// Partitions whose bytes could not be trusted when the store opened, now or before; their files
    /// are kept.
    pub fn set_aside(&self) -> Vec<SetAside> {
        self.set_aside.lock().clone()
    }

    /// Whether files of this partition are kept aside. Those of an older topic of the same name do not
    /// count, where both are known.
    pub fn is_set_aside(&self, tp: &TopicPartition, topic_id: Option<TopicId>) -> bool {
        self.set_aside.lock().iter().any(|one| {
            let differ = matches!((one.topic_id, topic_id), (Some(one), Some(it)) if one != it);
            one.partition == *tp && !differ
        })
    }

    /// `on_loss` is called once for each directory that fails and each replica that is found damaged
    /// from now on, from the thread that met it, with no lock of ours held. Only the first call counts.
    pub fn on_loss(&self, on_loss: OnLoss) {
        let _only_the_first = self.on_loss.0.set(on_loss);
    }

    /// The watermarks of `replication-offset-checkpoint`, over all usable directories. Kafka: a
    /// file that cannot be read does not stop the start.
    pub fn read_watermarks(&self) -> Result<HashMap<TopicPartition, Offset>> {
        let mut all = HashMap::new();
        for Home { directory, .. } in self.online() {
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
        self.side_by_side(|home| self.write_watermarks_of(&home.directory))
    }

    /// As [`Store::write_watermarks`], of the logs in one directory.
    pub fn write_watermarks_in(&self, dir: &Path) -> Result<()> {
        self.write_watermarks_of(&self.home_at(dir)?.directory)
    }

    fn write_watermarks_of(&self, directory: &Arc<Directory>) -> Result<()> {
        self.write_checkpoint(directory, files::REPLICATION_CHECKPOINT, |log| {
            Some(log.offsets().watermark)
        })
    }

    /// The file of one directory with what `offset_of` says of each of its logs.
    pub(crate) fn write_checkpoint(
        &self,
        directory: &Arc<Directory>,
        name: &str,
        offset_of: impl Fn(&Log) -> Option<Offset>,
    ) -> Result<()> {
        let written = directory.write_collected(name, || self.collect(directory, offset_of));
        directory.announce();
        written
    }

    /// The same in all directories that work, at a time; the first failure, if any.
    pub(crate) fn side_by_side(&self, work: impl Fn(&Home) -> Result<()> + Sync) -> Result<()> {
        side_by_side(self.online(), work).into_iter().collect()
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

//! What lies in the directories when the store opens: logs, leftovers, and what cannot be trusted.
//!
//! One partition in two directories is refused, unless a move between the two was under way: then
//! [`crate::store::moves`] knows which of them serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::ids::{TopicId, TopicPartition};

use crate::checkpoint::{self, PartitionOffsets};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::files::{self, ReplicaDir};
use crate::log::{Log, Opening, read_topic_id};
use crate::segment::Place;
use crate::side_by_side::side_by_side;
use crate::store::{ConfigOf, Home, SetAside, Store, Tables};
use crate::trash::Doomed;

/// One folder to be opened as a log.
pub(in crate::store) struct Job {
    pub(in crate::store) partition: TopicPartition,
    pub(in crate::store) folder: PathBuf,
    pub(in crate::store) is_future: bool,
}

/// What loading a directory gave.
#[derive(Default)]
struct Loaded {
    logs: Vec<Arc<Log>>,
    set_aside: Vec<SetAside>,
}

impl Store {
    pub(in crate::store) fn load_all(&self, config_of: ConfigOf<'_>) -> Result<()> {
        let loaded: Vec<Result<Loaded>> =
            side_by_side(&self.homes, |home| self.load_directory(home, config_of));
        let mut left = Vec::new();
        {
            let mut tables = self.logs.write();
            for (Home { directory, .. }, loaded) in self.homes.iter().zip(loaded) {
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
                    directory.replicas.fetch_add(1, Ordering::Relaxed);
                    left.extend(Self::enter(&mut tables, log)?);
                }
            }
        }
        for (served, left) in left {
            self.finish_move(&left, &served)?;
        }
        Ok(())
    }

    /// Puts a log into its table. Of two current ones, the one that serves and the one that a move
    /// left behind.
    fn enter(tables: &mut Tables, log: Arc<Log>) -> Result<Option<(Arc<Log>, Arc<Log>)>> {
        let table = if log.is_future() {
            &mut tables.future
        } else {
            &mut tables.current
        };
        let Some(first) = table.insert(log.partition().clone(), Arc::clone(&log)) else {
            return Ok(None);
        };
        let twice = || Error::Twice {
            first: first.path(),
            second: log.path(),
        };
        if log.is_future() {
            return Err(twice());
        }
        let (served, left) = match (log.took_over(&first)?, first.took_over(&log)?) {
            (true, false) => (log, first),
            (false, true) => (first, log),
            _ => return Err(twice()),
        };
        table.insert(served.partition().clone(), Arc::clone(&served));
        Ok(Some((served, left)))
    }

    fn load_directory(&self, home: &Home, config_of: ConfigOf<'_>) -> Result<Loaded> {
        let directory = &home.directory;
        directory.check()?;
        let jobs = self.find_replicas(home)?;
        if !directory.is_thorough() {
            tracing::info!(
                dir = %directory.path.display(),
                "a sync of the file system is not known to reach all of it: every file is synced by itself, \
                 and a stop takes longer"
            );
        }
        let recovery = directory.load_recovery_points()?;
        let starts_path = directory.path.join(files::LOG_START_CHECKPOINT);
        let starts = checkpoint::read_partition_offsets(directory.disk(), &starts_path)?;
        let cleaned = read_cleaned(directory)?;
        let next = AtomicUsize::new(0);
        let work = || {
            let mut loaded = Loaded::default();
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let opening = self.opening(home, job, config_of(&job.partition.topic));
                let opening = Opening {
                    recovery: recovery.get(&job.partition).map(|offset| offset.0),
                    start: starts.get(&job.partition).map(|offset| offset.0),
                    cleaned_to: cleaned.get(&job.partition).map(|offset| offset.0),
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
        let threads = match directory.was_clean {
            true => self.config.opening_threads_per_dir,
            false => self.config.recovery_threads_per_dir,
        };
        let threads = threads.clamp(1, jobs.len().max(1));
        let results = side_by_side(0..threads, |_| work());
        let mut all = Loaded::default();
        for result in results {
            let loaded = directory.judge(result)?;
            all.logs.extend(loaded.logs);
            all.set_aside.extend(loaded.set_aside);
        }
        let doubtful = all
            .logs
            .iter()
            .filter(|log| log.may_have_lost_bytes())
            .count();
        if doubtful > 0 && directory.other_boot {
            tracing::warn!(
                dir = %directory.path.display(),
                logs = doubtful,
                "the machine went down without a clean stop of the broker: records that were not \
                 flushed, or not copied to other brokers, may be lost"
            );
        }
        if directory.is_foreign && !directory.was_clean {
            // Gaps that passed for Apache's own are judged as ours at the next start.
            for log in all.logs.iter().filter(|log| log.config().compact) {
                log.note_safe(log.offsets().end)?;
            }
        }
        directory.note_boot()?;
        Ok(all)
    }

    /// The folders of a directory that are to be opened; doomed ones are queued for removal.
    fn find_replicas(&self, home: &Home) -> Result<Vec<Job>> {
        let directory = &home.directory;
        let entries = directory.disk().list(&directory.path);
        let entries = entries.map_err(|e| Error::io("list", &directory.path, e))?;
        let mut jobs = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let folder = directory.path.join(&entry.name);
            if entry.is_link {
                directory.note_link();
            }
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
                Some(ReplicaDir::Deleted) => self.doom_folder(home, folder),
                Some(ReplicaDir::Stray(Some(partition))) => {
                    self.set_aside.lock().push(SetAside {
                        partition,
                        topic_id: topic_id_in(directory, &folder),
                        now_at: folder,
                        reason: "it was set aside before this start".to_owned(),
                    });
                }
                Some(ReplicaDir::Stray(None)) => {}
                None if entry.name == files::REMOTE_INDEX_CACHE => {}
                None => return Err(Error::Foreign { path: folder }),
            }
        }
        Ok(jobs)
    }

    fn doom_folder(&self, home: &Home, folder: PathBuf) {
        let place = Place::new(Arc::clone(&home.directory.handles), folder);
        let due_ms = self
            .clock
            .wall_ms()
            .saturating_add(self.config.delete_delay_ms);
        home.trash.add(due_ms, Doomed::Folder { place });
    }
}

/// How far the cleaner had come. A file that is spoilt vouches for nothing; the cleaner will say
/// so when it needs it.
fn read_cleaned(directory: &Directory) -> Result<PartitionOffsets> {
    let path = directory.path.join(files::CLEANER_CHECKPOINT);
    match checkpoint::read_partition_offsets(directory.disk(), &path) {
        Err(Error::Corrupt { .. }) => Ok(PartitionOffsets::new()),
        read => read,
    }
}

/// What cannot be read tells nothing.
fn topic_id_in(directory: &Directory, folder: &Path) -> Option<TopicId> {
    read_topic_id(directory.disk(), &folder.join(files::PARTITION_METADATA)).unwrap_or_default()
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
        topic_id: topic_id_in(directory, &now_at),
        now_at,
        reason: reason.to_string(),
    })
}

//! A replica moves to another directory: its copy is made there, catches up and takes its place.
//!
//! ```text
//! copying     /a/t-0                        /b/t-0.<hex>-future
//! announced   /a/t-0                        /b/t-0.<hex>-future + note
//! took over   /a/t-0                        /b/t-0              + note    serves
//! finished    /a/t-0.<hex>-delete           /b/t-0
//! ```
//!
//! Invariant: at every line one folder has all that was promised, and a start tells which: the
//! target is renamed before the source, and where both are called `t-0` the target's note names
//! the source it replaces.
//!
//! Kafka: `LogManager.replaceCurrentWithFutureLog`. It has no note: between the two renames it
//! cannot start, and asks for one of the folders to be removed by hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{Offset, TopicId, TopicPartition};

use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::files;
use crate::log::Log;
use crate::store::Store;
use crate::store::load::Job;

/// The longest note that is read.
const NOTE_BYTES_MAX: u64 = 8192;

impl Store {
    /// Makes the move target of a partition in another directory.
    ///
    /// Kafka: not while any directory is offline, for a target may lie there already.
    pub fn create_future(
        &self,
        tp: &TopicPartition,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        dir: &Path,
    ) -> Result<Arc<Log>> {
        let _making = self.making.begin(tp);
        if let Some(there) = self.future_log(tp) {
            return Err(Error::Exists { path: there.path() });
        }
        for home in &self.homes {
            home.directory.check()?;
        }
        let home = self.home_at(dir)?;
        let job = Job {
            partition: tp.clone(),
            folder: home.directory.path.join(files::future_dir(tp)),
            is_future: true,
        };
        self.create_in(home, job, topic_id, config)
    }

    /// Before a take-over: writes down whom the move target is about to replace.
    ///
    /// The recovery point of the target says first how far it goes: of what was compacted once it has
    /// the gaps, but no cleaner's checkpoint, and above the point they would pass for lost records.
    pub fn announce_move(&self, current: &Arc<Log>, future: &Arc<Log>) -> Result<()> {
        self.check_move(current, future)?;
        future.note_safe(future.offsets().end)?;
        // Left from an earlier move, a note would name the target as the one to be replaced. Nobody waits
        // here for a disk that hangs.
        let noted = remove_note(current)
            .map_err(|failed| (current, failed))
            .and_then(|()| write_note(current, future).map_err(|failed| (future, failed)));
        let Err((log, failed)) = noted else {
            return Ok(());
        };
        // Of a move that was called off meanwhile the folder is gone, and no disk is to blame.
        let _making = self.making.begin(current.partition());
        self.check_move(current, future)?;
        let result = log.home().judge(Err(failed));
        log.home().announce();
        result
    }

    /// Whether it is still under way.
    fn check_move(&self, current: &Arc<Log>, future: &Arc<Log>) -> Result<()> {
        let tp = current.partition();
        let is_known = |known: Option<Arc<Log>>, log| known.is_some_and(|it| Arc::ptr_eq(&it, log));
        match is_known(self.log(tp), current) && is_known(self.future_log(tp), future) {
            true => Ok(()),
            false => Err(Error::Closed),
        }
    }

    /// The move target has caught up and serves from now on. Nobody appends meanwhile; the caller
    /// then calls [`Store::finish_move`], where it need not keep others waiting. A flush of the
    /// target brings its new name to the disk.
    pub fn take_over(&self, current: &Arc<Log>, future: &Arc<Log>) -> Result<()> {
        let tp = current.partition();
        let _making = self.making.begin(tp);
        self.check_move(current, future)?;
        let directory = future.home();
        directory.check()?;
        let folder = directory.path.join(files::replica_dir(tp));
        let renamed = directory.disk().rename(&future.path(), &folder);
        directory.judge(renamed.map_err(|e| Error::io("rename", &future.path(), e)))?;
        future.moved_to(&folder, false);
        future.set_high_watermark(current.offsets().watermark);
        let mut tables = self.logs.write();
        tables.future.remove(tp);
        tables.current.insert(tp.clone(), Arc::clone(future));
        Ok(())
    }

    /// The replica that was left behind goes, once the new name of the other is on the disk.
    pub fn finish_move(&self, left: &Arc<Log>, served: &Arc<Log>) -> Result<()> {
        let _making = self.making.begin(left.partition());
        let to = served.home();
        let synced = to.disk().sync_dir(&to.path);
        to.judge(synced.map_err(|e| Error::io("sync", &to.path, e)))?;
        to.answer_for_closed()?;
        // A source that cannot be renamed stays; the note tells the next start whose it was.
        self.retire(left, Some(&to.path))?;
        let from = left.home();
        self.write_recovery_points_of(from)?;
        self.write_recovery_points_of(to)?;
        self.write_starts_of(to)?;
        let removed = remove_note(served);
        to.judge(removed)
    }

    /// Removes the move target of a partition: the move is called off. Of one in a directory that failed
    /// nothing is known any more, and whoever is at it may hang there.
    pub fn delete_future(&self, tp: &TopicPartition) -> Result<()> {
        let _making = self.making.begin(tp);
        let log = self.logs.write().future.remove(tp);
        let log = log.filter(|log| log.home().is_online());
        log.map_or(Ok(()), |log| self.retire(&log, None))
    }

    /// The move target lies in a directory that failed: nothing is known of it any more.
    pub fn forget_future(&self, tp: &TopicPartition) {
        let log = self.logs.write().future.remove(tp);
        if let Some(log) = log {
            log.shut();
        }
    }
}

fn write_note(current: &Log, future: &Log) -> Result<()> {
    let note = future.path().join(files::TOOK_OVER);
    let text = current.path().display().to_string();
    base::durable::replace(&*future.disk(), &note, text.as_bytes())
        .map_err(|e| Error::io("write", &note, e))
}

fn remove_note(log: &Log) -> Result<()> {
    let note = log.path().join(files::TOOK_OVER);
    match log.disk().remove_file(&note) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|e| Error::io("remove", &note, e))?,
    }
    let synced = log.disk().sync_dir(&log.path());
    synced.map_err(|e| Error::io("sync", &log.path(), e))
}

impl Log {
    /// Whether this one's note says that it replaced `other`, and nothing contradicts it: a source
    /// gets no record after the take-over.
    pub(in crate::store) fn took_over(&self, other: &Log) -> Result<bool> {
        let note = self.path().join(files::TOOK_OVER);
        let text = match self.disk().read_small(&note, NOTE_BYTES_MAX) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("read", &note, e)),
        };
        let is_named = text == other.path().display().to_string();
        Ok(is_named && self.offsets().end >= other.offsets().end)
    }
}

/// Replicas that have left their directories, for the cleaner, whose checkpoint follows them: each
/// directory's when its turn comes. Nothing is noted until a cleaner has asked for the first time.
#[derive(Debug, Default)]
pub(crate) struct Departures(Mutex<Option<Moved>>);

#[derive(Debug, Default)]
struct Moved {
    /// Where a replica went that has left a directory; nowhere where it was deleted.
    gone: HashMap<(PathBuf, TopicPartition), Option<PathBuf>>,
    /// How far one was compacted that has come into a directory.
    come: HashMap<(PathBuf, TopicPartition), Offset>,
}

impl Departures {
    pub(in crate::store) fn note(&self, at: PathBuf, tp: &TopicPartition, to: Option<&Path>) {
        if let Some(moved) = &mut *self.0.lock() {
            let to = to.map(Path::to_path_buf);
            moved.gone.insert((at, tp.clone()), to);
        }
    }

    pub(crate) fn note_come(&self, to: PathBuf, tp: TopicPartition, clean_to: Offset) {
        let mut moved = self.0.lock();
        let come = &mut moved.get_or_insert_default().come;
        come.insert((to, tp), clean_to);
    }

    /// Everybody who left this directory since the last time, and where to.
    pub(crate) fn take_gone(&self, at: &Path) -> Vec<(TopicPartition, Option<PathBuf>)> {
        let mut moved = self.0.lock();
        take_of(&mut moved.get_or_insert_default().gone, at)
    }

    /// Everybody who came into this directory since the last time, and how far he was compacted.
    pub(crate) fn take_come(&self, to: &Path) -> Vec<(TopicPartition, Offset)> {
        let mut moved = self.0.lock();
        take_of(&mut moved.get_or_insert_default().come, to)
    }
}

fn take_of<T>(
    all: &mut HashMap<(PathBuf, TopicPartition), T>,
    dir: &Path,
) -> Vec<(TopicPartition, T)> {
    let here = all.extract_if(|(at, _), _| at == dir);
    here.map(|((_, tp), told)| (tp, told)).collect()
}

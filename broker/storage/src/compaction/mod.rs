//! Compaction: of each key only the last record stays, and everything stays in order.
//!
//! ```text
//! choose  which log is dirtiest                       pure
//! gather  its aborted transactions, from the markers   before or while it is mapped
//! map     key → last offset over its dirty part       bounded memory
//! clean   rewrite all before that part's end, swap    safe to die at any line
//! ```
//!
//! What it promises: who reads the whole log sees, for every key, its last value, unless that was
//! a tombstone older than `delete.retention.ms`; offsets never change; no consumer sees a
//! transaction without its end; no producer is forgotten that may still write.
//!
//! Blocks, and may take minutes: it runs on a thread of its own. What it asks of a log is the trait
//! [`Subject`]; nothing here knows how a log keeps its segments.

mod map;
mod throttle;
mod aborted;
mod transactions;
mod filter;
mod choose;
mod clean;
mod checkpoint;
mod measured;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use parking_lot::{Condvar, Mutex};
use protocol::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};

use crate::compaction::checkpoint::CleanTo;
use crate::compaction::choose::{Assessment, assess};
use crate::compaction::clean::{Ended, Pass};
use crate::compaction::map::OffsetMap;
pub use crate::compaction::measured::CompactionMeasures;
use crate::compaction::measured::{LastPass, Measured};
pub use crate::compaction::throttle::Halt;
use crate::compaction::throttle::{Rate, Throttle};
use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::offsets::Offsets;

/// What compaction asks of a log.
pub trait Subject: Send + Sync {
    fn partition(&self) -> TopicPartition;
    /// The log directory it lies in, where the checkpoint is.
    fn directory(&self) -> PathBuf;
    /// The partition's own directory.
    fn path(&self) -> PathBuf;
    fn config(&self) -> Arc<LogConfig>;
    fn offsets(&self) -> Offsets;
    /// All segments in order, the active one last.
    fn segments(&self) -> Vec<SegmentFacts>;
    /// Where the producers the log remembers stand.
    fn last_of_producers(&self) -> Vec<(ProducerId, LastOfProducer)>;
    /// Everything below `to` is on the disk, and is known to be at the next start.
    fn note_safe(&self, to: Offset) -> Result<()>;
    /// Puts the files `<new_base>.*.cleaned`, which are synced, in the place of the segments
    /// `old`. False, with nothing done, where those are no longer all there, or the log was
    /// truncated since [`Subject::cuts`] said `cuts`.
    fn replace_segments(&self, new_base: Offset, old: &[Offset], cuts: u64) -> Result<bool>;
    /// How often the log was truncated.
    fn cuts(&self) -> u64;
    /// The lowest offset it was truncated to since this was last asked.
    fn take_lowest_cut(&self) -> Option<Offset>;
    /// Hears of a failure on the log's files that compaction met, and says what it means: a
    /// failing disk, or only that the log was closed meanwhile.
    fn settle(&self, error: Error) -> Error;
}

/// One segment as compaction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub base: i64,
    pub size: u64,
    pub index_bytes: u64,
    pub time_index_bytes: u64,
    pub txn_index_bytes: u64,
    /// The largest in its records; of the file where they have none.
    pub largest_timestamp_ms: i64,
    /// The largest of its first batch; −1 for none.
    pub first_timestamp_ms: i64,
    pub modified_ms: i64,
}

/// The last a log knows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastOfProducer {
    /// `None` where only markers of it were seen.
    pub last_data_offset: Option<Offset>,
    pub epoch: ProducerEpoch,
}

/// What the cleaner obeys (`log.cleaner.*`).
#[derive(Clone, Copy, Debug)]
pub struct CompactionConfig {
    /// Memory for the map of one pass: `dedupe.buffer.size` over `threads`.
    pub map_bytes: usize,
    /// `io.buffer.load.factor`.
    pub load_factor: f64,
    /// `io.max.bytes.per.second`, reads and writes of all passes together.
    pub bytes_per_second: f64,
    /// How many threads work in one log directory at most: those that are left go on with the others
    /// when its disk hangs.
    pub threads_per_directory: usize,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        CompactionConfig {
            map_bytes: 128 << 20,
            load_factor: 0.9,
            bytes_per_second: f64::MAX,
            threads_per_directory: usize::MAX,
        }
    }
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub keys: u64,
    /// Read to learn how transactions ended, beside what was mapped.
    pub bytes_gathered: u64,
    pub bytes_mapped: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// A log that was compacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub partition: TopicPartition,
    /// Everything below is compacted now; unchanged where the pass was stopped.
    pub clean_to: Offset,
    pub finished: bool,
    pub stats: Stats,
}

/// Compacts one log at a time for each thread that calls it. Shared by those threads.
#[derive(Debug)]
pub struct Compactor {
    disk: Arc<dyn Disk>,
    clock: Clock,
    chance: Arc<Chance>,
    config: Mutex<CompactionConfig>,
    rate: Rate,
    measured: Measured,
    // Held for a few words only, never while a disk works.
    state: Mutex<State>,
    /// Woken when a thread leaves a directory.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    checkpoints: HashMap<PathBuf, Arc<Mutex<CleanTo>>>,
    busy: HashSet<TopicPartition>,
    /// How many threads are in a directory.
    turns: HashMap<PathBuf, usize>,
    // With the reason; left alone until the broker starts anew.
    uncleanable: HashMap<TopicPartition, String>,
}

/// A thread's leave to work in a directory.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    compactor: &'a Compactor,
    directory: PathBuf,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.compactor.state.lock();
        if let Some(turns) = state.turns.get_mut(&self.directory) {
            *turns = turns.saturating_sub(1);
        }
        self.compactor.left.notify_all();
    }
}

impl Compactor {
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Clock,
        chance: Arc<Chance>,
        config: CompactionConfig,
    ) -> Self {
        let state = Mutex::new(State::default());
        Compactor {
            measured: Measured::new(clock.monotonic_ms()),
            disk,
            clock,
            chance,
            rate: Rate::new(config.bytes_per_second),
            config: Mutex::new(config),
            state,
            left: Condvar::new(),
        }
    }

    pub fn set_config(&self, config: CompactionConfig) {
        self.rate.limit_to(config.bytes_per_second);
        *self.config.lock() = config;
    }

    /// What was done lately, by all threads.
    pub fn measures(&self) -> CompactionMeasures {
        self.measured.told(self.clock.monotonic_ms())
    }

    /// A thread that called [`Compactor::pass`] ends.
    pub fn note_thread_over(&self) {
        self.measured.forget_thread();
    }

    /// Leave to work in a directory; `None` where enough do.
    pub(crate) fn begin_turn(&self, directory: &Path) -> Option<Turn<'_>> {
        let max = self.config.lock().threads_per_directory.max(1);
        let mut state = self.state.lock();
        let turns = state.turns.entry(directory.to_path_buf()).or_default();
        if *turns >= max {
            return None;
        }
        *turns += 1;
        Some(Turn {
            compactor: self,
            directory: directory.to_path_buf(),
        })
    }

    /// Returns once nobody works in a directory: for whoever has told all threads to halt, since one
    /// that comes later finds that out before it touches anything.
    pub fn await_left(&self, directory: &Path) {
        let is_there =
            |state: &mut State| state.turns.get(directory).is_some_and(|turns| *turns > 0);
        self.left.wait_while(&mut self.state.lock(), is_there);
    }

    /// How much of this log waits to be compacted.
    pub fn dirty_bytes<S: Subject + ?Sized>(&self, log: &S) -> Result<u64> {
        let checkpoint = self.checkpoint(&log.directory());
        let known = checkpoint.lock().of(&*self.disk, &log.partition())?;
        let (segments, now_ms) = (log.segments(), self.clock.wall_ms());
        let found = assess(&segments, &log.offsets(), known, &log.config(), now_ms);
        Ok(found.map_or(0, |found| found.cleanable_bytes))
    }

    /// Partitions that failed, each with its reason.
    pub fn uncleanable(&self) -> Vec<(TopicPartition, String)> {
        let state = self.state.lock();
        state
            .uncleanable
            .iter()
            .map(|(tp, reason)| (tp.clone(), reason.clone()))
            .collect()
    }

    /// Compacts the dirtiest of `logs` that is due. `None` where none is. A log whose bytes cannot
    /// be read is left alone from then on; only a failure of a disk is an error here.
    pub fn pass<S: Subject + ?Sized>(
        &self,
        logs: &[Arc<S>],
        halt: &Halt,
    ) -> Result<Option<Compacted>> {
        let Some((log, found)) = self.choose(logs)? else {
            return Ok(None);
        };
        let partition = log.partition();
        let ran = self
            .compact(&*log, &found, halt)
            .map_err(|error| log.settle(error));
        self.state.lock().busy.remove(&partition);
        match ran {
            Ok(compacted) => Ok(Some(compacted)),
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(%partition, %error, "compaction gives the partition up");
                let mut state = self.state.lock();
                state.uncleanable.insert(partition, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Truncation reached below what was compacted: the checkpoint follows.
    pub fn note_truncated(&self, dir: &Path, tp: &TopicPartition, to: Offset) -> Result<()> {
        let checkpoint = self.checkpoint(dir);
        let mut checkpoint = checkpoint.lock();
        checkpoint.change(&*self.disk, |known| match known.get_mut(tp) {
            Some(known) if *known > to => {
                *known = to;
                true
            }
            _ => false,
        })
    }

    /// The partition has left the directory, for another one or for good. Gives how far it was
    /// compacted: what was stays so elsewhere.
    ///
    /// Kafka: `LogCleanerManager.alterCheckpointDir`.
    pub(crate) fn note_left(&self, dir: &Path, tp: &TopicPartition) -> Result<Option<Offset>> {
        self.state.lock().uncleanable.remove(tp);
        let checkpoint = self.checkpoint(dir);
        let mut clean_to = None;
        checkpoint.lock().change(&*self.disk, |known| {
            clean_to = known.remove(tp);
            clean_to.is_some()
        })?;
        Ok(clean_to)
    }

    /// The partition has come into the directory, compacted so far.
    pub(crate) fn note_come(
        &self,
        dir: &Path,
        tp: &TopicPartition,
        clean_to: Offset,
    ) -> Result<()> {
        let checkpoint = self.checkpoint(dir);
        checkpoint.lock().change(&*self.disk, |known| {
            let is_news = known.get(tp).is_none_or(|known| *known < clean_to);
            if is_news {
                known.insert(tp.clone(), clean_to);
            }
            is_news
        })
    }

    fn choose<S: Subject + ?Sized>(&self, logs: &[Arc<S>]) -> Result<Option<(Arc<S>, Assessment)>> {
        let now_ms = self.clock.wall_ms();
        let mut best: Option<(Arc<S>, Assessment)> = None;
        let (mut dirtiest, mut delay_ms) = (0.0, 0);
        for log in logs {
            let (config, partition) = (log.config(), log.partition());
            if !config.compact || self.is_left_alone(&partition) {
                continue;
            }
            let dir = log.directory();
            if let Some(cut) = log.take_lowest_cut() {
                self.note_truncated(&dir, &partition, cut)?;
            }
            let clean_to = self.checkpoint(&dir);
            // A directory that fails must not keep the others dirty.
            let known = clean_to.lock().of(&*self.disk, &partition);
            let checkpoint = match known {
                Ok(known) => known,
                Err(error) => {
                    let error = log.settle(error);
                    tracing::warn!(%partition, %error, "no checkpoint to compact from");
                    continue;
                }
            };
            let segments = log.segments();
            let Some(found) = assess(&segments, &log.offsets(), checkpoint, &config, now_ms) else {
                continue;
            };
            if found.checkpoint_is_wrong {
                let first_dirty = Offset(found.first_dirty);
                let mut clean_to = clean_to.lock();
                clean_to.set(&*self.disk, partition, first_dirty)?;
            }
            dirtiest = f64::max(dirtiest, found.ratio());
            delay_ms = delay_ms.max(found.overdue_ms);
            let dirtier = best
                .as_ref()
                .is_none_or(|(_, best)| found.ratio() > best.ratio());
            if found.is_due(&config) && dirtier {
                best = Some((log.clone(), found));
            }
        }
        self.measured
            .note_look(self.clock.monotonic_ms(), dirtiest, delay_ms);
        match &best {
            // Another thread was faster: the next dirtiest is looked for.
            Some((log, _)) if !self.state.lock().busy.insert(log.partition()) => self.choose(logs),
            _ => Ok(best),
        }
    }

    fn is_left_alone(&self, partition: &TopicPartition) -> bool {
        let state = self.state.lock();
        state.busy.contains(partition) || state.uncleanable.contains_key(partition)
    }

    fn compact<S: Subject + ?Sized>(
        &self,
        log: &S,
        found: &Assessment,
        halt: &Halt,
    ) -> Result<Compacted> {
        let config = *self.config.lock();
        let seed = [self.chance.next_u64(), self.chance.next_u64()];
        let mut pass = Pass {
            disk: &*self.disk,
            clock: &self.clock,
            log,
            bases: Vec::new(),
            map: OffsetMap::new(config.map_bytes, config.load_factor, seed),
            throttle: Throttle::new(&self.clock, halt, &self.rate),
            stats: Stats::default(),
        };
        let partition = log.partition();
        tracing::debug!(%partition, from = found.first_dirty, upto = found.upto, "compaction begins");
        let began_ms = self.clock.monotonic_ms();
        let ran = pass.run(found);
        let stats = pass.stats;
        self.measured.note_pass(LastPass {
            stats,
            slots: (pass.map.len(), pass.map.slots_max()),
            took_ms: self.clock.monotonic_ms() - began_ms,
        });
        let ended = match ran {
            // Deleted, truncated or cut by retention meanwhile.
            Err(Error::Closed) => Ended::Early,
            ran => ran?,
        };
        let Ended::At(end) = ended else {
            let clean_to = Offset(found.first_dirty);
            return Ok(Compacted {
                partition,
                clean_to,
                finished: false,
                stats,
            });
        };
        let checkpoint = self.checkpoint(&log.directory());
        let mut checkpoint = checkpoint.lock();
        checkpoint.set(&*self.disk, partition.clone(), Offset(end))?;
        drop(checkpoint);
        tracing::info!(
            %partition, clean_to = end, stats.keys, stats.bytes_read, stats.bytes_written, "compacted"
        );
        Ok(Compacted {
            partition,
            clean_to: Offset(end),
            finished: true,
            stats,
        })
    }

    fn checkpoint(&self, dir: &Path) -> Arc<Mutex<CleanTo>> {
        let mut state = self.state.lock();
        let fresh = || Arc::new(Mutex::new(CleanTo::of_directory(dir)));
        let known = state.checkpoints.entry(dir.to_path_buf());
        Arc::clone(known.or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests;

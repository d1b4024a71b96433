//! Compaction: of each key only the last record stays, and everything stays in order.
//!
//! ```text
//! choose  which log is dirtiest                       pure
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
mod transactions;
mod filter;
mod choose;
mod clean;
mod measured;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use parking_lot::Mutex;
use protocol::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};

use crate::checkpoint::{PartitionOffsets, read_partition_offsets, write_partition_offsets};
use crate::compaction::choose::{Assessment, assess};
use crate::compaction::clean::{Ended, Pass};
use crate::compaction::map::OffsetMap;
pub use crate::compaction::measured::CompactionMeasures;
use crate::compaction::measured::{LastPass, Measured};
pub use crate::compaction::throttle::Halt;
use crate::compaction::throttle::Throttle;
use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::files;
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
    /// `io.max.bytes.per.second`, reads and writes together.
    pub bytes_per_second: f64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        CompactionConfig {
            map_bytes: 128 << 20,
            load_factor: 0.9,
            bytes_per_second: f64::MAX,
        }
    }
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub keys: u64,
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
    measured: Measured,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // Invariant: a directory's map is what its checkpoint file holds, once it was read.
    checkpoints: HashMap<PathBuf, PartitionOffsets>,
    busy: HashSet<TopicPartition>,
    // With the reason; left alone until the broker starts anew.
    uncleanable: HashMap<TopicPartition, String>,
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
            config: Mutex::new(config),
            state,
        }
    }

    pub fn set_config(&self, config: CompactionConfig) {
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

    /// How much of this log waits to be compacted.
    pub fn dirty_bytes<S: Subject + ?Sized>(&self, log: &S) -> Result<u64> {
        let known = {
            let mut state = self.state.lock();
            let checkpoint = self.checkpoints(&mut state, &log.directory())?;
            checkpoint.get(&log.partition()).map(|at| at.0)
        };
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
        let mut state = self.state.lock();
        state.busy.remove(&partition);
        match ran {
            Ok(compacted) => Ok(Some(compacted)),
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(%partition, %error, "compaction gives the partition up");
                state.uncleanable.insert(partition, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Truncation reached below what was compacted: the checkpoint follows.
    pub fn note_truncated(&self, dir: &Path, tp: &TopicPartition, to: Offset) -> Result<()> {
        self.follow_cut(&mut self.state.lock(), dir, tp, to)
    }

    fn follow_cut(
        &self,
        state: &mut State,
        dir: &Path,
        tp: &TopicPartition,
        to: Offset,
    ) -> Result<()> {
        match self.checkpoints(state, dir)?.get_mut(tp) {
            Some(known) if *known > to => *known = to,
            _ => return Ok(()),
        }
        self.write_checkpoint(state, dir)
    }

    /// The partition has left the directory, for another one or for good.
    ///
    /// Kafka: `LogCleanerManager.alterCheckpointDir`; what was compacted stays so.
    pub fn note_left(&self, dir: &Path, tp: &TopicPartition, to: Option<&Path>) -> Result<()> {
        let mut state = self.state.lock();
        state.uncleanable.remove(tp);
        let Some(clean_to) = self.checkpoints(&mut state, dir)?.remove(tp) else {
            return Ok(());
        };
        self.write_checkpoint(&state, dir)?;
        let Some(to) = to else { return Ok(()) };
        self.checkpoints(&mut state, to)?
            .insert(tp.clone(), clean_to);
        self.write_checkpoint(&state, to)
    }

    fn choose<S: Subject + ?Sized>(&self, logs: &[Arc<S>]) -> Result<Option<(Arc<S>, Assessment)>> {
        let now_ms = self.clock.wall_ms();
        let mut state = self.state.lock();
        let mut best: Option<(Arc<S>, Assessment)> = None;
        let (mut dirtiest, mut delay_ms) = (0.0, 0);
        for log in logs {
            let (config, partition) = (log.config(), log.partition());
            if !config.compact
                || state.busy.contains(&partition)
                || state.uncleanable.contains_key(&partition)
            {
                continue;
            }
            let dir = log.directory();
            if let Some(cut) = log.take_lowest_cut() {
                self.follow_cut(&mut state, &dir, &partition, cut)?;
            }
            // A directory that fails must not keep the others dirty.
            let checkpoint = match self.checkpoints(&mut state, &dir) {
                Ok(known) => known.get(&partition).map(|at| at.0),
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
                self.checkpoints(&mut state, &dir)?
                    .insert(partition, Offset(found.first_dirty));
                self.write_checkpoint(&state, &dir)?;
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
        if let Some((log, _)) = &best {
            state.busy.insert(log.partition());
        }
        Ok(best)
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
            map: OffsetMap::new(config.map_bytes, config.load_factor, seed),
            throttle: Throttle::new(&self.clock, halt, config.bytes_per_second),
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
        let dir = log.directory();
        let mut state = self.state.lock();
        self.checkpoints(&mut state, &dir)?
            .insert(partition.clone(), Offset(end));
        self.write_checkpoint(&state, &dir)?;
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

    fn checkpoints<'s>(
        &self,
        state: &'s mut State,
        dir: &Path,
    ) -> Result<&'s mut PartitionOffsets> {
        if !state.checkpoints.contains_key(dir) {
            let path = dir.join(files::CLEANER_CHECKPOINT);
            let read = read_partition_offsets(&*self.disk, &path)?;
            state.checkpoints.insert(dir.to_path_buf(), read);
        }
        Ok(state.checkpoints.entry(dir.to_path_buf()).or_default())
    }

    fn write_checkpoint(&self, state: &State, dir: &Path) -> Result<()> {
        let Some(entries) = state.checkpoints.get(dir) else {
            return Ok(());
        };
        write_partition_offsets(&*self.disk, &dir.join(files::CLEANER_CHECKPOINT), entries)
    }
}

#[cfg(test)]
mod tests;

//! One partition's log: its segments, its lock, its public verbs.
//!
//! ```text
//! verbs     append  read  lookup  truncate  flush …       one file each
//! state     segments, offsets, producers, epochs          behind one lock, held briefly
//! segments  own their files and indexes; readable without the lock
//! ```
//!
//! Invariant: the order in [`crate::offsets`] holds whenever the lock is free.

mod append;
mod cleaning;
mod flush;
mod lookup;
mod notes;
mod read;
mod recover;
mod retain;
mod roll;
mod room;
mod split;
mod truncate;

pub use append::{Appended, Origin, VerificationGuard};
pub use cleaning::SegmentFacts;
pub(crate) use flush::Mark;
pub use flush::flush_together;
pub use lookup::{FoundOffset, Moment};
pub(crate) use notes::Unsettled;
pub use read::{AbortedTransaction, Range, ReadPlan, ReadRequest, Upto};
pub(crate) use recover::Opening;
pub(crate) use recover::read_topic_id;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::clock::Clock;
use base::disk::Disk;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicPartition};

use crate::config::LogConfig;
use crate::directory::Directory;
use crate::epochs::Epochs;
use crate::error::{Damage, Error, Result};
use crate::log::room::Room;
use crate::offsets::Offsets;
use crate::producers::Producers;
use crate::segment::{Place, Segment};
use crate::trash::Trash;

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    pub coordinator_epoch: i32,
    /// −1 without an open transaction.
    pub transaction_start: Offset,
    /// −1 where only markers of it were seen.
    pub last_data_offset: Offset,
}

/// A log in numbers.
#[derive(Clone, Copy, Debug)]
pub struct LogMeasures {
    pub offsets: Offsets,
    /// Of all segments.
    pub bytes: u64,
    pub segments: usize,
    /// Producers whose sequences are remembered.
    pub producers: usize,
}

/// One partition's log. All verbs block on the disk at most; none is async.
#[derive(Debug)]
pub struct Log {
    partition: TopicPartition,
    directory: Arc<Directory>,
    place: Arc<Place>,
    trash: Arc<Trash>,
    clock: Clock,
    is_future: AtomicBool,
    /// Known without the lock: whoever hears of the damage may be within it.
    damage_told: AtomicBool,
    may_have_lost_bytes: bool,
    producer_expiration_ms: i64,
    config: RwLock<Arc<LogConfig>>,
    state: Mutex<State>,
    /// Woken when [`State::settling`] ends.
    settled: Condvar,
}

/// What changes. Raw numbers: they do not leave this folder.
#[derive(Debug)]
struct State {
    /// In order; never empty; the last one is appended to.
    segments: Vec<Arc<Segment>>,
    start: i64,
    recovery: i64,
    /// Below it the indexes are on the disk too. A log whose every append is flushed has its recovery
    /// point above it, as most flushes leave the indexes of the active segment out.
    indexed: i64,
    watermark: i64,
    end: i64,
    topic_id: Option<TopicId>,
    /// The id is known but `partition.metadata` is not yet on the disk.
    topic_id_unwritten: bool,
    /// The file lacks an epoch that has data, or names one that a start has cut; it is right before the
    /// recovery point passes the data.
    epochs_unwritten: bool,
    /// Another thread writes what is unwritten, without the lock: whoever writes waits for it.
    settling: bool,
    producers: Producers,
    /// Offsets of the snapshot files, in order.
    snapshots: Vec<i64>,
    epochs: Epochs,
    last_flush_ms: i64,
    /// Bytes appended since the start, and how many of them a sync has covered.
    written: u64,
    synced: u64,
    /// How many of the folder's changes ([`Place::changes`]) a sync has covered.
    folder_synced: u64,
    /// Raised by every truncation: a flush that began before says nothing about what came after.
    cuts: u64,
    // The lowest offset cut to since compaction last asked.
    lowest_cut: Option<i64>,
    /// After a clean start the tail has not been looked at yet.
    tail_unchecked: bool,
    /// What lies behind the end of the active segment.
    room: Room,
    condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Open,
    Closed,
    /// Bytes were found that are not what was written.
    Damaged,
}

impl State {
    fn active(&self) -> &Arc<Segment> {
        self.segments
            .last()
            .expect("a log has at least one segment")
    }

    fn stable(&self) -> i64 {
        let unstable = self
            .producers
            .first_unstable()
            .unwrap_or(i64::MAX)
            .max(self.start);
        unstable.min(self.watermark)
    }

    fn offsets(&self) -> Offsets {
        Offsets {
            start: Offset(self.start),
            recovery: Offset(self.recovery),
            stable: Offset(self.stable()),
            watermark: Offset(self.watermark),
            end: Offset(self.end),
        }
    }

    /// Which segment holds `offset`: the last one that begins at or below it.
    fn segment_index(&self, offset: i64) -> usize {
        self.segments
            .partition_point(|s| s.base_offset() <= offset)
            .saturating_sub(1)
    }

    fn set_watermark(&mut self, to: i64) {
        self.watermark = to.clamp(self.start, self.end);
        self.producers.note_watermark(self.watermark);
    }
}

impl Log {
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The log directory (an entry of `log.dirs`) it lies in.
    pub fn directory(&self) -> PathBuf {
        self.directory.path.clone()
    }

    /// Its own folder.
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.place.handles.disk)
    }

    pub fn is_future(&self) -> bool {
        self.is_future.load(Ordering::Acquire)
    }

    pub fn topic_id(&self) -> Option<TopicId> {
        self.state.lock().topic_id
    }

    /// Notes the topic's id; `partition.metadata` is written before the next append or flush, or by
    /// [`crate::store::Store::settle`]. The caller has compared the ids.
    pub fn assign_topic_id(&self, id: TopicId) -> Result<()> {
        self.directory.check()?;
        let mut state = self.state.lock();
        if !id.is_zero() && state.topic_id != Some(id) {
            state.topic_id = Some(id);
            state.topic_id_unwritten = true;
        }
        Ok(())
    }

    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    pub fn set_config(&self, config: Arc<LogConfig>) {
        *self.config.write() = config;
    }

    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets()
    }

    /// As [`Log::offsets`]; `None` while somebody else is at the log.
    pub fn try_offsets(&self) -> Option<Offsets> {
        self.state.try_lock().map(|state| state.offsets())
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.state
            .lock()
            .segments
            .iter()
            .map(|segment| segment.size())
            .sum()
    }

    /// The log in numbers, all of one moment; `None` where somebody is at its files for longer than
    /// `wait`, as on a disk that hangs.
    pub fn measures(&self, wait: Duration) -> Option<LogMeasures> {
        let state = self.state.try_lock_for(wait)?;
        Some(LogMeasures {
            offsets: state.offsets(),
            bytes: state.segments.iter().map(|segment| segment.size()).sum(),
            segments: state.segments.len(),
            producers: state.producers.iter().count(),
        })
    }

    /// Whether bytes not flushed before the last stop may be gone: an unclean stop and another
    /// boot of the machine. A lone replica should not lead on such a log without looking around.
    pub fn may_have_lost_bytes(&self) -> bool {
        self.may_have_lost_bytes
    }

    /// The watermark moves to `to`, kept within [start, end]; gives what it is now.
    pub fn set_high_watermark(&self, to: Offset) -> Offset {
        let mut state = self.state.lock();
        state.set_watermark(to.0);
        Offset(state.watermark)
    }

    /// The watermark moves up to `to`, never down; gives the new one if it moved.
    pub fn raise_high_watermark(&self, to: Offset) -> Option<Offset> {
        let mut state = self.state.lock();
        let to = to.0.min(state.end);
        if to <= state.watermark {
            return None;
        }
        state.set_watermark(to);
        Some(Offset(state.watermark))
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state
            .lock()
            .epochs
            .latest()
            .map(|(epoch, _)| LeaderEpoch(epoch))
    }

    /// A new leader notes its epoch at the log's end. An epoch without data is not worth a write:
    /// every start forgets it, Kafka's too, and nobody can have seen it.
    pub fn assign_epoch(&self, epoch: LeaderEpoch, start: Offset) -> Result<()> {
        let mut state = self.lock_open()?;
        let changed = state.epochs.assign(epoch.0, start.0);
        state.epochs_unwritten |= changed && start.0 < state.end;
        Ok(())
    }

    /// The largest epoch ≤ `epoch` and the offset at which it ends. Kafka: `endOffsetForEpoch`.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        let (epoch, end) = state.epochs.end_offset_for(epoch.0, state.end)?;
        Some((LeaderEpoch(epoch), Offset(end)))
    }

    /// All epochs with their first offsets.
    pub fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        state
            .epochs
            .entries()
            .iter()
            .map(|(e, o)| (LeaderEpoch(*e), Offset(*o)))
            .collect()
    }

    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        let state = self.state.lock();
        let producers = state.producers.iter().map(|(id, producer)| ActiveProducer {
            producer: ProducerId(id),
            epoch: ProducerEpoch(producer.epoch),
            last_sequence: producer.last_sequence(),
            last_timestamp_ms: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: Offset(producer.transaction_first.unwrap_or(-1)),
            last_data_offset: Offset(producer.batches.last().map_or(-1, |seen| seen.last_offset)),
        });
        producers.collect()
    }

    /// Whether this producer has an open transaction here, at this very epoch.
    pub fn has_open_transaction(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        self.state
            .lock()
            .producers
            .has_open_transaction(producer.0, epoch.0)
    }

    /// Kafka: KIP-890. Before the first write of a transaction the coordinator is asked; `None`: no
    /// need, the transaction is open here already.
    pub fn start_verification(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: i32,
    ) -> Option<VerificationGuard> {
        let now_ms = self.clock.wall_ms();
        let mut state = self.state.lock();
        let guard = state
            .producers
            .start_verification(producer.0, epoch.0, sequence, now_ms);
        guard.map(VerificationGuard)
    }

    /// Forgets producers that have been silent for long.
    pub(crate) fn expire_producers(&self) {
        let now_ms = self.clock.wall_ms();
        self.state
            .lock()
            .producers
            .expire(now_ms, self.producer_expiration_ms);
    }

    /// The lock, for a log that is open on a directory that works.
    fn lock_open(&self) -> Result<MutexGuard<'_, State>> {
        self.directory.check()?;
        let state = self.state.lock();
        match state.condition {
            Condition::Open => Ok(state),
            Condition::Closed => Err(Error::Closed),
            Condition::Damaged => Err(self.damaged()),
        }
    }

    /// As [`Log::lock_open`], for those who may write to the log's small files.
    fn lock_settled(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock_open()?;
        if state.settling {
            self.wait_settled(&mut state);
            drop(state);
            state = self.lock_open()?;
        }
        Ok(state)
    }

    fn damaged(&self) -> Error {
        Error::corrupt("use", &self.place.path(), Damage::Checksum)
    }

    /// The lock's holder has met damage: nobody reads or writes here until a restart looks at it.
    fn note_damage(&self, state: &mut State, error: &Error) {
        if matches!(error, Error::Corrupt { .. }) && state.condition == Condition::Open {
            state.condition = Condition::Damaged;
            tracing::error!(
                topic = %self.partition.topic,
                partition = self.partition.partition,
                reason = %error,
                "the replica is damaged and not served any more"
            );
        }
    }

    /// Whether what was met without the lock says nothing of what is there now: the log has been cut
    /// since, or a segment was out of it by then.
    fn is_outdated(&self, error: &Error, cuts: u64) -> bool {
        let state = self.state.lock();
        match error {
            Error::Corrupt { .. } => state.cuts != cuts,
            Error::Closed => state.condition == Condition::Open,
            _ => false,
        }
    }

    /// Sorts out a result with the lock free: a failure of the disk takes the directory offline,
    /// unless the log was closed meanwhile and its files are rightly gone.
    pub(crate) fn conclude<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        if error.is_disk() {
            if self.state.lock().condition == Condition::Closed {
                return Err(Error::Closed);
            }
            self.directory.take_offline(&error);
            self.directory.announce();
        }
        if matches!(error, Error::Corrupt { .. }) {
            self.announce_damage();
        }
        Err(error)
    }

    /// A copy that is being made is given up by whoever makes it: nobody reads from it.
    fn announce_damage(&self) {
        let is_new = self.state.lock().condition == Condition::Damaged
            && !self.is_future.load(Ordering::Acquire)
            && !self.damage_told.swap(true, Ordering::AcqRel);
        if is_new {
            self.directory.announce_damage(&self.partition);
        }
    }

    pub fn is_directory_online(&self) -> bool {
        self.directory.is_online()
    }

    /// Whether damage was met since the start, and told.
    pub fn is_damaged(&self) -> bool {
        self.damage_told.load(Ordering::Acquire)
    }

    /// The start, where the name of the first segment does not tell it.
    pub(crate) fn start_to_note(&self) -> Option<Offset> {
        let state = self.state.lock();
        let first = state
            .segments
            .first()
            .map_or(0, |segment| segment.base_offset());
        (state.start > first).then_some(Offset(state.start))
    }

    /// The folder has a new name, which the next flush brings to the disk; open files stay open.
    pub(crate) fn moved_to(&self, path: &Path, is_future: bool) {
        self.place.move_to(path.to_path_buf());
        self.is_future.store(is_future, Ordering::Release);
    }

    pub(crate) fn home(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Nothing is done here any more.
    pub(crate) fn shut(&self) {
        let mut state = self.state.lock();
        self.wait_settled(&mut state);
        state.condition = Condition::Closed;
        for segment in &state.segments {
            segment.close();
        }
    }
}

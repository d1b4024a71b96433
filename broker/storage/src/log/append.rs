//! Append: check at the door, then under the lock number, write, index, remember.
//!
//! Hot path: the bytes are looked at once before the lock is taken; under it stand the producer's
//! check, one write of [patched head, rest], and a few words of memory. Nothing is copied.

use std::io::IoSlice;

use bytes::Bytes;
use protocol::batch::check::{self, Checked, Refusal, Rules};
use protocol::batch::{DECOMPRESSED_BYTES_MAX, TimestampType};
use protocol::ids::{LeaderEpoch, Offset, ProducerId};

use crate::config::LogConfig;
use crate::error::{AppendError, AppendRefusal, RecordFault, Result};
use crate::index::aborted::AbortedEntry;
use crate::log::{Log, State};
use crate::producers::{Marker, read_marker};
use crate::scan::{HEAD_V2, Head};
use crate::segment::Appending;

/// Who appends as leader: decides which checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequences are checked, control batches refused.
    Client,
    /// The group or transaction coordinator of this broker, or a transaction marker.
    Coordinator,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the appended records; of the earlier ones where `duplicate`.
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// −1 unless the topic stamps records on arrival.
    pub log_append_time_ms: i64,
    pub log_start: Offset,
    /// The end of the log after it.
    pub end: Offset,
    /// The producer had sent this batch before: nothing was written.
    pub duplicate: bool,
    /// The log is due to be flushed (`flush.messages`). In the durable mode nothing may be
    /// acknowledged before [`Log::flush`] has returned at least `end`.
    pub flush_due: bool,
}

/// Allows one producer's first transactional write here: see [`Log::start_verification`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationGuard(pub(crate) u64);

impl VerificationGuard {
    /// For an append whose transaction was open when asked: refused if it has ended since.
    pub const OPEN: VerificationGuard = VerificationGuard(0);
}

/// A set that is no longer is checked, copied and written in a millisecond or two, as it is.
const SOON_BYTES_MAX: usize = 2 << 20;
/// A batch that unpacks to no more is looked at in a millisecond or two.
const SOON_UNPACKED_BYTES_MAX: u64 = 1 << 20;
/// One that must be packed anew is so if it is no longer than this.
const SOON_REPACKED_BYTES_MAX: usize = 64 * 1024;

impl Log {
    /// Appends what a producer or coordinator sent. `records` are not changed: the patched head
    /// of a batch is written beside them. With a `guard` a transactional batch is taken only
    /// where its transaction is open or the guard is this producer's.
    pub fn append_as_leader(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        guard: Option<&VerificationGuard>,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        let checked = self.check_at_door(records, origin, &config, DECOMPRESSED_BYTES_MAX)?;
        self.append_what_passed(checked, leader_epoch, origin, guard, &config)
    }

    /// The same for a thread that others wait for: `None` where looking at the records would take
    /// long: they are many, or a thousand bytes may unpack to a million. Nothing was done then.
    pub fn append_as_leader_soon(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        guard: Option<&VerificationGuard>,
    ) -> Result<Option<Appended>, AppendError> {
        let config = self.config();
        let bytes_max = match config.compression {
            Some(_) => SOON_REPACKED_BYTES_MAX,
            None => SOON_BYTES_MAX,
        };
        if records.len() > bytes_max {
            return Ok(None);
        }
        let checked = self.check_at_door(records, origin, &config, SOON_UNPACKED_BYTES_MAX);
        if let Err(AppendError::Refused(AppendRefusal::Unreadable(_))) = checked {
            // Too long, or not to be unpacked at all: that is seen where there is time.
            return Ok(None);
        }
        self.append_what_passed(checked?, leader_epoch, origin, guard, &config)
            .map(Some)
    }

    fn append_what_passed(
        &self,
        checked: Option<Checked>,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        guard: Option<&VerificationGuard>,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        let Some(checked) = checked else {
            let state = self.lock_open()?;
            return Ok(nothing_appended(&state));
        };
        if checked.size() as u64 > u64::from(config.segment_bytes) {
            return Err(AppendRefusal::SetTooLarge {
                size: checked.size(),
                max: config.segment_bytes as usize,
            }
            .into());
        }
        let result = {
            let mut state = self.lock_settled()?;
            let state = &mut state;
            let appended = self.append_checked(state, checked, leader_epoch, origin, guard, config);
            self.judge_append(appended)
        };
        self.conclude_append(result)
    }

    /// Appends what the leader sent, offsets and epochs as they are. A partial last batch is ignored.
    pub fn append_as_follower(&self, records: &Bytes) -> Result<Appended, AppendError> {
        let config = self.config();
        let arrived = check::check_for_follower(records).map_err(refusal)?;
        let mut heads = Vec::with_capacity(arrived.batches.len());
        let mut position = 0;
        for header in &arrived.batches {
            let impossible = || AppendRefusal::Corrupt("impossible offsets".to_owned());
            heads.push(Head::of(header, position).ok_or_else(impossible)?);
            position += header.size as u64;
        }
        let result = {
            let mut state = self.lock_settled()?;
            let appended = match (heads.first(), heads.last()) {
                (Some(first), Some(last)) => {
                    let (first, last) = (first.base_offset, last.last_offset);
                    if !arrived.in_order || (first < state.end && last < state.end) {
                        Err(unexpected(first, last, state.end))
                    } else {
                        let set = records.get(..arrived.size).unwrap_or_default();
                        let appending = Appending {
                            last_offset: last,
                            max_timestamp: arrived.max_timestamp_ms,
                            offset_of_max: arrived.offset_of_max_timestamp.0,
                        };
                        self.append_replicated(&mut state, set, &mut heads, appending, &config)
                    }
                }
                _ => Ok(nothing_appended(&state)),
            };
            self.judge_append(appended)
        };
        self.conclude_append(result)
    }

    /// Under the lock: of a write that failed a part may be there, where nobody may write any more.
    fn judge_append(&self, result: Result<Appended, AppendError>) -> Result<Appended, AppendError> {
        if let Err(AppendError::Failed(failed)) = &result {
            self.directory.judge_failure(failed);
        }
        result
    }

    fn conclude_append(
        &self,
        result: Result<Appended, AppendError>,
    ) -> Result<Appended, AppendError> {
        match result {
            Err(AppendError::Failed(failed)) => Ok(self.conclude(Err(failed))?),
            other => other,
        }
    }

    fn check_at_door(
        &self,
        records: &Bytes,
        origin: Origin,
        config: &LogConfig,
        decompressed_bytes_max: u64,
    ) -> Result<Option<Checked>, AppendError> {
        let rules = Rules {
            partition: &self.partition,
            origin: match origin {
                Origin::Client => check::Origin::Client,
                Origin::Coordinator => check::Origin::Coordinator,
            },
            message_bytes_max: config.max_message_bytes,
            compacted: config.compact,
            timestamp_type: if config.log_append_time {
                TimestampType::LogAppend
            } else {
                TimestampType::Create
            },
            timestamp_before_max_ms: config.timestamp_before_max_ms,
            timestamp_after_max_ms: config.timestamp_after_max_ms,
            compression: config.compression,
            decompressed_bytes_max,
            now_ms: self.clock.wall_ms(),
        };
        Ok(check::check_for_leader(records, &rules).map_err(refusal)?)
    }

    fn append_checked(
        &self,
        state: &mut State,
        mut checked: Checked,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        guard: Option<&VerificationGuard>,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        self.check_tail(state)?;
        let first = state.end;
        checked.place(Offset(first), leader_epoch);
        let log_append_time_ms = checked.append_time_ms().unwrap_or(-1);
        let too_far = || AppendRefusal::Corrupt("impossible offsets".to_owned());
        let head = Head::of(checked.header(), 0).ok_or_else(too_far)?;
        let [front, rest] = checked.parts();
        let marker = if head.is_control() {
            marker_of(&head, rest)
        } else {
            None
        };
        if head.producer >= 0 {
            if origin == Origin::Client
                && let Some(seen) = state.producers.find_duplicate(&head)
            {
                return Ok(Appended {
                    first_offset: Offset(seen.first_offset()),
                    last_offset: Offset(seen.last_offset),
                    // Kafka: the earlier batch's, whatever kind of time it is.
                    log_append_time_ms: seen.timestamp,
                    duplicate: true,
                    flush_due: config.is_durable() && seen.last_offset >= state.recovery,
                    ..nothing_appended(state)
                });
            }
            check_producer(state, &head, marker.as_ref(), origin, guard)?;
        }
        let appending = Appending {
            last_offset: head.last_offset,
            max_timestamp: head.max_timestamp,
            offset_of_max: head.last_offset,
        };
        self.note_epochs(state, std::slice::from_ref(&head))?;
        self.roll_if_needed(
            state,
            head.size as u64,
            &appending,
            head.base_offset,
            config,
        )?;
        let head = Head {
            position: state.active().size(),
            ..head
        };
        let mut parts = [IoSlice::new(front), IoSlice::new(rest)];
        let interval = config.index_interval_bytes;
        state
            .active()
            .append(&mut parts, &[head], appending, interval)?;
        note_producer(state, &head, marker.as_ref())?;
        state.end = head.last_offset + 1;
        state.written += head.size as u64;
        state.producers.end = state.end;
        Ok(Appended {
            first_offset: Offset(first),
            last_offset: Offset(head.last_offset),
            log_append_time_ms,
            flush_due: state.end - state.recovery >= config.flush_messages,
            ..nothing_appended(state)
        })
    }

    fn append_replicated(
        &self,
        state: &mut State,
        set: &[u8],
        heads: &mut [Head],
        appending: Appending,
        config: &LogConfig,
    ) -> Result<Appended, AppendError> {
        self.check_tail(state)?;
        let (first, last) = match heads {
            [first, ..] => (first.base_offset, appending.last_offset),
            [] => return Ok(nothing_appended(state)),
        };
        // Kafka: of formats v0 and v1 only the last offset of a compressed message is known here.
        let is_legacy = heads.first().is_some_and(|head| head.magic < 2);
        if first < state.end && !is_legacy {
            return Err(unexpected(first, last, state.end));
        }
        self.note_epochs(state, heads)?;
        // Kafka: a segment must not be named after an offset above the first record in it. Of old
        // formats only a bound of that is known here (UnifiedLog.maybeRoll).
        let lowest = match is_legacy {
            true => last.saturating_sub(i64::from(i32::MAX)),
            false => first,
        };
        self.roll_if_needed(state, set.len() as u64, &appending, lowest, config)?;
        let base = state.active().size();
        for head in heads.iter_mut() {
            head.position += base;
        }
        let mut parts = [IoSlice::new(set)];
        let interval = config.index_interval_bytes;
        state
            .active()
            .append(&mut parts, heads, appending, interval)?;
        for head in &*heads {
            let at = usize::try_from(head.position - base).unwrap_or(usize::MAX);
            let batch = set.get(at..).unwrap_or_default();
            let marker = if head.is_control() {
                read_marker(batch, head)
            } else {
                None
            };
            note_producer(state, head, marker.as_ref())?;
        }
        state.end = last + 1;
        state.written += set.len() as u64;
        state.producers.end = state.end;
        Ok(Appended {
            first_offset: Offset(first),
            last_offset: Offset(last),
            flush_due: state.end - state.recovery >= config.flush_messages,
            ..nothing_appended(state)
        })
    }

    /// Notes the epochs of batches about to be written. The file follows with the next flush: what
    /// lies above the recovery point says its epoch itself, and a recovery reads it.
    fn note_epochs(&self, state: &mut State, heads: &[Head]) -> Result<()> {
        let mut forgotten = false;
        for head in heads {
            if head.magic >= 2 {
                state.epochs.assign(head.leader_epoch, head.base_offset);
                let begins = (head.leader_epoch, head.base_offset);
                state.epochs_unwritten |= state.epochs.latest() == Some(begins);
            } else {
                // Kafka: a format without epochs ends what was known of them. No batch will say so.
                forgotten |= state.epochs.clear();
            }
        }
        state.epochs_unwritten |= forgotten;
        if forgotten || state.topic_id_unwritten {
            return self.write_notes(state);
        }
        Ok(())
    }
}

/// What a batch says of its producer; used for batches written and read back alike.
pub(in crate::log) fn note_producer(
    state: &mut State,
    head: &Head,
    marker: Option<&Marker>,
) -> Result<()> {
    if head.producer < 0 {
        return Ok(());
    }
    if !head.is_control() {
        state.producers.note_batch(head);
        return Ok(());
    }
    // An empty control batch is what compaction leaves of a transaction: it says nothing.
    let Some(marker) = marker else { return Ok(()) };
    let Some(done) = state.producers.note_marker(head, marker) else {
        return Ok(());
    };
    if done.is_aborted {
        let entry = AbortedEntry {
            producer: done.producer,
            first_offset: done.first_offset,
            last_offset: done.last_offset,
            last_stable_offset: state.producers.stable_after(&done),
        };
        state.active().note_aborted(&entry)?;
    }
    state.producers.complete(&done);
    Ok(())
}

fn check_producer(
    state: &State,
    head: &Head,
    marker: Option<&Marker>,
    origin: Origin,
    guard: Option<&VerificationGuard>,
) -> Result<(), AppendRefusal> {
    let producers = &state.producers;
    if head.is_control() {
        return marker.map_or(Ok(()), |marker| producers.check_marker(head, marker));
    }
    // Kafka: `batchMissingRequiredVerification`; only where the caller verifies at all.
    if head.is_transactional()
        && let Some(guard) = guard
        && !producers.has_open_transaction(head.producer, head.producer_epoch)
        && !producers.is_verified(head.producer, Some(guard.0))
    {
        return Err(AppendRefusal::InvalidTxnState {
            producer: ProducerId(head.producer),
        });
    }
    producers.check_batch(head, origin == Origin::Client)
}

/// The marker in a control batch given in two parts; it is at most a few bytes long.
fn marker_of(head: &Head, rest: &[u8]) -> Option<Marker> {
    let mut batch = vec![0; HEAD_V2];
    batch.extend_from_slice(rest.get(..head.size.checked_sub(HEAD_V2)?)?);
    read_marker(&batch, head)
}

fn nothing_appended(state: &State) -> Appended {
    Appended {
        first_offset: Offset::NONE,
        last_offset: Offset::NONE,
        log_append_time_ms: -1,
        log_start: Offset(state.start),
        end: Offset(state.end),
        duplicate: false,
        flush_due: false,
    }
}

fn unexpected(first: i64, last: i64, end: i64) -> AppendError {
    AppendRefusal::UnexpectedOffset {
        first: Offset(first),
        last: Offset(last),
        end: Offset(end),
    }
    .into()
}

/// The door's words in the log's.
fn refusal(refused: Refusal) -> AppendRefusal {
    let faults = |records: Vec<check::RecordError>| {
        let fault = |record: check::RecordError| RecordFault {
            index: record.batch_index,
            message: Some(record.message),
        };
        records.into_iter().map(fault).collect()
    };
    match refused {
        Refusal::Corrupt(message) => AppendRefusal::Corrupt(message),
        Refusal::TooLarge { message } => AppendRefusal::TooLarge { message },
        Refusal::InvalidRecord { message, records } => AppendRefusal::InvalidRecord {
            message,
            records: faults(records),
        },
        Refusal::InvalidTimestamp { message, records } => AppendRefusal::InvalidTimestamp {
            message,
            records: faults(records),
        },
        Refusal::UnsupportedCompression(message) => AppendRefusal::UnsupportedCompression(message),
        Refusal::Unreadable(message) => AppendRefusal::Unreadable(message),
    }
}

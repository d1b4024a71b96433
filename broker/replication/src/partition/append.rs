//! Appending to one partition as its leader, and when an append may be acknowledged.
//!
//! Hot path: one shared lock, the log's own, one uncontended lock for the watermark.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use protocol::ids::Offset;
use storage::log::{Appended, Origin, VerificationGuard};

use crate::error::Refusal;
use crate::partition::{Partition, Term};
use crate::traffic::Passed;
use crate::waiting::Wakes;

/// Who appends, and whether only in one leadership.
#[derive(Clone, Copy, Debug)]
pub struct By {
    origin: Origin,
    term: Option<Term>,
}

impl By {
    /// A coordinator that has read the log in this leadership: what it decided then must not come
    /// behind what a later one has read.
    pub fn coordinator_of(term: Term) -> Self {
        By {
            origin: Origin::Coordinator,
            term: Some(term),
        }
    }
}

impl From<Origin> for By {
    fn from(origin: Origin) -> Self {
        By { origin, term: None }
    }
}

/// Why an append was not done, and where the log starts, which the answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendFailure {
    pub refusal: Refusal,
    pub log_start: Offset,
}

/// An append that was done.
#[derive(Debug)]
pub struct Done {
    pub appended: Appended,
    /// Nothing may be acknowledged before the log is flushed to here.
    pub flush_to: Option<Offset>,
    /// A flush should be started, waited for or not.
    pub flush_due: bool,
    pub wakes: Wakes,
}

/// How long an append may look at what it is to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Others wait for this thread: what takes long is handed back.
    Short,
    Any,
}

impl Partition {
    /// Appends as leader. With `acks_all` too small an ISR refuses before anything is written.
    /// `None` where it would take longer than there is patience; nothing was done then.
    pub fn append(
        &self,
        records: &Bytes,
        by: By,
        acks_all: bool,
        guard: Option<&VerificationGuard>,
        patience: Patience,
    ) -> Option<Result<Done, AppendFailure>> {
        let appended = self
            .append_counted(records, by, acks_all, guard, patience)
            .transpose()?;
        self.traffic.add(Passed::ProduceRequests, 1);
        match &appended {
            Ok(done) if !done.appended.duplicate => {
                let Appended {
                    first_offset,
                    last_offset,
                    ..
                } = done.appended;
                let messages = last_offset
                    .0
                    .saturating_sub(first_offset.0)
                    .saturating_add(1);
                self.traffic
                    .add(Passed::MessagesIn, messages.max(0).cast_unsigned());
                self.traffic.add(Passed::BytesIn, records.len() as u64);
            }
            Ok(_) => {}
            Err(failure) if failure.refusal.is_too_large() => {
                self.traffic
                    .add(Passed::BytesRejected, records.len() as u64);
            }
            Err(failure) if failure.refusal.is_expected() => {}
            Err(_) => self.traffic.add(Passed::FailedProduces, 1),
        }
        Some(appended)
    }

    fn append_counted(
        &self,
        records: &Bytes,
        by: By,
        acks_all: bool,
        guard: Option<&VerificationGuard>,
        patience: Patience,
    ) -> Result<Option<Done>, AppendFailure> {
        let state = self.state.read();
        let unknown_start = |refusal| AppendFailure {
            refusal,
            log_start: Offset::NONE,
        };
        let led = self.leadership(&state).map_err(unknown_start)?;
        if by.term.is_some_and(|term| term != state.term) {
            return Err(unknown_start(Refusal::NotLeader));
        }
        if acks_all {
            let in_sync = led.progress.lock().isr.committed().len();
            if in_sync < self.min_isr(&state) {
                return Err(AppendFailure {
                    refusal: Refusal::NotEnoughReplicas,
                    log_start: state.log.offsets().start,
                });
            }
        }
        let (log, epoch) = (&state.log, state.leader_epoch);
        let appended = match patience {
            Patience::Short => log.append_as_leader_soon(records, epoch, by.origin, guard),
            Patience::Any => log
                .append_as_leader(records, epoch, by.origin, guard)
                .map(Some),
        };
        let appended = appended.map_err(|error| AppendFailure {
            refusal: error.into(),
            log_start: state.log.offsets().start,
        })?;
        let Some(appended) = appended else {
            return Ok(None);
        };
        let durable = appended.flush_due && state.log.config().is_durable();
        let wakes = self.advance_led(&state, led);
        Ok(Some(Done {
            flush_to: durable.then_some(appended.end),
            flush_due: appended.flush_due,
            appended,
            wakes,
        }))
    }

    /// Whether a produce with acks from all whose last record lies just beneath `required` may be
    /// answered, and how.
    pub fn check_acks(&self, required: Offset) -> Option<Result<(), Refusal>> {
        let state = self.state.read_recursive();
        let led = match self.leadership(&state) {
            Ok(led) => led,
            Err(refusal) => return Some(Err(refusal)),
        };
        if self.marks.watermark.load(Ordering::Acquire) < required.0 {
            return None;
        }
        let in_sync = led.progress.lock().isr.maximal().len();
        Some(match in_sync < self.min_isr(&state) {
            true => Err(Refusal::NotEnoughReplicasAfterAppend),
            false => Ok(()),
        })
    }

    /// Whether everything beneath `to` is on the disk.
    pub fn check_flushed(&self, to: Offset) -> Option<Result<(), Refusal>> {
        if let Some(why) = self.gone.get() {
            return Some(Err(why.clone()));
        }
        (self.marks.flushed.load(Ordering::Acquire) >= to.0).then_some(Ok(()))
    }
}

//! Committing offsets: by members, by consumers without a group, and within transactions.
//!
//! Kafka: `GroupCoordinator.handleCommitOffsets`, `handleTxnCommitOffsets`, `validateOffsetCommit`,
//! `GroupMetadataManager.storeOffsets`.

use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::internal::offsets::{OffsetKey, OffsetValue};

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::offsets::{Committed, Undecided};
use crate::outcome::{Answer, Batch, Note, Now, Outcome, Record, Ticket};
use crate::refusal::Refusal;
use crate::work::{Pending, UnderWay, Work};

/// A request to remember offsets.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub group: Arc<str>,
    /// Negative for a consumer that is no member of anything.
    pub generation: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    /// Producer id and epoch, for a commit within a transaction.
    pub transaction: Option<(i64, i16)>,
    pub offsets: Vec<(TopicPartition, Committed)>,
}

impl Machine {
    /// Offsets to remember. The answer comes when they are written.
    pub fn commit(&mut self, ticket: Ticket, request: CommitRequest, now: Now) -> Outcome {
        let mut out = Outcome::default();
        let count = request.offsets.len();
        let group = Arc::clone(&request.group);
        let transaction = request.transaction;
        if !self.groups.contains_key(&group) && request.generation >= 0 && transaction.is_none() {
            refuse_all(&mut out, ticket, count, Refusal::IllegalGeneration);
            return out;
        }
        self.ensure(&group, now);
        let step = |group: &mut Group, work: &mut Work<'_>| group.commit(ticket, request, work);
        if let Some(Err(refusal)) = self.on(&group, now, &mut out, step) {
            refuse_all(&mut out, ticket, count, refusal);
        }
        if let Some((producer_id, _)) = transaction
            && self
                .groups
                .get(&group)
                .is_some_and(|group| group.offsets.has_undecided_of(producer_id))
        {
            self.producers.entry(producer_id).or_default().insert(group);
        }
        out
    }

    /// A marker has been written to this partition: the producer's offsets count, or never were.
    pub fn complete_transaction(&mut self, producer_id: i64, commit: bool) {
        for id in self.producers.remove(&producer_id).unwrap_or_default() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.offsets.decide(producer_id, commit);
            }
        }
    }
}

fn refuse_all(out: &mut Outcome, ticket: Ticket, count: usize, refusal: Refusal) {
    out.answers
        .push((ticket, Answer::Commit(vec![Err(refusal); count])));
}

impl Group {
    fn check_commit(&self, request: &CommitRequest) -> Result<(), Refusal> {
        let transactional = request.transaction.is_some();
        let says_who = request.generation >= 0
            || !request.member_id.is_empty()
            || request.group_instance_id.is_some();
        if request.generation < 0 && self.state == State::Empty {
            // An administrator, or a consumer that assigns itself.
            Ok(())
        } else if says_who {
            self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
            if request.generation == self.generation {
                Ok(())
            } else {
                Err(Refusal::IllegalGeneration)
            }
        } else if !transactional && self.state != State::Empty {
            // Old versions of TxnOffsetCommit do not say who commits; plain commits must.
            Err(Refusal::UnknownMemberId)
        } else {
            Ok(())
        }
    }

    fn commit(
        &mut self,
        ticket: Ticket,
        request: CommitRequest,
        work: &mut Work<'_>,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.check_commit(&request) {
            let instance = request.group_instance_id.as_ref();
            self.note_if_fenced(refusal, &request.member_id, instance, work);
            return Err(refusal);
        }
        if request.transaction.is_none() {
            match self.state {
                State::Empty => {}
                // While others join, a member may still store what it has read.
                State::Stable | State::PreparingRebalance => {
                    self.arm(&request.member_id, None, work)
                }
                State::CompletingRebalance => return Err(Refusal::RebalanceInProgress),
            }
        }
        self.store(ticket, request, work);
        Ok(())
    }

    fn store(&mut self, ticket: Ticket, request: CommitRequest, work: &mut Work<'_>) {
        let mixed = self.plain_commits && self.transactional_commits;
        match request.transaction {
            None => self.plain_commits = true,
            Some(_) => self.transactional_commits = true,
        }
        // Kafka says so at every commit; once a generation is enough.
        if !mixed && self.plain_commits && self.transactional_commits {
            work.note(Note::MixedCommits {
                group: Arc::clone(&self.id),
            });
        }
        let too_large = Refusal::OffsetMetadataTooLarge;
        let verdict = |(_, committed): &(TopicPartition, Committed)| {
            let allowed = work.config.allows_metadata(&committed.metadata);
            if allowed { Ok(()) } else { Err(too_large) }
        };
        let verdicts: Vec<Result<(), Refusal>> = request.offsets.iter().map(verdict).collect();
        let mut fitting = verdicts.iter();
        let mut offsets = request.offsets;
        offsets.retain(|_| fitting.next().is_some_and(Result::is_ok));
        if offsets.is_empty() {
            work.answer(ticket, Answer::Commit(verdicts));
            return;
        }
        let version = work.config.offset_value_version;
        let records: Vec<Record> = offsets
            .iter()
            .map(|(tp, committed)| self.offset_record(tp, committed, version))
            .collect();
        match request.transaction {
            None => self.write_plain(ticket, verdicts, offsets, records, work),
            Some(producer) => {
                self.write_undecided(ticket, producer, verdicts, offsets, records, work)
            }
        }
    }

    fn write_plain(
        &mut self,
        ticket: Ticket,
        verdicts: Vec<Result<(), Refusal>>,
        offsets: Vec<(TopicPartition, Committed)>,
        records: Vec<Record>,
        work: &mut Work<'_>,
    ) {
        let id = work.writes.next_id();
        for (tp, _) in &offsets {
            self.offsets.note_writing(tp.clone(), id);
        }
        let pending = Pending::Offsets {
            ticket,
            verdicts,
            offsets,
        };
        self.write(records, Batch::Offsets, pending, work);
    }

    fn write_undecided(
        &mut self,
        ticket: Ticket,
        (producer_id, producer_epoch): (i64, i16),
        verdicts: Vec<Result<(), Refusal>>,
        offsets: Vec<(TopicPartition, Committed)>,
        records: Vec<Record>,
        work: &mut Work<'_>,
    ) {
        let write = Some(work.writes.next_id());
        let partitions = offsets.iter().map(|(tp, _)| tp.clone()).collect();
        for (tp, committed) in offsets {
            let undecided = Undecided {
                committed,
                write,
                appended_at: None,
            };
            self.offsets.note_undecided(producer_id, tp, undecided);
        }
        let pending = Pending::Transactional {
            ticket,
            producer_id,
            verdicts,
            partitions,
        };
        self.write(
            records,
            Batch::Transactional {
                producer_id,
                producer_epoch,
            },
            pending,
            work,
        );
    }

    fn offset_record(&self, tp: &TopicPartition, committed: &Committed, version: i16) -> Record {
        let key = OffsetKey {
            group: &self.id,
            topic: &tp.topic,
            partition: tp.partition,
        };
        let value = OffsetValue {
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: &committed.metadata,
            commit_timestamp: committed.commit_timestamp,
            expire_timestamp: committed.expire_timestamp.unwrap_or(-1),
        };
        Record {
            key: key.write(),
            value: Some(value.write(version)),
        }
    }

    pub(crate) fn write(
        &self,
        records: Vec<Record>,
        batch: Batch,
        pending: Pending,
        work: &mut Work<'_>,
    ) {
        let group = Arc::clone(&self.id);
        work.write(
            records,
            batch,
            UnderWay {
                group,
                incarnation: self.incarnation,
                pending,
            },
        );
    }
}

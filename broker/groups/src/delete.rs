//! Deleting: groups, offsets of a group, offsets of topics that are gone.
//!
//! Kafka: `GroupCoordinator.handleDeleteGroups`, `handleDeleteOffsets`, `handleDeletedPartitions`.

use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::internal::groups::write_key;
use protocol::internal::offsets::OffsetKey;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::outcome::{Answer, Batch, Note, Now, Outcome, Record, Ticket};
use crate::refusal::Refusal;
use crate::work::{Pending, UnderWay};

impl Machine {
    /// Deletes a group without members. The ticket is answered when its tombstones are written,
    /// at once where there are none.
    pub fn delete(
        &mut self,
        ticket: Ticket,
        group: &str,
        now: Now,
        out: &mut Outcome,
    ) -> Result<(), Refusal> {
        let refusal = match self.groups.get(group).map(|found| found.state) {
            Some(State::Empty) => None,
            Some(_) => Some(Refusal::NonEmptyGroup),
            None => Some(Refusal::GroupIdNotFound),
        };
        let (None, Some(found)) = (refusal, self.groups.get_mut(group)) else {
            out.answers.push((ticket, Answer::Deleted));
            return Err(refusal.unwrap_or(Refusal::GroupIdNotFound));
        };
        // Commits under way and offsets of open transactions go with the group.
        let removed = found.offsets.clear();
        let id = Arc::clone(&found.id);
        self.bury(&id, &removed, Some(ticket), now, out);
        Ok(())
    }

    /// Deletes offsets nobody reads. One verdict for each; the ticket is answered when the
    /// tombstones are written, at once where there are none.
    pub fn delete_offsets(
        &mut self,
        ticket: Ticket,
        group: &str,
        partitions: &[TopicPartition],
        now: Now,
        out: &mut Outcome,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let verdicts = match self.groups.get(group) {
            None => Err(Refusal::GroupIdNotFound),
            Some(found) => match found.state {
                State::Empty => Ok(vec![Ok(()); partitions.len()]),
                _ if found.has_consumers() => {
                    Ok(partitions.iter().map(|tp| found.check_unread(tp)).collect())
                }
                _ => Err(Refusal::NonEmptyGroup),
            },
        };
        let verdicts: Vec<Result<(), Refusal>> = match verdicts {
            Ok(verdicts) => verdicts,
            Err(refusal) => {
                out.answers.push((ticket, Answer::Deleted));
                return Err(refusal);
            }
        };
        let free = |(tp, verdict): (&TopicPartition, &Result<(), Refusal>)| {
            verdict.is_ok().then(|| tp.clone())
        };
        let unread: Vec<TopicPartition> =
            partitions.iter().zip(&verdicts).filter_map(free).collect();
        match self.groups.get_mut(group).filter(|_| !unread.is_empty()) {
            None => out.answers.push((ticket, Answer::Deleted)),
            Some(found) => {
                let removed = found.offsets.remove(&unread);
                let id = Arc::clone(&found.id);
                self.bury(&id, &removed, Some(ticket), now, out);
            }
        }
        Ok(verdicts)
    }

    /// Topics are gone: so are all offsets in them.
    pub fn forget_partitions(&mut self, partitions: &[TopicPartition], now: Now) -> Outcome {
        let mut out = Outcome::default();
        for id in self.ids() {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let removed = group.offsets.remove(partitions);
            self.bury(&id, &removed, None, now, &mut out);
        }
        out
    }

    /// Writes tombstones for offsets already taken out, and for the group itself if nothing is
    /// left of it: then it is gone.
    // Kafka: GroupMetadataManager.cleanupGroupMetadata. A group of generation 0 has never been
    // written and needs no tombstone.
    pub(crate) fn bury(
        &mut self,
        id: &str,
        removed: &[TopicPartition],
        ticket: Option<Ticket>,
        now: Now,
        out: &mut Outcome,
    ) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let dead = group.state == State::Empty && group.offsets.is_empty();
        let mut records: Vec<Record> = removed
            .iter()
            .map(|tp| {
                OffsetKey {
                    group: id,
                    topic: &tp.topic,
                    partition: tp.partition,
                }
                .write()
            })
            .map(|key| Record { key, value: None })
            .collect();
        let (name, incarnation) = (Arc::clone(&group.id), group.incarnation);
        if dead {
            let generation = group.generation;
            if generation > 0 {
                records.push(Record {
                    key: write_key(id),
                    value: None,
                });
            }
            out.notes.push(Note::Removed {
                group: Arc::clone(&name),
                generation,
            });
            self.groups.remove(id);
        }
        if records.is_empty() {
            out.answers
                .extend(ticket.map(|ticket| (ticket, Answer::Deleted)));
            return;
        }
        let under_way = UnderWay {
            group: name,
            incarnation,
            pending: Pending::Tombstones { ticket },
        };
        let Machine {
            config,
            timers,
            writes,
            ..
        } = self;
        let mut work = crate::work::Work {
            config,
            now,
            timers,
            writes,
            out,
        };
        work.write(records, Batch::Tombstones, under_way);
    }
}

impl Group {
    // Kafka: GroupMetadata.isSubscribedToTopic; not knowing counts as subscribed.
    fn check_unread(&self, tp: &TopicPartition) -> Result<(), Refusal> {
        match &self.subscribed {
            Some(topics) if !topics.contains(&*tp.topic) => Ok(()),
            _ => Err(Refusal::GroupSubscribedToTopic),
        }
    }
}

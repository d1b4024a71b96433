//! The offsets of one group: committed, being written, and waiting for a transaction's end.
//!
//! A committed offset remembers where in the log its batch lies. Plain and transactional commits
//! may overtake each other (a transaction's offsets count from its marker on), and the younger
//! *batch* wins, so that compaction and loading come to the same result.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::TopicPartition;

use crate::outcome::WriteId;

/// An offset with what was committed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// −1 where the client did not say.
    pub leader_epoch: i32,
    pub metadata: Box<str>,
    pub commit_timestamp: i64,
    /// Set by commits that bring a retention of their own.
    pub expire_timestamp: Option<i64>,
}

/// A committed offset and the offset of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) committed: Committed,
    pub(crate) appended_at: i64,
}

/// A transactional commit whose transaction is open.
#[derive(Clone, Debug)]
pub(crate) struct Undecided {
    pub(crate) committed: Committed,
    /// `None` once loaded from the log: then nothing is under way.
    pub(crate) write: Option<WriteId>,
    /// `None` until it is written.
    pub(crate) appended_at: Option<i64>,
}

/// All offsets of a group. Owned by the group.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// By topic first, so that partitions share the name. Invariant: no inner map is empty.
    stored: BTreeMap<Arc<str>, BTreeMap<i32, Stored>>,
    /// The latest plain commit under way for a partition.
    writing: BTreeMap<TopicPartition, WriteId>,
    /// By producer. Invariant: no inner map is empty.
    undecided: BTreeMap<i64, BTreeMap<TopicPartition, Undecided>>,
}

impl Offsets {
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.stored
            .get(topic)?
            .get(&partition)
            .map(|stored| &stored.committed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Committed)> {
        self.stored.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(number, stored)| (topic, *number, &stored.committed))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.stored.values().map(BTreeMap::len).sum()
    }

    /// Nothing committed, nothing under way, nothing undecided.
    pub(crate) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.writing.is_empty() && self.undecided.is_empty()
    }

    /// A commit is under way or undecided, so the offset may change at any moment.
    pub(crate) fn is_unstable(&self, tp: &TopicPartition) -> bool {
        self.writing.contains_key(tp) || self.undecided.values().any(|open| open.contains_key(tp))
    }

    pub(crate) fn has_undecided_of(&self, producer_id: i64) -> bool {
        self.undecided.contains_key(&producer_id)
    }

    /// Puts an offset in place unless a younger batch has been there.
    pub(crate) fn put_if_younger(&mut self, tp: &TopicPartition, stored: Stored) {
        let partitions = self.stored.entry(Arc::clone(&tp.topic)).or_default();
        match partitions.get(&tp.partition) {
            Some(current) if current.appended_at >= stored.appended_at => {}
            _ => {
                partitions.insert(tp.partition, stored);
            }
        }
    }

    /// Puts an offset in place whatever was there: for replay in log order.
    pub(crate) fn put(&mut self, tp: &TopicPartition, stored: Stored) {
        let partitions = self.stored.entry(Arc::clone(&tp.topic)).or_default();
        partitions.insert(tp.partition, stored);
    }

    /// Takes a committed offset out.
    pub(crate) fn take(&mut self, topic: &str, partition: i32) -> Option<Committed> {
        let partitions = self.stored.get_mut(topic)?;
        let taken = partitions.remove(&partition);
        if partitions.is_empty() {
            self.stored.remove(topic);
        }
        taken.map(|stored| stored.committed)
    }

    pub(crate) fn note_writing(&mut self, tp: TopicPartition, write: WriteId) {
        self.writing.insert(tp, write);
    }

    /// A plain commit is in the log at `appended_at`.
    // Kafka: GroupMetadata.onOffsetCommitAppend; the topic may have been deleted meanwhile, then
    // the partition is no longer noted as being written and nothing is kept.
    pub(crate) fn note_written(
        &mut self,
        tp: &TopicPartition,
        write: WriteId,
        committed: Committed,
        appended_at: i64,
    ) {
        if self.writing.contains_key(tp) {
            self.put_if_younger(
                tp,
                Stored {
                    committed,
                    appended_at,
                },
            );
        }
        self.note_failed(tp, write);
    }

    /// A plain commit is no longer under way.
    pub(crate) fn note_failed(&mut self, tp: &TopicPartition, write: WriteId) {
        if self.writing.get(tp) == Some(&write) {
            self.writing.remove(tp);
        }
    }

    pub(crate) fn note_undecided(&mut self, producer_id: i64, tp: TopicPartition, new: Undecided) {
        self.undecided
            .entry(producer_id)
            .or_default()
            .insert(tp, new);
    }

    /// Takes one undecided offset away, as a tombstone inside a transaction does.
    pub(crate) fn drop_undecided(&mut self, producer_id: i64, tp: &TopicPartition) {
        if let Some(open) = self.undecided.get_mut(&producer_id) {
            open.remove(tp);
            if open.is_empty() {
                self.undecided.remove(&producer_id);
            }
        }
    }

    /// A transactional commit is in the log at `appended_at`.
    pub(crate) fn note_undecided_written(
        &mut self,
        producer_id: i64,
        tp: &TopicPartition,
        write: WriteId,
        appended_at: i64,
    ) {
        let open = self
            .undecided
            .get_mut(&producer_id)
            .and_then(|open| open.get_mut(tp));
        if let Some(undecided) = open
            && undecided.write == Some(write)
        {
            undecided.appended_at = Some(appended_at);
        }
    }

    /// A transactional commit could not be written.
    pub(crate) fn note_undecided_failed(&mut self, producer_id: i64, tp: &TopicPartition) {
        self.drop_undecided(producer_id, tp);
    }

    /// The producer's transaction has ended: its offsets count, or never were.
    pub(crate) fn decide(&mut self, producer_id: i64, commit: bool) {
        let Some(open) = self.undecided.remove(&producer_id) else {
            return;
        };
        if !commit {
            return;
        }
        for (tp, undecided) in open {
            // A marker lies behind all it decides, and results come in log order: what has not
            // been written by now has failed.
            if let Some(appended_at) = undecided.appended_at {
                self.put_if_younger(
                    &tp,
                    Stored {
                        committed: undecided.committed,
                        appended_at,
                    },
                );
            }
        }
    }

    /// Takes partitions away with all that is under way for them; returns those that had an offset.
    // Kafka: GroupMetadata.removeOffsets.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut removed = Vec::new();
        for tp in partitions {
            self.writing.remove(tp);
            self.undecided.retain(|_producer, open| {
                open.remove(tp);
                !open.is_empty()
            });
            if self.take(&tp.topic, tp.partition).is_some() {
                removed.push(tp.clone());
            }
        }
        removed
    }

    /// Takes everything away; returns every partition the log may hold an offset of.
    pub(crate) fn clear(&mut self) -> Vec<TopicPartition> {
        let old = std::mem::take(self);
        let stored = old
            .iter()
            .map(|(topic, number, _)| TopicPartition::new(Arc::clone(topic), number));
        let mut removed: std::collections::BTreeSet<TopicPartition> = stored.collect();
        removed.extend(old.writing.into_keys());
        removed.into_iter().collect()
    }

    /// Takes away what has expired: by its own time if it has one, else `retention_ms` after
    /// `since` it has been counted from. What is being written stays.
    pub(crate) fn expire(
        &mut self,
        now_ms: i64,
        retention_ms: i64,
        since: impl Fn(&Committed) -> i64,
        keeps_topic: impl Fn(&str) -> bool,
    ) -> Vec<TopicPartition> {
        let expired: Vec<TopicPartition> = self
            .iter()
            .filter(|(topic, _, committed)| {
                !keeps_topic(topic)
                    && match committed.expire_timestamp {
                        Some(at) => now_ms >= at,
                        None => now_ms.saturating_sub(since(committed)) >= retention_ms,
                    }
            })
            .map(|(topic, number, _)| TopicPartition::new(Arc::clone(topic), number))
            .filter(|tp| !self.writing.contains_key(tp))
            .collect();
        for tp in &expired {
            self.take(&tp.topic, tp.partition);
        }
        expired
    }
}

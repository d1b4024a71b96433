//! Leaders that write their ISRs into ZooKeeper themselves, below protocol version 2.7-IV2.
//!
//! The controller hears of it later, of many changes at once: soon after the last of them, or when
//! changes go on and on, once in a while. Kafka: `ZkAlterPartitionManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::clock::Clock;
use protocol::ids::{BrokerId, TopicPartition};
use replication::endpoint::Proposal;
use replication::partition::isr::IsrAnswer;
use tracing::{debug, warn};
use znodes::bodies::partition::PartitionState;
use znodes::isr::{self, Wanted};
use znodes::store::Store;

/// The controller is told once no ISR has changed for so long.
const LINGER_MS: i64 = 5_000;
/// Where changes go on, it is told all the same after so long.
const DELAY_MS_MAX: i64 = 60_000;
const _: () = assert!(LINGER_MS < DELAY_MS_MAX);

/// Writes for one broker.
#[derive(Debug)]
pub struct Writing {
    me: BrokerId,
    store: Arc<dyn Store>,
    clock: Clock,
    unsaid: Unsaid,
}

impl Writing {
    pub fn new(me: BrokerId, store: Arc<dyn Store>, clock: Clock) -> Self {
        let unsaid = Unsaid::since(clock.monotonic_ms());
        Writing {
            me,
            store,
            clock,
            unsaid,
        }
    }

    /// Writes every proposal, or finds that somebody else has written meanwhile.
    pub(crate) async fn write(
        &mut self,
        batch: BTreeMap<TopicPartition, Proposal>,
    ) -> Vec<(Proposal, IsrAnswer)> {
        let wanted: Vec<Wanted> = batch.values().map(|one| self.wanted(one)).collect();
        let versions = match isr::write(&*self.store, &wanted).await {
            Ok(versions) => versions,
            Err(error) => {
                debug!(%error, partitions = batch.len(), "ISRs could not be written");
                let again = |proposal| (proposal, IsrAnswer::TryAgain);
                return batch.into_values().map(again).collect();
            }
        };
        let now_ms = self.clock.monotonic_ms();
        let each = batch.into_values().zip(versions);
        each.map(|(proposal, version)| {
            let answer = match version {
                None => IsrAnswer::Outdated,
                Some(partition_epoch) => {
                    self.unsaid.note(proposal.partition.clone(), now_ms);
                    IsrAnswer::Committed {
                        leader_epoch: proposal.leader_epoch,
                        partition_epoch,
                        isr: proposal.isr.clone(),
                    }
                }
            };
            (proposal, answer)
        })
        .collect()
    }

    fn wanted(&self, proposal: &Proposal) -> Wanted {
        let state = PartitionState {
            controller_epoch: proposal.controller_epoch.0,
            leader: self.me.0,
            leader_epoch: proposal.leader_epoch.0,
            isr: proposal.isr.iter().map(|id| id.0).collect(),
            recovering: false,
        };
        Wanted {
            partition: proposal.partition.clone(),
            state,
            version: proposal.partition_epoch,
        }
    }

    /// Tells the controller what it does not know, if it is time.
    pub(crate) async fn announce_if_due(&mut self) {
        let now_ms = self.clock.monotonic_ms();
        if self.unsaid.due_ms().is_none_or(|due| due > now_ms) {
            return;
        }
        let partitions: Vec<_> = self.unsaid.partitions.iter().cloned().collect();
        match isr::announce(&*self.store, &partitions).await {
            Ok(()) => self.unsaid = Unsaid::since(now_ms),
            Err(error) => {
                warn!(%error, "the controller could not be told of changed ISRs; trying on");
                self.unsaid.put_off(now_ms);
            }
        }
    }

    /// Waits until it is time to tell the controller; for ever where there is nothing to tell.
    pub(crate) async fn wait_until_due(&self) {
        match self.unsaid.due_ms() {
            Some(due) => {
                let rest_ms = due - self.clock.monotonic_ms();
                self.clock.sleep_ms(rest_ms.max(0)).await;
            }
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn wait_ms(&self, ms: i64) {
        self.clock.sleep_ms(ms).await;
    }
}

/// What the controller has not been told yet.
#[derive(Debug)]
struct Unsaid {
    partitions: BTreeSet<TopicPartition>,
    changed_ms: i64,
    said_ms: i64,
}

impl Unsaid {
    fn since(now_ms: i64) -> Self {
        Unsaid {
            partitions: BTreeSet::new(),
            changed_ms: now_ms,
            said_ms: now_ms,
        }
    }

    fn note(&mut self, partition: TopicPartition, now_ms: i64) {
        self.partitions.insert(partition);
        self.changed_ms = now_ms;
    }

    /// It could not be said: not before as long has passed as if everything had changed just now.
    fn put_off(&mut self, now_ms: i64) {
        self.changed_ms = now_ms;
        self.said_ms = now_ms;
    }

    fn due_ms(&self) -> Option<i64> {
        let due = (self.changed_ms + LINGER_MS).min(self.said_ms + DELAY_MS_MAX);
        (!self.partitions.is_empty()).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::{ControllerEpoch, LeaderEpoch, TopicId};
    use znodes::bodies::reassign::decode_partitions;
    use znodes::memory::{Memory, World};
    use znodes::paths;
    use znodes::store::{ANY, create_with_parents};

    use super::*;

    #[test]
    fn many_changes_are_told_at_once_and_endless_ones_once_in_a_while() {
        let mut unsaid = Unsaid::since(1_000);
        assert_eq!(unsaid.due_ms(), None);
        let tp = |at| TopicPartition::new("t", at);
        unsaid.note(tp(0), 2_000);
        assert_eq!(unsaid.due_ms(), Some(7_000));
        unsaid.note(tp(1), 6_000);
        assert_eq!(unsaid.due_ms(), Some(11_000));
        unsaid.note(tp(0), 60_000);
        assert_eq!(unsaid.due_ms(), Some(61_000));
        assert_eq!(unsaid.partitions.len(), 2);
        unsaid.put_off(61_000);
        assert_eq!(unsaid.due_ms(), Some(66_000));
    }

    async fn notices(store: &Memory) -> Vec<TopicPartition> {
        let mut told = Vec::new();
        for name in store.list(paths::ISR_CHANGES, None).await.unwrap().unwrap() {
            let path = format!("{}/{name}", paths::ISR_CHANGES);
            let node = store.get(&path, None).await.unwrap().unwrap();
            told.extend(decode_partitions(&node.data).unwrap());
        }
        told
    }

    #[tokio::test]
    async fn a_leader_writes_its_isr_and_tells_the_controller() {
        let clock = Clock::by_hand(1);
        let store = World::new(clock.clone()).connect();
        create_with_parents(&store, paths::ISR_CHANGES, &[])
            .await
            .unwrap();
        let path = paths::partition_state("t", 0);
        let first = r#"{"controller_epoch":4,"leader":1,"version":1,"leader_epoch":2,"isr":[1,2]}"#;
        create_with_parents(&store, &path, first.as_bytes())
            .await
            .unwrap();
        let mut writing = Writing::new(BrokerId(1), Arc::new(store.clone()), clock.clone());
        let proposal = |partition_epoch| Proposal {
            partition: TopicPartition::new("t", 0),
            topic_id: TopicId::ZERO,
            controller_epoch: ControllerEpoch(4),
            leader_epoch: LeaderEpoch(2),
            partition_epoch,
            isr: vec![BrokerId(1)],
            again: false,
        };
        let batch = |one: Proposal| BTreeMap::from([(one.partition.clone(), one)]);

        let committed = IsrAnswer::Committed {
            leader_epoch: LeaderEpoch(2),
            partition_epoch: 1,
            isr: vec![BrokerId(1)],
        };
        let told = writing.write(batch(proposal(0))).await;
        assert_eq!(told, [(proposal(0), committed)]);
        let node = store.get(&path, None).await.unwrap().unwrap();
        let written = r#"{"controller_epoch":4,"leader":1,"version":1,"leader_epoch":2,"isr":[1]}"#;
        assert_eq!(node.data, written.as_bytes());

        clock.advance(LINGER_MS - 1);
        writing.announce_if_due().await;
        assert_eq!(notices(&store).await, []);
        clock.advance(1);
        writing.announce_if_due().await;
        assert_eq!(notices(&store).await, [TopicPartition::new("t", 0)]);
        clock.advance(DELAY_MS_MAX);
        writing.announce_if_due().await;
        assert_eq!(notices(&store).await.len(), 1);

        // The controller has decided since: its word comes, and until then the leader waits.
        let decided =
            r#"{"controller_epoch":5,"leader":2,"version":1,"leader_epoch":3,"isr":[1,2]}"#;
        store.set(&path, decided.as_bytes(), ANY).await.unwrap();
        let told = writing.write(batch(proposal(1))).await;
        assert_eq!(told, [(proposal(1), IsrAnswer::Outdated)]);
    }
}

//! Brings leaders' proposals for their ISRs to the controller, all that wait in one request.
//!
//! One request is in flight at a time; a partition has at most one proposal waiting. Every
//! proposal is answered exactly once. Kafka: `DefaultAlterPartitionManager`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base::stop::Stop;
use controller::event::{IsrAnswer as Told, IsrProposal, IsrProposals, TopicKey};
use parking_lot::Mutex;
use protocol::ids::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use replication::endpoint::{IsrKeeper, Proposal};
use replication::partition::isr::IsrAnswer;
use replication::replicas::Replicas;
use tokio::sync::Notify;
use tracing::debug;

use crate::metadata::Metadata;
use crate::peer::link::Link;

/// Rest before a proposal is sent again.
const RETRY_MS: i64 = 50;

/// Implements [`IsrKeeper`]; the proposals are carried by [`Keeper::run`].
#[derive(Debug)]
pub struct Keeper {
    metadata: Arc<Metadata>,
    waiting: Mutex<BTreeMap<TopicPartition, Proposal>>,
    woken: Notify,
    replicas: OnceLock<Arc<Replicas>>,
}

impl Keeper {
    pub fn new(metadata: Arc<Metadata>) -> Self {
        Keeper {
            metadata,
            waiting: Mutex::default(),
            woken: Notify::new(),
            replicas: OnceLock::new(),
        }
    }

    /// Carries proposals until stop is said. `replicas` hears the answers.
    pub async fn run(self: Arc<Self>, replicas: Arc<Replicas>, mut link: Link, stop: Stop) {
        if self.replicas.set(replicas).is_err() {
            return;
        }
        loop {
            let batch = std::mem::take(&mut *self.waiting.lock());
            if batch.is_empty() {
                tokio::select! {
                    () = self.woken.notified() => {}
                    () = stop.stopped() => return,
                }
                continue;
            }
            if batch.values().any(|proposal| proposal.again) {
                link.wait_ms(RETRY_MS).await;
            }
            self.carry(&mut link, batch).await;
        }
    }

    async fn carry(&self, link: &mut Link, batch: BTreeMap<TopicPartition, Proposal>) {
        let by_id = batch.values().all(|proposal| !proposal.topic_id.is_zero());
        let mut topics: Vec<(TopicKey, Vec<IsrProposal>)> = Vec::new();
        for (tp, proposal) in &batch {
            let key = match by_id {
                true => TopicKey::Id(proposal.topic_id),
                false => TopicKey::Name(tp.topic.clone()),
            };
            let one = IsrProposal {
                partition: tp.partition,
                leader_epoch: proposal.leader_epoch.0,
                isr: proposal.isr.iter().map(|id| id.0).collect(),
                // Kafka: a leader counts as recovered as soon as it leads.
                recovering: false,
                partition_epoch: proposal.partition_epoch,
            };
            match topics.last_mut() {
                Some((last, list)) if *last == key => list.push(one),
                _ => topics.push((key, vec![one])),
            }
        }
        let asked = IsrProposals {
            broker: link.me().0,
            broker_epoch: link.broker_epoch().0,
            by_id,
            topics,
        };
        match link.alter_partition(asked).await {
            Ok(answers) => self.tell(verdicts(batch, answers)),
            Err(code) => {
                debug!(
                    ?code,
                    partitions = batch.len(),
                    "proposals not accepted as a whole"
                );
                let again = |tp| (tp, IsrAnswer::TryAgain);
                self.tell(batch.into_keys().map(again).collect());
            }
        }
    }

    /// Off this runtime and not waited for: a partition in the middle of an append on a slow disk
    /// lets its answer wait, and nobody else's.
    fn tell(&self, answers: Vec<(TopicPartition, IsrAnswer)>) {
        let Some(replicas) = self.replicas.get().cloned() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            for (tp, answer) in &answers {
                replicas.note_isr_answer(tp, answer);
            }
        });
    }
}

/// One verdict for each proposal, whatever the controller left out or added.
fn verdicts(
    batch: BTreeMap<TopicPartition, Proposal>,
    answers: Vec<(TopicKey, Vec<Told>)>,
) -> Vec<(TopicPartition, IsrAnswer)> {
    let names: BTreeMap<TopicId, Arc<str>> = batch
        .iter()
        .map(|(tp, proposal)| (proposal.topic_id, tp.topic.clone()))
        .collect();
    let mut silent = batch;
    let mut found = Vec::with_capacity(silent.len());
    for (key, list) in answers {
        let name = match key {
            TopicKey::Name(name) => Some(name),
            TopicKey::Id(id) => names.get(&id).cloned(),
        };
        let Some(name) = name else { continue };
        for told in list {
            let tp = TopicPartition {
                topic: name.clone(),
                partition: told.partition,
            };
            if silent.remove(&tp).is_some() {
                found.push((tp, verdict(told)));
            }
        }
    }
    found.extend(silent.into_keys().map(|tp| (tp, IsrAnswer::TryAgain)));
    found
}

fn verdict(told: Told) -> IsrAnswer {
    match told.outcome {
        Ok(state) => IsrAnswer::Committed {
            leader_epoch: LeaderEpoch(state.leader_epoch),
            partition_epoch: state.partition_epoch,
            isr: state.isr.into_iter().map(BrokerId).collect(),
        },
        Err(ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica) => IsrAnswer::Reverted,
        Err(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::InvalidUpdateVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::NewLeaderElected,
        ) => IsrAnswer::Outdated,
        Err(_) => IsrAnswer::TryAgain,
    }
}

impl IsrKeeper for Keeper {
    fn propose(&self, proposal: Proposal) {
        self.waiting
            .lock()
            .insert(proposal.partition.clone(), proposal);
        self.woken.notify_one();
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.metadata.image().is_alive(broker)
    }
}

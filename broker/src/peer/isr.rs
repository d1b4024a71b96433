//! Brings leaders' proposals for their ISRs to whoever writes them down, all that wait at once.
//!
//! One batch is in flight at a time; a partition has at most one proposal waiting. Every
//! proposal is answered exactly once. Kafka: `DefaultAlterPartitionManager`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base::stop::Stop;
use controller::event::{IsrAnswer as Told, IsrProposal, TopicKey};
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
use crate::peer::proposals::OfTopic;
use crate::peer::writing::Writing;

/// Rest before a proposal is sent again.
const RETRY_MS: i64 = 50;

/// Who writes a new ISR down.
pub enum Way {
    /// The controller, asked by AlterPartition.
    Controller(Box<Link>),
    /// The leader itself, where the brokers' protocol version is below 2.7-IV2.
    Leader(Writing),
}

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
    pub async fn run(self: Arc<Self>, replicas: Arc<Replicas>, mut way: Way, stop: Stop) {
        if self.replicas.set(replicas).is_err() {
            return;
        }
        loop {
            if let Way::Leader(writing) = &mut way {
                writing.announce_if_due().await;
            }
            let batch = std::mem::take(&mut *self.waiting.lock());
            if batch.is_empty() {
                tokio::select! {
                    () = self.woken.notified() => {}
                    () = way.wait_until_due() => {}
                    () = stop.stopped() => return,
                }
                continue;
            }
            if batch.values().any(|proposal| proposal.again) {
                way.wait_ms(RETRY_MS).await;
            }
            match &mut way {
                Way::Controller(link) => self.carry(link, batch).await,
                Way::Leader(writing) => self.tell(writing.write(batch).await),
            }
        }
    }

    async fn carry(&self, link: &mut Link, batch: BTreeMap<TopicPartition, Proposal>) {
        let mut topics: Vec<OfTopic> = Vec::new();
        for (tp, proposal) in &batch {
            let one = IsrProposal {
                partition: tp.partition,
                leader_epoch: proposal.leader_epoch.0,
                isr: proposal.isr.iter().map(|id| id.0).collect(),
                // Kafka: a leader counts as recovered as soon as it leads.
                recovering: false,
                partition_epoch: proposal.partition_epoch,
            };
            match topics.last_mut() {
                Some(last) if last.name == tp.topic && last.id == proposal.topic_id => {
                    last.partitions.push(one);
                }
                _ => topics.push(OfTopic {
                    name: tp.topic.clone(),
                    id: proposal.topic_id,
                    partitions: vec![one],
                }),
            }
        }
        match link.alter_partition(topics).await {
            Ok(answers) => self.tell(verdicts(batch, answers)),
            Err(code) => {
                debug!(
                    ?code,
                    partitions = batch.len(),
                    "proposals not accepted as a whole"
                );
                let again = |proposal| (proposal, IsrAnswer::TryAgain);
                self.tell(batch.into_values().map(again).collect());
            }
        }
    }

    /// Off this runtime and not waited for: a partition in the middle of an append on a slow disk
    /// lets its answer wait, and nobody else's.
    fn tell(&self, answers: Vec<(Proposal, IsrAnswer)>) {
        let Some(replicas) = self.replicas.get().cloned() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            for (proposal, answer) in &answers {
                replicas.note_isr_answer(proposal, answer);
            }
        });
    }
}

impl Way {
    async fn wait_until_due(&self) {
        match self {
            Way::Controller(_) => std::future::pending().await,
            Way::Leader(writing) => writing.wait_until_due().await,
        }
    }

    async fn wait_ms(&self, ms: i64) {
        match self {
            Way::Controller(link) => link.wait_ms(ms).await,
            Way::Leader(writing) => writing.wait_ms(ms).await,
        }
    }
}

/// One verdict for each proposal, whatever the controller left out or added.
fn verdicts(
    batch: BTreeMap<TopicPartition, Proposal>,
    answers: Vec<(TopicKey, Vec<Told>)>,
) -> Vec<(Proposal, IsrAnswer)> {
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
            if let Some(proposal) = silent.remove(&tp) {
                found.push((proposal, verdict(told)));
            }
        }
    }
    let unanswered = silent.into_values();
    found.extend(unanswered.map(|proposal| (proposal, IsrAnswer::TryAgain)));
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

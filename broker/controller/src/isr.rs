//! Leaders propose new ISRs; the controller decides by fixed checks and writes.
//!
//! Kafka: `tryProcessAlterPartition`; the order of the checks is the contract.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use base::last::last_of_each;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::info;
use znodes::fence::Fenced;
use znodes::paths;

use crate::context::Leadership;
use crate::event::{IsrAnswer, IsrAnswers, IsrProposal, IsrProposals, IsrState, TopicKey, Wake};
use crate::reign::Reign;

/// What is proposed for one topic.
type Proposed = (TopicKey, Arc<str>, Vec<IsrProposal>);

impl Reign {
    pub(crate) async fn alter_partitions(
        &mut self,
        asked: IsrProposals,
    ) -> Result<Result<IsrAnswers, ErrorCode>, Fenced> {
        let known = self
            .context
            .brokers
            .get(&asked.broker)
            .map(|held| held.epoch);
        if known != Some(asked.broker_epoch) {
            return Ok(Err(ErrorCode::StaleBrokerEpoch));
        }
        let (known, mut answers) = self.by_topic(asked.topics);
        let mut wanted: Vec<(TopicPartition, Leadership)> = Vec::new();
        let mut all = Vec::new();
        for (key, name, proposals) in known {
            let mut list = Vec::with_capacity(proposals.len());
            for proposal in proposals {
                let partition = proposal.partition;
                let tp = TopicPartition::new(Arc::clone(&name), partition);
                all.push(tp.clone());
                let outcome = match self.check_proposal(&tp, asked.broker, asked.by_id, &proposal) {
                    Verdict::Refused(code) => Err(code),
                    Verdict::AsItIs(held) => Ok(held),
                    Verdict::Write(next) => {
                        wanted.push((tp, next.clone()));
                        Ok(next)
                    }
                };
                let outcome = outcome.map(|held| IsrState {
                    leader: held.leader,
                    leader_epoch: held.leader_epoch,
                    isr: held.isr,
                    recovering: held.recovering,
                    partition_epoch: held.partition_epoch,
                });
                list.push(IsrAnswer { partition, outcome });
            }
            answers.push((key, list));
        }
        let outcome = self.write_states(wanted).await?;
        let mut outcomes = HashMap::with_capacity(all.len());
        for (tp, leadership) in outcome.written {
            info!(target: "state_change", partition = %tp, isr = ?leadership.isr, partition_epoch = leadership.partition_epoch, "ISR altered");
            outcomes.insert(tp.clone(), Ok(leadership.partition_epoch));
            if let Some(partition) = self.context.partition_mut(&tp) {
                partition.leadership = Some(leadership);
            }
        }
        for tp in &outcome.conflicts {
            outcomes.insert(tp.clone(), Err(ErrorCode::InvalidUpdateVersion));
        }
        for tp in outcome.refused {
            outcomes.insert(tp, Err(ErrorCode::UnknownServerError));
        }
        self.note_outcomes(&mut answers, &outcomes);
        self.read_states(&outcome.conflicts).await?;
        self.tell_all_brokers(&all);
        Ok(Ok(answers))
    }

    /// What is proposed for topics that are known, and the answers to the rest, which come first.
    ///
    /// Kafka: what is proposed is a map: a known topic without partitions is not in it, and of a
    /// partition that is named more often only the last counts.
    fn by_topic(&self, asked: Vec<(TopicKey, Vec<IsrProposal>)>) -> (Vec<Proposed>, IsrAnswers) {
        let (mut known, mut unknown) = (Vec::<Proposed>::new(), IsrAnswers::new());
        let mut places = HashMap::new();
        for (key, proposals) in asked {
            match self.name_of(&key) {
                Err(code) => {
                    let refused = proposals.into_iter().map(|proposal| IsrAnswer {
                        partition: proposal.partition,
                        outcome: Err(code),
                    });
                    unknown.push((key, refused.collect()));
                }
                Ok(_) if proposals.is_empty() => {}
                Ok(name) => {
                    let place = *places.entry(Arc::clone(&name)).or_insert_with(|| {
                        known.push((key, name, Vec::new()));
                        known.len() - 1
                    });
                    known[place].2.extend(proposals);
                }
            }
        }
        for (_, _, proposals) in &mut known {
            *proposals = last_of_each(mem::take(proposals), |proposal| proposal.partition);
        }
        (known, unknown)
    }

    /// After the answer was given: proposals may have completed reassignments.
    pub(crate) async fn after_isr_change(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<(), Fenced> {
        self.read_moving_states(partitions).await?;
        for tp in partitions {
            self.complete_reassignment_if_ready(tp).await?;
        }
        Ok(())
    }

    /// Looks at the states of those that move, before it is decided whether they have arrived: a
    /// leader below protocol version 2.7-IV2 may have written since, and whom it has put out of the
    /// ISR does not have the records. Kafka: `isReassignmentComplete`.
    pub(crate) async fn read_moving_states(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<(), Fenced> {
        let moves = |tp: &&TopicPartition| {
            let held = self.context.partition(tp);
            held.is_some_and(|held| held.leadership.is_some() && held.assignment.is_reassigning())
        };
        let moving: Vec<TopicPartition> = partitions.iter().filter(moves).cloned().collect();
        if moving.is_empty() {
            return Ok(());
        }
        if self.config.agreed.alter_partition {
            self.read_states(&moving).await?;
            return Ok(());
        }
        // A watch of each is enough: nodes are read more often than they change.
        let (fresh, watched): (Vec<_>, Vec<_>) = moving
            .into_iter()
            .partition(|tp| self.context.watched_states.insert(tp.clone()));
        let wakes = |path: &str| paths::partition_of_state(path).map(Wake::Moving);
        let listener = self.wakes.listener_by(wakes);
        self.read_states_watching(&fresh, Some(listener)).await?;
        self.read_states(&watched).await.map(drop)
    }

    /// The watched state of a partition that moved when it was last looked at.
    pub(crate) async fn moving_state_changed(&mut self, tp: TopicPartition) -> Result<(), Fenced> {
        self.context.watched_states.remove(&tp);
        self.after_isr_change(&[tp]).await
    }

    fn name_of(&self, key: &TopicKey) -> Result<Arc<str>, ErrorCode> {
        match key {
            TopicKey::Name(name) => Ok(name.clone()),
            TopicKey::Id(id) => self
                .context
                .names
                .get(id)
                .cloned()
                .ok_or(ErrorCode::UnknownTopicId),
        }
    }

    /// Puts what came of the writes into the answers that hoped for it.
    fn note_outcomes(
        &self,
        answers: &mut IsrAnswers,
        outcomes: &HashMap<TopicPartition, Result<i32, ErrorCode>>,
    ) {
        for (key, list) in answers {
            let Ok(topic) = self.name_of(key) else {
                continue;
            };
            for answer in list {
                let partition = answer.partition;
                let topic = topic.clone();
                match (
                    &mut answer.outcome,
                    outcomes.get(&TopicPartition { topic, partition }),
                ) {
                    (Ok(state), Some(Ok(epoch))) => state.partition_epoch = *epoch,
                    (slot, Some(Err(code))) => *slot = Err(*code),
                    (_, None) | (Err(_), Some(Ok(_))) => {}
                }
            }
        }
    }

    fn check_proposal(
        &self,
        tp: &TopicPartition,
        broker: i32,
        by_id: bool,
        asked: &IsrProposal,
    ) -> Verdict {
        let recovering = asked.recovering && self.config.agreed.recovery;
        let Some(held) = self.context.leadership(tp) else {
            return Verdict::Refused(ErrorCode::UnknownTopicOrPartition);
        };
        if asked.partition_epoch > held.partition_epoch || asked.leader_epoch > held.leader_epoch {
            // Ahead of what this controller knows: a newer one exists.
            return Verdict::Refused(ErrorCode::NotController);
        }
        if asked.leader_epoch < held.leader_epoch {
            return Verdict::Refused(ErrorCode::FencedLeaderEpoch);
        }
        let same = asked.isr == held.isr && recovering == held.recovering && broker == held.leader;
        if same {
            return Verdict::AsItIs(held.clone());
        }
        if asked.partition_epoch < held.partition_epoch {
            return Verdict::Refused(ErrorCode::InvalidUpdateVersion);
        }
        if recovering && (asked.isr.len() > 1 || !held.recovering) {
            return Verdict::Refused(ErrorCode::InvalidRequest);
        }
        if asked.isr.is_empty() {
            return Verdict::Refused(ErrorCode::InvalidRequest);
        }
        if asked.isr.iter().any(|id| !self.context.is_live(*id)) {
            let code = match by_id {
                true => ErrorCode::IneligibleReplica,
                false => ErrorCode::OperationNotAttempted,
            };
            return Verdict::Refused(code);
        }
        Verdict::Write(Leadership {
            leader: broker,
            leader_epoch: asked.leader_epoch,
            isr: asked.isr.clone(),
            recovering,
            controller_epoch: self.epoch,
            partition_epoch: held.partition_epoch,
        })
    }
}

enum Verdict {
    Refused(ErrorCode),
    /// Asked before and done: the answer was lost.
    AsItIs(Leadership),
    Write(Leadership),
}

//! Leaders go home: elections of preferred leaders, asked for or by the clock.

use std::collections::BTreeMap;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::info;
use znodes::bodies::reassign;
use znodes::fence::Fenced;
use znodes::paths;

use crate::context::PartitionPhase;
use crate::event::{ElectionKind, ElectionOutcomes, Wake};
use crate::partitions::Strategy;
use crate::reign::Reign;

impl Reign {
    /// ElectLeaders; all partitions where none are named. Kafka: `processReplicaLeaderElection`.
    pub(crate) async fn elect_leaders(
        &mut self,
        kind: ElectionKind,
        asked: Option<Vec<TopicPartition>>,
    ) -> Result<ElectionOutcomes, Fenced> {
        let all = asked.is_none();
        let asked = asked.unwrap_or_else(|| self.context.all_partitions());
        let mut outcomes = ElectionOutcomes::new();
        let mut able = Vec::new();
        for tp in asked {
            if self.context.partition(&tp).is_none() {
                let text = "The partition does not exist.".to_owned();
                outcomes.insert(tp, Err((ErrorCode::UnknownTopicOrPartition, Some(text))));
            } else if self.context.is_deleting(&tp.topic) {
                let text = "The topic is being deleted".to_owned();
                outcomes.insert(tp, Err((ErrorCode::InvalidTopicException, Some(text))));
            } else if self.needs_election(&tp, kind) {
                able.push(tp);
            } else if !all {
                outcomes.insert(tp, Err((ErrorCode::ElectionNotNeeded, None)));
            }
        }
        let strategy = match kind {
            ElectionKind::Preferred => Strategy::Preferred,
            ElectionKind::Unclean => Strategy::Offline { unclean: true },
        };
        let failures = self.bring_online(&able, strategy).await?;
        for tp in able {
            let outcome = match (failures.get(&tp), self.context.leadership(&tp)) {
                (Some((code, text)), _) => Err((*code, Some(text.clone()))),
                (None, Some(held)) => Ok(held.leader),
                (None, None) => Err((ErrorCode::UnknownServerError, None)),
            };
            outcomes.insert(tp, outcome);
        }
        Ok(outcomes)
    }

    fn needs_election(&self, tp: &TopicPartition, kind: ElectionKind) -> bool {
        let Some(partition) = self.context.partition(tp) else {
            return false;
        };
        match kind {
            ElectionKind::Preferred => {
                let leader = partition.leadership.as_ref().map(|held| held.leader);
                leader != partition.assignment.replicas.first().copied()
            }
            ElectionKind::Unclean => {
                let offline = partition.phase == Some(PartitionPhase::Offline);
                let led = partition
                    .leadership
                    .as_ref()
                    .is_some_and(|held| self.context.is_live(held.leader));
                offline || !led
            }
        }
    }

    /// `/admin/preferred_replica_election` appeared, or changed; it goes whatever comes of it.
    pub(crate) async fn preferred_node_changed(&mut self) -> Result<(), Fenced> {
        let listener = self.wakes.listener(Wake::PreferredElection);
        let there = self.store.exists(paths::PREFERRED_ELECTION, Some(listener));
        if there.await?.is_none() {
            return Ok(());
        }
        let Some(node) = self.node_of_tools(paths::PREFERRED_ELECTION).await? else {
            return Ok(());
        };
        let obeyed = Some(node.stat.mzxid);
        if self.context.preferred_node == obeyed {
            return Ok(());
        }
        self.context.preferred_node = obeyed;
        let asked = reassign::decode_partitions(&node.data).unwrap_or_default();
        let known: Vec<_> = asked
            .into_iter()
            .filter(|tp| self.context.partition(tp).is_some())
            .collect();
        info!(partitions = known.len(), "preferred leaders asked for");
        self.elect_leaders(ElectionKind::Preferred, Some(known))
            .await?;
        self.delete_nodes(vec![paths::PREFERRED_ELECTION.to_owned()])
            .await?;
        let listener = self.wakes.listener(Wake::PreferredElection);
        let next = self.store.exists(paths::PREFERRED_ELECTION, Some(listener));
        // Written anew since. One that could not be deleted waits for whoever changes it.
        if next.await?.is_some_and(|stat| Some(stat.mzxid) != obeyed) {
            self.wakes.add(Wake::PreferredElection);
        }
        Ok(())
    }

    /// By the clock: brokers that lead too few of the partitions they should get them back.
    /// Kafka: `checkAndTriggerAutoLeaderRebalance`.
    pub(crate) async fn rebalance(&mut self) -> Result<(), Fenced> {
        // Of each broker: how many it should lead, how many are led elsewhere, which can be helped.
        let mut should: BTreeMap<i32, (usize, usize, Vec<TopicPartition>)> = BTreeMap::new();
        for tp in self.context.all_partitions() {
            let Some(partition) = self.context.partition(&tp) else {
                continue;
            };
            let Some(preferred) = partition.assignment.replicas.first().copied() else {
                continue;
            };
            if self.context.is_deleting(&tp.topic) {
                continue;
            }
            let entry = should.entry(preferred).or_default();
            entry.0 += 1;
            let held = partition.leadership.as_ref();
            let away = held.is_some_and(|held| held.leader != preferred);
            let able = held.is_some_and(|held| held.isr.contains(&preferred))
                && self.context.is_replica_online(preferred, &tp);
            if away {
                entry.1 += 1;
                entry.2.extend(able.then_some(tp));
            }
        }
        for (broker, (count, away, able)) in should {
            if !self.context.is_live(broker) || able.is_empty() {
                continue;
            }
            let limit = usize::try_from(self.config.imbalance_percent.max(0)).unwrap_or(0);
            if away * 100 > count * limit {
                info!(
                    broker,
                    leaders_away = away,
                    of = count,
                    "giving leaders back"
                );
                self.elect_leaders(ElectionKind::Preferred, Some(able))
                    .await?;
            }
        }
        Ok(())
    }
}

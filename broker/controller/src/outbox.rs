//! Orders gathered during one decision, then one request each to every broker concerned.
//!
//! Order of sending per broker: LeaderAndIsr, UpdateMetadata, StopReplica. Whoever gets a
//! LeaderAndIsr entry makes everybody get the partition's metadata. `is_new` and `delete` stick
//! within one batch. Kafka: `AbstractControllerBrokerRequestBatch`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::ids::{TopicId, TopicPartition};

use crate::context::{Context, Leadership};
use crate::sender::{
    BrokerFacts, LeaderAndIsr, LiveLeader, OfTopic, Order, PartitionFacts, PartitionOrder,
    PeerSender, StopPartition, StopReplica, UpdateMetadata,
};

/// "No epoch known", which brokers do not check.
const NO_EPOCH: i32 = -1;
/// "The topic is deleted", which brokers do not check either.
const EPOCH_DURING_DELETE: i32 = -2;
const LEADER_DURING_DELETE: i32 = -2;

/// What was gathered since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lead: BTreeMap<i32, BTreeMap<TopicPartition, PartitionOrder>>,
    stop: BTreeMap<i32, BTreeMap<TopicPartition, StopPartition>>,
    tell: BTreeSet<i32>,
    facts: BTreeMap<TopicPartition, PartitionFacts>,
}

impl Outbox {
    /// Tells `brokers` who leads `tp` now, and everybody the metadata.
    pub(crate) fn lead(
        &mut self,
        context: &Context,
        brokers: &[i32],
        tp: &TopicPartition,
        leadership: &Leadership,
        is_new: bool,
    ) {
        let Some(partition) = context.partition(tp) else {
            return;
        };
        for broker in brokers.iter().filter(|broker| **broker >= 0) {
            let orders = self.lead.entry(*broker).or_default();
            let was_new = orders.get(tp).is_some_and(|order| order.is_new);
            let order = PartitionOrder {
                index: tp.partition,
                controller_epoch: leadership.controller_epoch,
                leader: leadership.leader,
                leader_epoch: leadership.leader_epoch,
                isr: leadership.isr.clone(),
                partition_epoch: leadership.partition_epoch,
                replicas: partition.assignment.replicas.clone(),
                adding: partition.assignment.adding.clone(),
                removing: partition.assignment.removing.clone(),
                is_new: is_new || was_new,
                recovering: leadership.recovering,
            };
            orders.insert(tp.clone(), order);
        }
        self.tell_of(context, &context.registered(), std::slice::from_ref(tp));
    }

    /// Tells `brokers` to stop their replica of `tp`.
    pub(crate) fn stop(
        &mut self,
        context: &Context,
        brokers: &[i32],
        tp: &TopicPartition,
        delete: bool,
    ) {
        let leader_epoch = if context.is_deleting(&tp.topic) {
            EPOCH_DURING_DELETE
        } else {
            context
                .leadership(tp)
                .map_or(NO_EPOCH, |leadership| leadership.leader_epoch)
        };
        for broker in brokers.iter().filter(|broker| **broker >= 0) {
            let stops = self.stop.entry(*broker).or_default();
            let deleted = stops.get(tp).is_some_and(|stop| stop.delete);
            let stop = StopPartition {
                index: tp.partition,
                leader_epoch,
                delete: delete || deleted,
            };
            stops.insert(tp.clone(), stop);
        }
    }

    /// Tells `brokers` what clients should know of these partitions; with none, of the brokers.
    pub(crate) fn tell_of(
        &mut self,
        context: &Context,
        brokers: &[i32],
        partitions: &[TopicPartition],
    ) {
        self.tell
            .extend(brokers.iter().filter(|broker| **broker >= 0));
        for tp in partitions {
            let Some(partition) = context.partition(tp) else {
                continue;
            };
            let Some(leadership) = &partition.leadership else {
                continue;
            };
            let replicas = partition.assignment.replicas.clone();
            let offline_replicas = replicas
                .iter()
                .copied()
                .filter(|id| !context.is_replica_online(*id, tp))
                .collect();
            let deleting = context.is_deleting(&tp.topic);
            // Kafka: `LeaderAndIsr.duringDelete` has epoch and version 0.
            let facts = PartitionFacts {
                index: tp.partition,
                controller_epoch: leadership.controller_epoch,
                leader: if deleting {
                    LEADER_DURING_DELETE
                } else {
                    leadership.leader
                },
                leader_epoch: if deleting { 0 } else { leadership.leader_epoch },
                isr: leadership.isr.clone(),
                partition_epoch: if deleting {
                    0
                } else {
                    leadership.partition_epoch
                },
                replicas,
                offline_replicas,
            };
            self.facts.insert(tp.clone(), facts);
        }
    }

    /// Sends everything and starts empty. Brokers that are gone get nothing.
    pub(crate) fn flush(
        &mut self,
        context: &Context,
        sender: &dyn PeerSender,
        controller_id: i32,
        controller_epoch: i32,
        listener: &str,
    ) {
        let gathered = std::mem::take(self);
        let ids = |name: &str| {
            context
                .topics
                .get(name)
                .and_then(|topic| topic.id)
                .unwrap_or(TopicId::ZERO)
        };
        for (broker, orders) in gathered.lead {
            let Some(registered) = context.brokers.get(&broker) else {
                continue;
            };
            let leaders: BTreeSet<i32> = orders.values().map(|order| order.leader).collect();
            let live_leaders = leaders
                .into_iter()
                .filter_map(|id| {
                    let at = context.brokers.get(&id)?.body.endpoint(listener)?;
                    Some(LiveLeader {
                        id,
                        host: at.host.clone(),
                        port: at.port,
                    })
                })
                .collect();
            let order = LeaderAndIsr {
                controller_id,
                controller_epoch,
                broker_epoch: registered.epoch,
                topics: by_topic(orders, ids),
                live_leaders,
            };
            sender.send(broker, Order::LeaderAndIsr(order));
        }
        if !gathered.tell.is_empty() {
            let brokers = context
                .brokers
                .iter()
                .map(|(id, registered)| BrokerFacts {
                    id: *id,
                    endpoints: registered.body.endpoints.clone(),
                    rack: registered.body.rack.clone(),
                })
                .collect();
            let topics = by_topic(gathered.facts, ids);
            let body = Arc::new(UpdateMetadata {
                controller_id,
                controller_epoch,
                topics,
                brokers,
            });
            for broker in gathered.tell {
                if let Some(registered) = context.brokers.get(&broker) {
                    let body = body.clone();
                    let order = Order::UpdateMetadata {
                        broker_epoch: registered.epoch,
                        body,
                    };
                    sender.send(broker, order);
                }
            }
        }
        for (broker, stops) in gathered.stop {
            let Some(registered) = context.brokers.get(&broker) else {
                continue;
            };
            let order = StopReplica {
                controller_id,
                controller_epoch,
                broker_epoch: registered.epoch,
                topics: by_topic(stops, ids),
            };
            sender.send(broker, Order::StopReplica(order));
        }
    }
}

/// Groups entries, sorted by topic already.
fn by_topic<T>(
    entries: BTreeMap<TopicPartition, T>,
    id: impl Fn(&str) -> TopicId,
) -> Vec<OfTopic<T>> {
    let mut topics: Vec<OfTopic<T>> = Vec::new();
    for (tp, entry) in entries {
        match topics.last_mut() {
            Some(last) if last.name == tp.topic => last.partitions.push(entry),
            _ => {
                let id = id(&tp.topic);
                topics.push(OfTopic {
                    name: tp.topic,
                    id,
                    partitions: vec![entry],
                });
            }
        }
    }
    topics
}

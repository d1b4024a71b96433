//! A leader's proposals for ISRs as AlterPartition of each version, and the answers back.
//!
//! Topics go by id since version 2, members with their epochs since version 3. A controller that
//! is older than this broker speaks only the versions it knows. Kafka:
//! `DefaultAlterPartitionManager` and `AlterPartitionRequest.Builder`.

use std::sync::Arc;

use controller::event::{IsrAnswer, IsrProposal, IsrProposals, IsrState, TopicKey};
use protocol::ids::TopicId;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId};

use crate::peer::spelling::{broker_ids, topic_name};

/// Since this version topics are named by id.
const BY_ID: i16 = 2;
/// Since this version members carry their broker epochs.
const WITH_EPOCHS: i16 = 3;
/// The newest version.
const NEWEST: i16 = 3;

/// What is proposed for the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTopic {
    pub name: Arc<str>,
    /// Zero where the topic has none.
    pub id: TopicId,
    pub partitions: Vec<IsrProposal>,
}

/// All that one broker proposes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposals {
    pub broker: i32,
    pub broker_epoch: i64,
    /// Whether all brokers of the cluster know topic ids.
    pub ids_agreed: bool,
    pub topics: Vec<OfTopic>,
}

impl Proposals {
    /// The highest version that can carry them: without an id for every topic they go by name.
    pub(crate) fn version_max(&self) -> i16 {
        let has_id = |topic: &OfTopic| !topic.id.is_zero();
        match self.ids_agreed && self.topics.iter().all(has_id) {
            true => NEWEST,
            false => BY_ID - 1,
        }
    }

    /// As the controller of this process takes them.
    pub(crate) fn asked(self) -> IsrProposals {
        let by_id = self.version_max() >= BY_ID;
        let topics = self.topics.into_iter().map(|topic| {
            let key = match by_id {
                true => TopicKey::Id(topic.id),
                false => TopicKey::Name(topic.name),
            };
            (key, topic.partitions)
        });
        IsrProposals {
            broker: self.broker,
            broker_epoch: self.broker_epoch,
            by_id,
            topics: topics.collect(),
        }
    }

    /// As a controller that speaks `version` reads them.
    pub(crate) fn request(&self, version: i16) -> AlterPartitionRequest {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|one| partition(one, version));
            let data = TopicData::default().with_partitions(partitions.collect());
            match version >= BY_ID {
                true => data.with_topic_id(topic.id.0),
                false => data.with_topic_name(topic_name(&topic.name)),
            }
        });
        AlterPartitionRequest::default()
            .with_broker_id(BrokerId(self.broker))
            .with_broker_epoch(self.broker_epoch)
            .with_topics(topics.collect())
    }
}

fn partition(one: &IsrProposal, version: i16) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(one.partition)
        .with_leader_epoch(one.leader_epoch)
        .with_leader_recovery_state(i8::from(one.recovering))
        .with_partition_epoch(one.partition_epoch);
    if version < WITH_EPOCHS {
        return data.with_new_isr(broker_ids(&one.isr));
    }
    // Kafka: in ZooKeeper mode epochs of members are not known to leaders.
    let states = one.isr.iter().map(|id| {
        BrokerState::default()
            .with_broker_id(BrokerId(*id))
            .with_broker_epoch(-1)
    });
    data.with_new_isr_with_epochs(states.collect())
}

/// What the controller answered; its topics are named as those of the request were.
pub(crate) fn answers(
    version: i16,
    response: AlterPartitionResponse,
) -> Vec<(TopicKey, Vec<IsrAnswer>)> {
    let topics = response.topics.into_iter().map(|topic| {
        let key = match version >= BY_ID {
            true => TopicKey::Id(TopicId(topic.topic_id)),
            false => TopicKey::Name(Arc::from(topic.topic_name.as_str())),
        };
        let answers = topic.partitions.iter().map(|one| IsrAnswer {
            partition: one.partition_index,
            outcome: ErrorCode::check(one.error_code).map(|()| IsrState {
                leader: one.leader_id.0,
                leader_epoch: one.leader_epoch,
                isr: one.isr.iter().map(|id| id.0).collect(),
                recovering: one.leader_recovery_state == 1,
                partition_epoch: one.partition_epoch,
            }),
        });
        (key, answers.collect())
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use protocol::kafka::apis::Api;
    use protocol::kafka::codec;
    use protocol::messages::RequestKind;

    use super::*;

    fn proposals(id: TopicId, ids_agreed: bool) -> Proposals {
        let one = IsrProposal {
            partition: 3,
            leader_epoch: 4,
            isr: vec![1, 2],
            recovering: false,
            partition_epoch: 5,
        };
        let topic = OfTopic {
            name: "t".into(),
            id,
            partitions: vec![one],
        };
        Proposals {
            broker: 1,
            broker_epoch: 9,
            ids_agreed,
            topics: vec![topic],
        }
    }

    /// As the controller reads it from the wire.
    fn sent(proposals: &Proposals, version: i16) -> AlterPartitionRequest {
        let mut body = BytesMut::new();
        let request = RequestKind::AlterPartition(proposals.request(version));
        request.encode(&mut body, version).unwrap();
        match codec::decode_request(Api::AlterPartition, version, body.freeze()).unwrap() {
            RequestKind::AlterPartition(read) => read,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_controller_is_told_in_the_words_of_its_version() {
        let id = TopicId::random();
        let proposals = proposals(id, true);
        for version in 0..=NEWEST {
            let read = sent(&proposals, version);
            let topic = &read.topics[0];
            let one = &topic.partitions[0];
            let plain: Vec<i32> = one.new_isr.iter().map(|id| id.0).collect();
            let with_epochs: Vec<(i32, i64)> = one
                .new_isr_with_epochs
                .iter()
                .map(|member| (member.broker_id.0, member.broker_epoch))
                .collect();
            let told = (
                topic.topic_name.as_str(),
                topic.topic_id,
                plain,
                with_epochs,
            );
            let expected = match version {
                0 | 1 => ("t", TopicId::ZERO.0, vec![1, 2], vec![]),
                2 => ("", id.0, vec![1, 2], vec![]),
                _ => ("", id.0, vec![], vec![(1, -1), (2, -1)]),
            };
            assert_eq!(told, expected, "version {version}");
        }
    }

    #[test]
    fn topics_go_by_name_until_all_brokers_know_ids_and_all_topics_have_one() {
        let id = TopicId::random();
        for (id, agreed, version) in [(id, true, 3), (id, false, 1), (TopicId::ZERO, true, 1)] {
            let proposals = proposals(id, agreed);
            assert_eq!(proposals.version_max(), version);
            let asked = proposals.asked();
            assert_eq!(asked.by_id, version > 1);
            assert_eq!(matches!(asked.topics[0].0, TopicKey::Id(_)), asked.by_id);
        }
    }
}

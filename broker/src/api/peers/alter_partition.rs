//! AlterPartition: a leader asks the controller to change an ISR.

use std::sync::Arc;

use controller::ControllerHandle;
use controller::event::{IsrAnswer, IsrProposal, IsrProposals, TopicKey};
use protocol::StrBytes;
use protocol::ids::TopicId;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_partition_request::TopicData as AskedTopic;
use protocol::messages::alter_partition_response::{PartitionData, TopicData};
use protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId, TopicName};

use crate::api::request::Context;
use crate::metadata::Image;

/// Since this version topics are named by id.
const IDS_SINCE: i16 = 2;
/// Since this version members of the ISR carry their broker epochs (−1 in ZooKeeper mode).
const EPOCHS_SINCE: i16 = 3;

pub(crate) async fn answer(
    context: &Context,
    controller: &ControllerHandle,
    image: &Image,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    // Kafka: looked at last, and of topics that are known; then it fails the request as a whole.
    let is_odd = |topic: &AskedTopic| {
        let is_known =
            context.version < IDS_SINCE || image.topic_by_id(TopicId(topic.topic_id)).is_some();
        let mut partitions = topic.partitions.iter();
        is_known && partitions.any(|asked| !(0..=1).contains(&asked.leader_recovery_state))
    };
    if request.topics.iter().any(is_odd) {
        let mut nothing = request;
        nothing.topics.clear();
        let may = controller
            .alter_partition(read(context.version, nothing))
            .await;
        let code = may.err().unwrap_or(ErrorCode::UnknownServerError);
        return AlterPartitionResponse::default().with_error_code(code.code());
    }
    match controller
        .alter_partition(read(context.version, request))
        .await
    {
        Ok(topics) => {
            let topics = topics.into_iter().map(|(key, answers)| {
                let topic = match key {
                    TopicKey::Id(id) => TopicData::default().with_topic_id(id.0),
                    TopicKey::Name(name) => TopicData::default()
                        .with_topic_name(TopicName(StrBytes::from_string(name.to_string()))),
                };
                topic.with_partitions(answers.into_iter().map(write).collect())
            });
            AlterPartitionResponse::default().with_topics(topics.collect())
        }
        Err(code) => AlterPartitionResponse::default().with_error_code(code.code()),
    }
}

fn read(version: i16, request: AlterPartitionRequest) -> IsrProposals {
    let topics = request.topics.into_iter().map(|topic| {
        let key = if version >= IDS_SINCE {
            TopicKey::Id(TopicId(topic.topic_id))
        } else {
            TopicKey::Name(Arc::from(topic.topic_name.0.as_str()))
        };
        let partitions = topic.partitions.into_iter().map(|asked| IsrProposal {
            partition: asked.partition_index,
            leader_epoch: asked.leader_epoch,
            isr: if version >= EPOCHS_SINCE {
                asked
                    .new_isr_with_epochs
                    .iter()
                    .map(|member| member.broker_id.0)
                    .collect()
            } else {
                asked.new_isr.iter().map(|id| id.0).collect()
            },
            recovering: asked.leader_recovery_state != 0,
            partition_epoch: asked.partition_epoch,
        });
        (key, partitions.collect())
    });
    IsrProposals {
        broker: request.broker_id.0,
        broker_epoch: request.broker_epoch,
        by_id: version >= IDS_SINCE,
        topics: topics.collect(),
    }
}

fn write(answer: IsrAnswer) -> PartitionData {
    let data = PartitionData::default().with_partition_index(answer.partition);
    match answer.outcome {
        Ok(state) => data
            .with_leader_id(BrokerId(state.leader))
            .with_leader_epoch(state.leader_epoch)
            .with_isr(state.isr.into_iter().map(BrokerId).collect())
            .with_leader_recovery_state(i8::from(state.recovering))
            .with_partition_epoch(state.partition_epoch),
        Err(code) => data.with_error_code(code.code()),
    }
}

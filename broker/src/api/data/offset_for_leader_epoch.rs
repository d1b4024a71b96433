//! OffsetForLeaderEpoch: where an epoch ends in the leader's log; versions 0 to 4.

use std::sync::Arc;

use protocol::ids::LeaderEpoch;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use replication::error::Refusal;
use replication::replicas::Replicas;

use crate::api::data::leader::{ask, find};
use crate::api::errors;
use crate::metadata::Image;

pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let blank = EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            partitions.push(match find_one(replicas, image, &topic.topic, asked).await {
                Ok(Some((epoch, end))) => blank.with_leader_epoch(epoch).with_end_offset(end),
                Ok(None) => blank,
                Err(code) => blank.with_error_code(code.code()),
            });
        }
        topics.push(
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions),
        );
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn find_one(
    replicas: &Replicas,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let code = |refusal: Refusal| errors::replication_code(&refusal);
    let partition = find(replicas, image, topic, asked.partition).map_err(code)?;
    let current = Some(asked.current_leader_epoch)
        .filter(|epoch| *epoch != -1)
        .map(LeaderEpoch);
    let epoch = LeaderEpoch(asked.leader_epoch);
    let found = ask(&partition, move |it| {
        it.end_offset_for_epoch(epoch, current, true)
    })
    .await;
    Ok(found.map_err(code)?.map(|(epoch, end)| (epoch.0, end.0)))
}

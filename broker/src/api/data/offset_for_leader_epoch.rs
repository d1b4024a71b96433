//! OffsetForLeaderEpoch: where an epoch ends in the leader's log; versions 0 to 4.

use std::sync::Arc;

use protocol::ids::{LeaderEpoch, Offset};
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use replication::asking::{PATIENCE_MS, Question};
use replication::error::Refusal;
use replication::partition::Partition;
use replication::replicas::Replicas;

use crate::api::data::leader::{ask_each, find};
use crate::api::errors;
use crate::metadata::Image;

pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let each = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|asked| (topic.topic.as_str(), asked))
    });
    let found = each.map(|(topic, asked)| {
        let partition = find(replicas, image, topic, asked.partition)?;
        let epoch = LeaderEpoch(asked.leader_epoch);
        let current = Some(asked.current_leader_epoch)
            .filter(|epoch| *epoch != -1)
            .map(LeaderEpoch);
        Ok(Question {
            partition,
            may_sleep: false,
            ask: move |it: &Partition| it.end_offset_for_epoch(epoch, current, true),
        })
    });
    let found = found.collect();
    let mut ends = ask_each(found, PATIENCE_MS, |refusal| refusal)
        .await
        .into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut ends);
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.map(|(asked, end)| told(asked, end)).collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn told(
    asked: &OffsetForLeaderPartition,
    end: Result<Option<(LeaderEpoch, Offset)>, Refusal>,
) -> EpochEndOffset {
    let blank = EpochEndOffset::default()
        .with_partition(asked.partition)
        .with_leader_epoch(-1)
        .with_end_offset(-1);
    match end {
        Ok(Some((epoch, end))) => blank.with_leader_epoch(epoch.0).with_end_offset(end.0),
        Ok(None) => blank,
        Err(refusal) => blank.with_error_code(errors::replication_code(&refusal).code()),
    }
}

//! DeleteRecords: records beneath an offset go; answered once they are gone on every living
//! replica. Versions 0 to 2.
//! Kafka: `ReplicaManager.deleteRecords`, `DelayedDeleteRecords`.

use std::collections::HashMap;
use std::sync::Arc;

use base::last::last_of_each;
use protocol::ids::Offset;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use protocol::names;
use replication::asking::{PATIENCE_MS, Question};
use replication::error::Refusal;
use replication::partition::Partition;
use replication::replicas::Replicas;
use replication::waiting::{Stay, Until};

use crate::api::data::leader::{ask_each, find};
use crate::api::errors;
use crate::api::request::Context;
use crate::metadata::Image;

/// Stands for the watermark, wherever it is.
const TO_WATERMARK: i64 = -1;

/// How long a deletion waits for its disk at least, even one that is to be answered at once.
const PATIENCE_MS_MIN: i64 = 1_000;

/// A deletion that was done here: what was meant, and the low watermark.
type Deleted = (Arc<Partition>, Offset, Option<Offset>);

pub(crate) async fn answer(
    context: &Context,
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut names = Vec::with_capacity(request.topics.len());
    let mut found = Vec::new();
    let timeout_ms = i64::from(request.timeout_ms);
    for (name, partitions) in as_map(request.topics) {
        let last = last_of_each(partitions, |one| one.partition_index);
        let indexes: Vec<i32> = last.iter().map(|one| one.partition_index).collect();
        let one = |asked| question(replicas, image, &name, asked);
        found.extend(last.iter().map(one));
        names.push((name, indexes));
    }
    let patience_ms = timeout_ms.clamp(PATIENCE_MS_MIN, PATIENCE_MS);
    let mut deleted = ask_each(found, patience_ms, told).await.into_iter();
    context.drawn.give_back();
    let stay = replicas.shared().deadlines.park(timeout_ms);
    let mut topics = Vec::with_capacity(names.len());
    for (name, indexes) in names {
        let mut results = Vec::with_capacity(indexes.len());
        for (index, deleted) in indexes.into_iter().zip(&mut deleted) {
            let outcome = match deleted {
                Ok((partition, wanted, low)) => finish(&partition, wanted, low, &stay).await,
                Err(code) => Err((code, Offset::NONE)),
            };
            let (code, low) = match outcome {
                Ok(low) => (ErrorCode::None, low),
                Err(refused) => refused,
            };
            results.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(index)
                    .with_low_watermark(low.0)
                    .with_error_code(code.code()),
            );
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(name)
                .with_partitions(results),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Kafka: what is asked is a map: a topic without partitions is not in it, and of a partition that
/// is named more often only the last counts.
fn as_map(topics: Vec<DeleteRecordsTopic>) -> Vec<(TopicName, Vec<DeleteRecordsPartition>)> {
    let mut places = HashMap::new();
    let mut merged: Vec<(TopicName, Vec<DeleteRecordsPartition>)> = Vec::new();
    for topic in topics
        .into_iter()
        .filter(|topic| !topic.partitions.is_empty())
    {
        let place = *places.entry(topic.name.clone()).or_insert_with(|| {
            merged.push((topic.name, Vec::new()));
            merged.len() - 1
        });
        merged[place].1.extend(topic.partitions);
    }
    merged
}

fn question(
    replicas: &Replicas,
    image: &Image,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Question<impl FnOnce(&Partition) -> Result<Deleted, Refusal> + Send + use<>>, ErrorCode>
{
    let (index, offset) = (asked.partition_index, asked.offset);
    if image.partition(topic, index).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if names::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = find(replicas, image, topic, index).map_err(told)?;
    let before = (offset != TO_WATERMARK).then_some(Offset(offset));
    let deleting = Arc::clone(&partition);
    Ok(Question {
        partition,
        // What is deleted goes later, with the upkeep.
        may_sleep: false,
        ask: move |_: &Partition| {
            let (wanted, low, wakes) = deleting.delete_records(before)?;
            wakes.fire();
            Ok((deleting, wanted, low))
        },
    })
}

/// Of what a silent disk was asked nobody knows whether it is done.
fn told(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Silent => ErrorCode::RequestTimedOut,
        refusal => errors::replication_code(&refusal),
    }
}

/// Waits until the records are gone everywhere. Gives the low watermark, with or without an error.
async fn finish(
    partition: &Partition,
    wanted: Offset,
    mut low: Option<Offset>,
    stay: &Stay,
) -> Result<Offset, (ErrorCode, Offset)> {
    let until = Until::LowWatermarkReaches(wanted);
    let _seat = partition.queue().sit(until, stay.parked());
    loop {
        if let Some(reached) = low.filter(|low| *low >= wanted) {
            return Ok(reached);
        }
        if stay.parked().is_expired() {
            return Err((ErrorCode::RequestTimedOut, low.unwrap_or(Offset::NONE)));
        }
        low = partition
            .low_watermark()
            .map_err(|refusal| (errors::replication_code(&refusal), Offset::NONE))?;
        if low.is_none_or(|low| low < wanted) {
            stay.parked().wait().await;
        }
    }
}

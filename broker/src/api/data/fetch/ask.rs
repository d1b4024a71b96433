//! What a fetch asks for, and where that is.

use std::sync::Arc;

use protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicId};
use protocol::kafka::apis::Api;
use protocol::kafka::codec;
use protocol::kafka::data::{FetchAnswer, FetchRequest};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{FetchResponse, ResponseKind, TopicName};
use replication::error::Refusal;
use replication::partition::{Found, Reader};
use replication::read::Wanted;
use replication::sessions::{
    self, Context as SessionContext, PartitionAsk, SessionRefusal, TopicKey,
};
use storage::offsets::Offsets;
use tracing::debug;

use crate::api::answer::Answer;
use crate::api::data::fetch::share::encode;
use crate::api::data::fetch::{FetchServices, TOPIC_IDS_SINCE};
use crate::api::data::leader::find;
use crate::api::data::nearby::nearest;
use crate::api::errors;
use crate::api::request::Context;
use crate::metadata::Image;

/// Since this version there are sessions, and an answer as a whole has a code.
const SESSIONS_SINCE: i16 = 7;
/// Since this version a consumer may read from a follower.
const READS_FOLLOWERS_SINCE: i16 = 11;

/// What is known of one ask before any log is read.
pub(super) enum Look {
    Wanted,
    /// Not read here: the consumer is sent to this broker.
    Elsewhere(BrokerId, Offsets),
    /// Read and refused: told like any other partition.
    Failed(Refusal),
    /// Of a negative size: an error once there is something to read.
    Negative,
    /// Not read at all: told after all others.
    Erroneous(ErrorCode),
}

pub(super) fn read_asks(
    version: i16,
    image: &Image,
    request: &mut FetchRequest,
) -> Vec<PartitionAsk> {
    let mut asks = Vec::with_capacity(request.topics.iter().map(|t| t.partitions.len()).sum());
    for topic in std::mem::take(&mut request.topics) {
        let (key, name) = if version >= TOPIC_IDS_SINCE {
            let name = image.names_by_id.get(&topic.topic_id).cloned();
            (TopicKey::Id(topic.topic_id), name)
        } else {
            let known = image
                .topics
                .get_key_value(&*topic.name)
                .map(|(name, _)| Arc::clone(name));
            let name = known.unwrap_or_else(|| Arc::from(&*topic.name));
            (TopicKey::Name(Arc::clone(&name)), Some(name))
        };
        asks.extend(topic.partitions.iter().map(|partition| PartitionAsk {
            topic: key.clone(),
            name: name.clone(),
            partition: partition.index,
            fetch_offset: Offset(partition.fetch_offset),
            bytes_max: partition.max_bytes,
            current_leader_epoch: epoch(partition.current_leader_epoch),
            last_fetched_epoch: epoch(partition.last_fetched_epoch),
            log_start: Offset(partition.log_start_offset),
        }));
    }
    asks
}

fn epoch(wire: i32) -> Option<LeaderEpoch> {
    (wire >= 0).then_some(LeaderEpoch(wire))
}

pub(super) fn read_forgotten(version: i16, request: &FetchRequest) -> Vec<(TopicKey, i32)> {
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics {
        let key = match version >= TOPIC_IDS_SINCE {
            true => TopicKey::Id(topic.topic_id),
            false => TopicKey::Name(Arc::from(&*topic.name)),
        };
        forgotten.extend(topic.partitions.iter().map(|index| (key.clone(), *index)));
    }
    forgotten
}

/// Finds the partitions of a fetch, in order.
pub(super) fn look(
    context: &Context,
    services: &FetchServices,
    image: &Image,
    session: &SessionContext,
    request: &FetchRequest,
) -> (Vec<Look>, Vec<Wanted>) {
    let mut wanted = Vec::with_capacity(session.asks.len());
    let mut looks = Vec::with_capacity(session.asks.len());
    let mut is_first = true;
    for (index, ask) in session.asks.iter().enumerate() {
        let Some(name) = &ask.name else {
            looks.push(Look::Erroneous(ErrorCode::UnknownTopicId));
            continue;
        };
        let found = find(&services.replicas, image, name, ask.partition);
        if let Err(Refusal::UnknownPartition) = found {
            looks.push(Look::Erroneous(ErrorCode::UnknownTopicOrPartition));
            continue;
        }
        // Kafka: of less than nothing in all, nothing is left after the first.
        let is_negative = ask.bytes_max < 0 || (request.max_bytes < 0 && is_first);
        is_first = false;
        let partition = match found {
            Ok(partition) => partition,
            Err(refusal) => {
                looks.push(Look::Failed(refusal));
                continue;
            }
        };
        if let TopicKey::Id(id) = &ask.topic
            && !partition.topic_id().is_zero()
            && partition.topic_id() != *id
        {
            looks.push(Look::Failed(Refusal::InconsistentTopicId));
            continue;
        }
        let (rack, epoch) = (&*request.rack_id, ask.current_leader_epoch);
        let lanes = &services.replicas.shared().lanes;
        if services.sends_to_racks
            && request.replica.replica_id < 0
            // While its disk hangs nobody is sent elsewhere: the log's end cannot be told.
            && let Some(_permit) = lanes.try_permit(&partition.lane())
            && let Some(id) = nearest(&partition, image, &context.listener, rack, ask.fetch_offset)
        {
            looks.push(match partition.offsets_for(epoch) {
                Ok(offsets) => Look::Elsewhere(id, offsets),
                Err(refusal) => Look::Failed(refusal),
            });
            continue;
        }
        let reader = match request.replica.replica_id {
            id @ 0.. => Reader::Follower {
                id: BrokerId(id),
                log_start: ask.log_start,
            },
            _ => Reader::Consumer {
                committed_only: request.isolation_level == 1,
                leader_only: context.version < READS_FOLLOWERS_SINCE,
            },
        };
        wanted.push(Wanted {
            index,
            partition,
            from: ask.fetch_offset,
            bytes_max: (!is_negative).then(|| usize::try_from(ask.bytes_max).unwrap_or(0)),
            current_leader_epoch: ask.current_leader_epoch,
            last_fetched_epoch: ask.last_fetched_epoch,
            reader,
        });
        looks.push(match is_negative {
            true => Look::Negative,
            false => Look::Wanted,
        });
    }
    (looks, wanted)
}

/// Whether records follow where somebody wants to read.
pub(super) fn has_more(one: &Wanted, found: &Found) -> bool {
    let end = match one.reader {
        Reader::Consumer {
            committed_only: true,
            ..
        } => found.offsets.stable,
        Reader::Consumer { .. } => found.offsets.watermark,
        Reader::Follower { .. } | Reader::Local => found.offsets.end,
    };
    found.diverging.is_none() && one.from < end
}

/// Whether a session may fail on it: few requests are so odd.
pub(super) fn may_fail(context: &Context, request: &FetchRequest) -> bool {
    let is_zero = |id: TopicId| context.version >= TOPIC_IDS_SINCE && id.is_zero();
    let (asked, forgotten) = (&request.topics, &request.forgotten_topics);
    !sessions::ID_RANGE.contains(&request.session_id)
        || asked.iter().any(|topic| is_zero(topic.topic_id))
        || forgotten.iter().any(|topic| is_zero(topic.topic_id))
}

/// Kafka: what nobody thought of fails the request as a whole and, where topics have names, each
/// partition; such partitions have null where records would be.
pub(super) fn fail(context: &Context, request: &FetchRequest) -> Answer {
    let code = ErrorCode::UnknownServerError.code();
    let version = context.version;
    let mut response = FetchResponse::default();
    if version >= SESSIONS_SINCE {
        response.error_code = code;
        response.session_id = request.session_id;
    }
    if version < TOPIC_IDS_SINCE {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                PartitionData::default()
                    .with_partition_index(asked.index)
                    .with_error_code(code)
                    .with_high_watermark(-1)
                    .with_aborted_transactions(Some(Vec::new()))
                    .with_records(None)
            });
            FetchableTopicResponse::default()
                .with_topic(TopicName(topic.name.clone()))
                .with_partitions(partitions.collect())
        });
        response.responses = topics.collect();
    }
    let response = ResponseKind::Fetch(response);
    match codec::encode_response(Api::Fetch, version, context.correlation_id, &response) {
        Ok(bytes) => Answer::bytes(bytes),
        Err(error) => {
            debug!(%error, "fetch answer cannot be written");
            Answer::closing()
        }
    }
}

pub(super) fn refuse(context: &Context, refusal: SessionRefusal, session_id: i32) -> Answer {
    let answer = FetchAnswer {
        error_code: errors::session_code(refusal).code(),
        session_id,
        ..FetchAnswer::default()
    };
    encode(context, &answer, &[], None)
}

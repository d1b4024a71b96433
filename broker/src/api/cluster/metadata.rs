//! Metadata: who leads what, where to find them, and topics made on first mention.
//!
//! Kafka: `KafkaApis.handleTopicMetadataRequest` and `ZkMetadataCache`.

use std::future::Future;
use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::{BrokerId, TopicId};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{BrokerId as WireBrokerId, MetadataRequest, MetadataResponse, TopicName};
use protocol::names;

use crate::api::cluster::describe_cluster::CLUSTER_OPERATIONS;
use crate::api::request::Context;
use crate::metadata::{Image, PartitionImage, TopicImage};

/// What a broker without an authorizer lets everybody do to a topic: Read, Write, Create, Delete,
/// Alter, Describe, DescribeConfigs, AlterConfigs, as bits.
const TOPIC_OPERATIONS: i32 = 3576;

/// Makes topics that were asked for and are not there, and says for each what the client hears
/// meanwhile.
pub(crate) trait MakesTopics {
    fn make(&self, names: Vec<Arc<str>>)
    -> impl Future<Output = Vec<(Arc<str>, ErrorCode)>> + Send;
}

/// `maker` is there where the broker makes topics on first mention.
pub(crate) async fn answer(
    context: &Context,
    image: &Image,
    cluster_id: &str,
    maker: Option<&impl MakesTopics>,
    request: MetadataRequest,
) -> MetadataResponse {
    let asked = match Asked::read(context.version, &request) {
        Ok(asked) => asked,
        Err(error) => return refuse_all(error, &request),
    };
    let mut topics = Vec::new();
    let mut missing = Vec::new();
    match asked {
        Asked::All => topics.extend(
            image
                .topics
                .values()
                .map(|topic| describe(context, image, topic)),
        ),
        Asked::Ids(ids) => {
            let (known, unknown): (Vec<TopicId>, Vec<TopicId>) = ids
                .into_iter()
                .partition(|id| image.topic_by_id(*id).is_some());
            topics.extend(
                unknown
                    .into_iter()
                    .map(|id| failed(ErrorCode::UnknownTopicId, None).with_topic_id(id.0)),
            );
            let known = known.into_iter().filter_map(|id| image.topic_by_id(id));
            topics.extend(known.map(|topic| describe(context, image, topic)));
        }
        Asked::Names(names) => {
            for name in names {
                match image.topic(&name) {
                    Some(topic) => topics.push(describe(context, image, topic)),
                    None => missing.push(name),
                }
            }
        }
    }
    let maker = maker.filter(|_| request.allow_auto_topic_creation || context.version < 4);
    topics.extend(name_missing(missing, maker).await);
    if request.include_topic_authorized_operations {
        let unknown = ErrorCode::UnknownTopicId.code();
        for topic in topics.iter_mut().filter(|it| it.error_code != unknown) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let mut response = MetadataResponse::default()
        .with_brokers(living(context, image))
        .with_cluster_id(Some(StrBytes::from_string(cluster_id.to_owned())))
        .with_controller_id(WireBrokerId(image.controller.map_or(-1, |id| id.0)))
        .with_topics(topics);
    if request.include_cluster_authorized_operations && (8..=10).contains(&context.version) {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

enum Asked {
    All,
    Names(Vec<Arc<str>>),
    Ids(Vec<TopicId>),
}

impl Asked {
    fn read(version: i16, request: &MetadataRequest) -> Result<Asked, ErrorCode> {
        let Some(topics) = &request.topics else {
            return Ok(Asked::All);
        };
        if version == 0 && topics.is_empty() {
            return Ok(Asked::All);
        }
        let mut names: Vec<Arc<str>> = Vec::with_capacity(topics.len());
        let (mut ids, mut is_nameless) = (Vec::new(), false);
        for topic in topics {
            let id = TopicId(topic.topic_id);
            // Ids may be asked for since version 12, though 10 and 11 have the field already.
            if version < 12 && (topic.name.is_none() || !id.is_zero()) {
                return Err(ErrorCode::InvalidRequest);
            }
            match &topic.name {
                _ if !id.is_zero() => ids.push(id),
                Some(name) => names.push(Arc::from(name.0.as_str())),
                None => is_nameless = true,
            }
        }
        if !ids.is_empty() {
            ids.sort();
            ids.dedup();
            return Ok(Asked::Ids(ids));
        }
        // Kafka: where there are ids, names are not looked at.
        if is_nameless {
            return Err(ErrorCode::UnknownServerError);
        }
        let mut seen = std::collections::HashSet::with_capacity(names.len());
        names.retain(|name| seen.insert(Arc::clone(name)));
        Ok(Asked::Names(names))
    }
}

async fn name_missing(
    missing: Vec<Arc<str>>,
    maker: Option<&impl MakesTopics>,
) -> Vec<MetadataResponseTopic> {
    let told = match maker {
        Some(maker) if !missing.is_empty() => maker.make(missing).await,
        _ => missing
            .into_iter()
            .map(|name| {
                let legal = names::check_topic_name(&name).is_ok();
                let error = if legal {
                    ErrorCode::UnknownTopicOrPartition
                } else {
                    ErrorCode::InvalidTopicException
                };
                (name, error)
            })
            .collect(),
    };
    told.into_iter()
        .map(|(name, error)| failed(error, Some(&name)))
        .collect()
}

fn failed(error: ErrorCode, name: Option<&str>) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name.map(|name| TopicName(StrBytes::from_string(name.to_owned()))))
        .with_is_internal(name.is_some_and(names::is_internal))
}

/// Kafka: `MetadataRequest.getErrorResponse`: every topic asked for carries the error.
fn refuse_all(error: ErrorCode, request: &MetadataRequest) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        let name = topic.name.as_ref().map_or("", |name| name.0.as_str());
        failed(error, Some(name))
            .with_topic_id(topic.topic_id)
            .with_is_internal(false)
    });
    MetadataResponse::default()
        .with_controller_id(WireBrokerId(-1))
        .with_topics(topics.collect())
}

fn living(context: &Context, image: &Image) -> Vec<MetadataResponseBroker> {
    let on_this_listener = image.brokers.values().filter_map(|broker| {
        let at = image.endpoint(broker.id, &context.listener)?;
        Some(
            MetadataResponseBroker::default()
                .with_node_id(WireBrokerId(broker.id.0))
                .with_host(StrBytes::from_string(at.host.clone()))
                .with_port(at.port)
                .with_rack(broker.rack.clone().map(StrBytes::from_string)),
        )
    });
    on_this_listener.collect()
}

fn describe(context: &Context, image: &Image, topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|(&index, state)| describe_partition(context, image, index, state));
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(
            topic.name.to_string(),
        ))))
        .with_topic_id(topic.id.0)
        .with_is_internal(names::is_internal(&topic.name))
        .with_partitions(partitions.collect())
}

fn describe_partition(
    context: &Context,
    image: &Image,
    index: i32,
    state: &PartitionImage,
) -> MetadataResponsePartition {
    let reachable = |id: &BrokerId| image.endpoint(*id, &context.listener).is_some();
    // Version 0 has no way to name a broker that is not in the list, so those are left out and
    // their absence is an error; later versions name them all.
    let shown = |ids: &[BrokerId]| -> Vec<WireBrokerId> {
        let wanted = ids.iter().filter(|id| context.version > 0 || reachable(id));
        wanted.map(|id| WireBrokerId(id.0)).collect()
    };
    let (replicas, isr) = (shown(&state.replicas), shown(&state.isr));
    let leads = reachable(&state.leader);
    let error = if !leads {
        if image.is_alive(state.leader) && context.version >= 6 {
            ErrorCode::ListenerNotFound
        } else {
            ErrorCode::LeaderNotAvailable
        }
    } else if replicas.len() < state.replicas.len() || isr.len() < state.isr.len() {
        ErrorCode::ReplicaNotAvailable
    } else {
        ErrorCode::None
    };
    MetadataResponsePartition::default()
        .with_error_code(error.code())
        .with_partition_index(index)
        .with_leader_id(WireBrokerId(if leads { state.leader.0 } else { -1 }))
        .with_leader_epoch(state.leader_epoch.0)
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr)
        .with_offline_replicas(
            state
                .offline_replicas
                .iter()
                .map(|id| WireBrokerId(id.0))
                .collect(),
        )
}

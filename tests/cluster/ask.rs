//! What a client asks a broker, one connection for each question.

use std::time::Duration;

use client::connection::Connection;
use harness::wait;
use protocol::StrBytes;
use protocol::batch::build::BatchBuilder;
use protocol::batch::compress::Codec;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, BrokerId,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    ElectLeadersRequest, FetchRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    MetadataRequest, MetadataResponse, ProduceRequest, RequestKind, ResponseKind, TopicName,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

fn plain(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// Sends in the highest version up to `at_most` that both speak.
fn ask_at_most(
    port: u16,
    api: Api,
    at_most: i16,
    request: RequestKind,
) -> Result<ResponseKind, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let exchange = async {
        let address = format!("127.0.0.1:{port}");
        let mut connection = Connection::open(&address, "cluster-test", PATIENCE).await?;
        let version = connection.versions().pick(api).unwrap_or(0).min(at_most);
        connection.send_as(api, version, request).await?;
        connection.receive().await.map(|(_, response)| response)
    };
    runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_late) => Err(format!("{api:?} not answered in {PATIENCE:?}")),
        }
    })
}

fn ask(port: u16, api: Api, request: RequestKind) -> Result<ResponseKind, String> {
    ask_at_most(port, api, i16::MAX, request)
}

/// A partition as one broker tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) error: ErrorCode,
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) isr: Vec<i32>,
    pub(crate) replicas: Vec<i32>,
    pub(crate) offline: Vec<i32>,
}

/// A topic, as one broker tells of it: its id and its partitions by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldTopic {
    pub(crate) error: ErrorCode,
    pub(crate) id: String,
    pub(crate) partitions: Vec<Told>,
}

/// The whole answer for one topic.
pub(crate) fn metadata(port: u16, topic: &str) -> Result<(MetadataResponse, ToldTopic), String> {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    match ask(port, Api::Metadata, RequestKind::Metadata(request))? {
        ResponseKind::Metadata(answer) => {
            let told = &answer.topics[0];
            let mut partitions: Vec<_> = told.partitions.iter().collect();
            partitions.sort_by_key(|one| one.partition_index);
            let partitions = partitions.into_iter().map(|one| Told {
                error: ErrorCode::of(one.error_code),
                leader: one.leader_id.0,
                epoch: one.leader_epoch,
                isr: plain(&one.isr_nodes),
                replicas: plain(&one.replica_nodes),
                offline: plain(&one.offline_replicas),
            });
            let topic = ToldTopic {
                error: ErrorCode::of(told.error_code),
                id: told.topic_id.to_string(),
                partitions: partitions.collect(),
            };
            Ok((answer, topic))
        }
        other => Err(format!("{other:?}")),
    }
}

/// One partition; an error where the broker does not know it or is not reached.
pub(crate) fn partition(port: u16, topic: &str, index: usize) -> Result<Told, String> {
    let (_, told) = metadata(port, topic)?;
    told.partitions
        .get(index)
        .cloned()
        .ok_or_else(|| format!("{topic}-{index}: {:?}", told.error))
}

/// Who the broker says is controller, and which brokers it lists.
pub(crate) fn cluster(port: u16) -> Result<(i32, Vec<i32>), String> {
    let (answer, _) = metadata(port, "nothing-of-this-name")?;
    let mut brokers: Vec<i32> = answer.brokers.iter().map(|one| one.node_id.0).collect();
    brokers.sort_unstable();
    Ok((answer.controller_id.0, brokers))
}

/// What CreateTopics is to make of the partitions.
pub(crate) enum Shape<'a> {
    /// So many partitions, so many replicas.
    Automatic(i32, i16),
    /// The replicas of each partition.
    Given(&'a [&'a [i32]]),
}

pub(crate) fn create_topic(
    port: u16,
    topic: &str,
    shape: &Shape<'_>,
) -> Result<(ErrorCode, String), String> {
    let mut wanted = CreatableTopic::default().with_name(name(topic));
    wanted = match shape {
        Shape::Automatic(partitions, factor) => wanted
            .with_num_partitions(*partitions)
            .with_replication_factor(*factor),
        Shape::Given(replicas) => wanted
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(
                (0..)
                    .zip(replicas.iter())
                    .map(|(index, replicas)| {
                        CreatableReplicaAssignment::default()
                            .with_partition_index(index)
                            .with_broker_ids(ids(replicas))
                    })
                    .collect(),
            ),
    };
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(45_000);
    match ask(port, Api::CreateTopics, RequestKind::CreateTopics(request))? {
        ResponseKind::CreateTopics(answer) => {
            let one = &answer.topics[0];
            let words = one.error_message.as_ref().map(|text| text.to_string());
            Ok((ErrorCode::of(one.error_code), words.unwrap_or_default()))
        }
        other => Err(format!("{other:?}")),
    }
}

pub(crate) fn delete_topic(port: u16, topic: &str) -> Result<ErrorCode, String> {
    // Version 5 is the last that names topics plainly.
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![name(topic)])
        .with_timeout_ms(45_000);
    match ask_at_most(
        port,
        Api::DeleteTopics,
        5,
        RequestKind::DeleteTopics(request),
    )? {
        ResponseKind::DeleteTopics(answer) => Ok(ErrorCode::of(answer.responses[0].error_code)),
        other => Err(format!("{other:?}")),
    }
}

/// Produces one record; its offset, or the refusal.
pub(crate) fn produce(
    port: u16,
    topic: &str,
    index: i32,
    value: &str,
    acks: i16,
) -> Result<i64, String> {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), None, Some(value.as_bytes()), &[])
        .unwrap();
    let data = PartitionProduceData::default()
        .with_index(index)
        .with_records(Some(batch.build().unwrap()));
    let data = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(45_000)
        .with_topic_data(vec![data]);
    match ask(port, Api::Produce, RequestKind::Produce(request))? {
        ResponseKind::Produce(answer) => {
            let one = &answer.responses[0].partition_responses[0];
            match ErrorCode::of(one.error_code) {
                ErrorCode::None => Ok(one.base_offset),
                refused => Err(format!("{refused:?}")),
            }
        }
        other => Err(format!("{other:?}")),
    }
}

/// The high watermark and the bytes below it from offset 0, as a consumer sees them.
pub(crate) fn fetch(port: u16, topic: &str, index: i32) -> Result<(i64, Vec<u8>), String> {
    let part = FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(0)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![part]),
        ]);
    // Version 12 is the last that names topics.
    match ask_at_most(port, Api::Fetch, 12, RequestKind::Fetch(request))? {
        ResponseKind::Fetch(answer) => {
            let one = &answer
                .responses
                .first()
                .and_then(|topic| topic.partitions.first())
                .ok_or_else(|| format!("{:?}", ErrorCode::of(answer.error_code)))?;
            match ErrorCode::of(one.error_code) {
                ErrorCode::None => Ok((
                    one.high_watermark,
                    one.records.clone().unwrap_or_default().to_vec(),
                )),
                refused => Err(format!("{refused:?}")),
            }
        }
        other => Err(format!("{other:?}")),
    }
}

/// Whether a consumer of the partition gets `value`.
pub(crate) fn holds(port: u16, topic: &str, index: i32, value: &str) -> Result<bool, String> {
    let (_, bytes) = fetch(port, topic, index)?;
    Ok(bytes
        .windows(value.len())
        .any(|part| part == value.as_bytes()))
}

pub(crate) fn elect(
    port: u16,
    unclean: bool,
    topic: &str,
    index: i32,
) -> Result<ErrorCode, String> {
    let one = TopicPartitions::default()
        .with_topic(name(topic))
        .with_partitions(vec![index]);
    let request = ElectLeadersRequest::default()
        .with_election_type(i8::from(unclean))
        .with_topic_partitions(Some(vec![one]))
        .with_timeout_ms(45_000);
    match ask(port, Api::ElectLeaders, RequestKind::ElectLeaders(request))? {
        ResponseKind::ElectLeaders(answer) => {
            ErrorCode::check(answer.error_code).map_err(|code| format!("{code:?}"))?;
            let one = &answer.replica_election_results[0].partition_result[0];
            Ok(ErrorCode::of(one.error_code))
        }
        other => Err(format!("{other:?}")),
    }
}

/// Moves a partition; `None` cancels.
pub(crate) fn reassign(
    port: u16,
    topic: &str,
    index: i32,
    to: Option<&[i32]>,
) -> Result<ErrorCode, String> {
    let one = ReassignablePartition::default()
        .with_partition_index(index)
        .with_replicas(to.map(ids));
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(45_000)
        .with_topics(vec![
            ReassignableTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![one]),
        ]);
    let request = RequestKind::AlterPartitionReassignments(request);
    match ask(port, Api::AlterPartitionReassignments, request)? {
        ResponseKind::AlterPartitionReassignments(answer) => {
            ErrorCode::check(answer.error_code).map_err(|code| format!("{code:?}"))?;
            Ok(ErrorCode::of(answer.responses[0].partitions[0].error_code))
        }
        other => Err(format!("{other:?}")),
    }
}

/// Sets one config, or takes it away; `kind` is 2 for topics, 4 for brokers.
pub(crate) fn set_config(
    port: u16,
    kind: i8,
    of: &str,
    key: &str,
    value: Option<&str>,
) -> Result<ErrorCode, String> {
    let one = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(text));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(of))
            .with_configs(vec![one]),
    ]);
    let request = RequestKind::IncrementalAlterConfigs(request);
    match ask(port, Api::IncrementalAlterConfigs, request)? {
        ResponseKind::IncrementalAlterConfigs(answer) => {
            Ok(ErrorCode::of(answer.responses[0].error_code))
        }
        other => Err(format!("{other:?}")),
    }
}

pub(crate) fn config(port: u16, kind: i8, of: &str, key: &str) -> Result<Option<String>, String> {
    let request = DescribeConfigsRequest::default().with_resources(vec![
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(of))
            .with_configuration_keys(Some(vec![text(key)])),
    ]);
    match ask(
        port,
        Api::DescribeConfigs,
        RequestKind::DescribeConfigs(request),
    )? {
        ResponseKind::DescribeConfigs(answer) => Ok(answer.results[0]
            .configs
            .first()
            .and_then(|one| one.value.as_ref().map(|text| text.to_string()))),
        other => Err(format!("{other:?}")),
    }
}

/// Sets one limit of users, clients or addresses (`None` is the default of its type), or takes it
/// away.
pub(crate) fn limit(
    port: u16,
    entity: &[(&str, Option<&str>)],
    key: &str,
    value: Option<f64>,
) -> Result<ErrorCode, String> {
    let parts = entity.iter().map(|(kind, of)| {
        EntityData::default()
            .with_entity_type(text(kind))
            .with_entity_name(of.map(text))
    });
    let op = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default()
        .with_entity(parts.collect())
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let request = RequestKind::AlterClientQuotas(request);
    match ask(port, Api::AlterClientQuotas, request)? {
        ResponseKind::AlterClientQuotas(answer) => Ok(ErrorCode::of(answer.entries[0].error_code)),
        other => Err(format!("{other:?}")),
    }
}

/// Adds partitions with these replicas to those that are there already.
pub(crate) fn grow_topic(port: u16, topic: &str, added: &[&[i32]]) -> Result<ErrorCode, String> {
    let (_, told) = metadata(port, topic)?;
    let count = told.partitions.len() + added.len();
    let lists = added
        .iter()
        .map(|list| CreatePartitionsAssignment::default().with_broker_ids(ids(list)));
    let topic = CreatePartitionsTopic::default()
        .with_name(name(topic))
        .with_count(i32::try_from(count).unwrap())
        .with_assignments(Some(lists.collect()));
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(45_000);
    let request = RequestKind::CreatePartitions(request);
    match ask(port, Api::CreatePartitions, request)? {
        ResponseKind::CreatePartitions(answer) => Ok(ErrorCode::of(answer.results[0].error_code)),
        other => Err(format!("{other:?}")),
    }
}

/// A producer id without a transaction.
pub(crate) fn producer_id(port: u16) -> Result<i64, String> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
        .with_transaction_timeout_ms(60_000);
    match ask(
        port,
        Api::InitProducerId,
        RequestKind::InitProducerId(request),
    )? {
        ResponseKind::InitProducerId(answer) => match ErrorCode::of(answer.error_code) {
            ErrorCode::None => Ok(answer.producer_id.0),
            refused => Err(format!("{refused:?}")),
        },
        other => Err(format!("{other:?}")),
    }
}

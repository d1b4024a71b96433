//! `--describe`: topics, their partitions and what is set for them.

use std::collections::{BTreeMap, HashSet};

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::{
    BrokerId, DescribeConfigsRequest, ListPartitionReassignmentsRequest, ResponseKind,
};

use crate::args::Args;
use crate::failure::Failure;
use crate::java;
use crate::kafka::admin::{Admin, text};
use crate::print::{Out, joined};
use crate::topics::{REPORTS, existing};
use crate::{body, say};

/// A running move of one partition's replicas.
struct Move {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

type Moves = BTreeMap<(String, i32), Move>;
type Configs = BTreeMap<String, Vec<(String, String, bool)>>;

pub(super) async fn run(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let mut topics = match args
        .get("topic-id")
        .filter(|id| *id != "AAAAAAAAAAAAAAAAAAAAAA")
    {
        Some(id) => by_id(args, admin, id).await?,
        None => {
            let names = existing(args, admin).await?;
            match names.is_empty() {
                true => Vec::new(),
                false => admin.metadata(Some(&names)).await?.topics,
            }
        }
    };
    for topic in &topics {
        Failure::check(topic.error_code, None)?;
    }
    let name = |topic: &MetadataResponseTopic| topic.name.as_ref().map(|name| name.0.to_string());
    // Kafka: topics go from a hash map with room for so many of them into a copy, which is larger,
    // and from there into a third.
    let count = topics.len();
    for room in [count, java::room_of_copy(count), count] {
        topics = java::order(topics, room, |topic| {
            java::string_hash(&name(topic).unwrap_or_default())
        });
    }
    let names: Vec<String> = topics.iter().filter_map(name).collect();
    let configs = configs(admin, &names).await?;
    let moves = moves(admin, &topics).await?;
    let live: HashSet<i32> = admin.nodes.keys().copied().collect();
    let reports = REPORTS.iter().any(|report| args.has(report));
    for topic in &topics {
        let Some(name) = name(topic) else { continue };
        let mut partitions: Vec<&MetadataResponsePartition> = topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        let config = configs.get(&name).map_or(&[][..], Vec::as_slice);
        let overridden = config.iter().any(|(_, _, default)| !default);
        if !reports && (!args.has("topics-with-overrides") || overridden) {
            print_topic(out, &name, topic, &partitions, config, &moves);
        }
        if !args.has("topics-with-overrides") {
            for partition in partitions {
                let running = moves.get(&(name.clone(), partition.partition_index));
                if !reports || reported(args, partition, running, config, &live) {
                    print_partition(out, &name, partition, running);
                }
            }
        }
    }
    Ok(())
}

async fn by_id(
    args: &Args,
    admin: &mut Admin,
    id: &str,
) -> Result<Vec<MetadataResponseTopic>, Failure> {
    let wanted = protocol::ids::TopicId::parse(id).ok_or_else(|| Failure::said(java::no_id(id)))?;
    let all = admin.metadata(None).await?.topics;
    let found: Vec<_> = all
        .into_iter()
        .filter(|topic| topic.topic_id == wanted.0)
        .collect();
    if found.is_empty() && !args.has("if-exists") {
        return Err(Failure::said(format!(
            "TopicId '{id}' does not exist as expected"
        )));
    }
    Ok(found)
}

async fn configs(admin: &mut Admin, names: &[String]) -> Result<Configs, Failure> {
    let resource = |name: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
    };
    if names.is_empty() {
        return Ok(Configs::new());
    }
    let request =
        DescribeConfigsRequest::default().with_resources(names.iter().map(resource).collect());
    let answer = body!(
        admin.any(Api::DescribeConfigs, request.into()).await?,
        DescribeConfigs
    );
    let mut made = Configs::new();
    for result in answer.results {
        Failure::check(result.error_code, result.error_message.as_deref())?;
        let entries = result.configs.iter().map(|entry| {
            let value = entry
                .value
                .as_ref()
                .map_or("null".to_string(), |value| value.to_string());
            // Source 5 is the built-in default.
            (entry.name.to_string(), value, entry.config_source == 5)
        });
        // Kafka: the tool keeps a topic's settings in a hash map, defaults among them.
        let entries = java::order(
            entries.collect(),
            java::CAPACITY,
            |entry: &(String, _, _)| java::string_hash(&entry.0),
        );
        made.insert(result.resource_name.to_string(), entries);
    }
    Ok(made)
}

async fn moves(admin: &mut Admin, topics: &[MetadataResponseTopic]) -> Result<Moves, Failure> {
    let asked: Vec<_> = topics
        .iter()
        .map(|topic| {
            let indexes = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index);
            ListPartitionReassignmentsTopics::default()
                .with_name(topic.name.clone().unwrap_or_default())
                .with_partition_indexes(indexes.collect())
        })
        .collect();
    if asked.is_empty() {
        return Ok(Moves::new());
    }
    let request = ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(30_000)
        .with_topics(Some(asked));
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::ListPartitionReassignments(body) => vec![body.error_code],
        _ => Vec::new(),
    };
    let answer = match admin
        .controller(Api::ListPartitionReassignments, request.into(), codes)
        .await
    {
        Ok(answer) => body!(answer, ListPartitionReassignments),
        // A broker too old to say has none to show.
        Err(Failure::Client(client::ClientError::NoVersion { .. })) => return Ok(Moves::new()),
        Err(failure) => return Err(failure),
    };
    match ErrorCode::of(answer.error_code) {
        ErrorCode::None => {}
        ErrorCode::ClusterAuthorizationFailed => return Ok(Moves::new()),
        _ => Failure::check(answer.error_code, answer.error_message.as_deref())?,
    }
    let ids = |list: &[BrokerId]| list.iter().map(|id| id.0).collect::<Vec<_>>();
    let mut made = Moves::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let running = Move {
                replicas: ids(&partition.replicas),
                adding: ids(&partition.adding_replicas),
                removing: ids(&partition.removing_replicas),
            };
            made.insert(
                (topic.name.0.to_string(), partition.partition_index),
                running,
            );
        }
    }
    Ok(made)
}

fn replication_factor(partition: &MetadataResponsePartition, running: Option<&Move>) -> usize {
    match running {
        Some(one)
            if one
                .adding
                .iter()
                .chain(&one.removing)
                .any(|id| partition.replica_nodes.contains(&BrokerId(*id))) =>
        {
            one.replicas.len() - one.adding.len()
        }
        _ => partition.replica_nodes.len(),
    }
}

fn print_topic(
    out: &mut Out,
    name: &str,
    topic: &MetadataResponseTopic,
    partitions: &[&MetadataResponsePartition],
    config: &[(String, String, bool)],
    moves: &Moves,
) {
    out.text(format_args!("Topic: {name}"));
    if !topic.topic_id.is_nil() {
        out.text(format_args!(
            "\tTopicId: {}",
            protocol::ids::TopicId(topic.topic_id)
        ));
    }
    let factor = partitions.first().map_or(0, |first| {
        replication_factor(first, moves.get(&(name.to_string(), first.partition_index)))
    });
    let set: Vec<String> = config
        .iter()
        .filter(|(_, _, default)| !default)
        .map(|(key, value, _)| format!("{key}={value}"))
        .collect();
    say!(
        out,
        "\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
        partitions.len(),
        set.join(",")
    );
}

fn reported(
    args: &Args,
    partition: &MetadataResponsePartition,
    running: Option<&Move>,
    config: &[(String, String, bool)],
    live: &HashSet<i32>,
) -> bool {
    let isr = partition.isr_nodes.len();
    let min_isr = config
        .iter()
        .find(|(key, _, _)| key == "min.insync.replicas")
        .and_then(|(_, value, _)| value.parse::<usize>().ok())
        .unwrap_or(1);
    let leader = partition.leader_id.0;
    let has_leader = leader >= 0;
    args.has("under-replicated-partitions") && replication_factor(partition, running) > isr
        || args.has("unavailable-partitions") && (!has_leader || !live.contains(&leader))
        || args.has("under-min-isr-partitions") && (!has_leader || isr < min_isr)
        || args.has("at-min-isr-partitions") && isr == min_isr
}

fn print_partition(
    out: &mut Out,
    name: &str,
    partition: &MetadataResponsePartition,
    running: Option<&Move>,
) {
    let ids = |list: &[BrokerId]| joined(list.iter().map(|id| id.0));
    let leader = match partition.leader_id.0 {
        ..0 => "none".to_string(),
        id => id.to_string(),
    };
    out.text(format_args!(
        "\tTopic: {name}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
        partition.partition_index,
        ids(&partition.replica_nodes),
        ids(&partition.isr_nodes)
    ));
    if let Some(running) = running {
        out.text(format_args!(
            "\tAdding Replicas: {}\tRemoving Replicas: {}",
            joined(running.adding.iter().copied()),
            joined(running.removing.iter().copied())
        ));
    }
    // Kafka: in ZooKeeper mode there are no eligible leader replicas to tell.
    say!(out, "\tElr: N/A\tLastKnownElr: N/A");
}

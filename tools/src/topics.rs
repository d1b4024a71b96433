//! `kafka-topics`: list, create, describe, alter and delete topics.

use std::collections::{BTreeMap, HashSet};

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, ListPartitionReassignmentsRequest, ResponseKind,
};

use crate::args::{Args, Usage, switch, valued};
use crate::asked::{assignment, overrides, warn_of_collisions};
use crate::failure::Failure;
use crate::filter::{Filter, is_internal};
use crate::java;
use crate::kafka::admin::{Admin, text, topic_name};
use crate::print::{Out, joined};
use crate::properties::Properties;
use crate::{body, say, zookeeper};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to create, delete, describe, or change a topic.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: The Kafka server to connect to.",
        ),
        valued(
            "zookeeper",
            "hosts",
            "The ZooKeeper hosts with an optional chroot, instead of --bootstrap-server.",
        ),
        valued(
            "command-config",
            "file",
            "Properties for the client. Used with --bootstrap-server.",
        ),
        switch("list", "List all available topics."),
        switch("create", "Create a new topic."),
        switch("delete", "Delete a topic."),
        switch(
            "alter",
            "Alter the number of partitions and replica assignment.",
        ),
        switch("describe", "List details for the given topics."),
        valued(
            "topic",
            "topic",
            "The topic to create, alter, describe or delete. A regular expression, except with --create.",
        ),
        valued("topic-id", "topic-id", "The id of the topic to describe."),
        valued(
            "config",
            "name=value",
            "A topic configuration override for the topic being created.",
        ),
        valued(
            "delete-config",
            "name",
            "An override to remove; with --zookeeper and --alter only.",
        ),
        valued(
            "partitions",
            "# of partitions",
            "The number of partitions for the topic being created or altered.",
        ),
        valued(
            "replication-factor",
            "replication factor",
            "The replication factor of the topic being created.",
        ),
        valued(
            "replica-assignment",
            "1:2,2:3,...",
            "Brokers for each partition's replicas.",
        ),
        switch(
            "under-replicated-partitions",
            "Describe only under-replicated partitions.",
        ),
        switch(
            "unavailable-partitions",
            "Describe only partitions whose leader is not available.",
        ),
        switch(
            "under-min-isr-partitions",
            "Describe only partitions with fewer in-sync replicas than configured.",
        ),
        switch(
            "at-min-isr-partitions",
            "Describe only partitions with exactly as many in-sync replicas as configured.",
        ),
        switch(
            "topics-with-overrides",
            "Describe only topics with overridden configs.",
        ),
        switch(
            "if-exists",
            "Alter, delete or describe only if the topic exists.",
        ),
        switch("if-not-exists", "Create only if the topic does not exist."),
        switch(
            "exclude-internal",
            "Leave out Kafka's own topics when listing or describing.",
        ),
        switch("force", "Ignored; kept for old scripts."),
        switch(
            "disable-rack-aware",
            "Do not spread replicas over racks; with --zookeeper only.",
        ),
        valued(
            "partition-size-limit-per-response",
            "number",
            "Ignored: brokers in ZooKeeper mode have no such limit.",
        ),
    ],
};

const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    check(&args)?;
    if args.has("zookeeper") {
        return zookeeper::topics::run(&args, out).await;
    }
    match by_action(&args, out).await {
        Err(failure @ (Failure::Misuse { .. } | Failure::Exit(_))) => Err(failure),
        Err(failure) => {
            say!(out, "Error while executing topic command : {failure}");
            Err(Failure::Exit(1))
        }
        Ok(()) => Ok(()),
    }
}

async fn by_action(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
    match () {
        () if args.has("create") => create(args, &mut admin, out).await,
        () if args.has("alter") => alter(args, &mut admin).await,
        () if args.has("list") => {
            let names = matching(args, &mut admin).await?;
            say!(out, "{}", names.join("\n"));
            Ok(())
        }
        () if args.has("describe") => describe(args, &mut admin, out).await,
        () => delete(args, &mut admin).await,
    }
}

fn check(args: &Args) -> Result<(), Failure> {
    if args.whole.is_empty() {
        return Err(args.misuse("Create, delete, describe, or change a topic."));
    }
    let actions = ["create", "list", "alter", "describe", "delete"];
    if actions.iter().filter(|action| args.has(action)).count() != 1 {
        return Err(args.misuse(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ));
    }
    match (args.has("bootstrap-server"), args.has("zookeeper")) {
        (false, false) => return Err(Failure::said("--bootstrap-server must be specified")),
        (true, true) => {
            return Err(Failure::said(
                "Only one of --bootstrap-server or --zookeeper must be specified",
            ));
        }
        _ => {}
    }
    if args.has("describe") && args.has("if-exists") && !args.has("topic") && !args.has("topic-id")
    {
        return Err(args.misuse("--topic or --topic-id is required to describe a topic"));
    }
    if !args.has("list") && !args.has("describe") {
        args.required("topic")?;
    }
    let only = |flag: &str, allowed: &[&str]| {
        let others: Vec<&str> = actions
            .into_iter()
            .filter(|one| !allowed.contains(one))
            .collect();
        args.exclude(flag, &others)
    };
    if args.has("bootstrap-server") {
        if args.has("alter") {
            if args.has("config") {
                return Err(args.misuse(
                    "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (the kafka-configs CLI supports altering topic configs with a --bootstrap-server option)",
                ));
            }
            args.required("partitions")?;
        }
    } else {
        if args.has("create") && !args.has("replica-assignment") {
            args.required("partitions")?;
            args.required("replication-factor")?;
        }
        for report in ["under-min-isr-partitions", "at-min-isr-partitions"] {
            args.exclude(report, &["zookeeper"])?;
        }
    }
    only("delete-config", &["alter"])?;
    if args.has("bootstrap-server") {
        args.exclude("delete-config", &["bootstrap-server"])?;
    }
    only("config", &["alter", "create"])?;
    only("partitions", &["alter", "create"])?;
    only("replication-factor", &["create"])?;
    only("replica-assignment", &["create", "alter"])?;
    if args.has("create") {
        args.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        only(report, &["describe"])?;
        let mut others: Vec<&str> = REPORTS
            .into_iter()
            .filter(|other| *other != report)
            .collect();
        others.push("topics-with-overrides");
        args.exclude(report, &others)?;
    }
    only("topics-with-overrides", &["describe"])?;
    only("if-exists", &["alter", "delete", "describe"])?;
    only("if-not-exists", &["create"])?;
    only("exclude-internal", &["list", "describe"])
}

async fn create(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let name = args.required("topic")?;
    let partitions = args.parsed::<i32>("partitions")?;
    let factor = args.parsed::<i32>("replication-factor")?;
    let configs = overrides(args)?;
    let assigned = match args.get("replica-assignment") {
        Some(list) if !list.is_empty() => assignment(list)?,
        _ => Vec::new(),
    };
    warn_of_collisions(name, out);
    if factor.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
        return Err(Failure::said(
            "The replication factor must be between 1 and 32767 inclusive",
        ));
    }
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure::said("The partitions must be greater than 0"));
    }
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    });
    let assigned: Vec<_> = assigned
        .into_iter()
        .enumerate()
        .map(|(at, replicas)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(at as i32)
                .with_broker_ids(replicas.into_iter().map(BrokerId).collect())
        })
        .collect();
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions.filter(|_| assigned.is_empty()).unwrap_or(-1))
        .with_replication_factor(factor.filter(|_| assigned.is_empty()).unwrap_or(-1) as i16)
        .with_assignments(assigned)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::CreateTopics(body) => body.topics.iter().map(|one| one.error_code).collect(),
        _ => Vec::new(),
    };
    let answer = admin
        .controller(Api::CreateTopics, request.into(), codes)
        .await?;
    for topic in body!(answer, CreateTopics).topics {
        match Failure::check(topic.error_code, topic.error_message.as_deref()) {
            Ok(()) => say!(out, "Created topic {name}."),
            Err(failure) => {
                let there = failure.code() == Some(ErrorCode::TopicAlreadyExists);
                if !(there && args.has("if-not-exists")) {
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

/// The topics a command speaks of; refused when it names one that is not there.
async fn matching(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let exclude = args.has("exclude-internal");
    let mut names = admin.topic_names(!exclude).await?;
    if let Some(pattern) = args.get("topic") {
        let filter = Filter::new(pattern)?;
        names.retain(|name| filter.allows(name) && !(exclude && is_internal(name)));
    }
    Ok(names)
}

async fn existing(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let names = matching(args, admin).await?;
    match args.get("topic") {
        // Kafka: the words show Java's Optional.
        Some(topic) if names.is_empty() && !topic.is_empty() && !args.has("if-exists") => {
            Err(Failure::said(format!(
                "Topic 'Optional[{topic}]' does not exist as expected"
            )))
        }
        _ => Ok(names),
    }
}

async fn alter(args: &Args, admin: &mut Admin) -> Result<(), Failure> {
    let wanted = args.parsed::<i32>("partitions")?.unwrap_or(-1);
    let assigned = match args.get("replica-assignment") {
        Some(list) if !list.is_empty() => assignment(list)?,
        _ => Vec::new(),
    };
    let names = existing(args, admin).await?;
    if names.is_empty() {
        return Ok(());
    }
    let now = admin.metadata(Some(&names)).await?;
    let mut topics = Vec::new();
    for topic in &now.topics {
        let Some(name) = &topic.name else { continue };
        let more = assigned
            .iter()
            .skip(topic.partitions.len())
            .map(|replicas| {
                CreatePartitionsAssignment::default()
                    .with_broker_ids(replicas.iter().copied().map(BrokerId).collect())
            });
        let more = (!assigned.is_empty()).then(|| more.collect());
        topics.push(
            CreatePartitionsTopic::default()
                .with_name(name.clone())
                .with_count(wanted)
                .with_assignments(more),
        );
    }
    let request = CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(30_000);
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::CreatePartitions(body) => {
            body.results.iter().map(|one| one.error_code).collect()
        }
        _ => Vec::new(),
    };
    let answer = admin
        .controller(Api::CreatePartitions, request.into(), codes)
        .await?;
    for result in body!(answer, CreatePartitions).results {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

async fn delete(args: &Args, admin: &mut Admin) -> Result<(), Failure> {
    let names = existing(args, admin).await?;
    if names.is_empty() {
        return Ok(());
    }
    // Up to version 5 topics are named in one field, from 6 on in another.
    let address = admin.address(admin.controller)?;
    let version = admin
        .pool
        .connection(&address)
        .await?
        .versions()
        .pick(Api::DeleteTopics);
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(30_000);
    if version.unwrap_or(0) >= 6 {
        let named = names
            .iter()
            .map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))));
        request.topics = named.collect();
    } else {
        request.topic_names = names.iter().map(|name| topic_name(name)).collect();
    }
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::DeleteTopics(body) => {
            body.responses.iter().map(|one| one.error_code).collect()
        }
        _ => Vec::new(),
    };
    let answer = admin
        .controller(Api::DeleteTopics, request.into(), codes)
        .await?;
    for result in body!(answer, DeleteTopics).responses {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

/// A running move of one partition's replicas.
struct Move {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

type Moves = BTreeMap<(String, i32), Move>;
type Configs = BTreeMap<String, Vec<(String, String, bool)>>;

async fn describe(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
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
    // Kafka: topics are described in the order of a hash map with room for so many of them.
    let count = topics.len();
    topics = java::order(topics, count, |topic| {
        java::string_hash(&name(topic).unwrap_or_default())
    });
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
    let wanted = protocol::ids::TopicId::parse(id)
        .ok_or_else(|| Failure::said(format!("Input string `{id}` is not a topic id")))?;
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
        made.insert(result.resource_name.to_string(), entries.collect());
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

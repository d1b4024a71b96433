//! Topics made, grown and deleted.

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ResponseKind,
};

use crate::args::Args;
use crate::asked::{assignment, overrides, warn_of_collisions};
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text, topic_name};
use crate::print::Out;
use crate::topics::existing;
use crate::{body, say};

pub(super) async fn create(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
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

pub(super) async fn alter(args: &Args, admin: &mut Admin) -> Result<(), Failure> {
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

pub(super) async fn delete(args: &Args, admin: &mut Admin) -> Result<(), Failure> {
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

//! `--delete` and `--delete-offsets`: groups that are forgotten, whole or for some topics.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::{DeleteGroupsRequest, GroupId, OffsetDeleteRequest, ResponseKind};

use crate::args::Args;
use crate::consumer_groups::{chosen, named_partitions};
use crate::failure::Failure;
use crate::java::{self, CAPACITY};
use crate::kafka::admin::{Admin, text, topic_name};
use crate::kafka::offsets::Place;
use crate::print::Out;
use crate::{body, say};

pub(super) async fn groups(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let groups = chosen(args, admin).await?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for group in &groups {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::DeleteGroups(body) => {
                body.results.iter().map(|one| one.error_code).collect()
            }
            _ => Vec::new(),
        };
        let answer = admin
            .ask_coordinator(group, Api::DeleteGroups, request.into(), codes)
            .await?;
        let results: Vec<DeletableGroupResult> = body!(answer, DeleteGroups).results;
        for result in results {
            match Failure::check(result.error_code, None) {
                Ok(()) => done.push(group.clone()),
                Err(error) => failed.push((group.clone(), error)),
            }
        }
    }
    let done = java::order(done, CAPACITY, |group| java::string_hash(group));
    if failed.is_empty() {
        say!(
            out,
            "Deletion of requested consumer groups ('{}') was successful.",
            done.join(", ")
        );
        return Ok(());
    }
    say!(out, "\nError: Deletion of some consumer groups failed:");
    for (group, error) in failed {
        say!(
            out,
            "* Group '{group}' could not be deleted due to: java.util.concurrent.ExecutionException: {}",
            error.as_exception()
        );
    }
    if !done.is_empty() {
        say!(
            out,
            "\nThese consumer groups were deleted successfully: '{}', '",
            done.join("'")
        );
    }
    Ok(())
}

pub(super) async fn offsets(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let group = args.required("group")?.to_string();
    let topics = args.all("topic").to_vec();
    let mut rows: BTreeMap<(String, Place), Option<String>> = BTreeMap::new();
    let key = |place: &Place| (format!("{}{}", place.0, place.1), place.clone());
    let mut places = Vec::new();
    for topic in &topics {
        match named_partitions(admin, std::slice::from_ref(topic)).await {
            Ok(found) => places.extend(found),
            Err(error) => {
                rows.insert(key(&(topic.clone(), -1)), Some(error.as_exception()));
            }
        }
    }
    let mut by_topic: BTreeMap<String, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for (topic, partition) in &places {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
        by_topic.entry(topic.clone()).or_default().push(partition);
    }
    let asked = by_topic.into_iter().map(|(name, partitions)| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions)
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_topics(asked.collect());
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::OffsetDelete(body) => vec![body.error_code],
        _ => Vec::new(),
    };
    let answer = admin
        .ask_coordinator(&group, Api::OffsetDelete, request.into(), codes)
        .await?;
    let answer = body!(answer, OffsetDelete);
    let mut top = ErrorCode::of(answer.error_code);
    for place in &places {
        let whole = Failure::check(answer.error_code, None);
        rows.insert(key(place), whole.err().map(|error| error.as_exception()));
    }
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let place = (topic.name.0.to_string(), partition.partition_index);
            let error = Failure::check(partition.error_code, None).err();
            if top.is_none() && error.is_some() {
                top = ErrorCode::of(partition.error_code);
            }
            rows.insert(key(&place), error.map(|error| error.as_exception()));
        }
    }
    say_of_deleted(out, top, &group, &topics);
    out.text(format_args!(
        "\n{:<30} {:<15} {:<15}",
        "TOPIC", "PARTITION", "STATUS"
    ));
    for ((_, (topic, partition)), error) in rows {
        let partition = if partition >= 0 {
            partition.to_string()
        } else {
            "Not Provided".to_string()
        };
        let status = error.map_or("Successful".to_string(), |error| format!("Error: :{error}"));
        out.text(format_args!("{topic:<30} {partition:<15} {status:<15}"));
    }
    Ok(())
}

fn say_of_deleted(out: &mut Out, top: ErrorCode, group: &str, topics: &[String]) {
    match top {
        ErrorCode::None => say!(
            out,
            "Request succeed for deleting offsets with topic {} group {group}",
            topics.join(", ")
        ),
        ErrorCode::InvalidGroupId => say!(out, "\nError: '{group}' is not valid."),
        ErrorCode::GroupIdNotFound => say!(out, "\nError: '{group}' does not exist."),
        ErrorCode::GroupAuthorizationFailed => {
            say!(out, "\nError: Access to '{group}' is not authorized.");
        }
        ErrorCode::NonEmptyGroup => say!(
            out,
            "\nError: Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty."
        ),
        ErrorCode::GroupSubscribedToTopic
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::UnknownTopicOrPartition => {
            say!(
                out,
                "\nError: Encounter some partition level error, see the follow-up details:"
            );
        }
        other => say!(out, "\nError: Encounter some unknown error: {other}"),
    }
}

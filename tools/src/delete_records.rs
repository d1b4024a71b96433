//! `kafka-delete-records`: deletes records of partitions up to an offset.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::DeleteRecordsRequest;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use serde_json::Value;

use crate::args::{Args, Usage, valued};
use crate::failure::Failure;
use crate::kafka::admin::{Admin, topic_name};
use crate::print::Out;
use crate::progress::Progress;
use crate::properties::Properties;
use crate::{body, say};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to delete records of the given partitions down to the specified offset.",
    flags: &[
        valued(
            "bootstrap-server",
            "server(s)",
            "REQUIRED: The server to connect to.",
        ),
        valued(
            "offset-json-file",
            "path",
            "REQUIRED: {\"partitions\":[{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}], \"version\":1}",
        ),
        valued("command-config", "file", "Properties for the client."),
    ],
};

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    if line.is_empty() {
        return Err(args.misuse(USAGE.about));
    }
    let servers = args.required("bootstrap-server")?;
    let path = args.required("offset-json-file")?;
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Failure::said(format!("Unable to read file {path}\n{cause}")))?;
    let wanted = parse(&text)?;
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(servers, &properties).await?;
    say!(out, "Executing records delete operation");
    let mut rows: BTreeMap<(String, i32), Result<i64, ErrorCode>> = BTreeMap::new();
    let mut names: Vec<String> = wanted.keys().map(|place| place.0.clone()).collect();
    names.dedup();
    let mut by_leader: BTreeMap<i32, Vec<(String, i32, i64)>> = BTreeMap::new();
    for topic in admin.metadata(Some(&names)).await?.topics {
        let Some(name) = topic.name.map(|name| name.0.to_string()) else {
            continue;
        };
        for partition in topic.partitions {
            let place = (name.clone(), partition.partition_index);
            if let Some(offset) = wanted.get(&place) {
                let list = by_leader.entry(partition.leader_id.0).or_default();
                list.push((place.0, place.1, *offset));
            }
        }
    }
    for place in wanted.keys() {
        rows.insert(place.clone(), Err(ErrorCode::UnknownTopicOrPartition));
    }
    out.flush();
    let whole = by_leader.values().map(Vec::len).sum::<usize>() as u64;
    let mut progress = Progress::new("partitions", whole, admin.clock.monotonic_ms());
    let mut done = 0;
    for (leader, list) in by_leader {
        for some in list.chunks(PARTITIONS_AT_ONCE) {
            delete(&mut admin, leader, some, &mut rows).await?;
            done += some.len() as u64;
            progress.at(done, admin.clock.monotonic_ms());
        }
    }
    progress.clear();
    say!(out, "Records delete operation completed:");
    for ((topic, partition), result) in rows {
        match result {
            Ok(low) => say!(out, "partition: {topic}-{partition}\tlow_watermark: {low}"),
            Err(error) => say!(
                out,
                "partition: {topic}-{partition}\terror: {}: {}",
                error.exception_class(),
                error.message().unwrap_or_default()
            ),
        }
    }
    Ok(())
}

/// So many go into one request, so that it can be told how far it is.
const PARTITIONS_AT_ONCE: usize = 500;

async fn delete(
    admin: &mut Admin,
    leader: i32,
    list: &[(String, i32, i64)],
    rows: &mut BTreeMap<(String, i32), Result<i64, ErrorCode>>,
) -> Result<(), Failure> {
    let mut topics: BTreeMap<String, Vec<DeleteRecordsPartition>> = BTreeMap::new();
    for (topic, partition, offset) in list {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(*partition)
            .with_offset(*offset);
        topics.entry(topic.clone()).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DeleteRecordsTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions)
    });
    let request = DeleteRecordsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(30_000);
    let answer = admin
        .node(leader, Api::DeleteRecords, request.into())
        .await?;
    for topic in body!(answer, DeleteRecords).topics {
        for partition in topic.partitions {
            let place = (topic.name.0.to_string(), partition.partition_index);
            let result = ErrorCode::check(partition.error_code).map(|()| partition.low_watermark);
            rows.insert(place, result);
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<BTreeMap<(String, i32), i64>, Failure> {
    let whole: Value = serde_json::from_str(text)
        .map_err(|_| Failure::said("The input string is not a valid JSON"))?;
    let version = whole.get("version").and_then(Value::as_i64).unwrap_or(1);
    if version != 1 {
        return Err(Failure::said(format!(
            "Not supported version field value {version}"
        )));
    }
    let list = whole
        .get("partitions")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::said("Missing partitions field"))?;
    let mut made = BTreeMap::new();
    let mut twice = Vec::new();
    for one in list {
        let field = |name: &str| {
            one.get(name)
                .ok_or_else(|| Failure::said(format!("No such field exists: `{name}`")))
        };
        // Kafka's sentence, and below it the entry that is meant.
        let wrong = |kind: &str, name: &str| {
            let got = one.get(name).unwrap_or(&Value::Null);
            Failure::said(format!(
                "Expected `{kind}` value, received {got}\n{name} in {one}"
            ))
        };
        let topic = field("topic")?.as_str();
        let topic = topic.ok_or_else(|| wrong("String", "topic"))?.to_string();
        let partition = field("partition")?
            .as_i64()
            .and_then(|id| i32::try_from(id).ok());
        let partition = partition.ok_or_else(|| wrong("Integer", "partition"))?;
        let offset = field("offset")?.as_i64();
        let offset = offset.ok_or_else(|| wrong("Long", "offset"))?;
        if made.insert((topic.clone(), partition), offset).is_some() {
            twice.push(format!("{topic}-{partition}"));
        }
    }
    if !twice.is_empty() {
        return Err(Failure::said(format!(
            "Offset json file contains duplicate topic partitions: {}",
            twice.join(",")
        )));
    }
    Ok(made)
}

//! `kafka-topics --zookeeper`, as up to Kafka 2.8: the same command on the znodes themselves.
//!
//! Listing, describing and deleting work with no broker running. Creating and growing topics this
//! way is not there yet, and says so.

use std::collections::BTreeMap;

use base::clock::Clock;
use serde_json::Value;
use znodes::paths;
use znodes::store::{Kind, Store};
use znodes::zookeeper::{Config, ZooKeeper};

use crate::args::Args;
use crate::failure::Failure;
use crate::filter::{Filter, is_internal};
use crate::print::Out;
use crate::say;
use crate::topics::joined;

const CONNECT_WITHIN_MS: i64 = 30_000;

/// A session with the ZooKeeper a command line names.
pub(crate) async fn session(connect: &str) -> Result<ZooKeeper, Failure> {
    Ok(ZooKeeper::connect(Config::new(connect), Clock::system(), CONNECT_WITHIN_MS).await?)
}

pub(crate) async fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let zk = session(args.required("zookeeper")?).await?;
    let done = act(args, &zk, out).await;
    out.flush();
    zk.close().await;
    match done {
        Err(failure @ (Failure::Misuse { .. } | Failure::Exit(_))) => Err(failure),
        Err(failure) => {
            say!(out, "Error while executing topic command : {failure}");
            Err(Failure::Exit(1))
        }
        Ok(()) => Ok(()),
    }
}

async fn act(args: &Args, zk: &dyn Store, out: &mut Out) -> Result<(), Failure> {
    if args.has("create") || args.has("alter") {
        return Err(Failure::Absent(
            "creating and altering topics with --zookeeper".to_string(),
        ));
    }
    let names = matching(args, zk).await?;
    match () {
        () if args.has("list") => {
            for name in names {
                let marked = zk
                    .exists(&paths::delete_topic(&name), None)
                    .await?
                    .is_some();
                say!(
                    out,
                    "{name}{}",
                    if marked { " - marked for deletion" } else { "" }
                );
            }
            Ok(())
        }
        () if args.has("describe") => describe(args, zk, &names, out).await,
        () => delete(args, zk, &names, out).await,
    }
}

async fn matching(args: &Args, zk: &dyn Store) -> Result<Vec<String>, Failure> {
    let mut names = zk.list(paths::TOPICS, None).await?.unwrap_or_default();
    names.sort();
    let exclude = args.has("exclude-internal");
    names.retain(|name| !(exclude && is_internal(name)));
    if let Some(pattern) = args.get("topic") {
        let filter = Filter::new(pattern)?;
        names.retain(|name| filter.allows(name));
        if names.is_empty() && !args.has("if-exists") && !args.has("list") {
            return Err(Failure::said(format!(
                "Topic '{pattern}' does not exist as expected"
            )));
        }
    }
    Ok(names)
}

async fn read(zk: &dyn Store, path: &str) -> Result<Option<Value>, Failure> {
    let node = zk.get(path, None).await?;
    Ok(node.and_then(|node| serde_json::from_slice(&node.data).ok()))
}

fn numbers(list: Option<&Value>) -> Vec<i32> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|id| id.as_i64().and_then(|id| i32::try_from(id).ok()))
        .collect()
}

async fn describe(
    args: &Args,
    zk: &dyn Store,
    names: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    let live: Vec<i32> = zk
        .list(paths::IDS, None)
        .await?
        .unwrap_or_default()
        .iter()
        .filter_map(|id| id.parse().ok())
        .collect();
    for name in names {
        let Some(topic) = read(zk, &paths::topic(name)).await? else {
            continue;
        };
        let mut partitions: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (id, replicas) in topic
            .get("partitions")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Ok(id) = id.parse() {
                partitions.insert(id, numbers(Some(replicas)));
            }
        }
        let config = read(zk, &paths::topic_config(name)).await?;
        let config = config
            .as_ref()
            .and_then(|whole| whole.get("config")?.as_object());
        let pairs: Vec<String> = config
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let marked = zk.exists(&paths::delete_topic(name), None).await?.is_some();
        let marked = if marked {
            "\tMarkedForDeletion: true"
        } else {
            ""
        };
        let id = topic.get("topic_id").and_then(Value::as_str);
        let reports = ["under-replicated-partitions", "unavailable-partitions"];
        let reported = reports.iter().any(|report| args.has(report));
        if !reported && (!args.has("topics-with-overrides") || !pairs.is_empty()) {
            let id = id.map_or(String::new(), |id| format!("\tTopicId: {id}"));
            let factor = partitions.values().next().map_or(0, Vec::len);
            say!(
                out,
                "Topic: {name}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}{marked}",
                partitions.len(),
                pairs.join(",")
            );
        }
        if args.has("topics-with-overrides") {
            continue;
        }
        for (partition, replicas) in partitions {
            let state = read(zk, &paths::partition_state(name, partition)).await?;
            let isr = numbers(state.as_ref().and_then(|state| state.get("isr")));
            let leader = state
                .as_ref()
                .and_then(|state| state.get("leader")?.as_i64());
            let available = leader.is_some_and(|id| live.iter().any(|one| i64::from(*one) == id));
            let show = !reported
                || args.has("under-replicated-partitions") && isr.len() < replicas.len()
                || args.has("unavailable-partitions") && !available;
            if show {
                let leader = leader
                    .filter(|id| *id >= 0)
                    .map_or("none".to_string(), |id| id.to_string());
                say!(
                    out,
                    "\tTopic: {name}\tPartition: {partition}\tLeader: {leader}\tReplicas: {}\tIsr: {}{marked}",
                    joined(replicas.into_iter()),
                    joined(isr.into_iter())
                );
            }
        }
    }
    Ok(())
}

async fn delete(
    args: &Args,
    zk: &dyn Store,
    names: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    for name in names {
        if is_internal(name) {
            return Err(Failure::said(format!(
                "Topic {name} is a kafka internal topic and is not allowed to be marked for deletion."
            )));
        }
        match zk
            .create(&paths::delete_topic(name), b"", Kind::Persistent)
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_node_exists() => {
                say!(out, "Topic {name} is already marked for deletion.");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        say!(out, "Topic {name} is marked for deletion.");
        say!(
            out,
            "Note: This will have no impact if delete.topic.enable is not set to true."
        );
    }
    if names.is_empty() && !args.has("if-exists") {
        return Err(Failure::said("no topic matches"));
    }
    Ok(())
}

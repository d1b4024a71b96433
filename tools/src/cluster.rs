//! `kafka-cluster`, `kafka-broker-api-versions`, `kafka-log-dirs`: what the cluster says of itself.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{ApiKey, DescribeLogDirsRequest};
use serde_json::{Map, Value, json};

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::java;
use crate::kafka::admin::Admin;
use crate::print::{Out, joined};
use crate::properties::Properties;
use crate::{body, say};

pub(crate) const CLUSTER: Usage = Usage {
    about: "The Kafka cluster tool: kafka-cluster cluster-id|unregister --bootstrap-server HOST:PORT",
    flags: &[
        valued("bootstrap-server", "server", "The server to connect to."),
        valued("b", "server", "The same."),
        valued("config", "file", "Properties for the client."),
        valued("c", "file", "The same."),
        valued("id", "broker", "The broker to unregister."),
        valued("i", "broker", "The same."),
    ],
};

pub(crate) async fn cluster(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read_last(CLUSTER, line)?;
    let servers = args.get("bootstrap-server").or(args.get("b"));
    let properties = Properties::load(args.get("config").or(args.get("c")))?;
    match (args.rest.first().map(String::as_str), servers) {
        (Some("cluster-id"), Some(servers)) => {
            let admin = Admin::connect(servers, &properties).await?;
            match &admin.cluster_id {
                Some(id) => say!(out, "Cluster ID: {id}"),
                None => say!(
                    out,
                    "No cluster ID found. The Kafka version is probably too old."
                ),
            }
            Ok(())
        }
        (Some("unregister"), Some(servers)) => {
            let id = args.get("id").or(args.get("i"));
            let id = id.ok_or_else(|| args.misuse("argument --id/-i is required"))?;
            if id.parse::<i32>().is_err() {
                return Err(args.misuse(format!("could not convert '{id}' to Integer")));
            }
            Admin::connect(servers, &properties).await?;
            // Kafka: brokers in ZooKeeper mode do not have the API, and that ends well.
            say!(
                out,
                "The target cluster does not support the broker unregistration API."
            );
            Ok(())
        }
        _ => Err(args.misuse("usage: kafka-cluster [-h] {cluster-id,unregister} ...")),
    }
}

pub(crate) const API_VERSIONS: Usage = Usage {
    about: "This tool helps to retrieve broker version information.",
    flags: &[
        valued(
            "bootstrap-server",
            "server(s)",
            "REQUIRED: The server to connect to.",
        ),
        valued("command-config", "file", "Properties for the client."),
    ],
};

/// The names 3.9's `ApiKeys` has beyond ZooKeeper mode, for keys a broker does not announce.
const CLIENT_APIS_ELSEWHERE: [(i16, &str); 17] = [
    (55, "DescribeQuorum"),
    (64, "UnregisterBroker"),
    (71, "GetTelemetrySubscriptions"),
    (72, "PushTelemetry"),
    (74, "ListClientMetricsResources"),
    (75, "DescribeTopicPartitions"),
    (76, "ShareGroupHeartbeat"),
    (77, "ShareGroupDescribe"),
    (78, "ShareFetch"),
    (79, "ShareAcknowledge"),
    (80, "AddRaftVoter"),
    (81, "RemoveRaftVoter"),
    (83, "InitializeShareGroupState"),
    (84, "ReadShareGroupState"),
    (85, "WriteShareGroupState"),
    (86, "DeleteShareGroupState"),
    (87, "ReadShareGroupStateSummary"),
];

pub(crate) async fn api_versions(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(API_VERSIONS, line)?;
    if line.is_empty() {
        return Err(args.misuse(API_VERSIONS.about));
    }
    let servers = args.required("bootstrap-server")?;
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(servers, &properties).await?;
    let nodes: Vec<_> = admin.nodes.values().cloned().collect();
    for node in nodes {
        let rack = node.rack.as_deref().unwrap_or("null");
        let label = format!("{}:{} (id: {} rack: {rack})", node.host, node.port, node.id);
        match admin.pool.connection(&node.address()).await {
            Ok(connection) => {
                let answer = &connection.versions().answer;
                let mut rows: BTreeMap<i16, String> = BTreeMap::new();
                for (key, name) in CLIENT_APIS_ELSEWHERE {
                    rows.insert(key, format!("{name}({key}): UNSUPPORTED"));
                }
                for api in &answer.api_keys {
                    rows.insert(
                        api.api_key,
                        version_row(api.api_key, api.min_version, api.max_version),
                    );
                }
                let rows: Vec<String> = rows.into_values().collect();
                say!(out, "{label} -> (\n\t{}\n)", rows.join(",\n\t"));
            }
            Err(error) => say!(out, "{label} -> ERROR: {error}"),
        }
    }
    Ok(())
}

fn version_row(key: i16, low: i16, high: i16) -> String {
    let range = if low == high {
        low.to_string()
    } else {
        format!("{low} to {high}")
    };
    let (name, ours_min, ours_max) = match (Api::from_key(key), ApiKey::try_from(key)) {
        (Some(api), _) => (
            api.name().to_string(),
            api.row().version_min,
            api.row().version_max,
        ),
        (None, Ok(other)) => {
            let versions = other.valid_versions();
            (format!("{other:?}"), versions.min, versions.max)
        }
        (None, Err(())) => return format!("UNKNOWN({key}): {range}"),
    };
    let usable = if ours_max < low {
        "[unusable: node too new]".to_string()
    } else if high < ours_min {
        "[unusable: node too old]".to_string()
    } else {
        format!("[usable: {}]", ours_max.min(high))
    };
    format!("{name}({key}): {range} {usable}")
}

pub(crate) const LOG_DIRS: Usage = Usage {
    about: "This tool helps to query log directory usage on the specified brokers.",
    flags: &[
        valued(
            "bootstrap-server",
            "server(s)",
            "REQUIRED: the server(s) to use for bootstrapping",
        ),
        valued("command-config", "file", "Properties for the client."),
        switch(
            "describe",
            "Describe the specified log directories on the specified brokers.",
        ),
        valued(
            "topic-list",
            "Topic list",
            "Only these topics, in the form topic1,topic2.",
        ),
        valued(
            "broker-list",
            "Broker list",
            "Only these brokers, in the form 0,1,2.",
        ),
    ],
};

pub(crate) async fn log_dirs(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(LOG_DIRS, line)?;
    let servers = args.required("bootstrap-server")?;
    args.required("describe")?;
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(servers, &properties).await?;
    let listed = |name: &str| -> Vec<String> {
        let list = args.get(name).unwrap_or_default().split(',');
        list.map(str::trim)
            .filter(|one| !one.is_empty())
            .map(str::to_string)
            .collect()
    };
    let topics = listed("topic-list");
    let mut asked = Vec::new();
    for id in listed("broker-list") {
        let wrong = || Failure::said(format!("For input string: \"{id}\""));
        asked.push(id.parse::<i32>().map_err(|_| wrong())?);
    }
    let absent: Vec<i32> = asked
        .iter()
        .copied()
        .filter(|id| !admin.nodes.contains_key(id))
        .collect();
    if !absent.is_empty() {
        return Err(Failure::said(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            joined(absent.into_iter()),
            joined(admin.nodes.keys().copied())
        )));
    }
    let brokers: Vec<i32> = match asked.is_empty() {
        true => admin.nodes.keys().copied().collect(),
        false => asked,
    };
    say!(out, "Querying brokers for log directories information");
    let mut described = Vec::new();
    for id in &brokers {
        described.push(log_dirs_of(&mut admin, *id, &topics).await?);
    }
    say!(
        out,
        "Received log directory information from brokers {}",
        joined(brokers.iter().copied())
    );
    let whole = json!({ "brokers": described, "version": 1 });
    say!(out, "{whole}");
    Ok(())
}

async fn log_dirs_of(admin: &mut Admin, id: i32, topics: &[String]) -> Result<Value, Failure> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let answer = body!(
        admin.node(id, Api::DescribeLogDirs, request.into()).await?,
        DescribeLogDirs
    );
    Failure::check(answer.error_code, None)?;
    let mut directories = Vec::new();
    for directory in answer.results {
        let mut rows = Vec::new();
        for topic in &directory.topics {
            if !topics.is_empty() && !topics.iter().any(|name| **name == **topic.name) {
                continue;
            }
            for partition in &topic.partitions {
                // Kafka: the keys come in the order of Java's hash map.
                let mut row = Map::new();
                row.insert(
                    "partition".into(),
                    json!(format!("{}-{}", &**topic.name, partition.partition_index)),
                );
                row.insert("size".into(), json!(partition.partition_size));
                row.insert("offsetLag".into(), json!(partition.offset_lag));
                row.insert("isFuture".into(), json!(partition.is_future_key));
                let hash = java::partition_hash(&topic.name, partition.partition_index);
                rows.push((hash, Value::Object(row)));
            }
        }
        let rows = java::order(rows, java::CAPACITY, |row| row.0);
        let partitions: Vec<Value> = rows.into_iter().map(|row| row.1).collect();
        let error = ErrorCode::of(directory.error_code);
        let error = (!error.is_none()).then(|| error.exception_class());
        let directory = directory.log_dir.to_string();
        directories.push(json!({ "partitions": partitions, "error": error, "logDir": directory }));
    }
    Ok(json!({ "broker": id, "logDirs": directories }))
}

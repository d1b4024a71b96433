//! `kafka-leader-election` and `kafka-preferred-replica-election`: leaders back where they belong.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::elect_leaders_response::PartitionResult;
use protocol::messages::{ElectLeadersRequest, ResponseKind};
use serde_json::Value;

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::java;
use crate::kafka::admin::{Admin, topic_name};
use crate::print::Out;
use crate::properties::Properties;
use crate::{body, say, zookeeper};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are preferred replicas and unclean replicas.",
    flags: &[
        valued(
            "bootstrap-server",
            "host:port",
            "The servers to connect to.",
        ),
        valued("admin.config", "config file", "Properties for the client."),
        valued(
            "path-to-json-file",
            "path",
            "{\"partitions\": [{\"topic\": \"foo\", \"partition\": 1}]}. Not with --all-topic-partitions or --topic.",
        ),
        valued("topic", "topic name", "The topic; with --partition."),
        valued("partition", "partition id", "The partition; with --topic."),
        switch("all-topic-partitions", "All partitions that need it."),
        valued(
            "election-type",
            "preferred|unclean",
            "Type of election to attempt.",
        ),
    ],
};

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    if line.is_empty() {
        return Err(args.misuse(USAGE.about));
    }
    let missing: Vec<&str> = ["bootstrap-server", "election-type"]
        .into_iter()
        .filter(|name| !args.has(name))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::said(format!(
            "Missing required option(s): {}",
            missing.join(", ")
        )));
    }
    let unclean = match args
        .get("election-type")
        .unwrap_or_default()
        .to_lowercase()
        .as_str()
    {
        "preferred" => false,
        "unclean" => true,
        other => {
            return Err(Failure::said(format!(
                "Cannot parse argument '{other}' of option election-type"
            )));
        }
    };
    let scopes = ["topic", "all-topic-partitions", "path-to-json-file"];
    if scopes.iter().filter(|scope| args.has(scope)).count() != 1 {
        return Err(Failure::said(format!(
            "One and only one of the following options is required: {}",
            scopes.join(", ")
        )));
    }
    if args.has("partition") && !args.has("topic") {
        return Err(Failure::said(
            "Option partition is only allowed if topic is used",
        ));
    }
    let wanted = match (args.get("path-to-json-file"), args.get("topic")) {
        (Some(path), _) => Some(from_file(path)?),
        (None, Some(topic)) => {
            let partition = args.parsed::<i32>("partition")?;
            let partition =
                partition.ok_or_else(|| Failure::said("Missing required option(s): partition"))?;
            Some(vec![(topic.to_string(), partition)])
        }
        (None, None) => None,
    };
    let properties = Properties::load(args.get("admin.config"))?;
    let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
    let words = match unclean {
        false => Words::Kind("PREFERRED"),
        true => Words::Kind("UNCLEAN"),
    };
    elect(&mut admin, unclean, wanted, words, out).await
}

/// How the outcome is told: by the kind of election, or as the older tool does.
#[derive(Clone, Copy)]
enum Words {
    Kind(&'static str),
    Older,
}

async fn elect(
    admin: &mut Admin,
    unclean: bool,
    wanted: Option<Vec<(String, i32)>>,
    words: Words,
    out: &mut Out,
) -> Result<(), Failure> {
    let topics = wanted.map(|places| {
        let mut by_topic: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in places {
            by_topic.entry(topic).or_default().push(partition);
        }
        let topics = by_topic.into_iter().map(|(name, partitions)| {
            TopicPartitions::default()
                .with_topic(topic_name(&name))
                .with_partitions(partitions)
        });
        topics.collect()
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(i8::from(unclean))
        .with_topic_partitions(topics)
        .with_timeout_ms(30_000);
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::ElectLeaders(body) => vec![body.error_code],
        _ => Vec::new(),
    };
    let answer = admin
        .controller(Api::ElectLeaders, request.into(), codes)
        .await?;
    let answer = body!(answer, ElectLeaders);
    if ErrorCode::of(answer.error_code) == ErrorCode::ClusterAuthorizationFailed {
        say!(out, "Not authorized to perform leader election");
        return Err(Failure::said("Not authorized to perform leader election"));
    }
    Failure::check(answer.error_code, None)?;
    // Kafka: the partitions are told in the order of its hash sets.
    let mut results = Vec::new();
    for topic in &answer.replica_election_results {
        results.extend(
            topic
                .partition_result
                .iter()
                .map(|one| (&**topic.topic, one)),
        );
    }
    let hash = |one: &(&str, &PartitionResult)| java::partition_hash(one.0, one.1.partition_id);
    let (mut done, mut needless, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (topic, partition) in java::order(results, java::CAPACITY, hash) {
        let place = format!("{topic}-{}", partition.partition_id);
        match Failure::check(partition.error_code, partition.error_message.as_deref()) {
            Ok(()) => done.push(place),
            Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {
                needless.push(place)
            }
            Err(error) => failed.push((place, error.as_exception())),
        }
    }
    let (held, what) = match words {
        Words::Kind(kind) => ("Valid replica", format!("leader election ({kind})")),
        Words::Older => ("Preferred replica", "preferred leader election".to_owned()),
    };
    if !done.is_empty() {
        let done = done.join(", ");
        say!(out, "Successfully completed {what} for partitions {done}");
    }
    if !needless.is_empty() {
        // Kafka: the older tool lists here again what it did list before.
        let named = match words {
            Words::Kind(_) => &needless,
            Words::Older => &done,
        };
        let named = named.join(", ");
        say!(out, "{held} already elected for partitions {named}");
    }
    for (place, error) in &failed {
        say!(
            out,
            "Error completing {what} for partition: {place}: {error}"
        );
    }
    match (failed.len(), words) {
        (0, _) => Ok(()),
        (count, Words::Kind(_)) => Err(Failure::said(format!(
            "{count} replica(s) could not be elected"
        ))),
        (count, Words::Older) => Err(Failure::said(format!(
            "{count} preferred replica(s) could not be elected"
        ))),
    }
}

pub(crate) fn from_file(path: &str) -> Result<Vec<(String, i32)>, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::reading(path))?;
    let whole: Value =
        serde_json::from_str(&text).map_err(|_| Failure::said("Replica election data is empty"))?;
    let list = whole
        .get("partitions")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::said("Replica election data is missing \"partitions\" field"))?;
    let mut made: Vec<(String, i32)> = Vec::new();
    for one in list {
        let topic = one.get("topic").and_then(Value::as_str);
        let partition = one.get("partition").and_then(Value::as_i64);
        let partition = partition.and_then(|id| i32::try_from(id).ok());
        let (Some(topic), Some(partition)) = (topic, partition) else {
            return Err(Failure::said(format!("No topic or partition in {one}")));
        };
        let place = (topic.to_string(), partition);
        if made.contains(&place) {
            return Err(Failure::said(format!(
                "Replica election data contains duplicate partitions: [{topic}-{partition}]"
            )));
        }
        made.push(place);
    }
    Ok(made)
}

pub(crate) const PREFERRED: Usage = Usage {
    about: "This tool helps to causes leadership for each partition to be transferred back to the 'preferred replica', it can be used to balance leadership among the servers.",
    flags: &[
        valued(
            "bootstrap-server",
            "host:port",
            "The servers to connect to.",
        ),
        valued(
            "zookeeper",
            "urls",
            "The ZooKeeper hosts with an optional chroot, instead of --bootstrap-server.",
        ),
        valued(
            "path-to-json-file",
            "path",
            "{\"partitions\": [{\"topic\": \"foo\", \"partition\": 1}]}. All partitions by default.",
        ),
        valued("admin.config", "config file", "Properties for the client."),
    ],
};

pub(crate) async fn preferred(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(PREFERRED, line)?;
    say!(
        out,
        "This tool is deprecated. Please use kafka-leader-election tool. Tracking issue: KAFKA-8405"
    );
    if line.is_empty() {
        return Err(args.misuse(PREFERRED.about));
    }
    if args.has("bootstrap-server") == args.has("zookeeper") {
        return Err(
            args.misuse("Exactly one of '[bootstrap-server]' or '[zookeeper]' must be provided")
        );
    }
    let wanted = args.get("path-to-json-file").map(from_file).transpose()?;
    if args.has("bootstrap-server") {
        let properties = Properties::load(args.get("admin.config"))?;
        let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
        return elect(&mut admin, false, wanted, Words::Older, out).await;
    }
    zookeeper::election::run(&args, wanted, out).await
}

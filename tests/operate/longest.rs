//! Every time that can be set, set for ever.

use std::time::Duration;

use bytes::Bytes;
use harness::alone::Alone;
use harness::asker::Asker;
use harness::process::Single;
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::kafka::apis::Api;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    DescribeConfigsRequest, FetchRequest, FindCoordinatorRequest, GroupId, MetadataRequest,
    OffsetCommitRequest, ProduceRequest, ResponseKind, TopicName,
};

const LIMIT: Duration = Duration::from_secs(60);
const INT: i8 = 3;
const LONG: i8 = 5;
/// What Kafka's times end in.
const UNITS: [&str; 4] = [".ms", ".seconds", ".minutes", ".hours"];

/// Times with an upper bound, and those that would let no group begin.
const EXEMPT: [&str; 3] = ["group.share.", "group.min.session", "group.initial"];

fn longest(single: &Single) -> Vec<String> {
    let mut asker = Asker::connect(&single.bootstrap(), "longest");
    let ResponseKind::Metadata(told) = asker.ask(Api::Metadata, MetadataRequest::default()) else {
        panic!("another answer than was asked for");
    };
    let id = told.brokers[0].node_id.0.to_string();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(StrBytes::from_string(id));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let ResponseKind::DescribeConfigs(told) = asker.ask_as(Api::DescribeConfigs, 4, request) else {
        panic!("another answer than was asked for");
    };
    let configs = &told.results[0].configs;
    let is_time = |name: &str| {
        UNITS.iter().any(|unit| name.ends_with(unit))
            && !EXEMPT.iter().any(|start| name.starts_with(start))
    };
    let set = configs
        .iter()
        .filter(|one| is_time(&one.name))
        .filter_map(|one| {
            let longest = match one.config_type {
                INT => i64::from(i32::MAX),
                LONG => i64::MAX,
                _ => return None,
            };
            Some(format!("{}={longest}", one.name))
        });
    set.collect()
}

/// Settings of a topic that are times.
const OF_A_TOPIC: [&str; 9] = [
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.compaction.lag.ms",
    "retention.ms",
    "segment.ms",
];

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("longest"))
}

/// A record of the end of time; the code told.
fn produce(asker: &mut Asker) -> i16 {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(i64::MAX, Some(b"key"), Some(b"x"), &[]).unwrap();
    let partition = PartitionProduceData::default().with_records(Some(batch.build().unwrap()));
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(i32::MAX)
        .with_topic_data(vec![topic]);
    let ResponseKind::Produce(answer) = asker.ask_as(Api::Produce, 9, request) else {
        panic!("another answer than was asked for");
    };
    answer.responses[0].partition_responses[0].error_code
}

fn fetch(asker: &mut Asker) -> usize {
    let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::MAX)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let ResponseKind::Fetch(answer) = asker.ask_as(Api::Fetch, 12, request) else {
        panic!("another answer than was asked for");
    };
    let records = answer.responses[0].partitions[0].records.as_ref();
    records.map_or(0, |records| records.len())
}

/// A member that may be silent for ever joins, commits an offset that is kept for ever, and leaves.
fn live(asker: &mut Asker) {
    let group = GroupId(StrBytes::from_static_str("longest"));
    let find = FindCoordinatorRequest::default().with_key(group.0.clone());
    asker.ask_as(Api::FindCoordinator, 3, find);
    let nothing = (Bytes::new(), Bytes::new());
    let member = Alone::join(asker, group, (i32::MAX, i32::MAX), nothing);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(i64::MAX);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_retention_time_ms(i64::MAX)
        .with_topics(vec![topic]);
    member.commit(asker, 4, commit);
    member.leave(asker);
}

/// The harness reads the log: a task that panicked is told there.
#[test]
fn times_that_last_for_ever_do_not_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let all = longest(&single);
    drop(single);
    assert!(all.len() > 40, "{all:?}");
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.push("offsets.topic.replication.factor=1");
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &all);
    single
        .process
        .announce(&["Set, and not obeyed yet", "Set, and without meaning"]);
    for round in 0..2 {
        let mut asker = Asker::connect(&single.bootstrap(), "asker");
        if round == 0 {
            let longest = i64::MAX.to_string();
            let configs = OF_A_TOPIC.map(|key| (key, longest.as_str()));
            asker.create_topic("longest", 1, &configs);
        }
        assert_eq!(produce(&mut asker), 0);
        assert!(fetch(&mut asker) > 0);
        live(&mut asker);
        drop(asker);
        let ended = single.process.terminate(LIMIT);
        assert!(ended.success(), "{ended}");
        if round == 0 {
            single.restart();
        }
    }
}

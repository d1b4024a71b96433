//! Two brokers in this process: partitions on both, each told the same about the cluster, and
//! records that come back byte for byte. Needs no peer.

use std::collections::BTreeSet;
use std::time::Duration;

use base::chance::Chance;
use base::clock::Clock;
use bytes::Bytes;
use client::Pool;
use client::pool::Patience;
use harness::cluster::Cluster;
use harness::wait;
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::kafka::apis::Api;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    CreateTopicsRequest, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest,
    RequestKind, ResponseKind, TopicName,
};

const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// Versions of Produce and Fetch that name their topics.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("shared"))
}

async fn ask(pool: &mut Pool, at: &str, api: Api, request: RequestKind) -> ResponseKind {
    let connection = pool.connection(at).await.unwrap();
    let version = match api {
        Api::Produce => PRODUCE,
        Api::Fetch => FETCH,
        other => connection.versions().pick(other).unwrap(),
    };
    connection.send_as(api, version, request).await.unwrap();
    connection.receive().await.unwrap().1
}

/// Asks for `topics` until the answer will do.
async fn told(
    pool: &mut Pool,
    at: &str,
    topics: Vec<MetadataRequestTopic>,
    will_do: impl Fn(&MetadataResponse) -> bool,
) -> MetadataResponse {
    let request = MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(false);
    let asking = async {
        loop {
            let asked = RequestKind::Metadata(request.clone());
            match ask(pool, at, Api::Metadata, asked).await {
                ResponseKind::Metadata(answer) if will_do(&answer) => return answer,
                ResponseKind::Metadata(_) => tokio::time::sleep(PAUSE).await,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, asking)
        .await
        .expect("the cluster comes to an agreement")
}

/// Who the controller is, as an index: the only one that makes topics.
async fn controller(pool: &mut Pool, at: &str) -> usize {
    let known = |answer: &MetadataResponse| answer.controller_id.0 > 0;
    let answer = told(pool, at, Vec::new(), known).await;
    usize::try_from(answer.controller_id.0 - 1).unwrap()
}

/// What a broker says once it knows a leader for every partition.
async fn led(pool: &mut Pool, at: &str) -> MetadataResponse {
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let all = |answer: &MetadataResponse| {
        let partitions = &answer.topics[0].partitions;
        i32::try_from(partitions.len()) == Ok(PARTITIONS)
            && partitions.iter().all(|one| one.leader_id.0 > 0)
    };
    told(pool, at, vec![topic], all).await
}

async fn create(pool: &mut Pool, at: &str) {
    let topic = CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(50_000)
        .with_topics(vec![topic]);
    match ask(
        pool,
        at,
        Api::CreateTopics,
        RequestKind::CreateTopics(request),
    )
    .await
    {
        ResponseKind::CreateTopics(answer) => {
            assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
        }
        other => panic!("{other:?}"),
    }
}

async fn produce(pool: &mut Pool, at: &str, partition: i32, records: Bytes) {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(50_000)
        .with_topic_data(vec![topic]);
    match ask(pool, at, Api::Produce, RequestKind::Produce(request)).await {
        ResponseKind::Produce(answer) => {
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, 0),
                "{answer:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

async fn fetch(pool: &mut Pool, at: &str, partition: i32) -> Bytes {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_wait_ms(1_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    match ask(pool, at, Api::Fetch, RequestKind::Fetch(request)).await {
        ResponseKind::Fetch(answer) => {
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.high_watermark),
                (0, 3),
                "{partition:?}"
            );
            partition.records.clone().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn records(partition: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for n in 0..3 {
        let value = format!("record {n} of partition {partition}");
        builder
            .push(wait::began_ms() + n, None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn two_brokers_share_a_topic_and_tell_the_same_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 2, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut pool = Pool::new(
            "first-light",
            Patience::default(),
            Clock::system(),
            Chance::from_kernel(),
        );
        let addresses: Vec<String> = cluster
            .members
            .iter()
            .map(|member| member.address.to_string())
            .collect();
        let controller = controller(&mut pool, &addresses[1]).await;
        create(&mut pool, &addresses[controller]).await;
        let told = led(&mut pool, &addresses[0]).await;
        let leaders: BTreeSet<i32> = told.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.leader_id.0)
            .collect();
        assert_eq!(leaders, BTreeSet::from([1, 2]));
        let other = led(&mut pool, &addresses[1]).await;
        assert_eq!(told.topics, other.topics);
        assert_eq!(told.controller_id, other.controller_id);

        for partition in &told.topics[0].partitions {
            let leader = usize::try_from(partition.leader_id.0 - 1).unwrap();
            let (at, index) = (&addresses[leader], partition.partition_index);
            produce(&mut pool, at, index, records(index)).await;
            let back = fetch(&mut pool, at, index).await;
            // All but what the log writes itself: base offset (8 bytes), length, leader epoch.
            assert_eq!(back[16..], records(index)[16..]);
        }
    });
    cluster.stop();
    for id in 1..=2 {
        let marker = dir.path().join(format!("broker-{id}/.kafka_cleanshutdown"));
        assert!(marker.exists(), "broker {id} stopped cleanly");
    }
}

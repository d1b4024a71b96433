//! What Apache Kafka 3.9.2 was asked and answered, byte for byte, in the order it was asked.
//!
//! `tests/golden/data.txt` holds a line a request: API, version, request and answer in Base64
//! (frames without their length; `-` where nothing was answered), and what the case is about.
//! Masked: session ids, which are drawn by chance; the order of partitions in DeleteRecords
//! answers, which is that of a hash map.

use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::{Disk, SystemDisk};
use base::faulty_disk::FaultyDisk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::{decode_request, decode_response, encode_request, encode_response};
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::header::{RequestHeader, read_answer_header};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::describe_producers_request::TopicRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::{
    DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest, FetchRequest,
    FetchResponse, ListOffsetsRequest, OffsetForLeaderEpochRequest, RequestKind, ResponseKind,
    TopicName, WriteTxnMarkersRequest,
};
use replication::append::{Acks, Append, Turn, append};
use replication::config::{
    MovesConfig, ReplicationConfig, SessionsConfig, TopicConfig, TopicRules,
};
use replication::endpoint::{IsrKeeper, Proposal};
use replication::lanes::SLOW_MS;
use replication::partition::{Assignment, Partition, PartitionOrder};
use replication::replicas::Replicas;
use replication::role::Authority;
use replication::sessions::Sessions;
use storage::config::{LogConfig, StoreConfig};
use storage::log::Origin;
use storage::store::Store;

use crate::api::answer::{Answer, Outcome, Part};
use crate::api::cluster::describe_log_dirs;
use crate::api::data::fetch::FetchServices;
use crate::api::data::{
    delete_records, describe_producers, fetch, list_offsets, offset_for_leader_epoch, produce,
};
use crate::api::request::Context;
use crate::api::slow_lane::Drawn;
use crate::api::toll::Toll;
use crate::api::transactions::write_txn_markers;
use crate::config::parts;
use crate::coordination::{Groups, Settings};
use crate::measures::Requests;
use crate::metadata::update::TopicUpdate;
use crate::metadata::{Broker, Endpoint, Metadata, PartitionImage, Update};
use crate::quota::Quotas;

const GOLDEN: &str = include_str!("../../../tests/golden/data.txt");
/// The id that the captured topic `t` had.
const TOPIC_ID: &str = "JbIh-cMBTjGsC7yYF-TUXA";
/// When the captures were made.
const THEN_MS: i64 = 1_795_220_200_000;
const ME: BrokerId = BrokerId(1);
/// The captured broker listened here.
const PORT: i32 = 33_401;

#[derive(Debug)]
struct Alone;

impl IsrKeeper for Alone {
    fn propose(&self, _: Proposal) {}

    fn is_alive(&self, broker: BrokerId) -> bool {
        broker == ME
    }
}

/// No limit is set.
fn no_quotas() -> Arc<Quotas> {
    let window = parts::Window {
        samples: 11,
        sample_ms: 1000,
    };
    Arc::new(Quotas::new(parts::Quotas {
        clients: window,
        mutations: window,
        replication: window,
        moves: window,
    }))
}

struct World {
    _dir: tempfile::TempDir,
    services: Arc<FetchServices>,
    quotas: Arc<Quotas>,
    /// The captured session id and ours.
    session: Option<([u8; 4], [u8; 4])>,
}

impl World {
    fn new() -> Self {
        World::over(SystemDisk::shared())
    }

    fn over(disk: Arc<dyn Disk>) -> Self {
        World::in_directories(disk, &["logs"])
    }

    fn in_directories(disk: Arc<dyn Disk>, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(THEN_MS);
        let config = StoreConfig {
            dirs: names.iter().map(|name| dir.path().join(name)).collect(),
            ..StoreConfig::default()
        };
        let config_of = |topic: &str| {
            let is_compacted = topic == "comp";
            let log = LogConfig {
                delete: !is_compacted,
                compact: is_compacted,
                ..LogConfig::default()
            };
            TopicConfig {
                log: Arc::new(log),
                rules: TopicRules::default(),
            }
        };
        let log_of = |topic: &str| config_of(topic).log;
        let store = Store::open(disk, config, clock.clone(), &log_of).unwrap();
        let config = ReplicationConfig {
            me: ME,
            lag_ms_max: 30_000,
            checkpoint_ms: 5_000,
            sessions: SessionsConfig::default(),
            moves: MovesConfig::default(),
            workers: 4,
        };
        let replicas = Replicas::new(
            config,
            Arc::new(store),
            clock.clone(),
            Arc::new(Alone),
            Arc::new(config_of),
        )
        .unwrap();
        let metadata = Arc::new(Metadata::default());
        let mut update = Update {
            controller: ME,
            brokers: vec![me()],
            ..Update::default()
        };
        for (topic, count) in [("t", 2), ("comp", 1)] {
            let id = if topic == "t" {
                TopicId::parse(TOPIC_ID).unwrap()
            } else {
                TopicId::ZERO
            };
            lead(&replicas, topic, id, count);
            let led = || PartitionImage {
                leader: ME,
                replicas: vec![ME],
                ..PartitionImage::default()
            };
            let partitions = (0..count).map(|index| (index, led())).collect();
            update.topics.push(TopicUpdate {
                name: topic.into(),
                id: Some(id),
                partitions,
            });
        }
        metadata.apply(update);
        let sessions = Sessions::new(SessionsConfig::default(), clock, Chance::seeded(1));
        let services = Arc::new(FetchServices {
            replicas,
            sessions: Arc::new(sessions),
            metadata,
            requests: Requests::new(Clock::by_hand(0)),
            bytes_max: 57_671_680,
            sends_to_racks: false,
        });
        World {
            _dir: dir,
            services,
            quotas: no_quotas(),
            session: None,
        }
    }

    fn send_to_racks(&mut self, sends: bool) {
        Arc::get_mut(&mut self.services).unwrap().sends_to_racks = sends;
    }

    async fn ask(&self, api: Api, version: i16, frame: &Bytes) -> Answer {
        let (header, body) = RequestHeader::read(api, frame).unwrap();
        let context = Context {
            version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.as_deref().unwrap_or_default().into(),
            principal: "User:ANONYMOUS".into(),
            listener: "PLAINTEXT".into(),
            peer: [127, 0, 0, 1].into(),
            drawn: Drawn::default(),
        };
        let FetchServices {
            replicas,
            metadata,
            requests,
            ..
        } = &*self.services;
        let mut timing = requests.begin(api, version, body.len());
        let toll = Toll::begin(&self.quotas, &Clock::by_hand(0), &context);
        let image = metadata.image();
        let outcome = match api {
            Api::Produce => {
                produce::answer(context, replicas, metadata, requests, (toll, 0), &body).unwrap()
            }
            Api::Fetch => fetch::answer(context, &self.services, &body, &mut timing, toll).unwrap(),
            _ => {
                let response = match decode_request(api, version, body).unwrap() {
                    RequestKind::ListOffsets(request) => ResponseKind::ListOffsets(
                        list_offsets::answer(&context, replicas, &image, request).await,
                    ),
                    RequestKind::OffsetForLeaderEpoch(request) => {
                        ResponseKind::OffsetForLeaderEpoch(
                            offset_for_leader_epoch::answer(replicas, &image, request).await,
                        )
                    }
                    RequestKind::DeleteRecords(request) => ResponseKind::DeleteRecords(
                        delete_records::answer(&context, replicas, &image, request).await,
                    ),
                    other => panic!("no such case: {other:?}"),
                };
                let bytes =
                    encode_response(api, version, header.correlation_id, &response).unwrap();
                Outcome::Now(Answer::bytes(bytes))
            }
        };
        match outcome {
            Outcome::Now(answer) => answer,
            Outcome::Later { answer, .. } => {
                let mut waiting = answer;
                let clock = self.services.replicas.shared().clock.clone();
                let deadlines = self.services.replicas.shared().deadlines.clone();
                let (_stopper, stop) = base::stop::pair();
                let ticks = base::tasks::spawn("deadlines", deadlines.run(stop));
                // Only a fetch waits for its time to pass; what waits for another thread gets it all.
                let step_ms = if api == Api::Fetch { 10 } else { 1 };
                let answer = loop {
                    tokio::select! { biased;
                        answer = &mut waiting => break answer,
                        () = tokio::time::sleep(std::time::Duration::from_millis(1)) => clock.advance(step_ms),
                    }
                };
                ticks.abort();
                answer
            }
        }
    }

    /// A session has another id here.
    fn patch(&self, request: Bytes) -> Bytes {
        let Some((theirs, ours)) = self.session else {
            return request;
        };
        let mut patched = BytesMut::from(&request[..]);
        if let Some(at) = patched.windows(4).position(|four| four == theirs) {
            patched[at..at + 4].copy_from_slice(&ours);
        }
        patched.freeze()
    }

    fn note_session(&mut self, version: i16, expected: &mut BytesMut, got: &[u8]) {
        // Correlation id, tags of a flexible header, throttle time, error code.
        let at = 4 + usize::from(version >= 12) + 4 + 2;
        let (Some(theirs), Some(ours)) = (expected.get(at..at + 4), got.get(at..at + 4)) else {
            return;
        };
        let (theirs, ours): ([u8; 4], [u8; 4]) =
            (theirs.try_into().unwrap(), ours.try_into().unwrap());
        if theirs != [0; 4] && ours != [0; 4] {
            self.session = Some((theirs, ours));
            expected[at..at + 4].copy_from_slice(&ours);
        }
    }
}

fn me() -> Broker {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: PORT,
        security_protocol: 0,
    };
    Broker {
        id: ME,
        endpoints: vec![endpoint],
        rack: None,
    }
}

fn lead(replicas: &Replicas, topic: &str, topic_id: TopicId, count: i32) {
    lead_with(replicas, topic, topic_id, count, &[ME]);
}

/// Leads partitions that these brokers hold, all in sync.
fn lead_with(
    replicas: &Replicas,
    topic: &str,
    topic_id: TopicId,
    count: i32,
    holders: &[BrokerId],
) {
    let orders: Vec<_> = (0..count)
        .map(|index| PartitionOrder {
            partition: TopicPartition::new(topic, index),
            topic_id,
            controller_epoch: ControllerEpoch(1),
            leader: ME,
            leader_epoch: LeaderEpoch(0),
            isr: holders.to_vec(),
            partition_epoch: 0,
            assignment: Assignment {
                replicas: holders.to_vec(),
                ..Assignment::default()
            },
            is_new: true,
        })
        .collect();
    let authority = Authority {
        controller_epoch: ControllerEpoch(1),
        broker_epoch: BrokerEpoch(1),
        own_broker_epoch: BrokerEpoch(1),
    };
    replicas.apply_leader_and_isr(authority, &orders).unwrap();
}

/// All bytes behind the length prefix.
fn gather(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in &answer.parts {
        match part {
            Part::Bytes(more) => bytes.extend_from_slice(more),
            Part::File {
                file,
                position,
                len,
                ..
            } => {
                let mut more = vec![0; *len as usize];
                assert_eq!(file.read_at(&mut more, *position).unwrap(), more.len());
                bytes.extend_from_slice(&more);
            }
        }
    }
    if bytes.len() >= 4 {
        let prefix: [u8; 4] = bytes[..4].try_into().unwrap();
        assert_eq!(
            u32::from_be_bytes(prefix) as usize,
            bytes.len() - 4,
            "the length prefix"
        );
        bytes.drain(..4);
    }
    bytes
}

#[tokio::test]
async fn answers_are_those_of_apache_kafka() {
    let mut world = World::new();
    let mut wrong = Vec::new();
    for line in GOLDEN.lines() {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let [key, version, request, answer, case] = fields[..] else {
            panic!("bad line {line}")
        };
        let api = Api::from_key(key.parse().unwrap()).unwrap();
        let version: i16 = version.parse().unwrap();
        if case.starts_with("null records") {
            // Apache fails inside and never answers; we refuse the partition.
            continue;
        }
        let request = world.patch(Bytes::from(STANDARD.decode(request).unwrap()));
        let got = world.ask(api, version, &request).await;
        let bytes = gather(&got);
        let mut expected = match answer {
            "-" => BytesMut::new(),
            base64 => BytesMut::from(&STANDARD.decode(base64).unwrap()[..]),
        };
        if case.starts_with("session") {
            world.note_session(version, &mut expected, &bytes);
        }
        let (mut ours, mut theirs) = (bytes, expected.to_vec());
        if api == Api::DeleteRecords {
            ours.sort_unstable();
            theirs.sort_unstable();
        }
        let closes = case.ends_with("connection closed");
        if ours != theirs || got.close != closes {
            let show = |bytes: &[u8]| {
                bytes
                    .iter()
                    .take(160)
                    .map(|b| format!("{b:02x}"))
                    .collect::<String>()
            };
            wrong.push(format!(
                "{api:?} v{version} {case}\n  ours   {}\n  theirs {}",
                show(&ours),
                show(&theirs)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Fetches the one partition of `near` from its start; the replica that is preferred for it.
async fn preferred(world: &World, version: i16, replica: i32, rack: &str) -> i32 {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_log_start_offset(0)
        .with_partition_max_bytes(1000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("near")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(replica.into())
        .with_max_bytes(1000)
        .with_session_epoch(-1)
        .with_rack_id(StrBytes::from_string(rack.to_owned()))
        .with_topics(vec![topic]);
    let answer = fetched(world, version, request).await;
    let told = &answer.responses[0].partitions[0];
    assert_eq!((told.error_code, told.high_watermark), (0, 0));
    told.preferred_read_replica.0
}

async fn fetched(world: &World, version: i16, request: FetchRequest) -> FetchResponse {
    let answer = gather(&fetch_parts(world, version, request).await);
    let (_, body) = read_answer_header(Api::Fetch, version, &answer.into()).unwrap();
    match decode_response(Api::Fetch, version, body).unwrap() {
        ResponseKind::Fetch(answer) => answer,
        _ => panic!("another answer than was asked for"),
    }
}

async fn fetch_parts(world: &World, version: i16, request: FetchRequest) -> Answer {
    let header = RequestHeader {
        api: Api::Fetch,
        version,
        correlation_id: 7,
        client_id: None,
    };
    let frame = encode_request(&header, &RequestKind::Fetch(request)).unwrap();
    world.ask(Api::Fetch, version, &frame.slice(4..)).await
}

fn write(partition: &Arc<Partition>) -> Append {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(THEN_MS, None, Some(b"value"), &[]).unwrap();
    let (records, mut turn) = (batch.build().unwrap(), Turn::begin());
    let origin = Origin::Client;
    let append = append(partition, records, origin, Acks::Leader, &mut turn);
    turn.end();
    append
}

#[tokio::test]
async fn partitions_on_a_disk_that_hangs_are_refused_in_time_and_the_others_told() {
    let disk = FaultyDisk::new(1);
    let world = World::in_directories(disk.shared(), &["a", "b"]);
    let replicas = &world.services.replicas;
    let led = [0, 1].map(|number| replicas.partition("t", number).online().unwrap());
    assert_ne!(led[0].lane().path(), led[1].lane().path());
    for partition in &led {
        assert!(matches!(write(partition), Append::Answered(_)));
    }
    disk.freeze(&led[0].lane().path().to_string_lossy());
    let stuck = Arc::clone(&led[0]);
    std::thread::spawn(move || write(&stuck));
    disk.await_hanging(1);
    let clock = &replicas.shared().clock;
    clock.advance(SLOW_MS + 1);
    let (_stopper, stop) = base::stop::pair();
    let deadlines = replicas.shared().deadlines.clone();
    let ticks = base::tasks::spawn("deadlines", deadlines.run(stop));

    let (image, context) = (world.services.metadata.image(), Context::of_this_broker(2));
    let name = || TopicName(StrBytes::from_static_str("t"));
    let offsets = async |timestamp: i64| {
        let asked = |number| {
            let asked = ListOffsetsPartition::default().with_partition_index(number);
            asked
                .with_timestamp(timestamp)
                .with_current_leader_epoch(-1)
        };
        let topic = ListOffsetsTopic::default().with_name(name());
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic.with_partitions(vec![asked(0), asked(1)])]);
        let answer = list_offsets::answer(&context, replicas, &image, request).await;
        let told = &answer.topics[0].partitions;
        [0, 1].map(|at: usize| (told[at].error_code, told[at].offset))
    };
    const SILENT: i16 = ErrorCode::KafkaStorageError.code();
    let mut first = std::pin::pin!(offsets(-1));
    let first = loop {
        tokio::select! { biased;
            told = &mut first => break told,
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => clock.advance(1_000),
        }
    };
    assert_eq!(first, [(SILENT, -1), (0, 1)]);

    // It is silent for as long as anybody would wait by now.
    let began_ms = clock.monotonic_ms();
    assert_eq!(offsets(THEN_MS).await, [(SILENT, -1), (0, 0)]);
    let asked = |number| {
        let asked = OffsetForLeaderPartition::default().with_partition(number);
        asked.with_current_leader_epoch(-1).with_leader_epoch(0)
    };
    let topic = OffsetForLeaderTopic::default().with_topic(name());
    let request = OffsetForLeaderEpochRequest::default()
        .with_topics(vec![topic.with_partitions(vec![asked(0), asked(1)])]);
    let answer = offset_for_leader_epoch::answer(replicas, &image, request).await;
    let told = &answer.topics[0].partitions;
    assert_eq!([0, 1].map(|at: usize| told[at].error_code), [SILENT, 0]);
    assert_eq!(told[1].end_offset, 1);

    let topic = TopicRequest::default().with_name(name());
    let request = DescribeProducersRequest::default()
        .with_topics(vec![topic.with_partition_indexes(vec![0, 1])]);
    let answer = describe_producers::answer(replicas, &image, request).await;
    let told = &answer.topics[0].partitions;
    assert_eq!([0, 1].map(|at: usize| told[at].error_code), [SILENT, 0]);

    let asked = |number| {
        let asked = DeleteRecordsPartition::default().with_partition_index(number);
        asked.with_offset(1)
    };
    let topic = DeleteRecordsTopic::default().with_name(name());
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(30_000)
        .with_topics(vec![topic.with_partitions(vec![asked(0), asked(1)])]);
    let answer = delete_records::answer(&context, replicas, &image, request).await;
    let told = &answer.topics[0].partitions;
    let told = [0, 1].map(|at: usize| (told[at].error_code, told[at].low_watermark));
    assert_eq!(told, [(ErrorCode::RequestTimedOut.code(), -1), (0, 1)]);
    assert_eq!(clock.monotonic_ms(), began_ms);
    disk.thaw();
    ticks.abort();
}

#[tokio::test]
async fn a_consumer_is_not_sent_elsewhere_by_a_worker_that_waits_for_a_disk() {
    let (disk, other) = (FaultyDisk::new(1), BrokerId(2));
    let mut world = World::over(disk.shared());
    world.send_to_racks(true);
    let replicas = &world.services.replicas;
    lead_with(replicas, "near", TopicId::ZERO, 1, &[ME, other]);
    let broker = |id: BrokerId, rack: &str| Broker {
        id,
        rack: Some(rack.to_owned()),
        ..me()
    };
    world.services.metadata.apply(Update {
        controller: ME,
        brokers: vec![broker(ME, "a"), broker(other, "b")],
        ..Update::default()
    });
    assert_eq!(preferred(&world, 12, other.0, "").await, -1);
    let near = replicas.partition("near", 0).online().unwrap();
    disk.freeze("/near-0/");
    std::thread::spawn(move || write(&near));
    disk.await_hanging(1);
    replicas.shared().clock.advance(SLOW_MS + 1);
    // A worker that hangs cannot tell so itself.
    let (answered, heard) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        let in_time = heard.recv_timeout(std::time::Duration::from_secs(20));
        disk.thaw();
        in_time
    });
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("near")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(1_000)
        .with_session_epoch(-1)
        .with_rack_id(StrBytes::from_static_str("b"))
        .with_topics(vec![topic]);
    let answer = fetched(&world, 12, request).await;
    let told = &answer.responses[0].partitions[0];
    let told = (told.error_code, told.preferred_read_replica.0);
    assert_eq!(told, (ErrorCode::KafkaStorageError.code(), -1));
    answered.send(()).unwrap();
    assert_eq!(watch.join().unwrap(), Ok(()));
}

#[tokio::test]
async fn more_markers_than_a_queue_has_places_wait_for_a_disk_that_hangs() {
    const MANY: i64 = 5_000;
    let disk = FaultyDisk::new(1);
    let world = World::over(disk.shared());
    let replicas = &world.services.replicas;
    let partition = replicas.partition("t", 0).online().unwrap();
    disk.freeze("/t-0/");
    std::thread::spawn(move || write(&partition));
    disk.await_hanging(1);
    let clock = &replicas.shared().clock;
    clock.advance(SLOW_MS + 1);
    let settings = Settings::default();
    let runtime = tokio::runtime::Handle::current();
    let groups = Groups::new(settings, clock.clone(), runtime).unwrap();
    let marker = |producer: i64| {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_indexes(vec![0]);
        WritableTxnMarker::default()
            .with_producer_id(producer.into())
            .with_topics(vec![topic])
    };
    let request = WriteTxnMarkersRequest::default().with_markers((0..MANY).map(marker).collect());
    let mut answer = std::pin::pin!(write_txn_markers::answer(
        replicas, &groups, 30_000, request
    ));
    tokio::select! { biased;
        _ = &mut answer => panic!("its disk hangs"),
        () = tokio::task::yield_now() => disk.thaw(),
    }
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await;
    let told = answer.expect("it answers again").markers;
    let codes = told
        .iter()
        .map(|one| one.topics[0].partitions[0].error_code);
    assert_eq!(codes.filter(|code| *code == 0).count() as i64, MANY);
}

#[tokio::test]
async fn who_describes_directories_does_not_wait_for_ever_for_a_disk() {
    let world = World::new();
    let replicas = &world.services.replicas;
    let shared = Arc::clone(replicas.shared());
    let lane = shared.lanes.lane(&replicas.store().directories()[0].path);
    let (_stopper, stop) = base::stop::pair();
    let _ticks = base::tasks::spawn("deadlines", shared.deadlines.clone().run(stop));
    let total = async |ms: i64| {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let mut told = std::pin::pin!(describe_log_dirs::answer(replicas, request));
        let answer = loop {
            tokio::select! { biased;
                told = &mut told => break told,
                () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {
                    shared.clock.advance(ms);
                }
            }
        };
        let directory = &answer.results[0];
        (directory.error_code, directory.total_bytes > 0)
    };
    assert_eq!(total(0).await, (0, true));
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    for _ in 0..16 {
        let (lane, held) = (Arc::clone(&lane), Arc::clone(&held));
        let hangs = move || held.lock().unwrap().recv().unwrap_or(());
        base::tasks::spawn(
            "hangs",
            async move { lane.run_read(hangs).await.unwrap_or(()) },
        );
    }
    tokio::task::yield_now().await;
    assert_eq!(total(1_000).await, (0, false));
    drop(hold);
}

#[tokio::test]
async fn few_bytes_come_with_the_answer_and_many_from_their_file() {
    /// Of each batch that is written.
    const LEN: usize = 73;
    let world = World::over(FaultyDisk::new(1).shared());
    let partition = world.services.replicas.partition("t", 0);
    let partition = partition.online().unwrap();
    let ask = async |bytes_max: usize| {
        let asked = FetchPartition::default().with_partition_max_bytes(bytes_max as i32);
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(i32::MAX)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = fetch_parts(&world, 11, request).await;
        let is_file = |part: &Part| matches!(part, Part::File { .. });
        let is_from_file = answer.parts.iter().any(is_file);
        let bytes = gather(&answer);
        let records = bytes.len().saturating_sub(bytes_max);
        (is_from_file, bytes[records..].to_vec())
    };
    // Some lie in one file, the rest in the next.
    for number in 0..200 {
        assert!(matches!(write(&partition), Append::Answered(_)));
        if number == 50 {
            partition.log().roll().unwrap();
        }
    }
    let (is_from_file, few) = ask(8_192).await;
    assert!(!is_from_file);
    let (is_from_file, many) = ask(8_193).await;
    assert!(is_from_file);
    assert_eq!(few, many[..8_192]);
    let offsets = few.chunks_exact(LEN).map(|batch| batch[7]);
    assert!(offsets.eq(0..112));
}

#[tokio::test]
async fn records_that_their_disk_does_not_bring_in_time_are_left_out_and_come_later() {
    let disk = FaultyDisk::new(1);
    let world = World::over(disk.shared());
    for number in 0..2 {
        let partition = world.services.replicas.partition("t", number);
        assert!(matches!(
            write(&partition.online().unwrap()),
            Append::Answered(_)
        ));
    }
    let lengths = async |partitions: &[i32]| {
        let asked = partitions.iter().map(|number| {
            let asked = FetchPartition::default().with_partition(*number);
            asked.with_partition_max_bytes(1_000)
        });
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(asked.collect());
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(200)
            .with_min_bytes(1)
            .with_max_bytes(1_000)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = fetched(&world, 11, request).await;
        let told = answer.responses[0].partitions.iter().map(|told| {
            assert_eq!((told.error_code, told.high_watermark), (0, 1));
            told.records.as_ref().map_or(0, Bytes::len)
        });
        told.collect::<Vec<_>>()
    };
    let whole = lengths(&[0, 1]).await;
    assert!(whole[0] > 0 && whole[0] == whole[1]);
    disk.freeze("/t-0/");
    let clock = &world.services.replicas.shared().clock;
    assert_eq!(lengths(&[0, 1]).await, [0, whole[1]]);
    // Nobody waits for it again who has anything else; who has not is not told so at once.
    let began_ms = clock.monotonic_ms();
    assert_eq!(lengths(&[0, 1]).await, [0, whole[1]]);
    assert_eq!(clock.monotonic_ms(), began_ms);
    assert_eq!(lengths(&[0]).await, [0]);
    assert!(clock.monotonic_ms() >= began_ms + 200);
    disk.thaw();
    let partition = world.services.replicas.partition("t", 0);
    let lane = partition.online().unwrap().lane();
    while lane.is_silent() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(lengths(&[0, 1]).await, whole);
}

#[tokio::test]
async fn a_consumer_is_sent_to_a_replica_in_its_rack_once_that_is_known_to_have_the_record() {
    let other = BrokerId(2);
    let mut world = World::new();
    world.send_to_racks(true);
    lead_with(
        &world.services.replicas,
        "near",
        TopicId::ZERO,
        1,
        &[ME, other],
    );
    let in_rack = |id: BrokerId, rack: &str| Broker {
        id,
        rack: Some(rack.to_owned()),
        ..me()
    };
    world.services.metadata.apply(Update {
        controller: ME,
        brokers: vec![in_rack(ME, "a"), in_rack(other, "b")],
        ..Update::default()
    });
    assert_eq!(preferred(&world, 12, -1, "b").await, -1, "not heard of yet");
    // A follower that fetches at an offset has everything before it.
    assert_eq!(preferred(&world, 12, other.0, "").await, -1);
    assert_eq!(preferred(&world, 12, -1, "b").await, other.0);
    assert_eq!(preferred(&world, 11, -1, "b").await, other.0);
    for rack in ["", "a", "c"] {
        assert_eq!(preferred(&world, 12, -1, rack).await, -1, "rack {rack:?}");
    }
    assert_eq!(
        preferred(&world, 12, other.0, "b").await,
        -1,
        "followers stay"
    );
    world.send_to_racks(false);
    assert_eq!(
        preferred(&world, 12, -1, "b").await,
        -1,
        "only where it is set"
    );
}

//! Who asks too much is slowed down and told so; who comes too often or stays silent is let go.
//!
//! `ROTPETER_AGAINST=HOST:PORT` asks a running broker instead, Apache's for one, about quotas.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::alone::Alone;
use harness::asker::Asker;
use harness::ports::free_port;
use harness::process::Single;
use harness::wait;
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::encode_request;
use protocol::kafka::header::RequestHeader;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreateTopicsRequest, CreateTopicsResponse,
    DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest, FetchResponse,
    FindCoordinatorRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    ProduceRequest, ResponseKind, TopicName,
};

const LIMIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "limited";

fn text(word: &str) -> StrBytes {
    StrBytes::from_string(word.to_owned())
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Gives a client a limit.
fn limit(asker: &mut Asker, client: &str, key: &str, value: f64) {
    let entity = EntityData::default()
        .with_entity_type(text("client-id"))
        .with_entity_name(Some(text(client)));
    let op = OpData::default().with_key(text(key)).with_value(value);
    let entry = EntryData::default()
        .with_entity(vec![entity])
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let ResponseKind::AlterClientQuotas(answer) = asker.ask(Api::AlterClientQuotas, request) else {
        panic!("another answer than was asked for");
    };
    assert_eq!(answer.entries[0].error_code, 0, "{answer:?}");
}

/// Produces one batch of about so many bytes; the delay told.
fn produce(asker: &mut Asker, bytes: usize) -> i32 {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), None, Some(&vec![b'x'; bytes]), &[])
        .unwrap();
    let records = batch.build().unwrap();
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(50_000)
        .with_topic_data(vec![topic]);
    let ResponseKind::Produce(answer) = asker.ask_as(Api::Produce, 9, request) else {
        panic!("another answer than was asked for");
    };
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    answer.throttle_time_ms
}

fn fetch(asker: &mut Asker) -> FetchResponse {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(0)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let ResponseKind::Fetch(answer) = asker.ask_as(Api::Fetch, 12, request) else {
        panic!("another answer than was asked for");
    };
    answer
}

fn create(asker: &mut Asker, name: &str, partitions: i32) -> CreateTopicsResponse {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(50_000);
    let ResponseKind::CreateTopics(answer) = asker.ask_as(Api::CreateTopics, 7, request) else {
        panic!("another answer than was asked for");
    };
    answer
}

fn records_of(answer: &FetchResponse) -> usize {
    answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.records.as_ref().map_or(0, Bytes::len))
        .sum()
}

#[test]
fn who_overdraws_a_quota_is_told_for_how_long_and_waits_that_long() {
    let dir = tempfile::tempdir().unwrap();
    let against = std::env::var("ROTPETER_AGAINST").ok();
    let single = against
        .is_none()
        .then(|| Single::start(dir.path(), &["log.retention.ms=-1"]));
    let at = against.unwrap_or_else(|| single.as_ref().unwrap().bootstrap());
    let mut admin = Asker::connect(&at, "admin");
    admin.create_topic(TOPIC, 1, &[("retention.ms", "-1")]);
    assert_eq!(produce(&mut admin, 20_000), 0);
    limit(&mut admin, "writer", "producer_byte_rate", 1000.0);
    limit(&mut admin, "reader", "consumer_byte_rate", 1000.0);
    limit(&mut admin, "maker", "controller_mutation_rate", 1.0);
    limit(&mut admin, "busy", "request_percentage", 0.001);
    limit(&mut admin, "probe", "producer_byte_rate", 1.0);
    // Limits arrive in the order they were set.
    wait::until("the last limit to be obeyed", LIMIT, || {
        (produce(&mut Asker::connect(&at, "probe"), 100) > 0).then_some(())
    });

    let mut writer = Asker::connect(&at, "writer");
    // Counted from before the first: a test that is slow itself sees longer waits, not shorter ones.
    let began = Instant::now();
    let told = produce(&mut writer, 11_000);
    println!("11000 bytes at 1000 a second: {told} ms");
    assert!((900..3000).contains(&told), "{told}");
    produce(&mut writer, 1);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(u64::try_from(told - 100).unwrap()),
        "answered after {waited:?} where {told} ms were told"
    );

    let answer = fetch(&mut Asker::connect(&at, "reader"));
    println!("a fetch of 20000 at 1000: {} ms", answer.throttle_time_ms);
    assert!(
        (9_000..11_500).contains(&answer.throttle_time_ms),
        "{answer:?}"
    );
    assert_eq!(records_of(&answer), 0, "a throttled fetch gives nothing");

    let mut maker = Asker::connect(&at, "maker");
    let made = create(&mut maker, "made", 60);
    assert_eq!(
        (made.topics[0].error_code, made.throttle_time_ms),
        (0, 0),
        "{made:?}"
    );
    let refused = create(&mut maker, "not-made", 1);
    println!("mutations: {refused:?}");
    assert_eq!(
        refused.topics[0].error_code, 89,
        "THROTTLING_QUOTA_EXCEEDED"
    );
    assert_eq!(refused.topics[0].error_message, None);
    assert!(
        (1..=49_000).contains(&refused.throttle_time_ms),
        "{refused:?}"
    );

    let mut busy = Asker::connect(&at, "busy");
    let told = wait::until("the request quota to be overdrawn", LIMIT, || {
        let asked = busy.ask(Api::Metadata, MetadataRequest::default());
        let ResponseKind::Metadata(answer) = asked else {
            panic!("another answer than was asked for");
        };
        (answer.throttle_time_ms > 0).then_some(answer.throttle_time_ms)
    });
    println!("request time: {told} ms");
    assert!(told <= 1000, "one window at most, {told}");
}

/// Ended by the broker within the limit, without a byte.
fn ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &["max.connections.per.ip=2"]);
    single
        .process
        .announce(&["refused a connection: max.connections.per.ip is reached"]);
    let at = single.bootstrap();
    let mut held: Vec<Asker> = Vec::new();
    // The one that waited for the port may still be counted.
    wait::until("two places", LIMIT, || {
        held.extend(Asker::try_connect(&at, "held"));
        (held.len() == 2).then_some(())
    });
    assert!(ended(&mut TcpStream::connect(&at).unwrap()));
    held.pop();
    wait::until("the place to be free again", LIMIT, || {
        Asker::try_connect(&at, "held").ok()
    });
}

#[test]
fn a_full_broker_serves_the_next_connection_when_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["max.connections=1"]);
    let at = single.bootstrap();
    let first = Asker::connect(&at, "first");
    let next = std::thread::spawn({
        let at = at.clone();
        move || Asker::connect(&at, "next")
    });
    // Not a wait for anything: a broker that refuses would have failed the other by then.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!next.is_finished());
    drop(first);
    next.join().unwrap();
}

#[test]
fn long_descriptions_for_many_hold_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let at = single.bootstrap();
    let mut asker = Asker::connect(&at, "first");
    let ResponseKind::Metadata(told) = asker.ask(Api::Metadata, MetadataRequest::default()) else {
        panic!("another answer than was asked for");
    };
    // All of a broker's settings lie in its memory: nothing is waited for between them.
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text(&told.brokers[0].node_id.0.to_string()));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 2_000]);
    let header = RequestHeader {
        api: Api::DescribeConfigs,
        version: 4,
        correlation_id: 1,
        client_id: Some(text("long")),
    };
    let frame = encode_request(&header, &request.into()).unwrap();
    // More of them than there are threads that carry connections.
    let count = std::thread::available_parallelism().unwrap().get() + 3;
    let mut long: Vec<TcpStream> = (0..count)
        .map(|_| TcpStream::connect(&at).unwrap())
        .collect();
    for stream in &mut long {
        stream.write_all(&frame).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    let mut asked = 0;
    while long.iter().all(|stream| stream.peek(&mut [0]).is_err()) {
        asker.ask(Api::ApiVersions, ApiVersionsRequest::default());
        asked += 1;
    }
    assert!(asked > 5, "{asked} were answered before the first long one");
}

/// A group of one member that was given so many bytes, and has noted as much with its offsets.
fn large_group(asker: &mut Asker, group: &GroupId, partitions: i32, note_bytes: usize) {
    let assignment = vec![0; note_bytes * partitions as usize].into();
    let given = (Bytes::new(), assignment);
    let member = Alone::join(asker, group.clone(), (60_000, 60_000), given);
    let note = "x".repeat(note_bytes);
    let offsets = (0..partitions).map(|partition| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_metadata(Some(text(&note)))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name())
        .with_partitions(offsets.collect());
    let commit = OffsetCommitRequest::default().with_topics(vec![topic]);
    member.commit(asker, 8, commit);
}

#[test]
fn one_large_group_that_is_named_again_and_again_makes_no_endless_answer() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let mut asker = Asker::connect(&single.bootstrap(), "asker");
    let (partitions, note_bytes) = (100, 4_000);
    asker.create_topic(TOPIC, partitions, &[]);
    let find = FindCoordinatorRequest::default().with_key(text("large"));
    asker.ask_as(Api::FindCoordinator, 3, find);
    let group = GroupId(text("large"));
    large_group(&mut asker, &group, partitions, note_bytes);

    let each = note_bytes * partitions as usize;
    let often = 100;
    // What was told again took sixteen megabytes; and once it was told before.
    let told_max = (16 << 20) / each + 2;
    let check = |codes: Vec<i16>| {
        let told = codes.iter().take_while(|code| **code == 0).count();
        assert!((told_max - 2..=told_max).contains(&told), "{codes:?}");
        assert_eq!(codes[told..], vec![42; often - told]);
    };
    let describe = DescribeGroupsRequest::default().with_groups(vec![group.clone(); often]);
    let ResponseKind::DescribeGroups(answer) = asker.ask_as(Api::DescribeGroups, 5, describe)
    else {
        panic!("another answer than was asked for");
    };
    check(answer.groups.iter().map(|told| told.error_code).collect());
    let all = OffsetFetchRequestGroup::default()
        .with_group_id(group)
        .with_topics(None);
    let fetch = OffsetFetchRequest::default().with_groups(vec![all; often]);
    let ResponseKind::OffsetFetch(answer) = asker.ask_as(Api::OffsetFetch, 8, fetch) else {
        panic!("another answer than was asked for");
    };
    check(answer.groups.iter().map(|told| told.error_code).collect());
}

#[test]
fn a_request_whose_answer_would_fill_the_memory_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &[]);
    single
        .process
        .announce(&["closed a connection that does not speak Kafka's protocol"]);
    let of_none = |count: i32| {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name())
            .with_partition_indexes((0..count).collect());
        OffsetFetchRequest::default()
            .with_group_id(GroupId(text("none")))
            .with_topics(Some(vec![topic]))
    };
    let connect = || Asker::connect(&single.bootstrap(), "asker");
    // Eighteen megabytes that ask for more than a thousand.
    let refused = connect().try_ask(Api::OffsetFetch, 7, of_none(4_500_000));
    assert!(refused.is_err());
    connect().ask_as(Api::OffsetFetch, 7, of_none(500_000));
}

#[test]
fn a_silent_connection_is_ended_and_one_that_waits_for_records_is_not() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than a loaded machine keeps this test from asking its next question.
    let single = Single::start(dir.path(), &["connections.max.idle.ms=3000"]);
    let at = single.bootstrap();
    let began = Instant::now();
    assert!(ended(&mut TcpStream::connect(&at).unwrap()));
    assert!(began.elapsed() >= Duration::from_millis(2900));
    let mut asker = Asker::connect(&at, "waiting");
    asker.create_topic(TOPIC, 1, &[]);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![
            FetchPartition::default().with_partition_max_bytes(100),
        ]);
    let request = FetchRequest::default()
        .with_max_wait_ms(6000)
        .with_min_bytes(1)
        .with_max_bytes(100)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let answer = asker.try_ask(Api::Fetch, 12, request);
    assert!(answer.is_ok(), "{:?}", answer.err());
}

#[test]
fn who_takes_a_long_answer_slowly_is_not_idle() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["connections.max.idle.ms=4000"]);
    let mut asker = Asker::connect(&single.bootstrap(), "writer");
    asker.create_topic(TOPIC, 1, &[]);
    // More than sockets hold.
    let count = 20;
    for _ in 0..count {
        produce(&mut asker, 1_000_000);
    }
    let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let header = RequestHeader {
        api: Api::Fetch,
        version: 12,
        correlation_id: 1,
        client_id: Some(text("slow")),
    };
    let mut reader = TcpStream::connect(single.bootstrap()).unwrap();
    let frame = encode_request(&header, &request.into()).unwrap();
    reader.write_all(&frame).unwrap();
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).unwrap();
    let len = usize::try_from(i32::from_be_bytes(prefix)).unwrap();
    assert!(len > count * 1_000_000, "{len}");
    let (began, mut left, mut piece) = (Instant::now(), len, vec![0; 1 << 18]);
    while left > 0 {
        let wanted = left.min(piece.len());
        let read = reader.read_exact(&mut piece[..wanted]);
        assert!(read.is_ok(), "{left} of {len} bytes were left");
        left -= wanted;
        if began.elapsed() < Duration::from_secs(7) {
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// A broker with a listener for brokers, which is its port, and one for clients.
fn with_two_listeners(dir: &std::path::Path, overrides: &[&str]) -> (Single, String) {
    let (port, clients) = (free_port(), free_port());
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{clients}");
    let mut all = vec![
        listeners.as_str(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CLIENTS:PLAINTEXT",
        "inter.broker.listener.name=PLAINTEXT",
    ];
    all.extend(overrides);
    let single = Single::start_on(dir, port, &all);
    (single, format!("127.0.0.1:{clients}"))
}

#[test]
fn brokers_get_in_where_clients_fill_the_broker_and_the_quietest_client_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (single, clients) = with_two_listeners(dir.path(), &["max.connections=2"]);
    let mut quietest = TcpStream::connect(&clients).unwrap();
    // Served, so the one before it is as well. The broker's look at its own addresses takes no place.
    let mut busy = Asker::connect(&clients, "busy");
    let _broker = Asker::connect(&single.bootstrap(), "broker");
    assert!(ended(&mut quietest));
    busy.ask(Api::Metadata, MetadataRequest::default());
}

#[test]
fn a_full_listener_lets_its_next_one_wait_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let bound = "listener.name.clients.max.connections=1";
    let (single, clients) = with_two_listeners(dir.path(), &[bound]);
    let first = Asker::connect(&clients, "first");
    let next = std::thread::spawn(move || Asker::connect(&clients, "next"));
    let _others = [(); 3].map(|()| Asker::connect(&single.bootstrap(), "other"));
    assert!(!next.is_finished());
    drop(first);
    next.join().unwrap();
}

#[test]
fn connections_that_come_faster_than_they_may_are_served_later() {
    let dir = tempfile::tempdir().unwrap();
    let rate = [
        "max.connection.creation.rate=1",
        "quota.window.num=2",
        "quota.window.size.seconds=1",
    ];
    let single = Single::start(dir.path(), &rate);
    let began = Instant::now();
    for _ in 0..4 {
        Asker::connect(&single.bootstrap(), "comer");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "four within {took:?}");
}

#[test]
fn many_who_do_not_speak_kafkas_protocol_are_one_line_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &[]);
    single
        .process
        .announce(&["closed a connection that does not speak Kafka's protocol"]);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(single.bootstrap()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(ended(&mut stream));
    }
    let lines = || {
        let log = single.process.log();
        log.matches("does not speak Kafka's protocol").count()
    };
    wait::until("the line", LIMIT, || (lines() > 0).then_some(()));
    assert_eq!(lines(), 1);
}

/// Asks about three hundred topics with long names, at two thousand bytes a second; the answer's
/// length.
fn send_slowly(at: &str) -> u32 {
    // Metadata, version 1, number 1, no name of the client's.
    let mut frame = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    frame.extend(300_i32.to_be_bytes());
    for number in 0..300 {
        frame.extend(240_i16.to_be_bytes());
        frame.extend(format!("{number:0240}").bytes());
    }
    let mut stream = TcpStream::connect(at).unwrap();
    let length = i32::try_from(frame.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    for piece in frame.chunks(2000) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    u32::from_be_bytes(length)
}

#[test]
#[ignore = "takes more than half a minute, of waiting"]
fn a_request_that_drips_is_ended_and_one_that_comes_slowly_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["auto.create.topics.enable=false"]);
    let at = single.bootstrap();
    let slow = std::thread::spawn({
        let at = at.clone();
        move || send_slowly(&at)
    });
    let mut drip = TcpStream::connect(&at).unwrap();
    drip.write_all(&1000_i32.to_be_bytes()).unwrap();
    drip.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let began = Instant::now();
    wait::until("the drip to be ended", LIMIT, || {
        let sent = drip.write_all(&[0]);
        match drip.read(&mut [0; 1]) {
            Ok(0) => Some(()),
            Ok(_) => panic!("answered"),
            Err(e) if sent.is_err() || e.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
            Err(_quiet) => None,
        }
    });
    assert!(began.elapsed() >= Duration::from_secs(29));
    assert!(slow.join().unwrap() > 70_000, "all names are told about");
}

//! Frames that are encoded once and sent many times; only the correlation id is written anew.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::kafka::apis::Api;
use protocol::kafka::codec;
use protocol::kafka::header::{RequestHeader, read_answer_header};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, MetadataRequest,
    ProduceRequest, RequestKind, ResponseKind, TopicName,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Versions every broker of the comparison speaks.
pub const PRODUCE_VERSION: i16 = 7;
pub const FETCH_VERSION: i16 = 11;

/// Where the correlation id stands in a frame: after length, key and version.
const CORRELATION_AT: usize = 8;
/// Ten thousand partitions take Kafka half a minute on a quiet machine.
const CREATE_TIMEOUT_MS: i32 = 300_000;
const ANSWER_BYTES_MAX: usize = 1 << 30;

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A whole frame, its length included.
pub fn frame(api: Api, version: i16, request: &RequestKind) -> Result<BytesMut> {
    let client_id = Some(StrBytes::from_static_str("load"));
    let header = RequestHeader {
        api,
        version,
        correlation_id: 0,
        client_id,
    };
    Ok(BytesMut::from(
        &codec::encode_request(&header, request)?[..],
    ))
}

pub fn number(frame: &mut [u8], correlation_id: i32) {
    frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
}

/// One batch of `records` records of `record_bytes` that no codec makes much smaller.
pub fn batch(records: usize, record_bytes: usize, codec: Codec) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(codec);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut value = vec![0; record_bytes];
    // Of today: retention takes records of long ago away while they are measured.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    for n in 0..records {
        for (at, byte) in value.iter_mut().enumerate() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Half noise, half text: about what records of services compress to.
            *byte = if at % 2 == 0 {
                b'a' + (state % 26) as u8
            } else {
                b"record "[at % 7]
            };
        }
        builder.push(now_ms + n as i64, None, Some(&value[..]), &[])?;
    }
    Ok(builder.build()?)
}

pub fn produce(topic: &str, partition: i32, records: Bytes, acks: i16) -> Result<BytesMut> {
    let partition = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    frame(
        Api::Produce,
        PRODUCE_VERSION,
        &RequestKind::Produce(request),
    )
}

/// A fetch of one partition, framed.
pub fn fetch(
    topic: &str,
    partition: i32,
    offset: i64,
    bytes: i32,
    wait_ms: i32,
) -> Result<BytesMut> {
    let asked = fetch_request(topic, partition, offset, bytes, wait_ms);
    frame(Api::Fetch, FETCH_VERSION, &asked)
}

/// A fetch of one partition, without a session.
pub fn fetch_request(
    topic: &str,
    partition: i32,
    offset: i64,
    bytes: i32,
    wait_ms: i32,
) -> RequestKind {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(bytes);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bytes)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    RequestKind::Fetch(request)
}

/// One connection, asked one thing at a time.
pub struct Caller {
    pub stream: TcpStream,
}

impl Caller {
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream })
    }

    pub async fn ask(
        &mut self,
        api: Api,
        version: i16,
        request: &RequestKind,
    ) -> Result<ResponseKind> {
        self.stream
            .write_all(&frame(api, version, request)?)
            .await?;
        let answer = read_frame(&mut self.stream).await?;
        let (_, body) = read_answer_header(api, version, &answer)?;
        Ok(codec::decode_response(api, version, body)?)
    }

    /// Makes a topic, if it is not there, and waits until all its partitions have leaders.
    pub async fn make_topic(&mut self, name: &str, partitions: i32) -> Result<()> {
        self.make_topic_with(name, partitions, &[]).await
    }

    /// The same with settings, each `key=value`.
    pub async fn make_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[String],
    ) -> Result<()> {
        self.create_topic(name, partitions, settings).await?;
        self.wait_for_leaders(name, partitions).await
    }

    /// Asks for a topic; one that is there already is as good.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[String],
    ) -> Result<()> {
        let settings = settings.iter().map(|setting| {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.to_owned()))
                .with_value(Some(StrBytes::from_string(value.to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_configs(settings.collect())
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(CREATE_TIMEOUT_MS)
            .with_topics(vec![topic]);
        let asked = RequestKind::CreateTopics(request);
        let ResponseKind::CreateTopics(answer) = self.ask(Api::CreateTopics, 4, &asked).await?
        else {
            bail!("not an answer to CreateTopics");
        };
        // 36: it is there already.
        ensure!(
            answer
                .topics
                .iter()
                .all(|topic| [0, 36].contains(&topic.error_code)),
            "{:?}",
            answer.topics
        );
        Ok(())
    }

    pub async fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_timeout_ms(60_000)
            .with_topic_names(vec![topic_name(name)]);
        let asked = RequestKind::DeleteTopics(request);
        let ResponseKind::DeleteTopics(answer) = self.ask(Api::DeleteTopics, 3, &asked).await?
        else {
            bail!("not an answer to DeleteTopics");
        };
        // 3: there is none.
        ensure!(
            answer
                .responses
                .iter()
                .all(|topic| [0, 3].contains(&topic.error_code)),
            "{:?}",
            answer.responses
        );
        Ok(())
    }

    /// Asks for the topic's metadata until every partition has a leader.
    pub async fn wait_for_leaders(&mut self, name: &str, partitions: i32) -> Result<()> {
        loop {
            let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            let request =
                RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![topic])));
            let ResponseKind::Metadata(answer) = self.ask(Api::Metadata, 4, &request).await? else {
                bail!("not an answer to Metadata");
            };
            let led = |topic: &protocol::messages::metadata_response::MetadataResponseTopic| {
                topic.error_code == 0
                    && topic.partitions.len() as i32 >= partitions
                    && topic
                        .partitions
                        .iter()
                        .all(|partition| partition.error_code == 0)
            };
            if answer.topics.iter().all(led) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

pub async fn read_frame(stream: &mut TcpStream) -> Result<Bytes> {
    let len = usize::try_from(stream.read_i32().await?)?;
    ensure!(len <= ANSWER_BYTES_MAX, "an answer of {len} bytes");
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await?;
    Ok(frame.into())
}

/// Takes whole answers off the front of what was received and gives each body's error code to
/// `check`; returns how many there were. Produce, version 7, one partition a request.
pub fn count_produced(received: &mut BytesMut) -> Result<usize> {
    let mut count = 0;
    while let Some(prefix) = received.first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*prefix))?;
        if received.len() < 4 + len {
            break;
        }
        let frame = &received[4..4 + len];
        // correlation (4), topics (4), name (2 + n), partitions (4), index (4), error (2).
        let name = usize::from(u16::from_be_bytes([frame[8], frame[9]]));
        let at = 4 + 4 + 2 + name + 4 + 4;
        let error = i16::from_be_bytes([frame[at], frame[at + 1]]);
        ensure!(error == 0, "a produce was answered with error {error}");
        received.advance(4 + len);
        count += 1;
    }
    Ok(count)
}

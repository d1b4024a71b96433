//! Produce, versions 0 to 11.

use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::StrBytes;

use crate::kafka::apis::Api;
use crate::kafka::codec::CodecError;
use crate::kafka::data::read::Reader;
use crate::kafka::data::write::Writer;
use crate::kafka::data::{CurrentLeader, NodeEndpoint};
use crate::kafka::reply::Reply;
use crate::kafka::shape::Malformed;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0, 1 or −1 (all); anything else is the caller's to refuse.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    pub name: StrBytes,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    /// A slice of the request's frame; not looked into yet.
    pub records: Option<Bytes>,
}

/// Reads a Produce body; one that ends early or counts more than is there is malformed.
pub fn decode_produce(version: i16, body: &Bytes) -> Result<ProduceRequest, CodecError> {
    read(version, body).map_err(|cause| CodecError::Malformed {
        api: Api::Produce,
        version,
        cause,
    })
}

fn read(version: i16, body: &Bytes) -> Result<ProduceRequest, Malformed> {
    if !Api::Produce.has_version(version) {
        return Err(Malformed::Version {
            api: Api::Produce,
            version,
        });
    }
    let mut reader = Reader::new(body, Api::Produce.is_flexible(version));
    let transactional_id = if version >= 3 {
        reader.text_or_null()?
    } else {
        None
    };
    let acks = reader.walk.i16()?;
    let timeout_ms = reader.walk.i32()?;
    let topics = reader.list(3, |reader| {
        let name = reader.text()?;
        let partitions = reader.list(6, |reader| {
            let index = reader.walk.i32()?;
            let records = reader.records()?;
            reader.no_tags()?;
            Ok(ProducePartition { index, records })
        })?;
        reader.no_tags()?;
        Ok(ProduceTopic { name, partitions })
    })?;
    reader.no_tags()?;
    Ok(ProduceRequest {
        transactional_id,
        acks,
        timeout_ms,
        topics,
    })
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceAnswer {
    pub topics: Vec<ProduceTopicAnswer>,
    pub throttle_time_ms: i32,
    /// Told from version 10 on, and only when a `current_leader` is.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopicAnswer {
    pub name: StrBytes,
    pub partitions: Vec<ProducePartitionAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionAnswer {
    pub index: i32,
    pub error_code: i16,
    pub base_offset: i64,
    /// −1 unless the topic stamps records when it appends them.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub record_errors: Vec<RecordFault>,
    pub error_message: Option<StrBytes>,
    pub current_leader: Option<CurrentLeader>,
}

/// Which record of a refused batch was at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    pub batch_index: i32,
    pub message: Option<StrBytes>,
}

impl ProducePartitionAnswer {
    /// A partition's refusal, with the offsets Kafka sends beside one.
    pub fn refusal(index: i32, error_code: i16) -> Self {
        ProducePartitionAnswer {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

/// Writes the whole answer; what the version does not have is left out.
pub fn encode_produce_answer(
    version: i16,
    correlation_id: i32,
    answer: &ProduceAnswer,
) -> Result<Reply, CodecError> {
    let partitions: usize = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let guess = 32 + answer.topics.len() * 32 + partitions * 48;
    let mut writer = Writer::new(Api::Produce, version, correlation_id, guess);
    writer.count(answer.topics.len());
    for topic in &answer.topics {
        writer.text(&topic.name);
        writer.count(topic.partitions.len());
        for partition in &topic.partitions {
            write_partition(&mut writer, version, partition);
        }
        writer.no_tags();
    }
    if version >= 1 {
        writer.head.put_i32(answer.throttle_time_ms);
    }
    writer.node_endpoints(version >= 10, &answer.node_endpoints);
    writer.finish()
}

fn write_partition(writer: &mut Writer, version: i16, partition: &ProducePartitionAnswer) {
    writer.head.put_i32(partition.index);
    writer.head.put_i16(partition.error_code);
    writer.head.put_i64(partition.base_offset);
    if version >= 2 {
        writer.head.put_i64(partition.log_append_time_ms);
    }
    if version >= 5 {
        writer.head.put_i64(partition.log_start_offset);
    }
    if version >= 8 {
        writer.count(partition.record_errors.len());
        for fault in &partition.record_errors {
            writer.head.put_i32(fault.batch_index);
            writer.text_or_null(fault.message.as_deref());
            writer.no_tags();
        }
        writer.text_or_null(partition.error_message.as_deref());
    }
    match partition.current_leader {
        Some(leader) if version >= 10 => {
            // One tagged field: tag 0, nine bytes, the last of them the struct's own tags.
            writer.head.put_slice(&[1, 0, 9]);
            writer.head.put_i32(leader.leader_id);
            writer.head.put_i32(leader.leader_epoch);
            writer.head.put_u8(0);
        }
        _ => writer.no_tags(),
    }
}

//! Fetch, versions 0 to 17: by topic name up to 12, by topic id from 13 on.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::StrBytes;

use crate::ids::TopicId;
use crate::kafka::apis::Api;
use crate::kafka::codec::CodecError;
use crate::kafka::data::read::Reader;
use crate::kafka::data::write::Writer;
use crate::kafka::data::{CurrentLeader, NodeEndpoint};
use crate::kafka::reply::{Part, Reply};
use crate::kafka::shape::Malformed;

/// Who fetches, where it is a follower. Up to version 14 only the id is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// −1 for a consumer.
    pub replica_id: i32,
    /// −1 where not told.
    pub replica_epoch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    pub cluster_id: Option<StrBytes>,
    pub replica: ReplicaState,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub isolation_level: i8,
    pub session_id: i32,
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten_topics: Vec<ForgottenTopic>,
    pub rack_id: StrBytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Empty from version 13 on.
    pub name: StrBytes,
    /// Zero up to version 12.
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub index: i32,
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub log_start_offset: i64,
    pub max_bytes: i32,
    /// Zero where not told.
    pub replica_directory_id: TopicId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub name: StrBytes,
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

/// Reads a Fetch body; one that ends early or counts more than is there is malformed.
pub fn decode_fetch(version: i16, body: &Bytes) -> Result<FetchRequest, CodecError> {
    read(version, body).map_err(|cause| CodecError::Malformed {
        api: Api::Fetch,
        version,
        cause,
    })
}

fn read(version: i16, body: &Bytes) -> Result<FetchRequest, Malformed> {
    if !Api::Fetch.has_version(version) {
        return Err(Malformed::Version {
            api: Api::Fetch,
            version,
        });
    }
    let mut reader = Reader::new(body, Api::Fetch.is_flexible(version));
    let mut replica = ReplicaState {
        replica_id: -1,
        replica_epoch: -1,
    };
    if version <= 14 {
        replica.replica_id = reader.walk.i32()?;
    }
    let max_wait_ms = reader.walk.i32()?;
    let min_bytes = reader.walk.i32()?;
    let max_bytes = if version >= 3 {
        reader.walk.i32()?
    } else {
        i32::MAX
    };
    let isolation_level = if version >= 4 {
        reader.walk.u8()? as i8
    } else {
        0
    };
    let session_id = if version >= 7 { reader.walk.i32()? } else { 0 };
    let session_epoch = if version >= 7 { reader.walk.i32()? } else { -1 };
    let topics = reader.list(3, |reader| {
        let (name, topic_id) = topic_name(reader, version)?;
        let partitions = reader.list(16, |reader| partition(reader, version))?;
        reader.no_tags()?;
        Ok(FetchTopic {
            name,
            topic_id,
            partitions,
        })
    })?;
    let mut forgotten_topics = Vec::new();
    if version >= 7 {
        forgotten_topics = reader.list(3, |reader| {
            let (name, topic_id) = topic_name(reader, version)?;
            let partitions = reader.list(4, |reader| reader.walk.i32())?;
            reader.no_tags()?;
            Ok(ForgottenTopic {
                name,
                topic_id,
                partitions,
            })
        })?;
    }
    let rack_id = if version >= 11 {
        reader.text()?
    } else {
        StrBytes::default()
    };
    let mut cluster_id = None;
    reader.tags(|reader, tag| match tag {
        0 => {
            cluster_id = reader.text_or_null()?;
            Ok(true)
        }
        1 if version >= 15 => {
            replica.replica_id = reader.walk.i32()?;
            replica.replica_epoch = reader.walk.i64()?;
            reader.no_tags()?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(FetchRequest {
        cluster_id,
        replica,
        max_wait_ms,
        min_bytes,
        max_bytes,
        isolation_level,
        session_id,
        session_epoch,
        topics,
        forgotten_topics,
        rack_id,
    })
}

fn topic_name(reader: &mut Reader, version: i16) -> Result<(StrBytes, TopicId), Malformed> {
    if version >= 13 {
        Ok((StrBytes::default(), reader.topic_id()?))
    } else {
        Ok((reader.text()?, TopicId::ZERO))
    }
}

fn partition(reader: &mut Reader, version: i16) -> Result<FetchPartition, Malformed> {
    let index = reader.walk.i32()?;
    let current_leader_epoch = if version >= 9 { reader.walk.i32()? } else { -1 };
    let fetch_offset = reader.walk.i64()?;
    let last_fetched_epoch = if version >= 12 {
        reader.walk.i32()?
    } else {
        -1
    };
    let log_start_offset = if version >= 5 { reader.walk.i64()? } else { -1 };
    let max_bytes = reader.walk.i32()?;
    let mut replica_directory_id = TopicId::ZERO;
    reader.tags(|reader, tag| match tag {
        0 if version >= 17 => {
            replica_directory_id = reader.topic_id()?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(FetchPartition {
        index,
        current_leader_epoch,
        fetch_offset,
        last_fetched_epoch,
        log_start_offset,
        max_bytes,
        replica_directory_id,
    })
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchAnswer {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub session_id: i32,
    pub topics: Vec<FetchTopicAnswer>,
    /// Told from version 16 on, and only when a `current_leader` is.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopicAnswer {
    /// Written up to version 12.
    pub name: Arc<str>,
    /// Written from version 13 on.
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartitionAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionAnswer {
    pub index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Told to followers whose log went another way.
    pub diverging_epoch: Option<DivergingEpoch>,
    pub current_leader: Option<CurrentLeader>,
    /// `None` is null on the wire (read uncommitted); an empty list is an empty list.
    pub aborted: Option<Vec<Aborted>>,
    /// −1 for none.
    pub preferred_read_replica: i32,
    /// In order; none of them means an empty record set, never a null one.
    /// Kafka: librdkafka refuses a size of −1 (KAFKA-18646).
    pub records: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    pub epoch: i32,
    pub end_offset: i64,
}

/// A transaction whose records in this answer must be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
}

impl FetchPartitionAnswer {
    /// A partition's refusal, with the offsets Kafka sends beside one.
    pub fn refusal(index: i32, error_code: i16) -> Self {
        FetchPartitionAnswer {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }
}

/// Writes the whole answer; what the version does not have is left out.
pub fn encode_fetch_answer(
    version: i16,
    correlation_id: i32,
    answer: &FetchAnswer,
) -> Result<Reply, CodecError> {
    let partitions: usize = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let guess = 64 + answer.topics.len() * 32 + partitions * 64;
    let mut writer = Writer::new(Api::Fetch, version, correlation_id, guess);
    if version >= 1 {
        writer.head.put_i32(answer.throttle_time_ms);
    }
    if version >= 7 {
        writer.head.put_i16(answer.error_code);
        writer.head.put_i32(answer.session_id);
    }
    writer.count(answer.topics.len());
    for topic in &answer.topics {
        if version >= 13 {
            writer.topic_id(topic.topic_id);
        } else {
            writer.text(&topic.name);
        }
        writer.count(topic.partitions.len());
        for partition in &topic.partitions {
            write_partition(&mut writer, version, partition);
        }
        writer.no_tags();
    }
    writer.node_endpoints(version >= 16, &answer.node_endpoints);
    writer.finish()
}

fn write_partition(writer: &mut Writer, version: i16, partition: &FetchPartitionAnswer) {
    writer.head.put_i32(partition.index);
    writer.head.put_i16(partition.error_code);
    writer.head.put_i64(partition.high_watermark);
    if version >= 4 {
        writer.head.put_i64(partition.last_stable_offset);
    }
    if version >= 5 {
        writer.head.put_i64(partition.log_start_offset);
    }
    if version >= 4 {
        match &partition.aborted {
            None => writer.null_list(),
            Some(aborted) => {
                writer.count(aborted.len());
                for transaction in aborted {
                    writer.head.put_i64(transaction.producer_id);
                    writer.head.put_i64(transaction.first_offset);
                    writer.no_tags();
                }
            }
        }
    }
    if version >= 11 {
        writer.head.put_i32(partition.preferred_read_replica);
    }
    writer.records(&partition.records);
    if writer.flexible {
        write_partition_tags(writer, partition);
    }
}

fn write_partition_tags(writer: &mut Writer, partition: &FetchPartitionAnswer) {
    let tags = [
        partition.diverging_epoch.is_some(),
        partition.current_leader.is_some(),
    ];
    writer
        .head
        .put_u8(tags.iter().filter(|there| **there).count() as u8);
    if let Some(diverging) = partition.diverging_epoch {
        writer.head.put_slice(&[0, 13]);
        writer.head.put_i32(diverging.epoch);
        writer.head.put_i64(diverging.end_offset);
        writer.head.put_u8(0);
    }
    if let Some(leader) = partition.current_leader {
        writer.head.put_slice(&[1, 9]);
        writer.head.put_i32(leader.leader_id);
        writer.head.put_i32(leader.leader_epoch);
        writer.head.put_u8(0);
    }
}

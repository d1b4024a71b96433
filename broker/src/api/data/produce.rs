//! Produce: records in, acks out; versions 0 to 11.
//!
//! Runs to its end on the worker that read it. What must wait (acks of followers, a sync, a slow
//! directory) is returned as a future; the records themselves are in the log by then, so the next
//! produce of the connection may run.
//! Kafka: `KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`.
//!
//! Hot path: one allocation a topic, none a record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::last::last_of_each;
use bytes::Bytes;
use protocol::StrBytes;
use protocol::batch::{Codec, split};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::CodecError;
use protocol::kafka::data::{
    ProduceAnswer, ProducePartition, ProducePartitionAnswer, ProduceTopic, ProduceTopicAnswer,
    RecordFault, decode_produce, encode_produce_answer,
};
use protocol::kafka::errors::ErrorCode;
use protocol::names;
use replication::append::{Acks, Append, AppendAnswer, Turn, Wait, append};
use replication::error::Refusal;
use replication::partition::Partition;
use replication::replicas::Replicas;
use replication::waiting::Stay;
use storage::error::AppendRefusal;
use storage::log::Origin;
use tracing::debug;

use crate::api::answer::{Answer, Later, Outcome, Part};
use crate::api::data::leader::{current_leader, find};
use crate::api::errors;
use crate::api::request::Context;
use crate::api::toll::Toll;
use crate::measures::{Requests, Waits};
use crate::metadata::{Image, Metadata};
use crate::quota::Kind;

/// The one client that may write to internal topics by hand.
const ADMIN_CLIENT: &str = "__admin_client";
/// Since this version an answer names the leader that should have been asked.
const TELLS_LEADER_SINCE: i16 = 10;

/// One partition of the request, answered or not.
enum Entry {
    Told(ProducePartitionAnswer),
    Waits { index: i32, wait: Wait },
}

/// A request whose appends are done or on their way.
struct Written {
    context: Context,
    acks: i16,
    topics: Vec<(StrBytes, Vec<Entry>)>,
    toll: Toll,
    /// What the request took on the wire.
    bytes: usize,
}

/// The first version that may send batches compressed by zstd.
const ZSTD_FROM: i16 = 7;
/// Where a batch says of which age it is.
const AT_MAGIC: usize = 16;

/// Appends everything; answers now where nothing is left to wait for.
pub(crate) fn answer(
    context: Context,
    replicas: &Arc<Replicas>,
    metadata: &Arc<Metadata>,
    requests: &Arc<Requests>,
    (toll, bytes): (Toll, usize),
    body: &Bytes,
) -> Result<Outcome, CodecError> {
    let request = decode_produce(context.version, body)?;
    let image = metadata.image();
    let is_owned = request.transactional_id.is_some();
    let spoilt = spoilt(context.version, is_owned, &request.topics, &image);
    let asked = as_map(request.topics);
    let acks = Acks::from_wire(request.acks);
    let internal_allowed = &*context.client_id == ADMIN_CLIENT;
    let mut turn = Turn::begin();
    let mut waits = false;
    let topics = asked.into_iter().map(|topic| {
        let is_closed = !internal_allowed && names::is_internal(&topic.name);
        let write = |partition: ProducePartition| {
            let index = partition.index;
            if let Some((code, words)) = &spoilt {
                return Entry::Told(ProducePartitionAnswer {
                    error_message: words.clone().map(StrBytes::from_string),
                    ..ProducePartitionAnswer::refusal(index, code.code())
                });
            }
            let found = find(replicas, &image, &topic.name, index);
            if found.is_err() && image.partition(&topic.name, index).is_none() {
                return refused(index, ErrorCode::UnknownTopicOrPartition);
            }
            match check(context.version, partition.records) {
                Err(code) => refused(index, code),
                Ok(records) => {
                    let Some(acks) = acks else {
                        return refused(index, ErrorCode::InvalidRequiredAcks);
                    };
                    if is_closed {
                        return refused(index, ErrorCode::InvalidTopicException);
                    }
                    match found {
                        Ok(partition) => write(&partition, (index, records), acks, &mut turn),
                        Err(refusal) => refused(index, errors::replication_code(&refusal)),
                    }
                }
            }
        };
        let entries: Vec<_> = topic.partitions.into_iter().map(write).collect();
        waits |= entries
            .iter()
            .any(|entry| matches!(entry, Entry::Waits { .. }));
        (topic.name, entries)
    });
    let topics: Vec<_> = topics.collect();
    turn.end();
    let mut written = Written {
        context,
        acks: request.acks,
        topics,
        toll,
        bytes,
    };
    if !waits {
        return Ok(Outcome::Now(written.tell(replicas, &image, requests)));
    }
    // Kafka: with no acks asked for, a request is done when its records are in the log; until then
    // its connection sends no endless number of others.
    let timeout_ms = match acks {
        Some(Acks::None) => i64::from(i32::MAX),
        _ => i64::from(request.timeout_ms),
    };
    let (replicas, metadata) = (Arc::clone(replicas), Arc::clone(metadata));
    let requests = Arc::clone(requests);
    let answering = async move {
        let _parked = requests.park(Waits::Produce);
        written.finish(&replicas, timeout_ms).await;
        written.tell(&replicas, &metadata.image(), &requests)
    };
    Ok(Outcome::Later {
        answer: Later::new(answering),
        overlaps: true,
    })
}

/// What is looked at before the log is asked: that the records are what this version may send.
fn check(version: i16, records: Option<Bytes>) -> Result<Bytes, ErrorCode> {
    // Kafka: null records fail in the log, without a code of their own.
    let records = records.ok_or(ErrorCode::UnknownServerError)?;
    if version < 3 {
        return Ok(records);
    }
    let mut batches = split(&records);
    match batches.next() {
        None => return Err(ErrorCode::InvalidRecord),
        Some(Err(_)) => return Err(ErrorCode::CorruptMessage),
        Some(Ok(batch)) => {
            if batch.header().magic != 2 {
                return Err(ErrorCode::InvalidRecord);
            }
            if version < ZSTD_FROM && batch.header().codec() == Ok(Codec::Zstd) {
                return Err(ErrorCode::UnsupportedCompressionType);
            }
        }
    }
    match batches.next() {
        None => Ok(records),
        Some(Ok(_)) => Err(ErrorCode::InvalidRecord),
        Some(Err(_)) => Err(ErrorCode::CorruptMessage),
    }
}

/// What Kafka says of a first batch whose header cannot be one.
fn corrupt_words(records: &[u8]) -> Option<String> {
    const AT_SIZE: usize = 8;
    const SIZE_MIN: i32 = 14;
    let size = i32::from_be_bytes(*records.get(AT_SIZE..)?.first_chunk()?);
    let magic = i8::from_be_bytes([*records.get(AT_MAGIC)?]);
    if size < SIZE_MIN {
        let words = "is less than the minimum record overhead";
        Some(format!("Record size {size} {words} ({SIZE_MIN})"))
    } else if !(0..=2).contains(&magic) {
        Some(format!("Invalid magic found in record: {magic}"))
    } else {
        None
    }
}

/// Whether the first batch belongs to a transaction.
fn is_transactional(records: &[u8]) -> bool {
    const AT_ATTRIBUTES: usize = 22;
    const TRANSACTIONAL: u8 = 0x10;
    records.get(AT_MAGIC) == Some(&2)
        && records
            .get(AT_ATTRIBUTES)
            .is_some_and(|bits| bits & TRANSACTIONAL != 0)
}

/// Why nothing of the request is written, however good its other partitions are.
///
/// Kafka: whoever looks for a transaction trips over the first batch that cannot be one
/// (`RequestUtils.hasTransactionalRecords`), and whoever looks at the codec over one that nobody
/// knows (`ProduceRequest.validateRecords`).
fn spoilt(
    version: i16,
    is_owned: bool,
    topics: &[ProduceTopic],
    image: &Image,
) -> Option<(ErrorCode, Option<String>)> {
    let partitions = topics.iter().flat_map(|topic| {
        let named = topic.partitions.iter();
        named.filter_map(|one| Some((&topic.name, one.index, one.records.as_ref()?)))
    });
    for (_, _, records) in partitions.clone() {
        if let Some(words) = corrupt_words(records) {
            return Some((ErrorCode::CorruptMessage, Some(words)));
        }
        if is_transactional(records) {
            match is_owned {
                true => break,
                false => return Some((ErrorCode::TransactionalIdAuthorizationFailed, None)),
            }
        }
    }
    let has_odd_codec = |records: &Bytes| {
        let first = split(records).next();
        first.is_some_and(|batch| {
            batch.is_ok_and(|it| it.header().magic == 2 && it.header().codec().is_err())
        })
    };
    let mut partitions = partitions;
    let is_odd = (3..ZSTD_FROM).contains(&version)
        && partitions.any(|(topic, index, records)| {
            has_odd_codec(records) && image.partition(topic, index).is_some()
        });
    is_odd.then_some((ErrorCode::UnknownServerError, None))
}

/// Kafka: what is asked is a map: a topic without partitions is not in it, and of a partition
/// that is named more often only the last counts.
fn as_map(mut topics: Vec<ProduceTopic>) -> Vec<ProduceTopic> {
    if let [only] = &topics[..]
        && only.partitions.len() == 1
    {
        return topics;
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    let all = topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|one| (topic.name.clone(), one.index))
    });
    let (mut seen, mut count) = (HashSet::new(), 0);
    for one in all {
        seen.insert(one);
        count += 1;
    }
    if seen.len() == count {
        return topics;
    }
    let mut places: HashMap<StrBytes, usize> = HashMap::new();
    let mut merged: Vec<ProduceTopic> = Vec::new();
    for topic in topics {
        match places.get(&topic.name) {
            Some(place) => merged[*place].partitions.extend(topic.partitions),
            None => {
                places.insert(topic.name.clone(), merged.len());
                merged.push(topic);
            }
        }
    }
    for topic in &mut merged {
        let all = std::mem::take(&mut topic.partitions);
        topic.partitions = last_of_each(all, |one| one.index);
    }
    merged
}

fn write(
    partition: &Arc<Partition>,
    (index, records): (i32, Bytes),
    acks: Acks,
    turn: &mut Turn,
) -> Entry {
    match append(partition, records, Origin::Client, acks, turn) {
        Append::Answered(answer) => Entry::Told(told(index, answer)),
        Append::Waits(wait) => Entry::Waits { index, wait },
    }
}

fn refused(index: i32, code: ErrorCode) -> Entry {
    Entry::Told(ProducePartitionAnswer::refusal(index, code.code()))
}

fn told(index: i32, answer: AppendAnswer) -> ProducePartitionAnswer {
    let code = answer
        .refusal
        .as_ref()
        .map_or(ErrorCode::None, errors::replication_code);
    let mut record_errors = Vec::new();
    let mut error_message = None;
    if let Some(Refusal::Append(
        AppendRefusal::InvalidRecord { message, records }
        | AppendRefusal::InvalidTimestamp { message, records },
    )) = answer.refusal
        && !records.is_empty()
    {
        record_errors = records
            .into_iter()
            .map(|fault| RecordFault {
                batch_index: fault.index,
                message: fault.message.map(StrBytes::from_string),
            })
            .collect();
        error_message = Some(StrBytes::from_string(message));
    }
    ProducePartitionAnswer {
        index,
        error_code: code.code(),
        base_offset: answer.first_offset.0,
        log_append_time_ms: answer.log_append_time_ms,
        log_start_offset: answer.log_start.0,
        record_errors,
        error_message,
        current_leader: None,
    }
}

impl Written {
    async fn finish(&mut self, replicas: &Replicas, timeout_ms: i64) {
        self.toll.pause();
        let stay = replicas.shared().deadlines.park(timeout_ms);
        for (_, entries) in &mut self.topics {
            for entry in entries {
                entry.finish(&stay).await;
            }
        }
        self.toll.resume();
    }

    fn tell(mut self, replicas: &Replicas, image: &Image, requests: &Requests) -> Answer {
        let codes = requests.api(Api::Produce);
        let Context {
            version,
            listener,
            correlation_id,
            ..
        } = &self.context;
        let mut node_endpoints = Vec::new();
        let mut failed = false;
        let mut topics = Vec::with_capacity(self.topics.len());
        for (name, entries) in self.topics {
            let mut partitions = Vec::with_capacity(entries.len());
            for entry in entries {
                let Entry::Told(mut partition) = entry else {
                    continue;
                };
                codes.note_code(partition.error_code);
                failed |= partition.error_code != 0;
                if *version >= TELLS_LEADER_SINCE
                    && partition.error_code == ErrorCode::NotLeaderOrFollower.code()
                {
                    let at = (&*name, partition.index);
                    partition.current_leader = Some(current_leader(
                        replicas,
                        image,
                        listener,
                        at,
                        &mut node_endpoints,
                    ));
                }
                partitions.push(partition);
            }
            topics.push(ProduceTopicAnswer { name, partitions });
        }
        if self.acks == 0 {
            // Kafka: nobody reads an answer, so an error is told by closing the connection.
            return Answer {
                close: failed,
                mute_ms: self.toll.bytes(Kind::ProducedBytes, self.bytes),
                ..Answer::default()
            };
        }
        let mute_ms = self
            .toll
            .bytes(Kind::ProducedBytes, self.bytes)
            .max(self.toll.time());
        let answer = ProduceAnswer {
            topics,
            throttle_time_ms: i32::try_from(mute_ms).unwrap_or(i32::MAX),
            node_endpoints,
        };
        match encode_produce_answer(*version, *correlation_id, &answer) {
            Ok(reply) => Answer {
                parts: reply.parts.into_iter().filter_map(plain).collect(),
                mute_ms,
                ..Answer::default()
            },
            Err(error) => {
                debug!(%error, "produce answer cannot be written");
                Answer::closing()
            }
        }
    }
}

/// A produce answer has no holes.
fn plain(part: protocol::kafka::reply::Part) -> Option<Part> {
    match part {
        protocol::kafka::reply::Part::Bytes(bytes) => Some(Part::Bytes(bytes)),
        protocol::kafka::reply::Part::Hole { .. } => None,
    }
}

impl Entry {
    async fn finish(&mut self, stay: &Stay) {
        let placeholder = Entry::Told(ProducePartitionAnswer::refusal(0, 0));
        *self = match std::mem::replace(self, placeholder) {
            Entry::Waits { index, wait } => Entry::Told(told(index, wait.finish(stay).await)),
            entry => entry,
        };
    }
}

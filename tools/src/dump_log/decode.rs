//! Keys and values as text: plain, or as the records of the two internal topics.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::batch::Record;
use protocol::internal::consumer::PROTOCOL_TYPE;
use protocol::internal::groups::{GroupValue, MemberValue};
use protocol::internal::offsets::{Key, OffsetValue};
use protocol::internal::txns::{self, TxnValue};
use serde_json::{Map, Value, json};

use crate::dump_log::Stop;
use crate::dump_log::java_text::java_text;

/// How records are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoder {
    Plain { key: Plain, value: Plain },
    Offsets,
    Transactions,
}

/// How plain bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Text,
    Long,
    Integer,
}

/// A record's two texts, where there is something to show.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) key: Option<String>,
    pub(crate) payload: Option<String>,
}

impl Decoder {
    pub(crate) fn show(&self, record: &Record) -> Result<Shown, Stop> {
        match self {
            Decoder::Plain { key, value } => {
                let show = |plain: &Plain, bytes: &Option<bytes::Bytes>| {
                    bytes.as_ref().map(|bytes| plain.show(bytes)).transpose()
                };
                Ok(Shown {
                    key: show(key, &record.key)?,
                    payload: show(value, &record.value)?,
                })
            }
            Decoder::Offsets => show_offsets(record),
            Decoder::Transactions => show_transaction(record),
        }
    }
}

impl Plain {
    fn show(self, bytes: &[u8]) -> Result<String, Stop> {
        let short = || Stop::Content(format!("cannot decode {} bytes as {self:?}", bytes.len()));
        match self {
            Plain::Text => Ok(java_text(bytes)),
            Plain::Long => {
                let first = bytes.first_chunk().ok_or_else(short)?;
                Ok(i64::from_be_bytes(*first).to_string())
            }
            Plain::Integer => {
                let first = bytes.first_chunk().ok_or_else(short)?;
                Ok(i32::from_be_bytes(*first).to_string())
            }
        }
    }
}

fn show_offsets(record: &Record) -> Result<Shown, Stop> {
    let Some(key) = &record.key else {
        return Err(Stop::Content(format!(
            "Failed to decode message at offset {} using offset topic decoder (message had a missing key)",
            record.offset
        )));
    };
    let only = |key: String| {
        Ok(Shown {
            key: Some(key),
            payload: None,
        })
    };
    let skipping = |why: String| {
        only(format!(
            "Error at offset {}, skipping. {why}",
            record.offset
        ))
    };
    let read = match Key::read(key) {
        Ok(Key::Unknown(kind)) => {
            return only(format!(
                "Unknown record type {kind} at offset {}, skipping.",
                record.offset
            ));
        }
        Ok(read) => read,
        Err(malformed) => return skipping(format!("Could not read the key: {malformed}.")),
    };
    let shown = record.value.as_ref().map(|value| match read {
        Key::Group(_) => GroupValue::read(value).map(|group| {
            let consumer = group.protocol_type == PROTOCOL_TYPE;
            group_json(&group, version(value), consumer)
        }),
        _ => OffsetValue::read(value).map(|offset| offset_json(&offset, version(value))),
    });
    let payload = match shown {
        None => "<DELETE>".to_owned(),
        Some(Ok(json)) => {
            let version = record.value.as_ref().map_or(0, |value| version(value));
            json!({"version": version.to_string(), "data": json}).to_string()
        }
        Some(Err(malformed)) => return skipping(format!("Could not read the value: {malformed}.")),
    };
    let content = match read {
        Key::Group(group) => json!({"group": group}),
        Key::Offset(of) => {
            json!({"group": of.group, "topic": of.topic, "partition": of.partition})
        }
        Key::Unknown(_) => Value::Null,
    };
    let key = json!({"type": version(key).to_string(), "data": content});
    Ok(Shown {
        key: Some(key.to_string()),
        payload: Some(payload),
    })
}

pub(crate) fn version(bytes: &[u8]) -> i16 {
    bytes
        .first_chunk()
        .map_or(0, |first| i16::from_be_bytes(*first))
}

pub(crate) fn offset_json(value: &OffsetValue<'_>, version: i16) -> Value {
    let mut json = Map::new();
    json.insert("offset".into(), value.offset.into());
    if version >= 3 {
        json.insert("leaderEpoch".into(), value.leader_epoch.into());
    }
    json.insert("metadata".into(), value.metadata.into());
    json.insert("commitTimestamp".into(), value.commit_timestamp.into());
    if version == 1 {
        json.insert("expireTimestamp".into(), value.expire_timestamp.into());
    }
    json.into()
}

/// `consumer`: whether members' bytes are shown as the consumers' protocol reads them.
pub(crate) fn group_json(group: &GroupValue<'_>, version: i16, consumer: bool) -> Value {
    let mut json = Map::new();
    json.insert("protocolType".into(), group.protocol_type.into());
    json.insert("generation".into(), group.generation.into());
    json.insert("protocol".into(), group.protocol.into());
    json.insert("leader".into(), group.leader.into());
    if version >= 2 {
        json.insert(
            "currentStateTimestamp".into(),
            group.current_state_timestamp.into(),
        );
    }
    let members = group
        .members
        .iter()
        .map(|member| member_json(member, version, consumer));
    json.insert("members".into(), members.collect());
    json.into()
}

fn member_json(member: &MemberValue<'_>, version: i16, consumer: bool) -> Value {
    let mut json = Map::new();
    json.insert("memberId".into(), member.member_id.into());
    if version >= 3 {
        json.insert("groupInstanceId".into(), member.group_instance_id.into());
    }
    json.insert("clientId".into(), member.client_id.into());
    json.insert("clientHost".into(), member.client_host.into());
    if version >= 1 {
        json.insert(
            "rebalanceTimeout".into(),
            member.rebalance_timeout_ms.into(),
        );
    }
    json.insert("sessionTimeout".into(), member.session_timeout_ms.into());
    // Kafka: what cannot be read as a consumer's bytes stays as it is.
    let part = |bytes: &[u8], read: fn(Cursor<'_>) -> Option<Value>| {
        let read = if consumer { read(Cursor(bytes)) } else { None };
        read.unwrap_or_else(|| base64(bytes).into())
    };
    json.insert(
        "subscription".into(),
        part(member.subscription, subscription_json),
    );
    json.insert(
        "assignment".into(),
        part(member.assignment, assignment_json),
    );
    json.into()
}

fn subscription_json(mut bytes: Cursor<'_>) -> Option<Value> {
    let version = bytes.i16().filter(|version| *version >= 0)?;
    let mut json = Map::new();
    let count = bytes.count(2)?;
    let topics: Option<Vec<Value>> = (0..count).map(|_| Some(bytes.text()??.into())).collect();
    json.insert("topics".into(), topics?.into());
    json.insert(
        "userData".into(),
        bytes.bytes()?.map_or(Value::Null, |b| base64(b).into()),
    );
    if version >= 1 {
        json.insert("ownedPartitions".into(), bytes.partitions()?);
    }
    if version >= 2 {
        json.insert("generationId".into(), bytes.i32()?.into());
    }
    if version >= 3 {
        json.insert("rackId".into(), bytes.text()?.into());
    }
    // Kafka: versions beyond the newest known are not written.
    (version <= 3).then(|| json.into())
}

fn assignment_json(mut bytes: Cursor<'_>) -> Option<Value> {
    // All versions are alike.
    bytes.i16().filter(|version| (0..=3).contains(version))?;
    let mut json = Map::new();
    json.insert("assignedPartitions".into(), bytes.partitions()?);
    json.insert(
        "userData".into(),
        bytes.bytes()?.map_or(Value::Null, |b| base64(b).into()),
    );
    Some(json.into())
}

/// Reads the fields of the consumer protocol; `None` where they do not fit.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A count of things of `each` bytes at least.
    fn count(&mut self, each: usize) -> Option<usize> {
        let count = usize::try_from(self.i32()?).ok()?;
        (count <= self.0.len() / each).then_some(count)
    }

    fn text(&mut self) -> Option<Option<&'a str>> {
        let Ok(len) = usize::try_from(self.i16()?) else {
            return Some(None);
        };
        std::str::from_utf8(self.take(len)?).ok().map(Some)
    }

    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(len) = usize::try_from(self.i32()?) else {
            return Some(None);
        };
        self.take(len).map(Some)
    }

    fn partitions(&mut self) -> Option<Value> {
        let count = self.count(6)?;
        let topics: Option<Vec<Value>> = (0..count)
            .map(|_| {
                let topic = self.text()??;
                let count = self.count(4)?;
                let numbers: Option<Vec<i32>> = (0..count).map(|_| self.i32()).collect();
                Some(json!({"topic": topic, "partitions": numbers?}))
            })
            .collect();
        topics.map(Value::from)
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn show_transaction(record: &Record) -> Result<Shown, Stop> {
    let key = record.key.as_deref().unwrap_or_default();
    let Some(id) = txns::read_key(key).map_err(Stop::content)? else {
        let key = format!("unknown::version={}", version(key));
        return Ok(Shown {
            key: Some(key),
            payload: None,
        });
    };
    let payload = match &record.value {
        None => "<DELETE>".to_owned(),
        Some(value) => transaction_text(&TxnValue::read(value).map_err(Stop::content)?),
    };
    let key = format!("transaction_metadata::transactionalId={id}");
    Ok(Shown {
        key: Some(key),
        payload: Some(payload),
    })
}

fn transaction_text(value: &TxnValue<'_>) -> String {
    let all = value.partitions.iter();
    let all = all.flat_map(|(topic, numbers)| numbers.iter().map(move |number| (*topic, *number)));
    let partitions: Vec<String> = in_scala_order(all.collect())
        .into_iter()
        .map(|(topic, partition)| format!("{topic}-{partition}"))
        .collect();
    format!(
        "producerId:{},producerEpoch:{},state={:?},partitions=[{}],txnLastUpdateTimestamp={},\
         txnTimeoutMs={}",
        value.producer_id,
        value.producer_epoch,
        value.status,
        partitions.join(","),
        value.last_update_timestamp,
        value.timeout_ms
    )
}

/// The order in which Scala's mutable set of partitions gives its members out.
fn in_scala_order(mut partitions: Vec<(&str, i32)>) -> Vec<(&str, i32)> {
    let mut buckets = 16;
    while partitions.len() >= buckets * 3 / 4 {
        buckets *= 2;
    }
    partitions.sort_by_key(|(topic, partition)| {
        let text = topic.encode_utf16().fold(0i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
        let hash = 31i32
            .wrapping_add(*partition)
            .wrapping_mul(31)
            .wrapping_add(text);
        let hash = hash ^ (hash.cast_unsigned() >> 16).cast_signed();
        (hash.cast_unsigned() as usize & (buckets - 1), hash)
    });
    partitions.dedup();
    partitions
}

//! The records of `__consumer_offsets` and `__transaction_state` as the console consumer's
//! formatters print them.
//!
//! The classes below `org.apache.kafka.tools.consumer` print one JSON object after the other with
//! nothing between; the older ones, inside the broker's classes, a line of Scala's each.

use protocol::internal::groups::GroupValue;
use protocol::internal::offsets::{Key, OffsetValue};
use protocol::internal::txns::{self, TxnStatus, TxnValue};
use serde_json::{Value, json};

use crate::dump_log::decode::{group_json, offset_json, version};
use crate::java;

/// Which records a formatter shows; others it passes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    Offsets,
    Groups,
    Transactions,
}

/// One formatter: what it shows, and whether in the older form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formatter {
    records: Records,
    older: bool,
}

impl Formatter {
    pub(crate) fn named(class: &str) -> Option<Formatter> {
        let (older, name) = match class.rsplit_once(['.', '$'])? {
            ("org.apache.kafka.tools.consumer", name) => (false, name),
            (
                "kafka.coordinator.group.GroupMetadataManager"
                | "kafka.coordinator.transaction.TransactionLog",
                name,
            ) => (true, name),
            _ => return None,
        };
        let records = match name {
            "OffsetsMessageFormatter" => Records::Offsets,
            "GroupMetadataMessageFormatter" => Records::Groups,
            "TransactionLogMessageFormatter" => Records::Transactions,
            _ => return None,
        };
        Some(Formatter { records, older })
    }

    /// What is printed of a record: `None` for one that is not of the formatter's kind.
    pub(crate) fn show(self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<String> {
        if self.older {
            older(self.records, key?, value)
        } else {
            newer(self.records, key, value)
        }
    }
}

fn newer(records: Records, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<String> {
    let key = match key {
        None => Value::Null,
        Some(bytes) => {
            let shown = match (records, Key::read(bytes)) {
                (Records::Transactions, _) => match txns::read_key(bytes) {
                    Ok(Some(id)) => json!({"transactionalId": id}),
                    _ => "unknown".into(),
                },
                (Records::Offsets, Ok(Key::Offset(of))) => {
                    json!({"group": of.group, "topic": of.topic, "partition": of.partition})
                }
                (Records::Groups, Ok(Key::Group(group))) => json!({"group": group}),
                (_, Ok(Key::Offset(_) | Key::Group(_))) => return None,
                _ => "unknown".into(),
            };
            json!({"version": version(bytes), "data": shown})
        }
    };
    let value = match value {
        None => Value::Null,
        Some(bytes) => {
            let version = version(bytes);
            let shown = match records {
                Records::Offsets => OffsetValue::read(bytes).map(|one| offset_json(&one, version)),
                Records::Groups => {
                    GroupValue::read(bytes).map(|one| group_json(&one, version, false))
                }
                Records::Transactions => TxnValue::read(bytes).map(|one| transaction_json(&one)),
            };
            json!({"version": version, "data": shown.unwrap_or_else(|_| "unknown".into())})
        }
    };
    Some(json!({"key": key, "value": value}).to_string())
}

fn transaction_json(value: &TxnValue<'_>) -> Value {
    let partitions: Vec<Value> = value
        .partitions
        .iter()
        .map(|(topic, ids)| json!({"topic": topic, "partitionIds": ids}))
        .collect();
    // Kafka: a transaction that has not begun is written without a list.
    let partitions = match value.status {
        TxnStatus::Empty => Value::Null,
        _ => partitions.into(),
    };
    json!({
        "producerId": value.producer_id,
        "producerEpoch": value.producer_epoch,
        "transactionTimeoutMs": value.timeout_ms,
        "transactionStatus": value.status.code(),
        "transactionPartitions": partitions,
        "transactionLastUpdateTimestampMs": value.last_update_timestamp,
        "transactionStartTimestampMs": value.start_timestamp,
    })
}

fn older(records: Records, key: &[u8], value: Option<&[u8]>) -> Option<String> {
    let null = || "NULL".to_owned();
    let (key, value) = match records {
        Records::Transactions => {
            let Ok(Some(id)) = txns::read_key(key) else {
                return Some(format!("unknown::version={}\n", version(key)));
            };
            let value = value.and_then(|bytes| TxnValue::read(bytes).ok());
            let shown = value.map_or_else(null, |one| transaction_text(id, &one));
            (id.to_owned(), shown)
        }
        Records::Offsets => {
            let Ok(Key::Offset(of)) = Key::read(key) else {
                return None;
            };
            let value = value.and_then(|bytes| OffsetValue::read(bytes).ok());
            let key = format!("[{},{},{}]", of.group, of.topic, of.partition);
            (key, value.map_or_else(null, |one| offset_text(&one)))
        }
        Records::Groups => {
            let Ok(Key::Group(group)) = Key::read(key) else {
                return None;
            };
            let shown = value.and_then(|bytes| {
                let read = GroupValue::read(bytes).ok()?;
                Some(group_text(group, &read))
            });
            (group.to_owned(), shown.unwrap_or_else(null))
        }
    };
    Some(format!("{key}::{value}\n"))
}

fn transaction_text(id: &str, value: &TxnValue<'_>) -> String {
    let partitions = value.partitions.iter();
    let partitions: Vec<String> = partitions
        .flat_map(|(topic, ids)| ids.iter().map(move |id| format!("{topic}-{id}")))
        .collect();
    format!(
        "TransactionMetadata(transactionalId={id}, producerId={}, producerEpoch={}, txnTimeoutMs={}, \
         state={:?}, pendingState=None, topicPartitions=HashSet({}), txnStartTimestamp={}, \
         txnLastUpdateTimestamp={})",
        value.producer_id,
        value.producer_epoch,
        value.timeout_ms,
        value.status,
        partitions.join(", "),
        value.start_timestamp,
        value.last_update_timestamp
    )
}

fn offset_text(value: &OffsetValue<'_>) -> String {
    let epoch = match value.leader_epoch {
        -1 => "Optional.empty".to_owned(),
        epoch => format!("Optional[{epoch}]"),
    };
    let expire = match value.expire_timestamp {
        -1 => "None".to_owned(),
        ms => format!("Some({ms})"),
    };
    format!(
        "OffsetAndMetadata(offset={}, leaderEpoch={epoch}, metadata={}, commitTimestamp={}, \
         expireTimestamp={expire})",
        value.offset, value.metadata, value.commit_timestamp
    )
}

fn group_text(group: &str, value: &GroupValue<'_>) -> String {
    let members = value.members.iter().collect();
    let members = java::order(members, java::CAPACITY, |member| {
        java::string_hash(member.member_id)
    });
    let members: Vec<String> = members
        .iter()
        .map(|member| {
            let instance = match member.group_instance_id {
                Some(name) => format!("Some({name})"),
                None => "None".to_owned(),
            };
            format!(
                "{id} -> MemberMetadata(memberId={id}, groupInstanceId={instance}, clientId={}, \
                 clientHost={}, sessionTimeoutMs={}, rebalanceTimeoutMs={}, supportedProtocols=List({}))",
                member.client_id,
                member.client_host,
                member.session_timeout_ms,
                member.rebalance_timeout_ms,
                value.protocol.unwrap_or("null"),
                id = member.member_id,
            )
        })
        .collect();
    format!(
        "GroupMetadata(groupId={group}, generation={}, protocolType=Some({}), currentState={}, \
         members=HashMap({}))",
        value.generation,
        value.protocol_type,
        if members.is_empty() {
            "Empty"
        } else {
            "Stable"
        },
        members.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_formatter_are_known() {
        let named = |class: &str| Formatter::named(class).map(|one| (one.records, one.older));
        assert_eq!(
            named("org.apache.kafka.tools.consumer.OffsetsMessageFormatter"),
            Some((Records::Offsets, false))
        );
        assert_eq!(
            named("kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter"),
            Some((Records::Groups, true))
        );
        assert_eq!(named("OffsetsMessageFormatter"), None);
    }

    #[test]
    fn a_transaction_is_shown_in_both_forms() {
        let value = TxnValue {
            producer_id: 1,
            producer_epoch: 0,
            timeout_ms: 60_000,
            status: TxnStatus::Empty,
            partitions: Vec::new(),
            last_update_timestamp: 7,
            start_timestamp: -1,
        };
        let (key, value) = (txns::write_key("t1"), value.write());
        let show = |older| {
            let formatter = Formatter {
                records: Records::Transactions,
                older,
            };
            formatter
                .show(Some(&key), Some(&value))
                .expect("one of its own")
        };
        assert_eq!(
            show(true),
            "t1::TransactionMetadata(transactionalId=t1, producerId=1, producerEpoch=0, \
             txnTimeoutMs=60000, state=Empty, pendingState=None, topicPartitions=HashSet(), \
             txnStartTimestamp=-1, txnLastUpdateTimestamp=7)\n"
        );
        assert_eq!(
            show(false),
            r#"{"key":{"version":0,"data":{"transactionalId":"t1"}},"value":{"version":0,"data":{"producerId":1,"producerEpoch":0,"transactionTimeoutMs":60000,"transactionStatus":0,"transactionPartitions":null,"transactionLastUpdateTimestampMs":7,"transactionStartTimestampMs":-1}}}"#
        );
    }
}

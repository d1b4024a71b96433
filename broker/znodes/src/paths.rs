//! Every path of Kafka's tree in ZooKeeper, once, and the escaping of names inside them.

use protocol::ids::TopicPartition;

/// Why ZooKeeper takes it for no path, in its words; strangers' names become parts of paths.
///
/// ZooKeeper: `PathUtils.validatePath`, which counts as Java does.
pub fn fault(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some("Path must start with / character".to_owned());
    }
    if path.len() > 1 && path.ends_with('/') {
        return Some("Path must not end with / character".to_owned());
    }
    let units: Vec<u16> = path.encode_utf16().collect();
    let (slash, dot) = (u16::from(b'/'), u16::from(b'.'));
    let reason = |at: usize| {
        let (before, unit) = (units[at - 1], units[at]);
        let ends_a_name = units.get(at + 1).is_none_or(|after| *after == slash);
        let is_two_dots = before == dot && at > 1 && units[at - 2] == slash;
        match unit {
            0 => Some("null character not allowed"),
            _ if unit == slash && before == slash => Some("empty node name specified"),
            _ if unit == dot && ends_a_name && (before == slash || is_two_dots) => {
                Some("relative paths not allowed")
            }
            0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0.. => Some("invalid character"),
            _ => None,
        }
    };
    let first = (1..units.len()).find_map(|at| Some((at, reason(at)?)));
    first.map(|(at, reason)| format!("Invalid path string \"{path}\" caused by {reason} @{at}"))
}

/// Whether ZooKeeper takes it for a path at all.
pub fn is_legal(path: &str) -> bool {
    fault(path).is_none()
}

/// Every broker creates these at every start, in this order, without data.
/// Kafka: `ZkData.PersistentZkPaths`.
pub const PERSISTENT: [&str; 14] = [
    "/consumers",
    IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    SEQUENCE_IDS,
    ISR_CHANGES,
    PRODUCER_IDS,
    LOG_DIR_EVENTS,
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
];

pub const IDS: &str = "/brokers/ids";
pub const TOPICS: &str = "/brokers/topics";
pub const SEQUENCE_IDS: &str = "/brokers/seqid";
pub const CONTROLLER: &str = "/controller";
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub const CLUSTER_ID: &str = "/cluster/id";
pub const FEATURES: &str = "/feature";
pub const CONFIG: &str = "/config";
pub const CONFIG_CHANGES: &str = "/config/changes";
pub const CONFIG_CHANGE_PREFIX: &str = "config_change_";
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
pub const REASSIGN: &str = "/admin/reassign_partitions";
pub const PREFERRED_ELECTION: &str = "/admin/preferred_replica_election";
pub const ISR_CHANGES: &str = "/isr_change_notification";
pub const ISR_CHANGE_PREFIX: &str = "isr_change_";
pub const LOG_DIR_EVENTS: &str = "/log_dir_event_notification";
pub const LOG_DIR_EVENT_PREFIX: &str = "log_dir_event_";
pub const PRODUCER_IDS: &str = "/latest_producer_id_block";
pub const MIGRATION: &str = "/migration";
pub const TOKENS: &str = "/delegation_token/tokens";
pub const TOKEN_CHANGES: &str = "/delegation_token/token_changes";
pub const TOKEN_CHANGE_PREFIX: &str = "token_change_";
pub const ACLS: &str = "/kafka-acl";
pub const ACLS_PREFIXED: &str = "/kafka-acl-extended/prefixed";
pub const ACL_CHANGES: &str = "/kafka-acl-changes";
pub const ACL_CHANGES_EXTENDED: &str = "/kafka-acl-extended-changes";
pub const ACL_CHANGE_PREFIX: &str = "acl_changes_";
/// The folder names of resource types below both ACL trees.
pub const ACL_TYPES: [&str; 6] = [
    "Topic",
    "Cluster",
    "Group",
    "User",
    "TransactionalId",
    "DelegationToken",
];
/// The node of the default entity; never escaped.
pub const DEFAULT_ENTITY: &str = "<default>";

pub fn broker(id: i32) -> String {
    format!("{IDS}/{id}")
}

pub fn topic(name: &str) -> String {
    format!("{TOPICS}/{name}")
}

pub fn partitions(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

pub fn partition(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}")
}

pub fn partition_state(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}/state")
}

/// The partition whose state node this is.
pub fn partition_of_state(path: &str) -> Option<TopicPartition> {
    let rest = path.strip_prefix(TOPICS)?.strip_prefix('/')?;
    let (topic, rest) = rest.split_once("/partitions/")?;
    let partition = rest.strip_suffix("/state")?.parse().ok()?;
    Some(TopicPartition::new(topic, partition))
}

pub fn delete_topic(name: &str) -> String {
    format!("{DELETE_TOPICS}/{name}")
}

pub fn topic_config(name: &str) -> String {
    format!("{CONFIG}/topics/{name}")
}

/// The configs of an entity such as `topics/t` or `users/alice/clients/app`; escaped already.
pub fn entity_config(entity: &str) -> String {
    format!("{CONFIG}/{entity}")
}

/// The offset an old consumer group keeps in ZooKeeper.
pub fn consumer_offset(group: &str, topic: &str, partition: i32) -> String {
    format!("/consumers/{group}/offsets/{topic}/{partition}")
}

/// The path above, or `None` for a child of the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/') {
        None | Some(0) => None,
        Some(at) => Some(&path[..at]),
    }
}

/// The last step of a path.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The number ZooKeeper appended to a sequential node's name.
pub fn sequence(name: &str, prefix: &str) -> Option<i64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Escapes a principal or client id for use in a path.
/// Kafka: `Sanitizer.sanitize`, which is Java's form encoding with `*` and blanks escaped too.
pub fn sanitize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                out.push(char::from(byte))
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// The reverse of [`sanitize`]; `None` where the escapes are broken or not UTF-8.
pub fn desanitize(name: &str) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zookeeper_takes_for_no_path_is_none() {
        for path in ["/", "/a", "/a/b", "/a.b/...", "/ä"] {
            assert!(is_legal(path), "{path:?}");
        }
        for (path, reason) in [
            ("/a//b", "empty node name specified @3"),
            ("/.", "relative paths not allowed @1"),
            ("/a/../b", "relative paths not allowed @4"),
            ("/a\u{0}", "null character not allowed @2"),
            ("/ä\u{85}", "invalid character @2"),
            ("/\u{e000}", "invalid character @1"),
            ("/\u{10000}", "invalid character @1"),
        ] {
            let words = format!("Invalid path string \"{path}\" caused by {reason}");
            assert_eq!(fault(path), Some(words));
        }
        for path in ["", "a", "/a/"] {
            assert!(!is_legal(path), "{path:?}");
        }
    }

    #[test]
    fn escaped_names_come_back() {
        for (plain, escaped) in [
            ("app*1 +/ü", "app%2A1%20%2B%2F%C3%BC"),
            ("CN=alice,O=x y", "CN%3Dalice%2CO%3Dx%20y"),
            ("a.b-c_d", "a.b-c_d"),
        ] {
            assert_eq!(sanitize(plain), escaped);
            assert_eq!(desanitize(escaped).as_deref(), Some(plain));
        }
        assert_eq!(desanitize("%2"), None);
        assert_eq!(
            sequence("config_change_0000000012", CONFIG_CHANGE_PREFIX),
            Some(12)
        );
    }
}

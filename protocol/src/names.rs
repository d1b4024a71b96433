//! Which names a topic may have, and which topics belong to the brokers themselves.

/// Where groups keep their state.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Where transactions keep theirs.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Kafka: `Topic.MAX_NAME_LENGTH`; a directory is called `<topic>-<partition>` and a deleted one
/// gets a suffix as well.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// Where brokers without ZooKeeper keep the state of share groups.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// Where a cluster without ZooKeeper keeps its metadata; nobody may make it.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Internal topics are made by the brokers and hidden from wildcard subscriptions.
pub fn is_internal(topic: &str) -> bool {
    [CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE].contains(&topic)
}

/// Why a topic name is refused, in Kafka's words.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("the empty string is not allowed".to_owned())
    } else if name == "." || name == ".." {
        Err(format!("'{name}' is not allowed"))
    } else if name.len() > TOPIC_NAME_LEN_MAX {
        Err(format!(
            "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}"
        ))
    } else if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        Err(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ))
    } else {
        Ok(())
    }
}

/// Metric names turn `.` into `_`, so names that differ only there collide.
pub fn collide(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes().zip(b.bytes()).all(|(a, b)| {
            let fold = |c| if c == b'.' { b'_' } else { c };
            fold(a) == fold(b)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert!(check_topic_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
        assert!(collide("a.b", "a_b") && collide("a.b", "a.b") && !collide("a.b", "a-b"));
    }
}

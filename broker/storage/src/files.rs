//! Every file name, suffix and size in a log directory, in one place.
//!
//! Kafka: the names are Apache's (`LogFileUtils`, `LocalLog`); [`BOOT_ID`] and [`TOOK_OVER`] are ours,
//! plain files because Apache refuses to start where it finds a directory it does not know.

use protocol::ids::TopicPartition;
use uuid::Uuid;

pub const LOCK: &str = ".lock";
pub const META_PROPERTIES: &str = "meta.properties";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub const CLEAN_SHUTDOWN_TEXT: &[u8] = b"{\"version\":0,\"brokerEpoch\":-1}";
pub const BOOT_ID: &str = ".rotpeter_boot_id";
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Ours, in a replica that has come from another directory, until the one it replaced is gone there.
pub const TOOK_OVER: &str = ".rotpeter_took_over";
/// A folder of Apache's tiered storage that may lie among the partitions.
pub const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";

pub const LOG: &str = ".log";
pub const OFFSET_INDEX: &str = ".index";
pub const TIME_INDEX: &str = ".timeindex";
pub const TXN_INDEX: &str = ".txnindex";
pub const SNAPSHOT: &str = ".snapshot";

pub const DELETED: &str = ".deleted";
pub const CLEANED: &str = ".cleaned";
pub const SWAP: &str = ".swap";
pub const TEMPORARY: &str = ".tmp";

/// The longest name a file system takes.
const NAME_BYTES_MAX: usize = 255;
/// The widest of our small text files that is read as a whole.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 256 << 20;

/// What a directory inside a log directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaDir {
    /// `<topic>-<partition>`
    Current(TopicPartition),
    /// `<topic>-<partition>.<32 hex>-future`: the target of a move between directories.
    Future(TopicPartition),
    /// `….<32 hex>-delete`: to be removed.
    Deleted,
    /// `….<32 hex>-stray`: kept aside, for a person to look at. Of which partition, unless its topic
    /// is too long for the name to tell.
    Stray(Option<TopicPartition>),
}

/// Reads the name of a directory; `None` where Apache would refuse to start.
pub fn parse_replica_dir(name: &str) -> Option<ReplicaDir> {
    for (ending, kind) in [("-delete", 0), ("-future", 1), ("-stray", 2)] {
        let Some(rest) = name.strip_suffix(ending) else {
            continue;
        };
        let Some((stem, hex)) = rest.rsplit_once('.') else {
            continue;
        };
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            continue;
        }
        return match kind {
            0 => stem.contains('-').then_some(ReplicaDir::Deleted),
            1 => parse_partition(stem).map(ReplicaDir::Future),
            _ => stem.contains('-').then(|| {
                let is_whole = name.len() < NAME_BYTES_MAX;
                ReplicaDir::Stray(is_whole.then(|| parse_partition(stem)).flatten())
            }),
        };
    }
    parse_partition(name).map(ReplicaDir::Current)
}

fn parse_partition(name: &str) -> Option<TopicPartition> {
    // Kafka: the topic may hold dashes, so the last one divides.
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() || partition.is_empty() || !partition.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

pub fn replica_dir(tp: &TopicPartition) -> String {
    format!("{}-{}", tp.topic, tp.partition)
}

pub fn delete_dir(tp: &TopicPartition) -> String {
    unique_dir(tp, "-delete")
}

pub fn stray_dir(tp: &TopicPartition) -> String {
    unique_dir(tp, "-stray")
}

pub fn future_dir(tp: &TopicPartition) -> String {
    unique_dir(tp, "-future")
}

/// Whether the name of a move target holds the whole topic.
///
/// Kafka: where it does not, the replica cannot be moved (KAFKA-4893); a name that is cut short
/// would not be found again.
pub fn can_move(tp: &TopicPartition) -> bool {
    future_dir(tp).len() == replica_dir(tp).len() + ".".len() + 32 + "-future".len()
}

/// Kafka: the topic's part is cut so that the whole name fits (`logDirNameWithSuffixCappedLength`).
fn unique_dir(tp: &TopicPartition, ending: &str) -> String {
    let tail = format!("-{}.{}{ending}", tp.partition, Uuid::new_v4().simple());
    let mut room = NAME_BYTES_MAX
        .saturating_sub(tail.len())
        .min(tp.topic.len());
    while !tp.topic.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{tail}", &tp.topic[..room])
}

/// `<base>` as twenty digits, then `suffix`.
pub fn segment_file(base: i64, suffix: &str) -> String {
    format!("{base:020}{suffix}")
}

/// The base offset of a file called `<base><suffix>`.
pub fn parse_base(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() < 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // No record can have the last of all offsets, so no segment begins there.
    digits.parse().ok().filter(|base| *base < i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_replica_directories_are_read_as_apache_reads_them() {
        let tp = TopicPartition::new("a-b.c", 12);
        assert_eq!(
            parse_replica_dir("a-b.c-12"),
            Some(ReplicaDir::Current(tp.clone()))
        );
        assert_eq!(
            parse_replica_dir(&future_dir(&tp)),
            Some(ReplicaDir::Future(tp.clone()))
        );
        assert_eq!(
            parse_replica_dir(&delete_dir(&tp)),
            Some(ReplicaDir::Deleted)
        );
        assert_eq!(
            parse_replica_dir(&stray_dir(&tp)),
            Some(ReplicaDir::Stray(Some(tp)))
        );
        for junk in [
            "lost+found",
            "topic",
            "topic-",
            "-1",
            "t--1x",
            "t-99999999999",
        ] {
            assert_eq!(parse_replica_dir(junk), None, "{junk}");
        }
        let long = TopicPartition::new("x".repeat(249), 100_000);
        assert_eq!(delete_dir(&long).len(), 255);
        assert_eq!(
            parse_replica_dir(&stray_dir(&long)),
            Some(ReplicaDir::Stray(None)),
            "it may be another's"
        );
    }

    #[test]
    fn segment_names_carry_twenty_digits() {
        assert_eq!(segment_file(42, LOG), "00000000000000000042.log");
        assert_eq!(parse_base("00000000000000000042.log", LOG), Some(42));
        assert_eq!(parse_base("42.log", LOG), None);
        assert_eq!(parse_base("99999999999999999999.log", LOG), None);
    }
}

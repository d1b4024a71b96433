//! DescribeLogDirs: what lies in which log directory of this broker, and how full its disk is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::disk::{Disk, SystemDisk};
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use replication::asking::PATIENCE_MS;
use replication::lanes::Gathered;
use replication::replicas::Replicas;
use storage::log::Log;

use crate::api::cluster::shown_directory;
use crate::measures::Patience;

/// Kafka's word for a size that could not be asked of the disk. Here also a log's on a disk that hangs:
/// what is to be moved away from it must be told.
const UNKNOWN_BYTES: i64 = -1;
/// Kafka's word for a lag that nobody knows: the replica serves no partition.
const UNKNOWN_LAG: i64 = -1;

/// Total and free bytes of each directory's disk that was told in time.
type Spaces = HashMap<PathBuf, (i64, i64)>;

/// Asks the disks, so it leaves the worker it was called on; a disk that hangs is not waited for.
pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let spaces = spaces(replicas).await;
    let replicas = Arc::clone(replicas);
    let describing = move || describe(&replicas, &request, &spaces);
    let described = tokio::task::spawn_blocking(describing).await;
    match described {
        Ok(results) => DescribeLogDirsResponse::default().with_results(results),
        Err(_panicked) => {
            DescribeLogDirsResponse::default().with_error_code(ErrorCode::UnknownServerError.code())
        }
    }
}

/// Each disk is asked on threads of its directory.
async fn spaces(replicas: &Replicas) -> Spaces {
    let shared = replicas.shared();
    let mut online = replicas.store().directories();
    online.retain(|directory| directory.online);
    let mut asked = Gathered::new(online.len());
    for directory in online {
        let lane = shared.lanes.lane(&directory.path);
        asked.ask(&lane, [move || (space(&directory.path), directory.path)]);
    }
    let stay = shared.deadlines.park(PATIENCE_MS);
    let mut spaces = Spaces::new();
    while let Some((space, path)) = asked.next(&stay).await {
        spaces.insert(path, space);
    }
    spaces
}

fn describe(
    replicas: &Replicas,
    request: &DescribeLogDirsRequest,
    spaces: &Spaces,
) -> Vec<DescribeLogDirsResult> {
    let logs = replicas.store();
    let asked: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let each = topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|index| (topic.topic.0.as_str(), *index))
        });
        each.collect()
    });
    let wanted = |log: &Log| {
        let id = log.partition();
        asked
            .as_ref()
            .is_none_or(|asked| asked.contains(&(&*id.topic, id.partition)))
    };
    let mut all = logs.all();
    all.extend(logs.all_futures());
    all.retain(|log| wanted(log));
    let mut patience = Patience::default();
    let each = logs.directories().into_iter().map(|directory| {
        let result = DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_string(shown_directory(&directory.path)));
        if !directory.online {
            return result
                .with_error_code(ErrorCode::KafkaStorageError.code())
                .with_total_bytes(UNKNOWN_BYTES)
                .with_usable_bytes(UNKNOWN_BYTES);
        }
        let told = spaces.get(&directory.path).copied();
        let (total, usable) = told.unwrap_or((UNKNOWN_BYTES, UNKNOWN_BYTES));
        let here = all.iter().filter(|log| log.directory() == directory.path);
        result
            .with_total_bytes(total)
            .with_usable_bytes(usable)
            .with_topics(topics(replicas, here, &mut patience))
    });
    each.collect()
}

fn topics<'a>(
    replicas: &Replicas,
    here: impl Iterator<Item = &'a Arc<Log>>,
    patience: &mut Patience,
) -> Vec<DescribeLogDirsTopic> {
    let store = replicas.store();
    let mut by_topic: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let mut measure = |log: &Log| patience.measure(&log.directory(), |wait| log.measures(wait));
    for log in here {
        let id = log.partition();
        let found = measure(log);
        let served = store
            .log(id)
            .filter(|_| replicas.find(id).online().is_some());
        let served = match served {
            Some(served) if std::ptr::eq(&*served, &**log) => found.as_ref().map(|log| log.offsets),
            Some(served) => measure(&served).map(|served| served.offsets),
            None => None,
        };
        // A future replica lags behind the current one; a current one behind its own watermark.
        let lag = match (&found, served) {
            (Some(found), Some(served)) if log.is_future() => served.end - found.offsets.end,
            (Some(found), Some(served)) => (served.watermark - found.offsets.end).max(0),
            _ => UNKNOWN_LAG,
        };
        let size = found.map(|found| i64::try_from(found.bytes).unwrap_or(i64::MAX));
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(id.partition)
            .with_partition_size(size.unwrap_or(UNKNOWN_BYTES))
            .with_offset_lag(lag)
            .with_is_future_key(log.is_future());
        by_topic
            .entry(Arc::clone(&id.topic))
            .or_default()
            .push(partition);
    }
    let each = by_topic.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    each.collect()
}

fn space(directory: &Path) -> (i64, i64) {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    SystemDisk
        .space(directory)
        .map_or((UNKNOWN_BYTES, UNKNOWN_BYTES), |(total, usable)| {
            (bytes(total), bytes(usable))
        })
}

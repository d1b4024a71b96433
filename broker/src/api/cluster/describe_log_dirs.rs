//! DescribeLogDirs: what lies in which log directory of this broker, and how full its disk is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::disk::{Disk, SystemDisk};
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use storage::log::Log;
use storage::store::Store as Logs;

/// Kafka's word for a size that could not be asked of the disk.
const UNKNOWN_BYTES: i64 = -1;

/// Asks the disks, so it leaves the worker it was called on.
pub(crate) async fn answer(
    logs: &Arc<Logs>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let logs = Arc::clone(logs);
    let described = tokio::task::spawn_blocking(move || describe(&logs, &request)).await;
    match described {
        Ok(results) => DescribeLogDirsResponse::default().with_results(results),
        Err(_panicked) => {
            DescribeLogDirsResponse::default().with_error_code(ErrorCode::UnknownServerError.code())
        }
    }
}

fn describe(logs: &Logs, request: &DescribeLogDirsRequest) -> Vec<DescribeLogDirsResult> {
    let wanted = |log: &Log| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|topic| {
            let id = log.partition();
            topic.topic.0.as_str() == &*id.topic && topic.partitions.contains(&id.partition)
        }),
    };
    let mut all = logs.all();
    all.extend(logs.all_futures());
    all.retain(|log| wanted(log));
    let each = logs.directories().into_iter().map(|directory| {
        // Kafka shows absolute paths, whatever the settings say.
        let shown = std::path::absolute(&directory.path).unwrap_or_else(|_| directory.path.clone());
        let result = DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_string(shown.display().to_string()));
        if !directory.online {
            return result
                .with_error_code(ErrorCode::KafkaStorageError.code())
                .with_total_bytes(UNKNOWN_BYTES)
                .with_usable_bytes(UNKNOWN_BYTES);
        }
        let (total, usable) = space(&directory.path);
        let here = all.iter().filter(|log| log.directory() == directory.path);
        result
            .with_total_bytes(total)
            .with_usable_bytes(usable)
            .with_topics(topics(logs, here))
    });
    each.collect()
}

fn topics<'a>(logs: &Logs, here: impl Iterator<Item = &'a Arc<Log>>) -> Vec<DescribeLogDirsTopic> {
    let mut by_topic: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in here {
        let id = log.partition();
        let offsets = log.offsets();
        // A future replica lags behind the current one; a current one behind its own watermark.
        let ahead = match logs.log(id).filter(|_| log.is_future()) {
            Some(current) => current.offsets().end,
            None => offsets.watermark,
        };
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(id.partition)
            .with_partition_size(i64::try_from(log.size()).unwrap_or(i64::MAX))
            .with_offset_lag((ahead - offsets.end).max(0))
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

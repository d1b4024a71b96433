//! AlterReplicaLogDirs: where a replica of this broker is to lie.
//!
//! A replica that lies there already is left there; everything that cannot be meant is refused as
//! Kafka refuses it. Moving a replica to another directory is held back (`docs/KAFKA.md`): the
//! answer is KAFKA_STORAGE_ERROR, and nothing is touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};
use protocol::names;
use storage::store::{DirectoryView, Store as Logs};

use crate::metadata::Image;

pub(crate) fn answer(
    logs: &Logs,
    image: &Image,
    request: &AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let directories = logs.directories();
    let mut results: BTreeMap<Arc<str>, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for asked in &request.dirs {
        for topic in &asked.topics {
            let name: Arc<str> = topic.name.0.as_str().into();
            for &partition in &topic.partitions {
                let id = TopicPartition {
                    topic: Arc::clone(&name),
                    partition,
                };
                let code = judge(
                    logs,
                    image,
                    &directories,
                    Path::new(asked.path.as_str()),
                    &id,
                );
                let result = AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(partition)
                    .with_error_code(code.code());
                results.entry(Arc::clone(&name)).or_default().push(result);
            }
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

fn judge(
    logs: &Logs,
    image: &Image,
    directories: &[DirectoryView],
    wanted: &Path,
    id: &TopicPartition,
) -> ErrorCode {
    if names::check_topic_name(&id.topic).is_err() {
        return ErrorCode::InvalidTopicException;
    }
    let same = |directory: &Path| std::path::absolute(directory).is_ok_and(|path| path == wanted);
    match directories.iter().find(|directory| same(&directory.path)) {
        None => ErrorCode::LogDirNotFound,
        Some(directory) if !directory.online => ErrorCode::KafkaStorageError,
        Some(directory) => match logs.log(id) {
            Some(log) if log.directory() == directory.path => ErrorCode::None,
            Some(_elsewhere) => ErrorCode::KafkaStorageError,
            None if image.partition(&id.topic, id.partition).is_none() => {
                ErrorCode::UnknownTopicOrPartition
            }
            None => ErrorCode::ReplicaNotAvailable,
        },
    }
}

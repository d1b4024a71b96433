//! AlterReplicaLogDirs: where the replicas of this broker are to lie.
//!
//! One that lies elsewhere begins to move, and the answer does not wait for it; one that is not here
//! yet will be made there. Kafka: `ReplicaManager.alterReplicaLogDirs`, its codes in their order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};
use replication::error::Refusal;
use replication::replicas::Replicas;

use crate::api::cluster::shown_directory;
use crate::api::errors::replication_code;
use crate::complaints::{Complaint, shown};
use crate::metadata::Image;

/// Makes directories and waits for orders of the controller, so it leaves the worker it was called
/// on.
pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: Arc<Image>,
    not_moved: &Arc<Complaint>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let wanted = wanted(&request);
    let (here, complaint) = (Arc::clone(replicas), Arc::clone(not_moved));
    let named: Vec<_> = wanted.keys().cloned().collect();
    let altered =
        tokio::task::spawn_blocking(move || alter(&here, &image, &complaint, wanted)).await;
    let codes = altered.unwrap_or_else(|_panicked| {
        let failed = |id| (id, ErrorCode::UnknownServerError);
        named.into_iter().map(failed).collect()
    });
    let mut results: BTreeMap<Arc<str>, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for (id, code) in codes {
        let result = AlterReplicaLogDirPartitionResult::default()
            .with_partition_index(id.partition)
            .with_error_code(code.code());
        results.entry(id.topic).or_default().push(result);
    }
    let results = results.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

/// Of a partition that is named more than once the last counts.
fn wanted(request: &AlterReplicaLogDirsRequest) -> BTreeMap<TopicPartition, Arc<str>> {
    let mut wanted = BTreeMap::new();
    for asked in &request.dirs {
        let path: Arc<str> = asked.path.as_str().into();
        for topic in &asked.topics {
            let named = TopicPartition::each_of(&topic.name, &topic.partitions);
            wanted.extend(named.map(|id| (id, Arc::clone(&path))));
        }
    }
    wanted
}

fn alter(
    replicas: &Replicas,
    image: &Image,
    complaint: &Arc<Complaint>,
    wanted: BTreeMap<TopicPartition, Arc<str>>,
) -> Vec<(TopicPartition, ErrorCode)> {
    // Kafka knows its directories by their absolute paths, and compares texts.
    let directories = replicas.store().directories().into_iter();
    let known: BTreeMap<String, PathBuf> = directories
        .map(|directory| (shown_directory(&directory.path), directory.path))
        .collect();
    let (mut codes, mut refused, mut example) = (Vec::with_capacity(wanted.len()), 0_usize, None);
    for (id, path) in wanted {
        let code = alter_one(replicas, image, known.get(&*path), &id);
        if code != ErrorCode::None {
            refused += 1;
            example.get_or_insert_with(|| (id.clone(), path, code));
        }
        codes.push((id, code));
    }
    if let Some((id, path, code)) = example {
        complaint.note(|| format!("{id} to {}: {code:?}, one of {refused}", shown(&path)));
    }
    codes
}

fn alter_one(
    replicas: &Replicas,
    image: &Image,
    path: Option<&PathBuf>,
    id: &TopicPartition,
) -> ErrorCode {
    if !storage::files::can_move(id) {
        return ErrorCode::InvalidTopicException;
    }
    let Some(path) = path else {
        return ErrorCode::LogDirNotFound;
    };
    match replicas.alter_directory(id, path) {
        Ok(()) => ErrorCode::None,
        // Kafka: the code of old for a replica that is known and not here.
        Err(Refusal::UnknownPartition) if image.partition(&id.topic, id.partition).is_some() => {
            ErrorCode::ReplicaNotAvailable
        }
        Err(refusal) => replication_code(&refusal),
    }
}

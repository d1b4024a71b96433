//! WriteTxnMarkers: a coordinator ends transactions in partitions led here; versions 0 and 1.
//!
//! The answer names every producer that was asked about: a coordinator that misses one gives up on
//! its transaction. A marker counts once all in-sync replicas have it.
//! Kafka: `KafkaApis.handleWriteTxnMarkersRequest`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::batch::{Marker, end_marker};
use protocol::ids::{ProducerEpoch, ProducerId};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::write_txn_markers_request::WritableTxnMarker;
use protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use protocol::messages::{TopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use protocol::names;
use replication::append::{Acks, Append, AppendAnswer, Turn, Wait, append};
use replication::replicas::{Hosted, Replicas};
use replication::waiting::Stay;
use storage::log::Origin;

use crate::api::errors;
use crate::coordination::Groups;

/// One partition's marker, written or refused, not yet waited for.
enum Begun {
    Refused(ErrorCode),
    Answered(AppendAnswer),
    Waits(Box<Wait>),
}

/// What became of one producer's partitions.
type Told = BTreeMap<TopicName, BTreeMap<i32, ErrorCode>>;

/// `timeout_ms` is `request.timeout.ms`: how long the markers' replication may take.
pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    groups: &Groups,
    timeout_ms: i64,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    // All are appended before any is waited for; those for one directory wait there together.
    let mut turn = Turn::begin();
    let begun: Vec<_> = request
        .markers
        .iter()
        .map(|marker| begin(replicas, marker, &mut turn))
        .collect();
    turn.end();
    let stay = replicas.shared().deadlines.park(timeout_ms);
    // Kafka: what is told is a map, by producer and partition.
    let mut results: Vec<(ProducerId, Told)> = Vec::new();
    let mut places = HashMap::new();
    for (marker, begun) in request.markers.iter().zip(begun) {
        // Kafka: a marker for no partition is not told about.
        if begun.is_empty() {
            continue;
        }
        let place = *places.entry(marker.producer_id.0).or_insert_with(|| {
            results.push((ProducerId(marker.producer_id.0), Told::new()));
            results.len() - 1
        });
        finish(groups, marker, begun, &stay, &mut results[place].1).await;
    }
    let markers = results.into_iter().map(|(producer, told)| {
        let topics = told.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, code)| {
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(index)
                    .with_error_code(code.code())
            });
            WritableTxnMarkerTopicResult::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        WritableTxnMarkerResult::default()
            .with_producer_id(producer.0.into())
            .with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(markers.collect())
}

fn begin(replicas: &Replicas, marker: &WritableTxnMarker, turn: &mut Turn) -> Vec<Begun> {
    let kind = if marker.transaction_result {
        Marker::Commit
    } else {
        Marker::Abort
    };
    let records = end_marker(
        kind,
        ProducerId(marker.producer_id.0),
        ProducerEpoch(marker.producer_epoch),
        marker.coordinator_epoch,
        replicas.shared().clock.wall_ms(),
    );
    let partitions = marker.topics.iter().flat_map(|topic| {
        topic
            .partition_indexes
            .iter()
            .map(move |index| (&topic.name, *index))
    });
    let begun = partitions.map(|(topic, index)| match replicas.partition(topic, index) {
        Hosted::Online(partition) => {
            match append(
                &partition,
                records.clone(),
                Origin::Coordinator,
                Acks::All,
                turn,
            ) {
                Append::Answered(answer) => Begun::Answered(answer),
                Append::Waits(wait) => Begun::Waits(Box::new(wait)),
            }
        }
        Hosted::Offline | Hosted::Absent => Begun::Refused(ErrorCode::UnknownTopicOrPartition),
    });
    begun.collect()
}

async fn finish(
    groups: &Groups,
    marker: &WritableTxnMarker,
    begun: Vec<Begun>,
    stay: &Stay,
    told: &mut Told,
) {
    let mut begun = begun.into_iter();
    for topic in &marker.topics {
        let results = told.entry(topic.name.clone()).or_default();
        let mut written = Vec::new();
        for (index, begun) in topic.partition_indexes.iter().zip(&mut begun) {
            let answer = match begun {
                Begun::Refused(code) => Err(code),
                Begun::Answered(answer) => Ok(answer),
                Begun::Waits(wait) => Ok(wait.finish(stay).await),
            };
            let refusal = answer.map(|answer| answer.refusal);
            let code = match refusal {
                Err(code) => code,
                Ok(None) => ErrorCode::None,
                Ok(Some(refusal)) => errors::replication_code(&refusal),
            };
            if code == ErrorCode::None {
                written.push(*index);
            }
            results.insert(*index, code);
        }
        if &*topic.name == names::CONSUMER_OFFSETS && !written.is_empty() {
            // Offsets that were committed within the transaction count from now on, or never will.
            groups.complete_transaction(&written, marker.producer_id.0, marker.transaction_result);
        }
    }
}

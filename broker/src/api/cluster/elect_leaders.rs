//! ElectLeaders: preferred or unclean elections on demand; the controller answers.

use std::collections::BTreeMap;

use base::clock::Clock;
use controller::ControllerHandle;
use controller::event::{ElectionKind, ElectionOutcomes};
use protocol::StrBytes;
use protocol::ids::{BrokerId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::api::request::Context;
use crate::metadata::Metadata;
use crate::peer::spelling::topic_name;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// What is told of one partition.
type Told = (ErrorCode, Option<String>);

/// Kafka: `DelayedElectLeader`. An election is done once this broker would send clients to the
/// leader; what does not come within the time asked for is told as timed out.
async fn await_leaders(
    metadata: &Metadata,
    clock: &Clock,
    timeout_ms: i32,
    outcomes: ElectionOutcomes,
) -> BTreeMap<TopicPartition, Told> {
    let mut waiting = BTreeMap::new();
    let mut told = BTreeMap::new();
    for (tp, outcome) in outcomes {
        match outcome {
            Ok(leader) => drop(waiting.insert(tp, BrokerId(leader))),
            Err(refusal) => drop(told.insert(tp, refusal)),
        }
    }
    let timed_out = clock.sleep_ms(i64::from(timeout_ms.max(0)));
    tokio::pin!(timed_out);
    let mut changes = metadata.changes();
    loop {
        changes.mark_unchanged();
        let image = metadata.image();
        waiting.retain(|tp, leader| {
            let seen = image.partition(&tp.topic, tp.partition);
            let elected = seen.is_some_and(|seen| seen.leader == *leader);
            if elected {
                told.insert(tp.clone(), (ErrorCode::None, None));
            }
            !elected
        });
        if waiting.is_empty() {
            return told;
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = &mut timed_out => {
                let late = waiting.into_keys().map(|tp| (tp, (ErrorCode::RequestTimedOut, None)));
                told.extend(late);
                return told;
            }
        }
    }
}

pub(crate) async fn answer(
    context: &Context,
    controller: &ControllerHandle,
    metadata: &Metadata,
    clock: &Clock,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let kind = match request.election_type {
        PREFERRED => ElectionKind::Preferred,
        UNCLEAN => ElectionKind::Unclean,
        _ => return refuse(ErrorCode::UnknownServerError, request),
    };
    let is_for_all = request.topic_partitions.is_none();
    // Kafka: all that this broker knows of.
    let asked: Vec<TopicPartition> = match &request.topic_partitions {
        Some(topics) => {
            let each = topics.iter();
            each.flat_map(|topic| TopicPartition::each_of(&topic.topic, &topic.partitions))
                .collect()
        }
        None => metadata.image().partitions().collect(),
    };
    let timeout_ms = request.timeout_ms;
    drop(request);
    let mut outcomes = match controller.elect_leaders(kind, Some(asked.clone())).await {
        Ok(outcomes) => {
            drop(asked);
            context.drawn.give_back();
            await_leaders(metadata, clock, timeout_ms, outcomes).await
        }
        // Kafka: the answer as a whole carries no code, each partition does.
        Err(code) => asked.into_iter().map(|tp| (tp, (code, None))).collect(),
    };
    if is_for_all {
        outcomes.retain(|_, (code, _)| *code != ErrorCode::ElectionNotNeeded);
    }
    let mut results: Vec<ReplicaElectionResult> = Vec::new();
    for (tp, (code, text)) in outcomes {
        let text = match code {
            ErrorCode::ElectionNotNeeded => {
                Some("Leader election not needed for topic partition.".to_owned())
            }
            _ => text,
        };
        let result = PartitionResult::default()
            .with_partition_id(tp.partition)
            .with_error_code(code.code())
            .with_error_message(text.map(StrBytes::from_string));
        match results.last_mut() {
            Some(last) if last.topic.as_str() == &*tp.topic => last.partition_result.push(result),
            _ => results.push(
                ReplicaElectionResult::default()
                    .with_topic(topic_name(&tp.topic))
                    .with_partition_result(vec![result]),
            ),
        }
    }
    ElectLeadersResponse::default().with_replica_election_results(results)
}

/// Kafka: a kind of election that nobody knows fails the request as it was asked.
fn refuse(code: ErrorCode, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let topics = request.topic_partitions.unwrap_or_default().into_iter();
    let results = topics.map(|topic| {
        let partitions = topic.partitions.into_iter().map(|index| {
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(code.code())
                .with_error_message(None)
        });
        ReplicaElectionResult::default()
            .with_topic(topic.topic)
            .with_partition_result(partitions.collect())
    });
    ElectLeadersResponse::default()
        .with_error_code(code.code())
        .with_replica_election_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::update::TopicUpdate;
    use crate::metadata::{PartitionImage, Update};

    #[tokio::test]
    async fn an_election_is_told_once_clients_are_sent_to_the_leader_or_the_time_is_up() {
        let (metadata, clock) = (Metadata::default(), Clock::by_hand(1));
        let led_by = |leader| {
            let partition = PartitionImage {
                leader: BrokerId(leader),
                ..PartitionImage::default()
            };
            metadata.apply(Update {
                topics: vec![TopicUpdate {
                    name: "t".into(),
                    partitions: vec![(0, partition)],
                    ..TopicUpdate::default()
                }],
                ..Update::default()
            });
        };
        let tp = TopicPartition::new("t", 0);
        let elected = || ElectionOutcomes::from([(tp.clone(), Ok(2))]);
        led_by(1);
        let waiting = await_leaders(&metadata, &clock, 1000, elected());
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            told = &mut waiting => panic!("told too early: {told:?}"),
            () = tokio::task::yield_now() => {}
        }
        led_by(2);
        assert_eq!(waiting.await[&tp].0, ErrorCode::None);
        led_by(1);
        let waiting = await_leaders(&metadata, &clock, 1000, elected());
        let (told, ()) = tokio::join!(waiting, async { clock.advance(1000) });
        assert_eq!(told[&tp].0, ErrorCode::RequestTimedOut);
    }
}

//! ElectLeaders: preferred or unclean elections on demand; the controller answers.

use controller::ControllerHandle;
use controller::event::ElectionKind;
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::peer::spelling::topic_name;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(crate) async fn answer(
    controller: &ControllerHandle,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let kind = match request.election_type {
        PREFERRED => Some(ElectionKind::Preferred),
        UNCLEAN => Some(ElectionKind::Unclean),
        _ => None,
    };
    let asked: Option<Vec<TopicPartition>> = request.topic_partitions.map(|topics| {
        let named = topics.iter().flat_map(|topic| {
            let name = topic.topic.as_str();
            topic
                .partitions
                .iter()
                .map(move |index| TopicPartition::new(name, *index))
        });
        named.collect()
    });
    let each = |code: ErrorCode, asked: Option<Vec<TopicPartition>>| {
        let asked = asked.unwrap_or_default().into_iter();
        asked.map(|tp| (tp, (code, None))).collect()
    };
    let mut as_a_whole = ErrorCode::None;
    let outcomes = match kind {
        Some(kind) => match controller.elect_leaders(kind, asked.clone()).await {
            Ok(outcomes) => outcomes,
            // Kafka: the answer as a whole carries no code, each named partition does.
            Err(code) => each(code, asked),
        },
        None => {
            as_a_whole = ErrorCode::UnknownServerError;
            each(as_a_whole, asked)
        }
    };
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
    ElectLeadersResponse::default()
        .with_error_code(as_a_whole.code())
        .with_replica_election_results(results)
}

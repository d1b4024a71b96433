//! ControlledShutdown: a broker asks the controller to take its leaderships before it goes.

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::messages::controlled_shutdown_response::RemainingPartition;
use protocol::messages::{ControlledShutdownRequest, ControlledShutdownResponse, TopicName};

pub(crate) async fn answer(
    controller: &ControllerHandle,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    match controller
        .controlled_shutdown(request.broker_id.0, request.broker_epoch)
        .await
    {
        Ok(remaining) => {
            let remaining = remaining.into_iter().map(|partition| {
                RemainingPartition::default()
                    .with_topic_name(TopicName(StrBytes::from_string(
                        partition.topic.to_string(),
                    )))
                    .with_partition_index(partition.partition)
            });
            ControlledShutdownResponse::default().with_remaining_partitions(remaining.collect())
        }
        Err(code) => ControlledShutdownResponse::default().with_error_code(code.code()),
    }
}

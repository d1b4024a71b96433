//! AllocateProducerIds: a broker asks the controller for a block of ids nobody else will get.

use controller::ControllerHandle;
use protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId};

/// Kafka: `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
pub(crate) const BLOCK_LEN: i32 = 1000;

pub(crate) async fn answer(
    controller: &ControllerHandle,
    request: &AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    match controller
        .allocate_producer_ids(request.broker_id.0, request.broker_epoch)
        .await
    {
        Ok(start) => AllocateProducerIdsResponse::default()
            .with_producer_id_start(ProducerId(start))
            .with_producer_id_len(BLOCK_LEN),
        Err(code) => AllocateProducerIdsResponse::default().with_error_code(code.code()),
    }
}

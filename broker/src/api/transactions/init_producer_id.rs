//! InitProducerId: an id for an idempotent producer; versions 0 to 5. Kafka:
//! `KafkaApis.handleInitProducerIdRequest`, `TransactionCoordinator.handleInitProducerId`.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::api::transactions::producer_ids::ProducerIds;

const NONE: i64 = -1;

/// `timeout_ms_max` is `transaction.max.timeout.ms`.
pub(crate) async fn answer(
    ids: &ProducerIds,
    timeout_ms_max: i32,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match choose(&request, timeout_ms_max) {
        Err(code) => refuse(code),
        // Kafka: without a transactional id every ask gets a new producer id.
        Ok(()) => match ids.next().await {
            Some(id) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id.0))
                .with_producer_epoch(0),
            None => refuse(ErrorCode::CoordinatorLoadInProgress),
        },
    }
}

fn choose(request: &InitProducerIdRequest, timeout_ms_max: i32) -> Result<(), ErrorCode> {
    // Either both of an id and its epoch are known, or neither.
    if (request.producer_id.0 == NONE) != (i64::from(request.producer_epoch) == NONE) {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_ref().map(|id| &***id) {
        None => Ok(()),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) if !(1..=timeout_ms_max).contains(&request.transaction_timeout_ms) => {
            Err(ErrorCode::InvalidTransactionTimeout)
        }
        Some(_) => Err(ErrorCode::NotCoordinator),
    }
}

fn refuse(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(NONE))
        .with_producer_epoch(-1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::StrBytes;
    use protocol::messages::TransactionalId;

    use super::*;
    use crate::api::transactions::producer_ids::Block;

    async fn code(request: InitProducerIdRequest) -> i16 {
        let block = || Some(Block { next: 7, end: 8 });
        let ids = ProducerIds::new(Arc::new(move || Box::pin(async move { block() })));
        answer(&ids, 900_000, request).await.error_code
    }

    fn transactional(id: &'static str, timeout_ms: i32) -> InitProducerIdRequest {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str(id))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(NONE))
            .with_producer_epoch(-1)
    }

    #[tokio::test]
    async fn refusals_come_in_kafkas_order() {
        assert_eq!(code(transactional("x", 60_000)).await, 16);
        assert_eq!(code(transactional("x", 1_000_000)).await, 50);
        assert_eq!(code(transactional("", 1_000_000)).await, 42);
        assert_eq!(
            code(transactional("x", 60_000).with_producer_epoch(3)).await,
            42
        );
        let idempotent = transactional("x", i32::MAX).with_transactional_id(None);
        assert_eq!(code(idempotent).await, 0);
    }
}

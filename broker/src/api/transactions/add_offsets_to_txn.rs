//! AddOffsetsToTxn: this broker coordinates no transactions.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::AddOffsetsToTxnResponse;

pub(crate) fn answer() -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(ErrorCode::NotCoordinator.code())
}

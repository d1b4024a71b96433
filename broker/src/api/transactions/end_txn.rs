//! EndTxn: this broker coordinates no transactions.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::EndTxnResponse;

pub(crate) fn answer() -> EndTxnResponse {
    EndTxnResponse::default().with_error_code(ErrorCode::NotCoordinator.code())
}

//! AddOffsetsToTxn: this broker coordinates no transactions.

use protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use crate::api::transactions::refusal;

pub(crate) fn answer(request: &AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let code = refusal(request.transactional_id.as_str());
    AddOffsetsToTxnResponse::default().with_error_code(code.code())
}

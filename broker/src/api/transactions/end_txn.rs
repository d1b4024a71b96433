//! EndTxn: this broker coordinates no transactions.

use protocol::messages::{EndTxnRequest, EndTxnResponse};

use crate::api::transactions::refusal;

pub(crate) fn answer(request: &EndTxnRequest) -> EndTxnResponse {
    let code = refusal(request.transactional_id.as_str());
    EndTxnResponse::default().with_error_code(code.code())
}

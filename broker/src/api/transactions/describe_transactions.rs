//! DescribeTransactions: this broker coordinates no transactions.

use protocol::messages::describe_transactions_response::TransactionState;
use protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId};

use crate::api::transactions::refusal;

pub(crate) fn answer(request: &DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.iter().map(|id| {
        TransactionState::default()
            .with_transactional_id(id.clone())
            .with_error_code(refusal(id.as_str()).code())
            .with_producer_id(ProducerId(0))
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

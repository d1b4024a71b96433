//! ListTransactions: none are coordinated here.

use std::collections::HashSet;

use protocol::StrBytes;
use protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

/// The states a filter may name.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(crate) fn answer(request: &ListTransactionsRequest) -> ListTransactionsResponse {
    // Kafka: a set.
    let mut named = HashSet::new();
    let unknown = request
        .state_filters
        .iter()
        .filter(|name| !STATES.contains(&name.as_str()) && named.insert(*name));
    let unknown: Vec<StrBytes> = unknown.cloned().collect();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown)
}

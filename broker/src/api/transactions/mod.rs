//! Producers with ids. Transactions across partitions are held back: their coordinator's APIs
//! answer that it lives elsewhere, as a broker does that leads no partition of its topic. Ids for
//! idempotent producers and markers from other brokers' coordinators are real.

pub mod producer_ids;
pub mod init_producer_id;
pub mod add_partitions_to_txn;
pub mod add_offsets_to_txn;
pub mod end_txn;
pub mod txn_offset_commit;
pub mod write_txn_markers;
pub mod describe_transactions;
pub mod list_transactions;

use protocol::kafka::errors::ErrorCode;

/// What whoever has a transaction under way hears here. Kafka: an id without a letter is refused
/// before anybody asks who coordinates it.
fn refusal(transactional_id: &str) -> ErrorCode {
    match transactional_id {
        "" => ErrorCode::InvalidRequest,
        _ => ErrorCode::NotCoordinator,
    }
}

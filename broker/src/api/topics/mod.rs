//! Topics and their replicas, as operators change them.

pub mod create_topics;
pub mod delete_topics;
pub mod create_partitions;
pub mod alter_partition_reassignments;
pub mod list_partition_reassignments;

/// What a client that mutates too fast is told. Kafka: `ApiError.fromThrowable` leaves out words
/// that are the code's own.
fn too_many(_exceeded: crate::quota::Exceeded) -> crate::admin::topics::Refusal {
    crate::admin::topics::Refusal {
        code: protocol::kafka::errors::ErrorCode::ThrottlingQuotaExceeded,
        text: None,
    }
}

//! Topics and their replicas, as operators change them.

pub mod create_topics;
pub mod delete_topics;
pub mod create_partitions;
pub mod alter_partition_reassignments;
pub mod list_partition_reassignments;

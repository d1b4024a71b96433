//! What brokers and their controller say to each other.

pub mod authority;
pub mod leader_and_isr;
pub mod stop_replica;
pub mod update_metadata;
pub mod controlled_shutdown;
pub mod alter_partition;
pub mod allocate_producer_ids;

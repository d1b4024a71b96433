//! The cluster as clients and operators see it.

pub mod metadata;
pub mod describe_cluster;
pub mod elect_leaders;
pub mod update_features;
pub mod describe_log_dirs;
pub mod alter_replica_log_dirs;
pub mod envelope;

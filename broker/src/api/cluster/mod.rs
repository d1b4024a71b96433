//! The cluster as clients and operators see it.

pub mod metadata;
pub mod describe_cluster;
pub mod elect_leaders;
pub mod update_features;

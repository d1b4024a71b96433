//! The cluster as clients and operators see it.

pub mod metadata;
pub mod describe_cluster;

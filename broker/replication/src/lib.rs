//! broker/replication

//! broker/groups

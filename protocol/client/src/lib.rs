//! protocol/client

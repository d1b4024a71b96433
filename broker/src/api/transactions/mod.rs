//! The doors of the transactions APIs.

//! The doors of the groups APIs.

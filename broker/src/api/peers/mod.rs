//! The doors of the peers APIs.

//! The doors of the configs APIs.

//! The doors of the cluster APIs.

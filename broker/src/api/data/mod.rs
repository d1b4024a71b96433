//! The doors of the data APIs.

//! The doors of the topics APIs.

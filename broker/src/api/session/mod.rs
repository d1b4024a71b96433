//! The doors of the session APIs.

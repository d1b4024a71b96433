//! The doors of the security APIs.

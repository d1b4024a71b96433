//! What a connection begins with: versions, and authentication on listeners that ask for it.

pub mod api_versions;
pub mod sasl_handshake;
pub mod sasl_authenticate;

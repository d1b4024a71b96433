//! broker/settings

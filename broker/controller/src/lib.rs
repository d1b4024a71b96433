//! broker/controller

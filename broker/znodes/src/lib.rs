//! broker/znodes

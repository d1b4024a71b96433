//! The coordinator inside this process.

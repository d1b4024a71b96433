//! The separate program.
fn main() {}

//! One command runs it: a broker with its embedded coordinator, met by clients as users have them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod programs;
mod clients;
mod start;
mod folders;
mod two_brokers;
mod variables;
mod readme;

use std::path::Path;
use std::process::Command;

use harness::tool;

/// Runs to the end with `input` on its standard input; panics with both outputs if it fails.
fn run(mut command: Command, input: &str) -> String {
    tool::done(&mut command, input)
}

/// A script that lies beside this file.
fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("first_light/clients")
        .join(name)
}

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
mod readme;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs to the end with `input` on its standard input; panics with both outputs if it fails.
fn run(mut command: Command, input: &str) -> String {
    let output = run_any(&mut command, input);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{text}\n{errors}",
        output.status
    );
    text
}

fn run_any(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // A program that ends without reading all of it is not this function's concern.
        let _closed = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// A script that lies beside this file.
fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("first_light/clients")
        .join(name)
}

//! A program that is run to its end: what it is told, what it says, and how long that may take.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than any tool takes, a dozen Java machines on two processors included.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs `command` with `input` on its standard input. Panics with what it said where it does not end.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // A program that ends without reading all of it is not this function's concern.
        let _closed = stdin.write_all(input.as_bytes());
    });
    let (out, err) = (
        all_of(child.stdout.take().unwrap()),
        all_of(child.stderr.take().unwrap()),
    );
    let deadline = Instant::now() + LIMIT;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    writing.join().unwrap();
    let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
    let Some(status) = ended else {
        panic!(
            "{command:?} did not end within {LIMIT:?}; it said\n{}\n{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    };
    Output {
        status,
        stdout,
        stderr,
    }
}

/// The same, which must end well: its standard output.
pub fn done(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn all_of(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // What could not be read any more was not said.
        let _ended = from.read_to_end(&mut all);
        all
    })
}

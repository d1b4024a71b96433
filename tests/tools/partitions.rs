//! Keys spread as Java's and kafka-python's partitioners spread them.
//!
//! `tools/tests/golden/partitions.txt` holds what the two said of many keys, one a line: the key in
//! hexadecimal, then its partition of 3, 7, 50 and 10007. The tools' own test reads it
//! too. `BLESS=1 cargo test --workspace --test tools -- --ignored keys_lie` asks the two again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::peers;

const COUNTS: [i32; 4] = [3, 7, 50, 10_007];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/tests/golden/partitions.txt")
}

/// Keys of every length up to a hundred and a few that people use, in hexadecimal.
fn keys() -> Vec<String> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for length in 0..100usize {
        for _ in 0..4 {
            let mut key = Vec::with_capacity(length);
            for _ in 0..length {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                key.push(state as u8);
            }
            keys.push(key);
        }
    }
    keys.extend((0..200).map(|at| format!("user-{at}").into_bytes()));
    keys.extend(["", "a", "Grüße", "日本語", "\u{1f980}"].map(|text| text.as_bytes().to_vec()));
    let hex = |key: &Vec<u8>| {
        key.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    keys.iter().map(hex).collect()
}

/// What a program says of the keys it is given on its input.
fn asked(mut command: Command, keys: &[String]) -> String {
    let counts = COUNTS.map(|count| count.to_string());
    let mut child = command
        .args(counts)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = keys.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "wants Java's and kafka-python's clients"]
fn keys_lie_where_javas_and_pythons_partitioners_put_them() {
    let (Some(kafka), Some(python)) = (peers::installed("kafka-3.9"), peers::installed("python"))
    else {
        return;
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
    let keys = keys();
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{}/libs/*", kafka.display()))
        .arg(here.join("apache/Partitions.java"));
    let mut script = Command::new(python.join("bin/python"));
    script.arg(here.join("partitions.py"));
    let (of_java, of_python) = (asked(java, &keys), asked(script, &keys));
    assert_eq!(of_java.lines().count(), keys.len());
    assert_eq!(of_java, of_python);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden(), &of_java).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden()).unwrap(), of_java);
}

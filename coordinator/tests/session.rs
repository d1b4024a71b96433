//! A recorded session with Apache's server, replayed: every reply must be the same bytes, but for
//! session numbers, passwords, times, and the order of children.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use coordinator::Config;
use flate2::read::GzDecoder;

const RECORDED: &[u8] = include_bytes!("golden/session.jsonl.gz");

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Replaces one byte string by another of the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    for at in 0..(bytes.len() + 1).saturating_sub(from.len()) {
        if bytes[at..at + from.len()] == *from {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
}

/// Times of the recording and of this run, give or take an hour, become zeros.
fn without_times(mut bytes: Vec<u8>) -> Vec<u8> {
    const RECORDED_MS: i64 = 1_795_221_453_000;
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    for at in 0..bytes.len().saturating_sub(7) {
        let word = i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        if word.abs_diff(RECORDED_MS).min(word.abs_diff(now_ms)) < 3_600_000 {
            bytes[at..at + 8].fill(0);
        }
    }
    bytes
}

/// Replies that list children or names, whose order is nobody's promise.
fn is_unordered(note: &str) -> bool {
    ["getChildren", "multiRead", "whoAmI", "getEphemerals"]
        .iter()
        .any(|word| note.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_session_is_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    config.extended_types = true;
    config.max_session_timeout_ms = Some(600_000);
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut connections: HashMap<String, TcpStream> = HashMap::new();
        let mut ours: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut compared = 0;
        for line in BufReader::new(GzDecoder::new(RECORDED)).lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let (name, dir, note) = (text("conn"), text("dir"), text("note"));
            if dir == "note" || dir == "text" || note.contains("(hex cut)") {
                continue;
            }
            let mut recorded = bytes_of(&text("hex"));
            if dir == "client" {
                for (theirs, own) in &ours {
                    replace(&mut recorded, theirs, own);
                }
                let socket = connections
                    .entry(name)
                    .or_insert_with(|| raw::dial(address).expect("the server listens"));
                socket.write_all(&recorded).unwrap();
                continue;
            }
            let socket = connections.get_mut(&name).unwrap();
            let body = raw::read_frame(socket).unwrap_or_else(|e| panic!("{note}: {e}"));
            let got = raw::frame(&body);
            if note == "connect" {
                assert_eq!(recorded[..12], got[..12], "{name}: {note}");
                ours.insert(recorded[12..20].to_vec(), got[12..20].to_vec());
                ours.insert(recorded[24..40].to_vec(), got[24..40].to_vec());
                continue;
            }
            for (theirs, own) in &ours {
                replace(&mut recorded, theirs, own);
            }
            let (mut want, mut got) = (without_times(recorded), without_times(got));
            if is_unordered(&note) {
                want.sort_unstable();
                got.sort_unstable();
            }
            assert_eq!(want, got, "{name}: {note}");
            compared += 1;
        }
        assert!(compared > 120, "{compared} replies compared");
    })
    .await
    .unwrap();
    handle.stop().await;
}

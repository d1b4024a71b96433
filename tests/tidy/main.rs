//! The law of the house, read off the sources: floors, pages, pure files, settings that somebody obeys.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod sources;
mod floors;
mod pages;

use std::fs;
use std::path::Path;

use crate::sources::{all_sources, code, refuse, root, shown, sources};

/// Files that decide and must not act, with the words that would let them.
const PURE: &[(&str, &str)] = &[
    (
        "broker/replication/src/partition/leader.rs",
        "tokio std::fs znodes Instant",
    ),
    (
        "broker/replication/src/partition/isr.rs",
        "tokio std::fs znodes Instant",
    ),
    (
        "broker/controller/src/choose_leader.rs",
        "tokio std::fs znodes Instant",
    ),
    (
        "broker/controller/src/assign.rs",
        "tokio std::fs znodes Instant",
    ),
    ("broker/src/quota/rate.rs", "tokio std::fs znodes Instant"),
    ("broker/storage/src/retention.rs", "tokio std::fs Instant"),
    (
        "broker/storage/src/compaction/choose.rs",
        "tokio std::fs Instant",
    ),
];

/// What no file of these crates may name.
const ABSENT: &[(&str, &str)] = &[
    ("broker/groups/src", "tokio std::fs std::net"),
    ("broker/storage/src", "tokio std::net"),
    ("broker/settings/src", "tokio std::net::Tcp"),
    ("protocol/src", "tokio std::fs std::net::Tcp"),
];

fn check_absent(file: &Path, words: &str, faults: &mut Vec<String>) {
    for (number, line) in code(file) {
        for word in words.split(' ').filter(|word| line.contains(word)) {
            faults.push(format!("{}:{number}: must not name `{word}`", shown(file)));
        }
    }
}

#[test]
fn files_that_decide_cannot_act() {
    let mut faults = Vec::new();
    for (file, words) in PURE {
        check_absent(&root().join(file), words, &mut faults);
    }
    for (below, words) in ABSENT {
        for file in sources(&root().join(below)) {
            if !file.ends_with("tests.rs") {
                check_absent(&file, words, &mut faults);
            }
        }
    }
    refuse(&faults);
}

/// `OffsetForLeaderEpoch` → `offset_for_leader_epoch`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// What an API's file is called: `fetch.rs`, or `fetch/mod.rs` where one file would be long.
fn room(path: &Path) -> String {
    let named = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod") => path.parent().and_then(Path::file_name),
        _ => path.file_stem(),
    };
    named.unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn every_api_has_its_file() {
    let files: Vec<String> = sources(&root().join("broker/src/api"))
        .iter()
        .map(|path| room(path))
        .collect();
    let missing = protocol::kafka::apis::ROWS
        .iter()
        .map(|row| snake(row.name));
    let faults: Vec<String> = missing.filter(|file| !files.contains(file)).collect();
    refuse(&faults);
}

#[test]
fn shared_maps_stay_inside_their_tables() {
    let mut faults = Vec::new();
    for path in all_sources()
        .iter()
        .filter(|path| !shown(path).starts_with("tests/"))
    {
        for (number, line) in code(path) {
            if line.contains("pub") && line.contains("DashMap<") {
                faults.push(format!(
                    "{}:{number}: hands out its map; return owned values",
                    shown(path)
                ));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn notes_to_ourselves_carry_an_issue() {
    let mut faults = Vec::new();
    for path in all_sources()
        .iter()
        .filter(|path| !path.ends_with("tests/tidy/main.rs"))
    {
        for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            let marked = ["TODO", "FIXME"].iter().any(|mark| line.contains(mark));
            if marked && !line.contains('#') {
                faults.push(format!(
                    "{}:{}: a mark without an issue",
                    shown(path),
                    number + 1
                ));
            }
        }
    }
    refuse(&faults);
}

/// A line without what stands between quotes.
fn unquoted(line: &str) -> String {
    let pieces = line.split('"').step_by(2);
    pieces.collect::<Vec<_>>().join("\"\"")
}

/// Whether a line reads a field of this name of anything.
fn reads(line: &str, field: &str) -> bool {
    line.match_indices(field).any(|(at, _)| {
        let after = line[at + field.len()..].chars().next();
        let ends = after.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '(');
        ends && line[..at].ends_with('.')
    })
}

/// Not proof: a field of the same name elsewhere hides one that nobody reads. It has caught four.
#[test]
fn every_setting_that_works_has_a_field_that_somebody_reads() {
    use settings::keys;
    use settings::row::State;
    let mut lines = Vec::new();
    for below in ["broker/src", "broker/storage/src", "broker/replication/src"] {
        for file in sources(&root().join(below)) {
            lines.extend(code(&file).into_iter().map(|(_, line)| unquoted(&line)));
        }
    }
    // The line that makes a field out of a key reads only the key.
    lines.retain(|line| !line.contains("values."));
    let rows = keys::broker_rows()
        .chain(keys::topic_rows())
        .chain(keys::dynamic_only_rows());
    let mut faults = Vec::new();
    for row in rows {
        if let State::Works(path) = row.state {
            let field = path.rsplit('.').next().unwrap();
            if !lines.iter().any(|line| reads(line, field)) {
                faults.push(format!(
                    "{} is said to work through `{path}`, which nobody reads",
                    row.name
                ));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn the_checks_above_can_fail() {
    assert!(reads("let x = config.network.backlog;", "backlog"));
    assert!(!reads(
        &unquoted("row(\"socket.listen.backlog.size\")"),
        "backlog"
    ));
    assert!(!reads("backlog: number,", "backlog"));
    assert_eq!(snake("OffsetForLeaderEpoch"), "offset_for_leader_epoch");
    assert_eq!(room(Path::new("data/produce.rs")), "produce");
    assert_eq!(room(Path::new("data/fetch/mod.rs")), "fetch");
}

//! The law of the house, read off the sources: floors, first pages, pure files, paths in docs.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, where it lies, and the crates of ours it may use. Lower floors stand first.
const FLOORS: &[(&str, &str, &str)] = &[
    ("base", "base", ""),
    ("protocol", "protocol", ""),
    ("client", "protocol/client", "base protocol"),
    ("storage", "broker/storage", "base protocol"),
    ("znodes", "broker/znodes", "base protocol"),
    ("settings", "broker/settings", "base protocol"),
    ("groups", "broker/groups", "protocol"),
    ("coordinator", "coordinator", "base protocol"),
    ("replication", "broker/replication", "base protocol storage"),
    (
        "controller",
        "broker/controller",
        "base protocol znodes settings",
    ),
    (
        "broker",
        "broker",
        "base protocol client storage znodes settings groups coordinator replication controller",
    ),
    (
        "tools",
        "tools",
        "base protocol client storage znodes settings controller coordinator",
    ),
];

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn sources(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "fuzz" && !name.starts_with('.') {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<PathBuf> {
    [
        "base",
        "protocol",
        "broker",
        "coordinator",
        "tools",
        "tests",
        "bench",
    ]
    .iter()
    .flat_map(|top| sources(&root().join(top)))
    .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The lines of a file with their numbers, without comments and without its inline tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .map(|line| line.split("//").next().unwrap_or_default().to_owned())
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .collect()
}

fn refuse(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Our crates among the `[dependencies]` of a manifest; what only its tests use does not count.
fn uses(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]" && FLOORS.iter().any(|(ours, ..)| *ours == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn crates_use_only_floors_beneath_them() {
    let mut faults = Vec::new();
    for (name, path, may) in FLOORS {
        let manifest = fs::read_to_string(root().join(path).join("Cargo.toml")).unwrap();
        for used in uses(&manifest) {
            if !may.split(' ').any(|allowed| allowed == used) {
                faults.push(format!("{path}/Cargo.toml: `{name}` must not use `{used}`"));
            }
        }
    }
    refuse(&faults);
}

/// The modules a `lib.rs` lists, in order.
fn listed_modules(path: &Path) -> Vec<String> {
    let lines = code(path);
    let listed = lines.iter().filter_map(|(_, line)| {
        let line = line
            .trim()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    });
    listed.collect()
}

/// Every `x` of `crate::x` and `crate::{x, y}` in a line.
fn named_modules(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut named = Vec::new();
    for (at, mark) in line.match_indices("crate::") {
        let after = &line[at + mark.len()..];
        let Some(group) = after.strip_prefix('{') else {
            named.push(word(after));
            continue;
        };
        let mut depth = 1;
        let mut part = String::new();
        for c in group.chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                break;
            }
            if depth == 1 && c == ',' {
                named.push(word(&std::mem::take(&mut part)));
            } else {
                part.push(c);
            }
        }
        named.push(word(&part));
    }
    named
}

#[test]
fn modules_name_only_modules_listed_before_them() {
    let mut faults = Vec::new();
    for (_, path, _) in FLOORS {
        let src = root().join(path).join("src");
        for list in ["lib.rs", "main.rs"].map(|list| src.join(list)) {
            let order = if list.exists() {
                listed_modules(&list)
            } else {
                Vec::new()
            };
            let place: BTreeMap<&str, usize> = order
                .iter()
                .enumerate()
                .map(|(n, module)| (module.as_str(), n))
                .collect();
            for file in sources(&src) {
                let inside = file.strip_prefix(&src).unwrap();
                let own = inside.iter().next().unwrap().to_string_lossy();
                let own = own.trim_end_matches(".rs");
                let Some(mine) = place.get(own) else { continue };
                for (number, line) in code(&file) {
                    for named in named_modules(&line) {
                        if place.get(named.as_str()).is_some_and(|other| other > mine) {
                            let at = shown(&file);
                            faults.push(format!("{at}:{number}: `{own}` names `{named}` above it"));
                        }
                    }
                }
            }
        }
    }
    refuse(&faults);
}

#[test]
fn every_file_begins_with_its_page() {
    let bare = |path: &PathBuf| !fs::read_to_string(path).unwrap().starts_with("//!");
    let faults: Vec<String> = all_sources()
        .iter()
        .filter(|path| bare(path))
        .map(|path| shown(path))
        .collect();
    refuse(&faults);
}

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

#[test]
fn every_api_has_its_file() {
    let files: Vec<String> = sources(&root().join("broker/src/api"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let missing = protocol::kafka::apis::ROWS
        .iter()
        .map(|row| snake(row.name));
    let faults: Vec<String> = missing.filter(|file| !files.contains(file)).collect();
    refuse(&faults);
}

#[test]
fn the_docs_name_only_paths_that_are_there() {
    let mut faults = Vec::new();
    for page in ["docs/ARCHITECTURE.md", "docs/TESTING.md", "README.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split(' ').next().unwrap_or_default();
            let ours = [
                "base/",
                "protocol/",
                "broker/",
                "coordinator/",
                "tools/",
                "tests/",
                "docs/",
                "bench/",
                "docker/",
            ];
            if ours.iter().any(|top| path.starts_with(top)) && !root().join(path).exists() {
                faults.push(format!("{page}: names `{path}`, which is not there"));
            }
        }
    }
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
    assert_eq!(
        named_modules("use crate::{log::Log, index};"),
        ["log", "index"]
    );
    assert_eq!(
        named_modules("let x = crate::net::bind(crate::config::p());"),
        ["net", "config"]
    );
    assert_eq!(snake("OffsetForLeaderEpoch"), "offset_for_leader_epoch");
    let manifest =
        "[dependencies]\nbase.workspace = true\n[dev-dependencies]\nbroker.workspace = true";
    assert_eq!(uses(manifest), ["base"]);
}

//! Floors: which crate may use which, and in each crate which module may name which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::{all_sources, code, code_of, refuse, root, shown, sources};

/// Each crate, where it lies, and the crates of ours it may use. Lower floors stand first.
pub(crate) const FLOORS: &[(&str, &str, &str)] = &[
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
    ("bench", "bench", "base protocol client coordinator broker"),
];

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
pub(crate) fn listed_modules(path: &Path) -> Vec<String> {
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

/// Every `x` of `crate::x` and `crate::{x, y}`, on one line or more, with the line it begins on.
fn named_modules(lines: &[(usize, String)]) -> Vec<(usize, String)> {
    let mut text = String::new();
    let mut starts = Vec::new();
    for (number, line) in lines {
        starts.push((text.len(), *number));
        text.push_str(line);
        text.push('\n');
    }
    let number = |at: usize| starts[starts.partition_point(|(from, _)| *from <= at) - 1].1;
    let mut named = Vec::new();
    for (at, mark) in text.match_indices("crate::") {
        let after = &text[at + mark.len()..];
        let parts = match after.strip_prefix('{') {
            None => vec![word(after)],
            Some(group) => parts_of(group),
        };
        named.extend(parts.into_iter().map(|part| (number(at), part)));
    }
    named
}

fn word(text: &str) -> String {
    let letters = text.trim_start().chars();
    letters
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first words of what stands between a brace, just opened, and its end.
fn parts_of(group: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 1);
    for c in group.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        if depth == 1 && c == ',' {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    let words = parts.iter().map(|part| word(part));
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn modules_name_only_modules_listed_before_them() {
    let mut faults = Vec::new();
    // Tests stand side by side; what they are made of has floors.
    let tests = root().join("tests");
    let is_list = |file: &PathBuf| {
        (file.ends_with("lib.rs") || file.ends_with("main.rs")) && !file.starts_with(&tests)
    };
    for list in all_sources().into_iter().filter(is_list) {
        let folder = list.parent().unwrap();
        let order = listed_modules(&list);
        let place: BTreeMap<&str, usize> = order
            .iter()
            .enumerate()
            .map(|(n, module)| (module.as_str(), n))
            .collect();
        for file in sources(folder) {
            let inside = file.strip_prefix(folder).unwrap();
            let own = inside.iter().next().unwrap().to_string_lossy();
            let own = own.trim_end_matches(".rs");
            let Some(mine) = place.get(own) else { continue };
            for (number, named) in named_modules(&code(&file)) {
                if place.get(named.as_str()).is_some_and(|other| other > mine) {
                    let at = shown(&file);
                    faults.push(format!("{at}:{number}: `{own}` names `{named}` above it"));
                }
            }
        }
    }
    refuse(&faults);
}

#[test]
fn these_checks_can_fail() {
    let named = |text: &str| -> Vec<(usize, String)> { named_modules(&code_of(text)) };
    let at = |pairs: &[(usize, &str)]| -> Vec<(usize, String)> {
        let owned = pairs.iter().map(|(line, name)| (*line, (*name).to_owned()));
        owned.collect()
    };
    assert_eq!(
        named("use crate::{log::Log, index};"),
        at(&[(1, "log"), (1, "index")])
    );
    assert_eq!(
        named("x\nuse crate::{\n    log::{A, B},\n    index,\n};"),
        at(&[(2, "log"), (2, "index")])
    );
    assert_eq!(
        named("let x = crate::net::bind(crate::config::p());"),
        at(&[(1, "net"), (1, "config")])
    );
    // What only tests use may reach up; what stands behind it may not.
    assert_eq!(
        named("#[cfg(test)]\nuse crate::up;\nuse crate::a;"),
        at(&[(3, "a")])
    );
    assert_eq!(
        named("#[cfg(test)]\nmod tests {\n    use crate::up;\n}\nuse crate::b;"),
        at(&[(5, "b")])
    );
    let manifest =
        "[dependencies]\nbase.workspace = true\n[dev-dependencies]\nbroker.workspace = true";
    assert_eq!(uses(manifest), ["base"]);
}

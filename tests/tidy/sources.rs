//! The sources as this program reads them: files, and their lines of code.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

pub(crate) fn sources(below: &Path) -> Vec<PathBuf> {
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

pub(crate) fn all_sources() -> Vec<PathBuf> {
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

pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The lines of a file with their numbers, without comments and without what only its tests use.
pub(crate) fn code(path: &Path) -> Vec<(usize, String)> {
    code_of(&fs::read_to_string(path).unwrap())
}

/// An item behind `#[cfg(test)]` ends where rustfmt ends it: at its own indentation.
pub(crate) fn code_of(text: &str) -> Vec<(usize, String)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            let line = line.split("//").next().unwrap_or_default();
            kept.push((index + 1, line.to_owned()));
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let inner = format!("{indent} ");
        let ended = |line: &str| {
            let attribute = line.trim_start().starts_with("#[");
            let opens = ['{', '(', '[', '=']
                .iter()
                .any(|last| line.ends_with(*last));
            !attribute && !opens && !line.starts_with(&inner) && !line.trim().is_empty()
        };
        lines.by_ref().find(|(_, line)| ended(line));
    }
    kept
}

pub(crate) fn refuse(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

//! Pages: every source begins with one, and what a page or a comment names is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::floors::{FLOORS, listed_modules};
use crate::sources::{all_sources, refuse, root, shown};

/// The rooms of the house: a quoted word that begins with one is a path.
const ROOMS: &[&str] = &[
    ".ci/",
    "base/",
    "bench/",
    "broker/",
    "coordinator/",
    "docker/",
    "docs/",
    "protocol/",
    "tests/",
    "tools/",
];

/// README and everything below `docs`.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    found.extend(below("docs", |name| name.ends_with(".md")));
    found
}

/// What is written for the shell, for Docker and for clients in other languages.
fn scripts() -> Vec<PathBuf> {
    let mut found = vec![root().join("tests/run"), root().join("docker-compose.yml")];
    for room in [".ci", "docker", "tests/seeds", "tests/peers"] {
        found.extend(below(room, |_| true));
    }
    found
}

fn below(room: &str, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(room)]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if wanted(&path.file_name().unwrap().to_string_lossy()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
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

/// What stands between backquotes on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The path of ours a quoted text begins with, if it is one: no pattern, no placeholder.
fn path_in(quoted: &str) -> Option<&str> {
    let word = quoted.split([' ', ':', '(']).next()?;
    let ours = ROOMS.iter().any(|room| word.starts_with(room));
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let path = word.trim_end_matches(['/', '.']);
    (ours && plain && !path.split('/').any(is_placeholder)).then_some(path)
}

/// `NAME` in `tests/golden/tools/NAME.txt`.
fn is_placeholder(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default();
    let shouted = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_uppercase());
    shouted
        && ![
            "README",
            "LICENSE",
            "ARCHITECTURE",
            "BUILDING",
            "KAFKA",
            "TESTING",
            "TUTORIAL",
        ]
        .contains(&stem)
}

/// The lines of a file in which somebody explains: all of a page, the comments of anything else.
fn told(path: &Path) -> Vec<(usize, String)> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    let mark = match path.extension().and_then(|ending| ending.to_str()) {
        Some("md") => "",
        Some("rs") => "//",
        _ => "#",
    };
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .filter(|(_, line)| line.trim_start().starts_with(mark))
        .map(|(at, line)| (at, line.to_owned()))
        .collect()
}

#[test]
fn pages_and_comments_name_only_paths_that_are_there() {
    let mut faults = Vec::new();
    for file in pages().into_iter().chain(scripts()).chain(all_sources()) {
        for (number, line) in told(&file) {
            for path in quoted(&line).filter_map(path_in) {
                if !is_there(&file, path) {
                    faults.push(format!(
                        "{}:{number}: names `{path}`, which is not there",
                        shown(&file)
                    ));
                }
            }
        }
    }
    refuse(&faults);
}

/// A path counts from the top, or from a folder above the file that names it: its crate.
fn is_there(file: &Path, path: &str) -> bool {
    let top = root();
    let mut above = file
        .ancestors()
        .take_while(|folder| folder.starts_with(&top));
    above.any(|folder| folder.join(path).exists())
}

/// Where `[text](target)` leads, outside of code.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, block) in text.split("```").enumerate() {
        if at % 2 == 0 {
            let ends = block.split("](").skip(1);
            found.extend(ends.filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// The name of a heading in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            if target.contains("://") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let Ok(there) = fs::read(&leads_to).or_else(|e| match leads_to.is_dir() {
                true => Ok(Vec::new()),
                false => Err(e),
            }) else {
                faults.push(format!("{}: ({target}) leads nowhere", shown(&page)));
                continue;
            };
            let there = String::from_utf8_lossy(&there);
            let mut headings = there.lines().filter(|line| line.starts_with('#'));
            if !part.is_empty()
                && !headings.any(|line| anchor(line.trim_start_matches('#')) == part)
            {
                faults.push(format!("{}: ({target}) has no such heading", shown(&page)));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn the_architecture_draws_the_floors_as_they_are() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut faults = Vec::new();
    for (name, path, _) in FLOORS {
        if !page.contains(&format!("| `{name}` | `{path}/` |")) {
            faults.push(format!(
                "docs/ARCHITECTURE.md: no row for `{name}` in `{path}/`"
            ));
        }
    }
    let rooms = listed_modules(&root().join("broker/src/lib.rs")).join(" → ");
    if !page.contains(&format!("`{rooms}`")) {
        faults.push(format!(
            "docs/ARCHITECTURE.md: the broker's rooms are `{rooms}`"
        ));
    }
    refuse(&faults);
}

/// The words behind `command` in the shell lines of a page, up to the first that is no plain word.
fn words_behind<'a>(text: &'a str, command: &'a str) -> impl Iterator<Item = &'a str> {
    let calls = text.match_indices(command).filter_map(move |(at, _)| {
        let rest = text[at + command.len()..].strip_prefix(' ')?;
        rest.split(['`', '\n', '#']).next()
    });
    calls.flat_map(|rest| {
        rest.split_whitespace().take_while(|word| {
            word.bytes()
                .all(|b| b.is_ascii_lowercase() || b"-_".contains(&b))
        })
    })
}

#[test]
fn what_pages_call_scripts_with_is_what_these_take() {
    let mut faults = Vec::new();
    for script in ["tests/run", ".ci/long"] {
        let takes = fs::read_to_string(root().join(script)).unwrap();
        for page in pages() {
            let text = fs::read_to_string(&page).unwrap();
            for word in words_behind(&text, script) {
                if !takes.contains(word) {
                    faults.push(format!("{}: `{script}` takes no `{word}`", shown(&page)));
                }
            }
        }
    }
    refuse(&faults);
}

#[test]
fn the_figures_of_the_front_page_are_the_last_that_were_measured() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (front, measured) = (read("README.md"), read("docs/benchmarks/table.md"));
    let told = front.split_once("\n## How fast\n").unwrap().1;
    let told = told.split("\n## ").next().unwrap_or_default();
    let is_figure = |line: &&str| line.starts_with("| ") || line.starts_with("Measured on ");
    let figures: Vec<&str> = told.lines().filter(is_figure).collect();
    assert!(figures.len() > 10, "{figures:?}");
    for figure in figures {
        let same = |line: &str| line.starts_with(figure);
        assert!(measured.lines().any(same), "not measured: {figure}");
    }
}

#[test]
fn these_checks_can_fail() {
    assert_eq!(path_in("tests/run --all"), Some("tests/run"));
    assert_eq!(path_in("tests/golden/tools/NAME.txt"), None);
    assert_eq!(path_in("broker CONFIG"), None);
    assert_eq!(
        targets("a [b](c.md#d) `e` ```[x](y)``` [f](g)"),
        ["c.md#d", "g"]
    );
    assert_eq!(anchor("What \"committed\" means"), "what-committed-means");
    let called: Vec<&str> = words_behind(
        "`tests/run tidy first_light`, tests/run --all # all",
        "tests/run",
    )
    .collect();
    assert_eq!(called, ["tidy", "first_light", "--all"]);
}

//! A recorded script: several hundred requests over every operation, good and bad, with what
//! Apache's ZooKeeper 3.9 answered to each.
//!
//! `tests/golden/coordinator/*.txt` holds request and answer, one beneath the other; every day ours
//! is asked the same, with `--all` Apache's server is as well, and `tests/coordinator/record` writes
//! down anew what it says. A script's first line has the settings its server runs with.

mod language;
mod told;
mod masks;
mod stage;

use std::path::{Path, PathBuf};

use masks::Masks;
use stage::Stage;

use crate::servers::{self, Server};

/// Where the scripts are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/coordinator")
}

fn scripts() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .filter(|path| path.file_name().is_some_and(|name| name != "masks.txt"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// `# settings: key=value …` as lines of a `zoo.cfg`.
fn settings(script: &str) -> String {
    let first = script.lines().next().unwrap();
    let settings = first
        .strip_prefix("# settings:")
        .expect("a script begins with its settings");
    settings
        .split_whitespace()
        .map(|one| format!("{one}\n"))
        .collect()
}

/// Where two texts part, with the request it belongs to.
fn differences(recorded: &str, answered: &str) -> Vec<String> {
    let blocks = |text: &str| {
        let mut blocks: Vec<String> = Vec::new();
        for line in text.lines() {
            match blocks.last_mut() {
                Some(block) if line.starts_with(' ') => {
                    block.push('\n');
                    block.push_str(line);
                }
                _ => blocks.push(line.to_owned()),
            }
        }
        blocks
    };
    let (recorded, answered) = (blocks(recorded), blocks(answered));
    assert_eq!(recorded.len(), answered.len(), "the requests are the same");
    recorded
        .iter()
        .zip(&answered)
        .filter(|(theirs, own)| theirs != own)
        .map(|(theirs, own)| format!("recorded:\n{theirs}\nanswered:\n{own}\n"))
        .collect()
}

/// Plays every script on a server of its own; gives what differs from the record.
fn play(start: impl Fn(&Path, &str) -> Option<Server>, bless: bool) {
    let masks = Masks::load();
    let wanted = std::env::var("ROTPETER_SCRIPT").unwrap_or_default();
    let mut all = String::new();
    for (path, script) in scripts() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let Some(server) = start(dir.path(), &settings(&script)) else {
            return;
        };
        let answered = Stage::new(server.address, &masks).play(&script);
        if bless {
            std::fs::write(&path, &answered).unwrap();
            continue;
        }
        for difference in differences(&script, &answered) {
            all.push_str(&format!("{name}: {difference}\n"));
        }
    }
    assert!(all.is_empty(), "answers differ:\n\n{all}");
}

#[test]
fn our_server_answers_what_zookeeper_answered() {
    play(|dir, more| Some(servers::ours_with(dir, more)), false);
}

/// With `BLESS=1` it writes the record anew instead: `tests/coordinator/record`.
#[test]
#[ignore = "starts Apache's server a dozen times"]
fn zookeeper_still_answers_what_is_recorded() {
    let bless = std::env::var_os("BLESS").is_some_and(|set| !set.is_empty());
    play(servers::apaches_with, bless);
}

#[test]
fn the_scripts_ask_every_operation_and_are_several_hundred_requests() {
    let scripts = scripts();
    let lines = || {
        scripts
            .iter()
            .flat_map(|(_, text)| text.lines())
            .filter(|line| !line.is_empty() && !line.starts_with([' ', '#']))
    };
    for op in language::OPS {
        let asked = lines().any(|line| line.split(' ').any(|word| word == op.name));
        assert!(asked, "{} is not asked", op.name);
    }
    assert!(lines().count() > 500, "{} requests", lines().count());
}

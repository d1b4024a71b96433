//! Every API and version asked the same of Apache Kafka 3.9 and of ours, good and bad requests both.
//!
//! `tests/golden/wire/` holds what Apache answered, an API a file, and `masks.txt`, the only differences allowed. What is
//! held back is read from `docs/KAFKA.md`. `tests/wire/refresh` asks Apache again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod fields;
mod records;
mod sides;
mod script;
mod golden;
mod held;
mod scenarios;
mod mutations;

use std::collections::BTreeMap;

use fields::Messages;
use golden::{Difference, Masks, Told};
use script::Script;
use sides::Side;

/// Plays all scenarios against one side.
fn play(side: &Side) -> (BTreeMap<i16, Told>, Vec<held::Answered>) {
    let messages = Messages::load();
    let masks = Masks::load(side);
    let mut script = Script::new(side, &messages);
    scenarios::play(&mut script);
    let held = held::answered(&messages, &masks, &script.exchanges);
    (golden::tell(&messages, &masks, &script.exchanges), held)
}

/// What is known to differ still: `API: case`, each with its reason behind a bar. A line that holds no more is a failure.
fn open() -> Vec<String> {
    let text = std::fs::read_to_string(golden::folder().join("open.txt")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            line.split_once(" | ")
                .expect("a reason")
                .0
                .trim()
                .to_owned()
        })
        .collect()
}

fn refuse(differences: &[Difference], open: &[String]) {
    let new: Vec<&str> = differences
        .iter()
        .filter(|one| !open.contains(&one.of))
        .map(|one| one.text.as_str())
        .collect();
    assert!(
        new.is_empty(),
        "{} differences (- Apache, + here):\n\n{}",
        new.len(),
        new.join("\n")
    );
    for of in open {
        assert!(
            differences.iter().any(|one| &one.of == of),
            "{of:?} does not differ any more: take it out of open.txt"
        );
    }
}

#[test]
fn our_broker_answers_what_apache_answered() {
    let side = sides::ours();
    let (told, held) = play(&side);
    held::check(&held);
    refuse(&golden::differences(&golden::read(), &told), &open());
}

/// With `BLESS=1` this writes the golden files anew instead: `tests/wire/refresh`.
#[test]
#[ignore = "starts Apache's broker"]
fn apache_still_answers_what_the_golden_files_say() {
    let Some(side) = sides::apache() else { return };
    let (told, _) = play(&side);
    if std::env::var_os("BLESS").is_some() {
        golden::write(&told);
    }
    refuse(&golden::differences(&golden::read(), &told), &[]);
}

#[test]
fn every_api_and_version_is_asked() {
    let golden = golden::read();
    for row in &protocol::kafka::apis::ROWS {
        for version in row.version_min..=row.version_max {
            let told = golden.get(&row.api.key());
            let asked =
                told.is_some_and(|told| told.iter().any(|(_, texts)| texts.contains_key(&version)));
            assert!(asked, "{} {version}", row.name);
        }
    }
}

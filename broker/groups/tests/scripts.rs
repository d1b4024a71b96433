//! Stories of groups: events, what they lead to, and prose between.
//!
//! Each `tests/*.txt` is one story. A line that begins with `> ` is an event; the indented lines
//! beneath it are everything it led to; all other lines are prose. `BLESS=1` writes what really
//! happens into the files; the difference is to be read.
//!
//! Writes are acknowledged at once unless a story says `> hold writes`. Member ids are the
//! client's name and a counted number. `> crash` builds the machine anew from what was written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic, its helpers as well"
)]

mod stage;

use std::fs;
use std::path::Path;

use stage::Stage;

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let script = fs::read_to_string(&path).unwrap();
    let mut stage = Stage::new();
    let mut told = String::new();
    for line in script.lines() {
        if let Some(event) = line.strip_prefix("> ") {
            told.push_str(line);
            told.push('\n');
            for led_to in stage.play(event) {
                told.push_str(&format!("    {led_to}\n"));
            }
        } else if !line.starts_with("    ") {
            told.push_str(line);
            told.push('\n');
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, told).unwrap();
    } else if told != script {
        let differ = told
            .lines()
            .zip(script.lines())
            .position(|(told, script)| told != script);
        let at = differ.unwrap_or_else(|| told.lines().count().min(script.lines().count()));
        panic!(
            "{name}:{}: happened: {:?}, expected: {:?}",
            at + 1,
            told.lines().nth(at),
            script.lines().nth(at),
        );
    }
}

macro_rules! stories {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { check($file); })*
    };
}

stories! {
    members_come_and_go: "membership.txt",
    nobody_is_let_in_who_does_not_fit: "refusals.txt",
    static_members_keep_their_place: "static_members.txt",
    time_takes_members_away: "timeouts.txt",
    offsets_are_committed_and_fetched: "offsets.txt",
    offsets_of_transactions_wait_for_the_marker: "transactions.txt",
    old_offsets_and_empty_groups_go: "expiry.txt",
    writes_may_fail: "failed_writes.txt",
    a_crash_loses_nothing_written: "crash.txt",
    operators_look_and_delete: "operators.txt",
}

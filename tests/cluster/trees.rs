//! The tree our brokers leave, beside the one Apache's brokers left after the same story.
//!
//! `tests/golden/cluster/tree.txt` was recorded by this very test with ROTPETER_RECORD=1, which runs
//! three of Apache's brokers. Ids, times, ports and the winner of the election are masked.

use std::path::{Path, PathBuf};

use protocol::kafka::errors::ErrorCode;

use crate::ask;
use crate::scenarios::on_both;
use crate::stage::{Make, soon};
use crate::trio::Trio;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cluster/tree.txt")
}

/// Lines about `three` differ once a dead member is back: Apache's copies and joins again.
fn without_three(tree: &str) -> String {
    let kept = tree
        .lines()
        .filter(|line| !line.starts_with("/brokers/topics/three/partitions/0/state"));
    kept.map(|line| format!("{line}\n")).collect()
}

fn story(trio: &mut Trio) -> String {
    let mut text = String::new();
    let mut note = |moment: &str, tree: &str| text += &format!("## {moment}\n{tree}");
    trio.make_topics();
    note("topics made", &trio.tree());
    trio.broker(2).process.kill_9();
    trio.state("rf1", 1, -1, 1);
    trio.state("three", 0, 1, 1);
    note("leader dead", &trio.tree());
    trio.broker(2).restart();
    trio.state("rf1", 1, 2, 2);
    trio.all_know(&[1, 2, 3]);
    note("leader back", &without_three(&trio.tree()));
    trio.broker(1).process.kill_9();
    soon("another controller", || {
        trio.shell.controller().is_some_and(|id| id != 1)
    });
    trio.state("rf1", 0, -1, 1);
    note("controller dead", &without_three(&trio.tree()));
    trio.broker(1).restart();
    trio.state("rf1", 0, 1, 2);
    trio.all_know(&[1, 2, 3]);
    note("controller back", &without_three(&trio.tree()));
    let controller = trio.shell.controller().unwrap();
    let port = trio.port(controller);
    assert_eq!(ask::delete_topic(port, "rf1").unwrap(), ErrorCode::None);
    trio.shell.wait_for("/brokers/topics/rf1", false);
    trio.shell.wait_for("/admin/delete_topics/rf1", false);
    note("topic deleted", &without_three(&trio.tree()));
    text
}

#[test]
fn the_tree_is_the_one_that_apaches_brokers_leave() {
    if std::env::var_os("ROTPETER_RECORD").is_some_and(|set| !set.is_empty()) {
        let dir = tempfile::tempdir().unwrap();
        let mut trio = Trio::start(Make::Apache, Make::Apache, dir.path()).unwrap();
        std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
        std::fs::write(golden(), story(&mut trio)).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(golden()).unwrap();
    on_both(|trio| {
        let got = story(trio);
        for (ours, apaches) in got.lines().zip(expected.lines()) {
            assert_eq!(ours, apaches, "\nthe whole of ours:\n{got}");
        }
        assert_eq!(got.lines().count(), expected.lines().count());
    });
}

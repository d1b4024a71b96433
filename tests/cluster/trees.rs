//! The tree our brokers leave, beside the one Apache's brokers left after the same story.
//!
//! `tests/golden/cluster/tree.txt` was recorded by this very test with ROTPETER_RECORD=1, which runs
//! three of Apache's brokers: the whole tree once, then what each scene changed in it. Ids, times,
//! ports and the winner of the election are masked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::kafka::errors::ErrorCode;

use crate::ask::{self, Shape};
use crate::scenarios::on_both;
use crate::stage::{Make, eventually, soon};
use crate::trio::Trio;

/// What happens, one after the other, each to what those before have left.
const SCENES: [(&str, fn(&Trio)); 14] = [
    ("topics made", Trio::make_topics),
    ("a topic made by CreateTopics", |trio| {
        let shape = Shape::Given(&[&[1], &[2]]);
        let asked = ask::create_topic(trio.port(1), "made", &shape);
        assert_eq!(asked.unwrap().0, ErrorCode::None);
        trio.state("made", 1, 2, 0);
    }),
    ("it grows", |trio| {
        let grown = ask::grow_topic(trio.port(1), "made", &[&[3], &[1]]);
        assert_eq!(grown.unwrap(), ErrorCode::None);
        trio.state("made", 2, 3, 0);
        trio.state("made", 3, 1, 0);
    }),
    ("settings of a topic, of a broker and of all", |trio| {
        // In the order that Java's table of hashes happens to have.
        set(trio, 2, "made", "cleanup.policy", Some("compact"));
        set(trio, 2, "made", "retention.ms", Some("86400000"));
        set(trio, 4, "1", "log.cleaner.threads", Some("2"));
        set(trio, 4, "", "message.max.bytes", Some("2000000"));
    }),
    ("settings taken back", |trio| {
        set(trio, 2, "made", "retention.ms", None);
        set(trio, 4, "1", "log.cleaner.threads", None);
        set(trio, 4, "", "message.max.bytes", None);
    }),
    ("limits", |trio| {
        for (entity, key) in LIMITS {
            limit(trio, entity, key, Some(1024.0));
        }
    }),
    ("limits taken away", |trio| {
        for (entity, key) in LIMITS {
            limit(trio, entity, key, None);
        }
    }),
    ("producer ids", |trio| {
        let asked = || ask::producer_id(trio.port(2));
        eventually("a producer id", asked, |_| true);
    }),
    ("replicas put in another order", |trio| {
        let moved = ask::reassign(trio.port(1), "three", 0, Some(&[2, 3, 1]));
        assert_eq!(moved.unwrap(), ErrorCode::None);
        trio.state("three", 0, 1, 1);
    }),
    ("the preferred leader elected", |trio| {
        let elected = ask::elect(trio.port(1), false, "three", 0);
        assert_eq!(elected.unwrap(), ErrorCode::None);
        trio.state("three", 0, 2, 2);
    }),
    ("both by the nodes of old tools", |trio| {
        let targets =
            r#"{"version":1,"partitions":[{"topic":"three","partition":0,"replicas":[1,2,3]}]}"#;
        trio.shell.create("/admin/reassign_partitions", targets);
        trio.shell.wait_for("/admin/reassign_partitions", false);
        trio.state("three", 0, 2, 3);
        let wanted = r#"{"version":1,"partitions":[{"topic":"three","partition":0}]}"#;
        trio.shell
            .create("/admin/preferred_replica_election", wanted);
        trio.shell
            .wait_for("/admin/preferred_replica_election", false);
        trio.state("three", 0, 1, 4);
    }),
    ("what cannot be moved", |trio| {
        for replicas in [&[1, 1][..], &[7], &[]] {
            let refused = ask::reassign(trio.port(1), "three", 0, Some(replicas));
            let expected = ErrorCode::InvalidReplicaAssignment;
            assert_eq!(refused.unwrap(), expected, "{replicas:?}");
        }
    }),
    ("a topic deleted", |trio| delete(trio, "made")),
    ("a topic of its name made anew", |trio| {
        let shape = Shape::Given(&[&[2]]);
        let asked = ask::create_topic(trio.port(1), "made", &shape);
        assert_eq!(asked.unwrap().0, ErrorCode::None);
        trio.state("made", 0, 2, 0);
    }),
];

/// The same, where brokers go and come. Once a member of `three` was away, Apache's copies what it
/// missed and joins again, so the state of that partition is not compared from there on.
const LOSSES: [(&str, fn(&mut Trio)); 7] = [
    ("leader dead", |trio| {
        trio.broker(2).process.kill_9();
        trio.state("rf1", 1, -1, 1);
        trio.state("made", 0, -1, 1);
    }),
    ("leader back", |trio| {
        trio.broker(2).restart();
        trio.state("rf1", 1, 2, 2);
        trio.state("made", 0, 2, 2);
        trio.all_know(&[1, 2, 3]);
    }),
    ("a broker stopped in order", |trio| {
        let ended = trio.broker(3).process.terminate(Duration::from_secs(120));
        // The second is Java's way to say that it was asked to end.
        assert!(matches!(ended.code(), Some(0 | 143)), "{ended}");
        trio.state("rf1", 2, -1, 1);
    }),
    ("and started again", |trio| {
        trio.broker(3).restart();
        trio.state("rf1", 2, 3, 2);
        trio.all_know(&[1, 2, 3]);
    }),
    ("controller dead", |trio| {
        trio.broker(1).process.kill_9();
        soon("another controller", || {
            trio.shell.controller().is_some_and(|id| id != 1)
        });
        trio.state("rf1", 0, -1, 1);
    }),
    ("controller back", |trio| {
        trio.broker(1).restart();
        trio.state("rf1", 0, 1, 2);
        trio.all_know(&[1, 2, 3]);
    }),
    ("topic deleted", |trio| delete(trio, "rf1")),
];

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];

const LIMITS: [(Entity<'_>, &str); 5] = [
    (&[("user", Some("alice"))], "producer_byte_rate"),
    (&[("user", None)], "consumer_byte_rate"),
    (&[("client-id", Some("an app"))], "request_percentage"),
    (
        &[("user", Some("alice")), ("client-id", None)],
        "controller_mutation_rate",
    ),
    (&[("ip", Some("127.0.0.9"))], "connection_creation_rate"),
];

/// `kind` is 2 for topics, 4 for brokers. A broker is asked for its own settings.
fn set(trio: &Trio, kind: i8, of: &str, key: &str, value: Option<&str>) {
    let done = ask::set_config(trio.port(1), kind, of, key, value);
    assert_eq!(done.unwrap(), ErrorCode::None, "{of} {key}");
}

fn limit(trio: &Trio, entity: Entity<'_>, key: &str, value: Option<f64>) {
    let done = ask::limit(trio.port(1), entity, key, value);
    assert_eq!(done.unwrap(), ErrorCode::None, "{entity:?} {key}");
}

fn delete(trio: &Trio, topic: &str) {
    let controller = trio.shell.controller().unwrap();
    let port = trio.port(controller);
    assert_eq!(ask::delete_topic(port, topic).unwrap(), ErrorCode::None);
    let marker = format!("/admin/delete_topics/{topic}");
    trio.shell
        .wait_for(&format!("/brokers/topics/{topic}"), false);
    trio.shell.wait_for(&marker, false);
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cluster/tree.txt")
}

/// What each scene changed in the tree.
#[derive(Default)]
struct Story {
    text: String,
    tree: BTreeSet<String>,
}

impl Story {
    fn note(&mut self, scene: &str, tree: BTreeSet<String>) {
        self.text += &format!("## {scene}\n");
        for gone in self.tree.difference(&tree) {
            self.text += &format!("- {gone}\n");
        }
        for new in tree.difference(&self.tree) {
            self.text += &format!("+ {new}\n");
        }
        self.tree = tree;
    }
}

fn lines(tree: &str, without: Option<&str>) -> BTreeSet<String> {
    let kept = tree
        .lines()
        .filter(|line| without.is_none_or(|start| !line.starts_with(start)));
    kept.map(str::to_owned).collect()
}

fn story(trio: &mut Trio) -> String {
    let mut story = Story::default();
    for (scene, play) in SCENES {
        play(trio);
        story.note(scene, lines(&trio.tree(), None));
    }
    let joins_again = Some("/brokers/topics/three/partitions/0/state");
    for (scene, play) in LOSSES {
        play(trio);
        story.note(scene, lines(&trio.tree(), joins_again));
    }
    story.text
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

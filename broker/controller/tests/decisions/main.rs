//! What the controller decides, told in small scripts.
//!
//! A script is lines of `> command`; below each stand the changes it led to: state nodes as they
//! are now (`v` is their version, `by` the controller's epoch), orders as they were sent, answers.
//! Broker 1 runs the real controller on a ZooKeeper in memory; the others are registrations that
//! obey. ROTPETER_RECORD=1 writes what came out into the scripts, to be read by a person.
//!
//! | command | |
//! |---|---|
//! | `broker 2 3` | these register |
//! | `dies 2` | its session ends |
//! | `topic t 0:1,2 1:2` | appears in ZooKeeper, with these replicas |
//! | `unclean t` | `unclean.leader.election.enable` is set for the topic, as a notice tells |
//! | `isr 1 t-0 1,2` | leader 1 proposes, with the epochs it knows |
//! | `stale-isr 1 t-0 1,2` | the same over the version before |
//! | `elect preferred t-0`, `elect unclean t-0` | ElectLeaders |
//! | `leaves 1` | ControlledShutdown |
//! | `move t-0 2,3`, `cancel t-0` | AlterPartitionReassignments |
//! | `delete t` | is marked for deletion |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: a panic is its way to fail"
)]

#[path = "../registered/mod.rs"]
mod registered;
mod stage;

use std::path::Path;

fn plays(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts")
        .join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let got = runtime.block_on(stage::play(&script));
    if std::env::var_os("ROTPETER_RECORD").is_some_and(|set| !set.is_empty()) {
        std::fs::write(&path, got).unwrap();
        return;
    }
    for (number, (got, expected)) in got.lines().zip(script.lines()).enumerate() {
        assert_eq!(got, expected, "{name}:{}", number + 1);
    }
    assert_eq!(got.lines().count(), script.lines().count(), "{name}");
}

#[test]
fn leaders_are_elected_by_all_four_ways() {
    plays("elections.txt");
}

#[test]
fn proposals_for_isrs_are_checked() {
    plays("proposals.txt");
}

#[test]
fn partitions_move_from_broker_to_broker() {
    plays("moves.txt");
}

#[test]
fn topics_are_deleted_when_all_their_replicas_live() {
    plays("deletion.txt");
}

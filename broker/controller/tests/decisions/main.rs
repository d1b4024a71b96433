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
//! | `writes-isr t-0 1` | the leader writes it into ZooKeeper itself, as below 2.7-IV2 |
//! | `notice t-0` | and tells so |
//! | `elect preferred t-0`, `elect unclean t-0` | ElectLeaders |
//! | `leaves 1` | ControlledShutdown |
//! | `move t-0 2,3`, `cancel t-0` | AlterPartitionReassignments |
//! | `node t-0:2,3` | `/admin/reassign_partitions` appears |
//! | `prefers t-0`, `prefers-again t-0` | `/admin/preferred_replica_election` appears, changes |
//! | `delete t` | is marked for deletion |
//! | `mute 2`, `speaks 2`, `fails-to-delete 2` | when and what it answers to deletions |
//! | `directory-fails 2 t-0` | its replica is lost, and a notice says so |
//! | `loses-id t` | the topic's node is written as tools before 2.8 do |
//! | `failover` | `/controller` goes; broker 1 wins again, and knows only what brokers remember |
//! | `usurps 9` | another controller is elected, past everybody |
//! | `waits 5` | so many seconds pass |
//! | `counts` | what the metrics show |
//! | `works` | in which kinds of work orders were sent, as `ControllerState` numbers them, and what is done now |
//! | `forbids reading /p`, `allows writing /p`, `forbids deleting /p`, `forbids seeing /p` | by an access list of the node |
//! | `status` | what this broker knows of the control plane |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: a panic is its way to fail"
)]

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
fn moves_are_called_off_and_a_new_order_waits_for_nobody() {
    plays("cancelled.txt");
}

#[test]
fn a_superseded_move_leaves_a_leader() {
    plays("superseded.txt");
}

#[test]
fn an_isr_that_its_leader_wrote_is_looked_at_before_a_move_ends() {
    plays("written.txt");
}

#[test]
fn moves_by_the_old_tools_node_are_begun_once() {
    plays("node.txt");
}

#[test]
fn everybody_hears_of_a_dead_broker() {
    plays("brokers.txt");
}

#[test]
fn topics_keep_their_ids() {
    plays("ids.txt");
}

#[test]
fn a_failed_directory_costs_leaderships() {
    plays("directories.txt");
}

#[test]
fn leaders_go_home_by_the_clock() {
    plays("balance.txt");
}

#[test]
fn a_broker_that_returns_is_asked_again_to_delete() {
    plays("returned.txt");
}

#[test]
fn topics_are_deleted_when_all_their_replicas_live() {
    plays("deletion.txt");
}

#[test]
fn what_zookeeper_refuses_is_borne() {
    plays("refused.txt");
}

#[test]
fn a_nodes_order_is_obeyed_once_and_lost_by_no_refusal() {
    plays("orders.txt");
}

#[test]
fn one_topic_that_cannot_be_read_or_written_ends_no_reign() {
    plays("unreadable.txt");
}

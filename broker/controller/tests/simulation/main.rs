//! Controllers under a simulated network and clock, thousands of runs from seeds.
//!
//! The real controller runs on every broker of a small cluster; brokers themselves are models that
//! obey orders, append, follow and propose ISRs by Kafka's rules. One scheduler decides what
//! happens next: a request reaches ZooKeeper, an answer or a watch comes back, an order arrives (or
//! its answer is lost and it comes again), a broker dies, leaves in order or returns, a log
//! directory fails, a session ends. Operators make, grow, delete and move topics, by request and
//! through the nodes of old tools. Half of the runs have brokers of old protocol versions, some or
//! all, whose leaders write ISRs into ZooKeeper themselves and tell by notices. What must hold is
//! checked after every step:
//!
//! - never two leaders of a partition in one leader epoch;
//! - never a write by a controller after a newer one was elected;
//! - every member of an ISR holds every committed record, and so does every leader elected;
//! - a move ends with exactly the replicas it was to lead to, or where it began;
//! - a topic is deleted only where somebody asked for it, and only once no replica is left; no
//!   write brings it back, and what others wrote into a topic's node is not lost;
//! - once all is quiet, every partition is led, its brokers know it, and nothing is in progress.
//!
//! Not covered: a move that is called off while only the replicas it added are in sync. Kafka
//! deletes those and what they alone have, and so do we; no seed that is run has come to it.
//!
//! ROTPETER_SEED=n runs one seed, ROTPETER_SEEDS=n so many. A failure names its seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: a panic is its way to fail"
)]

mod wire;
mod replica;
mod host;
mod chronicle;
mod world;
mod operators;
mod rest;

use std::panic::AssertUnwindSafe;

/// A few hundred, in seconds; `.ci/long` asks for thousands.
const SEEDS: u64 = 200;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn leadership_is_safe_and_comes_back_whatever_the_network_does() {
    let seeds = match asked("ROTPETER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("ROTPETER_SEEDS").unwrap_or(SEEDS),
    };
    let mut totals = world::Totals::default();
    for seed in seeds {
        let run = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(world::run(seed))
        }));
        match run {
            Ok(one) => totals.add(&one),
            Err(why) => {
                eprintln!("ROTPETER_SEED={seed} fails");
                std::panic::resume_unwind(why);
            }
        }
    }
    println!("{totals:?}");
    if asked("ROTPETER_SEED").is_none() {
        // A simulation in which nothing happens proves nothing.
        let happened = [
            totals.elections,
            totals.committed,
            totals.leader_changes,
            totals.deletions,
            totals.growths,
            totals.moves,
            totals.leavings,
            totals.failed_directories,
            totals.isr_notices,
        ];
        assert!(!happened.contains(&0), "{totals:?}");
    }
}

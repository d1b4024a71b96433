//! Load that does not lie: pre-encoded requests, answers that are read and checked, latency
//! measured from the moment a request should have left. Each command prints one line of JSON.

#![allow(
    clippy::disallowed_methods,
    reason = "a load program lives on the machine's own time"
)]

mod target;
mod first_ack;
mod produce;
mod fetch;
mod consumer;
mod latency;
mod idle;
mod zookeeper;
mod topic;
mod rebalance;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "load",
    about = "Load for the benchmark; prints one line of JSON"
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Until the first acknowledged produce, asking every 2 ms.
    FirstAck(first_ack::Arguments),
    /// Produce as fast as answers come.
    Produce(produce::Arguments),
    /// Fetch a topic from its beginning to its end.
    Fetch(fetch::Arguments),
    /// Produce single records at a fixed rate, latency against the intended time.
    Latency(latency::Arguments),
    /// Consumers that wait for records that do not come.
    Idle(idle::Arguments),
    /// Requests to a ZooKeeper server.
    Zookeeper(zookeeper::Arguments),
    /// Makes or deletes a topic.
    Topic(topic::Arguments),
    /// Members of one group that all join at once.
    Rebalance(rebalance::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // One thread: the load is to be pinned to one core, away from the server.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        match arguments.what {
            What::FirstAck(arguments) => first_ack::run(arguments).await,
            What::Produce(arguments) => produce::run(arguments).await,
            What::Fetch(arguments) => fetch::run(arguments).await,
            What::Latency(arguments) => latency::run(arguments).await,
            What::Idle(arguments) => idle::run(arguments).await,
            What::Zookeeper(arguments) => zookeeper::run(arguments).await,
            What::Topic(arguments) => topic::run(arguments).await,
            What::Rebalance(arguments) => rebalance::run(arguments).await,
        }
    })?;
    println!("{result}");
    Ok(())
}

//! The floor: what the kernel alone costs for the same bytes. One thread, one epoll, no log, no
//! parsing beyond where a frame ends; what it answers is just enough for the load clients.

#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program lives on the machine's own time"
)]

mod answers;
mod echo;
mod recover;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "floor", about = "The kernel's work for the same bytes")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Kafka frames: produce is received, summed and written; fetch is one sendfile.
    Kafka(echo::Arguments),
    /// ZooKeeper frames: get is an echo, set and create are written and synced in groups.
    Keeper(echo::Arguments),
    /// Reads a folder's segments and sums them.
    Recover { dir: PathBuf },
    /// Keeps a core from halting; to be run at idle priority.
    Spin,
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Kafka(arguments) => echo::run(&arguments, answers::Speech::Kafka),
        What::Keeper(arguments) => echo::run(&arguments, answers::Speech::Keeper),
        What::Recover { dir } => {
            println!("{}", recover::run(&dir)?);
            Ok(())
        }
        What::Spin => loop {
            std::hint::spin_loop();
        },
    }
}

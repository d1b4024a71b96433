//! How long from now until a fresh server acknowledges a record.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;
use protocol::batch::Codec;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use bench::wire::{self, Caller};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    address: String,
    #[arg(long, default_value = "first")]
    topic: String,
    /// All of them are to have leaders; the record goes to the first.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    #[arg(long, default_value_t = 60)]
    seconds_max: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let begin = Instant::now();
    let frame = wire::produce(&arguments.topic, 0, wire::batch(1, 100, Codec::None)?, 1)?;
    while begin.elapsed() < Duration::from_secs(arguments.seconds_max) {
        if once(&arguments, &frame).await.is_ok() {
            return Ok(json!({ "first_ack_ms": begin.elapsed().as_secs_f64() * 1e3 }));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("no acknowledged produce within {} s", arguments.seconds_max)
}

async fn once(arguments: &Arguments, frame: &BytesMut) -> Result<()> {
    let mut caller = Caller::connect(&arguments.address).await?;
    caller
        .make_topic(&arguments.topic, arguments.partitions)
        .await?;
    caller.stream.write_all(frame).await?;
    let answer = wire::read_frame(&mut caller.stream).await?;
    let mut received = BytesMut::from(&u32::try_from(answer.len())?.to_be_bytes()[..]);
    received.extend_from_slice(&answer);
    wire::count_produced(&mut received)?;
    Ok(())
}

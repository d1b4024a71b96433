//! Produce requests replayed as fast as answers come, a fixed number in flight a connection.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;
use protocol::batch::Codec;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::{self, Caller};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    address: String,
    #[arg(long, default_value = "load")]
    topic: String,
    #[arg(long, default_value_t = 16)]
    partitions: i32,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Records in each request; 1 is the small-request row, 1000 the bulk row.
    #[arg(long, default_value_t = 1)]
    records: usize,
    #[arg(long, default_value = "none")]
    codec: String,
    #[arg(long, default_value_t = 1)]
    acks: i16,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Ends after this many bytes of requests, if that comes before the time is over.
    #[arg(long, default_value_t = u64::MAX)]
    bytes_max: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let Some(codec) = Codec::from_name(&arguments.codec) else {
        bail!("no codec {}", arguments.codec)
    };
    Caller::connect(&arguments.address)
        .await?
        .make_topic(&arguments.topic, arguments.partitions)
        .await?;
    let batch = wire::batch(arguments.records, arguments.record_bytes, codec)?;
    let plain = (arguments.records * arguments.record_bytes) as u64;
    let begin = Instant::now();
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..arguments.connections {
        let (arguments, batch) = (arguments.clone(), batch.clone());
        connections.spawn(async move {
            let mut frames = Vec::new();
            for partition in 0..arguments.partitions {
                frames.push(wire::produce(
                    &arguments.topic,
                    partition,
                    batch.clone(),
                    arguments.acks,
                )?);
            }
            replay(&arguments, frames, number, begin).await
        });
    }
    let mut requests = 0;
    while let Some(done) = connections.join_next().await {
        requests += done??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({
        "requests": requests,
        "records": requests * arguments.records as u64,
        "seconds": seconds,
        "requests_per_second": requests as f64 / seconds,
        "plain_bytes": requests * plain,
        "wire_bytes": requests * batch.len() as u64,
        "plain_mb_per_second": (requests * plain) as f64 / seconds / 1e6,
    }))
}

/// Returns how many requests were acknowledged.
async fn replay(
    arguments: &Arguments,
    mut frames: Vec<BytesMut>,
    number: usize,
    begin: Instant,
) -> Result<u64> {
    let mut stream = Caller::connect(&arguments.address).await?.stream;
    let share = arguments.bytes_max / arguments.connections as u64;
    let limit = Duration::from_secs(arguments.seconds);
    let (mut sent, mut sent_bytes, mut answered) = (0_u64, 0_u64, 0_u64);
    let mut received = BytesMut::with_capacity(64 * 1024);
    let mut outgoing = Vec::new();
    let mut next = number;
    loop {
        let going = begin.elapsed() < limit && sent_bytes < share;
        if !going && sent == answered {
            return Ok(answered);
        }
        outgoing.clear();
        while going && (sent - answered) < arguments.in_flight as u64 {
            let index = next % frames.len();
            next += 1;
            let frame = &mut frames[index];
            wire::number(frame, sent as i32);
            // Small requests that may go together do; large ones are sent from where they lie.
            if frame.len() > 64 * 1024 {
                stream.write_all(frame).await?;
            } else {
                outgoing.extend_from_slice(frame);
            }
            sent += 1;
            sent_bytes += frame.len() as u64;
        }
        if !outgoing.is_empty() {
            stream.write_all(&outgoing).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            bail!("the server closed the connection");
        }
        answered += wire::count_produced(&mut received)? as u64;
    }
}

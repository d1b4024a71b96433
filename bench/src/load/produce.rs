//! Produce requests replayed as fast as answers come, a fixed number in flight a connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;
use hdrhistogram::Histogram;
use protocol::batch::Codec;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::target::Target;
use bench::wire::{self, Caller};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    at: Target,
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
    /// The topic is there, or the server knows none.
    #[arg(long)]
    no_topic: bool,
    /// `key=value` of the topic that is made.
    #[arg(long)]
    topic_config: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let Some(codec) = Codec::from_name(&arguments.codec) else {
        bail!("no codec {}", arguments.codec)
    };
    if !arguments.no_topic {
        Caller::connect(&arguments.at.address)
            .await?
            .make_topic_with(
                &arguments.at.topic,
                arguments.at.partitions,
                &arguments.topic_config,
            )
            .await?;
    }
    let batch = wire::batch(arguments.records, arguments.record_bytes, codec)?;
    let plain = (arguments.records * arguments.record_bytes) as u64;
    let begin = Instant::now();
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..arguments.connections {
        let (arguments, batch) = (arguments.clone(), batch.clone());
        connections.spawn(async move {
            let mut frames = Vec::new();
            for partition in 0..arguments.at.partitions {
                frames.push(wire::produce(
                    &arguments.at.topic,
                    partition,
                    batch.clone(),
                    arguments.acks,
                )?);
            }
            replay(&arguments, frames, number, begin).await
        });
    }
    let mut latency = Histogram::<u64>::new(3)?;
    while let Some(done) = connections.join_next().await {
        latency.add(done??)?;
    }
    let requests = latency.len();
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({
        "requests": requests,
        "records": requests * arguments.records as u64,
        "seconds": seconds,
        "requests_per_second": requests as f64 / seconds,
        "plain_bytes": requests * plain,
        "wire_bytes": requests * batch.len() as u64,
        "plain_mb_per_second": (requests * plain) as f64 / seconds / 1e6,
        "p50_us": latency.value_at_quantile(0.5), "p99_us": latency.value_at_quantile(0.99),
    }))
}

/// Returns how long each request took from its being sent to its being read as acknowledged.
async fn replay(
    arguments: &Arguments,
    mut frames: Vec<BytesMut>,
    number: usize,
    begin: Instant,
) -> Result<Histogram<u64>> {
    let mut stream = Caller::connect(&arguments.at.address).await?.stream;
    let share = arguments.bytes_max / arguments.connections as u64;
    let limit = Duration::from_secs(arguments.seconds);
    let (mut sent, mut sent_bytes, mut latency) = (0_u64, 0_u64, Histogram::new(3)?);
    let mut waiting = VecDeque::new();
    let mut received = BytesMut::with_capacity(64 * 1024);
    let mut outgoing = Vec::new();
    let mut next = number;
    loop {
        let going = begin.elapsed() < limit && sent_bytes < share;
        if !going && waiting.is_empty() {
            return Ok(latency);
        }
        outgoing.clear();
        while going && waiting.len() < arguments.in_flight {
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
            waiting.push_back(Instant::now());
            sent += 1;
            sent_bytes += frame.len() as u64;
        }
        if !outgoing.is_empty() {
            stream.write_all(&outgoing).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            bail!("the server closed the connection");
        }
        for _ in 0..wire::count_produced(&mut received)? {
            if let Some(at) = waiting.pop_front() {
                latency.record(at.elapsed().as_micros() as u64)?;
            }
        }
    }
}

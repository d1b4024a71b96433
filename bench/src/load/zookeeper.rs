//! Pipelined requests to a ZooKeeper server: get, set or create.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bench::keeper::{CREATE, GET, NODE_EXISTS, SET, connect, put_request, read_packet};
use bytes::{Buf, BytesMut};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    address: String,
    /// get, set or create.
    operation: String,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    #[arg(long, default_value_t = 100)]
    in_flight: usize,
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Ends after this many requests, if that comes before the time is over.
    #[arg(long, default_value_t = u64::MAX)]
    requests_max: u64,
    /// Waits this long for a server that does not answer yet; the answer says how long it took.
    #[arg(long, default_value_t = 0)]
    patience_seconds: u64,
}

/// How long a greeting may go unanswered.
const ATTEMPT: Duration = Duration::from_secs(1);

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let operation = match arguments.operation.as_str() {
        "get" => GET,
        "set" => SET,
        "create" => CREATE,
        other => bail!("no operation {other}"),
    };
    let asked = Instant::now();
    let patience = Duration::from_secs(arguments.patience_seconds);
    let mut first = loop {
        // ZooKeeper never answers who greets it while it starts: so he asks again.
        let attempt = tokio::time::timeout(ATTEMPT, connect(&arguments.address)).await;
        match attempt.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {ATTEMPT:?}"))) {
            Ok(first) => break first,
            Err(e) if asked.elapsed() > patience => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    let first_reply = asked.elapsed();
    let mut setup = BytesMut::new();
    put_request(&mut setup, 1, CREATE, "/load", arguments.bytes);
    first.write_all(&setup).await?;
    let answer = read_packet(&mut first).await?;
    let error = i32::from_be_bytes(answer[12..16].try_into()?);
    ensure!(
        [0, NODE_EXISTS].contains(&error),
        "create /load was answered with {error}"
    );
    let begin = Instant::now();
    let stamp = std::process::id();
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..arguments.connections {
        let arguments = arguments.clone();
        connections
            .spawn(async move { pipeline(&arguments, operation, number, stamp, begin).await });
    }
    let mut latency = Histogram::<u64>::new(3)?;
    while let Some(done) = connections.join_next().await {
        latency.add(done??)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({
        "operation": arguments.operation, "first_reply_ms": first_reply.as_secs_f64() * 1e3,
        "requests": latency.len(),
        "requests_per_second": latency.len() as f64 / seconds,
        "p50_us": latency.value_at_quantile(0.5), "p99_us": latency.value_at_quantile(0.99),
    }))
}

async fn pipeline(
    arguments: &Arguments,
    operation: i32,
    number: usize,
    stamp: u32,
    begin: Instant,
) -> Result<Histogram<u64>> {
    let mut stream = connect(&arguments.address).await?;
    let mut latency = Histogram::new(3)?;
    let share = arguments.requests_max / arguments.connections as u64;
    let limit = Duration::from_secs(arguments.seconds);
    let mut sent_at = std::collections::VecDeque::new();
    let (mut outgoing, mut received) = (BytesMut::new(), BytesMut::with_capacity(64 * 1024));
    let mut sent = 0_i32;
    loop {
        let going = begin.elapsed() < limit && (sent as u64) < share;
        if !going && sent_at.is_empty() {
            return Ok(latency);
        }
        outgoing.clear();
        while going && sent_at.len() < arguments.in_flight && (sent as u64) < share {
            sent += 1;
            let path = match operation {
                CREATE => format!("/load/{stamp}-{number}-{sent}"),
                _ => "/load".to_owned(),
            };
            put_request(&mut outgoing, sent, operation, &path, arguments.bytes);
            sent_at.push_back(Instant::now());
        }
        stream.write_all(&outgoing).await?;
        if stream.read_buf(&mut received).await? == 0 {
            bail!("the server closed the connection");
        }
        while let Some(prefix) = received.first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*prefix))?;
            if received.len() < 4 + len {
                break;
            }
            let error = i32::from_be_bytes(received[4 + 12..4 + 16].try_into()?);
            ensure!(error == 0, "a request was answered with error {error}");
            received.advance(4 + len);
            if let Some(at) = sent_at.pop_front() {
                latency.record(at.elapsed().as_micros() as u64)?;
            }
        }
    }
}

//! Pipelined requests to a ZooKeeper server: get, set or create.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::{Buf, BufMut, BytesMut};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CREATE: i32 = 1;
const GET: i32 = 4;
const SET: i32 = 5;
/// A node that exists already, as an error code of the protocol.
const NODE_EXISTS: i32 = -110;

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
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let operation = match arguments.operation.as_str() {
        "get" => GET,
        "set" => SET,
        "create" => CREATE,
        other => bail!("no operation {other}"),
    };
    let mut first = connect(&arguments.address).await?;
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
        "operation": arguments.operation,
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
    let limit = Duration::from_secs(arguments.seconds);
    let mut sent_at = std::collections::VecDeque::new();
    let (mut outgoing, mut received) = (BytesMut::new(), BytesMut::with_capacity(64 * 1024));
    let mut sent = 0_i32;
    loop {
        let going = begin.elapsed() < limit;
        if !going && sent_at.is_empty() {
            return Ok(latency);
        }
        outgoing.clear();
        while going && sent_at.len() < arguments.in_flight {
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

async fn connect(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut hello = BytesMut::new();
    hello.put_i32(45);
    hello.put_i32(0);
    hello.put_i64(0);
    hello.put_i32(30_000);
    hello.put_i64(0);
    hello.put_i32(16);
    hello.put_slice(&[0; 16]);
    hello.put_u8(0);
    stream.write_all(&hello).await?;
    read_packet(&mut stream).await?;
    Ok(stream)
}

async fn read_packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let len = usize::try_from(stream.read_i32().await?)?;
    ensure!(len < 16 << 20, "a packet of {len} bytes");
    let mut packet = vec![0; len];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

fn put_request(to: &mut BytesMut, xid: i32, operation: i32, path: &str, bytes: usize) {
    let from = to.len();
    to.put_i32(0);
    to.put_i32(xid);
    to.put_i32(operation);
    to.put_i32(path.len() as i32);
    to.put_slice(path.as_bytes());
    match operation {
        GET => to.put_u8(0),
        SET => {
            put_data(to, bytes);
            to.put_i32(-1);
        }
        _ => {
            put_data(to, bytes);
            // One entry of access control: world, anyone, everything.
            to.put_i32(1);
            to.put_i32(31);
            for word in ["world", "anyone"] {
                to.put_i32(word.len() as i32);
                to.put_slice(word.as_bytes());
            }
            to.put_i32(0);
        }
    }
    let len = (to.len() - from - 4) as i32;
    to[from..from + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_data(to: &mut BytesMut, bytes: usize) {
    to.put_i32(bytes as i32);
    to.put_bytes(b'x', bytes);
}

//! Single records at a fixed rate. Latency counts from the moment a request should have left, so
//! that a server that stalls is charged for all who would have come meanwhile.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;
use hdrhistogram::Histogram;
use protocol::batch::Codec;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::consumer::{Departures, consume};
use crate::target::Target;
use bench::wire::{self, Caller};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    at: Target,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Requests a second.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 1)]
    acks: i16,
    /// The topic is there, or the server knows none.
    #[arg(long)]
    no_topic: bool,
    /// A consumer reads along; what is told is when it has each record.
    #[arg(long)]
    end_to_end: bool,
}

/// Where the curve is read off.
const CURVE: [f64; 13] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0,
];

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let mut caller = Caller::connect(&arguments.at.address).await?;
    if !arguments.no_topic {
        caller
            .make_topic(&arguments.at.topic, arguments.at.partitions)
            .await?;
    }
    let batch = wire::batch(1, arguments.record_bytes, Codec::None)?;
    let mut frames = Vec::new();
    for partition in 0..arguments.at.partitions {
        frames.push(wire::produce(
            &arguments.at.topic,
            partition,
            batch.clone(),
            arguments.acks,
        )?);
    }
    let total = u64::from(arguments.rate) * arguments.seconds;
    let departures = Departures::default();
    let count = usize::try_from(arguments.at.partitions)?;
    departures.borrow_mut().resize_with(count, VecDeque::new);
    let local = tokio::task::LocalSet::new();
    let consumer = arguments.end_to_end.then(|| {
        let (at, departures) = (arguments.at.clone(), Rc::clone(&departures));
        local.spawn_local(consume(at, departures, total))
    });
    let acknowledged = local
        .run_until(produce(&arguments, &mut caller, &mut frames, &departures))
        .await?;
    let histogram = match consumer {
        Some(consumer) => local.run_until(consumer).await??,
        None => acknowledged,
    };
    let at = |quantile: f64| histogram.value_at_quantile(quantile);
    Ok(json!({
        "requests": total, "rate": arguments.rate,
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": histogram.max(),
        "curve": CURVE.map(|quantile| json!([quantile, at(quantile)])),
    }))
}

/// Sends every record at its time; how long each acknowledgement took from then.
async fn produce(
    arguments: &Arguments,
    caller: &mut Caller,
    frames: &mut [BytesMut],
    departures: &Departures,
) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::<u64>::new(3)?;
    let step = Duration::from_secs(1) / arguments.rate;
    let total = u64::from(arguments.rate) * arguments.seconds;
    let begin = Instant::now();
    let mut intended: VecDeque<Instant> = VecDeque::new();
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut received = BytesMut::with_capacity(64 * 1024);
    while answered < total {
        let due = begin + step * u32::try_from(sent)?;
        let now = Instant::now();
        if sent < total && now >= due {
            let index = (sent % frames.len() as u64) as usize;
            wire::number(&mut frames[index], sent as i32);
            if arguments.end_to_end {
                departures.borrow_mut()[index].push_back(due);
            }
            caller.stream.write_all(&frames[index]).await?;
            intended.push_back(due);
            sent += 1;
            continue;
        }
        tokio::select! {
            ready = caller.stream.readable() => {
                ready?;
                match caller.stream.try_read_buf(&mut received) {
                    Ok(0) => bail!("the server closed the connection"),
                    Ok(_) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(e) => return Err(e.into()),
                }
                for _ in 0..wire::count_produced(&mut received)? {
                    if let Some(due) = intended.pop_front() {
                        histogram.record(due.elapsed().as_micros() as u64)?;
                        answered += 1;
                    }
                }
            }
            () = wait_until(due), if sent < total => {}
        }
    }
    Ok(histogram)
}

/// Timers are coarse (1 ms): the last stretch is spent looking at the clock.
async fn wait_until(due: Instant) {
    let now = Instant::now();
    if due > now + Duration::from_millis(2) {
        tokio::time::sleep(due - now - Duration::from_millis(2)).await;
    } else {
        tokio::task::yield_now().await;
    }
}

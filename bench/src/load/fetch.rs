//! Consumers that read a topic from its beginning to its end and throw the bytes away.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use protocol::batch::split;
use protocol::kafka::apis::Api;
use protocol::messages::{RequestKind, ResponseKind};
use serde_json::{Value, json};

use crate::target::Target;
use bench::wire::{self, Caller, FETCH_VERSION};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    at: Target,
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    #[arg(long, default_value_t = 1 << 20)]
    fetch_bytes: i32,
    /// Each consumer ends after this many bytes.
    #[arg(long, default_value_t = u64::MAX)]
    bytes_max: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let begin = Instant::now();
    let mut consumers = tokio::task::JoinSet::new();
    for _ in 0..arguments.consumers {
        let arguments = arguments.clone();
        consumers.spawn(async move { consume(&arguments).await });
    }
    let mut bytes = 0;
    while let Some(done) = consumers.join_next().await {
        bytes += done??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({ "bytes": bytes, "seconds": seconds, "mb_per_second": bytes as f64 / seconds / 1e6 }))
}

async fn consume(arguments: &Arguments) -> Result<u64> {
    let mut caller = Caller::connect(&arguments.at.address).await?;
    let mut total = 0;
    for partition in 0..arguments.at.partitions {
        let mut offset = 0;
        while total < arguments.bytes_max {
            let asked = wire::fetch_request(
                &arguments.at.topic,
                partition,
                offset,
                arguments.fetch_bytes,
                0,
            );
            let records = ask(&mut caller, &asked).await?;
            if records.is_empty() {
                break;
            }
            total += records.len() as u64;
            // A batch cut short by the limit ends the set; what is before it counts.
            for batch in split(&records) {
                let Ok(batch) = batch else { break };
                offset = batch.header().next_offset().0;
            }
        }
    }
    Ok(total)
}

async fn ask(caller: &mut Caller, request: &RequestKind) -> Result<Bytes> {
    let ResponseKind::Fetch(answer) = caller.ask(Api::Fetch, FETCH_VERSION, request).await? else {
        bail!("not an answer to Fetch");
    };
    ensure!(
        answer.error_code == 0,
        "fetch was answered with error {}",
        answer.error_code
    );
    let Some(partition) = answer
        .responses
        .first()
        .and_then(|topic| topic.partitions.first())
    else {
        return Ok(Bytes::new());
    };
    ensure!(
        partition.error_code == 0,
        "fetch was answered with error {}",
        partition.error_code
    );
    Ok(partition.records.clone().unwrap_or_default())
}

//! Consumers that long-poll partitions into which little or nothing is written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use protocol::batch::split;
use protocol::kafka::apis::Api;
use protocol::messages::ResponseKind;
use serde_json::{Value, json};

use crate::target::Target;
use bench::wire::{self, Caller, FETCH_VERSION};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    at: Target,
    #[arg(long, default_value_t = 500)]
    consumers: usize,
    #[arg(long, default_value_t = 500)]
    wait_ms: i32,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    Caller::connect(&arguments.at.address)
        .await?
        .make_topic(&arguments.at.topic, arguments.at.partitions)
        .await?;
    let begin = Instant::now();
    let mut consumers = tokio::task::JoinSet::new();
    for number in 0..arguments.consumers {
        let arguments = arguments.clone();
        consumers.spawn(async move {
            let mut caller = Caller::connect(&arguments.at.address).await?;
            let partition = i32::try_from(number)? % arguments.at.partitions;
            let (mut polls, mut batches, mut offset) = (0_u64, 0_u64, 0);
            while begin.elapsed() < Duration::from_secs(arguments.seconds) {
                let asked = wire::fetch_request(
                    &arguments.at.topic,
                    partition,
                    offset,
                    1 << 20,
                    arguments.wait_ms,
                );
                let answer = caller.ask(Api::Fetch, FETCH_VERSION, &asked).await?;
                let records = records(answer)?;
                for batch in split(&records).flatten() {
                    offset = batch.header().next_offset().0;
                    batches += 1;
                }
                polls += 1;
            }
            anyhow::Ok((polls, batches))
        });
    }
    let (mut polls, mut batches) = (0, 0);
    while let Some(done) = consumers.join_next().await {
        let (more_polls, more_batches) = done??;
        polls += more_polls;
        batches += more_batches;
    }
    Ok(json!({ "polls": polls, "batches": batches, "seconds": begin.elapsed().as_secs_f64() }))
}

fn records(answer: ResponseKind) -> Result<Bytes> {
    let ResponseKind::Fetch(answer) = answer else {
        bail!("not an answer to Fetch");
    };
    let partition = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .next();
    match partition {
        Some(partition) if partition.error_code == 0 && answer.error_code == 0 => {
            Ok(partition.records.unwrap_or_default())
        }
        _ if answer.error_code == 0 => Ok(Bytes::new()),
        _ => bail!("a fetch was answered with error {}", answer.error_code),
    }
}

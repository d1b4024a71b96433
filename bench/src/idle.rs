//! Consumers that long-poll partitions into which nothing is written.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use protocol::kafka::apis::Api;
use protocol::messages::ResponseKind;
use serde_json::{Value, json};

use crate::fetch;
use crate::wire::{Caller, FETCH_VERSION};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    address: String,
    #[arg(long, default_value = "quiet")]
    topic: String,
    #[arg(long, default_value_t = 100)]
    partitions: i32,
    #[arg(long, default_value_t = 500)]
    consumers: usize,
    #[arg(long, default_value_t = 500)]
    wait_ms: i32,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    Caller::connect(&arguments.address)
        .await?
        .make_topic(&arguments.topic, arguments.partitions)
        .await?;
    let begin = Instant::now();
    let mut consumers = tokio::task::JoinSet::new();
    for number in 0..arguments.consumers {
        let arguments = arguments.clone();
        consumers.spawn(async move {
            let mut caller = Caller::connect(&arguments.address).await?;
            let partition = i32::try_from(number)? % arguments.partitions;
            let asked = fetch::request(&arguments.topic, partition, 0, 1 << 20, arguments.wait_ms);
            let mut polls = 0_u64;
            while begin.elapsed() < Duration::from_secs(arguments.seconds) {
                let answer = caller.ask(Api::Fetch, FETCH_VERSION, &asked).await?;
                ensure!(matches!(&answer, ResponseKind::Fetch(answer) if answer.error_code == 0));
                polls += 1;
            }
            anyhow::Ok(polls)
        });
    }
    let mut polls = 0;
    while let Some(done) = consumers.join_next().await {
        polls += done??;
    }
    Ok(json!({ "polls": polls, "seconds": begin.elapsed().as_secs_f64() }))
}

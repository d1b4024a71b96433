//! Makes a topic and says how long it took; or deletes one.

use std::time::Instant;

use anyhow::Result;
use bench::wire::Caller;
use serde_json::{Value, json};

use crate::target::Target;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    at: Target,
    /// `key=value` of the topic that is made.
    #[arg(long)]
    topic_config: Vec<String>,
    #[arg(long)]
    delete: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let mut caller = Caller::connect(&arguments.at.address).await?;
    let begin = Instant::now();
    if arguments.delete {
        caller.delete_topic(&arguments.at.topic).await?;
        return Ok(json!({ "deleted_ms": begin.elapsed().as_secs_f64() * 1e3 }));
    }
    let (name, partitions) = (&arguments.at.topic, arguments.at.partitions);
    caller
        .create_topic(name, partitions, &arguments.topic_config)
        .await?;
    let answered = begin.elapsed();
    caller.wait_for_leaders(name, partitions).await?;
    Ok(json!({
        "answered_ms": answered.as_secs_f64() * 1e3,
        "led_ms": begin.elapsed().as_secs_f64() * 1e3,
    }))
}

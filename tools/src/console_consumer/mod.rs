//! `kafka-console-consumer`: records become lines of standard output.
//!
//! Without a group it reads the partitions directly. Apache's joins a group with a random name and
//! waits out that group's first rebalance; the records are the same.

mod deserializers;
mod format;

use std::time::Duration;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::console_consumer::format::Format;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::interrupts::Interrupts;
use crate::kafka::consumer::{Consumer, Wanted};
use crate::kafka::offsets::{EARLIEST, LATEST};
use crate::print::{Out, nobody_reads};
use crate::properties::Properties;
use crate::{say, warn};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to read data from Kafka topics and outputs it to standard output.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: The server(s) to connect to.",
        ),
        valued("topic", "topic", "The topic to consume on."),
        valued(
            "include",
            "Java regex (String)",
            "Regular expression of topics to consume.",
        ),
        valued(
            "whitelist",
            "Java regex (String)",
            "DEPRECATED, use --include instead.",
        ),
        valued("partition", "partition", "The partition to consume from."),
        valued(
            "offset",
            "consume offset",
            "The offset to consume from: a number, 'earliest' or 'latest' (default).",
        ),
        repeated(
            "consumer-property",
            "consumer_prop",
            "Properties of the consumer, key=value.",
        ),
        valued(
            "consumer.config",
            "config file",
            "Properties of the consumer from a file.",
        ),
        valued(
            "formatter",
            "class",
            "DefaultMessageFormatter, LoggingMessageFormatter or NoOpMessageFormatter.",
        ),
        repeated(
            "property",
            "prop",
            "print.timestamp, print.key, print.offset, print.partition, print.headers, print.value, key.separator, line.separator, headers.separator, null.literal, key.deserializer, value.deserializer.",
        ),
        valued(
            "formatter-config",
            "config file",
            "The same properties from a file.",
        ),
        switch(
            "from-beginning",
            "Start with the earliest message if there is no committed offset.",
        ),
        valued(
            "max-messages",
            "num_messages",
            "The number of messages to consume before exiting.",
        ),
        valued(
            "timeout-ms",
            "timeout_ms",
            "Exit if no message is available for so long.",
        ),
        switch(
            "skip-message-on-error",
            "Skip a message that cannot be shown.",
        ),
        valued(
            "key-deserializer",
            "deserializer for key",
            "Class of the key's deserializer.",
        ),
        valued(
            "value-deserializer",
            "deserializer for values",
            "Class of the value's deserializer.",
        ),
        switch(
            "enable-systest-events",
            "Log lifecycle events of the consumer.",
        ),
        valued(
            "isolation-level",
            "String",
            "read_uncommitted (default) or read_committed.",
        ),
        valued(
            "group",
            "consumer group id",
            "The consumer group id of the consumer.",
        ),
    ],
};

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    let wanted = wanted(&args)?;
    let properties = properties(&args)?;
    let format = Format::read(&args)?;
    let messages_max = args.parsed::<i64>("max-messages")?.unwrap_or(-1);
    let timeout_ms = args
        .parsed::<i64>("timeout-ms")?
        .filter(|ms| *ms >= 0)
        .unwrap_or(i64::MAX);
    let patience = Duration::from_millis(timeout_ms.unsigned_abs());
    let servers = args.required("bootstrap-server")?;
    let mut interrupts = Interrupts::listen()?;
    let mut consumer = tokio::select! {
        connected = Consumer::connect(servers, &properties, wanted) => connected?,
        code = interrupts.next() => {
            warn!("Processed a total of 0 messages");
            return Err(Failure::Exit(code));
        }
    };
    out.tell_when_gone();
    let mut left = std::pin::pin!(nobody_reads());
    let mut count = 0i64;
    let mut failed = None;
    let mut unreadable = None;
    let mut interrupted = None;
    while messages_max < 0 || count < messages_max {
        // What lies ready is printed as one; the flush comes before waiting.
        let next = match consumer.next(0).await {
            Ok(None) => {
                out.flush();
                if out.is_gone() {
                    break;
                }
                tokio::select! {
                    biased;
                    code = interrupts.next() => {
                        interrupted = Some(code);
                        break;
                    }
                    () = &mut left => {
                        out.leave();
                        break;
                    }
                    // Finding and joining the group count too, as in Java.
                    next = tokio::time::timeout(patience, consumer.next(timeout_ms)) => {
                        next.unwrap_or(Ok(None))
                    }
                }
            }
            next => next,
        };
        match next {
            Ok(Some(taken)) => {
                count += 1;
                match format.write(&taken, out) {
                    Ok(()) => {}
                    Err(why) if args.has("skip-message-on-error") => {
                        warn!("[ERROR] Error processing message, skipping this message: {why}");
                    }
                    Err(why) => {
                        unreadable = Some(why);
                        break;
                    }
                }
                if out.is_gone() {
                    break;
                }
            }
            Ok(None) => {
                out.flush();
                warn!(
                    "[ERROR] Error processing message, terminating consumer process:  org.apache.kafka.common.errors.TimeoutException"
                );
                break;
            }
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    out.flush();
    if out.is_gone() {
        warn!("Unable to write to standard out, closing consumer.");
    }
    // Who asks a second time does not wait for the group.
    tokio::select! {
        closed = consumer.close() => failed = failed.or(closed.err()),
        code = interrupts.next() => interrupted = Some(code),
    }
    warn!("Processed a total of {count} messages");
    if let Some(failure) = failed {
        warn!(
            "[ERROR] Error processing message, terminating consumer process:  {}",
            failure.as_exception()
        );
    }
    if args.has("enable-systest-events") {
        say!(out, "shutdown_complete");
    }
    match (interrupted, unreadable) {
        (Some(code), _) => Err(Failure::Exit(code)),
        (None, Some(why)) => Err(Failure::said(format!(
            "Unknown error when running consumer: {why}"
        ))),
        (None, None) => Ok(()),
    }
}

fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let include = args.get("include").or(args.get("whitelist"));
    let partition = args.parsed::<i32>("partition")?;
    if args.has("topic") == include.is_some() {
        return Err(args.misuse("Exactly one of --include/--topic is required. "));
    }
    if partition.is_some() {
        if !args.has("topic") {
            return Err(args.misuse("The topic is required when partition is specified."));
        }
        if args.has("from-beginning") && args.has("offset") {
            return Err(
                args.misuse("Options from-beginning and offset cannot be specified together.")
            );
        }
    } else if args.has("offset") {
        return Err(args.misuse("The partition is required when offset is specified."));
    }
    args.required("bootstrap-server")?;
    let offset = match args.get("offset").map(str::to_lowercase).as_deref() {
        Some("earliest") => EARLIEST,
        Some("latest") => LATEST,
        Some(number) => match number.parse::<i64>() {
            Ok(offset) if offset >= 0 => offset,
            _ => {
                let given = args.get("offset").unwrap_or_default();
                return Err(args.misuse(format!("The provided offset value '{given}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.")));
            }
        },
        None if args.has("from-beginning") => EARLIEST,
        None => LATEST,
    };
    Ok(match (args.get("topic"), include, partition) {
        (Some(topic), _, Some(partition)) => {
            Wanted::Partition((topic.to_string(), partition), offset)
        }
        (Some(topic), _, None) => Wanted::Topics(vec![topic.to_string()]),
        (None, include, _) => Wanted::Pattern(Filter::new(include.unwrap_or_default())?),
    })
}

fn properties(args: &Args) -> Result<Properties, Failure> {
    let file = Properties::load(args.get("consumer.config"))?;
    let mut extra = Properties::default();
    extra.add_pairs(args.all("consumer-property"))?;
    let mut groups: Vec<&str> = [
        args.get("group"),
        file.get("group.id"),
        extra.get("group.id"),
    ]
    .into_iter()
    .flatten()
    .collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > 1 {
        let quoted: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(args.misuse(format!("The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: {}", quoted.join(", "))));
    }
    if !groups.is_empty() && args.has("partition") {
        return Err(args.misuse("Options group and partition cannot be specified together."));
    }
    let group = groups.first().map(|group| group.to_string());
    let mut made = file;
    made.0.extend(extra.0);
    if let Some(group) = group {
        made.0.insert("group.id".to_string(), group);
    }
    match made.get("auto.offset.reset").map(str::to_string) {
        Some(reset) if args.has("from-beginning") && reset != "earliest" => {
            return Err(Failure::said(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            )));
        }
        Some(_) => {}
        None => {
            let reset = if args.has("from-beginning") {
                "earliest"
            } else {
                "latest"
            };
            made.0
                .insert("auto.offset.reset".to_string(), reset.to_string());
        }
    }
    if let Some(level) = args.get("isolation-level") {
        if !["read_committed", "read_uncommitted"].contains(&level) {
            return Err(Failure::said(format!(
                "Invalid value {level} for configuration isolation.level: String must be one of: read_committed, read_uncommitted"
            )));
        }
        made.0
            .insert("isolation.level".to_string(), level.to_string());
    }
    made.0
        .entry("client.id".to_string())
        .or_insert_with(|| "console-consumer".to_string());
    Ok(made)
}

//! `kafka-verifiable-producer` and `kafka-verifiable-consumer`: every event as a line of JSON.

use base::clock::Clock;
use serde_json::json;

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::kafka::consumer::{Consumer, Wanted};
use crate::kafka::producer::{Message, Producer};
use crate::print::Out;
use crate::properties::Properties;
use crate::say;

pub(crate) const PRODUCER: Usage = Usage {
    about: "This tool produces increasing integers to the specified topic and prints JSON metadata to stdout on each \"send\" request.",
    flags: &[
        valued("topic", "TOPIC", "Produce messages to this topic."),
        valued(
            "bootstrap-server",
            "HOST1:PORT1",
            "The servers to connect to.",
        ),
        valued(
            "broker-list",
            "HOST1:PORT1",
            "DEPRECATED, use --bootstrap-server instead.",
        ),
        valued("max-messages", "COUNT", "How many messages; -1 for no end."),
        valued("throughput", "COUNT", "Messages a second; -1 for no bound."),
        valued("acks", "ACKS", "0, 1 or -1."),
        valued(
            "producer.config",
            "FILE",
            "Producer properties from a file.",
        ),
        valued(
            "message-create-time",
            "MS",
            "Timestamps count up from this one.",
        ),
        valued(
            "value-prefix",
            "NUMBER",
            "Put before each value, with a dot.",
        ),
        valued(
            "repeating-keys",
            "COUNT",
            "Keys count from 0 and begin again.",
        ),
    ],
};

pub(crate) async fn producer(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(PRODUCER, line)?;
    let topic = args.required("topic")?.to_string();
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let servers = servers.ok_or_else(|| {
        args.misuse("one of the arguments --bootstrap-server --broker-list is required")
    })?;
    let count = args.parsed::<i64>("max-messages")?.unwrap_or(-1);
    let throughput = args.parsed::<i64>("throughput")?.unwrap_or(-1);
    let created = args
        .parsed::<i64>("message-create-time")?
        .filter(|ms| *ms >= 0);
    let keys = args.parsed::<i64>("repeating-keys")?;
    let mut properties = Properties::load(args.get("producer.config"))?;
    let acks = args.get("acks").unwrap_or("-1").to_string();
    properties.0.insert("acks".to_string(), acks);
    properties.0.insert("retries".to_string(), "0".to_string());
    let mut producer = Producer::connect(servers, &properties).await?;
    let clock = Clock::system();
    let start = clock.monotonic_ms();
    event(out, &clock, "startup_complete", json!({}));
    let mut tally = (0i64, 0i64);
    let mut at = 0i64;
    while count < 0 || at < count {
        let value = match args.get("value-prefix") {
            Some(prefix) => format!("{prefix}.{at}"),
            None => at.to_string(),
        };
        let message = Message {
            topic: topic.clone(),
            timestamp_ms: created.map(|ms| ms.saturating_add(at)),
            key: keys.map(|keys| (at % keys.max(1)).to_string().into_bytes()),
            value: Some(value.into_bytes()),
            ..Message::default()
        };
        producer.send(&message, at.unsigned_abs()).await?;
        at += 1;
        report(&mut producer, &args, keys, &clock, out, &mut tally);
        let ahead = if throughput > 0 {
            at * 1000 / throughput - (clock.monotonic_ms() - start)
        } else {
            0
        };
        if ahead > 0 {
            let pause = std::time::Duration::from_millis(ahead.unsigned_abs());
            tokio::select! {
                woke = producer.wait() => producer.step(woke).await?,
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
        }
    }
    producer.flush().await?;
    report(&mut producer, &args, keys, &clock, out, &mut tally);
    event(out, &clock, "shutdown_complete", json!({}));
    let seconds = (clock.monotonic_ms() - start).max(1) as f64 / 1000.0;
    event(
        out,
        &clock,
        "tool_data",
        json!({
            "sent": tally.0 + tally.1,
            "acked": tally.0,
            "target_throughput": throughput,
            "avg_throughput": tally.0 as f64 / seconds,
        }),
    );
    Ok(())
}

fn report(
    producer: &mut Producer,
    args: &Args,
    keys: Option<i64>,
    clock: &Clock,
    out: &mut Out,
    tally: &mut (i64, i64),
) {
    for delivered in producer.delivered() {
        for (behind, tag) in delivered.tags.iter().enumerate() {
            let value = match args.get("value-prefix") {
                Some(prefix) => format!("{prefix}.{tag}"),
                None => tag.to_string(),
            };
            let key = keys.map(|keys| (*tag as i64 % keys.max(1)).to_string());
            match &delivered.outcome {
                Ok(offset) => {
                    tally.0 += 1;
                    event(
                        out,
                        clock,
                        "producer_send_success",
                        json!({
                            "key": key, "value": value, "offset": offset + behind as i64,
                            "partition": delivered.place.1, "topic": delivered.place.0,
                        }),
                    );
                }
                Err(error) => {
                    tally.1 += 1;
                    event(
                        out,
                        clock,
                        "producer_send_error",
                        json!({
                            "key": key, "value": value, "topic": delivered.place.0,
                            "exception": error.to_string(), "message": error.to_string(),
                        }),
                    );
                }
            }
        }
    }
}

/// One line: the time, the event's name, then what belongs to it.
fn event(out: &mut Out, clock: &Clock, name: &str, rest: serde_json::Value) {
    let mut whole = serde_json::Map::new();
    whole.insert("timestamp".into(), json!(clock.wall_ms()));
    whole.insert("name".into(), json!(name));
    if let serde_json::Value::Object(rest) = rest {
        whole.extend(rest);
    }
    say!(out, "{}", serde_json::Value::Object(whole));
    out.flush();
}

pub(crate) const CONSUMER: Usage = Usage {
    about: "This tool consumes messages from a specific topic and emits consumer events (e.g. group rebalances, received messages, and offsets committed) as JSON objects to STDOUT.",
    flags: &[
        valued("topic", "TOPIC", "Consume messages from this topic."),
        valued(
            "bootstrap-server",
            "HOST1:PORT1",
            "The servers to connect to.",
        ),
        valued(
            "broker-list",
            "HOST1:PORT1",
            "DEPRECATED, use --bootstrap-server instead.",
        ),
        valued("group-id", "GROUP_ID", "The group of the consumer."),
        valued(
            "group-instance-id",
            "ID",
            "A unique identifier of the consumer instance.",
        ),
        valued("max-messages", "COUNT", "How many messages; -1 for no end."),
        valued("session-timeout", "MS", "The consumer's session timeout."),
        switch("verbose", "Log each record."),
        switch("enable-autocommit", "Commit from time to time."),
        valued("reset-policy", "POLICY", "earliest, latest or none."),
        valued(
            "consumer.config",
            "FILE",
            "Consumer properties from a file.",
        ),
    ],
};

pub(crate) async fn consumer(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(CONSUMER, line)?;
    let topic = args.required("topic")?.to_string();
    let group = args.required("group-id")?.to_string();
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let servers = servers.ok_or_else(|| {
        args.misuse("one of the arguments --bootstrap-server --broker-list is required")
    })?;
    let count = args.parsed::<i64>("max-messages")?.unwrap_or(-1);
    let mut properties = Properties::load(args.get("consumer.config"))?;
    let mut set = |key: &str, value: &str| properties.0.insert(key.to_string(), value.to_string());
    set("group.id", &group);
    set(
        "enable.auto.commit",
        if args.has("enable-autocommit") {
            "true"
        } else {
            "false"
        },
    );
    set(
        "auto.offset.reset",
        args.get("reset-policy").unwrap_or("earliest"),
    );
    set(
        "session.timeout.ms",
        args.get("session-timeout").unwrap_or("30000"),
    );
    if let Some(id) = args.get("group-instance-id") {
        set("group.instance.id", id);
    }
    let clock = Clock::system();
    let mut consumer = Consumer::connect(servers, &properties, Wanted::Topics(vec![topic])).await?;
    event(out, &clock, "startup_complete", json!({}));
    let mut seen = 0i64;
    while count < 0 || seen < count {
        let first = tokio::select! {
            next = consumer.next(i64::MAX) => next?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(first) = first else { continue };
        let mut batch = vec![first];
        while count < 0 || seen + (batch.len() as i64) < count {
            match consumer.next(0).await? {
                Some(more) => batch.push(more),
                None => break,
            }
        }
        seen += batch.len() as i64;
        records(out, &clock, &batch, args.has("verbose"));
        if !args.has("enable-autocommit") {
            consumer.commit().await?;
            event(
                out,
                &clock,
                "offsets_committed",
                json!({ "offsets": ends(&batch), "success": true }),
            );
        }
    }
    consumer.close().await?;
    event(out, &clock, "shutdown_complete", json!({}));
    Ok(())
}

type Batch = [crate::kafka::consumer::Taken];

fn records(out: &mut Out, clock: &Clock, batch: &Batch, verbose: bool) {
    let mut spans: Vec<(String, i32, i64, i64, i64)> = Vec::new();
    for taken in batch {
        match spans
            .iter_mut()
            .find(|span| span.0 == taken.topic && span.1 == taken.partition)
        {
            Some(span) => (span.2, span.4) = (span.2 + 1, taken.offset),
            None => spans.push((
                taken.topic.clone(),
                taken.partition,
                1,
                taken.offset,
                taken.offset,
            )),
        }
    }
    let partitions: Vec<_> = spans
        .iter()
        .map(|(topic, partition, count, low, high)| {
            json!({ "topic": topic, "partition": partition, "count": count, "minOffset": low, "maxOffset": high })
        })
        .collect();
    event(
        out,
        clock,
        "records_consumed",
        json!({ "count": batch.len(), "partitions": partitions }),
    );
    for taken in batch.iter().filter(|_| verbose) {
        let text = |bytes: &Option<bytes::Bytes>| {
            bytes
                .as_ref()
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        event(
            out,
            clock,
            "record_data",
            json!({
                "key": text(&taken.key), "value": text(&taken.value), "topic": taken.topic,
                "partition": taken.partition, "offset": taken.offset,
            }),
        );
    }
}

fn ends(batch: &Batch) -> Vec<serde_json::Value> {
    let mut made: Vec<(String, i32, i64)> = Vec::new();
    for taken in batch {
        match made
            .iter_mut()
            .find(|one| one.0 == taken.topic && one.1 == taken.partition)
        {
            Some(one) => one.2 = taken.offset + 1,
            None => made.push((taken.topic.clone(), taken.partition, taken.offset + 1)),
        }
    }
    let made = made.iter();
    made.map(|(topic, partition, offset)| json!({ "topic": topic, "partition": partition, "offset": offset })).collect()
}

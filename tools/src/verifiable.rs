//! `kafka-verifiable-producer` and `kafka-verifiable-consumer`: every event as a line of JSON.

use std::collections::BTreeMap;

use base::clock::Clock;
use serde_json::json;

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::kafka::consumer::{Change, Consumer, Wanted};
use crate::kafka::offsets::{Committed, Place};
use crate::kafka::producer::{Message, Producer};
use crate::print::Out;
use crate::properties::Properties;
use crate::say;

/// Kafka: these two tell how they are used on stdout, and end well, when nothing is asked of them.
const PRODUCER_HELP: &str = include_str!("help/verifiable-producer.txt");
const CONSUMER_HELP: &str = include_str!("help/verifiable-consumer.txt");

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
    if line.is_empty() {
        return Err(Failure::Help(PRODUCER_HELP.to_owned()));
    }
    let args = Args::read_last(PRODUCER, line)?;
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
    let mut interrupts = Interrupts::listen()?;
    let mut interrupted = None;
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
        // At full speed a look now and then is enough.
        if ahead > 0 || at % 1024 == 0 {
            let pause = std::time::Duration::from_millis(ahead.max(0).unsigned_abs());
            tokio::select! {
                biased;
                code = interrupts.next() => {
                    interrupted = Some(code);
                    break;
                }
                woke = producer.wait() => producer.step(woke).await?,
                () = tokio::time::sleep(pause) => {}
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
    ended(interrupted)
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
                Ok(first) => {
                    tally.0 += 1;
                    // With acks=0 nobody knows any.
                    let offset = if *first < 0 {
                        -1
                    } else {
                        first + behind as i64
                    };
                    event(
                        out,
                        clock,
                        "producer_send_success",
                        json!({
                            "key": key, "value": value, "offset": offset,
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
            "assignment-strategy",
            "CLASS",
            "The assignor of the group; RangeAssignor by default.",
        ),
        valued(
            "group-protocol",
            "PROTOCOL",
            "Only classic: brokers in ZooKeeper mode have no other.",
        ),
        valued(
            "group-remote-assignor",
            "NAME",
            "Only with the other group protocol.",
        ),
        valued(
            "consumer.config",
            "FILE",
            "Consumer properties from a file.",
        ),
    ],
};

/// Kafka: `max.poll.records`; so many records are told of at once.
const POLL_RECORDS_MAX: usize = 500;

pub(crate) async fn consumer(line: &[String], out: &mut Out) -> Result<(), Failure> {
    if line.is_empty() {
        return Err(Failure::Help(CONSUMER_HELP.to_owned()));
    }
    let args = Args::read_last(CONSUMER, line)?;
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
    let protocol = args.get("group-protocol").unwrap_or("classic");
    if !protocol.eq_ignore_ascii_case("classic") {
        return Err(Failure::Absent(format!("the group protocol {protocol}")));
    }
    set(
        "partition.assignment.strategy",
        args.get("assignment-strategy")
            .unwrap_or("org.apache.kafka.clients.consumer.RangeAssignor"),
    );
    let clock = Clock::system();
    let mut consumer = Consumer::connect(servers, &properties, Wanted::Topics(vec![topic])).await?;
    event(out, &clock, "startup_complete", json!({}));
    let mut interrupts = Interrupts::listen()?;
    let mut interrupted = None;
    let mut seen = 0i64;
    while count < 0 || seen < count {
        let first = tokio::select! {
            next = consumer.next(POLL_MS) => next?,
            code = interrupts.next() => {
                interrupted = Some(code);
                break;
            }
        };
        changes(out, &clock, &mut consumer);
        let Some(first) = first else { continue };
        let mut batch = vec![first];
        while batch.len() < POLL_RECORDS_MAX {
            match consumer.next(0).await? {
                Some(more) => batch.push(more),
                None => break,
            }
        }
        // Kafka: the count is that of the whole poll, the partitions' that of what is still wanted.
        let polled = batch.len();
        if count >= 0 {
            batch.truncate(usize::try_from(count - seen).unwrap_or(usize::MAX));
        }
        seen += batch.len() as i64;
        records(out, &clock, polled, &batch, args.has("verbose"));
        if !args.has("enable-autocommit") {
            let ends = ends(&batch);
            let done = consumer.commit_these(&ends).await;
            let told: Vec<_> = ends
                .iter()
                .map(|((topic, partition), one)| {
                    json!({ "topic": topic, "partition": partition, "offset": one.offset })
                })
                .collect();
            let told = match done {
                Ok(()) => json!({ "offsets": told, "success": true }),
                Err(failure) if failure.is_passing() => {
                    json!({ "offsets": told, "success": false, "error": failure.to_string() })
                }
                Err(failure) => return Err(failure),
            };
            event(out, &clock, "offsets_committed", told);
        }
    }
    consumer.close().await?;
    changes(out, &clock, &mut consumer);
    event(out, &clock, "shutdown_complete", json!({}));
    ended(interrupted)
}

fn ended(interrupted: Option<i32>) -> Result<(), Failure> {
    interrupted.map_or(Ok(()), |code| Err(Failure::Exit(code)))
}

/// How long a turn waits for records; what the group does is told between turns.
const POLL_MS: i64 = 100;

/// Tells what the group gave and took.
fn changes(out: &mut Out, clock: &Clock, consumer: &mut Consumer) {
    for change in consumer.changes() {
        let (name, places) = match change {
            Change::Assigned(places) => ("partitions_assigned", places),
            Change::Revoked(places) => ("partitions_revoked", places),
        };
        let places: Vec<_> = places
            .iter()
            .map(|(topic, partition)| json!({ "topic": topic, "partition": partition }))
            .collect();
        event(out, clock, name, json!({ "partitions": places }));
    }
}

type Batch = [crate::kafka::consumer::Taken];

fn records(out: &mut Out, clock: &Clock, polled: usize, batch: &Batch, verbose: bool) {
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
                "key": text(&taken.key), "value": text(&taken.value), "topic": &*taken.topic,
                "partition": taken.partition, "offset": taken.offset,
            }),
        );
    }
    let mut spans: Vec<(String, i32, i64, i64, i64)> = Vec::new();
    for taken in batch {
        match spans
            .iter_mut()
            .find(|span| *span.0 == *taken.topic && span.1 == taken.partition)
        {
            Some(span) => (span.2, span.4) = (span.2 + 1, taken.offset),
            None => spans.push((
                taken.topic.to_string(),
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
        json!({ "count": polled, "partitions": partitions }),
    );
}

/// Where the batch ends in each partition. Kafka: without an epoch.
fn ends(batch: &Batch) -> BTreeMap<Place, Committed> {
    let mut made = BTreeMap::new();
    for taken in batch {
        let end = Committed {
            offset: taken.offset + 1,
            epoch: -1,
        };
        made.insert((taken.topic.to_string(), taken.partition), end);
    }
    made
}

//! `kafka-producer-perf-test`: how fast records go in.

use base::clock::Clock;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::failure::Failure;
use crate::kafka::producer::{Message, Producer};
use crate::perf::metrics;
use crate::perf::payloads::Payloads;
use crate::perf::stats::Stats;
use crate::print::Out;
use crate::properties::Properties;

/// Kafka: told on stdout, and a good end, when nothing is asked.
const HELP: &str = include_str!("../help/producer-perf-test.txt");

pub(crate) const USAGE: Usage = Usage {
    about: "This tool is used to verify the producer performance.",
    flags: &[
        valued("topic", "TOPIC", "Produce messages to this topic."),
        valued(
            "num-records",
            "NUM-RECORDS",
            "Number of messages to produce.",
        ),
        valued("record-size", "RECORD-SIZE", "Message size in bytes."),
        valued(
            "payload-file",
            "PAYLOAD-FILE",
            "File to read the message payloads from.",
        ),
        switch(
            "payload-monotonic",
            "Payload is a monotonically increasing integer.",
        ),
        valued(
            "payload-delimiter",
            "DELIMITER",
            "Delimiter of payloads in the file; \\n by default.",
        ),
        valued(
            "throughput",
            "THROUGHPUT",
            "Maximum messages a second; -1 for no bound.",
        ),
        repeated(
            "producer-props",
            "PROP-NAME=PROP-VALUE ...",
            "Producer properties like bootstrap.servers.",
        ),
        valued(
            "producer.config",
            "CONFIG-FILE",
            "Producer properties from a file.",
        ),
        switch("print-metrics", "Print out metrics at the end of the test."),
        valued(
            "transactional-id",
            "ID",
            "The name of the transactions, with --transaction-duration-ms above 0.",
        ),
        valued(
            "transaction-duration-ms",
            "MS",
            "Commit after so long; 0, the default, is without transactions.",
        ),
    ],
};

const CLIENT_ID: &str = "perf-producer-client";
const TRANSACTIONAL_ID: &str = "performance-producer-default-transactional-id";

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    if line.is_empty() {
        return Err(Failure::Help(HELP.to_owned()));
    }
    let args = Args::read_last(USAGE, line)?;
    let topic = args.required("topic")?.to_string();
    let count = args.parsed::<u64>("num-records")?;
    let count = count.ok_or_else(|| args.misuse("argument --num-records is required"))?;
    let throughput = args.parsed::<f64>("throughput")?;
    let throughput = throughput.ok_or_else(|| args.misuse("argument --throughput is required"))?;
    if !args.has("producer-props") && !args.has("producer.config") {
        return Err(args.misuse("Either --producer-props or --producer.config must be specified."));
    }
    let mut payloads = Payloads::read(&args, out)?;
    let duration_ms = args.parsed::<i64>("transaction-duration-ms")?.unwrap_or(0);
    let properties = properties(&args, duration_ms > 0)?;
    let servers = properties.get("bootstrap.servers").unwrap_or_default();
    let mut producer = Producer::connect(servers, &properties).await?;
    let clock = Clock::system();
    let mut stats = Stats::new(&clock, count);
    let mut message = Message {
        topic,
        ..Message::default()
    };
    let start = clock.monotonic_ms();
    let mut began: Option<i64> = None;
    for at in 0..count {
        payloads.fill(&mut message.value, at);
        let bytes = message.value.as_ref().map_or(0, Vec::len) as u64;
        let now = clock.monotonic_ms();
        producer
            .send(&message, now.unsigned_abs() << 32 | bytes & 0xffff_ffff)
            .await?;
        stats.take(&mut producer, out);
        if duration_ms > 0 && now - *began.get_or_insert(now) >= duration_ms {
            producer.commit().await?;
            began = None;
        }
        if throughput > 0.0 {
            pace(&mut producer, &clock, start, at + 1, throughput).await?;
        }
    }
    match began {
        Some(_) => producer.commit().await?,
        None => producer.flush().await?,
    }
    stats.take(&mut producer, out);
    stats.total(out);
    if args.has("print-metrics") {
        let client_id = properties.get("client.id").unwrap_or(CLIENT_ID);
        metrics::print(&metrics::of_producer(&producer, client_id), out);
    }
    Ok(())
}

fn properties(args: &Args, transactions: bool) -> Result<Properties, Failure> {
    let mut made = Properties::load(args.get("producer.config"))?;
    // Kafka: the flag takes all the pairs that follow it.
    for pair in args.all("producer-props").iter().chain(&args.rest) {
        match pair.split('=').collect::<Vec<_>>()[..] {
            [key, value] => made.0.insert(key.to_owned(), value.to_owned()),
            _ => return Err(Failure::said(format!("Invalid property: {pair}"))),
        };
    }
    if transactions {
        let id = args.get("transactional-id").unwrap_or(TRANSACTIONAL_ID);
        made.0.insert("transactional.id".to_owned(), id.to_owned());
    }
    made.0
        .entry("client.id".to_owned())
        .or_insert_with(|| CLIENT_ID.to_owned());
    Ok(made)
}

/// Waits while the test is ahead of its pace, and lets the producer work meanwhile.
async fn pace(
    producer: &mut Producer,
    clock: &Clock,
    start: i64,
    sent: u64,
    throughput: f64,
) -> Result<(), Failure> {
    loop {
        let due_ms = (sent as f64 / throughput * 1000.0) as i64;
        let ahead = start + due_ms - clock.monotonic_ms();
        if ahead <= 0 {
            return Ok(());
        }
        let ahead = std::time::Duration::from_millis(ahead.unsigned_abs());
        if let Ok(woke) = tokio::time::timeout(ahead, producer.wait()).await {
            producer.step(woke).await?;
        }
    }
}

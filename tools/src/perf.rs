//! `kafka-producer-perf-test` and `kafka-consumer-perf-test`: how fast records go in and out.

use base::chance::Chance;
use base::clock::Clock;

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::filter::Filter;
use crate::kafka::consumer::{Consumer, Wanted};
use crate::kafka::producer::{Message, Producer};
use crate::moments::perf_stamp;
use crate::print::Out;
use crate::properties::Properties;
use crate::say;

pub(crate) const PRODUCER: Usage = Usage {
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
        valued(
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
            "Only with transactions, which are not there yet.",
        ),
        valued(
            "transaction-duration-ms",
            "MS",
            "Only 0: transactions are not there yet.",
        ),
    ],
};

pub(crate) async fn producer(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(PRODUCER, line)?;
    let topic = args.required("topic")?.to_string();
    let count = args.parsed::<u64>("num-records")?;
    let count = count.ok_or_else(|| args.misuse("argument --num-records is required"))?;
    let throughput = args.parsed::<f64>("throughput")?;
    let throughput = throughput.ok_or_else(|| args.misuse("argument --throughput is required"))?;
    if args.parsed::<i64>("transaction-duration-ms")?.unwrap_or(0) > 0 {
        return Err(Failure::Absent(
            "transactions of kafka-producer-perf-test".to_string(),
        ));
    }
    if !args.has("producer-props") && !args.has("producer.config") {
        return Err(args.misuse("Either --producer-props or --producer.config must be specified."));
    }
    let mut properties = Properties::load(args.get("producer.config"))?;
    properties.add_pairs(args.all("producer-props"))?;
    // Kafka: the flag takes all the pairs that follow it.
    properties.add_pairs(&args.rest)?;
    let mut payloads = Payloads::read(&args)?;
    let servers = properties
        .get("bootstrap.servers")
        .unwrap_or_default()
        .to_string();
    let mut producer = Producer::connect(&servers, &properties).await?;
    let clock = Clock::system();
    let mut stats = Stats::new(&clock, count);
    let mut message = Message {
        topic,
        ..Message::default()
    };
    let start = clock.monotonic_ms();
    for at in 0..count {
        payloads.fill(&mut message.value, at);
        let bytes = message.value.as_ref().map_or(0, Vec::len) as u64;
        let now = clock.monotonic_ms();
        producer
            .send(&message, now.unsigned_abs() << 32 | bytes & 0xffff_ffff)
            .await?;
        stats.take(&mut producer, out);
        if throughput > 0.0 {
            pace(&mut producer, &clock, start, at + 1, throughput).await?;
        }
    }
    producer.flush().await?;
    stats.take(&mut producer, out);
    stats.total(out);
    if args.has("print-metrics") {
        eprintln!("metrics of the client are not there yet");
    }
    Ok(())
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

/// What is sent: random letters, lines of a file, or numbers.
struct Payloads {
    size: usize,
    list: Vec<Vec<u8>>,
    monotonic: bool,
    chance: Chance,
}

impl Payloads {
    fn read(args: &Args) -> Result<Payloads, Failure> {
        let size = args.parsed::<usize>("record-size")?;
        let monotonic = args.has("payload-monotonic");
        let kinds = [size.is_some(), args.has("payload-file"), monotonic];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            return Err(args.misuse(
                "one of the arguments --record-size --payload-file --payload-monotonic is required",
            ));
        }
        if size == Some(0) {
            return Err(Failure::said(
                "--record-size must be an integer greater than 0",
            ));
        }
        let mut list = Vec::new();
        if let Some(path) = args.get("payload-file") {
            let text = std::fs::read_to_string(path).map_err(|cause| Failure::File {
                act: "read",
                path: path.to_string(),
                cause,
            })?;
            let delimiter = args
                .get("payload-delimiter")
                .unwrap_or("\\n")
                .replace("\\n", "\n");
            list = text
                .split(delimiter.as_str())
                .map(|one| one.as_bytes().to_vec())
                .collect();
            if list.last().is_some_and(Vec::is_empty) {
                list.pop();
            }
            if list.is_empty() {
                return Err(Failure::said(format!(
                    "File does not exist or empty file provided: {path}"
                )));
            }
            say_of_file(path, list.len());
        }
        // The same letters every time, as Apache's has them.
        Ok(Payloads {
            size: size.unwrap_or(0),
            list,
            monotonic,
            chance: Chance::seeded(0),
        })
    }

    fn fill(&mut self, value: &mut Option<Vec<u8>>, at: u64) {
        let value = value.get_or_insert_default();
        if self.monotonic {
            *value = at.to_string().into_bytes();
        } else if !self.list.is_empty() {
            let one = self.chance.below(self.list.len() as u64) as usize;
            value.clone_from(&self.list[one]);
        } else {
            value.resize(self.size, 0);
            for piece in value.chunks_mut(8) {
                let mut random = self.chance.next_u64();
                for byte in piece {
                    *byte = b'A' + (random & 0xff) as u8 % 26;
                    random >>= 8;
                }
            }
        }
    }
}

fn say_of_file(path: &str, count: usize) {
    println!("Reading payloads from: {path}\nNumber of messages read: {count}");
}

const WINDOW_MS: i64 = 5000;

#[derive(Default)]
struct Window {
    count: u64,
    bytes: u64,
    latency: i64,
    latency_max: i64,
    start: i64,
}

struct Stats {
    clock: Clock,
    all: Window,
    window: Window,
    latencies: Vec<i32>,
    sampling: u64,
}

impl Stats {
    fn new(clock: &Clock, count: u64) -> Stats {
        let start = clock.monotonic_ms();
        let window = || Window {
            start,
            ..Window::default()
        };
        let sampling = (count / count.clamp(1, 500_000)).max(1);
        Stats {
            clock: clock.clone(),
            all: window(),
            window: window(),
            latencies: Vec::new(),
            sampling,
        }
    }

    fn take(&mut self, producer: &mut Producer, out: &mut Out) {
        for delivered in producer.delivered() {
            let now = self.clock.monotonic_ms();
            if let Err(error) = &delivered.outcome {
                eprintln!("{error}");
                continue;
            }
            for tag in &delivered.tags {
                let latency = now - (tag >> 32) as i64;
                if self.all.count.is_multiple_of(self.sampling) {
                    self.latencies
                        .push(i32::try_from(latency).unwrap_or(i32::MAX));
                }
                for window in [&mut self.all, &mut self.window] {
                    window.count += 1;
                    window.bytes += tag & 0xffff_ffff;
                    window.latency += latency;
                    window.latency_max = window.latency_max.max(latency);
                }
            }
            if now - self.window.start >= WINDOW_MS {
                self.print_window(now, out);
                self.window = Window {
                    start: now,
                    ..Window::default()
                };
            }
        }
    }

    fn print_window(&self, now: i64, out: &mut Out) {
        let window = &self.window;
        let seconds = (now - window.start) as f64 / 1000.0;
        say!(
            out,
            "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            window.count,
            window.count as f64 / seconds,
            window.bytes as f64 / seconds / 1_048_576.0,
            window.latency as f64 / window.count as f64,
            window.latency_max as f64
        );
        out.flush();
    }

    fn total(&mut self, out: &mut Out) {
        let all = &self.all;
        // A test of less than a millisecond counts as one.
        let seconds = (self.clock.monotonic_ms() - all.start).max(1) as f64 / 1000.0;
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (share * self.latencies.len() as f64) as usize;
            self.latencies.get(index).copied().unwrap_or(0)
        };
        say!(
            out,
            "{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            all.count,
            all.count as f64 / seconds,
            all.bytes as f64 / seconds / 1_048_576.0,
            all.latency as f64 / all.count as f64,
            all.latency_max as f64,
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999)
        );
    }
}

pub(crate) const CONSUMER: Usage = Usage {
    about: "This tool is used to verify the consumer performance.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED unless --broker-list is given.",
        ),
        valued(
            "broker-list",
            "broker-list",
            "DEPRECATED, use --bootstrap-server instead.",
        ),
        valued("topic", "topic", "REQUIRED: The topic to consume from."),
        valued(
            "messages",
            "count",
            "REQUIRED: The number of messages to consume.",
        ),
        valued("group", "gid", "The group id to consume on."),
        valued(
            "fetch-size",
            "size",
            "The amount of data to fetch in a single request.",
        ),
        switch(
            "from-latest",
            "Start with the latest message if there is no committed offset.",
        ),
        valued(
            "socket-buffer-size",
            "size",
            "Accepted; the system sizes the buffers.",
        ),
        valued("threads", "count", "DEPRECATED AND IGNORED."),
        valued("num-fetch-threads", "count", "DEPRECATED AND IGNORED."),
        valued(
            "consumer.config",
            "config file",
            "Consumer properties from a file.",
        ),
        switch("print-metrics", "Print out the metrics."),
        switch(
            "show-detailed-stats",
            "Report each interval, not the whole.",
        ),
        valued(
            "timeout",
            "milliseconds",
            "The longest time between records; 10000 by default.",
        ),
        valued(
            "reporting-interval",
            "interval_ms",
            "Interval of the detailed report; 5000 by default.",
        ),
        valued(
            "date-format",
            "date format",
            "Only the default one, yyyy-MM-dd HH:mm:ss:SSS.",
        ),
        switch("hide-header", "Skip the header."),
    ],
};

pub(crate) async fn consumer(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(CONSUMER, line)?;
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let servers =
        servers.ok_or_else(|| args.misuse("Missing required argument \"[bootstrap-server]\""))?;
    let topic = args.required("topic")?;
    let count = args.parsed::<i64>("messages")?;
    let count = count.ok_or_else(|| args.misuse("Missing required argument \"[messages]\""))?;
    let interval = args.parsed::<i64>("reporting-interval")?.unwrap_or(5000);
    let timeout = args.parsed::<i64>("timeout")?.unwrap_or(10_000);
    let detailed = args.has("show-detailed-stats");
    if args.has("date-format") {
        return Err(Failure::Absent("--date-format".to_string()));
    }
    let mut properties = Properties::load(args.get("consumer.config"))?;
    let mut set = |key: &str, value: String| properties.0.insert(key.to_string(), value);
    let random = Chance::from_kernel().below(100_000);
    let group = args
        .get("group")
        .map_or_else(|| format!("perf-consumer-{random}"), str::to_string);
    set("group.id", group);
    set(
        "auto.offset.reset",
        if args.has("from-latest") {
            "latest"
        } else {
            "earliest"
        }
        .to_string(),
    );
    set(
        "max.partition.fetch.bytes",
        args.get("fetch-size").unwrap_or("1048576").to_string(),
    );
    let wanted = match topic.contains(['*', '|', '[', '+']) {
        true => Wanted::Pattern(Filter::new(topic)?),
        false => Wanted::Topics(vec![topic.to_string()]),
    };
    if !args.has("hide-header") {
        let first = if detailed {
            "time, threadId"
        } else {
            "start.time, end.time"
        };
        say!(
            out,
            "{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
        );
    }
    let clock = Clock::system();
    let start = clock.wall_ms();
    let mut consumer = Consumer::connect(servers, &properties, wanted).await?;
    let (mut seen, mut bytes, mut joined_ms) = (0i64, 0u64, 0i64);
    let mut last = (start, 0i64, 0u64);
    let mut heard = clock.wall_ms();
    while seen < count {
        let Some(taken) = consumer.next(100).await? else {
            let now = clock.wall_ms();
            if consumer.rebalances == 0 {
                joined_ms = now - start;
            }
            if now - heard > timeout {
                break;
            }
            continue;
        };
        seen += 1;
        bytes += (taken.key.map_or(0, |key| key.len()) + taken.value.map_or(0, |value| value.len()))
            as u64;
        if seen % 256 == 1 {
            heard = clock.wall_ms();
            if seen == 1 && joined_ms == 0 {
                joined_ms = heard - start;
            }
            if heard - last.0 >= interval {
                if detailed {
                    progress(out, heard, last, (seen, bytes));
                }
                last = (heard, seen, bytes);
            }
        }
    }
    if seen < count {
        say!(
            out,
            "WARNING: Exiting before consuming the expected number of messages: timeout ({timeout} ms) exceeded. You can use the --timeout option to increase the timeout."
        );
    }
    let end = clock.wall_ms();
    consumer.close().await?;
    if !detailed {
        let (seconds, fetch_ms) = ((end - start) as f64 / 1000.0, end - start - joined_ms);
        let (mb, fetch_seconds) = (bytes as f64 / 1_048_576.0, fetch_ms as f64 / 1000.0);
        say!(
            out,
            "{}, {}, {mb:.4}, {:.4}, {seen}, {:.4}, {joined_ms}, {fetch_ms}, {:.4}, {:.4}",
            perf_stamp(start),
            perf_stamp(end),
            mb / seconds,
            seen as f64 / seconds,
            mb / fetch_seconds,
            seen as f64 / fetch_seconds
        );
    }
    Ok(())
}

fn progress(out: &mut Out, now: i64, last: (i64, i64, u64), all: (i64, u64)) {
    let ms = (now - last.0) as f64;
    let mb = (all.1 - last.2) as f64 / 1_048_576.0;
    let rate = (mb * 1000.0 / ms, (all.0 - last.1) as f64 * 1000.0 / ms);
    say!(
        out,
        "{}, 0, {:.4}, {:.4}, {}, {:.4}, 0, {}, {:.4}, {:.4}",
        perf_stamp(now),
        all.1 as f64 / 1_048_576.0,
        rate.0,
        all.0,
        rate.1,
        now - last.0,
        rate.0,
        rate.1
    );
    out.flush();
}

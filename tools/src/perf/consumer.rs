//! `kafka-consumer-perf-test`: how fast records come out.

use base::chance::Chance;
use base::clock::Clock;

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::filter::Filter;
use crate::kafka::consumer::{Consumer, Wanted};
use crate::moments::perf_stamp;
use crate::perf::metrics;
use crate::print::Out;
use crate::progress::Progress;
use crate::properties::Properties;
use crate::say;

const CLIENT_ID: &str = "perf-consumer-client";

pub(crate) const USAGE: Usage = Usage {
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

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read_last(USAGE, line)?;
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let servers =
        servers.ok_or_else(|| args.misuse("Missing required option(s) [bootstrap-server]"))?;
    if args.has("threads") || args.has("num-fetch-threads") {
        say!(
            out,
            "WARNING: option [threads] and [num-fetch-threads] have been deprecated and will be ignored by the test"
        );
    }
    let topic = args.required("topic")?;
    args.required("messages")?;
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
    let client_id = properties.get("client.id").unwrap_or(CLIENT_ID).to_owned();
    let mut set = |key: &str, value: String| properties.0.insert(key.to_string(), value);
    set("client.id", client_id.clone());
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
    // Kafka: what is there twice is noticed, and the numbers are read, after the header is printed.
    args.once()?;
    let count = args.parsed::<i64>("messages")?.unwrap_or(0);
    let interval = args.parsed::<i64>("reporting-interval")?.unwrap_or(5000);
    if interval <= 0 {
        return Err(Failure::said("Reporting interval must be greater than 0."));
    }
    let poll_max = properties.number("max.poll.records", 500)?;
    let timeout = args.parsed::<i64>("timeout")?.unwrap_or(10_000);
    let clock = Clock::system();
    let start = clock.wall_ms();
    let mut consumer = Consumer::connect(servers, &properties, wanted).await?;
    let (mut seen, mut bytes) = (0i64, 0u64);
    let mut last = (start, 0i64, 0u64);
    let mut progress = Progress::new("messages", count.max(0).unsigned_abs(), start);
    let mut heard = clock.wall_ms();
    while seen < count {
        let Some(taken) = consumer.next(100).await? else {
            let now = clock.wall_ms();
            if now - heard > timeout {
                break;
            }
            continue;
        };
        // Kafka: what one poll brought is counted whole, also past the number that was asked for.
        let mut polled = Some(taken);
        let mut left = poll_max;
        while let Some(taken) = polled {
            seen += 1;
            left -= 1;
            bytes += taken.key.map_or(0, |key| key.len()) as u64;
            bytes += taken.value.map_or(0, |value| value.len()) as u64;
            polled = (left > 0).then(|| consumer.at_hand()).flatten();
        }
        heard = clock.wall_ms();
        progress.at(seen.unsigned_abs(), heard);
        if heard - last.0 >= interval {
            if detailed {
                progress.clear();
                interval_row(out, heard, last, (seen, bytes));
            }
            last = (heard, seen, bytes);
        }
    }
    progress.clear();
    if seen < count {
        say!(
            out,
            "WARNING: Exiting before consuming the expected number of messages: timeout ({timeout} ms) exceeded. You can use the --timeout option to increase the timeout."
        );
    }
    let end = clock.wall_ms();
    let metrics = args
        .has("print-metrics")
        .then(|| metrics::of_consumer(&consumer, &client_id, (end - start, seen, bytes)));
    let joined_ms = consumer.joining_ms;
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
    if let Some(metrics) = metrics {
        metrics::print(&metrics, out);
    }
    Ok(())
}

fn interval_row(out: &mut Out, now: i64, last: (i64, i64, u64), all: (i64, u64)) {
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

//! `kafka-console-producer`: lines of standard input become records.
//!
//! A line it read is never lost silently: at the end of the input it waits until every record is
//! acknowledged, and says on stderr which were not.

mod lines;
mod reader;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::asked::check_servers;
use crate::console_producer::lines::lines;
use crate::console_producer::reader::Reader;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::kafka::producer::Producer;
use crate::print::Out;
use crate::properties::Properties;
use crate::warn;

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to read data from standard input and publish it to Kafka.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED unless --broker-list is given. HOST1:PORT1,HOST2:PORT2.",
        ),
        valued(
            "broker-list",
            "broker-list",
            "DEPRECATED, use --bootstrap-server instead.",
        ),
        valued(
            "topic",
            "topic",
            "REQUIRED: The topic to produce messages to.",
        ),
        switch("sync", "Send messages one at a time as they arrive."),
        valued(
            "compression-codec",
            "?compression-codec",
            "none, gzip, snappy, lz4 or zstd; gzip if no value is given.",
        ),
        valued(
            "batch-size",
            "size",
            "Bytes of a batch, unless --max-partition-memory-bytes is given.",
        ),
        valued(
            "message-send-max-retries",
            "count",
            "Tries before giving a message up (retries).",
        ),
        valued(
            "retry-backoff-ms",
            "ms",
            "Time between tries (retry.backoff.ms).",
        ),
        valued(
            "timeout",
            "timeout_ms",
            "How long a message may wait for others (linger.ms).",
        ),
        valued(
            "request-required-acks",
            "acks",
            "The required acks of the producer requests.",
        ),
        valued(
            "request-timeout-ms",
            "ms",
            "The ack timeout of the producer requests.",
        ),
        valued(
            "metadata-expiry-ms",
            "ms",
            "How often new partitions are looked for (metadata.max.age.ms).",
        ),
        valued(
            "max-block-ms",
            "ms",
            "The max time to block for metadata (max.block.ms).",
        ),
        valued(
            "max-memory-bytes",
            "bytes",
            "Memory for records waiting to be sent (buffer.memory).",
        ),
        valued(
            "max-partition-memory-bytes",
            "bytes",
            "Bytes of a partition's batch (batch.size).",
        ),
        valued(
            "line-reader",
            "reader_class",
            "Only the default one, which reads lines.",
        ),
        valued(
            "socket-buffer-size",
            "size",
            "Accepted; the system sizes the buffers.",
        ),
        repeated(
            "property",
            "prop",
            "parse.key, parse.headers, ignore.error, key.separator, headers.delimiter, headers.separator, headers.key.separator, null.marker.",
        ),
        valued(
            "reader-config",
            "config file",
            "The same properties from a file.",
        ),
        repeated(
            "producer-property",
            "producer_prop",
            "Properties of the producer, key=value.",
        ),
        valued(
            "producer.config",
            "config file",
            "Properties of the producer from a file.",
        ),
    ],
};

/// Flags and the producer's settings they stand for, with the console's own defaults.
const MERGED: [(&str, &str, Option<&str>); 10] = [
    ("timeout", "linger.ms", Some("1000")),
    ("request-required-acks", "acks", Some("-1")),
    ("request-timeout-ms", "request.timeout.ms", Some("1500")),
    ("message-send-max-retries", "retries", Some("3")),
    ("retry-backoff-ms", "retry.backoff.ms", Some("100")),
    ("max-memory-bytes", "buffer.memory", Some("33554432")),
    ("batch-size", "batch.size", Some("16384")),
    ("max-partition-memory-bytes", "batch.size", None),
    ("max-block-ms", "max.block.ms", Some("60000")),
    ("metadata-expiry-ms", "metadata.max.age.ms", None),
];

pub(crate) async fn run(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let Some(servers) = servers else {
        return Err(args.misuse("Missing required option(s) [bootstrap-server]"));
    };
    check_servers(&args, servers)?;
    let topic = args.required("topic")?.to_string();
    if args
        .get("line-reader")
        .is_some_and(|class| !class.ends_with("LineMessageReader"))
    {
        return Err(Failure::Absent(format!(
            "the line reader {}",
            args.get("line-reader").unwrap_or_default()
        )));
    }
    let reader = Reader::read(&args, topic)?;
    let properties = properties(&args)?;
    let mut interrupts = Interrupts::listen()?;
    let mut producer = tokio::select! {
        connected = Producer::connect(servers, &properties) => connected?,
        code = interrupts.next() => return Err(Failure::Exit(code)),
    };
    let mut pouring = Pouring {
        producer: &mut producer,
        reader: &reader,
        sync: args.has("sync"),
        line: 0,
        lost: 0,
        interrupts,
        interrupted: None,
    };
    pouring.run().await
}

fn properties(args: &Args) -> Result<Properties, Failure> {
    let mut made = Properties::load(args.get("producer.config"))?;
    made.add_pairs(args.all("producer-property"))?;
    let codec = match args.get("compression-codec") {
        None => "none",
        Some("") => "gzip",
        Some(name) => name,
    };
    made.0
        .insert("compression.type".to_string(), codec.to_string());
    made.0
        .entry("client.id".to_string())
        .or_insert_with(|| "console-producer".to_string());
    for (flag, key, default) in MERGED {
        if let Some(value) = args.get(flag) {
            made.0.insert(key.to_string(), value.to_string());
        } else if let Some(default) = default {
            made.0
                .entry(key.to_string())
                .or_insert_with(|| default.to_string());
        }
    }
    Ok(made)
}

/// Lines on their way to their topic.
struct Pouring<'a> {
    producer: &'a mut Producer,
    reader: &'a Reader,
    sync: bool,
    line: u64,
    /// Records that were read and not taken.
    lost: usize,
    interrupts: Interrupts,
    interrupted: Option<i32>,
}

impl Pouring<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut lines = lines();
        let mut done = Ok(());
        while done.is_ok() {
            // An interrupt may come while lines are waited for, or while they are sent. What was
            // read already goes out; nothing more is read.
            if self.interrupted.is_some() {
                lines.close();
            }
            tokio::select! {
                biased;
                code = self.interrupts.next(), if self.interrupted.is_none() => {
                    self.interrupted = Some(code);
                }
                batch = lines.recv() => match batch {
                    Some(Ok(batch)) => {
                        done = self.send(batch).await;
                        if done.is_err() {
                            warn!("Nothing behind line {} was sent.", self.line);
                        }
                    }
                    Some(Err(cause)) => done = Err(Failure::reading("standard input")(cause)),
                    None => break,
                },
                woke = self.producer.wait() => done = self.producer.step(woke).await,
            }
            self.report();
        }
        // Who asks a second time does not wait for acknowledgements.
        let flushed = match done {
            Err(Failure::Exit(code)) => Err(Failure::Exit(code)),
            _ => {
                patiently(
                    &mut self.interrupts,
                    &mut self.interrupted,
                    self.producer.flush(),
                )
                .await
            }
        };
        if let Err(Failure::Exit(code)) = flushed {
            self.producer.give_up("ended before it was acknowledged");
            self.report();
            return Err(Failure::Exit(code));
        }
        let done = done.and(flushed);
        if let Err(failure) = &done {
            self.producer.give_up(&failure.to_string());
        }
        self.report();
        done?;
        match (self.interrupted, self.lost) {
            (Some(code), _) => Err(Failure::Exit(code)),
            (None, 0) => Ok(()),
            (None, lost) => Err(Failure::said(format!(
                "{lost} of {} records were not taken",
                self.line
            ))),
        }
    }

    async fn send(&mut self, batch: Vec<Vec<u8>>) -> Result<(), Failure> {
        for line in batch {
            self.line += 1;
            let message = self.reader.message(&line, self.line)?;
            let sending = async {
                self.producer.send(&message, self.line).await?;
                match self.sync {
                    true => self.producer.flush().await,
                    false => Ok(()),
                }
            };
            let sent = patiently(&mut self.interrupts, &mut self.interrupted, sending).await;
            if sent.is_err() {
                warn!(
                    "Error when sending message of line {} to topic {}",
                    self.line, self.reader.topic
                );
            }
            sent?;
        }
        Ok(())
    }

    /// Says which records were not taken.
    fn report(&mut self) {
        for delivered in self.producer.delivered() {
            if let Err(error) = &delivered.outcome {
                self.lost += delivered.tags.len();
                for line in &delivered.tags {
                    warn!(
                        "Error when sending message of line {line} to topic {} with error: {error}",
                        self.reader.topic
                    );
                }
            }
        }
    }
}

/// Works on through the first interrupt, which is remembered, and stops at the second.
async fn patiently(
    interrupts: &mut Interrupts,
    interrupted: &mut Option<i32>,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            code = interrupts.next() => match interrupted {
                None => *interrupted = Some(code),
                Some(_) => return Err(Failure::Exit(code)),
            },
        }
    }
}

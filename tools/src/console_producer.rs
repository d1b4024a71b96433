//! `kafka-console-producer`: lines of standard input become records.
//!
//! A line it read is never lost silently: at the end of the input it waits until every record is
//! acknowledged, and says on stderr which were not.

use std::io::{self, BufRead, IsTerminal};

use tokio::sync::mpsc;

use crate::args::{Args, Usage, switch, valued};
use crate::asked::check_servers;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::kafka::producer::{Message, Producer};
use crate::print::{Out, complain};
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
            "Accepted; leaders are looked up when they move.",
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
        valued(
            "property",
            "prop",
            "parse.key, parse.headers, ignore.error, key.separator, headers.delimiter, headers.separator, headers.key.separator, null.marker.",
        ),
        valued(
            "reader-config",
            "config file",
            "The same properties from a file.",
        ),
        valued(
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
const MERGED: [(&str, &str, Option<&str>); 9] = [
    ("timeout", "linger.ms", Some("1000")),
    ("request-required-acks", "acks", Some("-1")),
    ("request-timeout-ms", "request.timeout.ms", Some("1500")),
    ("message-send-max-retries", "retries", Some("3")),
    ("retry-backoff-ms", "retry.backoff.ms", Some("100")),
    ("max-memory-bytes", "buffer.memory", Some("33554432")),
    ("batch-size", "batch.size", Some("16384")),
    ("max-partition-memory-bytes", "batch.size", None),
    ("max-block-ms", "max.block.ms", Some("60000")),
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
    };
    pouring.run(&mut interrupts).await
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

/// How a line becomes a record.
struct Reader {
    topic: String,
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
}

impl Reader {
    fn read(args: &Args, topic: String) -> Result<Reader, Failure> {
        let mut properties = Properties::load(args.get("reader-config"))?;
        properties.add_pairs(args.all("property"))?;
        let word = |key: &str, default: &str| properties.get(key).unwrap_or(default).to_string();
        let made = Reader {
            topic,
            parse_key: properties.is_true("parse.key", false),
            parse_headers: properties.is_true("parse.headers", false),
            ignore_error: properties.is_true("ignore.error", false),
            key_separator: word("key.separator", "\t"),
            headers_delimiter: word("headers.delimiter", "\t"),
            headers_separator: word("headers.separator", ","),
            headers_key_separator: word("headers.key.separator", ":"),
            null_marker: properties.get("null.marker").map(str::to_string),
        };
        let clash = made.headers_delimiter == made.headers_separator
            || made.headers_separator == made.headers_key_separator
            || made.headers_delimiter == made.headers_key_separator
            || made.parse_key
                && made.headers_delimiter == made.key_separator
                && made.key_separator != "\t";
        if made.parse_headers && clash {
            return Err(Failure::said(
                "headers.delimiter, headers.separator, headers.key.separator and key.separator must differ",
            ));
        }
        Ok(made)
    }

    fn message(&self, line: &[u8], number: u64) -> Result<Message, Failure> {
        let mut message = Message {
            topic: self.topic.clone(),
            ..Message::default()
        };
        let mut rest = line;
        if self.parse_headers {
            match self.cut(rest, &self.headers_delimiter, "headers delimiter", number)? {
                (Some(headers), after) => {
                    message.headers = self.headers(headers, number)?;
                    rest = after;
                }
                (None, after) => rest = after,
            }
        }
        if self.parse_key {
            match self.cut(rest, &self.key_separator, "key separator", number)? {
                (Some(key), after) => {
                    message.key = self.or_null(key);
                    rest = after;
                }
                (None, after) => rest = after,
            }
        }
        message.value = self.or_null(rest);
        Ok(message)
    }

    /// What lies before a mark, and what behind it.
    fn cut<'a>(
        &self,
        text: &'a [u8],
        mark: &str,
        what: &str,
        number: u64,
    ) -> Result<(Option<&'a [u8]>, &'a [u8]), Failure> {
        match find(text, mark.as_bytes()) {
            Some(at) => Ok((Some(&text[..at]), &text[at + mark.len()..])),
            None if self.ignore_error => Ok((None, text)),
            None => Err(Failure::said(format!(
                "No {what} found on line number {number}: '{}'",
                String::from_utf8_lossy(text)
            ))),
        }
    }

    fn headers(
        &self,
        text: &[u8],
        number: u64,
    ) -> Result<Vec<(Vec<u8>, Option<Vec<u8>>)>, Failure> {
        if self
            .null_marker
            .as_deref()
            .is_some_and(|marker| marker.as_bytes() == text)
        {
            return Ok(Vec::new());
        }
        let mut made = Vec::new();
        let text = String::from_utf8_lossy(text);
        for pair in text.split(&self.headers_separator) {
            match pair.split_once(self.headers_key_separator.as_str()) {
                Some((key, value)) => {
                    made.push((key.as_bytes().to_vec(), self.or_null(value.as_bytes())))
                }
                None if self.ignore_error => made.push((pair.as_bytes().to_vec(), None)),
                None => {
                    return Err(Failure::said(format!(
                        "No header key separator found in pair '{pair}' on line number {number}"
                    )));
                }
            }
        }
        Ok(made)
    }

    fn or_null(&self, text: &[u8]) -> Option<Vec<u8>> {
        let null = self
            .null_marker
            .as_deref()
            .is_some_and(|marker| marker.as_bytes() == text);
        (!null).then(|| text.to_vec())
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    (!mark.is_empty()).then(|| text.windows(mark.len()).position(|window| window == mark))?
}

/// Lines read ahead of the producer.
const LINES_AHEAD_MAX: usize = 16;
const LINES_AT_ONCE_MAX: usize = 1024;

/// Reads standard input on a thread of its own: a terminal may be silent for hours.
fn lines() -> mpsc::Receiver<Vec<Vec<u8>>> {
    let (to, from) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        let terminal = io::stdin().is_terminal();
        let mut input = io::BufReader::with_capacity(256 * 1024, io::stdin().lock());
        loop {
            let mut batch = Vec::new();
            if terminal {
                complain(format_args!(">"));
            }
            loop {
                let mut line = Vec::new();
                match input.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => {
                        if !batch.is_empty() {
                            to.blocking_send(batch).ok();
                        }
                        return;
                    }
                    Ok(_) => {}
                }
                if line.last() == Some(&b'\n') {
                    line.pop();
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                }
                batch.push(line);
                let more = input.buffer().contains(&b'\n');
                if !more || batch.len() >= LINES_AT_ONCE_MAX {
                    break;
                }
            }
            if to.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    from
}

/// Lines on their way to their topic.
struct Pouring<'a> {
    producer: &'a mut Producer,
    reader: &'a Reader,
    sync: bool,
    line: u64,
    /// Records that were read and not taken.
    lost: usize,
}

impl Pouring<'_> {
    async fn run(&mut self, interrupts: &mut Interrupts) -> Result<(), Failure> {
        let mut lines = lines();
        let mut interrupted = None;
        let mut done = Ok(());
        while done.is_ok() {
            tokio::select! {
                biased;
                code = interrupts.next(), if interrupted.is_none() => {
                    interrupted = Some(code);
                    // What was read already goes out; nothing more is read.
                    lines.close();
                }
                batch = lines.recv() => match batch {
                    Some(batch) => done = self.send(batch).await,
                    None => break,
                },
                woke = self.producer.wait() => done = self.producer.step(woke).await,
            }
            self.report();
        }
        // Who asks a second time does not wait for acknowledgements.
        tokio::select! {
            flushed = self.producer.flush() => done = done.and(flushed),
            code = interrupts.next() => {
                self.producer.give_up("ended before it was acknowledged");
                self.report();
                return Err(Failure::Exit(code));
            }
        }
        if let Err(failure) = &done {
            self.producer.give_up(&failure.to_string());
        }
        self.report();
        done?;
        match (interrupted, self.lost) {
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
            if let Err(failure) = self.producer.send(&message, self.line).await {
                warn!(
                    "Error when sending message of line {} to topic {}",
                    self.line, self.reader.topic
                );
                return Err(failure);
            }
            if self.sync {
                self.producer.flush().await?;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(pairs: &[&str]) -> Reader {
        let line: Vec<String> = pairs
            .iter()
            .flat_map(|pair| ["--property".to_string(), pair.to_string()])
            .collect();
        let args = Args::read(USAGE, &line).expect("legal");
        Reader::read(&args, "t".to_string()).expect("legal")
    }

    #[test]
    fn lines_become_records_as_apaches_reader_makes_them() {
        let plain = reader(&[]).message(b"a\tb", 1).expect("legal");
        assert_eq!((plain.key, plain.value), (None, Some(b"a\tb".to_vec())));
        let keyed = reader(&["parse.key=true", "key.separator=:", "null.marker=NULL"]);
        let message = keyed.message(b"k:NULL", 1).expect("legal");
        assert_eq!((message.key, message.value), (Some(b"k".to_vec()), None));
        assert_eq!(
            keyed
                .message(b"nothing", 7)
                .expect_err("no separator")
                .to_string(),
            "No key separator found on line number 7: 'nothing'"
        );
        let all = reader(&["parse.key=true", "parse.headers=true"]);
        let message = all.message(b"h1:v1,h2:v2\tkey\tvalue", 1).expect("legal");
        assert_eq!(message.headers.len(), 2);
        assert_eq!(message.headers[1], (b"h2".to_vec(), Some(b"v2".to_vec())));
        assert_eq!(message.key, Some(b"key".to_vec()));
    }
}

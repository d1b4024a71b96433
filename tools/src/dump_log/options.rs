//! The command line of `kafka-dump-log`.

use crate::args::{Flag, switch};
use crate::dump_log::decode::{Decoder, Plain};

const ABOUT: &str = "This tool helps to parse a log file and dump its contents to the console, \
                     useful for debugging a seemingly corrupt log segment.";

/// Name, what its value is, whether the value may be left out, help.
type Row = (&'static str, Option<&'static str>, bool, &'static str);

const ROWS: [Row; 15] = [
    (
        "deep-iteration",
        None,
        false,
        "Uses deep instead of shallow iteration. Set by itself if print-data-log is.",
    ),
    (
        "files",
        Some("file1, file2, ..."),
        false,
        "REQUIRED: the comma separated list of data and index log files to be dumped.",
    ),
    ("help", None, false, "Print usage information."),
    (
        "index-sanity-check",
        None,
        false,
        "Just checks that an index could be used at a start, without printing it.",
    ),
    (
        "key-decoder-class",
        Some("class"),
        true,
        "How keys are shown: String, Long or Integer decoder of org.apache.kafka.tools.api.",
    ),
    (
        "max-bytes",
        Some("size"),
        false,
        "Reads only so many bytes of each .log file. (default: 2147483647)",
    ),
    (
        "max-message-size",
        Some("size"),
        false,
        "Size of the largest message. (default: 5242880)",
    ),
    (
        "offsets-decoder",
        None,
        false,
        "Shows records as those of the __consumer_offsets topic.",
    ),
    (
        "print-data-log",
        None,
        false,
        "Prints the messages' content. Set by itself if any decoder is.",
    ),
    (
        "skip-record-metadata",
        None,
        false,
        "Does not print the metadata of each record.",
    ),
    (
        "transaction-log-decoder",
        None,
        false,
        "Shows records as those of the __transaction_state topic.",
    ),
    (
        "value-decoder-class",
        Some("class"),
        true,
        "How values are shown: as for keys.",
    ),
    (
        "verify-index-only",
        None,
        false,
        "Just verifies an index against its log, without printing it.",
    ),
    ("version", None, false, "Display Kafka version."),
    (
        "cluster-metadata-decoder",
        None,
        false,
        "Not here: clusters of this kind keep their metadata in ZooKeeper.",
    ),
];
/// The same for the shells' completions.
pub(crate) static FLAGS: [Flag; ROWS.len()] = {
    let mut made = [switch("", ""); ROWS.len()];
    let mut at = 0;
    while at < ROWS.len() {
        let (name, value, _, help) = ROWS[at];
        made[at] = Flag {
            value,
            ..switch(name, help)
        };
        at += 1;
    }
    made
};
const REMOTE_DECODER: &str = "remote-log-metadata-decoder";

/// What one run prints.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) files: Vec<String>,
    pub(crate) deep: bool,
    pub(crate) print_content: bool,
    pub(crate) skip_record_metadata: bool,
    pub(crate) verify_only: bool,
    pub(crate) sanity_only: bool,
    pub(crate) max_message_bytes: u64,
    /// `None`: the whole file.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) decoder: Decoder,
    /// What is said first, of names that are old.
    pub(crate) notices: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Wanted {
    Dump(Options),
    /// Help or version.
    Text(String),
}

/// Reads the line; the error is what to say about it, usage included.
pub(crate) fn read(line: &[String]) -> Result<Wanted, String> {
    let given = given(line)?;
    for (at, (name, value)) in given.iter().enumerate() {
        let twice = given[..at].iter().any(|(before, _)| before == name);
        if twice && value.is_some() {
            return Err(format!(
                "Found multiple arguments for option {name}, but you asked for only one\n"
            ));
        }
    }
    let has = |name: &str| given.iter().any(|(known, _)| *known == name);
    let get = |name: &str| {
        given
            .iter()
            .rev()
            .find(|(known, _)| *known == name)?
            .1
            .as_deref()
    };
    if has("help") || line.is_empty() {
        return Ok(Wanted::Text(usage()));
    }
    if has("version") {
        return Ok(Wanted::Text(
            concat!("3.9.2-rotpeter-", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
        ));
    }
    for (flag, why) in [
        (REMOTE_DECODER, "tiered storage is not part of this broker"),
        (
            "cluster-metadata-decoder",
            "there is no metadata log with ZooKeeper",
        ),
    ] {
        if has(flag) {
            return Err(format!("Option --{flag} is not supported: {why}\n"));
        }
    }
    let files = get("files").ok_or_else(|| misuse("Missing required argument \"[files]\""))?;
    let size = |name: &str, default: u64| match get(name) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse::<i32>()
            .map(|size| u64::from(size.max(0).unsigned_abs()))
            .map_err(|_| misuse(&format!("Cannot parse argument '{text}' of option {name}"))),
    };
    let mut notices = Vec::new();
    let decoder = if has("offsets-decoder") {
        Decoder::Offsets
    } else if has("transaction-log-decoder") {
        Decoder::Transactions
    } else {
        let value = plain(get("value-decoder-class"), &mut notices)?;
        Decoder::Plain {
            key: plain(get("key-decoder-class"), &mut notices)?,
            value,
        }
    };
    let any_decoder = [
        "offsets-decoder",
        "transaction-log-decoder",
        "value-decoder-class",
        "key-decoder-class",
    ];
    let print_content = has("print-data-log") || any_decoder.into_iter().any(has);
    let max_bytes = size("max-bytes", i32::MAX as u64)?;
    Ok(Wanted::Dump(Options {
        files: files.split(',').map(str::to_owned).collect(),
        deep: has("deep-iteration") || print_content,
        print_content,
        skip_record_metadata: has("skip-record-metadata"),
        verify_only: has("verify-index-only"),
        sanity_only: has("index-sanity-check"),
        max_message_bytes: size("max-message-size", 5 << 20)?,
        max_bytes: (max_bytes != i32::MAX as u64).then_some(max_bytes),
        decoder,
        notices,
    }))
}

/// The flags of a line with their values.
fn given(line: &[String]) -> Result<Vec<(&str, Option<String>)>, String> {
    let mut given = Vec::new();
    let mut words = line.iter().peekable();
    while let Some(word) = words.next() {
        // Kafka: words that are no flags are passed over.
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            continue;
        };
        let (name, inline) = name
            .split_once('=')
            .map_or((name, None), |(n, v)| (n, Some(v)));
        if name == REMOTE_DECODER {
            given.push((name, None));
            continue;
        }
        let row = ROWS.iter().find(|row| row.0 == name);
        let Some((name, value, optional, _)) = row else {
            return Err(misuse(&format!("{name} is not a recognized option")));
        };
        let value = match (value, inline) {
            (None, _) => None,
            (Some(_), Some(value)) => Some(value.to_owned()),
            (Some(_), None) if *optional => words.next_if(|next| !next.starts_with('-')).cloned(),
            (Some(_), None) => match words.next() {
                Some(value) => Some(value.clone()),
                None => return Err(misuse(&format!("Option {name} requires an argument"))),
            },
        };
        given.push((*name, value));
    }
    Ok(given)
}

/// The decoder a Java class name stands for.
fn plain(class: Option<&str>, notices: &mut Vec<String>) -> Result<Plain, String> {
    let class = class.unwrap_or("org.apache.kafka.tools.api.StringDecoder");
    let (package, name) = class.rsplit_once('.').unwrap_or(("", class));
    let decoder = match name {
        "StringDecoder" => Plain::Text,
        "LongDecoder" => Plain::Long,
        "IntegerDecoder" => Plain::Integer,
        _ => return Err(unknown_decoder(class)),
    };
    match package {
        "kafka.serializer" => notices.push(format!(
            "{class} is deprecated. Please use org.apache.kafka.tools.api.{name} instead"
        )),
        "org.apache.kafka.tools.api" => {}
        _ => return Err(unknown_decoder(class)),
    }
    Ok(decoder)
}

fn unknown_decoder(class: &str) -> String {
    format!(
        "Decoder {class} is not supported: there are no Java classes here; \
         StringDecoder, LongDecoder and IntegerDecoder of org.apache.kafka.tools.api are built in\n"
    )
}

fn misuse(message: &str) -> String {
    format!("{message}\n{}", usage())
}

fn usage() -> String {
    let left = |(name, value, optional, _): &Row| match (value, optional) {
        (None, _) => format!("--{name}"),
        (Some(value), false) => format!("--{name} <{value}>"),
        (Some(value), true) => format!("--{name} [{value}]"),
    };
    let width = ROWS.iter().map(|row| left(row).len()).max().unwrap_or(0);
    let mut text = format!(
        "{ABOUT}\n{:width$}  Description\n{:width$}  -----------\n",
        "Option", "------"
    );
    for row in &ROWS {
        text.push_str(&format!("{:width$}  {}\n", left(row), row.3));
    }
    text
}

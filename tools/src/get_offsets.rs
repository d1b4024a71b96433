//! `kafka-get-offsets`: the first, last or other offsets of partitions.

use protocol::kafka::errors::ErrorCode;
use protocol::names::is_internal;

use crate::args::{Args, Usage, switch, valued};
use crate::asked::check_servers;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::kafka::admin::Admin;
use crate::kafka::offsets::{self, Place};
use crate::print::Out;
use crate::properties::Properties;
use crate::{say, warn};

pub(crate) const USAGE: Usage = Usage {
    about: "An interactive shell for getting topic-partition offsets.",
    flags: &[
        valued(
            "bootstrap-server",
            "HOST1:PORT1,...",
            "REQUIRED. The servers to connect to.",
        ),
        valued(
            "broker-list",
            "HOST1:PORT1,...",
            "DEPRECATED, use --bootstrap-server instead.",
        ),
        valued(
            "topic-partitions",
            "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
            "Patterns of topics and partitions.",
        ),
        valued(
            "topic",
            "topic",
            "The topic, or a regular expression. Not with --topic-partitions.",
        ),
        valued(
            "partitions",
            "partition ids",
            "Comma separated partition ids. Not with --topic-partitions.",
        ),
        valued(
            "time",
            "timestamp / -1 or latest / -2 or earliest / ...",
            "Which offsets: the first record at or after a time, or a special one.",
        ),
        valued(
            "command-config",
            "config file",
            "Properties for the client.",
        ),
        switch("exclude-internal-topics", "Leave out Kafka's own topics."),
    ],
};

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = match Args::read(USAGE, line) {
        Err(Failure::Misuse { message, .. } | Failure::Said(message)) => {
            return Err(Failure::said(format!("Error occurred: {message}")));
        }
        read => read?,
    };
    if line.is_empty() {
        return Err(args.misuse(USAGE.about));
    }
    match fetch(&args, out).await {
        Err(failure @ (Failure::Misuse { .. } | Failure::Exit(_))) => Err(failure),
        Err(failure) => Err(Failure::said(format!("Error occurred: {failure}"))),
        Ok(()) => Ok(()),
    }
}

async fn fetch(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let servers = args.get("bootstrap-server").or(args.get("broker-list"));
    let Some(servers) = servers else {
        return Err(Failure::said(
            "Missing required option(s) [bootstrap-server]",
        ));
    };
    check_servers(args, servers)?;
    if args.has("topic-partitions") && (args.has("topic") || args.has("partitions")) {
        return Err(Failure::said(
            "--topic-partitions cannot be used with --topic or --partitions",
        ));
    }
    let time = time(args.get("time").unwrap_or("latest"))?;
    let rules = match args.get("topic-partitions") {
        Some(list) => list.split(',').map(rule).collect::<Result<Vec<_>, _>>()?,
        None => simple_rules(args)?,
    };
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(servers, &properties).await?;
    let mut wanted: Vec<(Place, i64)> = Vec::new();
    for topic in admin.metadata(None).await?.topics {
        let Some(name) = topic.name.map(|name| name.0.to_string()) else {
            continue;
        };
        if args.has("exclude-internal-topics") && is_internal(&name) {
            continue;
        }
        for partition in topic.partitions {
            if rules
                .iter()
                .any(|rule| rule.allows(&name, partition.partition_index))
            {
                wanted.push(((name.clone(), partition.partition_index), time));
            }
        }
    }
    if wanted.is_empty() {
        return Err(Failure::said(
            "Could not match any topic-partitions with the specified filters",
        ));
    }
    let found = offsets::list(&mut admin, &wanted, false).await?;
    // Kafka: lines come in the order of the text `topic-partition`.
    let mut rows: Vec<(String, Place, i64)> = Vec::new();
    for (place, found) in found {
        let label = format!("{}-{}", place.0, place.1);
        match found {
            Ok(found) if found.offset >= 0 => rows.push((label, place, found.offset)),
            Ok(_) => {}
            Err(error) => skipped(&label, error),
        }
    }
    rows.sort();
    for (_, (topic, partition), offset) in rows {
        say!(out, "{topic}:{partition}:{offset}");
    }
    Ok(())
}

fn skipped(label: &str, error: ErrorCode) {
    let words = error.message().unwrap_or_default();
    warn!(
        "Skip getting offsets for topic-partition {label} due to error: {}: {words}",
        error.exception_class()
    );
}

fn time(word: &str) -> Result<i64, Failure> {
    Ok(match word {
        "latest" => offsets::LATEST,
        "earliest" => offsets::EARLIEST,
        "max-timestamp" => -3,
        "earliest-local" => -4,
        "latest-tiered" => -5,
        number => number.parse().map_err(|_| {
            Failure::said(format!("Malformed time argument {number}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified long format timestamp"))
        })?,
    })
}

/// Which partitions of which topics.
struct Rule {
    topic: Option<Filter>,
    /// From and below.
    from: i32,
    below: i32,
}

impl Rule {
    fn allows(&self, topic: &str, partition: i32) -> bool {
        (self.from..self.below).contains(&partition)
            && self
                .topic
                .as_ref()
                .is_none_or(|filter| filter.allows(topic))
    }
}

fn simple_rules(args: &Args) -> Result<Vec<Rule>, Failure> {
    let topic = || args.get("topic").map(Filter::new).transpose();
    let Some(list) = args.get("partitions").filter(|list| !list.is_empty()) else {
        return Ok(vec![Rule {
            topic: topic()?,
            from: 0,
            below: i32::MAX,
        }]);
    };
    let mut rules = Vec::new();
    for id in list.split(',') {
        let wrong = || {
            Failure::said(format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {list}"
            ))
        };
        let from: i32 = id.trim().parse().map_err(|_| wrong())?;
        rules.push(Rule {
            topic: topic()?,
            from,
            below: from.saturating_add(1),
        });
    }
    Ok(rules)
}

fn rule(text: &str) -> Result<Rule, Failure> {
    let wrong = || Failure::said(format!("Invalid rule specification: {text}"));
    let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
    let topic = match topic {
        "" => None,
        pattern => Some(Filter::new(pattern)?),
    };
    let number = |text: &str| text.trim().parse::<i32>().map_err(|_| wrong());
    let (from, below) = match partitions.split_once('-') {
        None if partitions.is_empty() => (0, i32::MAX),
        None => (number(partitions)?, number(partitions)?.saturating_add(1)),
        Some(("", below)) => (0, number(below)?),
        Some((from, "")) => (number(from)?, i32::MAX),
        Some((from, below)) => (number(from)?, number(below)?),
    };
    Ok(Rule { topic, from, below })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_kafkas() {
        let cases = [
            ("a:1", "a", 1, true),
            ("a:1", "a", 2, false),
            ("a:0-3", "a", 2, true),
            ("a:0-3", "a", 3, false),
            ("a:5-", "a", 900, true),
            (":-3", "b", 2, true),
            ("a.*", "abc", 7, true),
        ];
        for (text, topic, partition, allowed) in cases {
            assert_eq!(
                rule(text).expect("legal").allows(topic, partition),
                allowed,
                "{text}"
            );
        }
        assert!(rule("a:x").is_err());
    }
}

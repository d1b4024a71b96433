//! `--reset-offsets`: where a group will read from next.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{GroupId, OffsetCommitRequest};

use crate::args::Args;
use crate::consumer_groups::describe::describe;
use crate::consumer_groups::{chosen, named_partitions};
use crate::failure::Failure;
use crate::java::{self, CAPACITY};
use crate::kafka::admin::{Admin, text};
use crate::kafka::offsets::{
    self, Committed, EARLIEST, LATEST, Place, commit_codes, commitment, committed,
};
use crate::moments;
use crate::print::Out;
use crate::{body, say, warn};

pub(super) async fn run(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let mut plan: Vec<(String, Vec<(Place, i64)>)> = Vec::new();
    for group in chosen(args, admin).await? {
        let state = describe(admin, &group).await?.group_state.to_string();
        if state != "Empty" && state != "Dead" {
            say!(
                out,
                "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            );
            plan.push((group, Vec::new()));
            continue;
        }
        let places = scope(args, admin, &group).await?;
        let wanted = prepare(args, admin, out, &group, &places).await?;
        if args.has("execute") {
            commit(admin, &group, &wanted).await?;
        }
        let rows: Vec<(Place, i64)> = wanted.into_iter().collect();
        let hash = |row: &(Place, i64)| java::partition_hash(&row.0.0, row.0.1);
        plan.push((group, java::order(rows, CAPACITY, hash)));
    }
    if args.has("export") {
        let single = args.all("group").len() == 1;
        for (group, rows) in &plan {
            for ((topic, partition), offset) in rows {
                match single {
                    true => say!(out, "{topic},{partition},{offset}"),
                    false => say!(out, "{group},{topic},{partition},{offset}"),
                }
            }
        }
        say!(out);
        return Ok(());
    }
    // Kafka: 3.9 prints header and rows without a line's end between them.
    if !plan.is_empty() {
        out.text(format_args!(
            "\n{:<30} {:<30} {:<10} {:<15}",
            "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"
        ));
    }
    for (group, rows) in &plan {
        for ((topic, partition), offset) in rows {
            out.text(format_args!(
                "{group:<30} {topic:<30} {partition:<10} {offset:<15}"
            ));
        }
    }
    Ok(())
}

async fn scope(args: &Args, admin: &mut Admin, group: &str) -> Result<Vec<Place>, Failure> {
    if args.has("all-topics") {
        return Ok(committed(admin, group).await?.into_keys().collect());
    }
    if args.has("topic") {
        // Kafka: the error is wrapped once here.
        let named = named_partitions(admin, args.all("topic")).await;
        return named.map_err(|failure| match failure {
            Failure::Refused { .. } => Failure::said(format!(
                "java.util.concurrent.ExecutionException: {}",
                failure.as_exception()
            )),
            other => other,
        });
    }
    match args.has("from-file") {
        true => Ok(Vec::new()),
        false => {
            Err(args.misuse("One of the reset scopes should be defined: --all-topics, --topic."))
        }
    }
}

async fn prepare(
    args: &Args,
    admin: &mut Admin,
    out: &mut Out,
    group: &str,
    places: &[Place],
) -> Result<BTreeMap<Place, i64>, Failure> {
    if let Some(offset) = args.parsed::<i64>("to-offset")? {
        return within(
            admin,
            places.iter().map(|place| (place.clone(), offset)).collect(),
        )
        .await;
    }
    if args.has("to-earliest") {
        return at(args, admin, places, EARLIEST).await;
    }
    if args.has("to-latest") {
        return at(args, admin, places, LATEST).await;
    }
    if let Some(by) = args.parsed::<i64>("shift-by")? {
        let now = committed(admin, group).await?;
        let mut wanted = BTreeMap::new();
        for place in places {
            let current = now.get(place).ok_or_else(|| {
                args.misuse(format!("Cannot shift offset for partition {}-{} since there is no current committed offset", place.0, place.1))
            })?;
            wanted.insert(place.clone(), current.offset.saturating_add(by));
        }
        return within(admin, wanted).await;
    }
    if let Some(moment) = args.get("to-datetime") {
        let wrong = || {
            let words = match moment.split_once('T') {
                // Kafka: without a zone it is read, and told, as UTC.
                Some((_, time)) if !time.is_empty() => {
                    let zoned = time.contains(['+', '-', 'Z']);
                    let zone = if zoned { "" } else { "Z" };
                    format!("Unparseable date: \"{moment}{zone}\"")
                }
                _ => {
                    "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
                        .to_owned()
                }
            };
            Failure::said(format!("java.text.ParseException: {words}"))
        };
        let timestamp = moments::date_time(moment).ok_or_else(wrong)?;
        return at_time(args, admin, out, places, timestamp).await;
    }
    if let Some(span) = args.get("by-duration") {
        let wrong = || Failure::said("Text cannot be parsed to a Duration");
        let back = moments::duration_ms(span).ok_or_else(wrong)?;
        let timestamp = admin.clock.wall_ms().saturating_sub(back);
        return at_time(args, admin, out, places, timestamp).await;
    }
    if let Some(path) = args.get("from-file") {
        let wanted = from_file(path, group, args.all("group").len() == 1)?;
        if wanted.is_empty() {
            say!(out, "\nError: No reset plan for group {group} found");
        }
        return within(admin, wanted).await;
    }
    if args.has("to-current") {
        let now = committed(admin, group).await?;
        let free: Vec<Place> = places
            .iter()
            .filter(|place| !now.contains_key(place))
            .cloned()
            .collect();
        let mut wanted = at(args, admin, &free, LATEST).await?;
        for place in places {
            if let Some(one) = now.get(place) {
                wanted.insert(place.clone(), one.offset);
            }
        }
        return Ok(wanted);
    }
    Err(args.misuse(format!(
        "Option '[reset-offsets]' requires one of the following scenarios: [{}]",
        super::SCENARIOS.join("], [")
    )))
}

async fn at(
    args: &Args,
    admin: &mut Admin,
    places: &[Place],
    timestamp: i64,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let wanted: Vec<(Place, i64)> = places
        .iter()
        .map(|place| (place.clone(), timestamp))
        .collect();
    let mut made = BTreeMap::new();
    for (place, found) in offsets::list(admin, &wanted, false).await? {
        let end = if timestamp == EARLIEST {
            "starting"
        } else {
            "ending"
        };
        let found = found.map_err(|_| {
            args.misuse(format!(
                "Error getting {end} offset of topic partition: {}-{}",
                place.0, place.1
            ))
        })?;
        made.insert(place, found.offset);
    }
    Ok(made)
}

/// The first record at or after a time; the end where there is none.
async fn at_time(
    args: &Args,
    admin: &mut Admin,
    out: &mut Out,
    places: &[Place],
    timestamp: i64,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let mut made = at(args, admin, places, timestamp).await?;
    let none: Vec<Place> = made
        .iter()
        .filter(|(_, offset)| **offset < 0)
        .map(|(place, _)| place.clone())
        .collect();
    let none = java::order(none, CAPACITY, |place| {
        java::partition_hash(&place.0, place.1)
    });
    for place in &none {
        say!(
            out,
            "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
            place.1,
            place.0
        );
    }
    made.extend(at(args, admin, &none, LATEST).await?);
    Ok(made)
}

/// Offsets brought into what each log has.
async fn within(
    admin: &mut Admin,
    wanted: BTreeMap<Place, i64>,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let ask = |timestamp| {
        wanted
            .keys()
            .map(|place| (place.clone(), timestamp))
            .collect::<Vec<_>>()
    };
    let starts = offsets::list(admin, &ask(EARLIEST), false).await?;
    let ends = offsets::list(admin, &ask(LATEST), false).await?;
    let mut made = BTreeMap::new();
    for (place, offset) in &wanted {
        if let Some(Err(ErrorCode::UnknownTopicOrPartition)) = ends.get(place) {
            let (topic, partition) = place;
            return Err(Failure::said(format!(
                "java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Failed to fetch metadata for partition {topic}-{partition} because metadata for topic `{topic}` could not be found"
            )));
        }
        let start = starts
            .get(place)
            .and_then(|found| found.ok())
            .map_or(0, |found| found.offset);
        let end = ends
            .get(place)
            .and_then(|found| found.ok())
            .map_or(i64::MAX, |found| found.offset);
        let kept = (*offset).clamp(start, end.max(start));
        if *offset > end {
            warn!(
                "New offset ({offset}) is higher than latest offset for topic partition {}-{}. Value will be set to {end}",
                place.0, place.1
            );
        } else if *offset < start {
            warn!(
                "New offset ({offset}) is lower than earliest offset for topic partition {}-{}. Value will be set to {start}",
                place.0, place.1
            );
        }
        made.insert(place.clone(), kept);
    }
    Ok(made)
}

/// `topic,partition,offset` or `group,topic,partition,offset`.
///
/// Kafka: the first line says which form it is, and the other form is tried for one that is neither:
/// `topic,x,offset` is then of the group `topic`.
fn from_file(path: &str, group: &str, single: bool) -> Result<BTreeMap<Place, i64>, Failure> {
    let unreadable = |cause: std::io::Error| {
        let why = format!("java.io.IOException: Unable to read file {path}");
        warn!("{path}: {cause}");
        Failure::said(why)
    };
    let file = std::fs::read_to_string(path).map_err(unreadable)?;
    let rows: Vec<Vec<&str>> = file
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let cells = line.split(',');
            cells.map(|cell| cell.trim().trim_matches('"')).collect()
        })
        .collect();
    // A cell that is not there is empty, and an empty number is 0.
    let number = |cell: Option<&&str>| match cell.map_or("", |cell| cell) {
        "" => Some(0i64),
        digits => digits.parse().ok(),
    };
    let plain = single
        && rows.first().is_some_and(|row| {
            row.len() <= 3 && number(row.get(1)).is_some() && number(row.get(2)).is_some()
        });
    let mut made = BTreeMap::new();
    for row in &rows {
        let wrong = || {
            let line = row.join(",");
            Failure::said(format!("cannot read the line {line} of {path}"))
        };
        let (of, cells) = match plain {
            true => (group, &row[..]),
            false => (row[0], &row[1..]),
        };
        if cells.len() > 3 {
            return Err(wrong());
        }
        let partition = number(cells.get(1)).and_then(|id| i32::try_from(id).ok());
        let partition = partition.ok_or_else(wrong)?;
        let offset = number(cells.get(2)).ok_or_else(wrong)?;
        if of == group {
            let topic = cells.first().map_or("", |topic| topic);
            made.insert((topic.to_owned(), partition), offset);
        }
    }
    Ok(made)
}

async fn commit(
    admin: &mut Admin,
    group: &str,
    wanted: &BTreeMap<Place, i64>,
) -> Result<(), Failure> {
    // Kafka: whoever resets names no epoch.
    let upto = wanted.iter().map(|(place, &offset)| {
        let one = Committed { offset, epoch: -1 };
        (place.clone(), one)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(commitment(&upto.collect()));
    let answer = admin
        .ask_coordinator(group, Api::OffsetCommit, request.into(), commit_codes)
        .await?;
    for topic in body!(answer, OffsetCommit).topics {
        for partition in topic.partitions {
            Failure::check(partition.error_code, None)?;
        }
    }
    Ok(())
}

//! `kafka-consumer-groups`: list, describe, delete groups; reset and delete their offsets.

mod describe;
mod reset;

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::{
    DeleteGroupsRequest, GroupId, ListGroupsRequest, OffsetDeleteRequest, ResponseKind,
};

use crate::args::{Args, Usage, switch, valued};
use crate::failure::Failure;
use crate::java::{self, CAPACITY};
use crate::kafka::admin::{Admin, text, topic_name};
use crate::kafka::offsets::Place;
use crate::print::Out;
use crate::properties::Properties;
use crate::{body, say, warn};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: The server(s) to connect to.",
        ),
        valued("command-config", "file", "Properties for the client."),
        valued(
            "group",
            "consumer group",
            "The consumer group we wish to act on.",
        ),
        switch("all-groups", "Apply to all consumer groups."),
        valued(
            "topic",
            "topic",
            "The topic whose consumer group information should be deleted or reset: topic or topic:0,1,2.",
        ),
        switch(
            "all-topics",
            "Consider all topics assigned to a group in the reset-offsets process.",
        ),
        switch("list", "List all consumer groups."),
        switch(
            "describe",
            "Describe consumer group and list offset lag related to given group.",
        ),
        switch("delete", "Delete entire consumer group."),
        switch("reset-offsets", "Reset offsets of consumer group."),
        switch("delete-offsets", "Delete offsets of consumer group."),
        switch("offsets", "Describe the offsets; this is the default."),
        switch("members", "Describe members of the group."),
        switch("verbose", "Provide more details."),
        valued(
            "state",
            "?state",
            "With --describe: the group's state. With --list: show or filter by it.",
        ),
        valued("type", "?type", "With --list: show or filter by type."),
        valued(
            "timeout",
            "timeout (ms)",
            "How long to wait for a group to settle.",
        ),
        switch("dry-run", "Only show results without executing changes."),
        switch("execute", "Execute operation."),
        switch("export", "Export operation execution to a CSV file."),
        valued("to-offset", "offset", "Reset offsets to a specific offset."),
        valued(
            "from-file",
            "path",
            "Reset offsets to values defined in CSV file.",
        ),
        valued(
            "to-datetime",
            "datetime",
            "Reset offsets to offset from datetime. Format: 'YYYY-MM-DDTHH:mm:SS.sss'",
        ),
        valued(
            "by-duration",
            "duration",
            "Reset offsets to offset by duration from current timestamp. Format: 'PnDTnHnMnS'",
        ),
        switch("to-earliest", "Reset offsets to earliest offset."),
        switch("to-latest", "Reset offsets to latest offset."),
        valued(
            "shift-by",
            "number-of-offsets",
            "Reset offsets shifting current offset by 'n'.",
        ),
        switch("to-current", "Reset offsets to current offset."),
    ],
};

pub(crate) const SCENARIOS: [&str; 8] = [
    "to-offset",
    "from-file",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "shift-by",
    "to-current",
];

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    check(&args)?;
    match by_action(&args, out).await {
        Err(failure @ (Failure::Misuse { .. } | Failure::Exit(_))) => Err(failure),
        // Kafka: prints the error and ends with exit code 0 all the same.
        Err(failure) => {
            let words = match &failure {
                Failure::Refused { .. } => failure.as_exception(),
                other => other.to_string(),
            };
            say!(
                out,
                "\nError: Executing consumer group command failed due to {words}"
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn check(args: &Args) -> Result<(), Failure> {
    args.required("bootstrap-server")?;
    let actions = [
        "list",
        "describe",
        "delete",
        "reset-offsets",
        "delete-offsets",
    ];
    if actions.iter().filter(|action| args.has(action)).count() != 1 {
        return Err(args.misuse(
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets",
        ));
    }
    let named = args.has("group") || args.has("all-groups");
    if args.has("describe") {
        if !named {
            return Err(
                // Kafka: it names its actions here.
                args.misuse("Option [describe] takes one of these options: [reset-offsets], [describe], [delete], [list]")
            );
        }
        if ["members", "offsets", "state"]
            .iter()
            .filter(|one| args.has(one))
            .count()
            > 1
        {
            return Err(args.misuse("Option [describe] takes at most one of these options: [members], [offsets], [state]"));
        }
        if args.get("state").is_some_and(|state| !state.is_empty()) {
            return Err(args.misuse("Option [describe] does not take a value for [state]"));
        }
    }
    if args.has("delete") {
        if !named {
            return Err(
                args.misuse("Option [delete] takes one of these options: [all-groups], [group]")
            );
        }
        if args.has("topic") {
            return Err(args.misuse("The consumer does not support topic-specific offset deletion from a consumer group."));
        }
    }
    if args.has("delete-offsets") && !(args.has("group") && args.has("topic")) {
        return Err(args
            .misuse("Option [delete-offsets] takes the following options: [all-groups], [group]"));
    }
    if args.has("reset-offsets") {
        if args.has("dry-run") && args.has("execute") {
            return Err(
                args.misuse("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
            );
        }
        if !args.has("dry-run") && !args.has("execute") {
            warn!(
                "WARN: No action will be performed as the --execute option is missing.In a future major release, the default behavior of this command will be to prompt the user before executing the reset rather than doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."
            );
        }
        if !named {
            return Err(args.misuse(
                "Option [reset-offsets] takes one of these options: [all-groups], [group]",
            ));
        }
        for scenario in SCENARIOS {
            let others: Vec<&str> = SCENARIOS
                .into_iter()
                .filter(|one| *one != scenario)
                .collect();
            args.exclude(scenario, &others)?;
        }
    }
    args.exclude("group", &["all-groups"])
}

async fn by_action(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
    match () {
        () if args.has("list") => list(args, &mut admin, out).await,
        () if args.has("describe") => describe::run(args, &mut admin, out).await,
        () if args.has("delete") => delete(args, &mut admin, out).await,
        () if args.has("reset-offsets") => reset::run(args, &mut admin, out).await,
        () => delete_offsets(args, &mut admin, out).await,
    }
}

/// A group as brokers list it.
pub(crate) struct Listed {
    pub(crate) id: String,
    state: String,
    kind: String,
}

pub(crate) async fn listed(admin: &mut Admin) -> Result<Vec<Listed>, Failure> {
    let mut made: Vec<Listed> = Vec::new();
    let ids: Vec<i32> = admin.nodes.keys().copied().collect();
    for id in ids {
        let request = ListGroupsRequest::default();
        let answer = body!(
            admin.node(id, Api::ListGroups, request.into()).await?,
            ListGroups
        );
        Failure::check(answer.error_code, None)?;
        for group in answer.groups {
            // Kafka: only groups of consumers, and those that never had a protocol.
            let kind = group.protocol_type.to_string();
            if kind == "consumer" || kind.is_empty() {
                let type_ = group.group_type.to_string();
                made.push(Listed {
                    id: group.group_id.0.to_string(),
                    state: group.group_state.to_string(),
                    kind: if type_.is_empty() {
                        "Unknown".to_string()
                    } else {
                        title(&type_)
                    },
                });
            }
        }
    }
    Ok(java::order(made, CAPACITY, |one| {
        java::string_hash(&one.id)
    }))
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The groups a command acts on.
pub(crate) async fn chosen(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    if args.has("all-groups") {
        return Ok(listed(admin).await?.into_iter().map(|one| one.id).collect());
    }
    Ok(args.all("group").to_vec())
}

async fn list(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let mut groups = listed(admin).await?;
    let (by_type, by_state) = (args.has("type"), args.has("state"));
    if !by_type && !by_state {
        for group in groups {
            say!(out, "{}", group.id);
        }
        return Ok(());
    }
    if let Some(states) = args.get("state").filter(|text| !text.is_empty()) {
        let states = known_states(args, states)?;
        groups.retain(|group| states.contains(&group.state));
    }
    if let Some(types) = args.get("type").filter(|text| !text.is_empty()) {
        let types: Vec<String> = types
            .split(',')
            .map(|one| title(&one.trim().to_lowercase()))
            .collect();
        if types
            .iter()
            .any(|one| !["Classic", "Consumer"].contains(&one.as_str()))
        {
            return Err(args.misuse(format!(
                "Invalid types list '{}'. Valid types are: Consumer, Classic",
                args.get("type").unwrap_or_default()
            )));
        }
        groups.retain(|group| types.contains(&group.kind));
    }
    let width = groups
        .iter()
        .map(|group| group.id.len().max(15))
        .max()
        .unwrap_or(15)
        + 10;
    let mut row = |group: &str, kind: &str, state: &str| {
        out.text(format_args!("{group:<width$}"));
        if by_type {
            out.text(format_args!(" {kind:<20}"));
        }
        if by_state {
            out.text(format_args!(" {state:<20}"));
        }
        say!(out);
    };
    row("GROUP", "TYPE", "STATE");
    for group in &groups {
        row(&group.id, &group.kind, &group.state);
    }
    Ok(())
}

fn known_states(args: &Args, list: &str) -> Result<Vec<String>, Failure> {
    const STATES: [&str; 8] = [
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
        "Empty",
        "Assigning",
        "Reconciling",
        "Unknown",
    ];
    let mut made = Vec::new();
    for word in list.split(',') {
        match STATES
            .iter()
            .find(|state| state.eq_ignore_ascii_case(word.trim()))
        {
            Some(state) if *state != "Unknown" => made.push(state.to_string()),
            _ => {
                return Err(args.misuse(format!(
                    "Invalid state list '{list}'. Valid states are: PreparingRebalance, CompletingRebalance, Stable, Dead, Empty, Assigning, Reconciling"
                )));
            }
        }
    }
    Ok(made)
}

/// Partitions by the form `topic` or `topic:0,1`.
pub(crate) async fn named_partitions(
    admin: &mut Admin,
    topics: &[String],
) -> Result<Vec<Place>, Failure> {
    let mut made = Vec::new();
    for word in topics {
        match word.split_once(':') {
            Some((topic, list)) => {
                for id in list.split(',') {
                    let wrong =
                        || Failure::said(format!("Invalid topic partition argument: {word}"));
                    made.push((topic.to_string(), id.trim().parse().map_err(|_| wrong())?));
                }
            }
            None => {
                let answer = admin.metadata(Some(std::slice::from_ref(word))).await?;
                for topic in answer.topics {
                    Failure::check(topic.error_code, None)?;
                    let mut ids: Vec<i32> = topic
                        .partitions
                        .iter()
                        .map(|partition| partition.partition_index)
                        .collect();
                    ids.sort_unstable();
                    made.extend(ids.into_iter().map(|id| (word.clone(), id)));
                }
            }
        }
    }
    Ok(made)
}

async fn delete(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let groups = chosen(args, admin).await?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for group in &groups {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::DeleteGroups(body) => {
                body.results.iter().map(|one| one.error_code).collect()
            }
            _ => Vec::new(),
        };
        let answer = admin
            .ask_coordinator(group, Api::DeleteGroups, request.into(), codes)
            .await?;
        let results: Vec<DeletableGroupResult> = body!(answer, DeleteGroups).results;
        for result in results {
            match Failure::check(result.error_code, None) {
                Ok(()) => done.push(group.clone()),
                Err(error) => failed.push((group.clone(), error)),
            }
        }
    }
    let done = java::order(done, CAPACITY, |group| java::string_hash(group));
    if failed.is_empty() {
        say!(
            out,
            "Deletion of requested consumer groups ('{}') was successful.",
            done.join(", ")
        );
        return Ok(());
    }
    say!(out, "\nError: Deletion of some consumer groups failed:");
    for (group, error) in failed {
        say!(
            out,
            "* Group '{group}' could not be deleted due to: java.util.concurrent.ExecutionException: {}",
            error.as_exception()
        );
    }
    if !done.is_empty() {
        say!(
            out,
            "\nThese consumer groups were deleted successfully: '{}', '",
            done.join("'")
        );
    }
    Ok(())
}

async fn delete_offsets(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let group = args.required("group")?.to_string();
    let topics = args.all("topic").to_vec();
    let mut rows: BTreeMap<(String, Place), Option<String>> = BTreeMap::new();
    let key = |place: &Place| (format!("{}{}", place.0, place.1), place.clone());
    let mut places = Vec::new();
    for topic in &topics {
        match named_partitions(admin, std::slice::from_ref(topic)).await {
            Ok(found) => places.extend(found),
            Err(error) => {
                rows.insert(key(&(topic.clone(), -1)), Some(error.as_exception()));
            }
        }
    }
    let mut by_topic: BTreeMap<String, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for (topic, partition) in &places {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
        by_topic.entry(topic.clone()).or_default().push(partition);
    }
    let asked = by_topic.into_iter().map(|(name, partitions)| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions)
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_topics(asked.collect());
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::OffsetDelete(body) => vec![body.error_code],
        _ => Vec::new(),
    };
    let answer = admin
        .ask_coordinator(&group, Api::OffsetDelete, request.into(), codes)
        .await?;
    let answer = body!(answer, OffsetDelete);
    let mut top = ErrorCode::of(answer.error_code);
    for place in &places {
        let whole = Failure::check(answer.error_code, None);
        rows.insert(key(place), whole.err().map(|error| error.as_exception()));
    }
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let place = (topic.name.0.to_string(), partition.partition_index);
            let error = Failure::check(partition.error_code, None).err();
            if top.is_none() && error.is_some() {
                top = ErrorCode::of(partition.error_code);
            }
            rows.insert(key(&place), error.map(|error| error.as_exception()));
        }
    }
    say_of_deleted(out, top, &group, &topics);
    out.text(format_args!(
        "\n{:<30} {:<15} {:<15}",
        "TOPIC", "PARTITION", "STATUS"
    ));
    for ((_, (topic, partition)), error) in rows {
        let partition = if partition >= 0 {
            partition.to_string()
        } else {
            "Not Provided".to_string()
        };
        let status = error.map_or("Successful".to_string(), |error| format!("Error: :{error}"));
        out.text(format_args!("{topic:<30} {partition:<15} {status:<15}"));
    }
    Ok(())
}

fn say_of_deleted(out: &mut Out, top: ErrorCode, group: &str, topics: &[String]) {
    match top {
        ErrorCode::None => say!(
            out,
            "Request succeed for deleting offsets with topic {} group {group}",
            topics.join(", ")
        ),
        ErrorCode::InvalidGroupId => say!(out, "\nError: '{group}' is not valid."),
        ErrorCode::GroupIdNotFound => say!(out, "\nError: '{group}' does not exist."),
        ErrorCode::GroupAuthorizationFailed => {
            say!(out, "\nError: Access to '{group}' is not authorized.");
        }
        ErrorCode::NonEmptyGroup => say!(
            out,
            "\nError: Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty."
        ),
        ErrorCode::GroupSubscribedToTopic
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::UnknownTopicOrPartition => {
            say!(
                out,
                "\nError: Encounter some partition level error, see the follow-up details:"
            );
        }
        other => say!(out, "\nError: Encounter some unknown error: {other}"),
    }
}

/// The partitions in a member's assignment, as the consumer protocol writes them.
pub(crate) fn assigned(bytes: &Bytes) -> Vec<Place> {
    crate::kafka::assignors::read_assignment(bytes).unwrap_or_default()
}

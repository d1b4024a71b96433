//! `kafka-consumer-groups`: list, describe, delete groups; reset and delete their offsets.

mod delete;
mod describe;
mod list;
mod reset;

use bytes::Bytes;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::failure::Failure;
use crate::kafka::admin::Admin;
use crate::kafka::offsets::Place;
use crate::print::Out;
use crate::properties::Properties;
use crate::{say, warn};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: The server(s) to connect to.",
        ),
        valued("command-config", "file", "Properties for the client."),
        repeated(
            "group",
            "consumer group",
            "The consumer group we wish to act on.",
        ),
        switch("all-groups", "Apply to all consumer groups."),
        repeated(
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
            "How long to ask again while a group's coordinator is loading or moves; 60000 by default.",
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
    let args = Args::read_last(USAGE, line)?;
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
    args.once()?;
    let mut properties = Properties::load(args.get("command-config"))?;
    if let Some(ms) = args.parsed::<i64>("timeout")? {
        let pair = ("default.api.timeout.ms".to_owned(), ms.to_string());
        properties.0.extend([pair]);
    }
    let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
    match () {
        () if args.has("list") => list::run(args, &mut admin, out).await,
        () if args.has("describe") => describe::run(args, &mut admin, out).await,
        () if args.has("delete") => delete::groups(args, &mut admin, out).await,
        () if args.has("reset-offsets") => reset::run(args, &mut admin, out).await,
        () => delete::offsets(args, &mut admin, out).await,
    }
}

/// The groups a command acts on.
pub(crate) async fn chosen(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    if args.has("all-groups") {
        return Ok(list::listed(admin)
            .await?
            .into_iter()
            .map(|one| one.id)
            .collect());
    }
    Ok(args.all("group").to_vec())
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

/// The partitions in a member's assignment, as the consumer protocol writes them.
pub(crate) fn assigned(bytes: &Bytes) -> Vec<Place> {
    crate::kafka::assignors::read_assignment(bytes).unwrap_or_default()
}

//! `kafka-topics`: list, create, describe, alter and delete topics.

mod change;
mod describe;

use protocol::names::is_internal;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::failure::Failure;
use crate::filter::Filter;
use crate::kafka::admin::Admin;
use crate::print::Out;
use crate::properties::Properties;
use crate::{say, zookeeper};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to create, delete, describe, or change a topic.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: The Kafka server to connect to.",
        ),
        valued(
            "zookeeper",
            "hosts",
            "The ZooKeeper hosts with an optional chroot, instead of --bootstrap-server.",
        ),
        valued(
            "command-config",
            "file",
            "Properties for the client. Used with --bootstrap-server.",
        ),
        switch("list", "List all available topics."),
        switch("create", "Create a new topic."),
        switch("delete", "Delete a topic."),
        switch(
            "alter",
            "Alter the number of partitions and replica assignment.",
        ),
        switch("describe", "List details for the given topics."),
        valued(
            "topic",
            "topic",
            "The topic to create, alter, describe or delete. A regular expression, except with --create.",
        ),
        valued("topic-id", "topic-id", "The id of the topic to describe."),
        repeated(
            "config",
            "name=value",
            "A topic configuration override for the topic being created.",
        ),
        repeated(
            "delete-config",
            "name",
            "An override to remove; with --zookeeper and --alter only.",
        ),
        valued(
            "partitions",
            "# of partitions",
            "The number of partitions for the topic being created or altered.",
        ),
        valued(
            "replication-factor",
            "replication factor",
            "The replication factor of the topic being created.",
        ),
        valued(
            "replica-assignment",
            "1:2,2:3,...",
            "Brokers for each partition's replicas.",
        ),
        switch(
            "under-replicated-partitions",
            "Describe only under-replicated partitions.",
        ),
        switch(
            "unavailable-partitions",
            "Describe only partitions whose leader is not available.",
        ),
        switch(
            "under-min-isr-partitions",
            "Describe only partitions with fewer in-sync replicas than configured.",
        ),
        switch(
            "at-min-isr-partitions",
            "Describe only partitions with exactly as many in-sync replicas as configured.",
        ),
        switch(
            "topics-with-overrides",
            "Describe only topics with overridden configs.",
        ),
        switch(
            "if-exists",
            "Alter, delete or describe only if the topic exists.",
        ),
        switch("if-not-exists", "Create only if the topic does not exist."),
        switch(
            "exclude-internal",
            "Leave out Kafka's own topics when listing or describing.",
        ),
        switch("force", "Ignored; kept for old scripts."),
        switch(
            "disable-rack-aware",
            "Do not spread replicas over racks; with --zookeeper only.",
        ),
        valued(
            "partition-size-limit-per-response",
            "number",
            "Ignored: brokers in ZooKeeper mode have no such limit.",
        ),
    ],
};

const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read_last(USAGE, line)?;
    check(&args)?;
    if args.has("zookeeper") {
        args.once_of(&["zookeeper"])?;
        return zookeeper::topics::run(&args, out).await;
    }
    // Kafka: what it is given to connect with is read before the command begins to fail on stdout.
    args.once_of(&["bootstrap-server", "command-config"])?;
    let properties = Properties::load(args.get("command-config"))?;
    match by_action(&args, &properties, out).await {
        Err(failure @ Failure::Exit(_)) => Err(failure),
        Err(failure) => {
            say!(out, "Error while executing topic command : {failure}");
            Err(Failure::Exit(1))
        }
        Ok(()) => Ok(()),
    }
}

async fn by_action(args: &Args, properties: &Properties, out: &mut Out) -> Result<(), Failure> {
    args.once()?;
    let mut admin = Admin::connect(args.required("bootstrap-server")?, properties).await?;
    match () {
        () if args.has("create") => change::create(args, &mut admin, out).await,
        () if args.has("alter") => change::alter(args, &mut admin).await,
        () if args.has("list") => {
            let names = matching(args, &mut admin).await?;
            say!(out, "{}", names.join("\n"));
            Ok(())
        }
        () if args.has("describe") => describe::run(args, &mut admin, out).await,
        () => change::delete(args, &mut admin).await,
    }
}

fn check(args: &Args) -> Result<(), Failure> {
    if args.whole.is_empty() {
        return Err(args.misuse("Create, delete, describe, or change a topic."));
    }
    let actions = ["create", "list", "alter", "describe", "delete"];
    if actions.iter().filter(|action| args.has(action)).count() != 1 {
        return Err(args.misuse(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ));
    }
    match (args.has("bootstrap-server"), args.has("zookeeper")) {
        (false, false) => return Err(Failure::said("--bootstrap-server must be specified")),
        (true, true) => {
            return Err(Failure::said(
                "Only one of --bootstrap-server or --zookeeper must be specified",
            ));
        }
        _ => {}
    }
    if args.has("describe") && args.has("if-exists") && !args.has("topic") && !args.has("topic-id")
    {
        return Err(args.misuse("--topic or --topic-id is required to describe a topic"));
    }
    if !args.has("list") && !args.has("describe") {
        args.required("topic")?;
    }
    let only = |flag: &str, allowed: &[&str]| {
        let others: Vec<&str> = actions
            .into_iter()
            .filter(|one| !allowed.contains(one))
            .collect();
        args.exclude(flag, &others)
    };
    if args.has("bootstrap-server") {
        if args.has("alter") {
            if args.has("config") {
                return Err(args.misuse(
                    "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (the kafka-configs CLI supports altering topic configs with a --bootstrap-server option)",
                ));
            }
            args.required("partitions")?;
        }
    } else {
        if args.has("create") && !args.has("replica-assignment") {
            args.required("partitions")?;
            args.required("replication-factor")?;
        }
        for report in ["under-min-isr-partitions", "at-min-isr-partitions"] {
            args.exclude(report, &["zookeeper"])?;
        }
    }
    only("delete-config", &["alter"])?;
    if args.has("bootstrap-server") {
        args.exclude("delete-config", &["bootstrap-server"])?;
    }
    only("config", &["alter", "create"])?;
    only("partitions", &["alter", "create"])?;
    only("replication-factor", &["create"])?;
    only("replica-assignment", &["create", "alter"])?;
    if args.has("create") {
        args.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        only(report, &["describe"])?;
        args.exclude(report, &["topics-with-overrides"])?;
    }
    only("topics-with-overrides", &["describe"])?;
    only("if-exists", &["alter", "delete", "describe"])?;
    only("if-not-exists", &["create"])?;
    only("exclude-internal", &["list", "describe"])
}

/// The topics a command speaks of; refused when it names one that is not there.
async fn matching(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let exclude = args.has("exclude-internal");
    let mut names = admin.topic_names(!exclude).await?;
    if let Some(pattern) = args.get("topic") {
        let filter = Filter::new(pattern)?;
        names.retain(|name| filter.allows(name) && !(exclude && is_internal(name)));
    }
    Ok(names)
}

async fn existing(args: &Args, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let names = matching(args, admin).await?;
    match args.get("topic") {
        // Kafka: the words show Java's Optional.
        Some(topic) if names.is_empty() && !topic.is_empty() && !args.has("if-exists") => {
            Err(Failure::said(format!(
                "Topic 'Optional[{topic}]' does not exist as expected"
            )))
        }
        _ => Ok(names),
    }
}

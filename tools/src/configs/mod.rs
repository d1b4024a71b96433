//! `kafka-configs`: describe and alter settings of topics, brokers, users, clients, addresses.

mod resources;
mod credentials;
mod quotas;

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::asked::{Entities, entities};
use crate::failure::Failure;
use crate::kafka::admin::Admin;
use crate::print::Out;
use crate::properties::Properties;
use crate::{say, warn, zookeeper};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip or client-metrics.",
    flags: &[
        valued(
            "bootstrap-server",
            "server to connect to",
            "The Kafka servers to connect to.",
        ),
        valued(
            "zookeeper",
            "urls",
            "The ZooKeeper hosts with an optional chroot, instead of --bootstrap-server.",
        ),
        valued("command-config", "file", "Properties for the client."),
        switch("alter", "Alter the configuration for the entity."),
        switch("describe", "List configs for the given entity."),
        switch("all", "List all configs, defaults too."),
        repeated(
            "entity-type",
            "type",
            "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics).",
        ),
        repeated("entity-name", "name", "Name of entity."),
        switch(
            "entity-default",
            "Default entity name for clients/users/brokers/ips.",
        ),
        valued("add-config", "k1=v1,k2=[v1,v2]", "Configs to add."),
        valued(
            "add-config-file",
            "file",
            "A properties file with configs to add.",
        ),
        repeated("delete-config", "k1,k2", "Configs to remove."),
        switch("force", "Suppress console prompts."),
        valued("topic", "topic", "The topic's name."),
        valued("client", "client", "The client's ID."),
        switch("client-defaults", "The config defaults for all clients."),
        valued("user", "user", "The user's principal name."),
        switch("user-defaults", "The config defaults for all users."),
        valued("broker", "broker", "The broker's ID."),
        switch("broker-defaults", "The config defaults for all brokers."),
        valued(
            "broker-logger",
            "broker",
            "The broker's ID for its logger config.",
        ),
        valued("ip", "ip", "The IP address."),
        switch("ip-defaults", "The config defaults for all IPs."),
    ],
};

/// The entity types that go with a way to the cluster, and how the complaint about another is worded.
struct Allowed {
    types: &'static [&'static str],
    between: &'static str,
    with: &'static str,
}

fn allowed(args: &Args) -> Allowed {
    match (args.has("bootstrap-server"), args.has("zookeeper")) {
        (true, _) => Allowed {
            types: &[
                "topics",
                "clients",
                "users",
                "brokers",
                "ips",
                "broker-loggers",
                "client-metrics",
            ],
            between: ", ",
            with: "a --bootstrap-server or --bootstrap-controller",
        },
        // Kafka: up to 2.8 all that lies in ZooKeeper.
        (false, true) => Allowed {
            types: &["topics", "clients", "users", "brokers", "ips"],
            between: ",",
            with: "the --zookeeper",
        },
        // Kafka: 3.9 thinks of ZooKeeper where nothing is said, and of what is left there.
        (false, false) => Allowed {
            types: &["users", "brokers"],
            between: ", ",
            with: "a --zookeeper",
        },
    }
}

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let done = serve(line, out).await;
    if let Err(Failure::Refused { .. } | Failure::Client(_) | Failure::Znodes(_)) = &done {
        out.flush();
        let line = line.join(" ");
        warn!("Error while executing config command with args '{line}'");
    }
    done
}

async fn serve(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read(USAGE, line)?;
    if line.is_empty() {
        return Err(args.misuse(USAGE.about));
    }
    let entities = entities(&args)?;
    check(&args, &entities)?;
    if args.has("zookeeper") {
        return zookeeper::configs::run(&args, &entities, out).await;
    }
    let properties = Properties::load(args.get("command-config"))?;
    let mut admin = Admin::connect(args.required("bootstrap-server")?, &properties).await?;
    let alter = args.has("alter");
    match entities.types[0].as_str() {
        "users" | "clients" | "ips" if alter => quotas::alter(&args, &mut admin, &entities).await?,
        "users" | "clients" | "ips" => return quotas::describe(&mut admin, &entities, out).await,
        _ if alter => resources::alter(&args, &mut admin, &entities).await?,
        _ => return resources::describe(&args, &mut admin, &entities, out).await,
    }
    // Kafka: of a user and a client together, the last is named, unless it is a default.
    let last = entities.types.len() - 1;
    let named = (0..=last).rev().find(|&at| !entities.names[at].is_empty());
    let told = named.unwrap_or(last);
    let (kind, name) = (&entities.types[told], &entities.names[told]);
    match name.is_empty() {
        false => say!(
            out,
            "Completed updating config for {} {name}.",
            &kind[..kind.len() - 1]
        ),
        true => say!(
            out,
            "Completed updating default config for {kind} in the cluster."
        ),
    }
    Ok(())
}

fn check(args: &Args, entities: &Entities) -> Result<(), Failure> {
    let said = |words: String| Err(Failure::Said(words));
    if ["alter", "describe"]
        .iter()
        .filter(|one| args.has(one))
        .count()
        != 1
    {
        return Err(args.misuse("Command must include exactly one action: --describe, --alter"));
    }
    let Some(first) = entities.types.first() else {
        return said("At least one entity type must be specified".to_string());
    };
    let allowed = allowed(args);
    if let Some(wrong) = entities
        .types
        .iter()
        .find(|one| !allowed.types.contains(&one.as_str()))
    {
        let known = allowed.types.join(allowed.between);
        return said(format!(
            "Invalid entity type {wrong}, the entity type must be one of {known} with {} argument",
            allowed.with
        ));
    }
    if entities.types.len() > 1
        && !entities
            .types
            .iter()
            .all(|one| one == "users" || one == "clients")
    {
        return said(
            "Only 'users' and 'clients' entity types may be specified together".to_string(),
        );
    }
    match (args.has("bootstrap-server"), args.has("zookeeper")) {
        (false, false) => return said("One of the required --bootstrap-server, --boostrap-controller, or --zookeeper arguments must be specified".to_string()),
        (true, true) => return said("Only one of --bootstrap-server, --boostrap-controller, and --zookeeper can be specified".to_string()),
        _ => {}
    }
    if first == "brokers" || first == "broker-loggers" {
        for name in entities.names.iter().filter(|name| !name.is_empty()) {
            if name.parse::<i32>().is_err() {
                return said(format!(
                    "The entity name for {first} must be a valid integer broker id, but it is: {name}"
                ));
            }
        }
    }
    if args.has("describe")
        && first == "ips"
        && entities
            .names
            .iter()
            .any(|name| !name.is_empty() && name.parse::<std::net::IpAddr>().is_err())
    {
        return said(format!(
            "The entity name for ips must be a valid IP or resolvable host, but it is: {}",
            entities.names[0]
        ));
    }
    if args.has("alter") {
        if entities.names.is_empty() {
            return said("an entity-name or default entity must be specified with --alter of users, clients, brokers or topics".to_string());
        }
        if entities.types.len() != entities.names.len() {
            return said("An entity name must be specified for every entity type".to_string());
        }
        if args.has("add-config") && args.has("add-config-file") {
            return said(
                "Only one of --add-config or --add-config-file must be specified".to_string(),
            );
        }
        if !args.has("add-config") && !args.has("add-config-file") && !args.has("delete-config") {
            return said("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".to_string());
        }
    }
    Ok(())
}

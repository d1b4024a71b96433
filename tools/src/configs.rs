//! `kafka-configs`: describe and alter settings of topics, brokers, users, clients, addresses.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig as Whole};
use protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use protocol::messages::describe_client_quotas_request::ComponentData;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResult;
use protocol::messages::describe_user_scram_credentials_request::UserName;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Resource, AlterableConfig,
};
use protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterUserScramCredentialsRequest,
    DescribeClientQuotasRequest, DescribeConfigsRequest, DescribeUserScramCredentialsRequest,
    IncrementalAlterConfigsRequest, RequestKind, ResponseKind,
};

use crate::args::{Args, Usage, switch, valued};
use crate::asked::{Entities, added, deleted, entities};
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text};
use crate::print::Out;
use crate::properties::Properties;
use crate::scram::{Mechanism, Salted};
use crate::{body, say, zookeeper};

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
        valued(
            "entity-type",
            "type",
            "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics).",
        ),
        valued("entity-name", "name", "Name of entity."),
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
        valued("delete-config", "k1,k2", "Configs to remove."),
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
        valued("client-metrics", "name", "The client metrics resource."),
    ],
};

const TYPES: [&str; 7] = [
    "topics",
    "clients",
    "users",
    "brokers",
    "broker-loggers",
    "ips",
    "client-metrics",
];

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let done = serve(line, out).await;
    if let Err(Failure::Refused { .. } | Failure::Client(_) | Failure::Znodes(_)) = &done {
        out.flush();
        let line = line.join(" ");
        eprintln!("Error while executing config command with args '{line}'");
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
        "users" | "clients" | "ips" if alter => alter_quotas(&args, &mut admin, &entities).await?,
        "users" | "clients" | "ips" => return describe_quotas(&mut admin, &entities, out).await,
        _ if alter => alter_resource(&args, &mut admin, &entities).await?,
        _ => return describe_resources(&args, &mut admin, &entities, out).await,
    }
    // Kafka: of a user and a client together, the last is named.
    let last = entities.types.len() - 1;
    let (kind, name) = (&entities.types[last], &entities.names[last]);
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
    if let Some(wrong) = entities
        .types
        .iter()
        .find(|one| !TYPES.contains(&one.as_str()))
    {
        let known = "topics, clients, users, brokers, ips, broker-loggers, client-metrics";
        return said(format!(
            "Invalid entity type {wrong}, the entity type must be one of {known} with a --bootstrap-server or --bootstrap-controller argument"
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

/// The wire's number of an entity type, and the source its own settings come from.
fn resource_type(kind: &str) -> (i8, Option<i8>) {
    match kind {
        "topics" => (2, Some(1)),
        "brokers" => (4, Some(2)),
        "broker-loggers" => (8, None),
        _ => (16, Some(7)),
    }
}

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        _ => "UNKNOWN",
    }
}

async fn fetch(
    admin: &mut Admin,
    kind: &str,
    name: &str,
    synonyms: bool,
) -> Result<DescribeConfigsResult, Failure> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type(kind).0)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(synonyms);
    // A broker answers for itself; anyone answers for topics and defaults.
    let answer = match (kind, name.parse::<i32>()) {
        ("brokers" | "broker-loggers", Ok(id)) => {
            admin.node(id, Api::DescribeConfigs, request.into()).await?
        }
        _ => admin.any(Api::DescribeConfigs, request.into()).await?,
    };
    let mut results = body!(answer, DescribeConfigs).results;
    let result = results
        .pop()
        .ok_or_else(|| Failure::said("no config was described"))?;
    Failure::check(result.error_code, result.error_message.as_deref())?;
    Ok(result)
}

/// The settings an entity has of its own, by name.
async fn own(
    admin: &mut Admin,
    kind: &str,
    name: &str,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut source = resource_type(kind).1;
    if kind == "brokers" && name.is_empty() {
        source = Some(3);
    }
    let result = fetch(admin, kind, name, false).await?;
    let own = result
        .configs
        .into_iter()
        .filter(|entry| source.is_none_or(|source| entry.config_source == source));
    Ok(own
        .map(|entry| {
            (
                entry.name.to_string(),
                entry.value.map(|value| value.to_string()),
            )
        })
        .collect())
}

async fn describe_resources(
    args: &Args,
    admin: &mut Admin,
    entities: &Entities,
    out: &mut Out,
) -> Result<(), Failure> {
    let kind = entities.types[0].as_str();
    let names = match entities.names.first() {
        Some(name) => vec![name.clone()],
        None if kind == "topics" => {
            let names = admin.topic_names(true).await?;
            crate::java::order(names, crate::java::CAPACITY, |name| {
                crate::java::string_hash(name)
            })
        }
        None if kind == "client-metrics" => Vec::new(),
        None => {
            let ids = admin.nodes.keys().map(|id| id.to_string());
            ids.chain([String::new()]).collect()
        }
    };
    let all = args.has("all");
    for name in names {
        match name.is_empty() {
            true => say!(out, "Default configs for {kind} in the cluster are:"),
            false => say!(
                out,
                "{} configs for {} {name} are:",
                if all { "All" } else { "Dynamic" },
                &kind[..kind.len() - 1]
            ),
        }
        let mut source = resource_type(kind).1.filter(|_| !all);
        if kind == "brokers" && name.is_empty() && !all {
            source = Some(3);
        }
        let mut entries = fetch(admin, kind, &name, true).await?.configs;
        entries.retain(|entry| source.is_none_or(|source| entry.config_source == source));
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            let null = |value: &Option<protocol::StrBytes>| {
                value
                    .as_ref()
                    .map_or("null".to_string(), |value| value.to_string())
            };
            let synonyms: Vec<String> = entry
                .synonyms
                .iter()
                .map(|one| {
                    format!(
                        "{}:{}={}",
                        source_name(one.source),
                        &*one.name,
                        null(&one.value)
                    )
                })
                .collect();
            say!(
                out,
                "  {}={} sensitive={} synonyms={{{}}}",
                &*entry.name,
                null(&entry.value),
                entry.is_sensitive,
                synonyms.join(", ")
            );
        }
    }
    Ok(())
}

async fn alter_resource(
    args: &Args,
    admin: &mut Admin,
    entities: &Entities,
) -> Result<(), Failure> {
    let (kind, name) = (entities.types[0].as_str(), entities.names[0].as_str());
    let (add, delete) = (added(args)?, deleted(args));
    let old = own(admin, kind, name).await?;
    let unknown: Vec<&str> = delete
        .iter()
        .filter(|key| !old.contains_key(*key))
        .map(String::as_str)
        .collect();
    if kind == "broker-loggers" {
        let more = add
            .keys()
            .filter(|key| !old.contains_key(*key))
            .map(String::as_str);
        let wrong: Vec<&str> = unknown.iter().copied().chain(more).collect();
        if !wrong.is_empty() {
            return Err(Failure::said(format!(
                "Invalid broker logger(s): {}",
                wrong.join(",")
            )));
        }
    } else if !unknown.is_empty() {
        return Err(Failure::said(format!(
            "Invalid config(s): {}",
            unknown.join(",")
        )));
    }
    if kind == "brokers" {
        return alter_broker(admin, name, old, add, &delete).await;
    }
    let set = add.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(0)
            .with_value(Some(text(value)))
    });
    let unset = delete.iter().map(|key| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(1)
            .with_value(Some(text("")))
    });
    let resource = Resource::default()
        .with_resource_type(resource_type(kind).0)
        .with_resource_name(text(name))
        .with_configs(set.chain(unset).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = to_owner(
        admin,
        kind,
        name,
        Api::IncrementalAlterConfigs,
        request.into(),
    )
    .await?;
    for result in body!(answer, IncrementalAlterConfigs).responses {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

/// Kafka: 3.9 still replaces a broker's dynamic settings as a whole.
async fn alter_broker(
    admin: &mut Admin,
    name: &str,
    old: BTreeMap<String, Option<String>>,
    add: BTreeMap<String, String>,
    delete: &[String],
) -> Result<(), Failure> {
    let mut whole = old;
    whole.extend(add.into_iter().map(|(key, value)| (key, Some(value))));
    whole.retain(|key, _| !delete.contains(key));
    let hidden: Vec<&str> = whole
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| key.as_str())
        .collect();
    if !hidden.is_empty() {
        return Err(Failure::said(format!(
            "All sensitive broker config entries must be specified for --alter, missing entries: Set({})",
            hidden.join(", ")
        )));
    }
    let configs = whole.iter().map(|(key, value)| {
        Whole::default()
            .with_name(text(key))
            .with_value(value.as_deref().map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = to_owner(admin, "brokers", name, Api::AlterConfigs, request.into()).await?;
    for result in body!(answer, AlterConfigs).responses {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

async fn to_owner(
    admin: &mut Admin,
    kind: &str,
    name: &str,
    api: Api,
    request: RequestKind,
) -> Result<ResponseKind, Failure> {
    match (kind, name.parse::<i32>()) {
        ("brokers" | "broker-loggers", Ok(id)) => admin.node(id, api, request).await,
        _ => admin.any(api, request).await,
    }
}

fn quota_entity(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

type Quotas = Vec<(Vec<(String, Option<String>)>, BTreeMap<String, f64>)>;

async fn quotas(admin: &mut Admin, entities: &Entities) -> Result<Quotas, Failure> {
    let components = entities.types.iter().enumerate().map(|(at, kind)| {
        let component = ComponentData::default().with_entity_type(text(quota_entity(kind)));
        match entities.names.get(at).map(String::as_str) {
            Some("") => component.with_match_type(1).with_match(None),
            Some(name) => component.with_match_type(0).with_match(Some(text(name))),
            None => component.with_match_type(2).with_match(None),
        }
    });
    let request = DescribeClientQuotasRequest::default()
        .with_components(components.collect())
        .with_strict(true);
    let answer = admin.any(Api::DescribeClientQuotas, request.into()).await?;
    let answer = body!(answer, DescribeClientQuotas);
    Failure::check(answer.error_code, answer.error_message.as_deref())?;
    let entries = answer.entries.unwrap_or_default().into_iter().map(|entry| {
        let entity = entry.entity.into_iter().map(|one| {
            (
                one.entity_type.to_string(),
                one.entity_name.map(|name| name.to_string()),
            )
        });
        let values = entry
            .values
            .into_iter()
            .map(|one| (one.key.to_string(), one.value));
        (entity.collect(), values.collect())
    });
    Ok(entries.collect())
}

async fn describe_quotas(
    admin: &mut Admin,
    entities: &Entities,
    out: &mut Out,
) -> Result<(), Failure> {
    for (entity, values) in quotas(admin, entities).await? {
        let label = |kind: &str, words: &str| {
            let (_, name) = entity.iter().find(|(one, _)| one == kind)?;
            Some(match name {
                Some(name) => format!("{words} '{name}'"),
                None => format!("the default {words}"),
            })
        };
        let labels = [
            label("user", "user-principal"),
            label("client-id", "client-id"),
            label("ip", "ip"),
        ];
        let labels: Vec<String> = labels.into_iter().flatten().collect();
        let pairs: Vec<(String, f64)> = values.into_iter().collect();
        let pairs = crate::java::order(pairs, crate::java::CAPACITY, |pair| {
            crate::java::string_hash(&pair.0)
        });
        let values: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={}", java_double(*value)))
            .collect();
        say!(
            out,
            "Quota configs for {} are {}",
            labels.join(", "),
            values.join(", ")
        );
    }
    let default = entities.names.iter().any(String::is_empty);
    if entities.types[0] == "users" && !entities.types.contains(&"clients".to_string()) && !default
    {
        describe_scram(admin, entities, out).await?;
    }
    Ok(())
}

/// A number as Java's `Double.toString` writes it.
pub(crate) fn java_double(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
        _ => text,
    }
}

async fn describe_scram(
    admin: &mut Admin,
    entities: &Entities,
    out: &mut Out,
) -> Result<(), Failure> {
    let users = entities
        .names
        .iter()
        .map(|name| UserName::default().with_name(text(name)));
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(users.collect()));
    let answer = admin
        .any(Api::DescribeUserScramCredentials, request.into())
        .await?;
    let answer = body!(answer, DescribeUserScramCredentials);
    Failure::check(answer.error_code, answer.error_message.as_deref())?;
    for result in answer.results {
        let user = result.user.to_string();
        match Failure::check(result.error_code, result.error_message.as_deref()) {
            Err(error) if error.code() == Some(ErrorCode::ResourceNotFound) => {}
            Err(error) => {
                let kind = error.code().map_or("", ErrorCode::exception);
                say!(
                    out,
                    "Error retrieving SCRAM credential configs for user-principal '{user}': {kind}: {error}"
                );
            }
            Ok(()) => {
                let list: Vec<String> = result
                    .credential_infos
                    .iter()
                    .map(|one| {
                        let name = if one.mechanism == 1 {
                            "SCRAM-SHA-256"
                        } else {
                            "SCRAM-SHA-512"
                        };
                        format!("{name}=iterations={}", one.iterations)
                    })
                    .collect();
                say!(
                    out,
                    "SCRAM credential configs for user-principal '{user}' are {}",
                    list.join(", ")
                );
            }
        }
    }
    Ok(())
}

const QUOTA_KEYS: [&str; 5] = [
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
    "connection_creation_rate",
];

/// A user's passwords, salted and hashed here; the broker stores keys made from what it is sent.
async fn alter_scram(
    admin: &mut Admin,
    entities: &Entities,
    add: &BTreeMap<String, String>,
    delete: &[String],
) -> Result<(), Failure> {
    let user = entities.names[0].as_str();
    if user.is_empty() {
        return Err(Failure::said(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.",
        ));
    }
    let mut request = AlterUserScramCredentialsRequest::default();
    for (name, asked) in add {
        if let Some(mechanism) = Mechanism::named(name) {
            let salted = Salted::read(mechanism, asked, name)?;
            request.upsertions.push(
                ScramCredentialUpsertion::default()
                    .with_name(text(user))
                    .with_mechanism(salted.mechanism as i8)
                    .with_iterations(i32::try_from(salted.iterations).unwrap_or(i32::MAX))
                    .with_salt(salted.salt.into())
                    .with_salted_password(salted.password.into()),
            );
        }
    }
    request.deletions = delete
        .iter()
        .filter_map(|name| Mechanism::named(name))
        .map(|mechanism| {
            ScramCredentialDeletion::default()
                .with_name(text(user))
                .with_mechanism(mechanism as i8)
        })
        .collect();
    let api = Api::AlterUserScramCredentials;
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::AlterUserScramCredentials(answer) => {
            answer.results.iter().map(|one| one.error_code).collect()
        }
        _ => Vec::new(),
    };
    let answer = admin.controller(api, request.into(), codes).await?;
    for result in body!(answer, AlterUserScramCredentials).results {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

async fn alter_quotas(args: &Args, admin: &mut Admin, entities: &Entities) -> Result<(), Failure> {
    let (add, delete) = (added(args)?, deleted(args));
    let kinds = entities.types.as_slice();
    let scram = |key: &&String| kinds == ["users"] && Mechanism::named(key).is_some();
    let (keys, legal) = match kinds[0].as_str() {
        "ips" => ("connection quota", &QUOTA_KEYS[4..]),
        "users" if kinds.len() == 1 => ("quota and SCRAM credential", &QUOTA_KEYS[..4]),
        _ => ("quota", &QUOTA_KEYS[..4]),
    };
    let unknown: Vec<&str> = add
        .keys()
        .chain(&delete)
        .filter(|key| !legal.contains(&key.as_str()) && !scram(key))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let first = kinds[0].as_str();
        let list = unknown.join(", ");
        // Kafka: a set as Scala prints it, except for addresses.
        let list = match first {
            "ips" => list,
            _ => format!("Set({list})"),
        };
        return Err(Failure::said(format!(
            "Only {keys} configs can be added for '{first}' using --bootstrap-server. Unexpected config names: {list}"
        )));
    }
    if add.keys().chain(&delete).any(|key| scram(&key)) {
        alter_scram(admin, entities, &add, &delete).await?;
        if !add.keys().chain(&delete).any(|key| !scram(&key)) {
            return Ok(());
        }
    }
    let add: BTreeMap<String, String> = add.into_iter().filter(|(key, _)| !scram(&key)).collect();
    let delete: Vec<String> = delete.into_iter().filter(|key| !scram(&key)).collect();
    let now = quotas(admin, entities)
        .await?
        .into_iter()
        .next()
        .map(|(_, values)| values)
        .unwrap_or_default();
    let absent: Vec<&str> = delete
        .iter()
        .filter(|key| !now.contains_key(*key))
        .map(String::as_str)
        .collect();
    if !absent.is_empty() {
        return Err(Failure::said(format!(
            "Invalid config(s): {}",
            absent.join(",")
        )));
    }
    let mut ops = Vec::new();
    for (key, value) in &add {
        let number: f64 = value.parse().map_err(|_| {
            Failure::said(format!(
                "Cannot parse quota configuration value for {key}: {value}"
            ))
        })?;
        ops.push(
            OpData::default()
                .with_key(text(key))
                .with_value(number)
                .with_remove(false),
        );
    }
    ops.extend(
        delete
            .iter()
            .map(|key| OpData::default().with_key(text(key)).with_remove(true)),
    );
    let entity = entities
        .types
        .iter()
        .zip(&entities.names)
        .map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(text(quota_entity(kind)))
                .with_entity_name((!name.is_empty()).then(|| text(name)))
        });
    let entry = EntryData::default()
        .with_entity(entity.collect())
        .with_ops(ops);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let answer = admin.any(Api::AlterClientQuotas, request.into()).await?;
    for result in body!(answer, AlterClientQuotas).entries {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

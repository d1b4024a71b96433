//! Settings of topics, brokers, loggers and client metrics.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig as Whole};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::DescribeConfigsResult;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Resource, AlterableConfig,
};
use protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, RequestKind,
    ResponseKind,
};

use crate::args::Args;
use crate::asked::{Entities, added, deleted};
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text};
use crate::print::Out;
use crate::{body, say};

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

pub(super) async fn describe(
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

pub(super) async fn alter(
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

//! Quotas of users, clients and addresses.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::describe_client_quotas_request::ComponentData;
use protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use crate::args::Args;
use crate::asked::{Entities, added, deleted};
use crate::configs::credentials;
use crate::failure::Failure;
use crate::java;
use crate::kafka::admin::{Admin, text};
use crate::print::Out;
use crate::scram::Mechanism;
use crate::{body, say};

fn quota_entity(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

/// `ClientQuotaEntity.hashCode`: that of a list with one map, which adds its entries up.
fn entity_hash(entity: &[(String, Option<String>)]) -> i32 {
    let entries = entity.iter().map(|(kind, name)| {
        let name = name.as_deref().map_or(0, java::string_hash);
        java::string_hash(kind) ^ name
    });
    entries.fold(31i32, i32::wrapping_add)
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

pub(super) async fn describe(
    admin: &mut Admin,
    entities: &Entities,
    out: &mut Out,
) -> Result<(), Failure> {
    // Kafka: entities and values come out of hash maps with room for so many of them.
    let all = quotas(admin, entities).await?;
    let count = all.len();
    let all = java::order(all, count, |(entity, _)| entity_hash(entity));
    for (entity, values) in all {
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
        let count = pairs.len();
        let pairs = java::order(pairs, count, |pair| java::string_hash(&pair.0));
        let values: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={}", java::double(*value)))
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
        credentials::describe(admin, entities, out).await?;
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

pub(super) async fn alter(
    args: &Args,
    admin: &mut Admin,
    entities: &Entities,
) -> Result<(), Failure> {
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
        credentials::alter(admin, entities, &add, &delete).await?;
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

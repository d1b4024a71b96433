//! IncrementalAlterConfigs: sets, removes, appends to and takes from single keys.

use std::collections::HashMap;

use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::admin::configs::{Change, Configs, Refusal};
use crate::admin::loggers::{LevelChange, Loggers};
use crate::api::configs::alter_configs::only_topics_and_brokers;
use crate::api::configs::{Resource, broker_id, code_of, shape_fault, text, whose};

const DELETE: i8 = 1;

pub(crate) async fn answer(
    configs: &Configs,
    loggers: &Loggers,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut times: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in &request.resources {
        *times
            .entry((resource.resource_type, resource.resource_name.as_str()))
            .or_default() += 1;
    }
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let twice = times[&(resource.resource_type, resource.resource_name.as_str())] > 1;
        let outcome = if twice {
            Err(Refusal::InvalidRequest(
                "Each resource must appear at most once.".to_owned(),
            ))
        } else {
            alter(configs, loggers, resource, request.validate_only).await
        };
        let answer = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_message(None);
        responses.push(match outcome {
            Ok(()) => answer,
            Err(refusal) => {
                let (code, words) = code_of(&refusal);
                answer
                    .with_error_code(code.code())
                    .with_error_message(words.map(text))
            }
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    configs: &Configs,
    loggers: &Loggers,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let names = resource.configs.iter().map(|config| config.name.as_str());
    let null =
        |config: &&AlterableConfig| config.config_operation != DELETE && config.value.is_none();
    let nulls = resource
        .configs
        .iter()
        .filter(null)
        .map(|config| config.name.as_str());
    if let Some(refusal) = shape_fault(names, nulls) {
        return Err(refusal);
    }
    let name = resource.resource_name.as_str();
    match Resource::of(resource.resource_type) {
        Resource::Topic => {
            let changes = changes(resource, Refusal::no_such_verb)?;
            configs.change_topic(name, &changes, validate_only).await
        }
        Resource::Broker => {
            let whose = whose(name, configs.broker().0)?;
            let unknown = |verb| Refusal::InvalidRequest(format!("Unknown operations type {verb}"));
            configs
                .change_broker(whose, &changes(resource, unknown)?, validate_only)
                .await
        }
        Resource::Logger => logger(loggers, resource, configs.broker().0, validate_only),
        Resource::ClientMetrics => Err(only_topics_and_brokers()),
        Resource::Other(_) => {
            let words = format!("Unknown resource type {}", resource.resource_type);
            Err(Refusal::InvalidRequest(words))
        }
    }
}

fn changes(
    resource: &AlterConfigsResource,
    unknown: impl Fn(i8) -> Refusal,
) -> Result<Vec<(String, Change)>, Refusal> {
    let change = |config: &AlterableConfig| {
        let value = config
            .value
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let change = match config.config_operation {
            0 => Change::Set(value),
            DELETE => Change::Delete,
            2 => Change::Append(value),
            3 => Change::Subtract(value),
            verb => return Err(unknown(verb)),
        };
        Ok((config.name.to_string(), change))
    };
    resource.configs.iter().map(change).collect()
}

/// Kafka: `RuntimeLoggerManager.applyChangesForResource`.
fn logger(
    loggers: &Loggers,
    resource: &AlterConfigsResource,
    here: i32,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = resource.resource_name.as_str();
    let refuse = |words: String| Err(Refusal::InvalidRequest(words));
    match broker_id(name) {
        None => return refuse(format!("Node id must be an integer, but it is: {name}")),
        // Kafka: names the expected id twice.
        Some(id) if id != here => {
            return refuse(format!(
                "Unexpected node id. Expected {here}, but received {here}"
            ));
        }
        Some(_) => {}
    }
    let change = |config: &AlterableConfig| {
        let change = match config.config_operation {
            0 => LevelChange::Set(
                config
                    .value
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ),
            DELETE => LevelChange::Unset,
            2 => LevelChange::Append,
            3 => LevelChange::Subtract,
            other => LevelChange::Other(other),
        };
        (config.name.to_string(), change)
    };
    let changes: Vec<_> = resource.configs.iter().map(change).collect();
    loggers.change(&changes, validate_only)
}

//! AlterConfigs: sets the whole of a resource's overrides, as old tools do.

use std::collections::HashMap;

use protocol::messages::alter_configs_request::AlterConfigsResource;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::admin::configs::{Configs, Refusal, overrides_of};
use crate::api::configs::{Resource, code_of, shape_fault, text, whose};

pub(crate) async fn answer(
    configs: &Configs,
    request: &AlterConfigsRequest,
) -> AlterConfigsResponse {
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
            alter(configs, resource, request.validate_only).await
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
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    configs: &Configs,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let names = resource.configs.iter().map(|config| config.name.as_str());
    let nulls = resource
        .configs
        .iter()
        .filter(|config| config.value.is_none());
    if let Some(refusal) = shape_fault(names, nulls.map(|config| config.name.as_str())) {
        return Err(refusal);
    }
    let pair = |config: &protocol::messages::alter_configs_request::AlterableConfig| {
        Some((config.name.to_string(), config.value.as_ref()?.to_string()))
    };
    let overrides = overrides_of(resource.configs.iter().filter_map(pair));
    let name = resource.resource_name.as_str();
    match Resource::of(resource.resource_type) {
        Resource::Topic => configs.replace_topic(name, overrides, validate_only).await,
        Resource::Broker => {
            let whose = whose(name, configs.broker().0)?;
            configs
                .replace_broker(whose, overrides, validate_only)
                .await
        }
        Resource::ClientMetrics => Err(only_topics_and_brokers()),
        Resource::Logger | Resource::Other(_) => {
            let words = format!("Unknown resource type {}", resource.resource_type);
            Err(Refusal::InvalidRequest(words))
        }
    }
}

/// Kafka: subscriptions of client metrics need KRaft.
pub(crate) fn only_topics_and_brokers() -> Refusal {
    Refusal::InvalidRequest(
        "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS"
            .to_owned(),
    )
}

//! DescribeConfigs: every key of a topic or of this broker, its value and where that came from.

use std::collections::HashSet;

use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use settings::layers::Source;

use crate::admin::configs::{Configs, Described, Refusal, Whose};
use crate::admin::loggers::Loggers;
use crate::api::configs::{Resource, broker_id, code_of, text};
use crate::api::request::Context;

/// So many rows go into one answer, some hundred bytes each: all topics of a large cluster, and not
/// what a frame of a hundred thousand short names could make of one topic.
const ROWS_MAX: usize = 1_000_000;

pub(crate) async fn answer(
    context: &Context,
    configs: &Configs,
    loggers: &Loggers,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let other =
        request
            .resources
            .iter()
            .find_map(|resource| match Resource::of(resource.resource_type) {
                Resource::Other(_) => Some(()),
                _ => None,
            });
    let mut results = Vec::with_capacity(request.resources.len());
    let mut rows = 0;
    for resource in &request.resources {
        // Kafka: one resource of a kind that cannot be described spoils the whole request.
        let lines = match other {
            Some(()) => Err(Refusal::InvalidRequest(
                ErrorCode::InvalidRequest
                    .message()
                    .unwrap_or_default()
                    .to_owned(),
            )),
            None if rows > ROWS_MAX => Err(Refusal::InvalidRequest(format!(
                "More than {ROWS_MAX} configs are asked for at once"
            ))),
            None => describe(configs, loggers, resource).await,
        };
        rows += lines.as_ref().map_or(0, Vec::len);
        results.push(result(context.version, request, resource, lines));
    }
    DescribeConfigsResponse::default().with_results(results)
}

async fn describe(
    configs: &Configs,
    loggers: &Loggers,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, Refusal> {
    let name = resource.resource_name.as_str();
    let here = configs.broker().0;
    let refuse = |words: String| Err(Refusal::InvalidRequest(words));
    match Resource::of(resource.resource_type) {
        Resource::Topic => configs.describe_topic(name).await,
        Resource::Broker if name.is_empty() => Ok(configs.describe_broker(Whose::Cluster)),
        Resource::Logger if name.is_empty() => refuse("Broker id must not be empty".to_owned()),
        Resource::Broker | Resource::Logger => match (broker_id(name), resource.resource_type) {
            (None, _) => refuse(format!("Broker id must be an integer, but it is: {name}")),
            (Some(id), 4) if id != here => refuse(format!(
                "Unexpected broker id, expected {here} or empty string, but received {name}"
            )),
            (Some(id), _) if id != here => refuse(format!(
                "Unexpected broker id, expected {here} but received {name}"
            )),
            (Some(_), 4) => Ok(configs.describe_broker(Whose::Broker)),
            (Some(_), _) => Ok(loggers.describe()),
        },
        Resource::ClientMetrics if name.is_empty() => {
            refuse("Client metrics subscription name must not be empty".to_owned())
        }
        Resource::ClientMetrics => {
            refuse("Config type client-metrics is only supported on KRaft clusters".to_owned())
        }
        Resource::Other(kind) => refuse(format!(
            "Unexpected resource type {kind} for resource {name}"
        )),
    }
}

fn result(
    version: i16,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    lines: Result<Vec<Described>, Refusal>,
) -> DescribeConfigsResult {
    let answer = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone());
    match lines {
        Ok(lines) => {
            let wanted = resource.configuration_keys.as_deref().unwrap_or_default();
            let wanted: HashSet<&str> = wanted.iter().map(|name| name.as_str()).collect();
            let asked = |line: &Described| wanted.is_empty() || wanted.contains(&*line.name);
            let configs = lines
                .into_iter()
                .filter(asked)
                .map(|line| row(version, request, line));
            answer.with_configs(configs.collect())
        }
        // Kafka: a topic that is not there has a code and no words of its own.
        Err(Refusal::UnknownTopic(_)) => {
            answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code())
        }
        Err(refusal) => {
            let (code, words) = code_of(&refusal);
            answer
                .with_error_code(code.code())
                .with_error_message(words.map(text))
        }
    }
}

fn row(
    version: i16,
    request: &DescribeConfigsRequest,
    line: Described,
) -> DescribeConfigsResourceResult {
    let synonym = |synonym: settings::layers::Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(synonym.value.map(text))
            .with_source(synonym.source.wire())
    };
    let mut row = DescribeConfigsResourceResult::default()
        .with_name(text(line.name))
        .with_value(line.value.map(text))
        .with_read_only(line.read_only)
        .with_is_sensitive(line.sensitive);
    if version == 0 {
        // Kafka: version 0 never calls anything a default.
        let _unused: Source = line.source;
    } else {
        row.config_source = line.source.wire();
        if request.include_synonyms {
            row.synonyms = line.synonyms.into_iter().map(synonym).collect();
        }
    }
    if version >= 3 {
        row.config_type = line.kind.map_or(0, settings::value::Kind::wire);
        row.documentation = if request.include_documentation {
            line.doc.map(text)
        } else {
            None
        };
    }
    row
}

//! CreateTopics: written by the controller's broker, answered once the topics are led.

use std::collections::HashMap;

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use protocol::names::CLUSTER_METADATA;

use crate::admin::configs::{Configs, Described};
use crate::admin::topics::{Refusal, Topics, Wanted};
use crate::api::request::Context;
use crate::api::toll::Mutations;
use crate::api::topics::too_many;

/// Since this version the answer tells what each topic obeys.
const TELLS_CONFIGS_SINCE: i16 = 5;

pub(crate) async fn answer(
    context: &Context,
    (topics, configs): (&Topics, &Configs),
    controller: &ControllerHandle,
    mut mutations: Mutations<'_>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    let mut made = Vec::new();
    for topic in &request.topics {
        let blank = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_error_message(None)
            .with_configs(Some(vec![]));
        let outcome = if !controller.is_active() {
            Err(Refusal {
                code: ErrorCode::NotController,
                text: None,
            })
        } else if topic.name.as_str() == CLUSTER_METADATA {
            let text = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
            Err(Refusal {
                code: ErrorCode::InvalidRequest,
                text: Some(text),
            })
        } else if counts
            .get(topic.name.as_str())
            .is_some_and(|count| *count > 1)
        {
            let text = "Found multiple entries for this topic.".to_owned();
            Err(Refusal {
                code: ErrorCode::InvalidRequest,
                text: Some(text),
            })
        } else {
            let asked = wanted(topic);
            match afford(topics, &asked, request.validate_only, &mut mutations).await {
                Ok(()) => topics.create(&asked, request.validate_only).await,
                Err(refusal) => Err(refusal),
            }
        };
        match outcome {
            Ok(told) => {
                made.push(topic.name.to_string());
                results.push(
                    blank
                        .with_topic_id(told.id.0)
                        .with_num_partitions(told.partitions)
                        .with_replication_factor(told.replication_factor),
                );
            }
            Err(refusal) => results.push(
                blank
                    .with_error_code(refusal.code.code())
                    .with_error_message(refusal.text.map(StrBytes::from_string)),
            ),
        }
    }
    if request.validate_only && context.version >= TELLS_CONFIGS_SINCE {
        for (result, topic) in results.iter_mut().zip(&request.topics) {
            if result.error_code == 0 {
                let overrides = wanted(topic).configs;
                let overrides = overrides
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value?)));
                let lines = configs.describe_wanted(&overrides.collect());
                result.configs = Some(lines.into_iter().map(told).collect());
            }
        }
    }
    let throttle_time_ms = mutations.throttle_time_ms();
    if request.validate_only || made.is_empty() {
        return CreateTopicsResponse::default()
            .with_throttle_time_ms(throttle_time_ms)
            .with_topics(results);
    }
    let timeout_ms = request.timeout_ms;
    drop((request, counts));
    context.drawn.give_back();
    let led = topics.wait_for_each(timeout_ms, &made, |image, name| {
        image.topic(name).is_some_and(|topic| {
            let mut partitions = topic.partitions.values();
            partitions.all(|partition| partition.leader.0 >= 0)
        })
    });
    let written = results.iter_mut().filter(|result| result.error_code == 0);
    for (result, led) in written.zip(led.await) {
        if !led {
            *result = CreatableTopicResult::default()
                .with_name(result.name.clone())
                .with_topic_id(result.topic_id)
                .with_error_code(ErrorCode::RequestTimedOut.code())
                .with_error_message(None)
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(Some(vec![]));
        } else if context.version >= TELLS_CONFIGS_SINCE
            && let Ok(lines) = configs.describe_topic(result.name.as_str()).await
        {
            result.configs = Some(lines.into_iter().map(told).collect());
        }
    }
    CreateTopicsResponse::default()
        .with_throttle_time_ms(throttle_time_ms)
        .with_topics(results)
}

/// Whether the client may make so many partitions now. Kafka: only a topic that could be made is
/// charged.
async fn afford(
    topics: &Topics,
    asked: &Wanted,
    check_only: bool,
    mutations: &mut Mutations<'_>,
) -> Result<(), Refusal> {
    if check_only || !mutations.are_limited() {
        return Ok(());
    }
    let checked = topics.create(asked, true).await?;
    let partitions = usize::try_from(checked.partitions).unwrap_or(0);
    mutations.record(partitions).map_err(too_many)
}

fn told(line: Described) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(StrBytes::from_string(line.name))
        .with_value(line.value.map(StrBytes::from_string))
        .with_read_only(line.read_only)
        .with_config_source(line.source.wire())
        .with_is_sensitive(line.sensitive)
}

fn wanted(topic: &CreatableTopic) -> Wanted {
    Wanted {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|one| {
                (
                    one.partition_index,
                    one.broker_ids.iter().map(|id| id.0).collect(),
                )
            })
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|one| {
                (
                    one.name.to_string(),
                    one.value.as_ref().map(ToString::to_string),
                )
            })
            .collect(),
    }
}

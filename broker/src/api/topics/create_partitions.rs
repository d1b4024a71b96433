//! CreatePartitions: topics grow; answered once the new partitions are led.

use std::collections::HashMap;

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use crate::admin::topics::{Refusal, Topics};
use crate::api::request::Context;
use crate::api::toll::Mutations;
use crate::api::topics::too_many;
use crate::metadata::Image;

pub(crate) async fn answer(
    context: &Context,
    topics: &Topics,
    image: &Image,
    controller: &ControllerHandle,
    mut mutations: Mutations<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut counts: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    let mut grown = Vec::new();
    for topic in &request.topics {
        let name = topic.name.as_str();
        // Kafka: one that is named more often is refused once.
        let Some(count) = counts.remove(&topic.name) else {
            continue;
        };
        let twice = count > 1;
        let outcome = if !controller.is_active() {
            Err(Refusal {
                code: ErrorCode::NotController,
                text: None,
            })
        } else if twice {
            let text = "Duplicate topic in request.".to_owned();
            Err(Refusal {
                code: ErrorCode::InvalidRequest,
                text: Some(text),
            })
        } else {
            let given: Option<Vec<Vec<i32>>> = topic.assignments.as_ref().map(|lists| {
                lists
                    .iter()
                    .map(|list| list.broker_ids.iter().map(|id| id.0).collect())
                    .collect()
            });
            let mut afforded = Ok(());
            if !request.validate_only && mutations.are_limited() {
                afforded = topics.grow(name, topic.count, given.clone(), true).await;
                if afforded.is_ok() {
                    let now = image.topic(name).map_or(0, |topic| topic.partitions.len());
                    let count = usize::try_from(topic.count).unwrap_or(0);
                    afforded = mutations
                        .record(count.saturating_sub(now))
                        .map_err(too_many);
                }
            }
            match afforded {
                Ok(()) => {
                    topics
                        .grow(name, topic.count, given, request.validate_only)
                        .await
                }
                refused => refused,
            }
        };
        // Kafka: a name that makes no path ends the whole request, when others have grown already.
        if let Err(refusal) = &outcome
            && refusal.is_silent()
        {
            return refused_whole(&request);
        }
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match outcome {
            Ok(()) => {
                grown.push((name.to_owned(), topic.count));
                result
            }
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(refusal.text.map(StrBytes::from_string)),
        });
    }
    let (validate_only, timeout_ms) = (request.validate_only, request.timeout_ms);
    drop(request);
    context.drawn.give_back();
    if !validate_only && !grown.is_empty() {
        let led = topics.wait_for_each(timeout_ms, &grown, |image, (name, count)| {
            (0..*count).all(|index| {
                let partition = image.partition(name, index);
                partition.is_some_and(|held| held.leader.0 >= 0)
            })
        });
        let written = results.iter_mut().filter(|result| result.error_code == 0);
        for (result, led) in written.zip(led.await) {
            if !led {
                result.error_code = ErrorCode::RequestTimedOut.code();
            }
        }
    }
    CreatePartitionsResponse::default()
        .with_throttle_time_ms(mutations.throttle_time_ms())
        .with_results(results)
}

fn refused_whole(request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let code = ErrorCode::UnknownServerError;
    let refused = request.topics.iter().map(|topic| {
        CreatePartitionsTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code.code())
            .with_error_message(None)
    });
    CreatePartitionsResponse::default().with_results(refused.collect())
}

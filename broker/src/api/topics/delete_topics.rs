//! DeleteTopics: marks topics, and answers once they are gone from the cluster's metadata.

use std::collections::BTreeSet;

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::ids::TopicId;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::admin::topics::{Refusal, Topics};
use crate::api::request::Context;
use crate::api::toll::Mutations;
use crate::metadata::Image;
use crate::peer::spelling::topic_name;

pub(crate) async fn answer(
    context: &Context,
    image: &Image,
    (topics, controller): (&Topics, &ControllerHandle),
    mut mutations: Mutations<'_>,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = if context.version >= 6 {
        request.topics
    } else {
        let named = |name| DeleteTopicState::default().with_name(Some(name));
        request.topic_names.into_iter().map(named).collect()
    };
    let both = |one: &DeleteTopicState| one.name.is_some() && !one.topic_id.is_nil();
    // Kafka: one such entry spoils the whole request.
    let malformed = asked.iter().any(both);
    let mut results = Vec::with_capacity(asked.len());
    let mut gone = BTreeSet::new();
    for one in asked {
        let result = DeletableTopicResult::default()
            .with_name(one.name.clone())
            .with_topic_id(one.topic_id);
        let refused = |code: ErrorCode| result.clone().with_error_code(code.code());
        if !controller.is_active() {
            results.push(refused(ErrorCode::NotController));
            continue;
        }
        if malformed {
            results.push(refused(ErrorCode::InvalidRequest));
            continue;
        }
        let name = match &one.name {
            Some(name) => Some(name.to_string()),
            None => image
                .topic_by_id(TopicId(one.topic_id))
                .map(|topic| topic.name.to_string()),
        };
        let Some(name) = name else {
            // Kafka: what has neither name nor id is nobody's to describe.
            let code = match one.topic_id.is_nil() {
                true => ErrorCode::TopicAuthorizationFailed,
                false => ErrorCode::UnknownTopicId,
            };
            results.push(refused(code));
            continue;
        };
        let partitions = image.topic(&name).map_or(0, |topic| topic.partitions.len());
        let deleted = match mutations.record(partitions) {
            // Kafka: what is named twice is deleted once.
            Ok(()) if gone.contains(&name) => Ok(()),
            Ok(()) => topics.delete(&name).await,
            // Kafka: this door tells the code alone.
            Err(_exceeded) => Err(Refusal {
                code: ErrorCode::ThrottlingQuotaExceeded,
                text: None,
            }),
        };
        match deleted {
            Ok(()) => {
                // Kafka: the id is told only to those who asked by it.
                results.push(result.with_name(Some(topic_name(&name))));
                gone.insert(name);
            }
            Err(refusal) => {
                let text = refusal.text.map(StrBytes::from_string);
                results.push(refused(refusal.code).with_error_message(text));
            }
        }
    }
    // What was asked is used up by now.
    context.drawn.give_back();
    if !gone.is_empty() {
        // Kafka: with no time to wait nothing is looked at, however soon it is done.
        let done = request.timeout_ms > 0
            && topics
                .wait_until(request.timeout_ms, |image| {
                    gone.iter().all(|name| image.topic(name).is_none())
                })
                .await;
        for result in results
            .iter_mut()
            .filter(|result| result.error_code == 0 && !done)
        {
            result.error_code = ErrorCode::RequestTimedOut.code();
        }
    }
    DeleteTopicsResponse::default()
        .with_throttle_time_ms(mutations.throttle_time_ms())
        .with_responses(results)
}

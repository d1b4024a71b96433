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

/// Since this version there is a code for a broker that deletes no topics.
const TELLS_DISABLED_SINCE: i16 = 3;

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
    let (mut tried, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for one in asked {
        let result = DeletableTopicResult::default()
            .with_name(one.name.clone())
            .with_topic_id(one.topic_id);
        let refused = |code: ErrorCode| result.clone().with_error_code(code.code());
        if !controller.is_active() {
            results.push(refused(ErrorCode::NotController));
            continue;
        }
        if !topics.may_be_deleted() {
            let code = match context.version {
                0..TELLS_DISABLED_SINCE => ErrorCode::InvalidRequest,
                _ => ErrorCode::TopicDeletionDisabled,
            };
            results.push(refused(code));
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
        let deleted = match image.topic(&name) {
            None => topics.delete(&name).await,
            // Kafka: what is named twice is deleted once, and only the first hears of a refusal.
            Some(_) if !tried.insert(name.clone()) => Ok(()),
            Some(topic) => match mutations.record(topic.partitions.len()) {
                Ok(()) => topics.delete(&name).await,
                // Kafka: this door tells the code alone.
                Err(_exceeded) => Err(Refusal {
                    code: ErrorCode::ThrottlingQuotaExceeded,
                    text: None,
                }),
            },
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
        let gone: Vec<String> = gone.into_iter().collect();
        let done = topics.wait_for_each(request.timeout_ms, &gone, |image, name| {
            image.topic(name).is_none()
        });
        let late = gone.iter().zip(done.await).filter(|(_, done)| !done);
        let mut late: BTreeSet<&str> = late.map(|(name, _)| name.as_str()).collect();
        for result in results.iter_mut().filter(|result| result.error_code == 0) {
            // Kafka: of those that are named twice only the first hears of it.
            if result
                .name
                .as_ref()
                .is_some_and(|name| late.remove(name.as_str()))
            {
                result.error_code = ErrorCode::RequestTimedOut.code();
            }
        }
    }
    DeleteTopicsResponse::default()
        .with_throttle_time_ms(mutations.throttle_time_ms())
        .with_responses(results)
}

//! FindCoordinator: which broker sees to a group.
//!
//! Kafka: `KafkaApis.getCoordinator`. The topic is made when somebody asks for the first time and
//! it is not there; whoever asked hears "not available" and asks again.

use std::future::Future;

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::names::CONSUMER_OFFSETS;

use crate::api::groups::wire;
use crate::api::request::Context;
use crate::coordination::Groups;
use crate::metadata::{Endpoint, Image};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// First version with a list of keys.
const LIST_FROM: i16 = 4;
/// First version that knows of share groups.
const SHARE_FROM: i16 = 6;

/// Makes an internal topic that is not there yet.
pub(crate) trait MakesInternalTopics {
    /// Asks for the topic; it may take a while to appear, and may fail: then it is asked for again.
    fn make(&self, topic: &'static str) -> impl Future<Output = ()> + Send;
}

pub(crate) async fn answer(
    context: &Context,
    image: &Image,
    groups: &Groups,
    maker: &impl MakesInternalTopics,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if context.version >= LIST_FROM {
        // Kafka: an unknown type is an exception, and every key gets the code's text; other
        // errors come with an empty text.
        let malformed = !(GROUP..=SHARE).contains(&request.key_type);
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            let found = find(context, image, groups, maker, request.key_type, &key).await;
            let message = if malformed {
                ErrorCode::InvalidRequest.message().unwrap_or_default()
            } else {
                ""
            };
            let entry = match found {
                Ok((id, at)) => Coordinator::default()
                    .with_node_id(id)
                    .with_host(wire(&at.host))
                    .with_port(at.port),
                Err(error) => Coordinator::default()
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
                    .with_error_code(error.code()),
            };
            coordinators.push(entry.with_key(key).with_error_message(Some(wire(message))));
        }
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = find(
        context,
        image,
        groups,
        maker,
        request.key_type,
        &request.key,
    )
    .await;
    // Version 0 has no message.
    let message = |text: &str| (context.version > 0).then(|| wire(text));
    match found {
        Ok((id, at)) => FindCoordinatorResponse::default()
            .with_error_message(message("NONE"))
            .with_node_id(id)
            .with_host(wire(&at.host))
            .with_port(at.port),
        Err(error) => FindCoordinatorResponse::default()
            .with_error_code(error.code())
            .with_error_message(message(error.message().unwrap_or_default()))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

async fn find<'a>(
    context: &Context,
    image: &'a Image,
    groups: &Groups,
    maker: &impl MakesInternalTopics,
    key_type: i8,
    key: &StrBytes,
) -> Result<(BrokerId, &'a Endpoint), ErrorCode> {
    match key_type {
        GROUP => {}
        // No coordinator of transactions here yet; clients ask again.
        TRANSACTION => return Err(ErrorCode::CoordinatorNotAvailable),
        SHARE if context.version >= SHARE_FROM => return Err(ErrorCode::CoordinatorNotAvailable),
        _ => return Err(ErrorCode::InvalidRequest),
    }
    let Some(topic) = image.topic(CONSUMER_OFFSETS) else {
        maker.make(CONSUMER_OFFSETS).await;
        return Err(ErrorCode::CoordinatorNotAvailable);
    };
    topic
        .partitions
        .get(&groups.partition_for(key))
        .and_then(|partition| {
            let at = image.endpoint(partition.leader, &context.listener)?;
            Some((BrokerId(partition.leader.0), at))
        })
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}

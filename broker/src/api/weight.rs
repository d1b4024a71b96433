//! Which requests may run on the worker that read them. Pure.
//!
//! A worker carries the connections of hundreds, and they wait while it works. So only what clients
//! ask all the time and what is small runs there; what may take long by its kind, by its length or
//! by what it asks for runs on threads of its own ([`crate::api::slow_lane`]). The price is one
//! hop, some 80 µs, for those who ask seldom or much.

use std::sync::Arc;

use protocol::kafka::apis::Api;
use protocol::messages::{MetadataRequest, OffsetFetchRequest, RequestKind};

use crate::metadata::Image;

/// A longer frame may hold thousands of elements.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024;
/// The same for a fetch, which is decoded faster and may name thousands of partitions.
pub(crate) const FETCH_BYTES_MAX: usize = 64 * 1024;
/// Half a millisecond of descriptions.
const DESCRIBED_PARTITIONS_MAX: usize = 1_000;
/// A partition that is spoken of, with its name, while the answer is made.
const ANSWERED_BYTES: usize = 256;

/// Whether a request of this kind and length may be read here.
pub(crate) fn is_read_here(api: Api, frame_bytes: usize) -> bool {
    frame_bytes <= FRAME_BYTES_MAX && is_asked_all_the_time(api)
}

/// What clients ask while they work, and what brokers ask one another about single partitions.
fn is_asked_all_the_time(api: Api) -> bool {
    matches!(
        api,
        Api::ApiVersions
            | Api::SaslHandshake
            | Api::SaslAuthenticate
            | Api::Metadata
            | Api::ListOffsets
            | Api::OffsetForLeaderEpoch
            | Api::InitProducerId
            | Api::AddPartitionsToTxn
            | Api::AddOffsetsToTxn
            | Api::EndTxn
            | Api::TxnOffsetCommit
            | Api::WriteTxnMarkers
            | Api::FindCoordinator
            | Api::JoinGroup
            | Api::SyncGroup
            | Api::Heartbeat
            | Api::LeaveGroup
            | Api::OffsetCommit
            | Api::OffsetFetch
            | Api::AlterPartition
    )
}

/// What the answer takes in memory where every number of a request names a partition that it speaks
/// of: far more than the request. Others take a few times what theirs does.
pub(crate) fn answer_memory(api: Api, numbers: usize) -> usize {
    match api {
        Api::OffsetFetch | Api::DescribeProducers => numbers.saturating_mul(ANSWERED_BYTES),
        _ => 0,
    }
}

/// Whether the answer may wait for requests of other clients. Such a one, once it is taken up, must
/// hold no memory that those may need: a large group would never be complete.
pub(crate) fn waits_for_others(api: Api) -> bool {
    matches!(api, Api::JoinGroup | Api::SyncGroup)
}

/// Whether a small request asks for much. Few need the image to tell.
pub(crate) fn asks_much(request: &RequestKind, image: impl FnOnce() -> Arc<Image>) -> bool {
    match request {
        RequestKind::Metadata(request) => {
            described_partitions(request, &image()) > DESCRIBED_PARTITIONS_MAX
        }
        RequestKind::OffsetFetch(request) => asks_all_offsets(request),
        _ => false,
    }
}

/// How many partitions the answer describes, counted only as far as it matters.
fn described_partitions(request: &MetadataRequest, image: &Image) -> usize {
    let mut count = 0;
    let mut is_much = |partitions: usize| {
        count += partitions;
        count > DESCRIBED_PARTITIONS_MAX
    };
    match &request.topics {
        Some(topics) if !topics.is_empty() => {
            let _first_too_much = topics.iter().find(|asked| {
                let topic = match &asked.name {
                    Some(name) => image.topic(name),
                    None => image.topic_by_id(protocol::ids::TopicId(asked.topic_id)),
                };
                is_much(topic.map_or(0, |topic| topic.partitions.len()))
            });
        }
        // None asks for none or, in version 0, for all, as null does in later ones.
        _ => {
            let mut topics = image.topics.values();
            let _first_too_much = topics.find(|topic| is_much(1 + topic.partitions.len()));
        }
    }
    count
}

/// A group may have committed offsets for as many partitions as there are.
fn asks_all_offsets(request: &OffsetFetchRequest) -> bool {
    let one = request.groups.is_empty() && request.topics.is_none();
    one || request.groups.iter().any(|group| group.topics.is_none())
}

#[cfg(test)]
mod tests {
    use protocol::StrBytes;
    use protocol::messages::TopicName;
    use protocol::messages::metadata_request::MetadataRequestTopic;
    use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;

    use super::*;
    use crate::metadata::{PartitionImage, TopicImage};

    fn image(partitions: i32) -> Arc<Image> {
        let name: Arc<str> = "large".into();
        let partitions = (0..partitions).map(|index| (index, PartitionImage::default()));
        let topic = TopicImage {
            name: Arc::clone(&name),
            partitions: partitions.collect(),
            ..TopicImage::default()
        };
        let mut image = Image::default();
        image.topics.insert(name, Arc::new(topic));
        Arc::new(image)
    }

    fn metadata(names: Option<&[&'static str]>) -> RequestKind {
        let topics = names.map(|names| {
            let topic = |name: &&'static str| {
                let name = TopicName(StrBytes::from_static_str(name));
                MetadataRequestTopic::default().with_name(Some(name))
            };
            names.iter().map(topic).collect()
        });
        RequestKind::Metadata(MetadataRequest::default().with_topics(topics))
    }

    #[test]
    fn what_is_asked_all_the_time_is_read_here_unless_it_is_long() {
        assert!(is_read_here(Api::Heartbeat, 100));
        assert!(is_read_here(Api::OffsetCommit, FRAME_BYTES_MAX));
        assert!(!is_read_here(Api::OffsetCommit, FRAME_BYTES_MAX + 1));
        for api in [Api::DescribeConfigs, Api::ListGroups, Api::UpdateMetadata] {
            assert!(!is_read_here(api, 50), "{api:?}");
        }
    }

    #[test]
    fn metadata_weighs_what_it_describes() {
        let (small, large) = (image(10), image(2_000));
        let asks = |names, image: &Arc<Image>| asks_much(&metadata(names), || Arc::clone(image));
        assert!(!asks(None, &small));
        assert!(asks(None, &large));
        assert!(asks(Some(&["large"]), &large));
        assert!(!asks(Some(&["other"]), &large));
        assert!(!asks(Some(&["large"]), &small));
    }

    #[test]
    fn all_offsets_of_a_group_are_much() {
        let asks = |request| asks_much(&RequestKind::OffsetFetch(request), || image(1));
        let group = OffsetFetchRequestGroup::default();
        let named = group.clone().with_topics(Some(Vec::new()));
        let all = group.with_topics(None);
        let of = |groups| OffsetFetchRequest::default().with_groups(groups);
        assert!(!asks(of(vec![named.clone()])));
        assert!(asks(of(vec![named, all])));
        assert!(asks(OffsetFetchRequest::default().with_topics(None)));
        assert!(!asks(
            OffsetFetchRequest::default().with_topics(Some(Vec::new()))
        ));
    }
}

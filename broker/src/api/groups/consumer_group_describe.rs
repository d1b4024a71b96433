//! ConsumerGroupDescribe: the new group protocol, which a broker with ZooKeeper never has.
//!
//! Kafka: announced all the same, and answered with UNSUPPORTED_VERSION for each group.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::consumer_group_describe_response::DescribedGroup;
use protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

pub(crate) fn answer(request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let each = request.group_ids.into_iter().map(|id| {
        DescribedGroup::default()
            .with_group_id(id)
            .with_error_code(ErrorCode::UnsupportedVersion.code())
    });
    ConsumerGroupDescribeResponse::default().with_groups(each.collect())
}

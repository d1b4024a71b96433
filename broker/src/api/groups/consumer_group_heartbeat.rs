//! ConsumerGroupHeartbeat: the new group protocol, which a broker with ZooKeeper never has.
//!
//! Kafka: announced all the same, and answered with UNSUPPORTED_VERSION.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::ConsumerGroupHeartbeatResponse;

pub(crate) fn answer() -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code())
}

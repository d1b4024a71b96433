//! Requests that can be read and that Kafka refuses to believe: their connection is closed.
//!
//! Kafka: the constructors of its request classes throw, and whoever reads a request that cannot
//! be built closes the connection.

use protocol::messages::RequestKind;

/// What makes a readable request unbelievable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    #[error("it names an access rule of kind UNKNOWN")]
    UnknownAcl,
    #[error("it names a security protocol nobody knows")]
    UnknownSecurity,
}

/// In these versions of UpdateMetadata a listener is called as its security protocol is.
const NAMES_LISTENERS_BY_PROTOCOL: std::ops::RangeInclusive<i16> = 1..=2;

/// Whether Kafka would look at this request at all.
pub fn check(version: i16, request: &RequestKind) -> Result<(), Unbelievable> {
    if let RequestKind::UpdateMetadata(request) = request
        && NAMES_LISTENERS_BY_PROTOCOL.contains(&version)
    {
        let mut endpoints = request
            .live_brokers
            .iter()
            .flat_map(|broker| &broker.endpoints);
        if endpoints.any(|endpoint| !(0..=3).contains(&endpoint.security_protocol)) {
            return Err(Unbelievable::UnknownSecurity);
        }
    }
    let is_unknown = match request {
        RequestKind::DescribeAcls(filter) => [
            filter.resource_type_filter,
            filter.pattern_type_filter,
            filter.operation,
            filter.permission_type,
        ]
        .contains(&0),
        RequestKind::CreateAcls(request) => request.creations.iter().any(|acl| {
            [
                acl.resource_type,
                acl.resource_pattern_type,
                acl.operation,
                acl.permission_type,
            ]
            .contains(&0)
        }),
        RequestKind::DeleteAcls(request) => request.filters.iter().any(|filter| {
            [
                filter.resource_type_filter,
                filter.pattern_type_filter,
                filter.operation,
                filter.permission_type,
            ]
            .contains(&0)
        }),
        _ => false,
    };
    if is_unknown {
        Err(Unbelievable::UnknownAcl)
    } else {
        Ok(())
    }
}

//! DescribeCluster: brokers on the caller's listener, and who is controller.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use crate::api::request::Context;
use crate::metadata::Image;

/// What a broker without an authorizer lets everybody do to the cluster: Create, Alter, Describe,
/// ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, as bits.
pub(crate) const CLUSTER_OPERATIONS: i32 = 8096;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn answer(
    context: &Context,
    image: &Image,
    cluster_id: &str,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if context.version > 0 && request.endpoint_type != BROKERS {
        let (error, text) = if request.endpoint_type == CONTROLLERS {
            (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                    .to_owned(),
            )
        } else {
            let asked = request.endpoint_type;
            (
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {asked}"),
            )
        };
        return DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(text)));
    }
    let brokers: Vec<DescribeClusterBroker> = image
        .brokers
        .values()
        .filter_map(|broker| {
            let at = image.endpoint(broker.id, &context.listener)?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(broker.id.0))
                    .with_host(StrBytes::from_string(at.host.clone()))
                    .with_port(at.port)
                    .with_rack(broker.rack.clone().map(StrBytes::from_string)),
            )
        })
        .collect();
    // A controller that cannot be reached on this listener would only confuse the client.
    let controller = image
        .controller
        .map(|id| BrokerId(id.0))
        .filter(|id| brokers.iter().any(|broker| broker.broker_id == *id))
        .unwrap_or(BrokerId(-1));
    let mut response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(cluster_id.to_owned()))
        .with_controller_id(controller)
        .with_brokers(brokers);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

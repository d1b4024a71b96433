//! UpdateFeatures: in ZooKeeper mode 3.9 supports no feature, so every update is refused.

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

const UNSUPPORTED: &str =
    "Could not apply finalized feature update because the provided feature is not supported.";

pub(crate) fn answer(
    controller: &ControllerHandle,
    request: &UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    if !controller.is_active() {
        let code = ErrorCode::NotController;
        return UpdateFeaturesResponse::default()
            .with_error_code(code.code())
            .with_error_message(code.message().map(StrBytes::from_static_str));
    }
    let results = request.feature_updates.iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(StrBytes::from_static_str(UNSUPPORTED)))
    });
    UpdateFeaturesResponse::default()
        .with_error_message(None)
        .with_results(results.collect())
}

//! UpdateFeatures: in ZooKeeper mode 3.9 supports no feature, so every update is refused.

use std::collections::HashSet;

use controller::{Agreed, ControllerHandle};
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::api::request::Context;

/// Below protocol version 2.7.
const DISABLED: &str = "Feature versioning system is disabled.";

const UNSUPPORTED: &str =
    "Could not apply finalized feature update because the provided feature is not supported.";

/// A downgrade that loses nothing.
const SAFE_DOWNGRADE: i8 = 2;

pub(crate) fn answer(
    context: &Context,
    controller: &ControllerHandle,
    agreed: Agreed,
    request: &UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    if !controller.is_active() {
        let code = ErrorCode::NotController;
        return UpdateFeaturesResponse::default()
            .with_error_code(code.code())
            .with_error_message(code.message().map(StrBytes::from_static_str));
    }
    if !agreed.features {
        return UpdateFeaturesResponse::default()
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(StrBytes::from_static_str(DISABLED)));
    }
    // Kafka: of a feature that is named more often the first counts.
    let mut named = HashSet::new();
    let updates = request.feature_updates.iter();
    let updates = updates.filter(|update| named.insert(&*update.feature));
    let results = updates.map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(StrBytes::from_string(why(context.version, update))))
    });
    UpdateFeaturesResponse::default()
        .with_error_message(None)
        .with_results(results.collect())
}

/// What is wrong with an update, in Kafka's words and order.
fn why(version: i16, update: &FeatureUpdateKey) -> String {
    let level = update.max_version_level;
    // Version 0 had one word for all downgrades.
    let kind = match (version, update.allow_downgrade) {
        (0, true) => SAFE_DOWNGRADE,
        (0, false) => 1,
        _ => update.upgrade_type,
    };
    if update.feature.is_empty() {
        "Feature name can not be empty.".to_owned()
    } else if !(1..=3).contains(&kind) {
        "Received unknown upgrade type.".to_owned()
    } else if level < 1 && kind != 1 {
        "Can not delete non-existing finalized feature.".to_owned()
    } else if level < 1 {
        format!(
            "Can not provide versionLevel: {level} less than 1 without setting the SAFE downgradeType in the request."
        )
    } else {
        UNSUPPORTED.to_owned()
    }
}

//! DescribeClientQuotas: who has limits, through a filter.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use crate::admin::quotas::{ClientQuotas, FilterRefusal, Match, Told};
use crate::api::configs::{failure_code, text};
use crate::quota::entities::Name;

pub(crate) async fn answer(
    quotas: &ClientQuotas,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let mut filter = Vec::with_capacity(request.components.len());
    for component in &request.components {
        let wanted = match (component.match_type, &component._match) {
            (0, Some(name)) => Match::Exactly(name.to_string()),
            (1, _) => Match::Default,
            // Kafka: a name that is not needed is not looked at.
            (2, _) => Match::Any,
            // Kafka: a kind of match nobody knows, or no name to match, is a failure without words.
            _ => return refused(ErrorCode::UnknownServerError, None),
        };
        filter.push((component.entity_type.to_string(), wanted));
    }
    match quotas.describe(&filter, request.strict).await {
        Ok(told) => DescribeClientQuotasResponse::default()
            .with_entries(Some(told.into_iter().map(entry).collect())),
        Err(FilterRefusal::Failure(failure)) => {
            let (code, words) = failure_code(&failure);
            refused(code, words)
        }
        Err(refusal @ FilterRefusal::Invalid(_)) => {
            refused(ErrorCode::InvalidRequest, Some(refusal.to_string()))
        }
        Err(refusal @ FilterRefusal::Custom(_)) => {
            refused(ErrorCode::UnsupportedVersion, Some(refusal.to_string()))
        }
    }
}

fn refused(code: ErrorCode, words: Option<String>) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse::default()
        .with_error_code(code.code())
        .with_error_message(words.map(text))
        .with_entries(None)
}

fn entry((entity, limits): Told) -> EntryData {
    let parts = [
        ("user", entity.user),
        ("client-id", entity.client),
        ("ip", entity.address),
    ];
    let part = |(kind, name): (&'static str, Option<Name>)| {
        let name = match name? {
            Name::Default => None,
            Name::Of(name) => Some(text(&*name)),
        };
        Some(
            EntityData::default()
                .with_entity_type(text(kind))
                .with_entity_name(name),
        )
    };
    let value =
        |(key, limit): (String, f64)| ValueData::default().with_key(text(key)).with_value(limit);
    EntryData::default()
        .with_entity(parts.into_iter().filter_map(part).collect())
        .with_values(limits.into_iter().map(value).collect())
}

//! AlterClientQuotas: sets and removes limits, each entity for itself.

use std::collections::{BTreeMap, HashMap};

use base::last::last_of_each;
use protocol::messages::alter_client_quotas_request::EntityData as RequestedPart;
use protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use crate::admin::quotas::{ClientQuotas, Lookups, Part};
use crate::api::configs::{code_of, text};

pub(crate) async fn answer(
    quotas: &ClientQuotas,
    request: &AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut lookups = Lookups::begin();
    // Kafka: what is told is a map: an entity that is named more often hears of its last entry.
    let mut places = HashMap::new();
    let mut entries: Vec<EntryData> = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        // Kafka: of a kind that is named more often only the last counts.
        let parts: Vec<&RequestedPart> = entry.entity.iter().collect();
        let parts = last_of_each(parts, |part| &part.entity_type);
        let entity = parts.iter().map(|part| {
            let name = part.entity_name.as_ref().map(ToString::to_string);
            (part.entity_type.to_string(), name)
        });
        let entity: Vec<Part> = entity.collect();
        let changes: Vec<(String, Option<f64>)> = entry
            .ops
            .iter()
            .map(|change| {
                (
                    change.key.to_string(),
                    (!change.remove).then_some(change.value),
                )
            })
            .collect();
        let same = parts.iter().map(|part| {
            EntityData::default()
                .with_entity_type(part.entity_type.clone())
                .with_entity_name(part.entity_name.clone())
        });
        let answer = EntryData::default()
            .with_entity(same.collect())
            .with_error_message(None);
        let outcome = quotas
            .alter(&entity, &changes, request.validate_only, &mut lookups)
            .await;
        let told = match outcome {
            Ok(()) => answer,
            Err(refusal) => {
                let (code, words) = code_of(&refusal);
                answer
                    .with_error_code(code.code())
                    .with_error_message(words.map(text))
            }
        };
        let place = *places
            .entry(entity.into_iter().collect::<BTreeMap<_, _>>())
            .or_insert(entries.len());
        match entries.get_mut(place) {
            Some(before) => *before = told,
            None => entries.push(told),
        }
    }
    AlterClientQuotasResponse::default().with_entries(entries)
}

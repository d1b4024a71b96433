//! AlterUserScramCredentials: makes and forgets credentials. Only the controller does it.

use std::collections::BTreeSet;

use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};

use crate::admin::scram::{Deletion, Scram, Upsertion};
use crate::api::configs::{scram_code, text};

pub(crate) async fn answer(
    scram: &Scram,
    is_controller: bool,
    request: &AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    if !is_controller {
        return elsewhere(request);
    }
    let upsertions: Vec<Upsertion> = request
        .upsertions
        .iter()
        .map(|new| Upsertion {
            user: new.name.to_string(),
            mechanism: new.mechanism,
            iterations: new.iterations,
            salt: new.salt.to_vec(),
            salted_password: new.salted_password.to_vec(),
        })
        .collect();
    let deletions: Vec<Deletion> = request
        .deletions
        .iter()
        .map(|old| Deletion {
            user: old.name.to_string(),
            mechanism: old.mechanism,
        })
        .collect();
    let results = scram
        .alter(&upsertions, &deletions)
        .await
        .into_iter()
        .map(|(user, outcome)| {
            let result = AlterUserScramCredentialsResult::default().with_user(text(user));
            match outcome {
                Ok(()) => result,
                Err(refusal) => {
                    let (code, words) = scram_code(&refusal, false);
                    result
                        .with_error_code(code.code())
                        .with_error_message(words.map(text))
                }
            }
        });
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}

/// Kafka: every user named is told that another broker is the controller.
fn elsewhere(request: &AlterUserScramCredentialsRequest) -> AlterUserScramCredentialsResponse {
    let names = request.deletions.iter().map(|old| &old.name);
    let users: BTreeSet<&str> = names
        .chain(request.upsertions.iter().map(|new| &new.name))
        .map(|name| name.as_str())
        .collect();
    let code = ErrorCode::NotController;
    let result = |user: &str| {
        AlterUserScramCredentialsResult::default()
            .with_user(text(user))
            .with_error_code(code.code())
            .with_error_message(code.message().map(text))
    };
    AlterUserScramCredentialsResponse::default()
        .with_results(users.into_iter().map(result).collect())
}

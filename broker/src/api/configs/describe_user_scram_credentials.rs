//! DescribeUserScramCredentials: who has which kinds of credentials; never a secret.

use protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

use crate::admin::scram::Scram;
use crate::api::configs::{failure_code, scram_code, text};

pub(crate) async fn answer(
    scram: &Scram,
    request: &DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users: Vec<String> = request
        .users
        .iter()
        .flatten()
        .map(|user| user.name.to_string())
        .collect();
    let told = match scram.describe(&users).await {
        Ok(told) => told,
        Err(failure) => {
            let (code, words) = failure_code(&failure);
            return DescribeUserScramCredentialsResponse::default()
                .with_error_code(code.code())
                .with_error_message(words.or(code.message().map(str::to_owned)).map(text));
        }
    };
    let results = told.into_iter().map(|(user, held)| {
        let result = DescribeUserScramCredentialsResult::default().with_user(text(user));
        match held {
            Ok(held) => {
                let one = |(mechanism, iterations)| {
                    CredentialInfo::default()
                        .with_mechanism(mechanism as i8)
                        .with_iterations(iterations)
                };
                result.with_credential_infos(held.into_iter().map(one).collect())
            }
            Err(refusal) => {
                let (code, words) = scram_code(&refusal, true);
                result
                    .with_error_code(code.code())
                    .with_error_message(words.or(code.message().map(str::to_owned)).map(text))
            }
        }
    });
    DescribeUserScramCredentialsResponse::default().with_results(results.collect())
}

//! SCRAM credentials of users.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use protocol::messages::describe_user_scram_credentials_request::UserName;
use protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest, ResponseKind,
};

use crate::asked::Entities;
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text};
use crate::print::Out;
use crate::scram::{Mechanism, Salted};
use crate::{body, say};

pub(super) async fn describe(
    admin: &mut Admin,
    entities: &Entities,
    out: &mut Out,
) -> Result<(), Failure> {
    let users = entities
        .names
        .iter()
        .map(|name| UserName::default().with_name(text(name)));
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(users.collect()));
    let answer = admin
        .any(Api::DescribeUserScramCredentials, request.into())
        .await?;
    let answer = body!(answer, DescribeUserScramCredentials);
    Failure::check(answer.error_code, answer.error_message.as_deref())?;
    for result in answer.results {
        let user = result.user.to_string();
        match Failure::check(result.error_code, result.error_message.as_deref()) {
            Err(error) if error.code() == Some(ErrorCode::ResourceNotFound) => {}
            Err(error) => {
                let kind = error.code().map_or("", ErrorCode::exception);
                say!(
                    out,
                    "Error retrieving SCRAM credential configs for user-principal '{user}': {kind}: {error}"
                );
            }
            Ok(()) => {
                let list: Vec<String> = result
                    .credential_infos
                    .iter()
                    .map(|one| {
                        let name = if one.mechanism == 1 {
                            "SCRAM-SHA-256"
                        } else {
                            "SCRAM-SHA-512"
                        };
                        format!("{name}=iterations={}", one.iterations)
                    })
                    .collect();
                say!(
                    out,
                    "SCRAM credential configs for user-principal '{user}' are {}",
                    list.join(", ")
                );
            }
        }
    }
    Ok(())
}

/// A user's passwords, salted and hashed here; the broker stores keys made from what it is sent.
pub(super) async fn alter(
    admin: &mut Admin,
    entities: &Entities,
    add: &BTreeMap<String, String>,
    delete: &[String],
) -> Result<(), Failure> {
    let user = entities.names[0].as_str();
    if user.is_empty() {
        return Err(Failure::said(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.",
        ));
    }
    let mut request = AlterUserScramCredentialsRequest::default();
    for (name, asked) in add {
        if let Some(mechanism) = Mechanism::named(name) {
            let salted = Salted::read(mechanism, asked, name)?;
            request.upsertions.push(
                ScramCredentialUpsertion::default()
                    .with_name(text(user))
                    .with_mechanism(salted.mechanism as i8)
                    .with_iterations(i32::try_from(salted.iterations).unwrap_or(i32::MAX))
                    .with_salt(salted.salt.into())
                    .with_salted_password(salted.password.into()),
            );
        }
    }
    request.deletions = delete
        .iter()
        .filter_map(|name| Mechanism::named(name))
        .map(|mechanism| {
            ScramCredentialDeletion::default()
                .with_name(text(user))
                .with_mechanism(mechanism as i8)
        })
        .collect();
    let api = Api::AlterUserScramCredentials;
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::AlterUserScramCredentials(answer) => {
            answer.results.iter().map(|one| one.error_code).collect()
        }
        _ => Vec::new(),
    };
    let answer = admin.controller(api, request.into(), codes).await?;
    for result in body!(answer, AlterUserScramCredentials).results {
        Failure::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

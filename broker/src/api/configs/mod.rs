//! The doors of the configs APIs.

pub mod alter_configs;
pub mod describe_configs;
pub mod incremental_alter_configs;
pub mod describe_client_quotas;
pub mod alter_client_quotas;
pub mod describe_user_scram_credentials;
pub mod alter_user_scram_credentials;

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use znodes::store::Error as StoreError;

use crate::admin::configs::Refusal;
use crate::admin::entities::Failure;
use crate::admin::scram;

/// What a resource's number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Topic,
    Broker,
    Logger,
    ClientMetrics,
    Other(&'static str),
}

impl Resource {
    pub(crate) fn of(number: i8) -> Resource {
        match number {
            2 => Resource::Topic,
            4 => Resource::Broker,
            8 => Resource::Logger,
            16 => Resource::ClientMetrics,
            32 => Resource::Other("GROUP"),
            _ => Resource::Other("UNKNOWN"),
        }
    }
}

/// Kafka: `Integer.parseInt`, for the id of a broker.
pub(crate) fn broker_id(name: &str) -> Option<i32> {
    name.parse().ok()
}

/// A refusal as an answer carries it.
///
/// Kafka: an exception without a known code tells nothing, so that nothing leaks.
pub(crate) fn code_of(refusal: &Refusal) -> (ErrorCode, Option<String>) {
    let code = match refusal {
        Refusal::InvalidRequest(_) => ErrorCode::InvalidRequest,
        Refusal::InvalidConfig(_) => ErrorCode::InvalidConfig,
        Refusal::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
        Refusal::InvalidTopic(_) => ErrorCode::InvalidTopicException,
        Refusal::Failure(failure) => return failure_code(failure),
        Refusal::Unexplained(_) => return (ErrorCode::UnknownServerError, None),
    };
    (code, Some(refusal.to_string()))
}

/// What went wrong on the way to ZooKeeper.
pub(crate) fn failure_code(failure: &Failure) -> (ErrorCode, Option<String>) {
    match failure {
        Failure::NoController(_) => (ErrorCode::StaleControllerEpoch, Some(failure.to_string())),
        Failure::Store(StoreError::TooLarge { .. }) => {
            (ErrorCode::InvalidRequest, Some(failure.to_string()))
        }
        Failure::NoPath(_) => (ErrorCode::UnknownServerError, None),
        Failure::Unreadable(_) | Failure::Store(_) => {
            tracing::error!(%failure, "write settings: failed");
            (ErrorCode::UnknownServerError, None)
        }
    }
}

/// What is wrong with a user's credentials. A name that is empty is a bad credential where one is
/// made, and nothing to be found where one is asked for.
pub(crate) fn scram_code(
    refusal: &scram::Refusal,
    describing: bool,
) -> (ErrorCode, Option<String>) {
    let code = match refusal {
        scram::Refusal::EmptyName if describing => ErrorCode::ResourceNotFound,
        scram::Refusal::EmptyName | scram::Refusal::TooFew | scram::Refusal::TooMany => {
            ErrorCode::UnacceptableCredential
        }
        scram::Refusal::UnknownMechanism => ErrorCode::UnsupportedSaslMechanism,
        scram::Refusal::Twice | scram::Refusal::DescribedTwice(_) => ErrorCode::DuplicateResource,
        scram::Refusal::NothingToDelete | scram::Refusal::NothingToDescribe(_) => {
            ErrorCode::ResourceNotFound
        }
        scram::Refusal::Spoilt => {
            let code = ErrorCode::UnknownServerError;
            return (code, code.message().map(str::to_owned));
        }
        scram::Refusal::Failure(failure) => return failure_code(failure),
    };
    (code, Some(refusal.to_string()))
}

pub(crate) fn text(words: impl Into<String>) -> StrBytes {
    StrBytes::from_string(words.into())
}

/// The first problem that Kafka sees in a resource before it looks at what the keys mean.
///
/// Kafka: `ConfigAdminManager.preprocess`.
pub(crate) fn shape_fault<'a>(
    names: impl Iterator<Item = &'a str>,
    nulls: impl Iterator<Item = &'a str>,
) -> Option<Refusal> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Some(Refusal::InvalidRequest(
                "Error due to duplicate config keys".to_owned(),
            ));
        }
    }
    let nulls: Vec<&str> = nulls.collect();
    if nulls.is_empty() {
        return None;
    }
    let words = format!("Null value not supported for : {}", nulls.join(", "));
    Some(Refusal::InvalidRequest(words))
}

/// Whether a broker resource names this broker, nobody in particular, or somebody else.
pub(crate) fn whose(name: &str, here: i32) -> Result<crate::admin::configs::Whose, Refusal> {
    use crate::admin::configs::Whose;
    if name.is_empty() {
        return Ok(Whose::Cluster);
    }
    match broker_id(name) {
        None => Err(Refusal::InvalidRequest(format!(
            "Node id must be an integer, but it is: {name}"
        ))),
        Some(id) if id != here => Err(Refusal::InvalidRequest(format!(
            "Unexpected broker id, expected {here}, but received {name}"
        ))),
        Some(_) => Ok(Whose::Broker),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use protocol::messages::alter_user_scram_credentials_request::{
        ScramCredentialDeletion, ScramCredentialUpsertion,
    };
    use protocol::messages::describe_client_quotas_request::ComponentData;
    use protocol::messages::describe_user_scram_credentials_request::UserName;
    use protocol::messages::{
        AlterUserScramCredentialsRequest, DescribeClientQuotasRequest,
        DescribeUserScramCredentialsRequest,
    };
    use znodes::memory::World;
    use znodes::paths;
    use znodes::store::Kind;

    use super::*;
    use crate::admin::entities::SharedStore;
    use crate::admin::quotas::ClientQuotas;
    use crate::admin::scram::Scram;

    async fn store() -> SharedStore {
        let store: SharedStore = Arc::new(World::new(base::clock::Clock::by_hand(0)).connect());
        store
            .create(paths::CONTROLLER, b"{}", Kind::Ephemeral)
            .await
            .unwrap();
        store
    }

    fn upsertion(name: &'static str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
        ScramCredentialUpsertion::default()
            .with_name(text(name))
            .with_mechanism(mechanism)
            .with_iterations(iterations)
            .with_salt(Bytes::from_static(&[1; 16]))
            .with_salted_password(Bytes::from_static(&[2; 32]))
    }

    /// The request and the answers are those captured from Apache Kafka 3.9.
    #[tokio::test]
    async fn credentials_are_made_and_refused_as_apache_does() {
        let scram = Scram::new(store().await);
        let make = AlterUserScramCredentialsRequest::default()
            .with_upsertions(vec![upsertion("scram", 1, 4096)]);
        let elsewhere = alter_user_scram_credentials::answer(&scram, false, &make).await;
        assert_eq!(
            elsewhere.results[0].error_code,
            ErrorCode::NotController.code()
        );
        let made = alter_user_scram_credentials::answer(&scram, true, &make).await;
        assert_eq!(made.results[0].error_code, 0);
        let nobody = ScramCredentialDeletion::default()
            .with_name(text("nobody"))
            .with_mechanism(1);
        let wrong = AlterUserScramCredentialsRequest::default()
            .with_deletions(vec![nobody])
            .with_upsertions(vec![
                upsertion("s1", 1, 1),
                upsertion("s2", 9, 4096),
                upsertion("", 1, 4096),
                upsertion("s3", 2, 4096),
                upsertion("s3", 2, 4096),
            ]);
        let refused = alter_user_scram_credentials::answer(&scram, true, &wrong).await;
        let said: Vec<(&str, i16, &str)> = refused
            .results
            .iter()
            .map(|r| {
                (
                    r.user.as_str(),
                    r.error_code,
                    r.error_message.as_deref().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("s1", 93, "Too few iterations"),
                ("s2", 33, "Unknown SCRAM mechanism"),
                ("", 93, "Username must not be empty"),
                (
                    "s3",
                    92,
                    "A user credential cannot be altered twice in the same request"
                ),
                (
                    "nobody",
                    91,
                    "Attempt to delete a user credential that does not exist"
                ),
            ]
        );
        let users = ["scram", "none", "dup", "dup"];
        let users = users
            .map(|name| UserName::default().with_name(text(name)))
            .to_vec();
        let ask = DescribeUserScramCredentialsRequest::default().with_users(Some(users));
        let told = describe_user_scram_credentials::answer(&scram, &ask).await;
        let said: Vec<(&str, i16, usize)> = told
            .results
            .iter()
            .map(|r| (r.user.as_str(), r.error_code, r.credential_infos.len()))
            .collect();
        assert_eq!(said, [("scram", 0, 1), ("none", 91, 0), ("dup", 92, 0)]);
    }

    #[tokio::test]
    async fn a_filter_of_an_unknown_kind_has_kafkas_words_and_no_entries() {
        let quotas = ClientQuotas::new(store().await);
        let component = ComponentData::default()
            .with_entity_type(text("nope"))
            .with_match_type(2);
        let ask = DescribeClientQuotasRequest::default()
            .with_components(vec![component.with_match(None)]);
        let told = describe_client_quotas::answer(&quotas, &ask).await;
        assert_eq!((told.error_code, told.entries), (35, None));
        assert_eq!(
            told.error_message.as_deref(),
            Some("Custom entity type 'nope' not supported")
        );
    }
}

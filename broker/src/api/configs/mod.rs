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
        Refusal::NoSuchKey(_) => return (ErrorCode::UnknownServerError, None),
    };
    (code, Some(refusal.to_string()))
}

/// What went wrong on the way to ZooKeeper.
pub(crate) fn failure_code(failure: &Failure) -> (ErrorCode, Option<String>) {
    match failure {
        Failure::NoController(_) => (ErrorCode::StaleControllerEpoch, Some(failure.to_string())),
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

//! Limits of users, clients and addresses: told, checked, and written to `/config`.
//!
//! Kafka: `ZkAdminManager.describeClientQuotas` and `alterClientQuotas`, with their words.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use settings::value::java_double;
use tokio::time::{Instant, timeout_at};
use znodes::bodies::config::Overrides;
use znodes::paths::{self, desanitize, sanitize};

use crate::admin::configs::Refusal;
use crate::admin::entities::{self, DEFAULT, SharedStore};
use crate::admin::scram::Mechanism;
use crate::quota::Kind;
use crate::quota::entities::{Entity, Name};

/// One part of an entity as a request names it: its type, and a name or none for the default.
pub type Part = (String, Option<String>);

/// What a filter wants of one type of entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Exactly(String),
    Default,
    Any,
}

/// The limits of an entity, by the names of their keys.
pub type Told = (Entity, Vec<(String, f64)>);

/// Why a filter cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterRefusal {
    #[error("{0}")]
    Invalid(String),
    #[error("Custom entity type '{0}' not supported")]
    Custom(String),
    #[error(transparent)]
    Failure(#[from] entities::Failure),
}

/// The room itself.
#[derive(Clone, Debug)]
pub struct ClientQuotas {
    store: SharedStore,
}

impl ClientQuotas {
    pub fn new(store: SharedStore) -> ClientQuotas {
        ClientQuotas { store }
    }

    /// Every entity with limits that a filter lets through.
    pub async fn describe(
        &self,
        filter: &[(String, Match)],
        strict: bool,
    ) -> Result<Vec<Told>, FilterRefusal> {
        let wanted = Filter::read(filter)?;
        // Kafka looks for the one entity at once, and a name may make no path.
        let path = wanted.path(strict);
        let path = path.map(|path| paths::entity_config(&path));
        if let Some(fault) = path.and_then(|path| paths::fault(&path)) {
            return Err(entities::Failure::NoPath(fault).into());
        }
        let found = all(&self.store).await?;
        let passes = |(entity, overrides): (Entity, Overrides)| {
            let limits: Vec<(String, f64)> = overrides
                .iter()
                .filter(|(key, _)| (*key == CONNECTIONS) == entity.address.is_some())
                .filter_map(|(key, text)| Some((key.to_owned(), limit(key, text)?)))
                .collect();
            (!limits.is_empty() && wanted.lets_through(&entity, strict)).then_some((entity, limits))
        };
        Ok(found.into_iter().filter_map(passes).collect())
    }

    /// Sets or removes limits of one entity.
    pub async fn alter(
        &self,
        entity: &[Part],
        changes: &[(String, Option<f64>)],
        validate_only: bool,
        lookups: &mut Lookups,
    ) -> Result<(), Refusal> {
        let path = path(entity)?;
        if let Some(host) = path.strip_prefix("ips/")
            && host != DEFAULT
            && !lookups.knows(host).await
        {
            return Err(Refusal::InvalidRequest(format!(
                "{host} is not a valid IP or resolvable host."
            )));
        }
        let mut overrides = entities::read(&*self.store, &path).await?;
        let of_address = path.starts_with("ips/");
        for (key, value) in changes {
            match value {
                None => {
                    overrides.remove(key);
                }
                // Kafka: it knows the mechanisms of users, and trips over what kind of keys they are.
                Some(_) if path.starts_with("users/") && is_mechanism(key) => {
                    return Err(Refusal::Unexplained(format!("{key} is no quota")));
                }
                Some(value) => overrides.set(key.as_str(), written(key, *value, of_address)?),
            }
        }
        entities::alter(&*self.store, &path, &overrides, validate_only).await?;
        Ok(())
    }
}

fn is_mechanism(key: &str) -> bool {
    Mechanism::ALL.iter().any(|one| one.name() == key)
}

const CONNECTIONS: &str = "connection_creation_rate";

fn limit(key: &str, text: &str) -> Option<f64> {
    Kind::of(key)?;
    text.trim().parse().ok()
}

/// The limits in an entity's overrides, as the quota room takes them.
pub fn limits(overrides: &Overrides) -> Vec<(Kind, f64)> {
    overrides
        .iter()
        .filter_map(|(key, text)| Some((Kind::of(key)?, limit(key, text)?)))
        .collect()
}

/// The text a limit is stored as: whole numbers without a point, others as Java prints them.
fn written(key: &str, value: f64, of_address: bool) -> Result<String, Refusal> {
    let known = if of_address {
        key == CONNECTIONS
    } else {
        Kind::of(key).is_some() && key != CONNECTIONS
    };
    if !known {
        return Err(Refusal::InvalidRequest(format!(
            "Invalid configuration key {key}"
        )));
    }
    let (kind, range) = match key {
        "producer_byte_rate" | "consumer_byte_rate" => ("LONG", i64::MIN..=i64::MAX),
        CONNECTIONS => ("INT", i64::from(i32::MIN)..=i64::from(i32::MAX)),
        _ => return Ok(java_double(value)),
    };
    const EPSILON: f64 = 1e-6;
    let whole = ((value + EPSILON) as i64).clamp(*range.start(), *range.end());
    if (whole as f64 - value).abs() > EPSILON {
        let words = format!("Configuration {key} must be a {kind} value");
        return Err(Refusal::InvalidRequest(words));
    }
    Ok(whole.to_string())
}

/// The entity's place below `/config`.
fn path(parts: &[Part]) -> Result<String, Refusal> {
    let refuse = |words: String| Err(Refusal::InvalidRequest(words));
    if parts.is_empty() {
        return refuse("Invalid empty client quota entity".to_owned());
    }
    let (mut user, mut client, mut address) = (None, None, None);
    for (kind, name) in parts {
        let escaped = name.as_deref().map_or_else(|| DEFAULT.to_owned(), sanitize);
        match kind.as_str() {
            "user" => user = Some(escaped),
            "client-id" => client = Some(escaped),
            "ip" => address = Some(escaped),
            other => return refuse(format!("Unhandled client quota entity type: {other}")),
        }
        if name.as_deref() == Some("") {
            return refuse(format!("Empty {kind} not supported"));
        }
    }
    match (user, client, address) {
        (Some(user), Some(client), None) => Ok(format!("users/{user}/clients/{client}")),
        (Some(user), None, None) => Ok(format!("users/{user}")),
        (None, Some(client), None) => Ok(format!("clients/{client}")),
        (None, None, Some(address)) => Ok(format!("ips/{address}")),
        (_, _, Some(_)) => refuse(
            "Invalid quota entity combination, IP entity should not be used with user/client ID \
             entity."
                .to_owned(),
        ),
        (None, None, None) => refuse("Invalid client quota entity".to_owned()),
    }
}

/// The entity of a path below `/config`: `users/alice/clients/<default>`, `ips/10.0.0.1`.
pub fn entity(path: &str) -> Option<Entity> {
    let name = |text: &str| match text {
        DEFAULT => Some(Name::Default),
        text => Some(Name::Of(desanitize(text)?.into())),
    };
    let steps: Vec<&str> = path.split('/').collect();
    Some(match steps[..] {
        ["users", user] => Entity {
            user: Some(name(user)?),
            ..Entity::default()
        },
        ["clients", client] => Entity {
            client: Some(name(client)?),
            ..Entity::default()
        },
        ["ips", address] => Entity {
            address: Some(name(address)?),
            ..Entity::default()
        },
        ["users", user, "clients", client] => Entity {
            user: Some(name(user)?),
            client: Some(name(client)?),
            address: None,
        },
        _ => return None,
    })
}

/// The address that a host's name, or an address however it is spelled, stands for now. As in
/// Java, a name that has addresses of both kinds stands for the first of the older one. Looked up
/// on a thread of its own: a name server may take its time.
async fn address_of(host: &str) -> Option<IpAddr> {
    let found: Vec<IpAddr> = tokio::net::lookup_host((host, 0))
        .await
        .ok()?
        .map(|found| found.ip().to_canonical())
        .collect();
    let older = found.iter().find(|address| address.is_ipv4());
    older.or(found.first()).copied()
}

/// How long a request waits for name servers in all.
const LOOKUPS_PATIENCE: Duration = Duration::from_secs(20);

/// The hosts of one request: each is looked up once, and all of them within bounded time.
#[derive(Debug)]
pub struct Lookups {
    known: HashMap<String, bool>,
    until: Instant,
}

impl Lookups {
    pub fn begin() -> Lookups {
        Lookups {
            known: HashMap::new(),
            until: Instant::now() + LOOKUPS_PATIENCE,
        }
    }

    /// Whether there is an address for the host. Nobody is asked any more once patience has ended.
    async fn knows(&mut self, host: &str) -> bool {
        if let Some(known) = self.known.get(host) {
            return *known;
        }
        let known = match host.parse::<IpAddr>() {
            Ok(_) => true,
            Err(_) if self.until <= Instant::now() => false,
            Err(_) => matches!(timeout_at(self.until, address_of(host)).await, Ok(Some(_))),
        };
        self.known.insert(host.to_owned(), known);
        known
    }
}

/// The addresses that hosts had when they were last looked up. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<Mutex<HashMap<Entity, Entity>>>);

impl Hosts {
    /// The entity whose connections, requests and bytes are counted: for a host its address at
    /// this moment, else the entity itself. `None` where nobody knows the host.
    ///
    /// Kafka: `IpConfigHandler`. What was set for a name stays with the address it had then.
    pub async fn counted(&self, named: &Entity) -> Option<Entity> {
        let Some(Name::Of(host)) = &named.address else {
            return Some(named.clone());
        };
        let address = address_of(host).await?;
        let counted = Entity {
            address: Some(Name::Of(address.to_string().into())),
            ..named.clone()
        };
        self.note(named, &counted);
        Some(counted)
    }

    pub(crate) fn note(&self, named: &Entity, counted: &Entity) {
        self.0.lock().insert(named.clone(), counted.clone());
    }

    /// What a host was counted as when it was known last.
    pub fn last_counted(&self, named: &Entity) -> Option<Entity> {
        self.0.lock().get(named).cloned()
    }

    /// Forgets every host but these.
    pub fn keep<'a>(&self, named: impl Iterator<Item = &'a Entity>) {
        let named: HashSet<&Entity> = named.collect();
        self.0.lock().retain(|held, _| named.contains(held));
    }
}

/// Every user, client, user's client and address with a node.
pub async fn all(store: &SharedStore) -> Result<Vec<(Entity, Overrides)>, entities::Failure> {
    let mut found = BTreeMap::new();
    let users = entities::read_all(&**store, "users").await?;
    let mut folders = vec!["clients".to_owned(), "ips".to_owned()];
    folders.extend(
        users
            .iter()
            .map(|(user, _)| format!("users/{user}/clients")),
    );
    for (user, overrides) in users {
        found.extend(entity(&format!("users/{user}")).map(|entity| (entity, overrides)));
    }
    for folder in folders {
        for (name, overrides) in entities::read_all(&**store, &folder).await? {
            found.extend(entity(&format!("{folder}/{name}")).map(|entity| (entity, overrides)));
        }
    }
    Ok(found.into_iter().collect())
}

#[derive(Debug, Default)]
struct Filter {
    user: Option<Match>,
    client: Option<Match>,
    address: Option<Match>,
}

impl Filter {
    fn read(parts: &[(String, Match)]) -> Result<Filter, FilterRefusal> {
        let mut filter = Filter::default();
        for (kind, wanted) in parts {
            let (place, word) = match kind.as_str() {
                "user" => (&mut filter.user, "user"),
                "client-id" => (&mut filter.client, "client"),
                "ip" => (&mut filter.address, "ip"),
                "" => {
                    let words = "Unexpected empty filter component entity type".to_owned();
                    return Err(FilterRefusal::Invalid(words));
                }
                other => return Err(FilterRefusal::Custom(other.to_owned())),
            };
            if place.replace(wanted.clone()).is_some() {
                let words = format!("Duplicate {word} filter component entity type");
                return Err(FilterRefusal::Invalid(words));
            }
        }
        if (filter.user.is_some() || filter.client.is_some()) && filter.address.is_some() {
            return Err(FilterRefusal::Invalid(
                "Invalid entity filter component combination, IP filter component should not be \
                 used with user or clientId filter component."
                    .to_owned(),
            ));
        }
        Ok(filter)
    }

    /// The one entity that Kafka reads for this filter, where it does not look through all.
    fn path(&self, strict: bool) -> Option<String> {
        let exactly = |wanted: &Option<Match>| match wanted {
            Some(Match::Exactly(name)) => Some(sanitize(name)),
            Some(Match::Default) => Some(DEFAULT.to_owned()),
            Some(Match::Any) | None => None,
        };
        if let Some(host) = exactly(&self.address) {
            return Some(format!("ips/{host}"));
        }
        let is_left_out = |wanted: &Option<Match>| strict && wanted.is_none();
        match (exactly(&self.user), exactly(&self.client)) {
            (Some(user), Some(client)) => Some(format!("users/{user}/clients/{client}")),
            (Some(user), None) if is_left_out(&self.client) => Some(format!("users/{user}")),
            (None, Some(client)) if is_left_out(&self.user) => Some(format!("clients/{client}")),
            _ => None,
        }
    }

    fn lets_through(&self, entity: &Entity, strict: bool) -> bool {
        // Kafka: asking for users or clients leaves addresses out, and the other way round.
        if entity.address.is_some() && (self.user.is_some() || self.client.is_some()) {
            return false;
        }
        if entity.address.is_none() && self.address.is_some() {
            return false;
        }
        let one = |wanted: &Option<Match>, name: &Option<Name>| match (wanted, name) {
            (None, None) => true,
            (None, Some(_)) => !strict,
            (Some(_), None) => false,
            (Some(Match::Any), Some(_)) => true,
            (Some(Match::Default), Some(name)) => *name == Name::Default,
            (Some(Match::Exactly(wanted)), Some(Name::Of(name))) => **name == **wanted,
            (Some(Match::Exactly(_)), Some(Name::Default)) => false,
        };
        one(&self.user, &entity.user)
            && one(&self.client, &entity.client)
            && one(&self.address, &entity.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_name_server_is_asked_once_patience_has_ended() {
        let mut patient = Lookups::begin();
        assert!(patient.knows("localhost").await);
        patient.until = Instant::now();
        assert!(patient.knows("localhost").await, "as it was known before");
        let mut impatient = Lookups {
            until: Instant::now(),
            ..Lookups::begin()
        };
        assert!(!impatient.knows("localhost").await);
        assert!(impatient.knows("::1").await, "no name");
    }
}

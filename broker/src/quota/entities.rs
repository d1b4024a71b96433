//! User, client, both, default: which limit wins, and who pays together. Pure.
//!
//! Kafka: `ClientQuotaManager.DefaultQuotaCallback`. The most specific limit wins, in the order of
//! [`Limits::find`]. A limit of a user is shared by all his clients; a limit of a user's client, or
//! of a client alone, is that one's own; and a default gives everybody it covers a limit of his own.

use std::collections::HashMap;
use std::sync::Arc;

use crate::quota::Kind;

/// A name, or everybody who has no limit of his own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    Default,
    Of(Arc<str>),
}

impl Name {
    fn of(name: &str) -> Name {
        Name::Of(name.into())
    }
}

/// Whom a limit is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    pub user: Option<Name>,
    pub client: Option<Name>,
    pub address: Option<Name>,
}

impl Entity {
    pub fn user(name: &str) -> Entity {
        Entity {
            user: Some(Name::of(name)),
            ..Entity::default()
        }
    }

    pub fn client(name: &str) -> Entity {
        Entity {
            client: Some(Name::of(name)),
            ..Entity::default()
        }
    }
}

/// Who is charged: those with the same payer share one limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payer {
    user: Arc<str>,
    client: Arc<str>,
}

impl Payer {
    fn new(user: &str, client: &str) -> Payer {
        Payer {
            user: user.into(),
            client: client.into(),
        }
    }
}

/// Every limit that is set.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    of: HashMap<Entity, Vec<(Kind, f64)>>,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub fn set(&mut self, entity: &Entity, limits: &[(Kind, f64)]) {
        if limits.is_empty() {
            self.of.remove(entity);
        } else {
            self.of.insert(entity.clone(), limits.to_vec());
        }
    }

    /// Everybody a limit is set for.
    pub fn named(&self) -> impl Iterator<Item = &Entity> {
        self.of.keys()
    }

    fn limit(&self, kind: Kind, user: Option<Name>, client: Option<Name>) -> Option<f64> {
        let limits = self.of.get(&Entity {
            user,
            client,
            address: None,
        })?;
        limits
            .iter()
            .find(|(held, _)| *held == kind)
            .map(|(_, limit)| *limit)
    }

    /// The limit that counts for a client of a user, and who pays.
    pub fn find(&self, kind: Kind, user: &str, client: &str) -> Option<(Payer, f64)> {
        if self.of.is_empty() {
            return None;
        }
        let (named_user, named_client) = (Some(Name::of(user)), Some(Name::of(client)));
        let default = Some(Name::Default);
        let order = [
            (
                named_user.clone(),
                named_client.clone(),
                Payer::new(user, client),
            ),
            (
                named_user.clone(),
                default.clone(),
                Payer::new(user, client),
            ),
            (named_user, None, Payer::new(user, "")),
            (
                default.clone(),
                named_client.clone(),
                Payer::new(user, client),
            ),
            (default.clone(), default.clone(), Payer::new(user, client)),
            (default.clone(), None, Payer::new(user, "")),
            (None, named_client, Payer::new("", client)),
            (None, default, Payer::new("", client)),
        ];
        order
            .into_iter()
            .find_map(|(user, client, payer)| Some((payer, self.limit(kind, user, client)?)))
    }

    /// The limit on connections from an address.
    pub fn find_address(&self, address: &str) -> Option<(Payer, f64)> {
        let limit = |name: Name| {
            let entity = Entity {
                address: Some(name),
                ..Entity::default()
            };
            let limits = self.of.get(&entity)?;
            limits
                .iter()
                .find(|(kind, _)| *kind == Kind::Connections)
                .map(|(_, limit)| *limit)
        };
        let limit = limit(Name::of(address)).or_else(|| limit(Name::Default))?;
        Some((Payer::new(address, ""), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<&str>, client: Option<&str>) -> Entity {
        let name = |text: &str| {
            if text == "*" {
                Name::Default
            } else {
                Name::of(text)
            }
        };
        Entity {
            user: user.map(name),
            client: client.map(name),
            address: None,
        }
    }

    #[test]
    fn the_most_specific_limit_wins() {
        let order = [
            (Some("u"), Some("c")),
            (Some("u"), Some("*")),
            (Some("u"), None),
            (Some("*"), Some("c")),
            (Some("*"), Some("*")),
            (Some("*"), None),
            (None, Some("c")),
            (None, Some("*")),
        ];
        let mut limits = Limits::default();
        for (at, (user, client)) in order.into_iter().enumerate() {
            limits.set(&entity(user, client), &[(Kind::FetchedBytes, at as f64)]);
        }
        for (at, (user, client)) in order.into_iter().enumerate() {
            let found = limits
                .find(Kind::FetchedBytes, "u", "c")
                .map(|(_, limit)| limit);
            assert_eq!(found, Some(at as f64));
            limits.set(&entity(user, client), &[]);
        }
        assert_eq!(limits.find(Kind::FetchedBytes, "u", "c"), None);
    }

    #[test]
    fn a_users_clients_share_his_limit_and_a_default_gives_each_his_own() {
        let mut limits = Limits::default();
        limits.set(&entity(Some("u"), None), &[(Kind::ProducedBytes, 1.0)]);
        let payer = |user, client| {
            limits
                .find(Kind::ProducedBytes, user, client)
                .map(|(p, _)| p)
        };
        assert_eq!(payer("u", "a"), payer("u", "b"));
        assert_eq!(payer("v", "a"), None);
        let mut limits = Limits::default();
        limits.set(&entity(Some("*"), None), &[(Kind::ProducedBytes, 1.0)]);
        let payer = |user, client| {
            limits
                .find(Kind::ProducedBytes, user, client)
                .map(|(p, _)| p)
        };
        assert_ne!(payer("u", "a"), payer("v", "a"));
    }
}

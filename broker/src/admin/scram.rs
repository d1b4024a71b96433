//! SCRAM credentials of users: told, checked, derived and written to `/config/users`.
//!
//! Kafka: `ZkAdminManager.describeUserScramCredentials` and `alterUserScramCredentials`. A client
//! sends a salted password; stored are the two keys made from it (RFC 5802), never the password.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use znodes::bodies::config::Overrides;
use znodes::bodies::scram::Credential;
use znodes::paths::{desanitize, sanitize};

use crate::admin::entities::{self, Failure, SharedStore};

/// The two mechanisms, numbered as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl Mechanism {
    pub const ALL: [Mechanism; 2] = [Mechanism::Sha256, Mechanism::Sha512];

    pub fn of(number: i8) -> Option<Mechanism> {
        Mechanism::ALL
            .into_iter()
            .find(|mechanism| *mechanism as i8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The keys that are stored for a salted password.
    pub fn credential(self, salt: &[u8], salted_password: &[u8], iterations: i32) -> Credential {
        use aws_lc_rs::{digest, hmac};
        let (hash, mac) = match self {
            Mechanism::Sha256 => (&digest::SHA256, hmac::HMAC_SHA256),
            Mechanism::Sha512 => (&digest::SHA512, hmac::HMAC_SHA512),
        };
        let key = hmac::Key::new(mac, salted_password);
        let client_key = hmac::sign(&key, b"Client Key");
        Credential {
            salt: salt.to_vec(),
            stored_key: digest::digest(hash, client_key.as_ref()).as_ref().to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
            iterations,
        }
    }
}

/// Why a user's credentials are not told or not changed. The order is that of Kafka's checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Username must not be empty")]
    EmptyName,
    #[error("Unknown SCRAM mechanism")]
    UnknownMechanism,
    #[error("Too few iterations")]
    TooFew,
    #[error("Too many iterations")]
    TooMany,
    #[error("A user credential cannot be altered twice in the same request")]
    Twice,
    #[error("Attempt to delete a user credential that does not exist")]
    NothingToDelete,
    #[error("Attempt to describe a user credential that does not exist: {0}")]
    NothingToDescribe(String),
    #[error("Cannot describe SCRAM credentials for the same user twice in a single request: {0}")]
    DescribedTwice(String),
    /// Somebody's password is empty, and no key can be made of it.
    #[error("A salted password must not be empty")]
    Spoilt,
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// A credential to be made, with the mechanism's number as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsertion {
    pub user: String,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: Vec<u8>,
    pub salted_password: Vec<u8>,
}

/// A credential to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub user: String,
    pub mechanism: i8,
}

/// What is told of one user: each mechanism with its iterations.
pub type Told = (String, Result<Vec<(Mechanism, i32)>, Refusal>);

const ITERATIONS_MIN: i32 = 4096;
const ITERATIONS_MAX: i32 = 16_384;

/// The room itself.
#[derive(Clone, Debug)]
pub struct Scram {
    store: SharedStore,
}

impl Scram {
    pub fn new(store: SharedStore) -> Scram {
        Scram { store }
    }

    /// The users asked for, or with none named every user who has credentials.
    pub async fn describe(&self, users: &[String]) -> Result<Vec<Told>, Failure> {
        if users.is_empty() {
            let mut all = BTreeMap::new();
            for (name, overrides) in entities::read_all(&*self.store, "users").await? {
                let held = credentials(&overrides);
                if let Some(name) = desanitize(&name).filter(|_| !held.is_empty()) {
                    all.insert(name, Ok(held));
                }
            }
            return Ok(all.into_iter().collect());
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for user in users {
            *counts.entry(user).or_default() += 1;
        }
        let mut told: Vec<Told> = Vec::new();
        for user in users {
            let Some(times) = counts.remove(user.as_str()) else {
                continue;
            };
            let answer = if user.is_empty() {
                Err(Refusal::EmptyName)
            } else if times > 1 {
                Err(Refusal::DescribedTwice(user.clone()))
            } else {
                match entities::read(&*self.store, &entity(user)).await {
                    Ok(overrides) => match credentials(&overrides) {
                        held if held.is_empty() => Err(Refusal::NothingToDescribe(user.clone())),
                        held => Ok(held),
                    },
                    Err(failure) => Err(failure.into()),
                }
            };
            told.push((user.clone(), answer));
        }
        Ok(told)
    }

    /// Makes and forgets credentials; each user succeeds or fails as a whole.
    ///
    /// The results come in Kafka's order: refused by their content, altered twice, nothing to
    /// delete, done.
    pub async fn alter(
        &self,
        upsertions: &[Upsertion],
        deletions: &[Deletion],
    ) -> Vec<(String, Result<(), Refusal>)> {
        let mut results: Vec<(String, Result<(), Refusal>)> = refused(upsertions, deletions);
        let mut bad: BTreeSet<String> = results.iter().map(|(user, _)| user.clone()).collect();
        let twice = altered_twice(upsertions, deletions, &bad);
        results.extend(twice.iter().map(|user| (user.clone(), Err(Refusal::Twice))));
        bad.extend(twice);
        let asked = by_user(upsertions, deletions, &bad);
        let mut held = Vec::with_capacity(asked.len());
        for (user, asked) in asked {
            match entities::read(&*self.store, &entity(user)).await {
                // Kafka: a name that makes no path ends the whole request.
                Err(failure @ Failure::NoPath(_)) => {
                    return whole(upsertions, deletions, &failure.into());
                }
                overrides => held.push((user, asked, overrides)),
            }
        }
        let (missing, held): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(_, asked, overrides)| {
                let overrides = overrides.as_ref();
                overrides.is_ok_and(|overrides| !asked.finds_all(overrides))
            });
        let missing = missing.into_iter().map(|(user, ..)| user.to_owned());
        results.extend(missing.map(|user| (user, Err(Refusal::NothingToDelete))));
        // Kafka: each user is prepared together with all the others.
        let mut new = held.iter().flat_map(|(_, asked, _)| &asked.upsertions);
        let is_spoilt = new.any(|new| new.salted_password.is_empty());
        for (user, asked, overrides) in held {
            let outcome = match (is_spoilt, overrides) {
                (true, _) => Err(Refusal::Spoilt),
                (false, Err(failure)) => Err(failure.into()),
                (false, Ok(overrides)) => self.alter_one(user, &asked, overrides).await,
            };
            results.push((user.to_owned(), outcome));
        }
        results
    }

    async fn alter_one(
        &self,
        user: &str,
        asked: &Asked<'_>,
        mut overrides: Overrides,
    ) -> Result<(), Refusal> {
        for deletion in &asked.deletions {
            let mechanism = Mechanism::of(deletion.mechanism).ok_or(Refusal::UnknownMechanism)?;
            overrides.remove(mechanism.name());
        }
        for new in &asked.upsertions {
            let mechanism = Mechanism::of(new.mechanism).ok_or(Refusal::UnknownMechanism)?;
            let credential = mechanism.credential(&new.salt, &new.salted_password, new.iterations);
            overrides.set(mechanism.name(), credential.encode());
        }
        Ok(entities::write(&*self.store, &entity(user), &overrides).await?)
    }
}

fn entity(user: &str) -> String {
    format!("users/{}", sanitize(user))
}

/// Everybody who is named hears of it.
fn whole(
    upsertions: &[Upsertion],
    deletions: &[Deletion],
    refusal: &Refusal,
) -> Vec<(String, Result<(), Refusal>)> {
    let named = upsertions.iter().map(|new| &new.user);
    let named: BTreeSet<&String> = named.chain(deletions.iter().map(|old| &old.user)).collect();
    let refused = named.into_iter();
    refused
        .map(|user| (user.clone(), Err(refusal.clone())))
        .collect()
}

fn credentials(overrides: &Overrides) -> Vec<(Mechanism, i32)> {
    let one = |mechanism: Mechanism| {
        let credential = Credential::decode(overrides.get(mechanism.name())?).ok()?;
        Some((mechanism, credential.iterations))
    };
    Mechanism::ALL.into_iter().filter_map(one).collect()
}

/// What is asked of one user.
#[derive(Default)]
struct Asked<'a> {
    upsertions: Vec<&'a Upsertion>,
    deletions: Vec<&'a Deletion>,
}

impl Asked<'_> {
    /// Whether all that is to be deleted is there.
    fn finds_all(&self, overrides: &Overrides) -> bool {
        self.deletions.iter().all(|old| {
            let mechanism = Mechanism::of(old.mechanism);
            mechanism.is_some_and(|mechanism| overrides.get(mechanism.name()).is_some())
        })
    }
}

/// What is asked of each user but the bad ones: a request may name more than a hundred thousand.
fn by_user<'a>(
    upsertions: &'a [Upsertion],
    deletions: &'a [Deletion],
    bad: &BTreeSet<String>,
) -> BTreeMap<&'a str, Asked<'a>> {
    let mut users: BTreeMap<&str, Asked<'a>> = BTreeMap::new();
    for deletion in deletions {
        let asked = users.entry(deletion.user.as_str()).or_default();
        asked.deletions.push(deletion);
    }
    for new in upsertions {
        let asked = users.entry(new.user.as_str()).or_default();
        asked.upsertions.push(new);
    }
    users.retain(|user, _| !bad.contains(*user));
    users
}

/// Users whose part of the request can be refused without looking anywhere.
fn refused(upsertions: &[Upsertion], deletions: &[Deletion]) -> Vec<(String, Result<(), Refusal>)> {
    let mut found: Vec<(String, Result<(), Refusal>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut add = |user: &str, refusal: Refusal| {
        let known = places.get(user).and_then(|place| found.get_mut(*place));
        match known {
            // Kafka: what is wrong with an upsertion is told rather than what is with a deletion.
            Some(entry) => entry.1 = Err(refusal),
            None => {
                places.insert(user.to_owned(), found.len());
                found.push((user.to_owned(), Err(refusal)));
            }
        }
    };
    for deletion in deletions {
        if deletion.user.is_empty() {
            add("", Refusal::EmptyName);
        } else if Mechanism::of(deletion.mechanism).is_none() {
            add(&deletion.user, Refusal::UnknownMechanism);
        }
    }
    for new in upsertions {
        if new.user.is_empty() {
            add("", Refusal::EmptyName);
        } else if Mechanism::of(new.mechanism).is_none() {
            add(&new.user, Refusal::UnknownMechanism);
        } else if new.iterations > ITERATIONS_MAX {
            add(&new.user, Refusal::TooMany);
        } else if new.iterations < ITERATIONS_MIN {
            add(&new.user, Refusal::TooFew);
        }
    }
    found
}

fn altered_twice(
    upsertions: &[Upsertion],
    deletions: &[Deletion],
    bad: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let pairs = upsertions
        .iter()
        .map(|new| (&new.user, new.mechanism))
        .chain(
            deletions
                .iter()
                .map(|deletion| (&deletion.user, deletion.mechanism)),
        );
    pairs
        .filter(|(user, _)| !bad.contains(*user))
        .filter(|pair| !seen.insert(*pair))
        .map(|(user, _)| user.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_users_as_a_request_can_name_are_looked_through_at_once() {
        let deletion = |number: usize| Deletion {
            user: number.to_string(),
            mechanism: if number.is_multiple_of(2) { 0 } else { 1 },
        };
        let deletions: Vec<_> = (0..400_000).map(deletion).collect();
        // Looked at in pairs, these would take minutes.
        let refused = refused(&[], &deletions);
        assert_eq!(refused.len(), 200_000);
        let bad = refused.into_iter().map(|(user, _)| user).collect();
        let users = by_user(&[], &deletions, &bad);
        assert_eq!(users.len(), 200_000);
        assert!(users.values().all(|asked| asked.deletions.len() == 1));
    }

    #[test]
    fn the_keys_are_those_of_rfc_7677s_example() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        // user, pencil, 4096 iterations: the server's final message proves the server key.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = std::num::NonZeroU32::new(4096).unwrap();
        let mut salted = [0; 32];
        let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
        aws_lc_rs::pbkdf2::derive(algorithm, iterations, &salt, b"pencil", &mut salted);
        let credential = Mechanism::Sha256.credential(&salt, &salted, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &credential.server_key);
        let signature = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        assert_eq!(
            STANDARD.encode(signature.as_ref()),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }
}

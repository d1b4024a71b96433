//! `kafka-configs --zookeeper`: an entity's node is written whole, and a notice tells the brokers.
//!
//! Absent: storing passwords, which brokers keep encrypted with a secret of theirs; that is refused
//! by name.

use protocol::kafka::errors::ErrorCode;
use settings::keys;
use settings::row::{Row, Scope};
use znodes::bodies::config::Overrides;
use znodes::paths;
use znodes::store::Store;

use crate::args::Args;
use crate::asked::{Entities, added, deleted};
use crate::failure::Failure;
use crate::print::Out;
use crate::say;
use crate::scram::{Mechanism, Salted};
use crate::zookeeper::{session, writes};

/// What replication may use up can be set on a running broker too.
const THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

pub(crate) async fn run(args: &Args, entities: &Entities, out: &mut Out) -> Result<(), Failure> {
    say!(
        out,
        "Warning: --zookeeper is deprecated and will be removed in a future version of Kafka."
    );
    say!(
        out,
        "Use --bootstrap-server instead to specify a broker to connect to."
    );
    let places = places(entities)?;
    let zk = session(args.required("zookeeper")?).await?;
    let done = match args.has("alter") {
        true => alter(&zk, args, &places, out).await,
        false => describe(&zk, &places, out).await,
    };
    out.flush();
    zk.close().await;
    done
}

/// One step of an entity's path: its type, and its escaped name where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    kind: String,
    name: Option<String>,
}

/// The steps in the order of the path: users stand above their clients.
fn places(entities: &Entities) -> Result<Vec<Place>, Failure> {
    let known = ["topics", "clients", "users", "brokers", "ips"];
    if let Some(kind) = entities
        .types
        .iter()
        .find(|kind| !known.contains(&kind.as_str()))
    {
        return Err(Failure::said(format!(
            "Invalid entity type {kind}, the entity type must be one of topics,clients,users,brokers,ips with the --zookeeper argument"
        )));
    }
    let reverse = entities.types.len() == 2 && entities.types[0] == "clients";
    let mut kinds = entities.types.clone();
    let mut names = entities.names.clone();
    if reverse {
        kinds.reverse();
        if names.len() == 2 {
            names.reverse();
        }
    }
    let mut names = names.into_iter();
    let place = |kind: String| {
        let escaped = kind == "users" || kind == "clients";
        let name = names.next().map(|name| match (name.is_empty(), escaped) {
            (true, _) => paths::DEFAULT_ENTITY.to_owned(),
            (false, true) => paths::sanitize(&name),
            (false, false) => name,
        });
        Place { kind, name }
    };
    Ok(kinds.into_iter().map(place).collect())
}

/// `users/alice/clients/app`.
fn path(places: &[Place]) -> String {
    let steps = places.iter().map(|place| match &place.name {
        Some(name) => format!("{}/{name}", place.kind),
        None => place.kind.clone(),
    });
    steps.collect::<Vec<_>>().join("/")
}

/// The entity as Kafka's sentences call it.
fn called(places: &[Place]) -> String {
    let names = places.iter().map(|place| {
        let kind = match place.kind.as_str() {
            "users" => "user-principal",
            "clients" => "client-id",
            "topics" => "topic",
            other => other,
        };
        match place.name.as_deref() {
            None => place.kind.clone(),
            Some(paths::DEFAULT_ENTITY) => format!("default {kind}"),
            Some(name) if kind == "user-principal" || kind == "client-id" => {
                let plain = paths::desanitize(name);
                format!("{kind} '{}'", plain.as_deref().unwrap_or(name))
            }
            Some(name) => format!("{kind} '{name}'"),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

async fn names_below(zk: &dyn Store, entity: &str) -> Result<Vec<String>, Failure> {
    let mut names = zk
        .list(&paths::entity_config(entity), None)
        .await?
        .unwrap_or_default();
    names.sort();
    Ok(names)
}

/// Every entity meant where names were left out.
async fn every(zk: &dyn Store, places: &[Place]) -> Result<Vec<Vec<Place>>, Failure> {
    let mut made: Vec<Vec<Place>> = vec![Vec::new()];
    for place in places {
        let mut longer = Vec::new();
        for above in made {
            let one = |name: Option<String>| {
                let mut whole = above.clone();
                whole.push(Place {
                    kind: place.kind.clone(),
                    name,
                });
                whole
            };
            if place.name.is_some() {
                longer.push(one(place.name.clone()));
                continue;
            }
            let names = names_below(zk, &path(&one(None))).await?;
            longer.extend(names.into_iter().map(|name| one(Some(name))));
        }
        made = longer;
    }
    Ok(made)
}

async fn describe(zk: &dyn Store, places: &[Place], out: &mut Out) -> Result<(), Failure> {
    let all_users = matches!(places, [one] if one.kind == "users" && one.name.is_none());
    for entity in every(zk, places).await? {
        let overrides = writes::overrides(zk, &path(&entity)).await?;
        // A user's node may be there for its clients' sake only.
        if overrides.is_empty() && all_users {
            continue;
        }
        let pairs: Vec<String> = overrides
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        say!(
            out,
            "Configs for {} are {}",
            called(&entity),
            pairs.join(",")
        );
    }
    Ok(())
}

async fn alter(
    zk: &dyn Store,
    args: &Args,
    places: &[Place],
    out: &mut Out,
) -> Result<(), Failure> {
    let (add, delete) = (added(args)?, deleted(args));
    change(zk, places, add, &delete).await?;
    say!(
        out,
        "Completed updating config for entity: {}.",
        called(places)
    );
    Ok(())
}

async fn change(
    zk: &dyn Store,
    places: &[Place],
    add: impl IntoIterator<Item = (String, String)>,
    delete: &[String],
) -> Result<(), Failure> {
    let mut add: Overrides = add.into_iter().collect();
    for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
        let asked = add.get(mechanism.name()).map(str::to_owned);
        if let Some(asked) = asked.filter(|_| places[places.len() - 1].kind == "users") {
            let spelled = mechanism.name().replace('-', "_");
            let salted = Salted::read(mechanism, &asked, &spelled)?;
            add.set(mechanism.name(), salted.credential().encode());
        }
    }
    if places[0].kind == "brokers" {
        check_broker(zk, &places[0], &add).await?;
    }
    let entity = path(places);
    let mut overrides = writes::overrides(zk, &entity).await?;
    let absent: Vec<&str> = delete
        .iter()
        .map(String::as_str)
        .filter(|key| overrides.get(key).is_none())
        .collect();
    if !absent.is_empty() {
        return Err(Failure::said(format!(
            "Invalid config(s): {}",
            absent.join(",")
        )));
    }
    for (key, value) in add.iter() {
        overrides.set(key, value);
    }
    for key in delete {
        overrides.remove(key);
    }
    check_whole(zk, places, &overrides).await?;
    writes::change_overrides(zk, &entity, &overrides).await
}

/// Kafka: most of a broker's settings may be written only while it is not running.
async fn check_broker(zk: &dyn Store, place: &Place, add: &Overrides) -> Result<(), Failure> {
    let free = |key: &str| THROTTLES.contains(&key);
    let bound: Vec<&str> = add
        .iter()
        .map(|(key, _)| key)
        .filter(|key| !free(key))
        .collect();
    if bound.is_empty() {
        return Ok(());
    }
    let name = place.name.as_deref().unwrap_or_default();
    let default = name == paths::DEFAULT_ENTITY;
    let ids = zk.list(paths::IDS, None).await?.unwrap_or_default();
    let running = match default {
        true => !ids.is_empty(),
        false => ids.iter().any(|id| id == name),
    };
    if running {
        let when = match default {
            true => "for default cluster if any broker is running".to_owned(),
            false => format!("when broker {name} is running"),
        };
        return Err(Failure::said(format!(
            "requirement failed: --bootstrap-server option must be specified to update broker configs Set({}). {when}. Broker configuration updates using ZooKeeper are supported for bootstrapping before brokers are started to enable encrypted password configs to be stored in ZooKeeper.",
            bound.join(", ")
        )));
    }
    for key in bound {
        let Some(row) = keys::broker_or_listener(key) else {
            continue;
        };
        if row.sensitive() {
            return Err(Failure::Absent(format!(
                "storing the password {key} with kafka-configs --zookeeper"
            )));
        }
        let dynamic = match row.scope {
            Scope::ClusterWide => true,
            Scope::PerBroker => !default,
            Scope::ReadOnly | Scope::Topic => false,
        };
        if !dynamic {
            return Err(Failure::said(format!(
                "Cannot update these configs dynamically: Set({key})"
            )));
        }
    }
    Ok(())
}

/// Kafka: these are said below a line with the whole command.
fn refused(words: String) -> Failure {
    Failure::Refused {
        code: ErrorCode::InvalidConfig,
        message: Some(words),
    }
}

/// All the overrides an entity would have, against what it may have.
async fn check_whole(
    zk: &dyn Store,
    places: &[Place],
    overrides: &Overrides,
) -> Result<(), Failure> {
    let last = &places[places.len() - 1];
    if last.kind == "topics" {
        let name = last.name.as_deref().unwrap_or_default();
        protocol::names::check_topic_name(name).map_err(Failure::Said)?;
        if zk.exists(&paths::topic(name), None).await?.is_none() {
            return Err(refused(format!("Topic '{name}' does not exist.")));
        }
        let checked = settings::topics::check(&writes::texts(overrides), &Default::default());
        return checked.map_err(|refusal| {
            let words = refusal.to_string();
            match words.starts_with("Unknown topic config name") {
                true => Failure::Said(words),
                false => refused(words),
            }
        });
    }
    for (key, value) in overrides.iter() {
        let number = match (last.kind.as_str(), key) {
            ("users" | "clients", "producer_byte_rate" | "consumer_byte_rate") => {
                value.parse::<i64>().map(|_| ()).map_err(|_| "LONG")
            }
            ("users" | "clients", "request_percentage" | "controller_mutation_rate") => {
                value.parse::<f64>().map(|_| ()).map_err(|_| "DOUBLE")
            }
            ("ips", "connection_creation_rate") => {
                value.parse::<i32>().map(|_| ()).map_err(|_| "INT")
            }
            ("users", "SCRAM-SHA-256" | "SCRAM-SHA-512") => Ok(()),
            ("brokers", key) => {
                let row: Option<&Row> = keys::broker_or_listener(key);
                if let Some(Err(fault)) = row.map(|row| row.read(value)) {
                    return Err(Failure::said(fault.to_string()));
                }
                Ok(())
            }
            _ => {
                return Err(Failure::said(format!(
                    "requirement failed: Unknown Dynamic Configuration: Set({key})."
                )));
            }
        };
        number.map_err(|kind| {
            Failure::said(format!(
                "Invalid value {value} for configuration {key}: Not a number of type {kind}"
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::Clock;
    use znodes::memory::{Memory, World};
    use znodes::store::create_with_parents;

    fn world() -> Memory {
        World::new(Clock::system()).connect()
    }

    fn of(types: &[&str], names: &[&str]) -> Vec<Place> {
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect();
        places(&Entities {
            types: words(types),
            names: words(names),
        })
        .unwrap()
    }

    fn pair(key: &str, value: &str) -> [(String, String); 1] {
        [(key.to_owned(), value.to_owned())]
    }

    async fn text(zk: &Memory, path: &str) -> String {
        let node = zk.get(path, None).await.unwrap().unwrap();
        String::from_utf8(node.data).unwrap()
    }

    #[tokio::test]
    async fn a_change_writes_the_entity_and_tells_the_brokers() {
        let zk = world();
        let both = of(&["clients", "users"], &["app 1", "alice"]);
        assert_eq!(called(&both), "user-principal 'alice', client-id 'app 1'");
        change(&zk, &both, pair("producer_byte_rate", "1024"), &[])
            .await
            .unwrap();
        assert_eq!(
            text(&zk, "/config/users/alice/clients/app%201").await,
            r#"{"version":1,"config":{"producer_byte_rate":"1024"}}"#
        );
        assert_eq!(
            text(&zk, "/config/changes/config_change_0000000000").await,
            r#"{"version":2,"entity_path":"users/alice/clients/app%201"}"#
        );
        let listed = every(&zk, &of(&["users", "clients"], &[])).await.unwrap();
        assert_eq!(listed, [both]);
    }

    #[tokio::test]
    async fn what_an_entity_cannot_have_is_refused_and_nothing_written() {
        let zk = world();
        let refused = [
            (
                of(&["topics"], &["t"]),
                pair("retention.ms", "1"),
                "Topic 't' does not exist.",
            ),
            (
                of(&["clients"], &["c"]),
                pair("nope", "1"),
                "requirement failed: Unknown Dynamic Configuration: Set(nope).",
            ),
            (
                of(&["ips"], &["127.0.0.1"]),
                pair("connection_creation_rate", "x"),
                "Invalid value x for configuration connection_creation_rate: Not a number of type INT",
            ),
        ];
        for (places, add, words) in refused {
            let failure = change(&zk, &places, add, &[]).await.unwrap_err();
            assert_eq!(failure.to_string(), words);
        }
        let gone = vec!["retention.ms".to_owned()];
        let failure = change(&zk, &of(&["topics"], &["t"]), [], &gone)
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), "Invalid config(s): retention.ms");
        assert!(zk.list("/config", None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_running_broker_is_changed_through_itself_except_for_its_throttles() {
        let zk = world();
        create_with_parents(&zk, "/brokers/ids/1", b"")
            .await
            .unwrap();
        let one = of(&["brokers"], &["1"]);
        let failure = change(&zk, &one, pair("log.retention.ms", "1"), &[])
            .await
            .unwrap_err();
        assert!(failure.to_string().contains("when broker 1 is running"));
        change(&zk, &one, pair(THROTTLES[0], "7"), &[])
            .await
            .unwrap();
        change(
            &zk,
            &of(&["brokers"], &["2"]),
            pair("log.retention.ms", "1"),
            &[],
        )
        .await
        .unwrap();
    }
}

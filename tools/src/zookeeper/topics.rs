//! `kafka-topics --zookeeper`: list, describe, create, grow, configure and delete topics.
//!
//! As Kafka 2.8 wrote them: a topic's node without an id, which the controller adds when it sees it.

use std::collections::{BTreeMap, BTreeSet};

use base::chance::Chance;
use controller::assign::{Candidate, assign};
use protocol::names::{
    CONSUMER_OFFSETS, TOPIC_NAME_LEN_MAX, TRANSACTION_STATE, check_topic_name, collide,
};
use serde_json::Value;
use znodes::bodies::broker::Broker;
use znodes::bodies::config::Overrides;
use znodes::bodies::topic::{Assignment, Topic};
use znodes::paths;
use znodes::store::{Op, Store, create_with_parents};

use crate::args::Args;
use crate::asked::{assignment, overrides, warn_of_collisions};
use crate::failure::Failure;
use crate::filter::Filter;
use crate::java;
use crate::print::{Out, joined};
use crate::say;
use crate::zookeeper::{session, writes};

pub(crate) async fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let zk = session(args.required("zookeeper")?).await?;
    let done = act(args, &zk, out).await;
    out.flush();
    zk.close().await;
    match done {
        Err(failure @ (Failure::Misuse { .. } | Failure::Exit(_))) => Err(failure),
        Err(failure) => {
            say!(out, "Error while executing topic command : {failure}");
            Err(Failure::Exit(1))
        }
        Ok(()) => Ok(()),
    }
}

async fn act(args: &Args, zk: &dyn Store, out: &mut Out) -> Result<(), Failure> {
    args.once()?;
    if args.has("create") {
        return create(args, zk, &Chance::from_kernel(), out).await;
    }
    let names = matching(args, zk).await?;
    match () {
        () if args.has("list") => {
            for name in names {
                let marked = zk
                    .exists(&paths::delete_topic(&name), None)
                    .await?
                    .is_some();
                say!(
                    out,
                    "{name}{}",
                    if marked { " - marked for deletion" } else { "" }
                );
            }
            Ok(())
        }
        () if args.has("describe") => describe(args, zk, &names, out).await,
        () if args.has("alter") => alter(args, zk, &names, out).await,
        () => delete(zk, &names, out).await,
    }
}

/// The internal topics that this tool's Kafka knew.
fn is_internal(name: &str) -> bool {
    [CONSUMER_OFFSETS, TRANSACTION_STATE].contains(&name)
}

async fn matching(args: &Args, zk: &dyn Store) -> Result<Vec<String>, Failure> {
    let mut names = zk.list(paths::TOPICS, None).await?.unwrap_or_default();
    names.sort();
    let exclude = args.has("exclude-internal");
    names.retain(|name| !(exclude && is_internal(name)));
    if let Some(pattern) = args.get("topic") {
        let filter = Filter::new(pattern)?;
        names.retain(|name| filter.allows(name));
        if names.is_empty() && !args.has("if-exists") && !args.has("list") {
            return Err(Failure::said(format!(
                "Topic '{pattern}' does not exist as expected"
            )));
        }
    }
    Ok(names)
}

async fn read(zk: &dyn Store, path: &str) -> Result<Option<Value>, Failure> {
    let node = zk.get(path, None).await?;
    Ok(node.and_then(|node| serde_json::from_slice(&node.data).ok()))
}

fn numbers(list: Option<&Value>) -> Vec<i32> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|id| id.as_i64().and_then(|id| i32::try_from(id).ok()))
        .collect()
}

async fn describe(
    args: &Args,
    zk: &dyn Store,
    names: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    let live: Vec<i32> = zk
        .list(paths::IDS, None)
        .await?
        .unwrap_or_default()
        .iter()
        .filter_map(|id| id.parse().ok())
        .collect();
    for name in names {
        let Some(topic) = read(zk, &paths::topic(name)).await? else {
            continue;
        };
        let mut partitions: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (id, replicas) in topic
            .get("partitions")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Ok(id) = id.parse() {
                partitions.insert(id, numbers(Some(replicas)));
            }
        }
        let overrides = writes::overrides(zk, &format!("topics/{name}")).await?;
        let pairs: Vec<(&str, &str)> = overrides.iter().collect();
        // Kafka: by way of a second hash map, with room for just so many.
        let pairs: Vec<String> =
            java::order(pairs, overrides.len(), |(key, _)| java::string_hash(key))
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
        let marked = zk.exists(&paths::delete_topic(name), None).await?.is_some();
        let marked = if marked {
            "\tMarkedForDeletion: true"
        } else {
            ""
        };
        let id = topic.get("topic_id").and_then(Value::as_str);
        let reports = ["under-replicated-partitions", "unavailable-partitions"];
        let reported = reports.iter().any(|report| args.has(report));
        if !reported && (!args.has("topics-with-overrides") || !pairs.is_empty()) {
            let id = id.map_or(String::new(), |id| format!("\tTopicId: {id}"));
            let factor = partitions.values().next().map_or(0, Vec::len);
            say!(
                out,
                "Topic: {name}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}{marked}",
                partitions.len(),
                pairs.join(",")
            );
        }
        if args.has("topics-with-overrides") {
            continue;
        }
        for (partition, replicas) in partitions {
            let state = read(zk, &paths::partition_state(name, partition)).await?;
            let isr = numbers(state.as_ref().and_then(|state| state.get("isr")));
            let leader = state
                .as_ref()
                .and_then(|state| state.get("leader")?.as_i64());
            let available = leader.is_some_and(|id| live.iter().any(|one| i64::from(*one) == id));
            let show = !reported
                || args.has("under-replicated-partitions") && isr.len() < replicas.len()
                || args.has("unavailable-partitions") && !available;
            if show {
                let leader = leader
                    .filter(|id| *id >= 0)
                    .map_or("none".to_string(), |id| id.to_string());
                say!(
                    out,
                    "\tTopic: {name}\tPartition: {partition}\tLeader: {leader}\tReplicas: {}\tIsr: {}{marked}",
                    joined(replicas.into_iter()),
                    joined(isr.into_iter())
                );
            }
        }
    }
    Ok(())
}

async fn delete(zk: &dyn Store, names: &[String], out: &mut Out) -> Result<(), Failure> {
    for name in names {
        if is_internal(name) {
            return Err(Failure::said(format!(
                "Topic {name} is a kafka internal topic and is not allowed to be marked for deletion."
            )));
        }
        // Kafka: where no broker has ever run, the folder of these marks is still to be made.
        match create_with_parents(zk, &paths::delete_topic(name), b"").await {
            Ok(_) => {}
            Err(error) if error.is_node_exists() => {
                say!(out, "Topic {name} is already marked for deletion.");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        say!(out, "Topic {name} is marked for deletion.");
        say!(
            out,
            "Note: This will have no impact if delete.topic.enable is not set to true."
        );
    }
    Ok(())
}

/// The overrides a command line adds, checked by themselves.
fn added(args: &Args) -> Result<Overrides, Failure> {
    let texts = overrides(args)?;
    settings::topics::check(&texts, &Default::default())
        .map_err(|refusal| Failure::said(refusal.to_string()))?;
    Ok(texts.into_iter().collect())
}

/// Kafka 2.8's words, which are not those of 3.9.
fn check_name(name: &str) -> Result<(), Failure> {
    if check_topic_name(name).is_ok() {
        return Ok(());
    }
    Err(Failure::Said(match name {
        "" => "Topic name is illegal, it can't be empty".to_owned(),
        "." | ".." => "Topic name cannot be \".\" or \"..\"".to_owned(),
        long if long.len() > TOPIC_NAME_LEN_MAX => format!(
            "Topic name is illegal, it can't be longer than {TOPIC_NAME_LEN_MAX} characters, topic name: {long}"
        ),
        other => format!(
            "Topic name \"{other}\" is illegal, it contains a character other than ASCII alphanumerics, '.', '_' and '-'"
        ),
    }))
}

/// The brokers that are there, with their racks if those count.
async fn candidates(zk: &dyn Store, racks: bool) -> Result<Vec<Candidate>, Failure> {
    let mut made = Vec::new();
    for id in zk.list(paths::IDS, None).await?.unwrap_or_default() {
        let Ok(id) = id.parse::<i32>() else { continue };
        let path = paths::broker(id);
        let Some(node) = zk.get(&path, None).await? else {
            continue;
        };
        let broker =
            Broker::decode(&node.data).map_err(|cause| writes::unreadable(&path, &cause))?;
        let rack = broker.rack.filter(|_| racks);
        made.push(Candidate { id, rack });
    }
    made.sort_by_key(|broker| broker.id);
    let racked = made.iter().filter(|broker| broker.rack.is_some()).count();
    if racked != 0 && racked != made.len() {
        return Err(Failure::said(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.",
        ));
    }
    Ok(made)
}

async fn create(
    args: &Args,
    zk: &dyn Store,
    chance: &Chance,
    out: &mut Out,
) -> Result<(), Failure> {
    let name = args.required("topic")?;
    let configs = added(args)?;
    let listed = args
        .get("replica-assignment")
        .filter(|list| !list.is_empty());
    let listed = listed.map(assignment).transpose()?;
    warn_of_collisions(name, out);
    let partitions: BTreeMap<i32, Vec<i32>> = match listed {
        Some(lists) => (0..).zip(lists).collect(),
        None => {
            let brokers = candidates(zk, !args.has("disable-rack-aware")).await?;
            let places = u64::try_from(brokers.len()).unwrap_or(0);
            let (start, shift) = (chance.below(places), chance.below(places));
            let count = args.parsed("partitions")?.unwrap_or(0);
            let factor = args.parsed("replication-factor")?.unwrap_or(0);
            assign(&brokers, count, factor, 0, start as usize, shift as usize)
                .map_err(|refusal| Failure::said(refusal.to_string()))?
        }
    };
    check_name(name)?;
    let exists = || Failure::said(format!("Topic '{name}' already exists."));
    let all = zk.list(paths::TOPICS, None).await?.unwrap_or_default();
    if all.iter().any(|other| other == name) {
        return match args.has("if-not-exists") {
            true => Ok(()),
            false => Err(exists()),
        };
    }
    let colliding: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|other| name.contains(['.', '_']) && collide(name, other))
        .collect();
    if !colliding.is_empty() {
        return Err(Failure::said(format!(
            "Topic '{name}' collides with existing topics: {}",
            colliding.join(", ")
        )));
    }
    let partitions = partitions.into_iter();
    let topic = Topic {
        id: None,
        partitions: partitions
            .map(|(id, replicas)| (id, Assignment::of(replicas)))
            .collect(),
    };
    let (path, body) = (paths::topic(name), topic.encode());
    // Before anything is written: a topic that ZooKeeper does not take leaves no overrides behind.
    zk.fits(&[Op::create(path.as_str(), body.as_str())])?;
    writes::write_overrides(zk, &format!("topics/{name}"), &configs).await?;
    match create_with_parents(zk, &path, body.as_bytes()).await {
        Ok(_) => say!(out, "Created topic {name}."),
        Err(error) if error.is_node_exists() && args.has("if-not-exists") => {}
        Err(error) if error.is_node_exists() => return Err(exists()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn alter(
    args: &Args,
    zk: &dyn Store,
    names: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    let configs = added(args)?;
    let removed = args.all("delete-config");
    if let Some(wrong) = removed
        .iter()
        .find(|key| settings::keys::topic(key.trim()).is_none())
    {
        return Err(Failure::said(format!(
            "Unknown topic config name: {}",
            wrong.trim()
        )));
    }
    let listed = args
        .get("replica-assignment")
        .filter(|list| !list.is_empty());
    let listed = listed.map(assignment).transpose()?;
    let wanted = args.parsed::<i32>("partitions")?;
    for name in names {
        if args.has("config") || args.has("delete-config") {
            say!(
                out,
                "WARNING: Altering topic configuration from this script has been deprecated and may be removed in future releases."
            );
            say!(
                out,
                "         Going forward, please use kafka-configs.sh for this functionality"
            );
            let entity = format!("topics/{name}");
            let mut whole = writes::overrides(zk, &entity).await?;
            for (key, value) in configs.iter() {
                whole.set(key, value);
            }
            for key in removed {
                whole.remove(key.trim());
            }
            settings::topics::check(&writes::texts(&whole), &Default::default())
                .map_err(|refusal| Failure::said(refusal.to_string()))?;
            writes::change_overrides(zk, &entity, &whole).await?;
            say!(out, "Updated config for topic {name}.");
        }
        let Some(wanted) = wanted else { continue };
        if is_internal(name) {
            return Err(Failure::said(format!(
                "The number of partitions for the internal topic {name} cannot be changed."
            )));
        }
        say!(
            out,
            "WARNING: If partitions are increased for a topic that has a key, the partition logic or ordering of the messages will be affected"
        );
        grow(zk, name, wanted, listed.as_deref()).await?;
        say!(out, "Adding partitions succeeded!");
    }
    Ok(())
}

/// Adds partitions up to `wanted`, on the brokers listed for them or spread as Kafka does.
async fn grow(
    zk: &dyn Store,
    name: &str,
    wanted: i32,
    listed: Option<&[Vec<i32>]>,
) -> Result<(), Failure> {
    let mut topic = writes::topic(zk, name).await?.unwrap_or_default();
    let brokers = candidates(zk, true).await?;
    let first = topic.partitions.get(&0).map(|one| one.replicas.clone());
    let Some(first) = first else {
        return Err(Failure::said(format!(
            "Unexpected existing replica assignment for topic '{name}', partition id 0 is missing."
        )));
    };
    let now = topic.partitions.len();
    let count = i32::try_from(now).unwrap_or(i32::MAX);
    if wanted <= count {
        return Err(Failure::said(format!(
            "The number of partitions for a topic can only be increased. Topic {name} currently has {count} partitions, {wanted} would not be an increase."
        )));
    }
    let listed = listed.map(|lists| lists.get(now..).unwrap_or_default());
    let more: BTreeMap<i32, Vec<i32>> = match listed.filter(|lists| !lists.is_empty()) {
        Some(lists) => {
            let more = (count..).zip(lists.iter().cloned()).collect();
            check_listed(&more, first.len(), &brokers)?;
            more
        }
        None => {
            let leader = first.first().copied().unwrap_or(0);
            let start = brokers
                .iter()
                .position(|broker| broker.id >= leader)
                .unwrap_or(0);
            let factor = i32::try_from(first.len()).unwrap_or(i32::MAX);
            assign(&brokers, wanted - count, factor, count, start, start)
                .map_err(|refusal| Failure::said(refusal.to_string()))?
        }
    };
    let more = more.into_iter();
    topic
        .partitions
        .extend(more.map(|(id, replicas)| (id, Assignment::of(replicas))));
    let body = topic.encode();
    zk.set(&paths::topic(name), body.as_bytes(), znodes::store::ANY)
        .await?;
    Ok(())
}

fn check_listed(
    more: &BTreeMap<i32, Vec<i32>>,
    factor: usize,
    brokers: &[Candidate],
) -> Result<(), Failure> {
    let there: BTreeSet<i32> = brokers.iter().map(|broker| broker.id).collect();
    let spaced = |ids: &mut dyn Iterator<Item = String>| ids.collect::<Vec<_>>().join(", ");
    for (partition, replicas) in more {
        if replicas.iter().any(|id| !there.contains(id)) {
            return Err(Failure::said(format!(
                "Some brokers specified for partition id {partition} are not available. Specified brokers: {}, available brokers: {}.",
                spaced(&mut replicas.iter().map(i32::to_string)),
                spaced(&mut there.iter().map(i32::to_string))
            )));
        }
    }
    let bad = || more.iter().filter(|(_, replicas)| replicas.len() != factor);
    if bad().next().is_none() {
        return Ok(());
    }
    Err(Failure::said(format!(
        "Inconsistent replication factor between partitions, partition 0 has {factor} while partitions [{}] have replication factors [{}], respectively.",
        spaced(&mut bad().map(|(partition, _)| partition.to_string())),
        spaced(&mut bad().map(|(_, replicas)| replicas.len().to_string()))
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::Clock;
    use znodes::memory::{Memory, World};

    async fn world(racks: &[Option<&str>]) -> Memory {
        let zk = World::new(Clock::system()).connect();
        for (id, rack) in racks.iter().enumerate() {
            let broker = Broker {
                version: znodes::bodies::broker::VERSION,
                endpoints: Vec::new(),
                rack: rack.map(str::to_owned),
                features: Vec::new(),
                jmx_port: -1,
                timestamp: 0,
            };
            let path = format!("{}/{id}", paths::IDS);
            create_with_parents(&zk, &path, broker.encode().as_bytes())
                .await
                .unwrap();
        }
        zk
    }

    async fn run(zk: &Memory, line: &str) -> Result<(), String> {
        const FLAGS: crate::args::Usage = crate::args::Usage {
            about: "",
            flags: &[
                crate::args::switch("create", ""),
                crate::args::switch("alter", ""),
                crate::args::switch("delete", ""),
                crate::args::switch("if-not-exists", ""),
                crate::args::switch("if-exists", ""),
                crate::args::switch("disable-rack-aware", ""),
                crate::args::valued("topic", "", ""),
                crate::args::valued("partitions", "", ""),
                crate::args::valued("replication-factor", "", ""),
                crate::args::valued("replica-assignment", "", ""),
                crate::args::repeated("config", "", ""),
                crate::args::repeated("delete-config", "", ""),
            ],
        };
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let args = Args::read(FLAGS, &words).unwrap();
        let done = act(&args, zk, &mut Out::new()).await;
        done.map_err(|failure| failure.to_string())
    }

    async fn text(zk: &Memory, path: &str) -> String {
        let node = zk.get(path, None).await.unwrap().unwrap();
        String::from_utf8(node.data).unwrap()
    }

    #[tokio::test]
    async fn a_topic_is_written_without_id_its_overrides_first() {
        let zk = world(&[None, None]).await;
        run(
            &zk,
            "--create --topic t --replica-assignment 1:0,0:1 --config retention.ms=60000",
        )
        .await
        .unwrap();
        assert_eq!(
            text(&zk, "/brokers/topics/t").await,
            r#"{"partitions":{"0":[1,0],"1":[0,1]},"adding_replicas":{},"removing_replicas":{},"version":3}"#
        );
        assert_eq!(
            text(&zk, "/config/topics/t").await,
            r#"{"version":1,"config":{"retention.ms":"60000"}}"#
        );
        assert!(
            zk.list(paths::CONFIG_CHANGES, None)
                .await
                .unwrap()
                .is_none()
        );
        let again = "--create --topic t --partitions 1 --replication-factor 1";
        assert_eq!(
            run(&zk, again).await.unwrap_err(),
            "Topic 't' already exists."
        );
        run(&zk, &format!("{again} --if-not-exists")).await.unwrap();
    }

    #[tokio::test]
    async fn a_topic_that_zookeeper_does_not_take_leaves_nothing_behind() {
        let zk = world(&[None]).await;
        let many = "--create --topic t --partitions 100000 --replication-factor 1";
        let refused = run(&zk, many).await.unwrap_err();
        assert!(refused.contains("jute.maxbuffer"), "{refused}");
        assert_eq!(zk.exists("/config/topics/t", None).await, Ok(None));
    }

    #[tokio::test]
    async fn names_configs_and_factors_are_refused_in_the_words_of_2_8() {
        let zk = world(&[None]).await;
        let create = |rest: &str| format!("--create --partitions 1 --replication-factor {rest}");
        run(&zk, &create("1 --topic a.b")).await.unwrap();
        for (line, words) in [
            (
                "1 --topic a_b",
                "Topic 'a_b' collides with existing topics: a.b",
            ),
            (
                "1 --topic a/b",
                "Topic name \"a/b\" is illegal, it contains a character other than ASCII alphanumerics, '.', '_' and '-'",
            ),
            (
                "2 --topic c",
                "Replication factor: 2 larger than available brokers: 1.",
            ),
            (
                "1 --topic c --config nope=1",
                "Unknown topic config name: nope",
            ),
        ] {
            assert_eq!(run(&zk, &create(line)).await.unwrap_err(), words);
        }
        assert!(zk.exists("/config/topics/c", None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn racks_count_unless_they_are_switched_off() {
        let zk = world(&[Some("a"), None]).await;
        let line = "--create --topic t --partitions 1 --replication-factor 2";
        assert!(
            run(&zk, line)
                .await
                .unwrap_err()
                .contains("--disable-rack-aware")
        );
        run(&zk, &format!("{line} --disable-rack-aware"))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_topic_grows_and_keeps_its_id() {
        let zk = world(&[None, None, None]).await;
        let id = "xJ3FIo7HQoKDu3P_FkSIsQ";
        let body = format!(r#"{{"partitions":{{"0":[1,2]}},"topic_id":"{id}","version":3}}"#);
        create_with_parents(&zk, "/brokers/topics/t", body.as_bytes())
            .await
            .unwrap();
        assert!(
            run(&zk, "--alter --topic t --partitions 1")
                .await
                .unwrap_err()
                .ends_with("1 would not be an increase.")
        );
        run(
            &zk,
            "--alter --topic t --partitions 2 --replica-assignment 1:2,2:0",
        )
        .await
        .unwrap();
        let more = run(
            &zk,
            "--alter --topic t --partitions 3 --replica-assignment 1:2,2:0,0:7",
        )
        .await;
        assert!(
            more.unwrap_err()
                .starts_with("Some brokers specified for partition id 2")
        );
        // Kafka: start and shift are both the place of the first leader, here 1.
        run(&zk, "--alter --topic t --partitions 3").await.unwrap();
        assert_eq!(
            text(&zk, "/brokers/topics/t").await,
            format!(
                r#"{{"partitions":{{"0":[1,2],"1":[2,0],"2":[0,2]}},"topic_id":"{id}","adding_replicas":{{}},"removing_replicas":{{}},"version":3}}"#
            )
        );
    }

    #[tokio::test]
    async fn overrides_change_and_deletion_is_marked() {
        let zk = world(&[None]).await;
        run(
            &zk,
            "--create --topic t --partitions 1 --replication-factor 1 --config retention.ms=1",
        )
        .await
        .unwrap();
        run(
            &zk,
            "--alter --topic t --config segment.bytes=1024 --delete-config retention.ms",
        )
        .await
        .unwrap();
        assert_eq!(
            text(&zk, "/config/topics/t").await,
            r#"{"version":1,"config":{"segment.bytes":"1024"}}"#
        );
        assert_eq!(
            text(&zk, "/config/changes/config_change_0000000000").await,
            r#"{"version":2,"entity_path":"topics/t"}"#
        );
        // No broker has made the folder of these marks yet.
        run(&zk, "--delete --topic t").await.unwrap();
        assert!(
            zk.exists("/admin/delete_topics/t", None)
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(
            run(&zk, "--delete --topic nope").await.unwrap_err(),
            "Topic 'nope' does not exist as expected"
        );
    }
}

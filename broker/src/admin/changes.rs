//! What others wrote below `/config`, taken over: settings, topics' overrides, limits.
//!
//! Kafka: `ZkConfigManager`. At the start, and whenever the session was renewed, everything is read;
//! in between a notice names one entity, which is read again. A notice that cannot be understood is
//! told and passed over.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Clock;
use base::stop::Stop;
use controller::ControllerHandle;
use protocol::ids::BrokerId;
use replication::replicas::Replicas;
use settings::layers::Texts;
use settings::value::Fault;
use znodes::bodies::config::{Overrides, decode_notice};
use znodes::changes::{Changes, Notice};
use znodes::paths;

use crate::admin::configs::{Whose, in_the_clear, obeyed};
use crate::admin::entities::{self, DEFAULT, Failure, SharedStore};
use crate::admin::quotas::{self, Hosts};
use crate::admin::secrets;
use crate::config::{Live, TopicSettings};
use crate::quota::Quotas;

/// Everyone who obeys what stands below `/config`.
#[derive(Clone)]
pub struct Obeying {
    pub broker: BrokerId,
    pub live: Live,
    pub topics: TopicSettings,
    pub quotas: Arc<Quotas>,
    pub hosts: Hosts,
    /// `None` before the logs are open: they are opened with what was read.
    pub replicas: Option<Arc<Replicas>>,
    /// `None` before it was started: it starts with what was read.
    pub controller: Option<ControllerHandle>,
}

impl std::fmt::Debug for Obeying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Obeying")
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

/// Reads all there is. Called before the logs are opened, and after every renewal of the session.
pub async fn read_everything(store: &SharedStore, obeying: &Obeying) -> Result<(), Failure> {
    for whose in [DEFAULT.to_owned(), obeying.broker.to_string()] {
        apply(store, obeying, &format!("brokers/{whose}")).await?;
    }
    let topics = entities::read_all(&**store, "topics").await?;
    let mut gone = obeying.topics.named();
    for (topic, overrides) in topics {
        gone.retain(|name| **name != *topic);
        obeying.topic(&topic, &overrides);
    }
    for topic in gone {
        obeying.topic(&topic, &Overrides::default());
    }
    let mut free = obeying.quotas.named();
    let limited = quotas::all(store).await?;
    obeying.hosts.keep(limited.iter().map(|(entity, _)| entity));
    for (entity, overrides) in limited {
        match obeying.hosts.counted(&entity).await {
            Some(counted) => {
                free.remove(&counted);
                obeying.quotas.set(&counted, &quotas::limits(&overrides));
            }
            None => {
                tracing::error!(
                    ?entity,
                    "read limits of a host: nobody knows its address; the one it had stays limited as it was"
                );
                if let Some(held) = obeying.hosts.last_counted(&entity) {
                    free.remove(&held);
                }
            }
        }
    }
    // Their nodes went, and the notices of that, while nothing could be heard here.
    for entity in free {
        obeying.quotas.set(&entity, &[]);
    }
    Ok(())
}

/// Passwords that only `password.encoder.old.secret` opens are encrypted with the new one, so that
/// the old secret can be taken out after this start.
///
/// Kafka: `DynamicBrokerConfig.maybeReEncodePasswords`.
pub async fn renew_secrets(store: &SharedStore, obeying: &Obeying) -> Result<(), Failure> {
    let entity = format!("brokers/{}", obeying.broker);
    let mut held = entities::texts(&entities::read(&**store, &entity).await?);
    let known = &obeying.live.now().secrets;
    let mut renewed = false;
    for (key, text) in held.iter_mut().filter(|(key, _)| secrets::is_secret(key)) {
        let Some(clear) = secrets::decrypt_old(known, text) else {
            continue;
        };
        match secrets::encrypt(known, &clear) {
            Ok(sealed) => {
                *text = sealed;
                renewed = true;
            }
            Err(failure) => {
                tracing::error!(key, %failure, "encrypt a password anew: left as it was");
            }
        }
    }
    if renewed {
        let sealed: Overrides = held.into_iter().collect();
        entities::write(&**store, &entity, &sealed).await?;
        tracing::info!("passwords are encrypted with the new password.encoder.secret now");
    }
    Ok(())
}

/// Follows the notices until stop is said.
pub async fn follow(store: SharedStore, clock: Clock, stop: Stop, obeying: Obeying) {
    let mut changes = Changes::new(
        Arc::clone(&store),
        clock,
        stop,
        paths::CONFIG_CHANGES,
        paths::CONFIG_CHANGE_PREFIX,
    );
    while let Some(notice) = changes.next().await {
        let outcome = match notice {
            Notice::Rejoined => read_everything(&store, &obeying).await,
            Notice::Written(body) => match decode_notice(&body) {
                Ok(entity) => apply(&store, &obeying, &entity).await,
                Err(error) => {
                    tracing::error!(%error, "read a notice of changed settings: passed over");
                    Ok(())
                }
            },
        };
        if let Err(failure) = outcome {
            tracing::error!(%failure, "take over changed settings: failed");
        }
    }
}

/// Reads one entity and hands it to whoever obeys it.
async fn apply(store: &SharedStore, obeying: &Obeying, entity: &str) -> Result<(), Failure> {
    let Some((kind, name)) = entity.split_once('/') else {
        tracing::error!(
            entity,
            "read a notice of changed settings: it names no entity"
        );
        return Ok(());
    };
    let overrides = entities::read(&**store, entity).await?;
    obeying.tell_of_elections(kind, name, &overrides).await;
    match kind {
        "topics" => obeying.topic(name, &overrides),
        "brokers" if name == DEFAULT => obeying.broker(&overrides, Whose::Cluster),
        "brokers" if *name == obeying.broker.to_string() => {
            obeying.broker(&overrides, Whose::Broker)
        }
        "brokers" => {}
        "users" | "clients" | "ips" => match quotas::entity(entity) {
            Some(named) => match obeying.hosts.counted(&named).await {
                Some(counted) => obeying.quotas.set(&counted, &quotas::limits(&overrides)),
                None => tracing::error!(
                    entity,
                    "read changed limits of a host: nobody knows its address; they are ignored"
                ),
            },
            None => tracing::error!(entity, "read changed limits: nobody is called so"),
        },
        other => tracing::error!(
            entity,
            kind = other,
            "read a notice of changed settings: unknown kind"
        ),
    }
    Ok(())
}

/// Reads the overrides of topics that are hosted here for the first time.
///
/// Kafka: `ZkConfigRepository`, asked whenever a log is made: the creation of a topic writes
/// overrides, but no notice.
#[derive(Clone, Debug)]
pub struct Newcomers {
    pub store: SharedStore,
    pub obeying: Obeying,
}

impl Newcomers {
    /// After this the topics' logs may be made. A node that cannot be understood is told and counts
    /// as none.
    pub async fn learn(&self, topics: &BTreeSet<Arc<str>>) -> Result<(), Failure> {
        if topics.is_empty() {
            return Ok(());
        }
        let paths = topics.iter().map(|topic| paths::topic_config(topic));
        let nodes = self.store.get_many(paths.collect(), None).await?;
        for (topic, node) in topics.iter().zip(nodes) {
            let overrides = node.map(|node| Overrides::decode(&node.data));
            let overrides = overrides.transpose().unwrap_or_else(|error| {
                tracing::error!(%topic, %error, "read a new topic's settings: passed over");
                None
            });
            self.obeying.topic(topic, &overrides.unwrap_or_default());
        }
        Ok(())
    }
}

impl Obeying {
    /// Kafka: `TopicConfigHandler` tells its own controller, which acts where it is active.
    async fn tell_of_elections(&self, kind: &str, name: &str, overrides: &Overrides) {
        let allowed = overrides.get("unclean.leader.election.enable");
        if kind == "topics"
            && allowed.is_some_and(|text| text.eq_ignore_ascii_case("true"))
            && let Some(controller) = &self.controller
        {
            controller.unclean_election_enabled(name.into()).await;
        }
    }

    fn topic(&self, topic: &str, overrides: &Overrides) {
        let settings = self.topics.set(topic, entities::texts(overrides));
        let Some(replicas) = &self.replicas else {
            return;
        };
        replicas.set_topic_config(topic, &settings.for_replicas());
    }

    fn broker(&self, overrides: &Overrides, whose: Whose) {
        let (good, bad): (Vec<_>, Vec<_>) = overrides
            .iter()
            .partition(|(key, text)| obeyed(key, text, whose));
        for (key, _) in bad {
            tracing::error!(
                key,
                ?whose,
                "take over a changed setting: it cannot be obeyed and is ignored"
            );
        }
        let config = self.live.now();
        let mut texts = Texts::new();
        for (key, text) in good {
            match in_the_clear(&config, key, text) {
                Some(text) => {
                    texts.insert(key.to_owned(), text);
                }
                None => tracing::error!(
                    key,
                    "a password set while running cannot be decrypted and is ignored; set \
                     password.encoder.secret as it was when the password was set, or \
                     password.encoder.old.secret, or set the password again"
                ),
            }
        }
        let outcome = match whose {
            Whose::Broker => self.live.set_broker(texts),
            Whose::Cluster => self.live.set_cluster(texts),
        };
        match outcome {
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
                tracing::error!(
                    ?faults,
                    ?whose,
                    "take over changed settings: all stay as they were"
                );
            }
            Ok(()) => self.refresh_logs(),
        }
    }

    fn refresh_logs(&self) {
        self.topics.refresh();
        let Some(replicas) = &self.replicas else {
            return;
        };
        replicas.set_move_limit(self.live.now().move_bytes_per_second_max);
        let hosted = replicas
            .store()
            .all()
            .into_iter()
            .map(|log| Arc::clone(&log.partition().topic));
        for topic in hosted.collect::<BTreeSet<_>>() {
            replicas.set_topic_config(&topic, &self.topics.of(&topic).for_replicas());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use settings::value::Kind;
    use znodes::memory::World;
    use znodes::store::Store;

    use super::*;
    use crate::admin::configs::{Change, Configs, Described};
    use crate::config::Config;
    use crate::metadata::update::TopicUpdate;
    use crate::metadata::{Metadata, PartitionImage, Update};

    /// What a live Apache Kafka 3.9 told and answered, in this order: `broker_plain`,
    /// `topic_plain`, the `attempts` on the topic, `topic_set`, those on the broker and the
    /// cluster's defaults, `broker_set`, `cluster_set`. Two lines of `broker_set` were taken before
    /// Apache had read its last two notices and are set right by hand (`log.cleaner.threads`,
    /// `my.custom`).
    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../tests/golden/configs/", $name, ".tsv"))
        };
    }

    struct Bench {
        store: SharedStore,
        configs: Configs,
        obeying: Obeying,
    }

    async fn bench() -> Bench {
        let config = Config::of(&[
            ("broker.id", "1"),
            ("node.id", "1"),
            ("listeners", "PLAINTEXT://127.0.0.1:9092"),
            ("zookeeper.connect", "127.0.0.1:2181"),
            ("log.dirs", "/data"),
            ("offsets.topic.replication.factor", "1"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
        ])
        .unwrap();
        let store: SharedStore = Arc::new(World::new(Clock::by_hand(0)).connect());
        store
            .create(paths::CONTROLLER, b"{}", znodes::store::Kind::Ephemeral)
            .await
            .unwrap();
        let metadata = Arc::new(Metadata::default());
        let partitions = vec![(0, PartitionImage::default())];
        let topic = TopicUpdate {
            name: "t".into(),
            partitions,
            ..TopicUpdate::default()
        };
        metadata.apply(Update {
            topics: vec![topic],
            ..Update::default()
        });
        let live = Live::new(config);
        let quotas = Arc::new(Quotas::new(live.now().quotas));
        let topics = TopicSettings::new(live.clone());
        let broker = BrokerId(1);
        let configs = Configs::new(Arc::clone(&store), live.clone(), metadata, broker);
        Bench {
            store,
            configs,
            obeying: Obeying {
                broker,
                live,
                topics,
                quotas,
                hosts: Hosts::default(),
                replicas: None,
                controller: None,
            },
        }
    }

    fn lines(described: Vec<Described>) -> Vec<String> {
        let null = || "\\N".to_owned();
        let mut lines: Vec<String> = described
            .into_iter()
            .map(|line| {
                let synonyms: Vec<String> = line
                    .synonyms
                    .iter()
                    .map(|s| {
                        let value = s.value.clone().unwrap_or_else(null);
                        format!("{}:{}={value}", s.source.wire(), s.name)
                    })
                    .collect();
                [
                    line.name,
                    line.value.unwrap_or_else(null),
                    line.kind.map_or("UNKNOWN", Kind::name).to_owned(),
                    u8::from(line.read_only).to_string(),
                    u8::from(line.sensitive).to_string(),
                    line.source.wire().to_string(),
                    synonyms.join(";"),
                ]
                .join("\t")
            })
            .collect();
        lines.sort();
        lines
    }

    fn same(ours: Vec<Described>, golden: &str) {
        let mut golden: Vec<&str> = golden.lines().collect();
        golden.sort_unstable();
        let ours = lines(ours);
        let wrong: Vec<_> = golden
            .iter()
            .filter(|line| !ours.iter().any(|l| l == *line))
            .collect();
        let more: Vec<_> = ours
            .iter()
            .filter(|line| !golden.contains(&line.as_str()))
            .collect();
        assert!(
            wrong.is_empty() && more.is_empty(),
            "Apache: {wrong:#?}\nours: {more:#?}"
        );
    }

    #[tokio::test]
    async fn settings_are_told_and_changed_word_for_word_as_apache_does() {
        let Bench {
            store,
            configs,
            obeying,
        } = bench().await;
        same(
            configs.describe_broker(Whose::Broker),
            golden!("broker_plain"),
        );
        same(
            configs.describe_topic("t").await.unwrap(),
            golden!("topic_plain"),
        );
        let mut topic_told = false;
        for attempt in golden!("attempts").lines() {
            if attempt.starts_with("4\t") && !topic_told {
                same(
                    configs.describe_topic("t").await.unwrap(),
                    golden!("topic_set"),
                );
                topic_told = true;
            }
            let fields: Vec<&str> = attempt.split('\t').collect();
            let [kind, name, verb, key, value, code, words] = fields[..] else {
                panic!("{attempt}")
            };
            let change = match verb {
                "0" => Change::Set(value.to_owned()),
                "1" => Change::Delete,
                "2" => Change::Append(value.to_owned()),
                _ => Change::Subtract(value.to_owned()),
            };
            let changes = [(key.to_owned(), change)];
            let whose = if name.is_empty() {
                Whose::Cluster
            } else {
                Whose::Broker
            };
            let outcome = match kind {
                "2" => configs.change_topic(name, &changes, false).await,
                _ => configs.change_broker(whose, &changes, false).await,
            };
            let said = match &outcome {
                Ok(()) => (String::new(), "0"),
                Err(refusal) => {
                    use crate::admin::configs::Refusal;
                    let code = match refusal {
                        Refusal::InvalidRequest(_) => "42",
                        Refusal::InvalidConfig(_) => "40",
                        Refusal::UnknownTopic(_) => "3",
                        _ => "-1",
                    };
                    (refusal.to_string(), code)
                }
            };
            assert_eq!(said.1, code, "{attempt}: {outcome:?}");
            // What Kafka fails on without a word may have words inside.
            assert!(
                code == "-1" || said.0 == words,
                "{attempt}\nours: {}",
                said.0
            );
            read_everything(&store, &obeying).await.unwrap();
        }
        same(
            configs.describe_broker(Whose::Broker),
            golden!("broker_set"),
        );
        same(
            configs.describe_broker(Whose::Cluster),
            golden!("cluster_set"),
        );
        assert_eq!(obeying.topics.of("t").log.min_compaction_lag_ms, 10);
        assert_eq!(obeying.topics.of("u").log.retention_ms, 5000);
    }

    /// A topic that keeps everything must not fall to seven days because ZooKeeper lost its data.
    #[tokio::test]
    async fn an_empty_zookeeper_takes_no_settings_away_and_the_right_one_is_read_when_it_is_back() {
        let Bench { obeying, .. } = bench().await;
        let clock = Clock::by_hand(1);
        let world = World::new(clock.clone());
        let (admin, broker) = (world.connect(), world.connect());
        let session = broker.session();
        znodes::session::create_base_nodes(&admin).await.unwrap();
        znodes::registration::cluster_id(&admin, Some("ours"))
            .await
            .unwrap();
        let path = paths::topic_config("kept");
        let write = |text: &str| {
            let overrides = [("retention.ms".to_owned(), text.to_owned())];
            let overrides: Overrides = overrides.into_iter().collect();
            (admin.clone(), path.clone(), overrides.encode())
        };
        let (to, at, body) = write("-1");
        znodes::store::set_or_create(&to, &at, body.as_bytes())
            .await
            .unwrap();
        let ours = znodes::belonging::Belonging::new(Arc::new(broker), "ours".into());
        let store: SharedStore = Arc::new(ours);
        read_everything(&store, &obeying).await.unwrap();
        let (stopper, stop) = base::stop::pair();
        let following = follow(store, clock.clone(), stop, obeying.clone());
        let following = base::tasks::spawn("changes", following);
        let settle = async || {
            for _ in 0..500 {
                tokio::task::yield_now().await;
            }
        };
        let retention = || obeying.topics.of("kept").log.retention_ms;
        settle().await;
        world.cut(session);
        for path in [paths::CLUSTER_ID, &*path] {
            admin.delete(path, znodes::store::ANY).await.unwrap();
        }
        world.rejoin(session);
        settle().await;
        assert_eq!(retention(), -1);
        let (to, at, body) = write("7");
        znodes::store::set_or_create(&to, &at, body.as_bytes())
            .await
            .unwrap();
        znodes::registration::cluster_id(&admin, Some("ours"))
            .await
            .unwrap();
        for _ in 0..5 {
            clock.advance(1000);
            settle().await;
        }
        assert_eq!(retention(), 7);
        stopper.stop();
        following.await.unwrap();
    }

    #[tokio::test]
    async fn a_topic_made_with_settings_is_obeyed_without_a_notice_and_forgotten_when_made_anew() {
        let Bench { store, obeying, .. } = bench().await;
        let path = paths::topic_config("fresh");
        let overrides: Overrides = [("flush.messages".to_owned(), "1".to_owned())]
            .into_iter()
            .collect();
        let body = overrides.encode();
        znodes::store::create_with_parents(&*store, &path, body.as_bytes())
            .await
            .unwrap();
        let newcomers = Newcomers {
            store: Arc::clone(&store),
            obeying: obeying.clone(),
        };
        let fresh = BTreeSet::from([Arc::from("fresh")]);
        newcomers.learn(&fresh).await.unwrap();
        assert_eq!(obeying.topics.of("fresh").log.flush_messages, 1);
        znodes::store::set_or_create(&*store, &path, Overrides::default().encode().as_bytes())
            .await
            .unwrap();
        newcomers.learn(&fresh).await.unwrap();
        assert!(obeying.topics.of("fresh").log.flush_messages > 1);
    }

    async fn alter(
        room: &quotas::ClientQuotas,
        entity: &[quotas::Part],
        changes: &[(String, Option<f64>)],
    ) -> Result<(), crate::admin::configs::Refusal> {
        let mut lookups = quotas::Lookups::begin();
        room.alter(entity, changes, false, &mut lookups).await
    }

    #[tokio::test]
    async fn limits_are_stored_as_kafka_stores_them_and_leave_nothing_behind() {
        let Bench { store, obeying, .. } = bench().await;
        let room = quotas::ClientQuotas::new(Arc::clone(&store));
        let both = [
            ("user".to_owned(), None),
            ("client-id".to_owned(), Some("c d".to_owned())),
        ];
        let set = |key: &str, value| [(key.to_owned(), value)];
        alter(&room, &both, &set("request_percentage", Some(12.5)))
            .await
            .unwrap();
        alter(&room, &both, &set("producer_byte_rate", Some(1024.0)))
            .await
            .unwrap();
        let path = "/config/users/<default>/clients/c%20d";
        let node = store.get(path, None).await.unwrap().unwrap();
        assert_eq!(
            String::from_utf8(node.data).unwrap(),
            r#"{"version":1,"config":{"request_percentage":"12.5","producer_byte_rate":"1024"}}"#
        );
        let refused = alter(&room, &both, &set("producer_byte_rate", Some(1.5))).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "Configuration producer_byte_rate must be a LONG value"
        );
        let negative = alter(&room, &both, &set("producer_byte_rate", Some(-1.0))).await;
        assert_eq!(
            negative.unwrap_err().to_string(),
            "Configuration producer_byte_rate must be a LONG value"
        );
        read_everything(&store, &obeying).await.unwrap();
        let bytes = crate::quota::Kind::ProducedBytes;
        assert!(obeying.quotas.record(bytes, "User:x", "c d", 1e9, 0) > 0);
        // What went unheard is gone all the same; what is still there stays.
        let gone = crate::quota::entities::Entity::client("gone");
        obeying.quotas.set(&gone, &[(bytes, 1.0)]);
        read_everything(&store, &obeying).await.unwrap();
        assert_eq!(obeying.quotas.record(bytes, "User:y", "gone", 1e9, 0), 0);
        assert!(obeying.quotas.record(bytes, "User:z", "c d", 1e9, 0) > 0);
        for key in ["request_percentage", "producer_byte_rate"] {
            alter(&room, &both, &set(key, None)).await.unwrap();
        }
        assert_eq!(
            store.get("/config/users/<default>", None).await.unwrap(),
            None
        );
        let notices = store
            .list(paths::CONFIG_CHANGES, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(notices.len(), 4);
    }

    /// `localhost` is in every machine's hosts file, and no name below `.invalid` is anywhere.
    #[tokio::test]
    async fn connections_are_limited_by_the_address_that_a_hosts_name_has() {
        let Bench { store, obeying, .. } = bench().await;
        let room = quotas::ClientQuotas::new(Arc::clone(&store));
        let rate = |value| [("connection_creation_rate".to_owned(), value)];
        let host = |name: &str| [("ip".to_owned(), Some(name.to_owned()))];
        let refused = async |name, value| {
            let altered = alter(&room, &host(name), &rate(Some(value))).await;
            altered.unwrap_err().to_string()
        };
        assert_eq!(
            refused("nobody.invalid", 1.0).await,
            "nobody.invalid is not a valid IP or resolvable host."
        );
        // Word for word as Apache refuses it.
        assert_eq!(
            refused("localhost", -1.0).await,
            "Configuration connection_creation_rate must be a INT value"
        );
        let set = async |value| {
            alter(&room, &host("localhost"), &rate(value))
                .await
                .unwrap();
            apply(&store, &obeying, "ips/localhost").await.unwrap();
        };
        let is_limited = || obeying.quotas.record_connection("127.0.0.1", 5) > 0;
        set(Some(0.0)).await;
        assert!(is_limited());
        assert_eq!(obeying.quotas.record_connection("127.0.0.9", 5), 0);
        read_everything(&store, &obeying).await.unwrap();
        assert!(is_limited());
        // A host that cannot be looked up just now keeps the limit of the address it had, and no
        // other's.
        let known = |address: &str| crate::quota::entities::Entity {
            address: Some(crate::quota::entities::Name::Of(address.into())),
            ..Default::default()
        };
        let before = known("127.0.0.7");
        obeying.hosts.note(&known("nobody.invalid"), &before);
        let none = [(crate::quota::Kind::Connections, 0.0)];
        obeying.quotas.set(&before, &none);
        let unknown = Overrides::from_iter([("connection_creation_rate", "1")]).encode();
        let path = paths::entity_config("ips/nobody.invalid");
        znodes::store::set_or_create(&*store, &path, unknown.as_bytes())
            .await
            .unwrap();
        store
            .delete(&paths::entity_config("ips/localhost"), znodes::store::ANY)
            .await
            .unwrap();
        read_everything(&store, &obeying).await.unwrap();
        assert!(!is_limited());
        assert!(obeying.quotas.record_connection("127.0.0.7", 5) > 0);
        set(Some(0.0)).await;
        assert!(is_limited());
        set(None).await;
        assert!(!is_limited());
    }

    /// A client's string may be long enough; ZooKeeper would only drop the connection, every time.
    #[tokio::test]
    async fn settings_that_zookeeper_does_not_take_are_refused_and_not_tried_for_ever() {
        let Bench { store, configs, .. } = bench().await;
        let long = "1:1,".repeat(znodes::store::REQUEST_BYTES_MAX / 4) + "1:1";
        let overrides = Overrides::from_iter([("leader.replication.throttled.replicas", long)]);
        for validate_only in [true, false] {
            let altered = configs.replace_topic("t", overrides.clone(), validate_only);
            let refusal = altered.await.unwrap_err().to_string();
            assert!(refusal.contains("zookeeper.request.max.bytes"), "{refusal}");
        }
        for path in ["topics/t", "topics/new"] {
            let written = entities::write(&*store, path, &overrides).await;
            let Err(Failure::Store(znodes::store::Error::TooLarge { .. })) = written else {
                panic!("{written:?}")
            };
        }
    }
}

//! Settings of brokers and topics: told with their sources, checked, and written to `/config`.
//!
//! Kafka: `ConfigHelper` (describing), `ConfigAdminManager` and `ZkAdminManager` (altering), with
//! their words. A broker alters only its own settings and the cluster's defaults.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use protocol::ids::BrokerId;
use settings::keys;
use settings::layers::{Source, Synonym, Texts};
use settings::row::{Row, Scope};
use settings::topics;
use settings::value::{Fault, Kind};
use znodes::bodies::config::Overrides;

use crate::admin::entities::{self, Failure, SharedStore};
use crate::admin::secrets;
use crate::config::{Config, Live};
use crate::metadata::Metadata;

/// Why an operator does not get what he asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    InvalidConfig(String),
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    #[error("{0}")]
    InvalidTopic(String),
    /// A key, a verb or a mechanism that Kafka trips over: it fails without a word to the client.
    #[error("{0}")]
    Unexplained(String),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Refusal {
    /// Kafka: of a topic's setting, and of a logger; to a broker's it says which verb it was.
    pub(crate) fn no_such_verb(verb: i8) -> Self {
        Refusal::Unexplained(format!("no such verb: {verb}"))
    }
}

/// What is to become of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

/// Whose settings: this broker's, or every broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Broker,
    Cluster,
}

/// One line of an answer to `DescribeConfigs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: String,
    /// `None` for null, and for everything sensitive.
    pub value: Option<String>,
    pub kind: Option<Kind>,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    pub synonyms: Vec<Synonym>,
    pub doc: Option<&'static str>,
}

/// The room itself.
#[derive(Clone, Debug)]
pub struct Configs {
    store: SharedStore,
    live: Live,
    metadata: Arc<Metadata>,
    broker: BrokerId,
}

impl Configs {
    pub fn new(
        store: SharedStore,
        live: Live,
        metadata: Arc<Metadata>,
        broker: BrokerId,
    ) -> Configs {
        Configs {
            store,
            live,
            metadata,
            broker,
        }
    }

    pub fn broker(&self) -> BrokerId {
        self.broker
    }

    /// Every key of a topic.
    pub async fn describe_topic(&self, topic: &str) -> Result<Vec<Described>, Refusal> {
        protocol::names::check_topic_name(topic)
            .map_err(|reason| Refusal::InvalidTopic(format!("Topic name is invalid: {reason}")))?;
        if self.metadata.image().topic(topic).is_none() {
            return Err(Refusal::UnknownTopic(topic.to_owned()));
        }
        let overrides = entities::read(&*self.store, &format!("topics/{topic}")).await?;
        Ok(self.describe_wanted(&entities::texts(&overrides)))
    }

    /// Every key of a topic that had these overrides.
    pub fn describe_wanted(&self, overrides: &Texts) -> Vec<Described> {
        let config = self.live.now();
        let lines = topics::describe(overrides, &config.layers, &config.values);
        let line = |line: topics::Described| {
            let row = keys::topic(&line.name);
            Described {
                value: line.value.text(),
                kind: row.map(|row| row.kind),
                source: line.source,
                read_only: false,
                sensitive: false,
                synonyms: line.synonyms,
                doc: row.map(|row| row.doc),
                name: line.name,
            }
        };
        lines.into_iter().map(line).collect()
    }

    /// Every key of this broker; or those that are set as the cluster's defaults.
    pub fn describe_broker(&self, whose: Whose) -> Vec<Described> {
        let config = self.live.now();
        match whose {
            Whose::Cluster => {
                let names = config.layers.cluster.keys();
                names
                    .map(|name| describe_key(&config, name, whose))
                    .collect()
            }
            Whose::Broker => {
                let set = config.layers.effective();
                let table = keys::broker_rows()
                    .filter(|row| !row.internal)
                    .map(|row| row.name);
                let names: BTreeSet<&str> = set.keys().map(String::as_str).chain(table).collect();
                names
                    .into_iter()
                    .map(|name| describe_key(&config, name, whose))
                    .collect()
            }
        }
    }

    /// Changes some keys of a topic.
    pub async fn change_topic(
        &self,
        topic: &str,
        changes: &[(String, Change)],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if topic.is_empty() {
            return Err(no_default_topic());
        }
        let held = entities::read(&*self.store, &format!("topics/{topic}")).await;
        let mut overrides = held.map_err(|failure| match failure {
            // Kafka: what is wrong with the path is told as what is wrong with a value.
            Failure::NoPath(fault) => bad_topic_config(topic, fault),
            failure => failure.into(),
        })?;
        apply(&mut overrides, changes, keys::topic)?;
        self.replace_topic(topic, overrides, validate_only).await
    }

    /// Sets the whole of a topic's overrides.
    pub async fn replace_topic(
        &self,
        topic: &str,
        overrides: Overrides,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if topic.is_empty() {
            return Err(no_default_topic());
        }
        if self.metadata.image().topic(topic).is_none() {
            return Err(Refusal::UnknownTopic(topic.to_owned()));
        }
        self.check_topic(topic, &entities::texts(&overrides))?;
        let entity = format!("topics/{topic}");
        entities::alter(&*self.store, &entity, &overrides, validate_only).await?;
        Ok(())
    }

    /// Whether a topic may have these overrides; with the words that creating and altering share.
    pub fn check_topic(&self, topic: &str, overrides: &Texts) -> Result<(), Refusal> {
        let config = self.live.now();
        topics::check(overrides, &config.topic_defaults).map_err(|refusal| match refusal {
            topics::Refusal::BadValue(fault) => bad_topic_config(topic, fault),
            other => Refusal::InvalidConfig(other.to_string()),
        })
    }

    /// Changes some keys of this broker, or of the cluster's defaults.
    pub async fn change_broker(
        &self,
        whose: Whose,
        changes: &[(String, Change)],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let held = entities::read(&*self.store, &self.entity(whose)).await?;
        // Kafka: what a broker would not obey is left out when it writes.
        let config = self.live.now();
        let valid = held
            .iter()
            .filter(|(key, text)| obeyed(key, text, whose))
            .filter_map(|(key, text)| Some((key.to_owned(), in_the_clear(&config, key, text)?)));
        let mut overrides: Overrides = valid.collect();
        apply(&mut overrides, changes, keys::broker)?;
        self.replace_broker(whose, overrides, validate_only).await
    }

    /// Sets the whole of this broker's overrides, or of the cluster's defaults.
    pub async fn replace_broker(
        &self,
        whose: Whose,
        overrides: Overrides,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let config = self.live.now();
        let texts = entities::texts(&overrides);
        check_broker(&config, &texts, whose)?;
        let sealed = secrets::encrypt_all(&config.secrets, &texts)
            .map_err(|failure| Refusal::InvalidRequest(failure.to_string()))?;
        let (entity, sealed) = (self.entity(whose), sealed.into_iter().collect());
        entities::alter(&*self.store, &entity, &sealed, validate_only).await?;
        Ok(())
    }

    fn entity(&self, whose: Whose) -> String {
        match whose {
            Whose::Broker => format!("brokers/{}", self.broker),
            Whose::Cluster => format!("brokers/{}", entities::DEFAULT),
        }
    }
}

/// An override as it is meant: a password decrypted, `None` where that cannot be done.
pub fn in_the_clear(config: &Config, key: &str, text: &str) -> Option<String> {
    if !secrets::is_secret(key) {
        return Some(text.to_owned());
    }
    secrets::decrypt(&config.secrets, text)
}

fn bad_topic_config(topic: &str, fault: impl std::fmt::Display) -> Refusal {
    Refusal::InvalidConfig(format!(
        "Invalid config value for resource ConfigResource(type=TOPIC, name='{topic}'): {fault}"
    ))
}

fn no_default_topic() -> Refusal {
    Refusal::InvalidRequest("Default topic resources are not allowed.".to_owned())
}

/// The row of a key that may stand in a broker's overrides.
fn dynamic_row(key: &str) -> Option<&'static Row> {
    keys::broker_or_listener(key).or_else(|| keys::dynamic_only_rows().find(|row| row.name == key))
}

fn describe_key(config: &Config, name: &str, whose: Whose) -> Described {
    let row = dynamic_row(name);
    let base = keys::listener_base(name);
    let sensitive = row.is_none_or(Row::sensitive);
    let both = [name, base.unwrap_or(name)];
    let same = keys::same_thing(name);
    let names = match (same.is_empty(), base) {
        (false, _) => same,
        (true, Some(_)) => &both[..],
        (true, None) => &both[..1],
    };
    let mut synonyms = config.layers.synonyms(name, names);
    if whose == Whose::Cluster {
        synonyms.retain(|synonym| synonym.source == Source::Cluster);
    }
    if sensitive {
        for synonym in &mut synonyms {
            synonym.value = None;
        }
    }
    let text = || match (whose, keys::broker(name)) {
        (Whose::Cluster, _) => config.layers.cluster.get(name).cloned(),
        (Whose::Broker, Some(_)) => config.values.get(name).text(),
        (Whose::Broker, None) => config.layers.effective().remove(name),
    };
    Described {
        name: name.to_owned(),
        value: if sensitive { None } else { text() },
        kind: row.map(|row| row.kind),
        source: synonyms
            .first()
            .map_or(Source::Default, |first| first.source),
        read_only: keys::broker(name).is_none_or(|row| row.scope == Scope::ReadOnly),
        sensitive,
        synonyms,
        doc: keys::broker(name).map(|row| row.doc),
    }
}

/// Kafka: `ConfigAdminManager.prepareIncrementalConfigs`.
fn apply(
    overrides: &mut Overrides,
    changes: &[(String, Change)],
    row_of: fn(&str) -> Option<&'static Row>,
) -> Result<(), Refusal> {
    for (key, change) in changes {
        let (verb, items) = match change {
            Change::Set(text) => {
                overrides.set(key.as_str(), text.as_str());
                continue;
            }
            Change::Delete => {
                overrides.remove(key);
                continue;
            }
            Change::Append(text) => ("append", text),
            Change::Subtract(text) => ("subtract", text),
        };
        let row = row_of(key).ok_or_else(|| Refusal::Unexplained(format!("no such key: {key}")))?;
        if row.kind != Kind::List {
            let words = format!("Config value {verb} is not allowed for config key: {key}");
            return Err(Refusal::InvalidConfig(words));
        }
        let old = overrides
            .get(key)
            .or(row.default)
            .unwrap_or_default()
            .to_owned();
        let mut list = items_of(&old);
        match verb {
            "append" => append(&mut list, items),
            _ => subtract(&mut list, items),
        }
        overrides.set(key.as_str(), list.join(","));
    }
    Ok(())
}

/// Java's `String.split`: without the empty items at the end.
fn items_of(text: &str) -> Vec<&str> {
    let mut items: Vec<&str> = text.split(',').collect();
    while items.last().is_some_and(|item| item.is_empty()) {
        items.pop();
    }
    items
}

/// Adds the items that are not in the list. Both may be as long as a request.
fn append<'a>(list: &mut Vec<&'a str>, items: &'a str) {
    let held: HashSet<&str> = list.iter().copied().collect();
    let items = match items {
        // Kafka: nothing at all is one empty item.
        "" => vec![""],
        items => items_of(items),
    };
    list.extend(items.into_iter().filter(|item| !held.contains(item)));
}

/// Takes the first of its like from the list, for each item.
fn subtract(list: &mut Vec<&str>, items: &str) {
    let mut doomed: HashMap<&str, usize> = HashMap::new();
    for item in items.split(',') {
        *doomed.entry(item).or_default() += 1;
    }
    list.retain(|item| match doomed.get_mut(item) {
        Some(left @ 1..) => {
            *left -= 1;
            false
        }
        _ => true,
    });
}

/// Keys that say where certificates are; Kafka changes them only for one listener at a time.
const PER_LISTENER_ONLY: [&str; 10] = [
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
];

/// Of a listener's keys, those that may be set for all brokers at once.
const CLUSTER_WIDE_OF_LISTENERS: [&str; 3] = [
    "max.connections",
    "max.connection.creation.rate",
    "num.network.threads",
];

fn is_static(key: &str) -> bool {
    keys::broker(key).is_some_and(|row| row.scope == Scope::ReadOnly)
}

fn is_one_brokers(key: &str) -> bool {
    match keys::listener_base(key) {
        Some(base) => !CLUSTER_WIDE_OF_LISTENERS.contains(&base),
        None => keys::broker(key).is_some_and(|row| row.scope == Scope::PerBroker),
    }
}

/// Whether a broker would obey what stands in a znode, alone.
///
/// Kafka: `DynamicBrokerConfig.fromPersistentProps`.
pub fn obeyed(key: &str, text: &str, whose: Whose) -> bool {
    let readable = dynamic_row(key).is_none_or(|row| row.sensitive() || row.read(text).is_ok());
    readable
        && !is_static(key)
        && !PER_LISTENER_ONLY.contains(&key)
        && (whose == Whose::Broker || !is_one_brokers(key))
}

/// Whether this broker, or all, may have these overrides.
///
/// Kafka: `DynamicBrokerConfig.validate`, in its order.
fn check_broker(config: &Config, texts: &Texts, whose: Whose) -> Result<(), Refusal> {
    let refuse_all = |words: &str, small: &str, wrong: &dyn Fn(&str) -> bool| {
        let keys: Vec<&str> = texts
            .keys()
            .map(String::as_str)
            .filter(|key| wrong(key))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        // Kafka prints a Scala set, which changes its name with its size.
        let set = if keys.len() > 4 { "HashSet" } else { small };
        Err(Refusal::InvalidRequest(format!(
            "{words}: {set}({})",
            keys.join(", ")
        )))
    };
    refuse_all("Cannot update these configs dynamically", "Set", &is_static)?;
    let words = "These security configs can be dynamically updated only per-listener using the \
                 listener prefix";
    refuse_all(words, "HashSet", &|key| PER_LISTENER_ONLY.contains(&key))?;
    for (key, text) in texts {
        let Some(row) = dynamic_row(key) else {
            continue;
        };
        if row.sensitive() && config.secrets.secret.is_none() {
            let failure = secrets::Failure::NoSecret;
            return Err(Refusal::InvalidRequest(failure.to_string()));
        }
        row.read(text)
            .map_err(|fault| Refusal::InvalidRequest(fault.to_string()))?;
    }
    if whose == Whose::Cluster {
        let words =
            "Cannot update these configs at default cluster level, broker id must be specified";
        refuse_all(words, "Set", &is_one_brokers)?;
    }
    let mut layers = config.layers.clone();
    match whose {
        Whose::Broker => layers.broker = texts.clone(),
        Whose::Cluster => layers.cluster = texts.clone(),
    }
    let new = config
        .with_layers(layers)
        .map_err(|faults| refusal_of(&faults))?;
    connections(config, &new)?;
    threads(config, &new)?;
    listeners(config, &new)
}

/// Kafka: a `require` that does not hold tells so first.
fn refusal_of(faults: &[Fault]) -> Refusal {
    let words = match faults.first() {
        // Kafka: what cannot be parsed is no broken requirement.
        Some(fault)
            if fault
                .to_string()
                .starts_with("Error creating broker listeners") =>
        {
            fault.to_string()
        }
        Some(fault) if fault.value.is_none() => format!("requirement failed: {fault}"),
        Some(fault) => fault.to_string(),
        None => "Invalid configuration".to_owned(),
    };
    Refusal::InvalidRequest(words)
}

/// Kafka: `ListenerConnectionQuota.validateReconfiguration`: nobody could come in any more, nor
/// take the change back.
fn connections(old: &Config, new: &Config) -> Result<(), Refusal> {
    for at in &old.listeners.bound {
        let open = |config: &Config| config.network.connections_max.at(&at.name);
        let rate = |config: &Config| config.network.connections_rate_max.at(&at.name);
        if (open(old), rate(old)) == (open(new), rate(new)) {
            continue;
        }
        if open(new) == 0 {
            return Err(invalid_change("Invalid max.connections 0"));
        }
        if rate(new) <= 0 {
            let words = format!("Invalid max.connection.creation.rate {}", rate(new));
            return Err(invalid_change(&words));
        }
    }
    Ok(())
}

/// Kafka: `DynamicThreadPool.validateReconfiguration`: at most doubled or halved at a time.
fn threads(old: &Config, new: &Config) -> Result<(), Refusal> {
    const POOLS: [&str; 5] = [
        "num.io.threads",
        "num.network.threads",
        "num.replica.fetchers",
        "num.recovery.threads.per.data.dir",
        "background.threads",
    ];
    for key in POOLS {
        let (was, is) = (old.values.long(key), new.values.long(key));
        let why = if is == was {
            continue;
        } else if is <= 0 {
            "value should be at least 1".to_owned()
        } else if is < was / 2 {
            format!("value should be at least half the current value {was}")
        } else if is > was.saturating_mul(2) {
            format!("value should not be greater than double the current value {was}")
        } else {
            continue;
        };
        return Err(invalid_change(&format!(
            "Dynamic thread count update validation failed for {key}={is}, {why}"
        )));
    }
    cleaner_threads(old, new)
}

/// Kafka: `LogCleaner.validateReconfiguration`: the same bounds in words of its own.
fn cleaner_threads(old: &Config, new: &Config) -> Result<(), Refusal> {
    let threads = |config: &Config| config.values.long("log.cleaner.threads");
    let (was, is) = (threads(old), threads(new));
    let way = if is < was / 2 {
        "reduced to less than half"
    } else if is > was.saturating_mul(2) {
        "increased to more than double"
    } else {
        return Ok(());
    };
    Err(invalid_change(&format!(
        "Log cleaner threads cannot be {way} the current value {was}"
    )))
}

/// Kafka wraps the exception as a "value" of its own message; tools show it like that.
fn invalid_change(words: &str) -> Refusal {
    Refusal::InvalidRequest(format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: {words} for configuration \
         Invalid dynamic configuration"
    ))
}

/// Kafka: `DynamicListenerConfig.validateReconfiguration`, as far as a new `KafkaConfig` has not
/// refused before: a listener that stays keeps its protocol and whatever is not made to change.
fn listeners(old: &Config, new: &Config) -> Result<(), Refusal> {
    let refuse = |words: String| Err(invalid_change(&words));
    const LOOKED_AT: [&str; 3] = [
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",
    ];
    // Kafka: nothing is compared while none of these changes.
    if LOOKED_AT
        .iter()
        .all(|key| old.values.get(key) == new.values.get(key))
    {
        return Ok(());
    }
    let stays = |name: &str| old.listeners.bound.iter().any(|at| at.name == name);
    for at in new.listeners.bound.iter().filter(|at| stays(&at.name)) {
        let prefix = format!("listener.name.{}.", at.name.to_ascii_lowercase());
        let fixed = |config: &Config| -> Texts {
            let texts = config.layers.effective().into_iter();
            let own = texts.filter(|(key, _)| {
                let base = key.to_ascii_lowercase();
                base.strip_prefix(&prefix)
                    .is_some_and(|base| !changes_for_listener(base))
            });
            own.collect()
        };
        if fixed(old) != fixed(new) {
            return refuse(format!(
                "Configs cannot be updated dynamically for existing listener ListenerName({}), \
                 restart broker or create a new listener for update",
                at.name
            ));
        }
        if old.listeners.protocols.get(&at.name) != new.listeners.protocols.get(&at.name) {
            return refuse(format!(
                "Security protocol cannot be updated for existing listener ListenerName({})",
                at.name
            ));
        }
    }
    Ok(())
}

/// What may change of a listener that exists.
///
/// Kafka: `DynamicSecurityConfigs` and the `ListenerReconfigurableConfigs` of `SocketServer` and
/// `DataPlaneAcceptor`.
fn changes_for_listener(base: &str) -> bool {
    base.starts_with("ssl.")
        || base.contains("sasl.")
        || base == "principal.builder.class"
        || CLUSTER_WIDE_OF_LISTENERS.contains(&base)
}

/// Overrides from a request, the last of a name counting.
pub fn overrides_of(entries: impl Iterator<Item = (String, String)>) -> Overrides {
    entries.collect::<BTreeMap<_, _>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_changed_item_by_item_however_long_they_are() {
        let mut list = vec!["a", "b", "a"];
        append(&mut list, "b,c,c,,");
        assert_eq!(list, ["a", "b", "a", "c", "c"]);
        subtract(&mut list, "a,c,x,c");
        assert_eq!(list, ["b", "a"]);
        let many: Vec<String> = (0..400_000).map(|number| number.to_string()).collect();
        let many = many.join(",");
        // Looked at in pairs, these would take minutes.
        append(&mut list, &many);
        assert_eq!(list.len(), 400_002);
        subtract(&mut list, &many);
        assert_eq!(list, ["b", "a"]);
    }
}

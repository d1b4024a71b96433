//! What others wrote below `/config`, taken over: settings, topics' overrides, limits.
//!
//! Kafka: `ZkConfigManager`. At the start, and whenever the session was renewed, everything is read;
//! in between a notice names one entity, which is read again. A notice that cannot be understood is
//! told and passed over.

use std::sync::Arc;

use base::clock::Clock;
use base::stop::Stop;
use protocol::ids::BrokerId;
use settings::layers::Texts;
use settings::value::Fault;
use storage::store::Store as Logs;
use znodes::bodies::config::{Overrides, decode_notice};
use znodes::changes::{Changes, Notice};
use znodes::paths;

use crate::admin::configs::{Whose, obeyed};
use crate::admin::entities::{self, DEFAULT, Failure, SharedStore};
use crate::admin::quotas;
use crate::config::{Live, TopicSettings};
use crate::quota::Quotas;

/// Everyone who obeys what stands below `/config`.
#[derive(Clone)]
pub struct Obeying {
    pub broker: BrokerId,
    pub live: Live,
    pub topics: TopicSettings,
    pub quotas: Arc<Quotas>,
    /// `None` before the logs are open: they are opened with what was read.
    pub logs: Option<Arc<Logs>>,
}

impl std::fmt::Debug for Obeying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Obeying").field("broker", &self.broker).finish_non_exhaustive()
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
    for (entity, overrides) in quotas::all(store).await? {
        obeying.quotas.set(&entity, &quotas::limits(&overrides));
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
        tracing::error!(entity, "read a notice of changed settings: it names no entity");
        return Ok(());
    };
    let overrides = entities::read(&**store, entity).await?;
    match kind {
        "topics" => obeying.topic(name, &overrides),
        "brokers" if name == DEFAULT => obeying.broker(&overrides, Whose::Cluster),
        "brokers" if *name == obeying.broker.to_string() => obeying.broker(&overrides, Whose::Broker),
        "brokers" => {}
        "users" | "clients" | "ips" => match quotas::entity(entity) {
            Some(entity) => obeying.quotas.set(&entity, &quotas::limits(&overrides)),
            None => tracing::error!(entity, "read changed limits: nobody is called so"),
        },
        other => tracing::error!(entity, kind = other, "read a notice of changed settings: unknown kind"),
    }
    Ok(())
}

impl Obeying {
    fn topic(&self, topic: &str, overrides: &Overrides) {
        let settings = self.topics.set(topic, entities::texts(overrides));
        let Some(logs) = &self.logs else { return };
        let log = Arc::new(settings.log.clone());
        let of_topic = |log: &Arc<storage::log::Log>| &*log.partition().topic == topic;
        for replica in logs.all().into_iter().chain(logs.all_futures()).filter(of_topic) {
            replica.set_config(Arc::clone(&log));
        }
    }

    fn broker(&self, overrides: &Overrides, whose: Whose) {
        let (good, bad): (Vec<_>, Vec<_>) =
            overrides.iter().partition(|(key, text)| obeyed(key, text, whose));
        for (key, _) in bad {
            tracing::error!(key, ?whose, "take over a changed setting: it cannot be obeyed and is ignored");
        }
        let texts: Texts =
            good.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
        let outcome = match whose {
            Whose::Broker => self.live.set_broker(texts),
            Whose::Cluster => self.live.set_cluster(texts),
        };
        match outcome {
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
                tracing::error!(?faults, ?whose, "take over changed settings: all stay as they were");
            }
            Ok(()) => self.refresh_logs(),
        }
    }

    fn refresh_logs(&self) {
        self.topics.refresh();
        let Some(logs) = &self.logs else { return };
        for replica in logs.all().into_iter().chain(logs.all_futures()) {
            let settings = self.topics.of(&replica.partition().topic);
            if *replica.config() != settings.log {
                replica.set_config(Arc::new(settings.log.clone()));
            }
        }
    }
}

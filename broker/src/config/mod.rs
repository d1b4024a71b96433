//! Settings, checked once and cut into what each room needs.
//!
//! A [`Config`] is immutable: every fault was reported before it existed. It keeps the layers it
//! was made of, so that `DescribeConfigs` can tell where a value came from, and so that a change
//! while running makes a new one ([`live`]). Only [`load`] and what it asks read files.
//!
//! Absent: behaviour. Rooms and crates take the plain structs of [`parts`].

mod check;
pub mod container;
mod fixes;
mod folders;
pub mod listeners;
pub mod load;
pub mod live;
pub mod parts;
pub mod topics;

use replication::config::MovesConfig;
use settings::keys;
use settings::layers::{Layers, Texts, Values};
use settings::topics as defaults;
use settings::value::Fault;

pub use listeners::{Endpoint, Listeners, Protocol};
pub use live::Live;
pub use load::{LoadArgs, Loaded, Refused};
pub use settings::read::Warning;
pub use topics::TopicSettings;

/// Everything the broker was told, checked together.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where each text came from.
    pub layers: Layers,
    /// Every key of the table, parsed.
    pub values: Values,
    pub identity: parts::Identity,
    pub listeners: Listeners,
    /// Present where this process carries its own coordinator.
    pub coordinator: Option<parts::Coordinator>,
    pub zookeeper: parts::ZooKeeper,
    pub network: parts::Network,
    pub threads: parts::Threads,
    pub topics: parts::Topics,
    pub logs: parts::Logs,
    pub cleaner: parts::Cleaner,
    pub fetches: parts::Fetches,
    pub replication: parts::Replication,
    pub controlling: parts::Controlling,
    pub groups: parts::Groups,
    pub transactions: parts::Transactions,
    pub quotas: parts::Quotas,
    pub metrics: parts::Metrics,
    pub secrets: parts::Secrets,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`, which is set while running only.
    pub move_bytes_per_second_max: u64,
    /// The texts of a topic without overrides.
    pub topic_defaults: Texts,
    /// What an empty host in `listeners` is advertised as.
    host_name: String,
}

impl Config {
    /// [`load::load`], without its advice.
    pub fn load(args: &LoadArgs) -> Result<(Config, Vec<Warning>), Refused> {
        load::load(args).map(|loaded| (loaded.config, loaded.warnings))
    }

    /// Checks layers that somebody has gathered.
    pub fn from_layers(layers: Layers, host_name: &str) -> Result<Config, Vec<Fault>> {
        let texts = layers.effective();
        let (values, mut faults) = Values::read(keys::broker_rows(), &texts);
        let listeners = match Listeners::read(&values, host_name) {
            Ok(listeners) => Some(listeners),
            Err(more) => {
                faults.extend(more);
                None
            }
        };
        check::together(&values, &texts, &mut faults);
        let Some(listeners) = listeners.filter(|_| faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Config {
            move_bytes_per_second_max: move_limit(&layers),
            identity: parts::Identity::read(&values),
            listeners,
            coordinator: coordinator(&values),
            zookeeper: parts::ZooKeeper::read(&values),
            network: parts::Network::read(&values, &texts),
            threads: parts::Threads,
            topics: parts::Topics::read(&values),
            logs: parts::Logs::read(&values, &texts),
            cleaner: parts::Cleaner::read(&values),
            fetches: parts::Fetches::read(&values),
            replication: parts::Replication::read(&values),
            controlling: parts::Controlling::read(&values),
            groups: parts::Groups::read(&values),
            transactions: parts::Transactions::read(&values),
            quotas: parts::Quotas::read(&values),
            metrics: parts::Metrics::read(&values),
            secrets: parts::Secrets::read(&values),
            topic_defaults: defaults::defaults(&values),
            layers,
            values,
            host_name: host_name.to_owned(),
        })
    }

    /// How replicas move between this many log directories.
    pub fn moves(&self, directories: usize) -> MovesConfig {
        let threads = self.replication.move_threads.map(usize::try_from);
        MovesConfig {
            threads: threads.and_then(Result::ok).unwrap_or(directories),
            samples: self.quotas.moves.samples,
            sample_ms: self.quotas.moves.sample_ms,
            bytes_per_second_max: self.move_bytes_per_second_max,
            copy_bytes: usize::try_from(self.replication.fetch_bytes_max).unwrap_or(1),
            backoff_ms: self.replication.fetch_backoff_ms,
        }
    }

    /// The same broker with other layers: what a change while running leads to.
    pub fn with_layers(&self, layers: Layers) -> Result<Config, Vec<Fault>> {
        Config::from_layers(layers, &self.host_name)
    }

    /// A configuration for tests: Kafka's defaults and what `texts` say.
    pub fn of(texts: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
        let mut file = Texts::new();
        for (key, text) in texts {
            file.insert((*key).to_owned(), (*text).to_owned());
        }
        file.entry("zookeeper.connect".to_owned())
            .or_insert_with(|| "127.0.0.1:2181".to_owned());
        Config::from_layers(
            Layers {
                file,
                ..Layers::default()
            },
            "localhost",
        )
    }

    /// What a topic with these overrides obeys.
    pub fn topic(&self, overrides: &Texts) -> parts::Topic {
        parts::Topic::read(overrides, &self.topic_defaults)
    }
}

/// How fast replicas may move, as the layers that change while running say.
fn move_limit(layers: &Layers) -> u64 {
    let key = "replica.alter.log.dirs.io.max.bytes.per.second";
    let text = [&layers.broker, &layers.cluster]
        .into_iter()
        .find_map(|texts| texts.get(key));
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or(i64::MAX.cast_unsigned())
}

/// The embedded coordinator, as [`load`] has written it into the layers.
fn coordinator(values: &Values) -> Option<parts::Coordinator> {
    if !values.flag("coordinator.enable") {
        return None;
    }
    Some(parts::Coordinator {
        address: values
            .text("coordinator.address")
            .unwrap_or("127.0.0.1")
            .to_owned(),
        port: u16::try_from(values.long("coordinator.port")).unwrap_or_default(),
        data_dir: values
            .text("coordinator.data.dir")
            .unwrap_or("data/coordinator")
            .into(),
    })
}

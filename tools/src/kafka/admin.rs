//! Asking the cluster: any broker, the controller, one broker, a group's coordinator.
//!
//! What fails for a passing reason (a moved controller or coordinator, one that is loading) is
//! asked again for a bounded while; a broker that cannot be reached is not: the tool says so at
//! once, with the address it was told to use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::chance::Chance;
use base::clock::Clock;
use client::pool::Patience;
use client::{Node, Pool};
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, MetadataResponse, RequestKind, ResponseKind, TopicName,
};

use crate::body;
use crate::failure::Failure;
use crate::properties::Properties;
use crate::warn;

/// How long passing refusals are borne where `default.api.timeout.ms` does not say.
const RETRY_FOR_MS: i64 = 60_000;
const RETRY_EVERY_MS: u64 = 100;
/// How long a broker may take to accept a connection and say what it speaks, where
/// `socket.connection.setup.timeout.ms` does not say.
const DIAL_MS: i64 = 10_000;

/// Settings of Java's clients that change what is done, and the values that ask for nothing else than
/// what is done here.
const ABSENT: [(&str, &[&str]); 5] = [
    ("group.protocol", &["", "classic", "CLASSIC"]),
    ("interceptor.classes", &[""]),
    ("partitioner.class", &[""]),
    ("partitioner.ignore.keys", &["", "false"]),
    ("partitioner.adaptive.partitioning.enable", &["", "true"]),
];

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// What a coordinator is looked up for; the numbers are the wire's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    Groups = 0,
    Transactions = 1,
}

/// What a coordinator says that will not last.
const PASSING: [ErrorCode; 4] = [
    ErrorCode::CoordinatorLoadInProgress,
    ErrorCode::CoordinatorNotAvailable,
    ErrorCode::NotCoordinator,
    ErrorCode::ConcurrentTransactions,
];

pub(crate) struct Admin {
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    retry_for_ms: i64,
    bootstrap: Vec<String>,
    pub(crate) nodes: BTreeMap<i32, Node>,
    pub(crate) controller: i32,
    pub(crate) cluster_id: Option<String>,
    /// Who could not be reached, as was said, since he answered last.
    told: BTreeSet<String>,
}

impl Admin {
    /// Reaches one of the servers and asks it who is in the cluster.
    pub(crate) async fn connect(servers: &str, properties: &Properties) -> Result<Admin, Failure> {
        let mut admin = Admin::new(servers, properties)?;
        admin.metadata(Some(&[])).await?;
        Ok(admin)
    }

    fn retry_until_ms(&self) -> i64 {
        let now = self.clock.monotonic_ms();
        now.saturating_add(self.retry_for_ms)
    }

    fn new(servers: &str, properties: &Properties) -> Result<Admin, Failure> {
        let protocol = properties.get("security.protocol").unwrap_or("PLAINTEXT");
        if protocol != "PLAINTEXT" {
            return Err(Failure::Absent(format!(
                "security.protocol={protocol} of the tools"
            )));
        }
        for (key, usual) in ABSENT {
            if let Some(value) = properties.get(key).map(str::trim)
                && !usual.contains(&value)
            {
                return Err(Failure::Absent(format!("{key}={value} of the tools")));
            }
        }
        let client_id = properties
            .get("client.id")
            .unwrap_or("kafka-tool")
            .to_string();
        let bootstrap: Vec<String> = servers
            .split(',')
            .map(|one| one.trim().to_string())
            .filter(|one| !one.is_empty())
            .collect();
        for server in &bootstrap {
            client::dial::split_address(server)?;
        }
        if bootstrap.is_empty() {
            return Err(Failure::said(
                "No resolvable bootstrap urls given in bootstrap.servers",
            ));
        }
        let clock = Clock::system();
        let chance = Chance::from_kernel();
        let retry_for_ms = properties.number("default.api.timeout.ms", RETRY_FOR_MS)?;
        let answer = properties.number("request.timeout.ms", 30_000)?;
        let dial = properties.number("socket.connection.setup.timeout.ms", DIAL_MS)?;
        let bounded = |ms: i64| Duration::from_millis(ms.min(retry_for_ms).max(1).unsigned_abs());
        let patience = Patience {
            dial: bounded(dial),
            answer: bounded(answer),
        };
        let pool = Pool::new(&client_id, patience, clock.clone(), Chance::from_kernel());
        Ok(Admin {
            pool,
            clock,
            chance,
            retry_for_ms,
            bootstrap,
            nodes: BTreeMap::new(),
            controller: -1,
            cluster_id: None,
            told: BTreeSet::new(),
        })
    }

    /// Asks the first broker that can be reached.
    pub(crate) async fn any(
        &mut self,
        api: Api,
        request: RequestKind,
    ) -> Result<ResponseKind, Failure> {
        let addresses = self.addresses();
        Ok(self.pool.ask_any(&addresses, api, request).await?)
    }

    /// Who may be asked what every broker knows: those first who answer already, then those that were
    /// named to the tool, then those it heard of.
    fn addresses(&self) -> Vec<String> {
        let mut all = self.bootstrap.clone();
        for node in self.nodes.values() {
            let address = node.address();
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all.sort_by_key(|address| !self.pool.is_open(address));
        all
    }

    /// Says that somebody cannot be reached: once, until [`Admin::heard`] of him.
    pub(crate) fn tell(&mut self, failure: &Failure) {
        let (Failure::Client(cause) | Failure::Advertised { cause, .. }) = failure else {
            return;
        };
        if let Some(address) = cause.unreached()
            && self.told.insert(address.to_owned())
        {
            warn!("{failure}; trying on");
        }
    }

    pub(crate) fn heard(&mut self, address: &str) {
        if !self.told.is_empty() {
            self.told.remove(address);
        }
    }

    /// Asks one broker.
    pub(crate) async fn node(
        &mut self,
        id: i32,
        api: Api,
        request: RequestKind,
    ) -> Result<ResponseKind, Failure> {
        let address = self.address(id)?;
        self.pool
            .ask(&address, api, request)
            .await
            .map_err(|cause| self.explain(id, address, cause))
    }

    pub(crate) fn address(&self, id: i32) -> Result<String, Failure> {
        let unknown = || Failure::NoBroker(id);
        self.nodes.get(&id).map(Node::address).ok_or_else(unknown)
    }

    /// Names who advertised the address where nobody was reached.
    pub(crate) fn explain(
        &self,
        node: i32,
        address: String,
        cause: client::ClientError,
    ) -> Failure {
        let bootstrap = self.bootstrap.join(",");
        if cause.is_retriable() && !self.bootstrap.contains(&address) {
            Failure::Advertised {
                cause,
                bootstrap,
                address,
                node,
            }
        } else {
            cause.into()
        }
    }

    /// Asks the controller; while `codes` shows NOT_CONTROLLER, finds it again.
    pub(crate) async fn controller(
        &mut self,
        api: Api,
        request: RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        let until = self.retry_until_ms();
        loop {
            let answer = match self.nodes.contains_key(&self.controller) {
                true => self.node(self.controller, api, request.clone()).await?,
                false => self.any(api, request.clone()).await?,
            };
            let moved = codes(&answer).contains(&ErrorCode::NotController.code());
            if !moved || self.clock.monotonic_ms() > until {
                return Ok(answer);
            }
            self.pause().await;
            self.metadata(Some(&[])).await?;
        }
    }

    pub(crate) async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(RETRY_EVERY_MS)).await;
    }

    /// Asks for topics by name (`None`: all of them), and learns the nodes on the way.
    pub(crate) async fn metadata(
        &mut self,
        topics: Option<&[String]>,
    ) -> Result<MetadataResponse, Failure> {
        self.metadata_creating(topics, false).await
    }

    pub(crate) async fn metadata_creating(
        &mut self,
        topics: Option<&[String]>,
        create: bool,
    ) -> Result<MetadataResponse, Failure> {
        let named = topics.map(|names| {
            let named = names.iter();
            named
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(named)
            .with_allow_auto_topic_creation(create);
        let answer = body!(self.any(Api::Metadata, request.into()).await?, Metadata);
        self.nodes = answer
            .brokers
            .iter()
            .map(|broker| {
                let rack = broker.rack.as_ref().map(|rack| rack.to_string());
                let host = broker.host.to_string();
                (
                    broker.node_id.0,
                    Node {
                        id: broker.node_id.0,
                        host,
                        port: broker.port,
                        rack,
                    },
                )
            })
            .collect();
        self.controller = answer.controller_id.0;
        self.cluster_id = answer.cluster_id.as_ref().map(|id| id.to_string());
        Ok(answer)
    }

    /// All topics' names in order, Kafka's own among them if wanted.
    pub(crate) async fn topic_names(&mut self, internal: bool) -> Result<Vec<String>, Failure> {
        let all = self.metadata(None).await?;
        let mut names: Vec<String> = all
            .topics
            .iter()
            .filter(|topic| internal || !topic.is_internal)
            .filter_map(|topic| topic.name.as_ref().map(|name| name.0.to_string()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The broker that coordinates a group.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<i32, Failure> {
        self.coordinator_of(Keys::Groups, group).await
    }

    pub(crate) async fn coordinator_of(&mut self, keys: Keys, key: &str) -> Result<i32, Failure> {
        let until = self.retry_until_ms();
        loop {
            match self.look_up(keys, key).await {
                Err(Failure::Refused { code, .. })
                    if code.is_retriable() && self.clock.monotonic_ms() < until =>
                {
                    self.pause().await;
                }
                done => return done,
            }
        }
    }

    /// Asks once who coordinates.
    pub(crate) async fn look_up(&mut self, keys: Keys, key: &str) -> Result<i32, Failure> {
        let mut last = None;
        for address in self.addresses() {
            match self.look_up_at(&address, keys, key).await {
                Err(Failure::Client(cause)) if cause.is_retriable() => last = Some(cause),
                done => return done,
            }
        }
        Err(match last {
            Some(cause) => cause.into(),
            None => Failure::said("no bootstrap server"),
        })
    }

    async fn look_up_at(&mut self, address: &str, keys: Keys, key: &str) -> Result<i32, Failure> {
        // Up to version 3 one key is asked for, from 4 on a list: the field of the other form must
        // be empty, so the version is looked up before the request is made.
        let connection = self.pool.connection(address).await?;
        let version = connection.versions().pick(Api::FindCoordinator);
        let mut request = FindCoordinatorRequest::default().with_key_type(keys as i8);
        match version.unwrap_or(0) {
            4.. => request.coordinator_keys.push(text(key)),
            _ => request.key = text(key),
        }
        let api = Api::FindCoordinator;
        let answer = self.pool.ask(address, api, request.into()).await?;
        let answer = body!(answer, FindCoordinator);
        let first = answer.coordinators.first();
        let (code, message) = first
            .map_or((answer.error_code, answer.error_message.as_ref()), |one| {
                (one.error_code, one.error_message.as_ref())
            });
        Failure::check(code, message.map(|text| &**text))?;
        let (id, host, port) = first.map_or((answer.node_id, &answer.host, answer.port), |one| {
            (one.node_id, &one.host, one.port)
        });
        let node = Node {
            id: id.0,
            host: host.to_string(),
            port,
            rack: None,
        };
        self.nodes.insert(id.0, node);
        Ok(id.0)
    }

    /// Asks a group's coordinator; while `codes` shows that it moved or is loading, again.
    pub(crate) async fn ask_coordinator(
        &mut self,
        group: &str,
        api: Api,
        request: RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        self.ask_coordinator_of(Keys::Groups, group, api, request, codes)
            .await
    }

    pub(crate) async fn ask_coordinator_of(
        &mut self,
        keys: Keys,
        key: &str,
        api: Api,
        request: RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        let until = self.retry_until_ms();
        loop {
            let id = self.coordinator_of(keys, key).await?;
            let answer = self.node(id, api, request.clone()).await?;
            let passing = codes(&answer)
                .into_iter()
                .any(|code| PASSING.contains(&ErrorCode::of(code)));
            if !passing || self.clock.monotonic_ms() > until {
                return Ok(answer);
            }
            self.pause().await;
        }
    }
}

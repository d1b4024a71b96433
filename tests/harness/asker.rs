//! One plain connection that asks in chosen versions: what no client library lets a test see.

use std::time::Duration;

use client::connection::Connection;
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::{
    CreateTopicsRequest, MetadataRequest, RequestKind, ResponseKind, TopicName,
};

use crate::wait;

/// How long an answer may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long brokers may need until they have heard of one another.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Blocks its thread while it asks.
pub struct Asker {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

impl Asker {
    pub fn connect(address: &str, client_id: &str) -> Asker {
        Self::try_connect(address, client_id).unwrap()
    }

    pub fn try_connect(address: &str, client_id: &str) -> Result<Asker, client::ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(Connection::open(address, client_id, PATIENCE))?;
        Ok(Asker {
            runtime,
            connection,
        })
    }

    /// Asks in the highest version both speak.
    pub fn ask(&mut self, api: Api, request: impl Into<RequestKind>) -> ResponseKind {
        let version = self.connection.versions().pick(api).unwrap();
        self.ask_as(api, version, request)
    }

    pub fn ask_as(
        &mut self,
        api: Api,
        version: i16,
        request: impl Into<RequestKind>,
    ) -> ResponseKind {
        self.try_ask(api, version, request).unwrap()
    }

    /// Fails where the broker ends the connection.
    pub fn try_ask(
        &mut self,
        api: Api,
        version: i16,
        request: impl Into<RequestKind>,
    ) -> Result<ResponseKind, client::ClientError> {
        let connection = &mut self.connection;
        let asking = async {
            connection.send_as(api, version, request.into()).await?;
            connection.receive().await
        };
        self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, asking).await {
                Ok(answer) => answer.map(|(_, answer)| answer),
                Err(_) => panic!("{api:?} was not answered within {PATIENCE:?}"),
            }
        })
    }

    /// Waits until this broker knows `count` brokers and the controller: Apache's serves before it has
    /// heard of itself.
    pub fn await_brokers(&mut self, count: usize) {
        wait::until("brokers that know one another", START_LIMIT, || {
            let nothing = MetadataRequest::default().with_topics(Some(Vec::new()));
            let ResponseKind::Metadata(told) = self.ask(Api::Metadata, nothing) else {
                panic!("another answer than was asked for");
            };
            (told.brokers.len() >= count && told.controller_id.0 >= 0).then_some(())
        });
    }

    /// Makes a topic of one replica a partition; the broker answers when it is led.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*key).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(50_000);
        let ResponseKind::CreateTopics(answer) = self.ask(Api::CreateTopics, request) else {
            panic!("another answer than was asked for");
        };
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

//! Asks the controller, wherever it is: in this process or behind a socket.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use client::connection::Connection;
use client::dial::host_and_port;
use controller::ControllerHandle;
use controller::event::{IsrAnswer, TopicKey};
use protocol::ids::{BrokerEpoch, BrokerId, TopicPartition};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{
    AllocateProducerIdsRequest, BrokerId as WireBroker, ControlledShutdownRequest, RequestKind,
    ResponseKind,
};
use tracing::debug;

use crate::metadata::Metadata;
use crate::peer::proposals::{self, OfTopic, Proposals};

/// How the controller is reached and spoken to.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The one that brokers use among themselves.
    pub listener: String,
    pub patience: Duration,
    /// ControlledShutdown's, by the agreed protocol version.
    pub shutdown_version: i16,
    /// Whether all brokers know topic ids, by the same.
    pub topic_ids: bool,
}

/// A broker's way to the controller. Not shared: one request at a time.
pub struct Link {
    me: BrokerId,
    handle: ControllerHandle,
    metadata: Arc<Metadata>,
    clock: Clock,
    config: LinkConfig,
    connection: Option<(BrokerId, Connection)>,
}

impl Link {
    pub fn new(
        me: BrokerId,
        handle: ControllerHandle,
        metadata: Arc<Metadata>,
        clock: Clock,
        config: LinkConfig,
    ) -> Self {
        Link {
            me,
            handle,
            metadata,
            clock,
            config,
            connection: None,
        }
    }

    /// Another way, for a task of its own.
    pub fn another(&self) -> Self {
        Link {
            me: self.me,
            handle: self.handle.clone(),
            metadata: self.metadata.clone(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            connection: None,
        }
    }

    pub fn me(&self) -> BrokerId {
        self.me
    }

    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.handle.status().broker_epoch
    }

    pub async fn wait_ms(&self, ms: i64) {
        self.clock.sleep_ms(ms).await;
    }

    /// AlterPartition; answers in any order.
    pub async fn alter_partition(
        &mut self,
        topics: Vec<OfTopic>,
    ) -> Result<Vec<(TopicKey, Vec<IsrAnswer>)>, ErrorCode> {
        let proposals = Proposals {
            broker: self.me.0,
            broker_epoch: self.broker_epoch().0,
            ids_agreed: self.config.topic_ids,
            topics,
        };
        if self.handle.is_active() {
            return self.handle.alter_partition(proposals.asked()).await;
        }
        let version_max = proposals.version_max();
        let request = |version| RequestKind::AlterPartition(proposals.request(version));
        match self.ask(Api::AlterPartition, version_max, request).await? {
            (version, ResponseKind::AlterPartition(response)) => {
                ErrorCode::check(response.error_code)?;
                Ok(proposals::answers(version, response))
            }
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// A block of producer ids: its first, and how many.
    pub async fn allocate_producer_ids(&mut self) -> Result<(i64, i32), ErrorCode> {
        let epoch = self.broker_epoch();
        if self.handle.is_active() {
            let first = self
                .handle
                .allocate_producer_ids(self.me.0, epoch.0)
                .await?;
            return Ok((first, 1000));
        }
        let request = AllocateProducerIdsRequest::default()
            .with_broker_id(WireBroker(self.me.0))
            .with_broker_epoch(epoch.0);
        let request = |_| RequestKind::AllocateProducerIds(request);
        match self.ask(Api::AllocateProducerIds, 0, request).await? {
            (_, ResponseKind::AllocateProducerIds(response)) => {
                ErrorCode::check(response.error_code)?;
                Ok((response.producer_id_start.0, response.producer_id_len))
            }
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Asks to leave; what is still led and could be led elsewhere.
    pub async fn controlled_shutdown(&mut self) -> Result<Vec<TopicPartition>, ErrorCode> {
        let epoch = self.broker_epoch();
        if self.handle.is_active() {
            return self.handle.controlled_shutdown(self.me.0, epoch.0).await;
        }
        let request = ControlledShutdownRequest::default()
            .with_broker_id(WireBroker(self.me.0))
            .with_broker_epoch(epoch.0);
        let version = self.config.shutdown_version;
        let request = |_| RequestKind::ControlledShutdown(request);
        match self.ask(Api::ControlledShutdown, version, request).await? {
            (_, ResponseKind::ControlledShutdown(response)) => {
                ErrorCode::check(response.error_code)?;
                Ok(response
                    .remaining_partitions
                    .iter()
                    .map(|one| TopicPartition::new(one.topic_name.as_str(), one.partition_index))
                    .collect())
            }
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// The answer and its version: the highest that both speak, up to `version_max`.
    async fn ask(
        &mut self,
        api: Api,
        version_max: i16,
        request: impl FnOnce(i16) -> RequestKind,
    ) -> Result<(i16, ResponseKind), ErrorCode> {
        let outcome = self.exchange(api, version_max, request).await;
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn exchange(
        &mut self,
        api: Api,
        version_max: i16,
        request: impl FnOnce(i16) -> RequestKind,
    ) -> Result<(i16, ResponseKind), ErrorCode> {
        const GONE: ErrorCode = ErrorCode::NotController;
        let image = self.metadata.image();
        let controller = image.controller.ok_or(GONE)?;
        let stale = |held: &(BrokerId, Connection)| held.0 != controller || held.1.is_broken();
        if self.connection.as_ref().is_none_or(stale) {
            let at = image
                .endpoint(controller, &self.config.listener)
                .ok_or(GONE)?;
            let address = host_and_port(&at.host, at.port);
            let client_id = self.me.to_string();
            let opened = Connection::open(&address, &client_id, self.config.patience).await;
            let connection = opened.map_err(|error| {
                debug!(%error, "cannot reach the controller");
                ErrorCode::NetworkException
            })?;
            self.connection = Some((controller, connection));
        }
        let Some((_, connection)) = self.connection.as_mut() else {
            return Err(GONE);
        };
        let both = connection.versions().pick(api);
        let version = both.map_or(version_max, |both| both.min(version_max));
        let request = request(version);
        let exchange = async {
            connection.send_as(api, version, request).await?;
            connection.receive().await.map(|(_, response)| response)
        };
        match tokio::time::timeout(self.config.patience, exchange).await {
            Ok(Ok(response)) => Ok((version, response)),
            Ok(Err(error)) => {
                debug!(%error, "the controller did not answer");
                Err(ErrorCode::NetworkException)
            }
            Err(_late) => Err(ErrorCode::RequestTimedOut),
        }
    }
}

//! Asks the controller, wherever it is: in this process or behind a socket.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use client::connection::Connection;
use client::dial::host_and_port;
use controller::ControllerHandle;
use controller::event::{IsrAnswer, IsrProposals, IsrState, TopicKey};
use protocol::StrBytes;
use protocol::ids::{BrokerEpoch, BrokerId, TopicId, TopicPartition};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerId as WireBroker,
    ControlledShutdownRequest, RequestKind, ResponseKind, TopicName,
};
use tracing::debug;

use crate::metadata::Metadata;

/// A broker's way to the controller. Not shared: one request at a time.
pub struct Link {
    me: BrokerId,
    handle: ControllerHandle,
    metadata: Arc<Metadata>,
    listener: String,
    clock: Clock,
    patience: Duration,
    /// ControlledShutdown's, by the agreed protocol version.
    shutdown_version: i16,
    connection: Option<(BrokerId, Connection)>,
}

impl Link {
    /// `listener` is the one brokers use among themselves.
    pub fn new(
        me: BrokerId,
        handle: ControllerHandle,
        metadata: Arc<Metadata>,
        listener: impl Into<String>,
        clock: Clock,
        patience: Duration,
        shutdown_version: i16,
    ) -> Self {
        let listener = listener.into();
        Link {
            me,
            handle,
            metadata,
            listener,
            clock,
            patience,
            shutdown_version,
            connection: None,
        }
    }

    /// Another way, for a task of its own.
    pub fn another(&self) -> Self {
        Link {
            me: self.me,
            handle: self.handle.clone(),
            metadata: self.metadata.clone(),
            listener: self.listener.clone(),
            clock: self.clock.clone(),
            patience: self.patience,
            shutdown_version: self.shutdown_version,
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
        proposals: IsrProposals,
    ) -> Result<Vec<(TopicKey, Vec<IsrAnswer>)>, ErrorCode> {
        if self.handle.is_active() {
            return self.handle.alter_partition(proposals).await;
        }
        // Without an id for every topic the request goes by name, in version 1.
        let version = if proposals.by_id { 3 } else { 1 };
        let request = RequestKind::AlterPartition(spell(&proposals));
        match self.ask(Api::AlterPartition, version, request).await? {
            ResponseKind::AlterPartition(response) => {
                ErrorCode::check(response.error_code)?;
                let topics = response.topics.iter().map(|topic| {
                    let key = match proposals.by_id {
                        true => TopicKey::Id(TopicId(topic.topic_id)),
                        false => TopicKey::Name(Arc::from(topic.topic_name.as_str())),
                    };
                    let answers = topic.partitions.iter().map(|one| IsrAnswer {
                        partition: one.partition_index,
                        outcome: ErrorCode::check(one.error_code).map(|()| IsrState {
                            leader: one.leader_id.0,
                            leader_epoch: one.leader_epoch,
                            isr: one.isr.iter().map(|id| id.0).collect(),
                            recovering: one.leader_recovery_state == 1,
                            partition_epoch: one.partition_epoch,
                        }),
                    });
                    (key, answers.collect())
                });
                Ok(topics.collect())
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
        let request = RequestKind::AllocateProducerIds(request);
        match self.ask(Api::AllocateProducerIds, 0, request).await? {
            ResponseKind::AllocateProducerIds(response) => {
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
        match self
            .ask(
                Api::ControlledShutdown,
                self.shutdown_version,
                RequestKind::ControlledShutdown(request),
            )
            .await?
        {
            ResponseKind::ControlledShutdown(response) => {
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

    async fn ask(
        &mut self,
        api: Api,
        version: i16,
        request: RequestKind,
    ) -> Result<ResponseKind, ErrorCode> {
        let outcome = self.exchange(api, version, request).await;
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn exchange(
        &mut self,
        api: Api,
        version: i16,
        request: RequestKind,
    ) -> Result<ResponseKind, ErrorCode> {
        const GONE: ErrorCode = ErrorCode::NotController;
        let image = self.metadata.image();
        let controller = image.controller.ok_or(GONE)?;
        let stale = |held: &(BrokerId, Connection)| held.0 != controller || held.1.is_broken();
        if self.connection.as_ref().is_none_or(stale) {
            let at = image.endpoint(controller, &self.listener).ok_or(GONE)?;
            let address = host_and_port(&at.host, at.port);
            let client_id = self.me.to_string();
            let opened = Connection::open(&address, &client_id, self.patience).await;
            let connection = opened.map_err(|error| {
                debug!(%error, "cannot reach the controller");
                ErrorCode::NetworkException
            })?;
            self.connection = Some((controller, connection));
        }
        let Some((_, connection)) = self.connection.as_mut() else {
            return Err(GONE);
        };
        let version = version.min(connection.versions().pick(api).unwrap_or(version));
        let exchange = async {
            connection.send_as(api, version, request).await?;
            connection.receive().await.map(|(_, response)| response)
        };
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                debug!(%error, "the controller did not answer");
                Err(ErrorCode::NetworkException)
            }
            Err(_late) => Err(ErrorCode::RequestTimedOut),
        }
    }
}

fn spell(proposals: &IsrProposals) -> AlterPartitionRequest {
    let topics = proposals.topics.iter().map(|(key, list)| {
        let partitions = list.iter().map(|one| {
            let members = one.isr.iter().map(|id| WireBroker(*id));
            let states = members.clone().map(|id| {
                // Kafka: in ZooKeeper mode epochs of members are not known to leaders.
                BrokerState::default()
                    .with_broker_id(id)
                    .with_broker_epoch(-1)
            });
            let data = PartitionData::default()
                .with_partition_index(one.partition)
                .with_leader_epoch(one.leader_epoch)
                .with_leader_recovery_state(i8::from(one.recovering))
                .with_partition_epoch(one.partition_epoch);
            match proposals.by_id {
                true => data.with_new_isr_with_epochs(states.collect()),
                false => data.with_new_isr(members.collect()),
            }
        });
        let topic = TopicData::default().with_partitions(partitions.collect());
        match key {
            TopicKey::Id(id) => topic.with_topic_id(id.0),
            TopicKey::Name(name) => {
                topic.with_topic_name(TopicName(StrBytes::from_string(name.to_string())))
            }
        }
    });
    AlterPartitionRequest::default()
        .with_broker_id(WireBroker(proposals.broker))
        .with_broker_epoch(proposals.broker_epoch)
        .with_topics(topics.collect())
}

//! A blocking client that speaks to any broker in batches: what goes in and comes out is bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::Connection;
use harness::wait;
use protocol::StrBytes;
use protocol::ids::Offset;
use protocol::kafka::apis::Api;
use protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::{
    AlterReplicaLogDirsRequest, BrokerId, CreateTopicsRequest, DeleteRecordsRequest,
    DescribeLogDirsRequest, FetchRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, ProducerId, RequestKind,
    ResponseKind, TopicName, TransactionalId, WriteTxnMarkersRequest,
};

/// How long one answer may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a broker may need until it leads what it is asked about.
const START_LIMIT: Duration = Duration::from_secs(120);
const FETCH_BYTES: i32 = 1 << 20;

pub(crate) const EARLIEST: i64 = -2;
pub(crate) const LATEST: i64 = -1;

pub(crate) struct Wire {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

/// One replica of this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) lag: i64,
    pub(crate) is_future: bool,
}

/// A produce that the broker or the connection refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Code(i16),
    Broken,
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Wire {
    /// Waits until the broker answers.
    pub(crate) fn open(port: u16) -> Wire {
        wait::until("the broker to answer", START_LIMIT, || Wire::try_open(port))
    }

    pub(crate) fn try_open(port: u16) -> Option<Wire> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let opened = runtime.block_on(Connection::open(&address, "logs", PATIENCE));
        opened.ok().map(|connection| Wire {
            runtime,
            connection,
        })
    }

    fn ask(&mut self, api: Api, version: i16, request: RequestKind) -> Option<ResponseKind> {
        let Wire {
            runtime,
            connection,
        } = self;
        runtime.block_on(async {
            connection.send_as(api, version, request).await.ok()?;
            let answer = tokio::time::timeout(PATIENCE, connection.receive()).await;
            Some(answer.ok()?.ok()?.1)
        })
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
        };
        let new = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new])
            .with_timeout_ms(50_000);
        self.await_brokers();
        let answer = self.ask(Api::CreateTopics, 5, RequestKind::CreateTopics(request));
        let Some(ResponseKind::CreateTopics(answer)) = answer else {
            panic!("no answer to the creation of {name}");
        };
        let result = &answer.topics[0];
        assert_eq!(result.error_code, 0, "{name}: {:?}", result.error_message);
        for partition in 0..partitions {
            self.await_leader(name, partition);
        }
    }

    /// Apache's broker serves before it has heard of itself.
    /// In how many log directories the broker says that partitions of a topic lie.
    pub(crate) fn log_dirs(&mut self, name: &str) -> usize {
        let request =
            RequestKind::DescribeLogDirs(DescribeLogDirsRequest::default().with_topics(None));
        let answer = self.ask(Api::DescribeLogDirs, 1, request);
        let Some(ResponseKind::DescribeLogDirs(answer)) = answer else {
            panic!("another answer than was asked for");
        };
        let holds = |result: &&DescribeLogDirsResult| {
            let mut topics = result.topics.iter();
            topics.any(|topic| topic.name.as_str() == name)
        };
        answer.results.iter().filter(holds).count()
    }

    fn await_brokers(&mut self) {
        wait::until("a broker that knows of itself", START_LIMIT, || {
            let nothing = MetadataRequest::default().with_topics(Some(Vec::new()));
            match self.ask(Api::Metadata, 5, RequestKind::Metadata(nothing)) {
                Some(ResponseKind::Metadata(answer)) => (!answer.brokers.is_empty()).then_some(()),
                _ => None,
            }
        });
    }

    /// Waits until this broker leads the partition.
    pub(crate) fn await_leader(&mut self, name: &str, partition: i32) {
        wait::until(
            &format!("a leader of {name}-{partition}"),
            START_LIMIT,
            || {
                // A broker may lead before its metadata say so; a fetch needs both.
                let (_, end, _) = self.offset_at(name, partition, LATEST, 0).ok()?;
                self.fetch(name, partition, end, 0).ok()
            },
        );
    }

    pub(crate) fn set_config(&mut self, name: &str, key: &str, value: &str) {
        self.set_config_of(2, name, key, value);
    }

    pub(crate) fn set_broker_config(&mut self, broker: i32, key: &str, value: &str) {
        self.set_config_of(4, &broker.to_string(), key, value);
    }

    fn set_config_of(&mut self, kind: i8, name: &str, key: &str, value: &str) {
        let change = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(0)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![change]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let request = RequestKind::IncrementalAlterConfigs(request);
        let answer = self.ask(Api::IncrementalAlterConfigs, 1, request);
        let Some(ResponseKind::IncrementalAlterConfigs(answer)) = answer else {
            panic!("no answer to a change of {name}");
        };
        assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    }

    /// Appends one batch; gives its first offset.
    pub(crate) fn try_produce(
        &mut self,
        name: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> Result<i64, Refused> {
        let transactional = batch[22] & 0x10 != 0;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch));
        let to = TopicProduceData::default()
            .with_name(topic(name))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(transactional.then(|| TransactionalId(text("somebody"))))
            .with_acks(acks)
            .with_timeout_ms(50_000)
            .with_topic_data(vec![to]);
        match self.ask(Api::Produce, 9, RequestKind::Produce(request)) {
            Some(ResponseKind::Produce(answer)) => {
                let result = &answer.responses[0].partition_responses[0];
                match result.error_code {
                    0 => Ok(result.base_offset),
                    code => Err(Refused::Code(code)),
                }
            }
            _ => Err(Refused::Broken),
        }
    }

    pub(crate) fn produce(&mut self, name: &str, partition: i32, batch: Bytes) -> i64 {
        let produced = self.try_produce(name, partition, -1, batch);
        produced.unwrap_or_else(|refused| panic!("{name}-{partition}: {refused:?}"))
    }

    /// Ends a transaction of `producer` on a partition, as a transaction coordinator does.
    pub(crate) fn mark(&mut self, name: &str, producer: i64, epoch: i16, commit: bool) {
        let at = WritableTxnMarkerTopic::default()
            .with_name(topic(name))
            .with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer))
            .with_producer_epoch(epoch)
            .with_transaction_result(commit)
            .with_coordinator_epoch(3)
            .with_topics(vec![at]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let answer = self.ask(
            Api::WriteTxnMarkers,
            1,
            RequestKind::WriteTxnMarkers(request),
        );
        let Some(ResponseKind::WriteTxnMarkers(answer)) = answer else {
            panic!("no answer to a marker");
        };
        assert_eq!(answer.markers[0].topics[0].partitions[0].error_code, 0);
    }

    pub(crate) fn delete_records(&mut self, name: &str, before: i64) {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(0)
            .with_offset(before);
        let of = DeleteRecordsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![of])
            .with_timeout_ms(50_000);
        let answer = self.ask(Api::DeleteRecords, 2, RequestKind::DeleteRecords(request));
        let Some(ResponseKind::DeleteRecords(answer)) = answer else {
            panic!("no answer to a deletion");
        };
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }

    /// Orders a replica to a directory; gives the code of the answer.
    pub(crate) fn order_to(&mut self, name: &str, partition: i32, dir: &Path) -> i16 {
        let of = AlterReplicaLogDirTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition]);
        let to = AlterReplicaLogDir::default()
            .with_path(text(&dir.display().to_string()))
            .with_topics(vec![of]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![to]);
        let request = RequestKind::AlterReplicaLogDirs(request);
        let Some(ResponseKind::AlterReplicaLogDirs(answer)) =
            self.ask(Api::AlterReplicaLogDirs, 2, request)
        else {
            panic!("no answer to a move of {name}");
        };
        answer.results[0].partitions[0].error_code
    }

    /// Where the replicas of a partition lie, as DescribeLogDirs tells it.
    pub(crate) fn places(&mut self, name: &str, partition: i32) -> Vec<Place> {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let request = RequestKind::DescribeLogDirs(request);
        let Some(ResponseKind::DescribeLogDirs(answer)) =
            self.ask(Api::DescribeLogDirs, 4, request)
        else {
            panic!("no answer about log directories");
        };
        let mut places = Vec::new();
        for dir in answer.results {
            assert_eq!(dir.error_code, 0, "{:?}", dir.log_dir);
            let topics = dir.topics.iter().filter(|it| it.name == topic(name));
            let all = topics.flat_map(|topic| &topic.partitions);
            for here in all.filter(|it| it.partition_index == partition) {
                places.push(Place {
                    dir: dir.log_dir.as_str().into(),
                    lag: here.offset_lag,
                    is_future: here.is_future_key,
                });
            }
        }
        places.sort_by_key(|place| place.is_future);
        places
    }

    /// The timestamp, offset and epoch ListOffsets gives; `isolation` 1 is read_committed.
    pub(crate) fn offset_at(
        &mut self,
        name: &str,
        partition: i32,
        timestamp: i64,
        isolation: i8,
    ) -> Result<(i64, i64, i32), Refused> {
        let at = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let of = ListOffsetsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![at]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![of]);
        match self.ask(Api::ListOffsets, 7, RequestKind::ListOffsets(request)) {
            Some(ResponseKind::ListOffsets(answer)) => {
                let found = &answer.topics[0].partitions[0];
                match found.error_code {
                    0 => Ok((found.timestamp, found.offset, found.leader_epoch)),
                    code => Err(Refused::Code(code)),
                }
            }
            _ => Err(Refused::Broken),
        }
    }

    /// The epoch and end offset OffsetForLeaderEpoch gives.
    pub(crate) fn epoch_end(&mut self, name: &str, partition: i32, epoch: i32) -> (i32, i64) {
        let at = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(epoch);
        let of = OffsetForLeaderTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![at]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![of]);
        let request = RequestKind::OffsetForLeaderEpoch(request);
        let answer = self.ask(Api::OffsetForLeaderEpoch, 4, request);
        let Some(ResponseKind::OffsetForLeaderEpoch(answer)) = answer else {
            panic!("no answer about epoch {epoch}");
        };
        let found = &answer.topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        (found.leader_epoch, found.end_offset)
    }

    pub(crate) fn fetch(
        &mut self,
        name: &str,
        partition: i32,
        from: i64,
        isolation: i8,
    ) -> Result<PartitionData, Refused> {
        let at = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_fetch_offset(from)
            .with_partition_max_bytes(FETCH_BYTES);
        let of = FetchTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![at]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(16 * FETCH_BYTES)
            .with_isolation_level(isolation)
            .with_session_epoch(-1)
            .with_topics(vec![of]);
        match self.ask(Api::Fetch, 12, RequestKind::Fetch(request)) {
            Some(ResponseKind::Fetch(answer)) => {
                let data = answer.responses[0].partitions[0].clone();
                match data.error_code {
                    0 => Ok(data),
                    code => Err(Refused::Code(code)),
                }
            }
            _ => Err(Refused::Broken),
        }
    }

    /// Every batch from the start to the end, as it stands in the log.
    pub(crate) fn read_all(&mut self, name: &str, partition: i32) -> Bytes {
        let (_, mut from, _) = self.offset_at(name, partition, EARLIEST, 0).unwrap();
        let (_, end, _) = self.offset_at(name, partition, LATEST, 0).unwrap();
        let mut all = BytesMut::new();
        while from < end {
            let fetched = self.fetch(name, partition, from, 0).unwrap();
            let next = keep_whole(&fetched.records.unwrap_or_default(), from, &mut all);
            if next == from {
                // What compaction leaves at the end may not reach it.
                break;
            }
            from = next;
        }
        all.freeze()
    }
}

/// Keeps the whole batches of `set`; gives the offset after them.
fn keep_whole(set: &Bytes, from: i64, all: &mut BytesMut) -> i64 {
    let mut next = from;
    for batch in protocol::batch::split(set) {
        let batch = batch.unwrap();
        batch.check_crc().unwrap();
        if batch.last_offset() >= Offset(next) {
            next = batch.next_offset().0;
            all.extend_from_slice(batch.bytes());
        }
    }
    next
}

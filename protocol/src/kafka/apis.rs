//! The 62 APIs of Kafka 3.9 in ZooKeeper mode: key, name, versions, first flexible version, who asks.
//!
//! ApiVersions is answered from this table and from nothing else: tools infer the broker's version
//! from these ranges, so they are 3.9's to the digit, unstable versions left out.

use kafka_protocol::messages::ApiKey;

/// An API by its name; the number is its key on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Api {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    LeaderAndIsr = 4,
    StopReplica = 5,
    UpdateMetadata = 6,
    ControlledShutdown = 7,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    CreateDelegationToken = 38,
    RenewDelegationToken = 39,
    ExpireDelegationToken = 40,
    DescribeDelegationToken = 41,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    AlterPartition = 56,
    UpdateFeatures = 57,
    Envelope = 58,
    DescribeCluster = 60,
    DescribeProducers = 61,
    DescribeTransactions = 65,
    ListTransactions = 66,
    AllocateProducerIds = 67,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
}

/// One API's line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub api: Api,
    /// Kafka's name for it, as in `ApiKeys` and in metrics.
    pub name: &'static str,
    pub version_min: i16,
    pub version_max: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible_since: Option<i16>,
    /// Whether only brokers ask it of each other (a cluster action).
    pub brokers_only: bool,
}

const ANYONE: bool = false;
const BROKERS: bool = true;

/// How many APIs there are.
pub const COUNT: usize = 62;

/// All APIs, by rising key.
pub static ROWS: [Row; COUNT] = [
    row(Api::Produce, "Produce", 0, 11, Some(9), ANYONE),
    row(Api::Fetch, "Fetch", 0, 17, Some(12), ANYONE),
    row(Api::ListOffsets, "ListOffsets", 0, 9, Some(6), ANYONE),
    row(Api::Metadata, "Metadata", 0, 12, Some(9), ANYONE),
    row(Api::LeaderAndIsr, "LeaderAndIsr", 0, 7, Some(4), BROKERS),
    row(Api::StopReplica, "StopReplica", 0, 4, Some(2), BROKERS),
    row(
        Api::UpdateMetadata,
        "UpdateMetadata",
        0,
        8,
        Some(6),
        BROKERS,
    ),
    row(
        Api::ControlledShutdown,
        "ControlledShutdown",
        0,
        3,
        Some(3),
        BROKERS,
    ),
    row(Api::OffsetCommit, "OffsetCommit", 0, 9, Some(8), ANYONE),
    row(Api::OffsetFetch, "OffsetFetch", 0, 9, Some(6), ANYONE),
    row(
        Api::FindCoordinator,
        "FindCoordinator",
        0,
        6,
        Some(3),
        ANYONE,
    ),
    row(Api::JoinGroup, "JoinGroup", 0, 9, Some(6), ANYONE),
    row(Api::Heartbeat, "Heartbeat", 0, 4, Some(4), ANYONE),
    row(Api::LeaveGroup, "LeaveGroup", 0, 5, Some(4), ANYONE),
    row(Api::SyncGroup, "SyncGroup", 0, 5, Some(4), ANYONE),
    row(Api::DescribeGroups, "DescribeGroups", 0, 5, Some(5), ANYONE),
    row(Api::ListGroups, "ListGroups", 0, 5, Some(3), ANYONE),
    row(Api::SaslHandshake, "SaslHandshake", 0, 1, None, ANYONE),
    row(Api::ApiVersions, "ApiVersions", 0, 4, Some(3), ANYONE),
    row(Api::CreateTopics, "CreateTopics", 0, 7, Some(5), ANYONE),
    row(Api::DeleteTopics, "DeleteTopics", 0, 6, Some(4), ANYONE),
    row(Api::DeleteRecords, "DeleteRecords", 0, 2, Some(2), ANYONE),
    row(Api::InitProducerId, "InitProducerId", 0, 5, Some(2), ANYONE),
    row(
        Api::OffsetForLeaderEpoch,
        "OffsetForLeaderEpoch",
        0,
        4,
        Some(4),
        ANYONE,
    ),
    row(
        Api::AddPartitionsToTxn,
        "AddPartitionsToTxn",
        0,
        5,
        Some(3),
        ANYONE,
    ),
    row(
        Api::AddOffsetsToTxn,
        "AddOffsetsToTxn",
        0,
        4,
        Some(3),
        ANYONE,
    ),
    row(Api::EndTxn, "EndTxn", 0, 4, Some(3), ANYONE),
    row(
        Api::WriteTxnMarkers,
        "WriteTxnMarkers",
        0,
        1,
        Some(1),
        BROKERS,
    ),
    row(
        Api::TxnOffsetCommit,
        "TxnOffsetCommit",
        0,
        4,
        Some(3),
        ANYONE,
    ),
    row(Api::DescribeAcls, "DescribeAcls", 0, 3, Some(2), ANYONE),
    row(Api::CreateAcls, "CreateAcls", 0, 3, Some(2), ANYONE),
    row(Api::DeleteAcls, "DeleteAcls", 0, 3, Some(2), ANYONE),
    row(
        Api::DescribeConfigs,
        "DescribeConfigs",
        0,
        4,
        Some(4),
        ANYONE,
    ),
    row(Api::AlterConfigs, "AlterConfigs", 0, 2, Some(2), ANYONE),
    row(
        Api::AlterReplicaLogDirs,
        "AlterReplicaLogDirs",
        0,
        2,
        Some(2),
        ANYONE,
    ),
    row(
        Api::DescribeLogDirs,
        "DescribeLogDirs",
        0,
        4,
        Some(2),
        ANYONE,
    ),
    row(
        Api::SaslAuthenticate,
        "SaslAuthenticate",
        0,
        2,
        Some(2),
        ANYONE,
    ),
    row(
        Api::CreatePartitions,
        "CreatePartitions",
        0,
        3,
        Some(2),
        ANYONE,
    ),
    row(
        Api::CreateDelegationToken,
        "CreateDelegationToken",
        0,
        3,
        Some(2),
        ANYONE,
    ),
    row(
        Api::RenewDelegationToken,
        "RenewDelegationToken",
        0,
        2,
        Some(2),
        ANYONE,
    ),
    row(
        Api::ExpireDelegationToken,
        "ExpireDelegationToken",
        0,
        2,
        Some(2),
        ANYONE,
    ),
    row(
        Api::DescribeDelegationToken,
        "DescribeDelegationToken",
        0,
        3,
        Some(2),
        ANYONE,
    ),
    row(Api::DeleteGroups, "DeleteGroups", 0, 2, Some(2), ANYONE),
    row(Api::ElectLeaders, "ElectLeaders", 0, 2, Some(2), ANYONE),
    row(
        Api::IncrementalAlterConfigs,
        "IncrementalAlterConfigs",
        0,
        1,
        Some(1),
        ANYONE,
    ),
    row(
        Api::AlterPartitionReassignments,
        "AlterPartitionReassignments",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::ListPartitionReassignments,
        "ListPartitionReassignments",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(Api::OffsetDelete, "OffsetDelete", 0, 0, None, ANYONE),
    row(
        Api::DescribeClientQuotas,
        "DescribeClientQuotas",
        0,
        1,
        Some(1),
        ANYONE,
    ),
    row(
        Api::AlterClientQuotas,
        "AlterClientQuotas",
        0,
        1,
        Some(1),
        ANYONE,
    ),
    row(
        Api::DescribeUserScramCredentials,
        "DescribeUserScramCredentials",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::AlterUserScramCredentials,
        "AlterUserScramCredentials",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::AlterPartition,
        "AlterPartition",
        0,
        3,
        Some(0),
        BROKERS,
    ),
    row(Api::UpdateFeatures, "UpdateFeatures", 0, 1, Some(0), ANYONE),
    row(Api::Envelope, "Envelope", 0, 0, Some(0), BROKERS),
    row(
        Api::DescribeCluster,
        "DescribeCluster",
        0,
        1,
        Some(0),
        ANYONE,
    ),
    row(
        Api::DescribeProducers,
        "DescribeProducers",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::DescribeTransactions,
        "DescribeTransactions",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::ListTransactions,
        "ListTransactions",
        0,
        1,
        Some(0),
        ANYONE,
    ),
    row(
        Api::AllocateProducerIds,
        "AllocateProducerIds",
        0,
        0,
        Some(0),
        BROKERS,
    ),
    row(
        Api::ConsumerGroupHeartbeat,
        "ConsumerGroupHeartbeat",
        0,
        0,
        Some(0),
        ANYONE,
    ),
    row(
        Api::ConsumerGroupDescribe,
        "ConsumerGroupDescribe",
        0,
        0,
        Some(0),
        ANYONE,
    ),
];

const fn row(
    api: Api,
    name: &'static str,
    version_min: i16,
    version_max: i16,
    flexible_since: Option<i16>,
    brokers_only: bool,
) -> Row {
    Row {
        api,
        name,
        version_min,
        version_max,
        flexible_since,
        brokers_only,
    }
}

impl Api {
    /// The API of a key, where it is one of ours.
    pub fn from_key(key: i16) -> Option<Api> {
        ROWS.binary_search_by_key(&key, |row| row.api.key())
            .ok()
            .map(|at| ROWS[at].api)
    }

    /// The API of a name as Kafka writes it.
    pub fn from_name(name: &str) -> Option<Api> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.api)
    }

    pub const fn key(self) -> i16 {
        self as i16
    }

    /// This API's place in [`ROWS`]: for tables with one entry an API.
    pub fn index(self) -> usize {
        ROWS.binary_search_by_key(&self.key(), |row| row.api.key())
            .expect("every variant has its row")
    }

    pub fn row(self) -> &'static Row {
        &ROWS[self.index()]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether we speak this version of it.
    pub fn has_version(self, version: i16) -> bool {
        let row = self.row();
        (row.version_min..=row.version_max).contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        self.row()
            .flexible_since
            .is_some_and(|since| version >= since)
    }

    /// The version of the request's header.
    pub fn request_header_version(self, version: i16) -> i16 {
        match self {
            // Kafka: version 0 of this one came before clients had names.
            Api::ControlledShutdown if version == 0 => 0,
            _ if self.is_flexible(version) => 2,
            _ => 1,
        }
    }

    /// The version of the answer's header.
    pub fn response_header_version(self, version: i16) -> i16 {
        match self {
            // Kafka: a client must be able to read this answer before it knows what we speak.
            Api::ApiVersions => 0,
            _ if self.is_flexible(version) => 1,
            _ => 0,
        }
    }

    /// The crate's name for the same API.
    pub fn crate_key(self) -> ApiKey {
        ApiKey::try_from(self.key()).expect("kafka-protocol knows every API of 3.9")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_rise_by_key_and_agree_with_the_crate() {
        assert!(
            ROWS.windows(2)
                .all(|two| two[0].api.key() < two[1].api.key())
        );
        for row in &ROWS {
            let versions = row.api.crate_key().valid_versions();
            assert_eq!(
                (row.version_min, row.version_max),
                (versions.min, versions.max),
                "{row:?}"
            );
            for version in row.version_min..=row.version_max {
                let key = row.api.crate_key();
                assert_eq!(
                    row.api.request_header_version(version),
                    key.request_header_version(version)
                );
                assert_eq!(
                    row.api.response_header_version(version),
                    key.response_header_version(version)
                );
            }
        }
    }
}

//! Where logs begin and end (ListOffsets, sent to each partition's leader), and where groups are
//! (OffsetFetch) or shall be (OffsetCommit).

use std::collections::{BTreeMap, HashMap};

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::{
    BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, OffsetFetchResponse, ResponseKind,
    TopicName,
};

use crate::body;
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text, topic_name};

pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// A partition by topic and number.
pub(crate) type Place = (String, i32);

/// Where a group is in a partition; the epoch is -1 where none was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) epoch: i32,
}

/// What a leader said of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

/// Tries for partitions whose leader moved meanwhile.
const TRIES: usize = 20;

/// Asks for the offset at a timestamp (or a special one) of each partition.
pub(crate) async fn list(
    admin: &mut Admin,
    wanted: &[(Place, i64)],
    read_committed: bool,
) -> Result<BTreeMap<Place, Result<Found, ErrorCode>>, Failure> {
    let mut made = BTreeMap::new();
    let mut open: HashMap<Place, i64> = wanted.iter().cloned().collect();
    for attempt in 0..TRIES {
        if open.is_empty() {
            break;
        }
        if attempt > 0 {
            admin.pause().await;
        }
        let leaders = leaders(admin, &open).await?;
        let mut requests: BTreeMap<i32, Vec<(Place, i64)>> = BTreeMap::new();
        for (place, timestamp) in &open {
            match leaders.get(place) {
                Some(Ok(leader)) => {
                    let asked = requests.entry(*leader).or_default();
                    asked.push((place.clone(), *timestamp));
                }
                Some(Err(error)) => {
                    made.insert(place.clone(), Err(*error));
                }
                None => {
                    made.insert(place.clone(), Err(ErrorCode::UnknownTopicOrPartition));
                }
            }
        }
        for (leader, asked) in requests {
            made.extend(list_of(admin, leader, &asked, read_committed).await?);
        }
        open.retain(|place, _| match made.get(place) {
            Some(Err(error)) => {
                error.is_retriable() && *error != ErrorCode::UnknownTopicOrPartition
            }
            _ => false,
        });
    }
    Ok(made)
}

/// Asks one leader, once.
pub(crate) async fn list_of(
    admin: &mut Admin,
    leader: i32,
    asked: &[(Place, i64)],
    read_committed: bool,
) -> Result<BTreeMap<Place, Result<Found, ErrorCode>>, Failure> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for ((topic, partition), timestamp) in asked {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_timestamp(*timestamp);
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(read_committed))
        .with_topics(topics.collect());
    let answer = admin.node(leader, Api::ListOffsets, request.into()).await?;
    let mut made = BTreeMap::new();
    for topic in body!(answer, ListOffsets).topics {
        for partition in topic.partitions {
            let place = (topic.name.0.to_string(), partition.partition_index);
            let found = Found {
                offset: partition.offset,
                timestamp: partition.timestamp,
                leader_epoch: partition.leader_epoch,
            };
            let told = ErrorCode::check(partition.error_code).map(|()| found);
            made.insert(place, told);
        }
    }
    Ok(made)
}

/// The leader of each partition, or why there is none.
async fn leaders(
    admin: &mut Admin,
    places: &HashMap<Place, i64>,
) -> Result<HashMap<Place, Result<i32, ErrorCode>>, Failure> {
    let mut names: Vec<String> = places.keys().map(|place| place.0.clone()).collect();
    names.sort();
    names.dedup();
    let mut made = HashMap::new();
    for topic in admin.metadata(Some(&names)).await?.topics {
        let Some(name) = topic.name else { continue };
        for partition in topic.partitions {
            let leader = match partition.leader_id.0 {
                ..0 => Err(ErrorCode::LeaderNotAvailable),
                id => Ok(id),
            };
            made.insert((name.0.to_string(), partition.partition_index), leader);
        }
    }
    Ok(made)
}

/// Asks for all that a group committed; the form depends on the version.
pub(crate) fn committed_request(group: &str, version: i16) -> OffsetFetchRequest {
    let mut request = OffsetFetchRequest::default();
    if version >= 8 {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(None);
        request.groups = vec![group];
    } else {
        request.group_id = GroupId(text(group));
        request.topics = None;
    }
    request
}

pub(crate) fn committed_codes(answer: &ResponseKind) -> Vec<i16> {
    match answer {
        ResponseKind::OffsetFetch(body) => {
            let groups = body.groups.iter().map(|group| group.error_code);
            groups.chain([body.error_code]).collect()
        }
        _ => Vec::new(),
    }
}

/// What a group committed.
pub(crate) async fn committed(
    admin: &mut Admin,
    group: &str,
) -> Result<BTreeMap<Place, Committed>, Failure> {
    let id = admin.coordinator(group).await?;
    let address = admin.address(id)?;
    let connection = admin.pool.connection(&address).await?;
    let version = connection.versions().pick(Api::OffsetFetch).unwrap_or(0);
    let request = committed_request(group, version);
    let answer = admin
        .ask_coordinator(group, Api::OffsetFetch, request.into(), committed_codes)
        .await?;
    committed_in(&body!(answer, OffsetFetch))
}

/// The same, out of the coordinator's answer.
pub(crate) fn committed_in(
    answer: &OffsetFetchResponse,
) -> Result<BTreeMap<Place, Committed>, Failure> {
    Failure::check(answer.error_code, None)?;
    let mut made = BTreeMap::new();
    let mut note = |topic: &TopicName, partition: i32, offset: i64, epoch: i32| {
        if offset >= 0 {
            let place = (topic.0.to_string(), partition);
            made.insert(place, Committed { offset, epoch });
        }
    };
    for topic in &answer.topics {
        for one in &topic.partitions {
            let (offset, epoch) = (one.committed_offset, one.committed_leader_epoch);
            note(&topic.name, one.partition_index, offset, epoch);
        }
    }
    for group in &answer.groups {
        Failure::check(group.error_code, None)?;
        for topic in &group.topics {
            for one in &topic.partitions {
                let (offset, epoch) = (one.committed_offset, one.committed_leader_epoch);
                note(&topic.name, one.partition_index, offset, epoch);
            }
        }
    }
    Ok(made)
}

/// What is to be committed, as a request has it.
pub(crate) fn commitment(upto: &BTreeMap<Place, Committed>) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), one) in upto {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(one.offset)
            .with_committed_leader_epoch(one.epoch)
            .with_committed_metadata(Some(text("")));
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    });
    topics.collect()
}

/// What a coordinator says of each partition of a commit.
pub(crate) fn commit_codes(answer: &ResponseKind) -> Vec<i16> {
    match answer {
        ResponseKind::OffsetCommit(body) => {
            let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        _ => Vec::new(),
    }
}

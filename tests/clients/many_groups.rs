//! Many groups at once: made, listed, described, and there again after kill -9.
//!
//! Prints what each step took and what a group costs in memory; `.ci/long` asks for ten thousand.

use std::time::Instant;

use bytes::Bytes;
use harness::alone::Alone;
use harness::asker::Asker;
use harness::process::Single;
use harness::wait;
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, ResponseKind, TopicName,
};

/// How many groups; `.ci/long` sets more.
const GROUPS: &str = "ROTPETER_GROUPS";
const TOPIC: &str = "read";
const PARTITIONS: i32 = 4;
/// Groups asked about in one request.
const AT_ONCE: usize = 500;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
/// What one group of one member and four offsets may take at most: far above what it does.
const GROUP_KIB_MAX: usize = 16;

fn text(word: &str) -> StrBytes {
    StrBytes::from_string(word.to_owned())
}

fn group(number: usize) -> GroupId {
    GroupId(text(&format!("group-{number}")))
}

fn offset(number: usize, partition: i32) -> i64 {
    number as i64 * 10 + i64::from(partition)
}

/// One member joins, is given something and commits.
fn live(asker: &mut Asker, number: usize) {
    let given = (Bytes::from_static(&[0; 32]), Bytes::from_static(&[0; 48]));
    let member = Alone::join(asker, group(number), (1_800_000, 60_000), given);
    let partitions = (0..PARTITIONS).map(|partition| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset(number, partition))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partitions(partitions.collect());
    let commit = OffsetCommitRequest::default().with_topics(vec![topic]);
    member.commit(asker, 8, commit);
}

fn listed(asker: &mut Asker) -> usize {
    let asked = ListGroupsRequest::default();
    let ResponseKind::ListGroups(answer) = asker.ask(Api::ListGroups, asked) else {
        panic!("another answer than was asked for");
    };
    assert_eq!(answer.error_code, 0);
    answer.groups.len()
}

/// All of them, many a request; each stable with its one member.
fn describe(asker: &mut Asker, count: usize) {
    for first in (0..count).step_by(AT_ONCE) {
        let some = (first..count.min(first + AT_ONCE)).map(group).collect();
        let asked = DescribeGroupsRequest::default().with_groups(some);
        let ResponseKind::DescribeGroups(answer) = asker.ask(Api::DescribeGroups, asked) else {
            panic!("another answer than was asked for");
        };
        for one in &answer.groups {
            assert_eq!((&*one.group_state, one.members.len()), ("Stable", 1));
        }
    }
}

/// The offsets of all groups, once they are loaded; each as it was committed.
fn check_offsets(asker: &mut Asker, count: usize) {
    for first in (0..count).step_by(AT_ONCE) {
        let numbers: Vec<usize> = (first..count.min(first + AT_ONCE)).collect();
        let all_of = |number: &usize| {
            OffsetFetchRequestGroup::default()
                .with_group_id(group(*number))
                .with_topics(None)
        };
        let asked = OffsetFetchRequest::default().with_groups(numbers.iter().map(all_of).collect());
        let answer = wait::until("groups that are loaded", LIMIT, || {
            let ResponseKind::OffsetFetch(answer) = asker.ask(Api::OffsetFetch, asked.clone())
            else {
                panic!("another answer than was asked for");
            };
            let loaded = answer.groups.iter().all(|group| group.error_code == 0);
            loaded.then_some(answer)
        });
        assert_eq!(answer.groups.len(), numbers.len());
        for (number, told) in numbers.iter().zip(&answer.groups) {
            assert_eq!(told.group_id, group(*number));
            let mut offsets: Vec<(i32, i64)> = told.topics[0]
                .partitions
                .iter()
                .map(|one| (one.partition_index, one.committed_offset))
                .collect();
            offsets.sort_unstable();
            let committed = (0..PARTITIONS).map(|at| (at, offset(*number, at)));
            assert!(offsets.iter().copied().eq(committed), "{told:?}");
        }
    }
}

fn resident_kib(single: &Single) -> usize {
    let status = format!("/proc/{}/status", single.process.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap()
}

#[test]
fn many_groups_are_made_listed_described_and_loaded_again() {
    let count: usize = std::env::var(GROUPS)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "offsets.topic.replication.factor=1",
        "group.initial.rebalance.delay.ms=0",
    ];
    let mut single = Single::start(dir.path(), &settings);
    let at = single.bootstrap();
    let mut asker = Asker::connect(&at, "many");
    asker.create_topic(TOPIC, PARTITIONS, &[]);
    let find = FindCoordinatorRequest::default().with_key(text("group-0"));
    asker.ask_as(Api::FindCoordinator, 3, find);
    live(&mut asker, 0);
    let before_kib = resident_kib(&single);
    let took = |what: &str, began: Instant| {
        println!(
            "{count} groups: {what} {:.0} ms",
            began.elapsed().as_secs_f64() * 1e3
        );
    };

    let began = Instant::now();
    (1..count).for_each(|number| live(&mut asker, number));
    took("joined, synced and committed one after the other in", began);
    let grown_kib = resident_kib(&single).saturating_sub(before_kib);
    println!("{count} groups: {grown_kib} KiB");
    assert!(grown_kib < 32 * 1024 + count * GROUP_KIB_MAX, "{grown_kib}");
    let began = Instant::now();
    assert_eq!(listed(&mut asker), count);
    took("listed in", began);
    let began = Instant::now();
    describe(&mut asker, count);
    took("described in", began);

    single.process.kill_9();
    let began = Instant::now();
    single.restart();
    let mut asker = Asker::connect(&at, "many");
    check_offsets(&mut asker, count);
    took("loaded, and all offsets fetched, from exec on in", began);
    println!("{count} groups: {} KiB resident", resident_kib(&single));
    assert_eq!(listed(&mut asker), count);
    describe(&mut asker, count);
}

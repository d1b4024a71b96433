//! Kill -9 under load: every acknowledged record is there after the restart, idempotent producers
//! leave no duplicate, committed offsets hold.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base::chance::Chance;
use harness::asker::Asker;
use harness::process::Single;
use harness::wait;
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::{
    FindCoordinatorRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest,
    ResponseKind, TopicName,
};

use crate::cuts::{check_all_once, written};
use crate::programs::{LIBRARIES, Library};

/// How many times the broker dies; `.ci/long` sets more.
const ROUNDS: &str = "ROTPETER_KILLS";

const LIMIT: Duration = Duration::from_secs(60);

fn text(word: &str) -> StrBytes {
    StrBytes::from_string(word.to_owned())
}

/// Where a partition ends.
pub(crate) fn end_offset(asker: &mut Asker, topic: &str, partition: i32) -> i64 {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let ResponseKind::ListOffsets(answer) = asker.ask(Api::ListOffsets, request) else {
        panic!("another answer than was asked for");
    };
    let told = &answer.topics[0].partitions[0];
    assert_eq!(told.error_code, 0, "{answer:?}");
    told.offset
}

/// Commits without a group's membership; true once the broker says it holds.
fn commit(asker: &mut Asker, topic: &str, offset: i64) -> bool {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("keeper")))
        .with_topics(vec![topic]);
    match asker.try_ask(Api::OffsetCommit, 8, request) {
        Ok(ResponseKind::OffsetCommit(answer)) => answer.topics[0].partitions[0].error_code == 0,
        _ => false,
    }
}

/// What the broker holds, once it has loaded its groups.
fn committed(asker: &mut Asker, topic: &str) -> i64 {
    wait::until("the group is loaded", LIMIT, || {
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("keeper")))
            .with_topics(Some(vec![wanted]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let ResponseKind::OffsetFetch(answer) = asker.ask(Api::OffsetFetch, request) else {
            panic!("another answer than was asked for");
        };
        let group = &answer.groups[0];
        (group.error_code == 0).then(|| group.topics[0].partitions[0].committed_offset)
    })
}

/// One life of the broker: commits go on until it is killed; then it comes back, and what it said
/// it holds it holds. `held` is what was committed before; told is what is now.
fn die_and_come_back(single: &mut Single, topic: &str, life_ms: u64, mut held: i64) -> i64 {
    let at = single.bootstrap();
    let mut asker = Asker::connect(&at, "keeper");
    let find = FindCoordinatorRequest::default().with_key(text("keeper"));
    asker.ask_as(Api::FindCoordinator, 3, find);
    wait::until("the coordinator serves", LIMIT, || {
        commit(&mut asker, topic, held).then_some(())
    });
    let id = single.process.id().to_string();
    let killing = std::thread::spawn(move || {
        // The moment is the test's chance, not a wait for anything.
        std::thread::sleep(Duration::from_millis(life_ms));
        let killed = Command::new("sh")
            .args(["-c", "kill -9 \"$0\"", &id])
            .status()
            .unwrap();
        assert!(killed.success());
    });
    while commit(&mut asker, topic, held + 1) {
        held += 1;
    }
    killing.join().unwrap();
    single.process.wait_for_exit(LIMIT);
    single.restart();
    let now = committed(&mut Asker::connect(&at, "keeper"), topic);
    // The last one, which was not acknowledged, may be there or not.
    assert!(
        now == held || now == held + 1,
        "{held} was committed, {now} is held after kill -9"
    );
    now
}

fn under_load(rounds: u64, producers: &[&Library], dir: &Path, seed: u64) {
    let mut single = Single::start(
        dir,
        &[
            "offsets.topic.num.partitions=2",
            "offsets.topic.replication.factor=1",
        ],
    );
    let at = single.bootstrap();
    let chance = Chance::seeded(seed);
    // As much as fills every life of the broker, whatever the machine's speed.
    let count = usize::try_from(rounds).unwrap() * 1500;
    let mut streams = Vec::new();
    for library in producers {
        let topic = format!("load-{}", library.name);
        Asker::connect(&at, "test").create_topic(&topic, 2, &[]);
        let Some(mut program) = library.start(dir, &at) else {
            continue;
        };
        program.order(&format!("stream\t{topic}\t{count}"));
        streams.push((library, topic, program));
    }
    let Some((_, topic, _)) = streams.first() else {
        return;
    };
    let topic = topic.clone();
    let mut held = 0;
    for _ in 0..rounds {
        held = die_and_come_back(&mut single, &topic, 200 + chance.below(1500), held);
    }
    for (library, topic, mut program) in streams {
        let acked = std::iter::from_fn(|| program.line()).count();
        assert_eq!(acked, count, "{}: acknowledgements", library.name);
        let written = written(library, dir, &at, &topic);
        check_all_once(library.name, &written, count);
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var(ROUNDS)
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(3);
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed} {ROUNDS}={rounds}");
    let named = |name: &str| LIBRARIES.iter().find(|library| library.name == name);
    let producers: Vec<&Library> = ["confluent", "java-3.9"]
        .into_iter()
        .filter_map(named)
        .collect();
    under_load(rounds, &producers, dir.path(), seed);
}

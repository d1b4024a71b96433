//! Replicas over a real directory: orders, appends, acks, fetches, deletion.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::Clock;
use base::disk::SystemDisk;
use base::stop;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition,
};
use replication::append::{Acks, Append, AppendAnswer, Turn, append, append_and_wait};
use replication::config::{
    MovesConfig, ReplicationConfig, SessionsConfig, TopicConfig, TopicRules,
};
use replication::endpoint::{IsrKeeper, Proposal};
use replication::error::Refusal;
use replication::partition::isr::IsrAnswer;
use replication::partition::{Assignment, By, Partition, PartitionOrder, Reader, RoleChange};
use replication::read::{FetchRules, Wanted, read_here, wait_round};
use replication::replicas::{Hosted, Replicas};
use replication::role::{Authority, StopOrder};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Moment, Origin};
use storage::store::Store;

const ME: BrokerId = BrokerId(1);
const LAG_MS_MAX: i64 = 1_000;

/// Writes down proposals; all brokers live but those it is told of.
#[derive(Debug, Default)]
struct Keeper {
    proposed: Mutex<Vec<Proposal>>,
    dead: Mutex<Vec<BrokerId>>,
}

impl IsrKeeper for Keeper {
    fn propose(&self, proposal: Proposal) {
        self.proposed.lock().unwrap().push(proposal);
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        !self.dead.lock().unwrap().contains(&broker)
    }
}

struct World {
    dir: tempfile::TempDir,
    clock: Clock,
    keeper: Arc<Keeper>,
    replicas: Arc<Replicas>,
}

fn open(dir: &Path, clock: &Clock, keeper: &Arc<Keeper>, rules: TopicRules) -> Arc<Replicas> {
    let config = StoreConfig {
        dirs: vec![dir.to_path_buf()],
        ..StoreConfig::default()
    };
    let of_topic = move |topic: &str| {
        let log = LogConfig {
            flush_messages: if topic == "durable" { 1 } else { i64::MAX },
            delete: topic != "compacted",
            compact: topic == "compacted",
            ..LogConfig::default()
        };
        TopicConfig {
            log: Arc::new(log),
            rules,
        }
    };
    let log_of = |topic: &str| of_topic(topic).log;
    let store = Store::open(SystemDisk::shared(), config, clock.clone(), &log_of).unwrap();
    let config = ReplicationConfig {
        me: ME,
        lag_ms_max: LAG_MS_MAX,
        checkpoint_ms: 5_000,
        sessions: SessionsConfig::default(),
        moves: MovesConfig::default(),
        workers: 4,
    };
    let keeper = Arc::clone(keeper) as Arc<dyn IsrKeeper>;
    Replicas::new(
        config,
        Arc::new(store),
        clock.clone(),
        keeper,
        Arc::new(of_topic),
    )
    .unwrap()
}

impl World {
    fn new() -> Self {
        World::with(TopicRules::default())
    }

    fn with(rules: TopicRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(1_700_000_000_000);
        let keeper = Arc::new(Keeper::default());
        let replicas = open(dir.path(), &clock, &keeper, rules);
        World {
            dir,
            clock,
            keeper,
            replicas,
        }
    }

    fn obey(&self, order: PartitionOrder) -> Result<(), Refusal> {
        let orders = [order];
        let applied = self
            .replicas
            .apply_leader_and_isr(authority(1), &orders)
            .unwrap();
        applied.results.into_iter().next().unwrap().2
    }

    /// After a clean stop.
    fn reopened(self) -> World {
        let World {
            dir,
            clock,
            keeper,
            replicas,
        } = self;
        replicas.store().close().unwrap();
        drop(replicas);
        let replicas = open(dir.path(), &clock, &keeper, TopicRules::default());
        World {
            dir,
            clock,
            keeper,
            replicas,
        }
    }

    fn lead(&self, topic: &str, replicas: &[i32], isr: &[i32]) -> Arc<Partition> {
        self.obey(order(topic, 1, 0, replicas, isr)).unwrap();
        self.replicas.partition(topic, 0).online().unwrap()
    }
}

fn authority(controller_epoch: i32) -> Authority {
    Authority {
        controller_epoch: ControllerEpoch(controller_epoch),
        broker_epoch: BrokerEpoch(7),
        own_broker_epoch: BrokerEpoch(7),
    }
}

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn order(topic: &str, leader: i32, epoch: i32, replicas: &[i32], isr: &[i32]) -> PartitionOrder {
    PartitionOrder {
        partition: TopicPartition::new(topic, 0),
        topic_id: TopicId::ZERO,
        controller_epoch: ControllerEpoch(1),
        leader: BrokerId(leader),
        leader_epoch: LeaderEpoch(epoch),
        isr: brokers(isr),
        partition_epoch: epoch,
        assignment: Assignment {
            replicas: brokers(replicas),
            ..Assignment::default()
        },
        is_new: true,
    }
}

fn records(count: usize) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    for _ in 0..count {
        batch
            .push(1_700_000_000_000, Some(b"key"), Some(b"value"), &[])
            .unwrap();
    }
    batch.build().unwrap()
}

fn produce(partition: &Arc<Partition>, count: usize, acks: Acks) -> Append {
    let mut turn = Turn::begin();
    let append = append(partition, records(count), Origin::Client, acks, &mut turn);
    turn.end();
    append
}

/// Packed it is a few hundred bytes, unpacked two million.
fn packed_records() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::Gzip);
    let value = vec![0; 1 << 16];
    for _ in 0..32 {
        batch
            .push(1_700_000_000_000, None, Some(&value), &[])
            .unwrap();
    }
    batch.build().unwrap()
}

fn answered(append: Append) -> AppendAnswer {
    match append {
        Append::Answered(answer) => answer,
        Append::Waits(wait) => panic!("nothing to wait for: {wait:?}"),
    }
}

fn wanted(partition: &Arc<Partition>, from: i64, reader: Reader) -> Wanted {
    Wanted {
        index: 0,
        partition: Arc::clone(partition),
        from: Offset(from),
        bytes_max: Some(1 << 20),
        current_leader_epoch: None,
        last_fetched_epoch: None,
        reader,
    }
}

fn follower(id: i32) -> Reader {
    Reader::Follower {
        id: BrokerId(id),
        log_start: Offset(0),
    }
}

const CONSUMER: Reader = Reader::Consumer {
    committed_only: false,
    leader_only: true,
};
const RULES: FetchRules = FetchRules {
    bytes_min: 1,
    bytes_max: 1 << 20,
    min_one: true,
};

/// One look; how many bytes, or why none.
fn look(partition: &Arc<Partition>, from: i64, reader: Reader) -> Result<usize, Refusal> {
    let (round, wakes) = read_here(&[wanted(partition, from, reader)], RULES, true);
    wakes.fire();
    round.found.into_iter().next().unwrap().map(|_| round.bytes)
}

#[test]
fn one_replica_is_an_isr_of_one_and_answers_at_once() {
    let world = World::new();
    let partition = world.lead("t", &[1], &[1]);
    let answer = answered(produce(&partition, 3, Acks::All));
    assert_eq!((answer.first_offset, answer.refusal), (Offset(0), None));
    let answer = answered(produce(&partition, 2, Acks::Leader));
    assert_eq!(
        (answer.first_offset, answer.last_offset),
        (Offset(3), Offset(4))
    );
    assert_eq!(partition.view().offsets.watermark, Offset(5));
    assert!(look(&partition, 0, CONSUMER).unwrap() > 0);
    assert_eq!(look(&partition, 5, CONSUMER), Ok(0));
    assert_eq!(
        look(&partition, 6, CONSUMER),
        Err(Refusal::OffsetOutOfRange)
    );
}

#[tokio::test]
async fn what_takes_long_to_look_at_waits_in_a_lane_and_later_records_follow_it() {
    let world = World::new();
    let partition = world.lead("t", &[1], &[1]);
    let mut turn = Turn::begin();
    let origin = Origin::Client;
    let long = append(
        &partition,
        packed_records(),
        origin,
        Acks::Leader,
        &mut turn,
    );
    turn.end();
    assert!(matches!(long, Append::Waits(_)), "{long:?}");
    let next = produce(&partition, 1, Acks::Leader);
    let stay = partition.shared().deadlines.park(60_000);
    let Append::Waits(long) = long else {
        panic!("it has a lane")
    };
    assert_eq!(long.finish(&stay).await.first_offset, Offset(0));
    let next = match next {
        Append::Waits(wait) => wait.finish(&stay).await,
        Append::Answered(answer) => answer,
    };
    assert_eq!(next.first_offset, Offset(32));
}

#[test]
fn records_that_are_many_are_looked_at_in_a_lane_though_nothing_is_packed() {
    let world = World::new();
    let partition = world.lead("t", &[1], &[1]);
    let in_a_lane = |bytes: usize| {
        let mut batch = BatchBuilder::new(Codec::None);
        let value = vec![0; bytes];
        batch
            .push(1_700_000_000_000, None, Some(&value), &[])
            .unwrap();
        let (records, origin) = (batch.build().unwrap(), Origin::Client);
        let mut turn = Turn::begin();
        let append = append(&partition, records, origin, Acks::Leader, &mut turn);
        matches!(append, Append::Waits(_))
    };
    assert!(!in_a_lane(1 << 20));
    assert!(in_a_lane(3 << 20));
}

#[test]
fn many_that_take_a_moment_each_do_not_keep_others_waiting_together() {
    let world = World::new();
    let all = ["a", "b", "c"].map(|topic| world.lead(topic, &[1], &[1]));
    let mut turn = Turn::begin();
    let waits = all.map(|partition| {
        let (records, origin) = (records(1), Origin::Client);
        let append = append(&partition, records, origin, Acks::Leader, &mut turn);
        world.clock.advance(4);
        matches!(append, Append::Waits(_))
    });
    turn.end();
    assert_eq!(waits, [false, false, true]);
}

#[tokio::test]
async fn what_a_lane_appends_is_flushed_though_nobody_waits_for_it() {
    let world = World::new();
    let partition = world.lead("durable", &[1], &[1]);
    let (mut turn, origin) = (Turn::begin(), Origin::Client);
    let append = append(
        &partition,
        packed_records(),
        origin,
        Acks::Leader,
        &mut turn,
    );
    turn.end();
    assert!(matches!(append, Append::Waits(_)));
    drop(append);
    let log = partition.log();
    let flushed = async {
        while log.offsets().recovery < Offset(32) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let flushed = tokio::time::timeout(Duration::from_secs(20), flushed).await;
    flushed.expect("every message is flushed");
}

#[tokio::test]
async fn acks_from_all_wait_until_every_member_has_fetched_past_the_records() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    let Append::Waits(wait) = produce(&partition, 3, Acks::All) else {
        panic!("a follower lacks it")
    };
    assert_eq!(
        look(&partition, 0, CONSUMER),
        Ok(0),
        "consumers see nothing uncommitted"
    );
    let stay = partition.shared().deadlines.park(10_000);
    let mut waiting = std::pin::pin!(wait.finish(&stay));
    assert!(look(&partition, 0, follower(2)).unwrap() > 0);
    tokio::select! { biased;
        _ = &mut waiting => panic!("answered before the follower had it"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(look(&partition, 3, follower(2)), Ok(0));
    let answer = waiting.await;
    assert_eq!((answer.first_offset, answer.refusal), (Offset(0), None));
    assert!(look(&partition, 0, CONSUMER).unwrap() > 0);
}

#[tokio::test]
async fn a_produce_that_waits_in_vain_times_out_and_tells_where_it_was_written() {
    let world = World::new();
    let (_stopper, stop) = stop::pair();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    base::tasks::spawn("deadlines", partition.shared().deadlines.clone().run(stop));
    let waiting = append_and_wait(&partition, records(1), Origin::Client, Acks::All, 30);
    let mut waiting = std::pin::pin!(waiting);
    let answer = loop {
        tokio::select! { biased;
            answer = &mut waiting => break answer,
            () = tokio::task::yield_now() => world.clock.advance(10),
        }
    };
    assert_eq!(
        (answer.first_offset, answer.refusal),
        (Offset(0), Some(Refusal::TimedOut))
    );
}

#[test]
fn too_small_an_isr_refuses_before_anything_is_written() {
    let world = World::with(TopicRules {
        min_insync_replicas: 2,
        ..TopicRules::default()
    });
    let partition = world.lead("t", &[1, 2], &[1]);
    let answer = answered(produce(&partition, 1, Acks::All));
    assert_eq!(answer.refusal, Some(Refusal::NotEnoughReplicas));
    assert_eq!(partition.view().offsets.end, Offset(0));
    assert_eq!(answered(produce(&partition, 1, Acks::Leader)).refusal, None);
    // One replica can never be two: the rule asks for no more than there are.
    let alone = world.lead("u", &[1], &[1]);
    assert_eq!(answered(produce(&alone, 1, Acks::All)).refusal, None);
}

#[tokio::test]
async fn a_parked_fetch_is_woken_by_an_append_and_by_a_change_of_role() {
    let world = World::new();
    let partition = world.lead("t", &[1], &[1]);
    let all = [wanted(&partition, 0, CONSUMER)];
    let stay = partition.shared().deadlines.park(10_000);
    let (round, _) = read_here(&all, RULES, true);
    assert!(!round.is_ready);
    let mut waiting = std::pin::pin!(wait_round(&all, RULES, round, &stay));
    tokio::select! { biased;
        _ = &mut waiting => panic!("nothing to tell yet"),
        () = std::future::ready(()) => {}
    }
    answered(produce(&partition, 1, Acks::Leader));
    let round = waiting.await;
    assert!(round.bytes > 0);

    let all = [wanted(&partition, 1, CONSUMER)];
    let (round, _) = read_here(&all, RULES, true);
    let mut waiting = std::pin::pin!(wait_round(&all, RULES, round, &stay));
    tokio::select! { biased;
        _ = &mut waiting => panic!("nothing to tell yet"),
        () = std::future::ready(()) => {}
    }
    world.obey(order("t", 2, 1, &[1, 2], &[2])).unwrap();
    let round = waiting.await;
    assert_eq!(round.found[0].as_ref().unwrap_err(), &Refusal::NotLeader);
}

/// Taken for the answer to the proposal of today, it would make the leader forget a member that the
/// controller has written down: records would be acknowledged that a later leader does not have.
#[test]
fn an_answer_to_a_former_leadership_changes_nothing() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1]);
    let proposal = || {
        look(&partition, 2, follower(2)).unwrap();
        let proposed = std::mem::take(&mut *world.keeper.proposed.lock().unwrap());
        assert_eq!((proposed.len(), &proposed[0].isr), (1, &brokers(&[1, 2])));
        proposed.into_iter().next().unwrap()
    };
    answered(produce(&partition, 2, Acks::All));
    let former = proposal();
    world.obey(order("t", 1, 1, &[1, 2], &[1])).unwrap();
    let todays = proposal();
    for late in [
        IsrAnswer::Reverted,
        IsrAnswer::Outdated,
        IsrAnswer::TryAgain,
    ] {
        world.replicas.note_isr_answer(&former, &late);
        assert!(world.keeper.proposed.lock().unwrap().is_empty());
        // Whoever may be in sync already is waited for.
        assert!(matches!(
            produce(&partition, 1, Acks::All),
            Append::Waits(_)
        ));
    }
    let answer = IsrAnswer::Committed {
        leader_epoch: LeaderEpoch(1),
        partition_epoch: 2,
        isr: brokers(&[1, 2]),
    };
    world.replicas.note_isr_answer(&todays, &answer);
    assert_eq!(partition.view().isr, brokers(&[1, 2]));
}

#[test]
fn a_follower_that_caught_up_is_proposed_once_and_joins_with_the_answer() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1]);
    answered(produce(&partition, 2, Acks::All));
    look(&partition, 2, follower(2)).unwrap();
    look(&partition, 2, follower(2)).unwrap();
    let proposed = std::mem::take(&mut *world.keeper.proposed.lock().unwrap());
    assert_eq!(proposed.len(), 1);
    assert_eq!(proposed[0].isr, brokers(&[1, 2]));
    let answer = IsrAnswer::Committed {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 1,
        isr: brokers(&[1, 2]),
    };
    world.replicas.note_isr_answer(&proposed[0], &answer);
    assert_eq!(partition.view().isr, brokers(&[1, 2]));
    // It falls silent, and leaves again; until the answer it holds the watermark.
    assert!(matches!(
        produce(&partition, 1, Acks::All),
        Append::Waits(_)
    ));
    world.clock.advance(LAG_MS_MAX + 1);
    world.replicas.check_isrs();
    let proposed = std::mem::take(&mut *world.keeper.proposed.lock().unwrap());
    assert_eq!((proposed.len(), &proposed[0].isr), (1, &brokers(&[1])));
    assert_eq!(partition.view().offsets.watermark, Offset(2));
    let answer = IsrAnswer::Committed {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 2,
        isr: brokers(&[1]),
    };
    world.replicas.note_isr_answer(&proposed[0], &answer);
    assert_eq!(partition.view().offsets.watermark, Offset(3));
}

#[test]
fn readers_are_checked_by_epoch_then_by_role() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1]);
    world.obey(order("t", 1, 4, &[1, 2], &[1])).unwrap();
    let read = |epoch: i32, reader: Reader| {
        let one = Wanted {
            current_leader_epoch: Some(LeaderEpoch(epoch)),
            ..wanted(&partition, 0, reader)
        };
        let (round, _) = read_here(&[one], RULES, true);
        round.found.into_iter().next().unwrap().map(|_| ())
    };
    assert_eq!(read(3, CONSUMER), Err(Refusal::FencedLeaderEpoch));
    assert_eq!(read(5, CONSUMER), Err(Refusal::UnknownLeaderEpoch));
    assert_eq!(read(4, CONSUMER), Ok(()));
    assert_eq!(read(4, follower(9)), Err(Refusal::UnknownLeaderEpoch));
    assert_eq!(look(&partition, 0, follower(9)), Err(Refusal::NotLeader));
    world.obey(order("t", 2, 5, &[1, 2], &[2])).unwrap();
    assert_eq!(read(5, CONSUMER), Err(Refusal::NotLeader));
    let from_follower = Reader::Consumer {
        committed_only: false,
        leader_only: false,
    };
    assert_eq!(read(5, from_follower), Ok(()));
    assert_eq!(
        answered(produce(&partition, 1, Acks::All)).refusal,
        Some(Refusal::NotLeader)
    );
}

#[test]
fn a_follower_whose_log_went_another_way_is_told_where() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1]);
    answered(produce(&partition, 3, Acks::Leader));
    world.obey(order("t", 1, 2, &[1, 2], &[1])).unwrap();
    answered(produce(&partition, 3, Acks::Leader));
    let part = |from: i64, last: i32| {
        let one = Wanted {
            last_fetched_epoch: Some(LeaderEpoch(last)),
            ..wanted(&partition, from, follower(2))
        };
        let (round, _) = read_here(&[one], RULES, true);
        assert!(round.is_ready);
        round
            .found
            .into_iter()
            .next()
            .unwrap()
            .map(|found| found.diverging)
    };
    assert_eq!(part(5, 0), Ok(Some((LeaderEpoch(0), Offset(3)))));
    assert_eq!(part(4, 1), Ok(Some((LeaderEpoch(0), Offset(3)))));
    assert_eq!(part(3, 0), Ok(None));
    assert_eq!(part(6, 9), Err(Refusal::OffsetOutOfRange));
}

#[test]
fn orders_are_answered_by_the_first_rule_that_holds() {
    let world = World::new();
    let id = TopicId::random();
    let with_id = |epoch: i32, id| PartitionOrder {
        topic_id: id,
        ..order("t", 1, epoch, &[1], &[1])
    };
    assert_eq!(world.obey(with_id(3, TopicId::ZERO)), Ok(()));
    assert_eq!(
        world.obey(with_id(2, id)),
        Err(Refusal::StaleControllerEpoch)
    );
    assert_eq!(
        world.obey(with_id(3, TopicId::ZERO)),
        Err(Refusal::StaleControllerEpoch)
    );
    assert_eq!(world.obey(with_id(3, id)), Ok(()), "the id became known");
    assert_eq!(
        world.obey(with_id(3, id)),
        Err(Refusal::StaleControllerEpoch)
    );
    assert_eq!(
        world.obey(with_id(4, TopicId::random())),
        Err(Refusal::InconsistentTopicId)
    );
    assert_eq!(world.obey(with_id(4, id)), Ok(()));
    assert_eq!(
        world.obey(order("u", 2, 0, &[2, 3], &[2])),
        Err(Refusal::UnknownPartition)
    );
    let partition = world.replicas.partition("t", 0).online().unwrap();
    assert_eq!(
        (partition.topic_id(), partition.leader_epoch()),
        (id, LeaderEpoch(4))
    );
}

#[test]
fn a_dead_leader_is_not_followed_but_the_log_is_made() {
    let world = World::new();
    world.keeper.dead.lock().unwrap().push(BrokerId(2));
    world.obey(order("t", 2, 5, &[1, 2], &[2])).unwrap();
    let partition = world.replicas.partition("t", 0).online().unwrap();
    assert_eq!(partition.leader(), (None, LeaderEpoch::NONE));
    world.keeper.dead.lock().unwrap().clear();
    world.obey(order("t", 2, 5, &[1, 2], &[2])).unwrap();
    assert_eq!(partition.leader(), (Some(BrokerId(2)), LeaderEpoch(5)));
}

#[test]
fn old_controllers_and_orders_to_an_earlier_registration_are_fenced() {
    let world = World::new();
    let orders = [order("t", 1, 0, &[1], &[1])];
    world
        .replicas
        .apply_leader_and_isr(authority(5), &orders)
        .unwrap();
    let refused = |authority| {
        world
            .replicas
            .apply_leader_and_isr(authority, &orders)
            .unwrap_err()
    };
    assert_eq!(refused(authority(4)), Refusal::StaleControllerEpoch);
    let late = Authority {
        broker_epoch: BrokerEpoch(6),
        ..authority(5)
    };
    assert_eq!(refused(late), Refusal::StaleBrokerEpoch);
    let unsaid = Authority {
        broker_epoch: BrokerEpoch(-1),
        ..authority(5)
    };
    assert!(world.replicas.apply_leader_and_isr(unsaid, &orders).is_ok());
    assert!(!world.replicas.accept_controller(ControllerEpoch(4)));
    assert!(world.replicas.accept_controller(ControllerEpoch(6)));
}

#[test]
fn roles_that_change_are_told() {
    let world = World::new();
    let change = |epoch: i32, leader: i32| {
        let orders = [order("t", leader, epoch, &[1, 2], &[1, 2])];
        let applied = world
            .replicas
            .apply_leader_and_isr(authority(1), &orders)
            .unwrap();
        applied.changes.first().map(|(_, change)| *change)
    };
    assert_eq!(change(0, 1), Some(RoleChange::BecameLeader));
    assert_eq!(change(1, 1), Some(RoleChange::StaysLeader));
    assert_eq!(change(2, 2), Some(RoleChange::BecameFollower));
    assert_eq!(change(2, 2), None);
    assert_eq!(change(3, 1), Some(RoleChange::BecameLeader));
}

#[test]
fn what_a_coordinator_decided_in_one_leadership_is_not_appended_in_the_next() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    let by = By::coordinator_of(partition.term());
    let appended = || {
        let mut turn = Turn::begin();
        let append = append(&partition, records(1), by, Acks::Leader, &mut turn);
        turn.end();
        answered(append).refusal
    };
    let ordered = |leader, epoch| {
        let order = order("t", leader, epoch, &[1, 2], &[1, 2]);
        world.obey(order).unwrap();
    };
    assert_eq!(appended(), None);
    ordered(1, 1);
    assert_eq!(appended(), None, "whoever led goes on leading");
    ordered(2, 2);
    assert_eq!(appended(), Some(Refusal::NotLeader));
    ordered(1, 3);
    assert_eq!(appended(), Some(Refusal::NotLeader), "groups are read anew");
}

#[tokio::test]
async fn a_stopped_replica_is_gone_and_whoever_waits_on_it_hears() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    let Append::Waits(wait) = produce(&partition, 1, Acks::All) else {
        panic!("a follower lacks it")
    };
    let stop = |epoch: i32, delete: bool| {
        let leader_epoch = LeaderEpoch(epoch);
        let order = StopOrder {
            partition: partition.id().clone(),
            leader_epoch,
            delete,
        };
        let stopped = world
            .replicas
            .apply_stop_replica(authority(1), &[order])
            .unwrap();
        stopped.results.into_iter().next().unwrap().1
    };
    assert!(matches!(
        produce(&partition, 1, Acks::None),
        Append::Answered(_)
    ));
    assert_eq!(stop(0, false), Ok(()));
    assert!(matches!(
        world.replicas.partition("t", 0),
        Hosted::Online(_)
    ));
    world.obey(order("t", 1, 1, &[1, 2], &[1, 2])).unwrap();
    assert_eq!(stop(0, true), Err(Refusal::FencedLeaderEpoch));
    assert_eq!(stop(-2, true), Ok(()));
    assert!(matches!(world.replicas.partition("t", 0), Hosted::Absent));
    assert!(world.replicas.store().log(partition.id()).is_none());
    let stay = partition.shared().deadlines.park(10_000);
    assert_eq!(wait.finish(&stay).await.refusal, Some(Refusal::NotLeader));
    assert_eq!(
        stop(-2, true),
        Ok(()),
        "what is not here is stopped already"
    );
}

#[tokio::test]
async fn in_the_durable_mode_nothing_is_answered_or_seen_before_it_is_on_the_disk() {
    let world = World::new();
    let partition = world.lead("durable", &[1], &[1]);
    let append = produce(&partition, 2, Acks::Leader);
    let stay = partition.shared().deadlines.park(60_000);
    let answer = match append {
        Append::Waits(wait) => wait.finish(&stay).await,
        Append::Answered(answer) => answer,
    };
    assert_eq!(answer.refusal, None);
    let offsets = partition.view().offsets;
    assert_eq!(
        (offsets.recovery, offsets.watermark),
        (Offset(2), Offset(2))
    );
}

#[test]
fn records_are_deleted_up_to_the_watermark_and_no_further() {
    let world = World::new();
    let partition = world.lead("t", &[1], &[1]);
    answered(produce(&partition, 5, Acks::Leader));
    assert_eq!(
        partition.delete_records(Some(Offset(9))).unwrap_err(),
        Refusal::OffsetOutOfRange
    );
    let (wanted, low, _) = partition.delete_records(Some(Offset(3))).unwrap();
    assert_eq!((wanted, low), (Offset(3), Some(Offset(3))));
    assert_eq!(
        look(&partition, 2, CONSUMER),
        Err(Refusal::OffsetOutOfRange)
    );
    let (wanted, low, _) = partition.delete_records(None).unwrap();
    assert_eq!((wanted, low), (Offset(5), Some(Offset(5))));
    let compacted = world.lead("compacted", &[1], &[1]);
    assert_eq!(
        compacted.delete_records(None).unwrap_err(),
        Refusal::DeletionNotAllowed
    );
}

#[test]
fn the_low_watermark_waits_for_living_followers_only() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1]);
    answered(produce(&partition, 5, Acks::Leader));
    let (_, low, _) = partition.delete_records(Some(Offset(4))).unwrap();
    assert_eq!(low, None, "broker 2 has not said where its log begins");
    let at = |start: i64| Reader::Follower {
        id: BrokerId(2),
        log_start: Offset(start),
    };
    look(&partition, 5, at(0)).unwrap();
    assert_eq!(partition.low_watermark(), Ok(Some(Offset(0))));
    look(&partition, 5, at(4)).unwrap();
    assert_eq!(partition.low_watermark(), Ok(Some(Offset(4))));
    look(&partition, 5, at(0)).unwrap();
    world.keeper.dead.lock().unwrap().push(BrokerId(2));
    assert_eq!(partition.low_watermark(), Ok(Some(Offset(4))));
}

#[test]
fn after_an_election_clients_are_not_told_an_end_that_may_be_older() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    answered(produce(&partition, 3, Acks::Leader));
    let latest = |reader| partition.find_offset(Moment::Latest, reader, None);
    assert_eq!(latest(CONSUMER).unwrap().unwrap().offset, Offset(0));
    world.obey(order("t", 1, 1, &[1, 2], &[1, 2])).unwrap();
    assert_eq!(latest(CONSUMER), Err(Refusal::OffsetNotAvailable));
    assert_eq!(latest(follower(2)).unwrap().unwrap().offset, Offset(3));
    look(&partition, 3, follower(2)).unwrap();
    assert_eq!(latest(CONSUMER).unwrap().unwrap().offset, Offset(3));
}

#[test]
fn who_looks_at_one_replica_is_told_its_end_by_a_follower_too() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    answered(produce(&partition, 3, Acks::Leader));
    world.obey(order("t", 2, 1, &[1, 2], &[1, 2])).unwrap();
    let latest = |reader| partition.find_offset(Moment::Latest, reader, None);
    assert_eq!(latest(CONSUMER), Err(Refusal::NotLeader));
    assert_eq!(latest(Reader::Local).unwrap().unwrap().offset, Offset(3));
}

#[test]
fn a_watermark_outlives_a_restart() {
    let world = World::new();
    let partition = world.lead("t", &[1, 2], &[1, 2]);
    answered(produce(&partition, 3, Acks::Leader));
    look(&partition, 3, follower(2)).unwrap();
    answered(produce(&partition, 2, Acks::Leader));
    let [dir] = &world.replicas.store().directories()[..] else {
        panic!("one directory");
    };
    world.replicas.write_watermarks_in(&dir.path);
    drop(partition);
    let world = world.reopened();
    world.obey(order("t", 2, 1, &[1, 2], &[2])).unwrap();
    let partition = world.replicas.partition("t", 0).online().unwrap();
    let offsets = partition.view().offsets;
    assert_eq!((offsets.watermark, offsets.end), (Offset(3), Offset(5)));
}

#[test]
fn a_replica_that_was_set_aside_is_not_led_anew() {
    let world = World::new();
    answered(produce(&world.lead("t", &[1], &[1]), 3, Acks::Leader));
    let folder = world.dir.path().join("t-0");
    std::fs::write(folder.join("partition.metadata"), "rotten").unwrap();
    let as_leader = PartitionOrder {
        is_new: false,
        ..order("t", 1, 1, &[1], &[1])
    };
    let mut world = world;
    for _ in 0..2 {
        world = world.reopened();
        assert!(!folder.exists());
        let refused = world.obey(as_leader.clone()).unwrap_err();
        assert!(matches!(refused, Refusal::DirectoryOffline), "{refused:?}");
    }
    let kept = world.replicas.store().set_aside();
    let metadata = kept[0].now_at.join("partition.metadata");
    // Those of a topic that was deleted since are in nobody's way.
    let older = TopicId::random();
    std::fs::write(metadata, format!("version: 0\ntopic_id: {older}\n")).unwrap();
    let world = world.reopened();
    let of = |topic_id: TopicId| PartitionOrder {
        topic_id,
        ..as_leader.clone()
    };
    assert_eq!(world.obey(of(older)), Err(Refusal::DirectoryOffline));
    world.obey(of(TopicId::random())).unwrap();
}

#[test]
fn a_replica_that_was_set_aside_is_led_anew_when_its_files_are_gone() {
    let world = World::new();
    answered(produce(&world.lead("t", &[1], &[1]), 3, Acks::Leader));
    let folder = world.dir.path().join("t-0");
    std::fs::write(folder.join("partition.metadata"), "rotten").unwrap();
    let as_leader = PartitionOrder {
        is_new: false,
        ..order("t", 1, 1, &[1], &[1])
    };
    let world = world.reopened();
    let kept = world.replicas.store().set_aside();
    std::fs::remove_dir_all(&kept[0].now_at).unwrap();
    let world = world.reopened();
    world.obey(as_leader).unwrap();
}

#[test]
fn a_replica_that_is_found_damaged_goes_offline_alone_and_can_be_deleted() {
    let world = World::new();
    for topic in ["t", "u"] {
        let partition = world.lead(topic, &[1], &[1]);
        for _ in 0..3 {
            answered(produce(&partition, 3, Acks::Leader));
        }
    }
    let world = world.reopened();
    world.replicas.watch_store();
    let losses = world.replicas.losses();
    let (damaged, whole) = (world.lead("t", &[1], &[1]), world.lead("u", &[1], &[1]));
    let path = world.dir.path().join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let magic_of_the_second = bytes.len() / 3 + 16;
    bytes[magic_of_the_second] = 9;
    std::fs::write(&path, bytes).unwrap();

    assert_eq!(look(&damaged, 6, CONSUMER), Err(Refusal::Damaged));
    assert!(losses.has_changed().unwrap());
    assert!(matches!(world.replicas.partition("t", 0), Hosted::Offline));
    assert_eq!(look(&damaged, 0, CONSUMER), Err(Refusal::DirectoryOffline));
    assert_eq!(
        world.obey(order("t", 1, 1, &[1], &[1])),
        Err(Refusal::DirectoryOffline)
    );
    assert!(look(&whole, 6, CONSUMER).is_ok_and(|bytes| bytes > 0));

    let deletion = StopOrder {
        partition: damaged.id().clone(),
        leader_epoch: LeaderEpoch(0),
        delete: true,
    };
    let stopped = world.replicas.apply_stop_replica(authority(1), &[deletion]);
    assert_eq!(stopped.unwrap().results[0].1, Ok(()));
    assert!(matches!(world.replicas.partition("t", 0), Hosted::Absent));
    assert!(!path.exists());
}

#[test]
fn a_replica_that_was_set_aside_follows_anew() {
    let world = World::new();
    answered(produce(&world.lead("t", &[1, 2], &[1, 2]), 3, Acks::Leader));
    let folder = world.dir.path().join("t-0");
    std::fs::write(folder.join("partition.metadata"), "rotten").unwrap();
    let world = world.reopened();
    let follows = PartitionOrder {
        is_new: false,
        ..order("t", 2, 1, &[1, 2], &[2])
    };
    world.obey(follows).unwrap();
    let partition = world.replicas.partition("t", 0).online().unwrap();
    assert_eq!(partition.view().offsets.end, Offset(0));
}

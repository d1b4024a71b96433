//! A log directory whose disk hangs: whoever asks for other directories too is answered in time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use base::clock::Clock;
use base::faulty_disk::{Fault, FaultyDisk, Operation};
use base::io_pool::IoPool;
use base::stop::{self, Stopper};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition,
};
use replication::append::{Acks, Append, Turn, append};
use replication::asking::{PATIENCE_MS, Question, ask_all};
use replication::config::{
    MovesConfig, ReplicationConfig, SessionsConfig, TopicConfig, TopicRules,
};
use replication::endpoint::{IsrKeeper, Proposal};
use replication::error::Refusal;
use replication::lanes::SLOW_MS;
use replication::partition::{Assignment, Partition, PartitionOrder, Reader};
use replication::read::{FetchRules, Round, Wanted, read_here, read_rest};
use replication::replicas::Replicas;
use replication::role::Authority;
use replication::waiting::Until;
use storage::config::{LogConfig, StoreConfig};
use storage::log::Origin;
use storage::store::Store;

const ME: BrokerId = BrokerId(1);
const FROZEN: &str = "/a";
const WORKS: &str = "/b";
/// What does not hang takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
const RULES: FetchRules = FetchRules {
    bytes_min: 1,
    bytes_max: 1 << 20,
    min_one: true,
};

#[derive(Debug)]
struct Alone;

impl IsrKeeper for Alone {
    fn propose(&self, _: Proposal) {}

    fn is_alive(&self, _: BrokerId) -> bool {
        true
    }
}

struct World {
    disk: FaultyDisk,
    clock: Clock,
    replicas: Arc<Replicas>,
    next: AtomicI32,
    _stopper: Stopper,
}

impl World {
    /// Its deadlines pass as its clock is advanced.
    fn new(log: LogConfig) -> Self {
        let (disk, clock) = (FaultyDisk::new(1), Clock::by_hand(1_700_000_000_000));
        let config = StoreConfig {
            dirs: vec![FROZEN.into(), WORKS.into()],
            ..StoreConfig::default()
        };
        let log = Arc::new(log);
        let of_topic = move |_: &str| TopicConfig {
            log: Arc::clone(&log),
            rules: TopicRules::default(),
        };
        let log_of = |topic: &str| of_topic(topic).log;
        let store = Store::open(disk.shared(), config, clock.clone(), &log_of).unwrap();
        let config = ReplicationConfig {
            me: ME,
            lag_ms_max: 1_000,
            checkpoint_ms: 5_000,
            sessions: SessionsConfig::default(),
            moves: MovesConfig::default(),
            workers: 8,
        };
        let (store, keeper) = (Arc::new(store), Arc::new(Alone));
        let replicas =
            Replicas::new(config, store, clock.clone(), keeper, Arc::new(of_topic)).unwrap();
        let (stopper, stop) = stop::pair();
        let deadlines = replicas.shared().deadlines.clone();
        let _detached = base::tasks::spawn("deadlines", deadlines.run(stop));
        World {
            disk,
            clock,
            replicas,
            next: AtomicI32::new(0),
            _stopper: stopper,
        }
    }

    /// Another partition in that directory.
    fn lead_in(&self, dir: &str) -> Arc<Partition> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let order = order(number);
            self.replicas
                .apply_leader_and_isr(authority(), &[order])
                .unwrap();
            let partition = self.replicas.partition("t", number).online().unwrap();
            if partition.lane().path() == Path::new(dir) {
                return partition;
            }
        }
    }

    /// An append there hangs, and has for long enough to be noticed.
    fn hang(&self, partition: &Arc<Partition>) {
        self.disk.freeze(FROZEN);
        let stuck = Arc::clone(partition);
        std::thread::spawn(move || produce(&stuck));
        self.disk.await_hanging(1);
        self.clock.advance(SLOW_MS + 1);
    }

    /// Whoever brings copies there nearer to their replicas hangs.
    fn hang_copies(&self) {
        self.disk.freeze(FROZEN);
        let replicas = Arc::clone(&self.replicas);
        std::thread::spawn(move || replicas.move_some());
        self.disk.await_hanging(1);
    }
}

fn authority() -> Authority {
    Authority {
        controller_epoch: ControllerEpoch(1),
        broker_epoch: BrokerEpoch(7),
        own_broker_epoch: BrokerEpoch(7),
    }
}

fn order(number: i32) -> PartitionOrder {
    PartitionOrder {
        partition: TopicPartition::new("t", number),
        topic_id: TopicId::ZERO,
        controller_epoch: ControllerEpoch(1),
        leader: ME,
        leader_epoch: LeaderEpoch(0),
        isr: vec![ME],
        partition_epoch: 0,
        assignment: Assignment {
            replicas: vec![ME],
            ..Assignment::default()
        },
        is_new: true,
    }
}

fn records() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(1_700_000_000_000, Some(b"key"), Some(b"value"), &[])
        .unwrap();
    batch.build().unwrap()
}

fn produce(partition: &Arc<Partition>) -> Append {
    let mut turn = Turn::begin();
    let origin = Origin::Client;
    let append = append(partition, records(), origin, Acks::Leader, &mut turn);
    turn.end();
    append
}

fn wanted(partition: &Arc<Partition>) -> Wanted {
    Wanted {
        index: 0,
        partition: Arc::clone(partition),
        from: Offset(0),
        bytes_max: Some(1 << 20),
        current_leader_epoch: None,
        last_fetched_epoch: None,
        reader: Reader::Consumer {
            committed_only: false,
            leader_only: true,
        },
    }
}

/// A fetch that waits for half a second; half of it passes at each look.
async fn fetch(world: &World, wanted: &[Wanted]) -> Round {
    let (round, wakes) = read_here(wanted, RULES, true);
    wakes.fire();
    let stay = world.replicas.shared().deadlines.park(500);
    let mut rest = std::pin::pin!(read_rest(wanted, RULES, true, round, &stay));
    tokio::time::timeout(PATIENCE, async {
        loop {
            tokio::select! { biased;
                round = &mut rest => return round,
                () = tokio::time::sleep(Duration::from_millis(5)) => world.clock.advance(250),
            }
        }
    })
    .await
    .expect("nobody waits for ever")
}

#[tokio::test]
async fn a_fetch_gives_what_the_healthy_have_and_leaves_out_who_hangs() {
    let world = World::new(LogConfig::default());
    let (hanging, healthy) = (world.lead_in(FROZEN), world.lead_in(WORKS));
    for partition in [&hanging, &healthy] {
        assert!(matches!(produce(partition), Append::Answered(_)));
    }
    world.hang(&hanging);
    let both = [wanted(&hanging), wanted(&healthy)];
    let round = fetch(&world, &both).await;
    assert!(round.is_ready && round.bytes > 0);
    assert_eq!(round.found[0].as_ref().err(), Some(&Refusal::Silent));
    assert!(round.found[1].is_ok());

    // From now on nobody waits for it who has anything else, and it alone is no news.
    assert!(hanging.lane().is_silent());
    let began_ms = world.clock.monotonic_ms();
    assert!(fetch(&world, &both).await.is_ready);
    assert_eq!(world.clock.monotonic_ms(), began_ms);
    assert!(!fetch(&world, &both[..1]).await.is_ready);

    world.disk.thaw();
    while hanging.lane().is_silent() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let round = fetch(&world, &both).await;
    assert!(round.found.iter().all(Result::is_ok));
}

type Ask = Box<dyn FnOnce(&Partition) -> Result<i64, Refusal> + Send>;

/// Where the log of each ends, or why that is not told.
async fn ends(partitions: [&Arc<Partition>; 2]) -> [Result<i64, Refusal>; 2] {
    let questions = partitions.map(|partition| Question {
        partition: Arc::clone(partition),
        may_sleep: false,
        ask: |it: &Partition| Ok(it.log().offsets().end.0),
    });
    let told = tokio::time::timeout(PATIENCE, ask_all(questions.into(), PATIENCE_MS));
    let told = told.await.expect("nobody waits for ever");
    told.try_into().unwrap()
}

#[tokio::test]
async fn a_question_is_answered_for_the_healthy_and_given_up_for_who_hangs() {
    let world = World::new(LogConfig::default());
    let (hanging, healthy) = (world.lead_in(FROZEN), world.lead_in(WORKS));
    for partition in [&hanging, &healthy] {
        assert!(matches!(produce(partition), Append::Answered(_)));
    }
    world.hang(&hanging);
    let began_ms = world.clock.monotonic_ms();
    let both = [&hanging, &healthy];
    let mut told = std::pin::pin!(ends(both));
    let told = loop {
        tokio::select! { biased;
            told = &mut told => break told,
            () = tokio::time::sleep(Duration::from_millis(5)) => world.clock.advance(PATIENCE_MS / 4),
        }
    };
    assert_eq!(told, [Err(Refusal::Silent), Ok(1)]);
    assert!(world.clock.monotonic_ms() >= began_ms + PATIENCE_MS);

    // Who would wait for as long in vain does not.
    let began_ms = world.clock.monotonic_ms();
    assert_eq!(ends(both).await, [Err(Refusal::Silent), Ok(1)]);
    assert_eq!(world.clock.monotonic_ms(), began_ms);

    world.disk.thaw();
    while hanging.lane().is_silent() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ends(both).await, [Ok(2), Ok(1)]);
}

#[tokio::test]
async fn answers_that_come_one_by_one_lengthen_nobodys_wait() {
    let world = World::new(LogConfig::default());
    let partition = world.lead_in(WORKS);
    let (answer, may_answer) = channel();
    let (begun, has_begun) = channel();
    let (hold, held) = channel::<()>();
    let first = move |_: &Partition| {
        may_answer.recv().unwrap();
        Ok(1)
    };
    let second = move |_: &Partition| {
        begun.send(()).unwrap();
        held.recv().unwrap_or(());
        Ok(2)
    };
    let questions: [Ask; 2] = [Box::new(first), Box::new(second)];
    let questions = questions.map(|ask| Question {
        partition: Arc::clone(&partition),
        may_sleep: true,
        ask,
    });
    let mut told = std::pin::pin!(ask_all(questions.into(), PATIENCE_MS));
    for passed_ms in [0, PATIENCE_MS / 2] {
        if passed_ms > 0 {
            answer.send(()).unwrap();
            // They have one thread: the first has been told.
            has_begun.recv_timeout(PATIENCE).unwrap();
        }
        tokio::select! { biased;
            early = &mut told => panic!("{early:?}"),
            () = tokio::task::yield_now() => world.clock.advance(PATIENCE_MS / 2),
        }
    }
    world.clock.advance(PATIENCE_MS / 4);
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert_eq!(told.expect("it is over"), [Ok(1), Err(Refusal::Silent)]);
    drop(hold);
}

#[tokio::test]
async fn who_waits_for_longer_than_a_fetch_asks_where_a_fetch_has_waited_in_vain() {
    let world = World::new(LogConfig::default());
    let (hanging, healthy) = (world.lead_in(FROZEN), world.lead_in(WORKS));
    world.hang(&hanging);
    assert!(!fetch(&world, &[wanted(&hanging)]).await.is_ready);
    assert!(hanging.lane().is_silent());
    let disk = world.disk.clone();
    let thaws = base::tasks::spawn("thaws", async move {
        disk.await_hanging(1);
        disk.thaw();
    });
    assert_eq!(ends([&hanging, &healthy]).await, [Ok(1), Ok(0)]);
    thaws.await.unwrap();
}

#[tokio::test]
async fn one_request_may_append_to_more_partitions_than_a_queue_has_places() {
    const MANY: usize = 5_000;
    let world = World::new(LogConfig::default());
    let hanging = world.lead_in(FROZEN);
    world.hang(&hanging);
    let mut turn = Turn::begin();
    let waits: Vec<_> = (0..MANY)
        .map(|_| {
            let origin = Origin::Client;
            match append(&hanging, records(), origin, Acks::Leader, &mut turn) {
                Append::Waits(wait) => wait,
                Append::Answered(answer) => panic!("{answer:?}"),
            }
        })
        .collect();
    turn.end();
    world.disk.thaw();
    let stay = world.replicas.shared().deadlines.park(600_000);
    for (number, wait) in (1..).zip(waits) {
        let answer = tokio::time::timeout(PATIENCE, wait.finish(&stay)).await;
        let answer = answer.expect("it appends again");
        assert_eq!(
            (answer.refusal, answer.first_offset),
            (None, Offset(number))
        );
    }
    assert!(matches!(produce(&hanging), Append::Answered(_)));
}

#[tokio::test]
async fn what_finds_no_place_in_the_queue_is_refused_and_leaves_nothing_behind() {
    let world = World::new(LogConfig::default());
    let hanging = world.lead_in(FROZEN);
    world.hang(&hanging);
    let stay = world.replicas.shared().deadlines.park(600_000);
    let mut waits = Vec::new();
    let refused = loop {
        assert!(waits.len() < 100_000, "the queue is endless");
        let Append::Waits(wait) = produce(&hanging) else {
            panic!("its disk is slow")
        };
        let mut answer = Box::pin(wait.finish(&stay));
        tokio::select! { biased;
            refused = &mut answer => break refused,
            () = tokio::task::yield_now() => waits.push(answer),
        }
    };
    assert_eq!(refused.refusal, Some(Refusal::Overloaded));
    world.disk.thaw();
    for answer in waits {
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        assert_eq!(answer.expect("it appends again").refusal, None);
    }
    assert!(matches!(produce(&hanging), Append::Answered(_)));
}

/// What is done on another thread, if it is done in time.
fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(PATIENCE).ok()
}

#[tokio::test]
async fn nobody_who_waits_for_records_to_be_gone_waits_for_the_disk() {
    let world = World::new(LogConfig::default());
    let hanging = world.lead_in(FROZEN);
    assert!(matches!(produce(&hanging), Append::Answered(_)));
    let (_, _, wakes) = hanging.delete_records(Some(Offset(1))).unwrap();
    wakes.fire();
    world.hang(&hanging);
    let told = beside(move || hanging.low_watermark());
    assert_eq!(told, Some(Ok(Some(Offset(1)))));
    world.disk.thaw();
}

#[tokio::test]
async fn a_copy_whose_disk_hangs_holds_up_no_append() {
    let world = World::new(LogConfig::default());
    let moving = world.lead_in(WORKS);
    assert!(matches!(produce(&moving), Append::Answered(_)));
    let to = Path::new(FROZEN);
    world.replicas.alter_directory(moving.id(), to).unwrap();
    world.hang_copies();
    let stay = world.replicas.shared().deadlines.park(600_000);
    let until = Until::LowWatermarkReaches(Offset(1));
    let _seat = moving.queue().sit(until, stay.parked());
    let appended = beside(move || matches!(produce(&moving), Append::Answered(_)));
    assert_eq!(appended, Some(true));
    world.disk.thaw();
}

#[tokio::test]
async fn who_waits_for_records_to_be_gone_does_not_wait_for_a_copy_whose_directory_fails() {
    let world = World::new(LogConfig::default());
    world.replicas.watch_store();
    let moving = world.lead_in(WORKS);
    assert!(matches!(produce(&moving), Append::Answered(_)));
    let to = Path::new(FROZEN);
    world.replicas.alter_directory(moving.id(), to).unwrap();
    let (_, low, wakes) = moving.delete_records(Some(Offset(1))).unwrap();
    wakes.fire();
    assert_eq!(low, Some(Offset(0)), "the copy begins there");
    world.hang_copies();
    let stay = world.replicas.shared().deadlines.park(600_000);
    let until = Until::LowWatermarkReaches(Offset(1));
    let _seat = moving.queue().sit(until, stay.parked());
    world.replicas.store().give_up(to, 300);
    let woken = tokio::time::timeout(PATIENCE, stay.parked().wait()).await;
    woken.expect("somebody tells");
    assert_eq!(moving.low_watermark(), Ok(Some(Offset(1))));
    world.disk.thaw();
}

#[tokio::test]
async fn a_move_whose_target_fails_at_any_rename_leaves_a_replica_that_serves_where_it_lies() {
    let mut failed = 0;
    for left in 0.. {
        let world = World::new(LogConfig::default());
        let moving = world.lead_in(WORKS);
        assert!(matches!(produce(&moving), Append::Answered(_)));
        let to = Path::new(FROZEN);
        world.replicas.alter_directory(moving.id(), to).unwrap();
        let renames = Operation::Rename;
        world.disk.plan(renames, "/a/", Fault::Eio, left, true);
        while world.replicas.is_moving() {
            world.replicas.move_some();
        }
        assert_eq!(moving.lane().path(), moving.log().directory());
        let online = world.replicas.store().directories()[0].online;
        if moving.log().directory() == to {
            break;
        }
        assert!(!online && matches!(produce(&moving), Append::Answered(_)));
        failed += 1;
    }
    assert!(failed > 0);
}

#[tokio::test]
async fn nobody_who_looks_after_the_isrs_waits_for_a_log() {
    let world = World::new(LogConfig::default());
    let hanging = world.lead_in(FROZEN);
    world.disk.freeze(FROZEN);
    let stuck = Arc::clone(&hanging);
    // As a thread of the lane does, without leave to call.
    let append = move || {
        let patience = replication::partition::Patience::Any;
        stuck.append(&records(), Origin::Client.into(), false, None, patience)
    };
    std::thread::spawn(append);
    world.disk.await_hanging(1);
    let replicas = Arc::clone(&world.replicas);
    assert_eq!(beside(move || replicas.check_isrs()), Some(()));
    world.disk.thaw();
}

#[tokio::test]
async fn a_topics_settings_change_whatever_its_disks_do() {
    let world = World::new(LogConfig::default());
    let all = [world.lead_in(FROZEN), world.lead_in(WORKS)];
    world.hang(&all[0]);
    let rules = TopicRules {
        min_insync_replicas: 2,
        ..TopicRules::default()
    };
    let log = all[1].log().config();
    let (replicas, config) = (Arc::clone(&world.replicas), TopicConfig { log, rules });
    let changed = beside(move || replicas.set_topic_config("t", &config));
    assert_eq!(changed, Some(()));
    assert!(all.iter().all(|partition| partition.rules() == rules));
    world.disk.thaw();
}

#[tokio::test]
async fn who_has_everything_needs_no_leave_to_call_a_disk() {
    let world = World::new(LogConfig::default());
    let partition = world.lead_in(WORKS);
    assert!(matches!(produce(&partition), Append::Answered(_)));
    let lanes = &world.replicas.shared().lanes;
    let permits: Vec<_> = std::iter::from_fn(|| lanes.try_permit(&partition.lane())).collect();
    assert!(!permits.is_empty());
    let look = |from, committed_only| {
        let one = Wanted {
            from: Offset(from),
            reader: Reader::Consumer {
                committed_only,
                leader_only: true,
            },
            ..wanted(&partition)
        };
        read_here(&[one], RULES, true).0
    };
    for committed_only in [false, true] {
        let round = look(1, committed_only);
        assert!(round.is_whole() && !round.is_ready);
        let offsets = round.found[0].as_ref().unwrap().offsets;
        assert_eq!((offsets.watermark, offsets.end), (Offset(1), Offset(1)));
        for from in [0, 2] {
            assert!(!look(from, committed_only).is_whole(), "from {from}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_does_not_answer_for_minutes_is_given_up_and_no_other() {
    let world = World::new(LogConfig::default());
    let (hanging, healthy) = (world.lead_in(FROZEN), world.lead_in(WORKS));
    let (_stopper, stop) = stop::pair();
    let pool = IoPool::new("test", 1, 8).unwrap();
    let _running = world.replicas.start(&pool, &stop);
    world.hang(&hanging);
    let Append::Waits(waits) = produce(&hanging) else {
        panic!("its disk is slow")
    };
    let stay = world.replicas.shared().deadlines.park(600_000);
    let told = base::tasks::spawn("waits", async move { waits.finish(&stay).await });
    let online = || {
        let directories = world.replicas.store().directories();
        [0, 1].map(|number: usize| directories[number].online)
    };
    let mut seconds = 0;
    while online()[0] {
        world.clock.advance(1_000);
        seconds += 1;
        assert!(seconds < 600, "nobody gives it up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(seconds >= 59, "{seconds}");
    assert!(online()[1]);
    assert!(matches!(produce(&healthy), Append::Answered(_)));
    let all = &world.replicas;
    assert!(all.find(hanging.id()).online().is_none() && all.find(healthy.id()).online().is_some());
    let told = tokio::time::timeout(PATIENCE, told).await;
    let told = told.expect("nobody waits for what is given up").unwrap();
    assert_eq!(told.refusal, Some(Refusal::DirectoryOffline));
    world.disk.thaw();
}

#[tokio::test]
async fn what_slow_directories_give_together_is_no_more_than_was_asked_for() {
    let world = World::new(LogConfig::default());
    let all = [FROZEN, WORKS, FROZEN].map(|dir| world.lead_in(dir));
    for partition in &all {
        assert!(matches!(produce(partition), Append::Answered(_)));
    }
    let one = records().len();
    let wanted = all.each_ref().map(wanted);
    for (bytes_max, bytes) in [(1, one), (2 * one, 2 * one), (3 * one - 1, 2 * one)] {
        let rules = FetchRules { bytes_max, ..RULES };
        let lanes = &world.replicas.shared().lanes;
        // With every permit out, all are asked elsewhere.
        let permits: Vec<_> = std::iter::from_fn(|| lanes.try_permit(&all[0].lane())).collect();
        let (round, _) = read_here(&wanted, rules, true);
        assert!(!round.is_whole() && !permits.is_empty());
        let stay = world.replicas.shared().deadlines.park(500);
        let round = read_rest(&wanted, rules, true, round, &stay).await;
        assert_eq!(
            (round.bytes, round.is_ready),
            (bytes, true),
            "of {bytes_max}"
        );
    }
}

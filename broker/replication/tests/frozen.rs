//! A log directory whose disk hangs: whoever asks for other directories too is answered in time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use base::clock::Clock;
use base::faulty_disk::FaultyDisk;
use base::io_pool::IoPool;
use base::stop::{self, Stopper};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition,
};
use replication::append::{Acks, Append, Turn, append};
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
        bytes_max: 1 << 20,
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

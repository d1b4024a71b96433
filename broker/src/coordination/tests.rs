//! Groups hosted over a log in memory: loading, waiting for acks, order, deadlines.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use ::groups::commit::CommitRequest;
use ::groups::join::JoinRequest;
use ::groups::member::Protocol;
use ::groups::offsets::Committed;
use ::groups::outcome::JoinAnswer;
use ::groups::refusal::WriteError;
use ::groups::sync::SyncRequest;
use ::groups::{Config, Refusal};
use base::clock::Clock;
use base::tasks;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use protocol::batch::{BatchView, Marker, end_marker, patch_offset_epoch};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::error::{Error, ReadError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::coordination::log::{Appending, HostLog, Written};
use crate::coordination::verbs::Asked;
use crate::coordination::{Groups, Settings};

/// A log in memory. While it holds, acknowledgements wait for [`MemoryLog::acknowledge`].
#[derive(Debug, Default)]
struct MemoryLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    batches: Vec<Bytes>,
    end: i64,
    holds: bool,
    held: Vec<(i64, oneshot::Sender<Written>)>,
    /// A disk that sleeps: appends wait for its other end to be dropped.
    sleeps: Option<std::sync::mpsc::Receiver<()>>,
    /// How many reads find no descriptor.
    missing_files: usize,
    asleep: usize,
}

impl MemoryLog {
    fn hold(&self) {
        self.0.lock().holds = true;
    }

    /// Answers held appends by their number, in any order.
    fn acknowledge(&self, which: usize, result: Result<(), WriteError>) {
        let (offset, tell) = self.0.lock().held.remove(which);
        tell.send(result.map(|()| offset)).unwrap();
    }

    fn held(&self) -> usize {
        self.0.lock().held.len()
    }

    /// The next append sleeps until what is given back is dropped.
    fn fall_asleep(&self) -> Sender<()> {
        let (wake, woken) = std::sync::mpsc::channel();
        self.0.lock().sleeps = Some(woken);
        wake
    }

    fn sleep(&self) {
        let sleeps = self.0.lock().sleeps.take();
        if let Some(woken) = sleeps {
            self.0.lock().asleep += 1;
            let _dropped = woken.recv();
        }
    }

    fn put(&self, batch: &[u8]) -> i64 {
        let mut inner = self.0.lock();
        let offset = inner.end;
        let mut batch = BytesMut::from(batch);
        patch_offset_epoch(&mut batch, Offset(offset), LeaderEpoch(0));
        let batch = batch.freeze();
        let view = BatchView::open(&batch).unwrap().unwrap();
        inner.end = view.header().next_offset().0;
        inner.batches.push(batch);
        offset
    }
}

impl HostLog for MemoryLog {
    fn append(&self, batch: Bytes, replicated: bool) -> Appending {
        self.sleep();
        let offset = self.put(&batch);
        let mut inner = self.0.lock();
        if !(inner.holds && replicated) {
            return Appending::Done(Ok(offset));
        }
        let (tell, heard) = oneshot::channel();
        inner.held.push((offset, tell));
        Appending::Later(Box::pin(async move {
            heard.await.unwrap_or(Err(WriteError::Other))
        }))
    }

    fn start(&self) -> Offset {
        Offset(0)
    }

    fn end(&self) -> Offset {
        Offset(self.0.lock().end)
    }

    fn read(&self, from: Offset, _bytes_max: usize) -> Result<Bytes, ReadError> {
        let mut inner = self.0.lock();
        if inner.missing_files > 0 {
            inner.missing_files -= 1;
            let cause = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
            return Err(Error::io("open segment", Path::new("t-0"), cause).into());
        }
        let mut read = BytesMut::new();
        for batch in &inner.batches {
            let view = BatchView::open(batch).unwrap().unwrap();
            // One batch at a time, so that a load has to come back for more.
            if view.header().next_offset() > from && read.is_empty() {
                read.extend_from_slice(batch);
            }
        }
        Ok(read.freeze())
    }
}

/// One partition, so that every group is in it.
fn hosted(clock: &Clock) -> Arc<Groups> {
    hosted_with(clock, Config::default())
}

fn hosted_with(clock: &Clock, config: Config) -> Arc<Groups> {
    let groups = Config {
        initial_rebalance_delay_ms: 0,
        ..config
    };
    let settings = Settings {
        groups,
        partitions: 1,
        ..Settings::default()
    };
    Groups::new(settings, clock.clone(), Handle::current()).unwrap()
}

/// Waits until the partition is loaded.
async fn led(groups: &Arc<Groups>, log: &Arc<MemoryLog>, epoch: i32) {
    groups.lead(0, LeaderEpoch(epoch), Arc::clone(log) as Arc<dyn HostLog>);
    while groups.describe("g") == Err(Refusal::CoordinatorLoadInProgress) {
        tokio::task::yield_now().await;
    }
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

fn joining(member_id: &str) -> JoinRequest {
    JoinRequest {
        group: "g".into(),
        member_id: member_id.into(),
        group_instance_id: None,
        needs_known_member_id: false,
        may_skip_assignment: false,
        client_id: "a".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 10_000,
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0"),
        }],
        reason: None,
        fresh_id: "1".into(),
    }
}

fn syncing(joined: &JoinAnswer) -> SyncRequest {
    let mine = (Arc::clone(&joined.member_id), Bytes::from_static(b"mine"));
    SyncRequest {
        group: "g".into(),
        generation: joined.generation,
        member_id: Arc::clone(&joined.member_id),
        group_instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: BTreeMap::from([mine]),
    }
}

fn committing(group: &str, offset: i64) -> CommitRequest {
    let committed = Committed {
        offset,
        leader_epoch: -1,
        metadata: "".into(),
        commit_timestamp: 0,
        expire_timestamp: None,
    };
    CommitRequest {
        group: group.into(),
        generation: -1,
        member_id: "".into(),
        group_instance_id: None,
        transaction: None,
        offsets: vec![(TopicPartition::new("t", 0), committed)],
    }
}

fn fetched(groups: &Groups, group: &str, stable: bool) -> Result<Option<i64>, Refusal> {
    let asked = Asked::Partitions(vec![TopicPartition::new("t", 0)]);
    let mut found = groups.fetch(group, asked, stable)?;
    Ok(found.remove(0).1?.map(|committed| committed.offset))
}

/// A commit whose disk sleeps until it is woken.
async fn committing_in_sleep(
    groups: &Arc<Groups>,
    log: &MemoryLog,
) -> (Sender<()>, JoinHandle<Vec<Result<(), Refusal>>>) {
    let wake = log.fall_asleep();
    let first = Arc::clone(groups);
    let first = tasks::spawn(
        "test",
        async move { first.commit(committing("s", 1)).await },
    );
    until(|| log.0.lock().asleep == 1).await;
    (wake, first)
}

/// Joins with deadlines seen to, since even a delay of nothing is a deadline.
async fn joined(groups: &Arc<Groups>) -> JoinAnswer {
    let joiner = Arc::clone(groups);
    let answer = tasks::spawn("test", async move { joiner.join(joining("")).await });
    while !answer.is_finished() {
        groups.expire();
        tokio::task::yield_now().await;
    }
    answer.await.unwrap()
}

/// Below protocol version 2.3: an older coordinator to come would take it for somebody else.
#[tokio::test]
async fn a_static_member_that_cannot_be_written_down_is_refused() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    for (version, refusal) in [
        (2, Refusal::UnsupportedVersion),
        (3, Refusal::NotCoordinator),
    ] {
        let config = Config {
            group_value_version: version,
            ..Config::default()
        };
        let groups = hosted_with(&clock, config);
        let (instance, no) = (Some(Arc::from("i")), Err(refusal));
        let joining = JoinRequest {
            group_instance_id: instance.clone(),
            ..joining("")
        };
        let answer = groups.join(joining).await;
        assert_eq!(answer.refusal, no.err());
        let syncing = SyncRequest {
            group_instance_id: instance.clone(),
            ..syncing(&answer)
        };
        assert_eq!(groups.sync(syncing).await.refusal, no.err());
        assert_eq!(groups.heartbeat("g", "m", Some("i"), 1), no);
        let committing = CommitRequest {
            group_instance_id: instance,
            ..committing("g", 1)
        };
        assert_eq!(groups.commit(committing).await, [no]);
    }
    let old = Config {
        group_value_version: 2,
        ..Config::default()
    };
    let groups = hosted_with(&clock, old);
    led(&groups, &log, 0).await;
    assert_eq!(joined(&groups).await.generation, 1);
}

#[tokio::test]
async fn a_group_lives_through_a_change_of_leader() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    assert_eq!(groups.describe("g").unwrap_err(), Refusal::NotCoordinator);
    led(&groups, &log, 0).await;
    let member = joined(&groups).await;
    assert_eq!((member.generation, &*member.leader), (1, "a-1"));
    let synced = groups.sync(syncing(&member)).await;
    assert_eq!(synced.assignment, "mine");
    assert_eq!(groups.heartbeat("g", "a-1", None, 1), Ok(()));
    assert_eq!(groups.commit(committing("s", 7)).await, [Ok(())]);

    groups.resign(0, Some(LeaderEpoch(1)));
    assert_eq!(
        groups.heartbeat("g", "a-1", None, 1),
        Err(Refusal::NotCoordinator)
    );

    let other = hosted(&clock);
    led(&other, &log, 2).await;
    assert_eq!(other.heartbeat("g", "a-1", None, 1), Ok(()));
    assert_eq!(fetched(&other, "s", true), Ok(Some(7)));
    let deleted = other.delete(&["s", "g"]).await;
    assert_eq!(deleted, [Ok(()), Err(Refusal::NonEmptyGroup)]);

    let third = hosted(&clock);
    led(&third, &log, 3).await;
    assert_eq!(third.list().1.len(), 1);
}

#[tokio::test]
async fn a_load_that_finds_no_descriptor_is_tried_until_there_is_one_or_nobody_waits() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    assert_eq!(groups.commit(committing("s", 7)).await, [Ok(())]);
    let other = hosted(&clock);
    let is_loading = || fetched(&other, "s", true) == Err(Refusal::CoordinatorLoadInProgress);
    let left = || log.0.lock().missing_files;
    log.0.lock().missing_files = 2;
    other.lead(0, LeaderEpoch(2), Arc::clone(&log) as Arc<dyn HostLog>);
    until(|| left() == 1).await;
    assert!(is_loading());
    until(|| {
        clock.advance(100);
        !is_loading()
    })
    .await;
    assert_eq!((left(), fetched(&other, "s", true)), (0, Ok(Some(7))));

    other.resign(0, Some(LeaderEpoch(3)));
    log.0.lock().missing_files = usize::MAX;
    other.lead(0, LeaderEpoch(4), Arc::clone(&log) as Arc<dyn HostLog>);
    until(|| left() < usize::MAX).await;
    other.resign(0, Some(LeaderEpoch(5)));
    until(|| {
        clock.advance(1_000);
        Arc::strong_count(&log) == 2
    })
    .await;
}

#[tokio::test]
async fn commits_are_answered_when_replicated_and_in_order() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    log.hold();
    let mut commits = Vec::new();
    for offset in [1, 2] {
        let committer = Arc::clone(&groups);
        commits.push(tasks::spawn("test", async move {
            committer.commit(committing("s", offset)).await
        }));
        until(|| log.held() == commits.len()).await;
    }
    assert_eq!(fetched(&groups, "s", false), Ok(None));
    assert_eq!(
        fetched(&groups, "s", true),
        Err(Refusal::UnstableOffsetCommit)
    );
    // The later result is there first; it waits for the earlier one.
    log.acknowledge(1, Ok(()));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!commits[1].is_finished());
    log.acknowledge(0, Err(WriteError::TimedOut));
    let answers = [
        commits.remove(0).await.unwrap(),
        commits.remove(0).await.unwrap(),
    ];
    assert_eq!(answers, [vec![Err(Refusal::RequestTimedOut)], vec![Ok(())]]);
    assert_eq!(fetched(&groups, "s", true), Ok(Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_sleeps_holds_up_no_heartbeat_and_keeps_the_order() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    let member = joined(&groups).await;
    assert_eq!(groups.sync(syncing(&member)).await.refusal, None);
    let wake = log.fall_asleep();
    let mut commits = Vec::new();
    for offset in 1..=50 {
        let committer = Arc::clone(&groups);
        commits.push(tasks::spawn("test", async move {
            committer.commit(committing("s", offset)).await
        }));
        // The first sleeps in the log; the others are decided one after the other.
        until(|| log.0.lock().asleep == 1).await;
        until(|| fetched(&groups, "s", true) == Err(Refusal::UnstableOffsetCommit)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(groups.heartbeat("g", "a-1", None, 1), Ok(()));
    assert!(groups.describe("g").is_ok() && groups.list().0.is_none());
    assert!(commits.iter().all(|commit| !commit.is_finished()));
    drop(wake);
    for commit in commits {
        assert_eq!(commit.await.unwrap(), [Ok(())]);
    }
    // What the log says last is what is known here.
    let known = fetched(&groups, "s", true);
    let other = hosted(&clock);
    led(&other, &log, 1).await;
    assert_eq!(fetched(&other, "s", true), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_behind_a_disk_that_sleeps_is_answered_in_time() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    assert_eq!(groups.commit(committing("r", 1)).await, [Ok(())]);
    let (wake, first) = committing_in_sleep(&groups, &log).await;
    let (second, third) = (Arc::clone(&groups), Arc::clone(&groups));
    let second = tasks::spawn(
        "test",
        async move { second.commit(committing("s", 2)).await },
    );
    let third = tasks::spawn("test", async move { third.delete(&["r"]).await });
    until(|| {
        clock.advance(1_000);
        second.is_finished() && third.is_finished()
    })
    .await;
    assert_eq!(second.await.unwrap(), [Err(Refusal::RequestTimedOut)]);
    assert_eq!(third.await.unwrap(), [Err(Refusal::RequestTimedOut)]);
    drop(wake);
    first.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_whose_assignment_stands_behind_a_disk_that_sleeps_join_again_in_time() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    let member = joined(&groups).await;
    let (wake, first) = committing_in_sleep(&groups, &log).await;
    let mut sync = std::pin::pin!(groups.sync(syncing(&member)));
    tokio::select! { biased;
        early = &mut sync => panic!("{early:?}"),
        () = tokio::task::yield_now() => clock.advance(5_000),
    }
    groups.expire();
    let refusal = sync.await.refusal;
    assert_eq!(refusal, Some(Refusal::RebalanceInProgress));
    drop(wake);
    assert_eq!(first.await.unwrap(), [Ok(())]);
    // What was written too late is not taken for what members know.
    assert_eq!(
        groups.heartbeat("g", "a-1", None, 1),
        Err(Refusal::RebalanceInProgress)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_and_not_appended_is_refused_with_the_leadership() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    let wake = log.fall_asleep();
    let mut commits = Vec::new();
    for group in ["s", "r"] {
        let committer = Arc::clone(&groups);
        commits.push(tasks::spawn("test", async move {
            committer.commit(committing(group, 1)).await
        }));
        until(|| log.0.lock().asleep == 1).await;
        until(|| fetched(&groups, group, true) == Err(Refusal::UnstableOffsetCommit)).await;
    }
    groups.resign(0, Some(LeaderEpoch(1)));
    drop(wake);
    for commit in commits {
        assert_eq!(commit.await.unwrap(), [Err(Refusal::NotCoordinator)]);
    }
    assert_eq!(log.0.lock().batches.len(), 1, "only what was under way");
}

#[tokio::test]
async fn whoever_waits_is_sent_away_with_the_leadership() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    let member = joined(&groups).await;
    log.hold();
    let waiting = Arc::clone(&groups);
    let sync = tasks::spawn("test", async move { waiting.sync(syncing(&member)).await });
    let waiting = Arc::clone(&groups);
    let commit = tasks::spawn(
        "test",
        async move { waiting.commit(committing("s", 1)).await },
    );
    until(|| log.held() == 2).await;
    groups.resign(0, None);
    assert_eq!(sync.await.unwrap().refusal, Some(Refusal::NotCoordinator));
    assert_eq!(commit.await.unwrap(), [Err(Refusal::NotCoordinator)]);
    // The result that comes too late finds nobody; an older epoch changes nothing.
    log.acknowledge(0, Ok(()));
    led(&groups, &log, 4).await;
    groups.resign(0, Some(LeaderEpoch(3)));
    assert_eq!(groups.list().0, None);
}

#[tokio::test]
async fn a_marker_decides_after_the_commits_before_it() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    led(&groups, &log, 0).await;
    log.hold();
    let committer = Arc::clone(&groups);
    let commit = tasks::spawn("test", async move {
        let request = CommitRequest {
            transaction: Some((9, 0)),
            ..committing("s", 5)
        };
        committer.commit_in_transaction(request).await
    });
    until(|| log.held() == 1).await;
    log.put(&end_marker(
        Marker::Commit,
        ProducerId(9),
        ProducerEpoch(0),
        0,
        0,
    ));
    groups.complete_transaction(&[0], 9, true);
    assert_eq!(
        fetched(&groups, "s", true),
        Err(Refusal::UnstableOffsetCommit)
    );
    log.acknowledge(0, Ok(()));
    assert_eq!(commit.await.unwrap(), [Ok(())]);
    until(|| fetched(&groups, "s", true).is_ok()).await;
    assert_eq!(fetched(&groups, "s", true), Ok(Some(5)));

    let other = hosted(&clock);
    led(&other, &log, 1).await;
    assert_eq!(fetched(&other, "s", true), Ok(Some(5)));
}

#[tokio::test]
async fn the_deadline_task_ends_sessions_and_forgets_old_offsets() {
    let (clock, log) = (Clock::by_hand(0), Arc::new(MemoryLog::default()));
    let groups = hosted(&clock);
    let (stopper, stop) = base::stop::pair();
    let task = tasks::spawn("test", Arc::clone(&groups).run(stop));
    led(&groups, &log, 0).await;
    let member = groups.join(joining("")).await;
    assert_eq!(groups.sync(syncing(&member)).await.refusal, None);
    assert_eq!(groups.commit(committing("s", 1)).await, [Ok(())]);
    clock.advance(10_000);
    until(|| groups.states()["Empty"] == 2).await;
    // Past the retention and one more check.
    for _ in 0..8 * 24 * 6 {
        clock.advance(600_000);
        tokio::task::yield_now().await;
    }
    until(|| groups.list().1.is_empty()).await;
    stopper.stop();
    task.await.unwrap();
    let other = hosted(&clock);
    led(&other, &log, 1).await;
    assert_eq!(other.list().1, []);
    groups.stop();
    assert_eq!(groups.list().0, Some(Refusal::CoordinatorNotAvailable));
}

//! What happens to three of our brokers, on Apache's ZooKeeper and on our coordinator alike.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::wait;
use protocol::kafka::errors::ErrorCode;

use crate::ask;
use crate::stage::{Broker, Make, SESSION_MS, ZooKeeper, eventually, soon};
use crate::trio::Trio;

/// So soon everybody is registered again who was without ZooKeeper, once it is back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Runs a scenario on both ZooKeepers at once.
pub(crate) fn on_both(scenario: impl Fn(&mut Trio) + Sync) {
    std::thread::scope(|scope| {
        for make in [Make::Apache, Make::Ours] {
            let scenario = &scenario;
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            std::thread::Builder::new()
                .name(format!("{name} on {make:?}"))
                .spawn_scoped(scope, move || {
                    let dir = tempfile::tempdir().unwrap();
                    if let Some(mut trio) = Trio::start(make, Make::Ours, dir.path()) {
                        scenario(&mut trio);
                    }
                })
                .unwrap();
        }
    });
}

/// All of them make what every cluster has, and find in the next moment that another was first.
#[test]
fn brokers_that_start_at_once_on_an_empty_zookeeper_are_one_cluster() {
    for make in [Make::Apache, Make::Ours] {
        let dir = tempfile::tempdir().unwrap();
        let Some(zookeeper) = ZooKeeper::start(make, dir.path()) else {
            continue;
        };
        let start = |id| Broker::start(Make::Ours, dir.path(), id, zookeeper.port, &[]).unwrap();
        let brokers: Vec<Broker> = std::thread::scope(|scope| {
            let starting = [1, 2, 3].map(|id| scope.spawn(move || start(id)));
            starting.map(|one| one.join().unwrap()).into()
        });
        for broker in &brokers {
            let what = format!("all in the eyes of {}", broker.id);
            let asked = || ask::cluster(broker.port);
            eventually(&what, asked, |(_, known)| known == &[1, 2, 3]);
        }
    }
}

#[test]
fn a_killed_leader_and_a_killed_controller_come_back_with_their_partitions() {
    on_both(|trio| {
        trio.make_topics();
        let state = trio.state("rf1", 1, 2, 0);
        assert_eq!(
            (state.text.as_str(), state.version),
            (
                r#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":0,"isr":[2]}"#,
                0
            )
        );

        // The leader of rf1-1, under a controller that lives: one step of the epoch.
        trio.broker(2).process.kill_9();
        let state = trio.state("rf1", 1, -1, 1);
        assert_eq!(
            (state.text.as_str(), state.version),
            (
                r#"{"controller_epoch":1,"leader":-1,"version":1,"leader_epoch":1,"isr":[2]}"#,
                1
            )
        );
        let told = trio.led(&[1, 3], "rf1", 1, -1);
        assert_eq!(
            (told.error, told.offline, told.isr),
            (ErrorCode::LeaderNotAvailable, vec![2], vec![2])
        );
        assert_eq!(trio.state("three", 0, 1, 1).isr, [1, 3]);
        trio.broker(2).restart();
        let state = trio.state("rf1", 1, 2, 2);
        assert_eq!(
            (state.text.as_str(), state.version),
            (
                r#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":2,"isr":[2]}"#,
                2
            )
        );
        trio.led(&[1, 2, 3], "rf1", 1, 2);
        trio.kept(1, 2);

        // The controller, leader of rf1-0 and of three.
        trio.broker(1).process.kill_9();
        soon("another controller", || {
            trio.shell.controller().is_some_and(|id| id != 1)
        });
        assert_eq!(trio.shell.controller_epoch(), 2);
        trio.state("rf1", 0, -1, 1);
        // Its end as a replica, then the election: two steps. Broker 2 was out of the ISR.
        let state = trio.state("three", 0, 3, 3);
        assert_eq!((state.isr, state.controller_epoch), (vec![3], 2));
        trio.led(&[2, 3], "rf1", 0, -1);
        trio.broker(1).restart();
        trio.state("rf1", 0, 1, 2);
        trio.led(&[1, 2, 3], "rf1", 0, 1);
        trio.kept(0, 1);
        trio.append("rf1", 0, 1, "after");
    });
}

#[test]
fn a_frozen_leader_and_a_frozen_controller_find_that_others_decided() {
    on_both(|trio| {
        trio.make_topics();
        let before = trio.shell.node("/brokers/ids/2").unwrap().1.czxid;
        trio.broker(2).process.freeze();
        trio.state("rf1", 1, -1, 1);
        trio.broker(2).process.signal("CONT");
        trio.state("rf1", 1, 2, 2);
        trio.led(&[1, 2, 3], "rf1", 1, 2);
        trio.kept(1, 2);
        assert!(trio.shell.node("/brokers/ids/2").unwrap().1.czxid > before);

        trio.broker(1).process.freeze();
        soon("another controller", || {
            trio.shell.controller().is_some_and(|id| id != 1)
        });
        trio.state("rf1", 0, -1, 1);
        let now = trio.shell.controller().unwrap();
        trio.broker(1).process.signal("CONT");
        trio.state("rf1", 0, 1, 2);
        trio.all_know(&[1, 2, 3]);
        assert_eq!(
            (trio.shell.controller(), trio.shell.controller_epoch()),
            (Some(now), 2)
        );
        // The one that woke up obeys, and clients of it hear who is controller.
        let port = trio.port(1);
        eventually(
            "the controller known to broker 1",
            || ask::cluster(port),
            |told| told.0 == now,
        );
        trio.kept(0, 1);
    });
}

#[test]
fn a_broker_cut_from_zookeeper_only_leaves_the_cluster_and_returns() {
    on_both(|trio| {
        trio.make_topics();
        // Not the controller: it goes on serving what it leads, while the cluster gives it up.
        trio.proxy(3).cut();
        trio.state("rf1", 2, -1, 1);
        trio.append("rf1", 2, 3, "while cut");
        trio.proxy(3).heal();
        let healed = Instant::now();
        trio.state("rf1", 2, 3, 2);
        // A second or two by itself; it must not have waited for another session to time out.
        assert!(
            healed.elapsed() < Duration::from_secs(30),
            "{:?}",
            healed.elapsed()
        );
        trio.led(&[1, 2, 3], "rf1", 2, 3);
        trio.kept(2, 3);

        // The controller: another reigns, and the old one writes nothing any more.
        trio.proxy(1).cut();
        soon("another controller", || {
            trio.shell.controller().is_some_and(|id| id != 1)
        });
        trio.state("rf1", 0, -1, 1);
        let now = trio.shell.controller().unwrap();
        trio.proxy(1).heal();
        trio.state("rf1", 0, 1, 2);
        trio.all_know(&[1, 2, 3]);
        assert_eq!(
            (trio.shell.controller(), trio.shell.controller_epoch()),
            (Some(now), 2)
        );
        trio.broker(1)
            .process
            .wait_for_log("resigned as controller");
    });
}

/// Says that it is done when it goes, also by a failure: whoever produces until then would go on.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn zookeeper_restarts_under_load_and_stays_away_longer_than_sessions_last() {
    on_both(|trio| {
        trio.make_topics();
        let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
        let ports: Vec<u16> = [1, 2, 3].map(|id| trio.port(id)).to_vec();
        let appended = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut appended = 0;
                while !done.load(Ordering::Acquire) {
                    for (index, port) in (0..).zip(&ports) {
                        let value = format!("load {appended}");
                        if let Err(why) = ask::produce(*port, "rf1", index, &value, -1) {
                            println!("rf1-{index} refuses: {why}");
                            refused.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                    appended += 1;
                }
                appended
            });
            let until_here = Done(&done);
            let registered = || {
                [1, 2, 3].map(|id| {
                    let (_, stat) = trio.shell.node(&format!("/brokers/ids/{id}")).unwrap();
                    stat.czxid
                })
            };
            let before = registered();
            trio.zookeeper.process.kill_9();
            trio.zookeeper.restart();
            soon("all registered still, or again", || {
                trio.shell.names("/brokers/ids") == ["1", "2", "3"]
                    && trio.shell.controller().is_some()
            });
            trio.all_know(&[1, 2, 3]);
            for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
                trio.led(&[1, 2, 3], "rf1", index, leader);
            }
            // Leaders serve whatever happens to ZooKeeper. Only where a machine takes longer to start it
            // again than sessions last are they elected anew, and must refuse for a moment.
            let lost_sessions = registered() != before;
            let refusals = refused.swap(0, Ordering::AcqRel);
            assert!(lost_sessions || refusals == 0, "{refusals} refusals");
            // Away, until every client library has given its session up; for minutes in `.ci/long`.
            trio.zookeeper.process.kill_9();
            let away = Instant::now();
            let least = Duration::from_millis(u64::from(SESSION_MS) * 3 / 2);
            let asked = std::env::var("ROTPETER_AWAY_S").ok();
            let asked = asked.and_then(|text| text.parse().ok());
            let wanted = asked.map_or(least, Duration::from_secs).max(least);
            while away.elapsed() < wanted {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(until_here);
            load.join().unwrap()
        });
        assert!(appended > 10, "{appended}");
        let refusals = refused.load(Ordering::Acquire);
        assert_eq!(refusals, 0, "without ZooKeeper");
        trio.zookeeper.restart();
        // Also where the server still believes in the sessions that its clients gave up.
        wait::until("all registered again", BACK_WITHIN, || {
            (trio.shell.names("/brokers/ids") == ["1", "2", "3"]
                && trio.shell.controller().is_some())
            .then_some(())
        });
        for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
            trio.led(&[1, 2, 3], "rf1", index, leader);
            let index = i32::try_from(index).unwrap();
            trio.kept(index, leader);
            trio.append("rf1", index, leader, "after");
        }
    });
}

#[test]
#[ignore = "half a minute; tests/run --all"]
fn a_session_that_only_the_client_library_gave_up_is_replaced() {
    on_both(|trio| {
        trio.make_topics();
        // Frozen, ZooKeeper counts nobody's silence; its clients give their sessions up.
        let before = trio.shell.node("/brokers/ids/3").unwrap().1.czxid;
        trio.zookeeper.process.freeze();
        let frozen = Instant::now();
        soon("the clients to give up", || {
            frozen.elapsed() > Duration::from_millis(u64::from(SESSION_MS) * 3 / 2)
        });
        trio.zookeeper.process.signal("CONT");
        wait::until("all registered anew", Duration::from_secs(90), || {
            let fresh = trio
                .shell
                .node("/brokers/ids/3")
                .is_some_and(|(_, stat)| stat.czxid > before);
            (fresh && trio.shell.names("/brokers/ids") == ["1", "2", "3"]).then_some(())
        });
        for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
            trio.led(&[1, 2, 3], "rf1", index, leader);
            trio.kept(i32::try_from(index).unwrap(), leader);
        }
    });
}

#[test]
fn a_rolling_restart_hands_leaderships_over_and_takes_nobody_by_surprise() {
    on_both(|trio| {
        trio.make_topics();
        for id in [1, 2, 3] {
            let status = trio.broker(id).process.terminate(Duration::from_secs(120));
            assert_eq!(status.code(), Some(0), "broker {id}");
            // Clean: the registration is gone with the process, not with its session's timeout.
            assert!(!trio.shell.names("/brokers/ids").contains(&id.to_string()));
            if id == 1 {
                // Handed over before it went: never without a leader, one step of the epoch.
                let state = trio.state("three", 0, 2, 1);
                assert_eq!(state.isr, [2, 3], "{}", state.text);
            }
            trio.broker(id).restart();
            trio.all_know(&[1, 2, 3]);
        }
        for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
            trio.led(&[1, 2, 3], "rf1", index, leader);
            trio.kept(i32::try_from(index).unwrap(), leader);
        }
    });
}

#[test]
fn a_broker_killed_and_restarted_at_once_serves_at_once() {
    on_both(|trio| {
        trio.make_topics();
        for id in [2, 1] {
            let path = format!("/brokers/ids/{id}");
            let before = trio.shell.node(&path).unwrap().1.czxid;
            trio.broker(id).process.kill_9();
            trio.broker(id).launch_again();
            // Its old session would have stood in the way until it timed out.
            wait::until("the new registration", Duration::from_secs(60), || {
                trio.shell
                    .node(&path)
                    .filter(|(_, stat)| stat.czxid > before)
            });
            trio.broker(id)
                .process
                .wait_for_log("closed the ZooKeeper session of the former process");
            trio.broker(id).wait_until_it_serves();
            let index = usize::try_from(id - 1).unwrap();
            trio.led(&[1, 2, 3], "rf1", index, id);
            trio.kept(id - 1, id);
        }
    });
}

#[test]
fn an_empty_zookeeper_deletes_nothing_and_is_told_in_clear_words() {
    on_both(|trio| {
        trio.make_topics();
        let id: serde_json::Value =
            serde_json::from_str(&trio.shell.get("/cluster/id").unwrap()).unwrap();
        let cluster = id["id"].as_str().unwrap().to_owned();
        trio.zookeeper.process.kill_9();
        trio.zookeeper.forget();
        trio.zookeeper.restart();
        // A running broker says so, and keeps what it has.
        for id in [1, 2, 3] {
            soon("words about the lost cluster id", || {
                let log = trio.broker(id).process.log();
                log.contains(&cluster) && log.contains("empty")
            });
        }
        // A restarted one refuses to start.
        trio.broker(2).process.kill_9();
        trio.broker(2).launch_again();
        let status = trio
            .broker(2)
            .process
            .wait_for_exit(Duration::from_secs(120));
        assert_eq!(status.code(), Some(1));
        let log = trio.broker(2).process.log();
        assert!(log.contains(&cluster), "{log}");
        for id in [1, 2, 3] {
            assert!(
                trio.broker(id).log_dir("rf1", id - 1).is_dir(),
                "broker {id}"
            );
        }
    });
}

#[test]
fn an_empty_zookeeper_takes_no_topics_settings_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut zookeeper = ZooKeeper::start(Make::Ours, dir.path()).unwrap();
    let shell = crate::shell::Shell::open(zookeeper.port);
    let settings = [
        "log.retention.ms=1000",
        "log.retention.check.interval.ms=500",
        "log.initial.task.delay.ms=500",
    ];
    let connect = zookeeper.port;
    let mut broker = Broker::start(Make::Ours, dir.path(), 1, connect, &settings).unwrap();
    shell.wait_for_controller(1);
    for (name, config) in [("kept", r#"{"retention.ms":"-1"}"#), ("short", "{}")] {
        let config = format!(r#"{{"version":1,"config":{config}}}"#);
        shell.create(&format!("/config/topics/{name}"), &config);
        shell.create(
            &format!("/brokers/topics/{name}"),
            r#"{"version":1,"partitions":{"0":[1]}}"#,
        );
        let led = || ask::partition(broker.port, name, 0);
        eventually("a leader", led, |told| told.leader == 1);
    }
    let append = |topic: &str, port| {
        eventually(
            topic,
            || ask::produce(port, topic, 0, "a record", 1),
            |_| true,
        );
    };
    append("kept", broker.port);
    zookeeper.process.kill_9();
    zookeeper.forget();
    zookeeper.restart();
    let log = &mut broker.process;
    soon("words about the empty ZooKeeper", || {
        log.log().contains("empty")
    });
    // What obeys the broker's own settings goes after a second: so it was looked at again.
    append("short", broker.port);
    let holds = |topic: &'static str, there: bool| {
        let ask = || match ask::holds(broker.port, topic, 0, "a record") {
            Err(refused) if refused.contains("OffsetOutOfRange") => Ok(false),
            answer => answer,
        };
        eventually(topic, ask, |found| *found == there);
    };
    holds("short", false);
    holds("kept", true);
}

#[test]
fn members_that_do_not_fetch_leave_the_isr_and_the_watermark_waits_for_those_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = ZooKeeper::start(Make::Ours, dir.path()).unwrap();
    let shell = crate::shell::Shell::open(zookeeper.port);
    let settings = ["replica.lag.time.max.ms=4000"];
    let start = |id| Broker::start(Make::Ours, dir.path(), id, zookeeper.port, &settings).unwrap();
    let brokers = [start(1), start(2)];
    shell.wait_for_controller(1);
    let refused = ask::create_topic(brokers[0].port, "two", &ask::Shape::Automatic(1, 2)).unwrap();
    assert_eq!(refused.0, ErrorCode::InvalidReplicationFactor);
    assert!(!refused.1.is_empty());
    let too_many = ask::create_topic(brokers[0].port, "two", &ask::Shape::Automatic(1, 3)).unwrap();
    assert_eq!(too_many.0, ErrorCode::InvalidReplicationFactor);
    assert!(
        too_many.1.contains("larger than available brokers: 2"),
        "{}",
        too_many.1
    );

    shell.create(
        "/brokers/topics/two",
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    let port = brokers[0].port;
    eventually(
        "a leader",
        || ask::partition(port, "two", 0),
        |told| told.leader == 1,
    );
    assert_eq!(shell.wait_for_state("two", 0, |_| true).isr, [1, 2]);
    // Appended by the leader, not committed: broker 2 is in sync and has not got it.
    ask::produce(port, "two", 0, "waits", 1).unwrap();
    if shell.wait_for_state("two", 0, |_| true).isr == [1, 2] {
        let (watermark, records) = ask::fetch(port, "two", 0).unwrap();
        let still = shell.wait_for_state("two", 0, |_| true).isr == [1, 2];
        assert!(
            !still || (watermark, records.len()) == (0, 0),
            "{watermark}"
        );
    }
    let state = shell.wait_for_state("two", 0, |state| state.isr == [1]);
    assert_eq!(
        (state.leader_epoch, state.version),
        (0, 1),
        "{}",
        state.text
    );
    eventually(
        "the watermark behind the lag",
        || ask::fetch(port, "two", 0),
        |got| got.0 == 1,
    );
    ask::produce(port, "two", 0, "alone", -1).unwrap();
    // Fewer in sync than asked for.
    assert_eq!(
        ask::set_config(port, 2, "two", "min.insync.replicas", Some("2")).unwrap(),
        ErrorCode::None
    );
    let last = eventually(
        "NotEnoughReplicas",
        || Ok(ask::produce(port, "two", 0, "refused", -1)),
        |answer| *answer == Err("NotEnoughReplicas".to_owned()),
    );
    assert!(last.is_err());
}

#[test]
#[ignore = "half a minute; tests/run --all"]
fn unclean_elections_are_allowed_while_running() {
    on_both(|trio| {
        trio.make_topics();
        // Broker 1 alone in the ISR of three, then gone: nobody may lead.
        for id in [2, 3] {
            trio.broker(id).process.terminate(Duration::from_secs(120));
        }
        trio.state("three", 0, 1, 2);
        for id in [2, 3] {
            trio.broker(id).restart();
        }
        trio.broker(1).process.kill_9();
        let dead = trio
            .shell
            .wait_for_state("three", 0, |state| state.leader == -1);
        assert_eq!(dead.isr, [1]);
        trio.all_know(&[2, 3]);
        let set = ask::set_config(
            trio.port(2),
            2,
            "three",
            "unclean.leader.election.enable",
            Some("true"),
        );
        assert_eq!(set.unwrap(), ErrorCode::None);
        let state = trio
            .shell
            .wait_for_state("three", 0, |state| state.leader == 2);
        assert_eq!(state.isr, [2]);
        assert!(state.leader_epoch > dead.leader_epoch);
        trio.led(&[2, 3], "three", 0, 2);
    });
}

/// Apache's broker sends such a request again for ever: ZooKeeper only drops the connection.
#[test]
fn a_topic_that_zookeeper_would_not_take_is_refused_and_costs_nobody_a_session() {
    on_both(|trio| {
        let registered = |trio: &Trio| trio.shell.node("/brokers/ids/1").unwrap().1.czxid;
        let before = registered(trio);
        let many = ask::Shape::Automatic(100_000, 1);
        let (code, words) = ask::create_topic(trio.port(1), "large", &many).unwrap();
        assert_eq!(code, ErrorCode::InvalidRequest, "{words}");
        assert!(words.contains("zookeeper.request.max.bytes"), "{words}");
        assert_eq!(trio.shell.node("/config/topics/large"), None);
        trio.make_topics();
        assert_eq!(registered(trio), before);
        let log = trio.broker(1).process.log();
        assert!(!log.contains("connection to ZooKeeper lost"), "{log}");
    });
}

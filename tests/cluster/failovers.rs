//! How soon a cluster of many partitions has a controller that has done everything.
//!
//! The clock starts when the new controller creates `/controller` and is ZooKeeper's own; before
//! that only the dead one's session had to end. `ROTPETER_PARTITIONS` says how many partitions
//! there are and `ROTPETER_LIMIT_MS` how long they may take: ten thousand half a second in
//! `.ci/long`, on a quiet machine.

use std::fmt::Debug;
use std::str::FromStr;

use base::clock::Clock;
use harness::wait;
use protocol::kafka::errors::ErrorCode;

use crate::ask::{self, Shape, Told};
use crate::shell::state_path;
use crate::stage::{Make, SESSION_MS, eventually};
use crate::trio::Trio;

fn from_environment<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

fn partitions() -> i32 {
    from_environment("ROTPETER_PARTITIONS").unwrap_or(1_000)
}

/// Every day other tests run on the same machine, and a slow minute of it is no defect: then this
/// shows that everything is done, and done at once rather than at the next tick of some clock.
fn limit_ms() -> i64 {
    from_environment("ROTPETER_LIMIT_MS").unwrap_or(10_000)
}

/// Every partition is led by whom `fits` says, in the eyes of a broker; who leads each.
fn all_led(port: u16, count: usize, fits: impl Fn(&Told) -> bool) -> Vec<i32> {
    let told = || Ok(ask::metadata(port, "many")?.1.partitions);
    let all = |told: &Vec<Told>| told.len() == count && told.iter().all(&fits);
    let told = eventually("every partition led", told, all);
    told.iter().map(|one| one.leader).collect()
}

fn fail_over(trio: &mut Trio) -> [i64; 3] {
    let (clock, count) = (Clock::system(), partitions());
    let made = ask::create_topic(trio.port(1), "many", &Shape::Automatic(count, 1)).unwrap();
    assert_eq!(made.0, ErrorCode::None, "{}", made.1);
    let count = usize::try_from(count).unwrap();
    let leaders = [2, 3].map(|id| all_led(trio.port(id), count, |one| one.leader > 0));
    let orphans = (0..).zip(&leaders[0]).filter(|(_, leader)| **leader == 1);
    let orphans: Vec<i32> = orphans.map(|(index, _)| index).collect();
    assert!(orphans.len() >= count / 4);

    trio.broker(1).process.kill_9();
    let limit = std::time::Duration::from_millis(u64::from(SESSION_MS) * 5);
    let elected_ms = wait::until("another controller", limit, || {
        let is_new = trio.shell.controller().is_some_and(|id| id != 1);
        is_new.then(|| trio.shell.node("/controller"))?
    });
    let elected_ms = elected_ms.1.ctime;
    let port = trio.port(trio.shell.controller().unwrap());
    let asked = || ask::create_topic(port, "after", &Shape::Automatic(1, 1));
    eventually("a topic made", asked, |made| made.0 == ErrorCode::None);
    let answered_ms = clock.wall_ms() - elected_ms;
    for id in [2, 3] {
        // A broker shows no leader that is gone by itself; the epoch is what it must be told.
        all_led(trio.port(id), count, |one| one.leader > 1 || one.epoch > 0);
    }
    let told_ms = clock.wall_ms() - elected_ms;
    let written = orphans.iter().map(|index| {
        let (_, stat) = trio.shell.node(&state_path("many", *index)).unwrap();
        assert_eq!(stat.version, 1);
        stat.mtime
    });
    let written_ms = written.max().unwrap() - elected_ms;
    [written_ms, answered_ms, told_ms]
}

#[test]
fn a_new_controller_of_many_partitions_has_done_everything_at_once() {
    // One after the other: each has the machine for itself.
    for make in [Make::Apache, Make::Ours] {
        let dir = tempfile::tempdir().unwrap();
        let Some(mut trio) = Trio::start(make, Make::Ours, dir.path()) else {
            continue;
        };
        let took = fail_over(&mut trio);
        let [written, answered, told] = took;
        println!(
            "{} partitions on the ZooKeeper of {make:?}: states written {written} ms after the \
             election, a topic made and answered {answered} ms, all told {told} ms",
            partitions()
        );
        assert!(took.iter().all(|ms| *ms <= limit_ms()), "{took:?}");
    }
}

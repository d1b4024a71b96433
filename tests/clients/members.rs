//! Groups that grow and shrink, static members, offsets committed by hand, seeking.
//!
//! Libraries tell assignments in too many ways, so they are seen from what arrives: a wave is one
//! record in each partition, and who gets which is who has which.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::asker::Asker;
use harness::process::Single;

use crate::programs::{KEPT, LIBRARIES, Library, Program, Told};

const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(90);

/// A topic, who writes to it, and how many waves went out.
struct Waves {
    topic: String,
    writer: Program,
    sent: i64,
}

impl Waves {
    fn send(&mut self) {
        let records: Vec<Told> = (0..PARTITIONS)
            .map(|partition| Told {
                partition,
                offset: 0,
                key: "-".to_owned(),
                value: format!("wave-{}", self.sent),
                timestamp: 1,
                headers: "-".to_owned(),
            })
            .collect();
        self.writer.produce(&self.topic, "-", &records);
        self.sent += 1;
    }

    /// Sends one wave and polls the members, each by a thread of its own as members live, until
    /// all of it has come. Tells who got which partition's record of this wave last.
    fn ride(&mut self, members: &mut [&mut Program]) -> BTreeMap<i32, usize> {
        self.send();
        let wave = self.sent - 1;
        let deadline = Instant::now() + LIMIT;
        let owners = Mutex::new(BTreeMap::new());
        let came = || owners.lock().unwrap().len() == usize::try_from(PARTITIONS).unwrap();
        // Some libraries join inside a poll, and come back only once all others have polled too:
        // nobody stops before everybody is through.
        let (all, through) = (members.len(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for (number, member) in members.iter_mut().enumerate() {
                let (owners, came, through) = (&owners, &came, &through);
                scope.spawn(move || {
                    let mut done = false;
                    while through.load(Ordering::Acquire) < all && Instant::now() < deadline {
                        for record in member.poll(200) {
                            if record.offset == wave {
                                owners.lock().unwrap().insert(record.partition, number);
                            }
                        }
                        if came() && !std::mem::replace(&mut done, true) {
                            through.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                });
            }
        });
        assert!(
            came(),
            "wave {wave} of {}: only {owners:?} came",
            self.topic
        );
        owners.into_inner().unwrap()
    }

    /// Waves until `settled`, which looks at who got what, twice in a row alike: while partitions change
    /// hands the new owner reads old waves again, and one look may catch it half way.
    fn ride_until(
        &mut self,
        members: &mut [&mut Program],
        what: &str,
        settled: impl Fn(&BTreeMap<i32, usize>) -> bool,
    ) -> BTreeMap<i32, usize> {
        let deadline = Instant::now() + LIMIT;
        let mut before = None;
        loop {
            let owners = self.ride(members);
            if settled(&owners) && before.as_ref() == Some(&owners) {
                return owners;
            }
            assert!(
                Instant::now() < deadline,
                "{}: waited in vain until {what}; last {owners:?} after {before:?}",
                self.topic
            );
            before = Some(owners);
        }
    }
}

fn shared_by(owners: &BTreeMap<i32, usize>, members: usize) -> bool {
    (0..members).all(|member| owners.values().any(|owner| *owner == member))
}

fn grow_and_shrink(library: &Library, dir: &Path, at: &str) -> Option<()> {
    let topic = format!("waves-{}", library.name);
    Asker::connect(at, "test").create_topic(&topic, PARTITIONS, KEPT);
    let writer = library.start(dir, at)?;
    let mut waves = Waves {
        topic: topic.clone(),
        writer,
        sent: 0,
    };
    let group = format!("group-{}", library.name);
    let join = format!("join\t{group}\t{topic}\t-");
    let (mut first, mut second) = (library.start(dir, at)?, library.start(dir, at)?);
    first.obey(&join);
    waves.ride_until(&mut [&mut first], "one member has all", |owners| {
        owners.len() == 4
    });
    second.obey(&join);
    waves.ride_until(&mut [&mut first, &mut second], "two share", |owners| {
        shared_by(owners, 2)
    });
    if library.seeks {
        seek(&mut waves, &mut first, &mut second);
    }
    first.obey("leave");
    waves.ride_until(&mut [&mut second], "the other has all", |owners| {
        owners.len() == 4
    });
    // Every partition goes on beyond what is committed now.
    while waves.sent <= i64::from(PARTITIONS) + 1 {
        waves.ride(&mut [&mut second]);
    }
    for partition in 0..PARTITIONS {
        second.obey(&format!(
            "commit\t{partition}\t{}",
            i64::from(partition) + 1
        ));
    }
    second.obey("leave");
    drop(second);
    begin_at_committed(library, dir, at, &join)
}

/// Whoever has a partition goes back in it, and reads again what it has read.
fn seek(waves: &mut Waves, first: &mut Program, second: &mut Program) {
    let owners = waves.ride_until(&mut [first, second], "two share", |owners| {
        shared_by(owners, 2)
    });
    let (partition, _) = owners.iter().find(|(_, owner)| **owner == 0).unwrap();
    first.obey(&format!("seek\t{partition}\t0"));
    let deadline = Instant::now() + LIMIT;
    let came_again = |record: &Told| record.partition == *partition && record.offset == 0;
    while !first.poll(500).iter().any(came_again) {
        assert!(Instant::now() < deadline, "nothing came after a seek");
        second.poll(1);
    }
}

/// A newcomer begins where the last member said, not where it read to.
fn begin_at_committed(library: &Library, dir: &Path, at: &str, join: &str) -> Option<()> {
    let mut third = library.start(dir, at)?;
    third.obey(join);
    let deadline = Instant::now() + LIMIT;
    let mut firsts = BTreeMap::new();
    while firsts.len() < 4 {
        assert!(
            Instant::now() < deadline,
            "only {firsts:?} came after a restart"
        );
        for record in third.poll(500) {
            firsts.entry(record.partition).or_insert(record.offset);
        }
    }
    let expected = (0..PARTITIONS).map(|partition| (partition, i64::from(partition) + 1));
    assert_eq!(
        firsts,
        expected.collect(),
        "{} begins at committed offsets",
        library.name
    );
    third.obey("leave");
    Some(())
}

/// A static member that ends and comes back finds its partitions; the other one never moved.
fn come_back(library: &Library, dir: &Path, at: &str) -> Option<()> {
    let topic = format!("static-{}", library.name);
    Asker::connect(at, "test").create_topic(&topic, PARTITIONS, KEPT);
    let mut waves = Waves {
        topic: topic.clone(),
        writer: library.start(dir, at)?,
        sent: 0,
    };
    let join = |instance: &str| format!("join\tstatic-group-{}\t{topic}\t{instance}", library.name);
    let (mut first, mut second) = (library.start(dir, at)?, library.start(dir, at)?);
    first.obey(&join("one"));
    second.obey(&join("two"));
    let before = waves.ride_until(&mut [&mut first, &mut second], "two share", |owners| {
        shared_by(owners, 2)
    });
    // Killed, so that no library has a chance to say that it leaves.
    drop(first);
    waves.send();
    let seen: Vec<i32> = second
        .poll(1500)
        .iter()
        .map(|record| record.partition)
        .collect();
    assert!(
        seen.iter().all(|partition| before[partition] == 1),
        "{}: the other member got {seen:?} while {before:?} held",
        library.name
    );
    let mut again = library.start(dir, at)?;
    again.obey(&join("one"));
    let after = waves.ride(&mut [&mut again, &mut second]);
    assert_eq!(
        after, before,
        "{}: a static member comes back",
        library.name
    );
    Some(())
}

fn all_of(everyday: bool, act: impl Fn(&Library, &Path, &str) -> Option<()>) {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let at = single.bootstrap();
    for library in LIBRARIES
        .iter()
        .filter(|library| library.everyday == everyday)
    {
        act(library, dir.path(), &at);
    }
}

fn joining(library: &Library, dir: &Path, at: &str) -> Option<()> {
    if library.joins {
        grow_and_shrink(library, dir, at)?;
    }
    Some(())
}

fn staying(library: &Library, dir: &Path, at: &str) -> Option<()> {
    if library.static_members {
        come_back(library, dir, at)?;
    }
    Some(())
}

#[test]
fn groups_grow_shrink_seek_and_go_on_where_they_committed() {
    all_of(true, joining);
}

#[test]
#[ignore = "the other clients: tests/run --all"]
fn groups_of_the_other_clients_do_so_too() {
    all_of(false, joining);
}

#[test]
#[ignore = "all clients that know static members: tests/run --all"]
fn static_members_find_their_partitions_when_they_come_back() {
    all_of(true, staying);
}

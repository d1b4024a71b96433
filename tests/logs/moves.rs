//! Replicas move between the directories of a broker that is killed on the way; each broker takes up
//! what the other began, and no record is lost or changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::chance::Chance;
use bytes::Bytes;
use harness::ports::free_port;
use harness::process::Process;
use harness::wait;

use crate::apache::{Coordinator, settings, start_apache, start_ours};
use crate::wire::{LATEST, Place, Wire};
use crate::written::{Sender, Writer};

const LIMIT: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// Copied in pieces of 16 KB, one each time the window has passed: minutes.
const SLOW: &str = "1";
const FAST: &str = "1000000000";
const NAME: &str = "moving";
/// On a machine that does a hundred other things.
const PATIENCE: Duration = Duration::from_secs(120);
const LOG_DIR_NOT_FOUND: i16 = 57;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Two log directories, and whoever serves them.
struct World {
    root: PathBuf,
    dirs: [PathBuf; 2],
    port: u16,
    settings: Vec<String>,
    _coordinator: Coordinator,
}

impl World {
    fn new(root: &Path) -> World {
        let coordinator = Coordinator::start(root);
        let dirs = [root.join("a"), root.join("b")];
        let both = format!("log.dirs={},{}", dirs[0].display(), dirs[1].display());
        let mut settings = settings(
            &coordinator,
            &dirs[0],
            &[&both, "replica.fetch.max.bytes=16384"],
        );
        settings.retain(|line| !line.starts_with("log.dirs=") || *line == both);
        World {
            root: root.to_path_buf(),
            dirs,
            port: free_port(),
            settings,
            _coordinator: coordinator,
        }
    }

    fn ours(&self) -> (Process, Wire) {
        let ours = start_ours(&self.root, self.port, &self.settings);
        (ours, self.wire())
    }

    fn apache(&self) -> Option<(Process, Wire)> {
        let apache = start_apache(&self.root, self.port, &self.settings)?;
        Some((apache, self.wire()))
    }

    fn wire(&self) -> Wire {
        let mut wire = Wire::open(self.port);
        if self.dirs.iter().any(|dir| dir.join("moving-0").exists()) {
            wire.await_leader(NAME, 0);
        }
        wire
    }

    /// The directory it does not lie in.
    fn other(&self, place: &Place) -> &Path {
        let [a, b] = &self.dirs;
        if place.dir == *a { b } else { a }
    }
}

fn served(wire: &mut Wire) -> Place {
    wire.places(NAME, 0).into_iter().next().unwrap()
}

fn future(wire: &mut Wire) -> Option<Place> {
    wire.places(NAME, 0).into_iter().find(|it| it.is_future)
}

fn await_moved(wire: &mut Wire, to: &Path) {
    wait::until("the replica to have moved", PATIENCE, || {
        let places = wire.places(NAME, 0);
        (places.len() == 1 && !places[0].is_future && places[0].dir == to).then_some(())
    });
}

fn write(wire: &mut Wire, writer: &mut Writer, batches: usize) {
    for _ in 0..batches {
        wire.produce(NAME, 0, writer.any(20, Sender::NOBODY));
    }
}

fn everything(wire: &mut Wire) -> Bytes {
    wire.read_all(NAME, 0)
}

/// The broker starts with a limit, and the replica begins to move.
fn move_slowly(world: &World, ours: &mut Process, wire: &mut Wire) -> PathBuf {
    // Read at the start: a change that is told while it runs may come late.
    wire.set_broker_config(0, LIMIT, SLOW);
    assert!(ours.terminate(PATIENCE).success());
    (*ours, *wire) = world.ours();
    begin(world, wire)
}

/// Orders it to the other directory, and sees the copy there.
fn begin(world: &World, wire: &mut Wire) -> PathBuf {
    let to = world.other(&served(wire)).to_path_buf();
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    let copy = future(wire).expect("a copy that is not complete yet");
    assert_eq!(copy.dir, to);
    to
}

/// Lets the copy go and waits for the end of the move.
fn finish(wire: &mut Wire, to: &Path) {
    wire.set_broker_config(0, LIMIT, FAST);
    await_moved(wire, to);
}

fn prepare(world: &World) -> (Process, Wire, Writer) {
    let (ours, mut wire) = world.ours();
    let segments = [("segment.bytes", "60000"), ("retention.ms", "-1")];
    wire.create_topic(NAME, 1, &segments);
    let mut writer = Writer::new(1, 1_700_000_000_000);
    write(&mut wire, &mut writer, 200);
    (ours, wire, writer)
}

#[test]
fn a_replica_moves_while_its_broker_is_killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    let (mut ours, mut wire, mut writer) = prepare(&world);
    let nowhere = world.root.join("c");
    assert_eq!(wire.order_to(NAME, 0, &nowhere), LOG_DIR_NOT_FOUND);
    let somewhere = world.dirs[0].clone();
    let code = wire.order_to("none", 0, &somewhere);
    assert_eq!(code, UNKNOWN_TOPIC_OR_PARTITION);

    // A copy outlives its broker.
    let from = served(&mut wire).dir;
    let to = move_slowly(&world, &mut ours, &mut wire);
    write(&mut wire, &mut writer, 5);
    assert!(future(&mut wire).unwrap().lag > 0);
    let before = everything(&mut wire);
    ours.kill_9();
    (ours, wire) = world.ours();
    assert_eq!(everything(&mut wire), before);
    assert_eq!(future(&mut wire).expect("the copy that was begun").dir, to);

    // Called off, ordered again, let go.
    assert_eq!(wire.order_to(NAME, 0, &from), 0);
    assert_eq!(future(&mut wire), None);
    assert_eq!(begin(&world, &mut wire), to);
    finish(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);

    // There and back, killed at any moment.
    let chance = Chance::seeded(7);
    for _ in 0..8 {
        let to = world.other(&served(&mut wire)).to_path_buf();
        write(&mut wire, &mut writer, 3);
        let before = everything(&mut wire);
        assert_eq!(wire.order_to(NAME, 0, &to), 0);
        // Not waited for anything: any moment is the right one.
        std::thread::sleep(Duration::from_millis(chance.below(40)));
        ours.kill_9();
        (ours, wire) = world.ours();
        await_moved(&mut wire, &to);
        assert_eq!(everything(&mut wire), before);
    }
    assert!(ours.terminate(PATIENCE).success());
}

#[test]
#[ignore = "starts Apache's broker twice: with --all"]
fn each_broker_carries_through_the_move_the_other_began() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    let (mut ours, mut wire, mut writer) = prepare(&world);
    wire.set_broker_config(0, LIMIT, SLOW);
    assert!(ours.terminate(PATIENCE).success());

    // Apache begins, and dies.
    let Some((mut apache, mut wire)) = world.apache() else {
        return;
    };
    let to = begin(&world, &mut wire);
    let before = everything(&mut wire);
    apache.kill_9();
    let (mut ours, mut wire) = world.ours();
    let copy = future(&mut wire).expect("the copy that Apache began");
    assert_eq!(copy.dir, to);
    assert_eq!(everything(&mut wire), before);
    finish(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);

    // Ours begins, and dies.
    write(&mut wire, &mut writer, 30);
    let to = move_slowly(&world, &mut ours, &mut wire);
    let before = everything(&mut wire);
    ours.kill_9();
    let (mut apache, mut wire) = world.apache().unwrap();
    assert_eq!(everything(&mut wire), before);
    let copy = future(&mut wire).expect("the copy that ours began");
    assert_eq!(copy.dir, to);
    finish(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);
    apache.kill_9();
}

#[test]
#[ignore = "starts Apache's broker: with --all"]
fn apache_opens_a_directory_that_we_have_moved_a_replica_into() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    let (mut ours, mut wire, mut writer) = prepare(&world);
    for producer in 5..8 {
        let sender = Sender {
            producer,
            epoch: 0,
            sequence: 0,
            transactional: false,
        };
        wire.produce(NAME, 0, writer.any(20, sender));
    }
    let to = world.other(&served(&mut wire)).to_path_buf();
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    await_moved(&mut wire, &to);
    write(&mut wire, &mut writer, 10);
    let before = everything(&mut wire);
    assert!(ours.terminate(PATIENCE).success());

    let Some((mut apache, mut wire)) = world.apache() else {
        return;
    };
    let places = wire.places(NAME, 0);
    assert!(places.len() == 1 && places[0].dir == to, "{places:?}");
    assert_eq!(everything(&mut wire), before);
    let end = wire.offset_at(NAME, 0, LATEST, 0).unwrap().1;
    assert_eq!(wire.produce(NAME, 0, writer.any(20, Sender::NOBODY)), end);
    let after = everything(&mut wire);
    assert!(after.starts_with(&before));
    assert!(apache.terminate(PATIENCE).code().is_some());
    let (mut ours, mut wire) = world.ours();
    assert_eq!(served(&mut wire).dir, to);
    assert_eq!(everything(&mut wire), after);
    assert!(ours.terminate(PATIENCE).success());
}

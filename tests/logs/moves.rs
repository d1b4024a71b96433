//! Replicas move between the directories of a broker that is killed on the way; each broker takes up
//! what the other began, and no record is lost or changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::chance::Chance;
use bytes::Bytes;
use harness::process::{Process, free_port};
use harness::wait;

use crate::apache::{Coordinator, settings, start_apache, start_ours};
use crate::wire::{Place, Wire};
use crate::written::{Sender, Writer};

const LIMIT: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
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
        let mut settings = settings(&coordinator, &dirs[0], &[&both]);
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

#[test]
fn a_replica_moves_while_its_broker_is_killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    let (mut ours, mut wire) = world.ours();
    let segments = [("segment.bytes", "60000"), ("retention.ms", "-1")];
    wire.create_topic(NAME, 1, &segments);
    let mut writer = Writer::new(1, 1_700_000_000_000);
    write(&mut wire, &mut writer, 100);
    let nowhere = world.root.join("c");
    assert_eq!(wire.order_to(NAME, 0, &nowhere), LOG_DIR_NOT_FOUND);
    let to = world.dirs[0].clone();
    assert_eq!(wire.order_to("none", 0, &to), UNKNOWN_TOPIC_OR_PARTITION);

    // Slowly, so that there is something to see; a copy outlives its broker.
    wire.set_broker_config(0, LIMIT, "20000");
    let from = served(&mut wire);
    let to = world.other(&from).to_path_buf();
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    write(&mut wire, &mut writer, 20);
    let copy = future(&mut wire).expect("a copy that is not complete yet");
    assert!(copy.dir == to && copy.lag > 0, "{copy:?}");
    let before = everything(&mut wire);
    ours.kill_9();
    (ours, wire) = world.ours();
    assert_eq!(everything(&mut wire), before);
    let copy = future(&mut wire).expect("the copy that was begun");
    assert_eq!(copy.dir, to);

    // Called off, ordered again, let go.
    assert_eq!(wire.order_to(NAME, 0, &from.dir), 0);
    assert_eq!(future(&mut wire), None);
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    wire.set_broker_config(0, LIMIT, "1000000000");
    await_moved(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);

    // There and back, killed at any moment.
    let mut chance = Chance::seeded(7);
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
    let Some((mut apache, mut wire)) = world.apache() else {
        return;
    };
    let segments = [("segment.bytes", "60000"), ("retention.ms", "-1")];
    wire.create_topic(NAME, 1, &segments);
    let mut writer = Writer::new(2, 1_700_000_000_000);
    write(&mut wire, &mut writer, 100);

    // Apache begins, and dies.
    wire.set_broker_config(0, LIMIT, "5000");
    let to = world.other(&served(&mut wire)).to_path_buf();
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    wait::until("Apache's copy", PATIENCE, || future(&mut wire));
    let before = everything(&mut wire);
    apache.kill_9();
    let (mut ours, mut wire) = world.ours();
    let copy = future(&mut wire).expect("the copy that Apache began");
    assert_eq!(copy.dir, to);
    assert_eq!(everything(&mut wire), before);
    wire.set_broker_config(0, LIMIT, "1000000000");
    await_moved(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);

    // Ours begins, and dies.
    wire.set_broker_config(0, LIMIT, "5000");
    write(&mut wire, &mut writer, 30);
    let to = world.other(&served(&mut wire)).to_path_buf();
    assert_eq!(wire.order_to(NAME, 0, &to), 0);
    wait::until("our copy", PATIENCE, || future(&mut wire));
    let before = everything(&mut wire);
    ours.kill_9();
    let (mut apache, mut wire) = world.apache().unwrap();
    assert_eq!(everything(&mut wire), before);
    wire.set_broker_config(0, LIMIT, "1000000000");
    await_moved(&mut wire, &to);
    assert_eq!(everything(&mut wire), before);
    apache.kill_9();
}

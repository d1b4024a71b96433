//! Idempotent producers through connections that are cut: nothing twice, nothing lost, in order.

use std::collections::BTreeSet;
use std::path::Path;

use harness::asker::Asker;
use harness::ports::free_port;
use harness::process::Single;
use harness::proxy::Proxy;

use crate::programs::{LIBRARIES, Library};

/// So many that even a client that is held up, and sends what has piled up at once, is cut off thrice.
const NUMBERS: usize = 1000;
/// One produce in so many is cut off.
const EVERY: usize = 5;

/// Every number in the topic, in order, read without the proxy.
pub(crate) fn written(reader: &Library, dir: &Path, at: &str, topic: &str) -> [Vec<usize>; 2] {
    [0, 1].map(|partition| {
        let mut asker = Asker::connect(at, "test");
        let count = crate::kills::end_offset(&mut asker, topic, partition);
        let mut program = reader.start(dir, at).unwrap();
        let read = program.read(topic, partition, 0, usize::try_from(count).unwrap());
        read.iter().map(|one| one.value.parse().unwrap()).collect()
    })
}

/// Each once, in order.
pub(crate) fn check_all_once(who: &str, written: &[Vec<usize>; 2], count: usize) {
    for (partition, written) in written.iter().enumerate() {
        let expected: Vec<usize> = (0..count)
            .filter(|number| number % 2 == partition)
            .collect();
        let got: BTreeSet<usize> = written.iter().copied().collect();
        let lost: Vec<_> = expected
            .iter()
            .filter(|number| !got.contains(number))
            .collect();
        assert!(
            lost.is_empty(),
            "{who}: lost in partition {partition}: {lost:?}"
        );
        assert_eq!(
            written, &expected,
            "{who}: twice or out of order in partition {partition}"
        );
    }
}

fn through_cuts(everyday: bool) {
    let dir = tempfile::tempdir().unwrap();
    let inside = free_port();
    let proxy = Proxy::start(inside, EVERY);
    // Clients are told the proxy's address, so that none finds a way around it.
    let mut single = Single::start_on(
        dir.path(),
        inside,
        &[&format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{}",
            proxy.port
        )],
    );
    single
        .process
        .announce(&["where something else than this broker's listener answers"]);
    let through = format!("127.0.0.1:{}", proxy.port);
    let mut asker = Asker::connect(&single.bootstrap(), "test");
    for library in LIBRARIES
        .iter()
        .filter(|library| library.idempotent && library.everyday == everyday)
    {
        let Some(mut program) = library.start(dir.path(), &through) else {
            continue;
        };
        let topic = format!("cut-{}", library.name);
        asker.create_topic(&topic, 2, &[]);
        let before = proxy.cuts();
        program.obey(&format!("stream\t{topic}\t{NUMBERS}"));
        assert!(
            proxy.cuts() > before + 2,
            "{}: {} cuts are too few to show anything",
            library.name,
            proxy.cuts() - before
        );
        let written = written(library, dir.path(), &through, &topic);
        check_all_once(library.name, &written, NUMBERS);
    }
}

#[test]
fn idempotent_producers_lose_and_double_nothing_when_connections_are_cut() {
    through_cuts(true);
}

#[test]
#[ignore = "the other clients: tests/run --all"]
fn idempotent_producers_of_the_other_clients_neither() {
    through_cuts(false);
}

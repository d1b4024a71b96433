//! What one client writes every other reads: keys, headers, tombstones and timestamps, one topic a
//! codec.

use std::path::Path;
use std::process::Command;

use harness::asker::Asker;
use harness::peers;
use harness::process::Single;
use harness::tool;

use crate::programs::{KEPT, LIBRARIES, Library, Program, Told};

/// 2021-03-04; a time of its own for each record, long before the test.
const SENT_MS: i64 = 1_614_850_000_000;

/// What a client writes: plain, without a key, a tombstone, with headers, and enough to fill more
/// than one record of a compressed batch.
fn records(writer: &str, codec: &str) -> Vec<Told> {
    let record = |number: i64, key: &str, value: &str, headers: &str| Told {
        partition: 0,
        offset: 0,
        key: key.to_owned(),
        value: value.to_owned(),
        timestamp: SENT_MS + number,
        headers: headers.to_owned(),
    };
    let mut records = vec![
        record(
            0,
            &format!("{writer}-key"),
            &format!("{codec} by {writer}"),
            "-",
        ),
        record(1, "-", "without a key", "-"),
        record(2, &format!("{writer}-gone"), "-", "-"),
        record(3, "titled", "with headers", "from=me,to=you"),
    ];
    for number in 4..24 {
        let value = format!("{writer} writes line {number} of many that resemble one another");
        records.push(record(number, &format!("k{number}"), &value, "-"));
    }
    records
}

const CODECS: [&str; 5] = ["-", "gzip", "snappy", "lz4", "zstd"];

fn numbered(records: Vec<Told>) -> Vec<Told> {
    (0_i64..)
        .zip(records)
        .map(|(offset, record)| Told { offset, ..record })
        .collect()
}

fn cross_reading(libraries: &[Library]) {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let at = single.bootstrap();
    let mut asker = Asker::connect(&at, "test");
    // Before any client asks what there is: some remember the answer for seconds.
    for codec in CODECS {
        asker.create_topic(&format!("codec-{codec}"), 1, KEPT);
    }
    let mut programs: Vec<(Library, Program)> = libraries
        .iter()
        .filter(|library| !library.codecs.is_empty())
        .filter_map(|library| Some((*library, library.start(dir.path(), &at)?)))
        .collect();
    for codec in CODECS {
        let topic = format!("codec-{codec}");
        let mut expected = Vec::new();
        for (library, program) in &mut programs {
            if library.codecs.contains(&codec) {
                let records = records(library.name, codec);
                program.produce(&topic, codec, &records);
                expected.extend(records);
            }
        }
        if let Some(written) = kcat_writes(&at, &topic, codec) {
            expected.extend(written);
        }
        let expected = numbered(expected);
        for (library, program) in &mut programs {
            // kafka-go 0.4 cannot unpack the lz4 frames of rskafka and aiokafka, from Apache's
            // broker neither: what is in a batch is between its writer and its reader.
            let unpacks = codec != "lz4" || library.name != "kafka-go";
            if unpacks && library.codecs.contains(&codec) {
                let read = program.read(&topic, 0, 0, expected.len());
                compare(library.name, codec, &read, &expected);
            }
        }
        if let Some(read) = kcat_reads(dir.path(), &at, &topic) {
            compare("kcat", codec, &read, &expected);
        }
    }
}

/// kcat gives records the time it sends them at: those are compared without it.
fn compare(reader: &str, codec: &str, read: &[Told], expected: &[Told]) {
    assert_eq!(
        read.len(),
        expected.len(),
        "{reader} reads topic codec-{codec}"
    );
    for (read, expected) in read.iter().zip(expected) {
        let mut read = read.clone();
        if expected.timestamp < 0 {
            read.timestamp = -1;
        }
        assert_eq!(&read, expected, "{reader} reads topic codec-{codec}");
    }
}

fn kcat_writes(at: &str, topic: &str, codec: &str) -> Option<Vec<Told>> {
    let codec = if codec == "-" { "none" } else { codec };
    let mut written = Vec::new();
    for (value, headers) in [("by kcat", "from=kcat"), ("", "-")] {
        let mut command = Command::new(peers::program("kcat")?);
        command.args([
            "-P", "-b", at, "-t", topic, "-p", "0", "-z", codec, "-K:", "-Z",
        ]);
        if headers != "-" {
            command.args(["-H", headers]);
        }
        tool::done(&mut command, &format!("kcat-key:{value}\n"));
        written.push(Told {
            partition: 0,
            offset: 0,
            key: "kcat-key".to_owned(),
            value: if value.is_empty() { "-" } else { value }.to_owned(),
            timestamp: -1,
            headers: headers.to_owned(),
        });
    }
    Some(written)
}

fn kcat_reads(dir: &Path, at: &str, topic: &str) -> Option<Vec<Told>> {
    let mut command = Command::new(peers::program("kcat")?);
    command
        .current_dir(dir)
        .args(["-C", "-b", at, "-t", topic, "-o", "beginning", "-e", "-q"])
        .args(["-f", "%p\\t%o\\t%K\\t%k\\t%S\\t%s\\t%T\\t%h\\n"]);
    let text = tool::done(&mut command, "");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split('\t').collect();
        let [
            partition,
            offset,
            key_len,
            key,
            value_len,
            value,
            time,
            headers,
        ] = words[..]
        else {
            panic!("not a record: {line:?}");
        };
        let held = |len: &str, text: &str| if len == "-1" { "-" } else { text }.to_owned();
        Told {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            key: held(key_len, key),
            value: held(value_len, value),
            timestamp: time.parse().unwrap(),
            headers: held(if headers.is_empty() { "-1" } else { "" }, headers),
        }
    });
    Some(lines.collect())
}

fn everyday() -> Vec<Library> {
    LIBRARIES
        .iter()
        .filter(|library| library.everyday)
        .copied()
        .collect()
}

#[test]
fn what_one_client_writes_the_others_read() {
    cross_reading(&everyday());
}

#[test]
#[ignore = "all clients: tests/run --all"]
fn what_any_client_writes_all_others_read() {
    cross_reading(LIBRARIES);
}

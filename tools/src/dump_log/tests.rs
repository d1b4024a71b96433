//! Whole directories of Apache brokers, dumped by us and by Apache's tool: the same bytes.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::*;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/logs/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = Vec::new();
    GzDecoder::new(&std::fs::read(path).unwrap()[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Unpacks a plain tar archive: folders and files with short names.
fn unpack(archive: &[u8], dir: &Path) {
    let mut rest = archive;
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let field = &rest[range];
            let end = field
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        let path = dir.join(text(0..100));
        let len = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        match rest[156] {
            b'5' => std::fs::create_dir_all(path).unwrap(),
            _ => std::fs::write(path, &rest[512..512 + len]).unwrap(),
        }
        rest = &rest[512 + len.next_multiple_of(512)..];
    }
}

/// Runs one of the sections of a recorded dump: the same files, the same flags.
fn dump(dir: &Path, flags: &[&str], files: &[String]) -> (i32, String, String) {
    let root = format!("{}/", dir.display());
    let files: Vec<String> = files.iter().map(|file| format!("{root}{file}")).collect();
    let mut line: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    line.extend(["--files".to_owned(), files.join(",")]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run_into(&line, &mut out, &mut err);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&root, "");
    (code, text(out), text(err))
}

fn sections(recorded: &str) -> Vec<(Vec<&'static str>, &str)> {
    let heads: [(&str, &[&str]); 4] = [
        ("# --offsets-decoder\n", &["--offsets-decoder"]),
        ("# --deep-iteration\n", &["--deep-iteration"]),
        (
            "# --transaction-log-decoder\n",
            &["--transaction-log-decoder"],
        ),
        ("# indexes and snapshots\n", &[]),
    ];
    let end = recorded
        .find("\n# file ")
        .map_or(recorded.len(), |at| at + 1);
    let recorded = &recorded[..end];
    let mut cuts: Vec<(usize, usize, Vec<&'static str>)> =
        vec![(0, 0, vec!["--deep-iteration", "--print-data-log"])];
    for (head, flags) in heads {
        if let Some(at) = recorded.find(&format!("\n{head}")) {
            cuts.push((at + 1, at + 1 + head.len(), flags.to_vec()));
        }
    }
    cuts.sort_by_key(|cut| cut.0);
    let ends: Vec<usize> = cuts.iter().skip(1).map(|cut| cut.0).chain([end]).collect();
    cuts.into_iter()
        .zip(ends)
        .map(|((_, from, flags), to)| (flags, &recorded[from..to]))
        .collect()
}

fn compare(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    unpack(&golden(&format!("{name}.tar.gz")), dir.path());
    let recorded = String::from_utf8(golden(&format!("{name}.dump.txt.gz"))).unwrap();
    let sections = sections(&recorded);
    assert!(sections.len() >= 2, "{name}");
    for (flags, wanted) in sections {
        let files: Vec<String> = wanted
            .lines()
            .filter_map(|line| line.strip_prefix("Dumping "))
            .map(str::to_owned)
            .collect();
        assert!(!files.is_empty());
        let (code, out, err) = dump(dir.path(), &flags, &files);
        assert_eq!(code, 0, "{name} {flags:?}: {err}");
        let found = out + &err;
        for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(found, wanted, "{name} {flags:?} line {number}");
        }
        assert_eq!(found.len(), wanted.len(), "{name} {flags:?}");
    }
}

#[test]
fn a_directory_of_kafka_39_reads_as_in_apaches_tool() {
    compare("clean");
}

#[test]
fn old_formats_read_as_in_apaches_tool() {
    compare("formats-2.8");
}

#[test]
fn replicas_with_many_epochs_read_as_in_apaches_tool() {
    compare("epochs-broker1");
}

#[test]
fn damage_ends_the_run_in_kafkas_words() {
    let dir = tempfile::tempdir().unwrap();
    unpack(&golden("formats-2.8.tar.gz"), dir.path());
    let log = dir.path().join("v2-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(&[0; 4096]);
    std::fs::write(&log, &bytes).unwrap();
    let name = "./v2-0/00000000000000000000.log".to_owned();
    let (code, out, err) = dump(dir.path(), &[], std::slice::from_ref(&name));
    assert_eq!(code, 1);
    assert!(out.starts_with(&format!(
        "Dumping {name}\nLog starting offset: 0\nbaseOffset: 0 "
    )));
    assert_eq!(
        err,
        format!("Found record size 0 smaller than minimum record overhead (14) in file {name}.\n")
    );
    bytes.truncate(whole - 7);
    std::fs::write(&log, &bytes).unwrap();
    let (code, out, _) = dump(dir.path(), &[], std::slice::from_ref(&name));
    assert_eq!(code, 0);
    assert!(out.ends_with(" invalid bytes at the end of 00000000000000000000.log\n"));
    let (_, out, _) = dump(dir.path(), &["--max-bytes", "300"], &[name]);
    assert!(!out.contains("invalid bytes") && out.lines().count() == 3);
}

#[test]
fn flags_change_what_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    unpack(&golden("clean.tar.gz"), dir.path());
    let log = ["./codecs-0/00000000000000000000.log".to_owned()];
    let (_, out, _) = dump(
        dir.path(),
        &["--print-data-log", "--skip-record-metadata"],
        &log,
    );
    assert_eq!(
        out.lines().nth(3),
        Some("| key: k0 payload: none-0-0-abcabcabcabcabcabcabcabcabcabc")
    );
    let index = ["./segs-0/00000000000000000000.index".to_owned()];
    let (_, out, _) = dump(dir.path(), &["--index-sanity-check"], &index);
    assert_eq!(
        out,
        format!("Dumping {0}\n{0} passed sanity check.\n", index[0])
    );
    let (_, out, err) = dump(dir.path(), &["--verify-index-only"], &index);
    assert_eq!(
        (out, err),
        (format!("Dumping {}\n", index[0]), String::new())
    );
    let empty = ["./empty-0/00000000000000000000.index".to_owned()];
    let (_, out, _) = dump(dir.path(), &[], &empty);
    assert_eq!(out, format!("Dumping {0}\n{0} is empty.\n", empty[0]));
    let epochs = ["./segs-0/leader-epoch-checkpoint".to_owned()];
    let (_, out, _) = dump(dir.path(), &[], &epochs);
    assert_eq!(
        out,
        format!("Dumping {}\nepoch: 0 startOffset: 0\n", epochs[0])
    );
}

#[test]
fn what_is_not_there_says_so_by_name() {
    let run = |line: &[&str]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let code = run_into(&line, &mut out, &mut err);
        (
            code,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    };
    let (code, _, err) = run(&["--remote-log-metadata-decoder", "--files", "x.log"]);
    assert!(code == 1 && err.contains("--remote-log-metadata-decoder is not supported"));
    let (code, _, err) = run(&[
        "--value-decoder-class",
        "com.example.Mine",
        "--files",
        "x.log",
    ]);
    assert!(code == 1 && err.contains("com.example.Mine is not supported"));
    let (code, _, err) = run(&["--print-data-log"]);
    assert!(code == 1 && err.starts_with("Missing required argument \"[files]\"\n"));
    let (code, _, err) = run(&["--nothing"]);
    assert!(code == 1 && err.starts_with("nothing is not a recognized option\n"));
    let (code, out, _) = run(&["--help"]);
    assert!(code == 0 && out.contains("--print-data-log"));
}

//! Real requests damaged in thousands of ways: what Apache would not read, and what ours does with it.
//!
//! `tests/golden/wire/mutations.txt` holds Apache's verdict on each, four a hexadecimal digit, 1 where its request
//! classes read the frame and 0 where they throw, which closes the connection. `Verdicts.java` gives them.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use harness::{peers, wait};
use protocol::kafka::apis::{Api, ROWS};
use protocol::kafka::codec;
use protocol::kafka::data::{decode_fetch, decode_produce};
use protocol::kafka::header::{Opening, RequestHeader};

use crate::fields::{hex, unhex};
use crate::golden;
use crate::sides;

/// Damaged frames of each API and version.
const PER_VERSION: usize = 64;

/// A frame without its length, and what it is damaged from.
pub(crate) struct Damaged {
    api: Api,
    version: i16,
    frame: Vec<u8>,
}

/// The same generator as everywhere in these tests: the same seeds do the same damage.
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize
    }

    /// Damages a body, never the header before it.
    fn inflict(&mut self, bytes: &mut Vec<u8>, from: usize) {
        for _ in 0..=self.next() % 3 {
            if bytes.len() <= from {
                return;
            }
            let at = from + self.next() % (bytes.len() - from);
            match self.next() % 7 {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = 0x7f,
                2 => bytes[at] = 0,
                3 => bytes[at] = self.next() as u8 & 0x7f,
                4 => bytes.truncate(at),
                5 => bytes.insert(at, self.next() as u8 & 0x7f),
                _ => drop(bytes.remove(at)),
            }
        }
    }
}

/// The corpus: of each API and version, damages of the frames recorded for it.
fn corpus() -> Vec<Damaged> {
    let recorded: Vec<Vec<u8>> = include_str!("../../protocol/tests/golden/frames.txt")
        .lines()
        .map(|line| unhex(line.split_once(' ').unwrap().0))
        .collect();
    let mut damage = Damage(390);
    let mut all = Vec::new();
    for row in &ROWS {
        for version in row.version_min..=row.version_max {
            let of_this = recorded.iter().filter(|frame| {
                Opening::read(frame)
                    .is_ok_and(|o| o.api_key == row.api.key() && o.api_version == version)
            });
            let of_this: Vec<_> = of_this.collect();
            assert!(
                !of_this.is_empty(),
                "{} {version} was never recorded",
                row.name
            );
            for at in 0..PER_VERSION {
                let mut frame = of_this[at % of_this.len()].clone();
                let whole = Bytes::from(frame.clone());
                let (_, body) = RequestHeader::read(row.api, &whole).unwrap();
                damage.inflict(&mut frame, whole.len() - body.len());
                all.push(Damaged {
                    api: row.api,
                    version,
                    frame,
                });
            }
        }
    }
    all
}

impl Damaged {
    fn body(&self) -> Bytes {
        RequestHeader::read(self.api, &Bytes::from(self.frame.clone()))
            .unwrap()
            .1
    }

    /// Whether our broker would look at it.
    fn is_read_here(&self) -> bool {
        let body = self.body();
        let own = match self.api {
            Api::Produce => return decode_produce(self.version, &body).is_ok(),
            Api::Fetch => return decode_fetch(self.version, &body).is_ok(),
            _ => codec::decode_request(self.api, self.version, body),
        };
        own.is_ok_and(|request| broker::api::legal::check(self.version, &request).is_ok())
    }

    /// Text that is none is closed here and replaced there: docs/KAFKA.md.
    fn has_bytes_beyond_ascii(&self) -> bool {
        self.body().iter().any(|byte| *byte > 0x7f)
    }
}

/// The verdicts as the golden file has them: a line an API and version.
fn lines(verdicts: &[bool], corpus: &[Damaged]) -> String {
    let mut out = String::new();
    for (verdicts, damaged) in verdicts.chunks(PER_VERSION).zip(corpus.chunks(PER_VERSION)) {
        let digits: String = verdicts
            .chunks(4)
            .map(|four| {
                format!(
                    "{:x}",
                    four.iter()
                        .fold(0u8, |digit, bit| digit << 1 | u8::from(*bit))
                )
            })
            .collect();
        let _ = writeln!(
            out,
            "{} {} {digits}",
            damaged[0].api.name(),
            damaged[0].version
        );
    }
    out
}

fn verdicts(lines: &str) -> Vec<bool> {
    let digits = lines
        .lines()
        .flat_map(|line| line.rsplit(' ').next().unwrap().chars());
    digits
        .flat_map(|digit| {
            let digit = digit.to_digit(16).unwrap();
            [8, 4, 2, 1].map(|bit| digit & bit != 0)
        })
        .collect()
}

fn golden_file() -> std::path::PathBuf {
    golden::folder().join("mutations.txt")
}

#[test]
fn what_apache_would_not_read_we_close_and_what_it_reads_we_read() {
    let corpus = corpus();
    let apaches = verdicts(&std::fs::read_to_string(golden_file()).unwrap());
    assert_eq!(
        apaches.len(),
        corpus.len(),
        "tests/wire/refresh asks Apache about the new corpus"
    );
    let mut wrong = Vec::new();
    for (damaged, apache) in corpus.iter().zip(apaches) {
        let here = damaged.is_read_here();
        if here != apache && !(apache && damaged.has_bytes_beyond_ascii()) {
            let verb = if apache { "reads" } else { "closes" };
            wrong.push(format!(
                "Apache {verb} {} {}: {}",
                damaged.api.name(),
                damaged.version,
                hex(&damaged.body())
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// With `BLESS=1` this writes the golden file anew instead: `tests/wire/refresh`.
#[test]
#[ignore = "starts a Java machine"]
fn apache_still_reads_and_closes_what_the_golden_file_says() {
    let Some(home) = peers::installed("kafka-3.9") else {
        return;
    };
    let corpus = corpus();
    let mut java = Command::new("java")
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(home.join("libs/*"))
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/Verdicts.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = java.stdin.take().unwrap();
    let asked: String = corpus
        .iter()
        .map(|one| format!("{} {} {}\n", one.api.key(), one.version, hex(&one.body())))
        .collect();
    let writing = std::thread::spawn(move || input.write_all(asked.as_bytes()));
    let mut told = String::new();
    java.stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    writing.join().unwrap().unwrap();
    assert!(java.wait().unwrap().success());
    let bits: Vec<bool> = told.trim().chars().map(|bit| bit == '1').collect();
    assert_eq!(bits.len(), corpus.len());
    let text = lines(&bits, &corpus);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden_file(), &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(golden_file()).unwrap() == text,
        "Apache's verdicts changed"
    );
}

/// Sends all of the corpus; our broker neither ends nor grows by what was only claimed.
#[test]
fn a_broker_that_is_sent_all_of_it_stays_up_and_small() {
    let side = sides::ours();
    let resident = |side: &sides::Side| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", side.broker.id())).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    };
    let before = resident(&side);
    for damaged in corpus() {
        // These tell the one controller to make topics without number, or the broker to go.
        if matches!(
            damaged.api,
            Api::ControlledShutdown | Api::CreateTopics | Api::CreatePartitions
        ) && damaged.is_read_here()
        {
            continue;
        }
        // So many, so fast, that the kernel may be short of ports to begin at for a moment.
        let mut socket = wait::until("a connection", Duration::from_secs(60), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, side.port)).ok()
        });
        let mut bytes = (damaged.frame.len() as i32).to_be_bytes().to_vec();
        bytes.extend(&damaged.frame);
        socket.write_all(&bytes).unwrap();
    }
    // The last one is answered: whatever came before it was survived.
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, side.port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    socket
        .write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff])
        .unwrap();
    let mut answer = [0; 8];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[4..], [0, 0, 0, 1]);
    let after = resident(&side);
    assert!(after < before + 200, "grew from {before} to {after} MiB");
    assert!(
        !side.broker.log().contains("panicked"),
        "{}",
        side.broker.log()
    );
}

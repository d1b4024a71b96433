//! What came back as text: masked, folded over versions, kept a file an API, compared.
//!
//! A struct is a line of its plain fields; what it holds follows, indented. Fields with their default are left out, but
//! for error codes. Versions that were answered alike share one text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use protocol::kafka::apis::{Api, ROWS};
use serde_json::Value;

use crate::fields::{Field, Messages, is_default};
use crate::script::{Came, Exchange};
use crate::sides::Side;

/// Longer bytes are told by their length and a sum of them.
const BYTES_SHOWN_MAX: usize = 24;

/// Cases in order, and in each the text of every version.
pub(crate) type Told = Vec<(String, BTreeMap<i16, String>)>;

/// The differences that are allowed, each with its reason: `masks.txt`.
pub(crate) struct Masks {
    rows: Vec<[String; 3]>,
    swaps: Vec<(String, String)>,
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/wire")
}

impl Masks {
    pub(crate) fn load(side: &Side) -> Masks {
        let text = std::fs::read_to_string(folder().join("masks.txt")).unwrap();
        let rows = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let mut words = line.splitn(4, char::is_whitespace).map(str::trim);
                let row = [(); 3].map(|()| words.next().unwrap_or_default().to_owned());
                assert!(
                    words.next().is_some_and(|reason| reason.len() > 10),
                    "no reason: {line}"
                );
                row
            })
            .collect();
        let swaps = vec![
            (side.logs.display().to_string(), "LOGS".to_owned()),
            (
                format!("127.0.0.1:{}", side.port),
                "127.0.0.1:PORT".to_owned(),
            ),
            (
                format!("127.0.0.1:{}", side.coordinator_port),
                "127.0.0.1:ZOOKEEPER".to_owned(),
            ),
        ];
        Masks { rows, swaps }
    }

    fn has(&self, verb: &str, api: Api, field: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row[0] == verb && (row[1] == "*" || row[1] == api.name()) && row[2] == field)
    }
}

impl Masks {
    /// Whether an element of this name is there on our side alone.
    fn is_own(&self, api: Api, name: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row[0] == "own" && row[1] == api.name() && name.starts_with(&row[2]))
    }
}

struct Writer<'a> {
    api: Api,
    masks: &'a Masks,
    out: String,
}

impl Writer<'_> {
    fn structure(&mut self, fields: &[Field], value: &Value, indent: usize, mark: &str) {
        let mut plain = Vec::new();
        let mut nested = Vec::new();
        for field in fields {
            let code = field.name == "errorCode";
            let value = value.get(&field.name).unwrap_or(&field.default);
            if !code && is_default(field, value) {
                continue;
            }
            match value {
                Value::Object(_) => nested.push((field, value)),
                Value::Array(list) if !field.fields.is_empty() && !list.is_empty() => {
                    nested.push((field, value))
                }
                _ if self.masks.has("hide", self.api, &field.name) => {
                    plain.push(format!("{}: *", field.name))
                }
                _ if self.masks.has("uuid", self.api, &field.name) => {
                    plain.push(format!(
                        "{}: {}",
                        field.name,
                        without_uuid(&shown(field, value))
                    ));
                }
                _ => plain.push(format!("{}: {}", field.name, shown(field, value))),
            }
        }
        let line = if plain.is_empty() && nested.is_empty() {
            "(defaults)".to_owned()
        } else {
            plain.join(", ")
        };
        let _ = writeln!(self.out, "{}{mark}{line}", " ".repeat(indent));
        for (field, value) in nested {
            let _ = writeln!(self.out, "{}  {}:", " ".repeat(indent), field.name);
            match value {
                Value::Array(list) => self.list(field, list, indent + 4),
                _ => self.structure(&field.fields, value, indent + 4, ""),
            }
        }
    }

    fn list(&mut self, field: &Field, list: &[Value], indent: usize) {
        let ours = |one: &&Value| {
            one["name"]
                .as_str()
                .is_some_and(|name| self.masks.is_own(self.api, name))
        };
        let mut texts: Vec<String> = list
            .iter()
            .filter(|one| !ours(one))
            .map(|one| {
                let mut writer = Writer {
                    api: self.api,
                    masks: self.masks,
                    out: String::new(),
                };
                writer.structure(&field.fields, one, indent, "- ");
                writer.out
            })
            .collect();
        if self.masks.has("sort", self.api, &field.name) {
            texts.sort();
        }
        self.out.extend(texts);
    }
}

fn shown(field: &Field, value: &Value) -> String {
    match value.as_str() {
        Some(bytes) if field.is_bytes() && bytes.len() > 2 * BYTES_SHOWN_MAX => {
            let sum = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("{} bytes #{sum:016x}", bytes.len() / 2)
        }
        _ => value.to_string(),
    }
}

/// The same, the random part of an id left out.
fn without_uuid(text: &str) -> String {
    let is_uuid = |part: &str| {
        part.len() == 36
            && part.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    let found = (0..text.len()).find(|at| text.get(*at..at + 36).is_some_and(is_uuid));
    found.map_or_else(
        || text.to_owned(),
        |at| format!("{}*{}", &text[..at], &text[at + 36..]),
    )
}

/// The text of one exchange.
pub(crate) fn text(messages: &Messages, masks: &Masks, exchange: &Exchange) -> String {
    let api = exchange.api;
    match &exchange.came {
        Came::Closed => "the connection is closed\n".to_owned(),
        Came::Nothing => "nothing\n".to_owned(),
        Came::Late => "late: neither an answer nor a closed connection\n".to_owned(),
        Came::Garbage(why) => format!("garbage: {why}\n"),
        Came::Answer(value) => {
            let mut writer = Writer {
                api,
                masks,
                out: String::new(),
            };
            writer.structure(messages.response(api), value, 0, "");
            let mut text: String = writer
                .out
                .lines()
                .map(|line| format!("{}\n", line.trim_end()))
                .collect();
            for (from, to) in &masks.swaps {
                text = text.replace(from, to);
            }
            text
        }
    }
}

/// All exchanges by API; what is held back apart from the rest.
pub(crate) fn tell(
    messages: &Messages,
    masks: &Masks,
    exchanges: &[Exchange],
) -> BTreeMap<i16, Told> {
    let mut all: BTreeMap<i16, Told> = BTreeMap::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.held.is_none()) {
        let told = all.entry(exchange.api.key()).or_default();
        let text = text(messages, masks, exchange);
        match told.iter_mut().find(|(case, _)| case == &exchange.case) {
            Some((_, texts)) => {
                texts.insert(exchange.version, text);
            }
            None => told.push((
                exchange.case.clone(),
                BTreeMap::from([(exchange.version, text)]),
            )),
        }
    }
    all
}

/// A file's text: cases, versions folded.
fn fold(told: &Told) -> String {
    let mut out = String::new();
    for (case, texts) in told {
        let _ = writeln!(out, "== {case}");
        let mut groups: Vec<(&String, Vec<i16>)> = Vec::new();
        for (version, text) in texts {
            match groups.iter_mut().find(|(known, _)| *known == text) {
                Some((_, versions)) => versions.push(*version),
                None => groups.push((text, vec![*version])),
            }
        }
        for (text, versions) in groups {
            let _ = writeln!(out, "v {}", ranges(&versions));
            for line in text.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

fn ranges(versions: &[i16]) -> String {
    let mut runs: Vec<(i16, i16)> = Vec::new();
    for version in versions {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *version => *last = *version,
            _ => runs.push((*version, *version)),
        }
    }
    let shown = runs.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn unfold(text: &str) -> Told {
    let mut told = Told::new();
    let mut versions: Vec<i16> = Vec::new();
    for line in text.lines() {
        if let Some(case) = line.strip_prefix("== ") {
            told.push((case.to_owned(), BTreeMap::new()));
        } else if let Some(list) = line.strip_prefix("v ") {
            versions = list
                .split(' ')
                .flat_map(|run| {
                    let (first, last) = run.split_once('-').unwrap_or((run, run));
                    first.parse::<i16>().unwrap()..=last.parse::<i16>().unwrap()
                })
                .collect();
        } else {
            let (_, texts) = told.last_mut().unwrap();
            for version in &versions {
                let text: &mut String = texts.entry(*version).or_default();
                *text += line.strip_prefix("  ").unwrap();
                text.push('\n');
            }
        }
    }
    told
}

pub(crate) fn read() -> BTreeMap<i16, Told> {
    ROWS.iter()
        .filter_map(|row| {
            let text = std::fs::read_to_string(folder().join(format!("{}.txt", row.name))).ok()?;
            Some((row.api.key(), unfold(&text)))
        })
        .collect()
}

pub(crate) fn write(all: &BTreeMap<i16, Told>) {
    for row in &ROWS {
        let path = folder().join(format!("{}.txt", row.name));
        match all.get(&row.api.key()) {
            Some(told) => std::fs::write(path, fold(told)).unwrap(),
            None => assert!(!path.exists(), "{} has no case any more", row.name),
        }
    }
}

/// A case that was answered otherwise, at versions that differ alike.
pub(crate) struct Difference {
    /// `API: case`
    pub(crate) of: String,
    pub(crate) text: String,
}

/// Every difference, a case at a time.
pub(crate) fn differences(
    expected: &BTreeMap<i16, Told>,
    came: &BTreeMap<i16, Told>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for row in &ROWS {
        let none = Told::new();
        let (expected, came) = (
            expected.get(&row.api.key()).unwrap_or(&none),
            came.get(&row.api.key()).unwrap_or(&none),
        );
        let mut cases: Vec<&String> = expected.iter().map(|(case, _)| case).collect();
        cases.extend(
            came.iter()
                .map(|(case, _)| case)
                .filter(|case| !expected.iter().any(|(known, _)| known == *case)),
        );
        for case in cases {
            let texts = |told: &Told| {
                told.iter()
                    .find(|(known, _)| known == case)
                    .map(|(_, texts)| texts.clone())
                    .unwrap_or_default()
            };
            let (expected, came) = (texts(expected), texts(came));
            let mut alike: BTreeMap<(String, String), Vec<i16>> = BTreeMap::new();
            let mut versions: Vec<i16> = expected.keys().chain(came.keys()).copied().collect();
            versions.sort_unstable();
            versions.dedup();
            for version in versions {
                let text = |texts: &BTreeMap<i16, String>| {
                    texts
                        .get(&version)
                        .cloned()
                        .unwrap_or_else(|| "not asked\n".to_owned())
                };
                let pair = (text(&expected), text(&came));
                if pair.0 != pair.1 {
                    alike.entry(pair).or_default().push(version);
                }
            }
            for ((expected, came), versions) in alike {
                found.push(Difference {
                    of: format!("{}: {case}", row.name),
                    text: format!(
                        "{} {}: {case}\n{}",
                        row.name,
                        ranges(&versions),
                        diff(&expected, &came)
                    ),
                });
            }
        }
    }
    found
}

/// Lines of both, those they share at both ends left out.
fn diff(expected: &str, came: &str) -> String {
    let (expected, came): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), came.lines().collect());
    let head = expected
        .iter()
        .zip(&came)
        .take_while(|(a, b)| a == b)
        .count();
    let tail = expected[head..]
        .iter()
        .rev()
        .zip(came[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut out = String::new();
    for line in &expected[head..expected.len() - tail] {
        let _ = writeln!(out, "  - {line}");
    }
    for line in &came[head..came.len() - tail] {
        let _ = writeln!(out, "  + {line}");
    }
    out
}

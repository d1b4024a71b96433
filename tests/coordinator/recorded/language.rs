//! The language of the scripts: a line is a request, its words are the fields of the operation.
//!
//! `a create /x "some text" open 0`: connection `a` asks. Fields left out at the end have their
//! defaults. `null` is a length of −1; `x*70000` is a long text; parts of a `multi` stand between `;`.

use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::{Acl, Id, perms};

/// An operation: name, number, the fields of its request and of its reply, one letter each.
///
/// Requests: `p` path or text, `d` bytes, `A` access list, `i` int, `l` long, `b` flag, `S` list of
/// texts, `m` parts. Replies: `s` Stat, `N` names in any order, `W` who, `M` results, else the same.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) number: i32,
    pub(crate) request: &'static str,
    pub(crate) reply: &'static str,
}

const fn op(name: &'static str, number: i32, request: &'static str, reply: &'static str) -> Op {
    Op {
        name,
        number,
        request,
        reply,
    }
}

pub(crate) const OPS: &[Op] = &[
    op("create", ops::CREATE, "pdAi", "p"),
    op("create2", ops::CREATE2, "pdAi", "ps"),
    op("createContainer", ops::CREATE_CONTAINER, "pdAi", "ps"),
    op("createTTL", ops::CREATE_TTL, "pdAil", "ps"),
    op("delete", ops::DELETE, "pi", ""),
    op("deleteContainer", ops::DELETE_CONTAINER, "p", ""),
    op("exists", ops::EXISTS, "pb", "s"),
    op("getData", ops::GET_DATA, "pb", "ds"),
    op("setData", ops::SET_DATA, "pdi", "s"),
    op("getACL", ops::GET_ACL, "p", "As"),
    op("setACL", ops::SET_ACL, "pAi", "s"),
    op("getChildren", ops::GET_CHILDREN, "pb", "N"),
    op("getChildren2", ops::GET_CHILDREN2, "pb", "Ns"),
    op(
        "getAllChildrenNumber",
        ops::GET_ALL_CHILDREN_NUMBER,
        "p",
        "i",
    ),
    op("getEphemerals", ops::GET_EPHEMERALS, "p", "N"),
    op("sync", ops::SYNC, "p", "p"),
    op("check", ops::CHECK, "pi", ""),
    op("multi", ops::MULTI, "m", "M"),
    op("multiRead", ops::MULTI_READ, "m", "M"),
    op("reconfig", ops::RECONFIG, "pppl", "ds"),
    op("checkWatches", ops::CHECK_WATCHES, "pi", ""),
    op("removeWatches", ops::REMOVE_WATCHES, "pi", ""),
    op("addWatch", ops::ADD_WATCH, "pi", "i"),
    op("setWatches", ops::SET_WATCHES, "lSSS", ""),
    op("setWatches2", ops::SET_WATCHES2, "lSSSSS", ""),
    op("whoAmI", ops::WHO_AM_I, "", "W"),
    op("auth", ops::AUTH, "ipd", ""),
    op("sasl", ops::SASL, "d", "d"),
    op("ping", ops::PING, "", ""),
    op("createSession", ops::CREATE_SESSION, "i", ""),
    op("closeSession", ops::CLOSE_SESSION, "", ""),
];

pub(crate) fn find(name: &str) -> Option<&'static Op> {
    OPS.iter().find(|op| op.name == name)
}

/// Splits at blanks; double quotes keep a word together, and `\xHH` in it is that character.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut made, mut word, mut quoted, mut open) = (Vec::new(), String::new(), false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, open) = (!quoted, true),
            '\\' if quoted => {
                assert_eq!(letters.next(), Some('x'), "{line}");
                let digits: String = letters.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).unwrap();
                word.push(char::from(byte));
            }
            ' ' if !quoted => {
                if open || !word.is_empty() {
                    made.push(std::mem::take(&mut word));
                }
                open = false;
            }
            letter => word.push(letter),
        }
    }
    if open || !word.is_empty() {
        made.push(word);
    }
    made
}

/// `x*3` is `xxx`.
fn text(word: &str) -> Vec<u8> {
    match word.split_once('*') {
        Some((one, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            one.repeat(count.parse().unwrap()).into_bytes()
        }
        _ => word.as_bytes().to_vec(),
    }
}

pub(crate) fn unhex(word: &str) -> Vec<u8> {
    assert!(word.len().is_multiple_of(2), "{word}");
    (0..word.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const LETTERS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

pub(crate) fn perms_text(perms: i32) -> String {
    let mut text: String = LETTERS
        .iter()
        .filter(|(_, bit)| perms & bit != 0)
        .map(|(letter, _)| *letter)
        .collect();
    let rest = perms & !perms::ALL;
    if rest != 0 || text.is_empty() {
        text.push_str(&rest.to_string());
    }
    text
}

/// `scheme:name:cdrwa`, more behind commas; permissions may be a number.
fn acl(word: &str) -> Vec<Acl> {
    let entry = |entry: &str| {
        let (scheme, rest) = entry.split_once(':').unwrap();
        let (id, letters) = rest.rsplit_once(':').unwrap();
        let perms = letters.parse().unwrap_or_else(|_| {
            let bit = |letter| LETTERS.iter().find(|(one, _)| *one == letter).unwrap().1;
            letters.chars().map(bit).fold(0, |all, one| all | one)
        });
        Acl {
            perms,
            id: Id::new(scheme, id),
        }
    };
    match word {
        "open" => vec![Acl::open()],
        "empty" => Vec::new(),
        list => list.split(',').map(entry).collect(),
    }
}

fn write_field(letter: char, word: &str, w: &mut Writer<'_>) {
    match (letter, word) {
        ('p' | 'd' | 'A' | 'S', "null") => w.int(-1),
        ('p' | 'd', word) => w.buffer(Some(&text(word))),
        ('A', word) => {
            Acl::write_list(&acl(word), w);
            w
        }
        ('i', word) => w.int(word.parse().unwrap()),
        ('l', word) => w.long(word.parse().unwrap()),
        ('b', word) => w.bool(word == "watch"),
        ('S', word) => {
            let inner = word.trim_start_matches('[').trim_end_matches(']');
            w.strings(
                inner
                    .split(',')
                    .filter(|one| !one.is_empty())
                    .collect::<Vec<_>>(),
            )
        }
        other => panic!("{other:?}"),
    };
}

fn default(op: &Op, letter: char) -> &'static str {
    match letter {
        'A' => "open",
        'i' if op.name.starts_with("create") => "0",
        'i' if op.name == "addWatch" => "0",
        'i' => "-1",
        'l' => "0",
        'b' => "no",
        'S' => "[]",
        _ => "null",
    }
}

/// The body of a request.
pub(crate) fn write(op: &Op, words: &[String], w: &mut Writer<'_>) {
    if op.request == "m" {
        return write_parts(words, w);
    }
    assert!(
        words.len() <= op.request.len(),
        "{}: too many words: {words:?}",
        op.name
    );
    for (at, letter) in op.request.chars().enumerate() {
        let word = words
            .get(at)
            .map_or_else(|| default(op, letter), String::as_str);
        write_field(letter, word, w);
    }
}

fn write_parts(words: &[String], w: &mut Writer<'_>) {
    for part in words.split(|word| word == ";") {
        let Some((name, rest)) = part.split_first() else {
            continue;
        };
        let op = find(name).unwrap_or_else(|| panic!("no operation {name}"));
        w.int(op.number).bool(false).int(-1);
        write(op, rest, w);
    }
    w.int(-1).bool(true).int(-1);
}

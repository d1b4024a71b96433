//! Random requests from a seed, good and bad, as bytes.

use base::chance::Chance;
use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::{Acl, Id, perms};

const PATHS: &[&str] = &[
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/e",
    "/b",
    "/b/s-",
    "/b/c",
    "/c",
    "/c/k",
    "/d",
    "/é",
    "/a.b",
    "/zookeeper/quota",
    "/zookeeper",
    "/zookeeper/config",
    "/",
];
const BAD_PATHS: &[&str] = &[
    "", "bad", "/a/", "/a//b", "/a/../b", "/./x", "/nul\0x", "/\u{1}",
];

/// What a request is: its operation and its body.
pub(crate) struct Request {
    pub(crate) op: i32,
    pub(crate) body: Vec<u8>,
    pub(crate) told: String,
}

fn pick<'a, T>(chance: &Chance, from: &'a [T]) -> &'a T {
    &from[chance.below(from.len() as u64) as usize]
}

fn path(chance: &Chance) -> &'static str {
    if chance.below(12) == 0 {
        pick::<&'static str>(chance, BAD_PATHS)
    } else {
        pick::<&'static str>(chance, PATHS)
    }
}

fn data(chance: &Chance) -> Option<&'static [u8]> {
    *pick(
        chance,
        &[
            None,
            Some(b"".as_slice()),
            Some(b"x"),
            Some(b"some longer text"),
        ],
    )
}

fn version(chance: &Chance) -> i32 {
    *pick(chance, &[-1, -1, -1, 0, 1, 2])
}

fn acl(chance: &Chance) -> Vec<Acl> {
    let alice = Id::new("digest", "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=");
    let of = |perms, id: &Id| Acl {
        perms,
        id: id.clone(),
    };
    let anyone = Id::new("world", "anyone");
    match chance.below(16) {
        0 => vec![of(perms::ALL, &Id::new("auth", ""))],
        1 => vec![of(perms::ALL, &alice), of(perms::READ, &anyone)],
        2 => vec![of(perms::ALL, &Id::new("ip", "127.0.0.0/8"))],
        3 => vec![of(perms::READ | perms::CREATE, &anyone)],
        4 => vec![of(perms::ALL, &Id::new("digest", "nobody"))],
        5 => vec![of(perms::ALL, &Id::new("ip", "999.1.1.1"))],
        6 => Vec::new(),
        7 => vec![of(perms::ALL, &anyone), of(perms::ALL, &anyone)],
        _ => vec![Acl::open()],
    }
}

fn write_create(chance: &Chance, op: i32, w: &mut Writer<'_>) {
    w.string(path(chance)).buffer(data(chance));
    Acl::write_list(&acl(chance), w);
    match op {
        ops::CREATE_TTL => {
            let ttl = *pick(chance, &[3_600_000, 1, 0, -1, 1 << 40, 1 << 50]);
            w.int(*pick(chance, &[5, 6])).long(ttl);
        }
        ops::CREATE_CONTAINER => {
            w.int(4);
        }
        _ => {
            w.int(*pick(chance, &[0, 0, 0, 0, 1, 2, 3, 4, 5, 9]));
        }
    }
}

fn write_body(chance: &Chance, op: i32, w: &mut Writer<'_>) {
    match op {
        ops::CREATE | ops::CREATE2 | ops::CREATE_TTL | ops::CREATE_CONTAINER => {
            write_create(chance, op, w);
        }
        ops::DELETE | ops::CHECK => {
            w.string(path(chance)).int(version(chance));
        }
        ops::SET_DATA => {
            w.string(path(chance))
                .buffer(data(chance))
                .int(version(chance));
        }
        ops::SET_ACL => {
            w.string(path(chance));
            Acl::write_list(&acl(chance), w);
            w.int(version(chance));
        }
        ops::EXISTS | ops::GET_DATA | ops::GET_CHILDREN | ops::GET_CHILDREN2 => {
            w.string(path(chance)).bool(chance.below(2) == 0);
        }
        ops::CHECK_WATCHES | ops::REMOVE_WATCHES => {
            w.string(path(chance)).int(chance.below(7) as i32);
        }
        ops::ADD_WATCH => {
            w.string(path(chance)).int(chance.below(3) as i32);
        }
        ops::SET_WATCHES | ops::SET_WATCHES2 => {
            w.long(chance.below(200) as i64);
            for _ in 0..if op == ops::SET_WATCHES { 3 } else { 5 } {
                w.strings([*pick(chance, PATHS)]);
            }
        }
        ops::MULTI => {
            for _ in 0..chance.below(5) {
                let part = *pick(
                    chance,
                    &[
                        ops::CREATE,
                        ops::CREATE2,
                        ops::DELETE,
                        ops::SET_DATA,
                        ops::CHECK,
                        ops::CREATE_CONTAINER,
                        ops::CREATE_TTL,
                    ],
                );
                w.int(part).bool(false).int(-1);
                write_body(chance, part, w);
            }
            w.int(-1).bool(true).int(-1);
        }
        ops::MULTI_READ => {
            for _ in 0..chance.below(4) {
                w.int(*pick(chance, &[ops::GET_DATA, ops::GET_CHILDREN]))
                    .bool(false)
                    .int(-1);
                w.string(path(chance)).bool(false);
            }
            w.int(-1).bool(true).int(-1);
        }
        ops::RECONFIG => {
            w.buffer(None).buffer(None).buffer(None).long(-1);
        }
        ops::WHO_AM_I | ops::CLOSE_SESSION => {}
        _ => {
            w.string(path(chance));
        }
    }
}

/// An access list whose entries lack schemes or names. Not for parts of a multi: ZooKeeper would
/// keep what the parts before had prepared.
fn write_nameless(chance: &Chance, op: i32, w: &mut Writer<'_>) {
    w.string(path(chance));
    if op == ops::CREATE {
        w.buffer(data(chance));
    }
    let count = 1 + chance.below(2) as usize;
    w.len(count);
    for _ in 0..count {
        let schemes = [
            None,
            Some("world"),
            Some("auth"),
            Some("digest"),
            Some("no"),
        ];
        let names = [None, None, Some("anyone"), Some("a:b")];
        w.int(*pick(chance, &[perms::ALL, perms::READ]));
        w.buffer(pick(chance, &schemes).map(str::as_bytes));
        w.buffer(pick(chance, &names).map(str::as_bytes));
    }
    w.int(if op == ops::CREATE { 0 } else { -1 });
}

/// The next request.
pub(crate) fn next(chance: &Chance) -> Request {
    let op = match chance.below(40) {
        0..=7 => ops::CREATE,
        8..=9 => ops::CREATE2,
        10 => ops::CREATE_CONTAINER,
        11 => ops::CREATE_TTL,
        12..=14 => ops::DELETE,
        15..=17 => ops::SET_DATA,
        18 => ops::SET_ACL,
        19 => ops::DELETE_CONTAINER,
        20 | 21 => ops::EXISTS,
        22 | 23 => ops::GET_DATA,
        24 => ops::GET_ACL,
        25 => ops::GET_CHILDREN,
        26 => ops::GET_CHILDREN2,
        27 => ops::SYNC,
        28 => ops::GET_EPHEMERALS,
        29 => ops::GET_ALL_CHILDREN_NUMBER,
        30 => ops::CHECK_WATCHES,
        31 => ops::REMOVE_WATCHES,
        32 => ops::ADD_WATCH,
        33 => *pick(chance, &[ops::SET_WATCHES, ops::SET_WATCHES2]),
        34..=36 => ops::MULTI,
        37 => ops::MULTI_READ,
        38 => *pick(
            chance,
            &[
                ops::WHO_AM_I,
                ops::WHO_AM_I,
                ops::WHO_AM_I,
                ops::CHECK,
                ops::CLOSE_SESSION,
            ],
        ),
        _ => ops::RECONFIG,
    };
    let mut body = Vec::new();
    if matches!(op, ops::CREATE | ops::SET_ACL) && chance.below(12) == 0 {
        write_nameless(chance, op, &mut Writer(&mut body));
    } else {
        write_body(chance, op, &mut Writer(&mut body));
    }
    let mut told = format!("op {op}, {}", String::from_utf8_lossy(&body).escape_debug());
    if chance.below(40) == 0 {
        let len = chance.below(body.len() as u64 + 1) as usize;
        body.truncate(len);
        told.push_str(&format!(" cut to {len}"));
    }
    Request { op, body, told }
}

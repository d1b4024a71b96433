//! How answers look: states, access lists, data in hexadecimal.

use protocol::zookeeper::types::{Acl, Id, Stat, perms};

use crate::moments;
use crate::print::Out;
use crate::say;

pub(crate) fn print_stat(stat: &Stat, out: &mut Out) {
    say!(out, "cZxid = 0x{:x}", stat.czxid);
    say!(out, "ctime = {}", moments::java_date(stat.ctime));
    say!(out, "mZxid = 0x{:x}", stat.mzxid);
    say!(out, "mtime = {}", moments::java_date(stat.mtime));
    say!(out, "pZxid = 0x{:x}", stat.pzxid);
    say!(out, "cversion = {}", stat.cversion);
    say!(out, "dataVersion = {}", stat.version);
    say!(out, "aclVersion = {}", stat.aversion);
    say!(out, "ephemeralOwner = 0x{:x}", stat.ephemeral_owner);
    say!(out, "dataLength = {}", stat.data_length);
    say!(out, "numChildren = {}", stat.num_children);
}

const LETTERS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

pub(crate) fn letters(perms: i32) -> String {
    let has = LETTERS.iter().filter(|(_, bit)| perms & bit != 0);
    has.map(|(letter, _)| *letter).collect()
}

/// `scheme:id:cdrwa,…`; the id may have colons of its own. What cannot be read is said on stderr
/// and left out.
pub(crate) fn parse_acl(list: &str) -> Vec<Acl> {
    let mut made = Vec::new();
    for one in list.split(',') {
        let parts = one
            .split_once(':')
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, given))) = parts else {
            crate::warn!("{one} does not have the form scheme:id:perm");
            continue;
        };
        let mut perms = 0;
        for letter in given.chars() {
            match LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) => perms |= bit,
                None => crate::warn!("Unknown perm type: {letter}"),
            }
        }
        made.push(Acl {
            perms,
            id: Id::new(scheme, id),
        });
    }
    made
}

/// Sixteen bytes a line, as numbers and as letters.
pub(crate) fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut text = format!(
        "         +-------------------------------------------------+\n         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n{rule}"
    );
    for (row, bytes) in data.chunks(16).enumerate() {
        let numbers: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |byte: &u8| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        };
        let letters: String = bytes.iter().map(shown).collect();
        text.push_str(&format!(
            "\n|{:08x}|{numbers:<48} |{letters:<16}|",
            row * 16
        ));
    }
    text.push('\n');
    text.push_str(rule);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_lists_are_read_in_zookeepers_form() {
        let acls = parse_acl("world:anyone:cdrwa,digest:bob:hash=:r,nonsense");
        assert_eq!(acls.len(), 2);
        assert_eq!(acls[1].id.id, "bob:hash=");
        assert_eq!(letters(acls[0].perms), "cdrwa");
    }

    #[test]
    fn a_dump_has_numbers_and_letters() {
        let text = hex_dump(b"hello\n");
        let row = "|00000000| 68 65 6c 6c 6f 0a                               |hello.          |";
        assert!(text.contains(row), "{text}");
    }
}

//! A group in `__consumer_offsets`: its generation and its members with their assignments.

use bytes::Bytes;

use crate::internal::fields::{Fields, Malformed, Writer};

/// The version of a group's key: what tells it from an offset's.
pub const KEY_VERSION: i16 = 2;
/// The newest value version that 3.9 writes.
pub const VALUE_VERSION: i16 = 3;
/// First value version with compact lengths; 3.9 reads it and never writes it.
const FLEXIBLE_FROM: i16 = 4;
/// The fewest bytes a member can take, in any version: empty texts and bytes, one session timeout.
const MEMBER_LEN_MIN: usize = 10;

/// The key of a group's record.
pub fn write_key(group: &str) -> Bytes {
    let mut writer = Writer::open(KEY_VERSION, group.len() + 2);
    writer.text(group);
    writer.finish()
}

/// A group as its last completed generation left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupValue<'a> {
    pub protocol_type: &'a str,
    pub generation: i32,
    pub protocol: Option<&'a str>,
    pub leader: Option<&'a str>,
    /// When the group entered its state; −1 where the record is too old to know.
    pub current_state_timestamp: i64,
    pub members: Vec<MemberValue<'a>>,
}

/// One member with what it asked for and what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue<'a> {
    pub member_id: &'a str,
    pub group_instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: &'a [u8],
    pub assignment: &'a [u8],
}

impl<'a> GroupValue<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (version, mut fields) = Fields::open(bytes, FLEXIBLE_FROM)?;
        if !(0..=4).contains(&version) {
            return Err(Malformed::Version(version));
        }
        let mut group = GroupValue {
            protocol_type: fields.text()?,
            generation: fields.i32()?,
            protocol: fields.text_or_null()?,
            leader: fields.text_or_null()?,
            current_state_timestamp: if version >= 2 { fields.i64()? } else { -1 },
            members: Vec::new(),
        };
        let count = fields.count(MEMBER_LEN_MIN)?.ok_or(Malformed::Length)?;
        group.members.reserve_exact(count);
        for _ in 0..count {
            group.members.push(MemberValue::read(version, &mut fields)?);
        }
        fields.tags()?;
        Ok(group)
    }

    /// Writes version `version`, 0 to 3.
    pub fn write(&self, version: i16) -> Bytes {
        let version = version.clamp(0, VALUE_VERSION);
        let members: usize = self.members.iter().map(MemberValue::size_hint).sum();
        let mut writer = Writer::open(version, members + self.protocol_type.len() + 64);
        writer.text(self.protocol_type).i32(self.generation);
        writer.text_or_null(self.protocol).text_or_null(self.leader);
        if version >= 2 {
            writer.i64(self.current_state_timestamp);
        }
        writer.count(self.members.len());
        for member in &self.members {
            member.write(version, &mut writer);
        }
        writer.finish()
    }
}

impl<'a> MemberValue<'a> {
    fn read(version: i16, fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let member_id = fields.text()?;
        let group_instance_id = if version >= 3 {
            fields.text_or_null()?
        } else {
            None
        };
        let client_id = fields.text()?;
        let client_host = fields.text()?;
        let rebalance_timeout_ms = if version >= 1 {
            Some(fields.i32()?)
        } else {
            None
        };
        let session_timeout_ms = fields.i32()?;
        let member = MemberValue {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            // Kafka: before version 1 one timeout served both purposes.
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: fields.bytes()?,
            assignment: fields.bytes()?,
        };
        fields.tags()?;
        Ok(member)
    }

    fn write(&self, version: i16, writer: &mut Writer) {
        writer.text(self.member_id);
        if version >= 3 {
            writer.text_or_null(self.group_instance_id);
        }
        writer.text(self.client_id).text(self.client_host);
        if version >= 1 {
            writer.i32(self.rebalance_timeout_ms);
        }
        writer
            .i32(self.session_timeout_ms)
            .bytes(self.subscription)
            .bytes(self.assignment);
    }

    fn size_hint(&self) -> usize {
        let instance = self.group_instance_id.map_or(0, str::len);
        let texts = self.member_id.len() + self.client_id.len() + self.client_host.len() + instance;
        texts + self.subscription.len() + self.assignment.len() + 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::offsets::Key;

    fn group() -> GroupValue<'static> {
        GroupValue {
            protocol_type: "consumer",
            generation: 3,
            protocol: Some("range"),
            leader: Some("a-1"),
            current_state_timestamp: 17,
            members: vec![MemberValue {
                member_id: "a-1",
                group_instance_id: Some("a"),
                client_id: "client",
                client_host: "/127.0.0.1",
                rebalance_timeout_ms: 300_000,
                session_timeout_ms: 45_000,
                subscription: b"sub",
                assignment: b"",
            }],
        }
    }

    #[test]
    fn every_version_reads_what_it_can_hold() {
        for version in 0..=3 {
            let mut expected = group();
            if version < 3 {
                expected.members[0].group_instance_id = None;
            }
            if version < 2 {
                expected.current_state_timestamp = -1;
            }
            if version < 1 {
                expected.members[0].rebalance_timeout_ms = 45_000;
            }
            assert_eq!(
                GroupValue::read(&group().write(version)),
                Ok(expected),
                "version {version}"
            );
        }
    }

    #[test]
    fn the_flexible_version_is_read() {
        let mut bytes = vec![0, 4, 9];
        bytes.extend(b"consumer");
        bytes.extend(3_i32.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend((-1_i64).to_be_bytes());
        bytes.extend([1, 0]);
        let read = GroupValue::read(&bytes).unwrap();
        assert_eq!(
            (read.generation, read.protocol, read.members.len()),
            (3, None, 0)
        );
    }

    #[test]
    fn a_member_count_beyond_the_bytes_is_refused() {
        let mut bytes = group().write(3).to_vec();
        let at = bytes.len() - group().members[0].size_hint() - 2;
        assert!(GroupValue::read(&bytes[..at]).is_err());
        let empty = GroupValue {
            members: Vec::new(),
            ..group()
        }
        .write(3);
        bytes.clear();
        bytes.extend_from_slice(&empty[..empty.len() - 4]);
        bytes.extend(i32::MAX.to_be_bytes());
        assert_eq!(GroupValue::read(&bytes), Err(Malformed::Length));
    }

    #[test]
    fn a_groups_key_is_told_from_an_offsets() {
        assert_eq!(Key::read(&write_key("g")), Ok(Key::Group("g")));
    }
}

//! A committed offset in `__consumer_offsets`, and the keys of that topic.

use bytes::Bytes;

use crate::internal::fields::{Fields, Malformed, Writer};
use crate::internal::groups;

/// First value version with compact lengths; 3.9 reads it and never writes it.
const FLEXIBLE_FROM: i16 = 4;
/// The newest value version that 3.9 writes.
pub const VALUE_VERSION: i16 = 3;

/// What a record of `__consumer_offsets` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Offset(OffsetKey<'a>),
    /// The group itself: who its members are.
    Group(&'a str),
    /// From another coordinator than Kafka 3.9's classic one; passed over with a warning.
    Unknown(i16),
}

impl<'a> Key<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (version, mut fields) = Fields::open(bytes, i16::MAX)?;
        match version {
            0 | 1 => Ok(Key::Offset(OffsetKey {
                group: fields.text()?,
                topic: fields.text()?,
                partition: fields.i32()?,
            })),
            groups::KEY_VERSION => Ok(Key::Group(fields.text()?)),
            other => Ok(Key::Unknown(other)),
        }
    }
}

/// Whose offset of which partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetKey<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
}

impl OffsetKey<'_> {
    pub fn write(&self) -> Bytes {
        let mut writer = Writer::open(1, self.group.len() + self.topic.len() + 8);
        writer.text(self.group).text(self.topic).i32(self.partition);
        writer.finish()
    }
}

/// An offset with what was committed beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetValue<'a> {
    pub offset: i64,
    /// −1 where the client did not say.
    pub leader_epoch: i32,
    pub metadata: &'a str,
    pub commit_timestamp: i64,
    /// Only commits of versions 2 to 4 with a retention of their own have it; −1 otherwise.
    pub expire_timestamp: i64,
}

impl<'a> OffsetValue<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (version, mut fields) = Fields::open(bytes, FLEXIBLE_FROM)?;
        if !(0..=4).contains(&version) {
            return Err(Malformed::Version(version));
        }
        let value = OffsetValue {
            offset: fields.i64()?,
            leader_epoch: if version >= 3 { fields.i32()? } else { -1 },
            metadata: fields.text()?,
            commit_timestamp: fields.i64()?,
            expire_timestamp: if version == 1 { fields.i64()? } else { -1 },
        };
        fields.tags()?;
        Ok(value)
    }

    /// Writes version 1, 2 or 3: `newest` at most, but 1 whenever there is a time to expire.
    // Kafka: GroupMetadataManager.offsetCommitValue.
    pub fn write(&self, newest: i16) -> Bytes {
        let version = if self.expire_timestamp != -1 {
            1
        } else {
            newest.clamp(1, VALUE_VERSION)
        };
        let mut writer = Writer::open(version, self.metadata.len() + 32);
        writer.i64(self.offset);
        if version >= 3 {
            writer.i32(self.leader_epoch);
        }
        writer.text(self.metadata).i64(self.commit_timestamp);
        if version == 1 {
            writer.i64(self.expire_timestamp);
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: OffsetValue<'_> = OffsetValue {
        offset: 5,
        leader_epoch: 2,
        metadata: "m",
        commit_timestamp: 1_700_000_000_000,
        expire_timestamp: -1,
    };

    #[test]
    fn every_written_version_reads_back() {
        assert_eq!(OffsetValue::read(&VALUE.write(3)), Ok(VALUE));
        let two = OffsetValue {
            leader_epoch: -1,
            ..VALUE
        };
        assert_eq!(OffsetValue::read(&VALUE.write(2)), Ok(two));
        let expiring = OffsetValue {
            expire_timestamp: 9,
            leader_epoch: -1,
            ..VALUE
        };
        let written = OffsetValue {
            expire_timestamp: 9,
            ..VALUE
        }
        .write(3);
        assert_eq!(written[..2], [0, 1]);
        assert_eq!(OffsetValue::read(&written), Ok(expiring));
    }

    #[test]
    fn the_flexible_version_is_read_with_unknown_tags() {
        let mut bytes = vec![0, 4];
        bytes.extend(5_i64.to_be_bytes());
        bytes.extend(2_i32.to_be_bytes());
        bytes.extend([2, b'm']);
        bytes.extend(1_700_000_000_000_i64.to_be_bytes());
        bytes.extend([1, 0, 2, 7, 7]);
        assert_eq!(OffsetValue::read(&bytes), Ok(VALUE));
        bytes.pop();
        assert_eq!(OffsetValue::read(&bytes), Err(Malformed::Length));
    }

    #[test]
    fn keys_of_other_coordinators_are_unknown_not_malformed() {
        assert_eq!(Key::read(&[0, 3, 0, 1, b'g']), Ok(Key::Unknown(3)));
        assert_eq!(Key::read(&[0, 2, 0, 1, b'g']), Ok(Key::Group("g")));
        assert_eq!(Key::read(&[0, 2, 0, 2, b'g']), Err(Malformed::Length));
        assert_eq!(Key::read(&[0]), Err(Malformed::Short));
    }

    #[test]
    fn every_cut_of_a_record_is_refused() {
        let key = OffsetKey {
            group: "group",
            topic: "topic",
            partition: 7,
        }
        .write();
        for end in 0..key.len() {
            assert!(Key::read(&key[..end]).is_err(), "key cut at {end}");
        }
        let value = VALUE.write(3);
        for end in 0..value.len() {
            assert!(
                OffsetValue::read(&value[..end]).is_err(),
                "value cut at {end}"
            );
        }
    }
}

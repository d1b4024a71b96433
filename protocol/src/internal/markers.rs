//! The markers that end a transaction: the one record of a control batch.

use bytes::Bytes;

use crate::internal::fields::{Fields, Malformed, Writer};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    Abort,
    Commit,
    /// Written by KRaft, or by a version to come; readers pass over it.
    Other(i16),
}

impl ControlKind {
    pub fn read(key: &[u8]) -> Result<Self, Malformed> {
        let (version, mut fields) = Fields::open(key, i16::MAX)?;
        if version < 0 {
            return Err(Malformed::Version(version));
        }
        // Kafka: a newer key version still begins with the kind.
        Ok(match fields.i16()? {
            0 => ControlKind::Abort,
            1 => ControlKind::Commit,
            other => ControlKind::Other(other),
        })
    }

    pub fn write(self) -> Bytes {
        let mut writer = Writer::open(KEY_VERSION, 2);
        writer.i16(match self {
            ControlKind::Abort => 0,
            ControlKind::Commit => 1,
            ControlKind::Other(kind) => kind,
        });
        writer.finish()
    }
}

/// The value of a commit or abort marker: the epoch of the transaction coordinator that wrote it.
pub fn write_value(coordinator_epoch: i32) -> Bytes {
    let mut writer = Writer::open(VALUE_VERSION, 4);
    writer.i32(coordinator_epoch);
    writer.finish()
}

/// The coordinator's epoch out of a marker's value.
pub fn read_value(value: &[u8]) -> Result<i32, Malformed> {
    let (version, mut fields) = Fields::open(value, i16::MAX)?;
    if version < 0 {
        Err(Malformed::Version(version))
    } else {
        fields.i32()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_read_what_they_write() {
        for kind in [
            ControlKind::Abort,
            ControlKind::Commit,
            ControlKind::Other(2),
        ] {
            assert_eq!(ControlKind::read(&kind.write()), Ok(kind));
        }
        assert_eq!(read_value(&write_value(7)), Ok(7));
        assert_eq!(write_value(7), &[0, 0, 0, 0, 0, 7][..]);
        assert_eq!(ControlKind::read(&[0, 0, 0]), Err(Malformed::Short));
    }
}

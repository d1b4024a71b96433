//! A transaction in `__transaction_state`: whose it is, how far it has come, what it touched.

use bytes::Bytes;

use crate::internal::fields::{Fields, Malformed, Writer};

/// First value version with compact lengths; never written with ZooKeeper.
const FLEXIBLE_FROM: i16 = 1;
const KEY_VERSION: i16 = 0;

/// How far a transaction has come, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStatus {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl TxnStatus {
    pub fn code(self) -> i8 {
        match self {
            TxnStatus::Empty => 0,
            TxnStatus::Ongoing => 1,
            TxnStatus::PrepareCommit => 2,
            TxnStatus::PrepareAbort => 3,
            TxnStatus::CompleteCommit => 4,
            TxnStatus::CompleteAbort => 5,
        }
    }

    /// `None` for what Kafka never writes down (6 and 7) and for what it does not know.
    pub fn from_code(code: i8) -> Option<Self> {
        Some(match code {
            0 => TxnStatus::Empty,
            1 => TxnStatus::Ongoing,
            2 => TxnStatus::PrepareCommit,
            3 => TxnStatus::PrepareAbort,
            4 => TxnStatus::CompleteCommit,
            5 => TxnStatus::CompleteAbort,
            _ => return None,
        })
    }
}

/// The transactional id in a record's key; `None` for keys of other versions.
pub fn read_key(bytes: &[u8]) -> Result<Option<&str>, Malformed> {
    let (version, mut fields) = Fields::open(bytes, i16::MAX)?;
    if version == KEY_VERSION {
        fields.text().map(Some)
    } else {
        Ok(None)
    }
}

/// The key of a transactional id's record.
pub fn write_key(transactional_id: &str) -> Bytes {
    let mut writer = Writer::open(KEY_VERSION, transactional_id.len() + 2);
    writer.text(transactional_id);
    writer.finish()
}

/// A transactional id's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnValue<'a> {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub timeout_ms: i32,
    pub status: TxnStatus,
    /// Topics with their partitions; written as null while `status` is Empty.
    pub partitions: Vec<(&'a str, Vec<i32>)>,
    pub last_update_timestamp: i64,
    /// −1 before the first partition is added.
    pub start_timestamp: i64,
}

impl<'a> TxnValue<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (version, mut fields) = Fields::open(bytes, FLEXIBLE_FROM)?;
        if !(0..=1).contains(&version) {
            return Err(Malformed::Version(version));
        }
        let producer_id = fields.i64()?;
        let producer_epoch = fields.i16()?;
        let timeout_ms = fields.i32()?;
        let status = TxnStatus::from_code(fields.i8()?).ok_or(Malformed::Length)?;
        let mut partitions = Vec::new();
        for _ in 0..fields.count(2)?.unwrap_or(0) {
            let topic = fields.text()?;
            let count = fields.count(4)?.ok_or(Malformed::Length)?;
            let numbers = (0..count)
                .map(|_| fields.i32())
                .collect::<Result<Vec<i32>, _>>()?;
            fields.tags()?;
            partitions.push((topic, numbers));
        }
        let value = TxnValue {
            producer_id,
            producer_epoch,
            timeout_ms,
            status,
            partitions,
            last_update_timestamp: fields.i64()?,
            start_timestamp: fields.i64()?,
        };
        fields.tags()?;
        Ok(value)
    }

    /// Writes version 0, the only one Kafka writes with ZooKeeper.
    pub fn write(&self) -> Bytes {
        let mut writer = Writer::open(0, 64);
        writer
            .i64(self.producer_id)
            .i16(self.producer_epoch)
            .i32(self.timeout_ms);
        writer.i8(self.status.code());
        // Kafka: TransactionLog.valueToBytes writes null for Empty, an empty array otherwise.
        if self.status == TxnStatus::Empty {
            writer.i32(-1);
        } else {
            writer.count(self.partitions.len());
            for (topic, numbers) in &self.partitions {
                writer.text(topic).count(numbers.len());
                for number in numbers {
                    writer.i32(*number);
                }
            }
        }
        writer
            .i64(self.last_update_timestamp)
            .i64(self.start_timestamp);
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> TxnValue<'static> {
        TxnValue {
            producer_id: 4,
            producer_epoch: 1,
            timeout_ms: 60_000,
            status: TxnStatus::Ongoing,
            partitions: vec![("t", vec![0, 2]), ("__consumer_offsets", vec![7])],
            last_update_timestamp: 10,
            start_timestamp: 9,
        }
    }

    #[test]
    fn a_transaction_reads_back_and_every_cut_is_refused() {
        let bytes = ongoing().write();
        assert_eq!(TxnValue::read(&bytes), Ok(ongoing()));
        for end in 0..bytes.len() {
            assert!(TxnValue::read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_empty_transaction_has_null_partitions() {
        let empty = TxnValue {
            status: TxnStatus::Empty,
            partitions: Vec::new(),
            ..ongoing()
        };
        let bytes = empty.write();
        assert_eq!(bytes[17..21], [255; 4]);
        assert_eq!(TxnValue::read(&bytes), Ok(empty));
    }

    #[test]
    fn the_flexible_version_is_read() {
        let mut bytes = vec![0, 1];
        bytes.extend(4_i64.to_be_bytes());
        bytes.extend(1_i16.to_be_bytes());
        bytes.extend(60_000_i32.to_be_bytes());
        bytes.extend([1, 2, 2, b't', 2, 0, 0, 0, 5, 0]);
        bytes.extend(10_i64.to_be_bytes());
        bytes.extend(9_i64.to_be_bytes());
        bytes.push(0);
        let read = TxnValue::read(&bytes).unwrap();
        assert_eq!(read.partitions, [("t", vec![5])]);
    }

    #[test]
    fn keys_of_other_versions_are_passed_over() {
        assert_eq!(read_key(&write_key("id")), Ok(Some("id")));
        assert_eq!(read_key(&[0, 1, 0, 0]), Ok(None));
    }
}

//! Record sets as producers of all ages send them, good ones and bad ones, in hexadecimal.
//!
//! Every time in them is fixed: what is fetched back has the same bytes on every run.

use protocol::batch::legacy::write_set;
use protocol::batch::{BatchBuilder, Codec, Record, RecordHeaders};
use protocol::ids::{Offset, ProducerEpoch, ProducerId};

use crate::fields::hex;

/// When every record was made.
pub(crate) const MADE_MS: i64 = 1_700_000_000_000;

/// What is special about a batch.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) records: &'a [(Option<&'a str>, Option<&'a str>)],
    pub(crate) producer: Option<(i64, i16, i32)>,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) codec: Codec,
    pub(crate) base_offset: i64,
    pub(crate) made_ms: i64,
}

pub(crate) const TWO: Batch<'static> = Batch {
    records: &[(Some("k0"), Some("value 0")), (Some("k1"), Some("value 1"))],
    producer: None,
    transactional: false,
    control: false,
    codec: Codec::None,
    base_offset: 0,
    made_ms: MADE_MS,
};

impl Batch<'_> {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(self.codec)
            .base_offset(Offset(self.base_offset))
            .transactional(self.transactional)
            .control(self.control);
        if let Some((id, epoch, sequence)) = self.producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
        }
        for (key, value) in self.records {
            let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
            builder.push(self.made_ms, key, value, &[]).unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    pub(crate) fn hex(self) -> String {
        hex(&self.bytes())
    }

    /// In the format that version of Produce carries.
    pub(crate) fn bytes_for(self, version: i16) -> Vec<u8> {
        if version >= 3 {
            return self.bytes();
        }
        let magic = u8::from(version == 2);
        let records: Vec<Record> = (0..)
            .zip(self.records)
            .map(|(at, (key, value))| record(at, self.made_ms, *key, *value))
            .collect();
        let mut out = Vec::new();
        write_set(&records, magic, self.codec, None, &mut out).unwrap();
        out
    }

    pub(crate) fn for_version(self, version: i16) -> String {
        hex(&self.bytes_for(version))
    }
}

fn record(at: i64, made_ms: i64, key: Option<&str>, value: Option<&str>) -> Record {
    Record {
        offset: Offset(at),
        timestamp_ms: made_ms,
        sequence: -1,
        key: key.map(|text| text.to_owned().into()),
        value: value.map(|text| text.to_owned().into()),
        headers: RecordHeaders::default(),
        size: 0,
        message: None,
    }
}

/// Two records whose checksum is wrong.
pub(crate) fn corrupt(version: i16) -> String {
    let mut bytes = TWO.bytes_for(version);
    let at = if version >= 3 { 17 } else { 12 };
    bytes[at] ^= 1;
    hex(&bytes)
}

/// Two records with one byte of the header changed and the checksum made right again.
pub(crate) fn altered(at: usize, to: &[u8]) -> String {
    let mut bytes = TWO.bytes();
    bytes[at..at + to.len()].copy_from_slice(to);
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    hex(&bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

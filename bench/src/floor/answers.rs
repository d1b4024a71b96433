//! What the floor says: frames of fixed shape, with the asker's number in them.

use anyhow::{Result, bail};
use bench::wire;
use bytes::{BufMut, Bytes};
use protocol::batch::Codec;

/// Whose frames these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Kafka,
    Keeper,
}

/// What a frame asks of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Write,
    Fetch {
        partition: i32,
        offset: i64,
    },
    Echo,
    /// The keeper's first frame, which is answered without a header.
    Hello,
}

const PRODUCE: i16 = 0;
/// A create or a set; everything else of the keeper's is read.
const KEEPER_WRITES: [i32; 2] = [1, 5];

/// Records in each batch of the file that fetches are served from.
pub(crate) const BATCH_RECORDS: i64 = 1000;

fn i16_at(frame: &[u8], at: usize) -> i16 {
    frame
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(-1, i16::from_be_bytes)
}

fn i32_at(frame: &[u8], at: usize) -> i32 {
    frame
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(-1, i32::from_be_bytes)
}

/// Reads a frame (without its length) as far as the floor must.
pub(crate) fn asked(speech: Speech, frame: &[u8], greeted: bool) -> Result<Asked> {
    match speech {
        Speech::Keeper if !greeted => Ok(Asked::Hello),
        Speech::Keeper if KEEPER_WRITES.contains(&i32_at(frame, 4)) => Ok(Asked::Write),
        Speech::Keeper => Ok(Asked::Echo),
        Speech::Kafka if i16_at(frame, 0) == PRODUCE => Ok(Asked::Write),
        Speech::Kafka => {
            // The load's fetch has one partition: index, leader epoch and offset stand before the frame's
            // last four fields (log start, most bytes, forgotten topics, rack).
            let Some(index) = frame.len().checked_sub(4 + 4 + 8 + 8 + 4 + 4 + 2) else {
                bail!("a frame of {} bytes is no fetch", frame.len());
            };
            let at = index + 4 + 4;
            let (high, low) = (i32_at(frame, at), i32_at(frame, at + 4));
            Ok(Asked::Fetch {
                partition: i32_at(frame, index),
                offset: (i64::from(high) << 32) | i64::from(low.cast_unsigned()),
            })
        }
    }
}

/// Appends a whole answer; of a fetch everything before its `records` bytes.
pub(crate) fn put(to: &mut Vec<u8>, speech: Speech, asked: &Asked, frame: &[u8], records: usize) {
    let from = to.len();
    to.put_i32(0);
    match (speech, asked) {
        (_, Asked::Hello) => {
            to.put_i32(0);
            to.put_i32(30_000);
            to.put_i64(1);
            to.put_i32(16);
            to.put_slice(&[0; 16]);
            to.put_u8(0);
        }
        (Speech::Keeper, _) => {
            to.put_i32(i32_at(frame, 0));
            to.put_i64(1);
            to.put_i32(0);
            if *asked == Asked::Echo {
                to.put_i32(100);
                to.put_bytes(b'x', 100);
            }
            to.put_bytes(0, 68);
        }
        (Speech::Kafka, Asked::Fetch { .. }) => {
            to.put_i32(i32_at(frame, 4));
            // Throttle, error, session, one topic with an empty name, one partition.
            to.put_i32(0);
            to.put_i16(0);
            to.put_i32(0);
            to.put_i32(1);
            to.put_i16(0);
            to.put_i32(1);
            // Index, error, three offsets, no aborted ones, no preferred replica.
            to.put_i32(0);
            to.put_i16(0);
            to.put_bytes(0, 24);
            to.put_i32(-1);
            to.put_i32(-1);
            to.put_i32(records as i32);
        }
        (Speech::Kafka, _) => {
            to.put_i32(i32_at(frame, 4));
            // One topic with an empty name, one partition: index, error, offset, time, start.
            to.put_i32(1);
            to.put_i16(0);
            to.put_i32(1);
            to.put_i32(0);
            to.put_i16(0);
            to.put_bytes(0, 24);
            to.put_i32(0);
        }
    }
    let len = (to.len() - from - 4 + records) as i32;
    to[from..from + 4].copy_from_slice(&len.to_be_bytes());
}

/// The batch that fetches are made of, at its place among others.
pub(crate) fn batch() -> Result<Bytes> {
    wire::batch(BATCH_RECORDS as usize, 1024, Codec::None)
}

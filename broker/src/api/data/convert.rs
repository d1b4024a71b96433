//! Records for clients of 0.9 and 0.10, which read older formats only.
//!
//! Kafka rewrites as it sends, 128 KiB at a time; here an answer's records are rewritten at once and
//! lie in memory until their client has taken them. So an answer holds little of them, and the
//! client asks again.

use bytes::Bytes;
use protocol::batch::legacy::{DownConvertError, down_convert};
use protocol::batch::split;
use protocol::ids::Offset;
use protocol::kafka::errors::ErrorCode;
use storage::log::ReadPlan;

use crate::api::errors;

/// How much is rewritten for one answer; one batch is given however long it is.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The most that one batch may unpack to while it is rewritten.
const UNPACKED_BYTES_MAX: u64 = 100 << 20;
/// What a batch's header takes at least; a padding message claims no less.
const BATCH_HEADER_BYTES: usize = 61;
/// A padding message up to where its length ends.
const PADDING_BYTES_MIN: usize = 12;

/// The format that clients of an old version read; `None` for all others.
pub(super) fn target_magic(version: i16) -> Option<u8> {
    match version {
        ..=1 => Some(0),
        2..=3 => Some(1),
        _ => None,
    }
}

/// How much of each plan one answer may hold. Each answer begins at another partition, so that one
/// that is never read to its end keeps nobody else's back.
pub(super) fn bound(plans: &[Option<&ReadPlan>], correlation_id: i32) -> Vec<usize> {
    let first = correlation_id.unsigned_abs() as usize % plans.len().max(1);
    let mut shares = vec![0; plans.len()];
    let mut left = ANSWER_BYTES_MAX;
    let turns = (0..plans.len()).cycle().skip(first).take(plans.len());
    for turn in turns {
        if let (Some(Some(plan)), Some(share)) = (plans.get(turn), shares.get_mut(turn))
            && left > 0
        {
            *share = plan.len().min(left.max(plan.first_bytes));
            left = left.saturating_sub(*share);
        }
    }
    shares
}

/// Rewrites the first `bytes_max` planned bytes for an old client. Kafka: the answer is as long as what was planned; what
/// the conversion saved is filled with one message that claims to go on past the end
/// (`LazyDownConversionRecordsSend`), which clients leave alone as cut off. Where nothing is left of
/// what was planned, the beginning of such a message is all there is.
pub(super) fn convert(
    plan: &ReadPlan,
    bytes_max: usize,
    magic: u8,
    from: Offset,
) -> Result<Bytes, ErrorCode> {
    let mut bytes_max = bytes_max;
    loop {
        let mut piece = plan.clone();
        piece.cut(bytes_max);
        let bytes = piece
            .read()
            .map_err(|failed| errors::replication_code(&failed.into()))?;
        let converted = down_convert(&bytes, magic, from, UNPACKED_BYTES_MAX);
        let converted = converted.map_err(|error| match error {
            DownConvertError::Zstd => ErrorCode::UnsupportedCompressionType,
            DownConvertError::Fault(_) => ErrorCode::CorruptMessage,
        })?;
        // Of markers alone nothing is left, and a client that finds nothing whole ends: it takes that
        // for a message that no fetch will ever hold. So what was planned is gone through, as Kafka
        // does, before that is said.
        if !converted.is_empty() || piece.len() >= plan.len() {
            return Ok(padded(&bytes, converted));
        }
        bytes_max = piece.len().saturating_mul(2).max(ANSWER_BYTES_MAX);
    }
}

fn padded(planned: &Bytes, converted: Bytes) -> Bytes {
    let (len, claim) = if !converted.is_empty() {
        let missing = planned.len().saturating_sub(converted.len());
        if missing == 0 {
            return converted;
        }
        (planned.len(), (missing + 1).max(BATCH_HEADER_BYTES))
    } else if split(planned).next().is_some() {
        (PADDING_BYTES_MIN, BATCH_HEADER_BYTES)
    } else {
        return converted;
    };
    let mut padded = Vec::with_capacity(len);
    padded.extend_from_slice(&converted);
    padded.extend_from_slice(&(-1_i64).to_be_bytes());
    padded.extend_from_slice(&i32::try_from(claim).unwrap_or(i32::MAX).to_be_bytes());
    padded.resize(len, 0);
    padded.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::disk::{Disk, Open, SystemDisk};
    use protocol::batch::{BatchBuilder, Codec, Marker, end_marker, patch_offset_epoch};
    use protocol::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
    use smallvec::SmallVec;
    use storage::log::Range;
    use storage::offsets::Offsets;

    use super::*;

    #[test]
    fn what_is_rewritten_for_one_answer_is_bounded_and_every_partition_has_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let file = SystemDisk
            .open(&dir.path().join("log"), Open::Create)
            .unwrap();
        let planned = |first_bytes| ReadPlan {
            first_offset: Offset(0),
            first_bytes,
            ranges: SmallVec::from_iter([Range {
                file: Arc::clone(&file),
                position: 0,
                len: 3 << 20,
            }]),
            offsets: Offsets::default(),
            aborted: Vec::new(),
        };
        let bounded = |first_bytes: usize, correlation_id| {
            let plans = [(); 3].map(|()| planned(first_bytes));
            bound(&plans.each_ref().map(Some), correlation_id)
        };
        assert_eq!(bounded(100, 0), [ANSWER_BYTES_MAX, 0, 0]);
        assert_eq!(bounded(100, 1), [0, ANSWER_BYTES_MAX, 0]);
        assert_eq!(bounded(100, 5), [0, 0, ANSWER_BYTES_MAX]);
        assert_eq!(bounded(2 << 20, 0), [2 << 20, 0, 0], "one batch is given");
        let short = ReadPlan {
            ranges: SmallVec::new(),
            ..planned(100)
        };
        let other = planned(100);
        let shares = bound(&[Some(&short), None, Some(&other)], 0);
        assert_eq!(shares, [0, 0, ANSWER_BYTES_MAX]);
        assert!(bound(&[], 7).is_empty());
    }

    #[test]
    fn markers_before_records_do_not_hide_them_however_little_is_to_be_rewritten() {
        let marker = end_marker(Marker::Commit, ProducerId(5), ProducerEpoch(0), 0, 0);
        let mut records = BatchBuilder::new(Codec::None);
        records.push(7, Some(b"k"), Some(b"v"), &[]).unwrap();
        let mut records = records.build().unwrap().to_vec();
        patch_offset_epoch(&mut records, Offset(1), LeaderEpoch(0));
        let dir = tempfile::tempdir().unwrap();
        let file = SystemDisk
            .open(&dir.path().join("log"), Open::Create)
            .unwrap();
        file.write_at(&marker, 0).unwrap();
        file.write_at(&records, marker.len() as u64).unwrap();
        let plan = ReadPlan {
            first_offset: Offset(0),
            first_bytes: marker.len(),
            ranges: SmallVec::from_iter([Range {
                file,
                position: 0,
                len: marker.len() + records.len(),
            }]),
            offsets: Offsets::default(),
            aborted: Vec::new(),
        };
        let told = convert(&plan, marker.len(), 1, Offset(0)).unwrap();
        assert_eq!(told.len(), plan.len());
        assert_eq!(told[..8], 1_i64.to_be_bytes(), "the record's offset");
    }

    #[test]
    fn what_conversion_saved_is_filled_and_of_markers_alone_a_beginning_is_left() {
        let marker = end_marker(Marker::Commit, ProducerId(5), ProducerEpoch(0), 0, 0);
        let told = padded(&marker, Bytes::new());
        // As Kafka 3.9 tells a client of version 2 about three markers.
        assert_eq!(told[..], [[0xff; 8].as_slice(), &[0, 0, 0, 61]].concat());
        assert_eq!(padded(&marker.slice(..40), Bytes::new()), Bytes::new());
        let told = padded(&marker, marker.slice(..20));
        assert_eq!(told.len(), marker.len());
        assert_eq!(told[..20], marker[..20]);
        assert_eq!(padded(&marker, marker.clone()), marker);
    }
}

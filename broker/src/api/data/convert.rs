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

/// Leaves of the plans what one answer may hold. Each answer begins at another partition, so that
/// one that is never read to its end keeps nobody else's back.
pub(super) fn bound(plans: &mut [&mut Option<ReadPlan>], correlation_id: i32) {
    let first = correlation_id.unsigned_abs() as usize % plans.len().max(1);
    let (later, sooner) = plans.split_at_mut(first);
    let mut left = ANSWER_BYTES_MAX;
    for plan in sooner.iter_mut().chain(later) {
        match plan {
            Some(plan) if left > 0 => {
                plan.cut(left);
                left = left.saturating_sub(plan.len());
            }
            _ => **plan = None,
        }
    }
}

/// Rewrites planned bytes for an old client. Kafka: the answer is as long as what was planned; what
/// the conversion saved is filled with one message that claims to go on past the end
/// (`LazyDownConversionRecordsSend`), which clients leave alone as cut off. Where nothing is left of
/// what was planned, the beginning of such a message is all there is.
pub(super) fn convert(plan: &ReadPlan, magic: u8, from: Offset) -> Result<Bytes, ErrorCode> {
    let bytes = plan
        .read()
        .map_err(|failed| errors::replication_code(&failed.into()))?;
    let converted = down_convert(&bytes, magic, from, UNPACKED_BYTES_MAX);
    let converted = converted.map_err(|error| match error {
        DownConvertError::Zstd => ErrorCode::UnsupportedCompressionType,
        DownConvertError::Fault(_) => ErrorCode::CorruptMessage,
    })?;
    Ok(padded(&bytes, converted))
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
    use protocol::batch::{Marker, end_marker};
    use protocol::ids::{ProducerEpoch, ProducerId};
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
            let mut plans = [(); 3].map(|()| Some(planned(first_bytes)));
            bound(&mut plans.each_mut(), correlation_id);
            plans.map(|plan| plan.map_or(0, |plan| plan.len()))
        };
        assert_eq!(bounded(100, 0), [ANSWER_BYTES_MAX, 0, 0]);
        assert_eq!(bounded(100, 1), [0, ANSWER_BYTES_MAX, 0]);
        assert_eq!(bounded(100, 5), [0, 0, ANSWER_BYTES_MAX]);
        assert_eq!(bounded(2 << 20, 0), [2 << 20, 0, 0], "one batch is given");
        bound(&mut [], 7);
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

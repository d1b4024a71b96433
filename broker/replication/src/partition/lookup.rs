//! Offsets by time and by epoch, and the deletion of records: what is asked beside appends and reads.

use std::sync::atomic::Ordering;

use protocol::ids::{LeaderEpoch, Offset};
use storage::log::{FoundOffset, Moment};

use crate::error::Refusal;
use crate::partition::{Partition, Reader, Role};
use crate::waiting::Wakes;

impl Partition {
    /// Finds the offset of a moment (ListOffsets). `None`: no record is that young.
    pub fn find_offset(
        &self,
        moment: Moment,
        reader: Reader,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, Refusal> {
        let state = self.state.read();
        self.check_epoch(&state, current_leader_epoch, reader.asks_leader())?;
        let offsets = state.log.offsets();
        let upto = reader.upto();
        let last = upto.bound(&offsets);
        let is_client = matches!(reader, Reader::Consumer { .. });
        // Kafka: after an election the watermark may be older than the leadership. A client must
        // not take it for the end of the log.
        let lags = match &state.role {
            Role::Leader(led) => is_client && led.epoch_start > offsets.watermark,
            Role::Idle | Role::Follower => false,
        };
        match moment {
            Moment::Latest if lags => Err(Refusal::OffsetNotAvailable),
            Moment::Latest => Ok(Some(FoundOffset {
                timestamp_ms: -1,
                offset: last,
                leader_epoch: Some(state.leader_epoch),
            })),
            Moment::Earliest | Moment::EarliestLocal => Ok(state.log.offset_for(moment, upto)?),
            Moment::MaxTimestamp | Moment::LatestTiered | Moment::At(_) => {
                let found = state.log.offset_for(moment, upto)?;
                match found.filter(|found| found.offset < last) {
                    None if lags => Err(Refusal::OffsetNotAvailable),
                    found => Ok(found),
                }
            }
        }
    }

    /// The largest epoch not above `epoch`, and where it ends (OffsetForLeaderEpoch).
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
        leader_only: bool,
    ) -> Result<Option<(LeaderEpoch, Offset)>, Refusal> {
        let state = self.state.read();
        self.check_epoch(&state, current_leader_epoch, leader_only)?;
        Ok(state.log.end_offset_for_epoch(epoch))
    }

    /// Deletes records beneath `before`, or beneath the watermark. Gives the offset that was meant
    /// and the low watermark.
    pub fn delete_records(
        &self,
        before: Option<Offset>,
    ) -> Result<(Offset, Option<Offset>, Wakes), Refusal> {
        let state = self.state.read();
        let led = self.leadership(&state)?;
        if !state.log.config().delete {
            return Err(Refusal::DeletionNotAllowed);
        }
        let offsets = state.log.offsets();
        let before = before.unwrap_or(offsets.watermark);
        if before < Offset::ZERO || before > offsets.watermark {
            return Err(Refusal::OffsetOutOfRange);
        }
        state.log.delete_records_before(before)?;
        let wakes = self.advance_led(&state, led);
        let low = self.low_watermark_led(state.log.offsets().start, led);
        Ok((before, low, wakes))
    }

    /// The least start offset of all living replicas. Asks no log: whoever waits for it waits for no
    /// disk.
    pub fn low_watermark(&self) -> Result<Option<Offset>, Refusal> {
        let state = self.state.read_recursive();
        let led = self.leadership(&state)?;
        let start = Offset(self.marks.start.load(Ordering::Acquire));
        Ok(self.low_watermark_led(start, led))
    }
}

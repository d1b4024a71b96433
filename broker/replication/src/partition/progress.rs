//! The watermark and the ISR: what followers have, what is committed, who should join or leave.

use std::sync::atomic::Ordering;

use protocol::ids::{BrokerId, Offset};
use storage::offsets::Offsets;
use tracing::{debug, info};

use crate::endpoint::Proposal;
use crate::partition::isr::{AfterAnswer, IsrAnswer};
use crate::partition::{Leadership, Partition, Progress, Role, State};
use crate::waiting::{Moved, Wakes};

impl Partition {
    /// Moves the watermark as far as it may go; after a flush or a fetch.
    pub fn advance(&self) -> Wakes {
        let state = self.state.read();
        match self.leadership(&state) {
            Ok(led) => self.advance_led(&state, led),
            Err(_not_leading) => {
                // Who waits for the disk alone hears of it all the same.
                let flushed = state.log.offsets().recovery;
                self.marks.flushed.fetch_max(flushed.0, Ordering::AcqRel);
                let mut wakes = Wakes::none();
                self.queue.all(&mut wakes);
                wakes
            }
        }
    }

    /// As [`Partition::advance`] where nobody is at the log; where somebody is, whoever looks after the
    /// ISRs does it.
    pub(in crate::partition) fn advance_soon(&self) -> Wakes {
        let Some(state) = self.state.try_read() else {
            return Wakes::none();
        };
        match (state.log.try_offsets(), self.leadership(&state)) {
            (Some(offsets), Ok(led)) => self.advance_to(&state, led, offsets),
            _ => Wakes::none(),
        }
    }

    pub(in crate::partition) fn advance_led(&self, state: &State, led: &Leadership) -> Wakes {
        self.advance_to(state, led, state.log.offsets())
    }

    /// As [`Partition::advance_led`], for a log whose offsets are known.
    fn advance_to(&self, state: &State, led: &Leadership, offsets: Offsets) -> Wakes {
        // In the durable mode the leader's own copy counts once it is on the disk.
        let own_end = match state.log.config().is_durable() {
            true => offsets.recovery.min(offsets.end),
            false => offsets.end,
        };
        let allowed = {
            let mut progress = led.progress.lock();
            if progress.isr.committed().len() >= self.min_isr(state) {
                let now_ms = self.shared.clock.monotonic_ms();
                let allowed = progress.followers.watermark(
                    own_end,
                    progress.isr.maximal(),
                    now_ms,
                    self.shared.config.lag_ms_max,
                    |id| self.shared.keeper.is_alive(id),
                );
                progress.watermark = progress.watermark.max(allowed.unwrap_or(Offset::ZERO));
            }
            progress.watermark
        };
        if allowed > offsets.watermark {
            state.log.raise_high_watermark(allowed);
        }
        let watermark = allowed.max(offsets.watermark);
        self.marks.note(&offsets, watermark);
        let mut wakes = Wakes::none();
        if !self.queue.is_empty_after_fence() {
            let low_watermark = self.low_watermark_led(offsets.start, led);
            let moved = Moved {
                end: offsets.end,
                flushed: offsets.recovery,
                watermark,
                low_watermark,
            };
            self.queue.due(&moved, &mut wakes);
        }
        wakes
    }

    /// A follower asked for records from `from`: it has everything before.
    pub(in crate::partition) fn note_follower_fetch(
        &self,
        id: BrokerId,
        from: Offset,
        log_start: Offset,
        leader_end: Offset,
    ) -> Wakes {
        let state = self.state.read();
        let Ok(led) = self.leadership(&state) else {
            return Wakes::none();
        };
        let now_ms = self.shared.clock.monotonic_ms();
        let wanted = {
            let mut progress = led.progress.lock();
            let Progress {
                followers,
                isr,
                watermark,
            } = &mut *progress;
            if !followers.note_fetch(id, from, log_start, leader_end, now_ms) {
                return Wakes::none();
            }
            let keeper = &self.shared.keeper;
            let wanted = isr.choose_expand(followers, id, *watermark, led.epoch_start, |id| {
                keeper.is_alive(id)
            });
            if let Some(wanted) = &wanted {
                isr.note_proposed(wanted.clone());
            }
            wanted
        };
        if let Some(isr) = wanted {
            self.propose(&state, isr, false);
        }
        self.advance_led(&state, led)
    }

    /// Drops from the ISR who has lagged for too long. Called every half of that time. A
    /// partition on a slow disk is passed over, and so is one whose log somebody is at: nothing may
    /// wait for it here, and its followers cannot get ahead either.
    pub fn check_isr(&self) -> Wakes {
        if self.shared.lanes.is_slow(&self.lane()) {
            return Wakes::none();
        }
        let Some(state) = self.state.try_read() else {
            return Wakes::none();
        };
        let Some(offsets) = state.log.try_offsets() else {
            return Wakes::none();
        };
        let Ok(led) = self.leadership(&state) else {
            return Wakes::none();
        };
        let now_ms = self.shared.clock.monotonic_ms();
        let end = Offset(self.marks.end.load(Ordering::Acquire));
        let wanted = {
            let mut progress = led.progress.lock();
            let Progress { followers, isr, .. } = &mut *progress;
            let lag_ms_max = self.shared.config.lag_ms_max;
            let wanted = isr.choose_shrink(followers, end, now_ms, lag_ms_max);
            if let Some(wanted) = &wanted {
                info!(
                    topic = %self.id.topic, partition = self.id.partition,
                    isr = ?isr.committed(), wanted = ?wanted, "ISR should shrink"
                );
                isr.note_proposed(wanted.clone());
            }
            wanted
        };
        if let Some(isr) = wanted {
            self.propose(&state, isr, false);
        }
        self.advance_to(&state, led, offsets)
    }

    /// The controller's answer to a proposal. May wait for an append under way.
    pub fn note_isr_answer(&self, proposal: &Proposal, answer: &IsrAnswer) -> Wakes {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let epoch = state.leader_epoch;
        // A new leadership may have begun since, with a proposal of its own that has its answer still
        // to come: this one is nobody's any more. Kafka: `Partition.submitAlterPartition`.
        let other_topic =
            !proposal.topic_id.is_zero() && state.log.topic_id() != Some(proposal.topic_id);
        if proposal.leader_epoch != epoch || other_topic {
            return Wakes::none();
        }
        let Role::Leader(led) = &mut state.role else {
            return Wakes::none();
        };
        let isr = &mut led.progress.get_mut().isr;
        let before = isr.committed().len();
        let after = isr.note_answer(answer, epoch, &mut state.partition_epoch);
        let traffic = &self.shared.traffic;
        match (after, isr.committed().len()) {
            (AfterAnswer::Changed, now) if now < before => traffic.isr_shrinks.add(1),
            (AfterAnswer::Changed, now) if now > before => traffic.isr_expands.add(1),
            (AfterAnswer::Dropped, _) => traffic.isr_failures.add(1),
            _ => {}
        }
        let again = match after {
            AfterAnswer::Again => isr.proposed().map(<[BrokerId]>::to_vec),
            _ => None,
        };
        debug!(
            topic = %self.id.topic, partition = self.id.partition, ?after,
            isr = ?isr.committed(), "ISR proposal answered"
        );
        drop(guard);
        if let Some(isr) = again {
            self.propose(&self.state.read(), isr, true);
        }
        self.advance()
    }

    pub(in crate::partition) fn propose(&self, state: &State, isr: Vec<BrokerId>, again: bool) {
        self.shared.keeper.propose(Proposal {
            partition: self.id.clone(),
            topic_id: self.topic_id(),
            controller_epoch: state.controller_epoch,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr,
            again,
        });
    }

    pub(in crate::partition) fn low_watermark_led(
        &self,
        start: Offset,
        led: &Leadership,
    ) -> Option<Offset> {
        // Kafka: a copy under way counts too; records are gone once nobody has them
        // (Partition.lowWatermarkIfLeader).
        let start = start.min(Offset(self.marks.future_start.load(Ordering::Acquire)));
        let progress = led.progress.lock();
        progress
            .followers
            .low_watermark(start, |id| self.shared.keeper.is_alive(id))
    }
}

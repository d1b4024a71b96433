//! Answers that would sleep on a disk, or burn a worker's time: made on threads of the directories.

use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::Offset;
use protocol::kafka::errors::ErrorCode;
use replication::cold;
use replication::lanes::{Gathered, Lane, by_lane};
use storage::log::ReadPlan;

use crate::api::answer::Answer;
use crate::api::data::convert;
use crate::api::data::fetch::share::{Share, erroneous};
use crate::api::data::fetch::{Fetching, PATIENCE_MS};

/// How long for records to be rewritten: one who gave up sooner would begin anew each time.
const REWRITING_PATIENCE_MS: i64 = 10_000;

/// A plan that takes a disk's time, or much of a processor's.
struct SlowShare {
    /// Its place among the shares.
    share: usize,
    plan: ReadPlan,
    /// How much of it is rewritten.
    bytes_max: usize,
    from: Offset,
}

/// What became of one.
enum Ready {
    Warm(ReadPlan),
    Rewritten(Bytes),
}

impl SlowShare {
    /// Blocks.
    fn make_ready(self, magic: Option<u8>) -> Result<Ready, ErrorCode> {
        match magic {
            Some(magic) => {
                convert::convert(&self.plan, self.bytes_max, magic, self.from).map(Ready::Rewritten)
            }
            None => {
                cold::warm(&self.plan);
                Ok(Ready::Warm(self.plan))
            }
        }
    }
}

impl Fetching {
    /// Whether the answer cannot be made or sent without sleeping on a disk or burning the
    /// worker's time.
    pub(super) fn sleeps(&mut self, shares: &[Share]) -> bool {
        let mut plans = shares
            .iter()
            .filter_map(|share| share.plan.as_ref())
            .peekable();
        if plans.peek().is_none() {
            return false;
        }
        if convert::target_magic(self.context.version).is_some() {
            return true;
        }
        let now_ms = self.services.replicas.shared().clock.monotonic_ms();
        let is_cold = plans.any(cold::is_cold);
        self.probed_ms = (!is_cold).then_some(now_ms);
        is_cold
    }

    /// Warms or rewrites on threads of the directories, then answers. Who takes too long gives
    /// nothing this time: what was begun goes on, and the client asks again.
    pub(super) async fn tell_slowly(&mut self, mut shares: Vec<Share>, max_wait_ms: i64) -> Answer {
        let magic = convert::target_magic(self.context.version);
        let patience_ms = match magic {
            Some(_) => REWRITING_PATIENCE_MS,
            None => max_wait_ms.max(PATIENCE_MS),
        };
        let stay = self.services.replicas.shared().deadlines.park(patience_ms);
        let by_lane = self.take_slow(&mut shares, magic);
        let mut missing: usize = by_lane.iter().map(|(_, slow)| slow.len()).sum();
        let mut asked = Gathered::new(by_lane.len());
        for (lane, slow) in by_lane {
            let job = move || {
                let done = slow
                    .into_iter()
                    .map(|one| (one.share, one.make_ready(magic)));
                done.collect::<Vec<_>>()
            };
            asked.ask(&lane, [job]);
        }
        while let Some(done) = asked.next(&stay).await {
            missing -= done.len();
            for (number, ready) in done {
                let Some(share) = shares.get_mut(number) else {
                    continue;
                };
                match ready {
                    Ok(Ready::Warm(plan)) => share.plan = Some(plan),
                    Ok(Ready::Rewritten(bytes)) => share.records = Some(bytes),
                    Err(code) => *share = erroneous(share.ask, share.answer.index, code),
                }
            }
        }
        // Whoever is told at once that there is nothing asks again at once.
        let has_news = |share: &Share| share.bytes() > 0 || share.answer.error_code != 0;
        if missing > 0 && !shares.iter().any(has_news) {
            while !stay.parked().is_expired() {
                stay.parked().wait().await;
            }
        }
        self.tell(shares)
    }

    /// The plans that cannot be sent as they are, by the threads that see to them.
    fn take_slow(
        &self,
        shares: &mut [Share],
        magic: Option<u8>,
    ) -> Vec<(Arc<Lane>, Vec<SlowShare>)> {
        let plans: Vec<_> = shares.iter().map(|share| share.plan.as_ref()).collect();
        let rewritten = convert::bound(&plans, self.context.correlation_id);
        let mut taken: Vec<(Arc<Lane>, SlowShare)> = Vec::new();
        for (number, (share, bytes_max)) in shares.iter_mut().zip(rewritten).enumerate() {
            let is_slow = |plan: &mut ReadPlan| magic.is_some() || cold::is_cold(plan);
            let (Some(plan), Some(asked), Some(one)) = (
                share.plan.take_if(is_slow),
                self.session.asks.get(share.ask),
                self.wanted_of(share.ask),
            ) else {
                continue;
            };
            if magic.is_some() && bytes_max == 0 {
                continue;
            }
            let slow = SlowShare {
                share: number,
                plan,
                bytes_max,
                from: asked.fetch_offset,
            };
            taken.push((one.partition.lane(), slow));
        }
        by_lane(taken)
    }
}

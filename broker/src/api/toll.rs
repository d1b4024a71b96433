//! What a request pays by the client quotas, and the delay its client is told.
//!
//! Every answer carries the longest of the delays its request earned; the connection is muted for
//! as long. Time is counted in percent of a thread: only while the request is worked on, not while
//! it is parked. Kafka: `RequestHandlerHelper`, `ClientRequestQuotaManager`.
//!
//! Hot path: without any limit set, one atomic load a request, no look at the clock, nothing kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use base::clock::Clock;
use protocol::kafka::apis::Api;
use protocol::messages::ResponseKind;

use crate::api::request::Context;
use crate::quota::{Exceeded, Kind, Quotas};

/// Microseconds of a thread's time to percent-seconds: a whole second is 100.
const PERCENT_SECONDS_A_US: f64 = 100.0 / 1e6;

/// What a request pays; nothing is measured while no limit is set.
#[derive(Debug)]
pub(crate) struct Toll(Option<Box<Bill>>);

/// Who pays, and what was spent so far.
#[derive(Debug)]
struct Bill {
    quotas: Arc<Quotas>,
    clock: Clock,
    payer: Context,
    began_us: i64,
    spent_us: i64,
}

impl Toll {
    /// Begins to count the time of a request.
    pub(crate) fn begin(quotas: &Arc<Quotas>, clock: &Clock, context: &Context) -> Toll {
        if !quotas.is_limiting() {
            return Toll(None);
        }
        Toll(Some(Box::new(Bill {
            quotas: Arc::clone(quotas),
            clock: clock.clone(),
            payer: context.clone(),
            began_us: clock.monotonic_us(),
            spent_us: 0,
        })))
    }

    /// The request is parked: time goes on, its own does not.
    pub(crate) fn pause(&mut self) {
        if let Some(bill) = &mut self.0 {
            bill.spent_us += bill.clock.monotonic_us() - bill.began_us;
        }
    }

    /// The request is worked on again.
    pub(crate) fn resume(&mut self) {
        if let Some(bill) = &mut self.0 {
            bill.began_us = bill.clock.monotonic_us();
        }
    }

    /// Charges bytes; the delay in milliseconds.
    pub(crate) fn bytes(&self, kind: Kind, bytes: usize) -> i64 {
        let bill = self.0.as_ref();
        bill.map_or(0, |bill| bill.charge(kind, bytes as f64))
    }

    /// Gives bytes back that were charged and not used.
    pub(crate) fn give_back(&self, kind: Kind, bytes: usize) {
        if let Some(bill) = &self.0 {
            let now_ms = bill.clock.monotonic_ms();
            let (principal, client) = (&bill.payer.principal, &bill.payer.client_id);
            bill.quotas
                .unrecord(kind, principal, client, bytes as f64, now_ms);
        }
    }

    /// Charges the time since the request was begun or resumed, and before; the delay.
    pub(crate) fn time(&mut self) -> i64 {
        self.pause();
        let bill = self.0.as_ref();
        bill.map_or(0, |bill| bill.charge_time(bill.spent_us))
    }

    /// How many bytes a fetch may give without being throttled for certain.
    pub(crate) fn fetch_bytes_max(&self) -> Option<usize> {
        let bill = self.0.as_ref()?;
        bill.quotas
            .fetch_bytes_max(&bill.payer.principal, &bill.payer.client_id)
    }
}

impl Bill {
    fn charge_time(&self, spent_us: i64) -> i64 {
        self.charge(Kind::RequestTime, spent_us as f64 * PERCENT_SECONDS_A_US)
    }

    fn charge(&self, kind: Kind, amount: f64) -> i64 {
        let now_ms = self.clock.monotonic_ms();
        let (principal, client) = (&self.payer.principal, &self.payer.client_id);
        self.quotas.record(kind, principal, client, amount, now_ms)
    }
}

/// A future whose time of work is counted, poll by poll.
pub(crate) struct Counted<F> {
    inner: F,
    /// `None` where nobody pays.
    clock: Option<Clock>,
    spent_us: i64,
}

impl<F: Future + Unpin> Counted<F> {
    pub(crate) fn new(inner: F, toll: &Toll) -> Self {
        Counted {
            inner,
            clock: toll.0.as_ref().map(|bill| bill.clock.clone()),
            spent_us: 0,
        }
    }

    fn now_us(&self) -> i64 {
        self.clock.as_ref().map_or(0, Clock::monotonic_us)
    }
}

impl<F: Future + Unpin> Future for Counted<F> {
    /// What it gave, and the microseconds it took.
    type Output = (F::Output, i64);

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let began_us = self.now_us();
        let polled = Pin::new(&mut self.inner).poll(context);
        self.spent_us += self.now_us() - began_us;
        polled.map(|given| (given, self.spent_us))
    }
}

/// Charges the time of an answered request and writes the delay into its answer. Told is the delay.
pub(crate) fn collect(toll: &Toll, api: Api, spent_us: i64, response: &mut ResponseKind) -> i64 {
    let Some(bill) = toll.0.as_ref().filter(|_| !is_exempt(api)) else {
        return 0;
    };
    let delay = bill.charge_time(spent_us);
    let Some(field) = throttle_time(response) else {
        return delay;
    };
    // What a door has told already is about mutations.
    let delay = delay.max(i64::from(*field));
    *field = i32::try_from(delay).unwrap_or(i32::MAX);
    delay
}

/// What brokers ask of each other is never throttled.
/// Kafka: `sendResponseExemptThrottle`.
fn is_exempt(api: Api) -> bool {
    matches!(
        api,
        Api::LeaderAndIsr
            | Api::StopReplica
            | Api::UpdateMetadata
            | Api::ControlledShutdown
            | Api::AlterPartition
            | Api::WriteTxnMarkers
    )
}

/// Changes to the cluster's topics that one request asks for.
#[derive(Debug)]
pub(crate) struct Mutations<'a> {
    quotas: &'a Quotas,
    context: &'a Context,
    now_ms: i64,
    /// The client knows the error, so it is refused rather than delayed.
    strict: bool,
    delay_ms: i64,
}

impl<'a> Mutations<'a> {
    pub(crate) fn new(
        quotas: &'a Quotas,
        clock: &Clock,
        context: &'a Context,
        strict_since: i16,
    ) -> Self {
        Mutations {
            quotas,
            context,
            now_ms: clock.monotonic_ms(),
            strict: context.version >= strict_since,
            delay_ms: 0,
        }
    }

    pub(crate) fn are_limited(&self) -> bool {
        self.quotas
            .limits_mutations(&self.context.principal, &self.context.client_id)
    }

    /// Asks leave for so many partitions.
    pub(crate) fn record(&mut self, partitions: usize) -> Result<(), Exceeded> {
        let recorded = self.quotas.record_mutations(
            &self.context.principal,
            &self.context.client_id,
            u32::try_from(partitions).unwrap_or(u32::MAX),
            self.strict,
            self.now_ms,
        );
        let delay_ms = match &recorded {
            Ok(delay_ms) => *delay_ms,
            Err(exceeded) => exceeded.delay_ms,
        };
        self.delay_ms = self.delay_ms.max(delay_ms);
        recorded.map(|_| ())
    }

    /// What the answer tells.
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        i32::try_from(self.delay_ms).unwrap_or(i32::MAX)
    }
}

/// Where an answer tells its delay, if it can.
fn throttle_time(response: &mut ResponseKind) -> Option<&mut i32> {
    macro_rules! fields {
        ($($kind:ident)*) => {
            match response {
                $(ResponseKind::$kind(answer) => Some(&mut answer.throttle_time_ms),)*
                _ => None,
            }
        };
    }
    fields! {
        AddOffsetsToTxn AddPartitionsToTxn AllocateProducerIds AlterClientQuotas AlterConfigs
        AlterPartitionReassignments AlterReplicaLogDirs AlterUserScramCredentials ApiVersions
        ConsumerGroupDescribe ConsumerGroupHeartbeat CreateAcls CreateDelegationToken
        CreatePartitions CreateTopics DeleteAcls DeleteGroups DeleteRecords DeleteTopics
        DescribeAcls DescribeClientQuotas DescribeCluster DescribeConfigs DescribeDelegationToken
        DescribeGroups DescribeLogDirs DescribeProducers DescribeTransactions
        DescribeUserScramCredentials ElectLeaders EndTxn ExpireDelegationToken FindCoordinator
        Heartbeat IncrementalAlterConfigs InitProducerId JoinGroup LeaveGroup ListGroups
        ListOffsets ListPartitionReassignments ListTransactions Metadata OffsetCommit OffsetDelete
        OffsetFetch OffsetForLeaderEpoch RenewDelegationToken SyncGroup TxnOffsetCommit
        UpdateFeatures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::messages::{HeartbeatResponse, ListOffsetsResponse};

    use crate::config::parts;
    use crate::quota::entities::Entity;

    fn limited(kind: Kind, limit: f64) -> Arc<Quotas> {
        let window = parts::Window {
            samples: 11,
            sample_ms: 1000,
        };
        let quotas = Quotas::new(parts::Quotas {
            clients: window,
            mutations: window,
            replication: window,
            moves: window,
        });
        quotas.set(&Entity::user("ANONYMOUS"), &[(kind, limit)]);
        Arc::new(quotas)
    }

    #[test]
    fn a_request_that_took_long_is_told_to_wait_and_a_broker_is_not() {
        let quotas = limited(Kind::RequestTime, 1.0);
        let clock = Clock::by_hand(0);
        let toll = Toll::begin(&quotas, &clock, &Context::of_this_broker(4));
        let mut answer = ResponseKind::Heartbeat(HeartbeatResponse::default());
        // A fifth of a second is 20 percent-seconds over 10 s: twice the limit.
        let delay = collect(&toll, Api::Heartbeat, 200_000, &mut answer);
        assert_eq!(delay, 1000, "one window at most");
        let ResponseKind::Heartbeat(answer) = answer else {
            panic!("another answer")
        };
        assert_eq!(answer.throttle_time_ms, 1000);
        let mut answer = ResponseKind::ListOffsets(ListOffsetsResponse::default());
        assert_eq!(collect(&toll, Api::AlterPartition, 1, &mut answer), 0);
    }

    #[test]
    fn parked_time_costs_nothing() {
        let quotas = limited(Kind::RequestTime, 1.0);
        let clock = Clock::by_hand(0);
        let mut toll = Toll::begin(&quotas, &clock, &Context::of_this_broker(4));
        toll.pause();
        clock.advance(5000);
        toll.resume();
        assert_eq!(toll.time(), 0);
    }

    #[test]
    fn old_clients_are_delayed_where_new_ones_are_refused() {
        let quotas = limited(Kind::Mutations, 1.0);
        let clock = Clock::by_hand(0);
        let (old, new) = (Context::of_this_broker(5), Context::of_this_broker(6));
        let mut mutations = Mutations::new(&quotas, &clock, &old, 6);
        assert_eq!(mutations.record(12), Ok(()));
        assert_eq!(mutations.throttle_time_ms(), 1000);
        let mut mutations = Mutations::new(&quotas, &clock, &new, 6);
        assert_eq!(mutations.record(1), Err(Exceeded { delay_ms: 1000 }));
        assert_eq!(mutations.throttle_time_ms(), 1000);
    }
}

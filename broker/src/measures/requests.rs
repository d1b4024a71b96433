//! Requests by API: how many, how long they took, how large they were, with which codes they ended.
//!
//! A request's *local* time is what its worker spent on it at once; *remote* time is what it then
//! waited for others: acks, records, disks, ZooKeeper. Kafka's further times have no counterpart:
//! no request waits in a queue for a handler, and answers leave from the worker that made them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use base::metrics::Timings;
use protocol::kafka::apis::{Api, COUNT};
use protocol::kafka::errors::ErrorCode;

/// No API has more versions.
const VERSIONS_MAX: usize = 24;
/// Two rows that Kafka has beside `Fetch`: who fetched.
const FETCH_BY_CONSUMER: usize = COUNT;
const FETCH_BY_FOLLOWER: usize = COUNT + 1;

/// One API's numbers. Times are in microseconds.
#[derive(Debug)]
pub struct ApiMeasures {
    pub total: Timings,
    pub local: Timings,
    pub remote: Timings,
    pub throttle: Timings,
    pub bytes: Timings,
    versions: [AtomicU64; VERSIONS_MAX],
    codes: Box<[AtomicU64]>,
}

impl Default for ApiMeasures {
    fn default() -> Self {
        ApiMeasures {
            total: Timings::default(),
            local: Timings::default(),
            remote: Timings::default(),
            throttle: Timings::default(),
            bytes: Timings::default(),
            versions: Default::default(),
            codes: ErrorCode::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl ApiMeasures {
    /// Versions that were asked for, with how often.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(|n| n.load(Ordering::Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0)
    }

    /// Codes that were answered, with how often; success is one of them.
    pub fn codes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.codes.iter().map(|n| n.load(Ordering::Relaxed));
        let named = ErrorCode::ALL.iter().map(|code| code.name()).zip(counts);
        named.filter(|(_, count)| *count > 0)
    }

    /// An answer, or one partition's share of it, ended with this code.
    pub fn note_code(&self, code: i16) {
        let at = usize::try_from(i32::from(code) + 1).unwrap_or(0);
        if let Some(count) = self.codes.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, done: &Done) {
        self.total.note(done.total_us);
        self.local.note(done.local_us);
        self.remote.note(done.total_us - done.local_us);
        self.throttle.note(done.throttle_us);
        self.bytes.note(done.bytes);
        if let Some(count) = self.versions.get(done.version) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Done {
    total_us: i64,
    local_us: i64,
    throttle_us: i64,
    bytes: i64,
    version: usize,
}

/// What requests may be parked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    Produce,
    Fetch,
    DeleteRecords,
}

/// All requests of this broker.
#[derive(Debug)]
pub struct Requests {
    clock: Clock,
    /// Made with an API's first request: most are never asked for.
    apis: [OnceLock<Box<ApiMeasures>>; COUNT + 2],
    parked: [AtomicI64; 3],
}

/// A request that is being timed.
#[derive(Debug)]
pub struct Timing {
    requests: Arc<Requests>,
    api: Api,
    version: i16,
    bytes: usize,
    began_us: i64,
    local_us: i64,
    follower: bool,
}

/// A request that is parked; counted until dropped.
#[derive(Debug)]
pub struct Parked<'a>(&'a AtomicI64);

impl Requests {
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Requests {
            clock,
            apis: std::array::from_fn(|_| OnceLock::new()),
            parked: Default::default(),
        })
    }

    /// Starts the clock of one request.
    pub fn begin(self: &Arc<Self>, api: Api, version: i16, bytes: usize) -> Timing {
        Timing {
            requests: Arc::clone(self),
            api,
            version,
            bytes,
            began_us: self.clock.monotonic_us(),
            local_us: 0,
            follower: false,
        }
    }

    pub fn api(&self, api: Api) -> &ApiMeasures {
        self.row(api.index())
    }

    fn row(&self, at: usize) -> &ApiMeasures {
        self.apis[at].get_or_init(Box::default)
    }

    /// Every API that was asked for, by the name Kafka's measurements have.
    pub fn asked(&self) -> impl Iterator<Item = (&'static str, &ApiMeasures)> {
        self.apis.iter().enumerate().filter_map(|(at, measures)| {
            let name = match at {
                FETCH_BY_CONSUMER => "FetchConsumer",
                FETCH_BY_FOLLOWER => "FetchFollower",
                _ => protocol::kafka::apis::ROWS.get(at)?.name,
            };
            Some((name, &**measures.get()?))
        })
    }

    /// Counts a request as parked until the guard goes.
    pub fn park(&self, why: Waits) -> Parked<'_> {
        let count = &self.parked[why as usize];
        count.fetch_add(1, Ordering::Relaxed);
        Parked(count)
    }

    /// How many requests are parked, by Kafka's names.
    pub fn parked(&self) -> [(&'static str, i64); 3] {
        [
            ("Produce", Waits::Produce),
            ("Fetch", Waits::Fetch),
            ("DeleteRecords", Waits::DeleteRecords),
        ]
        .map(|(name, why)| (name, self.parked[why as usize].load(Ordering::Relaxed)))
    }
}

impl Timing {
    /// The worker is through with it for now.
    pub fn ran(&mut self) {
        self.local_us = self.requests.clock.monotonic_us() - self.began_us;
    }

    /// It came from another broker, not from a client.
    pub fn of_follower(&mut self) {
        self.follower = true;
    }

    /// Its answer is ready. `at_once` where nothing was waited for after [`Timing::ran`].
    pub fn answered(self, at_once: bool, throttle_ms: i64) {
        let total_us = if at_once {
            self.local_us
        } else {
            self.requests.clock.monotonic_us() - self.began_us
        };
        let done = Done {
            total_us,
            local_us: self.local_us,
            throttle_us: throttle_ms.saturating_mul(1000),
            bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            version: usize::try_from(self.version).unwrap_or(VERSIONS_MAX),
        };
        self.requests.api(self.api).note(&done);
        if self.api == Api::Fetch {
            let row = if self.follower {
                FETCH_BY_FOLLOWER
            } else {
                FETCH_BY_CONSUMER
            };
            self.requests.row(row).note(&done);
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_waits_has_remote_time_and_one_that_does_not_has_none() {
        let clock = Clock::by_hand(0);
        let requests = Requests::new(clock.clone());
        let mut timing = requests.begin(Api::Fetch, 12, 100);
        clock.advance(2);
        timing.ran();
        clock.advance(500);
        timing.answered(false, 0);
        let mut timing = requests.begin(Api::Fetch, 12, 100);
        timing.of_follower();
        timing.ran();
        timing.answered(true, 0);
        requests.api(Api::Fetch).note_code(-1);
        let asked: Vec<_> = requests.asked().map(|(name, _)| name).collect();
        assert_eq!(asked, ["Fetch", "FetchConsumer", "FetchFollower"]);
        let fetch = requests.api(Api::Fetch);
        assert_eq!(fetch.versions().collect::<Vec<_>>(), [(12, 2)]);
        assert_eq!(fetch.codes().next(), Some(("UNKNOWN_SERVER_ERROR", 1)));
        let slowest = fetch.remote.summary(0).quantiles[5];
        assert!((500_000.0..625_000.0).contains(&slowest), "{slowest}");
    }

    #[test]
    fn a_parked_request_is_counted_while_it_is() {
        let requests = Requests::new(Clock::by_hand(0));
        let parked = requests.park(Waits::Fetch);
        assert_eq!(requests.parked()[1], ("Fetch", 1));
        drop(parked);
        assert_eq!(requests.parked()[1], ("Fetch", 0));
    }
}

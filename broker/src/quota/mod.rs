//! How much a client may use; answers a delay.
//!
//! Kafka: `ClientQuotaManager`, `ClientRequestQuotaManager`, `ControllerMutationQuotaManager`. What
//! a request used is recorded first; the answer says for how many milliseconds the connection is
//! then muted, and the client told. Without any limit set nothing is measured at all.
//!
//! Absent: sockets. Whoever answers a client applies the delay.

pub mod entities;
pub mod rate;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config::parts;
use crate::quota::entities::{Entity, Limits, Payer};
use crate::quota::rate::{Bucket, Rate};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    ProducedBytes,
    FetchedBytes,
    /// Percent of one thread's time.
    RequestTime,
    /// Partitions created and deleted.
    Mutations,
    /// Connections accepted from an address.
    Connections,
}

impl Kind {
    /// The kind that a key of an entity's overrides limits.
    pub fn of(key: &str) -> Option<Kind> {
        Some(match key {
            "producer_byte_rate" => Kind::ProducedBytes,
            "consumer_byte_rate" => Kind::FetchedBytes,
            "request_percentage" => Kind::RequestTime,
            "controller_mutation_rate" => Kind::Mutations,
            "connection_creation_rate" => Kind::Connections,
            _ => return None,
        })
    }
}

/// Fewer payers are never looked through for idle ones.
const PAYERS_BEFORE_CLEARING: usize = 4096;

/// What was measured of each payer.
#[derive(Debug)]
struct Measured<K, V> {
    payers: HashMap<K, V>,
    clear_at: usize,
}

impl<K, V> Default for Measured<K, V> {
    fn default() -> Self {
        Measured {
            payers: HashMap::new(),
            clear_at: PAYERS_BEFORE_CLEARING,
        }
    }
}

impl<K: Eq + Hash, V> Measured<K, V> {
    /// Forgets the idle ones where there are twice as many as were left last time: who comes pays for
    /// the look at two others, however many there are.
    fn of(&mut self, payer: K, is_idle: impl Fn(&V) -> bool, fresh: impl FnOnce() -> V) -> &mut V {
        if self.payers.len() > self.clear_at {
            self.payers.retain(|_, measured| !is_idle(measured));
            self.clear_at = (self.payers.len() * 2).max(PAYERS_BEFORE_CLEARING);
        }
        self.payers.entry(payer).or_insert_with(fresh)
    }
}

/// All limits and all that is measured against them.
#[derive(Debug)]
pub struct Quotas {
    limits: ArcSwap<Limits>,
    windows: parts::Quotas,
    rates: Mutex<Measured<(Kind, Payer), Rate>>,
    buckets: Mutex<Measured<Payer, Bucket>>,
}

/// A mutation that comes while earlier ones are not paid off yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The throttling quota has been exceeded.")]
pub struct Exceeded {
    pub delay_ms: i64,
}

impl Quotas {
    pub fn new(windows: parts::Quotas) -> Quotas {
        Quotas {
            limits: ArcSwap::from_pointee(Limits::default()),
            windows,
            rates: Mutex::default(),
            buckets: Mutex::default(),
        }
    }

    /// Sets every limit of an entity, dropping those it had.
    pub fn set(&self, entity: &Entity, limits: &[(Kind, f64)]) {
        self.limits.rcu(|held| {
            let mut next = Limits::clone(held);
            next.set(entity, limits);
            next
        });
    }

    /// Everybody a limit is set for.
    pub fn named(&self) -> BTreeSet<Entity> {
        self.limits.load().named().cloned().collect()
    }

    /// Records bytes or time and says how long the client has to wait.
    ///
    /// `principal` is `Type:name`; the time of a request is in percent-seconds: a request that
    /// took one whole second of a thread used 100. Hot path: without limits, one atomic load.
    pub fn record(
        &self,
        kind: Kind,
        principal: &str,
        client: &str,
        amount: f64,
        now_ms: i64,
    ) -> i64 {
        let limits = self.limits.load();
        let Some((payer, limit)) = limits.find(kind, user(principal), client) else {
            return 0;
        };
        self.charge(kind, payer, limit, amount, now_ms)
    }

    /// Takes back what was recorded: a throttled fetch gives nothing, so nothing was used.
    ///
    /// Kafka: `ClientQuotaManager.unrecordQuotaSensor`.
    pub fn unrecord(&self, kind: Kind, principal: &str, client: &str, amount: f64, now_ms: i64) {
        let limits = self.limits.load();
        if let Some((payer, limit)) = limits.find(kind, user(principal), client) {
            self.charge(kind, payer, limit, -amount, now_ms);
        }
    }

    /// Whether any limit is set at all; without one nothing needs to be measured.
    pub fn is_limiting(&self) -> bool {
        !self.limits.load().is_empty()
    }

    /// Whether this client's mutations are limited.
    pub fn limits_mutations(&self, principal: &str, client: &str) -> bool {
        let limits = self.limits.load();
        limits
            .find(Kind::Mutations, user(principal), client)
            .is_some()
    }

    /// Records one connection from an address. With a delay the connection is not served, and
    /// does not count.
    ///
    /// Kafka: `ConnectionQuotas.recordIpConnectionMaybeThrottle`.
    pub fn record_connection(&self, address: &str, now_ms: i64) -> i64 {
        let limits = self.limits.load();
        let Some((payer, limit)) = limits.find_address(address) else {
            return 0;
        };
        let delay = self.charge(Kind::Connections, payer.clone(), limit, 1.0, now_ms);
        if delay > 0 {
            self.charge(Kind::Connections, payer, limit, -1.0, now_ms);
        }
        delay
    }

    fn charge(&self, kind: Kind, payer: Payer, limit: f64, amount: f64, now_ms: i64) -> i64 {
        let window = self.windows.clients;
        let mut rates = self.rates.lock();
        let is_idle = |rate: &Rate| rate.is_idle(window, now_ms);
        let rate = rates.of((kind, payer), is_idle, || Rate::new(now_ms));
        rate.add(amount, window, now_ms);
        let delay = rate.delay_ms(limit, window, now_ms);
        // Kafka: these two are throttled by one window at most.
        if matches!(kind, Kind::RequestTime | Kind::Connections) {
            delay.min(window.sample_ms)
        } else {
            delay
        }
    }

    /// How many bytes a fetch may still return within the window; `None` without a limit.
    ///
    /// Kafka: `ClientQuotaManager.getMaxValueInQuotaWindow`.
    pub fn fetch_bytes_max(&self, principal: &str, client: &str) -> Option<usize> {
        let limits = self.limits.load();
        let (_, limit) = limits.find(Kind::FetchedBytes, user(principal), client)?;
        let window = self.windows.clients;
        let seconds = window.samples.saturating_sub(1) as f64 * window.sample_ms as f64 / 1000.0;
        Some((limit * seconds) as usize)
    }

    /// Records mutations. `strict` callers (who understand the error) are refused while earlier
    /// ones are not paid off; the others are only delayed.
    pub fn record_mutations(
        &self,
        principal: &str,
        client: &str,
        partitions: u32,
        strict: bool,
        now_ms: i64,
    ) -> Result<i64, Exceeded> {
        let limits = self.limits.load();
        let Some((payer, limit)) = limits.find(Kind::Mutations, user(principal), client) else {
            return Ok(0);
        };
        let window = self.windows.mutations;
        let mut buckets = self.buckets.lock();
        let is_idle = |bucket: &Bucket| bucket.is_idle(window, now_ms);
        let bucket = buckets.of(payer, is_idle, || Bucket::full(limit, window, now_ms));
        bucket.refill(limit, window, now_ms);
        if strict && bucket.is_overdrawn() {
            return Err(Exceeded {
                delay_ms: bucket.delay_ms(limit),
            });
        }
        bucket.take(f64::from(partitions));
        // Kafka: who was let in strictly pays at the next request.
        Ok(if strict { 0 } else { bucket.delay_ms(limit) })
    }
}

/// The name in `User:name`.
fn user(principal: &str) -> &str {
    principal
        .split_once(':')
        .map_or(principal, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::entities::Name;

    fn quotas() -> Quotas {
        let window = parts::Window {
            samples: 11,
            sample_ms: 1000,
        };
        Quotas::new(parts::Quotas {
            clients: window,
            mutations: window,
            replication: window,
            moves: window,
        })
    }

    #[test]
    fn without_a_limit_nobody_waits_and_nothing_is_kept() {
        let quotas = quotas();
        assert_eq!(
            quotas.record(Kind::ProducedBytes, "User:a", "c", 1e12, 0),
            0
        );
        assert!(quotas.rates.lock().payers.is_empty());
    }

    #[test]
    fn who_overdraws_waits_until_the_average_is_back_at_the_limit() {
        let quotas = quotas();
        quotas.set(&Entity::client("c"), &[(Kind::ProducedBytes, 1000.0)]);
        // 20 kB at once over a window of 10 s is 2 kB a second: twice the limit.
        assert_eq!(
            quotas.record(Kind::ProducedBytes, "User:a", "c", 20_000.0, 5),
            10_000
        );
        assert_eq!(
            quotas.record(Kind::ProducedBytes, "User:a", "d", 20_000.0, 5),
            0
        );
        assert_eq!(
            quotas.record(Kind::ProducedBytes, "User:a", "c", 0.0, 60_000),
            0
        );
        assert_eq!(quotas.fetch_bytes_max("User:a", "c"), None);
    }

    #[test]
    fn a_throttled_fetch_gives_back_what_it_did_not_use() {
        let quotas = quotas();
        quotas.set(&Entity::client("c"), &[(Kind::FetchedBytes, 1000.0)]);
        let record = |amount| quotas.record(Kind::FetchedBytes, "User:a", "c", amount, 5);
        assert!(record(20_000.0) > 0);
        quotas.unrecord(Kind::FetchedBytes, "User:a", "c", 20_000.0, 5);
        assert_eq!(record(9_000.0), 0);
    }

    #[test]
    fn a_connection_that_comes_too_early_waits_a_window_and_does_not_count() {
        let quotas = quotas();
        let entity = Entity {
            address: Some(Name::Default),
            ..Entity::default()
        };
        quotas.set(&entity, &[(Kind::Connections, 1.0)]);
        let served = (0..100).filter(|_| quotas.record_connection("127.0.0.1", 5) == 0);
        assert_eq!(served.count(), 10);
        assert_eq!(quotas.record_connection("127.0.0.1", 5), 1000);
        assert_eq!(quotas.record_connection("127.0.0.2", 5), 0);
    }

    #[test]
    fn mutations_are_refused_while_earlier_ones_are_not_paid_off() {
        let quotas = quotas();
        quotas.set(&Entity::user("a"), &[(Kind::Mutations, 1.0)]);
        let strict = |n, now| quotas.record_mutations("User:a", "", n, true, now);
        assert_eq!(strict(20, 0), Ok(0));
        assert_eq!(strict(1, 0), Err(Exceeded { delay_ms: 9000 }));
        assert_eq!(strict(1, 9000), Ok(0));
        assert_eq!(
            quotas.record_mutations("User:a", "", 1, false, 9000),
            Ok(2000)
        );
    }

    #[test]
    fn who_comes_pays_for_a_look_at_few_others_even_where_none_is_idle() {
        let mut measured = Measured::default();
        let looks = std::cell::Cell::new(0);
        let count = PAYERS_BEFORE_CLEARING * 8;
        for payer in 0..count {
            let is_idle = |(): &()| {
                looks.set(looks.get() + 1);
                false
            };
            measured.of(payer, is_idle, || ());
        }
        assert_eq!(measured.payers.len(), count);
        assert!(looks.get() < count * 2, "{}", looks.get());
    }
}

//! How many connections there may be, from where and by which listener, and how fast they may come.
//!
//! A connection has a *place* as long as it lives. Kafka: `ConnectionQuotas`. A full broker or
//! listener lets the next one wait, an address that is full or too fast is turned away. The
//! listener by which brokers reach each other is *protected* where clients have another one: it
//! fills beyond `max.connections`, and a connection of the others that was quiet for longest ends
//! in its stead.
//!
//! Absent: sockets. Whoever accepts asks here first.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::clock::Clock;
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::Config;
use crate::config::parts::{PerListener, Window};
use crate::quota::rate::Rate;

/// How long the names of hosts are looked up before the others are set without them.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// What is set, with names resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// `max.connections`, and `max.connection.creation.rate` a second.
    pub(crate) open: PerListener<usize>,
    pub(crate) rate: PerListener<i32>,
    pub(crate) per_address: usize,
    pub(crate) overrides: HashMap<IpAddr, usize>,
    /// What of `max.connections.per.ip.overrides` could be looked up.
    named: BTreeMap<String, usize>,
    pub(crate) inter_broker: String,
}

impl Bounds {
    pub(crate) async fn of(config: &Config) -> Bounds {
        Bounds::default().altered(config).await
    }

    /// As they are now. Names of hosts are looked up where others are given than before.
    pub(crate) async fn altered(&self, config: &Config) -> Bounds {
        let network = &config.network;
        let set = &network.connections_per_address;
        let (named, overrides) = if *set == self.named {
            (self.named.clone(), self.overrides.clone())
        } else {
            addresses(set).await
        };
        Bounds {
            open: network.connections_max.clone(),
            rate: network.connections_rate_max.clone(),
            per_address: network.connections_per_address_max,
            overrides,
            named,
            inter_broker: config.listeners.inter_broker.clone(),
        }
    }
}

/// `max.connections.per.ip.overrides` by address, and as much of it as could be looked up: the rest
/// is looked up again with the next change of any setting. All names at the same time, as a name
/// server may be silent.
async fn addresses(
    set: &BTreeMap<String, usize>,
) -> (BTreeMap<String, usize>, HashMap<IpAddr, usize>) {
    let mut lookups = JoinSet::new();
    for host in set.keys().cloned() {
        lookups.spawn(async move {
            let found = timeout(LOOKUP_PATIENCE, lookup_host((host.clone(), 0))).await;
            let found: Option<Vec<IpAddr>> = match found {
                Ok(Ok(found)) => Some(found.map(|at| at.ip().to_canonical()).collect()),
                _ => None,
            };
            (host, found)
        });
    }
    let looked_up: HashMap<_, _> = lookups.join_all().await.into_iter().collect();
    let (mut known, mut by_address) = (BTreeMap::new(), HashMap::new());
    // In this order: of two that have the same address the last counts.
    for (host, max) in set {
        let Some(Some(found)) = looked_up.get(host) else {
            warn!(
                host,
                "max.connections.per.ip.overrides names a host that does not resolve"
            );
            continue;
        };
        known.insert(host.clone(), *max);
        by_address.extend(found.iter().map(|address| (*address, *max)));
    }
    (known, by_address)
}

/// Why somebody was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// `max.connections.per.ip`.
    AddressFull,
    /// `connection_creation_rate` of the address: it comes so many milliseconds too early.
    TooEarly(i64),
}

/// All places. Clones of the `Arc` share them.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
    /// Over which time rates are averaged.
    window: Window,
    clock: Clock,
    /// Rung whenever there may be a place.
    freed: Notify,
}

#[derive(Debug)]
struct Taken {
    bounds: Bounds,
    rate: Rate,
    listeners: HashMap<Arc<str>, AtListener>,
    by_address: HashMap<IpAddr, usize>,
    seats: HashMap<u64, Seat>,
    next_seat: u64,
    /// How many seats have been told to end and have not yet.
    ending: usize,
}

/// A listener that is open.
#[derive(Debug)]
struct AtListener {
    open: usize,
    rate: Rate,
}

#[derive(Debug)]
struct Seat {
    listener: Arc<str>,
    heard_ms: Arc<AtomicI64>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Not served yet, so there is nothing to end it by.
    Entered,
    Served(AbortHandle),
    /// It was told to end, and has not yet.
    Ending,
}

/// Held as long as its connection lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    listener: Arc<str>,
    address: IpAddr,
    seat: u64,
    heard_ms: Arc<AtomicI64>,
}

/// Held as long as a listener is open or has connections.
#[derive(Debug)]
pub(crate) struct Entrance {
    places: Arc<Places>,
    listener: Arc<str>,
}

impl Places {
    pub(crate) fn new(bounds: Bounds, window: Window, clock: Clock) -> Self {
        let taken = Taken {
            bounds,
            rate: Rate::new(clock.monotonic_ms()),
            listeners: HashMap::new(),
            by_address: HashMap::new(),
            seats: HashMap::new(),
            next_seat: 0,
            ending: 0,
        };
        Places {
            taken: Mutex::new(taken),
            window,
            clock,
            freed: Notify::new(),
        }
    }

    /// A listener is there from now on.
    pub(crate) fn open(self: &Arc<Self>, listener: &Arc<str>) -> Entrance {
        let at = AtListener {
            open: 0,
            rate: Rate::new(self.clock.monotonic_ms()),
        };
        self.taken.lock().listeners.insert(Arc::clone(listener), at);
        Entrance {
            places: Arc::clone(self),
            listener: Arc::clone(listener),
        }
    }

    /// The connection on a seat can be ended by this from now on.
    pub(crate) fn served(&self, seat: u64, end: AbortHandle) {
        let mut taken = self.taken.lock();
        if let Some(seat) = taken.seats.get_mut(&seat) {
            seat.stage = Stage::Served(end);
            taken.end_quietest();
        }
    }

    /// The bounds of now.
    pub(crate) fn bounds(&self) -> Bounds {
        self.taken.lock().bounds.clone()
    }

    /// Other bounds from now on. Connections beyond them end, the quietest first, as far as the
    /// broker's own bound goes; those beyond a listener's or an address's stay until they end.
    pub(crate) fn set(&self, bounds: Bounds) {
        let mut taken = self.taken.lock();
        taken.bounds = bounds;
        taken.end_quietest();
        drop(taken);
        self.freed.notify_waiters();
    }

    /// A place, as soon as there is one. `early_ms` tells for how long the address comes too early.
    ///
    /// Kafka: `ConnectionQuotas.inc`; the rates of broker and listener make the listener pause, as
    /// a full broker does. Dropping the future early is safe.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        listener: &Arc<str>,
        address: IpAddr,
        early_ms: impl Fn(IpAddr) -> i64,
    ) -> Result<Place, Denied> {
        let pause_ms = self.note_arrival(listener);
        if pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(pause_ms.unsigned_abs())).await;
        }
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(entered) = self.take(listener, address, &early_ms) {
                return entered;
            }
            freed.await;
        }
    }

    /// Counts somebody who came, and says for how long he has to wait.
    ///
    /// Kafka: one window at most (`recordConnectionAndGetThrottleTimeMs`).
    fn note_arrival(&self, listener: &str) -> i64 {
        let now_ms = self.clock.monotonic_ms();
        let mut taken = self.taken.lock();
        let pause_ms = taken.count_arrival(listener, 1.0, self.window, now_ms);
        pause_ms.min(self.window.sample_ms)
    }

    /// A place or a refusal; none while there is no place.
    fn take(
        self: &Arc<Self>,
        listener: &Arc<str>,
        address: IpAddr,
        early_ms: impl Fn(IpAddr) -> i64,
    ) -> Option<Result<Place, Denied>> {
        let now_ms = self.clock.monotonic_ms();
        let mut taken = self.taken.lock();
        if !taken.has_place(listener) {
            return None;
        }
        let early_ms = early_ms(address);
        if early_ms > 0 {
            // Kafka: who is not served does not count.
            taken.count_arrival(listener, -1.0, self.window, now_ms);
            return Some(Err(Denied::TooEarly(early_ms)));
        }
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        let own = taken.bounds.overrides.get(&address).copied();
        if here >= own.unwrap_or(taken.bounds.per_address) {
            return Some(Err(Denied::AddressFull));
        }
        let (seat, heard_ms) = taken.sit(listener, address, now_ms);
        taken.end_quietest();
        Some(Ok(Place {
            places: Arc::clone(self),
            listener: Arc::clone(listener),
            address,
            seat,
            heard_ms,
        }))
    }
}

impl Taken {
    /// Kafka: `protectedListener`: brokers among themselves, where clients have another listener.
    fn is_protected(&self, listener: &str) -> bool {
        self.bounds.inter_broker == listener && self.listeners.len() > 1
    }

    fn has_place(&self, listener: &str) -> bool {
        let open = self.listeners.get(listener).map_or(0, |at| at.open);
        open < self.bounds.open.at(listener)
            && (self.is_protected(listener) || self.seats.len() < self.bounds.open.broker)
    }

    /// Adds to the rates of listener and broker, and tells the longer delay.
    fn count_arrival(&mut self, listener: &str, amount: f64, window: Window, now_ms: i64) -> i64 {
        let mut delay_ms = 0;
        if !self.is_protected(listener) {
            self.rate.add(amount, window, now_ms);
            let limit = f64::from(self.bounds.rate.broker);
            delay_ms = self.rate.delay_ms(limit, window, now_ms);
        }
        let limit = f64::from(self.bounds.rate.at(listener));
        if let Some(at) = self.listeners.get_mut(listener) {
            at.rate.add(amount, window, now_ms);
            delay_ms = delay_ms.max(at.rate.delay_ms(limit, window, now_ms));
        }
        delay_ms
    }

    fn sit(&mut self, listener: &Arc<str>, address: IpAddr, now_ms: i64) -> (u64, Arc<AtomicI64>) {
        *self.by_address.entry(address).or_default() += 1;
        if let Some(at) = self.listeners.get_mut(listener) {
            at.open += 1;
        }
        let number = self.next_seat;
        self.next_seat += 1;
        let heard_ms = Arc::new(AtomicI64::new(now_ms));
        let seat = Seat {
            listener: Arc::clone(listener),
            heard_ms: Arc::clone(&heard_ms),
            stage: Stage::Entered,
        };
        self.seats.insert(number, seat);
        (number, heard_ms)
    }

    /// Ends as many as there are too many: those that were quiet for longest, none of a protected
    /// listener.
    ///
    /// Kafka: `maxConnectionsExceeded` and `Selector.lowestPriorityChannel`.
    fn end_quietest(&mut self) {
        let open = self.seats.len() - self.ending;
        let excess = open.saturating_sub(self.bounds.open.broker);
        if excess == 0 {
            return;
        }
        let may_end = self.seats.iter().filter(|(_, seat)| {
            matches!(seat.stage, Stage::Served(_)) && !self.is_protected(&seat.listener)
        });
        let mut quietest: Vec<(i64, u64)> = may_end
            .map(|(number, seat)| (seat.heard_ms.load(Ordering::Relaxed), *number))
            .collect();
        if excess < quietest.len() {
            quietest.select_nth_unstable(excess);
            quietest.truncate(excess);
        }
        for (_, number) in quietest {
            if let Some(seat) = self.seats.get_mut(&number)
                && let Stage::Served(end) = std::mem::replace(&mut seat.stage, Stage::Ending)
            {
                self.ending += 1;
                info!(
                    listener = %seat.listener,
                    "closed the connection that was quiet for longest: there are more than max.connections"
                );
                end.abort();
            }
        }
    }

    fn stand_up(&mut self, place: &Place) {
        let left = self.seats.remove(&place.seat);
        if left.is_some_and(|seat| matches!(seat.stage, Stage::Ending)) {
            self.ending -= 1;
        }
        if let Some(at) = self.listeners.get_mut(&place.listener) {
            at.open = at.open.saturating_sub(1);
        }
        if let Some(here) = self.by_address.get_mut(&place.address) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&place.address);
            }
        }
    }
}

impl Place {
    /// When its client was last heard; whoever reads from it writes this.
    pub(crate) fn heard_ms(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.heard_ms)
    }

    /// Which seat it is, for [`Places::served`].
    pub(crate) fn seat(&self) -> u64 {
        self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().stand_up(self);
        self.places.freed.notify_waiters();
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.places.taken.lock().listeners.remove(&self.listener);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_names_of_one_address_the_last_counts_and_an_unknown_one_is_looked_up_again() {
        let all = [("127.0.0.1", 5), ("localhost", 7), ("nobody.invalid", 9)];
        let set = BTreeMap::from(all.map(|(host, max)| (host.to_owned(), max)));
        let (known, by_address) = addresses(&set).await;
        assert_eq!(by_address.get(&address(1)), Some(&7));
        assert!(known.keys().eq(["127.0.0.1", "localhost"]));
    }

    const WINDOW: Window = Window {
        samples: 11,
        sample_ms: 1000,
    };

    fn everywhere<T>(broker: T) -> PerListener<T> {
        PerListener {
            broker,
            own: BTreeMap::new(),
        }
    }

    fn bounds(open: usize, per_address: usize) -> Bounds {
        Bounds {
            open: everywhere(open),
            rate: everywhere(i32::MAX),
            per_address,
            inter_broker: "INSIDE".to_owned(),
            ..Bounds::default()
        }
    }

    /// Places with an open listener for clients.
    fn places(bounds: Bounds) -> (Arc<Places>, Arc<str>, Entrance) {
        let places = Arc::new(Places::new(bounds, WINDOW, Clock::by_hand(0)));
        let listener: Arc<str> = "OUTSIDE".into();
        let entrance = places.open(&listener);
        (places, listener, entrance)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn never(_: IpAddr) -> i64 {
        0
    }

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_no_more() {
        let mut bounds = bounds(4, 2);
        bounds.overrides.insert(address(3), 0);
        let (places, at, _entrance) = places(bounds);
        let take = |last| places.take(&at, address(last), never);
        let held = [take(1).unwrap().unwrap(), take(1).unwrap().unwrap()];
        assert_eq!(take(1).unwrap().unwrap_err(), Denied::AddressFull);
        assert_eq!(take(3).unwrap().unwrap_err(), Denied::AddressFull);
        let others = [take(2).unwrap().unwrap(), take(2).unwrap().unwrap()];
        assert!(take(4).is_none(), "four in all");
        drop((held, others));
        assert!(places.taken.lock().seats.is_empty());
        assert!(places.taken.lock().by_address.is_empty());
        assert!(take(1).unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_full_broker_lets_the_next_one_in_when_one_ends() {
        let (places, at, _entrance) = places(bounds(1, 5));
        let first = places.take(&at, address(1), never).unwrap().unwrap();
        let next = places.enter(&at, address(1), never);
        tokio::pin!(next);
        let early = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx)));
        assert!(early.await.is_pending());
        drop(first);
        assert!(next.await.is_ok());
    }

    #[test]
    fn a_listener_has_its_own_bound_and_the_brokers_where_none_is_set() {
        let mut bounds = bounds(3, 9);
        bounds.open.own.insert("OUTSIDE".to_owned(), 1);
        let (places, outside, _entrance) = places(bounds);
        let other: Arc<str> = "OTHER".into();
        let _other = places.open(&other);
        let _held = places.take(&outside, address(1), never).unwrap().unwrap();
        assert!(places.take(&outside, address(2), never).is_none());
        let _more = [(); 2].map(|()| places.take(&other, address(2), never).unwrap().unwrap());
        assert!(places.take(&other, address(2), never).is_none());
    }

    #[tokio::test]
    async fn brokers_get_in_where_clients_fill_the_broker_and_the_quietest_client_goes() {
        let (places, outside, _entrance) = places(bounds(2, 9));
        let inside: Arc<str> = "INSIDE".into();
        let _inside = places.open(&inside);
        let clients = [(); 2].map(|()| places.take(&outside, address(1), never).unwrap().unwrap());
        clients[0].heard_ms.store(i64::MAX, Ordering::Relaxed);
        let tasks = clients.map(|place| {
            let (seat, places) = (place.seat(), Arc::clone(&places));
            let task = base::tasks::spawn("client", async move {
                std::future::pending::<()>().await;
                drop(place);
            });
            places.served(seat, task.abort_handle());
            task
        });
        assert!(places.take(&outside, address(1), never).is_none());
        let _broker = places.take(&inside, address(1), never).unwrap().unwrap();
        let [busy, quiet] = tasks;
        assert!(quiet.await.unwrap_err().is_cancelled());
        assert!(!busy.is_finished());
        assert_eq!(places.taken.lock().seats.len(), 2);
        assert_eq!(places.taken.lock().ending, 0);
    }

    #[test]
    fn who_comes_too_fast_waits_a_window_at_most_and_brokers_do_not_count() {
        let mut bounds = bounds(99, 99);
        bounds.rate.broker = 1;
        bounds.rate.own.insert("INSIDE".to_owned(), i32::MAX);
        let (places, outside, _entrance) = places(bounds);
        let inside: Arc<str> = "INSIDE".into();
        let _inside = places.open(&inside);
        for _ in 0..50 {
            assert_eq!(places.note_arrival(&inside), 0);
        }
        let at_once = (0..50).filter(|_| places.note_arrival(&outside) == 0);
        assert!((10..=12).contains(&at_once.count()), "ten in ten seconds");
        assert_eq!(places.note_arrival(&outside), 1000);
    }

    #[test]
    fn an_address_that_is_turned_away_as_too_early_does_not_count_for_the_others() {
        let mut bounds = bounds(99, 99);
        bounds.rate.broker = 1;
        let (places, at, _entrance) = places(bounds);
        for _ in 0..50 {
            places.note_arrival(&at);
            let denied = places.take(&at, address(1), |_| 700).unwrap().unwrap_err();
            assert_eq!(denied, Denied::TooEarly(700));
        }
        assert_eq!(places.note_arrival(&at), 0);
    }
}

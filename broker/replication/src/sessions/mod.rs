//! Incremental fetch sessions: what a fetcher asked for before and need not say again (KIP-227).
//!
//! A session remembers partitions in the order they will be read; one that gave records goes to
//! the end, so that a busy partition cannot starve the others. An answer lists only what changed
//! since the last. Slots are bounded: a newcomer takes the place of a session unused for long, or
//! of one less valuable; followers' sessions are worth more than consumers'.
//!
//! Invariant: a session's epoch rises by one with each request that it served.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::metrics::Count;
use parking_lot::Mutex;
use protocol::ids::{LeaderEpoch, Offset, TopicId};

use crate::config::SessionsConfig;

/// Asks without a session, or for a new one.
const INITIAL_EPOCH: i32 = 0;
/// Asks to end a session.
const FINAL_EPOCH: i32 = -1;
/// Kafka: the ids that fall to one of its eight shards. It trips over the others.
pub const ID_RANGE: Range<i32> = -(i32::MAX / 8) + 1..8 * (i32::MAX / 8);
/// What an answer says where there is no session.
pub const NO_SESSION: i32 = 0;

/// How a fetch names a topic: by id since version 13, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    Id(TopicId),
    Name(Arc<str>),
}

/// What a fetch asks of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionAsk {
    pub topic: TopicKey,
    /// The name behind an id; `None` while nobody here knows that id.
    pub name: Option<Arc<str>>,
    pub partition: i32,
    pub fetch_offset: Offset,
    pub bytes_max: i32,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// A follower's own start offset; −1 from consumers.
    pub log_start: Offset,
}

/// What is about to be told of one partition, as far as a session cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub watermark: Offset,
    pub log_start: Offset,
    pub has_records: bool,
    /// An error, a diverging epoch or a preferred replica: always told.
    pub has_error: bool,
    pub always: bool,
}

/// The head of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAsk {
    pub id: i32,
    pub epoch: i32,
    /// Version 13 and later; a session never changes sides.
    pub uses_topic_ids: bool,
    pub is_follower: bool,
}

/// Why a session cannot serve a fetch. The fetcher starts again with a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    NotFound,
    WrongEpoch,
    TopicIdsMixed,
    /// Kafka fails on an id that falls to no shard, and on a session with the zero id of a topic.
    Impossible,
}

/// One fetch within its session.
#[derive(Debug)]
pub struct Context {
    /// All partitions to read, in order.
    pub asks: Vec<PartitionAsk>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    Full {
        ask: SessionAsk,
    },
    Incremental {
        session: Arc<Mutex<Session>>,
        epoch: i32,
    },
}

/// All sessions of this broker.
#[derive(Debug)]
pub struct Sessions {
    config: SessionsConfig,
    clock: Clock,
    chance: Chance,
    slots: Mutex<HashMap<i32, Slot>>,
    evictions: Count,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    privileged: bool,
    partitions: usize,
    created_ms: i64,
    used_ms: i64,
}

#[derive(Debug)]
struct Session {
    id: i32,
    epoch: i32,
    uses_topic_ids: bool,
    /// By place in the reading order.
    partitions: BTreeMap<u64, Cached>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    ask: PartitionAsk,
    watermark: Offset,
    log_start: Offset,
}

impl Sessions {
    pub fn new(config: SessionsConfig, clock: Clock, chance: Chance) -> Self {
        Sessions {
            config,
            clock,
            chance,
            slots: Mutex::default(),
            evictions: Count::default(),
        }
    }

    /// How many sessions are kept.
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }

    /// How many partitions the sessions remember, all together.
    pub fn partitions(&self) -> usize {
        self.slots.lock().values().map(|slot| slot.partitions).sum()
    }

    /// How many sessions had to make room for another.
    pub fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds what this fetch is to read. `name_of` resolves ids the session could not before.
    pub fn begin(
        &self,
        ask: SessionAsk,
        mut asks: Vec<PartitionAsk>,
        forgotten: &[(TopicKey, i32)],
        name_of: impl Fn(TopicId) -> Option<Arc<str>>,
    ) -> Result<Context, SessionRefusal> {
        if !ID_RANGE.contains(&ask.id) {
            return Err(SessionRefusal::Impossible);
        }
        let zero = TopicKey::Id(TopicId::ZERO);
        let is_zero = ask.epoch != FINAL_EPOCH
            && (asks.iter().any(|one| one.topic == zero)
                || forgotten.iter().any(|(topic, _)| *topic == zero));
        if ask.epoch == INITIAL_EPOCH || ask.epoch == FINAL_EPOCH {
            keep_last_of_each(&mut asks);
            if ask.id != NO_SESSION {
                self.slots.lock().remove(&ask.id);
            }
            if is_zero {
                return Err(SessionRefusal::Impossible);
            }
            let kind = match ask.epoch {
                FINAL_EPOCH => Kind::Sessionless,
                _ => Kind::Full { ask },
            };
            return Ok(Context { asks, kind });
        }
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(&ask.id).ok_or(SessionRefusal::NotFound)?;
        let shared = Arc::clone(&slot.session);
        let mut session = shared.lock();
        if session.epoch != ask.epoch {
            return Err(SessionRefusal::WrongEpoch);
        }
        if session.uses_topic_ids != ask.uses_topic_ids {
            return Err(SessionRefusal::TopicIdsMixed);
        }
        if is_zero {
            return Err(SessionRefusal::Impossible);
        }
        for wanted in &asks {
            session.update(wanted);
        }
        for (topic, partition) in forgotten {
            session.forget(topic, *partition);
        }
        if session.partitions.is_empty() {
            slots.remove(&ask.id);
            keep_last_of_each(&mut asks);
            return Ok(Context {
                asks,
                kind: Kind::Sessionless,
            });
        }
        slot.used_ms = self.clock.monotonic_ms();
        slot.partitions = session.partitions.len();
        drop(slots);
        session.epoch = next_epoch(session.epoch);
        let epoch = session.epoch;
        for cached in session.partitions.values_mut() {
            if let (None, TopicKey::Id(id)) = (&cached.ask.name, &cached.ask.topic) {
                cached.ask.name = name_of(*id);
            }
        }
        let asks = session
            .partitions
            .values()
            .map(|cached| cached.ask.clone())
            .collect();
        drop(session);
        Ok(Context {
            asks,
            kind: Kind::Incremental {
                session: shared,
                epoch,
            },
        })
    }

    /// Ends a fetch whose answer is ready: the session id to answer with, and of `told`, in its
    /// own order, what must be in the answer. `told` pairs an index into the context's asks with
    /// what would be said of it.
    pub fn finish(
        &self,
        context: &Context,
        told: &mut Vec<(usize, Told)>,
    ) -> Result<i32, (SessionRefusal, i32)> {
        match &context.kind {
            Kind::Sessionless => Ok(NO_SESSION),
            Kind::Full { ask } => Ok(self.create(*ask, &context.asks, told)),
            Kind::Incremental { session, epoch } => {
                let mut session = session.lock();
                let id = session.id;
                if session.epoch != *epoch {
                    told.clear();
                    return Err((SessionRefusal::WrongEpoch, id));
                }
                told.retain(|(index, said)| {
                    context
                        .asks
                        .get(*index)
                        .is_none_or(|ask| session.note_told(ask, said))
                });
                Ok(id)
            }
        }
    }

    /// The session id of an answer that says nothing because the client is throttled.
    pub fn finish_throttled(&self, context: &Context) -> Result<i32, (SessionRefusal, i32)> {
        match &context.kind {
            Kind::Sessionless | Kind::Full { .. } => Ok(NO_SESSION),
            Kind::Incremental { session, epoch } => {
                let session = session.lock();
                match session.epoch == *epoch {
                    true => Ok(session.id),
                    false => Err((SessionRefusal::WrongEpoch, session.id)),
                }
            }
        }
    }

    fn create(&self, ask: SessionAsk, asks: &[PartitionAsk], told: &[(usize, Told)]) -> i32 {
        let now_ms = self.clock.monotonic_ms();
        let mut slots = self.slots.lock();
        if slots.len() >= self.config.slots_max
            && !self.make_room(&mut slots, ask.is_follower, told.len(), now_ms)
        {
            return NO_SESSION;
        }
        let id = loop {
            let id = i32::try_from(self.chance.next_u64() >> 33).unwrap_or(NO_SESSION);
            if id != NO_SESSION && ID_RANGE.contains(&id) && !slots.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids: ask.uses_topic_ids,
            partitions: BTreeMap::new(),
            places: HashMap::with_capacity(told.len()),
            next_place: 0,
        };
        for (index, said) in told {
            if let Some(ask) = asks.get(*index) {
                let cached = Cached::told(ask.clone(), said);
                session.push(cached);
            }
        }
        let slot = Slot {
            partitions: session.partitions.len(),
            session: Arc::new(Mutex::new(session)),
            privileged: ask.is_follower,
            created_ms: now_ms,
            used_ms: now_ms,
        };
        slots.insert(id, slot);
        id
    }

    /// Kafka: `FetchSessionCacheShard.tryEvict`. First whoever was not used for long; else the
    /// least valuable that may be evicted, if it is worth less than the newcomer. Age makes a
    /// session evictable by its equals; a consumer's session is so by a follower's at once.
    fn make_room(
        &self,
        slots: &mut HashMap<i32, Slot>,
        privileged: bool,
        partitions: usize,
        now_ms: i64,
    ) -> bool {
        let eviction_ms = self.config.eviction_ms;
        let Some((&oldest, slot)) = slots.iter().min_by_key(|(id, slot)| (slot.used_ms, **id))
        else {
            return false;
        };
        if now_ms.saturating_sub(slot.used_ms) > eviction_ms {
            slots.remove(&oldest);
            self.evictions.add(1);
            return true;
        }
        let least = slots
            .iter()
            .filter(|(_, slot)| {
                slot.used_ms.saturating_sub(slot.created_ms) > eviction_ms
                    || (privileged && !slot.privileged)
            })
            .map(|(&id, slot)| (slot.privileged, slot.partitions, id))
            .min();
        match least {
            Some(worth) if (privileged, partitions, NO_SESSION) >= worth => {
                slots.remove(&worth.2);
                self.evictions.add(1);
                true
            }
            _ => false,
        }
    }
}

impl Session {
    fn push(&mut self, cached: Cached) {
        let key = (cached.ask.topic.clone(), cached.ask.partition);
        let place = self.next_place;
        self.next_place += 1;
        if let Some(before) = self.places.insert(key, place) {
            self.partitions.remove(&before);
        }
        self.partitions.insert(place, cached);
    }

    fn update(&mut self, ask: &PartitionAsk) {
        let key = (ask.topic.clone(), ask.partition);
        match self
            .places
            .get(&key)
            .and_then(|place| self.partitions.get_mut(place))
        {
            Some(cached) => {
                let name = ask.name.clone().or_else(|| cached.ask.name.take());
                cached.ask = PartitionAsk {
                    name,
                    ..ask.clone()
                };
            }
            None => self.push(Cached {
                ask: ask.clone(),
                watermark: Offset::NONE,
                log_start: Offset::NONE,
            }),
        }
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        if let Some(place) = self.places.remove(&(topic.clone(), partition)) {
            self.partitions.remove(&place);
        }
    }

    /// Remembers what is told; false where there is nothing new to tell.
    fn note_told(&mut self, ask: &PartitionAsk, said: &Told) -> bool {
        let key = (ask.topic.clone(), ask.partition);
        let Some(cached) = self
            .places
            .get(&key)
            .and_then(|place| self.partitions.get_mut(place))
        else {
            return true;
        };
        let changed = cached.watermark != said.watermark || cached.log_start != said.log_start;
        cached.log_start = said.log_start;
        // Kafka: an error makes the cached watermark invalid, so that the partition is told again
        // once the error is gone.
        cached.watermark = if said.has_error {
            Offset::NONE
        } else {
            said.watermark
        };
        if said.has_records
            && let Some(place) = self.places.remove(&key)
            && let Some(cached) = self.partitions.remove(&place)
        {
            self.push(cached);
        }
        changed || said.has_records || said.has_error || said.always
    }
}

impl Cached {
    fn told(ask: PartitionAsk, said: &Told) -> Self {
        Cached {
            ask,
            watermark: said.watermark,
            log_start: said.log_start,
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        ..0 => FINAL_EPOCH,
        _ => epoch + 1,
    }
}

/// Kafka keeps one entry a partition, in the place of the first and with the values of the last.
fn keep_last_of_each(asks: &mut Vec<PartitionAsk>) {
    if asks.len() < 2 {
        return;
    }
    let mut seen = HashSet::with_capacity(asks.len());
    let mut each = asks.iter();
    if each.all(|ask| seen.insert((&ask.topic, ask.partition))) {
        return;
    }
    let mut places: HashMap<(TopicKey, i32), usize> = HashMap::new();
    let mut kept: Vec<PartitionAsk> = Vec::new();
    for ask in asks.drain(..) {
        let key = (ask.topic.clone(), ask.partition);
        match places.get(&key) {
            Some(&place) => kept[place] = ask,
            None => {
                places.insert(key, kept.len());
                kept.push(ask);
            }
        }
    }
    *asks = kept;
}

#[cfg(test)]
mod tests;
